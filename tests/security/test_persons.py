"""Who may read what about persons."""

from __future__ import annotations

import pytest

from support.roles import make_login
from support.site import Site

WHO = "somebody@example.test"
ALL = "select export, address from klaviyo.delivered order by export"
LEAK = """
create function pg_temp.leak(p text) returns boolean language plpgsql cost 0.0000001 as
$$ begin raise notice 'leak %', p; return true; end $$
"""


def rows(site: Site, user: str, statement: str = ALL) -> list[tuple[object, ...]]:
    with site.users[user].connect() as connection:
        return connection.execute(statement.encode()).fetchall()


def test_a_contributor_reads_what_its_exports_delivered(site: Site) -> None:
    assert rows(site, "contributor") == [("export of granted", WHO)]
    assert rows(site, "stranger") == []


def test_an_administrator_reads_all(site: Site) -> None:
    assert rows(site, "admin") == [("export of granted", WHO), ("export of hidden", WHO)]


def test_a_viewer_reads_all_but_the_addresses(site: Site) -> None:
    assert rows(site, "viewer") == [("export of granted", None), ("export of hidden", None)]
    assert rows(site, "viewer", f"select 1 from klaviyo.delivered where address = '{WHO}'") == []
    assert len(rows(site, "viewer", "select * from klaviyo.delivered")) == 2


def test_who_is_both_reads_the_addresses_of_its_exports_only(site: Site) -> None:
    both = make_login(site.db, "both", "klaviyo_viewer", "klaviyo_contributor")
    site.users["both"] = both
    site.db.execute(
        "insert into klaviyo.connection_grant (connection_id, role_name) values (1, %s)", both.name
    )
    assert rows(site, "both") == [("export of granted", WHO), ("export of hidden", None)]


@pytest.mark.parametrize("user", ["nobody", "worker"])
def test_others_do_not_read_the_view(site: Site, user: str) -> None:
    assert "permission denied" in site.refused(user, "select * from klaviyo.delivered")


@pytest.mark.parametrize("user", ["admin", "contributor", "viewer", "stranger", "nobody"])
def test_what_the_view_is_made_of_is_nobodys(site: Site, user: str) -> None:
    assert "permission denied" in site.refused(user, "select * from klaviyo.delivery")


@pytest.mark.parametrize(("user", "seen"), [("stranger", set()), ("contributor", {f"leak {WHO}"}), ("viewer", {"leak <NULL>"})])
def test_a_function_of_the_readers_sees_no_more_than_the_reader(site: Site, user: str, seen: set[str]) -> None:
    """It is cheap, so that PostgreSQL would like to call it first, on all rows."""
    site.db.execute(f'grant temporary on database "{site.db.name}" to public')
    with site.users[user].connect() as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute(LEAK.encode())
        connection.execute(b"select * from klaviyo.delivered where pg_temp.leak(address)")
        assert set(notices) == seen


def test_a_person_is_shown_in_the_exports_that_one_may_use(site: Site) -> None:
    for user, expected in (
        ("contributor", ["export of granted"]),
        ("admin", ["export of granted", "export of hidden"]),
        ("stranger", []),
    ):
        result = site.command(user, "member", "show", f" {WHO.upper()}", "--json")
        assert result.rc == 0, result
        assert [row["export"] for row in result.json["exports"]] == expected
        assert all(row["segments"] == ["seg"] for row in result.json["exports"])


def test_who_may_not_look_is_told_who_may(site: Site) -> None:
    for user in ("viewer", "nobody", "worker"):
        result = site.command(user, "member", "show", WHO)
        assert result.rc == 1
        assert WHO not in result.stderr
    assert "klaviyo_admin or klaviyo_contributor" in site.command("viewer", "member", "show", WHO).stderr


@pytest.mark.parametrize("user", ["contributor", "stranger", "viewer", "worker", "nobody"])
def test_only_an_administrator_makes_forget(site: Site, user: str) -> None:
    result = site.command(user, "member", "forget", WHO)

    assert result.rc == 1
    assert WHO not in result.stderr
    assert site.db.value("select count(*) from klaviyo.ledger where address = %s", WHO) == 2


def test_an_address_with_sql_in_it_is_an_address(site: Site) -> None:
    for address in ("x'; drop table klaviyo.ledger; --@example.test", "%@example.test", "_", '{"a": 1}', "\\x00"):
        assert site.command("admin", "member", "show", address, "--json").json["exports"] == []
        assert site.command("admin", "member", "forget", address, "--json").json["exports"] == []
    assert site.db.value("select count(*) from klaviyo.ledger") == 2
