"""A real Kafka broker of one node (KRaft), from the jars in build/kafka."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tempfile
from copy import copy
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewPartitions,
    NewTopic,
)

from support.paths import BUILD
from support.process import Process, free_port, wait_until

READY_SECONDS = 120
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=2097152
message.max.bytes=4194304
num.network.threads=1
num.io.threads=2
group.coordinator.threads=1
"""


def jars() -> Path:
    return BUILD / "kafka" / "jars"


def class_path() -> str:
    """Every jar, in one order: the class-data archive belongs to this very string."""
    found = sorted(jars().glob("*.jar"))
    assert found, f"no jars in {jars()}: tests/run brings them"
    return ":".join(map(str, found))


def archive() -> Path:
    return BUILD / "kafka" / "kafka.jsa"


def java(main_class: str, *options: str) -> list[str]:
    return [
        "java",
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        *options,
        "-cp",
        class_path(),
        main_class,
    ]


def new_cluster_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


class KafkaBroker:
    """Made and formatted by the constructor; start() it, then wait_ready()."""

    replicas: tuple[int, ...] = (1,)  # of each partition, the first one leads

    def __init__(self, folder: Path, log: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = log
        self.cluster_id = new_cluster_id()
        self.port = free_port()
        self._properties = folder / "server.properties"
        self._process: Process | None = None
        self._admin: AdminClient | None = None
        self._observer: tuple[str, Consumer] | None = None
        self._write_properties()
        self._format()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _write_properties(self) -> None:
        self.controller = free_port()
        values = {"port": self.port, "controller": self.controller, "data": self.folder / "data"}
        self._properties.write_text(PROPERTIES.format(**values))

    def _format(self) -> None:
        command = java("kafka.tools.StorageTool", *self._shared_classes())
        command += ["format", "--standalone", f"--cluster-id={self.cluster_id}"]
        command += ["-c", str(self._properties)]
        with self.log.open("ab") as output:
            subprocess.run(command, stdout=output, stderr=output, check=True)

    @staticmethod
    def _shared_classes() -> list[str]:
        return [f"-XX:SharedArchiveFile={archive()}"] if archive().exists() else []

    def start(self, *options: str) -> None:
        command = java("kafka.Kafka", *(options or self._shared_classes()))
        self._process = Process([*command, self._properties], self.log)

    def wait_ready(self) -> None:
        assert self._process
        self._process.wait_ready(self._answers, READY_SECONDS)

    def _answers(self) -> bool:
        """True once our broker answers; another one on the same port has another id."""
        try:
            return self.admin().list_topics(timeout=2).cluster_id == self.cluster_id
        except KafkaException:
            return False

    def stop(self) -> None:
        if self._process:
            self._process.stop(30)
            self._process = None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process = None

    def freeze(self, frozen: bool) -> None:
        assert self._process
        self._process.send(signal.SIGSTOP if frozen else signal.SIGCONT)

    def as_guest(self) -> KafkaBroker:
        """The same broker for a process that did not start it."""
        guest = copy(self)
        guest._process = None
        guest._admin = None
        guest._observer = None
        return guest

    def admin(self) -> AdminClient:
        """One client for all questions: each new one costs threads and a connection."""
        if self._admin is None:
            self._admin = AdminClient(
                {
                    "bootstrap.servers": self.address,
                    "log_level": 2,
                    "socket.timeout.ms": 5000,
                    "reconnect.backoff.max.ms": 500,
                }
            )
        return self._admin

    def create_topic(self, name: str, partitions: int, **settings: str) -> None:
        placed = [list(self.replicas)] * partitions
        topic = NewTopic(name, partitions, replica_assignment=placed, config=dict(settings))
        for outcome in self.admin().create_topics([topic]).values():
            outcome.result(20)
        # Created is not yet known everywhere; a producer would get an error.
        wait_until(
            lambda: len(self._partitions(name)) == partitions, 10, f"topic {name} to be known"
        )

    def delete_topic(self, name: str) -> None:
        for outcome in self.admin().delete_topics([name]).values():
            outcome.result(20)

    def add_partitions(self, name: str, total: int) -> None:
        for outcome in self.admin().create_partitions([NewPartitions(name, total)]).values():
            outcome.result(20)

    def _partitions(self, topic: str) -> list[int]:
        metadata = self.admin().list_topics(topic, timeout=5).topics[topic]
        return [] if metadata.error else sorted(metadata.partitions)

    def _observe(self, group: str) -> Consumer:
        """Asks for offsets and never joins. The newest group's is kept: each costs threads."""
        if self._observer is None or self._observer[0] != group:
            if self._observer:
                self._observer[1].close()
            settings = {"bootstrap.servers": self.address, "group.id": group, "log_level": 2}
            self._observer = (group, Consumer({**settings, "reconnect.backoff.max.ms": 500}))
        return self._observer[1]

    def end_offsets(self, topic: str) -> dict[int, int]:
        observer = self._observer[1] if self._observer else self._observe("tests")
        asked = [TopicPartition(topic, n) for n in self._partitions(topic)]

        def ask() -> dict[int, int] | None:
            try:
                return {p.partition: observer.get_watermark_offsets(p, timeout=5)[1] for p in asked}
            except KafkaException:
                return None  # its leader has died, and another one is not known yet

        return (wait_until(ask, 20, f"the ends of {topic}") or {}) if asked else {}

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """What the group has committed, 0 where it has not."""
        asked = [TopicPartition(topic, n) for n in self._partitions(topic)]

        def ask() -> list[TopicPartition] | None:
            try:
                found = self._observe(group).committed(asked, timeout=5)
            except KafkaException:
                return None  # the coordinator of a fresh broker is not up at once
            return None if any(p.error for p in found) else found

        found = wait_until(ask, 20, f"the offsets of {group}") or []
        return {p.partition: max(p.offset, 0) for p in found}


class KafkaFollower(KafkaBroker):
    """One more broker of a cluster; its controller is the first one's."""

    def __init__(self, folder: Path, log: Path, number: int, first: KafkaBroker) -> None:
        self._number, self._first = number, first
        super().__init__(folder, log)
        self.cluster_id = first.cluster_id

    def _write_properties(self) -> None:
        values = {"port": self.port, "controller": self._first.controller, "data": self.folder / "data"}
        lines = dict(line.split("=", 1) for line in PROPERTIES.format(**values).splitlines())
        lines |= {"process.roles": "broker", "node.id": str(self._number)}
        for name in ("listeners", "advertised.listeners"):
            lines[name] = f"PLAINTEXT://{self.address}"
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def _format(self) -> None:
        """What the tool would write, without a process of its own."""
        data = self.folder / "data"
        data.mkdir()
        text = f"version=1\ncluster.id={self._first.cluster_id}\nnode.id={self._number}\n"
        (data / "meta.properties").write_text(text)


class KafkaCluster(KafkaBroker):
    """Three brokers: each record is on all, and acknowledged by two. The first, which is the controller, leads nothing
    while one of the others lives: those may be killed."""

    replicas = (2, 3, 1)

    def __init__(self, folder: Path, logs: Path) -> None:
        first = KafkaBroker(folder / "kafka-1", logs / "kafka-1.log")
        others = {n: KafkaFollower(folder / f"kafka-{n}", logs / f"kafka-{n}.log", n, first) for n in (2, 3)}
        self.brokers: dict[int, KafkaBroker] = {1: first, **others}
        self.cluster_id = first.cluster_id
        self._process = None
        self._admin = None
        self._observer = None

    @property
    def address(self) -> str:
        return ",".join(broker.address for broker in self.brokers.values())

    def start(self, *options: str) -> None:
        for broker in self.brokers.values():
            broker.start(*options)

    def wait_ready(self) -> None:
        """With the groups' offsets as any topic."""
        wait_until(self._all_answer, READY_SECONDS, "three brokers", 0.2)
        self.create_topic("__consumer_offsets", 1, **{"cleanup.policy": "compact"})

    def _all_answer(self) -> bool:
        try:
            return len(self.admin().list_topics(timeout=2).brokers) == len(self.brokers)
        except KafkaException:
            return False

    def create_topic(self, name: str, partitions: int, **settings: str) -> None:
        super().create_topic(name, partitions, **{"min.insync.replicas": "2", **settings})

    def leader(self, topic: str) -> int:
        """Of its first partition."""
        return int(self.admin().list_topics(topic, timeout=10).topics[topic].partitions[0].leader)

    def in_sync(self, topic: str) -> int:
        return len(self.admin().list_topics(topic, timeout=10).topics[topic].partitions[0].isrs)

    def kill(self) -> None:
        for broker in self.brokers.values():
            broker.kill()


def make_archive() -> None:
    """One start and stop that leaves a class-data archive: later starts take half the time."""
    draft = archive().with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="klaviyo-worker-kafka.") as folder:
        broker = KafkaBroker(Path(folder), Path(folder) / "kafka.log")
        broker.start(f"-XX:ArchiveClassesAtExit={draft}")
        broker.wait_ready()
        broker.create_topic("warm-up", 1)
        broker.stop()
    draft.rename(archive())


if __name__ == "__main__":
    if sys.argv[1:] == ["--archive"]:
        make_archive()
