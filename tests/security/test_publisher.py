"""A hostile publisher: what it writes into events reaches no request, log line or terminal."""

from __future__ import annotations

import dataclasses
import json
import re

from support import events, people
from support.events import Message
from support.process import wait_until
from support.world import EXPORT, SEGMENT, World

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LATER = "01" + TRACE[2:]
# Header injection, a second request, a second trace; and what is too long or not ASCII.
HOSTILE_TRACES = [
    TRACE + "-\r\nX-Evil: injected",
    TRACE + "-\r\n\r\nDELETE /api/lists/LA HTTP/1.1\r\nX: ",
    LATER + "-\r\nX-Evil: injected",
    LATER + "-" + "\x01" * 8,
    TRACE + "-more",
    TRACE + "\n",
    TRACE[:-1] + "\r",
    "ff" + TRACE[2:],
]
# Colours, a window's title, a line of its own, C1, a mark that turns the direction.
STEERING = "a\x1b[31m\x1b]0;owned\x07\r\nroot# \x9b2J\u202e\u2028b"
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def with_headers(message: Message, **headers: str) -> Message:
    added = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    return dataclasses.replace(message, headers={**message.headers, **added})


def test_a_publisher_writes_no_header_and_no_request_of_ours(world: World) -> None:
    world.set_up_export(people.simple(3))
    worker = world.start_worker().wait_ready()
    for n, trace in enumerate(HOSTILE_TRACES, 1):
        world.publish(with_headers(events.binary(SEGMENT, full=True), traceparent=trace))
        world.wait_runs_ended(n)
    world.publish(with_headers(events.binary(SEGMENT, full=True), traceparent=TRACE))
    world.publish(with_headers(events.binary(SEGMENT, full=True), traceparent=LATER + "-more"))

    runs = world.wait_runs_ended(len(HOSTILE_TRACES) + 1)
    world.wait_all_committed()

    assert {run["state"] for run in runs} == {"succeeded"}
    diary = world.simulator.diary()
    assert {entry["method"] for entry in diary} == {"GET", "POST"}
    assert "DELETE" not in world.simulator.log.read_text()
    traces = {entry["traceparent"] for entry in diary if entry.get("traceparent")}
    assert traces and traces <= {TRACE, LATER}
    assert not [e for e in worker.events() if "Evil" in json.dumps(e)]


def test_a_trace_of_an_earlier_version_that_is_stored_is_not_sent(world: World) -> None:
    """The second wall: the database may hold what was let in before."""
    world.set_up_export(people.simple(3))
    world.db.execute(
        "create function klaviyo.poison() returns trigger language plpgsql as"
        " $$ begin new.traceparent := %s; return new; end $$" % repr_sql(HOSTILE_TRACES[0])
    )
    world.db.execute(
        "create trigger poison before insert on klaviyo.request"
        " for each row execute function klaviyo.poison()"
    )
    world.start_worker().wait_ready()
    world.refresh()

    assert world.wait_runs_ended(1)[0]["state"] == "succeeded"
    assert world.db.value("select count(*) from klaviyo.request where traceparent like %s", "%Evil%") == 1
    imports = world.simulator.diary("import")
    assert imports and not [e for e in imports if e.get("traceparent")]


def repr_sql(text: str) -> str:
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


def test_nothing_of_an_event_steers_a_terminal_or_ends_a_log_line(world: World) -> None:
    worker = world.start_worker().wait_ready()
    world.publish(events.binary(STEERING))
    invalid = events.binary(SEGMENT, trigger=STEERING)
    world.publish(with_headers(dataclasses.replace(invalid, key=STEERING.encode())))
    wait_until(world.dead_letters, 30, "a dead letter")
    world.wait_all_committed()

    listed = world.admin("dead-letters", "list")
    replayed = world.admin("dead-letters", "replay", "--reason", "event_invalid")

    log = worker.log.read_text()
    for line in log.splitlines():
        json.loads(line)
    for text in (log, listed.stdout, listed.stderr, replayed.stdout, replayed.stderr):
        assert not STEERS.search(text), text
    assert STEERING in world.admin("dead-letters", "list", "--json").json[0]["segment_id"]


def test_headers_of_ours_on_an_event_are_not_believed(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.start_worker().wait_ready()
    forged = {
        "x-klaviyo-worker-exports": "other",
        "x-klaviyo-worker-reason": STEERING,
        "x-klaviyo-worker-run-id": "1",
        "x-klaviyo-worker-value-bytes": "7",
        "x-klaviyo-worker-attempts": "-" + "9" * 40,
        "__connect.errors.exception.message": "looks fine",
    }
    invalid = events.binary(SEGMENT, trigger="whim")
    headers = {name: value.encode() for name, value in forged.items()}
    world.publish(dataclasses.replace(invalid, headers={**invalid.headers, **headers}))
    (letter,) = wait_until(world.dead_letters, 30, "a dead letter")

    assert letter.header("x-klaviyo-worker-reason") == "event_invalid"
    assert letter.header("x-klaviyo-worker-attempts") == "1"
    assert "trigger" in letter.header("__connect.errors.exception.message")
    names = [name for name, _ in letter.headers]
    for absent in ("exports", "run-id", "value-bytes"):
        assert f"x-klaviyo-worker-{absent}" not in names
    assert letter.value == invalid.value
    assert EXPORT not in str(letter.headers)
