"""A call that can fail does, once or for ever: of the system, of a library, for memory.

The programs are those of klaviyo-worker-faults: support/faults.h. Which calls a command or a
run makes is found out in a clean round; then each place that makes one has it fail.

FAULT_LOOPS=all   each way to each call, not a sample; or FUNCTION: to that function alone (or `memory`)
FAULT_SEED       another sample, another order
"""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import events, people
from support.faults import FOR_EVER, PROGRAM, Faults
from support.process import wait_until
from support.worker import SANITIZER_MARKS, Result, Worker, run_command
from support.world import CONNECTION, EXPORT, KEY, LIST, SEGMENT, World


ALL = "FAULT_LOOPS" in os.environ
WANTED = os.environ.get("FAULT_LOOPS", "all")
pytestmark = pytest.mark.timeout(36_000 if ALL else 240)
SEED = int(os.environ.get("FAULT_SEED", "20261126"))
SAMPLE = 3  # of each command, where not all are asked for
ONCE = {"memory", "poll"}  # poll() is interrupted, but not for ever
FOR_PEOPLE = {"crypto_box_seal_open"}  # a key that cannot be opened ends the run: key_unreadable
ABORTED = -6
WRONG_SETTINGS = 2
LAST_WORDS = "out of memory for a few bytes"  # common/memory.h


@dataclass(frozen=True)
class Case:
    """Which call fails, and how many after it."""

    fault: str
    nth: int
    times: int = 1


def chosen_of(cases: list[Case], chance: random.Random, sample: int) -> list[Case]:
    wanted = [case for case in cases if WANTED in ("all", case.fault)]
    return chance.sample(wanted, len(wanted) if ALL else min(sample, len(wanted)))


def cases_of(faults: Faults, chance: random.Random, sample: int) -> list[Case]:
    """The first call of each way, once; each function, and memory from each point on, for ever."""
    found = [Case(way.fault, way.call) for way in faults.ways()]
    found += [Case(name, 1, FOR_EVER) for name in faults.names if faults.calls(name) and name not in ONCE]
    found += [Case("memory", way.call, FOR_EVER) for way in faults.ways() if way.fault == "memory"]
    return chosen_of(found, chance, sample)


@dataclass
class Command:
    """One that may be given again and again."""

    words: list[str]
    stdin: str = ""
    same: bool = False  # it prints the same each time
    makes: Path | None = field(default=None)  # a file that is there only where it says so


def commands(world: World) -> list[Command]:
    key = world.folder / "another.key"
    return [
        Command(["export", "list", "--json"], same=True),
        Command(["export", "list"], same=True),
        Command(["export", "show", EXPORT, "--json"], same=True),
        Command(["connection", "show", CONNECTION], same=True),
        Command(["segment", "fields", SEGMENT, "--json"], same=True),
        Command(["member", "show", "nobody@shop.example", "--json"], same=True),
        Command(["dead-letters", "list", "--json"], same=True),
        Command(["export", "preview", EXPORT, "--direct"]),
        Command(["connection", "verify", CONNECTION, "--direct"]),
        Command(["connection", "rotate-key", CONNECTION, "--api-key-file", "-"], stdin=KEY + "\n"),
        Command(["export", "update", EXPORT, "--property", "points=points", "--property", "vip=vip"]),
        Command(["publish", SEGMENT]),
        Command(["check"]),
        Command(["migrate"]),
        Command(["keygen", "--replace", "--out", str(key)], makes=key),
    ]


def run(world: World, faults: Faults, command: Command) -> Result:
    if command.makes:
        command.makes.unlink(missing_ok=True)
    return run_command(command.words, {**world.env(), **faults.env}, command.stdin, PROGRAM)


def complaint(command: Command, clean: Result, result: Result, fault: str) -> str:
    """What is wrong with how it took the fault; nothing where all is well."""
    if result.rc == ABORTED:
        return "" if LAST_WORDS in result.stderr else "aborted without a word"
    if result.rc == WRONG_SETTINGS and fault == "rd_kafka_conf_set" and "does not take" in result.stderr:
        return ""  # librdkafka refuses a property
    if result.rc not in (0, 1, 75):
        return f"ended with {result.rc}"
    if result.rc and not re.search(r"klaviyo-worker: \S+ \S+|error|FAIL", result.stderr + result.stdout):
        return "failed without a word"
    if result.rc and "Success" in result.stderr:
        return "says that the reason is success"
    if command.same and result.rc == 0 and result.stdout != clean.stdout:
        return "printed something else, and said that all is well"
    vouched = result.rc == 0 or "the private half is in" in result.stderr
    if command.makes and command.makes.exists() != vouched:
        return "left a file that it did not vouch for, or none"
    return ""


# Or commands of which hundreds are given would wait for the limits of their account, each for a minute and more.
FREE_PERMITS = "delete from klaviyo.rate_place"


def test_a_command_whose_calls_fail_says_so(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.simulator.settings(limits=False)
    faults = Faults(world.folder / "faults")
    chance = random.Random(SEED)
    wrong = []
    tried = 0

    for command in commands(world):
        faults.reset()
        clean = run(world, faults, command)
        assert clean.rc == 0, clean
        cases = cases_of(faults, chance, SAMPLE)
        print(f"{' '.join(command.words)}: {len(cases)}", flush=True)
        for case in cases:
            world.db.execute(FREE_PERMITS)
            faults.reset()
            faults.arm(case.fault, case.nth, case.times)
            try:
                result = run(world, faults, command)
                said = complaint(command, clean, result, case.fault)
            except Exception as broken:
                said, result = f"{broken}"[:3000], Result("", 0, "", "")
            tried += faults.failed(case.fault) > 0
            if said:
                wrong.append(
                    f"{' '.join(command.words)}: {case} at {faults.where(case.fault)}: {said}\n"
                    f"    {result.rc} {result.stderr[-600:]}"
                )
                print(wrong[-1], flush=True)
    faults.reset()
    print(f"{tried} calls failed")
    assert not wrong, "\n".join(wrong)


ADD = """with added as (insert into insights.customer_profile (profile_id, attributes)
    values (%s, jsonb_build_object('email', %s::text)) returning profile_id)
insert into insights.segment_member (segment_id, profile_id) select %s, profile_id from added"""
OF_RUN = {"LEASE_SECONDS": "2", "DRAIN_SECONDS": "5"}
ROUND_SECONDS = 60


class Rounds:
    """One worker, whose calls fail; after each round the list must be right."""

    def __init__(self, world: World) -> None:
        self.world = world
        population = people.simple(50)
        self.wanted = set(population.wanted)
        self.events = 0
        world.turn_on_outcomes()
        world.set_up_export(population)
        self.faults = Faults(world.folder / "faults")
        self.worker: Worker | None = None

    def start(self) -> Worker:
        self.worker = self.world.start_program(PROGRAM, **OF_RUN, **self.faults.env)
        return self.worker

    def publish(self) -> None:
        """One more member, an event that says so, and a record that is no event."""
        self.events += 1
        address = f"added{self.events}@shop.example"
        self.wanted.add(address)
        self.world.db.execute(ADD, f"added-{self.events}", address, SEGMENT)
        self.world.publish(events.Message(b"no event", {}, b"x"), events.binary(SEGMENT, full=True))

    def is_done(self) -> bool:
        return self.world.committed() == 2 * self.events

    def wait_done(self) -> bool:
        """Until the event has ended; False: the worker has."""
        worker = self.worker
        assert worker
        wait_until(lambda: not worker.process.running or self.is_done(), ROUND_SECONDS, "the event to end", 0.1)
        return worker.process.running

    def how_it_ended(self, stopped: bool) -> str:
        """What is wrong with the way that the process went; nothing where all is well."""
        worker = self.worker
        assert worker
        text = worker.log.read_text(errors="replace")
        status = worker.process.exit_status
        if any(mark in text for mark in SANITIZER_MARKS):
            return "a sanitizer's report:\n" + text[-4000:]
        if status == ABORTED:
            return "" if LAST_WORDS in text else "aborted without a word:\n" + text[-2000:]
        if status not in ((0, 1, 2, 75) if stopped else (1, 2, 75)):
            return f"ended with {status}:\n" + text[-2000:]
        if status and not any(e["level"] in ("error", "fatal") for e in worker.events()) and "klaviyo-worker:" not in text:
            return f"ended with {status} without a word:\n" + text[-2000:]
        return ""

    def check(self) -> str:
        found = set(self.world.simulator.emails(LIST))
        if found != self.wanted:
            return f"{len(self.wanted - found)} are missing, {len(found - self.wanted)} too many"
        state = self.world.db.value("select state from klaviyo.run order by run_id desc limit 1")
        if state not in ("succeeded",):
            why = self.world.db.value("select concat_ws(': ', reason, detail) from klaviyo.run order by run_id desc limit 1")
            return f"the last run is {state}: {why}"
        return ""

    def play(self, case: Case, restart: bool) -> str:
        """A round in which that call fails; what is wrong with what came of it."""
        if restart and self.worker and self.worker.process.running:
            self.worker.stop()
        self.faults.reset()
        self.faults.arm(case.fault, case.nth, case.times)
        if restart or not self.worker or not self.worker.process.running:
            self.start()
        self.publish()
        wrong = "" if self.wait_done() else self.how_it_ended(stopped=False)
        if restart and not wrong and self.worker and self.worker.process.running:
            self.worker.process.stop(60)
            wrong = self.how_it_ended(stopped=True)
        self.faults.disarm(case.fault)
        if not self.is_done():
            self.start()
            self.wait_done()
        return wrong or self.check()


def ways_of(rounds: Rounds, restart: bool) -> list[Case]:
    """What one round calls, in which nothing fails."""
    if not restart:
        rounds.start().wait_ready()
    rounds.faults.reset()
    if restart:
        rounds.start()
    rounds.publish()
    assert rounds.wait_done()
    if restart:
        assert rounds.worker
        rounds.worker.stop()
    return [Case(way.fault, way.call) for way in rounds.faults.ways() if way.fault not in FOR_PEOPLE]


def play_all(rounds: Rounds, restart: bool, sample: int) -> None:
    cases = ways_of(rounds, restart)
    chance = random.Random(SEED)
    chosen = chosen_of(cases, chance, sample)
    wrong = []
    failed = 0
    print(f"{len(chosen)} of {len(cases)} calls", flush=True)
    for case in chosen:
        try:
            said = rounds.play(case, restart)
        except Exception as broken:
            said = f"{broken}"[:3000]
            if rounds.worker:
                rounds.worker.process.kill()
        failed += rounds.faults.failed(case.fault) > 0
        if said:
            wrong.append(f"{case} at {rounds.faults.where(case.fault)}: {said}")
            print(wrong[-1], flush=True)
    print(f"{failed} calls failed", flush=True)
    assert not wrong, "\n".join(wrong)
    letters = {record.header("__connect.errors.offset") for record in rounds.world.dead_letters()}
    assert len(letters) == rounds.events


def test_a_worker_whose_calls_fail_as_it_starts_or_stops_loses_nothing(world: World) -> None:
    play_all(Rounds(world), restart=True, sample=5)


def test_a_worker_whose_calls_fail_while_it_runs_loses_nothing(world: World) -> None:
    play_all(Rounds(world), restart=False, sample=12)
