"""Keys and key pairs: what is found out about one is not written to another, whoever is faster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from support.process import wait_until
from support.roles import Login
from support.site import Site

NEW_PAIR = "select marked from klaviyo.add_key_pair(decode(repeat('cd', 32), 'hex'), true)"
ADD = "select klaviyo.add_connection('late', 1, null, null, 1, 'sealed for pair 1')"
ROTATE = "select klaviyo.replace_key('granted', null, null, 1, 'sealed for pair 1')"
BY_HAND = "update klaviyo.connection_key set sealed_key = 'sealed for pair 1' where connection_id = 1"
AGAIN = (
    "with gone as (delete from klaviyo.connection_key where connection_id = 1)"
    " select klaviyo.replace_key('granted', null, null, 1, 'x')"
)


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def ask(login: Login, statement: str) -> Any:
    with psycopg.connect(login.url) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        connection.rollback()
        return row[0] if row else None


def while_open(site: Site, pool: ThreadPoolExecutor, first: tuple[str, str], second: tuple[str, str]) -> Future[Any]:
    """The first one's transaction is committed only once the second one waits for it."""
    with psycopg.connect(site.users[first[0]].url) as connection:
        connection.execute(first[1].encode())
        later = pool.submit(ask, site.users[second[0]], second[1])
        wait_until(lambda: site.db.rows("select 1 from pg_locks where not granted") != [], 10, "the second to wait")
        connection.commit()
    return later


@pytest.fixture
def restored(site: Site) -> Any:
    """What a test commits is undone: one pair, both keys sealed for it."""
    yield site
    site.db.execute(
        "alter table klaviyo.connection_key disable trigger key_is_changing;"
        " update klaviyo.connection_key set key_pair_id = 1, sealed_key = 'sealed';"
        " alter table klaviyo.connection_key enable trigger key_is_changing;"
        " delete from klaviyo.key_pair where key_pair_id > 1;"
        " update klaviyo.connection set attention_reason = null, attention_at = null"
    )


@pytest.mark.parametrize(("user", "act"), [("admin", ADD), ("admin", ROTATE), ("owner", BY_HAND), ("owner", AGAIN)])
def test_no_key_is_stored_for_a_pair_that_is_being_replaced(
    restored: Site, pool: ThreadPoolExecutor, user: str, act: str
) -> None:
    later = while_open(restored, pool, ("admin", NEW_PAIR), (user, act))

    with pytest.raises(psycopg.Error, match="replaced meanwhile") as caught:
        later.result(20)
    assert caught.value.sqlstate == "55000"
    assert restored.refused("admin", ROTATE).startswith("the key pair was replaced")


@pytest.mark.parametrize("act", [ADD, ROTATE])
def test_a_replacement_marks_the_key_that_is_being_stored(
    restored: Site, pool: ThreadPoolExecutor, act: str
) -> None:
    later = while_open(restored, pool, ("admin", act), ("admin", NEW_PAIR))

    marked = later.result(20)
    assert ("late" in marked) == (act == ADD) and "granted" in marked
    restored.db.execute("delete from klaviyo.connection where name = 'late'")


def test_a_second_pair_needs_its_word(site: Site) -> None:
    act = "select key_pair_id from klaviyo.add_key_pair(decode(repeat('{}', 32), 'hex'), false)"
    with psycopg.connect(site.db.url) as connection:
        connection.execute("truncate klaviyo.key_pair cascade")
        assert connection.execute(act.format("aa").encode()).fetchone() != (None,)
        assert connection.execute(act.format("bb").encode()).fetchone() == (None,)
        connection.rollback()


Finding = Callable[[str], str]
FINDINGS: list[Finding] = [
    lambda key: f"select klaviyo.mark_attention(1, 'key_refused', '{key}')",
    lambda key: f"select klaviyo.note_verified('granted', '{key}', 'A9', 'Other', '{{lists:read}}')",
    lambda key: f"select klaviyo.note_findings('granted', '{key}', 'A9', 'Other', null) = 'fits'",
    lambda key: f"select klaviyo.check_account('granted', '{key}', 'A9') = 'fits'",
]


@pytest.mark.parametrize("finding", FINDINGS, ids=["refused", "verified", "findings", "account"])
def test_what_was_found_out_about_the_old_key_is_not_written_to_the_new_one(
    restored: Site, pool: ThreadPoolExecutor, finding: Finding
) -> None:
    """The key is compared once the row is ours, not before it is waited for."""
    rotate = "select klaviyo.replace_key('granted', null, null, 1, 'the new key')"
    later = while_open(restored, pool, ("admin", rotate), ("worker", finding("sealed")))

    assert later.result(20) is False
    assert ask(restored.users["worker"], finding("the new key")) is True
    assert ask(restored.users["worker"], finding("sealed")) is False
    assert restored.db.rows("select account_id, attention_reason from klaviyo.connection where name = 'granted'") == [
        (None, None)
    ]


def test_a_key_of_another_account_is_refused_also_by_the_database(site: Site) -> None:
    with psycopg.connect(site.users["admin"].url) as connection:
        connection.execute("select klaviyo.replace_key('granted', 'A1', 'Shop', 1, 'x')")
        with pytest.raises(psycopg.Error, match="belongs to Klaviyo account A2"):
            connection.execute("select klaviyo.replace_key('granted', 'A2', 'Shop', 1, 'x')")


@pytest.mark.parametrize("account", [None, "A1"])
@pytest.mark.parametrize("finding", ["note_verified", "note_findings"])
def test_verify_does_not_end_the_attention_of_a_replaced_pair(site: Site, finding: str, account: str | None) -> None:
    """By a worker that has the old file still."""
    act = f"select klaviyo.{finding}('granted', 'sealed', %s, 'Shop', '{{lists:read}}')"
    seen = "select attention_reason is not null, account_id from klaviyo.connection where name = 'granted'"
    with psycopg.connect(site.db.url) as connection:
        connection.execute(NEW_PAIR.encode())
        said = connection.execute(act.encode(), [account]).fetchone()

        assert said == (("older_pair",) if finding == "note_findings" else (True,))
        assert connection.execute(seen.encode()).fetchone() == (True, account)
        connection.rollback()


@pytest.mark.parametrize("finding", ["note_verified", "note_findings"])
def test_verify_does_not_move_a_connection_to_another_account(site: Site, finding: str) -> None:
    act = f"select klaviyo.{finding}('granted', 'sealed', %s, 'Shop', '{{lists:read}}')"
    seen = "select account_id, attention_reason from klaviyo.connection where name = 'granted'"
    with psycopg.connect(site.db.url) as connection:
        connection.execute(act.encode(), ["A1"])
        assert connection.execute(seen.encode()).fetchone() == ("A1", None)
        connection.execute(act.encode(), [None])
        assert connection.execute(seen.encode()).fetchone() == ("A1", None), "a key that may not read it"

        said = connection.execute(act.encode(), ["A2"]).fetchone()

        assert said == (("another_account",) if finding == "note_findings" else (False,))
        words = "its key belongs to Klaviyo account A2, the connection to A1"
        assert connection.execute(seen.encode()).fetchone() == ("A1", words)
        connection.rollback()
