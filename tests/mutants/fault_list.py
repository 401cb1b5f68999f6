"""The list of seeded faults: faults/*.toml, one [[fault]] for each.

    file         where the fault is seeded
    old, new     the text that is replaced, which stands there exactly once, and what stands there then
    kind, why    what sort of fault it is, and what would come of it
    unit         the unit tests that should notice, e.g. ["test_offsets"]
    integration  the tests that should where those do not, e.g. ["test_events.py::test_one"]; those
                 of tests/security with their folder: ["security/test_rows.py::test_one"]
    equivalent   why nobody can notice; such a fault is not seeded
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "faults"
SQL_OBJECT = re.compile(r"create (?:or replace )?(?:function|view) (klaviyo\.\w+)")
MIGRATION = re.compile(r"\d{4}_\w+\.sql")


@dataclass(frozen=True)
class Fault:
    file: str
    old: str
    new: str
    kind: str
    why: str
    unit: tuple[str, ...] = ()
    integration: tuple[str, ...] = ()
    equivalent: str = ""

    @property
    def name(self) -> str:
        return f"{self.file}: {self.kind}: {self.why}"

    @property
    def is_sql(self) -> bool:
        return self.file.startswith("schemas/sql/")

    def seeded(self, text: str) -> str:
        return text.replace(self.old, self.new)

    def test_ids(self) -> list[str]:
        """Of the integration tests, from the root of the tree."""
        return [f"tests/{name}" if "/" in name else f"tests/integration/{name}" for name in self.integration]


def load(folder: Path = FOLDER) -> list[Fault]:
    found = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]:
            lists = {key: tuple(entry.pop(key, ())) for key in ("unit", "integration")}
            found.append(Fault(**entry, **lists))
    return found


def definition(text: str, name: str) -> str:
    """What a function is called with, or that it is a view; empty: the text does not make it."""
    found = re.search(r"create (?:or replace )?(function|view) " + re.escape(name) + r"\b(\([^()]*\))?", text)
    return re.sub(r"\s+", " ", f"{found[1]}{found[2] or ''}") if found else ""


def made_again(fault: Fault, tree: Path) -> str:
    """A later migration that redefines the function that has the fault, so that it would change nothing."""
    own = (tree / fault.file).read_text(encoding="utf-8")
    made = SQL_OBJECT.findall(own[: own.index(fault.old)] + fault.old)
    if not made or not MIGRATION.fullmatch(Path(fault.file).name):
        return ""
    for path in sorted((tree / "schemas/sql").glob("[0-9]*.sql")):
        later = definition(path.read_text(encoding="utf-8"), made[-1])
        if path.name > Path(fault.file).name and later and later == definition(own, made[-1]):
            return path.name
    return ""


def stale(fault: Fault, tree: Path) -> str:
    """Why the fault cannot be seeded as it was meant; empty: it can."""
    path = tree / fault.file
    if not path.is_file():
        return "there is no such file"
    times = path.read_text(encoding="utf-8").count(fault.old)
    if times != 1:
        return f"its text stands there {times} times"
    if fault.old == fault.new:
        return "nothing would change"
    later = made_again(fault, tree) if fault.is_sql else ""
    return f"{later} redefines that function" if later else ""


def chosen(faults: list[Fault], number: int | None, word: str) -> list[Fault]:
    """Those that have the word in their name, or so many of them, chosen evenly."""
    some = [fault for fault in faults if word in fault.name]
    n = min(number or len(some), len(some))
    return [some[i * len(some) // n] for i in range(n)]
