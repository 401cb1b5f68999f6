"""Workers, servers, connections and answers fail at random. Every list is right in the end.

CHAOS_SEED     the first seed (1)
CHAOS_SEEDS    how many seeds, one after the other (1)
CHAOS_SECONDS  how long each storm lasts (60)
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chaos.person import Person
from chaos.history import History
from chaos.scenes import (
    Export,
    SetBack,
    add_accounts,
    add_exports,
    check_lists,
    check_requests,
    forgotten_removals,
    overtaken_exports,
    refresh,
)
from chaos.storm import PARTITIONS, Chaos, Storm, Upstream

from support.kafka_broker import KafkaBroker
from support.postgres import Postgres
from support.process import SLOW_POLL_SECONDS, wait_until
from support.world import MakeWorld, World

FIRST_SEED = int(os.environ.get("CHAOS_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("CHAOS_SEEDS", "1")))
SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
ACCOUNTS, EXPORTS_EACH = 6, 10
REMOVE, STILL = {4, 6, 8}, {9}  # of each account, by number
CALM_SECONDS = 120
OPEN_RUNS = "select count(*) from klaviyo.run where state in ('queued', 'running')"
# A trial is told to who asked for it.
HEARD_OF = "select run_id, epoch from klaviyo.run where finished_at is not null and not is_trial"
FAILED = "select reason, count(*) from klaviyo.run where state = 'failed' group by reason"


def make_exports(world: World) -> list[Export]:
    """Ten for each account; one of them is three batches long, one a full one, three remove."""
    sizes = [25_000, 10_000, 1000, *[100] * (EXPORTS_EACH - 3)]
    accounts = add_accounts(world, ACCOUNTS)
    return add_exports(
        world,
        [
            Export(a, n, rows, removes=n in REMOVE, is_still=n in STILL)
            for n, rows in enumerate(sizes)
            for a in accounts
        ],
    )


def log_events(world: World, name: str) -> list[dict[str, Any]]:
    return [event for worker in world.workers for event in worker.events(name)]


@dataclass(frozen=True)
class Histories:
    """Numbers of runs and batches are given again by a database that was set back."""

    set_backs: list[SetBack]

    def number(self, time: str) -> int:
        """Of the history in which that was written."""
        return sum(utc(s.stopped_at) <= time for s in self.set_backs)

    def of(self, event: dict[str, Any], *names: str) -> tuple[Any, ...]:
        return self.number(event["time"]), *(event[name] for name in names)


def check_takes(world: World) -> None:
    """No two workers ever held one run by one take.

    Not by run and epoch: who is frozen amid a take says so in a later history. So that no batch
    was confirmed twice is judged by the server's own history.
    """
    taken = Counter(e["take"] for e in log_events(world, "run_taken"))
    assert [take for take, times in taken.items() if times > 1] == []


def late_imports(world: World, histories: Histories) -> int:
    """Imports of what had been confirmed already, as the database knew."""
    job_of = {histories.of(e, "batch"): e["job"] for e in log_events(world, "batch_sent")}
    confirmed_at = {
        job_of[batch]: e["time"]
        for e in log_events(world, "batch_complete")
        if (batch := histories.of(e, "batch")) in job_of
    }
    accepted = [e for e in world.simulator.diary("import") if e["status"] == 202]
    first = {
        (histories.number(at), e["sha256"]): at
        for e in accepted
        if (at := confirmed_at.get(e["job"]))
    }
    return sum(
        utc(e["at"]) > first.get((histories.number(utc(e["at"])), e["sha256"]), "Z")
        for e in accepted
    )


def utc(seconds: float) -> str:
    """As logs write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:26] + "Z"


def replay_failures(world: World) -> dict[str, int]:
    """A run that was taken over five times without progress fails: its letters go again."""
    failed: dict[str, int] = dict(world.db.rows(FAILED))
    assert set(failed) <= {"taken_over_too_often"}, failed
    if failed:
        world.admin("dead-letters", "replay")
    return failed


def check_outcomes(world: World, history: History, was_set_back: bool) -> None:
    """Each run that has ended was heard of, under one id; with set-backs numbers come again."""
    heard: dict[int, set[str]] = {}
    records = world.wait_outcomes_sent(CALM_SECONDS)
    history.judge_outcomes(records)
    for record in records:
        data = json.loads(record.value or b"")
        heard.setdefault(data["run"], set()).add(record.header("ce_id"))
    ended = dict(world.db.rows(HEARD_OF))
    unheard = [run for run, epoch in ended.items() if f"{run}-{epoch}" not in heard.get(run, set())]
    told = [(r.partition, r.offset, r.header("ce_id")) for r in records]
    assert unheard == [], f"nobody was told of these runs: {unheard} of {ended}, but of {told}"
    if not was_set_back:
        assert {run: ids for run, ids in heard.items() if len(ids) > 1} == {}


def removed(world: World) -> int:
    return int(world.db.value("select sum(removed_rows) from klaviyo.run"))


def wait_calm(world: World) -> None:
    world.wait_all_committed(CALM_SECONDS)
    wait_until(lambda: world.db.value(OPEN_RUNS) == 0, 30, "every run to end", SLOW_POLL_SECONDS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_every_list_is_right_and_no_offset_passes_open_work(
    make_world: MakeWorld, own_kafka: KafkaBroker, own_postgres: Postgres, seed: int, logs: Path
) -> None:
    world = make_world(kafka=own_kafka, postgres=own_postgres, partitions=PARTITIONS)
    world.turn_on_outcomes(PARTITIONS)
    exports = make_exports(world)
    history = History(world)
    chaos = Chaos(world, exports, history)
    chaos.wait_ready()
    upstream = Upstream(world, exports, seed)
    upstream.start()
    person = Person(world, [e for e in exports if e.is_still], seed)
    person.start()

    chaos.run(Storm(seed).plan(SECONDS), chaos.check_well)
    upstream.stop()
    person.stop()
    wait_calm(world)
    failed = replay_failures(world)
    wait_calm(world)
    # The risks that remain, and what is to be done about them.
    overtaken = overtaken_exports(world, exports, chaos.set_backs)
    forgotten = forgotten_removals(world, exports, chaos.set_backs)
    refresh(world, *overtaken, *[e for e in forgotten if e not in overtaken], full=True)
    wait_calm(world)
    chaos.check_well()
    history.read()
    history.judge_offsets()

    histories = Histories(chaos.set_backs)
    repeated = late_imports(world, histories)
    print(
        f"\nseed {seed}: {dict(chaos.done)}, {upstream.published} events,"
        f" {history.changes} changes, {history.commits} commits,"
        f" {len(world.simulator.diary('import'))} imports,"
        f" {repeated} late, {len(overtaken)} overtaken, {len(forgotten)} forgotten, {removed(world)} removed, failed {failed},"
        f" answers {dict(person.answered)}, asked again {person.asked_again}"
    )
    assert not person.violations, "\n".join(person.violations)
    check_takes(world)
    check_requests(world)
    check_lists(world, exports, chaos.set_backs)
    check_outcomes(world, history, bool(chaos.set_backs))
    assert history.changes > 0 and history.commits > 0, "nobody kept a history"
    assert not history.violations, "\n".join(history.violations)
    # A request of a worker that froze in the middle of it may arrive late.
    assert repeated <= chaos.done["freeze"]
    chaos.stop_all()
