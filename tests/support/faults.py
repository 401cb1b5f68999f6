"""Calls of the program that fail when a test says so: the table that faults.h describes."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.paths import program

PROGRAM = "klaviyo-worker-faults"
HEAD = struct.Struct("48s5Q")
WAY = struct.Struct("2Q")
WAYS = 1024
ENTRY_BYTES = HEAD.size + WAYS * WAY.size
FOR_EVER = 2**31 - 1
_CALLS, _FAIL_AT, _TIMES, _FAILED, _WHERE = range(1, 6)


@dataclass(frozen=True)
class Way:
    """To a call that can fail: by which functions."""

    fault: str
    way: int
    call: int  # the number of the first that came so


class Faults:
    """The table of one program; give env to whoever starts it. It lives beyond restarts."""

    def __init__(self, file: Path) -> None:
        self.env = {"FAULTS_FILE": str(file)}
        done = subprocess.run([program(PROGRAM), "--version"], env=self.env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        self._file = file.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._index = {self._head(i)[0].rstrip(b"\0").decode(): i for i in range(len(self._map) // ENTRY_BYTES)}
        self.reset()

    @property
    def names(self) -> list[str]:
        return list(self._index)

    def _head(self, index: int) -> tuple[bytes, int, int, int, int, int]:
        return HEAD.unpack_from(self._map, index * ENTRY_BYTES)  # type: ignore[return-value]

    def _put(self, name: str, field: int, value: int) -> None:
        at = self._index[name] * ENTRY_BYTES + 48 + 8 * (field - 1)
        struct.pack_into("Q", self._map, at, value)

    def reset(self) -> None:
        """Nothing fails, nothing has been called."""
        for i in range(len(self._index)):
            self._map[i * ENTRY_BYTES + 48 : (i + 1) * ENTRY_BYTES] = bytes(ENTRY_BYTES - 48)

    def calls(self, name: str) -> int:
        return self._head(self._index[name])[_CALLS]

    def arm(self, name: str, nth: int = 1, times: int = 1) -> None:
        """The call number nth from now on fails, and times - 1 after it."""
        self._put(name, _FAILED, 0)
        self._put(name, _TIMES, times)
        self._put(name, _FAIL_AT, self.calls(name) + nth)

    def put_clock(self, seconds: int) -> None:
        """Our objects' wall clock is so many seconds off from now on; 0: it is right."""
        self._put("clock_gettime", _TIMES, seconds % 2**64)
        self._put("clock_gettime", _FAIL_AT, 1)

    def stop_clock(self) -> None:
        """It stands from now on."""
        self._put("clock_gettime", _TIMES, int(time.time()))
        self._put("clock_gettime", _FAIL_AT, 2)

    def disarm(self, name: str) -> bool:
        """It fails no more. Whether it has."""
        self._put(name, _FAIL_AT, 0)
        return self.failed(name) > 0

    def failed(self, name: str) -> int:
        return self._head(self._index[name])[_FAILED]

    def where(self, name: str) -> str:
        """The function, file and line of the last call that failed."""
        address = self._head(self._index[name])[_WHERE]
        return place(address) if address else "no place: it was not called so often"

    def ways(self) -> Iterator[Way]:
        """All that were gone since reset()."""
        for name, index in self._index.items():
            if not self.calls(name):
                continue
            for i in range(WAYS):
                way, call = WAY.unpack_from(self._map, index * ENTRY_BYTES + HEAD.size + i * WAY.size)
                if way:
                    yield Way(name, way, call)


def place(address: int) -> str:
    done = subprocess.run(
        ["addr2line", "-fse", program(PROGRAM), hex(address - 1)], capture_output=True, text=True, check=True
    )
    return " ".join(done.stdout.split())
