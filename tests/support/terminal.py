"""A command on a terminal of its own, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from typing import TypeVar

import pyte

from support.paths import program
from support.process import wait_until

T = TypeVar("T")


class Terminal:
    """`klaviyo-worker` on a pty of so many columns; `screen` is what it shows."""

    def __init__(self, words: list[str], env: dict[str, str], columns: int = 80, lines: int = 24) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.seen = b""
        self.frames: list[list[str]] = []
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._slave = slave  # kept open, so that what was written last can be read
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "--", str(program("klaviyo-worker")), *words],
            env={**env, "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:
                return
            if not part:
                return
            self.seen += part
            self._stream.feed(part)
            self.frames.append(self.lines())

    def lines(self) -> list[str]:
        """What is on the screen, without blank lines."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)

    def wait_for(self, condition: Callable[[], T], what: str, seconds: float = 20) -> T:
        return wait_until(condition, seconds, f"{what}; the screen: {self.lines()}")

    def wait(self, seconds: float = 30) -> int:
        return self.child.wait(seconds)

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self._slave)
        self._thread.join(5)
        os.close(self._master)
