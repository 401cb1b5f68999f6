"""The database refuses, is a standby, is not there yet, or gets another password."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support import people
from support.paths import postgres_program
from support.postgres import Database, Postgres, Standby, as_server_user
from support.process import wait_until
from support.relay import HiddenStandby
from support.roles import make_login
from support.worker import Worker
from support.world import SEGMENT, MakeWorld, World

FAILED, TRY_LATER = 1, 75
FIRST, SECOND = "first-Xq7vJ2", "second-Kp9wZt"


def ask_for_passwords(postgres: Postgres) -> None:
    """Of everybody but the superuser."""
    rules = postgres.data / "pg_hba.conf"
    rules.write_text(
        "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    as_admin = Postgres.as_guest(postgres)
    subprocess.run(
        as_server_user([postgres_program("pg_ctl"), "reload", "-D", as_admin.data]),
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )


@pytest.fixture
def guarded(make_world: MakeWorld, own_postgres: Postgres) -> World:
    """A world whose workers connect as wally, with a password."""
    world = make_world(postgres=own_postgres)
    world.db.execute(f"create role wally login password '{FIRST}'")
    world.db.execute("grant klaviyo_worker to wally")
    ask_for_passwords(own_postgres)
    return world


def wally(world: World, password: str, database: str = "") -> str:
    url = world.db.url.replace("//postgres@", f"//wally:{password}@")
    return url.rsplit("/", 1)[0] + "/" + database if database else url


@pytest.mark.parametrize("who", ["contributor", "viewer", "admin"])
def test_a_worker_whose_user_may_not_work_does_not_start(world: World, who: str) -> None:
    """It would be ready, take a good worker's place, and no event in."""
    login = make_login(world.db, who, f"klaviyo_{who}")

    result = world.command("run", DATABASE_URL=login.url)

    assert result.rc == FAILED, result
    assert f"{login.name} has not the rights of klaviyo_worker" in result.stderr, result


def test_who_is_refused_is_told_why_and_that_trying_again_is_no_use(guarded: World) -> None:
    unknown_role = guarded.db.url.replace("//postgres@", "//nobody-zq:x@")
    for url, word in (
        (wally(guarded, "wrong-Wm4yRb"), "password"),
        (wally(guarded, FIRST, "no-such-zq"), "database"),
        (unknown_role, "password"),
    ):
        result = guarded.command("runs", "list", DATABASE_URL=url)

        assert result.rc == FAILED, result
        assert word in result.stderr and "DATABASE_URL" in result.stderr, result.stderr
        for part in ("zq", FIRST, "Wm4yRb", "wally"):
            assert part not in result.stderr, result.stderr


def test_a_password_that_is_changed_in_its_file_needs_no_restart(guarded: World, logs: Path) -> None:
    file = logs / "url"
    file.write_text(wally(guarded, FIRST) + "\n")
    guarded.set_up_export(people.simple(20))
    worker = guarded.start_worker(DATABASE_URL="", DATABASE_URL_FILE=str(file)).wait_ready()
    guarded.refresh()
    guarded.wait_runs_ended(1)

    guarded.db.execute(f"alter role wally password '{SECOND}'")
    guarded.refresh(full=True)
    # New connections are refused now: the run waits, it is not taken over and over.
    wait_until(
        lambda: guarded.db.value("select count(*) from klaviyo.run where state = 'running'") == 1,
        20,
        "the second run to be taken",
    )
    worker.wait_for_event("plan_waits_for_connections", 20)
    file.write_text(wally(guarded, SECOND) + "\n")

    run = guarded.wait_runs_ended(2)[0]

    assert run["state"] == "succeeded", run
    assert worker.events("run_let_go") == []
    assert guarded.db.value("select max(epoch) from klaviyo.run where run_id = %s", run["id"]) == 2
    text = worker.log.read_text()
    assert FIRST not in text and SECOND not in text
    worker.stop()


def test_run_waits_at_its_start_for_a_database_that_is_not_there_yet(
    make_world: MakeWorld, own_postgres: Postgres
) -> None:
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(20))
    own_postgres.stop()
    worker = world.start_worker()
    wait_until(lambda: worker.status("/livez") == 200, 20, "/livez")
    assert worker.status("/readyz") == 503
    worker.wait_for_event("database_unavailable")

    waiting = world.start_worker()
    waiting.wait_for_event("database_unavailable")
    waiting.stop(seconds=3)

    own_postgres.start()
    own_postgres.wait_ready()
    wait_until(lambda: worker.status("/readyz") == 200, 30, "/readyz to say yes")
    world.refresh()
    (run,) = world.wait_runs_ended(1)
    assert run["state"] == "succeeded"
    worker.stop()


def test_run_waits_for_a_password_that_is_refused_at_its_start(guarded: World, logs: Path) -> None:
    file = logs / "url"
    file.write_text(wally(guarded, SECOND))
    worker = guarded.start_worker(DATABASE_URL="", DATABASE_URL_FILE=str(file))
    said = worker.wait_for_event("database_unavailable")
    assert "password" in said["error"] and SECOND not in worker.log.read_text()
    assert worker.status("/livez") == 200 and worker.status("/readyz") == 503

    guarded.db.execute(f"alter role wally password '{SECOND}'")

    wait_until(lambda: worker.status("/readyz") == 200, 30, "/readyz to say yes")
    worker.stop()


def test_on_a_hot_standby_run_waits_and_says_so_and_listings_work(
    make_world: MakeWorld, own_postgres: Postgres, standby: Standby
) -> None:
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(20))
    lsn = world.db.value("select pg_current_wal_lsn()::text")
    url = world.db.url.replace(f":{own_postgres.port}/", f":{standby.port}/")

    def has_followed() -> bool:
        done = world.command("export", "list", "--json", DATABASE_URL=url)
        return done.rc == 0 and len(done.json) == 1

    wait_until(has_followed, 30, f"the standby to reach {lsn}", 0.3)
    refused = world.command("export", "pause", "newsletter", DATABASE_URL=url)
    assert refused.rc == TRY_LATER and "standby" in refused.stderr, refused

    worker = world.start_worker(DATABASE_URL=url)
    said = worker.wait_for_event("database_unavailable")
    assert "standby" in said["error"], said
    assert worker.status("/livez") == 200 and worker.status("/readyz") == 503
    own_postgres.stop("immediate")
    standby.promote()
    wait_until(lambda: worker.status("/readyz") == 200, 40, "/readyz to say yes")
    world.refresh(SEGMENT)
    wait_until(
        lambda: any(
            run["state"] == "succeeded"
            for run in world.command("runs", "list", "--json", DATABASE_URL=url).json
        ),
        40,
        "the run to succeed",
        0.3,
    )
    worker.stop()
    own_postgres.start()
    own_postgres.wait_ready()


USERS_OF_THE_DATABASE = {f"klaviyo-worker {who}" for who in ("run", "tasks", "outcomes")}


def hear_of_standby(worker: Worker) -> set[str]:
    """Who has said that DATABASE_URL must lead elsewhere."""
    failed = worker.events("database_unavailable") + [
        {**event, "who": "tasks"} for event in worker.events("task_take_failed")
    ]
    return {event["who"] for event in failed if "must lead to the primary" in event["error"]}


def test_a_standby_that_a_pooler_hides_is_left_for_the_primary(
    make_world: MakeWorld, own_postgres: Postgres, standby: Standby
) -> None:
    """After a failover a pooler may lead to the old primary for a while; connections stay there."""
    world = make_world(postgres=own_postgres)
    world.turn_on_outcomes()
    world.set_up_export(people.simple(20))
    pooler = HiddenStandby(own_postgres.port)
    url = world.db.url.replace(f":{own_postgres.port}/", f":{pooler.port}/")
    worker = world.start_worker(DATABASE_URL=url).wait_ready()
    world.refresh(SEGMENT, refresh_id="before")
    world.wait_outcomes_sent()
    copy = Database(world.db.url.replace(f":{own_postgres.port}/", f":{standby.port}/"), world.db.name)
    ended = "select count(*) = 1 from klaviyo.run where finished_at is not null"
    wait_until(lambda: copy.value(ended), 30, "the standby to follow", 0.3)

    pooler.lead_to(standby.port)
    pooler.drop()
    came: set[str] = set()

    def all_came() -> bool:
        came.update(name for (name,) in copy.rows("select application_name from pg_stat_activity"))
        return came >= USERS_OF_THE_DATABASE

    wait_until(all_came, 30, "everybody to be at the standby")
    wait_until(lambda: hear_of_standby(worker) >= {"outcomes", "tasks"}, 30, "them to say so")
    pooler.lead_to(own_postgres.port)

    world.refresh(SEGMENT, refresh_id="after", full=True)
    world.wait_runs_ended(2)
    assert len(world.wait_outcomes_sent()) == 2
    wait_until(lambda: worker.status("/readyz") == 200, 30, "/readyz to say yes")
    worker.stop()
