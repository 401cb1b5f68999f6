#!/usr/bin/env python3
"""Seeds faults into a copy of the tree, one at a time, and says which of them the tests notice.

    mutants.py [NUMBER] [-k WORD]

NUMBER: so many, chosen evenly. WORD: only those that have it in their file's name or their words.
A fault is killed when one of its tests fails or does not end in time: its unit tests are
asked first, its integration tests where those pass. Before that, all these tests must pass without
any fault. The results go to build/reports: mutants.xml (each fault a test), mutants.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import fault_list
from fault_list import Fault

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests"))

from support.kafka_broker import KafkaBroker  # noqa: E402
from support.postgres import Postgres, folder_for_servers  # noqa: E402

BUILD = Path(os.environ.get("TESTS_BUILD", TREE / "build"))
SCRATCH = BUILD / "mutants" / "tree"
PRESET = "mutants"  # the build's folder in the copy: no sanitizers, fail points
PROGRAMS = ("klaviyo-worker", "klaviyo-simulator", "settings-reference")
TOOLS = ("kafka", "tools", "venv")
UNIT_SECONDS = 60
INTEGRATION_SECONDS = 400


@dataclass
class Result:
    fault: Fault
    outcome: str  # killed, survived, does not compile, stale, explained
    by: str = ""
    seconds: float = 0.0

    @property
    def is_bad(self) -> bool:
        return self.outcome not in ("killed", "explained")


# -- the copy ------------------------------------------------------------------


def files_of(tree: Path) -> Iterable[Path]:
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in ("build", ".git", "__pycache__")]
        yield from (Path(folder, name).relative_to(tree) for name in names if name != ".git")


def mirror() -> None:
    """Makes the copy the same as the tree; what is so already keeps its time of change."""
    wanted = set(files_of(TREE))
    for name in set(files_of(SCRATCH)) - wanted:
        (SCRATCH / name).unlink()
    for name in wanted:
        source, copy = TREE / name, SCRATCH / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    (SCRATCH / "build").mkdir(parents=True, exist_ok=True)
    for name in TOOLS:
        link = SCRATCH / "build" / name
        if not link.exists():
            link.symlink_to(BUILD / name)


def run(command: list[str], seconds: float, **more: str) -> subprocess.CompletedProcess[str] | None:
    """None: it did not end in time, and was stopped with all that it had started."""
    process = subprocess.Popen(
        ["nice", "-n", "10", *command], cwd=SCRATCH, env={**os.environ, **more}, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, process.returncode, output)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)  # pytest stops its servers
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return None


def configure() -> None:
    if (SCRATCH / "build" / PRESET / "build.ninja").exists():
        return
    command = ["cmake", "-G", "Ninja", "-S", ".", "-B", f"build/{PRESET}", "-DCMAKE_BUILD_TYPE=Debug"]
    command += ["-DCMAKE_C_FLAGS_DEBUG=-O0", "-DCMAKE_C_FLAGS=-w", "-DWORKER_FAILPOINTS=ON"]
    if shutil.which("ccache"):
        command.append("-DCMAKE_C_COMPILER_LAUNCHER=ccache")
    if shutil.which("mold"):
        command.append("-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=mold")
    done = run(command, 600)
    assert done and done.returncode == 0, done and done.stdout


def build(targets: Iterable[str]) -> bool:
    done = run(["cmake", "--build", f"build/{PRESET}", "-j", "2", "--target", *targets], 1800)
    return done is not None and done.returncode == 0


# -- the tests -----------------------------------------------------------------


def failing_unit_test(names: tuple[str, ...]) -> str:
    """The first one that fails; empty: none does."""
    wanted = "^unit\\.(" + "|".join(names) + ")$"
    command = ["ctest", "--test-dir", f"build/{PRESET}", "-R", wanted, "-j", "4", "--timeout", str(UNIT_SECONDS)]
    done = run([*command, "--no-tests=error"], UNIT_SECONDS * len(names) + 60)
    if done is None:
        return "time-out"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if "***" in line or "No tests" in line]
    return failed[0].split("unit.")[-1].split()[0] if failed else "ctest"


@contextmanager
def servers() -> Iterator[None]:
    """One Kafka and one PostgreSQL for all sessions: to start them takes longer than most tests."""
    with ExitStack() as at_the_end:
        folder = folder_for_servers("klaviyo-worker-mutants.")
        at_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        kafka = KafkaBroker(folder / "kafka", BUILD / "reports" / "mutants-kafka.log")
        postgres = Postgres(folder / "postgres", BUILD / "reports" / "mutants-postgres.log")
        at_the_end.callback(postgres.stop, "immediate")
        at_the_end.callback(kafka.kill)
        kafka.start()
        postgres.start()
        kafka.wait_ready()
        postgres.wait_ready()
        (folder / "servers").write_bytes(pickle.dumps((kafka.as_guest(), postgres.as_guest())))
        os.environ["TESTS_SERVERS"] = str(folder / "servers")
        yield


sessions = itertools.count(1)


def failing_integration_test(ids: list[str]) -> str:
    command = ["build/venv/bin/python", "-m", "pytest", "-c", "tests/pytest.ini", "-p", "no:cacheprovider", "-x", "-q"]
    workers = ["-n", "2", "--maxschedchunk", "1"] if len(ids) > 1 else ["-n", "0"]
    done = run(
        [*command, *workers, *ids], INTEGRATION_SECONDS + 60 * len(ids),
        TESTS_PRESET=PRESET, TESTS_BUILD=str(SCRATCH / "build"), PYTHONDONTWRITEBYTECODE="1",
        TESTS_SESSION=str(next(sessions)),
    )
    if done is None:
        return "time-out"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].removeprefix("FAILED ").strip()[:300] if failed else "the session, which could not begin"


def judge(fault: Fault) -> tuple[str, str]:
    """With the fault seeded: outcome, and by which test."""
    if fault.unit:
        if not build(fault.unit):
            return "does not compile", ""
        if by := failing_unit_test(fault.unit):
            return "killed", by
    if fault.integration:
        if not build(PROGRAMS):
            return "does not compile", ""
        if by := failing_integration_test(fault.test_ids()):
            return "killed", by
    return "survived", ""


def try_fault(fault: Fault) -> Result:
    if fault.equivalent:
        return Result(fault, "explained", fault.equivalent)
    if why := fault_list.stale(fault, SCRATCH):
        return Result(fault, "stale", why)
    began, path = time.monotonic(), SCRATCH / fault.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(fault.seeded(sound), encoding="utf-8")
    try:
        outcome, by = judge(fault)
    finally:
        path.write_text(sound, encoding="utf-8")
    return Result(fault, outcome, by, time.monotonic() - began)


def check_without_faults(faults: list[Fault]) -> None:
    """A test that fails by itself would kill everything."""
    seeded = [fault for fault in faults if not fault.equivalent]
    unit = tuple(sorted({name for fault in seeded for name in fault.unit}))
    ids = sorted({name for fault in seeded for name in fault.test_ids()})
    if not build([*unit, *PROGRAMS]):
        sys.exit("the tree does not compile without a fault")
    if unit and (by := failing_unit_test(unit)):
        sys.exit(f"without any fault {by} fails")
    if ids and (by := failing_integration_test(ids)):
        sys.exit(f"without any fault a test fails: {by}")


# -- what is said --------------------------------------------------------------


def write_reports(results: list[Result]) -> None:
    reports = BUILD / "reports"
    entries = [{**asdict(result.fault), "outcome": result.outcome, "by": result.by,
                "seconds": round(result.seconds, 1)} for result in results]
    (reports / "mutants.json").write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    suite = ElementTree.Element("testsuite", name="mutants")
    for result in results:
        case = ElementTree.SubElement(suite, "testcase", classname="mutants", name=result.fault.name)
        if result.is_bad:
            ElementTree.SubElement(case, "failure", message=f"{result.outcome} {result.by}")
    ElementTree.ElementTree(suite).write(reports / "mutants.xml", encoding="utf-8")


def print_result(result: Result) -> None:
    print(f"  {result.outcome:16} {result.seconds:5.0f} s  {result.fault.name}")
    if result.by:
        print(f"  {'':16}          {result.by}")
    sys.stdout.flush()


def print_counts(results: list[Result]) -> None:
    counts = {word: sum(result.outcome == word for result in results)
              for word in ("killed", "survived", "explained", "does not compile", "stale")}
    tried = counts["killed"] + counts["survived"]
    share = 100 * counts["killed"] / tried if tried else 0
    print(", ".join(f"{n} {word}" for word, n in counts.items()) + f": {share:.1f} % of {tried}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run mutants")
    parser.add_argument("number", nargs="?", type=int, metavar="NUMBER")
    parser.add_argument("-k", dest="word", default="", metavar="WORD")
    options = parser.parse_args()
    faults = fault_list.chosen(fault_list.load(), options.number, options.word)
    if not faults:
        print("no fault is of that name", file=sys.stderr)
        return 2
    SCRATCH.mkdir(parents=True, exist_ok=True)
    (BUILD / "reports").mkdir(parents=True, exist_ok=True)
    mirror()
    configure()
    results: list[Result] = []
    with servers():
        check_without_faults(faults)
        for fault in faults:
            results.append(try_fault(fault))
            print_result(results[-1])
            write_reports(results)
    print_counts(results)
    return 1 if any(result.is_bad for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
