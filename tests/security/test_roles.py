"""What each role may not do, tried in raw SQL: PostgreSQL itself refuses it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from support.postgres import Database
from support.roles import Login, make_login, make_logins
from support.worker import run_command
from support.world import Services, World

TABLES = [
    "audit", "batch", "connection", "connection_grant", "connection_key", "export", "export_field",
    "export_segment", "key_pair", "ledger", "migration", "rate_budget", "rate_place", "rejection",
    "request", "request_run", "run",
]  # fmt: skip

SEED = """
insert into klaviyo.key_pair (public_key) values (decode(repeat('ab', 32), 'hex'));
insert into klaviyo.connection (name, consent_version) values ('granted', 1), ('hidden', 1);
insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key)
select connection_id, 1, 'sealed' from klaviyo.connection;
insert into klaviyo.export (name, connection_id, list_id, email_path)
select 'export of ' || name, connection_id, 'L1', '{email}' from klaviyo.connection;
insert into klaviyo.export_segment select export_id, 'seg' from klaviyo.export;
insert into klaviyo.export_field select export_id, 1, 'property', 'p', '{p}' from klaviyo.export;
insert into klaviyo.run (export_id, export_name, connection_name, trigger)
select export_id, name, 'c', 'schedule' from klaviyo.export order by export_id;
insert into klaviyo.request (topic, partition, record_offset, record_ms, segment_id, source, event_id)
values ('t', 0, 0, 0, 'seg', 's', 'e');
insert into klaviyo.request_run select 1, run_id from klaviyo.run;
insert into klaviyo.rejection
select run_id, 1, 'local', 'somebody@example.test', 'p', 'c', 'd' from klaviyo.run;
insert into klaviyo.ledger select export_id, 'somebody@example.test', 1, 1 from klaviyo.export;
insert into klaviyo.batch (export_id, run_id, row_count, body)
select export_id, run_id, 1, 'body' from klaviyo.run;
insert into klaviyo.rate_budget values ('a', 'import');
insert into klaviyo.rate_place (account, endpoint, burst_until, steady_until)
values ('a', 'import', now(), now());
insert into insights.customer_profile values ('p', '{"email": "somebody@example.test"}');
insert into insights.segment_member values ('seg', 'p');
"""

INSIDE = [
    "select * from insights.segment_profile",
    "select attributes from insights.customer_profile",
    "insert into insights.segment values ('x', 'x')",
    "delete from insights.segment_member",
    "update insights.customer_profile set attributes = '{}'",
]
# Functions that are the workers' or the database's own.
WORKERS_FUNCTIONS = [
    "select klaviyo.close_run(1, 'cancelled', 'x', 'x')",
    "select klaviyo.end_run(1, 0, 'failed', 'x', 'x')",
    "select klaviyo.settle_requests(1)",
    "select klaviyo.mark_attention(1, 'x')",
    "select klaviyo.next_run(1, true)",
    "select klaviyo.take_place('a', 'import', 1, 1, 1)",
    "select klaviyo.block_account('a', 'import', 100000)",
    "select klaviyo.return_place(1)",
]
OWNERS_FUNCTIONS = [
    "select klaviyo.stop_runs(1, 'export_removed')",
    "select klaviyo.lock_export(1, 'export_removed')",
    "select klaviyo.hand_over(1)",
    "select klaviyo.audit_write('x', 'run', 'x', '{}')",
]
NOT_IN_THE_SCHEMA = [
    "create table klaviyo.mine (x integer)",
    "create function klaviyo.mine() returns integer language sql as 'select 1'",
    "drop table klaviyo.audit",
    "alter table klaviyo.connection_key disable row level security",
    "drop policy everything on klaviyo.connection",
    "alter function klaviyo.may_use(bigint, name) owner to current_user",
    "create role klaviyo_own superuser",
    "grant klaviyo_admin to current_user",
    "set role klaviyo_worker",
]


def every(verb: str, *tables: str) -> list[str]:
    forms = {
        "select": "select * from klaviyo.{}",
        "delete": "delete from klaviyo.{}",
        "truncate": "truncate klaviyo.{} cascade",
        "lock": "lock table klaviyo.{} in access exclusive mode",
    }
    return [forms[verb].format(table) for table in tables]


def but(*names: str) -> list[str]:
    return [table for table in TABLES if table not in names]


SEALED = [
    "select sealed_key from klaviyo.connection_key",
    "select count(sealed_key) from klaviyo.connection_key",
    "select 1 from klaviyo.connection_key where sealed_key = 'sealed'",
    "select * from klaviyo.connection_key",
    "select k from klaviyo.connection_key k",
    "update klaviyo.connection_key set changed_by = sealed_key::text",
    "delete from klaviyo.connection_key returning sealed_key",
    "copy klaviyo.connection_key to stdout",
]
SOMEBODY_ELSE = [
    "insert into klaviyo.connection (name, consent_version, consent_by) values ('x', 1, 'boss')",
    "update klaviyo.connection set consent_by = 'boss'",
    "update klaviyo.connection set consent_at = now()",
    "update klaviyo.connection set export_user = 'boss'",
    "update klaviyo.connection_key set changed_by = 'boss'",
    "insert into klaviyo.connection_grant values (1, 'x', 'boss')",
    "update klaviyo.export set created_by = 'boss'",
    "insert into klaviyo.key_pair (public_key, created_by) values ('x', 'boss')",
]
RUNS = [
    "update klaviyo.run set state = 'succeeded'",
    "update klaviyo.run set cancelled_by = 'boss'",
    "insert into klaviyo.run (export_name, connection_name, trigger) values ('x', 'x', 'x')",
    "update klaviyo.request set state = 'done'",
    "insert into klaviyo.request_run values (1, 1)",
    "update klaviyo.ledger set fingerprint = 0",
    "insert into klaviyo.ledger values (1, 'a', 1, 1)",
    "insert into klaviyo.rejection values (1, 1, 'local', 'a', 'b', 'c', 'd')",
    "update klaviyo.batch set body = null",
]
AUDIT = [
    "insert into klaviyo.audit (action, object, name) values ('x', 'run', 'x')",
    "update klaviyo.audit set by_user = 'boss'",
]

FORBIDDEN = {
    "admin": [
        *SEALED, *SOMEBODY_ELSE, *RUNS, *AUDIT, *INSIDE, *WORKERS_FUNCTIONS, *OWNERS_FUNCTIONS,
        *NOT_IN_THE_SCHEMA,
        *every("delete", "audit", "run", "request", "request_run", "ledger", "batch", "rejection",
               "key_pair", "migration", "rate_place"),
        *every("truncate", *TABLES),
        *every("lock", "run", "audit", "ledger"),
        "select fingerprint_key from klaviyo.export",
        "update klaviyo.export set fingerprint_key = decode(repeat('ab', 16), 'hex')",
        "update klaviyo.key_pair set public_key = decode(repeat('cd', 32), 'hex')",
        "select klaviyo.begin_change(1, 'whatever')",
    ],
    "contributor": [
        *SEALED, *SOMEBODY_ELSE, *RUNS, *AUDIT, *INSIDE, *WORKERS_FUNCTIONS, *OWNERS_FUNCTIONS,
        *NOT_IN_THE_SCHEMA,
        *every("select", "audit", "batch", "connection", "connection_grant", "export", "key_pair",
               "ledger", "rate_budget", "rate_place", "request"),
        *every("delete", *but("export", "export_segment", "export_field")),
        *every("truncate", *TABLES),
        "select account_id from klaviyo.connection",
        "select consent_by from klaviyo.connection",
        "select attention_reason from klaviyo.connection",
        "insert into klaviyo.connection (name, consent_version) values ('x', 1)",
        "update klaviyo.connection set name = 'mine'",
        "insert into klaviyo.connection_grant (connection_id, role_name) values (2, current_user)",
        "update klaviyo.connection_grant set connection_id = 2",
        "insert into klaviyo.key_pair (public_key) values (decode(repeat('cd', 32), 'hex'))",
        # Exports on a connection that it was not given, by number.
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " values ('x', 2, 'L1', '{email}')",
        "update klaviyo.export set connection_id = 2 where export_id = 1",
        "insert into klaviyo.export_segment values (2, 'mine')",
        "insert into klaviyo.export_field values (2, 2, 'property', 'q', '{q}')",
        "select klaviyo.begin_change(2, 'export_removed')",
        "select klaviyo.begin_change(2, 'export_changed')",
        "select klaviyo.cancel_run(1)",  # of an export of the connection, made by another
        "select klaviyo.cancel_run(2)",
        "select klaviyo.pause_unusable('granted', 'x')",
        "select klaviyo.need_attention(1, 'x')",
        "update klaviyo.export set list_name = 'x'",
        "select fingerprint_key from klaviyo.export",
    ],
    "viewer": [
        *SEALED, *SOMEBODY_ELSE, *RUNS, *AUDIT, *INSIDE, *WORKERS_FUNCTIONS, *OWNERS_FUNCTIONS,
        *NOT_IN_THE_SCHEMA,
        *every("select", *but("run", "request_run", "migration", "connection_key")),
        *every("delete", *TABLES),
        *every("truncate", *TABLES),
        "select name from klaviyo.connection",
        "select name from klaviyo.export",
        "select email from klaviyo.rejection",
        "update klaviyo.export set paused = true",
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " values ('x', 1, 'L1', '{email}')",
        "select klaviyo.begin_change(1, 'export_paused')",
        "select klaviyo.cancel_run(1)",
        "select klaviyo.follow_event('s', 'e')",
        "select klaviyo.look_at_source('{seg}', '{email}')",
        "select klaviyo.need_attention(1, 'x')",
    ],
    "worker": [
        *AUDIT, *OWNERS_FUNCTIONS,
        *[statement for statement in NOT_IN_THE_SCHEMA if "set role" not in statement],
        *INSIDE[2:],
        *every("select", "audit"),
        *every("delete", "audit", "connection", "connection_grant", "connection_key", "export",
               "export_field", "export_segment", "key_pair", "migration"),
        *every("truncate", *TABLES),
        "insert into klaviyo.connection (name, consent_version) values ('x', 1)",
        "update klaviyo.connection set name = 'x'",
        "update klaviyo.connection set consent_by = 'boss'",
        "insert into klaviyo.connection_key values (1, 1, 'x')",
        "update klaviyo.connection_key set sealed_key = 'x'",
        "insert into klaviyo.connection_grant (connection_id, role_name) values (1, 'x')",
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " values ('x', 1, 'L1', '{email}')",
        "update klaviyo.export set list_id = 'L2'",
        "update klaviyo.export set paused = true",
        "update klaviyo.export set fingerprint_key = decode(repeat('ab', 16), 'hex')",
        "insert into klaviyo.export_segment values (1, 'x')",
        "insert into klaviyo.export_field values (1, 2, 'property', 'q', '{q}')",
        "insert into klaviyo.key_pair (public_key) values (decode(repeat('cd', 32), 'hex'))",
        "select klaviyo.begin_change(1, 'export_removed')",
        "select klaviyo.cancel_run(1)",
        "select klaviyo.pause_unusable('granted', 'x')",
        "select klaviyo.look_at_source('{seg}', '{email}')",
    ],
    "nobody": [
        *every("select", *TABLES),
        *every("delete", *TABLES),
        *INSIDE,
        "select klaviyo.may_use(1, current_user)",
        "select klaviyo.begin_change(1, 'export_removed')",
        "select klaviyo.cancel_run(1)",
    ],
}  # fmt: skip

# Acts that find nothing to act on, as the rows are not there for this role.
IN_VAIN = {
    "contributor": [
        "select name from klaviyo.connection where name = 'hidden'",
        "select name from klaviyo.export where name = 'export of hidden'",
        "select run_id from klaviyo.run where export_name = 'export of hidden'",
        "select email from klaviyo.rejection where run_id = 2",
        "select segment_id from klaviyo.export_segment where export_id = 2",
        "select path from klaviyo.export_field where export_id = 2",
        "select run_id from klaviyo.request_run where run_id = 2",
        "update klaviyo.export set paused = true where export_id = 2",
        "delete from klaviyo.export where export_id = 2",
        "delete from klaviyo.export_segment where export_id = 2",
        "delete from klaviyo.export_field where export_id = 2",
    ],
}

MAY = {
    "admin": [
        "select name, consent_by, account_id from klaviyo.connection",
        "select key_pair_id, changed_by from klaviyo.connection_key",
        "update klaviyo.connection_key set sealed_key = 'new'",
        "select * from klaviyo.audit",
        "select * from klaviyo.ledger",
        "update klaviyo.export set max_profiles = 5 where export_id = 2",
        "select klaviyo.begin_change(2, 'export_changed')",
        "select klaviyo.look_at_source('{seg}', '{email}')",
        "insert into klaviyo.connection_grant (connection_id, role_name) values (2, 'x')",
    ],
    "contributor": [
        "select name, kind from klaviyo.connection",
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " values ('mine', 1, 'L1', '{email}')",
        "update klaviyo.export set list_id = 'L9' where export_id = 1",
        "insert into klaviyo.export_segment values (1, 'more')",
        "select klaviyo.begin_change(1, 'export_removed')",
        "delete from klaviyo.export where export_id = 1",
        "select * from klaviyo.run",
        "select * from klaviyo.rejection",
    ],
    "viewer": ["select * from klaviyo.run", "select klaviyo.run_json(r) from klaviyo.run r"],
    "worker": [
        "select sealed_key from klaviyo.connection_key",
        "select * from insights.segment_profile",
        "update klaviyo.run set state = 'running', lease_until = now() where run_id = 1",
        "select klaviyo.close_run(1, 'failed', 'x', 'x')",
        "select klaviyo.mark_attention(1, 'x')",
        "update klaviyo.export set list_name = 'x'",
        "delete from klaviyo.ledger",
    ],
    "nobody": [],
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    db: Database
    users: dict[str, Login]


@pytest.fixture(scope="module")
def site(shared_services: Services, worker_id: str) -> Iterator[Site]:
    server = shared_services.postgres
    db = server.create_database(f"permissions_{worker_id}")
    result = run_command(["migrate"], {**World.base_env(), "DATABASE_URL": db.url})
    assert result.rc == 0, result
    db.execute(SEED)
    users = make_logins(db)
    db.execute(
        "insert into klaviyo.connection_grant (connection_id, role_name) values (1, %s)",
        users["contributor"].name,
    )
    yield Site(db, users)
    server.drop_database(db.name)


def attempt(login: Login, statement: str) -> tuple[str, int]:
    """The SQLSTATE ("" for none) and the rows of an act, which is undone again."""
    with psycopg.connect(login.url, connect_timeout=5) as connection:
        try:
            if statement.startswith("copy"):
                with connection.cursor().copy(statement.encode()) as stream:
                    rows = len(list(stream))
            else:
                cursor = connection.execute(statement.encode())
                rows = len(cursor.fetchall()) if cursor.description else cursor.rowcount
        except psycopg.Error as error:
            connection.rollback()
            return error.sqlstate or "?", 0
        connection.rollback()
        return "", rows


FORBIDDEN_STATES = {
    "42501",  # insufficient privilege, also of row level security
    "42883",  # a function that this user cannot see takes no part in look-ups
    "0LP01",  # no admin option on a role
    "22023",  # begin_change: not a reason
}


@pytest.mark.parametrize("role", FORBIDDEN)
def test_forbidden_acts_are_refused(site: Site, role: str) -> None:
    acts = FORBIDDEN[role]
    assert len(acts) == len(set(acts)) and len(acts) >= 40

    results = {act: attempt(site.users[role], act) for act in acts}

    wrong = {act: got for act, got in results.items() if got[0] not in FORBIDDEN_STATES}
    assert not wrong, f"not refused to {role}: {wrong}"


@pytest.mark.parametrize("role", IN_VAIN)
def test_what_a_role_may_not_see_is_not_there(site: Site, role: str) -> None:
    results = {act: attempt(site.users[role], act) for act in IN_VAIN[role]}

    assert set(results.values()) == {("", 0)}, results


@pytest.mark.parametrize("role", MAY)
def test_what_a_role_is_for_it_may(site: Site, role: str) -> None:
    results = {act: attempt(site.users[role], act) for act in MAY[role]}

    refused = {act: got for act, got in results.items() if got[0] or got[1] < 1}
    assert not refused, f"refused to {role}: {refused}"


def test_a_contributor_follows_an_event_to_its_own_runs_only(site: Site) -> None:
    with site.users["contributor"].connect() as connection:
        row = connection.execute("select klaviyo.follow_event('s', 'e')").fetchone()

    assert row and [run["export"] for run in row[0]["runs"]] == ["export of granted"]


def test_every_table_has_row_level_security(site: Site) -> None:
    rows = site.db.rows(
        "select relname from pg_class where relnamespace = 'klaviyo'::regnamespace"
        " and relkind = 'r' and relname <> 'migration' and not relrowsecurity"
    )
    assert rows == []


def test_no_function_is_everybodys(site: Site) -> None:
    rows = site.db.rows(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'klaviyo'::regnamespace"
        " and has_function_privilege('public', p.oid, 'execute')"
    )
    assert rows == []


def test_functions_with_the_owners_rights_look_up_nothing_in_the_callers_path(site: Site) -> None:
    rows = site.db.rows(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'klaviyo'::regnamespace and p.prosecdef"
        " and not 'search_path=pg_catalog, pg_temp' = any (coalesce(p.proconfig, '{}'))"
    )
    assert rows == []


@pytest.mark.parametrize("role", FORBIDDEN)
def test_nobody_gives_away_what_is_not_theirs(site: Site, role: str) -> None:
    with site.users[role].connect() as connection, contextlib.suppress(psycopg.Error):
        connection.execute("grant all on all tables in schema klaviyo to public")

    assert (
        site.db.rows(
            "select relname from pg_class where relnamespace = 'klaviyo'::regnamespace"
            " and relacl::text ~ '[{,]='"
        )
        == []
    )


def test_even_the_owner_does_not_change_the_audit(site: Site) -> None:
    for act in ("update klaviyo.audit set by_user = 'x'", "delete from klaviyo.audit"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append only"):
            site.db.execute(act)


def test_the_audit_names_who_did_it_also_behind_a_role(site: Site) -> None:
    login = make_login(site.db, "team_member", "klaviyo_contributor")
    site.db.execute(
        "insert into klaviyo.connection_grant (connection_id, role_name) values (1, %s)", login.name
    )
    with login.connect() as connection:
        connection.execute("set role klaviyo_contributor")
        connection.execute("reset role")
        connection.execute(
            "insert into klaviyo.export (name, connection_id, list_id, email_path)"
            " values ('audited', 1, 'L1', '{email}')"
        )
        connection.execute("delete from klaviyo.export where name = 'audited'")

    assert site.db.rows(
        "select action, by_user from klaviyo.audit where name = 'audited' order by audit_id"
    ) == [("add", login.name), ("remove", login.name)]
