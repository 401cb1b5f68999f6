"""What the runbook says to do, done in the situations that it is about."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support import events, people
from support.paths import TREE
from support.postgres import Postgres, server_user
from support.process import wait_until
from support.root import small_disk as mounted
from support.worker import Result
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, MakeWorld, World

PEOPLE = 30


@cache
def section(title: str) -> str:
    text = (TREE / "deploy" / "runbook.md").read_text()
    (found,) = re.findall(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.M)
    return " ".join(found.split())


def follow(world: World, title: str, command: str, stdin: str = "", **values: str) -> Result:
    """Runs a command of that section as it is written there, capitals replaced by values."""
    assert command in section(title), f"the runbook does not say so under {title}"
    words = [values.get(word, word) for word in shlex.split(command)]
    assert words.pop(0) == "klaviyo-worker"
    return world.admin(*words, stdin=stdin)


def failed_with(world: World, reason: str, runs: int = 1) -> None:
    newest = world.wait_runs_ended(runs)[0]
    assert (newest["state"], newest["reason"]) == ("failed", reason), newest
    world.wait_all_committed()


def recovers(world: World, runs: int, list_id: str = LIST) -> None:
    newest = world.wait_runs_ended(runs)[0]
    assert newest["state"] == "succeeded", newest
    assert world.simulator.count(list_id) == PEOPLE
    world.wait_all_committed()


def test_a_key_that_was_revoked(world: World) -> None:
    world.set_up_export(people.simple(PEOPLE))
    world.start_worker()
    world.simulator.remove_key(KEY)
    world.refresh()
    failed_with(world, "key_refused")
    world.refresh()
    failed_with(world, "connection_needs_attention", 2)
    shown = follow(world, "key_refused", "klaviyo-worker connection show NAME", NAME=CONNECTION)
    assert "attention" in shown.stdout

    world.simulator.add_key("pk_new0key", ACCOUNT)
    rotate = "klaviyo-worker connection rotate-key NAME --api-key-file FILE"
    follow(world, "key_refused", rotate, "pk_new0key\n", NAME=CONNECTION, FILE="-")
    follow(world, "key_refused", "klaviyo-worker dead-letters replay --reason key_refused")
    replay = "klaviyo-worker dead-letters replay --reason connection_needs_attention"
    follow(world, "key_refused", replay)
    recovers(world, 3)


def test_a_list_that_was_deleted(world: World) -> None:
    world.set_up_export(people.simple(PEOPLE))
    world.start_worker()
    world.simulator.remove_list(LIST)
    world.refresh()
    failed_with(world, "list_gone")

    world.simulator.add_list("ListB2", ACCOUNT, "Newsletter")
    update = "klaviyo-worker export update NAME --list NEW_ID"
    follow(world, "list_gone", update, NAME=EXPORT, NEW_ID="ListB2")
    follow(world, "list_gone", "klaviyo-worker dead-letters replay --reason list_gone")
    recovers(world, 2, "ListB2")


def test_an_event_that_is_poison(world: World) -> None:
    world.set_up_export(people.simple(PEOPLE))
    world.start_worker()
    world.publish(events.Message(b"{not json", {}, b"key"))
    wait_until(world.dead_letters, 30, "a dead letter")
    listed = follow(world, "event_invalid", "klaviyo-worker dead-letters list")
    assert "event_invalid" in listed.stdout

    follow(world, "event_invalid", "klaviyo-worker publish SEGMENT", SEGMENT=SEGMENT)
    recovers(world, 1)


def test_klaviyo_is_away_for_longer_than_the_budget(world: World) -> None:
    world.set_up_export(people.simple(PEOPLE))
    world.start_worker(RETRY_BUDGET_SECONDS="2")
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.refresh()
    failed_with(world, "retry_budget_used_up")

    world.simulator.clear_faults()
    replay = "klaviyo-worker dead-letters replay --reason retry_budget_used_up"
    follow(world, "retry_budget_used_up", replay)
    recovers(world, 2)


def test_a_partition_that_does_not_move(world: World) -> None:
    title = "A partition that does not move"
    world.set_up_export(people.simple(PEOPLE))
    world.start_worker()
    world.simulator.fault("import", {"throttle": 600}, times=1)
    world.refresh()
    waiting = "klaviyo-worker runs list --state waiting"
    wait_until(lambda: EXPORT in follow(world, title, waiting).stdout, 30, "the run to wait")
    world.publish(events.Message(b"{not json", {}, b"key"))
    wait_until(world.dead_letters, 30, "the event behind it to have ended")
    assert world.committed() == 0

    (run,) = world.runs()
    follow(world, title, "klaviyo-worker runs cancel ID", ID=str(run["id"]))
    world.wait_all_committed()
    assert world.run(run["id"])["reason"] == "cancelled_by"
    follow(world, title, "klaviyo-worker export pause NAME", NAME=EXPORT)


# -- the database is full ------------------------------------------------------


@pytest.fixture
def small_disk(own_folder: Path) -> Iterator[Path]:
    """A disk of its own for the tables; write-ahead log and catalogue are elsewhere."""
    with mounted(own_folder / "small", "48m") as folder:
        yield folder


def tables_on(server: Postgres, disk: Path) -> None:
    place = disk / "tables"
    place.mkdir()
    user = server_user()
    if user:
        subprocess.run(["chown", f"{user}:", place], check=True)
    database = server.create_database("preparation")
    database.execute(f"create tablespace small location '{place}'")
    database.execute("alter system set default_tablespace = 'small'")
    database.execute("select pg_reload_conf()")


def free_bytes(disk: Path) -> int:
    figures = os.statvfs(disk)
    return figures.f_bavail * figures.f_frsize


def test_the_database_is_full(
    small_disk: Path, own_postgres: Postgres, make_world: MakeWorld
) -> None:
    tables_on(own_postgres, small_disk)
    world = make_world(postgres=own_postgres)
    world.set_up_export(people.simple(20_000))
    worker = world.start_worker().wait_ready()
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * free_bytes(small_disk))
    world.refresh()
    wait_until(lambda: "53100" in worker.log.read_text(), 60, "PostgreSQL to be out of space")

    query = re.findall(r"`*psql \"\$DATABASE_URL\" -c \"(select relname.*?desc)\"", section(
        "The database is full, or refuses connections"
    ))
    assert world.db.rows(query[0])[0][0]
    filler.unlink()

    (run,) = world.wait_runs_ended(seconds=90)
    assert run["state"] == "succeeded", run
    assert world.simulator.count(LIST) == 20_000
    world.wait_all_committed()
