"""How PostgreSQL carries out what a run reads: it reads nothing that it need not.

The plans are PostgreSQL's own words, from auto_explain in the server's log.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.paths import program
from support.process import wait_until
from support.world import EXPORT, SEGMENT, MakeWorld, World

LARGE = 120_000
PROFILES = """insert into insights.customer_profile select 'p' || n, jsonb_build_object(
'email', 'p' || n || '@shop.example', 'points', n) from generate_series(1, {}) n"""
MEMBERS = "insert into insights.segment_member select '{}', 'p' || n from generate_series(1, {}) n"
OTHERS = """insert into insights.segment_member select 'other-' || s, 'p' || s * 10 + n
from generate_series(1, 10000) s, generate_series(1, 10) n"""
SMALL = 50
TABLES = ("insights.customer_profile", "insights.segment_member")
Node = dict[str, Any]


def add_members(world: World, segment: str, count: int) -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", segment, segment)
    world.db.execute(MEMBERS.format(segment, count))
    world.db.execute(f"analyze {', '.join(TABLES)}")


def leave_unanalyzed(world: World, *tables: str) -> None:
    for table in tables:
        world.db.execute(f"alter table {table} set (autovacuum_enabled = off)")


@pytest.fixture
def explained(make_world: MakeWorld) -> World:
    """Every statement of a new connection is explained; 120,000 profiles."""
    world = make_world()
    world.db.execute(PROFILES.format(LARGE))
    for name, value in {
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_analyze": "on",
        "auto_explain.log_timing": "off",
        "auto_explain.log_format": "json",
    }.items():
        world.db.execute(f"alter database {world.db.name} set {name} = '{value}'")
    world.add_connection()
    return world


def plans(world: World, part: str) -> Iterator[Node]:
    """The plans of this database's statements whose text has that part."""
    lines = world.postgres.log.read_text(errors="replace").split("\n")
    for number, line in enumerate(lines):
        if f" {world.db.name} " not in line or not line.endswith("plan:"):
            continue
        text = []
        for follower in lines[number + 1 :]:
            if not follower.startswith("\t"):
                break
            text.append(follower[1:])
        plan = json.loads("\n".join(text))
        if part in plan["Query Text"]:
            yield plan["Plan"]


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def plan_of(world: World, part: str) -> list[Node]:
    """The nodes of the one statement with that part, which has ended."""
    found = wait_until(lambda: list(plans(world, part)), 10, f"the plan of {part!r}")
    return list(nodes(found[-1]))


def rows_read(plan: list[Node]) -> int:
    """Of all tables, those that were read in vain among them; parallel workers are loops."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in plan
        if "Relation Name" in node
    )


def kinds(plan: list[Node]) -> set[str]:
    return {node["Node Type"] for node in plan}


def run(world: World, runs: int, *options: str) -> None:
    if runs == 1:
        world.add_export(EXPORT, *options, mapping=["--property", "points=points"])
        world.start_worker(LOG_LEVEL="warn").wait_ready()
    world.refresh()
    assert world.wait_runs_ended(runs, 120)[0]["state"] == "succeeded"


COUNT = "select count(*) from (select from insights.segment_profile"
MEMBER_STREAM = "copy (select m.profile_id,"
LEDGER_STREAM = "from klaviyo.ledger where export_id"


def test_a_large_segment_is_sorted_by_parallel_workers_and_the_ledger_not_at_all(
    explained: World,
) -> None:
    add_members(explained, SEGMENT, LARGE)

    run(explained, 1, "--max-profiles", str(LARGE))
    members = plan_of(explained, MEMBER_STREAM)
    assert "Gather Merge" in kinds(members)
    assert "SubPlan" not in json.dumps(members)

    run(explained, 2)
    ledger = plan_of(explained, LEDGER_STREAM)
    assert kinds(ledger) == {"Index Scan"} and ledger[0]["Index Name"] == "ledger_pkey"


def test_a_large_segment_of_tables_that_were_never_analyzed_is_read_once(explained: World) -> None:
    leave_unanalyzed(explained, *TABLES)
    explained.db.execute(OTHERS)
    explained.db.execute(MEMBERS.format(SEGMENT, LARGE))

    run(explained, 1, "--max-profiles", str(LARGE))
    members = plan_of(explained, MEMBER_STREAM)

    assert rows_read(members) == 2 * LARGE, "each member and its profile"
    assert "SubPlan" not in json.dumps(members)


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "cold-statistics"])
def test_of_ten_thousand_segments_a_small_one_is_read_alone(
    explained: World, analyzed: bool
) -> None:
    if not analyzed:
        leave_unanalyzed(explained, *TABLES)
    explained.db.execute(OTHERS)
    for segment, count in (("large", LARGE), (SEGMENT, SMALL)):
        explained.db.execute(MEMBERS.format(segment, count))
    if analyzed:
        explained.db.execute("analyze")

    run(explained, 1)

    for statement in (MEMBER_STREAM, COUNT):
        plan = plan_of(explained, statement)
        assert rows_read(plan) == 2 * SMALL, "each member and its profile"
        assert "Gather Merge" not in kinds(plan)


SITE_VIEW = """
create table public.consent (person text primary key, given boolean not null);
insert into public.consent select profile_id, right(profile_id, 1) <> '7'
from insights.customer_profile;
create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, p.attributes
from insights.segment_member m join insights.customer_profile p using (profile_id)
join public.consent c on c.person = m.profile_id
where c.given and not p.attributes ? 'deleted';
"""


def read_as_a_whole(plan: list[Node]) -> set[str]:
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "cold-statistics"])
def test_a_view_with_a_join_and_a_filter_is_read_by_indexes_for_a_small_segment(
    explained: World, analyzed: bool
) -> None:
    explained.db.execute(SITE_VIEW)
    if not analyzed:
        leave_unanalyzed(explained, *TABLES, "public.consent")
    explained.db.execute(OTHERS)
    for segment, count in (("large", LARGE), (SEGMENT, SMALL)):
        explained.db.execute(MEMBERS.format(segment, count))
    if analyzed:
        explained.db.execute("analyze")

    run(explained, 1)
    members = plan_of(explained, MEMBER_STREAM)

    # Of a table of the site's that was never analyzed PostgreSQL does not know better.
    assert read_as_a_whole(members) <= (set() if analyzed else {"consent"})
    assert rows_read(members) <= 3 * SMALL + (0 if analyzed else LARGE)
    assert "Gather Merge" not in kinds(members)


def test_a_view_with_a_join_and_a_filter_is_sorted_in_parallel_for_a_large_segment(
    explained: World,
) -> None:
    explained.db.execute(SITE_VIEW)
    add_members(explained, SEGMENT, LARGE)
    explained.db.execute("analyze public.consent")

    run(explained, 1, "--max-profiles", str(LARGE))
    members = plan_of(explained, MEMBER_STREAM)

    assert "Gather Merge" in kinds(members) and "Seq Scan" in kinds(members)
    assert "SubPlan" not in json.dumps(members)
    read = [node["Relation Name"] for node in members if "Relation Name" in node]
    assert sorted(read) == ["consent", "customer_profile", "segment_member"], "each once"


REQUESTS = """insert into klaviyo.request (topic, partition, record_offset, record_ms, source, event_id,
segment_id, state) select 't', 0, n, 0, '/publisher', 'e' || n, 'big-spenders', 'done'
from generate_series(1, {}) n"""
BATCH = """select count(*) from klaviyo.take_in((select array_agg(row('t', 1, n, 0, '/publisher', 'e' || n,
'nobody', 'r', now(), 'schedule', null, false, false, null, null, null)::klaviyo.event)
from generate_series(1, 500) n), 1000, false) where state = 'ignored'"""


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "cold-statistics"])
def test_events_are_looked_up_by_indexes_among_all_that_ever_came(
    explained: World, analyzed: bool
) -> None:
    explained.db.execute(f"alter database {explained.db.name} set auto_explain.log_nested_statements = on")
    if not analyzed:
        explained.db.execute("alter table klaviyo.request set (autovacuum_enabled = off)")
    explained.db.execute(REQUESTS.format(LARGE))
    if analyzed:
        explained.db.execute("analyze klaviyo.request")

    assert explained.db.value(BATCH) == 500
    looked_up = plan_of(explained, "e.reason is null")

    by = {node.get("Index Name") for node in looked_up if node.get("Relation Name") == "request"}
    assert len(by) == 2 and None not in by, by


OTHER_EXPORTS = """insert into klaviyo.export (name, connection_id, list_id, email_path)
select 'other ' || n, connection_id, list_id, email_path from klaviyo.export, generate_series(1, 250) n"""
ENDED_EACH = 400
ENDED_RUNS = f"""insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at,
finished_at) select x.export_id, x.name, 'main', 'schedule', 'succeeded', now() - interval '1 day',
now() - interval '1 day' from klaviyo.export x, generate_series(1, {ENDED_EACH}) n order by n"""
PARKED_RUNS = """with run as (insert into klaviyo.run (export_id, export_name, connection_name, trigger, state,
started_at, lease_until, parked_until, wait_reason, planned) select export_id, name, 'main', 'schedule',
'running', now(), now(), now() + interval '1 day', 'rate_limited', true from klaviyo.export
where name like 'other %' returning export_id, run_id)
insert into klaviyo.batch (export_id, run_id, state, row_count)
select export_id, run_id, 'planned', 10000 from run, generate_series(1, 5)"""
LETTERS = """insert into klaviyo.request (topic, partition, record_offset, record_ms, segment_id, state, reason,
failed_run, failed_exports, ended_at) select 't', 0, n, 0, 'big-spenders', 'dead_lettered', 'list_gone',
1000 + n, array['other ' || n, 'other ' || n + 1], now() from generate_series(1, 20) n"""
PAGE = "json_build_object('accounts'"
LISTING = "klaviyo.run_json(picked.r)"
PACE = "sum(accepted_rows + rejected_rows)"


@pytest.fixture
def with_history(explained: World) -> World:
    """100,400 runs that have ended, and 250 that are parked."""
    add_members(explained, SEGMENT, SMALL)
    explained.add_export(EXPORT, mapping=["--property", "points=points"])
    explained.db.execute("alter table klaviyo.export disable trigger user")
    explained.db.execute("alter table klaviyo.run disable trigger user")
    for statement in (OTHER_EXPORTS, PARKED_RUNS, ENDED_RUNS, LETTERS):
        explained.db.execute(statement)
    explained.db.execute("analyze klaviyo.run, klaviyo.batch")
    return explained


def test_the_status_page_reads_the_runs_that_it_shows_and_no_others(with_history: World) -> None:
    with_history.start_worker().wait_ready().page("/")
    page = plan_of(with_history, PAGE)

    assert rows_read(page) < 20_000, "251 exports have a trend of 20 runs"
    (outlooks,) = [node for node in page if node.get("Function Name") == "outlooks"]
    assert (outlooks["Actual Loops"], outlooks["Actual Rows"]) == (1, 100)


def test_the_runs_of_one_export_are_looked_up_by_its_name(with_history: World) -> None:
    with_history.start_worker().wait_ready().page(f"/api/runs?export={EXPORT}")
    with_history.admin("export", "preview", EXPORT)

    for statement in (LISTING, PACE):
        plan = plan_of(with_history, statement)
        assert "run_export_name_run_id_idx" in {node.get("Index Name") for node in plan}, statement
        assert rows_read(plan) <= ENDED_EACH, statement


OTHER_LISTS = """insert into klaviyo.export (name, connection_id, list_id, email_path)
select 'other ' || n, connection_id, 'Other' || n, email_path from klaviyo.export, generate_series(1, {}) n"""


def test_who_else_has_an_address_on_a_list_is_asked_of_exports_to_that_list_alone(explained: World) -> None:
    """It is asked for each address, on the connection that renews the lease."""
    explained.db.execute(f"alter database {explained.db.name} set auto_explain.log_nested_statements = on")
    explained.add_export(EXPORT, mapping=[])
    explained.db.execute("alter table klaviyo.export disable trigger user")
    explained.db.execute(OTHER_LISTS.format(3000))
    explained.db.execute(
        "insert into klaviyo.ledger (export_id, address, fingerprint, batch_id)"
        " select export_id, 'a@shop.example', 0, 1 from klaviyo.export"
    )
    explained.db.execute("analyze klaviyo.export, klaviyo.ledger")

    held = explained.db.value(
        "select klaviyo.is_held_elsewhere(export_id, 'a@shop.example') from klaviyo.export where name = %s", EXPORT
    )

    assert held is False
    assert rows_read(plan_of(explained, "as o (export_id)")) < 10


MANY = 2000
RUN_OF_EACH = """insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, lease_until)
select export_id, name, 'main', 'schedule', case when name = %s then 'running' else 'queued' end,
now() + interval '1 hour' from klaviyo.export where name <> 'last'"""
TAKE = """select r.export_name from klaviyo.take_run('w', 15000, (select max(key_pair_id) from klaviyo.key_pair),
true, true) join klaviyo.run r using (run_id)"""
ROWS_READ = """select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables
where schemaname = 'klaviyo'"""


@pytest.mark.parametrize("busy", [EXPORT, "last"], ids=["busy", "idle"])
def test_a_take_for_the_last_slot_reads_each_queued_run_a_few_times(world: World, busy: str) -> None:
    """All of one account: if it has something going on, the slot is kept for the other one."""
    world.simulator.add_account("AcctB1")
    world.simulator.add_key("pk_planted0secret0key0of0account0B1", "AcctB1")
    world.simulator.add_list("ListB1", "AcctB1", "Others")
    world.add_connection()
    world.add_connection("other", "pk_planted0secret0key0of0account0B1")
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    world.add_export(EXPORT, mapping=[])
    world.db.execute("alter table klaviyo.export disable trigger user")
    world.db.execute(OTHER_LISTS.format(MANY))
    world.add_export("last", list_id="ListB1", connection="other", mapping=[])
    world.db.execute(RUN_OF_EACH, busy)
    world.db.execute("analyze klaviyo.export, klaviyo.run")
    with world.db.connect() as connection, connection.transaction():
        taken = connection.execute(TAKE).fetchall()
        read = connection.execute(ROWS_READ).fetchall()[0][0]

    assert len(taken) == (0 if busy == EXPORT else 1)
    assert 0 < read < 10 * MANY


def allocations(world: World, members: int) -> dict[str, int]:
    """Of our own code, by what it did; addresses and values are of one length."""
    world.db.execute("truncate insights.customer_profile, insights.segment_member")
    world.db.execute(
        "insert into insights.customer_profile select 'p' || lpad(n::text, 7, '0'),"
        " jsonb_build_object('email', 'p' || lpad(n::text, 7, '0') || '@shop.example',"
        " 'points', n %% 10) from generate_series(1, %s) n",
        members,
    )
    world.db.execute(
        "insert into insights.segment_member select %s, profile_id from insights.customer_profile",
        SEGMENT,
    )
    command = [str(program("count-allocations")), EXPORT]
    done = subprocess.run(command, env=world.env(), stdout=subprocess.PIPE, text=True, check=True)
    found = re.findall(r"^(\d+ \w+), (\d+) allocations$", done.stdout, re.MULTILINE)
    return {what: int(count) for what, count in found}


def test_our_code_allocates_nothing_for_a_row(world: World) -> None:
    world.add_connection()
    world.add_export(EXPORT, mapping=["--property", "points=points"])

    few, many = allocations(world, 10_000), allocations(world, 100_000)

    assert few["10000 members"] == many["100000 members"]
    assert many["100 batches"] == 0
