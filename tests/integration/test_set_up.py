"""The whole set-up, each step by the one whose it is, from an empty database to a filled list."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support import people
from support.paths import TREE, program
from support.postgres import Database, Postgres
from support.process import wait_until
from support.relay import LostAnswer
from support.roles import Login, make_login, make_logins
from support.worker import Result
from support.world import ACCOUNT, KEY, LIST, SEGMENT, World

KEYED = ["--api-key-file", "-", "--agree-to-data-transfer"]


def run_as(world: World, login: Login, *words: str, stdin: str = "") -> Result:
    return world.command(*words, stdin=stdin, DATABASE_URL=login.url)


def must(world: World, login: Login, *words: str, stdin: str = "") -> Result:
    result = run_as(world, login, *words, stdin=stdin)
    assert result.rc == 0, f"`{result.command}` as {login.name}: {result.stderr}"
    return result


def test_from_an_empty_database_to_a_filled_list(world: World) -> None:
    users = make_logins(world.db)
    admin = users["admin"]
    team = make_login(world.db, "team", "klaviyo_contributor")
    contributor = make_login(world.db, "mo", team.name)
    world.add_segment(SEGMENT, people.mixed(300, too_large=1))

    must(world, admin, "connection", "add", "main", *KEYED, stdin=KEY)
    must(world, admin, "connection", "grant", "main", team.name)
    must(
        world, contributor, "export", "add", "news", "--connection", "main", "--list", LIST,
        "--segment", SEGMENT, "--email-field", "email", "--attribute", "first_name=first_name",
    )  # fmt: skip
    must(world, users["worker"], "connection", "verify", "main")
    worker = world.start_worker(DATABASE_URL=users["worker"].url)
    must(world, contributor, "publish", SEGMENT, "--wait")

    (run,) = must(world, users["viewer"], "runs", "list", "--json").json
    assert run["state"] == "succeeded" and run["events"] == 1
    assert world.simulator.count(LIST) == run["counts"]["accepted"] > 200
    must(world, contributor, "publish", "--export", "news", "--full", "--wait")
    rejected = must(world, contributor, "runs", "rejections", str(run["id"]), "--json").json
    assert len(rejected) == run["counts"]["invalid"]
    must(world, contributor, "export", "remove", "news")
    must(world, admin, "connection", "remove", "main")
    worker.stop()
    assert "42501" not in worker.log.read_text()


def test_each_sees_what_is_its_own(world: World) -> None:
    users = make_logins(world.db)
    world.set_up_export(people.simple(1))
    admin, contributor = users["admin"], users["contributor"]

    assert must(world, contributor, "connection", "list", "--json").json == []
    assert must(world, contributor, "export", "list", "--json").json == []
    must(world, admin, "connection", "grant", "main", contributor.name)

    assert must(world, contributor, "connection", "list", "--json").json == [
        {"name": "main", "kind": "klaviyo", "state": "ready", "exports": 1}
    ]
    assert [x["name"] for x in must(world, contributor, "export", "list", "--json").json] == [
        "newsletter"
    ]
    world.db.execute("update klaviyo.connection set attention_reason = 'key_refused'")
    header, row = must(world, contributor, "connection", "list").stdout.splitlines()
    assert header.split() == ["NAME", "KIND", "STATE", "EXPORTS"]
    assert row.split() == ["main", "klaviyo", "needs", "attention", "1"]
    checked = run_as(world, contributor, "check", "--json").json
    assert {line["result"] for line in checked if line["check"].startswith("key")} == {"ok"}, checked
    for words in (
        ["connection", "list"], ["export", "list"], ["runs", "rejections", "1"], ["audit", "list"],
    ):  # fmt: skip
        result = run_as(world, users["viewer"], *words)
        assert result.rc == 1 and result.stderr.count("\n") == 1, result


def test_a_revoked_connection_pauses_the_exports_that_depend_on_it(world: World) -> None:
    users = make_logins(world.db)
    world.set_up_export(people.simple(1))
    contributor = users["contributor"]
    world.admin("connection", "grant", "main", contributor.name)
    must(
        world, contributor, "export", "add", "theirs", "--connection", "main", "--list", LIST,
        "--segment", SEGMENT, "--email-field", "email",
    )  # fmt: skip

    result = world.admin("connection", "revoke", "main", contributor.name)

    states = {x["name"]: x["state"] for x in world.admin("export", "list", "--json").json}
    assert states == {"newsletter": "active", "theirs": "paused"}
    assert "theirs" in result.stdout and "newsletter" not in result.stdout
    shown = world.admin("export", "show", "theirs", "--json").json
    assert contributor.name in shown["pause_reason"]
    assert must(world, contributor, "export", "list", "--json").json == []


def test_a_contributor_publishes_for_what_it_may_use_only(world: World) -> None:
    users = make_logins(world.db)
    world.set_up_export(people.simple(5))
    world.add_connection("open")
    world.add_export("theirs", connection="open")
    world.admin("connection", "grant", "open", users["contributor"].name)
    world.start_worker()

    must(world, users["contributor"], "publish", SEGMENT, "--wait")
    refused = run_as(world, users["contributor"], "publish", "--export", "newsletter")
    viewer = run_as(world, users["viewer"], "publish", SEGMENT)

    assert [run["export"] for run in world.runs()] == ["theirs"]
    assert refused.rc == viewer.rc == 1
    assert "klaviyo_contributor" in viewer.stderr


def test_a_contributor_cancels_only_runs_of_its_own_exports(world: World) -> None:
    users = make_logins(world.db)
    world.set_up_export(people.simple(1))
    contributor = users["contributor"]
    world.admin("connection", "grant", "main", contributor.name)
    must(
        world, contributor, "export", "add", "theirs", "--connection", "main", "--list", LIST,
        "--segment", SEGMENT, "--email-field", "email",
    )  # fmt: skip
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger)"
        " select export_id, name, 'main', 'schedule' from klaviyo.export"
    )
    runs = {run["export"]: str(run["id"]) for run in world.runs()}

    refused = run_as(world, contributor, "runs", "cancel", runs["newsletter"])
    must(world, contributor, "runs", "cancel", runs["theirs"])

    assert refused.rc == 1 and "only an administrator may, or who made the export" in refused.stderr
    assert "role" not in refused.stderr and "SQLSTATE" not in refused.stderr, "it has the role"
    states = {run["export"]: run["state"] for run in world.runs()}
    assert states == {"newsletter": "queued", "theirs": "cancelled"}


def test_the_sealed_key_opens_for_nobody_without_the_key_file(world: World) -> None:
    world.add_connection()
    (sealed,) = world.db.rows("select encode(sealed_key, 'escape') from klaviyo.connection_key")
    dump = "\n".join(str(row) for row in world.db.rows("select c::text from klaviyo.connection c"))

    without = world.command("connection", "verify", "main", "--direct", SECRET_KEY_FILE="")
    other = world.folder / "other.key"
    world.admin("keygen", "--out", str(other), "--replace")
    with_another = world.command("connection", "verify", "main", SECRET_KEY_FILE=str(other))

    assert KEY not in sealed[0] and KEY not in dump
    assert without.rc == 1 and "SECRET_KEY_FILE" in without.stderr
    assert with_another.rc == 1 and "sealed" in with_another.stderr


@pytest.mark.parametrize(
    ("statement", "words", "left"),
    [
        (b"add_export", ["export", "add", "second", "--connection", "main", "--list", LIST, "--segment", SEGMENT,
                         "--email-field", "email", "--force"], ["newsletter", "second"]),
        (b"remove_export", ["export", "remove", "newsletter"], []),
    ],
)  # fmt: skip
def test_what_was_done_though_its_answer_was_lost_is_not_said_to_have_failed(
    world: World, statement: bytes, words: list[str], left: list[str]
) -> None:
    """The statement was committed; done again it would say that the name is taken, or that there is no such export."""
    world.set_up_export(people.simple(1))
    port = int(world.db.url.rsplit(":", 1)[1].split("/")[0])
    cable = LostAnswer(port, statement)

    said = world.command(*words, DATABASE_URL=world.db.url.replace(f":{port}/", f":{cable.port}/"))

    assert said.rc == 75 and "export list" in said.stderr and said.stderr.count("\n") == 1, said
    assert [row[0] for row in world.db.rows("select name from klaviyo.export order by name")] == left
    cable.cut()


SECTION = "## From an empty database to a filled list"
LOGINS = {"the owner": "postgres", "ada": "ada", "mo": "mo", "sender": "sender"}


def documented_steps() -> list[tuple[str, str]]:
    """Who does what, as deploy/roles.md has it: (sql or the name of a user, one statement or command)."""
    text = (TREE / "deploy/roles.md").read_text().split(SECTION)[1].split("\n## ")[0]
    steps: list[tuple[str, str]] = []
    for language, block in re.findall(r"```(sql|sh)\n(.*?)```", text, re.DOTALL):
        if language == "sql":
            steps.append(("sql", block.replace("…", "secret")))
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("# "):
                user = next(login for who, login in LOGINS.items() if line.startswith((f"# {who}", f"# {who},")))
            elif line:
                steps.append((user, line))
    return steps


def test_the_documented_steps_work_one_by_one(world: World, own_postgres: Postgres) -> None:
    """On a server without our roles, in an empty database."""
    db = own_postgres.create_database("empty")
    (world.folder / "klaviyo.key").write_text(KEY + "\n")
    world.secret_key_file.unlink()  # of the fixture's own database
    world.simulator.add_list("XyZ123", ACCOUNT, "Loyal")
    env = {**world.env(), "PATH": f"{program('klaviyo-worker').parent}:/usr/bin:/bin", "SECRET_KEY_FILE": ""}
    workers: list[subprocess.Popen[bytes]] = []
    steps = documented_steps()
    assert len(steps) >= 10, steps

    for user, step in steps:
        if user == "sql":
            db.execute(step)
            fill(db)
            continue
        step_env = {**env, "DATABASE_URL": db.url.replace("postgres@", f"{user}@")}
        command = ["bash", "-c", step]
        if step.endswith("klaviyo-worker run"):
            workers.append(start_in(world.folder, ["bash", "-c", f"exec env {step}"], step_env))
            continue
        done = subprocess.run(command, env=step_env, cwd=world.folder, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"{user}: {step}\n{done.stdout}{done.stderr}"
    wait_until(lambda: world.simulator.count("XyZ123") == 20, 30, "the list to be filled")
    assert [entry["profiles"] for entry in world.simulator.diary("import")] == [5, 15], "tried, then sent"
    for worker in workers:
        worker.terminate()
        assert worker.wait(30) == 0
    (world.folder / "secret.key").unlink()


def fill(db: Database) -> None:
    db.execute(
        "insert into insights.segment values ('loyal-customers', 'Loyal');"
        " insert into insights.customer_profile select 'p' || n, jsonb_build_object('email',"
        " 'p' || n || '@shop.example', 'points', n, 'name', jsonb_build_object('first', 'N'))"
        " from generate_series(1, 20) n;"
        " insert into insights.segment_member select 'loyal-customers', 'p' || n from generate_series(1, 20) n"
    )


def start_in(folder: Path, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "documented-worker.log").open("wb") as log:
        return subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)


# What works out who may use what: each call looks at grants, or at the server's own files.
ASKED = """select funcname::text, calls from pg_stat_user_functions where schemaname = 'klaviyo'
and funcname in ('may_use', 'usable_connections', 'connection_state', 'granted_role', 'this_server')"""
A_FEW_LOOKS = 100  # one at all 10 grants is 21 calls


def calls(world: World, login: Login, *words: str) -> dict[str, int]:
    """How often those were called for a command, as the database counted."""
    world.db.execute("select pg_stat_reset()")
    must(world, login, *words)
    return dict(wait_until(lambda: world.db.rows(ASKED), 20, f"the calls of {words} as {login.name}"))


def test_what_there_is_costs_as_much_as_there_are_connections_and_grants(world: World) -> None:
    """500 exports, 10 grants: not 5,000 looks, nor one at each role of the server for each."""
    users = make_logins(world.db)
    world.set_up_export(people.simple(1))
    world.admin("connection", "grant", "main", users["contributor"].name)
    world.db.execute(
        "insert into klaviyo.connection_grant (connection_id, role_name) select connection_id,"
        " rolname from klaviyo.connection, lateral (select rolname from pg_roles"
        " where rolname like 'pg\\_%%' order by 1 limit 9) r"
    )
    world.db.execute(
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " select 'x' || n, connection_id, 'L', '{email}' from klaviyo.connection,"
        " generate_series(1, 500) n"
    )
    world.db.execute(f'alter database "{world.db.name}" set track_functions = \'all\'')

    for role in ("worker", "contributor"):
        asked = calls(world, users[role], "export", "list")
        assert asked["connection_state"] == 1 and sum(asked.values()) <= A_FEW_LOOKS, (role, asked)
    asked = calls(world, users["contributor"], "runs", "list")
    assert sum(asked.values()) <= A_FEW_LOOKS, asked
    world.db.execute("select pg_stat_reset()")
    with users["contributor"].connect() as connection:
        assert connection.execute("select * from klaviyo.delivered").fetchall() == []
    asked = dict(wait_until(lambda: world.db.rows(ASKED), 20, "the calls of the view"))
    assert sum(asked.values()) <= A_FEW_LOOKS, asked
