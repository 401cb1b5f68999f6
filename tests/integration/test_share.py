"""A part of an account's limits: what an administrator sets, and what others leave."""

from __future__ import annotations

from typing import Any

import pytest

from support import people
from support.world import ACCOUNT, CONNECTION, World

USAGE = 2
TAKE = """select count(place_id) from generate_series(1, 200) n,
klaviyo.take_place(%s, %s, 10, 150, 60000 + n) t"""
OTHER_KEY = "pk_planted0secret0key0of0account0A2"


def granted(world: World, endpoint: str, account: str = ACCOUNT) -> int:
    """How many of 200 requests at once get a permit, none of which is answered."""
    return int(world.db.value(TAKE, account, endpoint))


def share(world: World, percent: str, name: str = CONNECTION) -> None:
    world.admin("connection", "update", name, "--share", percent)


def shown(world: World) -> dict[str, Any]:
    found = world.admin("connection", "show", CONNECTION, "--json").json
    assert isinstance(found, dict)
    return found


def test_a_share_is_set_shown_and_in_the_audit(world: World) -> None:
    world.add_connection()
    assert shown(world)["share"] == 100

    share(world, "50%")
    assert shown(world)["share"] == 50
    assert world.admin("connection", "list", "--json").json[0]["share"] == 50
    assert "50" in world.admin("connection", "list").stdout
    again = world.admin("connection", "update", CONNECTION, "--share", "50")
    assert "unchanged" in again.stdout
    (change,) = world.db.rows(
        "select detail from klaviyo.audit where object = 'connection' and action = 'change'"
    )
    assert change[0] == {"share": {"from": 100, "to": 50}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([CONNECTION, "--share", "0"], "1 to 100"),
        ([CONNECTION, "--share", "101%"], "101%"),
        ([CONNECTION, "--share", "half"], "half"),
        ([CONNECTION, "--share", "33.3"], "fraction"),
        ([CONNECTION, "--share", "50%%"], "50%%"),
        ([CONNECTION], "option"),
    ],
)
def test_a_wrong_share_is_wrong_usage(world: World, words: list[str], said: str) -> None:
    result = world.command("connection", "update", *words)
    assert result.rc == USAGE and said in result.stderr, result


def test_permits_are_of_that_part_and_at_least_one(world: World) -> None:
    world.add_connection()
    for percent, expected in {"100": 10, "50%": 5, "29": 2, "9": 1, "1%": 1}.items():
        share(world, percent)
        assert granted(world, f"import-{percent}") == expected
    assert granted(world, "import", "key:of-nobody-known") == 10

    # Two connections to one account: the smallest share counts for both.
    world.simulator.add_key(OTHER_KEY, ACCOUNT)
    world.add_connection("other", OTHER_KEY)
    share(world, "80")
    share(world, "30", "other")
    assert granted(world, "import") == 3


def test_a_run_keeps_to_the_share(world: World) -> None:
    world.set_up_export(people.simple(25_000))
    share(world, "20%")
    world.start_worker()
    world.refresh()

    (run,) = world.wait_runs_ended(1, 120)
    assert (run["state"], run["counts"]["throttled"]) == ("succeeded", 0)
    lanes = world.simulator.control("GET", "stats")["lanes"]
    assert {lane["endpoint"]: lane["max_1s"] for lane in lanes if lane["max_1s"] > 2} == {}


def test_a_429_that_others_caused_lowers_the_pace_for_a_while(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.simulator.fault("import", {"throttle": 1}, times=1)
    worker = world.start_worker()
    world.refresh()
    (run,) = world.wait_runs_ended()

    assert (run["state"], run["counts"]["throttled"]) == ("succeeded", 1)
    (said,) = worker.events("account_shared_with_others")
    assert (said["endpoint"], said["pace_percent"]) == ("import", 50)
    assert "klaviyo_worker_account_slowed_total 1" in worker.page("/metrics")
    assert shown(world)["pace"] == 50 and shown(world)["slowed_until"] is not None

    world.db.execute("delete from klaviyo.rate_place")
    assert granted(world, "import") == 5 and granted(world, "list") == 10
    share(world, "50")
    world.db.execute("delete from klaviyo.rate_place")
    assert granted(world, "import") == 2

    # Again, and again in the same burst; then it is over.
    slow = f"select klaviyo.slow_account('{ACCOUNT}', 'import')"
    world.db.execute("update klaviyo.rate_budget set slowed_at = slowed_at - interval '11 s'")
    assert [world.db.value(slow), world.db.value(slow)] == [25, None]
    world.db.execute("update klaviyo.rate_budget set slowed_at = slowed_at - interval '11 s'")
    assert world.db.value(slow) == 25, "the least"
    world.db.execute("update klaviyo.rate_budget set slowed_until = now() - interval '1 s'")
    world.db.execute("delete from klaviyo.rate_place")
    assert granted(world, "import") == 5 and shown(world)["pace"] is None


def test_a_clock_that_goes_back_does_not_keep_the_pace_low(world: World) -> None:
    world.add_connection()
    world.db.execute(f"select klaviyo.slow_account('{ACCOUNT}', 'import')")
    world.db.execute(
        "update klaviyo.rate_budget set slowed_at = slowed_at + interval '1 day',"
        " slowed_until = slowed_until + interval '1 day'"
    )
    assert granted(world, "import") == 10
