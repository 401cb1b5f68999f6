"""`export verify`: the list in Klaviyo against segment and ledger, counted as it really is."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest

from support import klaviyo, people
from support.process import wait_until
from support.roles import make_login
from support.world import CONNECTION, EXPORT, KEY, LIST, SEGMENT, World

ROWS = 250  # three pages
NONE = {
    "profiles": 0, "ours": 0, "ours_left": 0, "missing": 0, "missing_left": 0, "not_ours": 0,
    "not_ours_members": 0, "without_address": 0, "not_sent": 0,
}  # fmt: skip


def set_up(world: World, rows: int = ROWS) -> people.Population:
    population = people.simple(rows)
    world.set_up_export(population)
    return population


def run_once(world: World) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh()
    return world.wait_runs_ended(before + 1)[0]


def run_and_stop(world: World) -> None:
    worker = world.start_worker()
    worker.wait_ready()
    run_once(world)
    worker.stop()


def verify(world: World, *options: str) -> dict[str, Any]:
    found = world.admin("export", "verify", EXPORT, "--json", *options).json
    assert isinstance(found, dict)
    return found


def add_members(world: World, *addresses: str) -> None:
    rows = [(f"new-{n}", json.dumps({"email": address})) for n, address in enumerate(addresses)]
    world.db.copy("insights.customer_profile (profile_id, attributes)", rows)
    world.db.copy("insights.segment_member (segment_id, profile_id)", [(SEGMENT, r[0]) for r in rows])


def leave(world: World, *addresses: str) -> None:
    world.db.execute(
        "delete from insights.segment_member m using insights.customer_profile p"
        " where p.profile_id = m.profile_id and p.attributes ->> 'email' = any (%s)",
        list(addresses),
    )


def import_by_hand(world: World, *addresses: str, on_list: bool = True) -> None:
    """Somebody else's tool."""
    profiles = [{"type": "profile", "attributes": {"email": address}} for address in addresses]
    body: dict[str, Any] = {
        "data": {
            "type": "profile-bulk-import-job",
            "attributes": {"profiles": {"data": profiles}},
        }
    }
    if on_list:
        body["data"]["relationships"] = {"lists": {"data": [{"type": "list", "id": LIST}]}}
    before = world.simulator.count(LIST)
    klaviyo.ask(world.simulator, "POST", "/api/profile-bulk-import-jobs", body)
    if on_list:
        wait_until(lambda: world.simulator.count(LIST) == before + len(addresses), 20, "the import")


def test_after_a_run_all_are_there(world: World) -> None:
    set_up(world)
    run_and_stop(world)

    found = verify(world)

    assert found == {
        "export": EXPORT, "list": LIST, "ran_meanwhile": False,
        "counts": {**NONE, "profiles": ROWS, "ours": ROWS},
    }  # fmt: skip
    pages = world.simulator.diary("list-members")
    assert [page["method"] for page in pages] == ["GET"] * 3
    assert "email" in pages[0]["path"] and "=100" in pages[0]["path"], "no more than is needed"


def test_before_the_first_run_nobody_is_there(world: World) -> None:
    population = set_up(world, 20)

    found = verify(world, "--show")

    assert found["counts"] == {**NONE, "not_sent": 20}
    assert sorted(found["shown"]["not_sent"]) == sorted(population.wanted)


def test_every_difference_is_counted_and_named(world: World) -> None:
    set_up(world)
    refused = "user9@shop9.example"
    rule = {"email": refused, "stage": "import-error", "code": "invalid", "detail": "no"}
    world.simulator.control("PUT", "rejects", rule)
    run_and_stop(world)
    taken_off = ["user1@shop1.example", "user2@shop2.example", "user3@shop3.example"]
    klaviyo.take_off(world.simulator, LIST, *taken_off)
    strangers = ["stranger1@example.test", "Stranger2@example.test"]
    import_by_hand(world, *strangers)
    add_members(world, "new1@example.test", "new2@example.test", "bad address", "new1@example.test")
    import_by_hand(world, "new2@example.test")
    leave(world, "user3@shop3.example", "user4@shop4.example", "user5@shop5.example")

    found = verify(world, "--show")

    assert found["counts"] == {
        "profiles": world.simulator.count(LIST),
        "ours": ROWS - 4, "ours_left": 2, "missing": 3, "missing_left": 1,
        "not_ours": 3, "not_ours_members": 1, "without_address": 0, "not_sent": 3,
    }  # fmt: skip
    shown = {kind: sorted(addresses) for kind, addresses in found["shown"].items()}
    assert shown == {
        "missing": taken_off,
        "not_ours": ["new2@example.test", *sorted(a.lower() for a in strangers)],
        "not_sent": ["new1@example.test", "new2@example.test", refused],
    }


def test_members_that_cannot_be_sent_are_not_awaited(world: World) -> None:
    population = people.mixed(1_000, too_large=3)
    world.set_up_export(population)
    run_and_stop(world)

    found = verify(world)

    assert found["counts"] == {**NONE, "profiles": population.selected, "ours": population.selected}


def test_words_for_people(world: World) -> None:
    set_up(world, 20)
    run_and_stop(world)
    klaviyo.take_off(world.simulator, LIST, "user1@shop1.example")

    plain = world.admin("export", "verify", EXPORT)
    shown = world.admin("export", "verify", EXPORT, "--show")

    assert "missing: put there by this export" in plain.stdout and "--full" in plain.stdout
    assert "@" not in plain.stdout
    assert "user1@shop1.example" in shown.stdout and "user2@" not in shown.stdout


def test_it_only_reads(world: World) -> None:
    set_up(world, 20)
    run_and_stop(world)
    after = world.simulator.diary()[-1]["seq"]
    dump = "select (select json_agg(l order by l.address)::text from klaviyo.ledger l)"
    before = world.db.value(dump)

    verify(world, "--show")

    assert {entry["method"] for entry in world.simulator.diary(after=after)} == {"GET"}
    assert world.db.value(dump) == before


def test_trouble_on_a_page_does_not_change_the_counts(world: World) -> None:
    set_up(world)
    run_and_stop(world)
    world.simulator.fault("list-members", {"status": 503}, skip=1, times=2)
    world.simulator.fault("list-members", {"throttle": 1}, skip=3)
    world.simulator.fault("list-members", {"truncate": 40}, skip=2)

    found = verify(world)

    assert found["counts"] == {**NONE, "profiles": ROWS, "ours": ROWS}
    early = [entry for entry in world.simulator.diary("list-members") if entry["early"]]
    assert early == []


def test_a_list_that_is_gone_and_a_key_that_is_refused_are_said(world: World) -> None:
    set_up(world, 5)
    run_and_stop(world)
    world.simulator.add_key(KEY, "AcctA1", ["accounts:read", "lists:read"])
    result = world.command("export", "verify", EXPORT)
    assert result.rc == 1 and "profiles:read" in result.stderr, result
    world.simulator.add_key(KEY, "AcctA1")
    world.simulator.remove_list(LIST)
    result = world.command("export", "verify", EXPORT)
    assert result.rc == 1 and f"Klaviyo has no list {LIST}" in result.stderr, result
    world.simulator.remove_key(KEY)
    result = world.command("export", "verify", EXPORT)
    assert result.rc == 1 and "401" in result.stderr, result
    assert world.db.value("select attention_reason from klaviyo.connection") is None
    assert world.command("export", "verify", "no-such").rc == 1


def test_a_run_meanwhile_is_said(world: World) -> None:
    set_up(world, 20)
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.simulator.diary("import"), 30, "a run that goes on")

    found = verify(world, "--direct")

    assert found["ran_meanwhile"] is True
    assert found["counts"] == {**NONE, "not_sent": 20}
    assert "was in progress meanwhile" in world.admin("export", "verify", EXPORT, "--direct").stderr


ROUNDS = int(os.environ.get("VERIFY_ROUNDS", "6"))


def test_after_any_changes_the_counts_are_the_truth(world: World) -> None:
    """Members come, leave and are refused; people take profiles off the list and put others on."""
    chance = random.Random(ROUNDS)
    everybody = [f"user{n}@shop{n % 97}.example" for n in range(1, 61)]
    set_up(world, 60)
    profiles = dict(
        world.db.rows("select attributes ->> 'email', profile_id from insights.customer_profile")
    )
    world.start_worker().wait_ready()
    for round_number in range(ROUNDS):
        members = {address for address in everybody if chance.random() < 0.8}
        world.db.execute("delete from insights.segment_member")
        world.db.copy(
            "insights.segment_member (segment_id, profile_id)",
            [(SEGMENT, profiles[address]) for address in sorted(members)],
        )
        rule = {"emails": chance.sample(everybody, 5), "stage": "import-error", "code": "invalid", "detail": "no"}
        world.simulator.control("PUT", "rejects", rule)
        run_once(world)
        there = world.simulator.emails(LIST)
        klaviyo.take_off(world.simulator, LIST, *chance.sample(sorted(there), min(3, len(there))))
        import_by_hand(world, f"by-hand-{round_number}@example.test")

        ours = {
            address for (address,) in world.db.rows(
                "select address from klaviyo.delivered where state in ('delivered', 'leaving')"
                " or (state = 'rejected' and address in (select l.address from klaviyo.ledger l where l.listed))"
            )
        }  # fmt: skip
        there = world.simulator.emails(LIST)
        assert verify(world, "--direct")["counts"] == {
            "profiles": len(there), "ours": len(there & ours), "ours_left": len(there & ours - members),
            "missing": len(ours - there), "missing_left": len(ours - there - members),
            "not_ours": len(there - ours), "not_ours_members": len((there - ours) & members),
            "without_address": 0, "not_sent": len(members - ours),
        }  # fmt: skip


# -- for people without the key -------------------------------------------------------


@pytest.fixture
def served(world: World) -> World:
    """A worker that has sent everybody, and a stranger on the list."""
    set_up(world, 20)
    world.start_worker().wait_ready()
    run_once(world)
    import_by_hand(world, "stranger@example.test")
    klaviyo.take_off(world.simulator, LIST, "user1@shop1.example")
    wait_until(lambda: world.db.value("select count(*) from klaviyo.task_worker") != 0, 20, "a worker for tasks")
    return world


def test_a_contributor_has_it_done_and_is_not_shown_strangers(served: World) -> None:
    mo = make_login(served.db, "mo", "klaviyo_contributor")
    served.admin("connection", "grant", CONNECTION, mo.name)
    as_mo = {"DATABASE_URL": mo.url, "SECRET_KEY_FILE": ""}

    found = served.command("export", "verify", EXPORT, "--show", "--json", **as_mo)

    assert found.rc == 0, found
    assert found.json["counts"] == {**NONE, "profiles": 20, "ours": 19, "missing": 1, "not_ours": 1}
    assert found.json["shown"] == {"missing": ["user1@shop1.example"], "not_sent": [], "not_ours": None}
    words = served.command("export", "verify", EXPORT, "--show", **as_mo)
    assert "administrators only" in words.stderr and "stranger" not in words.stdout + words.stderr
    klaviyo.put_on(served.simulator, LIST, "user1@shop1.example")
    words = served.command("export", "verify", EXPORT, "--show", **as_mo)
    assert words.stdout.splitlines()[-1] == "No address is missing or not sent yet.", "one is foreign, for whoever may see it"
    assert served.db.rows("select * from klaviyo.task") == [], "an answer that was read is not kept"


def test_an_administrator_is_shown_strangers(served: World) -> None:
    ada = make_login(served.db, "ada", "klaviyo_admin")

    found = served.command("export", "verify", EXPORT, "--show", "--json", DATABASE_URL=ada.url, SECRET_KEY_FILE="")

    assert found.rc == 0 and found.json["shown"]["not_ours"] == ["stranger@example.test"], found


def test_whose_export_it_is_not_cannot_have_it_verified(served: World) -> None:
    for role in ("klaviyo_contributor", "klaviyo_viewer"):
        user = make_login(served.db, f"other_{role}", role)
        result = served.command("export", "verify", EXPORT, DATABASE_URL=user.url, SECRET_KEY_FILE="")
        assert result.rc == 1 and result.stdout == "", result


def test_a_kept_answer_is_forgotten_with_the_person(served: World) -> None:
    """One that nobody has fetched yet."""
    served.db.execute(
        "insert into klaviyo.task (kind, connection_id, arguments, state, ended_at, answer, created_by)"
        " select 'export verify', connection_id, '{}', 'done', now(),"
        " '{\"shown\": {\"missing\": [\"user1@shop1.example\"]}}', 'mo' from klaviyo.connection"
    )
    served.admin("member", "forget", "user2@shop2.example")
    assert served.db.value("select count(*) from klaviyo.task") == 1
    served.admin("member", "forget", "USER1@shop1.example")
    assert served.db.value("select count(*) from klaviyo.task") == 0
