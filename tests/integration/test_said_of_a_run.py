"""What is said of a run, in every place, is what it was."""

from __future__ import annotations

from support import people
from support.process import wait_until
from support.world import ACCOUNT, CONNECTION, EXPORT, SEGMENT, World


def test_a_run_is_shown_with_its_requests_once(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker().wait_ready()
    world.refresh()
    run = world.wait_runs_ended()[0]

    shown = world.admin("runs", "show", str(run["id"])).stdout

    names = [line.rsplit(None, 1)[0].strip() for line in shown.splitlines()]
    for name in ("requests", "throttled", "retries"):
        assert len([n for n in names if n.split()[-1] == name]) == 1, shown
    assert run["requests"] == run["counts"]["requests"]


def test_a_verification_says_which_scopes_were_tried(world: World) -> None:
    world.set_up_export(people.simple(1))

    said = world.admin("connection", "verify", "main").stdout

    assert "Scopes that work" not in said
    for scope in ("accounts:read", "lists:read", "lists:write", "profiles:write"):
        assert scope in said, said
    tried, untried = said.split("ot tried")
    assert "lists:write" not in tried and "accounts:read" not in untried


def test_what_a_key_was_allowed_is_not_said_of_the_next_one(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.admin("connection", "verify", CONNECTION)
    assert "lists:read" in world.admin("connection", "show", CONNECTION, "--json").json["scopes"]
    narrower = "pk_another0key0of0the0same0account"
    world.simulator.control("PUT", f"keys/{narrower}", {"account": ACCOUNT, "scopes": ["accounts:read"]})

    world.admin("connection", "rotate-key", CONNECTION, "--api-key-file", "-", stdin=narrower)

    assert world.admin("connection", "show", CONNECTION, "--json").json["scopes"] is None


def test_a_preview_says_how_long_a_run_would_take(world: World) -> None:
    world.set_up_export(people.simple(30))

    shown = world.admin("export", "preview", EXPORT).stdout

    line = next(line for line in shown.splitlines() if line.startswith("seconds"))
    assert float(line.split()[1]) > 0, shown
    world.start_worker()
    world.admin("publish", SEGMENT, "--wait")
    again = world.admin("export", "preview", EXPORT, "--json").json
    assert again["requests"] == 0 and again["seconds"] > 0


def members_metric(page: str, outcome: str) -> int:
    name = f'klaviyo_worker_members_total{{outcome="{outcome}"}} '
    return next(int(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))


def accepted(world: World) -> int:
    return sum(run["counts"]["accepted"] for run in world.runs())


def test_a_cancelled_run_leaves_no_more_accepted_than_selected_in_the_metrics(world: World) -> None:
    world.set_up_export(people.simple(30_000))  # three full batches: whichever comes first
    world.simulator.settings(keep_bodies=False)
    world.simulator.fault("import", {"status": 503}, skip=1, times=1000)
    worker = world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: accepted(world) >= 10_000, 60, "a batch to be accepted")

    world.admin("runs", "cancel", str(world.runs()[0]["id"]))

    (run,) = world.wait_runs_ended(1)
    assert run["state"] == "cancelled"
    wait_until(lambda: members_metric(worker.page("/metrics"), "read"), 20, "the run to be counted")
    page = worker.page("/metrics")
    assert members_metric(page, "selected") >= members_metric(page, "accepted") >= 10_000
    assert members_metric(page, "read") == 30_000


def test_a_run_that_an_update_ends_is_counted_too(world: World) -> None:
    world.set_up_export(people.simple(50))
    world.simulator.settings(queued_ms=60_000)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)

    world.admin("export", "update", EXPORT, "--max-profiles", "60", "--email-field", "email")

    wait_until(lambda: members_metric(worker.page("/metrics"), "selected") >= 50, 30, "the run to be counted")


def test_invalid_members_are_said_wherever_a_run_is_shown(world: World) -> None:
    maker = people.Maker()
    maker.valid(20)
    maker.malformed(80)
    world.set_up_export(maker.population)
    worker = world.start_worker().wait_ready()

    followed = world.admin("publish", SEGMENT, "--wait").stdout

    assert "80 invalid" in followed, followed
    listed = world.admin("runs", "list").stdout
    heading, row = listed.splitlines()
    assert "INVALID" in heading and " 80 " in f"{row} ", listed
    wait_until(lambda: ">80<" in worker.page("/"), 20, "the page to show them")
    assert "Invalid" in worker.page("/")
    assert members_metric(worker.page("/metrics"), "invalid") == 80


def test_a_key_that_must_be_given_again_was_refused_by_nobody(world: World) -> None:
    world.set_up_export(people.simple(3))
    world.simulator.settings(queued_ms=60_000)
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 1)
    world.refresh()
    wait_until(lambda: world.runs("--state", "queued"), 30, "a run behind it")
    world.admin("keygen", "--replace", "--out", str(world.folder / "new.key"))
    world.refresh()

    ended = wait_until(lambda: len(found := world.runs("--state", "failed")) == 2 and found, 30, "both to fail")
    tried = world.command("export", "try", EXPORT, "--rows", "1")

    assert {run["reason"] for run in ended} == {"connection_needs_attention"} and tried.rc == 1, (ended, tried)
    for said in [run["detail"] for run in ended] + [tried.stderr]:
        assert "connection main needs attention (its key was sealed for a key pair" in said, said
        assert "connection rotate-key" in said and "refused" not in said and "verify" not in said, said
