"""The runbook's states: whatever is asked says the same thing, and soon.

Each row is a state that is brought about. Its cells are what of it is said, each within
SEEN_SECONDS: the listing, /api/runs, the page, the log, a metric, and the alerts whose
expressions hold over the metrics of the worker.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from support import people
from support.events import Message
from support.paths import TREE, tool
from support.process import SLOW_POLL_SECONDS, wait_until
from support.worker import Worker
from support.world import ACCOUNT, EXPORT, KEY, LIST, SEGMENT, World

RULES = TREE / "deploy" / "alerts" / "klaviyo-worker.rules.yaml"
SAMPLE = re.compile(r"^klaviyo_worker_(\w+)(?:\{(.*)\})? (\S+)$", re.M)
DEAD = {"KlaviyoWorkerRunFailed", "KlaviyoWorkerDeadLetters"}
SEEN_SECONDS = 10  # from the moment at which the state is there


@dataclass(frozen=True)
class Figure:
    """A sample of a metric: what a counter has grown by since, or what a gauge stands at."""

    name: str
    least: float = 1
    most: float = -math.inf  # none: least

    def holds(self, before: dict[str, float], after: dict[str, float]) -> bool:
        name = labelled(*re.findall(r"[^{}]+", self.name))
        value = after.get(name, math.nan)
        if self.name.split("{")[0].endswith("_total"):
            value -= before.get(name, 0)
        return self.least <= value <= max(self.least, self.most)


def ended(state: str) -> Figure:
    return Figure(f'runs_ended_total{{state="{state}"}}')


def waiting(reason: str) -> Figure:
    return Figure(f'waiting_runs_by_reason{{reason="{reason}"}}')


@dataclass(frozen=True)
class State:
    """What is to be said of it. A run that has failed is a dead letter, and both are alerts."""

    name: str
    provoke: Callable[[World], AbstractContextManager[object] | None]
    state: str | None = None  # None: there is no run
    reason: str | None = None
    log: tuple[str, dict[str, Any]] = ("run_ended", {})
    alerts: set[str] = field(default_factory=set)
    ready: bool = True
    page: str = ""  # what the page says besides the run
    listing: tuple[str, str] = ("", "")  # a command besides runs list, and what it says
    metric: Figure | None = None  # None: the reason in runs_failed_total
    settings: dict[str, str] = field(default_factory=dict)  # {world} is its name
    population: Callable[[], people.Population] = lambda: people.simple(60)


# -- how a state is brought about ----------------------------------------------------


def refresh(world: World) -> None:
    world.refresh()


def then_refresh(act: Callable[[World], object]) -> Callable[[World], None]:
    def provoke(world: World) -> None:
        act(world)
        world.refresh()

    return provoke


def fault(endpoint: str, **action: Any) -> Callable[[World], None]:
    return then_refresh(lambda w: w.simulator.fault(endpoint, action, times=-1))


def sql(statement: str) -> Callable[[World], None]:
    return then_refresh(lambda w: w.db.execute(statement))


def nothing(world: World) -> None:
    pass


def publish_no_event(world: World) -> None:
    world.publish(Message(b"no json", {}, b"k"))


def with_invalid(count: int) -> people.Population:
    population = people.simple(60)
    population.members += [(f"i-{n}", '{"email": "nobody"}') for n in range(count)]
    return population


def reject_many(world: World) -> None:
    emails = [f"r{n}@example.test" for n in range(30)]
    for n, email in enumerate(emails):
        world.db.execute(
            "insert into insights.customer_profile values (%s, jsonb_build_object('email', %s::text))",
            f"r-{n}",
            email,
        )
        world.db.execute(
            "insert into insights.segment_member select segment_id, %s from insights.segment",
            f"r-{n}",
        )
    world.simulator.control("POST", "rejects", {"emails": emails})
    world.refresh()


def cancel_amid(world: World) -> None:
    """While an import is in flight."""
    world.simulator.fault("import", {"delay_ms": 3000}, times=-1)
    world.refresh()
    wait_until(lambda: world.runs("--state", "running"), 20, "a run that goes on")
    world.admin("runs", "cancel", str(world.runs()[0]["id"]))


def pause_amid(world: World) -> None:
    world.simulator.fault("import", {"delay_ms": 3000}, times=-1)
    world.refresh()
    wait_until(lambda: world.runs("--state", "running"), 20, "a run that goes on")
    world.admin("export", "pause", EXPORT)


def take_in_vain(world: World) -> None:
    """As if five workers in a row had left it."""
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.refresh()
    wait_until(lambda: world.runs("--state", "waiting"), 20, "a run that waits")
    world.db.execute("update klaviyo.run set epoch = epoch + 1")
    world.db.execute(
        "update klaviyo.run set takes_without_progress = 5, lease_until = now() - interval '1 s'"
    )


def outcome_in_vain(world: World) -> None:
    """For longer than anybody should wait."""
    world.refresh()
    world.wait_runs_ended(1)
    world.db.execute("update klaviyo.outcome set ended_at = ended_at - interval '1 hour'")


def succeed_long_ago(world: World) -> None:
    """For a clock that counts minutes from 1970, as promtool's does."""
    world.refresh()
    world.wait_runs_ended(1)
    world.admin("export", "update", EXPORT, "--expect-every", "1m")
    world.db.execute("update klaviyo.export_success set at = '1970-01-01 00:00:30Z'")
    wait_until(lambda: "stale" in world.admin("export", "list").stdout, 10, "the listing to say it")


MORE_MEMBERS = """\
with new as (insert into insights.customer_profile
 select 'n-' || n, jsonb_build_object('email', 'n' || n || '@example.test') from generate_series(1, 1000) n
 returning profile_id)
insert into insights.segment_member select segment_id, profile_id from insights.segment, new
"""


def grow(world: World) -> None:
    """From 60 to 1,060."""
    world.refresh()
    world.wait_runs_ended(1)
    world.db.execute(MORE_MEMBERS)
    world.refresh()


def exceed_plan(world: World) -> None:
    world.simulator.control("PUT", f"keys/{KEY}", {"account": ACCOUNT, "scopes": "all"})
    world.simulator.control("PUT", f"accounts/{ACCOUNT}", {"usage_used": 90, "usage_max": 100})
    world.admin("export", "update", EXPORT, "--plan", "stop")
    world.refresh()


def start_flows(world: World) -> None:
    world.simulator.control("PUT", f"keys/{KEY}", {"account": ACCOUNT, "scopes": "all"})
    world.simulator.control("PUT", f"lists/{LIST}", {"flows": [{"status": "live"}]})
    world.refresh()


def empty_segment(world: World) -> None:
    world.admin("export", "update", EXPORT, "--on-leave", "remove")
    world.refresh()
    world.wait_runs_ended(1)
    world.db.execute("delete from insights.segment_member")
    world.refresh()


def replace_key_pair(world: World) -> None:
    """The connection has its new key, the worker the old file."""
    world.admin("keygen", "--replace", "--out", str(world.folder / "new.key"))
    world.admin("connection", "rotate-key", "main", "--api-key-file", "-", stdin=KEY)
    world.refresh()


def send_and_remove(world: World) -> None:
    """Somebody leaves while another run sends to the same list, for long."""
    world.admin("export", "update", EXPORT, "--on-leave", "remove")
    world.refresh()
    world.wait_runs_ended(1)
    world.add_segment("others", people.simple(3, seed=2))
    world.add_export("others", segments=("others",))
    world.simulator.settings(queued_ms=60000)
    world.refresh("others")
    world.wait_requests("import", 2)
    world.db.execute("delete from insights.segment_member where profile_id = (select min(profile_id) from"
                     " insights.segment_member where segment_id = %s)", SEGMENT)  # fmt: skip
    world.refresh()


def lock(world: World, statement: bytes) -> psycopg.Connection[Any]:
    blocker = world.db.connect()
    blocker.execute(b"begin")
    blocker.execute(statement)
    return blocker


def lock_export(world: World) -> psycopg.Connection[Any]:
    blocker = lock(world, b"update klaviyo.export set max_profiles = 7000")
    world.refresh()
    return blocker


def lock_runs(world: World) -> psycopg.Connection[Any]:
    return lock(world, b"lock table klaviyo.run in access exclusive mode")


BAD_VIEW = """\
create or replace view insights.segment_profile as
select m.segment_id, p.profile_id, jsonb_build_object('email', 1 / (length(p.profile_id) * 0)) as attributes
from insights.segment_member m join insights.customer_profile p using (profile_id)
"""

STATES = [
    State(
        "succeeded",
        refresh,
        "succeeded",
        log=("run_ended", {"state": "succeeded"}),
        metric=ended("succeeded"),
    ),
    State(
        "rejections",
        reject_many,
        "succeeded_with_rejections",
        alerts={"KlaviyoWorkerRejectionShareHigh"},
        log=("run_ended", {"rejected": 30}),
        metric=ended("succeeded_with_rejections"),
    ),
    State(
        "invalid",
        refresh,
        "succeeded",
        alerts={"KlaviyoWorkerInvalidShareHigh"},
        log=("run_ended", {"invalid": 40}),
        metric=Figure('members_total{outcome="invalid"}', 40),
        population=lambda: with_invalid(40),
    ),
    State(
        "too_many_invalid",
        refresh,
        "failed",
        "too_many_invalid",
        alerts=DEAD | {"KlaviyoWorkerInvalidShareHigh"},
        population=lambda: with_invalid(120),
    ),
    State("size_jumped", grow, "failed", "size_jumped", alerts=DEAD),
    State("over_plan_limit", exceed_plan, "failed", "over_plan_limit", alerts=DEAD, page="90 of 100 profiles"),
    State(
        "list_starts_flows",
        start_flows,
        "failed",
        "list_starts_flows",
        alerts=DEAD,
        population=lambda: people.simple(1001),
    ),
    State(
        "removals_withheld",
        empty_segment,
        "succeeded",
        "removals_withheld",
        metric=Figure('members_total{outcome="left"}', 60),
    ),
    State(
        "list_gone", then_refresh(lambda w: w.simulator.remove_list(LIST)), "failed", "list_gone", alerts=DEAD
    ),
    State(
        "key_refused",
        then_refresh(lambda w: w.simulator.remove_key(KEY)),
        "failed",
        "key_refused",
        alerts=DEAD | {"KlaviyoWorkerConnectionNeedsAttention"},
        page="1 connection needs attention",
        listing=("connection list", "needs attention"),
    ),
    State(
        "connection_needs_attention",
        sql("select klaviyo.mark_attention(connection_id, 'key_refused') from klaviyo.connection"),
        "failed",
        "connection_needs_attention",
        # No worker has the run: its event tells of it.
        alerts={"KlaviyoWorkerDeadLetters", "KlaviyoWorkerConnectionNeedsAttention"},
        page="1 connection needs attention",
        listing=("connection list", "needs attention"),
        log=("dead_letter_written", {"reason": "connection_needs_attention"}),
        metric=Figure("attention_connections"),
    ),
    State(
        "key_unreadable",
        sql("update klaviyo.connection_key set sealed_key = sealed_key || 'x'::bytea"),
        "failed",
        "key_unreadable",
        alerts=DEAD,
    ),
    State(
        "over_profile_limit",
        then_refresh(lambda w: w.admin("export", "update", EXPORT, "--max-profiles", "9")),
        "failed",
        "over_profile_limit",
        alerts=DEAD,
    ),
    State("source_unreadable", sql(BAD_VIEW), "failed", "source_unreadable", alerts=DEAD),
    State("answer_unexpected", fault("import", status=418), "failed", "answer_unexpected", alerts=DEAD),
    State(
        "retry_budget_used_up",
        fault("import", status=503),
        "failed",
        "retry_budget_used_up",
        alerts={"KlaviyoWorkerBudgetUsedUp", "KlaviyoWorkerDeadLetters"},
        settings={"RETRY_BUDGET_SECONDS": "10"},
    ),
    State(
        "taken_over_too_often",
        take_in_vain,
        "failed",
        "taken_over_too_often",
        alerts=DEAD,
        log=("run_closed", {"state": "failed", "reason": "taken_over_too_often"}),
    ),
    State("cancelled_by", cancel_amid, "cancelled", "cancelled_by", metric=ended("cancelled")),
    State("export_paused", pause_amid, "cancelled", "export_paused", metric=ended("cancelled")),
    State(
        "klaviyo_unavailable",
        fault("import", status=503),
        "waiting",
        "klaviyo_unavailable",
        alerts={"KlaviyoUnavailable"},
        log=("run_waiting", {"reason": "klaviyo_unavailable"}),
        metric=waiting("klaviyo_unavailable"),
    ),
    State(
        "rate_limited",
        fault("import", throttle=120),
        "waiting",
        "rate_limited",
        log=("run_waiting", {"reason": "rate_limited"}),
        metric=waiting("rate_limited"),
    ),
    State(
        "list_in_use",
        send_and_remove,
        "waiting",
        "list_in_use",
        log=("run_waiting", {"reason": "list_in_use"}),
        metric=waiting("list_in_use"),
    ),
    State(
        "runs wait for a key",
        replace_key_pair,
        "queued",
        "key_unreadable",
        alerts={"KlaviyoWorkerRunsWaitForKey"},
        log=("runs_wait_for_key", {"runs": 1}),
        metric=waiting("key_unreadable"),
        page="another key file than a worker's: 1.",
    ),
    State(
        "events blocked",
        lock_export,
        log=("events_blocked", {"events": 1}),
        metric=Figure("events_blocked_total", 1, math.inf),
        page="Another session's lock in the database holds up events",
    ),
    State(
        "runs blocked",
        lock_runs,
        log=("runs_blocked", {}),
        metric=Figure("runs_blocked_total", 1, math.inf),
        page="Another session's lock in the database holds up runs",
    ),
    State(
        "event_invalid",
        publish_no_event,
        alerts={"KlaviyoWorkerDeadLetters"},
        log=("event_invalid", {}),
        metric=Figure('dead_letters_total{reason="event_invalid"}'),
        page="event_invalid",
        listing=("dead-letters list", "event_invalid"),
    ),
    State(
        "dead letters wait",
        publish_no_event,
        alerts={"KlaviyoWorkerDeadLettersWait"},
        page="wait here for their broker: 1.",
        listing=("check", "no-letters"),
        log=("dead_letters_waiting", {}),
        metric=Figure("waiting_dead_letters"),
        settings={"KAFKA_DEAD_LETTER_TOPIC": "{world}.no-letters"},
    ),
    State(
        "outcomes wait",
        outcome_in_vain,
        "succeeded",
        alerts={"KlaviyoWorkerOutcomesWait"},
        page="Outcome events wait for their broker",
        listing=("check", "no-outcomes"),
        log=("outcomes_waiting", {}),
        metric=Figure("oldest_waiting_outcome_age_seconds", 3600, 4000),
        settings={"KAFKA_OUTCOME_TOPIC": "{world}.no-outcomes"},
    ),
    State(
        "stale",
        succeed_long_ago,
        "succeeded",
        alerts={"ExportStale"},
        page="stale",
        listing=("export list", "stale"),
        metric=Figure(f'export_last_success_timestamp_seconds{{export="{EXPORT}"}}', 30),
    ),
    State(
        "no broker",
        nothing,
        ready=False,
        alerts={"KlaviyoWorkerNotReady", "KafkaUnavailable"},
        log=("kafka_error", {}),
        metric=Figure("group_members", 0),
        page="not ready",
        listing=("check", "127.0.0.1:1"),
        settings={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
    ),
    State(
        "no database",
        nothing,
        ready=False,
        alerts={"KlaviyoWorkerNotReady"},
        log=("database_unavailable", {}),
        metric=Figure("database_connections", 0),
        page="The database has not answered yet",
        listing=("runs list", "nothing listens at that address"),
        settings={"DATABASE_URL": "postgresql://127.0.0.1:1/none"},
    ),
]


# -- what is said --------------------------------------------------------------------


def labelled(name: str, labels: str = "") -> str:
    """As a scrape has it, with the job's own labels."""
    return f'klaviyo_worker_{name}{{{labels + "," if labels else ""}job="w",instance="a"}}'


def samples(worker: Worker) -> dict[str, float]:
    """By name and labels."""
    return {
        labelled(name, labels): float(value)
        for name, labels, value in SAMPLE.findall(worker.page("/metrics"))
    }


def alert_expressions() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def firing(before: dict[str, float], after: dict[str, float], folder: Path) -> set[str]:
    """The alerts whose expressions hold soon after the values have changed, by promtool."""
    series = [
        {"series": name, "values": f"{f'{before[name]:g}' if name in before else '_'}x4 {value:g}x60"}
        for name, value in after.items()
    ]
    holds = 'label_replace((count({}) > bool 0) or vector(0), "alert", "{}", "", "")'
    expected_not = [
        {
            "expr": holds.format(expression, alert),
            "eval_time": "10m",
            "exp_samples": [{"labels": f'{{alert="{alert}"}}', "value": 0}],
        }
        for alert, expression in alert_expressions().items()
    ]
    path = folder / "alerts.test.yaml"
    test = {"interval": "1m", "input_series": series, "promql_expr_test": expected_not}
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    found = set(re.findall(r'got: *\{alert="(\w+)"\} 1E\+00', done.stdout + done.stderr))
    assert bool(found) == (done.returncode != 0), done.stdout + done.stderr
    return found


def told_on_page(worker: Worker, run_id: int) -> str:
    """The row or card that leads to the run, as text."""
    for _, block in re.findall(r"<(tr|li)\b[^>]*>(.*?)</\1>", worker.page("/"), re.S):
        if f'href="/run?id={run_id}"' in block:
            return unescape(re.sub(r"<[^>]+>", " ", block))
    return ""


@dataclass
class Scene:
    """A state that was brought about, and who is asked about it."""

    world: World
    worker: Worker
    wanted: State
    before: dict[str, float]
    folder: Path

    def wait_for_state(self) -> None:
        """The database's own word: from here on the clock of all others runs."""
        run = "select klaviyo.shown_state(r), coalesce(r.wait_reason, r.reason) from klaviyo.run r order by run_id desc"
        if self.wanted.state:
            wait_until(
                lambda: self.world.db.rows(run)[:1] == [(self.wanted.state, self.wanted.reason)],
                60,
                f"{self.wanted.state}, {self.wanted.reason}",
            )

    def run(self) -> dict[str, Any]:
        return self.world.runs()[0]

    def _is_told(self, run: dict[str, Any]) -> bool:
        return (run["state"], run["reason"]) == (self.wanted.state, self.wanted.reason)

    def run_listing(self) -> bool:
        run = self.run()
        text = self.world.admin("runs", "list").stdout
        shown = self.world.admin("runs", "show", str(run["id"]), "--json").json
        words = (str(self.wanted.state), self.wanted.reason or "")
        return self._is_told(run) and self._is_told(shown) and all(word in text for word in words)

    def run_api(self) -> bool:
        newest = yaml.safe_load(self.worker.page("/api/runs"))[:1]
        return bool(newest) and self._is_told(newest[0])

    def run_page(self) -> bool:
        row = told_on_page(self.worker, self.run()["id"])
        return str(self.wanted.state).replace("_", " ") in row and (self.wanted.reason or "") in row

    def listing(self) -> bool:
        command, words = self.wanted.listing
        told = self.world.command(*command.split(), **self.settings())
        return words in told.stdout + told.stderr

    def page(self) -> bool:
        text = unescape(re.sub(r"<[^>]*>", " ", self.worker.page("/").split("</style>")[1]))
        return self.wanted.page in " ".join(text.split())

    def log(self) -> bool:
        name, values = self.wanted.log
        if name == "run_ended":
            values = {"state": self.wanted.state, "reason": self.wanted.reason or ""} | values
        return any(values.items() <= event.items() for event in self.worker.events(name))

    def metric(self) -> bool:
        return self._holds(samples(self.worker))

    def alert(self) -> bool:
        """Of a scrape that has the state: before it, that there is no alert proves nothing."""
        after = samples(self.worker)
        return self._holds(after) and firing(self.before, after, self.folder) == self.wanted.alerts

    def _holds(self, after: dict[str, float]) -> bool:
        failed = Figure(f'runs_failed_total{{reason="{self.wanted.reason}"}}')
        return (self.wanted.metric or failed).holds(self.before, after)

    def ready(self) -> bool:
        statuses = self.worker.status("/livez"), self.worker.status("/readyz")
        return statuses == (200, 200 if self.wanted.ready else 503)

    def settings(self) -> dict[str, str]:
        return {name: value.format(world=self.world.name) for name, value in self.wanted.settings.items()}

    def cells(self) -> dict[str, Callable[[], bool]]:
        """What takes long stands last: an alert asks promtool, a check the brokers."""
        of_run = {"listing of runs": self.run_listing, "api": self.run_api, "page of runs": self.run_page}
        return {
            **(of_run if self.wanted.state else {}),
            **({"page": self.page} if self.wanted.page else {}),
            "ready": self.ready,
            "log": self.log,
            "metric": self.metric,
            "alert": self.alert,
            **({"listing": self.listing} if self.wanted.listing[0] else {}),
        }


def seen_by(cells: dict[str, Callable[[], bool]], until: float) -> set[str]:
    """
    What is not yet true when the time is over; each cell is looked at once at least. One after
    the other: a command that takes ten seconds to say what it sees takes no time from the rest.
    """
    missing = set()
    for name, is_true in cells.items():
        while not is_true():
            if time.monotonic() > until:
                missing.add(name)
                break
            time.sleep(SLOW_POLL_SECONDS)
    return missing


@pytest.mark.parametrize("wanted", STATES, ids=lambda wanted: wanted.name.replace(" ", "-"))
def test_everything_that_can_be_asked_says_the_same(world: World, wanted: State, tmp_path: Path) -> None:
    world.set_up_export(wanted.population())
    worker = world.start_worker(
        **{name: value.format(world=world.name) for name, value in wanted.settings.items()}
    )
    if wanted.ready:
        worker.wait_ready()
    else:
        worker.wait_for_event("http_listening")
    wait_until(lambda: samples(worker), 10, "metrics")
    scene = Scene(world, worker, wanted, samples(worker), tmp_path)

    with wanted.provoke(world) or nullcontext():
        scene.wait_for_state()
        assert seen_by(scene.cells(), time.monotonic() + SEEN_SECONDS) == set(), "is not seen in time"

    if "KlaviyoWorkerDeadLetters" in wanted.alerts:
        wait_until(lambda: len(world.dead_letters()) == 1, 20, "the dead letter")
        assert wanted.reason is None or world.dead_letters()[0].header("x-klaviyo-worker-reason") == wanted.reason


def test_every_reason_of_the_runbook_is_a_state_here_or_said_why_not() -> None:
    reasons = re.findall(
        r"^### (\w+)$",
        (TREE / "deploy" / "runbook.md").read_text().split("## Reasons")[1].split("## Other")[0],
        re.M,
    )
    elsewhere = {
        "export_removed": "the run goes with its export",
        "export_changed": "as export_paused: test_changes_while_running",
    }
    here = {s.reason for s in STATES} | {s.name for s in STATES}
    assert [r for r in reasons if r not in here and r not in elsewhere] == []
