"""A person at work through a storm: asks, is told to ask again, and is never told what is wrong."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from chaos.scenes import Export

from support.process import wait_until
from support.roles import make_login
from support.worker import Result, run_command
from support.world import World

AGAIN = 75
# Where the machine is slow a storm that freezes all workers takes minutes for what it planned.
ANSWER_SECONDS = 300
ROWS = 3
# What may be said in a storm, though asking again at once may not help.
GIVEN_UP = "five workers in a row did not bring it to an end"

Question = Callable[[Export], list[str]]
Judge = Callable[[Export, Any], bool]


def lists_are_right(export: Export, answer: Any) -> bool:
    """Ids and names of all lists of the account."""
    return {one["id"]: one["name"] for one in answer} == export.account.lists


def preview_is_right(export: Export, answer: Any) -> bool:
    """Members that nobody changes are sent by the first run, or were; some by a trial."""
    counts = answer["counts"]
    return (
        counts["read"] == len(export.points)
        and counts["selected"] + counts["unchanged"] == len(export.points)
        and counts["invalid"] == counts["duplicate"] == counts["left"] == 0
    )


def verify_is_right(export: Export, answer: Any) -> bool:
    """Each member is on the list, missing there, or not sent."""
    counts = answer["counts"]
    if answer["ran_meanwhile"]:
        return True
    return (
        counts["ours"] + counts["missing"] + counts["not_sent"] == len(export.points)
        and counts["ours"] + counts["not_ours"] == counts["profiles"] <= len(export.points)
        and counts["ours_left"] == counts["missing_left"] == counts["without_address"] == 0
    )


def trial_is_right(export: Export, answer: Any) -> bool:
    """The rows of the trial are members with their values, and were taken."""
    rows = answer["rows"]
    return len(rows) == ROWS and all(
        row["email"] in export.points
        and row["result"] == "accepted"
        and row["payload"]["attributes"]["properties"]["points"] == export.points[row["email"]]
        for row in rows
    )


QUESTIONS: dict[str, tuple[Question, Judge]] = {
    "connection lists": (lambda e: [e.account.connection, "--json"], lists_are_right),
    "export preview": (lambda e: [e.name, "--json"], preview_is_right),
    "export verify": (lambda e: [e.name, "--json"], verify_is_right),
    "export try": (lambda e: [e.name, "--rows", str(ROWS), "--json"], trial_is_right),
}


class Person(threading.Thread):
    """Asks one question after the other about exports whose members nobody changes."""

    def __init__(self, world: World, exports: list[Export], seed: int) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._exports = exports
        self._random = random.Random(seed)
        self._user = make_login(world.db, "mo", "klaviyo_contributor")
        for connection in {export.account.connection for export in exports}:
            world.admin("connection", "grant", connection, self._user.name)
        self._over = threading.Event()
        self.answered: Counter[str] = Counter()
        self.asked_again = 0
        self.violations: list[str] = []

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._ask(self._random.choice(list(QUESTIONS)))
        except BaseException as failure:
            self.violations.append(f"a command without an end: {failure!r}")

    def _ask(self, kind: str) -> bool:
        words, is_right = QUESTIONS[kind]
        export = self._random.choice(self._exports)
        result = self._command(*kind.split(), *words(export))
        if result.rc == AGAIN or GIVEN_UP in result.stderr:
            self.asked_again += 1
            return False
        if result.rc != 0 or not is_right(export, result.json):
            self.violations.append(f"{result}, {len(export.points)} members")
        self.answered[kind] += 1
        return True

    def _command(self, *words: str) -> Result:
        env = self._world.env(DATABASE_URL=self._user.url, SECRET_KEY_FILE="")
        return run_command(list(words), env, seconds=ANSWER_SECONDS)

    def stop(self) -> None:
        """In the calm each question has its answer."""
        self._over.set()
        self.join(ANSWER_SECONDS)
        for kind in QUESTIONS:
            wait_until(lambda kind=kind: self._ask(kind), ANSWER_SECONDS, f"an answer to {kind}")
