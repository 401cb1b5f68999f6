"""What there is to choose from: segments, their fields, the lists of an account. No value is shown."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from support import people
from support.paths import program
from support.process import wait_until
from support.roles import Login, make_login, make_logins
from support.worker import Result
from support.world import ACCOUNT, CONNECTION, KEY, LIST, SEGMENT, World


def contributor(world: World) -> Login:
    return make_login(world.db, "mo", "klaviyo_contributor")


def as_user(world: World, user: Login, *words: str) -> Result:
    return world.command(*words, DATABASE_URL=user.url, SECRET_KEY_FILE="")


def add_members(world: World, segment: str, *attributes: Any) -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", segment, f"The {segment}")
    for n, one in enumerate(attributes):
        profile = f"{segment}-{n}"
        world.db.execute("insert into insights.customer_profile values (%s, %s::jsonb)", profile, json.dumps(one))
        world.db.execute("insert into insights.segment_member values (%s, %s)", segment, profile)


def fields_of(world: World, segment: str) -> dict[str, Any]:
    shown = as_user(world, contributor(world), "segment", "fields", segment, "--json")
    assert shown.rc == 0, shown
    return {field["field"]: field for field in shown.json["fields"]}


# -- segments ----------------------------------------------------------------------------


def test_a_contributor_sees_the_segments_and_how_many_members_they_have(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(7))
    world.db.execute("insert into insights.segment values ('empty', null)")
    mo = contributor(world)

    shown = as_user(world, mo, "segment", "list", "--json")

    assert shown.rc == 0 and shown.json == [
        {"segment": SEGMENT, "name": SEGMENT, "members": 7},
        {"segment": "empty", "name": None, "members": 0},
    ]
    assert SEGMENT in as_user(world, mo, "segment", "list").stdout


def test_the_fields_are_told_as_options_of_export_add_take_them(world: World) -> None:
    add_members(
        world, "loyal",
        {"email": "a@shop.example", "name": {"first": "Ada"}, "points": 1, "e.mail": "x"},
        {"email": "no address", "name": {"first": None}, "points": "two"},
        {"email": "b@shop.example", "vip": True, "tags": ["a"]},
        {},
    )  # fmt: skip

    fields = fields_of(world, "loyal")

    assert fields["@profile_id"]["share"] == 100
    assert fields["email"]["share"] == 75 and fields["email"]["addresses"] == 2
    assert fields["name.first"]["present"] == 1 and fields["name.first"]["share"] == 25
    assert {t["type"]: t["count"] for t in fields["name.first"]["types"]} == {"string": 1, "null": 1}
    assert {t["type"] for t in fields["points"]["types"]} == {"number", "string"}
    assert fields['"e.mail"']["share"] == 25 and fields["tags"]["types"] == [{"type": "array", "count": 1}]
    add = [
        "export", "add", "x", "--connection", CONNECTION, "--list", LIST, "--segment", "loyal", "--force",
        "--email-field", "email",
    ]  # fmt: skip
    world.add_connection()
    world.admin(*add, *[w for f in fields if f != "email" for w in ("--property", f"{f.strip(chr(34))}={f}")])


def test_no_value_is_shown_and_no_name_that_is_one(world: World) -> None:
    add_members(
        world, "loyal",
        {"email": "secret@shop.example", "friends": {"other@shop.example": 1}, "days": {f"day{n}": n for n in range(101)}},
        {"email": "hidden", "notes": {"deep": {"deeper": {"and": {"more": {"still": "Geheimnis"}}}}}},
    )  # fmt: skip
    mo = contributor(world)

    shown = [as_user(world, mo, "segment", "fields", "loyal", *json_) for json_ in ((), ("--json",))]

    for result in shown:
        text = result.stdout + result.stderr
        for value in ("secret", "hidden", "other", "Geheimnis", "day7"):
            assert value not in text, text
        assert "days" in text and "notes.deep.deeper.and" in text


def test_many_members_are_sampled_and_few_are_counted(world: World) -> None:
    world.db.execute(
        f"insert into insights.segment values ('{SEGMENT}');"
        " insert into insights.customer_profile select 'p' || n, jsonb_build_object('a', n) ||"
        " case when n % 4 = 0 then '{\"b\": 1}'::jsonb else '{}'::jsonb end from generate_series(1, 30000) n;"
        f" insert into insights.segment_member select '{SEGMENT}', profile_id from insights.customer_profile"
    )

    shown = as_user(world, contributor(world), "segment", "fields", SEGMENT, "--json").json

    fields = {field["field"]: field["share"] for field in shown["fields"]}
    assert shown["members"] == 30_000 and 8_000 < shown["looked_at"] < 12_000
    assert fields["a"] == 100 and 23 < fields["b"] < 27


def test_a_segment_that_is_not_there_is_told_with_the_nearest(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(1))
    mo = contributor(world)

    near = as_user(world, mo, "segment", "fields", "big-spender")
    far = as_user(world, mo, "segment", "fields", "zzz")

    assert near.rc == 1 and f"did you mean {SEGMENT}?" in near.stderr and near.stderr.count("\n") == 1
    assert far.rc == 1 and "segment list" in far.stderr


def test_a_viewer_sees_no_segment(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(1))
    viewer = make_logins(world.db)["viewer"]

    for words in (["segment", "list"], ["segment", "fields", SEGMENT]):
        refused = as_user(world, viewer, *words)
        assert refused.rc == 1 and "klaviyo_contributor" in refused.stderr, refused


def test_a_view_that_raises_is_told_without_a_value(world: World) -> None:
    add_members(world, "loyal", {"email": "a@shop.example", "n": "Geheimnis"})
    world.db.execute(
        "create or replace view insights.segment_profile as select m.segment_id, m.profile_id,"
        " jsonb_build_object('x', (p.attributes ->> 'n')::integer) as attributes"
        " from insights.segment_member m join insights.customer_profile p using (profile_id)"
    )

    refused = as_user(world, contributor(world), "segment", "fields", "loyal")

    assert refused.rc == 1 and "22P02" in refused.stderr and "Geheimnis" not in refused.stderr, refused


# -- lists -------------------------------------------------------------------------------


def serving(world: World) -> None:
    world.start_worker().wait_ready()
    wait_until(lambda: world.db.value("select count(*) from klaviyo.task_worker") != 0, 20, "a worker that takes tasks")


@pytest.fixture
def granted(world: World) -> tuple[World, Login]:
    world.simulator.settings(limits=False)
    world.add_connection()
    mo = contributor(world)
    world.admin("connection", "grant", CONNECTION, mo.name)
    return world, mo


def test_a_contributor_sees_ids_names_and_sizes_of_the_lists(granted: tuple[World, Login]) -> None:
    world, mo = granted
    world.add_segment(SEGMENT, people.simple(4))
    world.add_export()
    serving(world)
    world.admin("publish", SEGMENT, "--wait")
    for n in range(24):
        world.simulator.add_list(f"More{n:02d}", ACCOUNT, f"List {n}")

    shown = as_user(world, mo, "connection", "lists", CONNECTION, "--json")
    as_table = as_user(world, mo, "connection", "lists", CONNECTION)

    assert shown.rc == 0, shown
    lists = {entry["id"]: entry for entry in shown.json}
    assert len(lists) == 25 and lists["More23"] == {"id": "More23", "name": "List 23", "profiles": 0}
    assert lists[LIST]["name"] == "Newsletter" and lists[LIST]["profiles"] is None, "only 15 a minute are told"
    assert "Newsletter" in as_table.stdout and "PROFILES" in as_table.stdout
    assert len(world.simulator.diary("lists")) == 6


def test_the_size_of_every_list_may_be_waited_for(granted: tuple[World, Login]) -> None:
    world, mo = granted
    world.simulator.add_list("Other", ACCOUNT, "Other")
    serving(world)

    shown = as_user(world, mo, "connection", "lists", CONNECTION, "--sizes", "--json")

    assert {entry["id"]: entry["profiles"] for entry in shown.json} == {LIST: 0, "Other": 0}, shown


def test_sizes_are_not_left_out_because_the_database_was_away(granted: tuple[World, Login]) -> None:
    world, _ = granted
    for n in range(3):
        world.simulator.add_list(f"More{n}", ACCOUNT, f"List {n}")
    world.simulator.fault("list", {"delay_ms": 3000}, times=1)
    command = [str(program("klaviyo-worker")), "connection", "lists", CONNECTION, "--sizes", "--direct"]
    asked = subprocess.Popen(command, env=world.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    world.wait_requests("list", 1)

    world.db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    said, why = asked.communicate(timeout=60)
    assert asked.returncode == 75 and said == b"" and CONNECTION.encode() in why, (said, why)


def test_a_key_that_may_not_read_lists_is_told(granted: tuple[World, Login]) -> None:
    world, mo = granted
    world.simulator.add_key(KEY, ACCOUNT, ["accounts:read"])
    serving(world)

    refused = as_user(world, mo, "connection", "lists", CONNECTION)

    assert refused.rc == 1 and "lists:read" in refused.stderr and refused.stderr.count("\n") == 1, refused
    assert world.admin("connection", "list", "--json").json[0]["state"] == "ready"


def test_lists_of_a_connection_that_is_not_granted_are_not_told(world: World) -> None:
    world.add_connection()
    serving(world)

    refused = as_user(world, contributor(world), "connection", "lists", CONNECTION)

    assert refused.rc == 1 and CONNECTION in refused.stderr and world.simulator.diary("lists") == []
