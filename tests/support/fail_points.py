"""The durable steps of a worker, at each of which a test can have it killed."""

from __future__ import annotations

import re
import signal
from contextlib import suppress

from confluent_kafka import KafkaException

from support.paths import TREE
from support.process import wait_until
from support.worker import Worker
from support.world import World

AROUND = re.compile(r'FAILPOINT_AROUND\("(\w+)"')
SINGLE = re.compile(r'FAILPOINT\("([\w.]+)"\)')


def fail_points() -> list[str]:
    """As the source has them: one that is added is tested."""
    found: set[str] = set()
    for source in (TREE / "worker").rglob("*.c"):
        text = source.read_text()
        found |= set(SINGLE.findall(text))
        for name in AROUND.findall(text):
            found |= {f"{name}.before", f"{name}.after"}
    return sorted(found)


def killed_or_done(world: World, victim: Worker) -> bool:
    """Whether the fail point killed it, rather than the work coming to its end."""

    def known() -> str:
        if not victim.process.running:
            return "killed"
        with suppress(KafkaException):  # a slow broker, for a moment its own leader no longer
            if world.committed() == world.end():
                return "done"
        return ""

    answer = wait_until(known, 60, "the worker to be killed or to be done", 0.2)
    if answer == "killed":
        assert victim.process.exit_status == -signal.SIGKILL, victim.log.read_text()[-2000:]
    return answer == "killed"
