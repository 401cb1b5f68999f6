"""The systemd unit: what it keeps the service from, and what it gives it."""

from __future__ import annotations

import re
import subprocess

from support.paths import TREE, program

SYSTEMD = TREE / "deploy" / "systemd"
UNIT = SYSTEMD / "klaviyo-worker.service"
DRAIN_SECONDS, CLOSE_SECONDS = 35, 10


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def help_of_run() -> str:
    command = [program("klaviyo-worker"), "run", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_exposure_is_under_two() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for klaviyo-worker.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < 2


def test_systemd_understands_every_line() -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in complaints if "klaviyo-worker" in line], done.stderr


def test_it_is_stopped_only_after_it_had_time_to_drain_and_close() -> None:
    assert "35" in re.findall(r"DRAIN_SECONDS.*\n +default: (\d+)", help_of_run())
    (seconds,) = values("TimeoutStopSec")
    assert int(seconds) > DRAIN_SECONDS + CLOSE_SECONDS


def test_secrets_are_credentials_and_no_variables() -> None:
    credentials = {value.split(":")[0] for value in values("LoadCredential")}
    assert credentials == {"database-url", "secret.key", "kafka.properties"}
    (environment,) = values("Environment")
    files = dict(pair.split("=", 1) for pair in environment.split())
    assert {name.removeprefix("%d/") for name in files.values()} == credentials
    assert all(name in help_of_run() for name in files)


def test_its_settings_are_ones_that_the_program_knows() -> None:
    text = (SYSTEMD / "klaviyo-worker.env").read_text()
    names = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    assert "KAFKA_BOOTSTRAP_SERVERS" in names
    known = set(re.findall(r"^  ([A-Z_]{4,}) ", help_of_run(), re.MULTILINE))
    assert names <= known
