"""What each command may do on Kafka, against a broker with an authorizer, and what it says if not."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.secure_broker import SecureBroker
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]

from support import events, people
from support.worker import Result
from support.world import SEGMENT, MakeWorld, World

FAILED, AGAIN = 1, 75
DESCRIBE, READ, WRITE, CREATE = (
    AclOperation.DESCRIBE,
    AclOperation.READ,
    AclOperation.WRITE,
    AclOperation.CREATE,
)


@pytest.fixture(scope="module")
def kafka() -> Iterator[SecureBroker]:
    """One for all tests here: topics and groups, and so rights, are each test's own."""
    folder = Path(tempfile.mkdtemp(prefix="klaviyo-worker-test."))
    broker = SecureBroker(folder / "kafka", folder / "kafka.log")
    broker.start()
    broker.wait_ready()
    yield broker
    broker.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def world(make_world: MakeWorld, kafka: SecureBroker) -> World:
    world = make_world(kafka=kafka)
    world.client_properties.write_text(kafka.client_properties())
    return world


def secured(world: World, *words: str, **settings: str) -> Result:
    """A command of the user whose rights are the test's."""
    assert isinstance(world.kafka, SecureBroker)
    return world.command(*words, KAFKA_BOOTSTRAP_SERVERS=world.kafka.secure_address, **settings)


def put_letter(world: World) -> None:
    """As a worker would have written it."""
    event = events.binary(SEGMENT)
    said = {"x-klaviyo-worker-reason": b"list_gone", "x-klaviyo-worker-attempts": b"1"}
    letter = events.Message(event.value, {**event.headers, **said}, event.key)
    events.publish(world.kafka.address, world.dead_letter_topic, [letter])


def test_dead_letters_need_no_right_on_the_workers_group(
    world: World, kafka: SecureBroker
) -> None:
    put_letter(world)
    kafka.allow_topic(world.dead_letter_topic, DESCRIBE)

    refused = secured(world, "dead-letters", "list", "--json")
    assert refused.rc == FAILED, refused
    assert "Read on KAFKA_DEAD_LETTER_TOPIC" in refused.stderr, refused.stderr

    kafka.allow_topic(world.dead_letter_topic, READ)
    kafka.allow_topic(world.topic, DESCRIBE)
    listed = secured(world, "dead-letters", "list", "--json")
    assert listed.rc == 0, listed
    assert [letter["reason"] for letter in listed.json] == ["list_gone"]

    refused = secured(world, "dead-letters", "replay")
    assert refused.rc == FAILED and "Write on KAFKA_TOPIC" in refused.stderr, refused.stderr
    kafka.allow_topic(world.topic, WRITE)
    replayed = secured(world, "dead-letters", "replay")
    assert replayed.rc == 0, replayed
    assert world.end() == 1


def test_publish_without_the_right_fails_for_good_and_names_it(
    world: World, kafka: SecureBroker
) -> None:
    world.set_up_export(people.simple(1))
    kafka.allow_topic(world.topic, DESCRIBE)

    refused = secured(world, "publish", SEGMENT)

    assert refused.rc == FAILED, refused
    assert "Write on KAFKA_TOPIC" in refused.stderr
    assert "KAFKA_DEAD_LETTER_TOPIC" not in refused.stderr


def lines(result: Result) -> dict[str, Any]:
    return {line["check"]: line["result"] for line in result.json}


def test_check_is_red_for_who_may_not_read_the_group_or_the_topic(
    world: World, kafka: SecureBroker
) -> None:
    group = f"group {world.group}"
    topic = f"topic {world.topic}"
    kafka.allow_topic(world.topic, DESCRIBE)
    kafka.allow_topic(world.dead_letter_topic, DESCRIBE, WRITE)
    kafka.allow_group(world.group, DESCRIBE)

    refused = secured(world, "check", "--json")
    assert refused.rc == FAILED
    assert lines(refused)[group] == "failed", refused.stdout
    assert "Read on the group" in refused.stdout

    kafka.allow_group(world.group, READ)
    refused = secured(world, "check", "--json")
    assert lines(refused)[group] == "ok" and lines(refused)[topic] == "failed", refused.stdout
    assert "Read on KAFKA_TOPIC" in refused.stdout

    kafka.allow_topic(world.topic, READ)
    allowed = secured(world, "check", "--json")
    assert lines(allowed)[group] == lines(allowed)[topic] == "ok", allowed.stdout
    # Looking has left no trace of the group.
    assert world.kafka.committed(world.group, world.topic) == {0: 0}


def test_a_leader_whose_name_does_not_resolve_is_for_later(world: World, kafka: SecureBroker) -> None:
    put_letter(world)
    world.client_properties.write_text("")

    for words in [("dead-letters", "list"), ("dead-letters", "replay")]:
        result = world.command(*words, KAFKA_BOOTSTRAP_SERVERS=kafka.lost_address)
        assert result.rc == AGAIN, result
        assert "BAD_MSG" not in result.stderr
        assert "check KAFKA_BOOTSTRAP_SERVERS" in result.stderr, result.stderr


def new_topics(world: World) -> dict[str, str]:
    topic = f"{world.name}.new"
    return {
        "KAFKA_TOPIC": topic,
        "KAFKA_DEAD_LETTER_TOPIC": f"{topic}.dead-letter",
        "KAFKA_OUTCOME_TOPIC": f"{topic}.outcome",
    }


def test_topics_are_made_by_who_may_create_them(world: World, kafka: SecureBroker) -> None:
    made = new_topics(world)

    refused = secured(world, "migrate", "--topics", **made)
    assert refused.rc == FAILED and "Create" in refused.stderr, refused
    for name in made.values():
        kafka.allow_topic(name, CREATE, DESCRIBE)

    allowed = secured(world, "migrate", "--topics", **made)
    assert allowed.rc == 0, allowed
    assert set(made.values()) <= set(world.kafka.admin().list_topics(timeout=5).topics)


def test_of_topics_that_may_not_be_described_no_numbers_are_made_up(
    world: World, kafka: SecureBroker
) -> None:
    topics = new_topics(world)
    kafka.create_topic(topics["KAFKA_TOPIC"], 2)
    for name in topics.values():
        kafka.allow_topic(name, CREATE)

    began = time.monotonic()
    first = secured(world, "migrate", "--topics", "--partitions", "3", **topics)
    second = secured(world, "migrate", "--topics", **topics)
    assert time.monotonic() - began < 45, "nothing was waited for"

    assert first.rc == second.rc == 0, (first, second)
    hidden = " exists already: how many partitions it has cannot be read, Describe on it is missing"
    assert f"Topic {topics['KAFKA_TOPIC']}{hidden}" in first.stdout
    assert f"Created topic {topics['KAFKA_OUTCOME_TOPIC']}: 3 partitions" in first.stdout
    assert [f"Topic {name}{hidden}" in second.stdout for name in topics.values()] == [True] * 3
