"""Database users of a test, members of the four roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from support.postgres import Database

ROLES = ("admin", "contributor", "viewer", "worker")


@dataclass(frozen=True)
class Login:
    """A database user and how it connects."""

    name: str
    url: str

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5)


def make_login(db: Database, label: str, *roles: str) -> Login:
    """A user of this database alone, member of these roles; users belong to the whole server."""
    name = f"{db.name}_{label}"[-63:]
    db.execute(f'create role "{name}" login')
    for role in roles:
        db.execute(f'grant "{role}" to "{name}"')
    return Login(name, db.url.replace("//postgres@", f"//{name}@"))


def make_logins(db: Database) -> dict[str, Login]:
    """One for each of the four roles, and one that is nobody's member."""
    logins = {role: make_login(db, role, f"klaviyo_{role}") for role in ROLES}
    logins["nobody"] = make_login(db, "nobody")
    return logins
