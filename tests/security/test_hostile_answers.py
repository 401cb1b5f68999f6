"""Whoever stands in Klaviyo's place says too much, too slowly or nonsense: it ends soon, and costs little."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from support.world import KEY, World

MEGABYTE = 1 << 20
TAKEN_MAX = 64 * MEGABYTE  # of an answer, with what the kernel holds on its way
TIMEOUT_SECONDS = 5
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.api+json\r\n"


def body(data: bytes, *headers: bytes) -> Iterator[bytes]:
    yield HEAD + b"".join(h + b"\r\n" for h in headers) + b"content-length: %d\r\n\r\n" % len(data)
    yield data


def gigabyte() -> Iterator[bytes]:
    yield HEAD + b"content-length: %d\r\n\r\n{" % (1 << 30)
    yield from itertools.repeat(b" " * MEGABYTE, 1024)


def endless_chunks() -> Iterator[bytes]:
    yield HEAD + b"transfer-encoding: chunked\r\n\r\n"
    yield from itertools.repeat(b"100000\r\n" + b" " * MEGABYTE + b"\r\n")


def endless_headers() -> Iterator[bytes]:
    yield HEAD
    yield from (b"x-%d: %s\r\n" % (n, b"x" * 1000) for n in itertools.count())


def endless_header() -> Iterator[bytes]:
    yield HEAD + b"x: "
    yield from itertools.repeat(b"x" * MEGABYTE)


def endless_promises() -> Iterator[bytes]:
    yield from itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100)


def slow_drip() -> Iterator[bytes]:
    yield HEAD + b"content-length: 1000000\r\n\r\n"
    while True:
        time.sleep(0.2)
        yield b" "


def slow_headers() -> Iterator[bytes]:
    for n in itertools.count():
        time.sleep(0.2)
        yield b"HTTP/1.1 200 OK\r\n" if n == 0 else b"x-%d: y\r\n" % n


ANSWERS = {
    "a gigabyte": gigabyte,
    "endless chunks": endless_chunks,
    "endless headers": endless_headers,
    "an endless header": endless_header,
    "endless early hints": endless_promises,
    "a slow drip": slow_drip,
    "slow headers": slow_headers,
    "a gzip bomb": lambda: body(gzip.compress(bytes(100 * MEGABYTE), 1), b"content-encoding: gzip"),
    "deep arrays": lambda: body(b"[" * MEGABYTE),
    "deep objects": lambda: body(b'{"data":' * (MEGABYTE // 8)),
    "a long number": lambda: body(b'{"data":[{"type":"account","id":' + b"9" * MEGABYTE + b"}]}"),
    "a name with zeros": lambda: body(b'{"data":[{"type":"account","id":"A\\u0000B"}]}'),
    "no text": lambda: body(bytes(range(256)) * 1000),
    "nothing": lambda: body(b""),
}


class Hostile(threading.Thread):
    """Answers each request in one way, until the client has had enough."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self._answer = ANSWERS[name]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.sent = 0  # at most, in one answer
        self.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._socket.accept()[0],), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        sent = 0
        with suppress(OSError), caller:
            self.requests.append(caller.recv(65536))
            for part in self._answer():
                caller.sendall(part)
                sent += len(part)
                self.sent = max(self.sent, sent)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    server = Hostile(request.param)
    yield server
    server.close()


@pytest.mark.parametrize("hostile", ANSWERS, indirect=True, ids=list(ANSWERS))
def test_it_ends_soon_and_costs_little(world: World, hostile: Hostile) -> None:
    begin = time.monotonic()

    result = world.command(
        "connection", "add", "main", "--api-key-file", "-", "--agree-to-data-transfer", stdin=KEY,
        KLAVIYO_BASE_URL=hostile.url, REQUEST_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS),
    )  # fmt: skip

    assert result.rc in (1, 75) and result.stderr.count("\n") == 1 and result.stdout == "", result
    assert time.monotonic() - begin < 10 * TIMEOUT_SECONDS
    assert hostile.sent < TAKEN_MAX
    assert hostile.requests and all(b"accept-encoding" not in r.lower() for r in hostile.requests)
    assert world.db.rows("select from klaviyo.connection") == []
