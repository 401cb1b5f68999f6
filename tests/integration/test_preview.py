"""export preview: what a run would do, without doing it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from support import people
from support.roles import make_logins
from support.world import ACCOUNT, EXPORT, KEY, LIST, SEGMENT, World

# A million on request; see the test.
MEMBERS = int(os.environ.get("PREVIEW_MEMBERS", "50000"))
SAME = ("read", "invalid", "duplicate", "unchanged", "selected", "left")


QUESTIONS = {"usage", "flow-triggers"}


def asked_since(world: World, before: int) -> set[str]:
    return {entry["endpoint"] for entry in world.simulator.diary()[before:]}


def counts_of(shown: dict) -> dict[str, int]:  # type: ignore[type-arg]
    return {name: shown["counts"][name] for name in SAME}


def test_a_preview_counts_what_the_run_then_counts(world: World) -> None:
    population = people.mixed(2_000, too_large=2)
    world.set_up_export(population)
    before = len(world.simulator.diary())

    first = world.admin("export", "preview", EXPORT, "--json").json

    assert asked_since(world, before) <= QUESTIONS
    assert first["counts"] | {"left": 0} == population.expected_counts() | {"left": 0}
    assert first["requests"] == 1 and first["body_bytes"] > 0 and first["seconds"] > 0
    assert world.runs() == [] and world.db.value("select count(*) from klaviyo.ledger") == 0

    world.start_worker()
    world.admin("publish", SEGMENT, "--wait")
    (run,) = world.runs()
    assert counts_of(run) == counts_of(first)
    again = world.admin("export", "preview", EXPORT, "--json").json
    assert again["counts"]["unchanged"] == first["counts"]["selected"]
    assert again["counts"]["selected"] == again["requests"] == 0


def test_a_preview_warns_when_the_plan_may_not_hold_them(world: World) -> None:
    world.set_up_export(people.simple(30))
    world.simulator.add_key(KEY, ACCOUNT, ["accounts:read", "usage:read"])
    world.simulator.control("PUT", f"accounts/{ACCOUNT}", {"usage_used": 90, "usage_max": 100})

    result = world.admin("export", "preview", EXPORT, "--json")

    assert {"kind": "email", "used": 90, "maximum": 100} in result.json["usage"]
    assert "30 more may not fit" in result.stderr


def test_a_key_that_may_not_read_the_plan_is_no_error(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.simulator.add_key(KEY, ACCOUNT, ["accounts:read", "lists:read"])

    result = world.admin("export", "preview", EXPORT, "--json")

    assert result.json["usage"] is None and result.json["counts"]["selected"] == 3
    assert world.admin("connection", "list", "--json").json[0]["state"] == "ready"


def test_a_preview_on_the_spot_needs_no_key_file(world: World) -> None:
    world.set_up_export(people.simple(3))

    result = world.command("export", "preview", EXPORT, "--direct", SECRET_KEY_FILE="")

    assert result.rc == 0 and "selected" in result.stdout


def test_a_preview_warns_of_more_profiles_than_the_export_may_send(world: World) -> None:
    world.set_up_export(people.simple(11))
    world.admin("export", "update", EXPORT, "--max-profiles", "10")

    result = world.command("export", "preview", EXPORT)

    assert result.rc == 0 and "11 addresses" in result.stderr


def test_a_preview_warns_of_members_that_would_not_be_sent_and_of_fields_that_nobody_has(world: World) -> None:
    maker = people.Maker()
    maker.valid(30)
    maker.malformed(10)
    world.set_up_export(maker.population)

    result = world.command("export", "preview", EXPORT)

    assert result.rc == 0 and "10 of 40 members would not be sent" in result.stderr, result
    assert "--property nothing: none of 30 members" in result.stderr


def test_whoever_may_not_read_the_members_gets_no_preview(world: World) -> None:
    users = make_logins(world.db)
    world.set_up_export(people.simple(1))

    refused = world.command("export", "preview", EXPORT, DATABASE_URL=users["viewer"].url)
    world.admin("export", "preview", EXPORT)
    served = world.command("export", "preview", EXPORT, DATABASE_URL=users["worker"].url)

    assert refused.rc == 1 and served.rc == 0


def make_members(world: World, count: int) -> None:
    """By SQL, so that a million are made within seconds."""
    world.db.execute(
        f"""
        insert into insights.segment values ('{SEGMENT}', '{SEGMENT}');
        insert into insights.customer_profile
        select 'p' || lpad(n::text, 8, '0'),
               jsonb_build_object('first_name', 'Person ' || n, 'email', case n % 100
                   when 0 then null when 1 then 'no.address'
                   else 'person' || n % {count * 9 // 10} || '@example.test' end)
        from generate_series(1, {count}) n;
        insert into insights.segment_member
        select '{SEGMENT}', profile_id from insights.customer_profile;
        """
    )


@pytest.mark.timeout(900)
def test_a_preview_of_many_counts_what_the_run_then_counts(world: World) -> None:
    make_members(world, MEMBERS)
    world.add_connection()
    mapping = ["--attribute", "first_name=first_name"]
    world.add_export(EXPORT, "--max-profiles", str(MEMBERS), mapping=mapping)
    before = len(world.simulator.diary())

    preview = world.admin("export", "preview", EXPORT, "--json").json

    assert asked_since(world, before) <= QUESTIONS
    world.start_worker()
    world.admin("publish", SEGMENT)
    (run,) = world.wait_runs_ended(1, 800)
    assert run["state"] == "succeeded" and run["counts"]["read"] == MEMBERS
    assert counts_of(run) == counts_of(preview)
    assert len(world.simulator.diary("import")) == preview["requests"]


# -- what else a preview says ------------------------------------------------------------


def preview(world: World, *options: str) -> Any:
    return world.admin("export", "preview", EXPORT, "--json", *options).json


def test_a_preview_says_why_members_are_not_sent(world: World) -> None:
    population = people.mixed(1_000, too_large=3)
    world.set_up_export(population)

    shown = preview(world)

    assert shown["invalid_by"] == dict(population.invalid)
    assert shown["new"] == population.selected and shown["changed"] == 0
    assert shown["everybody_anew"] is False and shown["leaves"] == {
        "addresses": 0, "on_leave": "keep", "address_changes": 0,
    }  # fmt: skip


def test_a_preview_says_how_many_have_each_field(world: World) -> None:
    world.set_up_export(people.simple(40))
    world.db.execute(
        "update insights.customer_profile set attributes = attributes - 'points'"
        " where profile_id in (select profile_id from insights.customer_profile limit 10)"
    )

    fields = {field.get("property") or field["attribute"]: field for field in preview(world)["fields"]}

    assert fields["points"]["with_value"] == 30 and fields["points"]["share"] == 75.0
    assert fields["first_name"]["share"] == 100.0 and fields["nothing"]["share"] == 0.0


def test_the_examples_have_no_values_unless_they_are_asked_for(world: World) -> None:
    population = people.simple(10)
    world.set_up_export(population)

    masked, whole = preview(world)["examples"], preview(world, "--show")["examples"]

    assert len(masked) == len(whole) == 3
    assert [e["attributes"]["email"] for e in whole] == sorted(population.wanted)[:3]
    text = json.dumps(masked)
    assert "@" not in text and "City" not in text and "Zo" not in text
    assert masked[0]["attributes"]["properties"]["points"] == "<number>"
    assert masked[0]["attributes"]["properties"]["address"] == {"city": "<string>", "zip": "<string>"}
    for_people = world.admin("export", "preview", EXPORT).stdout
    assert "@" not in for_people and "<string>" in for_people and "SHARE" in for_people
    world.start_worker()
    world.simulator.settings(keep_bodies=True)
    world.admin("publish", SEGMENT, "--wait")
    (sent,) = world.simulator.diary("import")
    assert world.simulator.body(sent["seq"])["data"]["attributes"]["profiles"]["data"][:3] == whole


def test_a_preview_says_who_leaves_and_whether_everybody_is_sent_anew(world: World) -> None:
    world.set_up_export(people.simple(30))
    world.start_worker()
    world.admin("publish", SEGMENT, "--wait")
    world.db.execute("delete from insights.segment_member where profile_id in (select min(profile_id) from insights.customer_profile)")
    same = preview(world)
    world.admin("export", "update", EXPORT, "--property", "score=score", "--force")

    changed = world.admin("export", "preview", EXPORT, "--json")

    assert same["leaves"]["addresses"] == 1 and same["everybody_anew"] is False and same["new"] == 0
    assert changed.json["everybody_anew"] is True and changed.json["changed"] == 29 and changed.json["new"] == 0
    assert "everybody" in changed.stderr


def test_a_preview_says_what_would_stop_the_run(world: World) -> None:
    maker = people.Maker()
    maker.valid(200)
    maker.malformed(150)
    world.set_up_export(maker.population)

    result = world.admin("export", "preview", EXPORT, "--json")

    assert result.json["stopped_by"]["reason"] == "too_many_invalid"
    assert "150" in result.json["stopped_by"]["detail"] and "would stop" in result.stderr
    world.start_worker()
    refused = world.command("publish", SEGMENT, "--wait")
    assert refused.rc == 1 and result.json["stopped_by"]["detail"] in refused.stderr


def test_the_time_is_by_the_arithmetic_of_the_limiter(world: World) -> None:
    make_members(world, 30_000)
    world.add_connection()
    world.add_export(EXPORT, "--max-profiles", "30000", mapping=[])
    world.admin("connection", "update", "main", "--share", "10%")

    shown = preview(world)

    assert shown["requests"] == 3 and shown["seconds"] >= 3, "one request in a second"


@pytest.mark.timeout(900)
def test_a_contributor_tries_five_and_previews_many_and_the_run_counts_the_same(world: World) -> None:
    """Without the key, without the workers' rights: a million on request, as above."""
    make_members(world, MEMBERS)
    world.add_connection()
    mo = make_logins(world.db)["contributor"]
    world.admin("connection", "grant", "main", mo.name)
    world.start_worker().wait_ready()

    def as_mo(*words: str) -> Any:
        result = world.command(*words, DATABASE_URL=mo.url, SECRET_KEY_FILE="")
        assert result.rc == 0, result
        return result

    assert SEGMENT in as_mo("segment", "list").stdout
    assert "email" in as_mo("segment", "fields", SEGMENT).stdout
    assert LIST in as_mo("connection", "lists", "main").stdout
    add = ["export", "add", EXPORT, "--connection", "main", "--list", LIST, "--segment", SEGMENT]
    as_mo(*add, "--email-field", "email", "--attribute", "first_name=first_name", "--max-profiles", str(MEMBERS))
    tried = as_mo("export", "try", EXPORT, "--rows", "5", "--json").json
    assert [entry["profiles"] for entry in world.simulator.diary("import")] == [5]
    assert [row["result"] for row in tried["rows"]] == ["accepted"] * 5

    shown = as_mo("export", "preview", EXPORT, "--json").json
    as_mo("publish", SEGMENT)

    run = world.wait_runs_ended(2, 800)[0]
    assert run["state"] == "succeeded" and run["counts"]["unchanged"] == 5
    assert counts_of(run) == counts_of(shown)
    assert len(world.simulator.diary("import")) == 1 + shown["requests"]
