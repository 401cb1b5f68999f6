"""check: what would keep a run from working, each problem in one sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support import people
from support.kafka_broker import KafkaBroker
from support.postgres import Postgres, as_server_user, postgres_program, server_user
from support.process import Process, free_port, wait_until
from support.roles import make_login, make_logins
from support.worker import Result
from support.world import MakeWorld, World

FAILED = 1
VIEW = "insights.segment_profile"


def failures(result: Result) -> dict[str, str]:
    """What failed, and in which words."""
    lines: list[dict[str, Any]] = result.json
    return {line["check"]: line["detail"] for line in lines if line["result"] == "failed"}


def check(world: World, **settings: str) -> Result:
    return world.command("check", "--json", **settings)


def only_failure(result: Result, name: str) -> str:
    found = failures(result)
    assert result.rc == FAILED and list(found) == [name], result
    assert "\n" not in found[name]
    return found[name]


def test_a_complete_installation_passes_and_nothing_is_written(world: World) -> None:
    world.set_up_export(people.simple(3))
    before = world.db.value("select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables")

    result = check(world)

    assert result.rc == 0 and failures(result) == {}, result
    names = [line["check"] for line in result.json]
    assert "members" in names and "workers' rights" in names
    assert world.db.value("select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables") == before


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (f"drop view {VIEW}", [VIEW, "no view", "grant select"]),
        (f"revoke select on {VIEW} from klaviyo_worker", [VIEW, "grant select", "klaviyo_worker"]),
        ("revoke usage on schema insights from klaviyo_worker", ["insights", "grant usage", "klaviyo_worker"]),
        (f"create or replace view {VIEW} as select segment_id, profile_id, ('x' || profile_id)::jsonb as attributes"
         " from insights.segment_member", [VIEW, "22P02"]),
        (f"drop view {VIEW}; create view {VIEW} as select segment_id, profile_id from insights.segment_member",
         [VIEW, "attributes"]),
    ],
    ids=["missing", "no-grant", "no-usage", "raises", "no-attributes"],
)  # fmt: skip
def test_a_view_that_no_run_can_read_is_named(world: World, break_it: str, words: list[str]) -> None:
    world.set_up_export(people.simple(3))
    world.db.execute(break_it)
    if break_it.startswith("drop view") and "create view" in break_it:
        world.db.execute(f"grant select on {VIEW} to klaviyo_worker")

    sentence = only_failure(check(world), "members")

    assert all(word in sentence for word in words), sentence
    assert "p-" not in sentence, "a value of a row"


def test_a_topic_for_outcomes_that_is_missing_is_named_and_none_is_needed(world: World) -> None:
    name = f"{world.name}.segment-export"

    missing = check(world, KAFKA_OUTCOME_TOPIC=name)

    assert "does not exist" in only_failure(missing, f"topic {name}")
    world.turn_on_outcomes()
    assert failures(check(world)) == {}
    assert failures(check(world, KAFKA_OUTCOME_TOPIC="")) == {}


@pytest.mark.parametrize("who", ["postgres", "worker", "admin"])
def test_a_database_restored_without_privileges_is_named_by_whoever_looks(world: World, who: str) -> None:
    users = make_logins(world.db)
    world.db.execute(
        "revoke all on all tables in schema klaviyo from klaviyo_worker;"
        "revoke all on all functions in schema klaviyo from klaviyo_worker"
    )
    url = world.db.url if who == "postgres" else users[who].url

    result = check(world, DATABASE_URL=url)

    sentence = failures(result)["workers' rights"]
    assert result.rc == FAILED and "klaviyo_worker" in sentence and "migrate" in sentence, result


def test_a_database_user_that_is_no_worker_is_told_what_a_worker_may(world: World) -> None:
    users = make_logins(world.db)
    world.db.execute(f"revoke select on {VIEW} from klaviyo_worker")

    for who in ("admin", "contributor", "viewer"):
        found = failures(check(world, DATABASE_URL=users[who].url))
        assert "grant select" in found["members"], who


def test_a_worker_login_without_the_role_is_named(world: World) -> None:
    login = make_login(world.db, "stranger")

    result = check(world, DATABASE_URL=login.url)

    assert result.rc == FAILED
    assert "klaviyo_worker" in " ".join(failures(result).values())


def test_settings_of_a_worker_whose_database_user_is_none_are_named(world: World) -> None:
    users = make_logins(world.db)

    for who in ("admin", "contributor", "viewer"):
        url = users[who].url
        assert "klaviyo_worker" in only_failure(check(world, DATABASE_URL=url), "database user"), who
        assert failures(check(world, DATABASE_URL=url, SECRET_KEY_FILE="")) == {}, "a person's settings"
    assert failures(check(world, DATABASE_URL=users["worker"].url)) == {}


def test_a_database_whose_transactions_only_read_is_named_unless_a_run_can_write(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.db.execute(f'alter database "{world.db.name}" set default_transaction_read_only = on')

    result = check(world)

    if result.rc != 0:
        assert "default_transaction_read_only" in only_failure(result, "database")
        return
    world.start_worker().wait_ready()
    world.refresh()
    assert world.wait_runs_ended()[0]["state"] == "succeeded"


def test_a_standby_is_named(make_world: MakeWorld, own_postgres: Postgres, own_folder: Path, logs: Path) -> None:
    world = make_world(postgres=own_postgres)
    standby = own_folder / "standby"
    standby.mkdir()
    own_postgres._own(standby)
    standby.chmod(0o700)
    port = free_port()
    with (logs / "basebackup.log").open("ab") as output:
        url = own_postgres.url("postgres")
        words = [postgres_program("pg_basebackup"), "-d", url, "-D", standby, "-R", "-X", "stream", "-c", "fast"]
        subprocess.run(as_server_user(words), check=True, stdout=output, stderr=output, cwd="/")
    server = Process(
        [postgres_program("postgres"), "-D", standby, "-c", f"port={port}"], logs / "standby.log",
        death_signal="QUIT", as_user=server_user(), cwd=Path("/"),
    )  # fmt: skip
    url = world.db.url.replace(f":{own_postgres.port}/", f":{port}/")
    try:
        wait_until(lambda: check(world, DATABASE_URL=url).rc == FAILED, 30, "the standby")
        sentence = only_failure(check(world, DATABASE_URL=url), "database")
    finally:
        server.kill()
    assert "standby" in sentence and "primary" in sentence


def test_another_encoding_is_named(own_postgres: Postgres, make_world: MakeWorld) -> None:
    world = make_world(postgres=own_postgres)
    with psycopg.connect(own_postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("create database latin encoding 'LATIN1' locale 'C' template template0")

    result = check(world, DATABASE_URL=own_postgres.url("latin"))

    assert result.rc == FAILED and "UTF8" in failures(result)["database"], result


def test_a_broker_whose_advertised_name_leads_nowhere_is_named(make_world: MakeWorld, own_kafka: KafkaBroker) -> None:
    world = make_world(kafka=own_kafka)
    own_kafka.stop()
    properties = own_kafka.folder / "server.properties"
    text = properties.read_text()
    wrong = "advertised.listeners=PLAINTEXT://no-such-broker.invalid:9092"
    properties.write_text(text.replace(f"advertised.listeners=PLAINTEXT://{own_kafka.address}", wrong))
    own_kafka.start()

    def found() -> dict[str, str]:
        return {k: v for k, v in failures(check(world)).items() if "no-such-broker" in v}

    sentences = wait_until(found, 60, "check to name the broker")

    assert list(sentences) == [f"topic {world.topic}", f"topic {world.dead_letter_topic}"] or "Kafka" in sentences
    text = next(iter(sentences.values()))
    assert "advertised" in text and "no-such-broker.invalid:9092" in text
