"""What was delivered, as others read it: the view klaviyo.delivered, and `member show`."""

from __future__ import annotations

import json
from typing import Any

from support import people
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, World

ROWS = 20
WHO = "user7@shop7.example"
OTHER_EXPORT, OTHER_LIST, OTHER_SEGMENT = "win-back", "ListB1", "sleepers"


def set_up(world: World) -> people.Population:
    population = people.simple(ROWS)
    world.set_up_export(population)
    return population


def add_other_export(world: World, members: int = 5) -> None:
    world.simulator.add_list(OTHER_LIST, "AcctA1", "Win back")
    world.db.execute("insert into insights.segment values (%s, %s)", OTHER_SEGMENT, OTHER_SEGMENT)
    world.db.execute(
        "insert into insights.segment_member (segment_id, profile_id) select %s, profile_id"
        " from insights.customer_profile order by attributes ->> 'email' collate \"C\" desc limit %s",
        OTHER_SEGMENT, members,
    )  # fmt: skip
    world.add_export(OTHER_EXPORT, segments=(OTHER_SEGMENT,), list_id=OTHER_LIST)


def run_once(world: World, segment: str = SEGMENT, **event: Any) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh(segment, **event)
    return world.wait_runs_ended(before + 1)[0]


def delivered(world: World, condition: str = "true") -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of the view, by export and address."""
    rows = world.db.rows(
        "select to_jsonb(d) || jsonb_build_object('since', klaviyo.utc(d.since))"
        f" from klaviyo.delivered d where {condition}"
    )
    found = {(row["export"], row["address"]): row for (row,) in rows}
    assert len(found) == len(rows)
    return found


def set_points(world: World, address: str, points: int) -> None:
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || jsonb_build_object('points', %s::integer)"
        " where attributes ->> 'email' = %s",
        points, address,
    )  # fmt: skip


def refuse(world: World, address: str, stage: str = "import-error") -> None:
    rule = {"email": address, "stage": stage, "code": "invalid", "detail": "No such mailbox."}
    world.simulator.control("PUT", "rejects", rule)


def shown(world: World, address: str = WHO) -> list[dict[str, Any]]:
    found = world.admin("member", "show", address, "--json").json
    assert found["address"] == address.strip().lower()
    exports = found["exports"]
    assert isinstance(exports, list)
    return exports


# -- the view -------------------------------------------------------------------


def test_a_row_says_who_is_there_since_when_and_by_which_run(world: World) -> None:
    population = set_up(world)
    world.start_worker().wait_ready()
    run = run_once(world)

    rows = delivered(world)

    assert {address: row["profile_id"] for (_, address), row in rows.items()} == population.wanted
    for row in rows.values():
        assert set(row) == {"export", "profile_id", "address", "state", "since", "run"}
        assert (row["export"], row["state"]) == (EXPORT, "delivered")
        assert (row["run"], row["since"]) == (run["id"], run["finished_at"])


def test_the_run_is_the_one_that_sent_the_row_last_whatever_other_exports_did(world: World) -> None:
    set_up(world)
    add_other_export(world)
    world.start_worker().wait_ready()
    first = run_once(world)
    other = run_once(world, OTHER_SEGMENT)
    set_points(world, WHO, -1)
    second = run_once(world)
    run_once(world, OTHER_SEGMENT, full=True)
    other = run_once(world, OTHER_SEGMENT, full=True)
    run_once(world)  # nothing changed

    for (export, address), row in delivered(world).items():
        expected = other if export == OTHER_EXPORT else second if address == WHO else first
        assert (row["run"], row["since"]) == (expected["id"], expected["finished_at"]), row


def test_run_and_time_outlive_the_run(world: World) -> None:
    set_up(world)
    add_other_export(world)
    worker = world.start_worker()
    worker.wait_ready()
    run_once(world)
    run_once(world, OTHER_SEGMENT)
    set_points(world, WHO, -1)
    run_once(world)
    run_once(world)
    before = delivered(world)
    worker.stop()
    world.db.execute(
        "update klaviyo.run set finished_at = finished_at - interval '31 days';"
        " update klaviyo.request set ended_at = ended_at - interval '31 days'"
    )
    aged = delivered(world)
    assert {row["since"] for row in aged.values()}.isdisjoint(r["since"] for r in before.values())

    world.start_worker().wait_ready()
    wait_until(lambda: world.runs() == [], 30, "retention to delete the runs")

    assert delivered(world) == aged
    assert world.db.value("select count(*) from klaviyo.past_run") == 3  # of those that sent something


def test_what_klaviyo_refused_is_rejected_and_then_delivered(world: World) -> None:
    set_up(world)
    refuse(world, WHO)
    world.start_worker().wait_ready()
    run_once(world)
    states = {address: row["state"] for (_, address), row in delivered(world).items()}
    assert states.pop(WHO) == "rejected"
    assert set(states.values()) == {"delivered"}

    world.simulator.control("DELETE", "rejects")
    run_once(world)
    assert {row["state"] for row in delivered(world).values()} == {"delivered"}


def test_what_waits_to_be_sent_is_pending(world: World) -> None:
    set_up(world)
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.simulator.diary("import"), 30, "an import in vain")

    rows = delivered(world).values()
    assert {(row["state"], row["since"]) for row in rows} == {("pending", None)}

    world.admin("runs", "cancel", str(world.runs()[0]["id"]))
    run = world.wait_runs_ended(1)[0]
    rows = delivered(world).values()
    assert {(row["state"], row["run"]) for row in rows} == {("pending", run["id"])}


def test_who_is_to_be_taken_off_the_list_is_leaving(world: World) -> None:
    """More than a guard lets go without confirmation, so they stay for a while."""
    population = people.simple(300)
    world.add_segment(SEGMENT, population)
    world.add_connection()
    world.add_export(EXPORT, "--on-leave", "remove")
    world.start_worker().wait_ready()
    run_once(world)
    left = sorted(population.wanted)[:120]
    world.db.execute(
        "delete from insights.segment_member where profile_id = any (%s)",
        [population.wanted[address] for address in left],
    )

    assert run_once(world)["reason"] == "removals_withheld"
    rows = delivered(world)
    assert sorted(address for (_, address), row in rows.items() if row["state"] == "leaving") == left
    assert {row["state"] for row in rows.values()} == {"leaving", "delivered"}
    (row,) = shown(world, left[0])
    assert (row["state"], row["segments"]) == ("leaving", [])
    counts = world.admin("export", "verify", EXPORT, "--json", "--direct").json["counts"]
    assert (counts["ours"], counts["ours_left"], counts["missing"]) == (300, 120, 0)

    world.admin("member", "forget", left[0])
    run = run_once(world, confirm_removals=True)
    assert (run["state"], run["counts"]["removed"]) == ("succeeded", 119)
    assert {row["state"] for row in delivered(world).values()} == {"delivered"}
    assert left[0] in world.simulator.emails(LIST), "of whom nothing is remembered is not ours to take off"
    counts = world.admin("export", "verify", EXPORT, "--json", "--direct").json["counts"]
    assert (counts["ours"], counts["not_ours"], counts["missing"]) == (180, 1, 0)


def test_the_view_is_read_by_export_and_by_profile(world: World) -> None:
    population = set_up(world)
    add_other_export(world)
    world.start_worker().wait_ready()
    run_once(world)
    run_once(world, OTHER_SEGMENT)

    assert len(delivered(world, f"export = '{OTHER_EXPORT}'")) == 5
    profile = population.wanted[WHO]
    assert {address for _, address in delivered(world, f"profile_id = '{profile}'")} == {WHO}


# -- member show ------------------------------------------------------------------


def test_a_person_is_found_in_every_export_in_any_spelling(world: World) -> None:
    population = set_up(world)
    add_other_export(world, members=ROWS)
    world.start_worker().wait_ready()
    run = run_once(world)

    for spelling in (WHO, f" {WHO.upper()}\t", WHO.title()):
        rows = shown(world, spelling)
        assert [row["export"] for row in rows] == [EXPORT, OTHER_EXPORT]
        there, not_there = rows
        assert (there["state"], there["run"], there["since"]) == ("delivered", run["id"], run["finished_at"])
        assert (there["segments"], there["list"], there["connection"]) == ([SEGMENT], LIST, "main")
        assert there["profile_id"] == population.wanted[WHO]
        assert (not_there["state"], not_there["since"]) == ("not_sent", None)
        assert not_there["segments"] == [OTHER_SEGMENT]


def test_refusals_are_shown_with_klaviyos_words(world: World) -> None:
    set_up(world)
    refuse(world, WHO)
    world.start_worker().wait_ready()
    first, second = run_once(world), run_once(world)

    (row,) = shown(world)

    assert row["state"] == "rejected"
    assert [(r["run"], r["ended_at"]) for r in row["rejections"]] == [
        (run["id"], run["finished_at"]) for run in (second, first)
    ]
    assert {(r["stage"], r["code"], r["detail"]) for r in row["rejections"]} == {
        ("import", "invalid", "No such mailbox.")
    }
    table = world.admin("member", "show", WHO).stdout
    assert "invalid: No such mailbox." in table and "rejected" in table


def test_an_address_that_is_none_is_found_in_the_rejections(world: World) -> None:
    population = set_up(world)
    population.members.append(("p-bad", json.dumps({"email": " Not an address "})))
    world.db.copy("insights.customer_profile (profile_id, attributes)", population.members[-1:])
    world.db.copy("insights.segment_member (segment_id, profile_id)", [(SEGMENT, "p-bad")])
    world.start_worker().wait_ready()
    run_once(world)

    (row,) = shown(world, "not an ADDRESS")

    assert (row["state"], row["profile_id"], row["profiles"]) == ("rejected", None, ["p-bad"])
    assert [r["code"] for r in row["rejections"]] == ["email_malformed"]


def test_who_left_is_shown_without_a_segment(world: World) -> None:
    set_up(world)
    world.start_worker().wait_ready()
    run_once(world)
    world.db.execute("delete from insights.segment_member")

    (row,) = shown(world)

    assert (row["state"], row["segments"], row["profiles"]) == ("delivered", [], [])


def test_an_address_that_nobody_has_is_said_to_be_nowhere(world: World) -> None:
    set_up(world)

    assert shown(world, "nobody@example.test") == []
    result = world.admin("member", "show", "nobody@example.test")
    assert "No export that you may use has to do with this address." in result.stdout


def test_a_view_that_cannot_be_read_is_said_and_the_rest_is_shown(world: World) -> None:
    set_up(world)
    world.start_worker().wait_ready()
    run_once(world)
    world.db.execute(
        "create or replace view insights.segment_profile as select m.segment_id, m.profile_id,"
        " (p.attributes #>> '{email}')::integer::text::jsonb as attributes"
        " from insights.segment_member m join insights.customer_profile p using (profile_id)"
    )

    (row,) = shown(world)
    assert row["state"] == "delivered"
    assert row["source_error"] == "(SQLSTATE 22P02)"
    result = world.admin("member", "show", WHO)
    assert f"export {EXPORT}: its members cannot be read" in result.stderr
    assert WHO not in result.stderr
