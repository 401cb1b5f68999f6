"""Guards: a run whose plan looks wrong stops before its first import, until somebody confirms."""

from __future__ import annotations

from typing import Any

import pytest

from support import people
from support.process import wait_until
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, World

OTHER_ACCOUNT, OTHER_LIST = "AcctB2", "ListB2"

ADD_MEMBERS = """with added as (
    insert into insights.customer_profile
    select 'more' || n, jsonb_build_object('email', 'more' || n || '@shop.example')
    from generate_series(1, {}) n returning profile_id)
insert into insights.segment_member select '{}', profile_id from added"""
RENAME = """update insights.customer_profile set attributes =
attributes - 'email' || jsonb_build_object('mail', attributes -> 'email')"""
SPOIL = """update insights.customer_profile set attributes = attributes || '{{"email": "no address"}}'
where profile_id in (select profile_id from insights.segment_member order by 1 limit {})"""


def next_run(world: World, count: int) -> dict[str, Any]:
    """The newest of so many runs, all of them ended."""
    return world.wait_runs_ended(count)[0]


def refreshed(world: World, count: int, **more: Any) -> dict[str, Any]:
    world.refresh(**more)
    return next_run(world, count)


def imports(world: World) -> int:
    return len(world.simulator.diary("import"))


def assert_stopped(world: World, run: dict[str, Any], sent: int, *reasons: str) -> None:
    assert (run["state"], run["reason"]) == ("failed", reasons[0]), run
    assert all(f"{reason}: " in run["detail"] for reason in reasons), run["detail"]
    confirmed = " ".join(f"--confirm {reason}" for reason in reasons)
    assert f"publish --export {EXPORT} {confirmed}" in run["detail"]
    assert (run["counts"]["accepted"], run["counts"]["removed"]) == (0, 0)
    assert imports(world) == sent


def test_a_renamed_field_stops_the_run_and_its_dead_letter_names_the_field(world: World) -> None:
    world.set_up_export(people.simple(600))
    worker = world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"
    sent, on_list = imports(world), world.simulator.emails(LIST)
    asked = len(world.simulator.diary())

    world.db.execute(RENAME)
    run = refreshed(world, 2)

    assert_stopped(world, run, sent, "too_many_invalid")
    assert "600 of 600 members" in run["detail"] and "20 %" in run["detail"]
    assert "e-mail field email: email_missing 600" in run["detail"]
    (letter,) = wait_until(world.dead_letters, 30, "the dead letter")
    assert letter.header("x-klaviyo-worker-reason") == "too_many_invalid"
    assert "e-mail field email: email_missing 600" in letter.header(
        "__connect.errors.exception.message"
    )
    assert world.simulator.emails(LIST) == on_list
    for page in ("/", "/api/runs"):
        wait_until(lambda page=page: "email: email_missing 600" in worker.page(page), 10, page)
    assert 'reason="too_many_invalid"} 1' in worker.page("/metrics")
    assert run["counts"]["requests"] == 0 and len(world.simulator.diary()) == asked


def test_nobody_is_taken_off_the_list_by_a_run_that_was_stopped(world: World) -> None:
    world.set_up_export(people.simple(600))
    world.admin("export", "update", EXPORT, "--on-leave", "remove")
    world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"
    on_list = world.simulator.emails(LIST)

    world.db.execute(RENAME)
    world.refresh(confirm_removals=True)
    run = next_run(world, 2)
    assert (run["reason"], run["counts"]["removed"]) == ("too_many_invalid", 0), run
    assert world.simulator.diary("list-remove") == []
    assert world.simulator.emails(LIST) == on_list


def test_a_confirmation_passes_one_run(world: World) -> None:
    world.set_up_export(people.simple(300))
    world.db.execute(SPOIL.format(150))
    world.start_worker()
    assert_stopped(world, refreshed(world, 1), 0, "too_many_invalid")

    world.admin("publish", "--export", EXPORT, "--confirm", "too_many_invalid", "--wait")
    confirmed = next_run(world, 2)
    assert (confirmed["state"], confirmed["counts"]["accepted"]) == ("succeeded", 150)

    world.db.execute(ADD_MEMBERS.format(1, SEGMENT))
    again = refreshed(world, 3)
    assert (again["state"], again["reason"]) == ("failed", "too_many_invalid")
    assert world.simulator.count(LIST) == 150


def test_a_confirmation_goes_along_where_an_export_is_changed_under_its_run(world: World) -> None:
    world.set_up_export(people.simple(200))
    world.db.execute(SPOIL.format(150))
    world.simulator.settings(queued_ms=5000)
    world.start_worker()
    world.refresh(confirm=["too_many_invalid"])
    world.wait_requests("import", 1)

    changed = world.admin("export", "update", EXPORT, "--max-profiles", "5000")
    assert "was ended" in changed.stdout
    newest, ended = world.wait_runs_ended(2, 90)
    assert (ended["state"], ended["reason"]) == ("cancelled", "export_changed")
    assert (newest["state"], newest["counts"]["accepted"]) == ("succeeded", 50), newest
    run = refreshed(world, 3)
    assert (run["state"], run["reason"]) == ("failed", "too_many_invalid"), run


def test_events_confirm_by_name(world: World) -> None:
    world.set_up_export(people.simple(200))
    world.db.execute(SPOIL.format(150))
    world.start_worker()
    assert_stopped(world, refreshed(world, 1, confirm=["size_jumped"]), 0, "too_many_invalid")

    run = refreshed(world, 2, confirm=["size_jumped", "too_many_invalid"])
    assert (run["state"], run["counts"]["accepted"]) == ("succeeded", 50)


def test_two_guards_at_once_are_both_named_and_each_wants_its_confirmation(world: World) -> None:
    world.set_up_export(people.simple(1500))
    worker = world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"
    sent = imports(world)
    world.db.execute(SPOIL.format(1000))

    run = refreshed(world, 2)
    assert_stopped(world, run, sent, "too_many_invalid", "size_jumped")
    assert "1000 of 1500 members" in run["detail"]
    assert "500 distinct addresses, the last run that succeeded had 1500" in run["detail"]
    assert_stopped(world, refreshed(world, 3, confirm=["too_many_invalid"]), sent, "size_jumped")
    assert_stopped(world, refreshed(world, 4, confirm=["size_jumped"]), sent, "too_many_invalid")

    # Two events that wait together are answered by one run: it has both confirmations.
    worker.stop()
    world.refresh(confirm=["too_many_invalid"])
    world.refresh(confirm=["size_jumped"])
    world.start_worker(MAX_RUNS="1")
    wait_until(lambda: world.runs()[0]["state"] == "succeeded", 60, "the confirmed run")


def test_a_jump_in_size_stops_the_run_unless_the_guard_is_off(world: World) -> None:
    world.set_up_export(people.simple(600))
    world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"
    sent = imports(world)
    world.db.execute(ADD_MEMBERS.format(900, SEGMENT))

    run = refreshed(world, 2)
    assert_stopped(world, run, sent, "size_jumped")
    assert "1500 distinct addresses, the last run that succeeded had 600" in run["detail"]
    world.admin("export", "update", EXPORT, "--size-guard", "off")
    assert refreshed(world, 3)["counts"]["accepted"] == 900

    # An emptied segment: nothing is sent, but the run that says so is one to look at.
    world.admin("export", "update", EXPORT, "--size-guard", "on")
    world.db.execute("delete from insights.segment_member")
    run = refreshed(world, 4)
    assert (run["state"], run["reason"]) == ("failed", "size_jumped")
    assert "0 distinct addresses, the last run that succeeded had 1500" in run["detail"]


def test_a_jump_in_size_is_seen_also_when_the_run_before_it_is_deleted(world: World) -> None:
    world.set_up_export(people.simple(600))
    worker = world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"
    world.wait_all_committed()
    worker.stop()
    sent = imports(world)
    world.db.execute(
        "update klaviyo.run set finished_at = finished_at - interval '31 days';"
        "update klaviyo.request set ended_at = ended_at - interval '31 days'"
    )
    world.start_worker(RETENTION_DAYS="30").wait_ready()
    wait_until(lambda: world.runs() == [], 60, "the old run to go")
    world.db.execute(ADD_MEMBERS.format(900, SEGMENT))

    run = refreshed(world, 1)

    assert_stopped(world, run, sent, "size_jumped")
    assert "1500 distinct addresses, the last run that succeeded had 600" in run["detail"]


def test_the_share_of_invalid_members_is_the_exports_to_say(world: World) -> None:
    world.set_up_export(people.simple(400))
    world.db.execute(SPOIL.format(150))
    world.admin("export", "update", EXPORT, "--max-invalid", "40%")
    world.start_worker()

    run = refreshed(world, 1)
    assert (run["state"], run["counts"]["invalid"]) == ("succeeded", 150)


def test_what_the_guards_are_told_is_shown_and_in_the_audit(world: World) -> None:
    world.set_up_export(people.simple(1))
    shown = world.admin("export", "show", EXPORT, "--json").json
    told = {"max_invalid": 20, "size_guard": True, "plan": "warn", "flows_known": False}
    assert {name: shown[name] for name in told} == told

    options = ["--max-invalid", "5", "--size-guard", "off", "--plan", "stop", "--flows-known"]
    world.admin("export", "update", EXPORT, *options)
    (shown,) = world.admin("export", "list", "--json").json
    told = {"max_invalid": 5, "size_guard": False, "plan": "stop", "flows_known": True}
    assert {name: shown[name] for name in told} == told
    (change,) = world.db.rows(
        "select detail from klaviyo.audit where object = 'export' and action = 'change'"
    )
    assert change[0]["max_invalid"] == {"from": 20, "to": 5}
    assert change[0]["flows_known"] == {"from": False, "to": True}

    again = world.admin("export", "update", EXPORT, *options)
    assert "unchanged" in again.stdout


# -- what Klaviyo says ---------------------------------------------------------


def set_up_with_scopes(world: World, count: int, *options: str) -> None:
    """An export whose key may read the account's usage and flows, too."""
    world.simulator.control("PUT", f"keys/{KEY}", {"account": ACCOUNT, "scopes": "all"})
    world.add_segment(SEGMENT, people.simple(count))
    world.add_connection()
    world.add_export(EXPORT, *options)


def set_plan(world: World, used: int, maximum: int) -> None:
    body = {"usage_used": used, "usage_max": maximum}
    world.simulator.control("PUT", f"accounts/{ACCOUNT}", body)


def set_flows(world: World, *flows: dict[str, Any], list_id: str = LIST) -> None:
    world.simulator.control("PUT", f"lists/{list_id}", {"flows": list(flows)})


def add_list_with_flow(world: World) -> None:
    world.simulator.add_list(OTHER_LIST, ACCOUNT, "Other")
    set_flows(world, {"status": "live"}, list_id=OTHER_LIST)


def test_new_addresses_that_the_plan_has_no_room_for_stop_the_run_where_they_shall(
    world: World,
) -> None:
    set_up_with_scopes(world, 30, "--plan", "stop")
    set_plan(world, 80, 100)
    world.start_worker()

    run = refreshed(world, 1)
    assert_stopped(world, run, 0, "over_plan_limit")
    assert "30 new addresses, and Klaviyo's plan has room for 20" in run["detail"]
    assert "80 of 100 profiles are used" in run["detail"]
    assert world.simulator.diary("list") == []

    set_plan(world, 70, 100)
    assert refreshed(world, 2)["counts"]["accepted"] == 30
    asked = len(world.simulator.diary("usage"))
    assert asked == 2 and refreshed(world, 3)["counts"]["unchanged"] == 30
    assert len(world.simulator.diary("usage")) == asked  # nobody is new


def test_a_plan_that_may_be_exceeded_is_warned_of_from_1000_new_addresses_on(world: World) -> None:
    set_up_with_scopes(world, 1000)
    set_plan(world, 80, 100)
    worker = world.start_worker()

    assert refreshed(world, 1)["counts"]["accepted"] == 1000
    (warning,) = worker.events("plan_may_be_exceeded")
    assert (warning["new"], warning["used"], warning["maximum"]) == (1000, 80, 100)
    kept = world.db.rows("select account, used, maximum from klaviyo.account_plan")
    assert kept == [(ACCOUNT, 80, 100)], "for the status page"

    world.admin("export", "update", EXPORT, "--plan", "ignore")
    world.db.execute(ADD_MEMBERS.format(1000, SEGMENT))
    assert refreshed(world, 2)["counts"]["accepted"] == 1000
    assert len(world.simulator.diary("usage")) == 1


def test_live_flows_of_the_list_stop_a_run_with_over_1000_new_addresses(world: World) -> None:
    set_up_with_scopes(world, 1000)
    set_flows(world, {"status": "live"}, {"status": "live", "archived": True}, {"status": "draft"})
    world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"
    assert world.simulator.diary("flow-triggers") == []
    sent = imports(world)

    world.db.execute(ADD_MEMBERS.format(1001, SEGMENT))
    world.admin("export", "update", EXPORT, "--size-guard", "off")
    run = refreshed(world, 2)
    assert_stopped(world, run, sent, "list_starts_flows")
    assert "1001 new addresses, and 1 live flow begins" in run["detail"]

    world.admin("export", "update", EXPORT, "--flows-known")
    assert refreshed(world, 3)["counts"]["accepted"] == 1001
    assert len(world.simulator.diary("flow-triggers")) == 1


def test_that_flows_are_known_is_said_of_one_list(world: World) -> None:
    set_up_with_scopes(world, 1001)
    add_list_with_flow(world)
    world.start_worker()
    world.admin("export", "update", EXPORT, "--flows-known")
    assert refreshed(world, 1)["state"] == "succeeded"
    sent = imports(world)

    world.admin("export", "update", EXPORT, "--list", OTHER_LIST)

    assert world.admin("export", "show", EXPORT, "--json").json["flows_known"] is False
    assert_stopped(world, refreshed(world, 2), sent, "list_starts_flows")
    world.admin("export", "update", EXPORT, "--list", LIST, "--flows-known")
    world.admin("export", "update", EXPORT, "--max-profiles", "5000")
    assert world.admin("export", "show", EXPORT, "--json").json["flows_known"] is True
    world.admin("export", "update", EXPORT, "--list", OTHER_LIST, "--flows-known")
    assert refreshed(world, 3)["counts"]["accepted"] == 1001


def test_what_was_confirmed_of_a_list_is_not_confirmed_of_another(world: World) -> None:
    set_up_with_scopes(world, 1001)
    add_list_with_flow(world)
    world.simulator.settings(queued_ms=10_000)
    world.start_worker()
    for n in (1, 2):  # one is running, one waits for it
        world.refresh(confirm=["list_starts_flows", "too_many_invalid"])
        wait_until(lambda n=n: len(world.runs()) == n, 30, "its run")
        world.wait_requests("import", 1)
    sent = imports(world)

    world.admin("export", "update", EXPORT, "--list", OTHER_LIST)

    newest, ended = world.wait_runs_ended(2, 90)
    assert (ended["reason"], newest["events"]) == ("export_changed", 2)
    assert_stopped(world, newest, sent, "list_starts_flows")
    kept = world.db.value("select confirm from klaviyo.run where run_id = %s", newest["id"])
    assert kept == ["too_many_invalid"], "that was said of the members"


def test_what_was_confirmed_of_an_account_is_not_confirmed_of_another(world: World) -> None:
    world.set_up_export(people.simple(1))
    other_key = "pk_planted0secret0key0of0account0B2"
    world.simulator.add_account(OTHER_ACCOUNT)
    world.simulator.add_key(other_key, OTHER_ACCOUNT)
    world.simulator.add_list(OTHER_LIST, OTHER_ACCOUNT, "Other")
    world.add_connection("other", other_key)
    world.db.execute(
        """insert into klaviyo.run (export_id, export_name, connection_name, trigger, confirm)
        select export_id, name, 'main', 'schedule', '{over_plan_limit,size_jumped}'
        from klaviyo.export"""
    )

    world.admin("export", "update", EXPORT, "--connection", "other", "--list", OTHER_LIST)

    assert world.db.value("select confirm from klaviyo.run") == ["size_jumped"]


def test_verify_says_which_lists_start_flows(world: World) -> None:
    set_up_with_scopes(world, 1)
    set_flows(world, {"status": "live"}, {"status": "live"}, {"status": "manual"})
    told = world.admin("connection", "verify", CONNECTION, "--direct")
    assert "2 live flows begin" in told.stderr and EXPORT in told.stderr, told
    assert "flows:read" in world.admin("connection", "show", CONNECTION, "--json").json["scopes"]

    world.simulator.add_key(KEY, ACCOUNT)
    told = world.admin("connection", "verify", CONNECTION, "--direct")
    assert told.stderr == "" and "Without flows:read" in told.stdout, told


@pytest.mark.parametrize("endpoint", ["list", "flows"])
def test_verify_waits_for_what_a_small_share_allows(world: World, endpoint: str) -> None:
    set_up_with_scopes(world, 1)
    set_flows(world, {"status": "live"})
    world.db.execute(f"select klaviyo.block_account('{ACCOUNT}', '{endpoint}', 34000)")

    told = world.admin("connection", "verify", CONNECTION, "--direct")

    assert told.rc == 0 and "1 live flow begins" in told.stderr, told


def test_verify_names_the_lists_whose_flows_are_not_known(world: World) -> None:
    set_up_with_scopes(world, 1)
    set_flows(world, {"status": "live"})
    add_list_with_flow(world)
    world.add_export("other", list_id=OTHER_LIST)
    world.add_export("third", list_id=OTHER_LIST)
    world.simulator.fault("flow-triggers", {"status": 503}, skip=1, times=-1)

    told = world.admin("connection", "verify", CONNECTION, "--direct")

    known, *unknown = told.stderr.splitlines()
    assert "1 live flow begins" in known and EXPORT in known, told
    for name, line in zip(("other", "third"), unknown, strict=True):
        assert f"export {name}: whether flows begin" in line and OTHER_LIST in line and "not known" in line, told
    world.simulator.clear_faults()
    world.simulator.fault("flow-triggers", {"status": 503}, times=-1)
    told = world.admin("connection", "verify", CONNECTION, "--direct")
    assert told.stderr.count("not known") == 3 and "Without flows:read" not in told.stdout, told


def test_a_key_that_may_not_read_usage_or_flows_passes_and_needs_no_attention(
    world: World,
) -> None:
    world.set_up_export(people.simple(1500))
    world.admin("export", "update", EXPORT, "--plan", "stop")
    set_plan(world, 100, 100)
    set_flows(world, {"status": "live"})
    world.start_worker()

    assert refreshed(world, 1)["counts"]["accepted"] == 1500
    for endpoint in ("usage", "flow-triggers"):
        assert [entry["status"] for entry in world.simulator.diary(endpoint)] == [403]
    assert world.admin("connection", "show", CONNECTION, "--json").json["attention_reason"] is None


def test_a_usage_that_does_not_answer_holds_up_only_who_shall_stop(world: World) -> None:
    set_up_with_scopes(world, 1000)
    world.simulator.fault("usage", {"status": 503}, times=-1)
    world.start_worker()
    assert refreshed(world, 1)["state"] == "succeeded"

    world.db.execute(ADD_MEMBERS.format(1, SEGMENT))
    world.admin("export", "update", EXPORT, "--plan", "stop")
    world.refresh()
    wait_until(lambda: len(world.simulator.diary("usage")) >= 3, 60, "the question to be repeated")
    assert imports(world) == 1
    world.simulator.clear_faults()
    assert next_run(world, 2)["counts"]["accepted"] == 1


# -- crashes and versions ------------------------------------------------------


def test_a_run_that_began_to_import_is_stopped_by_no_guard_after_a_crash(world: World) -> None:
    world.set_up_export(people.simple(300))
    world.simulator.settings(queued_ms=15_000)
    worker = world.start_worker(LEASE_SECONDS="2")
    world.refresh()
    world.wait_requests("import", 1)
    wait_until(lambda: worker.events("batch_sent"), 30, "the job to be noted")
    worker.kill()
    world.db.execute(RENAME)
    world.simulator.settings(queued_ms=50)

    heir = world.start_worker(LEASE_SECONDS="2")
    (run,) = world.wait_runs_ended(1, 60)
    assert heir.events("run_taken"), "it was taken over"
    assert (run["state"], run["counts"]["accepted"]) == ("succeeded", 300), run


def test_a_run_that_crashed_before_its_first_import_is_judged_again(world: World) -> None:
    world.set_up_export(people.simple(300))
    failing = world.start_worker(LEASE_SECONDS="2", KLAVIYO_FAILPOINT="end_plan.after:1")
    world.refresh()
    wait_until(lambda: not failing.process.running, 60, "the worker to be killed")
    world.db.execute(RENAME)

    world.start_worker(LEASE_SECONDS="2")
    (run,) = world.wait_runs_ended(1, 60)
    assert (run["state"], run["reason"]) == ("failed", "too_many_invalid"), run
    assert imports(world) == 0


ONE_FOR_ANOTHER = f"""delete from insights.segment_member
where profile_id = (select min(profile_id) from insights.segment_member);
insert into insights.customer_profile values ('zoe', '{{"email": "zoe@shop.example"}}');
insert into insights.segment_member values ('{SEGMENT}', 'zoe')"""


def test_a_run_taken_again_at_its_limit_counts_the_members_as_they_are(world: World) -> None:
    world.set_up_export(people.simple(4))
    world.admin("export", "update", EXPORT, "--max-profiles", "4")
    failing = world.start_worker(LEASE_SECONDS="2", KLAVIYO_FAILPOINT="mark_sent.after:1")
    world.refresh()
    wait_until(lambda: not failing.process.running, 60, "the worker to be killed")
    world.db.execute(ONE_FOR_ANOTHER)

    world.start_worker(LEASE_SECONDS="2")
    (run,) = world.wait_runs_ended(1, 60)
    assert (run["state"], run["counts"]["accepted"]) == ("succeeded", 5), run
    assert "zoe@shop.example" in world.simulator.emails(LIST)


def test_a_worker_of_the_version_before_takes_events_in(world: World) -> None:
    world.set_up_export(people.simple(1))
    state = world.db.value(
        """select t.state from klaviyo.take_in(array[row('t', 0, 0, 0, null, null, %s, 'r', now(),
        'schedule', null, false, false, null, null, null)::klaviyo.event], 1000, false) t""",
        SEGMENT,
    )
    assert state == "open"
    assert world.db.value("select confirm from klaviyo.run") is None
