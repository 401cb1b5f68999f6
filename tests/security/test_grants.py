"""Grants are to roles, not to their names; a restored database has the rights of before."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from support.paths import postgres_program
from support.postgres import Database, Postgres, as_server_user
from support.process import wait_until
from support.roles import Login, make_login
from support.site import SEED, Site, migrate

SEEN = "select name from klaviyo.connection"


@pytest.fixture
def team(site: Site) -> Iterator[Login]:
    login = make_login(site.db, "team", "klaviyo_contributor")
    assert site.command("admin", "connection", "grant", "hidden", login.name).rc == 0
    yield login
    for name in (login.name, f"{login.name}_2"):
        site.db.execute(f'drop role if exists "{name}"')


def granted_to(site: Site) -> list[str]:
    shown = site.command("admin", "connection", "show", "hidden", "--json").json
    assert isinstance(shown, dict)
    return list(shown["granted_to"])


def test_a_role_that_is_made_again_under_the_name_inherits_nothing(site: Site, team: Login) -> None:
    with team.connect() as connection:
        assert connection.execute(SEEN).fetchall() == [("hidden",)]
    site.db.execute(f'drop role "{team.name}"')
    again = make_login(site.db, "team", "klaviyo_contributor")

    with again.connect() as connection:
        assert connection.execute(SEEN).fetchall() == []
        assert connection.execute("select 1 where klaviyo.may_use(2)").fetchall() == []
    assert granted_to(site) == []
    assert migrate(site.db.url).rc == 0
    assert site.db.rows("select 1 from klaviyo.connection_grant where role_name = %s", team.name) == []

    assert site.command("admin", "connection", "grant", "hidden", team.name).rc == 0
    with again.connect() as connection:
        assert connection.execute(SEEN).fetchall() == [("hidden",)]
    assert site.command("admin", "connection", "revoke", "hidden", team.name).rc == 0


def test_a_role_that_is_made_again_can_be_granted_again(site: Site, team: Login) -> None:
    site.db.execute(f'drop role "{team.name}"')
    again = make_login(site.db, "team", "klaviyo_contributor")

    assert site.command("admin", "connection", "grant", "hidden", team.name).rc == 0

    with again.connect() as connection:
        assert connection.execute(SEEN).fetchall() == [("hidden",)]


def test_a_renamed_role_keeps_what_it_was_granted(site: Site, team: Login) -> None:
    site.db.execute(f'alter role "{team.name}" rename to "{team.name}_2"')
    renamed = Login(f"{team.name}_2", team.url.replace(team.name + "@", f"{team.name}_2@"))

    with renamed.connect() as connection:
        assert connection.execute(SEEN).fetchall() == [("hidden",)]
    assert granted_to(site) == [renamed.name]
    assert site.command("admin", "connection", "revoke", "hidden", renamed.name).rc == 0
    with renamed.connect() as connection:
        assert connection.execute(SEEN).fetchall() == []


DRAFT = '{"connection": "hidden", "list": "L1", "email_path": ["email"], "segments": ["seg"]}'
ACTS = {
    "add": f"select klaviyo.add_export('late', '{DRAFT}')",
    "resume": "select klaviyo.resume_export('paused')",
    "move": "select klaviyo.change_export('elsewhere', '{\"connection\": \"hidden\"}')",
}
ACTIVE = "select name from klaviyo.export where not paused and name in ('late', 'paused', 'elsewhere')" \
    " and connection_id = 2"  # fmt: skip


@pytest.fixture
def exports(site: Site, team: Login) -> Iterator[None]:
    """One that is paused, and one of another connection, made by the team."""
    elsewhere = DRAFT.replace("hidden", "granted")
    assert site.command("admin", "connection", "grant", "granted", team.name).rc == 0
    with team.connect() as connection:
        connection.execute(f"select klaviyo.add_export('paused', '{DRAFT}')".encode())
        connection.execute(b"select klaviyo.pause_export('paused')")
        connection.execute(f"select klaviyo.add_export('elsewhere', '{elsewhere}')".encode())
    yield
    site.db.execute("delete from klaviyo.export where name in ('late', 'paused', 'elsewhere')")


def waits(site: Site) -> None:
    wait_until(lambda: site.db.rows("select 1 from pg_locks where not granted") != [], 10, "somebody to wait")


def in_session(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize("act", ACTS)
def test_a_revoke_pauses_what_was_just_being_made_with_the_grant(site: Site, team: Login, act: str) -> None:
    revoke = f"select paused from klaviyo.revoke_connection('hidden', '{team.name}')"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(team.url) as connection:
        connection.execute(ACTS[act].encode())
        later = pool.submit(in_session, site.users["admin"].url, revoke)
        waits(site)
        connection.commit()
        paused = later.result(20)

    assert paused == {"add": "late", "resume": "paused", "move": "elsewhere"}[act]
    assert site.db.rows(ACTIVE) == []


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_made_with_a_grant_that_was_just_revoked(
    site: Site, team: Login, act: str, isolation: str
) -> None:
    revoke = f"select klaviyo.revoke_connection('hidden', '{team.name}')"
    at_once = f"set default_transaction_isolation = '{isolation}'"

    def try_it() -> None:
        with psycopg.connect(team.url, autocommit=True) as connection:
            connection.execute(at_once.encode())
            connection.execute(b"begin; select 1")
            connection.execute(ACTS[act].encode())
            connection.execute(b"commit")

    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(site.users["admin"].url) as connection:
            connection.execute(revoke.encode())
            later = pool.submit(try_it)
            waits(site)
        try:
            later.result(20)
        except psycopg.Error as error:
            assert error.sqlstate == ("42501" if isolation == "read committed" else "40001")

    assert site.db.rows(ACTIVE) == []


def test_a_connection_that_is_being_removed_is_not_granted(site: Site, team: Login) -> None:
    site.db.execute("insert into klaviyo.connection (name, consent_version) values ('passing', 1)")
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(site.users["admin"].url) as connection:
            connection.execute(b"select klaviyo.remove_connection('passing')")
            later = pool.submit(site.command, "admin", "connection", "grant", "passing", team.name)
            waits(site)
        result = later.result(30)

    assert result.rc == 1 and "23503" not in result.stderr, result
    assert "no connection passing" in result.stderr, result


GONE = """
insert into klaviyo.export (name, connection_id, list_id, email_path)
select 'gone of ' || name, connection_id, 'L1', '{email}' from klaviyo.connection;
insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, finished_at)
select x.export_id, x.name, c.name, 'schedule', 'cancelled', now()
from klaviyo.export x join klaviyo.connection c using (connection_id) where x.name like 'gone of %';
insert into klaviyo.request_run select 1, run_id from klaviyo.run where export_name like 'gone of %';
delete from klaviyo.export where name like 'gone of %';
"""


@pytest.fixture
def runs(site: Site) -> Iterator[dict[str, str]]:
    """By connection, a run of an export that was removed."""
    site.db.execute(GONE)
    seen = "select connection_name, run_id::text from klaviyo.run where export_name like 'gone of %'"
    yield dict(site.db.rows(seen))
    site.db.execute("delete from klaviyo.run where export_name like 'gone of %'")


def test_runs_of_an_export_that_is_gone_stay_with_whom_their_connection_was_granted(
    site: Site, runs: dict[str, str]
) -> None:
    shown, others = runs["granted"], runs["hidden"]

    for words in (["runs", "show"], ["runs", "watch"], ["runs", "rejections"]):
        mine = site.command("contributor", *words, shown)
        refused = site.command("contributor", *words, others)

        assert "there is no run" not in mine.stderr and (words[1] == "watch" or mine.rc == 0), mine
        assert refused.rc == 1 and f"there is no run {others} that you may see" in refused.stderr, refused
    listed = site.command("contributor", "runs", "list", "--json").json
    assert int(shown) in [run["id"] for run in listed] and int(others) not in [run["id"] for run in listed]
    assert site.command("stranger", "runs", "list", "--json").json == []
    with site.users["contributor"].connect() as connection:
        events = connection.execute("select run_id from klaviyo.request_run").fetchall()
    assert (int(shown),) in events and (int(others),) not in events


# Who may do what to each thing of ours, and whose it is where that gives rights.
RIGHTS = """
select 'table', c.relname::text, a.grantee::regrole::text, a.privilege_type, ''
from pg_class c, aclexplode(c.relacl) a
where c.relnamespace in ('klaviyo'::regnamespace, 'insights'::regnamespace) and a.grantee <> c.relowner
union all
select 'column', c.relname || '.' || t.attname, a.grantee::regrole::text, a.privilege_type, ''
from pg_class c join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a
where c.relnamespace = 'klaviyo'::regnamespace
union all
select 'function', p.oid::regprocedure::text, a.grantee::regrole::text, a.privilege_type,
       case when p.prosecdef then p.proowner::regrole::text else '' end
from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
where p.pronamespace = 'klaviyo'::regnamespace and a.grantee <> p.proowner
union all
select 'schema', n.nspname::text, a.grantee::regrole::text, a.privilege_type, ''
from pg_namespace n, aclexplode(n.nspacl) a
where n.nspname in ('klaviyo', 'insights') and a.grantee <> n.nspowner
union all
select 'policy', c.relname || ' ' || p.polname, p.polroles::regrole[]::text, p.polcmd::text, c.relrowsecurity::text
from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = 'klaviyo'::regnamespace
order by 1, 2, 3, 4
"""


def dump_and_restore(server: Postgres, source: Database, folder: Path, *options: str) -> Database:
    target = server.create_database("copied")
    file = folder / "dump.sql"
    with file.open("wb") as out:
        subprocess.run(
            as_server_user([postgres_program("pg_dump"), *options, source.url]), stdout=out, check=True, cwd="/"
        )
    with file.open("rb") as text:
        subprocess.run(
            ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", target.url], stdin=text, check=True, stdout=subprocess.DEVNULL
        )
    return target


@pytest.mark.parametrize("options", [(), ("--no-privileges", "--no-owner")], ids=["plain", "without privileges"])
def test_a_copied_database_has_the_rights_of_before_once_it_is_migrated(
    site: Site, own_postgres: Postgres, logs: Path, options: tuple[str, ...]
) -> None:
    """On another server, where the numbers of roles mean nothing."""
    elsewhere = Database(own_postgres.url("postgres"), "postgres")
    for role in ("padding", "klaviyo_admin", "klaviyo_contributor", "klaviyo_viewer", "klaviyo_worker",
                 "klaviyo_definer", "klaviyo_source"):  # fmt: skip
        elsewhere.execute(f'create role "{role}"')
    mo = make_login(elsewhere, "mo", "klaviyo_contributor")
    elsewhere.execute(f'alter role "{mo.name}" rename to "{site.users["contributor"].name}"')
    expected = site.db.rows(RIGHTS)
    assert len(expected) > 300

    copy = dump_and_restore(own_postgres, site.db, logs, *options)
    assert migrate(copy.url).rc == 0

    found = copy.rows(RIGHTS)
    assert found == expected, [set(expected) - set(found), set(found) - set(expected)]
    contributor = Login("mo", copy.url.replace("postgres@", f"{site.users['contributor'].name}@"))
    with contributor.connect() as connection:
        assert connection.execute(SEEN).fetchall() == [("granted",)]
    # Bound: a role that is made again there inherits nothing either.
    copy.execute(f'drop role "{site.users["contributor"].name}"')
    copy.execute(f'create role "{site.users["contributor"].name}" login in role klaviyo_contributor')
    with contributor.connect() as connection:
        assert connection.execute(SEEN).fetchall() == []


def test_a_database_of_the_version_before_keeps_its_grants(own_postgres: Postgres) -> None:
    """The names that stood there are bound to the roles of the time."""
    db = own_postgres.create_database("before")
    assert migrate(db.url).rc == 0
    db.execute(SEED)
    db.execute("create role mo login in role klaviyo_contributor")
    db.execute("alter table klaviyo.connection_grant disable trigger grant_is_bound")
    db.execute("insert into klaviyo.connection_grant (connection_id, role_name) values (1, 'mo'), (2, 'gone')")
    db.execute("alter table klaviyo.connection_grant enable trigger grant_is_bound")

    assert migrate(db.url).rc == 0

    mo = Login("mo", db.url.replace("postgres@", "mo@"))
    with mo.connect() as connection:
        assert connection.execute(SEEN).fetchall() == [("granted",)]
    assert db.rows("select role_name from klaviyo.connection_grant") == [("mo",)]
