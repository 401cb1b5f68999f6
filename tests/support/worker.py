"""klaviyo-worker as a test uses it: its service and its commands."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.paths import program
from support.process import Process, free_port, wait_until

COMMAND_SECONDS = 60
SANITIZER_MARKS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")


@dataclass(frozen=True)
class Result:
    """What a command did."""

    command: str
    rc: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def run_command(
    arguments: list[str],
    env: dict[str, str],
    stdin: str = "",
    name: str = "klaviyo-worker",
    seconds: float = COMMAND_SECONDS,
) -> Result:
    done = subprocess.run(
        [str(program(name)), *arguments],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    result = Result(" ".join(arguments), done.returncode, done.stdout, done.stderr)
    for mark in SANITIZER_MARKS:
        assert mark not in done.stderr, f"{mark} in `{result.command}`:\n{done.stderr}"
    return result


def get_status(port: int, path: str) -> int:
    """The HTTP status of a page, 0 when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


class Worker:
    """`klaviyo-worker run`, started by the constructor; within: the words of what starts it."""

    def __init__(
        self,
        log: Path,
        env: dict[str, str],
        stderr: int | None = None,
        name: str = "klaviyo-worker",
        within: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.log = log
        settings = {**env, "HTTP_LISTEN": f"127.0.0.1:{self.port}"}
        self.process = Process([*within, program(name), "run"], log, env=settings, stderr=stderr)

    def wait_ready(self, seconds: float = 30) -> Worker:
        self.process.wait_ready(self._is_ready, seconds)
        return self

    def _is_ready(self) -> bool:
        return self.status("/readyz") == 200 or bool(self.events("partitions_assigned"))

    def status(self, path: str) -> int:
        """The HTTP status of one of its pages, 0 when it does not answer."""
        return get_status(self.port, path)

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read(), "utf-8")

    def metric(self, name: str) -> float:
        """name: with its labels, without the prefix of all."""
        lines = (line.rsplit(" ", 1) for line in self.page("/metrics").splitlines())
        return next(float(value) for label, value in lines if label == f"klaviyo_worker_{name}")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Its log so far; lines that are no JSON (a sanitizer's) are left out."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if name is None or event.get("event") == name:
                found.append(event)
        return found

    def wait_for_event(self, name: str, seconds: float = 20) -> dict[str, Any]:
        found = wait_until(lambda: self.events(name), seconds, f"log event {name} in {self.log}")
        return found[0]

    def kill(self) -> None:
        self.process.kill()

    def freeze(self) -> None:
        self.process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send(signal.SIGCONT)

    def stop(self, seconds: float = 60) -> None:
        """SIGTERM; it must end by itself with status 0."""
        status = self.process.stop(seconds)
        assert status == 0, f"ended with {status}, log {self.log}:\n{self.log.read_text()[-3000:]}"

    def sanitizer_report(self) -> str:
        text = self.log.read_text(errors="replace")
        return text if any(mark in text for mark in SANITIZER_MARKS) else ""
