"""The runbook's states: whatever is asked says the same thing.

Each row is a state that is brought about, and what of it is said: ready and alive, the
listing, /api/runs, the page, the log, and the alerts whose expressions hold over the
metrics of the worker.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import people
from support.events import Message
from support.paths import TREE, tool
from support.process import wait_until
from support.worker import Worker
from support.world import ACCOUNT, EXPORT, KEY, LIST, World

RULES = TREE / "deploy" / "alerts" / "klaviyo-worker.rules.yaml"
SAMPLE = re.compile(r"^(klaviyo_worker_\w+)(?:\{(.*)\})? (\S+)$", re.M)
DEAD = {"KlaviyoWorkerRunFailed", "KlaviyoWorkerDeadLetters"}


@dataclass(frozen=True)
class State:
    """What is to be said of it. A run that has failed is a dead letter, and both are alerts."""

    name: str
    provoke: Callable[[World], object]
    state: str | None = None  # None: there is no run
    reason: str | None = None
    log: tuple[str, dict[str, Any]] = ("run_ended", {})
    alerts: set[str] = field(default_factory=set)
    ready: bool = True
    page: str = ""  # what the page says beside the run
    listing: tuple[str, str] = ("", "")  # a command beside runs list, and what it says
    settings: dict[str, str] = field(default_factory=dict)  # {world} is its name
    client: str = ""  # more properties of Kafka's client
    population: Callable[[], people.Population] = lambda: people.simple(60)


# -- how a state is brought about ----------------------------------------------------


def refresh(world: World) -> None:
    world.refresh()


def then_refresh(act: Callable[[World], object]) -> Callable[[World], object]:
    def provoke(world: World) -> None:
        act(world)
        world.refresh()

    return provoke


def fault(endpoint: str, **action: Any) -> Callable[[World], object]:
    return then_refresh(lambda w: w.simulator.fault(endpoint, action, times=-1))


def sql(statement: str) -> Callable[[World], object]:
    return then_refresh(lambda w: w.db.execute(statement))


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


BAD_VIEW = """\
create or replace view insights.segment_profile as
select m.segment_id, p.profile_id, jsonb_build_object('email', 1 / (length(p.profile_id) * 0)) as attributes
from insights.segment_member m join insights.customer_profile p using (profile_id)
"""

STATES = [
    State("succeeded", refresh, "succeeded", log=("run_ended", {"state": "succeeded"})),
    State(
        "rejections",
        reject_many,
        "succeeded_with_rejections",
        alerts={"KlaviyoWorkerRejectionShareHigh"},
        log=("run_ended", {"rejected": 30}),
    ),
    State(
        "invalid",
        refresh,
        "succeeded",
        alerts={"KlaviyoWorkerInvalidShareHigh"},
        log=("run_ended", {"invalid": 40}),
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
    State("removals_withheld", empty_segment, "succeeded", "removals_withheld"),
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
    State("cancelled_by", cancel_amid, "cancelled", "cancelled_by"),
    State("export_paused", pause_amid, "cancelled", "export_paused"),
    State(
        "klaviyo_unavailable",
        fault("import", status=503),
        "waiting",
        "klaviyo_unavailable",
        alerts={"KlaviyoUnavailable"},
        log=("run_waiting", {"reason": "klaviyo_unavailable"}),
    ),
    State(
        "rate_limited",
        fault("import", throttle=120),
        "waiting",
        "rate_limited",
        log=("run_waiting", {"reason": "rate_limited"}),
    ),
    State(
        "event_invalid",
        lambda w: w.publish(Message(b"no json", {}, b"k")),
        alerts={"KlaviyoWorkerDeadLetters"},
        log=("event_invalid", {}),
        page="event_invalid",
        listing=("dead-letters list", "event_invalid"),
    ),
    State(
        "dead letters wait",
        lambda w: w.publish(Message(b"no json", {}, b"k")),
        alerts={"KlaviyoWorkerDeadLettersWait"},
        page="event_invalid",
        log=("dead_letters_waiting", {}),
        settings={"KAFKA_DEAD_LETTER_TOPIC": "{world}.no-letters"},
        client="topic.metadata.propagation.max.ms=1000\ntopic.metadata.refresh.interval.ms=1000\n",
    ),
    State(
        "outcomes wait",
        outcome_in_vain,
        "succeeded",
        alerts={"KlaviyoWorkerOutcomesWait"},
        page="Outcome events wait for their broker",
        log=("outcomes_waiting", {}),
        settings={"KAFKA_OUTCOME_TOPIC": "{world}.no-outcomes"},
        client="topic.metadata.propagation.max.ms=1000\ntopic.metadata.refresh.interval.ms=1000\n",
    ),
    State(
        "stale",
        succeed_long_ago,
        "succeeded",
        alerts={"ExportStale"},
        page="stale",
        listing=("export list", "stale"),
    ),
    State(
        "no broker",
        lambda w: None,
        ready=False,
        alerts={"KlaviyoWorkerNotReady", "KafkaUnavailable"},
        log=("kafka_error", {}),
        page="not ready",
        settings={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
    ),
    State(
        "no database",
        lambda w: None,
        ready=False,
        alerts={"KlaviyoWorkerNotReady"},
        log=("database_unavailable", {}),
        page="The database has not answered yet",
        settings={"DATABASE_URL": "postgresql://127.0.0.1:1/none"},
    ),
]


# -- what is said --------------------------------------------------------------------


def samples(worker: Worker) -> dict[str, float]:
    """By name and labels, as a scrape has them with the job's own."""
    return {
        f'{name}{{{labels + "," if labels else ""}job="w",instance="a"}}': float(value)
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


def check_run(world: World, worker: Worker, wanted: State) -> None:
    """Listing, text listing, one run, /api/runs and page."""
    assert wanted.state is not None

    def reached() -> bool:
        run = world.runs()[0]  # the newest
        return (run["state"], run["reason"]) == (wanted.state, wanted.reason)

    wait_until(lambda: world.runs() and reached(), 60, f"{wanted.state}, {wanted.reason}: {world.runs()}")
    run = world.runs()[0]
    shown = world.admin("runs", "show", str(run["id"]), "--json").json
    assert (shown["state"], shown["reason"]) == (wanted.state, wanted.reason)
    listing = world.admin("runs", "list").stdout
    assert wanted.state in listing and (wanted.reason or "") in listing

    def same_elsewhere() -> bool:
        told = yaml.safe_load(worker.page("/api/runs"))[0]
        row = told_on_page(worker, run["id"])
        return (
            (told["state"], told["reason"]) == (wanted.state, wanted.reason)
            and str(wanted.state).replace("_", " ") in row
            and (wanted.reason or "") in row
        )

    wait_until(same_elsewhere, 10, "/api/runs and the page to say the same")


def check_beside_the_run(world: World, worker: Worker, wanted: State) -> None:
    """What is seen of it where no run tells, or more than a run."""

    def text() -> str:
        return " ".join(re.sub(r"<[^>]*>", " ", worker.page("/").split("</style>")[1]).split())

    command, words = wanted.listing
    wait_until(lambda: wanted.page in text(), 10, f"the page to say {wanted.page!r}")
    if command:
        wait_until(lambda: words in world.admin(*command.split()).stdout, 10, f"{command} to say {words!r}")
    assert wanted.state or wanted.page, "nobody sees it"


@pytest.mark.parametrize("wanted", STATES, ids=lambda wanted: wanted.name.replace(" ", "-"))
def test_everything_that_can_be_asked_says_the_same(
    world: World, wanted: State, tmp_path: Path
) -> None:
    world.set_up_export(wanted.population())
    world.client_properties.write_text(world.client_properties.read_text() + wanted.client)
    worker = world.start_worker(
        **{name: value.format(world=world.name) for name, value in wanted.settings.items()}
    )
    if wanted.ready:
        worker.wait_ready()
    else:
        worker.wait_for_event("http_listening")
    wait_until(lambda: samples(worker), 10, "metrics")
    before = samples(worker)

    wanted.provoke(world)

    name, values = wanted.log
    if wanted.state:
        check_run(world, worker, wanted)
        if name == "run_ended":
            values = {"state": wanted.state, "reason": wanted.reason or ""} | values
    wait_until(
        lambda: [e for e in worker.events(name) if values.items() <= e.items()], 30, f"{name} {values}"
    )
    check_beside_the_run(world, worker, wanted)
    assert worker.status("/livez") == 200
    assert worker.status("/readyz") == (200 if wanted.ready else 503)
    if "KlaviyoWorkerDeadLetters" in wanted.alerts:
        wait_until(lambda: len(world.dead_letters()) == 1, 20, "the dead letter")
        assert wanted.reason is None or world.dead_letters()[0].header("x-klaviyo-worker-reason") == wanted.reason
    wait_until(
        lambda: firing(before, samples(worker), tmp_path) == wanted.alerts,
        30,
        f"alerts {wanted.alerts}, not {firing(before, samples(worker), tmp_path)}",
    )


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
