"""One test's world: its database, topics, Klaviyo account and workers."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from support import events
from support.kafka_broker import KafkaBroker
from support.log_pipe import LogPipe
from support.log_reference import complaint
from support.paths import TREE
from support.people import Population
from support.postgres import Database, Postgres
from support.process import SLOW_POLL_SECONDS, wait_until
from support.simulator import Simulator
from support.worker import Result, Worker, run_command

ACCOUNT = "AcctA1"
KEY = "pk_planted0secret0key0of0account0A1"
LIST = "ListA1"
CONNECTION = "main"
EXPORT = "newsletter"
SEGMENT = "big-spenders"
TERMINAL = {"succeeded", "succeeded_with_rejections", "failed", "cancelled"}
RUN_STATES = """select case when finished_at is null then 'open' else 'ended' end
from klaviyo.run"""
# Fields that people.attributes_of() makes.
MAPPING = [
    "--attribute", "first_name=first_name",
    "--property", "points=points",
    "--property", "score=score",
    "--property", "vip=vip",
    "--property", "tags=tags",
    "--property", "address=address",
    "--property", "nothing=nothing",
    "--property", "biography=biography",
]  # fmt: skip
# A member that was killed holds its partitions for so long; by default for 30 s.
CLIENT_PROPERTIES = "session.timeout.ms=3000\nheartbeat.interval.ms=500\n"
# Quick answers, so that a test waits for work and not for a clock.
QUICK = {"POLL_INTERVAL_MIN_MS": "100", "POLL_INTERVAL_MAX_MS": "500"}
TSAN_SUPPRESSIONS = TREE / "tests" / "support" / "tsan.supp"
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={TSAN_SUPPRESSIONS}",
}


@cache
def default_settings() -> dict[str, str]:
    """Each variable of the worker's table of settings. Set, though empty, it counts as the default, and a
    klaviyo-worker.env that is installed on this machine does not fill it in."""
    names = re.findall(r"^\| `([A-Z0-9_]+)`", (TREE / "deploy" / "settings.md").read_text(), re.MULTILINE)
    settings = dict.fromkeys([*names, "DATABASE_URL_FILE", "KLAVIYO_ALLOW_HTTP"], "")
    # Where empty means off.
    return settings | {"HTTP_LISTEN": "127.0.0.1:8080", "KAFKA_OUTCOME_TOPIC": "segment-export"}


@dataclass(frozen=True)
class Services:
    """The servers that a world uses; those of the session, or a test's own."""

    kafka: KafkaBroker
    postgres: Postgres
    template: str | None = None  # a database with the schema, to be copied


class World:
    """Empty but for the schema, a key pair and a Klaviyo account with one list."""

    def __init__(self, name: str, services: Services, folder: Path, partitions: int = 1) -> None:
        self.name = name
        self.folder = folder
        self.kafka = services.kafka
        self.postgres = services.postgres
        self.topic = f"{name}.segment-refresh"
        self.group = f"{name}.workers"
        self.dead_letter_topic = f"{name}.segment-refresh.dead-letter"
        self.outcome_topic = ""  # outcomes are off, but where a test asks for them
        self.workers: list[Worker] = []
        self._log_numbers = itertools.count(1)
        self.client_properties = folder / "client.properties"
        self.client_properties.write_text(CLIENT_PROPERTIES)
        self.client_properties.chmod(0o600)
        self.simulator = Simulator(folder, self.base_env())
        self._has_schema = services.template is not None
        self.db: Database = services.postgres.create_database(
            name.replace("-", "_"), services.template or "template1"
        )
        self._watch: psycopg.Connection[Any] | None = None
        self.kafka.create_topic(self.topic, partitions)
        self.kafka.create_topic(self.dead_letter_topic, 1)

    # -- settings and commands ------------------------------------------------

    @staticmethod
    def base_env() -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, **SANITIZERS, **default_settings()}

    def env(self, **settings: str) -> dict[str, str]:
        return {
            **self.base_env(),
            **QUICK,
            "DATABASE_URL": self.db.url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.address,
            "KAFKA_CONFIG_FILE": str(self.client_properties),
            "KAFKA_TOPIC": self.topic,
            "KAFKA_DEAD_LETTER_TOPIC": self.dead_letter_topic,
            "KAFKA_OUTCOME_TOPIC": self.outcome_topic,
            "KAFKA_GROUP_ID": self.group,
            "KLAVIYO_BASE_URL": self.simulator.url,
            "SECRET_KEY_FILE": str(self.secret_key_file),
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
            **settings,
        }

    @property
    def secret_key_file(self) -> Path:
        return self.folder / "secret.key"

    def command(self, *arguments: str, stdin: str = "", **settings: str) -> Result:
        """Runs a command, whatever its end."""
        return run_command(list(arguments), self.env(**settings), stdin)

    def admin(self, *arguments: str, stdin: str = "") -> Result:
        """Runs a command that must succeed."""
        result = self.command(*arguments, stdin=stdin)
        assert result.rc == 0, f"`{result.command}` gave {result.rc}: {result.stderr}"
        return result

    def start_worker(self, **settings: str) -> Worker:
        return self._added(Worker(self._next_log(), self.env(**settings)))

    def start_program(self, name: str, **settings: str) -> Worker:
        """A worker that is another program than the one that is shipped."""
        return self._added(Worker(self._next_log(), self.env(**settings), name=name))

    def start_worker_within(self, *words: str, log: Path | None = None, **settings: str) -> Worker:
        """A worker that these words start, or one whose log is where the test says."""
        return self._added(Worker(log or self._next_log(), self.env(**settings), within=words))

    def start_piped_worker(self, **settings: str) -> tuple[Worker, LogPipe]:
        """A worker whose log comes through a pipe that can stay unread."""
        pipe = LogPipe(self._next_log())
        worker = self._added(Worker(pipe.log, self.env(**settings), pipe.writer))
        pipe.begin()
        return worker, pipe

    def _next_log(self) -> Path:
        return self.folder / f"worker-{next(self._log_numbers)}.log"

    def _added(self, worker: Worker) -> Worker:
        self.workers.append(worker)
        return worker

    # -- setting up -----------------------------------------------------------

    def prepare(self) -> World:
        """Schema, key pair, an account with a key and a list."""
        if not self._has_schema:
            self.admin("migrate")
        self.admin("keygen", "--out", str(self.secret_key_file))
        self.simulator.add_account(ACCOUNT)
        self.simulator.add_key(KEY, ACCOUNT)
        self.simulator.add_list(LIST, ACCOUNT, "Newsletter")
        self.simulator.settings(queued_ms=50, processing_ms=100)
        return self

    def add_connection(self, name: str = CONNECTION, key: str = KEY, *options: str) -> Result:
        words = ["connection", "add", name, "--api-key-file", "-", "--agree-to-data-transfer"]
        return self.admin(*words, *options, stdin=key + "\n")

    def add_export(
        self,
        name: str = EXPORT,
        *options: str,
        segments: tuple[str, ...] = (SEGMENT,),
        list_id: str = LIST,
        connection: str = CONNECTION,
        mapping: list[str] | None = None,
    ) -> Result:
        words = ["export", "add", name, "--connection", connection, "--list", list_id]
        for segment in segments:
            words += ["--segment", segment]
        words += ["--email-field", "email", "--force", *(MAPPING if mapping is None else mapping)]
        return self.admin(*words, *options)

    def add_segment(self, segment: str, people: Population) -> None:
        """The segment and its members, as upstream writes them."""
        self.db.execute(
            "insert into insights.segment (segment_id, name) values (%s, %s)", segment, segment
        )
        self.db.copy("insights.customer_profile (profile_id, attributes)", people.members)
        rows = ((segment, profile) for profile, _ in people.members)
        self.db.copy("insights.segment_member (segment_id, profile_id)", rows)
        self.db.execute("analyze insights.customer_profile, insights.segment_member")

    def set_up_export(self, people: Population) -> None:
        """The usual case: one segment, one connection, one export."""
        self.add_segment(SEGMENT, people)
        self.add_connection()
        self.add_export()

    # -- Kafka ----------------------------------------------------------------

    def publish(self, *messages: events.Message, partition: int | None = None) -> None:
        events.publish(self.kafka.address, self.topic, list(messages), partition)

    def refresh(self, segment: str = SEGMENT, **more: Any) -> None:
        self.publish(events.binary(segment, **more))

    def committed(self) -> int:
        """The group's committed offsets, summed over partitions."""
        return sum(self.kafka.committed(self.group, self.topic).values())

    def end(self) -> int:
        return sum(self.kafka.end_offsets(self.topic).values())

    def wait_all_committed(self, seconds: float = 30) -> None:
        ends = self.kafka.end_offsets(self.topic)
        wait_until(
            lambda: self.kafka.committed(self.group, self.topic) == ends,
            seconds,
            f"committed offsets to reach the ends {ends}",
            SLOW_POLL_SECONDS,
        )

    def dead_letters(self) -> list[events.Record]:
        return events.read_all(self.kafka.address, self.dead_letter_topic)

    def turn_on_outcomes(self, partitions: int = 1) -> None:
        """For workers that are started from now on."""
        self.outcome_topic = f"{self.name}.segment-export"
        self.kafka.create_topic(self.outcome_topic, partitions)

    def outcomes(self) -> list[events.Record]:
        return events.read_all(self.kafka.address, self.outcome_topic)

    def wait_outcomes_sent(self, seconds: float = 30) -> list[events.Record]:
        """Until none waits for its broker any more; every record that is there then."""
        wait_until(
            lambda: self.db.value("select count(*) from klaviyo.outcome") == 0,
            seconds,
            "outcomes to be sent",
            SLOW_POLL_SECONDS,
        )
        return self.outcomes()

    # -- what happened --------------------------------------------------------

    def runs(self, *options: str) -> list[dict[str, Any]]:
        """Newest first."""
        found = self.admin("runs", "list", "--json", *options).json
        assert isinstance(found, list)
        return found

    def run(self, run_id: int) -> dict[str, Any]:
        found = self.admin("runs", "show", str(run_id), "--json").json
        assert isinstance(found, dict)
        return found

    def rejections(self, run_id: int) -> list[dict[str, Any]]:
        found = self.admin("runs", "rejections", str(run_id), "--json").json
        assert isinstance(found, list)
        return found

    def wait_runs_ended(self, count: int = 1, seconds: float = 60) -> list[dict[str, Any]]:
        """Waits until `count` runs have ended and none is open; newest first."""

        def ended() -> bool:
            states = self._run_states()
            return len(states) >= count and states.count("ended") == len(states)

        wait_until(ended, seconds, f"{count} runs to end", 0.05)
        return self.runs()

    def _run_states(self) -> list[str]:
        """Of each run: ended or open. Asked of the database, which costs less than a command."""
        try:
            if self._watch is None:
                self._watch = self.db.connect()
            rows = self._watch.execute(RUN_STATES).fetchall()
        except psycopg.OperationalError:
            self._watch = None  # it is being restarted
            return []
        return [state for (state,) in rows]

    def wait_requests(self, endpoint: str, count: int, seconds: float = 60) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]]:
            found = self.simulator.diary(endpoint)
            return found if len(found) >= count else []

        return wait_until(enough, seconds, f"{count} requests to {endpoint}")

    # -- the end --------------------------------------------------------------

    def close(self) -> None:
        """Ends everything; complains of what a sanitizer found, and of unknown lines in a log."""
        for worker in self.workers:
            worker.kill()
        if self._watch:
            self._watch.close()
        self._keep_diary()
        self.simulator.stop()
        reports = [report for worker in self.workers if (report := worker.sanitizer_report())]
        assert not reports, "\n".join(reports)
        complaints = {c for worker in self.workers for e in worker.events() if (c := complaint(e))}
        assert not complaints, "\n".join(sorted(complaints))

    def _keep_diary(self) -> None:
        text = "\n".join(json.dumps(entry) for entry in self.simulator.diary())
        (self.folder / "simulator-diary.jsonl").write_text(text)


MakeWorld = Callable[..., World]


def check_sums(run: dict[str, Any]) -> None:
    """The sums that must add up in a run that has succeeded."""
    counts = run["counts"]
    parts = ("invalid", "duplicate", "unchanged", "selected")
    assert counts["read"] == sum(counts[part] for part in parts), counts
    assert counts["selected"] == counts["accepted"] + counts["rejected"], counts
