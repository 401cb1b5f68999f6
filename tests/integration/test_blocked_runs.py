"""A lock that somebody holds keeps runs waiting: the log says whose it is, and others go on."""

from __future__ import annotations

import pytest

from support import people
from support.process import wait_until
from support.world import LIST, World

LOCKS = {
    "the export's row": "update klaviyo.export set max_profiles = 7000 where name = 'newsletter'",
    "the run's row": "select * from klaviyo.run for update",
}


def queue_a_run(world: World, export: str) -> None:
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, 'main', 'event' from klaviyo.export where name = %s",
        export,
    )


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_run_that_somebody_locks_holds_up_no_other_run(world: World, lock: str) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    world.add_segment("others", people.simple(30, seed=2))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("others", segments=("others",), list_id="Other1")
    queue_a_run(world, "newsletter")

    with world.db.connect() as blocker:
        blocker.execute(b"begin")
        blocker.execute(b"set application_name = 'forgotten-psql'")
        blocker.execute(lock.encode())
        worker = world.start_worker().wait_ready()
        queue_a_run(world, "others")

        wait_until(lambda: world.simulator.count("Other1") == 30, 30, "the other export's run")
        said = worker.wait_for_event("runs_blocked", 30)
        assert (said["level"], said["runs"]) == ("warn", 1)
        assert (said["pid"], said["user"]) == (blocker.info.backend_pid, "postgres")
        assert said["application"] == "forgotten-psql"
        assert world.simulator.count(LIST) == 0
        blocker.execute(b"commit")

    world.wait_runs_ended(2)
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_table_that_somebody_locks_is_waited_for_with_a_word(world: World) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    worker = world.start_worker().wait_ready()

    with world.db.connect() as blocker:
        blocker.execute(b"begin")
        blocker.execute(b"set application_name = 'forgotten-psql'")
        blocker.execute(b"lock table klaviyo.run in access exclusive mode")
        said = worker.wait_for_event("runs_blocked", 30)
        assert (said["level"], said["runs"]) == ("warn", 0)
        assert (said["pid"], said["application"]) == (blocker.info.backend_pid, "forgotten-psql")
        blocker.execute(b"commit")

    queue_a_run(world, "newsletter")
    world.wait_runs_ended(1)
    assert world.simulator.emails(LIST) == population.wanted.keys()
