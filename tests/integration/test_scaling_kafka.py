"""Kafka as it is in the field: topics come and go, brokers refuse, offsets expire."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.secure_broker import SecureBroker

from support import events, people
from support.process import wait_until
from support.worker import Worker
from support.world import LIST, SEGMENT, MakeWorld, World

POPULATION = people.simple(20)
SCRAM_WORKS_FROM = (2, 6, 1)


@pytest.fixture
def secure_kafka(own_folder: Path, logs: Path) -> Iterator[SecureBroker]:
    broker = SecureBroker(own_folder / "kafka", logs / "kafka.log")
    broker.start()
    broker.wait_ready()
    yield broker
    broker.kill()


def errors(worker: Worker) -> list[tuple[str, str]]:
    """Codes and hints of what the log says about Kafka."""
    return [(e["code"], e["hint"]) for e in worker.events("kafka_error")]


def wait_error(worker: Worker, pattern: str) -> str:
    """The hint of the first error of that code."""

    def look() -> list[str]:
        return [hint for code, hint in errors(worker) if re.search(pattern, code)]

    return wait_until(look, 40, f"an error like {pattern} in {worker.log}")[0]


# -- topics -----------------------------------------------------------------------


def test_a_topic_deleted_and_made_again_is_consumed_from_its_start(world: World) -> None:
    world.set_up_export(POPULATION)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)
    world.wait_all_committed()

    world.kafka.delete_topic(world.topic)
    assert "make the topic" in wait_error(worker, "UNKNOWN_(TOPIC|PARTITION)")
    wait_until(lambda: worker.events("partitions_lost"), 40, "the partition to be lost")
    world.kafka.create_topic(world.topic, 1)
    world.refresh()  # offset 0, as the first one was

    world.wait_runs_ended(2)
    world.wait_all_committed()
    worker.stop()


def test_partitions_that_are_added_are_consumed_without_a_restart(world: World) -> None:
    world.set_up_export(POPULATION)
    worker = world.start_worker().wait_ready()
    world.kafka.add_partitions(world.topic, 3)
    for partition in range(3):
        world.publish(events.binary(SEGMENT), partition=partition)

    wait_until(lambda: world.committed() == 3, 40, "the new partitions' events to end", 0.2)
    assert world.simulator.emails(LIST) == POPULATION.wanted.keys()
    worker.stop()


def test_offsets_that_expired_cost_a_second_look_and_no_second_run(world: World) -> None:
    world.set_up_export(POPULATION)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)
    world.wait_all_committed()
    world.workers[0].stop()
    admin = world.kafka.admin()
    for outcome in admin.delete_consumer_groups([world.group]).values():
        outcome.result(20)
    assert world.committed() == 0

    world.start_worker().wait_ready()
    world.wait_all_committed()

    assert len(world.runs()) == 1
    assert len(world.simulator.diary("import")) == 1


# -- TLS, users, rights -----------------------------------------------------------


def secure_world(make_world: MakeWorld, broker: SecureBroker, properties: str) -> World:
    """Its worker logs in; the tests' own clients use the plain listener."""
    world = make_world(kafka=broker)
    world.client_properties.write_text(properties + "session.timeout.ms=6000\n")
    world.set_up_export(POPULATION)
    world.start_worker(KAFKA_BOOTSTRAP_SERVERS=broker.secure_address)
    return world


def test_rights_that_come_later_are_enough_over_tls_with_a_password(
    make_world: MakeWorld, secure_kafka: SecureBroker
) -> None:
    world = secure_world(make_world, secure_kafka, secure_kafka.client_properties())
    worker = world.workers[0]
    world.refresh()
    assert "grant this user" in wait_error(worker, "AUTHORIZATION_FAILED")
    assert worker.status("/livez") == 200 and worker.status("/readyz") == 503

    secure_kafka.grant(world.topic, world.dead_letter_topic, world.group)

    world.wait_runs_ended(1)
    world.publish(events.plain(SEGMENT, trigger="whim"))
    world.wait_all_committed()
    assert [letter.header("x-klaviyo-worker-reason") for letter in world.dead_letters()] == [
        "event_invalid"
    ]
    assert worker.status("/readyz") == 200
    worker.stop()


def test_a_wrong_password_is_said_once_with_what_to_do(
    make_world: MakeWorld, secure_kafka: SecureBroker
) -> None:
    properties = secure_kafka.client_properties(password="wrong-planted-password")
    world = secure_world(make_world, secure_kafka, properties)
    worker = world.workers[0]

    hint = wait_error(worker, "AUTHENTICATION")

    assert "check user, password and mechanism" in hint
    assert worker.status("/livez") == 200 and worker.status("/readyz") == 503
    worker.stop()
    assert len([code for code, _ in errors(worker) if "AUTHENTICATION" in code]) <= 2
    assert "planted-password" not in worker.log.read_text()


def test_scram_works_or_is_said_not_to_with_this_client_library(
    make_world: MakeWorld, secure_kafka: SecureBroker
) -> None:
    world = secure_world(
        make_world, secure_kafka, secure_kafka.client_properties(mechanism="SCRAM-SHA-512")
    )
    secure_kafka.grant(world.topic, world.dead_letter_topic, world.group)
    version = re.search(r"librdkafka\s+(\d+)\.(\d+)\.(\d+)", world.admin("--version").stdout)
    assert version
    if tuple(map(int, version.groups())) >= SCRAM_WORKS_FROM:
        world.refresh()
        world.wait_runs_ended(1)
        return
    hint = wait_error(world.workers[0], "AUTHENTICATION")
    assert "cannot log in with SCRAM to Kafka 4" in hint and "2.8" in hint
    world.workers[0].stop()
