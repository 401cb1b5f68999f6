"""Signing a release and checking it, by the very lines of the guide."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.paths import TREE

MAKE, SIGN, CHECK = re.findall(r"^```sh\n(.*?)^```$", (TREE / "deploy" / "release.md").read_text(), re.M | re.S)


def run(script: str, folder: Path) -> bool:
    return subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True).returncode == 0


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / "klaviyo-worker_0.1.0_amd64.deb").write_bytes(b"a package")
    (tmp_path / "klaviyo-worker.spdx.json").write_text("{}")
    assert run(MAKE, tmp_path) and run(SIGN, tmp_path)
    return tmp_path


def test_what_was_signed_is_accepted(release: Path) -> None:
    (release / "release.key").unlink()

    assert run(CHECK, release)


@pytest.mark.parametrize("name", ["klaviyo-worker_0.1.0_amd64.deb", "klaviyo-worker.spdx.json"])
def test_a_file_that_was_changed_is_not(release: Path, name: str) -> None:
    (release / name).write_text("something else")

    assert not run(CHECK, release)


def test_sums_that_fit_a_changed_file_need_the_key(release: Path) -> None:
    (release / "klaviyo-worker.spdx.json").write_text("something else")
    assert run(SIGN.splitlines()[0], release)

    assert not run(CHECK, release)


def test_a_signature_by_another_key_is_not_accepted(release: Path) -> None:
    public = (release / "release.pub").read_text()
    assert run(MAKE, release) and run(SIGN, release)
    (release / "release.pub").write_text(public)

    assert not run(CHECK, release)
