"""A database URL that is wrong is named as such, and no part of its value is printed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.worker import Result, run_command
from support.world import World

USAGE = 2
# Words that stand in no message, so that finding one means that the value was printed.
WORDS = ["Xq7vJ2", "Kp9wZt", "Wm4yRb"]
HOST = "database-host-zq.invalid"
# What makes a URL mean something else when it stands in a password unescaped.
MARKS = ["/", "@", "?", "#", "%", ":", " ", "&", "=", "'", "\\", "%zz", "//", "[", "]", "\t", "::"]
SCHEMES = [
    "postgresql://", "postgres://", "jdbc:postgresql://", "postgresql+psycopg2://", "mysql://",
    "POSTGRESQL://", "http://", "", "\ufeffpostgresql://", '"postgresql://', "DATABASE_URL=postgres://",
]  # fmt: skip
SEEDS = 40


def broken_urls() -> list[str]:
    chosen = random.Random(7)
    urls = []
    for n in range(SEEDS):
        marks = [chosen.choice(MARKS), chosen.choice(MARKS)]
        password = WORDS[0] + marks[0] + WORDS[1] + marks[1] + WORDS[2]
        scheme = SCHEMES[n % len(SCHEMES)]
        port = chosen.choice(["", ":1", ":port", ":99999999"])
        urls.append(f"{scheme}user-zq:{password}@{HOST}{port}/base-zq")
    urls += [
        f"host={HOST} password={WORDS[0]} {WORDS[1]}",
        f"host={HOST} password='{WORDS[0]}",
        f"host={HOST} password={WORDS[0]} {WORDS[1]}={WORDS[2]}",
        f"host={HOST} port={WORDS[0]}",
        f"host={HOST} sslmode={WORDS[0]}",
        f"postgresql://user-zq:{WORDS[0]}",
        f"postgresql://{WORDS[0]}",
        WORDS[0],
    ]
    return urls


def check_silent(result: Result, url: str) -> None:
    said = result.stdout + result.stderr
    for word in [*WORDS, "user-zq", HOST, "base-zq"]:
        assert word not in said, f"{word} of {url!r} is in: {said}"
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "DATABASE_URL" in result.stderr, result.stderr


def environment(tmp_path: Path, url: str, as_file: bool) -> dict[str, str]:
    env = {**World.base_env(), "PGCONNECT_TIMEOUT": "2"}
    if not as_file:
        return {**env, "DATABASE_URL": url}
    path = tmp_path / "url"
    path.write_text(url + "\n")
    return {**env, "DATABASE_URL_FILE": str(path)}


@pytest.mark.parametrize("as_file", [False, True], ids=["variable", "file"])
def test_no_part_of_a_broken_url_is_ever_printed(tmp_path: Path, as_file: bool) -> None:
    for url in broken_urls():
        check_silent(run_command(["runs", "list"], environment(tmp_path, url, as_file)), url)


CERTAINLY_WRONG = {
    "postgresql://u:pa/ss@host/db": "percent",
    "postgresql://u:p@ss@host/db": "percent",
    "postgresql://u:pa%zz@host/db": "percent",
    "jdbc:postgresql://u:p@host/db": "jdbc:",
    "postgresql+psycopg2://u:p@host/db": "postgresql+psycopg2:",
    "mysql://u:p@host/db": "mysql:",
    '"postgresql://u:p@host/db"': "quotes",
    "DATABASE_URL=postgresql://u:p@host/db": "name",
    "\ufeffpostgresql://u:p@host/db": "byte order mark",
    "host=h password='p": "connection string",
    "host=h port=many": "port",
    "host=h sslmode=yes": "sslmode",
}


@pytest.mark.parametrize("command", ["run", "check", "migrate", "runs list"])
def test_a_wrong_url_is_wrong_usage_and_the_kind_is_named(tmp_path: Path, command: str) -> None:
    for url, words in CERTAINLY_WRONG.items():
        env = {
            **environment(tmp_path, url, False),
            "SECRET_KEY_FILE": str(tmp_path / "key"),
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        }

        result = run_command(command.split(), env)

        assert result.rc == USAGE, result
        assert "DATABASE_URL" in result.stderr and words in result.stderr, result.stderr


def test_it_is_reported_beside_every_other_wrong_setting(tmp_path: Path) -> None:
    env = {**environment(tmp_path, "mysql://u:p@h/d", True), "MAX_RUNS": "many"}

    result = run_command(["run"], env)

    assert result.rc == USAGE
    assert "DATABASE_URL_FILE" in result.stderr and "MAX_RUNS" in result.stderr, result.stderr


def test_blanks_and_line_ends_around_a_url_do_not_matter(world: World, tmp_path: Path) -> None:
    for url in (world.db.url + "\n", "  " + world.db.url + " \r\n"):
        assert world.command("runs", "list", DATABASE_URL=url).rc == 0
