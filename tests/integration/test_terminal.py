"""What a person sees at a terminal: no more than was meant for it."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support import events, people
from support.paths import TREE
from support.terminal import Terminal
from support.world import CONNECTION, EXPORT, KEY, World

ADD = ["connection", "add", CONNECTION, "--api-key-file", "-", "--agree-to-data-transfer"]


@contextmanager
def terminal(world: World, *words: str, columns: int = 80, **settings: str) -> Iterator[Terminal]:
    made = Terminal(list(words), world.env(**settings), columns)
    try:
        yield made
    finally:
        made.close()


def test_the_demo_has_colour_for_who_wants_it_only() -> None:
    sets = "eval \"$(sed -n '/^bold=/,/^fi/p' deploy/demo)\"; printf '<%s>' \"$bold$red\""
    for settings, coloured in ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False):
        done = subprocess.run(
            ["script", "-qec", f"bash -c {shlex.quote(sets)}", "/dev/null"],
            cwd=TREE, env={"PATH": os.environ["PATH"], **settings}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ("\x1b[31m" in done.stdout) == coloured, settings
        assert "<" in done.stdout


# -- what cannot be undone is asked for -----------------------------------------


@pytest.mark.parametrize("words", [["export", "remove", EXPORT], ["connection", "remove", "spare"]], ids=" ".join)
def test_a_removal_is_asked_for_on_a_terminal(world: World, words: list[str]) -> None:
    world.set_up_export(people.simple(1))
    world.add_connection("spare")
    left = f"select count(*) from klaviyo.{words[0]} where name = '{words[2]}'"
    for answer, status in ((b"no\r", 1), (b"\r", 1), (b"\x04", 1)):
        with terminal(world, *words) as shown:
            shown.wait_for(lambda: f"{words[2]}" in "".join(shown.lines()), "the question")
            shown.type(answer)
            assert shown.wait() == status, shown.lines()
        assert world.db.value(left) == 1, answer

    with terminal(world, *words) as shown:
        shown.wait_for(lambda: "[yes/no]" in "".join(shown.lines()), "the question")
        shown.type(b"yes\r")
        assert shown.wait() == 0, shown.lines()
    assert world.db.value(left) == 0


def test_a_removal_is_not_asked_for_with_yes_nor_in_a_script(world: World) -> None:
    world.set_up_export(people.simple(1))

    with terminal(world, "export", "remove", EXPORT, "--yes") as shown:
        assert shown.wait() == 0, shown.lines()
    assert world.command("connection", "remove", CONNECTION).rc == 0


# -- a key that is typed --------------------------------------------------------


def test_a_key_is_asked_for_and_not_shown(world: World) -> None:
    with terminal(world, *ADD) as shown:
        shown.wait_for(lambda: not shown.echoes() and "not shown" in shown.screen.display[0], "the question")
        shown.type(b"wrong\x15" + KEY.encode() + b"x\x7f\r")
        assert shown.wait() == 0, shown.lines()
        shown.wait_for(lambda: any("Added connection" in line for line in shown.lines()), "the answer")
        assert KEY.encode() not in shown.seen and b"wrong" not in shown.seen
        assert shown.echoes()


def test_a_question_can_be_left_and_the_terminal_is_as_before(world: World) -> None:
    for key in (b"\x03", b"\x04", b"pk_half\x03", b"\r"):
        with terminal(world, *ADD) as shown:
            shown.wait_for(lambda: not shown.echoes() and "not shown" in shown.screen.display[0], "the question")
            shown.type(key)
            assert shown.wait() == 1
            assert shown.echoes()
    assert world.admin("connection", "list", "--json").json == []


# -- listings ---------------------------------------------------------------------


def finished_runs(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, reason, started_at,"
        " finished_at, read_rows, selected_rows, accepted_rows, rejected_rows, requests)"
        " select export_id, 'newsletter-of-the-whole-shop', 'main', 'schedule', s.state, s.reason,"
        " now() - interval '3 h', now(), 1000000, 1000000, 999999, 1, 193 from klaviyo.export,"
        " (values ('succeeded', null), ('failed', 'connection_needs_attention'),"
        " ('succeeded_with_rejections', null)) s(state, reason)"
    )


@pytest.mark.parametrize("columns", [60, 80, 132, 250])
def test_a_listing_fits_the_terminal_and_is_whole_in_a_pipe(world: World, columns: int) -> None:
    finished_runs(world)
    with terminal(world, "runs", "list", columns=columns) as shown:
        assert shown.wait() == 0
        shown.wait_for(lambda: len(shown.lines()) >= 4, "the table")
        assert len(shown.lines()) == 4, shown.lines()  # no line goes on in a second one
        heading = shown.lines()[0]
        assert "STATE" in heading and "ACCEPTED" in heading
        assert ("REQUESTS" in heading) == (columns >= 132)
        assert "3 h ago" in shown.lines()[1] or columns < 132
        assert b"\x1b[32m" in shown.seen and b"\x1b[31m" in shown.seen
    piped = world.admin("runs", "list").stdout
    assert "REQUESTS" in piped and "newsletter-of-the-whole-shop" in piped and "\x1b" not in piped


def test_names_are_not_given_up_for_long_texts(world: World) -> None:
    """A short name is whole where a sentence next to it is cut; what is cut says so."""
    world.set_up_export(people.simple(3))
    with terminal(world, "audit", "list", columns=80) as shown:
        assert shown.wait() == 0
        shown.wait_for(lambda: any("add fields" in line for line in shown.lines()), "the table")
        (line,) = [line for line in shown.lines() if "add fields" in line]
    assert EXPORT in line and line.endswith("…") and len(line) <= 80


def test_whatever_is_cut_says_so(world: World) -> None:
    world.set_up_export(people.simple(3))
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.publish(events.Message(b"no event", {}, b"x"))
    world.wait_runs_ended()
    worker.wait_for_event("dead_letter_written")
    world.db.execute("update klaviyo.export set name = 'newsletter-of-the-whole-shop'")
    address = world.db.value("select address from klaviyo.ledger limit 1")
    for words in (["member", "show", address], ["dead-letters", "list"]):
        whole = set(world.admin(*words).stdout.split()) | {"now", "s", "min", "ago"}
        for columns in (60, 80):
            with terminal(world, *words, columns=columns, LOG_LEVEL="error") as shown:
                assert shown.wait() == 0
                shown.wait_for(lambda: len(shown.lines()) >= 2, "the table")
                lines = shown.lines()
            cut = [word for word in " ".join(lines).split() if "…" not in word and not word.isdigit()]
            assert len(lines) == 2 and set(cut) <= whole, (columns, lines)


def test_a_name_in_any_language_is_readable(world: World) -> None:
    """Whatever the locale: these tests have none."""
    world.set_up_export(people.simple(3))
    world.add_export("Käse 日本")
    assert "Käse 日本" in world.admin("export", "list").stdout
    with terminal(world, "export", "list", columns=80) as shown:
        assert shown.wait() == 0
        shown.wait_for(lambda: "Käse" in "".join(shown.lines()), "the name")


def test_colours_and_times_are_as_they_were_asked_for(world: World) -> None:
    finished_runs(world)
    assert "\x1b[32m" in world.admin("runs", "list", "--color", "always").stdout
    with terminal(world, "runs", "list", "--color=never", "--utc", columns=250) as shown:
        assert shown.wait() == 0
        shown.wait_for(lambda: len(shown.lines()) == 4, "the table")
        assert b"\x1b[3" not in shown.seen
        assert re.search(r"20\d\d-\d\d-\d\dT", shown.lines()[1])
    wrong = world.command("runs", "list", "--color", "pink")
    assert wrong.rc == 2 and "auto, always or never" in wrong.stderr


def test_a_listing_as_csv_is_read_by_a_program(world: World) -> None:
    finished_runs(world)
    world.db.execute("update klaviyo.run set export_name = 'a \"b\", c'")
    rows = list(csv.DictReader(world.admin("runs", "list", "--csv").stdout.splitlines()))
    assert [row["export"] for row in rows] == ['a "b", c'] * 3
    assert {row["counts.accepted"] for row in rows} == {"999999"}
    assert world.command("runs", "list", "--csv", "--json").rc == 2


def test_runs_are_listed_since_a_time(world: World) -> None:
    finished_runs(world)
    world.db.execute("update klaviyo.run set queued_at = now() - interval '2 h' where state = 'failed'")
    assert len(world.runs("--since", "90m")) == 2
    assert len(world.runs("--since", "3h")) == 3
    for wrong in ("0m", "none", "yesterday", "-1h"):
        refused = world.command("runs", "list", "--since", wrong)
        assert refused.rc == 2 and "90m, 26h or 7d" in refused.stderr


def test_rejections_begin_with_how_many_of_what(world: World) -> None:
    finished_runs(world)
    (run,) = world.db.rows("select min(run_id) from klaviyo.run")[0]
    world.db.execute(
        "insert into klaviyo.rejection (run_id, epoch, stage, profile_id, code) select %s, 0, s, p, c from"
        " (values ('local', 'a', 'email_missing'), ('local', 'b', 'email_missing'), ('import', 'c', 'invalid')) v(s, p, c)",
        run,
    )
    first = world.admin("runs", "rejections", str(run)).stdout.splitlines()[0]
    assert first == "3 rows were not delivered: 2 email_missing (local), 1 invalid (import)."


def test_names_are_offered_to_the_shells_completion(world: World) -> None:
    world.set_up_export(people.simple(3))
    asked = {
        ("export", "show", ""): "newsletter",
        ("export", "show", "news"): "newsletter",
        ("export", "show", "x"): "",
        ("runs", "list", "--export", ""): "newsletter",
        ("connection", "verify", ""): CONNECTION,
        ("export", "add", "new"): "",
        ("publish", ""): "big-spenders",
    }
    for words, names in asked.items():
        assert world.admin("__complete", "--", *words).stdout.strip() == names, words
    assert "__complete" not in world.command("--help").stdout


# -- progress --------------------------------------------------------------------


def begin_run(world: World) -> int:
    world.set_up_export(people.simple(3))
    rows = world.db.rows(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at, lease_until,"
        " read_rows, selected_rows, accepted_rows, rejected_rows, waiting_until)"
        " select export_id, 'newsletter-of-the-whole-shop', 'main', 'event', 'running', now() - interval '40 s',"
        " now() + interval '1 h', 1000000, 1000000, 400000, 17, now() + interval '1 h'"
        " from klaviyo.export returning run_id"
    )
    world.db.execute(
        "insert into klaviyo.batch (export_id, run_id, state, row_count, posted_at, ended_at)"
        " select export_id, %s, s.state, 10000, s.posted_at, s.ended_at from klaviyo.export,"
        " (select 'complete', now() - interval '30 s', now() - interval '10 s' union all"
        " select 'planned', null, null from generate_series(1, 50)) s(state, posted_at, ended_at)",
        rows[0][0],
    )
    return int(rows[0][0])


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_progress_is_one_line_on_a_terminal_of_any_width(world: World, columns: int) -> None:
    run = begin_run(world)
    with terminal(world, "runs", "watch", str(run), columns=columns) as shown:
        shown.wait_for(lambda: any("400000" in line for line in shown.lines()), "the first line")
        for n in range(3):
            world.db.execute("update klaviyo.run set accepted_rows = accepted_rows + 1000, waiting_until = null")
            shown.wait_for(lambda n=n: any(str(400000 + 1000 * (n + 1)) in line for line in shown.lines()), "the next line")
        world.db.execute("update klaviyo.run set state = 'succeeded', finished_at = now(), accepted_rows = 1000000")
        assert shown.wait() == 0
        shown.wait_for(lambda: any("succeeded" in line for line in shown.lines()), "the last line")
        assert len(shown.lines()) == 1, shown.lines()
        assert all(len(frame) <= 1 for frame in shown.frames), shown.frames


def test_the_time_left_does_not_grow_without_a_cause(world: World) -> None:
    """50 batches, five at once, 20 s each: 200 s. Then jobs take longer, and a block comes."""
    run = begin_run(world)
    world.db.execute("update klaviyo.run set waiting_until = null")
    with terminal(world, "runs", "watch", str(run), columns=160) as shown:

        def told() -> list[int]:
            """Whole minutes count for less than what stands there in seconds."""
            text = "\n".join(line for frame in shown.frames for line in frame)
            found = re.findall(r"about (\d+) (s|min|h) left", text)
            return [int(n) * {"s": 1, "min": 60, "h": 3600}[unit] for n, unit in found]

        def is_told(low: int, high: int) -> None:
            shown.wait_for(lambda: bool(told()) and low <= told()[-1] <= high, f"{low} to {high} s, {told()[-3:]}")

        is_told(180, 200)
        # That the jobs took longer is no cause by itself; once there is one, it counts.
        world.db.execute("update klaviyo.batch set posted_at = posted_at - interval '1 h' where state = 'complete'")
        end = time.monotonic() + 3
        while time.monotonic() < end:
            time.sleep(0.1)
        left = told()
        assert len(left) > 3 and left == sorted(left, reverse=True), left
        world.db.execute(
            "insert into klaviyo.rate_budget (account, endpoint, blocked_at, blocked_until)"
            " select coalesce(account_id, 'connection:' || connection_id), 'import', now(), now() + interval '10 min'"
            " from klaviyo.connection"
        )
        is_told(3600, 2_000_000)
