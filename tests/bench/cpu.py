"""Processor time and memory of processes, as the kernel counts them."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def seconds(pid: int) -> float:
    """Used by a process, and by those of its children that have ended and were waited for."""
    fields = _fields(pid)
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICKS


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


def tree_seconds(pid: int) -> float:
    """Used by a server and all its processes, those that have ended included."""
    total = seconds(pid)
    for child in children(pid):
        try:
            total += seconds(child)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended just now: its parent has it, or will
    return total


def peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
