"""Of many new members those are counted who may be invalid, so that imports begin while others are planned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from support.process import wait_until
from support.worker import Worker
from support.world import CONNECTION, EXPORT, LIST, SEGMENT, World

LARGE = 20_000  # as member_scan.c has it
FINE = """with added as (
    insert into insights.customer_profile
    select format('fine%s@ids.example', n), jsonb_build_object('email', m, 'contact', jsonb_build_object('email', m),
        'mails', jsonb_build_array(m), 'points', n)
    from generate_series(1, {}) n, format('User.%s+x@Shop.Example', n) m returning profile_id)
insert into insights.segment_member select '{}', profile_id from added"""
SPOIL = """update insights.customer_profile set attributes = attributes || '{{"email": null}}'
where substr(profile_id, 5, position('@' in profile_id) - 5)::integer % {} = 0"""


def add_members(world: World, count: int) -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    world.db.execute(FINE.format(count, SEGMENT))
    world.db.execute("analyze insights.customer_profile, insights.segment_member")


MAPPING = ["--property", "points=points", "--property", "note=note"]


def counted(worker: Worker, export: str = EXPORT) -> tuple[int, int]:
    (event,) = [one for one in worker.events("members_counted") if one["export"] == export]
    return event["members"], event["doubtful"]


# -- who is doubtful -----------------------------------------------------------

BAD: list[Any] = [
    {"email": None},
    {},
    {"email": 7},
    {"email": True},
    {"email": {"a": "ada@shop.example"}},
    {"email": ["ada@shop.example"]},
    {"email": ""},
    {"email": " \t"},
    {"email": "ada@shop"},
    {"email": "ad\u00e9@shop.example"},
    {"email": "a" * 65 + "@shop.example"},
    {"email": "ada@shop.example" * 30_000},
    {"email": "\u212aim@shop.example"},  # lower() of a locale makes an ASCII letter of it
]
TOO_LARGE: list[Any] = [{"note": "x" * 100_000}, {"note": "\x01" * 17_000}, {"points": 1e300}]
DOUBTED: list[Any] = [
    {"email": "  Ada@Shop.Example\u00a0"},
    {"email": "ada@shop.example", "note": ["x" * 20_000]},
]
FINE_ONES: list[Any] = [{"email": "ADA@SHOP.EXAMPLE"}, {"email": "a@b.co", "note": "x" * 16_000}]
KINDS = {"bad": BAD, "large": TOO_LARGE, "doubted": DOUBTED, "fine": FINE_ONES}
FIELDS = {"flat": "email", "nested": "contact.email", "in-array": "mails.0", "by-id": "@profile_id"}
LARGE_NUMBER = "1" + "0" * 100_000  # stored in ten bytes


def document(kind: dict[str, Any]) -> str:
    """The e-mail at each of the places that an export here takes it from."""
    attributes: dict[str, Any] = dict(kind)
    if "note" in kind or "points" in kind:
        attributes.setdefault("email", "large@shop.example")
    if "email" in attributes:
        email = attributes["email"]
        attributes |= {"contact": {"email": email}, "mails": [email]}
    return json.dumps(attributes).replace("1e+300", LARGE_NUMBER)


def add_kinds(world: World, name: str, kinds: list[Any]) -> None:
    """Of the first kind one member, of the second two, and so on."""
    for place, kind in enumerate(kinds):
        world.db.execute(
            "with added as (insert into insights.customer_profile select %s || n || '@ids.example',"
            " %s::jsonb from generate_series(1, %s) n returning profile_id)"
            " insert into insights.segment_member select %s, profile_id from added",
            f"{name}{place}-",
            document(kind),
            place + 1,
            SEGMENT,
        )


def copies(kinds: list[Any]) -> int:
    return sum(range(1, len(kinds) + 1))


def test_whoever_is_invalid_is_doubtful_wherever_the_address_stands(world: World) -> None:
    add_members(world, LARGE)
    for name, kinds in KINDS.items():
        add_kinds(world, name, kinds)
    world.add_connection()
    for name, field in FIELDS.items():
        words = ["export", "add", name, "--connection", CONNECTION, "--list", LIST, "--segment", SEGMENT]
        world.admin(*words, "--email-field", field, *MAPPING, "--force")
    worker = world.start_worker().wait_ready()

    world.refresh()
    runs = world.wait_runs_ended(len(FIELDS), 120)

    members = LARGE + sum(copies(kinds) for kinds in KINDS.values())
    for run in runs:
        bad, blank, large = copies(BAD), 1, 1  # those that are too large have one address
        if run["export"] == "by-id":
            bad, blank, large = 0, 0, copies(TOO_LARGE)
        assert run["state"] == "succeeded", run
        assert run["counts"]["invalid"] == bad + large, run
        doubtful = bad + blank + copies(TOO_LARGE) + 2
        assert counted(worker, run["export"]) == (members, doubtful), run["export"]


# -- when imports begin ----------------------------------------------------------

HOLD = """create function public.hold() returns trigger language plpgsql as $$
begin
    if (select count(*) from klaviyo.batch) >= 1 then perform pg_advisory_xact_lock_shared(4711); end if;
    return new;
end $$;
alter function public.hold() security definer;
create trigger hold before insert on klaviyo.batch for each row execute function public.hold()"""


@contextmanager
def planning_held(world: World) -> Iterator[None]:
    """From its second batch on: less than four fifths of 40,000 are read."""
    world.db.execute(HOLD)
    with psycopg.connect(world.db.url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(4711)")
        yield


def wait_planning_is_held(world: World) -> None:
    waits = "select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted"
    wait_until(lambda: world.db.rows(waits), 60, "the second batch")


def imports(world: World) -> int:
    return len(world.simulator.diary("import"))


def test_imports_begin_with_the_first_batch_where_nobody_is_doubtful(world: World) -> None:
    add_members(world, 2 * LARGE)
    world.add_connection()
    world.add_export(mapping=MAPPING)
    world.start_worker()

    with planning_held(world):
        world.refresh()
        world.wait_requests("import", 1)
        assert world.runs()[0]["state"] in ("running", "waiting")
    (run,) = world.wait_runs_ended()
    assert (run["state"], run["counts"]["accepted"]) == ("succeeded", 2 * LARGE)


def test_no_import_begins_where_too_many_are_invalid(world: World) -> None:
    add_members(world, 2 * LARGE)
    world.db.execute(SPOIL.format(4))
    world.add_connection()
    world.add_export(mapping=MAPPING)
    worker = world.start_worker()

    with planning_held(world):
        world.refresh()
        wait_planning_is_held(world)
        assert imports(world) == 0
    (run,) = world.wait_runs_ended()
    assert (run["state"], run["reason"]) == ("failed", "too_many_invalid")
    assert counted(worker) == (2 * LARGE, LARGE // 2)
    assert imports(world) == 0


TWICE = """create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, p.attributes
from insights.segment_member m join insights.customer_profile p using (profile_id)
join generate_series(1, 4) n on n = 1 or p.attributes ->> 'email' is not null"""


def test_a_view_that_has_the_fine_ones_several_times_hides_nobody_who_is_invalid(world: World) -> None:
    """A fourth of the members are invalid, but a twelfth of the rows."""
    add_members(world, 2 * LARGE)
    world.db.execute(SPOIL.format(4))
    world.db.execute(TWICE)
    world.add_connection()
    world.add_export(mapping=MAPPING)
    worker = world.start_worker()

    with planning_held(world):
        world.refresh()
        wait_planning_is_held(world)
        assert imports(world) == 0
    (run,) = world.wait_runs_ended()
    assert (run["state"], run["reason"]) == ("failed", "too_many_invalid")
    assert counted(worker) == (LARGE // 2 + 4 * LARGE * 3 // 2, LARGE // 2)
    assert imports(world) == 0


# -- where counting fails ---------------------------------------------------------

SLOW = """create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, p.attributes
from insights.segment_member m join insights.customer_profile p using (profile_id)
where m.profile_id not like '%00@%' or pg_sleep(0.02) is not null"""
COUNTING = "from pg_stat_activity where datname = current_database() and query like 'copy (select case%'"


def wait_counting(world: World) -> None:
    wait_until(lambda: world.db.rows("select " + COUNTING), 60, "the count")


@pytest.mark.parametrize("ending", ["cancel", "terminate"])
def test_a_count_that_fails_fails_no_run(world: World, ending: str) -> None:
    add_members(world, LARGE)
    world.add_connection()
    world.add_export(mapping=MAPPING)
    worker = world.start_worker()
    world.refresh()
    world.wait_runs_ended()
    world.db.execute(SLOW)

    world.refresh(full=True)
    wait_counting(world)
    world.db.execute(f"select pg_{ending}_backend(pid) " + COUNTING)

    run = world.wait_runs_ended(2, 120)[0]
    assert (run["state"], run["counts"]["accepted"]) == ("succeeded", LARGE), run
    assert run["counts"]["left"] == 0
    taken = [event["epoch"] for event in worker.events("run_taken") if event["run"] == run["id"]]
    if ending == "cancel":
        assert len(taken) == 1 and len(worker.events("members_counted")) == 1


def test_a_run_is_cancelled_while_its_members_are_counted(world: World) -> None:
    add_members(world, LARGE)
    world.db.execute(SLOW)
    world.add_connection()
    world.add_export(mapping=MAPPING)
    world.start_worker()
    world.refresh()
    wait_counting(world)

    world.admin("runs", "cancel", str(world.runs()[0]["id"]))
    wait_until(lambda: not world.db.rows("select " + COUNTING), 5, "the count to be cancelled")
    (run,) = world.wait_runs_ended()
    assert (run["state"], run["reason"]) == ("cancelled", "cancelled_by")
    assert world.simulator.count(LIST) == 0
