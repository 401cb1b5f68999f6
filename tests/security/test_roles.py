"""What each role may not do, tried in raw SQL: PostgreSQL itself refuses it."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
import pytest

from support.paths import TREE
from support.roles import make_login
from support.site import Site

TABLES = [
    "account_plan", "audit", "batch", "connection", "connection_grant", "connection_key", "export", "export_field",
    "export_segment", "export_success", "key_pair", "late_job", "ledger", "list_claim", "migration", "outcome",
    "past_run", "rate_budget", "rate_place", "rejection", "removal_confirmation", "request", "request_run", "run",
    "run_timeline", "task", "task_worker",
]  # fmt: skip

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
    "select klaviyo.forget_in_export(1, 'somebody@example.test')",
    "select klaviyo.cut_from_batch(1, 'somebody@example.test')",
    "select klaviyo.unname_rejections(0, 1000)",
    "select klaviyo.take_task('x', 1000, 1, '{export preview}')",
    "select klaviyo.renew_task(1, 1, 1000, null)",
    "select klaviyo.end_task(1, 1, '{}', null, false)",
    "select klaviyo.close_task(1, '{}', null, false)",
    "select klaviyo.give_back_task(1, 1)",
    "select klaviyo.claim_list(1)",
    "select klaviyo.lock_list(1, true)",
]
OWNERS_FUNCTIONS = [
    "select klaviyo.stop_runs(1, 'export_removed')",
    "select klaviyo.lock_export(1, 'export_removed')",
    "select klaviyo.hand_over(1)",
    "select klaviyo.unconfirm(1, '{list_starts_flows}')",
    "select klaviyo.audit_write('x', 'run', 'x', '{}')",
    "select klaviyo.look_at_source('{seg}', '{email}', '[]')",
    "select klaviyo.look_at_segments()",
    "select klaviyo.look_at_fields('seg')",
    "select klaviyo.looked_at_source('fields', 'seg')",
    "select klaviyo.look_for_address('{seg}', '{email}', 'somebody@example.test')",
    "select klaviyo.look_for_member(x, 'somebody@example.test') from klaviyo.export x",
    "select * from klaviyo.delivery",
    "select klaviyo.pause_unusable('granted', 'x')",
    "select klaviyo.replace_segments(1, '[\"x\"]')",
    "select klaviyo.store_export(x) from klaviyo.export x",
]
# Of other people, and of who may use what.
ABOUT_OTHERS = [
    "select klaviyo.may_use(1, 'postgres')",
    "select klaviyo.may_use(2, current_user)",
    "select klaviyo.granted_role(g) from klaviyo.connection_grant g",
]
ADMINS_FUNCTIONS = [
    "select klaviyo.add_key_pair(decode(repeat('cd', 32), 'hex'), true)",
    "select klaviyo.add_connection('x', 1, null, null, 1, 'x')",
    "select klaviyo.replace_key('granted', null, null, 1, 'x')",
    "select klaviyo.remove_connection('hidden')",
    "select klaviyo.grant_connection('hidden', 'klaviyo_contributor')",
    "select klaviyo.revoke_connection('granted', 'x')",
    "select klaviyo.forget_member('somebody@example.test')",
]
EXPORTERS_FUNCTIONS = [
    """select klaviyo.add_export('x', '{"connection": "granted", "list": "L1", "email_path": ["email"]}')""",
    "select klaviyo.change_export('export of granted', '{\"list\": \"L2\"}')",
    "select klaviyo.pause_export('export of granted')",
    "select klaviyo.resume_export('export of granted')",
    "select klaviyo.remove_export('export of granted')",
    "select klaviyo.look_at_export('export of granted')",
    "select klaviyo.cancel_run(1)",
    "select klaviyo.follow_event('s', 'e')",
    "select klaviyo.show_member('somebody@example.test')",
    "select klaviyo.add_task('export preview', 'export of granted', '{}')",
    "select klaviyo.list_segments()",
    "select klaviyo.segment_names()",
    "select klaviyo.segment_fields('seg')",
    "select klaviyo.look_at_task(1)",
    "select klaviyo.drop_task(1)",
    "select klaviyo.connection_state(1)",
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
        "insert": "insert into klaviyo.{} default values",
        "lock": "lock table klaviyo.{} in access exclusive mode",
        "lock against writers": "lock table klaviyo.{} in share mode",
        "lock rows": "select 1 from klaviyo.{} for update",
        "lock keys": "select 1 from klaviyo.{} for key share",
    }
    return [forms[verb].format(table) for table in tables]


# People write nothing by themselves, and hold no lock that a worker waits for.
NO_WRITING = [
    act
    for verb in ("insert", "delete", "truncate", "lock", "lock against writers", "lock rows", "lock keys")
    for act in every(verb, *TABLES)
]


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

COLUMNS = [
    "update klaviyo.connection set name = 'mine'",
    "update klaviyo.connection set account_id = 'mine'",
    "update klaviyo.connection set attention_reason = null",
    "update klaviyo.connection_key set sealed_key = 'new'",
    "update klaviyo.connection_grant set connection_id = 2",
    "update klaviyo.export set paused = true",
    "update klaviyo.export set list_id = 'L2'",
    "update klaviyo.export set fingerprint_key = decode(repeat('ab', 16), 'hex')",
    "update klaviyo.key_pair set public_key = decode(repeat('cd', 32), 'hex')",
    "insert into klaviyo.connection (name, consent_version) values ('x', 1)",
    "insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key) values (1, 1, 'x')",
    "insert into klaviyo.connection_grant (connection_id, role_name) values (2, current_user)",
    "insert into klaviyo.key_pair (public_key) values (decode(repeat('cd', 32), 'hex'))",
    "insert into klaviyo.export (name, connection_id, list_id, email_path) values ('x', 1, 'L1', '{email}')",
    "insert into klaviyo.export_segment values (1, 'mine')",
    "insert into klaviyo.export_field values (1, 2, 'attribute', 'email', '{q}')",
    "select fingerprint_key from klaviyo.export",
]
NOBODYS = [*SEALED, *SOMEBODY_ELSE, *RUNS, *AUDIT, *INSIDE, *OWNERS_FUNCTIONS, *NOT_IN_THE_SCHEMA]
CONTRIBUTORS_NOT = [
    *NOBODYS, *NO_WRITING, *COLUMNS, *WORKERS_FUNCTIONS, *ADMINS_FUNCTIONS, *ABOUT_OTHERS,
    *every("select", "audit", "batch", "connection", "connection_grant", "export",
           "ledger", "past_run", "rate_budget", "rate_place", "request"),
    "select account_id from klaviyo.connection",
    "select consent_by from klaviyo.connection",
    "select attention_reason from klaviyo.connection",
    "select klaviyo.need_attention(1, 'x')",
    # On a connection that it was not given.
    """select klaviyo.add_export('x', '{"connection": "hidden", "list": "L1", "email_path": ["email"]}')""",
    "select klaviyo.change_export('export of granted', '{\"connection\": \"hidden\"}')",
    "select klaviyo.cancel_run(1)",  # of an export of the connection, made by another
    "select klaviyo.cancel_run(2)",
    "select klaviyo.cancel_run(999)",
]  # fmt: skip

FORBIDDEN = {
    "admin": [
        *NOBODYS, *NO_WRITING, *COLUMNS, ABOUT_OTHERS[0],
        # `connection add` takes a place in the rate limit, as a worker does.
        *[act for act in WORKERS_FUNCTIONS if "_place" not in act and "block_account" not in act],
        "select klaviyo.need_attention(1, 'x')",
    ],
    "contributor": CONTRIBUTORS_NOT,
    "stranger": [
        *[act for act in CONTRIBUTORS_NOT if "change_export" not in act],  # it is not there
        EXPORTERS_FUNCTIONS[0],
    ],
    "viewer": [
        *NOBODYS, *NO_WRITING, *COLUMNS, *WORKERS_FUNCTIONS, *ADMINS_FUNCTIONS,
        *EXPORTERS_FUNCTIONS, *ABOUT_OTHERS,
        *every("select", *but("run", "request_run", "migration", "connection_key", "key_pair")),
        "select name from klaviyo.connection",
        "select name from klaviyo.export",
        "select email from klaviyo.rejection",
        "select klaviyo.need_attention(1, 'x')",
    ],
    "worker": [
        *AUDIT, *OWNERS_FUNCTIONS, *ADMINS_FUNCTIONS, *EXPORTERS_FUNCTIONS[:-1],
        *[statement for statement in NOT_IN_THE_SCHEMA if "set role" not in statement],
        *INSIDE[2:],
        *every("select", "audit"),
        *every("delete", "audit", "connection", "connection_grant", "connection_key", "export",
               "export_field", "export_segment", "key_pair", "migration"),
        *every("truncate", *TABLES),
        *every("lock", "audit", "connection", "connection_key", "connection_grant", "export",
               "export_segment", "export_field", "key_pair", "migration"),
        "update klaviyo.connection set name = 'x'",
        "update klaviyo.connection set consent_by = 'boss'",
        *[act for act in COLUMNS if "attention_reason" not in act and "account_id" not in act
          and "select" not in act],
    ],
    "nobody": [
        *every("select", *TABLES), *NO_WRITING, *INSIDE, *ADMINS_FUNCTIONS, *EXPORTERS_FUNCTIONS,
        *ABOUT_OTHERS, *OWNERS_FUNCTIONS, *WORKERS_FUNCTIONS,
        "select klaviyo.may_use(1)",
    ],
}  # fmt: skip

# Acts that find nothing to act on, as the rows are not there for this role.
IN_VAIN = {
    "admin": ["select answer from klaviyo.task", "select 1 where klaviyo.look_at_task(1) is not null"],
    "contributor": [
        "select name from klaviyo.connection where name = 'hidden'",
        "select name from klaviyo.export where name = 'export of hidden'",
        "select run_id from klaviyo.run where export_name = 'export of hidden'",
        "select email from klaviyo.rejection where run_id = 2",
        "select segment_id from klaviyo.export_segment where export_id = 2",
        "select path from klaviyo.export_field where export_id = 2",
        "select run_id from klaviyo.request_run where run_id = 2",
        "select 1 where klaviyo.may_use(2)",
        "select 1 where klaviyo.connection_state(2) is not null",
        "select 1 where klaviyo.look_at_export('export of hidden') is not null",
        "select 1 where klaviyo.pause_export('export of hidden') is not null",
        "select 1 where klaviyo.resume_export('export of hidden') is not null",
        "select 1 where klaviyo.remove_export('export of hidden') is not null",
        "select 1 where klaviyo.change_export('export of hidden', '{}') is not null",
        "select 1 where klaviyo.follow_event('s', 'hidden') is not null",
        "select answer from klaviyo.task",
        "select 1 where klaviyo.look_at_task(1) is not null",
        "select 1 where klaviyo.add_task('export preview', 'export of hidden', '{}') is not null",
        "select 1 where klaviyo.add_task('connection verify', 'hidden', '{}') is not null",
    ],
    "stranger": [
        "select name from klaviyo.connection",
        "select name from klaviyo.export",
        "select run_id from klaviyo.run",
        "select segment_id from klaviyo.export_segment",
        "select email from klaviyo.rejection",
        "select 1 where klaviyo.look_at_export('export of granted') is not null",
        "select 1 where klaviyo.remove_export('export of granted') is not null",
        "select 1 where klaviyo.change_export('export of granted', '{}') is not null",
        "select 1 where klaviyo.follow_event('s', 'e') is not null",
    ],
}

MAY = {
    "admin": [
        *ADMINS_FUNCTIONS[1:],
        *[act for act in EXPORTERS_FUNCTIONS if "remove" not in act],
        "select klaviyo.remove_export('export of hidden')",
        "select name, consent_by, account_id from klaviyo.connection",
        "select klaviyo.block_account('a', 'import', 1000)",
        "select key_pair_id, changed_by from klaviyo.connection_key",
        "select klaviyo.add_key_pair(decode(repeat('cd', 32), 'hex'), true)",
        "select * from klaviyo.audit",
        "select * from klaviyo.ledger",
        "select * from klaviyo.key_pair",
        "select klaviyo.cancel_run(2)",
    ],
    "contributor": [
        *[act for act in EXPORTERS_FUNCTIONS if "cancel" not in act],
        "select name, kind from klaviyo.connection",
        "select * from klaviyo.run",
        "select * from klaviyo.rejection",
        "select * from klaviyo.key_pair",
        "select 1 where klaviyo.may_use(1)",
    ],
    "viewer": [
        "select * from klaviyo.run", "select klaviyo.run_json(r) from klaviyo.run r",
        "select * from klaviyo.key_pair",
    ],
    "worker": [
        "select sealed_key from klaviyo.connection_key",
        "select * from insights.segment_profile",
        "update klaviyo.run set state = 'running', lease_until = now() where run_id = 1",
        "select klaviyo.close_run(1, 'failed', 'x', 'x')",
        "select klaviyo.mark_attention(1, 'x')",
        "select klaviyo.note_verified('granted', 'sealed', 'A1', 'Name', '{accounts:read}')",
        "select klaviyo.check_account('granted', 'sealed', 'A1')",
        "select klaviyo.note_findings('granted', 'sealed', 'A1', 'Name', '{accounts:read}')",
        "update klaviyo.export set list_name = 'x'",
        "delete from klaviyo.ledger",
    ],
    "nobody": [],
    "stranger": ["select * from klaviyo.key_pair"],
}  # fmt: skip


def attempt(connection: psycopg.Connection[Any], statement: str) -> tuple[str, int]:
    """The SQLSTATE ("" for none) and the rows of an act, which is undone again."""
    try:
        if statement.startswith("copy"):
            with connection.cursor().copy(statement.encode()) as stream:
                rows = len(list(stream))
        else:
            cursor = connection.execute(statement.encode())
            rows = len(cursor.fetchall()) if cursor.description else cursor.rowcount
    except psycopg.Error as error:
        return error.sqlstate or "?", 0
    finally:
        connection.rollback()
    return "", rows


def attempt_all(site: Site, role: str, acts: list[str]) -> dict[str, tuple[str, int]]:
    with psycopg.connect(site.users[role].url, connect_timeout=5) as connection:
        return {act: attempt(connection, act) for act in acts}


FORBIDDEN_STATES = {
    "42501",  # insufficient privilege, also of row level security
    "42883",  # a function that this user cannot see takes no part in look-ups
    "0LP01",  # no admin option on a role
}


@pytest.mark.parametrize("role", FORBIDDEN)
def test_forbidden_acts_are_refused(site: Site, role: str) -> None:
    acts = FORBIDDEN[role]
    assert len(acts) == len(set(acts)) and len(acts) >= 40

    results = attempt_all(site, role, acts)

    wrong = {act: got for act, got in results.items() if got[0] not in FORBIDDEN_STATES}
    assert not wrong, f"not refused to {role}: {wrong}"


@pytest.mark.parametrize("role", IN_VAIN)
def test_what_a_role_may_not_see_is_not_there(site: Site, role: str) -> None:
    results = attempt_all(site, role, IN_VAIN[role])

    assert set(results.values()) == {("", 0)}, results


@pytest.mark.parametrize("role", MAY)
def test_what_a_role_is_for_it_may(site: Site, role: str) -> None:
    results = attempt_all(site, role, MAY[role])

    refused = {act: got for act, got in results.items() if got[0] or got[1] < 1}
    assert not refused, f"refused to {role}: {refused}"


# What whoever has the workers' database user, and not their key file, could do; as roles.md says it.
WORKERS_COULD = {
    "read all members": ["select * from insights.segment_profile"],
    "the keys, sealed": ["select sealed_key from klaviyo.connection_key"],
    "the addresses in ledger, rejections and outbox": [
        "select address from klaviyo.ledger", "select email from klaviyo.rejection", "select body from klaviyo.batch",
    ],
    "the answers of other people's tasks": ["select answer from klaviyo.task"],
    "have the workers send rows of their own to the list of an export": [
        "update klaviyo.batch set body = 'forged', state = 'planned'",
        "insert into klaviyo.batch (export_id, run_id, row_count, body) values (1, 1, 1, 'forged')",
    ],
    "or take members off it": ["update klaviyo.ledger set left_run = 1, left_epoch = 1, removing = true"],
    "request tasks in another's name": [
        "insert into klaviyo.task (kind, connection_id, arguments, created_by) values ('export try', 1, '{}', 'boss')",
    ],
    "forget what was sent": ["delete from klaviyo.ledger"],
    "end and forge runs": [
        "select klaviyo.close_run(1, 'failed', 'x', 'x')", "update klaviyo.run set state = 'succeeded', finished_at = now()",
    ],
    "mark events as answered that were not": ["update klaviyo.request set state = 'done'"],
    "have false outcome events sent": [
        "insert into klaviyo.outcome (run_id, epoch, export_name, segment_id, data, ended_at)"
        " values (1, 1, 'x', 'seg', '{}', now())",
    ],
    "use up or lift the rate limits": ["delete from klaviyo.rate_place", "select klaviyo.block_account('a', 'import', 1)"],
    "mark connections, so that their runs end": ["select klaviyo.mark_attention(1, 'x')"],
}  # fmt: skip


def test_what_the_workers_user_could_do_is_written_down(site: Site) -> None:
    written = " ".join((TREE / "deploy" / "roles.md").read_text().split())
    assert [sentence for sentence in WORKERS_COULD if sentence not in written] == []
    acts = [act for found in WORKERS_COULD.values() for act in found]

    results = attempt_all(site, "worker", acts)

    assert {act: got for act, got in results.items() if got[0] or got[1] < 1} == {}, "more is written than is so"


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


def test_every_table_is_tried(site: Site) -> None:
    assert TABLES == [
        name
        for (name,) in site.db.rows(
            "select relname::text from pg_class where relnamespace = 'klaviyo'::regnamespace"
            " and relkind = 'r' order by relname collate \"C\""
        )
    ]


def test_no_function_is_everybodys(site: Site) -> None:
    rows = site.db.rows(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'klaviyo'::regnamespace"
        " and has_function_privilege('public', p.oid, 'execute')"
    )
    assert rows == []


def test_functions_that_run_in_others_names_look_up_nothing_in_the_callers_path(site: Site) -> None:
    rows = site.db.rows(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'klaviyo'::regnamespace"
        " and (p.prosecdef or p.prorettype = 'trigger'::regtype)"
        " and not 'search_path=pg_catalog, pg_temp' = any (coalesce(p.proconfig, '{}'))"
    )
    assert rows == []


def test_functions_with_their_owners_rights_have_an_owner_with_few(site: Site) -> None:
    owners = dict(
        site.db.rows(
            "select r.rolname, array_agg(p.proname::text order by p.proname::text) from pg_proc p"
            " join pg_roles r on r.oid = p.proowner"
            " where p.pronamespace = 'klaviyo'::regnamespace and p.prosecdef group by 1"
        )
    )
    assert set(owners) == {"klaviyo_definer", "klaviyo_source"}
    assert owners["klaviyo_source"] == [
        "look_at_fields", "look_at_names", "look_at_segment_names", "look_at_segments", "look_at_source", "look_for_address",
    ]
    for role in owners:
        assert site.db.rows(
            "select rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls"
            " from pg_roles where rolname = %s", role,
        ) == [(False,)]  # fmt: skip
        assert site.db.rows(
            "select 1 from pg_auth_members m where m.member = %s::regrole", role
        ) == []
    # Of the site's data the one sees nothing, and of ours the other.
    for statement in (
        "select 1 from pg_class where relnamespace = 'insights'::regnamespace and relkind in ('r', 'v')"
        " and has_table_privilege('klaviyo_definer', oid, 'select')",
        "select 1 from pg_class where relnamespace in ('klaviyo'::regnamespace, 'insights'::regnamespace)"
        " and relkind in ('r', 'v') and has_table_privilege('klaviyo_source', oid,"
        " 'insert, update, delete, truncate, references, trigger')",
        "select 1 from pg_class where relnamespace = 'klaviyo'::regnamespace and relkind = 'r'"
        " and has_table_privilege('klaviyo_source', oid, 'select')",
        "select 1 where has_schema_privilege('klaviyo_definer', 'klaviyo', 'create')"
        " or has_schema_privilege('klaviyo_source', 'klaviyo', 'create')",
        "select 1 where has_table_privilege('klaviyo_definer', 'klaviyo.audit', 'update, delete, truncate')",
    ):
        assert site.db.rows(statement) == [], statement


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
    draft = '{"connection": "granted", "list": "L1", "email_path": ["email"], "segments": ["seg"]}'
    with login.connect() as connection:
        connection.execute("set role klaviyo_contributor")
        connection.execute("reset role")
        connection.execute("select klaviyo.add_export('audited', %s)", [draft])
        connection.execute("select klaviyo.remove_export('audited')")

    assert site.db.rows(
        "select action, by_user from klaviyo.audit where name = 'audited' order by audit_id"
    ) == [("add", login.name), ("add segments", login.name), ("remove", login.name)]


def test_who_takes_a_role_sees_what_that_role_sees(site: Site) -> None:
    """A log-in of many users that takes the role of one, as pools of connections do."""
    pool = make_login(site.db, "pool", site.users["contributor"].name, site.users["stranger"].name)
    seen = {}
    for user in ("contributor", "stranger"):
        with pool.connect() as connection:
            connection.execute(f'set role "{site.users[user].name}"')
            seen[user] = connection.execute("select name from klaviyo.connection").fetchall()

    assert seen == {"contributor": [("granted",)], "stranger": []}
