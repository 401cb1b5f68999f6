#!/usr/bin/env python3
"""House rules of the C sources that no other tool holds.

    style.py

- Each public function has a contract: a comment right before its declaration, or before the
  group of declarations that it stands in.
- No function of common/ and worker/ has more than 40 lines.
- The words that the field does not use stay out of code and texts, but for the interfaces
  that have them in their names.

Prints each place that breaks one of them; exits with 1 if there was any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 40

# Private and quaint words, and what the field says instead.
WORDS = {
    "parcel": "batch import",
    "parcels": "batch imports",
    "errand": "pending request",
    "errands": "pending requests",
    "flying": "in flight",
    "in the air": "in flight",
    "buried": "dead-lettered",
    "neighbour": "same address",
    "neighbours": "same address",
    "crowd": "over capacity",
    "exposition": "Prometheus text",
    "tally": "metrics",
    "tallied": "counted",
    "asker": "Klaviyo query",
    "patience": "retry budget",
    "bell": "wake-up",
    "look_later": "poll",
    "let go": "relinquish",
    "nameless": "unidentified",
    "pass_watch": "scan observer",
    "open_event": "pending event",
    "run_task_imagine": "run_task_for_preview",
    "beside": "next to, besides, in addition to",
    "anew": "again",
    "heed": "follow",
    "heeded": "followed",
}
WORD = re.compile(r"\b(" + "|".join(WORDS) + r")\b", re.IGNORECASE)
TEXTS = {".c", ".h", ".py", ".md", ".css", ".sql", ".yaml", ".1", ".sh", ".txt", ".supp"}
# Migrations are never changed once they were released.
LEFT_ALONE = re.compile(r"schemas/sql/\d{4}_\w+\.sql|tests/support/style\.py|tests/integration/test_style\.py")
DECLARATION = re.compile(r"^(?!typedef|struct \w+ \{|#|static |extern )[a-zA-Z_][\w \*]*\b(\w+)\(")
FUNCTION = re.compile(r"^[a-z_][\w \*]*?\b(\w+)\(")


def headers(tree: Path) -> Iterator[Path]:
    for folder in ("common", "worker"):
        yield from sorted((tree / folder).rglob("*.h"))


def without_contract(text: str) -> Iterator[tuple[int, str]]:
    """Functions that a header declares without a word, with their lines."""
    said = comment = False
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        if comment:
            comment = "*/" not in line
            continue
        if line.startswith("/*"):
            said, comment = True, "*/" not in line
        elif not line.strip():
            said = False
        elif depth == 0 and (found := DECLARATION.match(line)):
            if not said and "/*" not in line:
                yield number, found.group(1)
        if not line.startswith(("/*", " *")):
            depth += line.count("{") - line.count("}")


def long_functions(text: str) -> Iterator[tuple[int, str, int]]:
    """Line, name and length of functions with too many lines, their braces included."""
    name, begin = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if found := FUNCTION.match(line):
            name = found.group(1)
        if line == "{":
            begin = number
        elif line == "}" and begin:
            if number - begin + 1 > LONGEST:
                yield begin, name, number - begin + 1
            begin = 0


def texts(tree: Path) -> Iterator[Path]:
    yield from sorted(path for path in tree.glob("*.md"))
    for folder in ("common", "worker", "tests", "deploy", "schemas", "cmake"):
        yield from sorted(path for path in (tree / folder).rglob("*") if path.suffix in TEXTS)


def private_words(tree: Path) -> Iterator[str]:
    for path in texts(tree):
        place = str(path.relative_to(tree))
        if LEFT_ALONE.fullmatch(place):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for word in WORD.findall(line):
                yield f"{place}:{number}: {word}: the field says {WORDS[word.lower()]}"


def complaints(tree: Path) -> list[str]:
    found = list(private_words(tree))
    for path in headers(tree):
        place = path.relative_to(tree)
        for number, name in without_contract(path.read_text(encoding="utf-8")):
            found.append(f"{place}:{number}: {name}() has no contract: a comment is missing")
    for folder in ("common", "worker"):
        for path in sorted((tree / folder).rglob("*.c")):
            place = path.relative_to(tree)
            for number, name, length in long_functions(path.read_text(encoding="utf-8")):
                found.append(f"{place}:{number}: {name}() has {length} lines, more than {LONGEST}")
    return found


def main() -> int:
    found = complaints(Path(__file__).resolve().parents[2])
    for complaint in found:
        print(complaint)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
