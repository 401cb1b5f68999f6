"""Files that hold secrets are for few to read, and a key that was typed is not said again."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable

import pytest

from support import people
from support.paths import postgres_program
from support.process import wait_until
from support.worker import Worker
from support.world import KEY, World

EVERYBODY = "every user of this host can read"


def test_a_key_file_that_everybody_can_read_is_named(world: World) -> None:
    world.set_up_export(people.simple(1))
    for mode, named in ((0o600, False), (0o440, False), (0o644, True), (0o604, True)):
        world.secret_key_file.chmod(mode)
        verified = world.command("connection", "verify", "main")
        checked = json.loads(world.command("check", "--json").stdout)
        (line,) = (line for line in checked if line["check"] == "key file")
        assert verified.rc == 0
        assert (EVERYBODY in verified.stderr) == named, (oct(mode), verified)
        assert (EVERYBODY in line["detail"]) == named, (oct(mode), line)

    worker = world.start_worker()
    assert worker.wait_for_event("secret_file_exposed")["setting"] == "SECRET_KEY_FILE"


def test_a_file_with_an_api_key_that_everybody_can_read_is_named(world: World) -> None:
    file = world.folder / "klaviyo.key"
    file.write_text(KEY)
    for mode, name in ((0o600, "private"), (0o644, "exposed")):
        file.chmod(mode)
        words = ["connection", "add", name, "--api-key-file", str(file), "--agree-to-data-transfer"]
        result = world.command(*words)
        assert result.rc == 0, result
        assert (EVERYBODY in result.stderr) == (name == "exposed"), result


@pytest.mark.parametrize(
    "words",
    [
        ["connection", "add", "main", KEY, "--api-key-file", "-", "--agree-to-data-transfer"],
        ["connection", "add", "main", "--api-key-file", KEY, "--agree-to-data-transfer"],
        ["connection", "add", "main", f"--api-key-file={KEY}", "--agree-to-data-transfer"],
        ["connection", "add", "main", f"--api-key={KEY}", "--agree-to-data-transfer"],
        ["connection", "add", KEY, "--api-key-file", "-", "--agree-to-data-transfer"],
        ["connection", "rotate-key", KEY, "--api-key-file", "-"],
        ["connection", "show", KEY],
        ["connection", KEY],
        [KEY],
        ["export", "add", "x", "--connection", KEY, "--list", "L1", "--segment", "s", "--email-field", "e"],
        ["export", "add", "x", "--connection", "m", "--list", KEY, "--segment", "s", "--email-field", "e"],
        ["publish", KEY],
        ["keygen", "--replace", "--out", f"/nowhere/{KEY}"],
    ],
)
def test_a_key_on_the_command_line_is_not_said_again(world: World, words: list[str]) -> None:
    result = world.command(*words, stdin=KEY)

    assert result.rc in (1, 2), result
    assert KEY not in result.stderr + result.stdout and KEY[:12] not in result.stderr, result
    assert "pk_…" in result.stderr, result
    assert "never from the command line" in result.stderr, result


def test_a_run_that_waits_for_another_key_file_does_not_wait_silently(world: World) -> None:
    """The pair was replaced and the connection has its new key, but the worker has the old file."""
    world.set_up_export(people.simple(3))
    worker = world.start_worker()
    worker.wait_ready()
    new = world.folder / "new.key"
    world.admin("keygen", "--replace", "--out", str(new))
    world.admin("connection", "rotate-key", "main", "--api-key-file", "-", stdin=KEY)
    world.refresh()

    said = worker.wait_for_event("runs_wait_for_key", 60)

    assert said["level"] == "error" and (said["runs"], said["key_pair"]) == (1, 1)
    (run,) = world.runs()
    assert (run["state"], run["reason"]) == ("queued", "key_unreadable")
    assert "sealed for key pair 2, worker " in run["detail"] and "the key file of pair 1" in run["detail"]
    shown = world.admin("runs", "show", str(run["id"])).stdout
    assert "key_unreadable" in shown and "put the newest key file in place" in shown
    assert "key_unreadable" in world.admin("runs", "list").stdout
    world.start_worker(SECRET_KEY_FILE=str(new))
    (run,) = world.wait_runs_ended(1)
    assert (run["state"], run["reason"], run["detail"]) == ("succeeded", None, None)


def park_run(world: World) -> Worker:
    """A worker whose run waits for a limit, in nobody's slot."""
    world.simulator.fault("import", {"throttle": 20}, times=1)
    worker = world.start_worker().wait_ready()
    world.refresh()
    worker.wait_for_event("run_parked", 30)
    return worker


def abandon_run(world: World) -> Worker:
    """A worker that finds a run whose own one has died, under a lease that lasts."""
    killed = world.start_worker(LEASE_SECONDS="300", KLAVIYO_FAILPOINT="end_plan.after:1")
    world.refresh()
    wait_until(lambda: not killed.process.running, 60, "the worker to be killed")
    return world.start_worker().wait_ready()


@pytest.mark.parametrize("begin", [park_run, abandon_run])
def test_a_run_that_has_begun_does_not_wait_silently_for_another_key_file(
    world: World, begin: Callable[[World], Worker]
) -> None:
    world.set_up_export(people.simple(3))
    worker = begin(world)
    new = world.folder / "new.key"
    world.admin("keygen", "--replace", "--out", str(new))
    world.admin("connection", "rotate-key", "main", "--api-key-file", "-", stdin=KEY)
    world.db.execute("update klaviyo.run set lease_until = clock_timestamp() where parked_until is null")

    said = worker.wait_for_event("runs_wait_for_key", 60)

    assert (said["runs"], said["key_pair"]) == (1, 1)
    (run,) = world.runs()
    assert (run["state"], run["reason"], run["waiting_until"]) == ("waiting", "key_unreadable", None)
    assert "sealed for key pair 2, worker " in run["detail"] and "the key file of pair 1" in run["detail"]
    waiting = 'waiting_runs_by_reason{reason="key_unreadable"} 1'
    wait_until(lambda: waiting in worker.page("/metrics"), 10, waiting)
    heir = world.start_worker(SECRET_KEY_FILE=str(new))
    (run,) = world.wait_runs_ended(1)
    assert (run["state"], run["reason"], run["detail"]) == ("succeeded", None, None)
    assert len(heir.events("run_taken")) == 1, "it is not continued as what waits for Klaviyo"
    assert heir.events("run_waiting") == []


def test_verify_with_the_old_key_file_does_not_end_what_the_new_pair_asks_for(world: World) -> None:
    """The key must be given again, whatever file a worker has."""
    world.set_up_export(people.simple(3))
    old = world.start_worker()
    old.wait_ready()
    new = world.folder / "new.key"
    world.admin("keygen", "--replace", "--out", str(new))

    refused = world.command("connection", "verify", "main")

    assert refused.rc == 1 and "run connection rotate-key" in refused.stderr, refused
    assert world.admin("connection", "show", "main", "--json").json["state"] == "needs attention"
    # an earlier version did end it: the newest file is in place then, and no restart helps
    world.db.execute("update klaviyo.connection set attention_reason = null, attention_at = null")
    old.stop()
    worker = world.start_worker(SECRET_KEY_FILE=str(new))
    world.refresh()
    worker.wait_for_event("runs_wait_for_key", 60)
    (run,) = world.runs()
    assert (run["state"], run["reason"]) == ("queued", "key_unreadable")
    assert "connection rotate-key" in run["detail"] and "restart" not in run["detail"], run["detail"]
    world.admin("connection", "rotate-key", "main", "--api-key-file", "-", stdin=KEY)
    assert world.wait_runs_ended(1)[0]["state"] == "succeeded"


def test_a_dump_of_the_database_holds_no_key(world: World) -> None:
    world.set_up_export(people.simple(1))

    dump = subprocess.run(
        [postgres_program("pg_dump"), "--inserts", world.db.url], capture_output=True, text=True, check=True
    ).stdout

    sealed = world.db.value("select encode(sealed_key, 'hex') from klaviyo.connection_key")
    assert sealed in dump, "it is all there, and"
    assert KEY not in dump and KEY.encode().hex() not in dump
    private = world.secret_key_file.read_text().strip()
    assert private not in dump and base64.b64decode(private).hex() not in dump
