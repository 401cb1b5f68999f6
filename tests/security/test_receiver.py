"""What Klaviyo says of anybody stays in the rejections."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from support import people
from support.world import KEY, World

ADDRESS = "user_3%40example.com"
VALUE = "SecretValue"  # of one of the members
PHONE = "+60 12 345 67 89"
WORDS = f"First name {VALUE} is not allowed for {ADDRESS}, {PHONE}, key {KEY}"


def answer(world: World, status: int, code: str, **more: Any) -> None:
    body = json.dumps({"errors": [{"status": status, "code": code, "detail": WORDS, **more}]})
    world.simulator.fault(
        "import",
        {"status": status, "body": body, "content_type": "application/vnd.api+json"},
        times=-1,
    )


def give_value(world: World) -> None:
    world.db.execute(
        "update insights.customer_profile set attributes = attributes || jsonb_build_object('first_name', 'de ' || %s::text)"
        " where profile_id = (select min(profile_id) from insights.customer_profile)",
        VALUE.lower(),
    )


def everything_said(world: World) -> str:
    """Logs, listings, the page, dead letters: all that is not the rejections."""
    worker = world.workers[0]
    said = [worker.log.read_text(), world.admin("runs", "list", "--json").stdout]
    said.append(world.admin("runs", "show", str(world.runs()[0]["id"])).stdout)
    for letter in world.dead_letters():
        said.append(repr(letter.headers))
    for path in ("/", "/api/runs", "/metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}{path}", timeout=10) as page:
            said.append(page.read().decode())
    return "\n".join(said)


@pytest.mark.parametrize(
    "code", ["invalid", f"bad {VALUE} {ADDRESS}", KEY], ids=["known", "value", "key"]
)
@pytest.mark.parametrize("status", [422, 409])
def test_words_of_a_permanent_answer_stay_in_the_rejections(
    world: World, status: int, code: str
) -> None:
    world.set_up_export(people.simple(20))
    give_value(world)
    answer(world, status, code)
    world.start_worker().wait_ready()
    world.refresh()
    (run,) = world.wait_runs_ended()
    world.wait_all_committed()

    assert (run["state"], run["reason"]) == ("failed", "answer_unexpected")
    assert run["detail"].startswith(f"Klaviyo answered {status} {'invalid' if code == 'invalid' else 'other'} to import: ")
    assert "*** is not allowed for *** key ***" in run["detail"], run["detail"]
    said = everything_said(world)
    for secret in (ADDRESS, VALUE, PHONE, KEY):
        assert secret not in said, secret
    (words,) = world.rejections(run["id"])
    assert words["stage"] == "request" and words["email"] is None
    assert words["code"] == ("invalid" if code == "invalid" else "other")
    assert VALUE in words["detail"] and KEY not in words["detail"]


def test_words_of_a_refused_batch_stay_in_the_rejections(world: World) -> None:
    world.set_up_export(people.simple(2))
    answer(world, 400, f"bad {VALUE}")
    world.start_worker().wait_ready()
    world.refresh()
    (run,) = world.wait_runs_ended()

    assert run["counts"]["rejected"] == 2
    said = everything_said(world)
    for secret in (ADDRESS, VALUE, PHONE, KEY):
        assert secret not in said, secret
    assert all(KEY not in row["detail"] for row in world.rejections(run["id"]))
