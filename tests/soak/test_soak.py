"""After an hour of everything at once, nothing has grown, nothing is lost and nothing is wrong."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from soak.conftest import MINUTES, Soaked, wait_calm
from soak.flat import trend
from soak.load import SETTINGS, STEADY_WORKERS
from soak.upstream import wrong_on_lists

pytestmark = pytest.mark.timeout(int(60 * MINUTES) + 1800)

# What a run may fail of: a guard that is set to trip, and what changes while it runs.
EXPECTED_REASONS = {"", "over_profile_limit", "export_changed", "export_paused", "export_removed"}
# Said at level error though nothing is wrong: none.
EXPECTED_ERRORS: set[str] = set()
LARGEST_AUDIT_ROW_BYTES = 500
LARGEST_PAST_RUN_BYTES = 200
EMPTY_TABLE_BYTES = 64 * 1024  # its pages, and those of its indexes


def growing(soaked: Soaked, *words: str) -> list[str]:
    """Rows of the table, of the figures whose names begin so, that are not flat."""
    judged = soaked.sampler.judged().values()
    chosen = [series for series in judged if series.name.startswith(words)]
    assert chosen, words
    return [" ".join(series.row()) for series in chosen if not series.flat]


def log_events(soaked: Soaked) -> list[dict[str, Any]]:
    return [event for worker in soaked.world.workers for event in worker.events()]


def test_everybody_did_what_they_came_for(soaked: Soaked) -> None:
    failures = soaked.load.failures + soaked.sampler.failures
    assert not failures, f"{len(failures)} failures:\n" + "\n".join(failures[:20])


@pytest.mark.parametrize("what", ["resident memory", "descriptors", "threads", "processor a minute"])
@pytest.mark.parametrize("worker", range(1, STEADY_WORKERS + 1))
def test_a_worker_does_not_grow(soaked: Soaked, worker: int, what: str) -> None:
    assert growing(soaked, f"worker {worker}: {what}") == []


def test_a_worker_keeps_within_what_is_said_of_its_memory(soaked: Soaked) -> None:
    """deploy/sizing.md: 64 MiB for each run at once, and 128 MiB."""
    limit = (64 * int(SETTINGS["MAX_RUNS"]) + 128) * 1024 * 1024
    for n in range(1, STEADY_WORKERS + 1):
        assert max(soaked.sampler.series[f"worker {n}: resident memory"].samples) < limit


def test_workers_keep_within_their_connections(soaked: Soaked) -> None:
    """deploy/sizing.md: 9 + 4 × MAX_RUNS for each worker; one may be on its way out."""
    assert growing(soaked, "database: connections") == []
    limit = (STEADY_WORKERS + 2) * (9 + 4 * int(SETTINGS["MAX_RUNS"]))
    assert max(soaked.sampler.series["database: connections of workers"].samples) <= limit


def test_tables_do_not_grow(soaked: Soaked) -> None:
    assert growing(soaked, "table ") == []


def test_indexes_do_not_grow(soaked: Soaked) -> None:
    assert growing(soaked, "index ") == []


def test_old_rows_are_deleted(soaked: Soaked) -> None:
    assert growing(soaked, "rows of ") == []


def test_dead_rows_are_vacuumed(soaked: Soaked) -> None:
    assert growing(soaked, "dead rows ") == []


@pytest.mark.parametrize(
    ("table", "bytes_a_row"),
    [("audit", LARGEST_AUDIT_ROW_BYTES), ("past_run", LARGEST_PAST_RUN_BYTES)],
)
def test_what_is_kept_for_ever_is_small(soaked: Soaked, table: str, bytes_a_row: int) -> None:
    rows = soaked.world.db.value(f"select count(*) from klaviyo.{table}")
    size = soaked.world.db.value(f"select pg_total_relation_size('klaviyo.{table}')")
    assert rows > 0 and size < EMPTY_TABLE_BYTES + rows * bytes_a_row, f"{size} bytes for {rows} rows"


def test_old_runs_were_deleted(soaked: Soaked) -> None:
    kept = trend(soaked.sampler.series["rows of run"].samples)
    assert kept.last < len(soaked.sampler.ended)


def test_the_lag_does_not_grow(soaked: Soaked) -> None:
    assert growing(soaked, "kafka:") == []


def test_the_log_is_written_at_an_even_pace(soaked: Soaked) -> None:
    assert growing(soaked, "log: bytes a minute") == []


def test_nothing_was_said_at_level_error(soaked: Soaked) -> None:
    found = Counter(e["event"] for e in log_events(soaked) if e["level"] == "error")
    assert not set(found) - EXPECTED_ERRORS, found


def test_counts_add_up_in_every_run(soaked: Soaked) -> None:
    assert soaked.sampler.ended and not soaked.sampler.wrong_sums


def test_runs_ended_as_they_should(soaked: Soaked) -> None:
    ends = Counter((state, reason) for _, state, reason in soaked.sampler.ended.values())
    print(f"\n{ends}")
    assert {reason for _, reason in ends} <= EXPECTED_REASONS, ends


def test_every_offset_is_committed_and_every_run_has_ended(soaked: Soaked) -> None:
    wait_calm(soaked.world)


def test_every_list_is_right(soaked: Soaked) -> None:
    wait_calm(soaked.world)
    assert wrong_on_lists(soaked.world, soaked.load.targets) == []


def test_every_end_was_told(soaked: Soaked) -> None:
    heard = Counter(json.loads(r.value or b"")["run"] for r in soaked.world.wait_outcomes_sent(60))
    unheard = [run for run in soaked.sampler.ended if run not in heard]
    assert unheard == []


def test_workers_end_as_asked(soaked: Soaked) -> None:
    soaked.load.end_workers()
