"""Segment-refreshed events in each form that a publisher may use."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from support.process import wait_until

TYPE = "segment.refreshed.v1"
SOURCE = "/tests/publisher"

Headers = dict[str, bytes]


@dataclass(frozen=True)
class Message:
    """A record to be written."""

    value: bytes | None
    headers: Headers
    key: bytes | None = None


@dataclass(frozen=True)
class Record:
    """A record as read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    def header(self, name: str) -> str:
        found = [value for key, value in self.headers if key == name]
        assert len(found) == 1, f"{len(found)} headers {name} in {self.headers}"
        return found[0].decode()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def data(segment: str, **more: Any) -> dict[str, Any]:
    return {
        "segment_id": segment,
        "refresh_id": more.pop("refresh_id", str(uuid.uuid4())),
        "refreshed_at": more.pop("refreshed_at", now()),
        **more,
    }


def binary(segment: str, *, event_id: str | None = None, type_: str = TYPE, **more: Any) -> Message:
    headers = {
        "ce_id": (event_id or str(uuid.uuid4())).encode(),
        "ce_source": SOURCE.encode(),
        "ce_type": type_.encode(),
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
    }
    return Message(json.dumps(data(segment, **more)).encode(), headers, segment.encode())


def structured(segment: str, **more: Any) -> Message:
    envelope = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": SOURCE,
        "type": TYPE,
        "time": now(),
        "datacontenttype": "application/json",
        "data": data(segment, **more),
    }
    headers = {"content-type": b"application/cloudevents+json; charset=UTF-8"}
    return Message(json.dumps(envelope).encode(), headers, segment.encode())


def plain(segment: str, **more: Any) -> Message:
    return Message(json.dumps(data(segment, **more)).encode(), {}, segment.encode())


def publish(
    address: str, topic: str, messages: list[Message], partition: int | None = None
) -> None:
    """Writes them in order and waits until the broker has them all."""
    failures: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": address,
            "log_level": 2,
            "linger.ms": 0,
            "message.max.bytes": 4_000_000,
            # In order; an idempotent producer would be, too, but starts a second later.
            "max.in.flight.requests.per.connection": 1,
        }
    )
    for message in messages:
        producer.produce(
            topic,
            message.value,
            message.key,
            -1 if partition is None else partition,
            headers=dict(message.headers),
            on_delivery=lambda error, _: failures.append(str(error)) if error else None,
        )
        producer.poll(0)
    left = producer.flush(30)
    assert not failures and left == 0, f"{left} not written, {failures}"


def read_all(address: str, topic: str) -> list[Record]:
    """Every record of the topic up to its present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "reader",
            "enable.auto.commit": False,
            "log_level": 2,
            "fetch.message.max.bytes": 4_000_000,
        }
    )
    try:
        found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return [record for n in sorted(found) for record in _read(consumer, topic, n)]
    finally:
        consumer.close()


def ends(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """The partition's first offset and its end; waits for a broker that is not there yet."""

    def ask() -> tuple[int, int] | None:
        try:
            return consumer.get_watermark_offsets(partition, timeout=5)
        except KafkaException:
            return None

    found = wait_until(ask, 30, f"the ends of {partition.topic} [{partition.partition}]")
    assert found
    return found


def _read(consumer: Consumer, topic: str, partition: int) -> list[Record]:
    first, end = ends(consumer, TopicPartition(topic, partition))
    records: list[Record] = []
    if first == end:
        return records
    consumer.assign([TopicPartition(topic, partition, first)])
    while not records or records[-1].offset < end - 1:
        message = consumer.poll(10)
        assert message is not None, f"{topic} [{partition}] stops before its end {end}"
        assert message.error() is None, message.error()
        records.append(_record(message))
    return records


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or [],
    )
