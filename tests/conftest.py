"""Services of a test session, and a world for each test.

One Kafka broker and one PostgreSQL serve all processes of the session: the
process that runs pytest starts them and tells the others where they are. Tests
that restart a server ask for `own_kafka` or `own_postgres`.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.kafka_broker import KafkaBroker
from support.paths import BUILD
from support.postgres import Postgres, Standby, folder_for_servers
from support.worker import run_command
from support.world import MakeWorld, Services, World

TEMPLATE = "with_schema"
LOGS = BUILD / "test-logs"


class SharedServers:
    """Lives in the process that was started, not in the workers of xdist. Its data are thrown away, so that
    no server is asked to end in good order; also when one does not start."""

    def __init__(self) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        with ExitStack() as at_the_end:
            self.folder = folder_for_servers("klaviyo-worker-tests.")
            at_the_end.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.kafka = KafkaBroker(self.folder / "kafka", LOGS / "kafka.log")
            at_the_end.callback(self.kafka.kill)
            self.kafka.start()
            self.postgres = Postgres(self.folder / "postgres", LOGS / "postgres.log")
            at_the_end.callback(self.postgres.stop, "immediate")
            self.postgres.start()
            self.kafka.wait_ready()
            self.postgres.wait_ready()
            make_template(self.postgres)
            self.stop = at_the_end.pop_all().close


class BorrowedServers:
    """Those of somebody who runs many sessions (tests/mutants), told of by a file. Each session is
    another one by TESTS_SESSION, which makes its names new ones."""

    def __init__(self, told: Path) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.kafka, self.postgres = pickle.loads(told.read_bytes())
        self.postgres.drop_database(TEMPLATE)
        make_template(self.postgres)

    def stop(self) -> None:
        pass


def make_template(postgres: Postgres) -> None:
    database = postgres.create_database(TEMPLATE)
    result = run_command(["migrate"], {**World.base_env(), "DATABASE_URL": database.url})
    assert result.rc == 0, result


# What waits longest begins first, so that nothing long is left over at the end.
LONG = ("test_recovery", "test_sharing", "test_scaling", "test_crash_points")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.name.startswith(LONG))


def is_xdist_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if is_xdist_worker(config) or config.option.collectonly:
        return
    shutil.rmtree(LOGS, ignore_errors=True)
    told = os.environ.get("TESTS_SERVERS")
    config.shared_servers = BorrowedServers(Path(told)) if told else SharedServers()  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    servers = getattr(config, "shared_servers", None)
    if servers:
        servers.stop()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    servers = node.config.shared_servers
    node.workerinput["services"] = pickle.dumps(without_processes(servers))


def without_processes(servers: SharedServers | BorrowedServers) -> Services:
    """The same servers as seen from a process that did not start them."""
    return Services(servers.kafka.as_guest(), servers.postgres.as_guest(), TEMPLATE)


@pytest.fixture(scope="session")
def shared_services(request: pytest.FixtureRequest) -> Services:
    config = request.config
    if is_xdist_worker(config):
        services = pickle.loads(config.workerinput["services"])  # type: ignore[attr-defined]
        assert isinstance(services, Services)
        return services
    return without_processes(config.shared_servers)  # type: ignore[attr-defined]


HAS_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        item.stash[HAS_FAILED] = True
        report.sections.append(("logs", f"kept in {log_folder(item)}"))
    return report


def short_name(item: pytest.Item) -> str:
    """Of letters, digits and dashes, short enough for a database's name; a new one for each attempt."""
    identity = f"{item.nodeid} {getattr(item, 'execution_count', 1)} {os.environ.get('TESTS_SESSION', '')}"
    words = re.sub(r"[^a-z0-9]+", "-", item.name.lower().removeprefix("test_")).strip("-")
    return f"{words[:36].strip('-')}-{zlib.crc32(identity.encode()) % 100_000:05d}"


def log_folder(item: pytest.Item) -> Path:
    """Of this test alone: [[]] and [{}] are written alike, and two files may have a test of one name."""
    attempt = getattr(item, "execution_count", 1)
    words = re.sub(r"[^A-Za-z0-9_.-]+", "-", item.name).strip("-")
    number = zlib.crc32(item.nodeid.encode()) % 100_000
    return LOGS / (f"{words}-{number:05d}" + (f"-again-{attempt}" if attempt > 1 else ""))


@pytest.fixture
def logs(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where the test's processes write; kept when the test fails, or with TESTS_KEEP_LOGS set."""
    folder = log_folder(request.node)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    if not request.node.stash.get(HAS_FAILED, False) and "TESTS_KEEP_LOGS" not in os.environ:
        shutil.rmtree(folder)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """For the data of a server of the test's own."""
    folder = folder_for_servers("klaviyo-worker-test.")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_kafka(own_folder: Path, logs: Path) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(own_folder / "kafka", logs / "kafka.log")
    broker.start()
    broker.wait_ready()
    yield broker
    broker.kill()


@pytest.fixture
def own_postgres(own_folder: Path, logs: Path) -> Iterator[Postgres]:
    server = Postgres(own_folder / "postgres", logs / "postgres.log")
    server.start()
    server.wait_ready()
    yield server
    server.stop("immediate")


@pytest.fixture
def standby(own_postgres: Postgres, own_folder: Path, logs: Path) -> Iterator[Standby]:
    rules = own_postgres.data / "pg_hba.conf"
    rules.write_text("host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n")
    own_postgres.restart()
    copy = Standby(own_postgres, own_postgres.data.parent, logs / "standby.log")
    yield copy
    copy.process.kill()


@pytest.fixture
def make_world(
    request: pytest.FixtureRequest, logs: Path, shared_services: Services
) -> Iterator[MakeWorld]:
    """Makes a prepared world; servers that are not given are the session's."""
    made: list[World] = []

    def make(
        kafka: KafkaBroker | None = None, postgres: Postgres | None = None, partitions: int = 1
    ) -> World:
        services = Services(
            kafka or shared_services.kafka,
            postgres or shared_services.postgres,
            None if postgres else shared_services.template,
        )
        world = World(short_name(request.node), services, logs, partitions)
        made.append(world)
        return world.prepare()

    yield make
    for world in made:
        world.close()
        if world.postgres is shared_services.postgres:
            world.postgres.drop_database(world.db.name)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()
