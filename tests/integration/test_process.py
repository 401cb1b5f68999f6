"""What the process does whatever surrounds it: nobody reads its log, descriptors are closed, signals come."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import people
from support.paths import copied_program, program
from support.process import Process, free_port, wait_until
from support.root import where_allowed
from support.worker import get_status
from support.world import World

PIPE_BYTES = 4096


class Piped:
    """A worker whose stderr is a small pipe that nobody reads."""

    def __init__(self, world: World) -> None:
        self.port = free_port()
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        env = world.env(HTTP_LISTEN=f"127.0.0.1:{self.port}", LOG_LEVEL="debug", DRAIN_SECONDS="1")
        words = ["setpriv", "--pdeathsig=KILL", "--", str(program("klaviyo-worker")), "run"]
        self.child = subprocess.Popen(words, env=env, stderr=writer)
        os.close(writer)

    def is_ready(self) -> bool:
        assert self.child.poll() is None
        return get_status(self.port, "/readyz") == 200


@contextmanager
def unread(world: World) -> Iterator[Piped]:
    worker = Piped(world)
    try:
        yield worker
    finally:
        worker.child.kill()
        worker.child.wait()
        os.close(worker.reader)


def test_a_log_that_nobody_reads_holds_up_neither_a_run_nor_the_stop(world: World) -> None:
    world.set_up_export(people.simple(2000))
    with unread(world) as worker:
        wait_until(worker.is_ready, 60, "the worker to be ready")
        world.refresh()
        world.wait_all_committed(60)
        assert world.runs()[0]["state"] == "succeeded"
        worker.child.send_signal(signal.SIGTERM)
        assert worker.child.wait(30) == 0


def test_a_start_that_the_database_holds_up_can_be_stopped(world: World) -> None:
    """Its connection is there, the answer to its first statement is not."""
    world.set_up_export(people.simple(1))
    with world.db.connect() as connection, connection.transaction():
        connection.execute("lock table klaviyo.migration in access exclusive mode")
        worker = world.start_worker()
        waits = "select from pg_locks where relation = 'klaviyo.migration'::regclass and not granted"
        wait_until(lambda: world.db.rows(waits), 30, "its first statement")

        worker.stop()

    assert worker.events("shutdown_deadline_passed") == []


def test_descriptors_that_are_closed_are_taken_by_nothing_else(world: World) -> None:
    """The first file that is opened would become stderr, and be written into."""

    def close_all() -> None:
        for fd in (0, 1, 2):
            os.close(fd)

    port = free_port()
    env = world.env(HTTP_LISTEN=f"127.0.0.1:{port}")
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "--", str(program("klaviyo-worker")), "run"], env=env, preexec_fn=close_all
    )
    try:
        wait_until(lambda: get_status(port, "/readyz") == 200, 60, "the worker to be ready")
        with where_allowed("the descriptors of a process"):
            opened = [os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in (0, 1, 2)]
        assert opened == ["/dev/null"] * 3
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()


def test_what_is_printed_to_a_closed_standard_output_is_an_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{program('klaviyo-worker')} --version >&-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot write to standard output" in done.stderr


def test_a_hang_up_that_was_ignored_stays_ignored(world: World) -> None:
    """As under nohup."""
    log = world.folder / "nohup.log"
    port = free_port()
    env = world.env(HTTP_LISTEN=f"127.0.0.1:{port}")
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "--", "nohup", str(program("klaviyo-worker")), "run"],
            env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(lambda: get_status(port, "/readyz") == 200, 60, "the worker to be ready")
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        received = [line for line in log.read_text().splitlines() if "signal_received" in line]
        assert len(received) == 1 and '"signal":15' in received[0]
    finally:
        child.kill()
        child.wait()


def test_no_core_is_dumped_and_nobody_reads_its_memory(logs: Path, own_folder: Path) -> None:
    """Where a process is not dumpable, what it has under /proc belongs to root. Its user is not root, and may
    not be let into this tree."""
    copied = copied_program(program("klaviyo-worker"), own_folder)
    nobody = "65534" if os.geteuid() == 0 else None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x"
        env = {**World.base_env(), "DATABASE_URL": url}
        child = Process([copied, "runs", "list"], logs / "command.log", env=env, as_user=nobody)
        try:
            accepted, _ = silent.accept()
            assert Path(f"/proc/{child.pid}/mem").stat().st_uid == 0
            limits = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
            (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
            assert core[4:6] == ["0", "0"]
            accepted.close()
        finally:
            child.kill()
