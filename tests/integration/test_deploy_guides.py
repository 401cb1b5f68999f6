"""What install.md and uninstall.md tell an administrator to do to a database, done."""

from __future__ import annotations

import re

import psycopg

from support.paths import TREE
from support.postgres import Database, Postgres
from support.worker import run_command

DEPLOY = TREE / "deploy"


def statements(guide: str) -> list[str]:
    """The guide's blocks of SQL, one statement after the other."""
    text = (DEPLOY / guide).read_text()
    blocks = re.findall(r"^ *```sql\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [part.strip() for block in blocks for part in block.split(";") if part.strip()]


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
