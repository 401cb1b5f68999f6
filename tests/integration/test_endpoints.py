"""Health, metrics and the status page, as probes, scrapers, people and unknown hosts ask for them."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from support import events, people
from support.paths import program, tool
from support.postgres import Postgres
from support.process import Process, free_port, wait_until
from support.worker import Worker
from support.world import EXPORT, KEY, MakeWorld, World

PATHS = ("/", "/api/exports", "/api/runs", "/livez", "/metrics", "/readyz")
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def talk(worker: Worker, request: bytes, seconds: float = 10) -> bytes:
    """What comes back until the worker closes."""
    with socket.create_connection(("127.0.0.1", worker.port), seconds) as connection:
        connection.sendall(request)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    return answer


def ask(worker: Worker, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    request = f"{method} {path} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n"
    head, _, body = talk(worker, request.encode()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def figures(worker: Worker) -> dict[str, float]:
    """The samples of /metrics by name and labels."""
    lines = worker.page("/metrics").splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


@contextmanager
def open_connections(worker: Worker, count: int, opening: bytes) -> Iterator[list[socket.socket]]:
    """So many clients that begin to say something and then stay silent."""
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", worker.port), 5)
            clients.append(client)
            client.sendall(opening)
        yield clients
    finally:
        for client in clients:
            client.close()


def test_each_path_answers_get_and_head_with_headers_that_protect(world: World) -> None:
    worker = world.start_worker().wait_ready()
    for path in PATHS:
        status, headers, body = ask(worker, path)
        assert status == 200 and body, path
        assert SECURITY.items() <= headers.items(), path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'"), path
        status, headers, body = ask(worker, path, "HEAD")
        assert status == 200 and body == b"" and int(headers["Content-Length"]) > 0, path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_any_other_method_is_refused_and_told_what_is_allowed(world: World, method: str) -> None:
    worker = world.start_worker().wait_ready()
    status, headers, _ = ask(worker, "/api/runs", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_an_unknown_path_is_not_found(world: World) -> None:
    worker = world.start_worker().wait_ready()
    assert ask(worker, "/favicon.ico")[0] == 404
    assert ask(worker, "/metrics/")[0] == 404
    assert ask(worker, "/metrics?name=x")[0] == 200


def test_runs_are_those_of_runs_list_and_nobodys_address_or_key_is_shown(world: World) -> None:
    population = people.simple(30)
    world.set_up_export(population)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended()
    wait_until(
        lambda: json.loads(worker.page("/api/runs")) == world.runs(),
        10,
        "the page to be up to date",
    )
    everything = "".join(worker.page(path) for path in PATHS)
    assert EXPORT in worker.page("/")
    assert KEY not in everything
    assert not [address for address in population.wanted if address in everything]


def test_runs_are_found_among_thousands_of_younger_ones(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, reason, started_at,"
        " finished_at) select export_id, case n when 1 then name else 'other' end, 'main', 'schedule',"
        " case n when 2 then 'failed' else 'succeeded' end, case n when 2 then 'list_gone' end, now(), now()"
        " from klaviyo.export, generate_series(1, 10000) n order by n"
    )
    worker = world.start_worker().wait_ready()

    def found(query: str) -> list[dict[str, Any]]:
        status, _, body = ask(worker, f"/api/runs{query}")
        return list(json.loads(body)) if status == 200 else []

    def same(query: str, *words: str) -> bool:
        return found(query) == world.runs(*words)

    assert len(found("")) == 100
    wait_until(lambda: same("?limit=500", "--limit", "500"), 10, "more runs than a page has")
    wait_until(lambda: same(f"?export={EXPORT}", "--export", EXPORT), 10, "the oldest run")
    wait_until(lambda: same("?state=failed", "--state", "failed"), 10, "the only one that failed")
    assert len(found(f"?export={EXPORT}")) == 1 and len(found("?state=failed")) == 1
    status, _, body = ask(worker, "/api/runs?state=suceeded")
    assert status == 400 and "queued, running, waiting, succeeded, " in json.loads(body)["error"]


def test_metrics_pass_promtool_and_tell_what_happened(world: World) -> None:
    world.set_up_export(people.simple(30))
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.publish(events.Message(b"no event", {}, b"x"))
    world.wait_runs_ended()
    world.wait_all_committed()

    settled = {
        'klaviyo_worker_events_ended_total{end="done"}': 2,
        'klaviyo_worker_partition_lag_events{partition="0"}': 0,
    }
    wait_until(lambda: settled.items() <= figures(worker).items(), 10, "both events to be counted")
    seen = figures(worker)
    assert seen['klaviyo_worker_runs_ended_total{state="succeeded"}'] == 1
    assert seen['klaviyo_worker_members_total{outcome="accepted"}'] == 30
    assert seen['klaviyo_worker_members_total{outcome="read"}'] == 30
    assert seen['klaviyo_worker_requests_total{endpoint="import",status="2xx"}'] == 1
    assert seen['klaviyo_worker_request_duration_seconds_count{endpoint="import"}'] == 1
    assert seen['klaviyo_worker_dead_letters_total{reason="event_invalid"}'] == 1
    assert seen['klaviyo_worker_run_slots{state="busy"}'] == 0
    check_with_promtool(worker.page("/metrics"))


def test_a_run_that_waits_for_klaviyo_keeps_its_slot_busy_on_page_and_metrics(world: World) -> None:
    world.set_up_export(people.simple(30))
    world.simulator.settings(processing_ms=600_000)
    worker = world.start_worker(MAX_RUNS="1").wait_ready()
    world.refresh()
    world.wait_requests("import", 1)

    seen = figures(worker)
    assert seen['klaviyo_worker_run_slots{state="busy"}'] == 1
    assert seen['klaviyo_worker_run_slots{state="free"}'] == 0
    assert "<b>1 of 1</b>slots busy here" in worker.page("/")
    assert worker.status("/livez") == 200


def check_with_promtool(text: str) -> None:
    command = [tool("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr.strip(), done.stdout + done.stderr
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names)) and all(n.startswith("klaviyo_worker_") for n in names)


def test_it_is_alive_and_not_ready_while_the_database_is_away(
    make_world: MakeWorld, own_postgres: Postgres
) -> None:
    world = make_world(postgres=own_postgres)
    worker = world.start_worker().wait_ready()
    own_postgres.stop("immediate")
    wait_until(lambda: worker.status("/readyz") == 503, 20, "/readyz to say no")
    assert worker.status("/livez") == 200
    assert worker.status("/") == 200
    assert worker.status("/metrics") == 200
    own_postgres.start()
    wait_until(lambda: worker.status("/readyz") == 200, 30, "/readyz to say yes")


def ask_often(worker: Worker, count: int) -> list[int]:
    """Statuses of so many questions on one connection, one after the other."""
    client = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=10)
    statuses = []
    for i in range(count):
        client.request("GET", PATHS[i % len(PATHS)])
        answer = client.getresponse()
        statuses.append(answer.status if answer.read() else 0)
    client.close()
    return statuses


def seconds_for_a_thousand(worker: Worker) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask_often(worker, 50), range(20)))
    assert answers == [[200] * 50] * 20
    return time.monotonic() - began


def test_a_thousand_requests_within_a_second_get_their_answers(world: World) -> None:
    worker = world.start_worker().wait_ready()
    wait_until(lambda: worker.status("/readyz") == 200, 10, "/readyz to say yes")
    # The machine may be busy with other tests: the best of some.
    assert min(seconds_for_a_thousand(worker) for _ in range(5)) < 1


def test_a_run_beside_slow_and_malformed_clients_is_unharmed(world: World) -> None:
    population = people.simple(2000)
    world.set_up_export(population)
    worker = world.start_worker().wait_ready()
    with (
        open_connections(worker, 150, b"GET / HTTP/1.1\r\nX: "),
        open_connections(worker, 150, b"\x16\x03\x01" * 50),
        open_connections(worker, 150, b""),
    ):
        world.refresh()
        run = world.wait_runs_ended()[0]
    assert run["state"] == "succeeded" and run["counts"]["accepted"] == len(population.wanted)


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET / HT", id="half-a-line"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", id="half-a-header"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", id="half-a-body"),
    ],
)
def test_slow_clients_keep_nobody_out(world: World, opening: bytes) -> None:
    worker = world.start_worker().wait_ready()
    with open_connections(worker, 300, opening):
        began = time.monotonic()
        assert [worker.status(path) for path in PATHS] == [200] * len(PATHS)
        assert time.monotonic() - began < 5


def test_a_client_that_dribbles_is_cut_off_by_a_deadline_for_the_whole(world: World) -> None:
    worker = world.start_worker().wait_ready()
    began = time.monotonic()
    with open_connections(worker, 1, b"GET / HTTP/1.1\r\nHost: x\r\n") as (client,):
        client.settimeout(0.5)
        while not is_closed(client):
            assert time.monotonic() - began < 30
    assert time.monotonic() - began > 15
    assert figures(worker)['klaviyo_worker_http_connections_cut_total{why="deadline"}'] == 1


def is_closed(client: socket.socket) -> bool:
    """Says one more bit of a header, and listens for the end."""
    try:
        client.sendall(b"X: y\r\n")
        return client.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_endless_headers_are_refused(world: World) -> None:
    worker = world.start_worker().wait_ready()
    with open_connections(worker, 1, b"GET / HTTP/1.1\r\nHost: x\r\n") as (client,):
        sent = 0
        try:
            while sent < 10_000_000:
                client.sendall(b"X-Padding: " + b"x" * 1000 + b"\r\n")
                sent += 1013
        except OSError:
            pass
        assert sent < 10_000_000
    assert worker.status("/livez") == 200


MALFORMED = {
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    "no-target": b"GET\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "odd-length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "odd-chunk": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "long-target": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "escaped-nul": b"GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
}


def test_malformed_requests_end_in_an_error_or_a_closed_connection(world: World) -> None:
    worker = world.start_worker().wait_ready()
    for name, request in MALFORMED.items():
        began = time.monotonic()
        answer = talk(worker, request, 15)
        assert not answer or answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4"), name
        assert time.monotonic() - began < 12, name
        assert worker.status("/livez") == 200, name


@contextmanager
def run_at(world: World, where: str) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A worker that listens there; what it gives waits for an event of its log."""
    log = world.folder / "worker-at.log"
    process = Process([program("klaviyo-worker"), "run"], log, env=world.env(HTTP_LISTEN=where))

    def logged(name: str) -> dict[str, Any] | None:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return next((line for line in lines if line["event"] == name), None)

    try:
        yield lambda name: wait_until(lambda: logged(name), 20, name) or {}
        assert process.stop() == 0
    finally:
        process.kill()


def test_any_free_port_is_taken_and_told(world: World) -> None:
    with run_at(world, "127.0.0.1:0") as logged:
        port = logged("http_listening")["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            assert answer.read() == b"alive\n"
        logged("partitions_assigned")


def test_http_can_be_turned_off(world: World) -> None:
    with run_at(world, "") as logged:
        logged("partitions_assigned")
    assert "http_listening" not in (world.folder / "worker-at.log").read_text()


def test_a_taken_address_is_said_clearly(world: World) -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        result = world.command("run", HTTP_LISTEN=f"127.0.0.1:{port}")
    assert result.rc == 1
    assert f"HTTP_LISTEN 127.0.0.1:{port}" in result.stderr
    assert "Address already in use" in result.stderr
