"""What the attacks are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.roles import Login, make_login, make_logins
from support.site import SEED, Site, migrate
from support.world import Services


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, shared_services: Services, worker_id: str) -> Iterator[Site]:
    server = shared_services.postgres
    db = server.create_database(f"{request.module.__name__.rpartition('.')[2]}_{worker_id}")
    result = migrate(db.url)
    assert result.rc == 0, result
    db.execute(SEED)
    users = make_logins(db)
    users["stranger"] = make_login(db, "stranger", "klaviyo_contributor")
    users["owner"] = Login("postgres", db.url)
    db.execute(
        "insert into klaviyo.connection_grant (connection_id, role_name) values (1, %s)",
        users["contributor"].name,
    )
    yield Site(db, users)
    server.drop_database(db.name)
