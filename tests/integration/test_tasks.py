"""Tasks: what needs the key or the members is done by a worker for whoever has neither."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from support import people
from support.paths import program
from support.process import wait_until
from support.roles import Login, make_login, make_logins
from support.worker import Result, Worker
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, World

AGAIN = 75


def contributor(world: World) -> Login:
    """Somebody without key or workers' rights, to whom the connection is granted."""
    login = make_login(world.db, "mo", "klaviyo_contributor")
    world.admin("connection", "grant", CONNECTION, login.name)
    return login


def as_user(world: World, user: Login, *words: str) -> Result:
    return world.command(*words, DATABASE_URL=user.url, SECRET_KEY_FILE="")


def start_as(world: World, user: Login, *words: str) -> subprocess.Popen[bytes]:
    env = world.env(DATABASE_URL=user.url, SECRET_KEY_FILE="")
    return subprocess.Popen([str(program("klaviyo-worker")), *words], env=env, stderr=subprocess.PIPE)


def start_direct(world: World, *words: str) -> subprocess.Popen[bytes]:
    command = [str(program("klaviyo-worker")), "export", words[0], EXPORT, *words[1:], "--direct"]
    return subprocess.Popen(command, env=world.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def tasks(world: World, columns: str = "kind, state") -> list[tuple[object, ...]]:
    return world.db.rows(f"select {columns} from klaviyo.task order by created_at")


def serving(world: World, **settings: str) -> Worker:
    worker = world.start_worker(**settings)
    worker.wait_ready()
    wait_until(lambda: world.db.value("select count(*) from klaviyo.task_worker") != 0, 20, "a worker that takes tasks")
    return worker


def test_a_contributor_has_a_worker_preview_and_verify(world: World) -> None:
    world.set_up_export(people.mixed(1_000, too_large=1))
    mo = contributor(world)
    worker = serving(world)

    preview = as_user(world, mo, "export", "preview", EXPORT, "--json")
    verified = as_user(world, mo, "connection", "verify", CONNECTION)

    assert preview.rc == 0 and preview.json["counts"]["read"] == 1_000, preview
    assert preview.json["counts"] == world.admin("export", "preview", EXPORT, "--direct", "--json").json["counts"]
    assert verified.rc == 0 and LIST in verified.stdout, verified
    assert ACCOUNT not in verified.stdout, "a contributor sees a connection's name and kind"
    kinds = [event["kind"] for event in worker.events() if event["event"] == "task_taken"]
    assert kinds == ["export preview", "connection verify"]
    assert tasks(world) == [], "an answer that was read is not kept"


def test_an_administrator_is_told_the_account(world: World) -> None:
    world.set_up_export(people.simple(1))
    ada = make_logins(world.db)["admin"]
    serving(world)

    verified = as_user(world, ada, "connection", "verify", CONNECTION)

    assert verified.rc == 0 and ACCOUNT in verified.stdout, verified


def test_without_a_worker_it_is_to_be_tried_again_later(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)

    refused = as_user(world, mo, "export", "preview", EXPORT)

    assert refused.rc == AGAIN and "no worker" in refused.stderr and "klaviyo-worker run" in refused.stderr, refused
    assert refused.stderr.count("\n") == 1
    assert tasks(world) == [], "what nobody waits for is not done later"


def test_who_has_the_workers_rights_but_not_the_key_waits_for_a_worker_too(world: World) -> None:
    world.set_up_export(people.simple(1))
    asked = [
        (words, subprocess.Popen([str(program("klaviyo-worker")), *words], env=world.env(SECRET_KEY_FILE=key), stderr=subprocess.PIPE))
        for words in (
            ["connection", "verify", CONNECTION],
            ["connection", "lists", CONNECTION],
            ["export", "preview", EXPORT],
            ["export", "verify", EXPORT],
            ["export", "try", EXPORT, "--rows", "1"],
        )
        for key in ("", str(world.folder / "nothing-here"))
    ]

    for words, process in asked:
        said = process.communicate(timeout=60)[1].decode()
        assert process.returncode == AGAIN, (words, said)
        assert "no worker took the task" in said and "--direct" in said and said.count("\n") == 1, (words, said)
    assert tasks(world) == []


def test_who_has_the_workers_rights_and_the_key_does_it_where_no_worker_is(world: World) -> None:
    world.set_up_export(people.simple(1))

    for words in (["connection", "verify", CONNECTION], ["connection", "lists", CONNECTION], ["export", "preview", EXPORT]):
        done = world.command(*words)
        assert done.rc == 0, (words, done)


def test_direct_needs_the_workers_rights(world: World) -> None:
    world.set_up_export(people.simple(1))
    users = make_logins(world.db)
    world.admin("connection", "grant", CONNECTION, users["contributor"].name)
    serving(world)
    unfit = (users["contributor"], users["admin"])

    refused = [as_user(world, user, "export", "preview", EXPORT, "--direct") for user in unfit]
    done = world.command("export", "preview", EXPORT, "--direct", "--json", DATABASE_URL=users["worker"].url)

    for result in refused:
        assert result.rc == 1 and result.stderr.count("\n") == 1, result
        assert result.stderr.endswith("this requires role klaviyo_worker\n"), result
    assert done.rc == 0 and done.json["counts"]["read"] == 1, done
    assert tasks(world) == []


def test_what_klaviyo_says_of_the_key_comes_back(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    serving(world)
    world.simulator.remove_key(KEY)

    refused = as_user(world, mo, "connection", "verify", CONNECTION)

    assert refused.rc == 1 and "needs attention" in refused.stderr and refused.stderr.count("\n") == 1, refused


def test_the_task_of_a_worker_that_was_killed_is_done_by_another(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    first = serving(world, KLAVIYO_FAILPOINT="task_end.before:1", LEASE_SECONDS="3")
    asked = start_as(world, mo, "export", "preview", EXPORT)
    wait_until(lambda: not first.process.running, 30, "the worker to be killed with the task in hand")
    killed = time.monotonic()

    second = world.start_worker(LEASE_SECONDS="3")

    assert asked.wait(30) == 0, asked.stderr
    assert time.monotonic() - killed < 3 + 10, "within the lease, and what a start takes"
    taken = [event["token"] for event in second.events() if event["event"] == "task_taken"]
    assert taken == [2]


def test_a_worker_that_stops_gives_its_task_back(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    first = serving(world, LEASE_SECONDS="300")
    world.simulator.fault("list", {"delay_ms": 20_000}, times=1)
    asked = start_as(world, mo, "connection", "verify", CONNECTION)
    first.wait_for_event("task_taken")

    world.start_worker(LEASE_SECONDS="300").wait_ready()
    first.stop()

    assert asked.wait(30) == 0
    assert [e["result"] for e in first.events() if e["event"] == "task_ended"] == ["given back"]


def test_a_verification_that_is_stopped_halfway_stores_nothing_of_it(world: World) -> None:
    """Nor where what it still asks is optional: the key would be shown with half of its scopes."""
    world.set_up_export(people.simple(1))
    world.simulator.control("PUT", f"keys/{KEY}", {"account": ACCOUNT, "scopes": "all"})
    mo = contributor(world)
    first = serving(world, LEASE_SECONDS="300")
    world.simulator.fault("usage", {"delay_ms": 60_000}, times=1)
    asked = start_as(world, mo, "connection", "verify", CONNECTION)
    on_its_way = "select count(*) from klaviyo.rate_place where endpoint = 'usage' and not answered"
    wait_until(lambda: world.db.value(on_its_way) == 1, 30, "the optional question")

    first.stop()
    second = serving(world)

    assert asked.wait(30) == 0, asked.stderr
    ends = [[event["result"] for event in worker.events("task_ended")] for worker in (first, second)]
    assert ends == [["given back"], ["done"]], ends
    scopes = world.admin("connection", "show", CONNECTION, "--json").json["scopes"]
    assert "usage:read" in scopes and "flows:read" in scopes, scopes


def test_a_task_whose_worker_stood_still_is_begun_anew(world: World) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    worker = serving(world, LEASE_SECONDS="3")
    world.simulator.fault("list", {"delay_ms": 20_000}, times=1)
    asked = start_as(world, mo, "connection", "verify", CONNECTION)
    worker.wait_for_event("task_taken")

    worker.freeze()
    time.sleep(4)
    worker.thaw()

    wait_until(lambda: [e["token"] for e in worker.events("task_taken")][:2] == [1, 2], 40, "the second take")
    assert worker.events("task_ended")[0]["result"] == "lost" and asked.poll() is None, "its maker still waits"
    asked.kill()


@pytest.mark.parametrize("ends", ["given back", "lost"])
def test_a_task_that_is_stopped_while_it_connects_is_for_the_next_worker(world: World, ends: str) -> None:
    """Whatever it was doing when it was stopped: that is no answer for the one who asked."""
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    first = serving(world, LEASE_SECONDS="3")
    first.freeze()
    asked = start_as(world, mo, "export", "preview", EXPORT)
    wait_until(lambda: tasks(world) == [("export preview", "waiting")], 20, "the task")
    with world.db.connect() as connection, connection.transaction():
        connection.execute("lock table pg_catalog.pg_database in access exclusive mode")
        first.thaw()
        first.wait_for_event("task_taken")
        if ends == "lost":
            first.freeze()
            time.sleep(4)
            first.thaw()
        else:
            first.process.send(signal.SIGTERM)
        ended = first.wait_for_event("task_ended")
    if ends == "given back":
        serving(world)

    assert ended["result"] == ends, ended
    assert asked.wait(30) == 0, asked.stderr.read() if asked.stderr else ""


def test_a_task_that_is_gone_is_to_be_asked_for_again(world: World) -> None:
    """With its connection, a person in it, or a database that was set back."""
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    worker = serving(world)
    world.simulator.fault("list", {"delay_ms": 20_000}, times=1)
    asked = start_as(world, mo, "connection", "verify", CONNECTION)
    worker.wait_for_event("task_taken")

    world.db.execute("delete from klaviyo.task")

    _, said = asked.communicate(timeout=20)
    assert asked.returncode == AGAIN and b"ask again" in said, said


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_the_end_of_its_terminal_drops_the_task(world: World, by: signal.Signals) -> None:
    world.set_up_export(people.simple(10))
    mo = contributor(world)
    worker = serving(world)
    world.simulator.fault("list", {"delay_ms": 20_000}, times=1)
    asked = start_as(world, mo, "connection", "verify", CONNECTION)
    worker.wait_for_event("task_taken")

    asked.send_signal(by)

    assert asked.wait(10) == 1
    assert asked.stderr and b"dropped" in asked.stderr.read()
    assert worker.wait_for_event("task_ended", 15)["result"] == "failed"
    assert tasks(world, "state, answer") == [("cancelled", None)]
    again = as_user(world, mo, "export", "preview", EXPORT)
    assert again.rc == 0, again


def test_under_nohup_the_end_of_its_terminal_is_nothing(world: World) -> None:
    world.set_up_export(people.simple(1))
    command = ["nohup", str(program("klaviyo-worker")), "connection", "verify", CONNECTION]
    env = world.env(DATABASE_URL=contributor(world).url, SECRET_KEY_FILE="")
    asked = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(tasks(world)) == 1, 20, "the task to be asked for")

    asked.send_signal(signal.SIGHUP)
    serving(world)

    said, _ = asked.communicate(timeout=30)
    assert asked.returncode == 0 and LIST.encode() in said, said


@pytest.mark.parametrize("again", [False, True], ids=["never begun", "of a dead worker"])
def test_what_nobody_waits_for_any_more_is_not_begun(world: World, again: bool) -> None:
    world.set_up_export(people.simple(10))
    with contributor(world).connect() as connection:
        connection.execute("select klaviyo.add_task('export try', %s, '{\"rows\": 5}')", [EXPORT])
        connection.execute("select klaviyo.look_at_task(task_id) from klaviyo.task")
    assert world.db.value("select asked_at >= created_at from klaviyo.task") is True
    world.db.execute(
        "update klaviyo.task set created_at = now() - interval '14 hours', asked_at = now() - interval '121 seconds'"
    )
    if again:
        world.db.execute("update klaviyo.task set state = 'running', token = 1, lease_until = now() - interval '1 s'")

    serving(world)

    wait_until(lambda: tasks(world) == [("export try", "failed")], 20, "the task to be closed")
    assert world.simulator.count(LIST) == 0 and world.runs() == []
    assert "nobody" in str(tasks(world, "error")) and tasks(world, "again") == [(True,)]


def test_who_still_waits_for_a_task_after_hours_is_served(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    verifying = start_as(world, mo, "connection", "verify", CONNECTION)
    wait_until(lambda: len(tasks(world)) == 1, 20, "the task to be asked for")
    world.db.execute(
        "update klaviyo.task set created_at = now() - interval '14 hours', asked_at = now() - interval '14 hours'"
    )
    wait_until(lambda: world.db.value("select asked_at > now() - interval '1 minute' from klaviyo.task"), 5, "it to ask")

    serving(world)

    assert verifying.wait(30) == 0, verifying.communicate()


# ---- a stop while the database computes ----

SECONDS = 15  # a stop may take; on a busy machine most of them are the start of programs

MEMBERS = "insights.segment_member m join insights.customer_profile p using (profile_id)"
SLOW = {
    "counted": f"select m.segment_id, m.profile_id, p.attributes from {MEMBERS}, pg_sleep(600)",
    "sorted": f"select m.segment_id, m.profile_id, insights.slowly(p.attributes) as attributes from {MEMBERS}",
}
QUICK = f"select m.segment_id, m.profile_id, p.attributes from {MEMBERS}"
SLOWLY = (
    "create function insights.slowly(jsonb) returns jsonb language plpgsql immutable as"
    " $$ begin perform pg_sleep(600); return $1; end $$"
)


def set_view(world: World, query: str) -> None:
    world.db.execute(f"create or replace view insights.segment_profile as {query}")


def set_up_slow(world: World, which: str) -> None:
    """Members whom the site's view takes its time to count, or to show."""
    world.set_up_export(people.simple(3))
    world.db.execute(SLOWLY)
    set_view(world, SLOW[which])


def computes(world: World) -> bool:
    asleep = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    return bool(world.db.value(asleep))


def wait_until_it_computes(world: World) -> None:
    wait_until(lambda: computes(world), 30, "the database to be at it")


@pytest.mark.parametrize("being", SLOW)
def test_a_worker_that_stops_does_not_wait_for_members(world: World, being: str) -> None:
    set_up_slow(world, being)
    mo = contributor(world)
    first = serving(world)
    asked = start_as(world, mo, "export", "preview", EXPORT)
    wait_until_it_computes(world)

    first.stop(SECONDS)

    assert [e["result"] for e in first.events("task_ended")] == ["given back"]
    assert not computes(world), "nobody wants it any more"
    set_view(world, QUICK)
    serving(world)
    assert asked.wait(30) == 0, asked.stderr


@pytest.mark.parametrize("being", SLOW)
def test_a_task_that_was_dropped_keeps_nobody_waiting(world: World, being: str) -> None:
    set_up_slow(world, being)
    mo, ada = contributor(world), make_logins(world.db)["admin"]
    worker = serving(world)
    asked = start_as(world, mo, "export", "preview", EXPORT)
    wait_until_it_computes(world)

    asked.send_signal(signal.SIGINT)

    assert asked.wait(SECONDS) == 1
    began = time.monotonic()
    assert as_user(world, ada, "connection", "verify", CONNECTION).rc == 0
    assert time.monotonic() - began < SECONDS
    ended = worker.events("task_ended")[0]
    assert ended["kind"] == "export preview" and "was stopped" in ended["error"], ended
    assert not computes(world), "nobody wants it any more"


def interrupt(asked: subprocess.Popen[bytes], by: signal.Signals = signal.SIGINT) -> None:
    asked.send_signal(by)
    try:
        _, said = asked.communicate(timeout=SECONDS)
    finally:
        asked.kill()
    assert asked.returncode == 1 and b"interrupted" in said and said.count(b"\n") == 1, said


@pytest.mark.parametrize("being", SLOW)
@pytest.mark.parametrize("words", ["preview", "verify", "try --rows 2"])
def test_what_is_done_on_the_spot_can_be_interrupted(world: World, words: str, being: str) -> None:
    command, *options = words.split()
    set_up_slow(world, being)
    for by in (signal.SIGINT, signal.SIGTERM):
        asked = start_direct(world, command, *options)
        wait_until_it_computes(world)

        interrupt(asked, by)

        assert not computes(world), "nobody wants it any more"


ASK = f"select klaviyo.add_task('connection lists', '{CONNECTION}', '{{}}')"
TAKE = (
    "select t.token from klaviyo.key_pair k, lateral klaviyo.take_task("
    "%s, 300000, k.key_pair_id, '{connection lists}') t"
)
END = """select klaviyo.end_task(task_id, %s, '{"emails": ["ada@shop.example"]}', null, false) from klaviyo.task"""


def test_the_answer_to_a_task_that_was_dropped_is_not_kept(world: World) -> None:
    world.add_connection()
    world.db.value(ASK)
    token = world.db.value(TAKE, "worker")
    world.db.value("select klaviyo.drop_task(task_id) from klaviyo.task")
    assert world.db.value(END, token)

    assert tasks(world, "state, answer") == [("cancelled", None)]


def test_a_task_is_one_workers_and_who_lost_it_writes_nothing(world: World) -> None:
    world.add_connection()
    world.db.value(ASK)
    first = world.db.value(TAKE, "first")
    assert world.db.rows(TAKE, "second") == []

    world.db.execute("update klaviyo.task set lease_until = now() - interval '1 second'")
    second = world.db.value(TAKE, "second")
    assert not world.db.value(END, first)
    assert tasks(world, "state, answer") == [("running", None)]
    assert world.db.value(END, second)
    assert tasks(world, "state")[0][0] == "done"


def test_one_person_cannot_fill_the_queue(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    with mo.connect() as connection:
        for _ in range(20):
            connection.execute("select klaviyo.add_task('export preview', %s, '{}')", [EXPORT])

    refused = as_user(world, mo, "export", "preview", EXPORT)

    assert refused.rc == AGAIN and "20 tasks" in refused.stderr, refused


def test_a_task_of_no_known_kind_or_with_odd_arguments_harms_nobody(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    worker = serving(world)
    odd = ['{"name": "somebody else\'s", "whole": true}', '{"rows": "many", "show": 7, "profile": [1]}', "{}"]
    with mo.connect() as connection:
        for arguments in odd:
            connection.execute("select klaviyo.add_task('export preview', %s, %s::jsonb)", [EXPORT, arguments])
        connection.execute("select klaviyo.add_task('export dance', %s, '{}')", [EXPORT])
        connection.execute("select klaviyo.add_task('connection verify', %s, %s::jsonb)", [CONNECTION, odd[0]])

    wait_until(lambda: [s for _, s in tasks(world)].count("done") == 4, 20, "the tasks to be done")
    assert tasks(world, "state")[3] == ("waiting",)
    assert ACCOUNT not in str(tasks(world, "answer")), "it does not say who it is by itself"
    assert worker.process.running
    worker.stop()


def test_tasks_are_forgotten_within_a_day(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    with mo.connect() as connection:
        for _ in range(2):
            connection.execute("select klaviyo.add_task('export preview', %s, '{}')", [EXPORT])
    serving(world)
    wait_until(lambda: [s for _, s in tasks(world)] == ["done", "done"], 20, "the tasks to be done")
    ((old,), (young,)) = tasks(world, "task_id")
    world.db.execute(f"update klaviyo.task set created_at = now() - interval '25 hours' where task_id = {old}")
    world.workers[0].stop()

    world.start_worker()

    wait_until(lambda: tasks(world, "task_id") == [(young,)], 20, "the older task to be deleted")


def test_a_worker_that_left_is_not_waited_for(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    worker = serving(world)
    worker.stop()
    began = time.monotonic()

    refused = as_user(world, mo, "export", "preview", EXPORT)

    assert refused.rc == AGAIN and time.monotonic() - began < 20, refused


def test_a_worker_that_is_busy_with_another_task_is_waited_for(world: World) -> None:
    """It looks for tasks between two of them only: meanwhile nothing is seen of it."""
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    worker = serving(world)
    with world.db.connect() as connection, connection.transaction():
        connection.execute("lock table insights.segment_member in access exclusive mode")
        long = start_as(world, mo, "export", "preview", EXPORT)
        worker.wait_for_event("task_taken")
        world.db.execute("update klaviyo.task_worker set seen_at = seen_at - interval '1 minute'")
        behind = start_as(world, mo, "connection", "verify", CONNECTION)
        time.sleep(12)

    assert (long.wait(30), behind.wait(30)) == (0, 0), (long.communicate(), behind.communicate())


def test_a_task_that_only_another_key_file_could_do_is_not_waited_for(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    serving(world)
    world.admin("keygen", "--replace", "--out", str(world.folder / "new.key"))
    world.admin("connection", "rotate-key", CONNECTION, "--api-key-file", "-", "--no-verify", stdin=KEY)

    refused = as_user(world, mo, "connection", "verify", CONNECTION)

    assert refused.rc == AGAIN and "no worker took the task" in refused.stderr, refused
    assert "key file" in refused.stderr, refused


def test_progress_stands_on_a_terminal_alone(world: World) -> None:
    world.set_up_export(people.simple(1))
    mo = contributor(world)
    serving(world)

    quiet = as_user(world, mo, "export", "preview", EXPORT, "--json")

    assert quiet.rc == 0 and "\r" not in quiet.stderr and "waiting" not in quiet.stderr, quiet


def test_a_key_of_another_account_does_not_take_the_connection_with_it(world: World) -> None:
    other = "pk_planted0secret0key0of0account0B2"
    world.set_up_export(people.simple(3))
    world.simulator.add_account("AcctB2")
    world.simulator.add_key(other, "AcctB2")
    world.admin("connection", "rotate-key", CONNECTION, "--api-key-file", "-", "--no-verify", stdin=other)
    serving(world)
    lists = "select list_name, list_checked_at from klaviyo.export"
    before = world.db.rows(lists)

    refused = world.command("connection", "verify", CONNECTION)

    assert refused.rc == 1 and "another Klaviyo account" in refused.stderr, refused
    shown = world.admin("connection", "show", CONNECTION, "--json").json
    assert (shown["account_id"], shown["state"]) == (ACCOUNT, "needs attention"), shown
    assert world.db.rows(lists) == before, "they are not asked for in the other account"
    world.refresh()
    detail = world.wait_runs_ended(1)[0]["detail"]
    assert "connection rotate-key" in detail and "connection verify" not in detail, detail
    world.admin("connection", "rotate-key", CONNECTION, "--api-key-file", "-", stdin=KEY)
    world.admin("connection", "verify", CONNECTION)
    world.refresh()
    assert world.wait_runs_ended(2)[0]["state"] == "succeeded"
