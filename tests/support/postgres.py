"""A PostgreSQL server of our own, in a temporary directory, and its databases."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from support.paths import postgres_program
from support.process import Process, free_port

READY_SECONDS = 60
# Durable against the death of any process of ours, not of the machine.
SETTINGS = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 300
shared_buffers = 256MB
work_mem = 32MB
fsync = off
full_page_writes = off
max_wal_size = 4GB
checkpoint_timeout = 1h
autovacuum_naptime = 5s
log_min_duration_statement = -1
log_line_prefix = '%m [%p] %d '
timezone = UTC
"""


def server_user() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as the user of its package."""
    return "postgres" if os.geteuid() == 0 else None


def as_server_user(command: Sequence[object]) -> list[str]:
    user = server_user()
    words = [str(word) for word in command]
    if user is None:
        return words
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *words]


def folder_for_servers(prefix: str) -> Path:
    """A temporary folder that the server's user may enter; in /tmp where TMPDIR is closed to others."""
    parent = tempfile.gettempdir()
    asked = subprocess.run(as_server_user(["test", "-x", parent]), check=False, cwd="/")
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent if asked.returncode == 0 else "/tmp"))
    folder.chmod(0o711)
    return folder


class Postgres:
    """Made by the constructor; start() it, then wait_ready()."""

    def __init__(self, folder: Path, log: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.log = log
        self.port = free_port()
        self._process: Process | None = None
        self._own(folder)
        self._initdb()

    def _own(self, folder: Path) -> None:
        user = server_user()
        if user is None:
            return
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)

    def _initdb(self) -> None:
        command = [postgres_program("initdb"), "-D", self.data, "-U", "postgres", "-E", "UTF8"]
        command += ["--locale=C.UTF-8", "-A", "trust", "--no-sync", "--no-instructions"]
        with self.log.open("ab") as output:
            subprocess.run(
                as_server_user(command), stdout=output, stderr=output, check=True, cwd="/"
            )
        settings = self.data / "postgresql.conf"
        with settings.open("a") as file:
            file.write(SETTINGS.format(port=self.port))

    def start(self) -> None:
        self._process = Process(
            [postgres_program("postgres"), "-D", self.data],
            self.log,
            death_signal="QUIT",
            as_user=server_user(),
            cwd=Path("/"),
        )

    def wait_ready(self) -> None:
        assert self._process
        self._process.wait_ready(self._answers, READY_SECONDS)

    def is_up(self) -> bool:
        return self._answers()

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2) as connection:
                return connection.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def stop(self, mode: str = "fast") -> None:
        """fast: ends all connections; immediate: as after a crash."""
        if self._process is None:
            return
        command = [
            postgres_program("pg_ctl"),
            "stop",
            "-D",
            self.data,
            "-m",
            mode,
            "-w",
            "-t",
            "10" if mode == "immediate" else "30",
        ]
        done = subprocess.run(
            as_server_user(command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=mode != "immediate",
            cwd="/",
        )
        if done.returncode != 0:  # it sleeps for a minute where it misses a child's end
            self._process.kill()
        else:
            self._process.wait(10)
        self._process = None

    def as_guest(self) -> Postgres:
        """The same server for a process that did not start it."""
        guest = copy(self)
        guest._process = None
        return guest

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()
        self.wait_ready()

    def back_up(self, folder: Path) -> None:
        """A base copy of the data directory while everybody works."""
        command = [postgres_program("pg_basebackup"), "-d", self.url("postgres"), "-D", folder]
        command += ["-X", "stream", "-c", "fast", "--no-sync"]
        with self.log.open("ab") as output:
            subprocess.run(
                as_server_user(command), stdout=output, stderr=output, check=True, cwd="/"
            )

    def set_back(self, folder: Path) -> None:
        """Goes on from that copy, which is used up: what was written since is forgotten."""
        self.stop("immediate")
        shutil.rmtree(self.data)
        folder.rename(self.data)
        self.start()
        self.wait_ready()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str = "template1") -> Database:
        statement = sql.SQL("create database {} template {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)
        return Database(self.url(name), name)

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


@dataclass(frozen=True)
class Database:
    """One database of a server."""

    url: str
    name: str

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=30)

    def execute(self, statement: str, *values: Any) -> None:
        with self.connect() as connection:
            connection.execute(statement.encode(), values or None)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(statement.encode(), values or None).fetchall()

    def value(self, statement: str, *values: Any) -> Any:
        return self.rows(statement, *values)[0][0]

    def copy(self, target: str, rows: Iterable[Sequence[Any]]) -> None:
        """Bulk insert; target is "table (column, …)"."""
        statement = f"copy {target} from stdin".encode()
        with self.connect() as connection, connection.cursor().copy(statement) as stream:
            for row in rows:
                stream.write_row(row)


class Standby:
    """A hot standby of a server: a copy of it that follows."""

    def __init__(self, primary: Postgres, folder: Path, log: Path) -> None:
        self.port = free_port()
        self.data = folder / "standby"
        with log.open("ab") as output:
            subprocess.run(
                as_server_user(
                    [postgres_program("pg_basebackup"), "-D", self.data, "-h", "127.0.0.1",
                     "-p", primary.port, "-U", "postgres", "-R", "-c", "fast", "--no-sync"]
                ),
                check=True, stdout=output, stderr=output, cwd="/",
            )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\n")
        self.process = Process(
            [postgres_program("postgres"), "-D", self.data],
            log,
            death_signal="QUIT",
            as_user=server_user(),
            cwd=Path("/"),
        )

    def promote(self) -> None:
        command = [postgres_program("pg_ctl"), "promote", "-D", self.data, "-w"]
        subprocess.run(
            as_server_user(command), check=True, stdout=subprocess.DEVNULL, cwd="/"
        )
