"""A PgBouncer of the test's own, in transaction mode, before one of the test's databases."""

from __future__ import annotations

from pathlib import Path

import psycopg

from support.paths import copied_program, tool
from support.postgres import Postgres, server_user
from support.process import Process, free_port

READY_SECONDS = 20
SETTINGS = """\
[databases]
* = user=postgres host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file =
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
logfile = {log}
"""


class PgBouncer:
    """Started by the constructor; one pool of `size` server connections per database and user."""

    def __init__(self, folder: Path, postgres: Postgres, size: int) -> None:
        folder.chmod(0o777)  # it refuses to run as root: its log is another user's
        self.port = free_port()
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            SETTINGS.format(
                server=postgres.port, port=self.port, size=size, log=folder / "pgbouncer.log"
            )
        )
        settings.chmod(0o644)
        command = [copied_program(tool("pgbouncer"), folder), settings]
        log = folder / "pgbouncer.out"
        self._process = Process(command, log, as_user=server_user(), cwd=Path("/"))
        self._process.wait_ready(self._answers, READY_SECONDS)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2) as connection:
                return connection.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        self._process.kill()
