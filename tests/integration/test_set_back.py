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
    """A pooler in transaction mode hides from its clients that the server was restarted."""
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


def lists_task(world: World, connection: str) -> None:
    world.db.execute(f"select klaviyo.add_task('connection lists', '{connection}', '{{}}')")


def wait_taken(world: World) -> None:
    taken = "select from klaviyo.task where state = 'running'"
    wait_until(lambda: world.db.rows(taken), 30, "the task to be taken")


def test_a_task_gets_no_answer_of_a_forgotten_one(own_world: World) -> None:
    """Both wait for Klaviyo, the forgotten one for another connection's lists."""
    own_world.simulator.fault("lists", {"delay_ms": 4000}, times=-1)
    copy = own_world.postgres.data.parent / "copy"
    own_world.postgres.back_up(copy)
    old = own_world.start_worker(LEASE_SECONDS=LEASE).wait_ready()
    lists_task(own_world, "main")
    wait_taken(own_world)
    old.freeze()
    own_world.postgres.set_back(copy)
    own_world.start_worker(LEASE_SECONDS=LEASE).wait_ready()
    lists_task(own_world, "other")
    wait_taken(own_world)

    old.thaw()

    answers = "select answer from klaviyo.task where state = 'done'"
    ((answer,),) = wait_until(lambda: own_world.db.rows(answers), 30, "the answer")
    assert [entry["id"] for entry in answer["lists"]] == [OTHER_LIST]


def test_no_outcome_has_the_number_of_a_forgotten_one(own_world: World) -> None:
    """Who has sent that one deletes it by its number, and would delete another's."""
    own_world.simulator.clear_faults()
    copy = own_world.postgres.data.parent / "copy"
    own_world.postgres.back_up(copy)
    numbers, runs = [], []
    for again in range(2):
        if again:
            own_world.postgres.set_back(copy)
        worker = own_world.start_worker().wait_ready()
        own_world.refresh("others")
        runs += [run["id"] for run in own_world.wait_runs_ended(1, 60)]
        numbers += [number for (number,) in own_world.db.rows("select outcome_id from klaviyo.outcome")]
        worker.kill()
    assert runs.count(1) == 2, "the number of a run has come again"
    assert len(set(numbers)) == len(numbers) == len(runs)
