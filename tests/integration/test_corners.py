"""What a site's data and people's timing can do to a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import people
from support.process import wait_until
from support.simulator import Simulator
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, World, check_sums

BREAKING_VIEW = "create or replace view insights.segment_profile as " + (
    "select m.segment_id, m.profile_id, case when m.profile_id = {last!r}"
    " then jsonb_build_object('email', p.attributes ->> 'email', 'n', 1 / (length(m.profile_id) - length(m.profile_id)))"
    " else p.attributes end as attributes"
    " from insights.segment_member m join insights.customer_profile p using (profile_id)"
)
QUOTING_VIEW = (
    "create or replace view insights.segment_profile as"
    " select m.segment_id, m.profile_id,"
    " p.attributes || jsonb_build_object('age', (p.attributes ->> 'email')::int) as attributes"
    " from insights.segment_member m join insights.customer_profile p using (profile_id)"
)


def run_once(world: World) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh()
    return world.wait_runs_ended(before + 1)[0]


def add_member(world: World, profile: str, attributes: str) -> None:
    world.db.execute("insert into insights.customer_profile values (%s, %s::jsonb)", profile, attributes)
    world.db.execute("insert into insights.segment_member values (%s, %s)", SEGMENT, profile)


def test_the_words_of_a_broken_view_never_carry_a_value(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.db.execute(QUOTING_VIEW)
    worker = world.start_worker().wait_ready()

    run = run_once(world)

    assert (run["state"], run["reason"]) == ("failed", "source_unreadable")
    assert "22P02" in run["detail"]
    world.wait_all_committed()
    said = run["detail"] + worker.log.read_text() + str(world.dead_letters())
    address = str(world.db.value("select attributes ->> 'email' from insights.customer_profile limit 1"))
    assert address not in said


def test_a_view_that_breaks_at_its_last_row_fails_the_run_whatever_was_sent(world: World) -> None:
    world.set_up_export(people.simple(25_000))
    last = str(world.db.value("select max(attributes ->> 'email') from insights.customer_profile"))
    profile = str(
        world.db.value("select profile_id from insights.customer_profile where attributes ->> 'email' = %s", last)
    )
    definition = world.db.value("select pg_get_viewdef('insights.segment_profile'::regclass)")
    world.db.execute(BREAKING_VIEW.format(last=profile))
    world.start_worker().wait_ready()

    assert (run_once(world)["state"]) == "failed"

    world.db.execute(f"create or replace view insights.segment_profile as {definition}")
    run = run_once(world)
    assert run["state"] == "succeeded"
    check_sums(run)
    assert world.simulator.count(LIST) == 25_000


def test_addresses_of_any_length_are_rejections_of_their_own(world: World) -> None:
    world.set_up_export(people.simple(20))
    for n in range(60):
        add_member(world, f"huge-{n}", f'{{"email": "{"x" * 200_000}{n}@shop.example"}}')
    add_member(world, "large-value", f'{{"email": "big@shop.example", "first_name": "{"y" * 3_000_000}"}}')
    world.start_worker().wait_ready()

    run = run_once(world)

    assert run["state"] == "succeeded"
    check_sums(run)
    assert run["counts"]["accepted"] == 20
    codes = sorted(row["code"] for row in world.rejections(run["id"]))
    assert codes == ["email_too_long"] * 60 + ["profile_too_large"] * codes.count("profile_too_large")
    assert len(codes) == 61


def test_a_key_that_was_rotated_in_time_is_not_held_against_the_connection(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.start_worker().wait_ready()
    world.simulator.remove_key(KEY)
    world.refresh()
    wait_until(lambda: refused(world.simulator), 30, "the key to be refused once")

    world.simulator.add_key("pk_another_key", ACCOUNT)
    world.admin("connection", "rotate-key", CONNECTION, "--api-key-file", "-", stdin="pk_another_key\n")

    run = world.wait_runs_ended(1, 60)[0]
    assert run["state"] == "succeeded"
    shown = world.admin("connection", "show", CONNECTION, "--json").json
    assert shown["state"] != "needs attention"


def refused(simulator: Simulator) -> bool:
    return any(entry["status"] == 401 for entry in simulator.diary())


@pytest.mark.parametrize("attributes", ['"text"', "[]", "3", "{}", '{"email": null}', '{"email": {"a": 1}}'])
def test_a_profile_of_any_shape_is_read_and_rejected(world: World, attributes: str) -> None:
    world.set_up_export(people.simple(5))
    add_member(world, "odd", attributes)
    world.start_worker().wait_ready()

    run = run_once(world)

    assert run["state"] == "succeeded"
    assert run["counts"]["read"] == 6 and run["counts"]["invalid"] == 1


CARD = "12345678901234567890123"  # a number that neither 64 bits nor a double hold exactly
BEYOND = "1e400"


@pytest.mark.parametrize("number", [CARD, BEYOND])
def test_a_property_is_a_number_of_any_size(world: World, number: str) -> None:
    """Also where Klaviyo refuses its row and shows what it had been sent."""
    world.add_segment(SEGMENT, people.simple(3))
    add_member(world, "0-odd", f'{{"email": "odd@shop.example", "card": {number}}}')
    world.add_connection()
    world.add_export(mapping=["--property", "card=card"])
    world.simulator.control("POST", "rejects", {"emails": ["odd@shop.example"], "stage": "import-error"})
    world.start_worker().wait_ready()

    preview = world.admin("export", "preview", EXPORT, "--show", "--json")
    run = run_once(world)
    world.simulator.control("DELETE", "rejects")
    tried = world.admin("export", "try", EXPORT, "--profile", "0-odd")

    assert run["state"] == "succeeded_with_rejections", run
    assert [entry["email"] for entry in world.rejections(run["id"])] == ["odd@shop.example"]
    assert "card" in json.dumps(preview.json["examples"]), preview
    assert "card" in tried.stdout, tried
