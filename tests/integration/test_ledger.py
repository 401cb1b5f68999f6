"""What is in Klaviyo already is not sent again; what changed is."""

from __future__ import annotations

import json
from typing import Any

from support import people
from support.process import wait_until
from support.roles import make_logins
from support.world import EXPORT, LIST, SEGMENT, World, check_sums


def run_once(world: World, seconds: float = 100, **event: Any) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh(**event)
    return world.wait_runs_ended(before + 1, seconds)[0]


def test_an_unchanged_segment_of_100_000_costs_no_request(world: World) -> None:
    world.set_up_export(people.simple(100_000))
    world.start_worker().wait_ready()
    run_once(world)
    requests = len(world.simulator.diary())

    run = run_once(world)

    assert run["state"] == "succeeded"
    assert run["counts"]["unchanged"] == 100_000
    assert run["counts"]["selected"] == 0
    assert len(world.simulator.diary()) == requests

    change_points(world, 1000)
    run = run_once(world)
    check_sums(run)
    assert run["counts"]["selected"] == 1000
    last = world.simulator.diary("import")[-1]
    assert last["profiles"] == 1000
    assert len(world.simulator.diary("import")) == requests_of_first_run(100_000) + 1


def requests_of_first_run(rows: int) -> int:
    return -(-rows // 10_000)


def change_points(world: World, count: int) -> None:
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || '{\"points\": -1}'"
        " where profile_id in (select profile_id from insights.customer_profile"
        "                      order by profile_id limit %s)",
        count,
    )


def test_a_ledger_that_cannot_be_read_is_not_the_sites_view(world: World) -> None:
    """The run waits for its own tables to be mended; it does not fail with source_unreadable."""
    world.set_up_export(people.simple(10))
    worker = world.start_worker(DATABASE_URL=make_logins(world.db)["worker"].url).wait_ready()
    run_once(world)
    world.db.execute("revoke select on klaviyo.ledger from klaviyo_worker")
    world.refresh()

    said = worker.wait_for_event("plan_interrupted", 30)
    world.db.execute("grant select on klaviyo.ledger to klaviyo_worker")

    assert "ledger" in said["error"], said
    assert world.wait_runs_ended(2, 60)[0]["state"] == "succeeded"


def test_a_full_refresh_sends_everybody(world: World) -> None:
    world.set_up_export(people.simple(500))
    world.start_worker().wait_ready()
    run_once(world)

    run = run_once(world, full=True)

    assert run["full"] is True
    assert run["counts"]["selected"] == 500
    assert run["counts"]["unchanged"] == 0


def test_the_ledger_says_for_whom_an_address_was_sent(world: World) -> None:
    population = people.simple(20)
    world.set_up_export(population)
    world.start_worker().wait_ready()
    run_once(world)

    ledger = world.db.rows("select profile_id, address from klaviyo.ledger order by 1")

    assert ledger == world.db.rows(
        "select profile_id, lower(attributes ->> 'email') from insights.customer_profile order by 1"
    )


def test_another_worker_knows_what_was_sent(world: World) -> None:
    world.set_up_export(people.simple(500))
    first = world.start_worker().wait_ready()
    run_once(world)
    first.stop()
    world.start_worker().wait_ready()

    run = run_once(world)

    assert run["counts"]["unchanged"] == 500
    assert len(world.simulator.diary("import")) == 1


def test_new_members_are_sent_and_those_who_left_are_counted(world: World) -> None:
    population = people.simple(500)
    world.set_up_export(population)
    world.start_worker().wait_ready()
    run_once(world)
    world.db.execute(
        "delete from insights.segment_member where profile_id in"
        " (select profile_id from insights.segment_member order by profile_id limit 20)"
    )
    world.db.copy(
        "insights.customer_profile (profile_id, attributes)",
        [("new-1", json.dumps({"email": "new@example.test"}))],
    )
    world.db.copy("insights.segment_member (segment_id, profile_id)", [(SEGMENT, "new-1")])

    for expected in (1, 0):
        run = run_once(world)
        assert run["counts"]["selected"] == expected
        assert run["counts"]["left"] == 20
        assert run["counts"]["kept"] == 20
        assert run["counts"]["removed"] == 0
    assert world.simulator.count(LIST) == 501


def test_a_new_winner_of_an_address_is_sent(world: World) -> None:
    people_rows = [("b", "Ada@example.test", 1), ("c", "ada@example.test", 2)]
    population = people.Population()
    for profile, email, points in people_rows:
        population.members.append((profile, json.dumps({"email": email, "points": points})))
    world.set_up_export(population)
    world.simulator.settings(keep_bodies=True)
    world.start_worker().wait_ready()
    run = run_once(world)
    assert run["counts"]["duplicate"] == 1
    world.db.copy(
        "insights.customer_profile (profile_id, attributes)",
        [("a", json.dumps({"email": " ADA@example.test", "points": 3}))],
    )
    world.db.copy("insights.segment_member (segment_id, profile_id)", [(SEGMENT, "a")])

    run = run_once(world)

    assert run["counts"]["duplicate"] == 2
    assert run["counts"]["selected"] == 1
    body = world.simulator.body(world.simulator.diary("import")[-1]["seq"])
    sent = body["data"]["attributes"]["profiles"]["data"]
    assert [profile["attributes"]["email"] for profile in sent] == ["ada@example.test"]
    assert sent[0]["attributes"]["properties"]["points"] == 3


def test_removing_an_export_touches_nothing_in_klaviyo(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.start_worker().wait_ready()
    run_once(world)
    requests = len(world.simulator.diary())

    refused = world.command("connection", "remove", "main")
    assert refused.rc == 1
    world.admin("export", "remove", EXPORT)
    world.admin("connection", "remove", "main")

    assert world.simulator.count(LIST) == 50
    assert len(world.simulator.diary()) == requests
    world.refresh()
    world.wait_all_committed()


PROFILES_READ = (
    "select coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0) from pg_stat_user_tables"
    " where relid = 'insights.customer_profile'::regclass"
)


def test_a_small_segment_is_read_without_reading_every_profile(world: World) -> None:
    world.set_up_export(people.simple(100))
    world.db.execute(
        "insert into insights.customer_profile"
        " select 'other' || n, jsonb_build_object('email', 'other' || n || '@example.test')"
        " from generate_series(1, 50000) n"
    )
    world.db.execute(
        "insert into insights.segment_member select 'others-' || n % 30, 'other' || n"
        " from generate_series(1, 50000) n"
    )
    world.db.execute("analyze insights.customer_profile, insights.segment_member")
    (before,) = world.db.rows(PROFILES_READ)
    world.start_worker()
    world.refresh()
    world.wait_runs_ended()

    # Figures come when the connection that read has ended.
    wait_until(lambda: world.db.rows(PROFILES_READ)[0][1] >= before[1] + 100, 20, "the figures")
    (after,) = world.db.rows(PROFILES_READ)
    assert after[0] - before[0] < 50_000


BLOCKED = """select count(*) from pg_stat_activity where datname = current_database()
and wait_event_type = 'Lock' and query like '%insert into klaviyo.batch%'"""


def test_a_row_that_came_after_the_ledger_was_read_makes_it_be_read_again(world: World) -> None:
    world.set_up_export(people.simple(20))
    address = world.db.value("select min(attributes ->> 'email') from insights.customer_profile")
    with world.db.connect() as holder:
        holder.execute("begin; lock table klaviyo.batch in share mode")
        world.start_worker().wait_ready()
        world.refresh()
        wait_until(lambda: world.db.value(BLOCKED) > 0, 30, "the plan to write its batch")
        world.db.execute(
            "insert into klaviyo.ledger (export_id, address, fingerprint, batch_id)"
            " select export_id, lower(%s), 1, 0 from klaviyo.export",
            address,
        )
        holder.rollback()
    run = world.wait_runs_ended(1)[0]

    check_sums(run)
    assert run["state"] == "succeeded" and run["counts"]["accepted"] == 20
    assert world.simulator.count(LIST) == 19  # the row that came says that its address is there
