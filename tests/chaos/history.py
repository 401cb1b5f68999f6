"""The histories that servers keep themselves: what was committed, in its order, and not samples.

history = History(world)     from now on triggers note every change (history.sql)
history.read()               judges the database's; before it is set back, and at the end
history.judge_offsets()      Kafka's own log of the group's offsets against it
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition

from chaos.scenes import OWN_SETTINGS

from support import events
from support.world import World

SHOWN = 3  # of each kind of violation
ENDED = "state in ('done', 'dead_lettered')"
COMMITTED_AT = "pg_xact_commit_timestamp(xid::xid)"
OVER = "('succeeded', 'succeeded_with_rejections', 'failed', 'cancelled')"

# What must never be found. Of a run that goes on, taker is who took it last, and each worker
# of a storm has a name of its own as a client of the database.
NEVER = {
    "a request goes another way than open, done or due, dead-lettered": """
        select op, request_id, old_state, state from history.request
        where coalesce((op = 'INSERT' and state in ('open', 'dead_letter_due'))
                       or (op = 'UPDATE' and (old_state, state) in (
                           ('open', 'done'), ('open', 'dead_letter_due'), ('dead_letter_due', 'dead_lettered'))),
                       false) is false""",
    "a request ends before its runs": """
        select q.request_id, q.state, a.run_id, r.state
        from history.request q join klaviyo.request_run a using (request_id)
        cross join lateral (select h.state from history.run h where h.run_id = a.run_id and h.n < q.n
                            order by h.n desc limit 1) r
        where q.old_state = 'open' and r.state in ('queued', 'running')""",
    "a failed run does not fail its request, or another does": """
        select q.request_id, q.state, array_agg(distinct h.state)
        from history.request q join klaviyo.request_run a using (request_id) join history.run h using (run_id)
        where q.old_state = 'open' and h.n < q.n
        group by q.request_id, q.state having bool_or(h.state = 'failed') <> (q.state = 'dead_letter_due')""",
    "a run answers a request that came after it was taken": """
        select q.request_id, a.run_id from klaviyo.request q
        join history.request i on i.request_id = q.request_id and i.op = 'INSERT'
        join klaviyo.request_run a on a.request_id = q.request_id
        join history.run t on t.run_id = a.run_id and t.taken
        where t.n < i.n and not exists (select from klaviyo.request o where o.source = q.source
                                        and o.event_id = q.event_id and o.request_id < q.request_id)""",
    "a run's state or epoch goes a way that is none": f"""
        select run_id, old_state, state, old_epoch, epoch, old_take, take_id from history.run
        where case when old_state is null then not (state = 'queued' and epoch = 0
                                                    or state = 'running' and trigger = 'trial' and epoch = 1)
                   when old_state in {OVER} then state <> old_state or epoch <> old_epoch
                   when state in {OVER} or taken then epoch <> old_epoch + 1 or take_id = old_take
                   else state <> old_state or epoch <> old_epoch or take_id is distinct from old_take end""",
    "a run is taken from, or ended for, a worker whose lease holds": f"""
        select run_id, epoch, application, taker, at, free_from from history.run
        where old_state = 'running' and free_from > at
          and (taken or (state in {OVER} and application <> taker))""",
    "two takes have one id": "select take_id from history.run where taken group by 1 having count(*) > 1",
    "a run is written by another than who took it": f"""
        select run_id, epoch, application, taker, state from history.run
        where old_state = 'running' and not taken and state not in {OVER} and application <> taker""",
    "a batch is written by another than who took its run": f"""
        select b.batch_id, b.run_id, b.application, b.taker, b.old_state, b.state from history.batch b
        where b.application <> b.taker
          and not exists (select from history.run r where r.xid = b.xid and r.state in {OVER})""",
    "the ledger is written by another than who took the run": """
        select export_id, run_id, application, taker, op from history.ledger
        where application is distinct from taker""",
    "a batch goes a way that is none": """
        select batch_id, op, old_state, state, run_state from history.batch
        where case op when 'INSERT' then state <> 'planned' or run_state <> 'running'
                      when 'UPDATE' then old_state <> state and (run_state <> 'running' or (old_state, state) not in (
                          ('planned', 'sent'), ('sent', 'planned'), ('sent', 'complete'), ('sent', 'unresolved')))
                      else false end""",
    "a batch is confirmed twice": """
        select batch_id from history.batch where state in ('complete', 'unresolved') and old_state <> state
        group by 1 having count(*) > 1""",
    "a run succeeds with a batch on its way": """
        select e.run_id, b.batch_id, b.state
        from history.run e cross join lateral (
            select distinct on (h.batch_id) h.batch_id, h.op, h.state from history.batch h
            where h.run_id = e.run_id and h.n < e.n order by h.batch_id, h.n desc) b
        where e.old_state = 'running' and e.state like 'succeeded%' and b.op <> 'DELETE'
          and b.state in ('planned', 'sent')""",
    "a run's counts are not its confirmed batches": """
        select e.run_id, e.accepted, e.rejected, b.rows
        from history.run e cross join lateral (
            select coalesce(sum(h.row_count), 0) as rows from history.batch h where h.run_id = e.run_id
            and h.state in ('complete', 'unresolved') and h.old_state = 'sent') b
        where e.old_state = 'running' and e.state like 'succeeded%' and e.accepted + e.rejected <> b.rows""",
    "a batch and its rows of the ledger do not come together": """
        select batch_id, b.row_count, l.rows
        from (select xid, batch_id, row_count from history.batch where op = 'INSERT') b
        full join (select xid, batch_id, sum(rows) as rows from history.ledger
                   where batch_id is distinct from old_batch and op <> 'DELETE' and back is not true
                   group by 1, 2) l
        using (xid, batch_id)
        where l.rows is distinct from b.row_count""",
    "an address counts as listed before a batch with it was confirmed": """
        select l.n, l.op, l.export_id, l.old_batch, l.batch_id, l.rows from history.ledger l
        where l.became_listed and not exists (select from history.batch b where b.batch_id = l.old_batch
                                              and b.state = 'complete' and b.n < l.n)""",
    "somebody is removed who was not marked by the pass that counts": """
        select n, export_id, run_id, plan_epoch, left_run, left_epoch, rows from history.ledger
        where began_removing and (left_run, left_epoch) is distinct from (run_id, plan_epoch)""",
    "an address is forgotten that is on the list": """
        select l.n, l.export_id, l.run_id, l.old_batch, l.rows from history.ledger l
        where l.op = 'DELETE'
          and not (l.was_removing and (l.left_run, l.left_epoch) is not distinct from (l.run_id, l.plan_epoch))
          and (l.was_listed or exists (select from history.batch b
                                       where b.batch_id = l.old_batch and (b.posted or b.state = 'complete')))""",
    "a run's end and its outcome do not come together": f"""
        select e.run_id, o.run_id, e.epoch, o.epoch
        from (select xid, run_id, epoch from history.run
              where old_state in ('queued', 'running') and state in {OVER} and trigger <> 'trial') e
        full join history.outcome o using (xid, run_id, epoch)
        where e.run_id is null or o.run_id is null""",
    "an outcome comes twice": "select run_id, epoch from history.outcome group by 1, 2 having count(*) > 1",
    "a task goes a way that is none": """
        select task_id, op, old_state, state, old_token, token, free_from, at from history.task
        where case when op = 'INSERT' then state <> 'waiting' or token <> 0
                   when state = 'running' and token <> old_token
                       then old_state not in ('waiting', 'running') or token <> old_token + 1 or free_from > at
                   when state = 'waiting' and old_state = 'waiting' then token <> old_token -- asked after
                   when state = 'waiting' then old_state <> 'running' or token <> old_token - 1
                   else token <> old_token or old_state in ('done', 'failed', 'cancelled') end""",
}  # fmt: skip

SCRIPT = Path(__file__).with_name("history.sql").read_bytes()


def milliseconds(time: datetime) -> int:
    """Cut off, as Kafka's clocks are."""
    return int(time.astimezone(UTC).timestamp() * 1000)


class History:
    """Of one database; set back, it goes on from where the copy was made."""

    def __init__(self, world: World) -> None:
        self._world = world
        with world.db.connect() as connection:
            connection.execute("alter system set track_commit_timestamp = on")
        world.postgres.restart()
        with world.db.connect() as connection:
            connection.execute(SCRIPT)
        self._request_ended: dict[tuple[int, int], int] = {}
        self._run_ended: dict[tuple[int, int], int] = {}
        self.changes = 0
        self.commits = 0
        self.violations: list[str] = []

    def read(self) -> None:
        with self._world.db.connect() as connection:
            connection.execute(OWN_SETTINGS)
            for sentence, statement in NEVER.items():
                self._complain(sentence, connection.execute(statement.encode()).fetchall())
            self.changes += connection.execute("select last_value from history.change").fetchone()[0]
            self._remember(
                connection,
                self._request_ended,
                f"select partition, record_offset, {COMMITTED_AT} from history.request where {ENDED}",
            )
            self._remember(
                connection,
                self._run_ended,
                f"select run_id, epoch, {COMMITTED_AT} from history.run where state in {OVER}"
                f" and old_state not in {OVER}",
            )

    @staticmethod
    def _remember(
        connection: psycopg.Connection[Any], found: dict[tuple[int, int], int], statement: str
    ) -> None:
        """When it was committed first: a database that was set back may do it again."""
        for one, other, at in connection.execute(statement.encode()):
            found[one, other] = min(found.get((one, other), milliseconds(at)), milliseconds(at))

    def _complain(self, sentence: str, found: list[Any]) -> None:
        if found:
            self.violations.append(f"{sentence}: {len(found)}, as {found[:SHOWN]}")

    def judge_offsets(self) -> None:
        """Each commit of the group against what had ended by then; none goes back."""
        commits = list(group_commits(self._world))
        self.commits = len(commits)
        self.violations += unanswered(commits, self._request_ended)

    def judge_outcomes(self, records: list[events.Record]) -> None:
        """None tells of an end that was not committed by then."""
        for record in records:
            run, epoch = map(int, str(record.header("ce_id")).rsplit("-", 1))
            if self._run_ended.get((run, epoch), record.timestamp + 1) > record.timestamp:
                self._complain("an outcome comes before its end", [(run, epoch, record.timestamp)])


def unanswered(
    commits: list[tuple[int, int, int]], ended: dict[tuple[int, int], int]
) -> Iterator[str]:
    """Commits (partition, offset, time) that pass a record that had not ended, or go back."""
    reached: dict[int, int] = {}
    for partition, offset, at in commits:
        begin = reached.get(partition, 0)
        if offset < begin:
            yield f"[{partition}] goes back, {begin} to {offset}"
        early = [n for n in range(begin, offset) if ended.get((partition, n), at + 1) > at]
        if early:
            yield f"[{partition}] {offset} was committed at {at}, before the end of {early}"
        reached[partition] = max(begin, offset)


def group_commits(world: World) -> Iterator[tuple[int, int, int]]:
    """Partition, offset and time of each commit, in order, from the broker's log of them."""
    consumer = Consumer(
        {
            "bootstrap.servers": world.kafka.address,
            "group.id": "history",
            "enable.auto.commit": False,
            "log_level": 2,
        }
    )
    log = TopicPartition("__consumer_offsets", 0, 0)
    end = events.ends(consumer, log)[1]
    consumer.assign([log])
    at = 0
    while at < end:
        for record in consumer.consume(500, timeout=0.5):
            assert record.error() is None, record.error()
            at = record.offset() + 1
            commit = parse_commit(record.key() or b"", record.value())
            if commit and commit[:2] == (world.group, world.topic):
                yield commit[2], commit[3], record.timestamp()[1]
    consumer.close()


def parse_commit(key: bytes, value: bytes | None) -> tuple[str, str, int, int] | None:
    """Group, topic, partition, offset: the broker's own format; None: the record is no commit."""
    (version,) = struct.unpack_from(">h", key)
    if version > 1 or value is None:
        return None
    group, rest = parse_text(key[2:])
    topic, rest = parse_text(rest)
    (partition,) = struct.unpack(">i", rest)
    _, offset = struct.unpack_from(">hq", value)
    return group, topic, partition, offset


def parse_text(data: bytes) -> tuple[str, bytes]:
    (length,) = struct.unpack_from(">h", data)
    return data[2 : 2 + length].decode(), data[2 + length :]
