"""Jobs end though their listing is of no use: it only saves requests."""

from __future__ import annotations

from typing import Any

import pytest

from support import people
from support.world import LIST, World, check_sums

BATCH = 10_000
JOB_MS = 3000  # so that several are open at once on a slow machine, too
ERROR = '{"errors":[{"status":"%d","code":"not_found","title":"no","detail":"no","source":{}}]}'


def answer(status: int, body: str, content_type: str = "application/vnd.api+json") -> dict[str, Any]:
    return {"status": status, "body": body, "content_type": content_type}


ANSWERS = {
    "not served": answer(404, ERROR % 404),
    "parameters refused": answer(400, ERROR % 400),
    "no such method": answer(405, ERROR % 405),
    "gone": answer(410, ERROR % 410),
    "a page instead": answer(200, "<html></html>", "text/html"),
    "something else": answer(200, '{"data":{"id":"x"}}'),
    "empty": answer(204, ""),
    "a gateway's page": answer(404, "<html>not found</html>", "text/html"),
    "always down": answer(503, ERROR % 503),
    "broken": {"malformed": True},
    "reset": {"reset": "before"},
}


@pytest.mark.parametrize("action", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_run_ends_though_the_listing_of_jobs_does_not_help(
    world: World, action: dict[str, Any]
) -> None:
    population = people.simple(2 * BATCH + 50)
    world.set_up_export(population)
    world.simulator.settings(queued_ms=300, processing_ms=JOB_MS)
    world.simulator.fault("jobs", action, times=-1)
    worker = world.start_worker()
    world.refresh()
    (run,) = world.wait_runs_ended()

    assert run["state"] == "succeeded", run["detail"]
    check_sums(run)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    # The worker's tries; curl sends a GET again by itself where a kept connection had gone.
    tries = [e for e in worker.events("answer") if e["endpoint"] == "jobs"]
    assert 1 <= len(tries) <= 3
    assert len(worker.events("job_listing_given_up")) <= 1
    assert len(world.simulator.diary("import")) == 3


@pytest.mark.parametrize(
    "action",
    [{"throttle": 600}, {**answer(503, ERROR % 503), "headers": {"retry-after": "600"}}],
    ids=["used up", "away for long"],
)
def test_a_listing_that_must_wait_is_not_waited_for(world: World, action: dict[str, Any]) -> None:
    population = people.simple(2 * BATCH + 50)
    world.set_up_export(population)
    world.simulator.settings(queued_ms=300, processing_ms=JOB_MS)
    world.simulator.fault("jobs", action)
    world.start_worker()
    world.refresh()
    (run,) = world.wait_runs_ended(seconds=30)

    assert run["state"] == "succeeded", run["detail"]
    assert world.simulator.emails(LIST) == population.wanted.keys()
    assert len(world.simulator.diary("jobs")) == 1
