"""The commands: their answers, their JSON, their exit statuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support import people
from support.postgres import Database
from support.worker import run_command
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, Services, World

FAILED, USAGE = 1, 2

COMMANDS = [
    ["run"],
    ["migrate"],
    ["keygen"],
    ["check"],
    ["connection"],
    ["connection", "add"],
    ["connection", "list"],
    ["connection", "show"],
    ["connection", "verify"],
    ["connection", "remove"],
    ["export"],
    ["export", "add"],
    ["export", "list"],
    ["export", "show"],
    ["export", "remove"],
    ["publish"],
    ["runs"],
    ["runs", "list"],
    ["runs", "show"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_given_on_every_level(words: list[str]) -> None:
    result = run_command([*words, "--help"], World.base_env())

    assert result.rc == 0, result
    assert "klaviyo-worker " + " ".join(words) in result.stdout
    assert result.stderr == ""


def test_help_of_run_prints_the_settings() -> None:
    text = run_command(["run", "--help"], World.base_env()).stdout

    for name in ("DATABASE_URL", "SECRET_KEY_FILE", "LEASE_SECONDS", "KLAVIYO_REVISION"):
        assert name in text


def test_the_version_names_the_libraries() -> None:
    result = run_command(["--version"], World.base_env())

    assert result.rc == 0
    for library in ("librdkafka", "libcurl", "jansson", "libpq", "libsodium"):
        assert library in result.stdout


@pytest.mark.parametrize(
    "words",
    [[], ["dance"], ["runs", "dance"], ["run", "--dance"], ["export", "add"], ["runs", "show"]],
    ids=str,
)
def test_wrong_usage_ends_with_2(world: World, words: list[str]) -> None:
    result = world.command(*words)

    assert result.rc == USAGE, result
    assert result.stderr.strip()


def test_a_connection_is_added_shown_and_removed(world: World) -> None:
    world.add_connection()

    listed = world.admin("connection", "list", "--json").json
    shown = world.admin("connection", "show", CONNECTION, "--json").json

    assert [entry["name"] for entry in listed] == [CONNECTION]
    assert ACCOUNT in str(shown)
    assert KEY not in str(shown)
    assert [e["endpoint"] for e in world.simulator.diary() if e["method"] != "GET"] == []
    world.admin("connection", "remove", CONNECTION)
    assert world.admin("connection", "list", "--json").json == []


def test_a_connection_with_a_refused_key_is_not_stored(world: World) -> None:
    words = ["connection", "add", "x", "--api-key-file", "-", "--agree-to-data-transfer"]
    result = world.command(*words, stdin="pk_nobody_knows_this_key")

    assert result.rc == FAILED, result
    assert "pk_nobody" not in result.stderr
    assert world.admin("connection", "list", "--json").json == []


def test_verify_asks_for_the_lists_of_the_exports(world: World) -> None:
    world.set_up_export(people.simple(1))

    world.admin("connection", "verify", CONNECTION)

    asked = [entry["path"] for entry in world.simulator.diary("list")]
    assert len(asked) == 1 and f"/api/lists/{LIST}" in asked[0]


def test_an_export_is_added_shown_and_removed(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(1))
    world.add_connection()
    world.add_export()

    listed = world.admin("export", "list", "--json").json
    shown = world.admin("export", "show", EXPORT, "--json").json

    assert [entry["name"] for entry in listed] == [EXPORT]
    for word in (LIST, SEGMENT, CONNECTION, "email", "first_name"):
        assert word in str(shown)
    world.admin("export", "remove", EXPORT)
    assert world.admin("export", "list", "--json").json == []


@pytest.mark.parametrize(
    "words",
    [
        ["connection", "show", "nobody"],
        ["connection", "remove", "nobody"],
        ["export", "show", "nobody"],
        ["export", "remove", "nobody"],
        ["runs", "show", "4711"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said(world: World, words: list[str]) -> None:
    result = world.command(*words)

    assert result.rc == FAILED, result
    assert words[-1] in result.stderr


def test_a_name_is_given_only_once(world: World) -> None:
    world.set_up_export(people.simple(1))

    again = world.command(
        "export", "add", EXPORT, "--connection", CONNECTION, "--list", LIST,
        "--segment", SEGMENT, "--email-field", "email",
    )  # fmt: skip

    assert again.rc == FAILED
    assert EXPORT in again.stderr


RUN_FIELDS = {
    "id", "export", "connection", "trigger", "full", "state", "reason", "detail", "queued_at",
    "started_at", "finished_at", "waiting_until", "worker", "events", "counts",
}  # fmt: skip
COUNTS = {
    "read", "invalid", "duplicate", "unchanged", "selected", "accepted", "rejected", "left",
    "removed", "kept", "requests", "throttled", "retries",
}  # fmt: skip


def test_runs_are_listed_with_every_field(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)
    world.refresh(full=True)
    world.wait_runs_ended(2)

    newest, oldest = world.runs()
    shown = world.run(newest["id"])

    assert shown == newest
    assert newest["id"] > oldest["id"]
    check_run(newest)
    assert world.runs("--limit", "1") == [newest]
    assert world.runs("--state", "failed") == []
    assert world.runs("--export", EXPORT) == [newest, oldest]


def check_run(run: dict[str, Any]) -> None:
    assert set(run) >= RUN_FIELDS, RUN_FIELDS - set(run)
    assert set(run["counts"]) >= COUNTS, COUNTS - set(run["counts"])
    assert isinstance(run["id"], int)
    assert run["reason"] is None and run["waiting_until"] is None
    for name in ("queued_at", "started_at", "finished_at"):
        assert len(run[name]) == len("2026-11-24T08:00:47.123456Z"), run[name]
    assert run["queued_at"] <= run["started_at"] <= run["finished_at"]


def test_many_migrations_at_once_make_one_schema(
    shared_services: Services, request: pytest.FixtureRequest
) -> None:
    server = shared_services.postgres
    database = server.create_database("many_migrations_at_once")
    request.addfinalizer(lambda: server.drop_database(database.name))

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: migrate(database), range(6)))

    assert [result.rc for result in results] == [0] * 6, results
    assert database.value("select to_regclass('insights.segment_profile') is not null")


def migrate(database: Database) -> Any:
    return run_command(["migrate"], {**World.base_env(), "DATABASE_URL": database.url})
