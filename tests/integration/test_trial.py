"""export try: a few rows, sent for real through the code of all runs."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from typing import Any

import pytest

from support import people
from support.paths import program
from support.process import wait_until
from support.roles import Login, make_login, make_logins
from support.worker import Result, Worker
from support.world import CONNECTION, EXPORT, LIST, SEGMENT, World, check_sums

OTHER = "weekly"


def contributor(world: World) -> Login:
    login = make_login(world.db, "mo", "klaviyo_contributor")
    world.admin("connection", "grant", CONNECTION, login.name)
    return login


def serving(world: World, **settings: str) -> Worker:
    world.simulator.settings(keep_bodies=True)
    worker = world.start_worker(**settings)
    worker.wait_ready()
    wait_until(lambda: world.db.value("select count(*) from klaviyo.task_worker") != 0, 20, "a worker that takes tasks")
    return worker


def try_as(world: World, user: Login, *words: str) -> Result:
    return world.command("export", "try", EXPORT, *words, DATABASE_URL=user.url, SECRET_KEY_FILE="")


def imported(world: World) -> list[list[dict[str, Any]]]:
    """The profiles of each import."""
    entries = world.simulator.diary("import")
    return [world.simulator.body(e["seq"])["data"]["attributes"]["profiles"]["data"] for e in entries]


def test_five_rows_are_one_import_and_the_next_run_knows_them(world: World) -> None:
    population = people.mixed(2_000, too_large=2)
    world.set_up_export(population)
    mo = contributor(world)
    serving(world)

    tried = try_as(world, mo, "--rows", "5", "--json")

    assert tried.rc == 0, tried
    rows = tried.json["rows"]
    (batch,) = imported(world)
    assert [row["payload"] for row in rows] == batch and len(batch) == 5
    assert {row["result"] for row in rows} == {"accepted"}
    assert {row["email"]: row["profile_id"] for row in rows}.items() <= population.wanted.items()
    assert [row["email"] for row in rows] == sorted(population.wanted)[:5]
    assert world.simulator.emails(LIST) == {row["email"] for row in rows}
    assert ("try", "export", EXPORT, mo.name) in world.db.rows("select action, object, name, by_user from klaviyo.audit")
    (run,) = world.runs()
    assert run["trigger"] == "trial" and run["state"] == "succeeded" and run["events"] == 0
    assert run["counts"]["read"] == run["counts"]["accepted"] == 5
    check_sums(run)

    world.admin("publish", SEGMENT, "--wait")
    (last, _) = world.runs()
    assert last["counts"]["unchanged"] == 5
    assert last["counts"]["selected"] == population.selected - 5
    assert world.simulator.emails(LIST) == set(population.wanted)


def test_the_same_rows_may_be_tried_again_and_are_then_not_put_on_the_list(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    serving(world)
    assert try_as(world, mo, "--rows", "3").rc == 0
    entries = world.simulator.diary("import")
    assert [entry["list"] for entry in entries] == [LIST]

    again = try_as(world, mo, "--rows", "3", "--json")

    assert again.rc == 0 and {row["result"] for row in again.json["rows"]} == {"accepted"}
    assert [len(batch) for batch in imported(world)] == [3, 3]
    assert world.simulator.diary("import")[1]["list"] is None
    assert world.db.value("select count(*) from klaviyo.ledger") == 3


def test_what_klaviyo_says_stands_beside_each_row(world: World) -> None:
    population = people.simple(3)
    bad = sorted(population.wanted)[1]
    world.set_up_export(population)
    mo = contributor(world)
    serving(world)
    world.simulator.control("POST", "rejects", {"emails": [bad], "detail": "not this one"})

    tried = try_as(world, mo, "--rows", "3", "--json")

    results = {row["email"]: (row["result"], row.get("detail")) for row in tried.json["rows"]}
    assert results[bad][0] == "rejected" and "not this one" in str(results[bad][1])
    assert [r for e, (r, _) in results.items() if e != bad] == ["accepted", "accepted"]
    assert tried.rc == 0


def test_one_profile_may_be_tried_by_its_id(world: World) -> None:
    maker = people.Maker()
    maker.valid(20)
    maker.malformed(1)
    maker.duplicates(3)
    world.set_up_export(maker.population)
    mo = contributor(world)
    serving(world)
    address, profile = sorted(maker.population.wanted.items())[7]
    winners = set(maker.population.wanted.values())
    members = {p: json.loads(a) for p, a in maker.population.members}
    duplicate = next(p for p, a in members.items() if p not in winners and "@shop" in str(a["email"]).lower())
    broken = next(p for p, a in members.items() if p not in winners and "@shop" not in str(a["email"]).lower())

    tried = try_as(world, mo, "--profile", profile, "--json")
    not_a_member = try_as(world, mo, "--profile", "nobody")
    twice = try_as(world, mo, "--profile", duplicate)
    malformed = try_as(world, mo, "--profile", broken)

    assert tried.rc == 0 and [row["email"] for row in tried.json["rows"]] == [address], tried
    assert not_a_member.rc == 1 and "no member" in not_a_member.stderr
    assert twice.rc == 1 and "another profile" in twice.stderr, twice
    assert malformed.rc == 1 and "email_malformed" in malformed.stderr, malformed
    assert len(world.runs()) == 1 and world.simulator.count(LIST) == 1


def test_a_trial_has_no_limit_and_no_guard(world: World) -> None:
    maker = people.Maker()
    maker.valid(20)
    maker.malformed(300)
    world.set_up_export(maker.population)
    world.admin("export", "update", EXPORT, "--max-profiles", "10")
    mo = contributor(world)
    serving(world)

    tried = try_as(world, mo, "--rows", "5")

    assert tried.rc == 0 and "5 accepted" in tried.stdout, tried


def test_a_trial_takes_nobody_off_the_list(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    serving(world)
    world.admin("publish", SEGMENT, "--wait")
    world.db.execute("update klaviyo.export set on_leave = 'remove'")
    world.db.execute("delete from insights.segment_member where profile_id in (select min(profile_id) from insights.customer_profile)")

    assert try_as(world, mo, "--rows", "5").rc == 0

    assert world.simulator.count(LIST) == 10


def test_a_trial_waits_for_no_run_and_no_run_for_a_trial(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    serving(world)
    world.simulator.settings(queued_ms=20_000)
    world.refresh()
    world.wait_requests("import", 1)

    refused = try_as(world, mo, "--rows", "5")

    assert refused.rc == 75 and "going on" in refused.stderr, refused


def test_without_a_member_that_may_be_sent_nothing_is_done(world: World) -> None:
    maker = people.Maker()
    maker.malformed(5)
    world.set_up_export(maker.population)
    mo = contributor(world)
    serving(world)

    refused = try_as(world, mo, "--rows", "5")

    assert refused.rc == 1 and "no member" in refused.stderr and world.runs() == []


@pytest.mark.parametrize("rows", ["0", "101", "five", "-1"])
def test_one_to_a_hundred_rows(world: World, rows: str) -> None:
    world.set_up_export(people.simple(1))

    refused = world.command("export", "try", EXPORT, "--rows", rows)

    assert refused.rc == 2 and "--rows" in refused.stderr and refused.stderr.count("\n") == 1


def test_a_hundred_large_rows_are_as_many_as_one_request_holds(world: World) -> None:
    population = people.Population()
    for n in range(100):
        address = f"user{n:03d}@shop.example"
        attributes = {"email": address, "biography": "x" * 90_000}
        population.members.append((f"p{n:03d}", json.dumps(attributes)))
        population.wanted[address] = f"p{n:03d}"
    world.set_up_export(population)
    mo = contributor(world)
    serving(world)

    tried = try_as(world, mo, "--rows", "100", "--json")

    assert tried.rc == 0 and 50 <= len(tried.json["rows"]) <= 56
    assert [len(batch) for batch in imported(world)] == [len(tried.json["rows"])]


@pytest.mark.parametrize(
    "point", ["trial_begin.after", "plan_batch.after", "trial_plan.after", "answer.after", "task_end.before"]
)
def test_a_worker_killed_with_a_trial_in_hand_is_followed_by_another(world: World, point: str) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    first = serving(world, KLAVIYO_FAILPOINT=f"{point}:1", LEASE_SECONDS="3")
    env = world.env(DATABASE_URL=mo.url, SECRET_KEY_FILE="")
    asked = subprocess.Popen(
        [str(program("klaviyo-worker")), "export", "try", EXPORT, "--rows", "5", "--json"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: not first.process.running, 30, "the worker to be killed")

    world.start_worker(LEASE_SECONDS="3")

    out, problems = asked.communicate(timeout=60)
    assert asked.returncode == 0, problems
    shown = json.loads(out)
    assert len(shown["rows"]) == 5 and {row["result"] for row in shown["rows"]} == {"accepted"}
    assert all(row["payload"]["attributes"]["email"] == row["email"] for row in shown["rows"])
    assert world.simulator.emails(LIST) == {row["email"] for row in shown["rows"]}
    twice = point == "answer.after"
    assert len(imported(world)) <= 1 + twice, "what was in flight is sent again, and nothing else"


def test_whoever_holds_key_and_rights_tries_on_the_spot(world: World) -> None:
    world.set_up_export(people.simple(10))

    tried = world.command("export", "try", EXPORT, "--rows", "2", "--json")

    assert tried.rc == 0 and len(tried.json["rows"]) == 2, tried
    assert world.runs()[0]["state"] == "succeeded" and world.simulator.count(LIST) == 2


def test_a_paused_export_may_be_tried(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.admin("export", "pause", EXPORT)

    assert world.command("export", "try", EXPORT, "--rows", "2").rc == 0
    assert world.simulator.count(LIST) == 2


def test_a_trial_of_a_paused_export_goes_on_after_its_worker(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.admin("export", "pause", EXPORT)
    killed = world.command(
        "export", "try", EXPORT, "--rows", "2", "--direct", KLAVIYO_FAILPOINT="trial_plan.after:1", LEASE_SECONDS="2"
    )
    assert killed.rc < 0, killed

    world.start_worker()

    (run,) = world.wait_runs_ended()
    assert run["state"] == "succeeded" and world.simulator.count(LIST) == 2, run


# ---- a stop in the middle of its run ----

STOP_SECONDS = 20  # 5 for the answer that is on its way; on a busy machine the rest goes to starting programs


def send_and_wait(world: World, *words: str, **settings: str) -> subprocess.Popen[bytes]:
    """A trial whose import Klaviyo is in no hurry to answer."""
    world.simulator.fault("import", {"delay_ms": 60_000}, times=1)
    asked = subprocess.Popen(
        [str(program("klaviyo-worker")), "export", "try", EXPORT, "--rows", "2", *words],
        env=world.env(**settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    posted = "select count(*) from klaviyo.batch where posted_at is not null"
    wait_until(lambda: world.db.value(posted) == 1, 30, "the import to be on its way")
    return asked


def check_run_goes_on(world: World) -> None:
    (run,) = world.wait_runs_ended()
    assert run["state"] == "succeeded" and world.simulator.count(LIST) == 2, run


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_trial_on_the_spot_can_be_interrupted_and_leaves_its_run_to_others(world: World, by: signal.Signals) -> None:
    world.set_up_export(people.simple(10))
    asked = send_and_wait(world, "--direct")

    asked.send_signal(by)

    try:
        _, said = asked.communicate(timeout=STOP_SECONDS)
    finally:
        asked.kill()
    assert asked.returncode == 1 and b"klaviyo-worker: interrupted: the task was dropped" in said, said
    assert said.endswith(b"; a run that it had begun goes on: runs list shows it, runs cancel ends it\n"), said
    assert [run["state"] for run in world.runs()] == ["waiting"], "whoever takes it may go on at once"
    world.start_worker()
    check_run_goes_on(world)


def test_a_trial_that_was_dropped_keeps_nobody_waiting(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo, ada = contributor(world), make_logins(world.db)["admin"]
    worker = serving(world)
    asked = send_and_wait(world, DATABASE_URL=mo.url, SECRET_KEY_FILE="")

    asked.send_signal(signal.SIGINT)

    _, said = asked.communicate(timeout=STOP_SECONDS)
    assert asked.returncode == 1 and b"runs cancel" in said, said
    began = time.monotonic()
    verified = world.command("connection", "verify", CONNECTION, DATABASE_URL=ada.url, SECRET_KEY_FILE="")
    assert verified.rc == 0 and time.monotonic() - began < STOP_SECONDS, verified
    assert worker.events("task_ended")[0]["kind"] == "export try"
    check_run_goes_on(world)


# ---- a list that people are taken off ----


def run_of_another(world: World) -> int:
    """A run of another export to the same list, which has nothing more to send."""
    world.add_export(OTHER)
    return int(world.db.value(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, epoch, started_at, lease_until)"
        " select export_id, name, 'main', 'schedule', 'running', 1, now(), now() + interval '1 hour'"
        " from klaviyo.export where name = %s returning run_id", OTHER))  # fmt: skip


def end(world: World, run: int) -> None:
    world.db.execute("update klaviyo.run set state = 'succeeded', finished_at = now() where run_id = %s", run)


def begin(world: World) -> tuple[str, int | None, str | None]:
    ((what, run, detail),) = world.db.rows(
        "select what, run_id, detail from klaviyo.begin_trial(%s, 'w', 15000, null, null, '{}')", EXPORT
    )
    return what, run, detail


def test_a_trial_does_not_begin_while_people_are_taken_off_its_list(world: World) -> None:
    world.set_up_export(people.simple(10))
    other = run_of_another(world)
    words = ("export", "try", EXPORT, "--rows", "2", "--direct")
    tried: list[Result] = []
    trying = threading.Thread(target=lambda: tried.append(world.command(*words)))
    waits = (
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    with world.db.connect() as connection, connection.transaction():
        connection.execute("select klaviyo.claim_list(%s)", (other,))

        trying.start()
        wait_until(lambda: tried or world.db.value(waits) == 1, 20, "the trial to look at the list")

    trying.join()
    assert tried[0].rc == 75 and "taken off" in tried[0].stderr, tried
    assert world.simulator.diary("import") == []
    end(world, other)
    assert world.command(*words).rc == 0 and world.simulator.count(LIST) == 2


def test_nor_does_one_go_on_while_they_are(world: World) -> None:
    world.set_up_export(people.simple(10))
    _, trial, _ = begin(world)
    world.db.execute("update klaviyo.run set parked_until = now() - interval '1 s' where run_id = %s", trial)
    other = run_of_another(world)
    world.db.execute("update klaviyo.run set removal_epoch = epoch where run_id = %s", other)
    world.db.execute(
        "insert into klaviyo.list_claim select account_id, %s, %s from klaviyo.connection", LIST, other
    )
    take = "select run_id from klaviyo.retake_trial(%s, 'w', 15000)"

    assert world.db.rows(take, trial) == []
    end(world, other)
    assert world.db.rows(take, trial) == [(trial,)]


# ---- what a trial is no example of ----


def test_a_trial_uses_up_no_confirmation_and_makes_no_export_short(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.admin("export", "update", EXPORT, "--on-leave", "remove")
    world.db.execute("insert into klaviyo.removal_confirmation select export_id from klaviyo.export")
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at, finished_at)"
        " select export_id, name, 'main', 'schedule', 'succeeded', now() - interval '2 h', now() - interval '1 h'"
        " from klaviyo.export"
    )

    assert world.command("export", "try", EXPORT, "--rows", "2", "--direct").rc == 0

    assert world.db.value("select count(*) from klaviyo.removal_confirmation") == 1
    assert world.db.value("select klaviyo.is_short(export_id) from klaviyo.export") is False
