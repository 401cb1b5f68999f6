"""What the log tells of a run and of the event that asked for it."""

from __future__ import annotations

from dataclasses import replace

from support import events, people
from support.world import LIST, SEGMENT, World

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CODES = ("read", "invalid", "duplicate", "unchanged", "selected", "accepted", "rejected", "left")


def traced(segment: str) -> events.Message:
    message = events.binary(segment)
    return replace(message, headers={**message.headers, "traceparent": TRACE.encode()})


def test_a_run_has_a_line_for_each_state_with_its_counts_and_its_trace(world: World) -> None:
    world.set_up_export(people.simple(300))
    worker = world.start_worker()
    world.publish(traced(SEGMENT))
    world.wait_all_committed()

    run = world.runs()[0]
    (taken,) = worker.events("run_taken")
    (ended,) = worker.events("run_ended")
    assert (taken["run"], ended["run"]) == (run["id"], run["id"])
    assert ended["state"] == run["state"] == "succeeded"
    assert {code: ended[code] for code in CODES} == {code: run["counts"][code] for code in CODES}
    assert ended["requests"] == run["requests"]
    assert taken["trace"] == ended["trace"] == TRACE
    assert {request["traceparent"] for request in world.simulator.diary()[-2:]} == {TRACE}


def test_a_run_with_rejections_is_logged_as_such(world: World) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    world.simulator.control("POST", "rejects", {"emails": sorted(population.wanted)[:1]})
    worker = world.start_worker()
    world.refresh()
    world.wait_all_committed()
    (ended,) = worker.events("run_ended")
    assert ended["state"] == world.runs()[0]["state"] == "succeeded_with_rejections"
    assert ended["rejected"] == world.runs()[0]["counts"]["rejected"] == 1


def test_waiting_is_logged_with_its_length_and_its_end(world: World) -> None:
    world.set_up_export(people.simple(300))
    world.simulator.fault("import", {"throttle": 3}, times=1)
    worker = world.start_worker()
    world.refresh()
    world.wait_all_committed()
    (waiting,) = worker.events("run_waiting")
    (resumed,) = worker.events("run_resumed")
    assert 1000 < waiting["waiting_ms"] <= 3000
    assert resumed["waiting_ms"] == 0


def test_a_dead_letter_carries_the_trace_and_the_log_tells_it(world: World) -> None:
    world.set_up_export(people.simple(20))
    world.simulator.remove_list(LIST)
    worker = world.start_worker()
    world.publish(traced(SEGMENT))
    world.wait_all_committed()
    (letter,) = world.dead_letters()
    assert letter.header("traceparent") == TRACE
    (written,) = worker.events("dead_letter_written")
    assert (written["reason"], written["trace"]) == ("list_gone", TRACE)
