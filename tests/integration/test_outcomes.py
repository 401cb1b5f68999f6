"""Outcome events: whoever published a refresh hears how it ended."""

from __future__ import annotations

import json
import signal

import jsonschema
import pytest

from support import events, people
from support.kafka_broker import KafkaBroker
from support.outcomes import FOLDER, STRICT, SUCCEEDED, check_all, read
from support.process import wait_until
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, MakeWorld, World, check_sums

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SHORT_LEASE = {"LEASE_SECONDS": "2"}


def refresh_traced(world: World, refresh_id: str) -> None:
    message = events.binary(SEGMENT, refresh_id=refresh_id)
    world.publish(
        events.Message(
            message.value, {**message.headers, "traceparent": TRACE.encode()}, message.key
        )
    )


@pytest.mark.parametrize("name", sorted(p.name for p in (FOLDER / "outcomes").iterdir()))
def test_an_example_is_as_the_schema_says(name: str) -> None:
    example = json.loads((FOLDER / "outcomes" / name).read_text())
    jsonschema.validate(example, STRICT, jsonschema.Draft202012Validator)
    if example["state"] in SUCCEEDED:
        check_sums(example)


def test_a_publisher_hears_of_its_refresh(world: World) -> None:
    world.turn_on_outcomes()
    maker = people.Maker()
    maker.valid(40)
    maker.malformed(2)
    world.set_up_export(maker.population)
    world.start_worker().wait_ready()
    refresh_traced(world, "tuesday")
    (run,) = world.wait_runs_ended(1)

    (record,) = world.wait_outcomes_sent()

    data = read(record)
    assert record.key == SEGMENT.encode()
    assert record.header("traceparent") == TRACE
    assert data["refresh_ids"] == ["tuesday"]
    assert (data["export"], data["list_id"], data["run"]) == (EXPORT, LIST, run["id"])
    assert (data["state"], data["reason"], data["detail"]) == ("succeeded", None, None)
    assert data["counts"] == run["counts"]
    assert data["finished_at"] == run["finished_at"]
    check_all(world, [record])


def test_each_segment_of_an_export_hears_and_a_name_is_a_reference(world: World) -> None:
    world.turn_on_outcomes(3)
    name = "EU, UK/Käse?"
    world.add_segment(SEGMENT, people.simple(5))
    world.add_segment("other ü", people.simple(5, 2))
    world.add_connection()
    world.add_export(name, segments=(SEGMENT, "other ü"))
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)

    records = world.wait_outcomes_sent()

    assert {r.key for r in records} == {SEGMENT.encode(), "other ü".encode()}
    assert len({r.header("ce_id") for r in records}) == len({r.value for r in records}) == 1
    check_all(world, records)
    assert records[0].header("ce_source").endswith("/EU%2C%20UK%2FK%C3%A4se%3F")


def test_whatever_ends_a_run_is_heard(world: World) -> None:
    world.turn_on_outcomes()
    world.set_up_export(people.simple(30))
    world.simulator.fault("import", {"status": 503}, times=-1)
    worker = world.start_worker(MAX_RUNS="1", **SHORT_LEASE).wait_ready()
    world.refresh(refresh_id="r1")
    world.wait_requests("import", 1)
    world.refresh(refresh_id="r2")
    wait_until(lambda: len(world.runs()) == 2, 20, "the second one to be queued")

    queued, running = world.runs()
    world.admin("runs", "cancel", str(queued["id"]))
    world.admin("export", "update", EXPORT, "--max-profiles", "20")  # its event waits on
    world.simulator.clear_faults()
    failed = wait_until(lambda: world.runs("--state", "failed"), 30, "a failed run")[0]
    world.admin("export", "update", EXPORT, "--max-profiles", "100")
    world.simulator.remove_key(KEY)
    world.refresh(refresh_id="r3", full=True)
    refused = wait_until(
        lambda: [r for r in world.runs() if r["reason"] == "key_refused"], 40, "a refused key"
    )[0]
    world.refresh(refresh_id="r4")
    at_once = wait_until(
        lambda: [r for r in world.runs() if r["reason"] == "connection_needs_attention"], 20, "r4"
    )[0]
    world.simulator.add_key(KEY, ACCOUNT)
    world.admin("connection", "verify", CONNECTION)
    worker.kill()
    world.refresh(refresh_id="r5")
    heir = world.start_worker(KLAVIYO_FAILPOINT="request.before", **SHORT_LEASE)
    wait_until(lambda: not heir.process.running, 30, "it to be killed in the run")
    open_run = next(r for r in world.runs() if not r["finished_at"])
    world.admin("export", "pause", EXPORT)
    world.admin("export", "resume", EXPORT)
    world.start_worker(**SHORT_LEASE).wait_ready()
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.refresh(refresh_id="r6")
    last = wait_until(
        lambda: [r for r in world.runs() if not r["finished_at"] and r["id"] > open_run["id"]],
        30,
        "the last one",
    )[0]
    world.admin("export", "remove", EXPORT)

    records = world.wait_outcomes_sent()

    heard = {d["run"]: (d["state"], d["reason"], d["refresh_ids"]) for d in map(read, records)}
    assert heard[queued["id"]] == ("cancelled", "cancelled_by", ["r2"])
    assert heard[running["id"]] == ("cancelled", "export_changed", [])
    assert heard[failed["id"]] == ("failed", "over_profile_limit", ["r1"])
    assert heard[refused["id"]] == ("failed", "key_refused", ["r3"])
    assert heard[at_once["id"]] == ("failed", "connection_needs_attention", ["r4"])
    assert heard[open_run["id"]] == ("cancelled", "export_paused", ["r5"])
    assert heard[last["id"]] == ("cancelled", "export_removed", ["r6"])
    check_all(world, records)


def kills() -> list[str]:
    around = ["end_run", "claim_outcomes", "settle_outcomes"]
    return [f"{name}.{when}" for name in around for when in ("before", "after")] + [
        "outcomes_handed_over"
    ]


@pytest.mark.parametrize("point", kills())
def test_a_kill_at_any_step_leaves_no_run_unheard(world: World, point: str) -> None:
    world.turn_on_outcomes()
    world.set_up_export(people.simple(20))
    # The first look at the table finds nothing: it is the second that matters.
    hit = 2 if point.startswith("claim_outcomes") else 1
    victim = world.start_worker(KLAVIYO_FAILPOINT=f"{point}:{hit}", **SHORT_LEASE)
    world.refresh()
    wait_until(lambda: not victim.process.running, 30, f"{point} to kill it")
    assert victim.process.exit_status == -signal.SIGKILL
    ended = world.db.value("select count(*) from klaviyo.run where finished_at is not null")
    assert len(world.outcomes()) <= int(ended), "heard before the end was committed"

    world.start_worker(**SHORT_LEASE).wait_ready()
    world.wait_runs_ended(1)
    records = world.wait_outcomes_sent(60)

    check_all(world, records)
    assert len(records) <= 2


def test_a_topic_that_is_not_there_holds_up_nothing(world: World) -> None:
    world.outcome_topic = f"{world.name}.segment-export"
    world.set_up_export(people.simple(20))
    worker = world.start_worker().wait_ready()
    for refresh in ("first", "second"):
        world.refresh(refresh_id=refresh)
        world.wait_runs_ended(1 if refresh == "first" else 2)
        world.wait_all_committed()
    assert {run["state"] for run in world.runs()} == {"succeeded"}
    wait_until(lambda: worker.events("outcomes_waiting"), 60, "it to be said")
    assert world.db.value("select count(*) from klaviyo.outcome") == 2

    world.turn_on_outcomes()
    records = world.wait_outcomes_sent(90)

    check_all(world, records)
    assert [read(r)["refresh_ids"] for r in records] == [["first"], ["second"]]
    wait_until(lambda: worker.events("outcomes_sent_again"), 20, "the end of it to be said")
    assert len(worker.events("outcomes_sent_again")) == 1


def test_a_worker_that_stops_sends_what_ended_last(world: World) -> None:
    world.turn_on_outcomes()
    world.set_up_export(people.simple(20))
    worker = world.start_worker().wait_ready()
    for n in range(3):
        world.refresh(refresh_id=f"r{n}")
        world.wait_runs_ended(n + 1)
    worker.stop()
    assert world.db.value("select count(*) from klaviyo.outcome") == 0
    check_all(world, world.outcomes())


def add_rows(world: World, count: int) -> None:
    world.db.execute(
        "insert into klaviyo.outcome (run_id, epoch, export_name, segment_id, data, ended_at)"
        " select n, 1, 'x', 's', json_build_object('state', 'succeeded', 'run', n), now()"
        f" from generate_series(1, {count}) n"
    )


def test_several_workers_send_each_outcome_once(world: World) -> None:
    world.turn_on_outcomes()
    workers = [world.start_worker(MAX_RUNS="1") for _ in range(3)]
    for worker in workers:
        worker.wait_ready()
    add_rows(world, 1500)

    records = world.wait_outcomes_sent()

    assert sorted(int(r.header("ce_id").split("-")[0]) for r in records) == list(range(1, 1501))


def end_a_run_without_kafka(world: World, runs: int) -> None:
    """A run that answers no event: it has an outcome whatever the broker does."""
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, %s, 'schedule' from klaviyo.export", CONNECTION,
    )  # fmt: skip
    world.wait_runs_ended(runs)


def test_what_no_broker_took_is_given_back_at_the_stop_and_sent_later(
    make_world: MakeWorld, own_kafka: KafkaBroker
) -> None:
    world = make_world(kafka=own_kafka)
    world.turn_on_outcomes()
    world.set_up_export(people.simple(5))
    worker = world.start_worker().wait_ready()
    own_kafka.freeze(True)
    end_a_run_without_kafka(world, 1)
    claimed = "select count(*) from klaviyo.outcome where claimed_until > now()"
    wait_until(lambda: world.db.value(claimed) == 1, 20, "it to be claimed")
    worker.stop()
    assert world.db.value(claimed) == 0  # nobody waits for this worker's claim to end
    own_kafka.freeze(False)

    world.client_properties.write_text("message.timeout.ms=1000\n", encoding="utf-8")
    worker = world.start_worker().wait_ready()
    assert len(world.wait_outcomes_sent(60)) >= 1
    own_kafka.freeze(True)
    end_a_run_without_kafka(world, 2)
    worker.wait_for_event("outcome_not_sent", 60)
    assert world.db.value("select count(*) from klaviyo.outcome") == 1
    own_kafka.freeze(False)
    assert len({read(record)["run"] for record in world.wait_outcomes_sent(60)}) == 2


def test_an_outcome_too_large_for_the_broker_goes_without_its_refreshes(world: World) -> None:
    world.outcome_topic = f"{world.name}.segment-export"
    world.kafka.create_topic(world.outcome_topic, 1, **{"max.message.bytes": "8000"})
    world.set_up_export(people.simple(5))
    refreshes = [f"{n:03d}{'r' * 197}" for n in range(100)]
    world.publish(*(events.binary(SEGMENT, refresh_id=name) for name in refreshes))
    world.start_worker()
    world.wait_runs_ended(1)
    world.wait_all_committed()

    records = world.wait_outcomes_sent()

    data = [read(record) for record in records]
    assert sum(len(d["refresh_ids"]) + d.get("refresh_ids_omitted", 0) for d in data) == 100
    assert any(d.get("refresh_ids_omitted", 0) > 0 and d["refresh_ids"] == [] for d in data)


def test_an_outcome_names_the_newest_refreshes_where_they_are_too_many(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.db.execute(
        "with run as (insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, 'main', 'schedule' from klaviyo.export returning run_id),"
        " events as (insert into klaviyo.request (topic, partition, record_offset, record_ms,"
        " segment_id, refresh_id) select 't', 0, n, 1, %s, lpad(n::text, 200, 'é')"
        " from generate_series(1, 3000) n returning request_id)"
        " insert into klaviyo.request_run select request_id, run_id from events, run",
        SEGMENT,
    )
    world.db.execute("update klaviyo.run set state = 'cancelled', finished_at = now()")
    data = world.db.value("select data from klaviyo.outcome")
    kept = data["refresh_ids"]
    assert len(kept) + data["refresh_ids_omitted"] == 3000
    assert kept == [f"{n}".rjust(200, "é") for n in range(3001 - len(kept), 3001)]
    assert 400_000 < len(json.dumps(data, ensure_ascii=False).encode()) < 600_000


def test_a_trial_is_no_export_of_its_segment(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state)"
        " select export_id, name, 'main', 'trial', 'running' from klaviyo.export"
    )
    world.db.execute("update klaviyo.run set state = 'succeeded', finished_at = now()")
    assert world.db.value("select count(*) from klaviyo.outcome") == 0


def test_what_nobody_sends_does_not_pile_up(world: World) -> None:
    add_rows(world, 3)
    world.db.execute(
        "update klaviyo.outcome set ended_at = now() - interval '12 minutes', claimed_until ="
        " case when run_id = 2 then now() - interval '11 minutes' end where run_id in (1, 2)"
    )
    worker = world.start_worker()
    dropped = worker.wait_for_event("outcomes_dropped")
    assert dropped["outcomes"] == 2
    left = world.db.rows("select run_id from klaviyo.outcome order by 1")
    assert left == [(3,)], "nobody has tried to send them for long; one is new"


def test_a_worker_that_sends_none_leaves_what_another_cannot_send_yet(world: World) -> None:
    world.outcome_topic = f"{world.name}.segment-export"  # which is not there
    world.client_properties.write_text("message.timeout.ms=1000\n", encoding="utf-8")
    add_rows(world, 102)
    sender = world.start_worker()
    sender.wait_for_event("outcome_not_sent", 60)
    sender.stop()
    world.db.execute("update klaviyo.outcome set ended_at = now() - interval '11 minutes'")
    world.db.execute(
        "update klaviyo.outcome set ended_at = now() - interval '40 days', claimed_until = now()"
        " where run_id = 102"
    )

    other = world.start_worker(KAFKA_OUTCOME_TOPIC="")

    # What is older than RETENTION_DAYS goes in the same round, after what nobody sends.
    assert other.wait_for_event("outcomes_expired")["outcomes"] == 1
    assert not other.events("outcomes_dropped")
    left = world.db.rows("select count(*), count(claimed_until) < 101 from klaviyo.outcome")
    assert left == [(101, True)], "also what there was no room to try"


def test_where_outcomes_are_turned_off_none_is_said_to_wait(world: World) -> None:
    add_rows(world, 1)
    world.db.execute("update klaviyo.outcome set ended_at = now() - interval '9 minutes'")
    worker = world.start_worker().wait_ready()
    page = wait_until(lambda: known if "runs queued" in (known := worker.page("/")) else "", 20, "the figures")
    assert "Outcome events wait" not in page
    assert "klaviyo_worker_oldest_waiting_outcome_age_seconds 0\n" in worker.page("/metrics")
    assert world.db.value("select count(*) from klaviyo.outcome") == 1


def test_what_was_never_sent_is_deleted_with_its_run_and_that_is_said(world: World) -> None:
    world.outcome_topic = f"{world.name}.segment-export"
    add_rows(world, 1200)
    world.db.execute(
        "update klaviyo.outcome set ended_at = now() - interval '4 days' where run_id <= 1100"
    )
    worker = world.start_worker(RETENTION_DAYS="3")
    expired = worker.wait_for_event("outcomes_expired")
    assert (expired["outcomes"], expired["days"], expired["level"]) == (1100, 3, "error")
    assert world.db.value("select count(*) from klaviyo.outcome") == 100
