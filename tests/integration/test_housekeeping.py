"""What is old is deleted, whatever the runs do."""

from __future__ import annotations

from support import people
from support.process import wait_until
from support.world import World


def test_old_runs_and_events_are_deleted_while_every_slot_has_a_run_that_waits(
    world: World,
) -> None:
    world.set_up_export(people.simple(5))
    worker = world.start_worker().wait_ready()
    world.refresh()
    (old,) = world.wait_runs_ended(1)
    world.wait_all_committed()
    worker.stop()
    # More than one call deletes.
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state,"
        " finished_at) select export_id, export_name, connection_name, trigger, state, finished_at"
        " from klaviyo.run, generate_series(1, 2500)"
    )
    world.db.execute("update klaviyo.run set finished_at = finished_at - interval '31 days'")
    world.db.execute(
        "insert into klaviyo.request (topic, partition, record_offset, record_ms, state, reason, ended_at)"
        " values ('another', 0, 0, 1, 'dead_letter_due', 'event_invalid', now())"
    )
    world.db.execute("update klaviyo.request set ended_at = ended_at - interval '31 days'")
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state,"
        " finished_at) select export_id, export_name, connection_name, trigger, state,"
        " now() - interval '29 days' from klaviyo.run limit 1"
    )
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.refresh(full=True)

    world.start_worker(MAX_RUNS="1", RETENTION_DAYS="30").wait_ready()

    wait_until(lambda: len(world.db.rows("select from klaviyo.run")) == 2, 60, "old runs to go")
    waiting, younger = world.runs()
    assert waiting["state"] in ("running", "waiting") and younger["state"] == "succeeded"
    assert old["id"] not in (waiting["id"], younger["id"])
    # The event of the run that waits, and one whose letter is still to be written.
    left = world.db.rows("select state from klaviyo.request order by state")
    assert left == [("dead_letter_due",), ("open",)]
