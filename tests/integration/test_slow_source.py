"""A site's view that takes its time."""

from __future__ import annotations

from support import people
from support.world import LIST, World


SLOW_VIEW = """
create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, p.attributes
from insights.segment_member m join insights.customer_profile p using (profile_id), pg_sleep(6)
"""


def test_a_view_that_is_slow_is_no_job_that_does_not_end(world: World) -> None:
    """Reading is progress: how long the members may take is for the database to say."""
    world.set_up_export(people.simple(50))
    world.db.execute(SLOW_VIEW)
    world.start_worker(RETRY_BUDGET_SECONDS="2").wait_ready()
    world.refresh()

    run = world.wait_runs_ended(1, 90)[0]

    assert run["state"] == "succeeded", run
    assert world.simulator.count(LIST) == 50
