"""Members as sites store them: addresses, ids and values of every kind, and what is sent of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Any

import psycopg
import pytest

from support import people
from support.process import wait_until
from support.world import EXPORT, LIST, SEGMENT, World, check_sums

# Contract: blanks at both ends of an address do not belong to it.
BLANKS = " \t\n\x0b\f\r\u00a0\u200b\u200c\u200d\u2060\ufeff"
OTHER_BLANKS = "\u0085\u1680\u2003\u2028\u202f\u3000"


def add_members(world: World, members: Iterable[tuple[str, dict[str, Any]]], segment: str = SEGMENT) -> None:
    rows = list(members)
    world.db.execute("insert into insights.segment values (%s, %s) on conflict do nothing", segment, segment)
    world.db.copy(
        "insights.customer_profile (profile_id, attributes)",
        ((profile, json.dumps(attributes)) for profile, attributes in rows),
    )
    world.db.copy("insights.segment_member (segment_id, profile_id)", ((segment, profile) for profile, _ in rows))


def run_once(world: World, segment: str = SEGMENT) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh(segment)
    return world.wait_runs_ended(before + 1)[0]


def sent_profiles(world: World) -> dict[str, dict[str, Any]]:
    """By address; each body is the newest that was sent for it."""
    found = {}
    for entry in world.simulator.diary("import"):
        for profile in world.simulator.body(entry["seq"])["data"]["attributes"]["profiles"]["data"]:
            found[profile["attributes"]["email"]] = profile["attributes"]
    return found


def codes(world: World, run: dict[str, Any]) -> dict[str | None, str]:
    """Of the rejections, by profile."""
    return {row["profile_id"]: row["code"] for row in world.rejections(run["id"])}


# -- addresses ---------------------------------------------------------------------


def test_blanks_of_every_kind_at_the_ends_of_an_address_are_trimmed(world: World) -> None:
    members = [(f"p{n:02}", {"email": f"{blank}user{n}@shop.example{blank * 2}"}) for n, blank in enumerate(BLANKS)]
    members += [("q1", {"email": BLANKS + "All@Shop.Example" + BLANKS}), ("q2", {"email": BLANKS})]
    members += [(f"r{n}", {"email": f"x{n}@shop.example{blank}"}) for n, blank in enumerate(OTHER_BLANKS)]
    members += [("s1", {"email": "in\u200bside@shop.example"}), ("s2", {"email": "in side@shop.example"})]
    add_members(world, members)
    world.add_connection()
    world.add_export(mapping=[])
    world.start_worker().wait_ready()

    run = run_once(world)

    wanted = {f"user{n}@shop.example" for n in range(len(BLANKS))} | {"all@shop.example"}
    assert world.simulator.emails(LIST) == wanted
    others = {f"r{n}": "email_not_ascii" for n in range(len(OTHER_BLANKS))}
    assert codes(world, run) == others | {"q2": "email_missing", "s1": "email_not_ascii", "s2": "email_malformed"}
    check_sums(run)


def test_what_was_sent_before_is_known_again_in_any_spelling(world: World) -> None:
    add_members(world, [(f"p{n}", {"email": f"user{n}@shop.example"}) for n in range(10)])
    world.add_connection()
    world.add_export(mapping=[])
    world.start_worker().wait_ready()
    assert run_once(world)["counts"]["accepted"] == 10

    world.db.execute(
        "update insights.customer_profile set attributes ="
        " jsonb_build_object('email', chr(65279) || upper(attributes ->> 'email') || chr(160))"
    )
    run = run_once(world)

    assert run["counts"]["unchanged"] == 10 and run["counts"]["selected"] == 0
    assert len(world.simulator.diary("import")) == 1


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("a" * 400 + "é@shop.example", "email_not_ascii"),
        ("a" * 5000 + "@shop.example\u00a0x", "email_not_ascii"),
        ("a" * 400 + "@shop.example", "email_too_long"),
        ("a" * 400, "email_too_long"),
        ("ü" * 400, "email_not_ascii"),
        (" " * 400 + "a" * 250 + "@b.example", "email_too_long"),
        (" " * 400 + "fine@shop.example" + "\t" * 400, None),
    ],
    ids=["late", "at-the-end", "long", "no-at", "wide", "trimmed-first", "fine"],
)
def test_an_address_is_judged_whole_however_long_it_is(world: World, address: str, code: str | None) -> None:
    add_members(world, [("p1", {"email": address})])
    world.add_connection()
    world.add_export(mapping=[])
    world.start_worker().wait_ready()

    run = run_once(world)

    assert codes(world, run).get("p1") == code
    assert run["counts"]["accepted"] == (0 if code else 1)


PIECES = ["a", "B", "9", ".", "-", "_", "@", "@", "shop", ".example", ".x", ".com", "xn--", "xn--p1ai", "+", "'", '"',
          " ", "\u00a0", "\u200b", "é", "K", "\\", "a" * 60, "b" * 64, "\t", "!", "(", ","]  # fmt: skip


def random_address(random: Random) -> str:
    if random.random() < 0.5:  # nearly a good one
        parts = ["ada", *random.choices(PIECES, k=random.randint(0, 2)), "@", "shop", *random.choices(PIECES, k=1), ".example"]
        return "".join(parts)
    return "".join(random.choices(PIECES, k=random.randint(0, 8)))


def test_database_and_worker_find_the_same_addresses_well_formed(world: World) -> None:
    random = Random(11)
    members = [(f"p{n:05}", {"email": random_address(random)}) for n in range(6000)]
    longest = f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 60}"
    members += [("long-254", {"email": longest}), ("long-255", {"email": f"{longest}e"})]
    add_members(world, members)
    world.add_connection()
    world.add_export(EXPORT, "--max-invalid", "100", mapping=[])
    world.start_worker().wait_ready()

    run = run_once(world)

    judged = world.db.rows(
        "select distinct klaviyo.address_of(attributes ->> 'email') from insights.customer_profile"
        " where klaviyo.is_address(klaviyo.address_of(attributes ->> 'email'))"
    )
    sent = world.simulator.emails(LIST)
    assert {address for (address,) in judged} == sent and longest in sent and len(longest) == 254
    assert 150 < len(sent) < 3000 and run["counts"]["rejected"] == 0
    assert all(found == "local" for found in (row["stage"] for row in world.rejections(run["id"])))


# -- values ------------------------------------------------------------------------

NUMBERS = ["7", "-0.50", "1e3", "12345678901234567890123456789", "0.1000", "1e-7"]


def test_numbers_and_booleans_are_sent_as_text_where_klaviyo_wants_text(world: World) -> None:
    attributes = ["external_id", "first_name", "location.zip", "location.latitude"]
    values: list[str] = [*NUMBERS, "true", "false", '"text"', "null"]
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    for n, value in enumerate(values):
        document = f'{{"email": "user{n}@shop.example", "v": {value}, "n": {n}.50}}'
        world.db.execute("insert into insights.customer_profile values (%s, %s::jsonb)", f"p{n}", document)
        world.db.execute("insert into insights.segment_member values (%s, %s)", SEGMENT, f"p{n}")
    world.simulator.settings(keep_bodies=True)
    world.add_connection()
    mapping = [f"--attribute={name}=v" for name in attributes[:3]] + ["--attribute=location.latitude=n"]
    world.add_export(mapping=[*mapping, "--property=v=v"])
    world.start_worker().wait_ready()

    run = run_once(world)

    assert run["state"] == "succeeded" and run["counts"]["accepted"] == len(values), world.rejections(run["id"])
    stored = dict(world.db.rows("select attributes ->> 'email', attributes #>> '{v}' from insights.customer_profile"))
    for address, profile in sent_profiles(world).items():
        text = stored[address]
        assert profile.get("external_id") == profile.get("first_name") == text
        assert profile["location"].get("zip") == text
        assert isinstance(profile["location"]["latitude"], float)
    assert sent_profiles(world)["user0@shop.example"]["properties"] == {"v": 7}
    assert sent_profiles(world)["user6@shop.example"]["properties"] == {"v": True}


def test_objects_and_arrays_are_no_value_for_a_text_attribute_and_are_counted(world: World) -> None:
    add_members(world, [(f"p{n}", {"email": f"user{n}@shop.example", "name": "Ada"}) for n in range(8)])
    add_members(
        world,
        [("q1", {"email": "object@shop.example", "name": {"first": "Ada"}}), ("q2", {"email": "array@shop.example", "name": ["Ada"]})],
    )  # fmt: skip
    world.simulator.settings(keep_bodies=True)
    world.add_connection()
    world.add_export(mapping=["--attribute=first_name=name", "--property=name=name"])
    worker = world.start_worker().wait_ready()

    preview = world.admin("export", "preview", EXPORT, "--json")
    run = run_once(world)

    assert run["state"] == "succeeded" and run["counts"]["accepted"] == 10
    sent = sent_profiles(world)
    assert "first_name" not in sent["object@shop.example"] and "first_name" not in sent["array@shop.example"]
    assert sent["object@shop.example"]["properties"] == {"name": {"first": "Ada"}}
    assert "first_name" in preview.stderr and "2 of 10" in preview.stderr, preview
    (field,) = [f for f in preview.json["fields"] if f.get("attribute") == "first_name"]
    assert field["no_text"] == 2 and field["with_value"] == 10
    (line,) = worker.events("values_left_out")
    assert line["attribute"] == "first_name" and line["rows"] == 2


# -- where a value comes from --------------------------------------------------------


def test_the_id_of_a_profile_can_be_sent(world: World) -> None:
    add_members(world, [("p-1", {"email": "one@shop.example", "@profile_id": "no"}), ("7", {"email": "two@shop.example"})])
    world.simulator.settings(keep_bodies=True)
    world.add_connection()
    mapping = ["--attribute=external_id=@profile_id", "--property=source=@profile_id"]
    world.add_export(mapping=mapping)
    world.start_worker().wait_ready()

    run_once(world)

    sent = sent_profiles(world)
    assert sent["one@shop.example"]["external_id"] == "p-1"
    assert sent["two@shop.example"]["properties"] == {"source": "7"}
    shown = world.admin("export", "show", EXPORT, "--json").json
    assert shown["attributes"] == {"external_id": "@profile_id"}


def test_an_address_can_be_the_profiles_id(world: World) -> None:
    add_members(world, [("Ada@Shop.Example", {})])
    world.add_connection()
    words = ["--connection", "main", "--list", LIST, "--segment", SEGMENT, "--email-field", "@profile_id"]
    world.admin("export", "add", EXPORT, *words)
    world.start_worker().wait_ready()

    run_once(world)

    assert world.simulator.emails(LIST) == {"ada@shop.example"}


def test_names_with_dots_and_quotes_can_be_mapped(world: World) -> None:
    attributes = {
        "traits.email": "ada@shop.example", "traits": {"email": "wrong@shop.example", "a.b": {"c": 1}},
        'say "hi"': 2, "@profile_id": 3, "plain": 4,
    }  # fmt: skip
    add_members(world, [("p1", attributes)])
    world.simulator.settings(keep_bodies=True)
    world.add_connection()
    words = ["--connection", "main", "--list", LIST, "--segment", SEGMENT, "--email-field", '"traits.email"']
    paths = {"one": 'traits."a.b".c', "two": '"say ""hi"""', "four": '"plain"'}
    world.admin("export", "add", EXPORT, *words, *(f"--property={name}={path}" for name, path in paths.items()))
    world.start_worker().wait_ready()

    run_once(world)

    assert sent_profiles(world) == {
        "ada@shop.example": {"email": "ada@shop.example", "properties": {"one": 1, "two": 2, "four": 4}}
    }
    shown = world.admin("export", "show", EXPORT, "--json").json
    assert shown["email_field"] == '"traits.email"'
    assert shown["properties"] == {"one": 'traits."a.b".c', "two": '"say ""hi"""', "four": "plain"}
    audit = world.admin("audit", "list", "--json").stdout
    assert '\\"traits.email\\"' in audit and 'traits.\\"a.b\\".c' in audit


# -- relations of other types ---------------------------------------------------------

UUID = "00000000-0000-4000-8000-{n:012x}"
VIEWS = {
    "bigint": ("bigint", "{n}"),
    "integer": ("integer", "{n}"),
    "uuid": ("uuid", UUID),
    "varchar": ("varchar(60)", "id-{n}"),
    "numeric": ("numeric", "{n}.50"),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_ids_of_other_types_are_cast(world: World, kind: str) -> None:
    column, form = VIEWS[kind]
    segment = form.format(n=7)
    world.db.execute(
        f"""
        drop view insights.segment_profile;
        create table insights.own (segment_id {column}, profile_id {column}, attributes json);
        create view insights.segment_profile as select * from insights.own;
        grant select on insights.segment_profile to klaviyo_worker;
        """
    )
    rows = [(segment, form.format(n=n), json.dumps({"email": f"user{n}@shop.example"})) for n in range(20)]
    world.db.copy("insights.own", [*rows, (form.format(n=8), form.format(n=999), '{"email": "other@shop.example"}')])
    world.add_connection()
    world.add_export(segments=(segment, "no-such-id", "00000000-0000-4000-8000-00000000000G", "07"), mapping=["--attribute=external_id=@profile_id"])
    world.start_worker().wait_ready()

    run = run_once(world, segment)

    assert run["state"] == "succeeded" and run["counts"]["accepted"] == 20, run
    ids = world.db.rows("select profile_ids from klaviyo.batch where profile_ids is not null")
    assert world.simulator.count(LIST) == 20 and ids == []
    assert world.command("check").rc == 0


def test_a_fast_way_to_a_few_members_of_a_segment_with_an_id_of_another_type(world: World) -> None:
    """An index on the segment's id is used where there is one."""
    world.db.execute(
        """
        drop view insights.segment_profile;
        create table insights.own (segment_id bigint, profile_id bigint, attributes jsonb);
        insert into insights.own select n % 20000, n, jsonb_build_object('email', 'u' || n || '@shop.example')
        from generate_series(1, 200000) n;
        create index own_segment on insights.own (segment_id);
        analyze insights.own;
        create view insights.segment_profile as select * from insights.own;
        grant select on insights.segment_profile to klaviyo_worker;
        select pg_stat_reset();
        """
    )
    world.add_connection()
    world.add_export(segments=("7",), mapping=[])
    world.start_worker().wait_ready()
    scans = "select seq_tup_read from pg_stat_user_tables where relid = 'insights.own'::regclass"
    before = world.db.value(scans)

    run = run_once(world, "7")

    assert run["counts"]["accepted"] == 10
    assert world.db.value(scans) == before


@pytest.mark.timeout(300)
def test_an_export_may_have_any_number_of_segments(world: World) -> None:
    add_members(world, [(f"p{n}", {"email": f"user{n}@shop.example"}) for n in range(10)])
    world.add_connection()
    world.add_export(mapping=[])
    world.db.execute(
        "insert into klaviyo.export_segment (export_id, segment_id)"
        " select export_id, repeat('s', 190) || n from klaviyo.export, generate_series(1, 50000) n"
    )
    world.start_worker().wait_ready()

    run = run_once(world)

    assert run["state"] == "succeeded" and run["counts"]["accepted"] == 10, run
    wait_until(lambda: world.command("export", "preview", EXPORT).rc == 0, 60, "a preview")


# -- what is sent is what was judged ----------------------------------------------------


@pytest.mark.parametrize("name", ["email", "subscriptions", "properties", "location", "id", "_kx", "location.email"])
def test_rows_that_no_command_would_store_are_not_sent(world: World, name: str) -> None:
    """Whoever may write the table may write anything into it; what is sent is checked again."""
    add_members(world, [("p1", {"email": "ada@shop.example", "x": "victim@other.example"})])
    world.simulator.settings(keep_bodies=True)
    world.add_connection()
    world.add_export(mapping=["--attribute=first_name=x"])
    try:
        world.db.execute(
            "insert into klaviyo.export_field (export_id, position, target, name, path)"
            " select export_id, 9, 'attribute', %s, '{x}' from klaviyo.export",
            name,
        )
    except psycopg.errors.CheckViolation:
        return  # the table refuses it by now
    world.start_worker().wait_ready()

    run_once(world)

    assert world.simulator.emails(LIST) <= {"ada@shop.example"}
    bodies = [world.simulator.body(entry["seq"]) for entry in world.simulator.diary("import")]
    for body in bodies:
        for profile in body["data"]["attributes"]["profiles"]["data"]:
            assert profile["attributes"] == {"email": "ada@shop.example", "first_name": "victim@other.example"}
    texts = [str(body) for body in bodies]
    assert all("subscriptions" not in text for text in texts)


def test_a_population_of_all_kinds_is_still_counted_right(world: World) -> None:
    population = people.mixed(2_000, too_large=2)
    world.set_up_export(population)
    world.start_worker().wait_ready()

    run = run_once(world)

    assert {name: run["counts"][name] for name in population.expected_counts()} == population.expected_counts()
