"""export try: what changes between its reading and its beginning is not sent as it was read."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from support import people
from support.paths import program
from support.process import wait_until
from support.roles import Login, make_login
from support.world import ACCOUNT, CONNECTION, EXPORT, LIST, SEGMENT, World

NEW_LIST = "ListA2"
AGAIN = 75


def set_up(world: World, count: int = 10) -> list[str]:
    """A worker, and an export that has not run; its addresses."""
    population = people.simple(count)
    world.set_up_export(population)
    world.simulator.add_list(NEW_LIST, ACCOUNT, "New")
    world.start_worker().wait_ready()
    return sorted(population.wanted)


def publish(world: World) -> None:
    world.admin("publish", SEGMENT, "--wait")


def forget_upstream(world: World, address: str) -> None:
    world.db.execute(
        "delete from insights.segment_member where profile_id in"
        " (select profile_id from insights.customer_profile where lower(attributes ->> 'email') = %s)", address,
    )  # fmt: skip


def come_back(world: World, address: str) -> None:
    world.db.execute(
        "insert into insights.segment_member select %s, profile_id from insights.customer_profile"
        " where lower(attributes ->> 'email') = %s", SEGMENT, address,
    )  # fmt: skip


@contextmanager
def reading(world: World, *words: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A trial with its snapshot taken, which waits for the members until the block is left."""
    with world.db.connect() as connection, connection.transaction():
        connection.execute("lock table insights.customer_profile in access exclusive mode")
        asked = subprocess.Popen(
            [str(program("klaviyo-worker")), "export", "try", EXPORT, "--rows", "3", *words],
            env=world.env(**settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        waits = "select from pg_locks where relation = 'insights.customer_profile'::regclass and not granted"
        wait_until(lambda: world.db.rows(waits), 30, "the trial to read")
        yield asked


def frozen(world: World) -> subprocess.Popen[bytes]:
    """A trial on the spot that has its snapshot, and goes on with SIGCONT."""
    with reading(world, "--direct") as asked:
        asked.send_signal(signal.SIGSTOP)
    return asked


def thaw(asked: subprocess.Popen[bytes]) -> bytes:
    asked.send_signal(signal.SIGCONT)
    _, said = asked.communicate(timeout=60)
    assert asked.returncode == 0, said
    return said


# ---- what the next run makes of it ----


def update(world: World) -> None:
    world.admin("export", "update", EXPORT, "--list", NEW_LIST)


def remove_and_add(world: World) -> None:
    world.admin("export", "remove", EXPORT, "--yes")
    world.add_export(list_id=NEW_LIST)


@pytest.mark.parametrize("change", [update, remove_and_add], ids=["another list", "made again"])
def test_what_was_read_of_another_list_keeps_nobody_off_the_new_one(
    world: World, change: Callable[[World], None]
) -> None:
    addresses = set_up(world)
    publish(world)
    trial = frozen(world)

    change(world)
    thaw(trial)

    assert world.simulator.emails(NEW_LIST) == set(addresses[:3])
    publish(world)
    assert world.simulator.emails(NEW_LIST) == set(addresses)


def test_so_where_a_worker_does_it(world: World) -> None:
    addresses = set_up(world)
    publish(world)
    mo = contributor(world)

    with reading(world, DATABASE_URL=mo.url, SECRET_KEY_FILE="") as asked:
        world.db.execute("update klaviyo.export set list_id = %s", NEW_LIST)
    assert asked.wait(60) == 0, asked.communicate()

    assert world.simulator.emails(NEW_LIST) == set(addresses[:3])
    publish(world)
    assert world.simulator.emails(NEW_LIST) == set(addresses)


def contributor(world: World) -> Login:
    login = make_login(world.db, "mo", "klaviyo_contributor")
    world.admin("connection", "grant", CONNECTION, login.name)
    return login


def test_whom_a_run_took_off_meanwhile_is_put_on_the_list_when_coming_back(world: World) -> None:
    first, *others = set_up(world)
    world.admin("export", "update", EXPORT, "--on-leave", "remove")
    publish(world)
    trial = frozen(world)

    forget_upstream(world, first)
    publish(world)
    assert first not in world.simulator.emails(LIST)
    thaw(trial)

    assert world.simulator.emails(LIST) == set(others)
    come_back(world, first)
    publish(world)
    assert first in world.simulator.emails(LIST)


def test_rows_that_a_run_has_sent_meanwhile_are_sent_once_more(world: World) -> None:
    addresses = set_up(world)
    trial = frozen(world)

    publish(world)
    thaw(trial)

    runs = [(run["trigger"], run["state"], run["counts"]["accepted"]) for run in world.runs()]
    assert runs == [("trial", "succeeded", 3), ("on-demand", "succeeded", 10)]
    assert world.simulator.emails(LIST) == set(addresses)


def test_who_is_forgotten_meanwhile_is_not_sent(world: World) -> None:
    first, *others = set_up(world)
    trial = frozen(world)

    forget_upstream(world, first)
    world.admin("member", "forget", first, "--yes")
    thaw(trial)

    assert world.simulator.emails(LIST) == set(others[:3])
    assert world.db.rows("select from klaviyo.ledger where address = %s", first) == []


def test_where_it_changes_each_time_the_trial_ends_and_nothing_is_sent(world: World) -> None:
    set_up(world)
    world.db.execute(
        "create or replace function klaviyo.trial_basis(p_export_name text, p_trial bigint) returns text"
        " language sql volatile as 'select random()::text'"
    )

    tried = world.command("export", "try", EXPORT, "--rows", "2", "--direct")

    assert tried.rc == AGAIN and "was changed" in tried.stderr, tried
    assert world.runs() == [] and world.simulator.count(LIST) == 0


# ---- what counts as a change ----

BASIS = "select klaviyo.trial_basis(%s, null)"
BEGIN = "select what from klaviyo.begin_trial(%s, 'w', 15000, null, null, '{}', %s)"


def begin(world: World, basis: str | None) -> str:
    return str(world.db.value(BEGIN, EXPORT, basis))


def a_run_goes_on(world: World) -> None:
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, epoch, started_at,"
        " lease_until, first_batch)"
        " select export_id, name, 'main', 'schedule', 'running', 1, now(), now() + interval '1 hour',"
        " nextval('klaviyo.batch_id') from klaviyo.export"
    )


def it_ends(world: World) -> None:
    world.db.execute("update klaviyo.run set state = 'failed', finished_at = now() where finished_at is null")


def test_a_trial_is_begun_where_nothing_has_changed(world: World) -> None:
    world.set_up_export(people.simple(1))
    a_run_goes_on(world)
    it_ends(world)

    assert begin(world, world.db.value(BASIS, EXPORT)) == "begun"


def test_so_is_one_of_a_worker_that_does_not_say_what_it_read(world: World) -> None:
    world.set_up_export(people.simple(1))

    assert begin(world, None) == "begun"


def test_a_run_that_went_on_while_it_read_is_waited_for_and_then_read_again(world: World) -> None:
    world.set_up_export(people.simple(1))
    a_run_goes_on(world)
    basis = world.db.value(BASIS, EXPORT)

    assert begin(world, basis) == "busy"
    it_ends(world)
    assert begin(world, basis) == "changed"
    assert world.db.value("select count(*) from klaviyo.run where is_trial") == 0


@pytest.mark.parametrize("words", [("--max-profiles", "7"), ("--attribute", "last_name=name")])
def test_any_change_of_the_export_is_one(world: World, words: tuple[str, ...]) -> None:
    world.set_up_export(people.simple(1))
    basis = world.db.value(BASIS, EXPORT)

    world.admin("export", "update", EXPORT, "--force", *words)

    assert begin(world, basis) == "changed"


WAITS = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def test_a_change_that_is_about_to_be_committed_is_waited_for(world: World) -> None:
    world.set_up_export(people.simple(1))
    basis = world.db.value(BASIS, EXPORT)
    found: list[str] = []
    begins = threading.Thread(target=lambda: found.append(begin(world, basis)))
    with world.db.connect() as connection, connection.transaction():
        connection.execute("update klaviyo.export set list_id = %s", (NEW_LIST,))

        begins.start()
        wait_until(lambda: found or world.db.value(WAITS) == 1, 20, "the trial to be begun")

    begins.join()
    assert found == ["changed"]


def test_nothing_is_read_of_somebody_who_is_being_forgotten(world: World) -> None:
    world.set_up_export(people.simple(1))
    before = world.db.value(BASIS, EXPORT)
    found: list[str] = []
    looks = threading.Thread(target=lambda: found.append(world.db.value(BASIS, EXPORT)))
    with world.db.connect() as connection, connection.transaction():
        connection.execute("select klaviyo.forget_member('somebody@example.test')")

        looks.start()
        wait_until(lambda: found or world.db.value(WAITS) == 1, 20, "the trial to look")
        assert found == []

    looks.join()
    assert begin(world, before) == "changed" and begin(world, found[0]) == "begun"
