"""Programs that a test starts: each with its own log, none outliving the test."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
# Between looks that start a program or a Kafka client: those cost time themselves.
SLOW_POLL_SECONDS = 0.2
# Below the range that the kernel gives to outgoing connections.
PORTS = range(20_000, 32_000)


class NotYet(AssertionError):
    """A condition did not become true before its deadline."""


def wait_until(
    condition: Callable[[], T], seconds: float, what: str, every: float = POLL_SECONDS
) -> T:
    """The first truthy answer of condition; NotYet with the last one at the deadline."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise NotYet(f"after {seconds:g} s still waiting for {what}; last answer: {answer!r}")
        time.sleep(every)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def tail(path: Path, lines: int = 30) -> str:
    if not path.exists():
        return "(no log)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


class Process:
    """A running program. It gets `death_signal` if whoever started it dies."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        death_signal: str = "KILL",
        as_user: str | None = None,
        cwd: Path | None = None,
        stderr: int | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log  # with stderr, a descriptor, whoever reads that writes it
        prefix = ["setpriv", f"--pdeathsig={death_signal}"]
        if as_user:
            prefix += [f"--reuid={as_user}", f"--regid={as_user}", "--clear-groups"]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*prefix, "--", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output if stderr is None else stderr,
                env=dict(env) if env is not None else None,
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """The exit status (negative: ended by that signal)."""
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotYet(
                f"{self.name} did not end within {seconds:g} s\n{tail(self.log)}"
            ) from None

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait(10)

    def stop(self, seconds: float = 20, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to end; kills it at the deadline and says so."""
        self.send(number)
        try:
            return self.wait(seconds)
        except NotYet:
            self.kill()
            raise

    def wait_ready(self, ready: Callable[[], T], seconds: float) -> T:
        """Waits for ready(), or fails at once when the program has ended."""

        def look() -> T | None:
            if not self.running:
                raise AssertionError(
                    f"{self.name} ended with {self.exit_status}, log {self.log}:\n{tail(self.log)}"
                )
            return ready()

        try:
            answer = wait_until(look, seconds, f"{self.name} to be ready")
        except NotYet as late:
            raise NotYet(f"{late}, log {self.log}:\n{tail(self.log)}") from None
        assert answer is not None
        return answer
