"""What install.md, upgrade.md and uninstall.md tell an administrator to do to a database, done."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg

from support import people
from support.paths import TREE, program
from support.postgres import Database, Postgres
from support.worker import run_command
from support.world import EXPORT, LIST, SEGMENT, World

DEPLOY = TREE / "deploy"


def blocks_of_sql(guide: str) -> list[list[str]]:
    """The statements of each."""
    text = (DEPLOY / guide).read_text()
    blocks = re.findall(r"^ *```sql\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [[part.strip() for part in block.split(";") if part.strip()] for block in blocks]


def statements(guide: str) -> list[str]:
    """The guide's blocks of SQL, one statement after the other."""
    return [statement for block in blocks_of_sql(guide) for statement in block]


def test_no_guide_takes_the_tests_programs_from_the_build_of_the_demo() -> None:
    """README.md configures that build as it is by itself; the container has a tree of its own."""
    guides = [TREE / "README.md", *DEPLOY.glob("*.md")]
    lines = [line for guide in guides for line in guide.read_text().splitlines() if "cmake --preset release -" in line]
    assert lines
    for line in lines:
        assert " -B build/package " in line, line


def names(db: Database, query: str) -> set[str]:
    return {name for (name,) in db.rows(query)}


def test_what_the_guides_make_in_a_database_is_gone_when_they_have_ended(
    own_postgres: Postgres,
) -> None:
    db = own_postgres.create_database("customers")
    roles = "select rolname from pg_roles where rolname !~ '^pg_'"
    schemas = "select nspname from pg_namespace where nspname !~ '^pg_'"
    before = names(db, roles), names(db, schemas)

    assert run_command(["migrate"], {"DATABASE_URL": db.url}).rc == 0
    for statement in statements("install.md"):
        db.execute(statement)
    service = db.url.replace("//postgres@", "//klaviyo_service@")
    with psycopg.connect(service) as connection:  # the user that the workers log in with
        assert connection.execute("select count(*) from klaviyo.run").fetchone() == (0,)
    assert names(db, roles) > before[0]

    for statement in statements("uninstall.md"):
        db.execute(statement)
    assert names(db, roles) == before[0]
    assert names(db, schemas) == before[1] | {"insights"}


def test_an_owner_who_is_no_superuser_uninstalls_up_to_where_the_guide_names_one(own_postgres: Postgres) -> None:
    db = own_postgres.create_database("customers")
    for statement in ("create role dba login createrole", f"alter database {db.name} owner to dba"):
        db.execute(statement)
    owner = Database(db.url.replace("//postgres@", "//dba@"), db.name)
    roles = "select rolname from pg_roles where rolname !~ '^pg_'"
    before = names(db, roles)
    assert run_command(["migrate"], {"DATABASE_URL": owner.url}).rc == 0
    for statement in statements("install.md"):
        owner.execute(statement)

    by_owner, *by_superuser = blocks_of_sql("uninstall.md")
    for statement in by_owner:
        owner.execute(statement)
    for block in by_superuser:
        for statement in block:
            db.execute(statement)
    assert names(db, roles) == before


def commands(guide: str) -> list[str]:
    """The lines of the guide's blocks of commands."""
    text = (DEPLOY / guide).read_text()
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def follow(world: World, line: str, folder: Path) -> None:
    """A command of a guide, as the owner of the database."""
    path = f"{program('klaviyo-worker').parent}:{world.base_env()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**world.base_env(), "DATABASE_URL": world.db.url, "PATH": path, "PSQLRC": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def of_a_backup() -> list[str]:
    """What makes one, then what goes back to it."""
    ours = [line for line in commands("upgrade.md") if not line.startswith("kubectl")]
    assert [line.split()[0] for line in ours] == ["pg_dump", "psql", "klaviyo-worker"]
    return ours


def test_a_backup_brings_back_the_ledger_and_the_rights(world: World, tmp_path: Path) -> None:
    world.set_up_export(people.simple(20))
    worker = world.start_worker()
    world.refresh()
    world.wait_runs_ended()
    worker.stop()
    for line in of_a_backup():
        follow(world, line, tmp_path)

    requests = len(world.simulator.diary("import"))
    world.start_worker()
    world.refresh()
    first, *_ = world.wait_runs_ended(2)
    assert first["state"] == "succeeded"
    assert world.simulator.count(LIST) == 20
    assert len(world.simulator.diary("import")) == requests  # the ledger knows them all


def test_who_came_and_left_after_a_backup_stays_on_the_list_and_can_be_named(
    world: World, tmp_path: Path
) -> None:
    population = people.simple(20)
    world.add_segment(SEGMENT, population)
    world.add_connection()
    world.add_export(EXPORT, "--on-leave", "remove")
    make, *go_back = of_a_backup()
    follow(world, make, tmp_path)
    worker = world.start_worker()
    world.refresh()
    world.wait_runs_ended()
    worker.stop()
    left, profile = min(population.wanted.items())
    world.db.execute("delete from insights.segment_member where profile_id = %s", profile)
    for line in go_back:
        follow(world, line, tmp_path)

    world.start_worker()
    world.refresh(full=True)
    assert world.wait_runs_ended()[0]["counts"]["removed"] == 0
    assert world.simulator.emails(LIST) == population.wanted.keys()
    found = world.admin("export", "verify", EXPORT, "--show", "--json", "--direct").json
    assert found["counts"]["not_ours"] == 1 and found["shown"]["not_ours"] == [left]
