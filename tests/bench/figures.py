"""What was measured: one table and one JSON file for a whole session."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


def machine() -> str:
    """Of the machine, what makes figures comparable."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {model}"


def size(name: str, usual: int) -> int:
    """How large a measurement is: what the variable says, to try one or to make it larger."""
    return int(os.environ.get(f"BENCH_{name}", usual))


def load() -> float:
    return os.getloadavg()[0]


@dataclass
class Figures:
    """Figures in sections, one for each measurement."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    values: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, section: str, name: str, value: float, text: str = "") -> None:
        self.values.setdefault(section, {})[name] = round(value, 3)
        self.rows.append((section, name, text or f"{value:.2f}"))

    def seconds(self, section: str, name: str, value: float, floor: float, more: str = "") -> None:
        """A time, and how often the floor of this run goes into it."""
        self.add(section, name, value, f"{value:.2f} s = {value / floor:.2f} x floor{more}")

    def table(self) -> str:
        lines: list[str] = []
        width = max((len(name) for _, name, _ in self.rows), default=0)
        section = None
        for title, name, text in self.rows:
            if title != section:
                lines += ["", title]
                section = title
            lines.append(f"  {name:<{width}}  {text}")
        return "\n".join(lines)

    def save(self, path: Path, about: dict[str, object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"about": about, "figures": self.values}, indent=2) + "\n")
