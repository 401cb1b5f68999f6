"""Wrong settings and missing parts: one clear message each, and the right exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import people
from support.worker import Result, run_command
from support.world import KEY, World, default_settings

FAILED, USAGE, TRY_LATER = 1, 2, 75


def messages(result: Result) -> list[str]:
    """What is said to people; the lines of a log are not."""
    return [line for line in result.stderr.splitlines() if line.strip() and line[0] != "{"]


def test_run_without_settings_says_what_is_missing(tmp_path: Path) -> None:
    result = run_command(["run"], World.base_env())

    assert result.rc == USAGE, result
    assert len(messages(result)) == 1, result.stderr
    assert "SECRET_KEY_FILE" in result.stderr


def test_all_wrong_settings_are_reported_at_once(world: World) -> None:
    wrong = {
        "KLAVIYO_BASE_URL": "not a url",
        "MAX_RUNS": "many",
        "LEASE_SECONDS": "1",
        "LOG_LEVEL": "loud",
        "KLAVIYO_REVISION": "yesterday",
    }
    result = world.command("run", **wrong)

    assert result.rc == USAGE, result
    assert len(messages(result)) == len(wrong), result.stderr
    for name in wrong:
        assert sum(name in line for line in messages(result)) == 1, name


def test_wrong_files_and_contradictions_are_reported_with_the_rest_before_anything_is_opened(tmp_path: Path) -> None:
    key, properties = tmp_path / "wrong.key", tmp_path / "kafka.properties"
    key.write_text("this is no key\n")
    properties.write_text("security.protocol=PLAINTEXT\nno.such.property=sesame\n")
    wrong = {
        "DATABASE_URL": "postgresql://u@127.0.0.1:9/x",  # nobody is there: 75 would say that it was asked
        "MAX_RUNS": "many",
        "POLL_INTERVAL_MIN_MS": "20000",
        "KAFKA_OUTCOME_TOPIC": "segment-refresh",
        "SECRET_KEY_FILE": str(key),
        "KAFKA_CONFIG_FILE": str(properties),
    }
    result = run_command(["run"], World.base_env() | wrong)

    assert result.rc == USAGE, result
    assert len(messages(result)) == len(wrong) - 1, result.stderr
    for name in list(wrong)[1:]:
        assert sum(line.startswith(f"klaviyo-worker: {name}") for line in messages(result)) == 1, (name, result.stderr)
    assert "sesame" not in result.stderr and "line 2" in result.stderr


KAFKA_CLIENTS = ["run", "publish segment", "dead-letters list", "dead-letters replay", "migrate --topics"]
WRONG_PROPERTIES = ["sesame\n", "no.such.property=sesame\n", "security.protocol=sesame\n", "enable.auto.commit=true\n"]


@pytest.mark.parametrize(
    ("command", "text"),
    [*((command, None) for command in KAFKA_CLIENTS), *(("run", text) for text in WRONG_PROPERTIES)],
)
def test_a_wrong_kafka_config_file_is_a_wrong_setting(tmp_path: Path, command: str, text: str | None) -> None:
    properties = tmp_path / "kafka.properties"
    if text is not None:
        properties.write_text(text)
    wrong = {"DATABASE_URL": "postgresql://u@127.0.0.1:9/x", "KAFKA_CONFIG_FILE": str(properties)}
    result = run_command(command.split(), World.base_env() | wrong)

    lines = [line for line in messages(result) if "SECRET_KEY_FILE" not in line]
    assert result.rc == USAGE, result
    assert len(lines) == 1 and lines[0].startswith("klaviyo-worker: KAFKA_CONFIG_FILE: "), result.stderr
    assert str(properties) in lines[0]
    assert "sesame" not in result.stderr


def test_a_command_that_reads_no_file_does_not_ask_for_it(world: World) -> None:
    nowhere = str(world.folder / "nothing-here")

    for words in (["connection", "list"], ["migrate"]):
        result = world.command(*words, KAFKA_CONFIG_FILE=nowhere, SECRET_KEY_FILE=nowhere)
        assert result.rc == 0, result


@pytest.mark.parametrize(
    "url", ["ftp://a.klaviyo.com", "http://example.test", "https://", "localhost:80"]
)
def test_a_wrong_klaviyo_url_is_refused(world: World, url: str) -> None:
    result = world.command("run", KLAVIYO_BASE_URL=url)

    assert result.rc == USAGE, result
    assert len(messages(result)) == 1 and "KLAVIYO_BASE_URL" in result.stderr


def test_a_secret_in_a_wrong_setting_is_not_printed(world: World) -> None:
    secret = "hunter2-is-the-password"
    result = world.command("run", DATABASE_URL=f"postgresql://u:{secret}@127.0.0.1:bad/x")

    assert result.rc != 0
    assert secret not in result.stderr + result.stdout


def test_an_unreadable_key_file_is_said(world: World) -> None:
    result = world.command("run", SECRET_KEY_FILE=str(world.folder / "nothing-here"))

    assert result.rc == USAGE, result  # systemd starts it again after 1, not after 2
    assert len(messages(result)) == 1, result.stderr
    assert "SECRET_KEY_FILE" in result.stderr and "nothing-here" in result.stderr


def test_a_key_file_that_is_no_key_is_said(world: World) -> None:
    wrong = world.folder / "wrong.key"
    wrong.write_text("this is no key\n")
    wrong.chmod(0o600)
    result = world.command("run", SECRET_KEY_FILE=str(wrong))

    assert result.rc == USAGE, result
    assert "no key" not in result.stderr
    assert "SECRET_KEY_FILE" in result.stderr or "wrong.key" in result.stderr


def test_settings_can_stand_in_a_file_and_what_is_given_by_hand_counts(world: World) -> None:
    file = world.folder / "worker.env"
    file.write_text(f"# for tests\nDATABASE_URL='{world.db.url}'\nMAX_RUNS=many\n")
    env = {name: text for name, text in world.env().items() if name not in ("DATABASE_URL", "MAX_RUNS")}

    wrong = run_command(["--env-file", str(file), "runs", "list", "--json"], env)
    assert (wrong.rc, wrong.stderr.count("MAX_RUNS")) == (USAGE, 1)
    right = run_command([f"--env-file={file}", "runs", "list", "--json"], {**env, "MAX_RUNS": "3"})
    assert (right.rc, right.json) == (0, [])


def test_what_is_installed_on_this_machine_reaches_no_test(world: World) -> None:
    file = world.folder / "worker.env"
    file.write_text("".join(f"{name}=wrong\n" for name in default_settings()))
    result = world.command("--env-file", str(file), "check")
    assert result.rc == 0, result


def test_a_file_of_settings_that_is_wrong_is_named_and_not_shown(world: World) -> None:
    file = world.folder / "worker.env"
    file.write_text("MAX_RUNS=3\npostgresql://user:sesame@db/customers\n")
    result = world.command("--env-file", str(file), "check")
    assert result.rc == USAGE
    assert result.stderr == f"klaviyo-worker: {file}, line 2: is not NAME=value\n"


def test_a_missing_table_is_said_and_what_to_do(world: World) -> None:
    world.db.execute("drop schema klaviyo cascade")
    result = world.command("run")

    assert result.rc == FAILED, result
    assert len(messages(result)) == 1, result.stderr
    assert "klaviyo-worker migrate" in result.stderr


def test_an_unreachable_database_means_try_again_later(world: World) -> None:
    result = world.command("connection", "list", DATABASE_URL="postgresql://u@127.0.0.1:9/x")

    assert result.rc == TRY_LATER, result
    assert len(messages(result)) == 1, result.stderr


def test_settings_can_come_from_files(world: World) -> None:
    file = world.folder / "database-url"
    file.write_text(world.db.url + "\n")
    env = world.env(DATABASE_URL_FILE=str(file))
    del env["DATABASE_URL"]

    result = run_command(["connection", "list", "--json"], env)

    assert result.rc == 0 and result.json == []


def test_check_passes_on_a_complete_installation(world: World) -> None:
    world.add_connection()

    world.admin("check")

    assert world.simulator.diary("import") == []


def test_a_file_that_serves_kcat_serves_the_worker(world: World) -> None:
    file, brokers = world.folder / "kcat.conf", world.env()["KAFKA_BOOTSTRAP_SERVERS"]
    file.write_text(
        f"bootstrap.servers={brokers}\nclient.id=marketing\nacks=-1\nenable.auto.commit=false\n"
        f"{world.client_properties.read_text()}"
    )
    settings = {"KAFKA_BOOTSTRAP_SERVERS": "", "KAFKA_CONFIG_FILE": str(file)}
    world.set_up_export(people.simple(3))

    checked = world.command("check", "--json", **settings)
    world.start_worker(**settings).wait_ready()
    world.refresh()

    assert checked.rc == 0, checked
    assert [line["detail"] for line in checked.json if line["check"] == "Kafka"] == [brokers]
    assert world.wait_runs_ended(1)[0]["state"] == "succeeded"


def test_check_names_a_missing_topic(world: World) -> None:
    result = world.command("check", KAFKA_TOPIC="there-is-no-such-topic")

    assert result.rc == FAILED, result
    assert "there-is-no-such-topic" in result.stdout + result.stderr


def test_a_connection_is_not_made_without_consent(world: World) -> None:
    result = world.command("connection", "add", "x", "--api-key-file", "-", stdin=KEY)

    assert result.rc == USAGE, result
    assert "--agree-to-data-transfer" in result.stderr
    assert world.admin("connection", "list", "--json").json == []


def test_on_leave_is_stored_and_shown(world: World) -> None:
    world.add_connection()
    world.add_export("x", "--on-leave", "remove")

    assert world.admin("export", "show", "x", "--json").json["on_leave"] == "remove"
    world.admin("export", "update", "x", "--max-profiles", "7")
    assert world.admin("export", "show", "x", "--json").json["on_leave"] == "remove"
    world.admin("export", "update", "x", "--on-leave", "keep")
    assert world.admin("export", "show", "x", "--json").json["on_leave"] == "keep"


def test_migrate_can_be_run_by_many_at_once_and_again(world: World) -> None:
    tables = "select * from pg_tables where schemaname in ('klaviyo', 'insights') order by 1, 2"
    before = world.db.rows(tables)
    world.admin("migrate")
    assert before == world.db.rows(tables)


def test_an_old_revision_of_the_api_is_warned_of(world: World) -> None:
    old = world.start_worker(KLAVIYO_REVISION="2024-10-15").wait_ready()
    new = world.start_worker().wait_ready()

    assert [event["revision"] for event in old.events("klaviyo_revision_old")] == ["2024-10-15"]
    assert new.events("klaviyo_revision_old") == []
