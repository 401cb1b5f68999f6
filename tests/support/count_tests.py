#!/usr/bin/env python3
"""Adds up JUnit reports of ctest and pytest: prints "PASSED FAILED".

A ctest case whose output is that of a cmocka program counts as many tests as
the program ran. A report that is missing or empty counts as one failure.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

CMOCKA_PASSED = re.compile(r"^\[\s+OK \] ", re.MULTILINE)
CMOCKA_FAILED = re.compile(r"^\[  FAILED  \] (\d+) test", re.MULTILINE)


def is_failed(case: ElementTree.Element) -> bool:
    return case.find("failure") is not None or case.find("error") is not None


def count_case(case: ElementTree.Element) -> tuple[int, int]:
    """Passed and failed tests of one case of a report."""
    if case.find("skipped") is not None:
        return 0, 0
    output = case.findtext("system-out") or ""
    passed = len(CMOCKA_PASSED.findall(output))
    failed = sum(int(n) for n in CMOCKA_FAILED.findall(output))
    if is_failed(case):
        return passed, max(failed, 1)
    return max(passed, 1), 0


def count_report(path: Path) -> tuple[int, int]:
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return 0, 1
    counts: dict[tuple[str | None, str | None], tuple[int, int]] = {}
    for case in cases:  # a test that was tried again stands there twice, and counts once
        name = (case.get("classname"), case.get("name"))
        counts[name] = max(counts.get(name, (0, 0)), count_case(case), key=lambda n: (n[1], n[0]))
    if not counts:
        return 0, 1
    return sum(passed for passed, _ in counts.values()), sum(failed for _, failed in counts.values())


def main() -> int:
    counts = [count_report(Path(name)) for name in sys.argv[1:]]
    print(sum(passed for passed, _ in counts), sum(failed for _, failed in counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
