"""Nobody holds up workers or `migrate` by a lock that is left behind."""

from __future__ import annotations

import subprocess
import time

import psycopg
import pytest

from support.paths import program
from support.site import Site
from support.world import World

CHANGES = {
    "contributor": [
        "select klaviyo.pause_export('export of granted')",
        "select klaviyo.change_export('export of granted', '{\"list\": \"Lx\"}')",
    ],
    "admin": [
        "select klaviyo.replace_key('granted', null, null, 1, 'x')",
        "select klaviyo.grant_connection('hidden', 'klaviyo_contributor')",
        "select klaviyo.add_key_pair(decode(repeat('cd', 32), 'hex'), true)",
        "select klaviyo.cancel_run(1)",
    ],
}


@pytest.mark.parametrize(("user", "act"), [(user, act) for user, acts in CHANGES.items() for act in acts])
def test_a_change_that_is_left_open_ends_by_itself(site: Site, user: str, act: str) -> None:
    with psycopg.connect(site.users[user].url) as connection:
        connection.execute(act.encode())
        bounds = connection.execute(
            "select setting::integer from pg_settings where name in"
            " ('lock_timeout', 'idle_in_transaction_session_timeout') order by name desc"
        ).fetchall()
        connection.rollback()
        after = connection.execute("show idle_in_transaction_session_timeout").fetchone()

    assert bounds == [(10000,), (30000,)]
    assert after == ("0",)


def test_a_users_own_shorter_bounds_stay(site: Site) -> None:
    with psycopg.connect(site.users["contributor"].url) as connection:
        connection.execute("set lock_timeout = '2s'")
        connection.execute("select klaviyo.pause_export('export of granted')")
        bound = connection.execute("show lock_timeout").fetchone()
        connection.rollback()

    assert bound == ("2s",)


def test_a_change_that_was_left_open_holds_its_export_no_longer_than_it_says(site: Site) -> None:
    connection = psycopg.connect(site.users["contributor"].url)
    connection.execute("select klaviyo.pause_export('export of granted')")
    connection.execute("set local idle_in_transaction_session_timeout = '500ms'")  # instead of 30 s
    site.db.execute("set lock_timeout = '20s'; select from klaviyo.export where export_id = 1 for update")

    with pytest.raises(psycopg.Error, match="idle-in-transaction"):
        connection.execute("select 1")


def start_migrate(site: Site, **more: str) -> subprocess.Popen[str]:
    env = {**World.base_env(), "DATABASE_URL": site.db.url, **more}
    command = [str(program("klaviyo-worker")), "migrate"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("user", ["nobody", "contributor"])
def test_an_advisory_lock_of_anybody_does_not_hold_up_migrate(site: Site, user: str) -> None:
    """These two numbers were the keys of locks of ours."""
    with site.users[user].connect() as connection:
        connection.execute("select pg_advisory_lock(5540121768), pg_advisory_lock(5540121769)")
        started = time.monotonic()
        process = start_migrate(site)
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 0, errors
    assert time.monotonic() - started < 15


def test_migrate_says_for_whom_it_waits(site: Site) -> None:
    """Only who owns the tables can stand in its way; a reader who does nothing cannot."""
    with psycopg.connect(site.users["viewer"].url) as reader:
        reader.execute("select * from klaviyo.run, klaviyo.migration")
        assert start_migrate(site).wait(20) == 0
    holder = psycopg.connect(site.db.url)
    backend = holder.info.backend_pid
    holder.execute("lock table klaviyo.migration in access exclusive mode")
    process = start_migrate(site)
    assert process.stderr
    said = process.stderr.readline()
    holder.close()
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 0, errors
    assert f"server process {backend} of user postgres" in said, said


def test_migrate_gives_up_and_says_for_whom_it_waited(site: Site) -> None:
    """Once in its bound, which is a minute of tries but for this test."""
    with psycopg.connect(site.db.url) as holder:
        holder.execute("lock table klaviyo.migration in access exclusive mode")
        process = start_migrate(site, KLAVIYO_FAILPOINT_BOUND="migrate_waits:1")
        output, errors = process.communicate(timeout=150)
        backend = holder.info.backend_pid

    assert process.returncode == 75, errors
    last = errors.splitlines()[-1]
    assert f"waited for server process {backend} of user postgres" in last, errors
    assert not output
    assert start_migrate(site).wait(60) == 0
