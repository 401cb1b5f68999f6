"""Cables that fall silent: nothing is reset and nothing passes, as in a cut network."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from support.relay import CHUNK_BYTES, Relay


class SilentCable(Relay):
    """Passes everything on until it is silent. Connections stay, bytes wait in it."""

    def __init__(self, target_port: int) -> None:
        self._passes = threading.Event()
        self._passes.set()
        self._target_port = target_port
        self.last_request = 0.0  # time.monotonic() of the last bytes towards the target
        super().__init__(target_port)

    def hold(self) -> None:
        self._passes.clear()

    def release(self) -> None:
        self._passes.set()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:  # type: ignore[override]
        try:
            to_target = sink.getpeername()[1] == self._target_port
            while chunk := source.recv(CHUNK_BYTES):
                self._passes.wait()
                if to_target:
                    self.last_request = time.monotonic()
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one end is gone: the other one hears of it
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/")[0])
