"""Code of the site's own, in the view that the program reads, runs with no rights of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.site import Site

# What a function in the view would try, as whoever it runs as; what worked is written down. The
# sequence is the one thing that is still there when everything else is undone.
EVIL = """
create schema site_code;
create sequence site_code.hits;
create function site_code.attempt(p_sql text) returns void language plpgsql as $$
begin
    execute p_sql;
    raise warning 'it worked: %', p_sql;
exception when others then
    raise warning 'refused (%): %', sqlstate, p_sql;
end
$$;
create function site_code.evil(p_attributes jsonb) returns jsonb language plpgsql as $$
begin
    perform site_code.attempt('set transaction_read_only to off');
    perform site_code.attempt('insert into klaviyo.connection_grant (connection_id, role_name)'
                              ' values (2, current_user)');
    perform site_code.attempt('update klaviyo.audit set by_user = current_user');
    perform site_code.attempt('select sealed_key from klaviyo.connection_key');
    perform site_code.attempt('select address from klaviyo.ledger');
    perform site_code.attempt('select klaviyo.remove_export(''export of hidden'')');
    perform site_code.attempt('select klaviyo.grant_connection(''hidden'', ''klaviyo_contributor'')');
    perform site_code.attempt('set role none');
    perform site_code.attempt('reset role');
    perform site_code.attempt('set session authorization default');
    perform site_code.attempt('create temp table mine (x integer)');
    perform site_code.attempt('create table klaviyo.mine (x integer)');
    perform site_code.attempt('alter role klaviyo_source superuser');
    perform set_config('search_path', 'site_code', false);
    perform set_config('site.user', current_user, false);
    return p_attributes;
end
$$;
create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, site_code.evil(p.attributes) as attributes
from insights.segment_member m join insights.customer_profile p using (profile_id);
grant usage on schema site_code to public;
grant all on all sequences in schema site_code to public;
"""
PLAIN = """
create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, p.attributes
from insights.segment_member m join insights.customer_profile p using (profile_id);
drop schema site_code cascade;
"""


@pytest.fixture
def evil_site(site: Site) -> Iterator[Site]:
    site.db.execute(EVIL)
    yield site
    site.db.execute(PLAIN)


LOOKS = {
    "of an export": "select (klaviyo.look_at_export('export of granted') -> 'members')::integer",
    "for a person": "select jsonb_array_length(klaviyo.show_member('somebody@example.test') #> '{exports,0,segments}')",
}


def warnings_of_a_look(site: Site, user: str, look: str) -> tuple[list[str], list[str]]:
    """What the view's code said while the user let it be read, and what it left behind."""
    said: list[str] = []
    with site.users[user].connect() as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        assert connection.execute(look.encode()).fetchone() == (1,)
        left = connection.execute(
            "select current_setting('search_path'), current_setting('site.user', true),"
            " current_setting('transaction_read_only'), current_user::text"
        ).fetchone()
    return said, [str(value) for value in left or ()]


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
@pytest.mark.parametrize("user", ["contributor", "admin", "owner"])
def test_code_in_the_view_can_do_nothing_with_anybodys_rights(evil_site: Site, user: str, look: str) -> None:
    said, left = warnings_of_a_look(evil_site, user, look)

    assert len(said) in (13, 26, 39), said  # counted, looked at, asked for names
    assert not [line for line in said if not line.startswith("refused")], said
    assert left == ['"$user", public', "None", "off", evil_site.users[user].name] or left == [
        '"$user", public', "", "off", evil_site.users[user].name,
    ], left  # fmt: skip


def test_code_in_the_view_gets_nothing_of_export_add(evil_site: Site) -> None:
    words = ["export", "add", "looked at", "--connection", "granted", "--list", "L1", "--segment", "seg"]
    result = evil_site.command("contributor", *words, "--email-field", "email")

    assert result.rc == 0, result
    assert "1 of 1" in result.stdout
    assert evil_site.db.rows("select connection_id from klaviyo.connection_grant") == [(1,)]
    assert evil_site.db.rows("select 1 from klaviyo.audit where by_user like 'klaviyo_%%'") == []


def test_the_workers_read_the_view_in_a_transaction_that_cannot_write(evil_site: Site) -> None:
    """As members.c does: what the view's code sets goes with the transaction."""
    said: list[str] = []
    with evil_site.users["worker"].connect() as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute("begin isolation level repeatable read read only")
        connection.execute("select * from insights.segment_profile")
        connection.execute("rollback")
        path = connection.execute("show search_path").fetchone()

    worked = [line for line in said if line.startswith("it worked")]
    assert path == ('"$user", public',)
    # It can read what the worker may read; see deploy/threats.md.
    assert sorted(line.partition(": ")[2] for line in worked) == [
        "reset role",
        "select address from klaviyo.ledger",
        "select sealed_key from klaviyo.connection_key",
        "set role none",
        "set session authorization default",
    ]
