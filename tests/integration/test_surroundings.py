"""What a worker stands on fails under it: disks, memory, descriptors, names, clocks, servers. It says so, and loses nothing.

LEADER_DEATHS=4  so many leaders of a cluster of three die, each in a run; the dead one is back before the next
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support import events, people
from support.faults import PROGRAM, Faults
from support.kafka_broker import KafkaCluster
from support.postgres import Database, Postgres, Standby, server_user
from support.process import wait_until
from support.root import AS_ROOT, as_root, needs, needs_root, where_allowed
from support.root import small_disk as mounted
from support.worker import Worker
from support.world import LIST, SANITIZERS, SEGMENT, MakeWorld, World, check_sums

LEADER_DEATHS = int(os.environ.get("LEADER_DEATHS", "1"))
ROWS = 20_000
SHORT_LEASE = {"LEASE_SECONDS": "5"}


def is_ready(worker: Worker) -> bool:
    return worker.status("/readyz") == 200


def check_runs(world: World, population: people.Population, runs: int) -> None:
    """All have succeeded, everybody is on the list, the offset is at the end."""
    for run in world.wait_runs_ended(runs, 90):
        assert run["state"] == "succeeded", run
        check_sums(run)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    world.wait_all_committed(60)


def check_list(world: World, population: people.Population, runs: int = 1) -> None:
    """The same, and nothing has died."""
    check_runs(world, population, runs)
    assert world.dead_letters() == []


# -- the database ----------------------------------------------------------------


def test_a_run_goes_on_at_the_standby_that_was_promoted(
    make_world: MakeWorld, own_postgres: Postgres, standby: Standby
) -> None:
    world = make_world(postgres=own_postgres)
    population = people.simple(ROWS)
    world.set_up_export(population)
    both = f"127.0.0.1:{own_postgres.port},127.0.0.1:{standby.port}"
    url = f"postgresql://postgres@{both}/{world.db.name}?target_session_attrs=read-write"
    promoted = Database(world.db.url.replace(f":{own_postgres.port}/", f":{standby.port}/"), world.db.name)
    world.simulator.fault("import", {"delay_ms": 1500}, times=1)
    worker = world.start_worker(DATABASE_URL=url, **SHORT_LEASE).wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    written = world.db.value("select pg_current_wal_lsn()::text")
    wait_until(
        lambda: promoted.value("select pg_last_wal_replay_lsn() >= %s::pg_lsn", written), 30, "the standby to follow"
    )

    own_postgres.stop("immediate")
    wait_until(lambda: not is_ready(worker), 30, "/readyz to say no")
    assert worker.status("/livez") == 200
    assert worker.wait_for_event("database_unavailable")["error"]
    standby.promote()
    world.db = promoted

    check_list(world, population)
    wait_until(lambda: is_ready(worker), 40, "/readyz to say yes")
    world.refresh(full=True)
    check_list(world, population, 2)
    worker.stop()
    own_postgres.start()
    own_postgres.wait_ready()


def take_all_connections(url: str) -> list[psycopg.Connection[object]]:
    taken = []
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(url, connect_timeout=5))
    return taken


def test_a_server_without_a_free_connection_is_waited_for(make_world: MakeWorld, own_postgres: Postgres) -> None:
    world = make_world(postgres=own_postgres)
    world.db.execute("alter system set max_connections = 24")
    own_postgres.restart()
    population = people.simple(200)
    world.set_up_export(population)
    worker = world.start_worker(**SHORT_LEASE).wait_ready()
    taken = take_all_connections(world.db.url)
    assert taken
    world.refresh()

    wait_until(lambda: "no connection free" in worker.log.read_text(), 40, "the log to say it")
    assert worker.status("/livez") == 200 and world.simulator.count(LIST) == 0
    for connection in taken:
        connection.close()

    check_list(world, population)
    wait_until(lambda: is_ready(worker), 40, "/readyz to say yes")


# -- three brokers ---------------------------------------------------------------


@pytest.fixture
def cluster(own_folder: Path, logs: Path) -> Iterator[KafkaCluster]:
    brokers = KafkaCluster(own_folder, logs)
    brokers.start()
    brokers.wait_ready()
    yield brokers
    brokers.kill()


def wait_in_sync(cluster: KafkaCluster, topics: tuple[str, ...]) -> None:
    for topic in topics:
        wait_until(lambda topic=topic: cluster.in_sync(topic) == 3, 60, f"three replicas of {topic}", 0.2)


OPEN_RUNS = "select count(*) from klaviyo.run where finished_at is null"


@pytest.mark.timeout(120 + 60 * LEADER_DEATHS)
def test_leaders_that_die_during_runs_cost_nothing(make_world: MakeWorld, cluster: KafkaCluster) -> None:
    """The leader of everything: events, the group and its offsets, dead letters, outcomes."""
    world = make_world(kafka=cluster)
    world.turn_on_outcomes()
    population = people.simple(2000)
    world.set_up_export(population)
    worker = world.start_worker().wait_ready()
    for deaths in range(1, LEADER_DEATHS + 1):
        world.simulator.fault("import", {"delay_ms": 5000}, times=1)
        began = len(world.simulator.diary("import"))
        world.publish(events.Message(b"no event", {}, b"x"), events.binary(SEGMENT, full=True))
        world.wait_requests("import", began + 1)
        leader = cluster.leader(world.topic)
        cluster.brokers[leader].kill()
        wait_until(lambda dead=leader: cluster.leader(world.topic) in {2, 3} - {dead}, 30, "another leader", 0.2)
        committed = world.committed()
        assert committed < 2 * deaths or world.db.value(OPEN_RUNS) == 0, "an offset has passed a run that goes on"
        check_runs(world, population, deaths)
        if deaths < LEADER_DEATHS:
            cluster.brokers[leader].start()
            wait_in_sync(cluster, (world.topic, "__consumer_offsets", world.dead_letter_topic, world.outcome_topic))
    letters = {letter.header("__connect.errors.offset") for letter in world.dead_letters()}
    assert letters == {str(2 * n) for n in range(LEADER_DEATHS)}
    assert len({outcome.header("ce_id") for outcome in world.wait_outcomes_sent()}) == LEADER_DEATHS
    assert len(worker.events("run_taken")) == LEADER_DEATHS, "a run was taken from its worker"
    worker.stop()


# -- disks -----------------------------------------------------------------------


@pytest.fixture
def small_disk(own_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    with mounted(own_folder / "small", request.param) as folder:
        yield folder


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


@pytest.mark.parametrize("small_disk", ["128k"], indirect=True)
def test_a_log_on_a_full_disk_holds_up_nothing_and_says_how_much_is_missing(small_disk: Path, world: World) -> None:
    population = people.simple(2000)
    world.set_up_export(population)
    worker = world.start_worker_within(log=small_disk / "worker.log").wait_ready()
    filler = fill(small_disk)
    world.publish(*[events.binary("nobody-uses-it") for _ in range(60)])  # more than its last page takes
    world.refresh()
    check_list(world, population)
    assert not worker.events("run_ended") and is_ready(worker)

    filler.unlink()
    world.refresh(full=True)
    check_list(world, population, 2)
    wait_until(lambda: worker.events("log_lines_dropped"), 20, "the log to say how many lines are missing")
    assert worker.events("log_lines_dropped")[0]["lines"] > 0
    metrics = worker.page("/metrics")
    dropped = next(line for line in metrics.splitlines() if line.startswith("klaviyo_worker_log_lines_dropped"))
    assert int(dropped.split()[-1]) >= worker.events("log_lines_dropped")[0]["lines"]
    worker.stop()


@pytest.mark.parametrize("small_disk", ["320m"], indirect=True)
def test_a_server_whose_whole_disk_is_full_is_waited_for(make_world: MakeWorld, small_disk: Path, logs: Path) -> None:
    """Its log of writes, too: it may go down over that."""
    server = Postgres(small_disk / "postgres", logs / "small-postgres.log")
    server.start()
    server.wait_ready()
    world = make_world(postgres=server)
    population = people.simple(60_000)
    world.set_up_export(population)
    worker = world.start_worker(**SHORT_LEASE).wait_ready()
    filler = fill(small_disk)
    world.refresh()
    wait_until(lambda: "No space left" in server.log.read_text(), 60, "the disk to be too small")
    wait_until(lambda: not is_ready(worker) or "53100" in worker.log.read_text(), 60, "the worker to notice")
    assert worker.status("/livez") == 200

    filler.unlink()
    if not server.is_up():
        server.restart("immediate")
    check_list(world, population)
    wait_until(lambda: is_ready(worker), 40, "/readyz to say yes")
    worker.stop()
    server.stop("immediate")


class Disk:
    """A file system in a file. It becomes read-only as the kernel does it with a disk that it finds broken."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        self._image = folder / "disk.image"
        with self._image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)
        self._mount()

    def _mount(self) -> None:
        needs("a disk of the test's own", "mount", "-o", "loop", self._image, self.folder)

    def fail(self) -> None:
        subprocess.run(["sync", "-f", self.folder], check=True)
        as_root("mount", "-o", "remount,abort", self.folder)

    def mend(self) -> None:
        """Nobody may have a file on it open."""
        self.close()
        subprocess.run([*AS_ROOT, "e2fsck", "-fy", self._image], check=False, capture_output=True)
        self._mount()

    def close(self, *options: str) -> None:
        as_root("umount", *options, self.folder)


@pytest.fixture
def disk(own_folder: Path) -> Iterator[Disk]:
    made = Disk(own_folder, 200)
    yield made
    made.close("--lazy")


def move_tables(world: World, schema: str, disk: Disk) -> None:
    """To a tablespace on that disk; the server's log of writes stays where it is."""
    space = disk.folder / "tables"
    as_root("install", "-d", "-o", server_user() or str(os.getuid()), space)
    world.db.execute(f"create tablespace on_the_disk location '{space}'")
    for kind, name in world.db.rows(
        "select case relkind when 'r' then 'table' else 'index' end, oid::regclass::text from pg_class"
        " where relkind in ('r', 'i') and relnamespace = %s::regnamespace",
        schema,
    ):
        world.db.execute(f"alter {kind} {name} set tablespace on_the_disk")
    world.db.execute("checkpoint")


ON_THE_DISK = [
    pytest.param("insights", "the database, or memory, was not available to its worker", id="theirs"),
    pytest.param("klaviyo", "The database has not answered", id="ours"),
]


@pytest.mark.parametrize("schema, page", ON_THE_DISK)
def test_tables_on_a_disk_that_became_read_only_are_waited_for(
    make_world: MakeWorld, own_postgres: Postgres, disk: Disk, schema: str, page: str
) -> None:
    """PostgreSQL says of them what it says of missing rights."""
    world = make_world(postgres=own_postgres)
    population = people.simple(2000)
    world.set_up_export(population)
    move_tables(world, schema, disk)
    worker = world.start_worker(**SHORT_LEASE).wait_ready()
    world.simulator.fault("import", {"delay_ms": 1500}, times=1)
    world.refresh()
    world.wait_requests("import", 1)
    disk.fail()
    world.refresh(full=True)

    wait_until(lambda: "Read-only file system" in worker.log.read_text(), 30, "the log to say it")
    wait_until(lambda: page in worker.page("/"), 30, "the page to say it")
    assert worker.status("/livez") == 200
    time.sleep(2)  # in which it tries again
    assert len(worker.events("take_failed")) < 3
    own_postgres.stop("immediate")
    disk.mend()
    own_postgres.start()
    own_postgres.wait_ready()

    check_list(world, population, 2)
    wait_until(lambda: is_ready(worker), 40, "/readyz to say yes")
    worker.stop()


# -- memory ----------------------------------------------------------------------


class MemoryGroup:
    """A control group whose programs get no more memory than it says; beyond it the kernel ends one."""

    def __init__(self, name: str) -> None:
        root = Path("/sys/fs/cgroup")
        controllers = root / "cgroup.controllers"  # of version 2
        self._is_new = controllers.exists() and "memory" in controllers.read_text().split()
        self.folder = (root if self._is_new else root / "memory") / name
        needs("a control group for memory", "mkdir", self.folder)

    def limit(self, bytes_: int) -> None:
        name = "memory.max" if self._is_new else "memory.limit_in_bytes"
        words = [*AS_ROOT, "tee", self.folder / name]
        subprocess.run(words, input=str(bytes_), text=True, stdout=subprocess.DEVNULL, check=True)

    def used(self) -> int:
        return int((self.folder / ("memory.current" if self._is_new else "memory.usage_in_bytes")).read_text())

    def kills(self) -> int:
        events = (self.folder / ("memory.events" if self._is_new else "memory.oom_control")).read_text()
        return int(events.split("oom_kill ")[1].split()[0])

    def within(self) -> list[str]:
        """The words that start a program in it."""
        script = f'echo $$ | {" ".join(AS_ROOT)} tee {self.folder}/cgroup.procs >/dev/null && exec "$0" "$@"'
        return ["sh", "-c", script]

    def close(self) -> None:
        as_root("rmdir", self.folder)


@pytest.fixture
def memory_group(world: World) -> Iterator[MemoryGroup]:
    group = MemoryGroup(f"klaviyo-worker-{os.getpid()}")
    yield group
    for worker in world.workers:
        worker.kill()
    group.close()


DOCUMENTED_BYTES = 192 << 20  # deploy/sizing.md, for one slot
# What was freed is given back, as in a program that is not looked at by a sanitizer.
LEAN = {"MAX_RUNS": "1", "ASAN_OPTIONS": SANITIZERS["ASAN_OPTIONS"] + ":quarantine_size_mb=8"}


def test_a_worker_that_is_ended_for_its_memory_loses_nothing_and_what_is_documented_is_enough(
    world: World, memory_group: MemoryGroup
) -> None:
    population = people.simple(100_000)
    world.set_up_export(population)
    world.simulator.fault("import", {"delay_ms": 1500}, times=1)
    poor = world.start_worker_within(*memory_group.within(), **LEAN, **SHORT_LEASE).wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    memory_group.limit(memory_group.used())
    wait_until(lambda: not poor.process.running, 60, "the kernel to end it")
    assert poor.process.exit_status == -signal.SIGKILL and memory_group.kills() == 1

    memory_group.limit(DOCUMENTED_BYTES)
    worker = world.start_worker_within(*memory_group.within(), **LEAN).wait_ready()
    check_list(world, population)
    assert memory_group.kills() == 1
    worker.stop()


SPARE_BYTES = 4 << 20  # less than a thread's stack; enough for what a sanitizer, which ends without it, takes at a time


def address_space(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmSize")).split()[1]) << 10


def test_a_worker_that_gets_no_more_memory_says_so_and_waits(world: World) -> None:
    population = people.simple(2000)
    world.set_up_export(population)
    worker = world.start_worker(**SHORT_LEASE).wait_ready()
    pid = worker.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid) + SPARE_BYTES, before[1]))
    world.refresh()
    why = wait_until(lambda: worker.events("run_let_go"), 30, "the log to say it")[0]["why"]
    assert "memory" in why or "thread" in why
    wait_until(lambda: "memory, was not available to its worker" in str(world.runs()), 30, "listings to say it", 0.2)
    assert worker.status("/livez") == 200
    resource.prlimit(pid, resource.RLIMIT_AS, before)

    check_list(world, population)
    worker.stop()


# -- descriptors -----------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_without_a_free_descriptor_waits_for_one(world: World) -> None:
    population = people.simple(2000)
    world.set_up_export(population)
    worker = world.start_worker(**SHORT_LEASE).wait_ready()
    pid = worker.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))  # those that are open stay so
    world.refresh()
    with socket.create_connection(("127.0.0.1", worker.port)):  # waits to be accepted
        wait_until(lambda: "no descriptor free" in worker.log.read_text(), 40, "the log to say it")
        used, began = cpu_seconds(pid), time.monotonic()
        time.sleep(3)
        share = (cpu_seconds(pid) - used) / (time.monotonic() - began)
    assert worker.process.running
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    check_list(world, population)
    wait_until(lambda: is_ready(worker), 40, "/readyz to say yes")
    assert share < 0.5, "it turns without an end"
    worker.stop()


# -- names -----------------------------------------------------------------------


class Names:
    """A name server on a loopback address of its own: every name is 127.0.0.1, when it says so."""

    def __init__(self, folder: Path) -> None:
        self.fails = False  # "try again"
        self.silent = False
        self.delay_seconds = 0.0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        number = os.getpid() * 256 + int(time.monotonic() * 1000) % 256
        address = f"127.{number >> 16 & 127 | 64}.{number >> 8 & 255}.{number & 255}"
        with where_allowed("a name server"):
            self._socket.bind((address, 53))
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {address}\noptions timeout:2 attempts:1\n")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, whom = self._socket.recvfrom(4096)
                threading.Thread(target=self._answer, args=(question, whom), daemon=True).start()

    def _answer(self, question: bytes, whom: tuple[str, int]) -> None:
        time.sleep(self.delay_seconds)
        if self.silent:
            return
        end = question.index(b"\0", 12) + 5
        is_address = question[end - 4 : end - 2] == b"\0\1"
        code = b"\x81\x82" if self.fails else b"\x81\x80"
        count = b"\0\1" if is_address and not self.fails else b"\0\0"
        head = question[:2] + code + b"\0\1" + count + b"\0\0\0\0" + question[12:end]
        address = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if count == b"\0\1" else b""
        with contextlib.suppress(OSError):
            self._socket.sendto(head + address, whom)

    def within(self) -> list[str]:
        """The words that start a program which asks it."""
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, str(self.resolv_conf)]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def names(own_folder: Path) -> Iterator[Names]:
    needs_root("a name server that one program asks alone")
    needs("a view of the files of the test's own", "unshare", "-m", "true")
    server = Names(own_folder)
    yield server
    server.close()


def test_names_that_do_not_resolve_or_do_late_are_waited_for(world: World, names: Names) -> None:
    population = people.simple(200)
    world.set_up_export(population)
    names.fails = True
    worker = world.start_worker_within(
        *names.within(),
        DATABASE_URL=world.db.url.replace("127.0.0.1", "database.test"),
        KAFKA_BOOTSTRAP_SERVERS=world.kafka.address.replace("127.0.0.1", "kafka.test"),
        KLAVIYO_BASE_URL=world.simulator.url.replace("127.0.0.1", "klaviyo.test"),
        KLAVIYO_ALLOW_HTTP="1",
        **SHORT_LEASE,
    )
    assert "resolved" in worker.wait_for_event("database_unavailable", 40)["error"]
    assert worker.status("/livez") == 200 and worker.status("/readyz") == 503
    names.fails = False
    wait_until(lambda: is_ready(worker), 60, "/readyz to say yes")

    names.silent = True  # what is connected stays so; Klaviyo is not yet
    world.refresh()
    wait_until(lambda: worker.events("run_waiting"), 60, "the run to wait")
    names.silent, names.delay_seconds = False, 1.5
    check_list(world, population)
    worker.stop()


# -- the clock -------------------------------------------------------------------


def test_a_clock_that_jumps_or_stands_changes_nothing(world: World) -> None:
    population = people.simple(ROWS)
    world.set_up_export(population)
    world.simulator.settings(limits=True)
    faults = Faults(world.folder / "faults")
    worker = world.start_program(PROGRAM, **SHORT_LEASE, **faults.env).wait_ready()
    runs = 0
    for change in (lambda: faults.put_clock(3600), lambda: faults.put_clock(-3600), faults.stop_clock):
        runs += 1
        world.refresh(full=True)
        world.wait_requests("import", 2 * runs - 1)
        change()
        check_list(world, population, runs)
        assert is_ready(worker)
    assert [e for e in worker.events() if e["level"] in ("warn", "error")] == []
    assert len(worker.events("run_taken")) == runs
    worker.stop()
