"""The container image, without a container engine: its root file system and its recipe."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import people, shipped
from support.paths import TREE
from support.process import Process, free_port
from support.shipped import run
from support.world import LIST, World

pytestmark = pytest.mark.timeout(shipped.COMPILE_SECONDS)

DOCKERFILE = TREE / "deploy" / "Dockerfile"
USER = 65532
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-E"]
# A root that nothing can be written to, seen by this process alone.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("image") / "rootfs"
    run("deploy/rootfs", shipped.compiled() / "worker" / "klaviyo-worker", folder)
    folder.parent.chmod(0o755)
    folder.parent.parent.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def inside(rootfs: Path, *words: str) -> list[str | Path]:
    """A command in the image: its user, its read-only root, nothing of this machine but the net."""
    enter = ["chroot", f"--userspec={USER}:{USER}", "--groups=", rootfs, "/usr/bin/klaviyo-worker"]
    return [*AS_ROOT, "unshare", "--mount", "sh", "-c", READ_ONLY, rootfs, *enter, *words]


def test_the_program_runs_with_nothing_but_the_image(rootfs: Path) -> None:
    assert run(*inside(rootfs, "--version")).startswith("klaviyo-worker ")


def test_the_image_has_no_shell_and_little_else(rootfs: Path) -> None:
    files = [path for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink()]
    programs = [p for p in files if "bin" in p.parts and os.access(p, os.X_OK)]
    assert [str(p.relative_to(rootfs)) for p in programs] == ["usr/bin/klaviyo-worker"]
    assert sum(path.stat().st_size for path in files) < 64 * 1024 * 1024
    listed = {path.name for path in (rootfs / "var/lib/dpkg/status.d").iterdir()}
    assert {"librdkafka1", "libc6", "ca-certificates"} <= listed
    assert not [p for p in files if p.stat().st_mode & 0o7022]


def with_files(rootfs: Path, env: dict[str, str]) -> dict[str, str]:
    """The same settings, the files that they name put into the image."""
    for name, value in env.items():
        if name.endswith("_FILE"):
            inner = rootfs / "etc" / Path(value).name
            shutil.copy(value, inner)
            inner.chmod(0o444)
            env = {**env, name: f"/etc/{inner.name}"}
    return env


def test_the_image_does_the_main_job_with_a_read_only_root(rootfs: Path, world: World) -> None:
    world.set_up_export(people.simple(100))
    env = world.env(HTTP_LISTEN=f"127.0.0.1:{free_port()}", PATH="/usr/sbin:/usr/bin:/sbin:/bin")
    worker = Process(
        inside(rootfs, "run"), world.folder / "image.log", env=with_files(rootfs, env)
    )
    try:
        world.refresh()
        (ended,) = world.wait_runs_ended()
        assert ended["state"] == "succeeded"
        assert world.simulator.count(LIST) == 100
        world.wait_all_committed()
        assert worker.stop() == 0
    finally:
        worker.kill()  # it changed its user: nothing else would end it


def instructions() -> list[list[str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_the_recipe_takes_everything_from_the_newest_debian_stable() -> None:
    stages = [rest for word, rest in instructions() if word == "FROM"]
    assert stages == ["debian:trixie-slim AS build", "scratch"]
    assert not [word for word, _ in instructions() if word == "ADD"]
    text = DOCKERFILE.read_text()
    assert not re.search(r"^[^#]*\b(curl|wget|pip|npm|git clone)\b", text, re.MULTILINE)


def test_the_image_starts_the_program_itself_as_a_user_without_rights() -> None:
    last = dict(instructions())
    assert last["USER"] == f"{USER}:{USER}"
    assert json.loads(last["ENTRYPOINT"]) == ["/usr/bin/klaviyo-worker"]
    assert json.loads(last["CMD"]) == ["run"]
    assert last["STOPSIGNAL"] == "SIGTERM"
