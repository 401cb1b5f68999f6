"""migrate --topics: the topics, made with the client library alone."""

from __future__ import annotations

from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

from support.world import World

FAILED, USAGE = 1, 2
SEVEN_DAYS_MS, THIRTY_DAYS_MS = "604800000", "2592000000"


def names(world: World) -> dict[str, str]:
    return {
        "KAFKA_TOPIC": f"{world.name}.e",
        "KAFKA_DEAD_LETTER_TOPIC": f"{world.name}.d",
        "KAFKA_OUTCOME_TOPIC": f"{world.name}.o",
    }


def partitions(world: World) -> dict[str, int]:
    """Of the topics that this test makes, by the last letter of their names."""
    found = world.kafka.admin().list_topics(timeout=5).topics
    wanted = names(world).values()
    return {name[-1]: len(topic.partitions) for name, topic in found.items() if name in wanted}


def config(world: World, topic: str) -> dict[str, str]:
    admin = world.kafka.admin()
    (outcome,) = admin.describe_configs([ConfigResource("topic", topic)]).values()
    return {name: entry.value for name, entry in outcome.result(10).items()}


def test_the_topics_are_made_once_and_it_is_said_which_stand_already(world: World) -> None:
    topics = names(world)
    world.kafka.create_topic(topics["KAFKA_DEAD_LETTER_TOPIC"], 2)

    first = world.command("migrate", "--topics", "--partitions", "3", **topics)
    second = world.command("migrate", "--topics", **topics)

    assert first.rc == second.rc == 0, (first, second)
    assert partitions(world) == {"e": 3, "d": 2, "o": 3}
    events, letters, outcomes = topics.values()
    assert f"Created topic {events}: 3 partitions, replication factor 1" in first.stdout
    assert f"Created topic {outcomes}: 3 partitions, replication factor 1" in first.stdout
    assert f"Topic {letters} exists already: 2 partitions, replication factor 1" in first.stdout
    assert "1 broker" in first.stderr, "a replication factor under 3 is said"
    assert second.stdout.count("exists already") == 3 and "Created" not in second.stdout
    assert config(world, events)["retention.ms"] == SEVEN_DAYS_MS
    assert config(world, events)["min.insync.replicas"] == "1"


def test_without_an_outcome_topic_none_is_made(world: World) -> None:
    topics = names(world) | {"KAFKA_OUTCOME_TOPIC": ""}

    result = world.command("migrate", "--topics", **topics)

    assert result.rc == 0, result
    assert partitions(world) == {"e": 6, "d": 1}
    assert config(world, topics["KAFKA_DEAD_LETTER_TOPIC"])["retention.ms"] == THIRTY_DAYS_MS


def test_more_replicas_than_brokers_are_refused(world: World) -> None:
    result = world.command("migrate", "--topics", "--replication-factor", "2", **names(world))

    assert result.rc == FAILED
    assert "replication factor" in result.stderr and "broker" in result.stderr, result.stderr
    assert partitions(world) == {}


def test_options_of_topics_are_refused_without_topics(world: World) -> None:
    for option in ["--partitions", "--replication-factor"]:
        result = world.command("migrate", option, "3")
        assert result.rc == USAGE and "--topics" in result.stderr
    assert world.command("migrate", "--topics", "--partitions", "0", **names(world)).rc == USAGE
