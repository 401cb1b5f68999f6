"""What commands say of upstream's data before anything is sent, and of runs afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import people
from support.process import wait_until
from support.roles import make_logins
from support.worker import Result
from support.world import EXPORT, LIST, SEGMENT, World

ADD = ["export", "add", EXPORT, "--connection", "main", "--list", LIST, "--segment", SEGMENT]


def fill(world: World, members: int, **shares: float) -> None:
    """Members of whom the given shares have a field of that name; `email` is the address."""
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    parts = [
        f"case when n <= {share} * {members} then jsonb_build_object('{name}', {value(name)}) else '{{}}'::jsonb end"
        for name, share in shares.items()
    ]
    world.db.execute(
        f"""
        insert into insights.customer_profile select 'p' || n, {" || ".join(parts) or "'{}'::jsonb"}
        from generate_series(1, {members}) n;
        insert into insights.segment_member select '{SEGMENT}', profile_id from insights.customer_profile;
        """
    )


def value(name: str) -> str:
    return "'user' || n || '@shop.example'" if name == "email" else "n"


def add(world: World, *options: str, email: str = "email") -> Result:
    return world.command(*ADD, "--email-field", email, *options)


def exports(world: World) -> list[Any]:
    found = world.admin("export", "list", "--json").json
    assert isinstance(found, list)
    return found


def test_a_field_that_nobody_has_is_refused_and_forced(world: World) -> None:
    fill(world, 300, email=1, points=1)
    world.add_connection()

    wrong = add(world, "--property", "points=pionts")
    assert wrong.rc == 1 and "pionts" in wrong.stderr and "0 of 300" in wrong.stderr, wrong
    assert "--force" in wrong.stderr and exports(world) == []
    address = add(world, email="e_mail")
    assert address.rc == 1 and "e_mail" in address.stderr and "--force" in address.stderr, address
    assert exports(world) == []

    forced = add(world, "--property", "points=pionts", "--force")
    assert forced.rc == 0 and "pionts" in forced.stderr and len(exports(world)) == 1, forced


def test_an_update_that_misses_every_member_changes_nothing(world: World) -> None:
    fill(world, 300, email=1, points=1)
    world.add_connection()
    assert add(world, "--property", "points=points").rc == 0

    wrong = world.command("export", "update", EXPORT, "--email-field", "mail")
    assert wrong.rc == 1 and "mail" in wrong.stderr, wrong
    assert world.admin("export", "show", EXPORT, "--json").json["email_field"] == "email"
    forced = world.command("export", "update", EXPORT, "--email-field", "mail", "--force")
    assert forced.rc == 0
    other = world.command("export", "update", EXPORT, "--property", "points=points")
    assert other.rc == 0 and other.stderr == "", "the e-mail field was judged before"
    assert world.admin("export", "show", EXPORT, "--json").json["email_field"] == "mail"


@pytest.mark.parametrize(
    ("share", "rc", "warned"), [(0.005, 1, True), (0.02, 0, True), (0.49, 0, True), (0.5, 0, False), (1, 0, False)]
)
def test_how_many_members_have_a_field_decides(world: World, share: float, rc: int, warned: bool) -> None:
    fill(world, 1000, email=1, points=share)
    world.add_connection()

    result = add(world, "--property", "points=points")

    assert result.rc == rc, result
    assert (f"{int(share * 1000)} of 1000" in result.stderr) == warned, result


def test_addresses_are_judged_by_their_form(world: World) -> None:
    maker = people.Maker()
    maker.valid(200)
    maker.missing(40)
    maker.malformed(200)
    maker.not_ascii(40)
    maker.too_long(40)
    world.add_segment(SEGMENT, maker.population)
    world.add_connection()

    result = add(world)

    assert result.rc == 0 and "200 of 520" in result.stderr, result


def test_an_empty_segment_is_no_error(world: World) -> None:
    world.add_connection()

    result = add(world, "--property", "points=points")

    assert result.rc == 0 and "no members" in result.stderr, result


def test_a_name_that_is_nearly_right_is_helped_with(world: World) -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    attributes = json.dumps({"email": "a@shop.example", "traits.points": 3})
    world.db.execute("insert into insights.customer_profile values ('p1', %s::jsonb)", attributes)
    world.db.execute("insert into insights.segment_member values (%s, 'p1')", SEGMENT)
    world.add_connection()

    flat = add(world, "--property", "points=traits.points")
    assert flat.rc == 1 and '"traits.points"' in flat.stderr, flat
    profile = add(world, "--attribute", "external_id=profile_id")
    assert profile.rc == 1 and "@profile_id" in profile.stderr, profile
    for words in (["export", "add", "--help"], ["export", "update", "--help"]):
        help_text = world.admin(*words).stdout
        assert "@profile_id" in help_text and '"e.mail"' in help_text


def test_a_typing_error_is_answered_with_the_name_that_members_have(world: World) -> None:
    world.db.execute("insert into insights.segment values (%s, %s)", SEGMENT, SEGMENT)
    attributes = {"mail": "a{}@shop.example", "traits": {"points": 3, "by.day": {"mon": 1}}, "none": None}
    for n in range(30):
        row = json.dumps({**attributes, "mail": f"a{n}@shop.example", **({"rare": 1} if n == 7 else {})})
        world.db.execute("insert into insights.customer_profile values (%s, %s::jsonb)", f"p{n}", row)
        world.db.execute("insert into insights.segment_member values (%s, %s)", SEGMENT, f"p{n}")
    world.add_connection()

    wrong = add(world, "--property", "points=traits.pionts", "--property", "r=raer", email="email")
    assert wrong.rc == 1 and "did you mean traits.points?" in wrong.stderr, wrong
    assert "did you mean mail?" in wrong.stderr and "rare?" not in wrong.stderr, wrong
    quoted = add(world, "--property", "m=traits.by.day.mon", email="mail")
    assert 'did you mean traits."by.day".mon?' in quoted.stderr, quoted
    nothing = add(world, "--property", "x=nothing_like_it", email="mail")
    assert nothing.rc == 1 and "did you mean" not in nothing.stderr, nothing


def test_the_fill_rate_of_every_field_is_told(world: World) -> None:
    fill(world, 200, email=1, points=0.75, first=0.5)
    world.add_connection()

    result = add(world, "--property", "points=points", "--attribute", "first_name=first")
    assert result.rc == 0 and result.stderr == "", result
    assert result.stdout.splitlines()[:3] == [
        "200 of 200 members have a well-formed address.",
        "100 of 200 members have first (--attribute first_name).",
        "150 of 200 members have points (--property points).",
    ]
    changed = world.admin("export", "update", EXPORT, "--property", "p=points")
    assert changed.stdout.splitlines()[0] == "150 of 200 members have points (--property p)."


def test_many_members_are_sampled(world: World) -> None:
    fill(world, 30_000, email=1, points=0.75)
    world.add_connection()

    result = add(world, "--property", "points=points")

    assert result.rc == 0 and "30000" in result.stdout, result


def test_more_members_than_allowed_are_warned_of_with_the_number_to_give(world: World) -> None:
    fill(world, 300, email=1)
    world.add_connection()

    result = add(world, "--max-profiles", "200")

    assert result.rc == 0 and "300" in result.stderr and "--max-profiles 300" in result.stderr, result
    raised = world.command("export", "update", EXPORT, "--max-profiles", "250")
    assert raised.rc == 0 and "--max-profiles 300" in raised.stderr, raised
    enough = world.command("export", "update", EXPORT, "--max-profiles", "300")
    assert enough.rc == 0 and enough.stderr == "", enough


def test_nobody_learns_of_members_through_an_export_that_is_not_theirs(world: World) -> None:
    fill(world, 300, email=1)
    world.add_connection()
    assert add(world).rc == 0
    users = make_logins(world.db)

    result = world.command("export", "update", EXPORT, "--max-profiles", "5", DATABASE_URL=users["contributor"].url)

    assert result.rc == 1 and "300" not in result.stderr + result.stdout


def test_a_contributor_gets_the_same_judgement(world: World) -> None:
    fill(world, 300, email=1)
    world.add_connection()
    users = make_logins(world.db)
    world.admin("connection", "grant", "main", users["contributor"].name)

    result = world.command(*ADD, "--email-field", "e_mail", DATABASE_URL=users["contributor"].url)
    right = world.command(*ADD, "--email-field", "email", DATABASE_URL=users["contributor"].url)

    assert result.rc == 1 and "0 of 300" in result.stderr, result
    assert right.rc == 0 and "300 of 300" in right.stdout, right


# -- nothing untrue --------------------------------------------------------------------


def test_an_update_speaks_of_a_run_only_where_one_was_ended(world: World) -> None:
    world.set_up_export(people.simple(5))

    quiet = world.admin("export", "update", EXPORT, "--max-profiles", "77")

    assert "run" not in quiet.stdout.lower().replace("next run", ""), quiet.stdout
    assert "members have" not in quiet.stdout


def test_an_update_that_ends_a_run_says_so(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.simulator.settings(queued_ms=60_000)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.simulator.diary("import"), 30, "an import")

    result = world.admin("export", "update", EXPORT, "--max-profiles", "77")

    assert "was ended" in result.stdout, result.stdout
