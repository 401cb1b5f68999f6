"""The list follows the segment: who was taken off stays off, and what has no value any more goes."""

from __future__ import annotations

import json
from typing import Any

from support import klaviyo, people
from support.world import LIST, SEGMENT, World, check_sums


def run_once(world: World, seconds: float = 60, **event: Any) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh(**event)
    return world.wait_runs_ended(before + 1, seconds)[0]


def set_up(world: World, count: int, *, mapping: list[str] | None = None) -> list[str]:
    """An export that has run once; its addresses."""
    world.add_segment(SEGMENT, people.simple(count))
    world.add_connection()
    world.add_export(mapping=mapping)
    world.simulator.settings(keep_bodies=True)
    world.start_worker().wait_ready()
    assert run_once(world)["state"] == "succeeded"
    return sorted(world.simulator.emails(LIST))


def change(world: World, patch: dict[str, Any], *addresses: str) -> None:
    """Of these, or of everybody."""
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || %s::jsonb"
        " where %s or lower(attributes ->> 'email') = any (%s)",
        json.dumps(patch), not addresses, list(addresses),
    )  # fmt: skip


def add_people(world: World, *addresses: str) -> None:
    rows = [(f"added-{address}", json.dumps({"email": address})) for address in addresses]
    world.db.copy("insights.customer_profile (profile_id, attributes)", rows)
    world.db.copy(
        "insights.segment_member (segment_id, profile_id)", [(SEGMENT, row[0]) for row in rows]
    )


def last_bodies(world: World, count: int) -> list[dict[str, Any]]:
    entries = world.simulator.diary("import")[-count:]
    return [world.simulator.body(entry["seq"])["data"] for entry in entries]


def names_list(body: dict[str, Any]) -> bool:
    return "relationships" in body


def rows_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body["attributes"]["profiles"]["data"])


def test_who_was_taken_off_by_hand_stays_off_and_is_brought_up_to_date(world: World) -> None:
    taken_off, *others = set_up(world, 20)
    klaviyo.take_off(world.simulator, LIST, taken_off)
    change(world, {"points": 777})

    run = run_once(world)

    assert run["counts"]["accepted"] == 20
    assert world.simulator.emails(LIST) == set(others)
    assert klaviyo.profile(world.simulator, taken_off)["properties"]["points"] == 777
    assert [names_list(body) for body in last_bodies(world, 1)] == [False]


def test_a_full_refresh_puts_everybody_back(world: World) -> None:
    addresses = set_up(world, 20)
    klaviyo.take_off(world.simulator, LIST, *addresses)

    run = run_once(world, full=True)

    assert run["counts"]["accepted"] == 20
    assert world.simulator.emails(LIST) == set(addresses)


def test_only_who_is_new_comes_on_the_list(world: World) -> None:
    taken_off, *others = set_up(world, 20)
    klaviyo.take_off(world.simulator, LIST, taken_off)
    change(world, {"points": 777})
    add_people(world, "new@example.test")

    run = run_once(world)

    check_sums(run)
    assert world.simulator.emails(LIST) == {*others, "new@example.test"}
    bodies = {names_list(body): len(rows_of(body)) for body in last_bodies(world, 2)}
    assert bodies == {True: 1, False: 20}


def test_a_batch_that_is_split_still_names_no_list(world: World) -> None:
    taken_off, bad, *others = set_up(world, 20)
    klaviyo.take_off(world.simulator, LIST, taken_off)
    world.simulator.control("POST", "rejects", {"email": bad, "stage": "sync", "code": "invalid"})
    change(world, {"points": 777})

    run = run_once(world)

    assert (run["counts"]["accepted"], run["counts"]["rejected"]) == (19, 1)
    assert world.simulator.emails(LIST) == {*others, bad}
    assert [names_list(body) for body in last_bodies(world, 2)] == [False, False]


def test_a_property_without_a_value_is_unset_and_an_attribute_is_counted(world: World) -> None:
    first, second, *_ = set_up(
        world, 20,
        mapping=["--attribute", "first_name=first_name", "--property", "points=points", "--property", "none=none"],
    )  # fmt: skip
    change(world, {"points": None}, first)
    change(world, {"first_name": None}, second)

    run = run_once(world)

    assert run["counts"]["accepted"] == 2
    assert run["counts"]["not_cleared"] == 1
    rows = {row["attributes"]["email"]: row for row in rows_of(last_bodies(world, 1)[0])}
    assert rows[first]["meta"] == {"patch_properties": {"unset": ["points"]}}
    assert "meta" not in rows[second]
    assert "points" not in klaviyo.profile(world.simulator, first)["properties"]
    assert klaviyo.profile(world.simulator, second)["first_name"]


def test_what_was_cleared_costs_nothing_afterwards(world: World) -> None:
    set_up(world, 20)
    change(world, {"points": None, "vip": None})
    assert run_once(world)["counts"]["accepted"] == 20

    run = run_once(world)

    assert run["counts"]["unchanged"] == 20
    assert run["counts"]["not_cleared"] == 0
