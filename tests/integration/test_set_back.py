"""The database is set back to a copy: ids come again, but no take of a run does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import people
from support.pgbouncer import PgBouncer
from support.postgres import Postgres
from support.process import wait_until
from support.worker import Worker
from support.world import EXPORT, MakeWorld, World

OTHER_KEY = "pk_planted0secret0key0of0account0B1"
OTHER_LIST = "ListB1"
BATCHES = 3
ROWS = 25_000
LEASE = "60"


@pytest.fixture
def own_world(make_world: MakeWorld, own_postgres: Postgres) -> World:
    """Two exports of two accounts; imports take long enough to be met in their middle."""
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(ROWS))
    others = people.Population()
    others.members += [(f"o-{n}", f'{{"email": "o{n}@other.example"}}') for n in range(ROWS)]
    world.simulator.add_account("AcctB1")
    world.simulator.add_key(OTHER_KEY, "AcctB1")
    world.simulator.add_list(OTHER_LIST, "AcctB1", "Other")
    world.add_segment("others", others)
    world.add_connection("other", OTHER_KEY)
    world.add_export("other", segments=("others",), list_id=OTHER_LIST, connection="other")
    world.simulator.fault("import", {"delay_ms": 6000}, times=-1)
    return world


@pytest.fixture
def pooler_url(own_world: World, own_folder: Path) -> Iterator[str]:
    """A pooler in transaction mode hides from its clients that the server was started anew."""
    pooler = PgBouncer(own_folder, own_world.postgres, 20)
    yield pooler.url(own_world.db.name)
    pooler.stop()


def wait_all_in_flight(world: World) -> None:
    """All is planned, all imports are in flight, none has been answered."""
    statement = "select from klaviyo.run join klaviyo.batch using (run_id) where planned and posted_at is not null"
    wait_until(lambda: len(world.db.rows(statement)) == BATCHES, 60, "all imports in flight")
    assert world.db.rows("select from klaviyo.batch where state <> 'planned'") == []


def set_back_amid_a_run(world: World, start: Callable[[], Worker]) -> tuple[Worker, Worker]:
    """The run of the first worker is forgotten; the second has another run with the same numbers."""
    copy = world.postgres.data.parent / "copy"
    world.postgres.back_up(copy)
    old = start()
    world.refresh()
    wait_all_in_flight(world)
    old.freeze()
    world.postgres.set_back(copy)
    world.admin("export", "pause", EXPORT)
    new = world.start_worker(LEASE_SECONDS=LEASE)
    world.refresh("others")
    wait_all_in_flight(world)
    (first,), (second,) = old.events("run_taken"), new.events("run_taken")
    assert (first["run"], first["epoch"]) == (second["run"], second["epoch"]) == (1, 1)
    assert (first["export"], second["export"]) == (EXPORT, "other")
    return old, new


def check_undisturbed(world: World, new: Worker) -> None:
    """The other run went on as if nobody else had written."""
    run = world.wait_runs_ended(1, 90)[0]
    assert (run["export"], run["state"]) == ("other", "succeeded"), run
    assert run["counts"]["accepted"] == ROWS and run["counts"]["requests"] > BATCHES
    assert len(world.simulator.emails(OTHER_LIST)) == ROWS
    assert len(new.events("run_taken")) == 1
    assert new.events("run_let_go") == new.events("job_lost") == []
    sent = [e for e in world.simulator.diary("import") if e["account"] == "AcctB1"]
    assert len(sent) == BATCHES, "no batch was sent twice"


@pytest.mark.timeout(240)
def test_a_worker_of_a_forgotten_run_writes_nothing_for_another(own_world: World) -> None:
    old, new = set_back_amid_a_run(
        own_world, lambda: own_world.start_worker(LEASE_SECONDS=LEASE).wait_ready()
    )

    old.thaw()

    old.wait_for_event("run_let_go", 60)
    check_undisturbed(own_world, new)


@pytest.mark.timeout(240)
def test_behind_a_pooler_that_hides_it_neither(own_world: World, pooler_url: str) -> None:
    old, new = set_back_amid_a_run(
        own_world,
        lambda: own_world.start_worker(LEASE_SECONDS=LEASE, DATABASE_URL=pooler_url).wait_ready(),
    )

    old.thaw()

    old.wait_for_event("run_let_go", 60)
    assert old.events("batch_sent") == [], "what it had in flight is not the other run's"
    check_undisturbed(own_world, new)
