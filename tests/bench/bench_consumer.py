"""From Kafka to Klaviyo: events that concern nobody, small exports, the time in between.

The simulator, the servers and this program share the machine with the worker, so
the figures say what is possible at least. Build with TESTS_PRESET=release. BENCH_EVENTS,
BENCH_EXPORTS, BENCH_EXPORT_MEMBERS, BENCH_SHARED, BENCH_SHARED_MEMBERS and BENCH_SAMPLES
are the sizes, to try it with small ones.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from chaos.scenes import Account, Export, add_accounts, refresh

from support import events
from support.process import wait_until
from support.world import MakeWorld, World

from bench.figures import Figures, size

SECTION = "events and small exports"
EVENTS = size("EVENTS", 50_000)
SHARED, SHARED_MEMBERS = size("SHARED", 200), size("SHARED_MEMBERS", 100_000)  # of one segment
EXPORTS, MEMBERS = size("EXPORTS", 1000), size("EXPORT_MEMBERS", 100)
BURST_PER_SECOND, STEADY_PER_MINUTE = 10, 150  # imports of one account, as published
SAMPLES = size("SAMPLES", 30)


def wait_committed(world: World, count: int, seconds: float) -> float:
    wait_until(lambda: world.committed() >= count, seconds, f"{count} offsets", 0.05)
    return time.monotonic()


@pytest.mark.timeout(600)
def test_events_that_concern_no_export(make_world: MakeWorld, figures: Figures) -> None:
    world = make_world(partitions=4)
    world.publish(*(events.binary(f"nobody-{n % 1000}") for n in range(EVENTS)))
    worker = world.start_worker(LOG_LEVEL="warn")
    started = wait_until(lambda: worker.status("/readyz") == 200 and time.monotonic(), 30, "ready")
    before = world.committed()

    ended = wait_committed(world, EVENTS, 300)

    rate = (EVENTS - before) / (ended - started)
    figures.add(SECTION, "events that concern no export", rate, f"{rate:,.0f}/s per worker")


def clone_exports(world: World, exports: list[Export]) -> None:
    """As `export add` would make them; a thousand commands would take longer than all the rest."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda e: world.simulator.add_list(e.list_id, e.account.id, e.name), exports))
    for export in exports:
        for n in range(export.rows):
            export.points[f"p{n}@{export.segment}.example"] = 0
    with world.db.connect() as connection, connection.transaction():
        connection.cursor().executemany(
            "insert into klaviyo.export (name, connection_id, list_id, email_path)"
            " select %s, connection_id, %s, '{email}' from klaviyo.connection where name = %s",
            [(e.name, e.list_id, e.account.connection) for e in exports],
        )
        connection.cursor().executemany(
            "insert into klaviyo.export_segment select export_id, %s from klaviyo.export"
            " where name = %s",
            [(e.segment, e.name) for e in exports],
        )
        connection.execute(
            "insert into klaviyo.export_field"
            " select export_id, 1, 'property', 'points', '{points}' from klaviyo.export"
        )
    world.db.copy(
        "insights.customer_profile (profile_id, attributes)",
        [row for export in exports for row in export.rows_for_database()],
    )
    world.db.execute(
        "insert into insights.segment_member select regexp_replace(profile_id, '[.][^.]*$', ''),"
        " profile_id from insights.customer_profile"
    )
    world.db.execute("analyze")


def allowed_seconds(imports: int) -> float:
    """How long an account's imports take at the least, by the published limits."""
    minutes, rest = divmod(imports - 1, STEADY_PER_MINUTE)
    return 60 * minutes + rest / BURST_PER_SECOND


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("accounts", "slots", "limits"),
    [(5, 16, False), (5, 16, True), (1, 4, True)],
    ids=["5-accounts-without-limits", "5-accounts", "1-account"],
)
def test_small_exports(
    make_world: MakeWorld, figures: Figures, accounts: int, slots: int, limits: bool
) -> None:
    world = make_world(partitions=4)
    world.simulator.settings(limits=limits, queued_ms=20, processing_ms=20)
    owners: list[Account] = add_accounts(world, accounts)
    exports = [Export(owners[n % accounts], n, MEMBERS) for n in range(EXPORTS)]
    clone_exports(world, exports)
    if not limits:  # and so the worker's own count of them
        unlimited(world)
    world.start_worker(LOG_LEVEL="warn", MAX_RUNS=str(slots)).wait_ready()
    started = time.monotonic()

    refresh(world, *exports)
    took = wait_committed(world, EXPORTS, 800) - started

    throttled = sum(entry["status"] == 429 for entry in world.simulator.diary())
    figure = f"{took:.1f} s, {EXPORTS / took:.1f} runs/s"
    if limits:
        share = allowed_seconds(EXPORTS // accounts) / took
        figure += f", {share:.0%} of what the limits allow, {throttled} times 429"
    name = f"{EXPORTS} exports of {MEMBERS}, {accounts} accounts, {slots} slots"
    figures.add(SECTION, name if limits else f"{name}, no limits", took, figure)


@pytest.mark.timeout(900)
def test_many_exports_of_one_segment(make_world: MakeWorld, figures: Figures) -> None:
    """Each to an account of its own, so that no limit is waited for; one event asks for all."""
    world = make_world()
    world.simulator.settings(limits=False, queued_ms=20, processing_ms=20)
    accounts = add_accounts(world, 5)
    exports = [Export(accounts[n % 5], n, 0) for n in range(SHARED)]
    clone_exports(world, exports)
    world.db.execute("update klaviyo.export_segment set segment_id = 'shared'")
    world.db.execute(
        "insert into insights.customer_profile select 'p' || n, jsonb_build_object('email',"
        " 'p' || n || '@shop.example', 'points', n) from generate_series(1, %s) n",
        SHARED_MEMBERS,
    )
    world.db.execute(
        "insert into insights.segment_member select 'shared', profile_id"
        " from insights.customer_profile"
    )
    world.db.execute("analyze")
    unlimited(world)
    world.start_worker(LOG_LEVEL="warn").wait_ready()
    started = time.monotonic()

    world.refresh("shared")
    took = wait_committed(world, 1, 800) - started

    rows = SHARED * SHARED_MEMBERS / took
    name = f"{SHARED} exports of one segment of {SHARED_MEMBERS:,}, 4 slots, no limits"
    figures.add(SECTION, name, took, f"{took:.1f} s, {rows:,.0f} members/s")


def unlimited(world: World) -> None:
    """Places are granted without being counted."""
    world.db.execute(
        "create or replace function klaviyo.take_place(p_account text, p_endpoint text,"
        " p_burst integer, p_steady integer, p_timeout_ms bigint,"
        " out place_id bigint, out wait_ms bigint) language sql as"
        " $$ select 1::bigint, 0::bigint $$"
    )


def test_the_time_from_kafka_to_klaviyo(world: World, figures: Figures) -> None:
    account = add_accounts(world, 1)[0]
    export = Export(account, 0, MEMBERS).add_to(world)
    world.start_worker().wait_ready()
    producer = events_producer(world)
    times = []
    with world.db.connect() as connection:
        for points in range(1, SAMPLES + 1):
            export.change(connection, points, [*export.points])
            seen = len(world.simulator.diary("import"))
            appended = producer(export)
            entry = world.wait_requests("import", seen + 1)[-1]
            times.append(1000 * (entry["at"] - appended))
            world.wait_runs_ended(points)
    late = sorted(times)[int(0.9 * len(times))]
    median = statistics.median(times)
    text = f"median {median:.0f} ms, nine in ten below {late:.0f} ms"
    figures.add(SECTION, "from the record's append to its import request, idle worker", median, text)


def events_producer(world: World):  # type: ignore[no-untyped-def]
    """Publishes over a connection that stands; returns when the broker had the record."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": world.kafka.address, "linger.ms": 0, "log_level": 2})
    producer.list_topics(world.topic, timeout=10)

    def publish(export: Export) -> float:
        message = events.binary(export.segment)
        at: list[float] = []
        producer.produce(
            world.topic,
            message.value,
            message.key,
            headers=dict(message.headers),
            on_delivery=lambda *_: at.append(time.time()),
        )
        producer.flush(10)
        return at[0]

    return publish
