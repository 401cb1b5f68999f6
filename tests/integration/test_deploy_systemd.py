"""The systemd unit: what it keeps the service from, and what it gives it."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path

from support import people
from support.paths import TREE, program
from support.process import wait_until
from support.relay import Relay
from support.world import EXPORT, World

SYSTEMD = TREE / "deploy" / "systemd"
UNIT = SYSTEMD / "klaviyo-worker.service"
DRAIN_SECONDS, CLOSE_SECONDS = 35, 10


PUBLISH = SYSTEMD / "klaviyo-worker-publish@.service"
TIMER = SYSTEMD / "klaviyo-worker-publish@.timer"


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


def test_a_timer_publishes_one_export_with_the_same_confinement(tmp_path: Path) -> None:
    service, timer = PUBLISH.read_text(), TIMER.read_text()
    assert "ExecStart=/usr/bin/klaviyo-worker publish --export=%I\n" in service
    assert "secret.key" not in service, "it needs no key"
    # What it keeps the worker from, it keeps this from.
    confined = re.compile(r"^(?:Private|Protect|Restrict[A-Z]|NoNew|Capab|System|Lock|Memory[D]|Device|NoExec).*$", re.M)
    assert set(confined.findall(UNIT.read_text())) <= set(confined.findall(service))
    assert "Persistent=yes" in timer and "WantedBy=timers.target" in timer
    # As instances, which systemd can verify.
    for unit, name in ((service, "klaviyo-worker-publish@EU\\x2c\\x20UK.service"),
                       (timer, "klaviyo-worker-publish@EU\\x2c\\x20UK.timer")):  # fmt: skip
        (tmp_path / name).write_text(unit)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in complaints if "klaviyo-worker" in line], done.stderr
    (when,) = re.findall(r"^OnCalendar=(.+)$", timer, re.MULTILINE)
    assert subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, check=False).returncode == 0


def test_what_a_schedule_runs_brings_an_export_up_to_date(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker()
    (words,) = re.findall(r"^ExecStart=/usr/bin/klaviyo-worker (.+)$", PUBLISH.read_text(), re.M)
    world.admin(*words.replace("%I", EXPORT).split())
    (run,) = world.wait_runs_ended(1)
    assert (run["state"], run["trigger"]) == ("succeeded", "on-demand")


class Systemd:
    """Hears what a service tells it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        self.told: list[str] = []

    def heard(self, line: str) -> int:
        """How often a line was told so far."""
        while True:
            try:
                self.told += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told.count(line)

    def environment(self, watchdog_seconds: int) -> dict[str, str]:
        return {
            "NOTIFY_SOCKET": str(self.path),
            "WATCHDOG_USEC": str(watchdog_seconds * 1_000_000),
        }


def test_systemd_hears_of_readiness_life_and_the_end(world: World, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    worker = world.start_worker(DRAIN_SECONDS="20", **systemd.environment(1))
    wait_until(lambda: systemd.heard("READY=1"), 30, "the service to be ready")
    wait_until(lambda: systemd.heard("WATCHDOG=1") > 2, 30, "signs of life")
    assert systemd.heard("STOPPING=1") == 0

    worker.stop()
    assert systemd.heard("STOPPING=1") == 1
    extended = [line for line in systemd.told if line.startswith("EXTEND_TIMEOUT_USEC=")]
    assert int(extended[-1].split("=")[1]) / 1_000_000 > 20 + CLOSE_SECONDS


def test_a_worker_is_ready_for_systemd_once_it_is_in_the_group(world: World, tmp_path: Path) -> None:
    """Kafka is away at first: the start takes long, and is no failure."""
    relay = Relay(world.kafka.port)
    relay.cut()
    systemd = Systemd(tmp_path)
    world.start_worker(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{relay.port}", **systemd.environment(1))
    wait_until(lambda: systemd.heard("WATCHDOG=1") > 2, 30, "signs of life")
    assert systemd.heard("EXTEND_TIMEOUT_USEC=60000000") and not systemd.heard("READY=1")

    relay.mend()
    wait_until(lambda: systemd.heard("READY=1"), 30, "the service to be ready")


def is_stopped(pid: int) -> bool:
    return ") T " in Path(f"/proc/{pid}/stat").read_text()


def test_a_frozen_worker_falls_silent(world: World, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path)
    worker = world.start_worker(**systemd.environment(1))
    wait_until(lambda: systemd.heard("WATCHDOG=1"), 30, "a sign of life")
    worker.freeze()
    wait_until(lambda: is_stopped(worker.process.pid), 10, "the worker to be frozen")
    before = systemd.heard("WATCHDOG=1")
    time.sleep(2)  # systemd would have ended it after one
    assert systemd.heard("WATCHDOG=1") == before
    worker.thaw()
    wait_until(lambda: systemd.heard("WATCHDOG=1") > before, 30, "life again")
