"""What is stored has a form, whoever stores it and how."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
import pytest

from support.site import Site

CHECK_VIOLATION = "23514"
HOSTILE = {
    "escape": "a\x1b[2J",
    "newline": "a\nb",
    "delete": "a\x7f",
    "C1 control": "a\x9b31m",
    "right to left": "a\u202egnp.exe",
    "isolate": "a\u2066b",
    "left-to-right mark": "a\u200eb",
    "Arabic mark": "a\u061cb",
    "line separator": "a\u2028b",
    "blank before": " a",
    "blank behind": "a ",
    "empty": "",
    "long": "a" * 201,
}


def state_of(site: Site, statement: str, *values: Any) -> str:
    with psycopg.connect(site.db.url) as connection:
        try:
            connection.execute(statement.encode(), values or None)
        except psycopg.Error as error:
            connection.rollback()
            return error.sqlstate or "?"
        connection.rollback()
    return ""


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_name_that_a_terminal_would_obey_is_refused_to_everybody(site: Site, name: str) -> None:
    draft = json.dumps({"connection": "granted", "list": "L1", "email_path": ["email"]})
    fields = json.dumps({"fields": [{"target": "property", "name": name, "path": ["x"]}]})
    for statement, values in (
        ("insert into klaviyo.connection (name, consent_version) values (%s, 1)", (name,)),
        ("update klaviyo.export set name = %s where export_id = 1", (name,)),
        ("select klaviyo.add_export(%s, %s)", (name, draft)),
        ("select klaviyo.change_export('export of granted', %s)", (fields,)),
        ("select klaviyo.add_connection(%s, 1, null, null, 1, 'x')", (name,)),
    ):
        assert state_of(site, statement, *values) == CHECK_VIOLATION, statement


@pytest.mark.parametrize("name", ["Été 2026 – VIP", "顧客", "عملاء", "a.b/c:d", "emoji 👩‍👩‍👧"])
def test_a_name_in_any_language_is_one(site: Site, name: str) -> None:
    assert state_of(site, "insert into klaviyo.connection (name, consent_version) values (%s, 1)", name) == ""


def field(target: str, name: str, *path: str | None) -> str:
    return json.dumps({"fields": [{"target": target, "name": name, "path": path or ["x"]}]})


@pytest.mark.parametrize(
    "draft",
    [
        field("attribute", "email"),
        field("attribute", "subscriptions"),
        field("attribute", "id"),
        field("attribute", "properties"),
        field("attribute", "location"),
        field("attribute", "First_Name"),
        field("attribute", "first_name\n"),
        field("relationship", "x"),
        field("property", "x", None),
        field("property", "x", "a\x1b[1m"),
        field("property", "x", "a" * 1001),
        '{"segments": ["a\\u001b"]}',
        '{"segments": ["' + "a" * 201 + '"]}',
        '{"list": "../../lists"}',
        '{"list": "L1\\r\\nX: y"}',
        '{"email_path": []}',
        '{"max_profiles": 0}',
    ],
)
def test_an_export_that_would_send_something_else_is_refused_to_a_contributor(site: Site, draft: str) -> None:
    with psycopg.connect(site.users["contributor"].url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("select klaviyo.change_export('export of granted', %s)", [draft])
    assert caught.value.sqlstate in {CHECK_VIOLATION, "22023", "22P02"}, caught.value


def test_a_field_is_sent_once(site: Site) -> None:
    twice = json.dumps({"fields": [{"target": "attribute", "name": "title", "path": [p]} for p in ("a", "b")]})
    assert state_of(site, "select klaviyo.change_export('export of granted', %s)", twice) == "23505"


def test_a_name_that_klaviyo_keeps_for_itself_is_no_property(site: Site) -> None:
    act = "select klaviyo.change_export('export of granted', %s)"
    for name, state in (("$consent", "22023"), ("consent$", "")):
        fields = {"fields": [{"target": "property", "name": name, "path": ["p"]}]}
        assert state_of(site, act, json.dumps(fields)) == state, name


def test_a_phone_number_needs_its_own_word(site: Site) -> None:
    act = "select klaviyo.change_export('export of granted', %s)"
    phone = {"fields": [{"target": "attribute", "name": "phone_number", "path": ["p"]}]}

    assert state_of(site, act, json.dumps(phone)) == "22023"
    assert state_of(site, act, json.dumps({**phone, "allow_phone_number": "yes"})) == "22023"
    assert state_of(site, act, json.dumps({**phone, "allow_phone_number": True})) == ""


def test_command_and_table_know_the_same_attributes(site: Site) -> None:
    help_text = site.command("owner", "export", "add", "--help").stdout
    known = set(re.findall(r"[a-z_]+(?:\.[a-z0-9]+)?", help_text.split("that --attribute knows")[1]))
    definition = site.db.value(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'export_field_is_known'"
    )
    stored = set(re.findall(r"'([a-z_0-9.]+)'::text", definition)) - {"property"}

    assert len(stored) == 18
    assert stored <= known, stored - known


def test_what_stood_there_before_stays(site: Site) -> None:
    rows = site.db.rows(
        "select conname from pg_constraint where connamespace = 'klaviyo'::regnamespace and contype = 'c'"
        " and (conname like '%%is_name' or conname like '%%is_path' or conname like '%%is_printable'"
        " or conname = 'export_field_is_known') and convalidated"
    )
    assert rows == []
