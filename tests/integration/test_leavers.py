"""Who left the segment is taken off the list (--on-leave remove): those and nobody else, and not by mistake.

LEAVERS_MEMBERS  how many are on the list where requests are counted (6000; 1000000 in the long form)
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import Any

import pytest

from support import klaviyo, people
from support.process import wait_until
from support.roles import make_login
from support.world import ACCOUNT, CONNECTION, EXPORT, LIST, SEGMENT, World, check_sums

REMOVE = ("--on-leave", "remove")


def run_once(world: World, seconds: float = 100, segment: str = SEGMENT, **event: Any) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh(segment, **event)
    run = world.wait_runs_ended(before + 1, seconds)[0]
    check_left(run)
    return run


def check_left(run: dict[str, Any]) -> None:
    if run["state"].startswith("succeeded"):
        check_sums(run)
    counts = run["counts"]
    assert counts["left"] == counts["removed"] + counts["kept"], counts


def set_up(world: World, count: int, *options: str) -> list[str]:
    """An export that removes and has run once; its addresses."""
    world.add_segment(SEGMENT, people.simple(count))
    world.add_connection()
    world.add_export(EXPORT, *REMOVE, "--size-guard", "off", *options, mapping=["--property", "points=points"])
    world.start_worker().wait_ready()
    assert run_once(world, 600)["state"] == "succeeded"
    return sorted(world.simulator.emails(LIST))


def leave(world: World, *addresses: str, segment: str = SEGMENT) -> None:
    world.db.execute(
        "delete from insights.segment_member where segment_id = %s and profile_id in"
        " (select profile_id from insights.customer_profile where lower(attributes ->> 'email') = any (%s))",
        segment, list(addresses),
    )  # fmt: skip


def join(world: World, *addresses: str, segment: str = SEGMENT) -> None:
    """Makes the people where there are none yet."""
    for address in addresses:
        profile = world.db.value(
            "select max(profile_id) from insights.customer_profile where lower(attributes ->> 'email') = %s", address
        )
        if profile is None:
            profile = f"made-{address}"
            world.db.execute(
                "insert into insights.customer_profile values (%s, %s::jsonb)", profile, json.dumps({"email": address})
            )
        world.db.execute(
            "insert into insights.segment_member values (%s, %s) on conflict do nothing", segment, profile
        )


def plan_only(world: World, segment: str = SEGMENT) -> None:
    """A run that ends before its first import, as the account may send none meanwhile."""
    before = len(world.runs())
    world.db.execute(
        "insert into klaviyo.rate_budget (account, endpoint, blocked_at, blocked_until)"
        " values (%s, 'import', now(), now() + interval '1 hour') on conflict (account, endpoint)"
        " do update set blocked_at = excluded.blocked_at, blocked_until = excluded.blocked_until",
        ACCOUNT,
    )
    world.refresh(segment)
    planned = "select count(*) from klaviyo.run where state = 'running' and planned"
    wait_until(lambda: world.db.value(planned) == 1, 60, "a plan")
    cancel(world)
    world.wait_runs_ended(before + 1)
    world.db.execute("update klaviyo.rate_budget set blocked_until = now() - interval '1 minute'")


def cancel(world: World) -> None:
    world.admin("runs", "cancel", str(world.runs()[0]["id"]))


def cancel_with_a_job(world: World, segment: str = SEGMENT) -> None:
    """A run that is cancelled, and its job goes on."""
    before = len(world.runs())
    world.simulator.settings(queued_ms=100, processing_ms=3000)
    world.refresh(segment)
    sent = "select count(*) from klaviyo.batch b join klaviyo.run r using (run_id) where b.state = 'sent' and r.state = 'running'"
    wait_until(lambda: world.db.value(sent) == 1, 30, "a job")
    cancel(world)
    world.wait_runs_ended(before + 1)
    world.simulator.settings(queued_ms=50, processing_ms=100)


def removals(world: World) -> list[dict[str, Any]]:
    """Of the worker, not by hand."""
    return [e for e in world.simulator.diary("list-remove") if e["user_agent"] != klaviyo.HAND_AGENT]


def lookups(world: World) -> list[dict[str, Any]]:
    return [e for e in world.simulator.diary("profiles") if e["user_agent"] != klaviyo.HAND_AGENT]


# ---- removing ----


def test_who_left_is_taken_off_the_list_and_forgotten(world: World) -> None:
    *gone, stays = set_up(world, 6)

    leave(world, *gone)
    run = run_once(world)

    assert run["state"] == "succeeded" and run["reason"] is None
    assert (run["counts"]["left"], run["counts"]["removed"], run["counts"]["kept"]) == (5, 5, 0)
    assert world.simulator.emails(LIST) == {stays}
    assert world.db.rows("select address from klaviyo.ledger") == [(stays,)]
    assert (len(lookups(world)), len(removals(world))) == (1, 1)
    assert klaviyo.profile(world.simulator, gone[0])["email"] == gone[0]  # the profile is still there
    assert not world.simulator.diary("consent")
    (worker,) = world.workers
    (ended,) = [event for event in worker.events("run_ended") if event["run"] == run["id"]]
    assert (ended["left"], ended["removed"]) == (5, 5)
    wait_until(lambda: 'outcome="removed"} 5\n' in worker.page("/metrics"), 10, "the removals to be counted")

    run = run_once(world)
    assert run["counts"]["left"] == 0
    assert len(removals(world)) == 1


@pytest.mark.parametrize("status", [404, 409])
def test_who_is_not_on_the_list_any_more_keeps_nobody_else_on_it(world: World, status: int) -> None:
    """Somebody took them off by hand; what a removal is answered then is not documented."""
    *gone, stays = set_up(world, 8)

    leave(world, *gone[:2])
    world.simulator.fault("list-remove", {"status": status}, times=3)  # both, again when the list is there, the first alone
    run = run_once(world)

    assert run["state"] == "succeeded" and run["counts"]["kept"] == 0
    assert not {gone[0], gone[1]} & {row[0] for row in world.db.rows("select address from klaviyo.ledger")}
    assert len(removals(world)) == 4 and stays in world.simulator.emails(LIST)


def test_an_address_with_a_plus_is_found(world: World) -> None:
    set_up(world, 3)
    join(world, "ada+x&y=z@example.test")
    run_once(world)
    assert "ada+x&y=z@example.test" in world.simulator.emails(LIST)

    leave(world, "ada+x&y=z@example.test")
    run_once(world)

    assert world.simulator.count(LIST) == 3


def test_who_was_not_put_there_by_this_export_stays(world: World) -> None:
    first, *_ = set_up(world, 5)
    other = klaviyo.create(world.simulator, "by.hand@example.test")
    klaviyo.put_on(world.simulator, LIST, other)

    leave(world, first)
    run_once(world)

    assert other in world.simulator.emails(LIST)
    assert world.simulator.count(LIST) == 5


def test_whom_klaviyo_refused_was_not_put_there_either(world: World) -> None:
    set_up(world, 5)
    world.simulator.control("POST", "rejects", {"emails": ["refused@example.test"], "stage": "import-error"})
    join(world, "refused@example.test")
    assert run_once(world)["state"] == "succeeded_with_rejections"
    by_hand = klaviyo.create(world.simulator, "refused@example.test")
    klaviyo.put_on(world.simulator, LIST, by_hand)

    leave(world, "refused@example.test")
    run = run_once(world)

    assert run["counts"]["left"] == 0
    assert "refused@example.test" in world.simulator.emails(LIST)
    assert not lookups(world)


def test_who_comes_back_is_put_on_the_list_again(world: World) -> None:
    first, *_ = set_up(world, 5)
    leave(world, first)
    run_once(world)

    join(world, first)
    run = run_once(world)

    assert run["counts"]["accepted"] == 1
    assert first in world.simulator.emails(LIST)


def test_a_new_address_of_somebody_replaces_the_old_one_and_is_counted(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || '{\"email\": \"moved@example.test\"}'"
        " where lower(attributes ->> 'email') = %s",
        first,
    )
    leave(world, second)

    shown = world.admin("export", "preview", EXPORT, "--json").json
    run = run_once(world)

    assert shown["leaves"] == {"addresses": 2, "on_leave": "remove", "address_changes": 1}
    assert (run["counts"]["left"], run["counts"]["address_changes"]) == (2, 1)
    assert "moved@example.test" in world.simulator.emails(LIST)
    assert world.simulator.emails(LIST).isdisjoint({first, second})
    assert run_once(world)["counts"]["address_changes"] == 0


def test_counting_changed_addresses_in_a_large_ledger_costs_no_lease(world: World) -> None:
    """It may take longer than a lease, and the heartbeat needs the run's row meanwhile."""
    world.add_segment(SEGMENT, people.simple(5))
    world.add_connection()
    world.add_export(EXPORT, *REMOVE)
    worker = world.start_worker(LEASE_SECONDS="6").wait_ready()
    run_once(world)
    world.db.execute(
        "create or replace function klaviyo.address_changes(p_export_id bigint) returns bigint"
        " language sql as 'select 7::bigint from pg_sleep(10)'"
    )
    leave(world, min(world.simulator.emails(LIST)))

    run = run_once(world)

    assert (run["counts"]["removed"], run["counts"]["address_changes"]) == (1, 7), run
    assert [event["epoch"] for event in worker.events("run_taken")] == [1, 1]


def test_whom_klaviyo_does_not_know_any_more_is_gone(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    klaviyo.take_off(world.simulator, LIST, first)
    world.simulator.fault(
        "profiles",
        {"status": 200, "content_type": "application/vnd.api+json", "body": '{"data":[],"links":{"next":null}}'},
    )
    leave(world, second)

    run = run_once(world)

    assert run["counts"]["removed"] == 1
    assert not removals(world)
    assert world.db.value("select count(*) from klaviyo.ledger") == 4


# ---- what is withheld ----


def test_more_than_a_fifth_is_withheld_until_it_is_confirmed_once(world: World) -> None:
    addresses = set_up(world, 600)
    gone = addresses[:150]
    leave(world, *gone)
    join(world, "new@example.test")

    run = run_once(world)

    assert (run["state"], run["reason"]) == ("succeeded", "removals_withheld")
    assert "150" in run["detail"] and "600" in run["detail"]
    assert (run["counts"]["left"], run["counts"]["kept"]) == (150, 150)
    assert "new@example.test" in world.simulator.emails(LIST)
    assert world.simulator.count(LIST) == 601 and not lookups(world)

    run = run_once(world, confirm_removals=True)

    assert (run["state"], run["reason"], run["counts"]["removed"]) == ("succeeded", None, 150)
    assert world.simulator.emails(LIST) == {*addresses[150:], "new@example.test"}

    leave(world, *addresses[150:300])
    assert run_once(world)["reason"] == "removals_withheld"


def test_a_confirmation_survives_a_run_that_failed_before_it_removed_anybody(world: World) -> None:
    addresses = set_up(world, 300)
    leave(world, *addresses[:150])
    view = world.db.value("select pg_get_viewdef('insights.segment_profile'::regclass)")
    world.db.execute(
        "create or replace view insights.segment_profile as select segment_id, profile_id,"
        f" (attributes::text || (1 / 0)::text)::jsonb as attributes from ({str(view).rstrip(';')}) v"
    )
    assert run_once(world, confirm_removals=True)["reason"] == "source_unreadable"
    world.db.execute(f"create or replace view insights.segment_profile as {view}")

    run = run_once(world)

    assert (run["state"], run["reason"], run["counts"]["removed"]) == ("succeeded", None, 150)
    leave(world, *addresses[150:260])
    assert run_once(world)["reason"] == "removals_withheld"


def test_a_confirmation_is_used_up_with_the_first_who_is_taken_off(world: World) -> None:
    first, *_ = set_up(world, 5)
    world.workers[0].stop()
    world.db.execute("insert into klaviyo.removal_confirmation (export_id) select export_id from klaviyo.export")
    leave(world, first)

    worker = world.start_worker(KLAVIYO_FAILPOINT="leavers_removed.after").wait_ready()
    world.refresh()
    assert worker.process.wait(60) == -signal.SIGKILL

    assert world.db.value("select count(*) from klaviyo.removal_confirmation") == 0


@pytest.mark.parametrize(("count", "gone"), [(300, 150), (1500, 1200)], ids=["all were off", "some were off"])
def test_a_run_that_used_up_a_confirmation_is_confirmed_for_its_next_worker_too(
    world: World, count: int, gone: int
) -> None:
    """The first of two chunks, or the only one, is off the list when the worker is killed."""
    addresses = set_up(world, count)
    world.db.execute("insert into klaviyo.removal_confirmation (export_id) select export_id from klaviyo.export")
    restart(world, KLAVIYO_FAILPOINT="leavers_removed.after:1")
    leave(world, *addresses[:gone])
    world.refresh()
    world.workers[-1].process.wait(60)

    world.start_worker(**SHORT_LEASE).wait_ready()
    run = world.wait_runs_ended(2)[0]

    check_left(run)
    assert (run["state"], run["reason"], run["counts"]["removed"]) == ("succeeded", None, gone), run
    assert world.simulator.emails(LIST) == set(addresses[gone:])
    leave(world, *addresses[gone : gone + 110])
    assert run_once(world)["reason"] == "removals_withheld", "it counts once"


def test_a_confirmation_that_was_not_needed_is_not_kept(world: World) -> None:
    addresses = set_up(world, 300)
    assert run_once(world, confirm_removals=True)["state"] == "succeeded"
    leave(world, *addresses[:150])

    assert run_once(world)["reason"] == "removals_withheld"


def empty_segment(world: World) -> None:
    world.db.execute("delete from insights.segment_member")


def shrunk_segment(world: World) -> None:
    world.db.execute(
        "delete from insights.segment_member where profile_id in"
        " (select profile_id from insights.segment_member order by profile_id limit 285)"
    )


def renamed_field(world: World) -> None:
    world.db.execute(
        "update insights.customer_profile set attributes = attributes - 'email'"
        " || jsonb_build_object('mail', attributes -> 'email')"
    )


def empty_view(world: World) -> None:
    definition = world.db.value("select pg_get_viewdef('insights.segment_profile'::regclass)")
    world.db.execute(
        f"create or replace view insights.segment_profile as select * from ({str(definition).rstrip(';')}) v where false"
    )


@pytest.mark.parametrize("mistake", [empty_segment, shrunk_segment, renamed_field, empty_view])
def test_a_mistake_upstream_removes_nobody(world: World, mistake: Any) -> None:
    set_up(world, 300)

    mistake(world)
    run = run_once(world)

    # Of a renamed field the guard of invalid members says so before anything is sent.
    assert run["reason"] == ("too_many_invalid" if mistake is renamed_field else "removals_withheld")
    assert world.simulator.count(LIST) == 300
    assert not removals(world)
    if mistake is renamed_field:
        run = run_once(world, confirm=["too_many_invalid"])
        assert run["reason"] == "removals_withheld"
        assert world.simulator.count(LIST) == 300 and not removals(world)


def test_a_few_of_a_small_segment_may_be_all(world: World) -> None:
    addresses = set_up(world, 90)
    leave(world, *addresses[:89])

    assert run_once(world)["counts"]["removed"] == 89


def test_an_account_that_is_not_known_withholds(world: World) -> None:
    first, *_ = set_up(world, 5)
    world.db.execute("update klaviyo.connection set account_id = null")
    leave(world, first)

    run = run_once(world)

    assert run["reason"] == "removals_withheld"
    assert f"connection verify {CONNECTION}" in run["detail"]
    world.admin("connection", "verify", CONNECTION)
    assert run_once(world)["counts"]["removed"] == 1


def test_a_list_of_leavers_is_kept_by_default(world: World) -> None:
    first, *_ = set_up(world, 5)
    world.admin("export", "update", EXPORT, "--on-leave", "keep")
    leave(world, first)

    run = run_once(world)

    assert (run["counts"]["left"], run["counts"]["kept"]) == (1, 1)
    assert world.simulator.count(LIST) == 5 and not lookups(world)


# ---- several segments, several exports ----


def test_a_member_of_another_segment_of_the_export_stays(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, first, segment="other")
    world.admin("export", "update", EXPORT, "--segment", SEGMENT, "--segment", "other")
    leave(world, first, second)

    run = run_once(world)

    assert run["counts"]["removed"] == 1
    assert first in world.simulator.emails(LIST) and second not in world.simulator.emails(LIST)


def test_what_another_export_has_on_the_list_stays_until_both_let_go(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, first, second, segment="other")
    world.add_export("second", *REMOVE, segments=("other",), mapping=[])
    run_once(world, segment="other")

    leave(world, first)
    run = run_once(world)
    assert (run["counts"]["left"], run["counts"]["removed"], run["counts"]["kept"]) == (1, 0, 1)
    assert first in world.simulator.emails(LIST)

    leave(world, first, segment="other")
    run = run_once(world, segment="other")
    assert (run["counts"]["left"], run["counts"]["removed"]) == (1, 1)
    assert first not in world.simulator.emails(LIST)


def test_what_another_export_was_about_to_take_off_is_not_held_by_it(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, first, second, segment="other")
    world.add_export("second", *REMOVE, segments=("other",), mapping=[])
    run_once(world, segment="other")
    world.db.execute(  # a worker died in the middle of a removal for the first export
        "update klaviyo.ledger l set removing = true, listed = false, fingerprint = 0 from klaviyo.export x"
        " where x.export_id = l.export_id and x.name = %s and l.address = %s", EXPORT, first,
    )  # fmt: skip

    leave(world, first, segment="other")
    run = run_once(world, segment="other")

    assert (run["counts"]["left"], run["counts"]["removed"]) == (1, 1)
    assert first not in world.simulator.emails(LIST)


def test_what_another_export_only_planned_to_send_is_not_held_by_it(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, first, second, segment="other")
    world.add_export("second", *REMOVE, segments=("other",), mapping=[])
    plan_only(world, "other")
    leave(world, first)
    leave(world, first, segment="other")

    run_once(world)
    run_once(world, segment="other")

    assert first not in world.simulator.emails(LIST)


def test_who_leaves_both_exports_at_once_is_off_the_list(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, first, second, segment="other")
    world.add_export("second", *REMOVE, segments=("other",), mapping=[])
    run_once(world, segment="other")
    leave(world, first)
    leave(world, first, segment="other")

    world.refresh(SEGMENT)
    world.refresh("other")
    runs = world.wait_runs_ended(4)

    assert sorted(run["counts"]["removed"] for run in runs[:2]) == [0, 1]
    assert first not in world.simulator.emails(LIST)


def test_a_removal_waits_until_nobody_sends_to_the_list(world: World) -> None:
    first, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, "slow@example.test", segment="other")
    world.add_export("second", segments=("other",), mapping=[])
    world.simulator.settings(queued_ms=4000)
    world.refresh("other")
    world.wait_requests("import", 2)

    leave(world, first)
    world.refresh(SEGMENT)
    waiting = wait_until(
        lambda: [run for run in world.runs("--export", EXPORT) if run["reason"] == "list_in_use"], 30, "a run that waits"
    )

    assert waiting[0]["state"] == "waiting" and not removals(world)
    runs = {run["export"]: run for run in world.wait_runs_ended(3)[:2]}
    assert runs[EXPORT]["counts"]["removed"] == 1
    assert runs["second"]["finished_at"] < runs[EXPORT]["finished_at"]
    assert first not in world.simulator.emails(LIST)


def what_a_stranger_is_told(world: World, run: int) -> list[str | None]:
    """Of a queued run to the same list, of another connection that alone was granted; and of that run."""
    login = make_login(world.db, "stranger", "klaviyo_contributor")
    world.db.execute(
        "insert into klaviyo.connection (name, consent_version, consent_by, account_id)"
        " select 'theirs', 1, 'boss', account_id from klaviyo.connection"
    )
    world.db.execute(
        "insert into klaviyo.connection_grant (connection_id, role_name)"
        " select connection_id, %s from klaviyo.connection where name = 'theirs'", login.name
    )
    world.db.execute(
        "with x as (insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " select 'theirs', connection_id, %s, '{email}' from klaviyo.connection where name = 'theirs' returning *)"
        " insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, 'theirs', 'schedule' from x", LIST
    )
    with login.connect() as stranger:
        told = stranger.execute("select klaviyo.run_json(r) ->> 'detail' from klaviyo.run r").fetchall()
        told += stranger.execute("select klaviyo.list_wait(%s)", [run]).fetchall()
    world.db.execute("delete from klaviyo.run where export_name = 'theirs'")
    return [detail for (detail,) in told]


def test_a_run_that_waits_for_a_removal_from_its_list_says_so(world: World) -> None:
    set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, "new@example.test", segment="other")
    world.add_export("second", segments=("other",), mapping=[])
    removing = world.db.value(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, epoch, started_at,"
        " lease_until, removal_epoch) select export_id, name, 'main', 'schedule', 'running', 1, now(),"
        " now() + interval '1 hour', 1 from klaviyo.export where name = %s returning run_id",
        EXPORT,
    )
    world.db.execute(
        "insert into klaviyo.list_claim select account_id, %s, %s from klaviyo.connection"
        " on conflict (account_id, list_id) do update set run_id = excluded.run_id", LIST, removing
    )
    world.refresh("other")

    (waiting,) = wait_until(lambda: world.runs("--export", "second"), 30, "a run that waits")

    said = f"run {removing} of export {EXPORT} takes people off the same list"
    assert (waiting["state"], waiting["reason"], waiting["detail"]) == ("queued", "list_in_use", said)
    wait_until(lambda: said in world.workers[-1].page("/"), 10, "the page to say so")
    assert what_a_stranger_is_told(world, waiting["id"]) == ["another run takes people off the same list", None]
    world.db.execute("update klaviyo.run set queued_at = queued_at - interval '1 hour'")
    wait_until(lambda: world.workers[-1].metric("oldest_queued_run_age_seconds") >= 3600, 10, "its age to be seen")
    assert world.workers[-1].metric("oldest_startable_run_age_seconds") == 0
    world.db.execute("update klaviyo.run set state = 'cancelled', finished_at = now() where run_id = %s", removing)
    (ended,) = wait_until(lambda: [r for r in world.runs("--export", "second") if r["finished_at"]], 60, "its end")
    assert (ended["state"], ended["reason"]) == ("succeeded", None)


# ---- crashes ----

SHORT_LEASE = {"LEASE_SECONDS": "2"}
POINTS = ["leavers", "claim_list", "release_held", "fetch_leavers", "leavers_removed"]


def restart(world: World, **settings: str) -> None:
    for worker in world.workers:
        if worker.process.running:
            worker.stop()
    world.start_worker(**SHORT_LEASE, **settings).wait_ready()


@pytest.mark.parametrize("point", [f"{name}.{when}" for name in POINTS for when in ("before", "after")])
def test_a_worker_that_dies_in_a_removal_forgets_nobody_and_takes_nobody_off_twice(world: World, point: str) -> None:
    addresses = set_up(world, 60)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, *addresses[20:30], segment="other")
    world.add_export("second", *REMOVE, segments=("other",), mapping=[])
    run_once(world, segment="other")
    restart(world, KLAVIYO_FAILPOINT=f"{point}:1")

    leave(world, *addresses[:30])
    world.refresh()
    world.workers[-1].process.wait(30)
    world.start_worker(**SHORT_LEASE).wait_ready()
    run = world.wait_runs_ended(3)[0]

    check_left(run)
    assert run["state"] == "succeeded"
    # What another export has there may have been forgotten before the kill.
    assert run["counts"]["removed"] == 20 and run["counts"]["kept"] in (0, 10)
    assert world.simulator.emails(LIST) == set(addresses[20:])
    assert world.db.value("select count(*) from klaviyo.ledger l join klaviyo.export using (export_id)"
                          " where name = %s", EXPORT) == 30  # fmt: skip
    assert len(removals(world)) <= 2


@pytest.mark.parametrize("parked", [False, True], ids=["at once", "parked in between"])
def test_what_a_run_planned_before_a_crash_does_not_fill_an_empty_segment(world: World, parked: bool) -> None:
    addresses = set_up(world, 5)
    world.db.execute("update insights.customer_profile set attributes = attributes || '{\"points\": -1}'")
    restart(world, KLAVIYO_FAILPOINT="mark_sent.after:1")
    world.refresh()
    world.workers[-1].process.wait(30)
    leave(world, *addresses)
    if parked:
        world.simulator.fault("job", {"throttle": 5}, times=1)

    world.start_worker(**SHORT_LEASE).wait_ready()
    run = world.wait_runs_ended(2)[0]

    check_left(run)
    assert (run["state"], run["reason"]) == ("succeeded", "removals_withheld"), run
    assert "empty" in run["detail"] and run["counts"]["left"] == 5
    assert world.simulator.emails(LIST) == set(addresses)
    assert run["counts"]["throttled"] == parked


def test_who_comes_back_after_an_interrupted_removal_is_on_the_list(world: World) -> None:
    first, second, *others = set_up(world, 5)
    restart(world, KLAVIYO_FAILPOINT="leavers_removed.before:1")
    leave(world, first, second)
    world.refresh()
    world.workers[-1].process.wait(30)
    assert world.simulator.emails(LIST) == set(others)  # they are off, and nobody has noted it

    join(world, first)
    world.start_worker(**SHORT_LEASE).wait_ready()
    run = world.wait_runs_ended(2)[0]

    check_left(run)
    assert run["state"] == "succeeded"
    assert world.simulator.emails(LIST) == {first, *others}


def test_a_run_that_was_ended_takes_nobody_off_any_more(world: World) -> None:
    first, *_ = set_up(world, 5)
    world.db.execute("insert into klaviyo.rate_budget (account, endpoint) values (%s, 'list_remove')", ACCOUNT)
    waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    leave(world, first)

    with world.db.connect() as blocker:  # the worker does not get to look whether the run is its own
        blocker.execute(b"begin")
        blocker.execute(b"select * from klaviyo.rate_budget where endpoint = 'list_remove' for update")
        world.refresh()
        wait_until(lambda: world.db.value(waits) == 1, 60, "a removal that is about to be sent")
        world.admin("export", "pause", EXPORT)
        blocker.execute(b"commit")
    (worker,) = world.workers
    wait_until(lambda: len(worker.events("run_ended")) == 2, 60, "the worker to notice")

    assert world.runs()[0]["reason"] == "export_paused"
    assert len(lookups(world)) == 1 and not removals(world)
    assert first in world.simulator.emails(LIST)


def test_marks_of_an_earlier_pass_do_not_count_whoever_planned_again(world: World) -> None:
    """A worker of the version before plans again, and says nothing of passes."""
    first, *_ = set_up(world, 5)
    restart(world, KLAVIYO_FAILPOINT="claim_list.before:1")
    leave(world, first)
    world.refresh()
    world.workers[-1].process.wait(30)
    join(world, first)
    world.db.execute("update klaviyo.run set epoch = epoch + 1, planned = false where state = 'running'")
    world.db.execute("update klaviyo.run set planned = true, left_rows = 0, kept_rows = 0 where state = 'running'")
    world.db.execute("update klaviyo.run set left_rows = 1, there_rows = 5, parked_until = now(), lease_until = now()"
                     " where state = 'running'")  # fmt: skip

    world.start_worker(**SHORT_LEASE).wait_ready()
    run = world.wait_runs_ended(2)[0]

    assert (run["state"], run["counts"]["removed"]) == ("succeeded", 0)
    assert first in world.simulator.emails(LIST) and not removals(world)


# ---- perhaps on the list ----


def die_at(world: World, point: str) -> None:
    """A run whose worker dies there, and which is then cancelled."""
    restart(world, KLAVIYO_FAILPOINT=point)
    before = len(world.runs())
    world.refresh()
    world.workers[-1].process.wait(60)
    lease_over = "select lease_until < now() from klaviyo.run where state = 'running'"
    wait_until(lambda: world.db.value(lease_over), 20, "the lease to be over")
    cancel(world)
    world.start_worker(**SHORT_LEASE).wait_ready()
    world.wait_runs_ended(before + 1)


def with_a_job_of_a_cancelled_run(world: World) -> None:
    cancel_with_a_job(world)


def with_errors_that_name_nobody(world: World) -> None:
    addresses = world.db.rows("select lower(attributes ->> 'email') from insights.customer_profile order by 1")
    reject = {"emails": [addresses[-1][0]], "stage": "import-error", "unnamed": True}
    world.simulator.control("POST", "rejects", reject)
    assert run_once(world)["state"] == "succeeded_with_rejections"


def with_a_removal_that_was_begun(world: World) -> None:
    run_once(world)
    first = min(world.simulator.emails(LIST))
    leave(world, first)
    die_at(world, "fetch_leavers.after:1")
    join(world, first)


def with_an_import_that_was_split_after_it_had_no_response(world: World) -> None:
    world.simulator.fault("import", {"reset": "after"})
    world.simulator.fault("import", {"status": 413})
    die_at(world, "split.after:1")


@pytest.mark.parametrize(
    "begin",
    [
        with_a_job_of_a_cancelled_run,
        with_errors_that_name_nobody,
        with_a_removal_that_was_begun,
        with_an_import_that_was_split_after_it_had_no_response,
    ],
)
def test_who_may_be_on_the_list_is_not_forgotten_by_a_plan_that_is_never_sent(world: World, begin: Any) -> None:
    world.add_segment(SEGMENT, people.simple(6))
    world.add_connection()
    world.add_export(EXPORT, *REMOVE, "--size-guard", "off", mapping=[])
    world.start_worker(**SHORT_LEASE).wait_ready()
    begin(world)
    plan_only(world)
    first = min(world.simulator.emails(LIST))

    leave(world, first)
    run = run_once(world)

    assert (run["counts"]["left"], run["counts"]["removed"]) == (1, 1)
    assert first not in world.simulator.emails(LIST)


def test_whom_a_late_job_may_have_put_on_the_list_since_is_not_forgotten(world: World) -> None:
    """They were taken off before it ended, are members again, and were not sent since."""
    first, *_ = set_up(world, 5)
    world.db.execute(
        "with batch as (insert into klaviyo.batch (export_id, run_id, row_count, profile_ids)"
        " select export_id, run_id, 1, '{p}' from klaviyo.run returning batch_id, export_id),"
        " late as (insert into klaviyo.late_job (export_id, batch_id, since, addresses)"
        " select export_id, 1, now() - interval '1 day', array[%s] from batch)"
        " update klaviyo.ledger l set batch_id = b.batch_id from batch b where address = %s", first, first,
    )  # fmt: skip
    plan_only(world)

    leave(world, first)
    run_once(world)

    assert first not in world.simulator.emails(LIST)


def test_whom_another_export_may_have_put_on_the_list_stays(world: World) -> None:
    first, second, *_ = set_up(world, 5)
    world.db.execute("insert into insights.segment values ('other', 'other')")
    join(world, first, second, segment="other")
    world.add_export("second", *REMOVE, segments=("other",), mapping=[])
    cancel_with_a_job(world, "other")
    plan_only(world, "other")

    leave(world, first)
    run = run_once(world)

    assert (run["counts"]["left"], run["counts"]["removed"]) == (1, 0)
    assert first in world.simulator.emails(LIST)


# ---- how many requests ----

MEMBERS = int(os.environ.get("LEAVERS_MEMBERS", "6000"))
LEAVERS = max(MEMBERS // 20, 1500)
CHUNK = 1000


def requests_of(run: dict[str, Any]) -> int:
    return int(run["counts"]["requests"])


@pytest.mark.timeout(240 + MEMBERS // 1000)
@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "killed in the middle"])
def test_many_who_left_cost_few_requests_and_a_kill_costs_little(world: World, killed: bool) -> None:
    """5 % of a large list (a quarter of a small one): 100 a look-up, 1,000 a removal."""
    addresses = set_up(world, MEMBERS, "--max-profiles", str(MEMBERS))
    gone = sorted(random.Random(2).sample(addresses, LEAVERS))
    leave(world, *gone)
    withheld = LEAVERS * 5 > MEMBERS
    if withheld:
        run = run_once(world, 600)
        assert run["reason"] == "removals_withheld" and requests_of(run) == 0
    if killed:
        restart(world, KLAVIYO_FAILPOINT=f"leavers_removed.before:{-(-LEAVERS // CHUNK) // 2 + 1}")
    runs = len(world.runs())
    began = time.monotonic()
    world.refresh(confirm_removals=withheld)
    if killed:
        world.workers[-1].process.wait(300)
        world.start_worker(**SHORT_LEASE).wait_ready()
    run = world.wait_runs_ended(runs + 1, 900)[0]
    seconds = time.monotonic() - began

    check_left(run)
    assert (run["state"], run["reason"], run["counts"]["removed"]) == ("succeeded", None, LEAVERS)
    assert world.simulator.emails(LIST) == set(addresses) - set(gone)
    lowest = (-(-LEAVERS // 100), -(-LEAVERS // CHUNK))
    made = (len(lookups(world)), len(removals(world)))
    # Of a kill: the chunk that was off the list and not yet noted is looked up and taken off once more.
    again = (CHUNK // 100, 1) if killed else (0, 0)
    assert lowest[0] <= made[0] <= lowest[0] + again[0] and lowest[1] <= made[1] <= lowest[1] + again[1]
    if not killed:
        assert requests_of(run) <= sum(lowest) + 2
    assert world.simulator.control("GET", "stats")["throttled"] == 0
    print(f"{LEAVERS} of {MEMBERS} left: {made[0]} look-ups, {made[1]} removals, {seconds:.0f} s")
