"""A hostile client of the endpoints: names that only lead here, bytes that are no HTTP, all descriptors."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import people
from support.paths import program
from support.process import free_port, wait_until
from support.root import where_allowed
from support.worker import get_status
from support.world import EXPORT, World

FOREIGN = ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "a.b"]
OURS = ["127.0.0.1", "localhost:1", "[::1]:1", "worker:8080", "metrics.shop.example", "a.svc.cluster.local"]
PRIVATE = ["/", "/api/runs", "/api/runs?limit=1", "/api/exports"]
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS handshake
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: worker\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: worker\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: worker\r\n\r\n",
    b"GET /api/runs%00.html HTTP/1.1\r\nHost: worker\r\n\r\n",
    b"GET /\x1b[2J HTTP/1.1\r\nHost: worker\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: worker\r\nX: \x00\r\n\r\n",
    b"POST /api/runs HTTP/1.1\r\nHost: worker\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: worker\r\nContent-Length: -1\r\n\r\n",
    b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: worker\r\n\r\n",
    b"\r\n" * 5000,
]


class Endpoints:
    """A worker whose endpoints are attacked, with few descriptors."""

    DESCRIPTORS = 96

    def __init__(self, world: World) -> None:
        self.port = free_port()
        self.log = world.folder / "worker-attacked.log"
        env = world.env(
            HTTP_LISTEN=f"127.0.0.1:{self.port}", HTTP_HOSTS="metrics.shop.example,.svc.cluster.local"
        )
        limit = (self.DESCRIPTORS, self.DESCRIPTORS)
        with self.log.open("wb") as output:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--", str(program("klaviyo-worker")), "run"],
                env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
            )  # fmt: skip

    def talk(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
            connection.settimeout(20)
            answer = b""
            try:
                connection.sendall(request)
                while piece := connection.recv(65536):
                    answer += piece
            except (ConnectionResetError, BrokenPipeError):
                pass
            return answer

    def ask(self, path: str, host: str) -> tuple[int, bytes]:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        head, _, body = self.talk(request).partition(b"\r\n\r\n")
        return int(head.split()[1]), body


@pytest.fixture
def endpoints(world: World) -> Iterator[Endpoints]:
    world.set_up_export(people.simple(20))
    started = Endpoints(world)
    try:
        wait_until(lambda: get_status(started.port, "/readyz") == 200, 60, "the worker to be ready")
        world.refresh()
        world.wait_runs_ended(1)
        yield started
        assert started.child.poll() is None, started.log.read_text()[-2000:]
    finally:
        started.child.kill()
        started.child.wait()


def test_a_name_that_only_leads_here_reads_nothing(endpoints: Endpoints) -> None:
    for path in PRIVATE:
        for host in FOREIGN:
            status, body = endpoints.ask(path, host)
            assert status == 421, (path, host)
            assert EXPORT.encode() not in body
        for host in OURS:
            assert endpoints.ask(path, host)[0] == 200, (path, host)
    for path in ("/livez", "/readyz"):
        status, body = endpoints.ask(path, "probe.shop.example")
        assert status == 200 and EXPORT.encode() not in body
    # Scrapers come by any name. Exports are named there, but nothing of a run or a member is.
    status, body = endpoints.ask("/metrics", "probe.shop.example")
    assert status == 200 and b"@" not in body and b"run=" not in body


def test_runs_are_picked_and_nothing_else_comes_of_what_is_asked(endpoints: Endpoints, world: World) -> None:
    (run,) = world.runs()
    wanted = {
        f"?export={EXPORT}&state={run['state']}&limit=1": 1,
        f"?export={EXPORT.replace('n', '%6e', 1)}": 1,
        "?limit=100": 1,
        "?state=failed": 0,
        "?export=" + "%27%3B--": 0,
        "?unknown=1": 1,
        "": 1,
    }
    for query, count in wanted.items():
        status, body = endpoints.ask("/api/runs" + query, "worker")
        assert status == 200, query
        assert len(json.loads(body)) == count, query
    shown = json.loads(endpoints.ask("/api/exports?state=active", "worker")[1])
    assert shown == world.admin("export", "list", "--json").json
    assert json.loads(endpoints.ask("/api/exports?export=other", "worker")[1]) == []
    for query in ("?limit=0", "?limit=1001", "?limit=-1", "?limit=1e9", "?limit=x%22%7d", "?export=%00"):
        status, body = endpoints.ask("/api/runs" + query, "worker")
        assert status == 400 and "error" in json.loads(body), query


def test_what_is_no_http_ends_in_an_error_and_harms_nobody(endpoints: Endpoints) -> None:
    for request in GARBAGE:
        answer = endpoints.talk(request)
        assert not answer.startswith(b"HTTP/1.1 200") or b"etc" not in request, request
        assert b"root:" not in answer
        assert not any(control in answer for control in (b"\x1b", b"\x00"))
    assert get_status(endpoints.port, "/livez") == 200
    assert "\x1b" not in endpoints.log.read_text()


def test_callers_who_stay_take_no_descriptor_that_a_run_needs(endpoints: Endpoints, world: World) -> None:
    with ExitStack() as stack:
        for _ in range(3 * Endpoints.DESCRIPTORS):
            stack.enter_context(socket.create_connection(("127.0.0.1", endpoints.port), 20))
        world.refresh(full=True)
        runs = world.wait_runs_ended(2)
        assert [run["state"] for run in runs] == ["succeeded", "succeeded"]
        with where_allowed("the descriptors of a process"):
            opened = len(list(Path(f"/proc/{endpoints.child.pid}/fd").iterdir()))
        assert opened < Endpoints.DESCRIPTORS - 8, opened
        wait_until(lambda: get_status(endpoints.port, "/livez") == 200, 30, "an answer in between")
