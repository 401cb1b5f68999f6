"""A container engine for the tests: Docker's from Debian, or buildah where no daemon can run.

Nothing is installed: the programs are copied out of their packages into build/tools. Neither engine
reaches a registry of images, so the base image is made from Debian's packages by mmdebstrap.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from support.paths import BUILD, TREE
from support.process import Process
from support.shipped import run

TOOLS = BUILD / "tools" / "container"
CACHE = BUILD / "container"
RELEASE = "trixie"
BASE = f"localhost/klaviyo-worker-test-base:{RELEASE}"
DOCKER_PROGRAMS = {
    "docker.io": ["/usr/sbin/dockerd", "/usr/bin/docker"],
    "containerd": ["/usr/bin/containerd", "/usr/bin/containerd-shim-runc-v2"],
    "runc": ["/usr/sbin/runc"],
}
BUILDAH_PROGRAMS = {"buildah": ["/usr/bin/buildah"]}


class CannotRun(Exception):
    """Why an engine does not work on this machine."""


def fetch(packages: Mapping[str, list[str]]) -> None:
    """Copies programs out of packages that are not installed."""
    for package, programs in packages.items():
        if all((TOOLS / Path(program).name).exists() for program in programs):
            continue
        script = '. deploy/packages.sh && fetch_programs "$@"'
        run("bash", "-c", script, "fetch", TOOLS, package, *programs)


def base_archive() -> Path:
    """The smallest system of the release that the Dockerfile names, as a tar file."""
    archive = CACHE / f"{RELEASE}.tar"
    if not archive.exists():
        made = archive.with_suffix(".new")
        include = "--include=ca-certificates"
        run("mmdebstrap", "--quiet", "--variant=apt", "--format=tar", include, RELEASE, made)
        made.rename(archive)
    return archive


class Engine(Protocol):
    name: str

    def build(self, dockerfile: Path, context: Path, tag: str, **arguments: str) -> None: ...

    def config(self, tag: str) -> dict[str, Any]: ...

    def export(self, tag: str, folder: Path) -> None: ...

    def command(
        self, tag: str, name: str, files: Sequence[Path], env: Mapping[str, str], words: list[str]
    ) -> list[str | Path]: ...

    def remove(self, name: str) -> None: ...


class Docker:
    """A daemon of our own, with its own socket and storage; it changes no network."""

    name = "docker"

    def __init__(self, folder: Path) -> None:
        fetch(DOCKER_PROGRAMS)
        self.env = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", "DOCKER_BUILDKIT": "1"}
        self.folder = folder
        self.socket = f"unix://{folder}/docker.sock"
        self.env |= {"DOCKER_HOST": self.socket, "DOCKER_CONFIG": str(folder)}
        (folder / "daemon.json").write_text("{}")
        self.daemon = Process(
            [
                TOOLS / "dockerd",
                f"--host={self.socket}",
                f"--config-file={folder}/daemon.json",
                f"--data-root={CACHE / 'docker'}",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/pid",
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
            ],
            folder / "dockerd.log",
            env=self.env,
            death_signal="TERM",
        )
        try:
            self.daemon.wait_ready(self._answers, 60)
        except AssertionError as late:
            self.close()
            raise CannotRun(f"dockerd: {late}") from late

    def close(self) -> None:
        if self.daemon.running:
            self.daemon.stop(60)
        for left in (self.folder / "exec" / "netns").glob("*"):  # it keeps a name for the host's
            subprocess.run(["umount", left], check=False)

    def _answers(self) -> bool:
        asked = subprocess.run(["docker", "version"], env=self.env, capture_output=True, check=False)
        return asked.returncode == 0

    def _docker(self, *words: str | Path) -> str:
        return run("docker", *words, env=self.env)

    def prepare(self) -> None:
        if not self._docker("images", "--quiet", BASE).strip():
            self._docker("import", base_archive(), BASE)
        # What an earlier run left: layers that are in use stay, and so do those worth keeping.
        self._docker("builder", "prune", "--force", "--keep-storage=4GB")

    def build(self, dockerfile: Path, context: Path, tag: str, **arguments: str) -> None:
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        words = ["build", "--network=host", f"--file={dockerfile}", f"--tag={tag}", *given]
        self._docker(*words, context)

    def config(self, tag: str) -> dict[str, Any]:
        (found,) = json.loads(self._docker("inspect", tag))
        assert isinstance(found["Config"], dict)
        return found["Config"]

    def export(self, tag: str, folder: Path) -> None:
        container = self._docker("create", tag, "nothing").strip()
        archive = folder.with_suffix(".tar")
        self._docker("export", f"--output={archive}", container)
        self._docker("rm", container)
        folder.mkdir()
        run("tar", "--extract", f"--directory={folder}", f"--file={archive}")

    def command(
        self, tag: str, name: str, files: Sequence[Path], env: Mapping[str, str], words: list[str]
    ) -> list[str | Path]:
        """The image as the guide says to run it: nothing to write to, no right, no shell."""
        safe = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        variables = [f"--env={key}={value}" for key, value in env.items()]
        mounts = [f"--volume={file}:/etc/klaviyo-worker/{file.name}:ro" for file in files]
        return [
            *("env", f"DOCKER_HOST={self.socket}", TOOLS / "docker", "run", "--rm", "--network=host"),
            *(f"--name={name}", "--stop-timeout=60", *safe, *variables, *mounts, tag, *words),
        ]

    def remove(self, name: str) -> None:
        subprocess.run(
            ["docker", "rm", "--force", name], env=self.env, capture_output=True, check=False
        )


class Buildah:
    """Without a daemon: chroot for the steps of the recipe, and for the program itself."""

    name = "buildah"

    def __init__(self, folder: Path) -> None:
        fetch(BUILDAH_PROGRAMS)
        policy = folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.policy = f"--signature-policy={policy}"
        self.folder = folder
        storage = ["--storage-driver=vfs", f"--root={CACHE / 'buildah'}", f"--runroot={folder}/run"]
        self.buildah = [TOOLS / "buildah", *storage]
        self.env = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        self.mounted: dict[str, Path] = {}
        try:
            run(*self.buildah, "images", env=self.env)
            run("unshare", "--mount", "true")
        except (AssertionError, OSError) as failed:
            raise CannotRun(f"buildah: {failed}") from failed

    def close(self) -> None:
        run(*self.buildah, "rm", "--all", env=self.env)

    def prepare(self) -> None:
        if RELEASE not in run(*self.buildah, "images", env=self.env):
            recipe = self.folder / "Base"
            recipe.write_text(f"FROM scratch\nADD {RELEASE}.tar /\n")
            self.build(recipe, base_archive().parent, BASE)

    def build(self, dockerfile: Path, context: Path, tag: str, **arguments: str) -> None:
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        words = ["build", self.policy, "--layers", f"--file={dockerfile}", f"--tag={tag}", *given]
        run(*self.buildah, *words, context, env=self.env)

    def config(self, tag: str) -> dict[str, Any]:
        found = json.loads(run(*self.buildah, "inspect", "--type=image", tag, env=self.env))
        assert isinstance(found["OCIv1"]["config"], dict)
        return found["OCIv1"]["config"]

    def _mount(self, tag: str) -> Path:
        if tag not in self.mounted:
            container = run(*self.buildah, "from", self.policy, tag, env=self.env).strip()
            self.mounted[tag] = Path(run(*self.buildah, "mount", container, env=self.env).strip())
        return self.mounted[tag]

    def export(self, tag: str, folder: Path) -> None:
        shutil.copytree(self._mount(tag), folder, symlinks=True)

    def command(
        self, tag: str, name: str, files: Sequence[Path], env: Mapping[str, str], words: list[str]
    ) -> list[str | Path]:
        """The image's root, read-only, entered with its user and without a right."""
        root, config = self._mount(tag), self.config(tag)
        places = root / "etc/klaviyo-worker"
        places.mkdir(exist_ok=True)
        for file in files:
            shutil.copy2(file, places / file.name)
        read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        given = [*config.get("Env", []), *(f"{key}={value}" for key, value in env.items())]
        enter = ["setpriv", "--no-new-privs", "chroot", f"--userspec={config['User']}", "--groups="]
        return [
            *("unshare", "--mount", "sh", "-c", read_only, root),
            *("env", "-i", "PATH=/usr/sbin:/usr/bin", *given, *enter, root),
            *(*config["Entrypoint"], *words),
        ]

    def remove(self, name: str) -> None:
        """Its process is the worker itself."""


@contextmanager
def engine(folder: Path) -> Iterator[Docker | Buildah]:
    """The first engine that can run here; CannotRun says why none can."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _start(folder)
        try:
            found.prepare()
            yield found
        finally:
            found.close()


def _start(folder: Path) -> Docker | Buildah:
    if os.geteuid() != 0:
        raise CannotRun("a container engine needs root here")
    try:
        return Docker(folder)
    except CannotRun as first:
        try:
            return Buildah(folder)
        except CannotRun as second:
            raise CannotRun(f"{first}\n{second}") from None
