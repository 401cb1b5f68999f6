"""Many workers, many exports: who gets to run, what moves, what does not."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from chaos.cables import SilentCable, port_of
from chaos.scenes import (
    Export,
    Publisher,
    add_accounts,
    add_exports,
    check_lists,
    check_requests,
    refresh,
    repeated_imports,
)

from support import events, people
from support.process import SLOW_POLL_SECONDS, wait_until
from support.world import ACCOUNT, EXPORT, LIST, SEGMENT, MakeWorld, World

TAKEOVER_SECONDS = 20
HELD = {"status": 503, "headers": {"retry-after": "1"}}
# Members that come and go quickly.
QUICK_GROUP = "session.timeout.ms=6000\nheartbeat.interval.ms=300\n"


def hold(world: World, **where: str) -> None:
    """Imports are refused for a while, until the faults are cleared: runs go on."""
    world.simulator.fault("import", HELD, times=-1, **where)


def wait_for_rows(world: World, count: int, statement: str, *values: Any) -> None:
    wait_until(
        lambda: world.db.value(statement, *values) == count, 30, f"{count} of: {statement}", 0.1
    )


def wait_all_succeeded(world: World, count: int, seconds: float = 60) -> None:
    states = "select state, count(*) from klaviyo.run group by state"
    wait_until(
        lambda: dict(world.db.rows(states)) == {"succeeded": count},
        seconds,
        f"{count} runs to succeed",
        0.1,
    )


def started_order(world: World) -> list[str]:
    """Names of exports, in the order in which their runs were taken."""
    runs = "select export_name from klaviyo.run where started_at is not null order by started_at"
    return [name for (name,) in world.db.rows(runs)]


# -- one export ------------------------------------------------------------------


def test_a_hundred_waiting_events_are_one_run_after_the_one_that_is_going(world: World) -> None:
    world.set_up_export(people.simple(50))
    hold(world)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    world.publish(*(events.binary(SEGMENT) for _ in range(100)))
    wait_for_rows(world, 101, "select count(*) from klaviyo.request where state = 'open'")
    assert world.committed() == 0

    world.simulator.clear_faults()
    newest, first = world.wait_runs_ended(2)
    world.wait_all_committed()

    assert (first["events"], newest["events"]) == (1, 100)
    assert newest["counts"]["unchanged"] == 50, "it reads again, and nothing has changed"
    assert world.end() == 101


def test_the_database_refuses_a_second_run_of_an_export(world: World) -> None:
    world.set_up_export(people.simple(10))
    hold(world)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    world.refresh()
    wait_for_rows(world, 1, "select count(*) from klaviyo.run where state = 'queued'")

    with pytest.raises(psycopg.errors.UniqueViolation):
        world.db.execute("update klaviyo.run set state = 'running' where state = 'queued'")

    world.simulator.clear_faults()
    world.wait_runs_ended(2)


def test_the_database_ends_no_run_that_has_a_batch_to_send(world: World) -> None:
    world.set_up_export(people.simple(10))
    hold(world)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    wait_for_rows(world, 1, "select count(*) from klaviyo.run where planned")

    end = "select klaviyo.end_run(run_id, take_id, 'succeeded', null, null) from klaviyo.run"
    assert world.db.value(end) == "unfinished"

    world.simulator.clear_faults()
    (run,) = world.wait_runs_ended(1)
    assert (run["state"], run["counts"]["accepted"]) == ("succeeded", 10)


def test_an_idle_worker_helps_with_the_partition_of_another(world: World) -> None:
    account = add_accounts(world, 1)[0]
    exports = add_exports(world, [Export(account, n, 20) for n in range(4)])
    hold(world)
    workers = [world.start_worker(MAX_RUNS="3") for _ in range(2)]
    for worker in workers:
        worker.wait_ready()

    refresh(world, *exports)
    wait_for_rows(
        world, 2, "select count(distinct worker) from klaviyo.run where state = 'running'"
    )
    world.simulator.clear_faults()
    wait_all_succeeded(world, 4)

    world.wait_all_committed()
    check_lists(world, exports)


# -- many exports ----------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 4])
def test_one_export_of_an_account_does_not_wait_for_fifty_of_another(
    world: World, slots: int
) -> None:
    large, small = add_accounts(world, 2)
    busy = add_exports(world, [Export(large, n, 5) for n in range(50)])
    alone = add_exports(world, [Export(small, 0, 5)])
    world.simulator.fault("import", {"delay_ms": 300}, times=-1)
    world.start_worker(MAX_RUNS=str(slots)).wait_ready()

    refresh(world, *busy, *alone)
    wait_until(lambda: world.simulator.count(alone[0].list_id) == 5, 60, "its list")

    place = started_order(world).index(alone[0].name)
    assert place < 2 * slots + 5, f"its run was the {place + 1}th"


def test_one_slot_is_kept_for_exports_whose_last_run_was_short(world: World) -> None:
    slow, quick = add_accounts(world, 2)
    long_ones = add_exports(world, [Export(slow, n, 5) for n in range(3)])
    short_one = add_exports(world, [Export(quick, 0, 5)])
    world.start_worker(MAX_RUNS="2").wait_ready()
    refresh(world, *long_ones, *short_one)
    wait_all_succeeded(world, 4)
    world.db.execute(
        "update klaviyo.run set started_at = started_at - interval '10 minutes'"
        " where connection_name = %s",
        slow.connection,
    )

    hold(world, account=slow.id)
    refresh(world, *long_ones, full=True)
    wait_for_rows(world, 1, "select count(*) from klaviyo.run where state = 'running'")
    wait_for_rows(world, 2, "select count(*) from klaviyo.run where state = 'queued'")
    refresh(world, *short_one)
    wait_for_rows(world, 5, "select count(*) from klaviyo.run where state = 'succeeded'")
    assert dict(world.db.rows("select state, count(*) from klaviyo.run group by state")) == {
        "succeeded": 5,
        "running": 1,
        "queued": 2,
    }

    world.simulator.clear_faults()
    wait_all_succeeded(world, 8)
    world.wait_all_committed()


def test_an_export_that_takes_long_is_not_short_once_its_last_run_is_deleted(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at,"
        " lease_until) select export_id, name, 'main', 'schedule', 'running', now() - interval '10 minutes',"
        " now() from klaviyo.export"
    )
    world.db.execute("update klaviyo.run set state = 'succeeded', finished_at = now()")
    world.db.execute("delete from klaviyo.run")

    assert world.db.value("select klaviyo.is_short(export_id) from klaviyo.export") is False


TAKE = """select r.export_name from klaviyo.take_run('w', 15000, (select max(key_pair_id) from klaviyo.key_pair),
true, %s) join klaviyo.run r using (run_id)"""


RUN = """insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, lease_until)
select export_id, name, 'main', 'schedule', %s, now() + interval '1 hour' from klaviyo.export where name = %s"""
CLAIM = """with claimed as (update klaviyo.run set removal_epoch = epoch where export_name = %s returning export_id, run_id)
insert into klaviyo.list_claim (account_id, list_id, run_id)
select %s, list_id, run_id from claimed join klaviyo.export using (export_id)"""


def test_the_last_slot_is_for_an_account_that_is_alone_also_while_it_has_a_run(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.add_export("second")
    for name, state in ((EXPORT, "running"), ("second", "queued")):
        world.db.execute(RUN, state, name)

    assert world.db.rows(TAKE, True) == [("second",)]


@pytest.mark.parametrize("short_only", [False, True])
def test_a_take_passes_over_a_run_whose_list_another_one_takes_people_off(world: World, short_only: bool) -> None:
    world.set_up_export(people.simple(1))
    world.simulator.add_list("ListA2", ACCOUNT, "Others")
    world.add_export("same list")
    world.add_export("other list", list_id="ListA2")
    for name, state in ((EXPORT, "running"), ("same list", "queued"), ("other list", "queued")):
        world.db.execute(RUN, state, name)
    world.db.execute(CLAIM, EXPORT, ACCOUNT)

    assert world.db.rows(TAKE, short_only) == [("other list",)]


# -- workers that come, go and are cut off ---------------------------------------


def begin_long_run(world: World, **settings: str) -> people.Population:
    """Six batches, two of which are answered quickly; its worker is the first one."""
    population = people.simple(60_000)
    world.simulator.fault("import", {"delay_ms": 8000}, skip=2, times=-1)
    world.set_up_export(population)
    world.start_worker(**settings).wait_ready()
    world.refresh()
    world.wait_requests("import", 2)
    return population


@pytest.mark.parametrize("what", ["database", "everything"])
def test_a_worker_whose_network_is_cut_loses_its_run_and_sends_nothing_more(
    world: World, what: str
) -> None:
    to_database = SilentCable(port_of(world.db.url))
    to_klaviyo = SilentCable(port_of(world.simulator.url))
    population = begin_long_run(
        world,
        DATABASE_URL=world.db.url.replace(f":{port_of(world.db.url)}/", f":{to_database.port}/"),
        KLAVIYO_BASE_URL=f"http://127.0.0.1:{to_klaviyo.port}",
    )
    cut_off = world.workers[0]
    world.start_worker().wait_ready()
    owner = world.db.value("select worker from klaviyo.run")

    to_database.hold()
    if what == "everything":
        to_klaviyo.hold()
    world.simulator.clear_faults()
    cut_at = time.monotonic()
    wait_until(
        lambda: world.db.value("select worker from klaviyo.run") != owner,
        TAKEOVER_SECONDS,
        "the run to go on",
        0.1,
    )
    taken_at = time.monotonic()
    assert taken_at - cut_at <= TAKEOVER_SECONDS
    run = world.wait_runs_ended(1)[0]
    if what == "database":
        assert to_klaviyo.last_request <= taken_at, "it went on sending"

    to_database.release()
    to_klaviyo.release()
    wait_until(lambda: cut_off.status("/readyz") == 200, 60, "the worker to be back", 0.2)
    assert world.runs() == [run] and run["state"] == "succeeded"
    assert world.simulator.emails(LIST) == population.wanted.keys()
    world.wait_all_committed()
    for worker in world.workers:
        worker.stop()


def rebalances(world: World) -> int:
    """Seen by the first worker."""
    return sum(
        len(world.workers[0].events(name)) for name in ("partitions_assigned", "partitions_revoked")
    )


def test_ten_rebalances_neither_interrupt_a_run_nor_repeat_a_request(make_world: MakeWorld) -> None:
    world = make_world(partitions=4)
    world.client_properties.write_text(QUICK_GROUP)
    cable = SilentCable(port_of(world.simulator.url))
    population = people.simple(25_000)
    world.set_up_export(population)
    world.start_worker(
        KLAVIYO_BASE_URL=f"http://127.0.0.1:{cable.port}", REQUEST_TIMEOUT_SECONDS="200"
    ).wait_ready()
    cable.hold()
    world.refresh()
    wait_for_rows(world, 1, "select count(*) from klaviyo.run where planned")
    (before,) = world.db.rows("select run_id, epoch, worker from klaviyo.run")

    for _ in range(5):
        seen = rebalances(world)
        other = world.start_worker()
        wait_until(
            lambda other=other: any(e["count"] for e in other.events("partitions_assigned")),
            30,
            "the group to share",
        )
        joined = wait_until(
            lambda seen=seen: rebalances(world) > seen and rebalances(world), 30, ""
        )
        other.stop()
        wait_until(lambda joined=joined: rebalances(world) > joined, 30, "the partitions back")
    assert rebalances(world) >= 10
    assert world.db.rows("select run_id, epoch, worker from klaviyo.run") == [before]
    assert world.committed() == 0

    cable.release()
    run = world.wait_runs_ended(1)[0]
    world.wait_all_committed()
    assert run["state"] == "succeeded" and run["counts"]["accepted"] == 25_000
    imports = world.simulator.diary("import")
    assert [e["status"] for e in imports] == [202, 202, 202]
    assert not repeated_imports(world)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    assert world.db.value("select worker from klaviyo.run") == before[2]


def test_a_rolling_restart_under_load_repeats_no_accepted_batch(make_world: MakeWorld) -> None:
    world = make_world(partitions=6)
    world.client_properties.write_text(QUICK_GROUP)
    world.simulator.settings(queued_ms=200, processing_ms=500)
    accounts = add_accounts(world, 3)
    exports = add_exports(world, [Export(a, n, 100) for n in range(4) for a in accounts])
    for _ in range(3):
        world.start_worker()
    for worker in world.workers:
        worker.wait_ready()
    refresh(world, *exports)
    load = Publisher(world, exports, 0.1)

    for worker in [*world.workers]:
        worker.stop()
        world.start_worker().wait_ready()
    load.stop()

    world.wait_all_committed(60)
    wait_until(
        lambda: (
            not world.db.value(
                "select count(*) from klaviyo.run where state in ('queued', 'running')"
            )
        ),
        60,
        "every run to end",
        SLOW_POLL_SECONDS,
    )
    assert not repeated_imports(world)
    check_requests(world)
    check_lists(world, exports)


def test_ten_thousand_events_that_concern_no_export_end_at_once(make_world: MakeWorld) -> None:
    world = make_world(partitions=4)
    world.publish(*(events.binary(f"nobody-{n % 100}") for n in range(10_000)))
    worker = world.start_worker(LOG_LEVEL="warn")

    wait_until(lambda: world.committed() == 10_000, 60, "the offsets", SLOW_POLL_SECONDS)

    assert world.db.value("select count(*) from klaviyo.request") == 0
    worker.stop()
