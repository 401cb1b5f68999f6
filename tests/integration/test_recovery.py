"""Workers die, freeze and are stopped; servers go away and come back. Nothing is lost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from chaos.cables import SilentCable, port_of

from support import events, people
from support.kafka_broker import KafkaBroker
from support.postgres import Postgres
from support.process import wait_until
from support.relay import LostAnswer, Relay
from support.worker import Worker
from support.world import LIST, SEGMENT, MakeWorld, World, check_sums

ROWS = 60_000  # six batches
BATCHES_IN_FLIGHT = 5
TAKEOVER_SECONDS = 20


def hold_imports(world: World) -> None:
    """All but the first two answers take long: a run is met in its middle."""
    world.simulator.fault("import", {"delay_ms": 8000}, skip=2, times=-1)


def begin_run(world: World, population: people.Population, **settings: str) -> Worker:
    """A worker in the middle of a run: something was sent, something is left."""
    hold_imports(world)
    world.set_up_export(population)
    worker = world.start_worker(**settings).wait_ready()
    world.refresh()
    world.wait_requests("import", 2)
    assert world.runs()[0]["state"] in ("running", "waiting")
    return worker


def check_complete(world: World, population: people.Population) -> dict[str, Any]:
    """The run has succeeded, the list is right, the event is committed."""
    world.simulator.clear_faults()
    run = world.wait_runs_ended(1, 150)[0]
    assert run["state"] == "succeeded", run
    check_sums(run)
    assert run["counts"]["read"] == len(population.members)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    world.wait_all_committed()
    return run


def rows_sent(world: World) -> int:
    return sum(entry["profiles"] for entry in world.simulator.diary("import"))


@pytest.mark.parametrize("another", [False, True], ids=["started-again", "with-another"])
def test_a_run_goes_on_within_20_s_of_a_sigkill(world: World, another: bool) -> None:
    population = people.simple(ROWS)
    worker = begin_run(world, population)
    if another:
        world.start_worker().wait_ready()
    before = world.runs()[0]

    worker.kill()
    world.simulator.clear_faults()
    killed_at = time.monotonic()
    seen = len(world.simulator.diary())
    assert world.committed() == 0
    if not another:
        world.start_worker()
    wait_until(lambda: len(world.simulator.diary()) > seen, TAKEOVER_SECONDS, "the run to go on")
    assert time.monotonic() - killed_at <= TAKEOVER_SECONDS

    run = check_complete(world, population)
    assert run["id"] == before["id"] and run["started_at"] == before["started_at"]
    assert rows_sent(world) <= ROWS + BATCHES_IN_FLIGHT * 10_000


def test_the_offset_is_not_committed_before_the_run_has_ended(world: World) -> None:
    population = people.simple(ROWS)
    worker = begin_run(world, population, LEASE_SECONDS="2")
    worker.kill()
    world.simulator.clear_faults()
    world.start_worker(LEASE_SECONDS="2")

    while True:
        committed = world.committed()
        if world.runs()[0]["finished_at"]:
            break
        assert committed == 0

    check_complete(world, population)


def test_a_frozen_worker_loses_its_run_and_changes_nothing_when_it_wakes(world: World) -> None:
    population = people.simple(ROWS)
    frozen = begin_run(world, population)
    other = world.start_worker().wait_ready()
    owner = world.runs()[0]["worker"]
    frozen.freeze()
    # Even the answers to its requests do not wake it.
    world.simulator.clear_faults()

    def is_taken() -> bool:
        return bool(world.runs()[0]["worker"] != owner)

    wait_until(is_taken, TAKEOVER_SECONDS, "the run to go on", 0.2)
    run = check_complete(world, population)
    sent = rows_sent(world)
    frozen.thaw()
    frozen.wait_ready()

    assert world.runs() == [run]
    assert rows_sent(world) <= sent + BATCHES_IN_FLIGHT * 10_000
    assert world.simulator.emails(LIST) == population.wanted.keys()
    frozen.stop()
    other.stop()


def test_a_stopped_worker_leaves_its_run_to_the_next_one_at_once(world: World) -> None:
    population = people.simple(ROWS)
    worker = begin_run(world, population)

    worker.stop(50)
    assert world.committed() == 0
    world.start_worker().wait_ready()

    check_complete(world, population)
    assert rows_sent(world) == ROWS, "a drained worker sends nothing twice"


def test_a_worker_waits_for_klaviyo_to_come_back(world: World) -> None:
    relay = Relay(int(world.simulator.url.rsplit(":", 1)[1]))
    population = people.simple(ROWS)
    world.set_up_export(population)
    hold_imports(world)
    worker = world.start_worker(KLAVIYO_BASE_URL=f"http://127.0.0.1:{relay.port}").wait_ready()
    world.refresh()
    world.wait_requests("import", 2)

    relay.cut()
    # Not a pause to be safe: this is how long it is away.
    time.sleep(20)
    assert world.committed() == 0
    assert worker.status("/livez") == 200
    relay.mend()

    check_complete(world, population)
    assert worker.process.running


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_worker_survives_a_restart_of_postgresql(
    make_world: MakeWorld, own_postgres: Postgres, mode: str
) -> None:
    world = make_world(postgres=own_postgres)
    population = people.simple(ROWS)
    worker = begin_run(world, population)

    own_postgres.restart(mode)

    check_complete(world, population)
    world.refresh()
    world.wait_runs_ended(2)
    world.wait_all_committed()
    assert worker.process.running


def test_a_worker_waits_for_a_database_that_is_away(
    make_world: MakeWorld, own_postgres: Postgres
) -> None:
    world = make_world(postgres=own_postgres)
    population = people.simple(ROWS)
    worker = begin_run(world, population)

    own_postgres.stop("immediate")
    wait_until(lambda: worker.status("/readyz") != 200, 30, "/readyz to notice")
    assert worker.status("/livez") == 200
    own_postgres.start()
    own_postgres.wait_ready()

    check_complete(world, population)
    wait_until(lambda: worker.status("/readyz") == 200, 30, "/readyz to recover")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_worker_survives_a_restart_of_kafka(
    make_world: MakeWorld, own_kafka: KafkaBroker, how: str
) -> None:
    world = make_world(kafka=own_kafka)
    population = people.simple(ROWS)
    worker = begin_run(world, population)

    own_kafka.stop() if how == "stop" else own_kafka.kill()
    own_kafka.start()
    own_kafka.wait_ready()

    check_complete(world, population)
    world.publish(events.binary(SEGMENT), events.binary("nobody-uses-it"))
    world.wait_runs_ended(2)
    world.wait_all_committed()
    assert worker.process.running


def test_after_an_outage_of_the_database_left_runs_are_taken_soon_whatever_the_lease(
    make_world: MakeWorld, own_postgres: Postgres
) -> None:
    """The pause before recovery is for workers that connect again, not a share of the lease."""
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(5))
    worker = world.start_worker(LEASE_SECONDS="300").wait_ready()
    own_postgres.restart("immediate")
    worker.wait_for_event("take_failed", 30)
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, worker,"
        " started_at, lease_until) select export_id, name, 'main', 'schedule', 'running', 'gone',"
        " now(), now() - interval '1 s' from klaviyo.export"
    )
    began = time.monotonic()

    taken = worker.wait_for_event("run_taken", 90)

    assert time.monotonic() - began < TAKEOVER_SECONDS
    assert taken["taken_over"] == 1
    assert world.wait_runs_ended(1)[0]["state"] == "succeeded"


def test_a_database_that_answers_nothing_does_not_keep_a_worker_that_is_to_stop(
    world: World,
) -> None:
    """Its connections stay open, as with a server or a pooler that has frozen."""
    world.set_up_export(people.simple(30))
    world.simulator.fault("import", {"delay_ms": 6000}, times=-1)
    cable = SilentCable(port_of(world.db.url))
    worker = world.start_worker(
        DATABASE_URL=world.db.url.replace(f":{port_of(world.db.url)}/", f":{cable.port}/"),
        DRAIN_SECONDS="5",
    ).wait_ready()
    world.refresh()
    posted = "select from klaviyo.batch where posted_at is not null"
    wait_until(lambda: world.db.rows(posted), 30, "an import in flight")
    cable.hold()
    began = time.monotonic()

    worker.stop()

    assert time.monotonic() - began < 5 + 8
    assert worker.events("shutdown_deadline_passed") == []
    cable.release()


def test_the_end_of_a_run_whose_answer_was_lost_is_told(world: World) -> None:
    """It was committed; alerts look at the counters, people at the log."""
    world.set_up_export(people.simple(3))
    world.simulator.remove_list(LIST)
    cable = LostAnswer(port_of(world.db.url), b"klaviyo.end_run")
    worker = world.start_worker(
        DATABASE_URL=world.db.url.replace(f":{port_of(world.db.url)}/", f":{cable.port}/")
    ).wait_ready()

    world.refresh()

    assert world.wait_runs_ended(1)[0]["reason"] == "list_gone"
    ended = worker.wait_for_event("run_ended", 30)
    assert (ended["state"], ended["reason"]) == ("failed", "list_gone")
    assert 'klaviyo_worker_runs_failed_total{reason="list_gone"} 1' in worker.page("/metrics")
    cable.cut()


def test_a_database_that_answers_nothing_does_not_keep_a_run_that_is_planned(world: World) -> None:
    """Its statements are to be cancelled, and nobody answers that request either."""
    world.set_up_export(people.simple(30))
    cable = SilentCable(port_of(world.db.url))
    with world.db.connect() as connection, connection.transaction():
        connection.execute("lock table insights.customer_profile in access exclusive mode")
        worker = world.start_worker(
            DATABASE_URL=world.db.url.replace(f":{port_of(world.db.url)}/", f":{cable.port}/"),
            DRAIN_SECONDS="3",
        ).wait_ready()
        world.refresh()
        waits = "select from pg_locks where relation = 'insights.customer_profile'::regclass and not granted"
        wait_until(lambda: world.db.rows(waits), 30, "the members to be read")
        cable.hold()

        worker.stop()

    assert worker.events("shutdown_deadline_passed") == []
    cable.release()
