"""What is a name to somebody is SQL, JSON, a format or an option to somebody else: it stays a name."""

from __future__ import annotations

import json

from support import events
from support.roles import Login, make_login
from support.world import ACCOUNT, KEY, World

# Of segments, profiles, fields, connections and exports.
NAMES = [
    "x'; drop table klaviyo.ledger; --",
    'x"; drop table klaviyo.ledger; --',
    "$x$; drop table klaviyo.ledger; --$1 $$",
    "x\\'; drop table klaviyo.ledger; --\\",
    "%s %n %1$s %I %L {} {0} ${x}",
    '{"a","b",NULL}',
    "../../a;b=c&d?e#f",
    "--help",
]
READING = [("export", "show"), ("export", "preview"), ("segment", "fields"), ("connection", "show")]


def path(name: str) -> str:
    """As one member of the attributes, whatever is in it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def property_of(name: str) -> str:
    """What Klaviyo and the option's form allow."""
    return name.replace("=", "-").replace("$", "S", int(name.startswith("$")))


def addresses(n: int) -> list[str]:
    """Of who leaves, and of who stays; sorted."""
    return [f"o'neil+{n}@example.test", f"o'stay+{n}@example.test"]


def set_up(world: World, n: int, name: str, user: Login) -> None:
    """A segment with two members, a connection and an export, all of that name."""
    world.db.execute("insert into insights.segment values (%s, %s)", name, name)
    for profile, address in zip((name, name + name), addresses(n), strict=True):
        attributes = json.dumps({name: address, f"{name}'s points": n})
        world.db.execute("insert into insights.customer_profile values (%s, %s)", profile, attributes)
        world.db.execute("insert into insights.segment_member values (%s, %s)", name, profile)
    world.simulator.add_list(f"L{n}", ACCOUNT, name)
    connect = ["connection", "add", "--api-key-file", "-", "--agree-to-data-transfer", "--", name]
    world.admin(*connect, stdin=KEY)
    world.admin("connection", "grant", "--", name, user.name)
    words = [f"--connection={name}", f"--list=L{n}", f"--segment={name}", f"--email-field={path(name)}"]
    words += [f"--property={property_of(name)}={path(name + chr(39) + 's points')}"]
    result = world.command(
        "export", "add", *words, "--on-leave=remove", "--size-guard=off", "--", name, DATABASE_URL=user.url
    )
    assert result.rc == 0, result


def test_a_name_is_only_a_name_from_the_first_command_to_the_last(world: World) -> None:
    mo = make_login(world.db, "mo", "klaviyo_contributor")
    for n, name in enumerate(NAMES):
        set_up(world, n, name, mo)
    world.start_worker().wait_ready()

    world.publish(*(events.binary(name, event_id=name, refresh_id=name) for name in NAMES))
    runs = world.wait_runs_ended(len(NAMES))

    assert {(run["export"], run["state"], run["counts"]["accepted"]) for run in runs} == {
        (name, "succeeded", 2) for name in NAMES
    }
    for n, name in enumerate(NAMES):
        members = world.simulator.control("GET", f"lists/L{n}/members?attributes=1")["members"]
        values = {property_of(name): n}
        assert [(m["email"], m["attributes"]["properties"]) for m in members] == [(a, values) for a in addresses(n)]
        shown = world.command("member", "show", addresses(n)[0], "--json", DATABASE_URL=mo.url)
        assert shown.rc == 0 and json.dumps(name) in shown.stdout, shown
        for words in READING:
            result = world.command(*words, "--", name)
            assert result.rc == 0, result

    world.db.execute("delete from insights.segment_member where profile_id = segment_id")
    world.publish(*(events.binary(name, event_id=name + "2", refresh_id=name) for name in NAMES))
    runs = world.wait_runs_ended(2 * len(NAMES))[: len(NAMES)]

    assert {(run["export"], run["state"], run["counts"]["removed"]) for run in runs} == {
        (name, "succeeded", 1) for name in NAMES
    }
    assert [world.simulator.emails(f"L{n}") for n in range(len(NAMES))] == [{addresses(n)[1]} for n in range(len(NAMES))]
    for name in NAMES:
        for command in (("export", "remove"), ("connection", "remove")):
            world.admin(*command, "--yes", "--", name)
    assert world.db.rows("select from klaviyo.export union all select from klaviyo.connection") == []
