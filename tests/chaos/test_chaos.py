"""Workers, servers, connections and answers fail at random. Every list is right in the end.

CHAOS_SEED     the first seed (1)
CHAOS_SEEDS    how many seeds, one after the other (1)
CHAOS_SECONDS  how long each storm lasts (60)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from chaos.scenes import Export, add_accounts, add_exports, check_lists, check_requests
from chaos.storm import Chaos, Observer, Storm, Upstream

from support.kafka_broker import KafkaBroker
from support.postgres import Postgres
from support.process import SLOW_POLL_SECONDS, wait_until
from support.world import MakeWorld, World

FIRST_SEED = int(os.environ.get("CHAOS_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("CHAOS_SEEDS", "1")))
SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
ACCOUNTS, EXPORTS_EACH, PARTITIONS = 6, 10, 12
CALM_SECONDS = 120
OPEN_RUNS = "select count(*) from klaviyo.run where state in ('queued', 'running')"
FAILED = "select reason, count(*) from klaviyo.run where state = 'failed' group by reason"


def make_exports(world: World) -> list[Export]:
    """Ten for each account; one of them is many batches long, one a full one."""
    sizes = [25_000, 10_000, 1000, *[100] * (EXPORTS_EACH - 3)]
    accounts = add_accounts(world, ACCOUNTS)
    return add_exports(
        world, [Export(a, n, rows) for n, rows in enumerate(sizes) for a in accounts]
    )


def log_events(world: World, name: str) -> list[dict[str, Any]]:
    return [event for worker in world.workers for event in worker.events(name)]


def check_takes(world: World) -> None:
    """No two workers ever held one run under one epoch; no batch was confirmed twice."""
    taken = [(e["run"], e["epoch"]) for e in log_events(world, "run_taken")]
    assert len(taken) == len(set(taken))
    complete = [e["batch"] for e in log_events(world, "batch_complete")]
    assert len(complete) == len(set(complete))


def late_requests(world: World) -> int:
    """Imports of what was confirmed, and looks at jobs that had ended."""
    job_of = {e["batch"]: e["job"] for e in log_events(world, "batch_sent")}
    ended = {
        job_of[e["batch"]] for e in log_events(world, "batch_complete") if e["batch"] in job_of
    }
    confirmed_at = {}
    for worker in world.workers:
        for event in worker.events("batch_complete"):
            if job := job_of.get(event["batch"]):
                confirmed_at[job] = event["time"]
    imports = world.simulator.diary("import")
    body_of = {e["job"]: e["sha256"] for e in imports if e["job"]}
    first = {body_of[job]: confirmed_at[job] for job in ended if job in body_of}
    return sum(
        e["status"] == 202 and e["sha256"] in first and utc(e["at"]) > first[e["sha256"]]
        for e in imports
    )


def utc(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:26] + "Z"


def replay_failures(world: World) -> dict[str, int]:
    """A run that was taken over five times without progress fails: its letters go again."""
    failed: dict[str, int] = dict(world.db.rows(FAILED))
    assert set(failed) <= {"taken_over_too_often"}, failed
    if failed:
        world.admin("dead-letters", "replay")
    return failed


def wait_calm(world: World) -> None:
    world.wait_all_committed(CALM_SECONDS)
    wait_until(lambda: world.db.value(OPEN_RUNS) == 0, 30, "every run to end", SLOW_POLL_SECONDS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_every_list_is_right_and_no_offset_passes_open_work(
    make_world: MakeWorld, own_kafka: KafkaBroker, own_postgres: Postgres, seed: int, logs: Path
) -> None:
    world = make_world(kafka=own_kafka, postgres=own_postgres, partitions=PARTITIONS)
    exports = make_exports(world)
    accounts = sorted({e.account.number: e.account for e in exports}.items())
    chaos = Chaos(world, [account for _, account in accounts])
    chaos.wait_ready()
    observer = Observer(world, PARTITIONS)
    observer.start()
    upstream = Upstream(world, exports, seed)
    upstream.start()

    chaos.run(Storm(seed).plan(SECONDS), chaos.check_well)
    upstream.stop()
    wait_calm(world)
    failed = replay_failures(world)
    wait_calm(world)
    chaos.check_well()
    observer.stop()

    repeated = late_requests(world)
    print(
        f"\nseed {seed}: {dict(chaos.done)}, {upstream.published} events,"
        f" {observer.looks} looks, {len(world.simulator.diary('import'))} imports,"
        f" {repeated} late, failed {failed}"
    )
    assert observer.violations == []
    check_takes(world)
    check_requests(world)
    check_lists(world, exports)
    # A request of a worker that froze in the middle of it may arrive late.
    assert repeated <= chaos.done["freeze"]
    chaos.stop_all()
