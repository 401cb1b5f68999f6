"""deploy/demo, part by part: nothing leaves the machine, wherever it stands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.paths import TREE, program
from support.root import needs_root
from support.world import default_settings

# Of somebody who works on another database, another cluster and another account.
ELSEWHERE = {
    "DATABASE_URL": "postgresql://owner@db.example/customers",
    "DATABASE_URL_FILE": "/etc/klaviyo-worker/database-url",
    "PGSERVICE": "customers",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "6432",
    "KAFKA_CONFIG_FILE": "/etc/klaviyo-worker/kafka.properties",
    "KAFKA_TOPIC": "theirs",
    "KLAVIYO_REVISION": "2026-01-15",
    "http_proxy": "http://192.0.2.1:3128",
    "NO_PROXY": ".example",
}


class Demo:
    """Functions of deploy/demo, with what they know once its servers are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker = folder / "bin" / "klaviyo-worker"
        self.worker.parent.mkdir(parents=True)
        self.worker.write_text("#!/bin/sh\n")
        self.worker.chmod(0o755)
        (folder / "broker.port").write_text("9099")

    def functions(self, script: str, **variables: str) -> str:
        """What they print."""
        known = f'. deploy/demo; folder=$1 simulator=http://127.0.0.1:9098; program() {{ echo "{self.worker}"; }}'
        return self.shell(f"{known}; {script}", **variables)

    def shell(self, script: str, **variables: str) -> str:
        """What a shell of somebody else prints."""
        done = subprocess.run(
            ["bash", "-c", script, "bash", self.folder],
            cwd=TREE, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout


@pytest.fixture
def demo(own_folder: Path) -> Demo:
    return Demo(own_folder)


def test_whoever_looks_around_works_on_the_demos_servers(demo: Demo) -> None:
    demo.functions("write_settings", **ELSEWHERE)
    lines = demo.shell('. "$1/env" && env', **ELSEWHERE).splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)

    database = f"host='{demo.folder}/postgres' hostaddr='' port=5432 user=postgres dbname=demo"
    assert settings["DATABASE_URL"] == database
    assert (settings["PGHOST"], settings["PGPORT"], settings["PGHOSTADDR"]) == (f"{demo.folder}/postgres", "5432", "")
    assert "PGSERVICE" not in settings
    assert settings["no_proxy"] == settings["NO_PROXY"] == "127.0.0.1,localhost,.example"
    wanted = default_settings() | {
        "DATABASE_URL": database,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9099",
        "KLAVIYO_BASE_URL": "http://127.0.0.1:9098",
        "SECRET_KEY_FILE": f"{demo.folder}/secret.key",
        "HTTP_LISTEN": settings["HTTP_LISTEN"],
    }
    assert {name: settings[name] for name in wanted} == wanted


def test_what_an_installed_worker_reads_does_not_lead_the_demo_elsewhere(demo: Demo) -> None:
    """The demo's server, which is not there, is reached by a socket; theirs would be by the network."""
    installed = demo.folder / "klaviyo-worker.env"
    installed.write_text("".join(f"{name}={value}\n" for name, value in ELSEWHERE.items() if name != "PGSERVICE"))
    words = f"{program('klaviyo-worker')} --env-file {installed} runs list 2>&1 || true"
    demo.functions("write_settings")
    said = demo.shell(f'. "$1/env" && {words}')

    assert "no server's socket" in said, said


def test_a_folder_with_blanks_is_led_to_and_removed(own_folder: Path) -> None:
    demo = Demo(own_folder / "a folder; of mine")
    demo.functions("write_settings; write_stop_script")
    demo.shell('. "$1/env" && klaviyo-worker')
    demo.shell('"$1/stop"')
    assert not demo.folder.exists()


def test_a_client_that_is_newer_than_every_server_is_not_taken_for_one(demo: Demo) -> None:
    for name in ("9.6/bin/initdb", "15/bin/initdb", "17/bin/psql"):
        path = demo.folder / "postgresql" / name
        path.parent.mkdir(parents=True)
        path.touch()
    found = demo.functions("postgres_versions=$1/postgresql; postgres_folder")
    assert found == f"{demo.folder}/postgresql/15/bin"


def test_the_servers_user_can_enter_the_demos_folder(demo: Demo) -> None:
    """As root that is another user."""
    needs_root("a folder that root alone may enter")
    demo.folder.chmod(0o700)
    made = Path(demo.functions("temporary_folder", TMPDIR=str(demo.folder)).strip())
    made.rmdir()
    assert made.parent == Path("/tmp")
    demo.folder.chmod(0o711)
    made = Path(demo.functions("temporary_folder", TMPDIR=str(demo.folder)).strip())
    assert made.parent == demo.folder
