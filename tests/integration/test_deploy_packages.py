"""deploy/packages.sh, which everything that builds or tests here begins with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.paths import TREE

SHELLS = {"careful": "set -euo pipefail", "plain": ":"}
QUERY = """#!/bin/sh
for name; do :; done
case $name in
  here) echo installed ;;
  half) echo config-files ;;
  twice) printf 'installed\\ninstalled\\n' ;;
  *) echo "no packages found matching $name" >&2; exit 1 ;;
esac
"""
APT = """#!/bin/sh
echo "$@" >>"$DIARY"
case "$*" in *unknown*) exit 100 ;; esac
"""


class Machine:
    """Package tools that only write down what they were asked for."""

    def __init__(self, folder: Path) -> None:
        self.diary = folder / "diary"
        self.diary.touch()
        self.folder = folder
        as_it_is = '#!/bin/sh\nexec "$@"\n'
        tools = {"dpkg-query": QUERY, "apt-get": APT, "sudo": as_it_is, "mkdir": "#!/bin/sh\n"}
        tools |= {"tee": "#!/bin/sh\ncat\n", "rm": "#!/bin/sh\n"}
        for name, text in tools.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def need(self, options: str, *names: str) -> subprocess.CompletedProcess[str]:
        script = f'{options}; . deploy/packages.sh; need_packages "$@"; echo "status $?"'
        return subprocess.run(
            ["bash", "-c", script, "bash", *names],
            cwd=TREE,
            env={"PATH": f"{self.folder}:{os.environ['PATH']}", "DIARY": str(self.diary)},
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> list[str]:
        lines = self.diary.read_text().splitlines()
        return [line.split("--no-install-recommends ")[1] for line in lines if "install" in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("options", SHELLS.values(), ids=SHELLS.keys())
def test_what_is_missing_is_installed_whatever_the_shell_is_told(
    machine: Machine, options: str
) -> None:
    done = machine.need(options, "here", "absent", "half", "twice", "lacking")
    assert done.returncode == 0, done.stderr
    assert "status 0" in done.stdout
    assert machine.installed() == ["absent half lacking"]


@pytest.mark.parametrize("options", SHELLS.values(), ids=SHELLS.keys())
def test_with_nothing_missing_no_package_manager_is_called(machine: Machine, options: str) -> None:
    done = machine.need(options, "here", "twice")
    assert "status 0" in done.stdout
    assert machine.diary.read_text() == ""


@pytest.mark.parametrize("options", SHELLS.values(), ids=SHELLS.keys())
def test_a_package_that_cannot_be_installed_is_a_failure(machine: Machine, options: str) -> None:
    done = machine.need(options, "here", "unknown")
    assert "status 0" not in done.stdout
    assert machine.installed() == ["unknown"]
