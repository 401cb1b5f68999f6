"""When a list was last brought up to date, and whether that is too long ago."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

import pytest

from support import people
from support.process import wait_until
from support.roles import make_login
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, LIST, SEGMENT, World

USAGE = 2


def listed(world: World, name: str = EXPORT) -> dict[str, Any]:
    (found,) = [x for x in world.admin("export", "list", "--json").json if x["name"] == name]
    assert isinstance(found, dict)
    return found


def age_by(world: World, hours: int) -> None:
    world.db.execute(
        "update klaviyo.export_success set at = at - %s * interval '1 hour'", hours
    )


def test_the_listing_says_when_an_export_last_succeeded_and_with_how_many(world: World) -> None:
    world.set_up_export(people.simple(30))
    before = listed(world)
    assert (before["last_success"], before["members"]) == (None, None)
    assert (before["stale"], before["state"]) == (False, "active")
    assert before["connection_state"] == "ready"
    world.start_worker()
    world.refresh()
    first = world.wait_runs_ended(1)[0]
    assert (listed(world)["last_success"], listed(world)["members"]) == (first["finished_at"], 30)

    world.simulator.remove_key(KEY)
    world.refresh(full=True)
    assert world.wait_runs_ended(2)[0]["state"] == "failed"

    after = listed(world)
    assert after["last_success"] == first["finished_at"], "a failed run is no success"
    assert after["connection_state"] == "needs attention"
    table = world.admin("export", "list").stdout
    assert "LAST SUCCESS" in table and "MEMBERS" in table and "needs attention" in table
    # It stays when its run goes.
    world.db.execute("delete from klaviyo.request; delete from klaviyo.run")
    assert listed(world)["last_success"] == first["finished_at"]


def test_who_left_before_a_run_was_taken_again_is_no_member(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at,"
        " lease_until, read_rows, member_rows) select export_id, name, 'main', 'schedule', 'running', now(),"
        " now() + interval '1 h', 10, 7 from klaviyo.export"
    )
    world.db.execute("update klaviyo.run set state = 'succeeded', finished_at = now()")
    assert listed(world)["members"] == 7


def test_an_export_that_did_not_succeed_in_time_is_stale(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker()
    world.refresh()
    world.wait_runs_ended(1)
    age_by(world, 25)
    assert listed(world)["state"] == "active", "nothing is expected of it"

    said = world.admin("export", "update", EXPORT, "--expect-every", "26h").stdout
    assert said == f"Changed export {EXPORT}.\n"
    fresh = listed(world)
    assert (fresh["expect_every"], fresh["expect_every_seconds"]) == ("26h", 26 * 3600)
    assert (fresh["stale"], fresh["state"]) == (False, "active")
    age_by(world, 2)
    assert (listed(world)["stale"], listed(world)["state"]) == (True, "stale")
    assert re.search(r"\bstale\b", world.admin("export", "list").stdout)
    shown = world.admin("export", "show", EXPORT, "--json").json
    assert (shown["state"], shown["expect_every"]) == ("stale", "26h")

    again = world.admin("export", "update", EXPORT, "--expect-every", "26h").stdout
    assert "unchanged" in again
    world.admin("export", "pause", EXPORT)
    assert (listed(world)["stale"], listed(world)["state"]) == (False, "paused")
    world.admin("export", "resume", EXPORT)
    assert listed(world)["stale"]
    world.admin("export", "update", EXPORT, "--expect-every", "none")
    assert (listed(world)["expect_every"], listed(world)["stale"]) == (None, False)

    world.admin("export", "update", EXPORT, "--expect-every", "26h")
    world.refresh()
    world.wait_runs_ended(2)
    assert listed(world)["stale"] is False


def test_an_expectation_ends_no_run(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker()
    world.refresh()
    world.wait_requests("import", 1)
    world.admin("export", "update", EXPORT, "--expect-every", "1d")
    world.simulator.clear_faults()
    (run,) = world.wait_runs_ended(1, 90)
    assert run["state"] == "succeeded"
    changes = world.db.rows("select action, detail from klaviyo.audit where object = 'export'")
    assert any("expect_every_s" in json.dumps(detail) for _, detail in changes), changes


def test_another_list_has_not_been_brought_up_to_date(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker()
    world.refresh()
    world.wait_runs_ended(1)
    world.simulator.add_list("ListA2", ACCOUNT, "Other")
    world.admin("export", "update", EXPORT, "--list", "ListA2")
    assert listed(world)["last_success"] is None


@pytest.mark.parametrize("value", ["26", "1.5h", "0d", "367d", "soon", ""])
def test_what_is_no_duration_is_wrong_usage(world: World, value: str) -> None:
    world.set_up_export(people.simple(1))
    result = world.command("export", "update", EXPORT, "--expect-every", value)
    assert result.rc == USAGE and "--expect-every" in result.stderr


def test_a_new_export_has_its_expectation_from_the_start(world: World) -> None:
    world.add_segment(SEGMENT, people.simple(1))
    world.add_connection()
    world.add_export(EXPORT, "--expect-every", "90m")
    assert (listed(world)["expect_every"], listed(world)["stale"]) == ("90m", False)
    world.db.execute("alter table klaviyo.export disable trigger user")
    world.db.execute("update klaviyo.export set changed_at = now() - interval '2 hours'")
    assert listed(world)["stale"], "it never succeeded"


def test_a_contributor_says_what_it_expects_of_its_own_exports(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker()
    world.refresh()
    world.wait_runs_ended(1)
    owner = {"DATABASE_URL": make_login(world.db, "maker", "klaviyo_contributor").url}
    refused = world.command("export", "update", EXPORT, "--expect-every", "1d", **owner)
    assert refused.rc == 1
    world.admin("connection", "grant", CONNECTION, "klaviyo_contributor")
    assert world.command("export", "update", EXPORT, "--expect-every", "1d", **owner).rc == 0
    (seen,) = world.command("export", "list", "--json", **owner).json
    assert seen["members"] == 5 and seen["last_success"] and seen["connection_state"] == "ready"


def samples(page: str, name: str) -> dict[str, float]:
    found = re.findall(rf'^klaviyo_worker_{name}{{export="((?:[^"\\]|\\.)*)"}} (\S+)$', page, re.M)
    return {export: float(value) for export, value in found}


def test_the_metrics_have_each_export_up_to_a_bound(world: World) -> None:
    name = 'a "quoted\\ name, ünïcode'
    world.add_segment(SEGMENT, people.simple(5))
    world.add_connection()
    world.add_export(name, "--expect-every", "2h")
    worker = world.start_worker().wait_ready()
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')

    page = wait_until(
        lambda: (p := worker.page("/metrics")) and samples(p, "export_expected_every_seconds") and p,
        20,
        "the expectation",
    )
    assert samples(page, "export_expected_every_seconds") == {escaped: 7200}
    assert samples(page, "export_last_success_timestamp_seconds") == {}
    assert set(samples(page, "export_changed_timestamp_seconds")) == {escaped}
    world.refresh()
    (run,) = world.wait_runs_ended(1)
    done = wait_until(
        lambda: samples(worker.page("/metrics"), "export_last_success_timestamp_seconds"), 20, "it"
    )
    ended = world.db.value("select extract(epoch from finished_at)::float8 from klaviyo.run")
    assert done == {escaped: pytest.approx(ended, abs=0.001)} and run["state"] == "succeeded"

    world.db.execute(
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " select 'x' || n, connection_id, 'L', '{email}' from klaviyo.connection,"
        " generate_series(1, 520) n"
    )
    page = wait_until(
        lambda: (p := worker.page("/metrics")) and "omitted_exports 21" in p and p, 20, "the bound"
    )
    named = samples(page, "export_last_success_timestamp_seconds").keys()
    named |= samples(page, "export_changed_timestamp_seconds").keys()
    assert len(named) == 500 and escaped in named, "those with an expectation come first"
    omitted = worker.wait_for_event("export_metrics_omitted")
    assert (omitted["exports"], omitted["shown"]) == (21, 500)


def test_the_api_has_what_the_listing_has(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.simulator.add_list("ListA2", ACCOUNT, "Other")
    world.add_export("other", list_id="ListA2")
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(2)
    world.admin("export", "update", EXPORT, "--expect-every", "1h")
    age_by(world, 2)

    def asked(query: str) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/api/exports{query}") as answer:
            return [export["name"] for export in json.load(answer)]

    wait_until(lambda: asked("?state=stale") == [EXPORT], 10, "the stale one")
    assert asked("") == [EXPORT, "other"]
    assert asked("?state=active") == ["other"]
    assert asked("?limit=1") == [EXPORT]
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked("?state=failed")
    assert (refused.value.code, json.load(refused.value)) == (
        400, {"error": "state is none of an export: those are active, paused and stale"}
    )  # fmt: skip
    assert asked("?export=other") == ["other"]
    assert json.loads(worker.page("/api/exports")) == world.admin("export", "list", "--json").json
    assert LIST in worker.page("/api/exports")
