"""What stands between an event and its end: rows that vanish, partitions that move, letters that cannot be written."""

from __future__ import annotations

import re
import pytest
from confluent_kafka import TopicPartition

from support import events, people
from support.events import Message
from support.kafka_broker import KafkaBroker
from support.process import wait_until
from support.worker import Worker
from support.world import LIST, SEGMENT, MakeWorld, World

KIBIBYTE = 1024
SLOW_IMPORT_MS = 4000


def metric(worker: Worker, name: str) -> float:
    """The sum of a metric over its labels; 0 where it has no series."""
    pattern = rf"^klaviyo_worker_{name}(?:{{[^}}]*}})? (\S+)$"
    return sum(float(value) for value in re.findall(pattern, worker.page("/metrics"), re.MULTILINE))


def begin_slow_run(world: World, population: people.Population, **settings: str) -> Worker:
    """A worker whose event waits for a run that takes a while."""
    world.set_up_export(population)
    world.simulator.fault("import", {"delay_ms": SLOW_IMPORT_MS}, times=1)
    worker = world.start_worker(**settings).wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    return worker


VANISH = "delete from klaviyo.request"
BECOME_ANOTHERS = "update klaviyo.request set record_ms = record_ms - 1, source = null, event_id = null"


@pytest.mark.parametrize("loss", [VANISH, BECOME_ANOTHERS], ids=["gone", "of-another-record"])
def test_an_event_whose_row_the_database_has_lost_is_taken_in_again(world: World, loss: str) -> None:
    """A standby that had not heard of it, or a copy of an hour ago, becomes the primary."""
    population = people.simple(20)
    begin_slow_run(world, population)

    with world.db.connect() as database, database.transaction():
        database.execute(loss.encode())
        database.execute(b"delete from klaviyo.run")
        database.execute(b"delete from klaviyo.ledger")

    run = world.wait_runs_ended(1)[0]
    world.wait_all_committed()
    assert run["state"] == "succeeded" and run["events"] == 1
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_commit_that_is_promised_waits_for_the_disk_whatever_the_site_says(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.db.execute(f"alter database {world.db.name} set synchronous_commit = off")
    world.db.execute("create table seen (setting text)")
    world.db.execute(
        "create function note_setting() returns trigger language plpgsql as $$ begin"
        " insert into seen values (current_setting('synchronous_commit')); return null; end $$"
    )
    world.db.execute(
        "create constraint trigger note_setting after insert or update on klaviyo.request"
        " deferrable initially deferred for each row execute function note_setting()"
    )
    world.start_worker().wait_ready()
    world.publish(events.binary(SEGMENT), Message(b"{", {}, b"k"))

    world.wait_runs_ended(1)
    world.wait_all_committed()

    assert {setting for (setting,) in world.db.rows("select setting from seen")} == {"on"}


def test_a_record_at_an_offset_that_is_still_open_is_another_event(world: World) -> None:
    """The topic is deleted and made again while the run of its record 0 goes on."""
    population = people.simple(20)
    world.set_up_export(population)
    world.add_segment("others", people.simple(30, seed=2))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("others", segments=("others",), list_id="Other1")
    world.simulator.fault("import", {"delay_ms": 15_000}, times=1)
    worker = world.start_worker().wait_ready()
    for _ in range(3):
        world.refresh()
    world.wait_requests("import", 1)
    wait_until(lambda: len(worker.events("event_accepted")) == 3, 10, "all three to be open")

    world.kafka.delete_topic(world.topic)
    world.kafka.create_topic(world.topic, 1)
    world.refresh("others")

    wait_until(lambda: world.simulator.count("Other1") == 30, 30, "the new record's run")
    assert worker.events("partition_rewound") or worker.events("partitions_lost")
    world.wait_runs_ended(2)
    world.wait_all_committed()
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_partition_that_was_paused_when_it_was_taken_away_moves_when_it_is_back(
    make_world: MakeWorld,
) -> None:
    world = make_world(partitions=2)
    world.set_up_export(people.simple(3))
    world.db.execute("create table slow as select 1 as one")
    world.db.execute(
        "create function be_slow() returns trigger language plpgsql as $$ begin"
        " while exists (select from slow) loop perform pg_sleep(0.05); end loop; return null; end $$"
    )
    world.db.execute(
        "create trigger be_slow before insert on klaviyo.request for each statement execute function be_slow()"
    )
    worker = world.start_worker().wait_ready()
    with world.db.connect() as database:
        for partition in range(2):
            large = events.binary(SEGMENT, padding="x" * 60 * KIBIBYTE)
            world.publish(*[large] * 140, partition=partition)
        wait_until(lambda: metric(worker, "paused_partitions") == 2, 60, "both partitions to be paused")

        other = world.start_worker()
        wait_until(lambda: other.events("partitions_assigned"), 30, "the other one to join")
        wait_until(lambda: worker.events("partitions_revoked"), 30, "a partition to move")
        other.stop()
        wait_until(lambda: len(worker.events("partitions_assigned")) >= 2, 30, "it to come back")
        database.execute(b"delete from slow")

    world.wait_all_committed(60)
    assert metric(worker, "paused_partitions") == 0


def test_letters_that_cannot_be_written_stop_no_event(world: World) -> None:
    """Their topic is missing; behind more of them than may be in hand there is a good event.

    Meanwhile the worker leaves the group and joins it again, and gets all of them once more.
    """
    population = people.simple(5)
    world.set_up_export(population)
    missing = f"{world.name}.no-letters-yet"
    quick = "topic.metadata.propagation.max.ms=1000\ntopic.metadata.refresh.interval.ms=1000\n"
    world.client_properties.write_text(world.client_properties.read_text() + quick)
    worker = world.start_worker(KAFKA_DEAD_LETTER_TOPIC=missing).wait_ready()
    bad = [Message(b"[%d]" % n + b" " * 900 * KIBIBYTE, {"n": b"%d" % n}, b"k") for n in range(14)]
    world.publish(*bad)
    world.refresh()

    world.wait_runs_ended(1)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    assert world.committed() == 0
    wait_until(lambda: metric(worker, "waiting_dead_letters") == 14, 20, "the metric to say so")
    assert worker.wait_for_event("dead_letters_waiting")["level"] == "error"
    assert metric(worker, "open_events_bytes") < 1024 * KIBIBYTE

    properties, joined = world.client_properties.read_text(), len(worker.events("partitions_assigned"))
    world.client_properties.write_text(properties.replace("timeout.ms=3000", "timeout.ms=10000"))
    wait_until(lambda: len(worker.events("partitions_assigned")) > joined, 30, "it to join again")
    wait_until(lambda: metric(worker, "events_received_total") >= 30, 30, "all to come again")
    wait_until(lambda: metric(worker, "waiting_dead_letters") == 14, 20, "the metric to say so")
    world.kafka.create_topic(missing, 1, **{"max.message.bytes": "4000000"})
    world.wait_all_committed(90)
    letters = events.read_all(world.kafka.address, missing)
    assert {letter.value for letter in letters} == {message.value for message in bad}
    assert sorted(int(letter.header("n")) for letter in letters) == list(range(14))
    assert metric(worker, "waiting_dead_letters") == 0


def publish_unwritable(world: World, count: int, partitions: int = 1) -> tuple[Worker, str]:
    """A worker with so many letters whose topic is missing, and the topic."""
    missing = f"{world.name}.no-letters-yet"
    quick = "topic.metadata.propagation.max.ms=1000\ntopic.metadata.refresh.interval.ms=1000\n"
    world.client_properties.write_text(world.client_properties.read_text() + quick)
    worker = world.start_worker(KAFKA_DEAD_LETTER_TOPIC=missing).wait_ready()
    for n in range(count):
        world.publish(Message(b"{", {"n": b"%d" % n}, b"k"), partition=n % partitions)
    worker.wait_for_event("dead_letter_not_written", 40)
    wait_until(lambda: metric(worker, "waiting_dead_letters") == count, 20, "the letters to wait")
    return worker, missing


def check_each_letter_once(world: World, topic: str, count: int) -> None:
    world.kafka.create_topic(topic, 1)
    world.wait_all_committed(90)
    letters = events.read_all(world.kafka.address, topic)
    assert sorted(int(letter.header("n")) for letter in letters) == list(range(count))


def test_letters_that_wait_are_written_once_by_whoever_has_their_partition(
    make_world: MakeWorld,
) -> None:
    world = make_world(partitions=2)
    first, topic = publish_unwritable(world, 8, partitions=2)

    second = world.start_worker(KAFKA_DEAD_LETTER_TOPIC=topic).wait_ready()
    wait_until(lambda: metric(first, "waiting_dead_letters") == 4, 30, "the first to have half")
    wait_until(lambda: metric(second, "waiting_dead_letters") == 4, 30, "the second to have half")

    check_each_letter_once(world, topic, 8)


LETTERS = 130  # more of them than may be in hand


def test_letters_that_wait_are_written_though_their_topic_is_made_again(world: World) -> None:
    """Nobody can read their records again: those that are not in hand say what is known."""
    worker, topic = publish_unwritable(world, LETTERS)
    world.kafka.delete_topic(world.topic)
    world.kafka.create_topic(world.topic, 1)
    world.publish(Message(b"{", {"n": b"%d" % LETTERS}, b"k"))
    wait_until(lambda: metric(worker, "waiting_dead_letters") == LETTERS + 1, 30, "the new one")
    assert worker.events("partition_rewound") or worker.events("partitions_lost")

    world.kafka.create_topic(topic, 1)
    wait_until(lambda: metric(worker, "waiting_dead_letters") == 0, 90, "all to be written")
    letters = events.read_all(world.kafka.address, topic)
    offsets = sorted(int(letter.header("__connect.errors.offset")) for letter in letters)
    assert offsets == [0, *range(LETTERS)]


def test_letters_that_wait_while_the_group_gives_up_their_worker_are_written_once(
    world: World,
) -> None:
    worker, topic = publish_unwritable(world, LETTERS)
    admin = world.kafka.admin()

    def is_alone() -> bool:
        described = admin.describe_consumer_groups([world.group])[world.group].result(10)
        return not described.members

    worker.freeze()
    wait_until(is_alone, 30, "the group to give it up", 0.3)
    worker.thaw()
    worker.wait_for_event("partitions_lost", 30)
    again = 2 * LETTERS
    wait_until(lambda: metric(worker, "events_received_total") >= again, 30, "all to come again")
    wait_until(lambda: metric(worker, "open_events") == LETTERS, 20, "each to be known")
    assert metric(worker, "waiting_dead_letters") == LETTERS

    check_each_letter_once(world, topic, LETTERS)


def test_a_letter_whose_headers_alone_are_too_large_goes_without_them(world: World) -> None:
    small = f"{world.name}.small-letters"
    world.kafka.create_topic(small, 1, **{"max.message.bytes": "20000"})
    world.start_worker(KAFKA_DEAD_LETTER_TOPIC=small).wait_ready()
    world.publish(Message(b"{", {"huge": b"h" * 100 * KIBIBYTE}, b"key"))

    world.wait_all_committed()

    letter = events.read_all(world.kafka.address, small)[0]
    assert not letter.value and not letter.key
    assert letter.header("x-klaviyo-worker-value-bytes") == "1"
    assert int(letter.header("x-klaviyo-worker-header-bytes")) >= 100 * KIBIBYTE
    assert letter.header("x-klaviyo-worker-reason") == "event_invalid"
    assert "huge" not in dict(letter.headers)


def test_an_export_that_somebody_locks_holds_up_no_other_event(world: World) -> None:
    """A contributor's transaction that is left open with a change of its own export."""
    population = people.simple(20)
    world.set_up_export(population)
    world.add_segment("others", people.simple(30, seed=2))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("others", segments=("others",), list_id="Other1")
    worker = world.start_worker().wait_ready()

    with world.db.connect() as blocker:
        blocker.execute(b"begin")
        blocker.execute(b"update klaviyo.export set max_profiles = 7000 where name = 'newsletter'")
        blocker.execute(b"set application_name = 'forgotten-psql'")
        for _ in range(30):
            world.publish(events.binary(SEGMENT), events.binary("others"))

        wait_until(lambda: world.simulator.count("Other1") == 30, 30, "the other export's run")
        said = worker.wait_for_event("events_blocked", 30)
        assert said["application"] == "forgotten-psql" and said["user"] == "postgres"
        assert said["pid"] == blocker.info.backend_pid and said["level"] == "warn"
        assert world.simulator.count(LIST) == 0
        blocker.execute(b"commit")

    world.wait_all_committed()
    assert world.simulator.emails(LIST) == population.wanted.keys()


def test_a_dead_letter_whose_row_somebody_locks_holds_up_no_other_event(world: World) -> None:
    """A session that looked at what is due, for update, and was left open.

    The worker leaves the group meanwhile, joins it again, and gets the event once more.
    """
    population = people.simple(20)
    world.set_up_export(population)
    letters = f"{world.name}.letters-later"
    quick = "topic.metadata.propagation.max.ms=1000\ntopic.metadata.refresh.interval.ms=1000\n"
    world.client_properties.write_text(world.client_properties.read_text() + quick)
    worker = world.start_worker(KAFKA_DEAD_LETTER_TOPIC=letters).wait_ready()
    due = "select request_id from klaviyo.request where state = 'dead_letter_due'"
    world.publish(Message(b"{", {}, b"k"))
    wait_until(lambda: len(world.db.rows(due)) == 1, 20, "the letter to be due")

    with world.db.connect() as blocker:
        blocker.execute(b"begin")
        blocker.execute(f"{due} for update".encode())
        blocker.execute(b"set application_name = 'forgotten-psql'")
        world.kafka.create_topic(letters, 1)
        worker.wait_for_event("dead_letter_written", 60)
        world.refresh()

        world.wait_runs_ended(1)
        assert world.simulator.emails(LIST) == population.wanted.keys()
        said = worker.wait_for_event("events_blocked", 10)
        assert said["application"] == "forgotten-psql" and said["pid"] == blocker.info.backend_pid
        assert not worker.events("intake_failed") and metric(worker, "database_connections") == 1
        assert world.committed() == 0

        properties = world.client_properties.read_text()
        world.client_properties.write_text(properties.replace("timeout.ms=3000", "timeout.ms=10000"))
        wait_until(lambda: metric(worker, "events_received_total") >= 4, 40, "both to come again")
        wait_until(lambda: metric(worker, "open_events") == 1, 20, "all but the letter's to be known")
        assert metric(worker, "waiting_dead_letters") == 0 and world.committed() == 0
        blocker.execute(b"commit")

    world.wait_all_committed()
    assert not world.db.rows(due)
    assert len(events.read_all(world.kafka.address, letters)) == 1


def a_year(text: str) -> Message:
    return events.plain(SEGMENT, refreshed_at=text)


def test_old_times_are_times_like_others(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.start_worker().wait_ready()
    world.publish(a_year("0050-01-01T00:00:00Z"), a_year("1969-12-31T23:59:59.5Z"), a_year("0001-01-01T00:00:00.25Z"))

    world.wait_runs_ended(1)
    world.wait_all_committed()

    found = world.db.rows("select (refreshed_at at time zone 'UTC')::text from klaviyo.request order by record_offset")
    assert [text for (text,) in found] == ["0050-01-01 00:00:00", "1969-12-31 23:59:59.5", "0001-01-01 00:00:00.25"]
    assert not world.dead_letters()


@pytest.mark.parametrize(
    ("check", "sqlstate"),
    [
        ("refresh_id is distinct from 'ada@shop.example'", "23514"),
        ("case when refresh_id = 'ada@shop.example' then refresh_id::integer = 0 else true end", "22P02"),
    ],
    ids=["violated", "with-words-that-quote-the-value"],
)
def test_an_event_that_the_database_refuses_becomes_a_dead_letter(world: World, check: str, sqlstate: str) -> None:
    """Here a constraint of the site's; a character that its encoding lacks is the same."""
    world.set_up_export(people.simple(3))
    world.db.execute(f"alter table klaviyo.request add constraint of_the_site check ({check})")
    world.start_worker().wait_ready()
    good = [events.binary(SEGMENT) for _ in range(4)]
    world.publish(*good[:2], events.binary(SEGMENT, refresh_id="ada@shop.example"), *good[2:])

    world.wait_runs_ended(1)
    world.wait_all_committed()

    (letter,) = world.dead_letters()
    assert letter.offset == 0 and letter.header("__connect.errors.offset") == "2"
    assert letter.header("x-klaviyo-worker-reason") == "event_invalid"
    message = letter.header("__connect.errors.exception.message")
    assert sqlstate in message and "ada@" not in message


def test_the_same_event_for_another_segment_is_another_event(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.add_segment("others", people.simple(4, seed=2))
    world.simulator.add_list("Other1", "AcctA1", "Other")
    world.add_export("others", segments=("others",), list_id="Other1")
    world.start_worker().wait_ready()
    world.publish(events.binary(SEGMENT, event_id="7"))
    world.wait_runs_ended(1)

    world.publish(events.binary("others", event_id="7"))
    world.wait_all_committed()

    world.wait_runs_ended(2)
    assert world.simulator.count("Other1") == 4


def test_many_open_events_of_one_export_stop_no_other(world: World) -> None:
    """More than were ever in hand at once wait for a run that does not end."""
    world.set_up_export(people.simple(3))
    world.simulator.fault("import", {"status": 503}, times=-1)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)

    world.publish(*[events.binary(SEGMENT) for _ in range(4500)])
    world.refresh("nobody-uses-it")

    wait_until(lambda: metric(worker, "events_received_total") == 4502, 90, "all of them to be read")
    wait_until(lambda: worker.events("event_ignored"), 90, "the last one to be looked at")
    assert metric(worker, "open_events_bytes") == 0
    assert metric(worker, "paused_partitions") == 0
    assert world.db.value("select count(*) from klaviyo.request where state = 'open'") == 4501


def test_a_worker_whose_broker_is_gone_is_not_ready(make_world: MakeWorld, own_kafka: KafkaBroker) -> None:
    world = make_world(kafka=own_kafka)
    worker = world.start_worker()
    wait_until(lambda: worker.status("/readyz") == 200, 30, "it to be ready")

    own_kafka.kill()

    # Its session is over after 3 s (the tests' client.properties), and nobody knows it any more.
    wait_until(lambda: worker.status("/readyz") == 503, 60, "/readyz to notice")
    assert worker.status("/livez") == 200
    assert metric(worker, "ready_workers") == 0
    own_kafka.start()
    own_kafka.wait_ready()
    wait_until(lambda: worker.status("/readyz") == 200, 60, "/readyz to recover")



def test_a_changed_kafka_config_file_takes_effect_without_a_restart(world: World) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    world.simulator.fault("import", {"delay_ms": 12_000}, times=1)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    before = world.client_properties.read_text()

    world.client_properties.write_text(before + "no.such.property=secret-value\n")
    refused = worker.wait_for_event("kafka_config_refused", 20)
    assert "no.such.property" in refused["error"] and "secret-value" not in worker.log.read_text()

    world.client_properties.write_text(before.replace("3000", "4000"))
    worker.wait_for_event("kafka_config_changed", 20)
    wait_until(lambda: len(worker.events("partitions_assigned")) >= 2, 30, "it to join again")

    run = world.wait_runs_ended(1)[0]
    world.publish(Message(b"{", {}, b"k"))
    world.wait_all_committed()
    assert run["events"] == 1 and world.simulator.emails(LIST) == population.wanted.keys()
    assert len(world.dead_letters()) == 1
    worker.stop()


def test_a_kafka_config_file_that_breaks_while_the_group_is_left_ends_no_worker(
    make_world: MakeWorld, own_kafka: KafkaBroker
) -> None:
    world = make_world(kafka=own_kafka)
    world.set_up_export(people.simple(5))
    before = world.client_properties.read_text().replace("3000", "30000")  # the session outlasts all
    world.client_properties.write_text(before)
    worker = world.start_worker().wait_ready()

    own_kafka.freeze(True)  # so that leaving takes all the time that it may
    world.client_properties.write_text(before.replace("30000", "31000"))
    worker.wait_for_event("kafka_config_changed", 20)
    world.client_properties.write_text(before + "no.such.property=secret-value\n")
    refused = worker.wait_for_event("kafka_config_refused", 20)
    own_kafka.freeze(False)
    assert "no.such.property" in refused["error"] and worker.status("/livez") == 200
    assert not worker.events("partitions_lost")
    world.client_properties.write_text(before)

    world.refresh()
    assert world.wait_runs_ended(1, 60)[0]["state"] == "succeeded"
    world.wait_all_committed()
    worker.stop()


def test_events_that_were_deleted_before_they_were_read_are_counted(world: World) -> None:
    world.set_up_export(people.simple(3))
    first = world.start_worker().wait_ready()
    world.publish(events.binary(SEGMENT), events.binary(SEGMENT))
    world.wait_all_committed()
    first.stop()
    world.publish(*[events.binary(SEGMENT) for _ in range(5)])
    deleted = world.kafka.admin().delete_records([TopicPartition(world.topic, 0, 5)])
    for outcome in deleted.values():
        outcome.result(20)

    worker = world.start_worker().wait_ready()
    world.wait_all_committed()

    said = worker.wait_for_event("events_deleted_unread")
    assert (said["level"], said["partition"], said["from"], said["to"]) == ("error", 0, 2, 5)
    assert metric(worker, "events_deleted_unread_total") == 3
    assert not first.events("events_deleted_unread")
