"""A database with two connections, of which one was granted to the contributor."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import pytest

from support.postgres import Database
from support.roles import Login
from support.worker import Result, run_command
from support.world import World

SEED = """
insert into klaviyo.key_pair (public_key) values (decode(repeat('ab', 32), 'hex'));
insert into klaviyo.connection (name, consent_version) values ('granted', 1), ('hidden', 1);
insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key)
select connection_id, 1, 'sealed' from klaviyo.connection;
insert into klaviyo.export (name, connection_id, list_id, email_path)
select 'export of ' || name, connection_id, 'L1', '{email}' from klaviyo.connection;
insert into klaviyo.export_segment select export_id, 'seg' from klaviyo.export;
insert into klaviyo.export_field select export_id, 1, 'property', 'p', '{p}' from klaviyo.export;
insert into klaviyo.run (export_id, export_name, connection_name, trigger)
select export_id, name, 'c', 'schedule' from klaviyo.export order by export_id;
insert into klaviyo.request (topic, partition, record_offset, record_ms, segment_id, source, event_id)
values ('t', 0, 0, 0, 'seg', 's', 'e'), ('t', 0, 1, 0, 'seg', 's', 'hidden');
insert into klaviyo.request_run select 1, run_id from klaviyo.run;
insert into klaviyo.request_run values (2, 2);
insert into klaviyo.rejection
select run_id, 1, 'local', 'somebody@example.test', 'p', 'c', 'd' from klaviyo.run;
insert into klaviyo.ledger select export_id, 'somebody@example.test', 1, 1 from klaviyo.export;
insert into klaviyo.batch (export_id, run_id, row_count, body)
select export_id, run_id, 1, 'body' from klaviyo.run;
insert into klaviyo.rate_budget values ('a', 'import');
insert into klaviyo.rate_place (account, endpoint, burst_until, steady_until)
values ('a', 'import', now(), now());
insert into klaviyo.task (kind, connection_id, arguments, created_by, state, answer)
select 'export preview', 1, '{}', 'somebody', 'done', '{"email": "somebody@example.test"}';
insert into klaviyo.task_worker values ('w', '{export preview}', now());
insert into insights.customer_profile values ('p', '{"email": "somebody@example.test"}');
insert into insights.segment_member values ('seg', 'p');
"""


@dataclass(frozen=True)
class Site:
    """Connection 1 is granted to the contributor, 2 to nobody. `stranger` is a contributor without a grant."""

    db: Database
    users: dict[str, Login]

    def command(self, user: str, *words: str, stdin: str = "", **settings: str) -> Result:
        env = {**World.base_env(), "DATABASE_URL": self.users[user].url, **settings}
        return run_command(list(words), env, stdin)

    def ask(self, user: str, statement: str) -> object:
        """The first value of a statement that must succeed."""
        with self.users[user].connect() as connection:
            row = connection.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def refused(self, user: str, statement: str) -> str:
        """The words of a statement that must not succeed."""
        with self.users[user].connect() as connection, pytest.raises(psycopg.Error) as caught:
            connection.execute(statement.encode())
        return str(caught.value)


def migrate(url: str) -> Result:
    return run_command(["migrate"], {**World.base_env(), "DATABASE_URL": url})
