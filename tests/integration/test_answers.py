"""What each answer of Klaviyo means for a run, its rows and its connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from support import events, people
from support.process import wait_until
from support.roles import make_login
from support.worker import Worker
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, World, check_sums

BATCH = 10_000
OTHER_ACCOUNT, OTHER_LIST = "AcctB2", "ListB2"


def run_once(world: World, seconds: float = 60, **settings: str) -> dict[str, Any]:
    """One worker, one event, one run that ends."""
    if not world.workers:
        world.start_worker(**settings).wait_ready()
    before = len(world.runs())
    world.refresh()
    run = world.wait_runs_ended(before + 1, seconds)[0]
    world.wait_all_committed()
    return run


def rows_sent(world: World) -> int:
    return sum(entry["profiles"] for entry in world.simulator.diary("import"))


def addresses(population: people.Population, count: int) -> list[str]:
    """Some of the addresses, spread over the whole segment."""
    every = sorted(population.wanted)
    return every[:: max(1, len(every) // count)][:count]


def reject(world: World, emails: list[str], **how: Any) -> None:
    world.simulator.control("POST", "rejects", {"emails": emails, **how})


# -- limits and outages ------------------------------------------------------------


def test_retry_after_is_obeyed_to_the_second(world: World) -> None:
    population = people.simple(6 * BATCH)
    world.set_up_export(population)
    begin_early(world, EXPORT)
    world.simulator.fault("import", {"throttle": 7}, skip=2, times=1)
    worker = world.start_worker().wait_ready()

    # The fourth batch is planned once the worker knows of the refusal: none is in flight then.
    with hold_planning(world, sorted(population.wanted)[3 * BATCH]):
        world.refresh()
        wait_until(lambda: 429 in answers(worker), 60, "the third import to be refused")
    run = world.wait_runs_ended(1)[0]

    imports = world.simulator.diary("import")
    (refused,) = [e for e in imports if e["status"] == 429]
    assert len(imports) == 7
    assert [e for e in imports if refused["done_at"] < e["at"] < refused["done_at"] + 7] == []
    assert run["state"] == "succeeded"
    assert run["counts"]["throttled"] == 1
    assert world.simulator.emails(LIST) == population.wanted.keys()


def begin_early(world: World, *exports: str) -> None:
    """Imports begin while the rest is planned: no share of invalid members stops the run."""
    for export in exports:
        world.admin("export", "update", export, "--max-invalid", "100")


@contextmanager
def hold_planning(world: World, address: str) -> Iterator[None]:
    """Whoever plans this address waits: a row of the same key is about to be written."""
    rows = """insert into klaviyo.ledger (export_id, address, fingerprint, batch_id)
    select export_id, %s, 0, 0 from klaviyo.export"""
    with psycopg.connect(world.db.url) as connection:
        connection.execute(rows, (address,))
        yield
        connection.rollback()


def answers(worker: Worker) -> list[int]:
    return [event["status"] for event in worker.events("answer") if event["endpoint"] == "import"]


def test_a_waiting_run_says_until_when(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.fault("import", {"throttle": 5}, times=1)
    world.start_worker().wait_ready()
    world.refresh()

    def waiting() -> Any:
        found = world.runs()
        return found and found[0]["state"] == "waiting" and found[0]["waiting_until"]

    wait_until(waiting, 10, "the run to wait")
    assert world.wait_runs_ended()[0]["state"] == "succeeded"


TRANSIENT: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503": {"status": 503},
    "524": {"status": 524},
    "408": {"status": 408},
    "425": {"status": 425},
    "html-403": {"html403": True},
    "reset-before": {"reset": "before"},
    "reset-after": {"reset": "after"},
    "truncated": {"truncate": 40},
    "malformed": {"malformed": True},
}


@pytest.mark.parametrize("endpoint", ["import", "job"])
@pytest.mark.parametrize("name", TRANSIENT)
def test_a_passing_trouble_is_tried_again(world: World, name: str, endpoint: str) -> None:
    population = people.simple(100)
    world.set_up_export(population)
    world.simulator.fault(endpoint, TRANSIENT[name], times=2)

    run = run_once(world)

    assert run["state"] == "succeeded", run
    assert run["counts"]["retries"] >= 1 or endpoint == "job"
    check_sums(run)
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_an_answer_that_never_comes_is_given_up_and_asked_for_again(world: World) -> None:
    population = people.simple(100)
    world.set_up_export(population)
    world.simulator.fault("import", {"delay_ms": 6000}, times=1)

    run = run_once(world, REQUEST_TIMEOUT_SECONDS="2")

    assert run["state"] == "succeeded", run
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_trouble_that_does_not_pass_uses_up_the_budget(world: World) -> None:
    world.set_up_export(people.simple(100))
    world.simulator.fault("import", {"status": 500}, times=-1)

    run = run_once(world, RETRY_BUDGET_SECONDS="10")

    assert (run["state"], run["reason"]) == ("failed", "retry_budget_used_up")
    assert "500" in run["detail"]
    assert len(world.dead_letters()) == 1


def until_it_fails(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run whose budget is used up: as it was while it waited, and in the end."""
    before = len(world.runs())

    def waiting() -> Any:
        found = world.runs()
        return len(found) > before and found[0]["state"] == "waiting" and found[0]

    world.refresh()
    seen = wait_until(waiting, 30, "the run to wait")
    return seen, world.wait_runs_ended(before + 1, 60)[0]


def check_named(waiting: dict[str, Any], failed: dict[str, Any], trouble: str) -> None:
    assert waiting["reason"] == "klaviyo_unavailable" and trouble in waiting["detail"]
    assert (failed["state"], failed["reason"]) == ("failed", "retry_budget_used_up")
    assert trouble in failed["detail"]


def test_polls_that_stay_malformed_are_waited_for_and_named(world: World) -> None:
    world.set_up_export(people.simple(100))
    world.simulator.fault("job", {"malformed": True}, times=-1)
    world.start_worker(RETRY_BUDGET_SECONDS="10").wait_ready()

    check_named(*until_it_fails(world), "answer to job is malformed: it is not JSON")


def test_look_ups_that_stay_malformed_are_waited_for_and_named(world: World) -> None:
    population = people.simple(100)
    world.add_segment(SEGMENT, population)
    world.add_connection()
    world.add_export(EXPORT, "--on-leave", "remove")
    run_once(world, RETRY_BUDGET_SECONDS="10")
    world.db.execute("delete from insights.segment_member where profile_id = %s", population.members[0][0])
    world.simulator.fault("profiles", {"malformed": True}, times=-1)

    check_named(*until_it_fails(world), "answer to profiles is malformed: it is not JSON")
    assert world.simulator.emails(LIST) == population.wanted.keys()


# -- keys and lists ------------------------------------------------------------


def test_a_revoked_key_fails_the_run_and_marks_the_connection(world: World) -> None:
    population = people.simple(100)
    world.set_up_export(population)
    world.simulator.remove_key(KEY)

    run = run_once(world)

    assert (run["state"], run["reason"]) == ("failed", "key_refused")
    assert run["counts"]["rejected"] == 0
    asked = [entry["endpoint"] for entry in world.simulator.diary()]
    assert max(asked.count(endpoint) for endpoint in asked) == 2, "tried once more, and no more"
    after = run_once(world)
    assert after["reason"] == "connection_needs_attention"
    assert "Klaviyo refused its key" in after["detail"] and "verify or rotate-key" in after["detail"]
    assert len(world.simulator.diary()) == len(asked)

    rotate_key(world)
    assert run_once(world)["state"] == "succeeded"
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_key_revoked_in_the_middle_of_a_run_stops_that_account_alone(world: World) -> None:
    population = people.simple(6 * BATCH)
    world.set_up_export(population)
    add_other_account(world)
    begin_early(world, EXPORT, "other")
    world.start_worker().wait_ready()

    # Both runs stand in their middle: two batches are confirmed, four are left.
    with hold_planning(world, sorted(population.wanted)[2 * BATCH]):
        world.refresh()
        wait_until(
            lambda: [run["counts"]["accepted"] for run in world.runs()] == [2 * BATCH] * 2,
            60,
            "two batches of each run to be confirmed",
        )
        world.simulator.remove_key(KEY)

    ended = by_export(world.wait_runs_ended(2))
    assert (ended[EXPORT]["state"], ended[EXPORT]["reason"]) == ("failed", "key_refused")
    assert (ended[EXPORT]["counts"]["accepted"], ended[EXPORT]["counts"]["rejected"]) == (2 * BATCH, 0)
    assert connection_state(world) == "needs attention"
    assert ended["other"]["state"] == "succeeded"
    assert world.simulator.emails(OTHER_LIST) == population.wanted.keys()
    world.wait_all_committed()
    (letter,) = world.dead_letters()
    assert letter.header("x-klaviyo-worker-reason") == "key_refused"

    # Until the key is rotated nothing is asked of that account, and the other one goes on.
    asked = len(imports_of(world, ACCOUNT))
    world.refresh()
    ended = by_export(world.wait_runs_ended(4)[:2])
    assert ended[EXPORT]["reason"] == "connection_needs_attention"
    assert ended["other"]["state"] == "succeeded"
    assert len(imports_of(world, ACCOUNT)) == asked

    rotate_key(world)
    assert connection_state(world) == "ready"
    world.refresh()
    run = by_export(world.wait_runs_ended(6)[:2])[EXPORT]
    assert run["state"] == "succeeded"
    check_sums(run)
    assert (run["counts"]["unchanged"], run["counts"]["selected"]) == (2 * BATCH, 4 * BATCH)
    assert sum(e["profiles"] for e in imports_of(world, ACCOUNT)[asked:]) == 4 * BATCH
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_key_revoked_while_imports_are_in_the_air_confirms_none_of_them(world: World) -> None:
    """They are accepted, but nobody may ask any more what became of them."""
    population = people.simple(6 * BATCH)
    world.set_up_export(population)
    world.simulator.fault("import", {"delay_ms": 6000}, skip=2, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(
        lambda: sum(run["counts"]["accepted"] for run in world.runs()) >= 2 * BATCH,
        60,
        "two batches to be confirmed",
    )

    world.simulator.remove_key(KEY)

    run = world.wait_runs_ended(1)[0]
    assert (run["state"], run["reason"]) == ("failed", "key_refused")
    assert run["counts"]["rejected"] == 0
    confirmed = run["counts"]["accepted"]
    world.simulator.clear_faults()
    rotate_key(world)
    run = run_once(world)
    check_sums(run)
    assert (run["counts"]["unchanged"], run["counts"]["selected"]) == (confirmed, 6 * BATCH - confirmed)
    assert world.simulator.emails(LIST) == population.wanted.keys()


def rotate_key(world: World) -> None:
    new_key = "pk_another0key0of0the0same0account"
    world.simulator.add_key(new_key, ACCOUNT)
    world.admin("connection", "rotate-key", CONNECTION, "--api-key-file", "-", stdin=new_key)


def add_other_account(world: World) -> None:
    """An account with an export of the same segment."""
    key = "pk_planted0secret0key0of0account0B2"
    world.simulator.add_account(OTHER_ACCOUNT)
    world.simulator.add_key(key, OTHER_ACCOUNT)
    world.simulator.add_list(OTHER_LIST, OTHER_ACCOUNT, "Other")
    world.add_connection("other", key)
    world.add_export("other", connection="other", list_id=OTHER_LIST)


def by_export(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {run["export"]: run for run in runs}


def imports_of(world: World, account: str) -> list[dict[str, Any]]:
    return [e for e in world.simulator.diary("import") if e["account"] == account]


def connection_state(world: World) -> str:
    return str(world.admin("connection", "show", CONNECTION, "--json").json["state"])


def test_a_deleted_list_fails_the_run_and_rejects_nobody(world: World) -> None:
    world.set_up_export(people.simple(25_000))
    world.simulator.remove_list(LIST)

    run = run_once(world)

    assert (run["state"], run["reason"]) == ("failed", "list_gone")
    assert LIST in run["detail"]
    assert run["counts"]["rejected"] == 0
    assert world.rejections(run["id"]) == []


# -- rows that Klaviyo refuses ---------------------------------------------------


def test_500_bad_rows_of_three_kinds_cost_at_most_12_requests(world: World) -> None:
    population = people.simple(BATCH)
    bad = addresses(population, 500)
    for kind in range(3):
        reject(world, bad[kind::3], stage="sync", code=f"kind_{kind}", detail=f"bad kind {kind}")
    world.simulator.settings(sync_errors_max=100)
    world.set_up_export(population)

    run = run_once(world)

    assert run["state"] == "succeeded_with_rejections", run
    assert run["counts"]["rejected"] == 500
    check_sums(run)
    assert world.simulator.emails(LIST) == population.wanted.keys() - set(bad)
    found = world.rejections(run["id"])
    assert {entry["email"] for entry in found} == set(bad)
    assert {entry["code"] for entry in found} == {"kind_0", "kind_1", "kind_2"}
    assert {entry["stage"] for entry in found} == {"request"}
    assert {entry["detail"] for entry in found} == {f"bad kind {kind}" for kind in range(3)}
    assert len(world.simulator.diary("import")) <= 12
    assert world.db.value("select count(*) from klaviyo.delivery where state = 'rejected'") == 500


def test_one_culprit_among_10_000_that_nobody_names_is_found(world: World) -> None:
    population = people.simple(BATCH)
    culprit = addresses(population, 3)[1]
    reject(world, [culprit], stage="sync", pointer="none")
    world.set_up_export(population)

    run = run_once(world)

    assert run["state"] == "succeeded_with_rejections", run
    assert run["counts"]["accepted"] == BATCH - 1
    assert [entry["email"] for entry in world.rejections(run["id"])] == [culprit]
    assert world.simulator.emails(LIST) == population.wanted.keys() - {culprit}
    assert len(world.simulator.diary("import")) <= 36


def test_a_request_found_too_large_is_halved(world: World) -> None:
    population = people.simple(1000)
    world.set_up_export(population)
    world.simulator.fault("import", {"status": 413}, times=1)

    run = run_once(world)

    assert run["state"] == "succeeded", run
    sizes = [entry["profiles"] for entry in world.simulator.diary("import")]
    assert sizes == [1000, 500, 500]
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_400_that_names_nobody_is_halved_once_the_list_is_known_to_be_there(
    world: World,
) -> None:
    population = people.simple(1000)
    world.set_up_export(population)
    world.simulator.fault("import", {"status": 400}, times=2)

    run = run_once(world)

    assert run["state"] == "succeeded", run
    assert len(world.simulator.diary("list")) == 1
    sizes = [entry["profiles"] for entry in world.simulator.diary("import")]
    # Whole once more if the list was not asked for yet, then in halves, one of them again.
    assert sizes in ([1000, 1000, 500, 500], [1000, 500, 500, 250, 250])
    assert world.simulator.emails(LIST) == population.wanted.keys()


@pytest.mark.parametrize("payload", ["flat", "wrapped"])
@pytest.mark.parametrize("index", [True, False], ids=["with-index", "without-index"])
def test_250_import_errors_are_250_rejections_and_go_again(
    world: World, payload: str, index: bool
) -> None:
    population = people.simple(2000)
    bad = addresses(population, 250)
    world.simulator.settings(payload=payload, pointer_index=index)
    reject(world, bad, stage="import-error", code="invalid", detail="not today")
    world.set_up_export(population)

    run = run_once(world)

    assert run["state"] == "succeeded_with_rejections", run
    check_sums(run)
    found = world.rejections(run["id"])
    assert {e["email"]: e["profile_id"] for e in found} == {address: population.wanted[address] for address in bad}
    assert len(found) == 250
    assert {(e["stage"], e["code"], e["detail"]) for e in found} == {
        ("import", "invalid", "not today")
    }

    world.simulator.control("DELETE", "rejects")
    sent = rows_sent(world)
    again = run_once(world)
    assert again["state"] == "succeeded"
    assert again["counts"]["selected"] == 250
    assert rows_sent(world) - sent == 250
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_import_errors_without_address_are_matched_by_index(world: World) -> None:
    population = people.simple(500)
    bad = addresses(population, 7)
    world.simulator.settings(payload="null", pointer_index=True)
    reject(world, bad, stage="import-error")
    world.set_up_export(population)

    run = run_once(world)

    assert {entry["email"] for entry in world.rejections(run["id"])} == set(bad)


@pytest.mark.parametrize("included", [True, False], ids=["included", "not-included"])
def test_completed_count_may_hold_failures_or_not(world: World, included: bool) -> None:
    population = people.simple(500)
    bad = addresses(population, 5)
    world.simulator.settings(completed_includes_failed=included)
    reject(world, bad, stage="import-error")
    world.set_up_export(population)

    run = run_once(world)

    assert (run["counts"]["accepted"], run["counts"]["rejected"]) == (495, 5)


@pytest.mark.parametrize("fate", ["fail_without_errors", "errors_nameless"])
def test_failures_that_name_nobody_are_counted_and_their_batch_goes_again(
    world: World, fate: str
) -> None:
    population = people.simple(200)
    world.set_up_export(population)
    world.simulator.fault("import", {"job": fate, "n": 3}, times=1)

    run = run_once(world)

    assert run["state"] == "succeeded_with_rejections", run
    assert run["counts"]["rejected"] == 3
    check_sums(run)
    assert [entry["email"] for entry in world.rejections(run["id"])] == [None] * 3
    again = run_once(world)
    assert again["state"] == "succeeded"
    assert world.simulator.emails(LIST) == population.wanted.keys()


# -- jobs ------------------------------------------------------------


@pytest.mark.parametrize("fate", ["cancelled", "vanish"])
def test_a_job_that_comes_to_nothing_is_sent_again(world: World, fate: str) -> None:
    population = people.simple(200)
    world.set_up_export(population)
    world.simulator.fault("import", {"job": fate}, times=1)

    run = run_once(world)

    assert run["state"] == "succeeded", run
    assert len(world.simulator.diary("import")) == 2
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_job_that_is_cancelled_every_time_ends_bounded(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.simulator.fault("import", {"job": "cancelled"}, times=-1)

    run = run_once(world, 90, RETRY_BUDGET_SECONDS="10")

    assert (run["state"], run["reason"]) == ("failed", "retry_budget_used_up")


def test_a_job_that_never_ends_is_given_up_and_sent_again(world: World) -> None:
    population = people.simple(50)
    world.set_up_export(population)
    world.simulator.fault("import", {"job": "stuck"}, times=1)

    run = run_once(world, 90, RETRY_BUDGET_SECONDS="10")

    assert run["state"] == "succeeded", run
    assert world.simulator.emails(LIST) == population.wanted.keys()


# -- the source ------------------------------------------------------------

VIEW = "insights.segment_profile"
SITE_VIEW = f"create or replace view {VIEW} as select segment_id, profile_id, {{attributes}} as attributes"
SITE_VIEW += " from insights.segment_member join insights.customer_profile using (profile_id)"
DIVIDED = "attributes || jsonb_build_object('x', 1 / (length(profile_id) - length(profile_id)))"
# What breaks the view, and what mends it.
BROKEN = {
    "missing-column": (
        "42703",
        f"alter view {VIEW} rename column attributes to properties",
        f"alter view {VIEW} rename column properties to attributes",
    ),
    "no-permission-on-view": (
        "42501",
        f"revoke select on {VIEW} from klaviyo_worker",
        f"grant select on {VIEW} to klaviyo_worker",
    ),
    "no-permission-on-schema": (
        "42501",
        "revoke usage on schema insights from klaviyo_worker",
        "grant usage on schema insights to klaviyo_worker",
    ),
    "division-by-zero": (
        "22012",
        SITE_VIEW.format(attributes=DIVIDED),
        SITE_VIEW.format(attributes="attributes"),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_in_the_view_fails_the_run_and_the_partition_goes_on(
    world: World, case: str
) -> None:
    sqlstate, breaks, mends = BROKEN[case]
    population = people.simple(50)
    world.set_up_export(population)
    worker = make_login(world.db, "worker", "klaviyo_worker")
    world.db.execute(breaks)
    world.start_worker(DATABASE_URL=worker.url).wait_ready()

    world.publish(events.binary(SEGMENT), events.binary("nobody-uses-it"))
    run = world.wait_runs_ended(1)[0]
    world.wait_all_committed()

    assert (run["state"], run["reason"]) == ("failed", "source_unreadable")
    assert sqlstate in run["detail"]
    assert world.simulator.diary("import") == []
    (letter,) = world.dead_letters()
    assert letter.header("x-klaviyo-worker-reason") == "source_unreadable"
    world.db.execute(mends)
    assert run_once(world)["state"] == "succeeded"
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_key_refused_for_imports_rests_though_its_other_requests_are_answered(
    world: World,
) -> None:
    refusal = '{"errors":[{"status":"403","code":"permission_denied","title":"no","detail":"no"}]}'
    world.set_up_export(people.simple(3 * BATCH))
    world.simulator.settings(queued_ms=100, processing_ms=60_000)  # there is always a job to look at
    action = {"status": 403, "body": refusal, "content_type": "application/vnd.api+json"}
    world.simulator.fault("import", action, skip=1, times=-1)
    world.start_worker()
    world.refresh()
    (run,) = world.wait_runs_ended()

    assert (run["state"], run["reason"]) == ("failed", "key_refused")
    refused = [e["at"] for e in world.simulator.diary("import") if e["status"] == 403]
    assert len(refused) <= 4  # two in flight, and both once more
    assert refused[-1] - refused[0] >= 9
