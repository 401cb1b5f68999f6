"""An event on Kafka becomes members of a Klaviyo list."""

from __future__ import annotations

import json
from typing import Any

import fastjsonschema
import pytest

from support import events, people
from support.paths import TREE
from support.world import EXPORT, LIST, SEGMENT, World, check_sums

MAX_ROWS = 10_000
MAX_BYTES = 5_000_000
IMPORT_SCHEMA = TREE / "schemas" / "klaviyo" / "import-request.schema.json"


def check_requests(world: World) -> list[dict[str, Any]]:
    """Every import request keeps the limits and the published schema. Its profiles."""
    validate = fastjsonschema.compile(json.loads(IMPORT_SCHEMA.read_text()))
    profiles: list[dict[str, Any]] = []
    for entry in world.simulator.diary("import"):
        assert entry["profiles"] <= MAX_ROWS
        assert entry["bytes"] <= MAX_BYTES
        body = world.simulator.body(entry["seq"])
        validate(body)
        profiles += body["data"]["attributes"]["profiles"]["data"]
    return profiles


def check_profiles(profiles: list[dict[str, Any]], population: people.Population) -> None:
    """Each distinct valid address once, with the attributes of the profile that wins it."""
    sent = {profile["attributes"]["email"]: profile for profile in profiles}
    assert len(sent) == len(profiles), "an address was sent twice"
    assert sent.keys() == population.wanted.keys()
    stored = {profile: json.loads(text) for profile, text in population.members}
    for address, winner in population.wanted.items():
        check_attributes(sent[address]["attributes"], stored[winner])


def check_attributes(sent: dict[str, Any], stored: dict[str, Any]) -> None:
    assert sent["first_name"] == stored["first_name"]
    for name in ("points", "score", "vip", "tags", "address"):
        assert sent["properties"][name] == stored[name], name


@pytest.mark.timeout(300)
def test_a_segment_of_100_000_becomes_the_list_of_its_distinct_valid_addresses(
    world: World,
) -> None:
    population = people.mixed(100_000)
    world.simulator.settings(keep_bodies=True)
    world.set_up_export(population)
    worker = world.start_worker().wait_ready()
    world.refresh()

    run = world.wait_runs_ended(1, 200)[0]

    assert run["state"] == "succeeded", run
    counts = run["counts"]
    assert {name: counts[name] for name in population.expected_counts()} == (
        population.expected_counts()
    )
    check_sums(run)
    assert counts["rejected"] == 0 and counts["throttled"] == 0
    assert world.simulator.emails(LIST) == population.wanted.keys()
    check_profiles(check_requests(world), population)
    world.wait_all_committed()
    worker.stop()


def test_each_bad_address_is_listed_with_its_reason(world: World) -> None:
    maker = people.Maker()
    maker.valid(50)
    maker.missing(8)
    maker.malformed(40)
    maker.not_ascii(8)
    maker.too_long(4)
    maker.too_large(2)
    world.set_up_export(maker.population)
    world.start_worker().wait_ready()
    world.refresh()

    run = world.wait_runs_ended()[0]

    found = world.rejections(run["id"])
    assert {entry["stage"] for entry in found} == {"local"}
    reasons = [entry["code"] for entry in found]
    assert {code: reasons.count(code) for code in set(reasons)} == dict(maker.population.invalid)
    assert run["counts"]["invalid"] == len(found)
    assert world.simulator.emails(LIST) == maker.population.wanted.keys()


def test_requests_are_cut_by_bytes_too(world: World) -> None:
    population = people.Population()
    for n in range(300):
        attributes = {"email": f"big{n}@example.test", "biography": "ä" * 20_000}
        population.members.append((f"p{n:04}", json.dumps(attributes, ensure_ascii=False)))
        population.wanted[attributes["email"]] = f"p{n:04}"
    world.set_up_export(population)
    world.start_worker().wait_ready()
    world.refresh()

    run = world.wait_runs_ended()[0]

    assert run["state"] == "succeeded", run
    requests = world.simulator.diary("import")
    assert sum(entry["profiles"] for entry in requests) == 300
    smallest, *full = sorted(entry["bytes"] for entry in requests)
    assert len(full) == 2
    assert all(4_900_000 < size <= MAX_BYTES for size in full)
    assert smallest < full[0]


@pytest.mark.parametrize("form", [events.binary, events.structured, events.plain])
def test_an_event_is_understood_in_each_form(world: World, form: Any) -> None:
    population = people.simple(10)
    world.set_up_export(population)
    world.start_worker().wait_ready()
    world.publish(form(SEGMENT))

    run = world.wait_runs_ended()[0]

    assert run["state"] == "succeeded", run
    assert run["export"] == EXPORT and run["events"] == 1
    assert world.simulator.emails(LIST) == population.wanted.keys()
    world.wait_all_committed()


def test_publish_and_wait_shows_the_end_of_the_run(world: World) -> None:
    world.set_up_export(people.simple(100))
    worker = world.start_worker().wait_ready()

    world.admin("publish", SEGMENT, "--wait")

    run = world.runs()[0]
    assert run["state"] == "succeeded" and run["counts"]["accepted"] == 100
    assert world.simulator.count(LIST) == 100
    world.wait_all_committed(60)
    assert worker.events("missed_ends_settled") == []  # the end of the run was the end of its event


def test_a_profile_in_two_segments_of_an_export_is_read_once(world: World) -> None:
    first = people.simple(40)
    world.add_segment(SEGMENT, first)
    world.db.execute("insert into insights.segment (segment_id, name) values ('other', 'other')")
    world.db.copy(
        "insights.segment_member (segment_id, profile_id)",
        [("other", profile) for profile, _ in first.members[:25]],
    )
    world.add_connection()
    world.add_export(segments=(SEGMENT, "other"))
    world.start_worker().wait_ready()
    world.refresh("other")

    run = world.wait_runs_ended()[0]

    assert run["counts"]["read"] == 40 and run["counts"]["duplicate"] == 0
    assert world.simulator.count(LIST) == 40


def test_an_event_for_a_segment_without_export_is_passed_over(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker().wait_ready()
    world.publish(events.binary("nobody-uses-it"))

    world.wait_all_committed()

    assert world.runs() == []
    assert world.simulator.diary("import") == []


def test_an_empty_segment_makes_a_run_without_a_request(world: World) -> None:
    world.set_up_export(people.Population())
    world.start_worker().wait_ready()
    world.refresh()

    run = world.wait_runs_ended()[0]

    assert run["state"] == "succeeded" and run["counts"]["read"] == 0
    assert world.simulator.diary("import") == []
    world.wait_all_committed()


def test_more_profiles_than_allowed_fail_the_run_before_the_first_request(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(101))
    world.add_connection()
    world.add_export(EXPORT, "--max-profiles", "100")
    world.start_worker().wait_ready()
    world.refresh()

    run = world.wait_runs_ended()[0]

    assert (run["state"], run["reason"]) == ("failed", "over_profile_limit")
    assert "101" in run["detail"] and "100" in run["detail"]
    assert world.simulator.diary("import") == []
    world.wait_all_committed()
    assert len(world.dead_letters()) == 1
