"""The container image, built from its recipe by a real engine, and run as the guide says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import container, people, sbom
from support.container import Buildah, Docker
from support.paths import TREE
from support.process import Process, free_port
from support.world import LIST, World

DOCKERFILE = TREE / "deploy" / "Dockerfile"
USER = "65532:65532"
TAG = "localhost/klaviyo-worker:test"
COMMIT = "0123456789ab"
# Installs a compiler and compiles, the first time on a machine.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker | Buildah]:
    try:
        with container.engine(tmp_path_factory.mktemp("engine")) as found:
            yield found
    except container.CannotRun as why:
        pytest.skip(f"no container engine can run here: {why}")


def test_the_recipe_makes_an_image_that_does_the_main_job(
    engine: Docker | Buildah, world: World, tmp_path: Path
) -> None:
    arguments = {"BASE_IMAGE": container.BASE, "GIT_COMMIT": COMMIT}
    engine.build(DOCKERFILE, TREE, TAG, **arguments)
    has_the_right_configuration(engine)
    holds_one_program_and_what_it_loads(engine, tmp_path / "rootfs")
    does_the_main_job(engine, world, tmp_path)


def has_the_right_configuration(engine: Docker | Buildah) -> None:
    config = engine.config(TAG)
    assert config["User"] == USER
    assert config["Entrypoint"] == ["/usr/bin/klaviyo-worker"]
    assert config["Cmd"] == ["run"]
    assert config["StopSignal"] == "SIGTERM"
    assert "HTTP_LISTEN=[::]:8080" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.title"] == "klaviyo-worker"


def holds_one_program_and_what_it_loads(engine: Docker | Buildah, rootfs: Path) -> None:
    engine.export(TAG, rootfs)
    files = [path for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink()]
    programs = [p for p in files if "bin" in p.parts and os.access(p, os.X_OK)]
    assert [str(p.relative_to(rootfs)) for p in programs] == ["usr/bin/klaviyo-worker"]
    assert sum(path.stat().st_size for path in files) < 64 * 1024 * 1024
    assert not [p for p in files if p.stat().st_mode & 0o7022]
    listed = {path.name for path in (rootfs / "var/lib/dpkg/status.d").iterdir()}
    assert {"librdkafka1", "libc6", "ca-certificates"} <= listed
    shipped = json.loads((rootfs / "usr/share/doc/klaviyo-worker/sbom.spdx.json").read_text())
    sbom.check(shipped, rootfs / "usr/bin/klaviyo-worker")
    assert {package["name"] for package in shipped["packages"][1:]} == listed - {"base-files"}


def files_for(world: World, folder: Path) -> tuple[dict[str, str], list[Path]]:
    """The settings of a world, the files that they name copied to where the image finds them."""
    folder.mkdir()
    settings, files = {}, []
    usual = world.base_env().items()
    for name, value in world.env(HTTP_LISTEN=f"127.0.0.1:{free_port()}").items() - usual:
        if name.endswith("_FILE"):
            file = folder / Path(value).name
            shutil.copy(value, file)
            file.chmod(0o444)
            files.append(file)
            value = f"/etc/klaviyo-worker/{file.name}"
        settings[name] = value
    return settings, files


def does_the_main_job(engine: Docker | Buildah, world: World, folder: Path) -> None:
    world.set_up_export(people.simple(100))
    settings, files = files_for(world, folder / "settings")

    def command(name: str, *words: str) -> list[str | Path]:
        return engine.command(TAG, f"{world.name}-{name}", files, settings, list(words))

    version = subprocess.run(command("v", "--version"), capture_output=True, text=True, check=True)
    assert version.stdout.startswith("klaviyo-worker ")
    assert f"({COMMIT})" in version.stdout

    worker = Process(command("run", "run"), world.folder / "image.log", env={**os.environ})
    try:
        world.refresh()
        (ended,) = world.wait_runs_ended()
        assert ended["state"] == "succeeded"
        assert world.simulator.count(LIST) == 100
        world.wait_all_committed()
        assert worker.stop() == 0
    finally:
        engine.remove(f"{world.name}-run")
        worker.kill()


def test_a_build_sees_the_sources_and_no_history_key_or_password(
    engine: Docker | Buildah, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    wanted = ["CMakeLists.txt", "worker/main.c", "schemas/sql/0001_source.sql", "deploy/rootfs"]
    unwanted = [
        *(".git/config", "build/dev/worker/klaviyo-worker", "secret.key", "schemas/tls.pem"),
        *("worker/.git/HEAD", "worker/secret.key", "deploy/secret.key", "kafka.properties"),
        *("deploy/systemd/kafka.properties", "worker.env", "database-url", "common/database-url"),
    ]
    for name in [*wanted, *unwanted]:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).touch()
    shutil.copy(TREE / ".dockerignore", context)
    recipe = tmp_path / "Recipe"
    recipe.write_text('FROM scratch\nCOPY . /\nCMD ["/nothing"]\n')
    engine.build(recipe, context, "localhost/klaviyo-worker-context:test")
    engine.export("localhost/klaviyo-worker-context:test", tmp_path / "seen")
    seen = {name for name in [*wanted, *unwanted] if (tmp_path / "seen" / name).exists()}
    assert seen == set(wanted)


def test_the_recipe_takes_everything_from_the_newest_debian_stable() -> None:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["${BASE_IMAGE} AS build", "scratch"]
    assert "ARG BASE_IMAGE=debian:trixie-slim\n" in text
    assert not re.search(r"^ADD|\b(curl|wget|pip|npm|git clone)\b", text, re.MULTILINE)
    # Builders that write OCI images ignore it.
    assert "\nSHELL" not in text
