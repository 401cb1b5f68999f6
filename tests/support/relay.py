"""A cable between two programs that a test can cut."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK_BYTES = 65536


class Relay:
    """Listens on a loopback port and passes everything on to another, until cut."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Accepts connections (again), on the same port."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = listener.getsockname()[1]
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Resets every connection and refuses new ones."""
        self.drop()
        with self._lock:
            listener, self._listener = self._listener, None
        if listener:
            # close() alone would leave accept() of the other thread waiting.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def drop(self) -> None:
        """Resets every connection, but accepts new ones."""
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            _reset(connection)

    def lead_to(self, target_port: int) -> None:
        """New connections; those that there are stay where they are."""
        self._target = ("127.0.0.1", target_port)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        with self._lock:
            self._open += [client, server]
        first = threading.Thread(target=self._pump, args=(client, server), daemon=True)
        first.start()
        threading.Thread(target=self._carry, args=(server, client, first), daemon=True).start()

    def _carry(self, server: socket.socket, client: socket.socket, other_way: threading.Thread) -> None:
        """One way, until both are over: a connection that has ended is not kept."""
        self._pump(server, client)
        other_way.join()
        with self._lock:
            self._open = [kept for kept in self._open if kept not in (client, server)]
        client.close()
        server.close()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)


class HiddenStandby(Relay):
    """As a pooler that keeps back whether a server is a standby."""

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                sink.sendall(chunk.replace(b"in_hot_standby\0", b"a_secret_of_it\0"))
            sink.shutdown(socket.SHUT_WR)


class LostAnswer(Relay):
    """The answer to each statement with these words in it is lost, with its connection."""

    def __init__(self, target_port: int, words: bytes) -> None:
        self._words = words
        super().__init__(target_port)

    def _connect(self, client: socket.socket) -> None:
        server = socket.create_connection(self._target, timeout=5)
        server.settimeout(None)
        asked = threading.Event()
        threading.Thread(target=self._ask, args=(client, server, asked), daemon=True).start()
        threading.Thread(target=self._answer, args=(server, client, asked), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(CHUNK_BYTES):
                if self._words in chunk:
                    asked.set()
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                if asked.is_set():
                    break
                client.sendall(chunk)
        _reset(client)
        server.close()


def _reset(connection: socket.socket) -> None:
    """Closes it with RST, as a machine that is gone would be noticed."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
