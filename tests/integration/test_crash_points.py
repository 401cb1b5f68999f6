"""A worker is killed around every durable step. The list is right; little is sent again.

The steps are found in the source: a fail point that is added is tested.

RANDOM_KILLS  how many kills come at random moments (10; 100 in the long form)
"""

from __future__ import annotations

import json
import os
import random
import time

import pytest

from support import events, people
from support.fail_points import fail_points, killed_or_done
from support.process import wait_until
from support.world import ACCOUNT, LIST, SEGMENT, World, check_sums

RANDOM_KILLS = int(os.environ.get("RANDOM_KILLS", "10"))
ROWS = 25_000
BATCH_ROWS = 10_000
BATCHES_IN_FLIGHT = 5
SHORT_LEASE = {"LEASE_SECONDS": "2"}

OF_BATCHES = {"plan_batch", "request", "answer", "mark_sent", "confirm"}
# Runs that wait, jobs of earlier runs, outcomes, who left: test_waiting, test_late_jobs, test_outcomes,
# test_leavers.
ELSEWHERE = {"park", "settle_late_job", "leave_late_job"}
ELSEWHERE |= {"leavers", "claim_list", "release_held", "fetch_leavers", "leavers_removed"}
ELSEWHERE |= {"task_take", "task_end", "trial_begin", "trial_plan"}  # test_tasks.py, test_trial.py
ELSEWHERE |= {"claim_outcomes", "outcomes_handed_over", "settle_outcomes"}


def people_with_trouble(world: World) -> people.Population:
    """One batch is cancelled, one is split for a refused row, some rows are bad."""
    maker = people.Maker()
    maker.valid(ROWS)
    maker.duplicates(20)
    maker.malformed(5)
    refused = sorted(maker.population.wanted)[ROWS // 2]
    world.simulator.control("POST", "rejects", {"emails": [refused], "stage": "sync"})
    world.simulator.fault("import", {"job": "cancelled"}, times=1)
    maker.population.wanted.pop(refused)
    return maker.population


def finished_jobs(world: World) -> set[str]:
    found = world.db.rows("select job_id from klaviyo.batch where state = 'complete'")
    return {job for (job,) in found}


def every_hit() -> list[tuple[str, int]]:
    """The first time at each point; the second, too, where batches come by."""
    points = [point for point in fail_points() if point.split(".")[0] not in ELSEWHERE]
    return [(point, 1) for point in points] + [
        (point, 2) for point in points if point.split(".")[0] in OF_BATCHES
    ]


@pytest.mark.parametrize(("point", "hit"), every_hit())
def test_a_kill_at_any_step_loses_nothing(world: World, point: str, hit: int) -> None:
    population = people_with_trouble(world)
    world.turn_on_outcomes()
    world.set_up_export(population)
    victim = world.start_worker(**SHORT_LEASE, KLAVIYO_FAILPOINT=f"{point}:{hit}")
    world.publish(events.Message(b"no event", {}, b"x"), events.binary(SEGMENT))
    assert killed_or_done(world, victim), "this run never comes past there: make it"
    finished = finished_jobs(world)
    accepted = world.runs()[0]["counts"]["accepted"] if world.runs() else 0

    taken_over_at = time.time()  # what the dead one had in flight came before
    heir = world.start_worker(**SHORT_LEASE)
    run = world.wait_runs_ended(1, 60)[0]
    world.wait_all_committed()

    assert run["state"] == "succeeded_with_rejections", run
    check_sums(run)
    assert (run["counts"]["accepted"], run["counts"]["rejected"]) == (ROWS - 1, 1)
    assert world.simulator.emails(LIST) == population.wanted.keys()
    assert len(world.dead_letters()) in ((1, 2) if "mark_dead_lettered" in point else (1,))
    outcomes = world.wait_outcomes_sent()
    assert {json.loads(o.value or b"")["run"] for o in outcomes} == {run["id"]}
    assert len({o.header("ce_id") for o in outcomes}) == 1
    after = [e for e in world.simulator.diary() if e["at"] >= taken_over_at]
    asked = [e for e in after if e["endpoint"] == "job" and e["path"].rsplit("/")[-1] in finished]
    assert asked == [], "a job whose end is recorded was asked for again"
    sent = sum(e["profiles"] for e in after if e["endpoint"] == "import" and e["status"] == 202)
    # The cancelled batch goes again. A machine that stood still for the length of the short
    # lease has had the run taken once more.
    more_takes = max(0, len(heir.events("run_taken")) - 1)
    again = BATCH_ROWS + more_takes * BATCHES_IN_FLIGHT * BATCH_ROWS
    assert sent <= ROWS - accepted + again, "confirmed rows were sent again"


# What was confirmed, as seen by the database: the rows of batches go when their run ends.
NOTE_CONFIRMED = """
create table public.confirmed (
    run_id bigint, job_id text, at timestamptz not null default clock_timestamp());
create function public.note_confirmed() returns trigger language plpgsql as $$
begin
    insert into public.confirmed (run_id, job_id) values (new.run_id, new.job_id);
    return null;
end
$$;
create trigger note_confirmed after update of state on klaviyo.batch
for each row when (new.state = 'complete') execute function public.note_confirmed();
"""
RUNS = """
select run_id, state, reason, epoch, extract(epoch from started_at)::float8,
       extract(epoch from finished_at)::float8
from klaviyo.run order by run_id
"""
KILLED_ROWS = 60_000


@pytest.mark.timeout(120 + 30 * RANDOM_KILLS)
def test_kills_at_random_moments_lose_nothing_and_repeat_little(world: World) -> None:
    chance = random.Random(20261124)
    population = people.simple(KILLED_ROWS)
    world.set_up_export(population)
    world.db.execute(NOTE_CONFIRMED)
    world.simulator.settings(queued_ms=100, processing_ms=300)
    # Answers that take their time: there is something in flight to be cut off.
    world.simulator.fault("import", {"delay_ms": 400}, times=-1)
    world.start_worker(**SHORT_LEASE)
    world.refresh()

    events_sent = 1
    kills = []
    for _ in range(RANDOM_KILLS):
        kills.append(kill_at_a_random_moment(world, chance, events_sent))
        world.start_worker(**SHORT_LEASE)
        if events_ended(world) == events_sent:
            check_list(world, population)
            # Everybody again, to an empty list: whatever is lost then is missing.
            world.simulator.remove_list(LIST)
            world.simulator.add_list(LIST, ACCOUNT, "Newsletter")
            world.refresh(full=True)
            events_sent += 1

    world.wait_all_committed(120)
    check_list(world, population)
    check_little_was_repeated(world, kills)


def check_list(world: World, population: people.Population) -> None:
    """The last run has succeeded; everybody is on the list."""
    run = world.runs("--limit", "1")[0]
    assert run["state"] == "succeeded", run
    check_sums(run)
    assert world.simulator.emails(LIST) == population.wanted.keys()


def check_little_was_repeated(world: World, kills: list[float]) -> None:
    """At most five batches for each kill, nothing that was confirmed, no job that had ended."""
    entries = world.simulator.diary()
    imports = [e for e in entries if e["endpoint"] == "import" and e["status"] == 202]
    body_of = {e["job"]: e["sha256"] for e in imports}
    again = 0
    runs = world.db.rows(RUNS)
    for run_id, state, _, epoch, begin, end in runs:
        assert state == "succeeded", run_id
        during = [e for e in imports if begin <= e["at"] <= end]
        repeated = sum(e["profiles"] for e in during) - KILLED_ROWS
        # A machine that stood still for the length of the short lease has had it taken, too.
        ends = max(sum(begin <= moment <= end for moment in kills), epoch - 1)
        assert 0 <= repeated <= ends * BATCHES_IN_FLIGHT * BATCH_ROWS, (run_id, repeated, ends)
        again += repeated
        confirmed = {body_of[job]: at for job, at in confirmed_jobs(world, run_id)}
        assert len(confirmed) == KILLED_ROWS // BATCH_ROWS
        late = [e for e in during if e["at"] > confirmed[e["sha256"]]]
        assert late == [], "confirmed rows were sent again"
    print(
        f"\n{len(kills)} kills in {len(runs)} runs: {len(imports)} batches sent,"
        f" {again / BATCH_ROWS:g} of them again",
        end="",
    )
    ended = dict(confirmed_jobs(world))
    looks = [(e["path"].rsplit("/")[-1], e["at"]) for e in entries if e["endpoint"] == "job"]
    asked = [job for job, at in looks if job in ended and at > ended[job]]
    assert asked == [], "a job whose end is recorded was asked for again"


def confirmed_jobs(world: World, run_id: int | None = None) -> list[tuple[str, float]]:
    """Jobs, of one run or of all, and when their end was recorded."""
    found = world.db.rows(
        "select job_id, extract(epoch from at)::float8 from public.confirmed"
        " where run_id = coalesce(%s, run_id)",
        run_id,
    )
    return [(job, at) for job, at in found]


def events_ended(world: World) -> int:
    return int(world.db.value("select count(*) from klaviyo.request where state <> 'open'"))


def kill_at_a_random_moment(world: World, chance: random.Random, events_sent: int) -> float:
    """After the next request, or a few, and some fraction of a second; says when."""
    seen = len(world.simulator.diary())
    wanted = seen + chance.randint(1, 8)
    moment = chance.random() * 0.4
    wait_until(
        lambda: len(world.simulator.diary()) >= wanted or events_ended(world) == events_sent,
        60,
        "something to happen",
    )
    time.sleep(moment)
    world.workers[-1].kill()
    return time.time()
