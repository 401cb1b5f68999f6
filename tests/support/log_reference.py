"""deploy/log.md as the tests read it: the events of the log, their levels and values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from support.paths import TREE

ROW = re.compile(r"^\| `(\w+)` \| ([a-z, ]+) \| .* \|([^|]*)\|$", re.MULTILINE)
ALWAYS = {"time", "level", "event", "truncated"}


@dataclass(frozen=True)
class LogEvent:
    """One row of the reference."""

    name: str
    levels: frozenset[str]
    values: frozenset[str]


@cache
def reference() -> dict[str, LogEvent]:
    text = (TREE / "deploy" / "log.md").read_text()
    found: dict[str, LogEvent] = {}
    last: frozenset[str] = frozenset()
    for name, levels, cell in ROW.findall(text):
        values = cell.strip()
        if values.startswith("as `"):
            last = found[values.split("`")[1]].values
        elif values != "the same":
            last = frozenset(re.findall(r"`(\w+)`", values))
        found[name] = LogEvent(name, frozenset(levels.split(", ")), last)
    return found


def complaint(line: dict[str, object]) -> str | None:
    """What the reference does not say of a line of a log."""
    known = reference().get(str(line.get("event")))
    if not known:
        return f"event {line.get('event')} is not in deploy/log.md"
    if known.levels != {"by its own"} and line["level"] not in known.levels:
        return f"{known.name} is at level {line['level']}, deploy/log.md says {sorted(known.levels)}"
    if set(line) - ALWAYS != known.values:
        return f"{known.name} has values {sorted(set(line) - ALWAYS)}, not as in deploy/log.md"
    return None
