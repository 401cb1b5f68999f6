"""What a site has set for its databases and users changes nothing of what we do."""

from __future__ import annotations

import pytest

from support import events, people
from support.world import ACCOUNT, SEGMENT, World, check_sums

# Each is a legal default of some site; together they reach every statement of ours.
FORMATS = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "array_nulls": "off",
    "row_security": "off",
    "search_path": "pg_temp",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "xmlbinary": "hex",
    "lc_messages": "C",
}
LIMITS = {
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "150ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "synchronous_commit": "off",
}
EXPORTS = 7
EVENTS = 25


def set_defaults(world: World, settings: dict[str, str]) -> None:
    """In one session, which does not feel them itself."""
    with world.db.connect() as connection:
        for name, value in settings.items():
            literal = value if ", " in value else f"'{value}'"
            connection.execute(f'alter database "{world.db.name}" set {name} = {literal}'.encode())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_many_events_for_many_exports_all_end_whatever_the_default_isolation(
    world: World, isolation: str
) -> None:
    segments = [f"segment-{n}" for n in range(EXPORTS)]
    for n, segment in enumerate(segments):
        population = people.Population()
        population.members.append((f"p-{n}", f'{{"email": "p{n}@example.test"}}'))
        world.add_segment(segment, population)
    world.add_connection()
    for n in range(EXPORTS):
        world.simulator.add_list(f"List{n}", ACCOUNT, f"List {n}")
        world.add_export(f"export-{n}", segments=tuple(segments), list_id=f"List{n}")
    set_defaults(world, {"default_transaction_isolation": isolation})
    world.simulator.settings(limits=True, queued_ms=10, processing_ms=10)
    for _ in range(2):
        world.start_worker(MAX_RUNS="4").wait_ready()

    for n in range(EVENTS):
        world.publish(events.binary(segments[n % EXPORTS]))

    world.wait_all_committed(120)
    assert world.db.value("select count(*) from klaviyo.request where state = 'open'") == 0
    assert [e for e in world.simulator.diary() if e["status"] == 429] == []


SEEN = """\
create table public.seen (place text, name text, value text);
grant all on public.seen to public;
create function public.note_settings() returns trigger language plpgsql as $$
begin
    insert into public.seen
    select tg_table_name, name, current_setting(name)
    from unnest(array['transaction_isolation', 'transaction_read_only', 'statement_timeout',
                      'synchronous_commit', 'timezone']) as u(name);
    return null;
end
$$;
"""
OURS = {
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "statement_timeout": "0",
    "synchronous_commit": "on",
    "timezone": "UTC",
}
WRITTEN = ["request", "request_run", "run", "batch", "ledger", "rejection", "rate_place"]


def test_every_write_of_a_worker_says_itself_what_its_transaction_is(world: World) -> None:
    """Not only where a test happens to provoke the difference."""
    world.set_up_export(people.mixed(300))
    world.db.execute(SEEN)
    for table in WRITTEN:
        world.db.execute(
            f"create trigger note_settings after insert or update or delete on klaviyo.{table}"
            " for each statement execute function public.note_settings()"
        )
    set_defaults(
        world,
        {**LIMITS, "default_transaction_isolation": "serializable", "timezone": "Asia/Kathmandu"},
    )
    world.start_worker().wait_ready()

    world.refresh()
    world.wait_runs_ended(1)
    world.wait_all_committed()

    seen = world.db.rows("select distinct place, name, value from public.seen")
    assert {place for place, _, _ in seen} == set(WRITTEN)
    assert {(name, value) for _, name, value in seen} == set(OURS.items())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("settings", [FORMATS, LIMITS], ids=["formats", "limits"])
def test_a_whole_site_works_under_unusual_defaults(world: World, settings: dict[str, str]) -> None:
    set_defaults(world, settings)
    population = people.mixed(3000, too_large=1)
    add_segment_with_usual_settings(world, population)
    world.add_connection()
    world.add_export()
    world.admin("connection", "verify", "main")
    world.admin("export", "update", "newsletter", "--max-profiles", "9000")
    world.start_worker().wait_ready()
    world.refresh()
    world.publish(events.Message(b"no json", {}, b"x"))

    (run,) = world.wait_runs_ended(1)

    assert run["state"] == "succeeded", run
    check_sums(run)
    expected = population.expected_counts()
    assert {name: run["counts"][name] for name in expected} == expected
    world.wait_all_committed()
    assert len(world.dead_letters()) == 1
    world.refresh()
    again = world.wait_runs_ended(2)[0]
    assert again["counts"]["selected"] == 0 and again["counts"]["unchanged"] > 0, again
    world.admin("export", "remove", "newsletter")
    assert world.admin("audit", "list", "--json").json


def add_segment_with_usual_settings(world: World, population: people.Population) -> None:
    """As a publisher's own job would, which sets what it needs."""
    usual = (
        "set default_transaction_read_only = off; set statement_timeout = 0; set lock_timeout = 0;"
        " set idle_in_transaction_session_timeout = 0; set standard_conforming_strings = on;"
    )
    with world.db.connect() as connection:
        connection.execute(usual.encode())
        connection.execute(
            "insert into insights.segment (segment_id, name) values (%s, %s)", (SEGMENT, SEGMENT)
        )
        with connection.cursor().copy(
            "copy insights.customer_profile (profile_id, attributes) from stdin"
        ) as stream:
            for member in population.members:
                stream.write_row(member)
        with connection.cursor().copy(
            "copy insights.segment_member (segment_id, profile_id) from stdin"
        ) as stream:
            for profile, _ in population.members:
                stream.write_row((SEGMENT, profile))


def test_events_whose_runs_had_ended_unseen_are_ended_by_the_next_look(world: World) -> None:
    world.set_up_export(people.simple(5))
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)
    world.wait_all_committed()
    worker.stop()
    # As if the end of the run had not seen it.
    world.db.execute("update klaviyo.request set state = 'open', ended_at = null")

    worker = world.start_worker().wait_ready()

    worker.wait_for_event("missed_ends_settled", 30)
    assert world.db.rows("select state from klaviyo.request") == [("done",)]
