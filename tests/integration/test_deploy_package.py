"""What `cmake --install` and the Debian package bring, and that they go again."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

import pytest

from support import sbom, shipped
from support.paths import TREE
from support.shipped import run

pytestmark = pytest.mark.timeout(shipped.COMPILE_SECONDS)

ETC = Path("etc/klaviyo-worker")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    run("cpack", "-G", "DEB", "-B", folder, cwd=shipped.compiled())
    (made,) = folder.glob("*.deb")
    return made


class Root:
    """A system of its own for dpkg, with nothing in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "var/lib/dpkg/updates").mkdir(parents=True)
        (folder / "var/lib/dpkg/info").mkdir()
        (folder / "var/lib/dpkg/status").touch()

    def dpkg(self, *arguments: str | Path) -> str:
        forces = ["--force-depends", "--force-script-chrootless", "--force-not-root"]
        command = ["dpkg", f"--root={self.folder}", "--log=/dev/null", *forces, *arguments]
        return run(*command, env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})

    def files(self) -> set[str]:
        everything = (path for path in self.folder.rglob("*") if not path.is_dir())
        names = {str(path.relative_to(self.folder)) for path in everything}
        return {name for name in names if not name.startswith("var/lib/dpkg/")}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root")


def version(program: Path) -> str:
    return run(program, "--version").splitlines()[0]


def test_a_package_installs_runs_and_purges_cleanly(package: Path, root: Root) -> None:
    root.dpkg("--install", package)
    assert version(root.folder / "usr/bin/klaviyo-worker").startswith("klaviyo-worker 0.1.0")
    assert "Status: install ok installed" in root.dpkg("--status", "klaviyo-worker")

    root.dpkg("--remove", "klaviyo-worker")
    remembered = "var/lib/systemd/deb-systemd-helper-enabled/klaviyo-worker.service.dsh-also"
    settings = {f"{ETC}/klaviyo-worker.env", f"{ETC}/kafka.properties"}
    assert root.files() == settings | {remembered}

    root.dpkg("--purge", "klaviyo-worker")
    assert root.files() == set()
    assert not (root.folder / ETC).exists()


def test_a_purge_takes_every_password_and_never_the_key_that_opens_stored_keys(
    package: Path, root: Root
) -> None:
    root.dpkg("--install", package)
    settings = root.folder / ETC
    for name in ("database-url", "database-url~", "secret.key"):
        (settings / name).write_text("put here by an administrator")
    (settings / "kafka.properties").write_text("sasl.password=secret")

    root.dpkg("--remove", "klaviyo-worker")
    assert (settings / "database-url").exists()  # for when it is installed again

    root.dpkg("--purge", "klaviyo-worker")
    assert root.files() == {f"{ETC}/secret.key"}


def test_settings_that_were_changed_survive_another_installation(
    package: Path, root: Root
) -> None:
    root.dpkg("--install", package)
    settings = root.folder / ETC / "klaviyo-worker.env"
    settings.write_text("MAX_RUNS=1\n")
    root.dpkg("--install", package)
    assert settings.read_text() == "MAX_RUNS=1\n"


def test_the_package_says_what_it_needs(package: Path) -> None:
    needs = run("dpkg-deb", "--field", package, "Depends")
    for library in ("ca-certificates", "librdkafka1", "libpq5", "libcurl", "libsodium23"):
        assert library in needs


def test_lintian_has_nothing_to_say(package: Path) -> None:
    run("lintian", "--no-cfg", "--allow-root", "--fail-on=error,warning", package)
    overrides = (TREE / "deploy/debian/lintian-overrides").read_text().splitlines()
    assert len([line for line in overrides if line.startswith("klaviyo-worker:")]) == 2


def test_the_newest_entry_of_the_change_log_is_this_version(package: Path) -> None:
    first = (TREE / "deploy/debian/changelog").read_text().splitlines()[0]
    assert f"({run('dpkg-deb', '--field', package, 'Version').strip()})" in first


def test_the_package_has_a_bill_of_materials_and_good_sums(package: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "--raw-extract", package, tmp_path / "package")
    run("md5sum", "--check", "--quiet", "DEBIAN/md5sums", cwd=tmp_path / "package")
    bill = tmp_path / "package/usr/share/doc/klaviyo-worker/sbom.spdx.json"
    sbom.check(json.loads(bill.read_text()), tmp_path / "package/usr/bin/klaviyo-worker")


def rights(package: Path) -> dict[str, str]:
    lines = [line.split() for line in run("dpkg-deb", "--contents", package).splitlines()]
    return {words[5]: f"{words[0]} {words[1]}" for words in lines}


def test_the_package_is_the_same_whatever_the_umask_of_who_makes_it(package: Path, tmp_path: Path) -> None:
    run("sh", "-c", f"umask 077 && exec cpack -G DEB -B {tmp_path}", cwd=shipped.compiled())
    (made,) = tmp_path.glob("*.deb")
    assert rights(made) == rights(package)


def test_what_is_shipped_is_hardened_and_does_not_say_where_it_was_made() -> None:
    program = shipped.compiled() / "worker/klaviyo-worker"
    linked = run("readelf", "--wide", "--dynamic", "--program-headers", program)
    assert "NOW" in linked and "PIE" in linked and "GNU_RELRO" in linked
    assert re.search(r"GNU_STACK.* RW +0x", linked)
    symbols = run("readelf", "--wide", "--dyn-syms", program)
    assert "__stack_chk_fail" in symbols and "_chk@" in symbols
    assert str(TREE) not in program.read_bytes().decode("latin-1")
    if platform.machine() == "x86_64":
        objects = list(shipped.compiled().rglob("*.c.o"))
        assert len(objects) > 50
        notes = run("readelf", "--notes", *objects)
        assert notes.count("x86 feature: IBT, SHSTK") == len(objects)


def test_an_installation_keeps_to_the_folders_of_gnu(tmp_path: Path) -> None:
    run("cmake", "--install", shipped.compiled(), env={"DESTDIR": str(tmp_path)})
    for name in (
        "usr/bin/klaviyo-worker",
        "usr/lib/systemd/system/klaviyo-worker.service",
        "usr/lib/systemd/system/klaviyo-worker-publish@.service",
        "usr/lib/systemd/system/klaviyo-worker-publish@.timer",
        "usr/share/man/man1/klaviyo-worker.1",
        "usr/share/bash-completion/completions/klaviyo-worker",
        "usr/share/zsh/vendor-completions/_klaviyo-worker",
        "usr/share/fish/vendor_completions.d/klaviyo-worker.fish",
        "usr/share/doc/klaviyo-worker/runbook.md",
        "usr/share/klaviyo-worker/schemas/events/segment-refreshed.v1.schema.json",
        "usr/share/klaviyo-worker/schemas/events/segment-export.v1.schema.json",
        "etc/klaviyo-worker/klaviyo-worker.env",
    ):
        assert (tmp_path / name).is_file(), name
    secret = tmp_path / "etc/klaviyo-worker/kafka.properties"
    assert secret.stat().st_mode & 0o777 == 0o600


def test_with_another_prefix_everything_is_below_it(tmp_path: Path) -> None:
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    options = ["-DBUILD_TESTING=OFF", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    run("cmake", "--preset", "release", "-B", build, *options)
    (build / "worker").mkdir(exist_ok=True)
    (build / "worker/klaviyo-worker").write_text("#!/bin/sh\n")
    run("cmake", "--install", build)
    unit = (prefix / "lib/systemd/system/klaviyo-worker.service").read_text()
    assert f"ExecStart={prefix}/bin/klaviyo-worker run" in unit
    assert f"EnvironmentFile={prefix}/etc/klaviyo-worker/klaviyo-worker.env" in unit
    assert (prefix / "etc/klaviyo-worker/klaviyo-worker.env").is_file()
    assert not (build / "CPackConfig.cmake").exists()
