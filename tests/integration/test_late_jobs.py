"""What an earlier run left behind at Klaviyo never has the last word."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from support import klaviyo, people
from support.process import wait_until
from support.world import ACCOUNT, EXPORT, LIST, SEGMENT, World

ROWS = 20
NEW_LIST = "NewList"
LATE_SECONDS = 6  # that the first job takes
QUICK_JOBS = {"queued_ms": 50, "processing_ms": 100}


def points(world: World) -> set[Any]:
    found = world.simulator.control("GET", f"lists/{LIST}/members?attributes=1")["members"]
    return {member["attributes"]["properties"]["points"] for member in found}


def set_points(world: World, value: int) -> None:
    world.db.execute(
        "update insights.customer_profile"
        " set attributes = attributes || jsonb_build_object('points', %s::integer)",
        value,
    )


def post_old_values(world: World, **settings: str) -> None:
    """A run whose job is worked off only after LATE_SECONDS."""
    world.set_up_export(people.simple(ROWS))
    set_points(world, 1)
    world.simulator.settings(queued_ms=100, processing_ms=LATE_SECONDS * 1000)
    world.start_worker(**settings).wait_ready()
    world.refresh()
    wait_until(
        lambda: world.db.value("select count(*) from klaviyo.batch where state = 'sent'") == 1,
        20,
        "a job that is remembered",
    )


def change_values(world: World) -> None:
    world.simulator.settings(**QUICK_JOBS)
    set_points(world, 2)


def cancel(world: World) -> None:
    world.admin("runs", "cancel", str(world.runs()[0]["id"]))


def pause(world: World) -> None:
    world.admin("export", "pause", EXPORT)
    world.admin("export", "resume", EXPORT)


def update(world: World) -> None:
    world.admin("export", "update", EXPORT, "--max-profiles", "5000")


@pytest.mark.parametrize("status", [400, 404, 410])
def test_what_klaviyo_answers_for_a_job_that_it_has_forgotten_fails_no_run(world: World, status: int) -> None:
    """It keeps jobs for seven days; the answer after that is not documented."""
    post_old_values(world)
    change_values(world)
    cancel(world)
    world.wait_runs_ended(1)
    world.simulator.fault("job", {"status": status}, times=1)
    world.refresh()
    runs = world.wait_runs_ended(2)

    assert (runs[-1]["state"], runs[0]["state"]) == ("cancelled", "succeeded")
    assert world.db.value("select count(*) from klaviyo.late_job where not given_up") == 0


def test_a_job_that_klaviyo_cannot_remember_any_more_has_ended(world: World) -> None:
    post_old_values(world)
    change_values(world)
    cancel(world)
    wait_until(lambda: world.db.value("select count(*) from klaviyo.late_job") == 1, 20, "the job to be kept")
    world.db.execute("update klaviyo.late_job set since = since - interval '8 days', given_up = true")
    world.refresh()
    world.wait_runs_ended(2)

    assert world.db.value("select count(*) from klaviyo.late_job") == 0
    assert points(world) == {2}


@pytest.mark.parametrize("end", [cancel, pause, update])
def test_values_of_a_run_that_was_ended_do_not_stay(
    world: World, end: Callable[[World], None]
) -> None:
    post_old_values(world)
    change_values(world)

    end(world)
    world.refresh()
    runs = world.wait_runs_ended(2)

    assert (runs[-1]["state"], runs[0]["state"]) == ("cancelled", "succeeded")
    wait_until(jobs_ended(world), 20, "all jobs to end")
    assert points(world) == {2}
    assert world.db.value("select count(*) from klaviyo.late_job") == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_around_the_end_of_a_late_job_loses_nothing(world: World, moment: str) -> None:
    post_old_values(world, LEASE_SECONDS="2", KLAVIYO_FAILPOINT=f"settle_late_job.{moment}")
    change_values(world)
    cancel(world)
    world.refresh()
    assert world.workers[0].process.wait(30) == -signal.SIGKILL

    world.start_worker(LEASE_SECONDS="2")
    runs = world.wait_runs_ended(2)

    assert (runs[-1]["state"], runs[0]["state"]) == ("cancelled", "succeeded")
    world.wait_all_committed()
    wait_until(jobs_ended(world), 20, "all jobs to end")
    assert points(world) == {2}
    assert world.db.value("select count(*) from klaviyo.late_job") == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_around_giving_up_a_late_job_loses_nothing(world: World, moment: str) -> None:
    short = {"LEASE_SECONDS": "2", "RETRY_BUDGET_SECONDS": "4"}
    post_old_values(world, **short, KLAVIYO_FAILPOINT=f"leave_late_job.{moment}")
    cancel(world)
    change_values(world)
    world.refresh()
    assert world.workers[0].process.wait(30) == -signal.SIGKILL

    world.start_worker(**short)
    runs = world.wait_runs_ended(2)

    assert (runs[-1]["state"], runs[0]["state"]) == ("cancelled", "succeeded")
    wait_until(jobs_ended(world), 20, "all jobs to end")
    world.refresh()  # looks once more, and sends again what was overtaken
    world.wait_runs_ended(3)
    assert points(world) == {2}
    assert world.db.value("select count(*) from klaviyo.late_job") == 0


def test_values_of_a_run_without_budget_do_not_stay(world: World) -> None:
    post_old_values(world, RETRY_BUDGET_SECONDS="4")

    wait_until(lambda: world.runs("--state", "failed"), 30, "the run to run out of budget")
    change_values(world)
    world.refresh()
    world.wait_runs_ended(2)
    wait_until(jobs_ended(world), 20, "all jobs to end")
    # It was given up, and a later run looks once more.
    world.refresh()
    world.wait_runs_ended(3)

    assert points(world) == {2}


def test_an_import_whose_response_was_lost_does_not_stay(world: World) -> None:
    world.set_up_export(people.simple(ROWS))
    set_points(world, 1)
    world.simulator.settings(queued_ms=100, processing_ms=LATE_SECONDS * 1000)
    world.simulator.fault("import", {"reset": "after"})
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker(RETRY_BUDGET_SECONDS="20").wait_ready()
    world.refresh()
    world.wait_requests("import", 2)
    cancel(world)
    wait_until(lambda: world.runs("--state", "cancelled"), 20, "the run to be cancelled")
    world.simulator.clear_faults()
    world.simulator.settings(**QUICK_JOBS)
    set_points(world, 2)

    world.refresh()
    world.wait_runs_ended(2)
    wait_until(jobs_ended(world), 30, "all jobs to end")
    wait_until(
        lambda: world.db.value(
            "select count(*) from klaviyo.late_job where since > now() - interval '10 s'"
        )
        == 0,
        30,
        "the lost import to count as ended",
    )
    world.refresh()
    last = world.wait_runs_ended(3)[0]

    assert points(world) == {2}
    assert last["counts"]["selected"] == ROWS
    world.refresh()
    assert world.wait_runs_ended(4)[0]["counts"]["unchanged"] == ROWS


def test_an_import_that_was_refused_before_the_run_was_parked_is_no_possible_job(world: World) -> None:
    world.set_up_export(people.simple(ROWS))
    world.simulator.settings(**QUICK_JOBS)
    world.simulator.fault("import", {"throttle": 8}, times=1)
    world.start_worker().wait_ready()
    world.refresh()

    run = world.wait_runs_ended(1)[0]
    assert run["state"] == "succeeded"
    assert world.db.value("select epoch from klaviyo.run") > 1, "it was parked, and taken again"
    assert world.db.value("select count(*) from klaviyo.late_job") == 0
    assert [entry["status"] for entry in world.simulator.diary("import")] == [429, 202]


def test_an_import_that_was_refused_in_an_undocumented_way_is_no_possible_job(world: World) -> None:
    world.set_up_export(people.simple(ROWS))
    world.simulator.fault("import", {"status": 422}, times=1)
    world.start_worker().wait_ready()
    world.refresh()

    assert world.wait_runs_ended(1)[0]["reason"] == "answer_unexpected"
    assert world.db.value("select count(*) from klaviyo.late_job") == 0


def test_a_lost_import_of_a_batch_that_was_split_since_does_not_stay(world: World) -> None:
    world.set_up_export(people.simple(ROWS))
    set_points(world, 1)
    world.simulator.settings(queued_ms=100, processing_ms=LATE_SECONDS * 1000)
    world.simulator.fault("import", {"reset": "after"})
    world.simulator.fault("import", {"status": 413})
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker(RETRY_BUDGET_SECONDS="20").wait_ready()
    world.refresh()
    world.wait_requests("import", 2)
    world.simulator.settings(**QUICK_JOBS)
    world.simulator.clear_faults()
    assert world.wait_runs_ended(1)[0]["state"] == "succeeded"
    assert world.db.value("select count(*) from klaviyo.late_job where job_id is null") == 1

    set_points(world, 2)
    world.refresh()
    world.wait_runs_ended(2)
    wait_until(jobs_ended(world), 30, "all jobs to end")
    wait_until(
        lambda: world.db.value("select count(*) from klaviyo.late_job where since > now() - interval '10 s'") == 0,
        30,
        "the lost import to count as ended",
    )
    world.refresh()
    world.wait_runs_ended(3)

    assert points(world) == {2}


def test_a_late_job_puts_nobody_back_on_the_list_who_has_left(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(ROWS))
    world.add_connection()
    world.add_export(EXPORT, "--on-leave", "remove", "--size-guard", "off")
    world.simulator.settings(queued_ms=100, processing_ms=4 * LATE_SECONDS * 1000)
    world.start_worker(RETRY_BUDGET_SECONDS="4").wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    world.simulator.settings(**QUICK_JOBS)
    world.wait_runs_ended(1)  # gives the job up, and sends its rows again
    gone = world.db.value("select min(profile_id) from insights.segment_member")
    world.db.execute("delete from insights.segment_member where profile_id = %s", gone)
    world.refresh()
    assert world.wait_runs_ended(2)[0]["counts"]["removed"] == 1
    wait_until(jobs_ended(world), 60, "all jobs to end")

    world.refresh()
    world.wait_runs_ended(3)

    assert len(world.simulator.emails(LIST)) == ROWS - 1
    assert world.db.value("select count(*) from klaviyo.late_job") == 0


@pytest.mark.parametrize("change", [[], ["--connection", "second"]], ids=["list", "list and connection"])
def test_a_late_job_of_the_list_before_takes_nobody_off_the_new_one(world: World, change: list[str]) -> None:
    world.add_segment(SEGMENT, people.simple(ROWS))
    world.add_connection()
    world.add_connection("second")
    world.add_export(EXPORT, "--on-leave", "remove", "--size-guard", "off")
    world.simulator.add_list(NEW_LIST, ACCOUNT, "Another")
    world.simulator.settings(queued_ms=100, processing_ms=LATE_SECONDS * 1000)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.db.value("select count(*) from klaviyo.batch where state = 'sent'") == 1, 20, "a job")
    gone = world.db.value("select min(address) from klaviyo.ledger")

    world.admin("export", "update", EXPORT, "--list", NEW_LIST, *change)
    world.simulator.settings(**QUICK_JOBS)
    world.db.execute("delete from insights.segment_member m using insights.customer_profile p"
                     " where p.profile_id = m.profile_id and lower(p.attributes ->> 'email') = %s", gone)  # fmt: skip
    klaviyo.put_on(world.simulator, NEW_LIST, klaviyo.create(world.simulator, gone))  # by hand
    run = world.wait_runs_ended(2)[0]

    assert (run["state"], run["counts"]["left"]) == ("succeeded", 0)
    assert gone in world.simulator.emails(NEW_LIST)
    assert world.db.rows("select 1 from klaviyo.ledger where address = %s", gone) == []
    assert world.db.value("select count(*) from klaviyo.late_job") == 0
    assert len(world.simulator.emails(LIST)) == ROWS  # it was waited for


def jobs_ended(world: World) -> Callable[[], bool]:
    def ended() -> bool:
        jobs = world.simulator.control("GET", "jobs")["jobs"]
        return bool(jobs) and all(job["status"] in ("complete", "cancelled") for job in jobs)

    return ended
