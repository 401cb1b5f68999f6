"""deploy/packages.sh, which everything that builds or tests here begins with."""

from __future__ import annotations

import os
import pty
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
case "$*" in *unknown* | *cmake*) exit 100 ;; esac
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


def on_a_terminal(command: list[str], env: dict[str, str]) -> str:
    """What a terminal shows of a program."""
    mine, its = pty.openpty()
    with subprocess.Popen(command, cwd=TREE, env=env, stdout=its, stderr=its) as child:
        os.close(its)
        shown = b""
        while True:
            try:
                piece = os.read(mine, 65536)
            except OSError:  # the last one has closed it
                break
            shown += piece
        os.close(mine)
        assert child.wait() == 1
    return shown.decode()


def test_the_demo_has_colours_on_a_terminal_unless_they_are_not_wanted(
    machine: Machine, own_folder: Path
) -> None:
    env = {
        "PATH": f"{machine.folder}:{os.environ['PATH']}",
        "DIARY": str(machine.diary),
        "TMPDIR": str(own_folder),  # its servers may enter it: else it takes /tmp
        "TERM": "xterm-256color",
    }
    coloured = on_a_terminal(["deploy/demo"], env)
    assert "\033[31m" in coloured and '"packages" failed' in coloured
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = on_a_terminal(["deploy/demo"], env | plain)
        assert '"packages" failed' in shown and "\033" not in shown
