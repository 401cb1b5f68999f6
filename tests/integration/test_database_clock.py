"""The database's clock goes back: no stored time makes anybody wait for longer than it may mean.

Setting what is stored forward is the same as setting the clock back.
"""

from __future__ import annotations

import time

from support import people
from support.process import wait_until
from support.world import ACCOUNT, LIST, World

BACK = "interval '180 seconds'"


def test_permits_and_blocks_do_not_outlive_what_a_limit_means(world: World) -> None:
    world.set_up_export(people.simple(10))
    world.simulator.settings(limits=True)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)
    world.db.execute(
        f"update klaviyo.rate_place set burst_until = burst_until + {BACK},"
        f" steady_until = steady_until + {BACK}"
    )
    world.db.execute(
        "insert into klaviyo.rate_place (account, endpoint, burst_until, steady_until, answered)"
        f" select '{ACCOUNT}', 'import', now() + {BACK}, now() + {BACK}, true"
        " from generate_series(1, 12)"
    )

    began = time.monotonic()
    world.refresh(full=True)
    (run, _) = world.wait_runs_ended(2)

    assert run["state"] == "succeeded" and time.monotonic() - began < 20
    assert world.simulator.count(LIST) == 10


def test_a_block_that_was_stored_before_the_clock_went_back_ends_in_its_time(world: World) -> None:
    take = "select wait_ms from klaviyo.take_place('A', 'import', 10, 150, 1000)"
    world.db.execute("select klaviyo.block_account('A', 'import', 4000)")
    world.db.execute(
        f"update klaviyo.rate_budget set blocked_until = blocked_until + {BACK},"
        f" blocked_at = blocked_at + {BACK}"
    )
    assert 1000 < world.db.value(take) <= 4000
    wait_until(lambda: world.db.value(take) == 0, 8, "a permit")


def test_a_shorter_block_does_not_end_a_longer_one(world: World) -> None:
    for wait_ms in (30_000, 10):
        world.db.execute("select klaviyo.block_account('A', 'import', %s)", wait_ms)
    wait = world.db.value("select wait_ms from klaviyo.take_place('A', 'import', 10, 150, 1000)")
    assert 20_000 < wait <= 30_000


def test_no_block_is_longer_than_a_day(world: World) -> None:
    world.db.execute("select klaviyo.block_account('A', 'import', 999999999999)")
    day_ms = 24 * 3600 * 1000
    wait = world.db.value("select wait_ms from klaviyo.take_place('A', 'import', 10, 150, 1000)")
    assert day_ms - 60_000 < wait <= day_ms


def test_a_run_whose_worker_died_before_the_clock_went_back_is_taken_in_time(world: World) -> None:
    world.set_up_export(people.simple(20_000))
    world.simulator.settings(processing_ms=60_000)
    first = world.start_worker(LEASE_SECONDS="3").wait_ready()
    world.refresh()
    world.wait_requests("import", 2)
    first.kill()
    world.db.execute(
        f"update klaviyo.run set lease_until = lease_until + {BACK},"
        f" lease_renewed_at = lease_renewed_at + {BACK} where state = 'running'"
    )
    world.simulator.settings(processing_ms=100)

    second = world.start_worker(LEASE_SECONDS="3")

    second.wait_for_event("run_taken", 20)


def test_an_outcome_that_was_claimed_before_the_clock_went_back_is_sent_in_time(world: World) -> None:
    world.set_up_export(people.simple(1))
    first = world.start_worker()
    world.refresh()
    world.wait_runs_ended(1)
    first.stop()
    world.db.execute(f"update klaviyo.outcome set claimed_until = clock_timestamp() + {BACK}")
    world.turn_on_outcomes()

    world.start_worker()

    assert len(world.wait_outcomes_sent(40)) == 1
