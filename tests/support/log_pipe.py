"""A worker's stderr as a pipe: read into a file, unless nobody is to read it."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

CHUNK_BYTES = 65536
PIPE_BYTES = 4096  # the least: full at once when nobody reads


class LogPipe:
    """Give `writer` to the process, then begin(). Ends with the process."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.log.touch()
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._reads = threading.Event()
        self._reads.set()

    def begin(self) -> None:
        os.close(self.writer)  # the process has its own
        threading.Thread(target=self._pump, daemon=True).start()

    def hold(self) -> None:
        """From now on nobody reads: the pipe fills."""
        self._reads.clear()

    def release(self) -> None:
        self._reads.set()

    def _pump(self) -> None:
        with self.log.open("ab", buffering=0) as file:
            while chunk := os.read(self._reader, CHUNK_BYTES):
                file.write(chunk)
                self._reads.wait()
        os.close(self._reader)
