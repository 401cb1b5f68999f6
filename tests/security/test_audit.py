"""Every change to what is set up has a line, whatever way it was made."""

from __future__ import annotations

import pytest

from support.site import Site

Lines = list[tuple[str, str, str]]

# By the functions that people have.
BY_PEOPLE = [
    ("admin", "select klaviyo.add_key_pair(decode(repeat('cd', 32), 'hex'), true)",
     [("add", "key pair", "2"), ("needs attention", "connection", "granted"),
      ("needs attention", "connection", "hidden")]),
    ("admin", "select klaviyo.add_connection('new', 1, 'A1', 'Shop', 1, 'sealed')",
     [("add", "connection", "new"), ("add key", "connection", "new")]),
    ("admin", "select klaviyo.replace_key('granted', 'A1', 'Shop', 1, 'sealed again')",
     [("verify", "connection", "granted"), ("change", "connection", "granted"),
      ("rotate key", "connection", "granted")]),
    ("admin", "select klaviyo.remove_connection('bare')", [("remove", "connection", "bare")]),
    ("admin", "select klaviyo.grant_connection('hidden', 'klaviyo_contributor')",
     [("grant", "connection", "hidden")]),
    ("admin", "select klaviyo.revoke_connection('granted', '{contributor}')",
     [("revoke", "connection", "granted"), ("pause", "export", "theirs")]),
    ("admin", "select klaviyo.forget_member('SOMEBODY@example.test')",
     [("forget", "member", "(address not kept)")]),
    ("contributor", "select klaviyo.change_export('export of granted', '{\"list\": \"Lx\"}')",
     [("change", "export", "export of granted")]),
    ("contributor", "select klaviyo.change_export('export of granted', '{\"segments\": [\"other\"]}')",
     [("drop segments", "export", "export of granted"), ("add segments", "export", "export of granted")]),
    ("contributor", "select klaviyo.change_export('export of granted', '{\"fields\": []}')",
     [("drop fields", "export", "export of granted")]),
    ("contributor", "select klaviyo.change_export('export of granted', '{\"list\": \"L1\"}')", []),
    ("contributor", "select klaviyo.pause_export('export of granted')",
     [("pause", "export", "export of granted")]),
    ("contributor", "select klaviyo.remove_export('theirs')", [("remove", "export", "theirs")]),
    ("admin", "select klaviyo.cancel_run(1)", [("cancel", "run", "1")]),
    ("worker", "select klaviyo.mark_attention(1, 'key_refused')",
     [("needs attention", "connection", "granted")]),
    ("worker", "update klaviyo.connection set account_id = 'other' where connection_id = 1",
     [("change", "connection", "granted")]),
]  # fmt: skip
# By whoever owns the tables.
BY_OWNER = [
    ("update klaviyo.connection set name = 'renamed' where connection_id = 1",
     [("change", "connection", "renamed")]),
    ("update klaviyo.connection set account_id = 'A2' where connection_id = 1",
     [("change", "connection", "granted")]),
    ("update klaviyo.connection set consent_by = 'boss', consent_at = now() where connection_id = 1",
     [("change", "connection", "granted")]),
    ("update klaviyo.connection set attention_reason = 'x' where connection_id = 1;"
     " update klaviyo.connection set attention_reason = null, attention_at = null where connection_id = 1",
     [("needs attention", "connection", "granted"), ("attention cleared", "connection", "granted")]),
    ("delete from klaviyo.connection_key where connection_id = 1;"
     " insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key) values (1, 1, 'evil')",
     [("remove key", "connection", "granted"), ("add key", "connection", "granted")]),
    ("update klaviyo.connection_grant set role_name = 'pg_monitor' where connection_id = 1",
     [("change", "connection", "granted")]),
    ("update klaviyo.export set name = 'renamed' where export_id = 1", [("change", "export", "renamed")]),
    ("update klaviyo.export set on_leave = 'remove' where export_id = 1",
     [("change", "export", "export of granted")]),
    ("update klaviyo.export set created_by = 'boss' where export_id = 1",
     [("change", "export", "export of granted")]),
    ("update klaviyo.export set fingerprint_key = decode(repeat('ab', 16), 'hex') where export_id = 1",
     [("change fingerprint key", "export", "export of granted")]),
    ("update klaviyo.export_segment set segment_id = 'other' where export_id = 1",
     [("change", "export", "export of granted")]),
    ("update klaviyo.export_field set path = '{other}' where export_id = 1",
     [("change", "export", "export of granted")]),
    ("update klaviyo.key_pair set public_key = decode(repeat('ef', 32), 'hex')",
     [("change", "key pair", "1")]),
    ("truncate klaviyo.export_field", [("remove all", "export", "*")]),
    ("truncate klaviyo.connection_grant", [("remove all", "connection", "*")]),
]  # fmt: skip
MORE = """
insert into klaviyo.connection (name, consent_version) values ('bare', 1);
insert into klaviyo.export (name, connection_id, list_id, email_path, created_by)
values ('theirs', 1, 'L1', '{{email}}', '{contributor}');
"""


@pytest.fixture(scope="module")
def audited(site: Site) -> Site:
    site.db.execute(MORE.format(contributor=site.users["contributor"].name))
    return site


def lines_of(site: Site, user: str, act: str) -> Lines:
    """What the audit says of an act, which is undone again."""
    act = act.replace("{contributor}", site.users["contributor"].name)
    setup = site.db.connect()
    with setup, setup.transaction(force_rollback=True):
        last = setup.execute("select coalesce(max(audit_id), 0) from klaviyo.audit").fetchone()
        setup.execute(f'set session authorization "{site.users[user].name}"')
        setup.execute(act.encode())
        setup.execute("reset session authorization")
        rows = setup.execute(
            "select action, object, name, by_user from klaviyo.audit where audit_id > %s order by audit_id",
            last,
        ).fetchall()
    assert {row[3] for row in rows} <= {site.users[user].name}
    return [(row[0], row[1], row[2]) for row in rows]


@pytest.mark.parametrize(("user", "act", "lines"), BY_PEOPLE)
def test_what_people_do_has_a_line(audited: Site, user: str, act: str, lines: Lines) -> None:
    assert lines_of(audited, user, act) == lines


@pytest.mark.parametrize(("act", "lines"), BY_OWNER)
def test_what_the_owner_does_by_hand_has_a_line(audited: Site, act: str, lines: Lines) -> None:
    assert lines_of(audited, "owner", act) == lines


def test_a_change_says_what_was_and_what_is(site: Site) -> None:
    site.ask("contributor", "select klaviyo.change_export('export of granted', '{\"list\": \"Lnew\"}')")

    assert site.db.value("select detail from klaviyo.audit order by audit_id desc limit 1") == {
        "list": {"from": "L1", "to": "Lnew"}
    }
    site.ask("contributor", "select klaviyo.change_export('export of granted', '{\"list\": \"L1\"}')")


def test_no_key_stands_in_the_audit(site: Site) -> None:
    site.ask("admin", "select klaviyo.replace_key('granted', null, null, 1, 'sealed-secret')")

    text = str(site.db.rows("select * from klaviyo.audit"))
    assert "sealed-secret" not in text and "7365616c" not in text


def test_nobody_says_when_a_key_was_changed(site: Site) -> None:
    """A clock of the caller's own, found through a search path, is not asked."""
    with site.users["owner"].connect() as connection:
        connection.execute(
            "create schema clocks;"
            " create function clocks.clock_timestamp() returns timestamptz language sql as $$ select '1999-01-01'::timestamptz $$;"
            " grant usage on schema clocks to public"
        )
    with site.users["admin"].connect() as connection:
        connection.execute("set search_path = clocks, pg_catalog")
        connection.execute("select klaviyo.replace_key('granted', null, null, 1, 'again')")
    with site.users["owner"].connect() as connection:
        connection.execute("set search_path = clocks, pg_catalog")
        connection.execute("update klaviyo.connection_key set sealed_key = 'by hand', changed_at = '1999-01-01'")

    assert site.db.rows("select 1 from klaviyo.connection_key where changed_at < now() - interval '1 hour'") == []


def test_a_run_is_not_ended_by_a_change_that_is_none(site: Site) -> None:
    """A run says who ended it and by what; nobody writes that without doing it."""
    site.db.execute("update klaviyo.run set state = 'running', lease_until = now() + interval '1 h' where run_id = 1")
    assert "does not exist" in site.refused("contributor", "select klaviyo.begin_change(1, 'export_removed')")
    same = "select klaviyo.change_export('export of granted', '{\"list\": \"L1\", \"segments\": [\"seg\"]}')"

    assert site.ask("contributor", same) == -1
    assert site.db.value("select state from klaviyo.run where run_id = 1") == "running"
    site.db.execute("update klaviyo.run set state = 'queued', lease_until = null where run_id = 1")
