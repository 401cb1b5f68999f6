"""tests/run: the numbers that it ends with are those of what was run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.paths import TREE


class Run:
    """Functions of tests/run, with a folder of builds in which no program is real."""

    def __init__(self, build: Path) -> None:
        self.build = build
        for name in ("logs", "reports"):
            (build / name).mkdir()

    def put(self, name: str, script: str) -> None:
        """A program of the build."""
        path = self.build / name
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)

    def call(self, script: str, **variables: str) -> str:
        """What the functions print."""
        done = subprocess.run(
            ["bash", "-c", f'. tests/run; build=$1; preset=made; {script}', "bash", self.build],
            cwd=TREE, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.stderr, done.stderr
        return done.stdout


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


PYTEST = """\
for word; do
  case $word in --junit-xml=*) echo '<testsuite><testcase name="a"/></testsuite>' >"${word#*=}" ;; esac
done
echo ran
"""


def test_a_suite_that_was_run_in_part_is_run_again_before_it_is_counted(run: Run) -> None:
    run.put("venv/bin/python", PYTEST)
    whole, part = "run_unless_unchanged integration", "run_pytest integration tests/integration -k word"
    unchanged = "everything() { echo tree; }"

    assert run.call(f"{unchanged}; {whole}; {whole}").count("ran\n") == 1
    assert run.call(f"{unchanged}; {part}; {whole}; {whole}").count("ran\n") == 2


PLAYER = """\
case $2 in
  1) echo '10 schedules, 0 broken, 1 s' ;;
  *) {ends} ;;
esac
"""


@pytest.mark.parametrize(
    ("ends", "counted"),
    [
        ("echo '10 schedules, 0 broken, 1 s'", "20 0"),
        ("echo '10 schedules, 3 broken, 1 s'; exit 1", "17 3"),
        ("echo 'seed 12 crashed'; kill -ABRT $$", "9 1"),
        ("kill -KILL $$", "10 1"),
        ("echo '10 schedules, 0 broken, 1 s'; exit 1", "20 1"),
    ],
)
def test_a_part_of_a_simulation_that_died_is_counted_as_a_failure(run: Run, ends: str, counted: str) -> None:
    run.put("made/tests/simulate/simulate", PLAYER.format(ends=ends))
    shown = run.call('jobs=2; compile() { :; }; run_simulate 20 2>&1; echo "counted: $passed_checks $failed_checks"')
    assert f"counted: {counted}\n" in shown


def test_a_build_without_the_tests_programs_gets_them(run: Run) -> None:
    """As somebody may have configured it for a package."""
    (run.build / "made").mkdir()
    (run.build / "made" / "build.ninja").touch()
    assert run.call('cmake() { echo "$@"; }; compile made').splitlines()[0].split() == [
        "--preset", "made", "-DBUILD_TESTING=ON",
    ]  # fmt: skip


def test_nothing_of_the_callers_leads_a_test_elsewhere(run: Run) -> None:
    theirs = {"http_proxy": "http://192.0.2.1:3128", "no_proxy": ".example", "PGSERVICE": "customers"}
    printed = run.call('printf "%s\\n" "$no_proxy" "${PGSERVICE-none}"', **theirs).splitlines()
    assert printed == ["127.0.0.1,localhost,.example", "none"]
