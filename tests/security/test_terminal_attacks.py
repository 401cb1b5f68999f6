"""Names and words that would steer a terminal: control characters, escape sequences, marks of direction."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support import people
from support.paths import TREE
from support.world import CONNECTION, EXPORT, World

# Escape sequences, C1 controls as UTF-8, marks of direction, an end of line.
HOSTILE = "a\x1b[2J\x1b]0;owned\x07\u009b31m\u202egnp.exe\u2066x\nklaviyo-worker: all is well\r\u200f"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def test_nothing_prints_but_the_one_function() -> None:
    prints = re.compile(r"\b(printf|fprintf|vprintf|vfprintf|dprintf|puts|fputs|putchar|fputc|putc|fwrite|perror|psignal|json_dumpf|json_dumpfd)\(")
    allowed = {"worker/cli/print.c", "worker/settings/settings.c"}
    found = {
        f"{name}: {line.strip()}"
        for path in (TREE / "worker").rglob("*.c")
        if (name := str(path.relative_to(TREE))) not in allowed
        for line in path.read_text().splitlines()
        if prints.search(line)
    }
    assert not found


def test_names_from_the_database_and_from_klaviyo_steer_no_terminal(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.db.execute("alter table klaviyo.connection disable trigger user")
    for table, column in (("connection", "account_name"), ("connection", "attention_reason"), ("export", "list_name")):
        world.db.execute(f"update klaviyo.{table} set {column} = %s", HOSTILE)
    world.db.execute("update insights.segment set name = %s", HOSTILE)
    world.db.execute(
        "insert into klaviyo.run (export_name, connection_name, trigger, state, reason, detail, worker,"
        " started_at, finished_at, selected_rows, accepted_rows)"
        " values (%s, %s, 'event', 'failed', 'answer_unexpected', %s, %s, now(), now(), 1, 1)",
        HOSTILE, HOSTILE, HOSTILE, HOSTILE,
    )  # fmt: skip
    (run,) = (str(row["id"]) for row in world.runs())
    commands = [
        ["connection", "list"], ["connection", "show", CONNECTION], ["connection", "verify", CONNECTION],
        ["export", "list"], ["export", "show", EXPORT], ["segment", "list"],
        ["runs", "list"], ["runs", "show", run], ["runs", "watch", run],
    ]  # fmt: skip
    seen_hostile = 0
    for words in commands:
        if words[0] == "segment" and world.command("segment", "--help").rc != 0:
            continue
        for form in ([], ["--json"]):
            result = world.command(*words, *form)
            if form and result.rc == 2:
                continue
            text = result.stdout + result.stderr
            assert not UNSAFE.search(text), (words, form, text)
            assert "\nklaviyo-worker: all is well" not in text, words
            seen_hostile += "gnp.exe" in text
            if form:
                assert "gnp.exe" not in text or HOSTILE in list(walk(result.json))
    assert seen_hostile >= 8


def walk(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
    else:
        yield value


@pytest.mark.parametrize(
    "words",
    [
        [HOSTILE],
        ["runs", HOSTILE],
        ["runs", "show", HOSTILE],
        ["runs", "list", HOSTILE],
        ["runs", "list", "--" + HOSTILE],
        ["export", "show", HOSTILE],
        ["export", "add", HOSTILE, "--connection", "c", "--list", "L", "--segment", "s", "--email-field", "e"],
        ["connection", "add", "x", "--agree-to-data-transfer", "--api-key-file", HOSTILE],
    ],
)
def test_words_of_the_command_line_come_back_without_what_steers(world: World, words: list[str]) -> None:
    result = world.command(*words)
    assert result.rc in (1, 2)
    assert not UNSAFE.search(result.stderr) and not UNSAFE.search(result.stdout)
    assert result.stderr.count("\n") == 1
