#!/usr/bin/env python3
"""The same job as a lean script would do it: what the worker's figures are held against.

    lean_script.py DATABASE_URL KLAVIYO_URL KEY LIST SEGMENT

One sorted COPY, duplicates dropped as adjacent rows, bodies joined from fragments of JSON that
PostgreSQL made, imports at the published limits over one kept connection, jobs polled to
their end. It has no ledger, no retry, no restart, no second worker and no outbox: each run
sends everything, and starts over when it was killed. Prints one JSON object with the moments
(seconds since it was started) of its first import and of its end.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg

ROWS, BYTES = 10_000, 5_000_000
BURST, STEADY = 10, 150  # imports in 1 s and in 60 s

QUERY = """copy (select lower(btrim(attributes ->> 'email')) collate "C" as address,
  coalesce(attributes -> 'first_name', 'null')::text, coalesce(attributes -> 'points', 'null')::text
  from insights.segment_profile where segment_id = {}
  order by address, profile_id collate "C") to stdout"""


def profiles(url: str, segment: str) -> Iterator[bytes]:
    """One resource object for each distinct address."""
    last = b""
    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.execute("set work_mem = '64MB'")
        statement = psycopg.sql.SQL(QUERY).format(psycopg.sql.Literal(segment))
        with cursor.copy(statement) as stream:
            pending = b""
            for chunk in stream:
                lines = (pending + bytes(chunk)).split(b"\n")
                pending = lines.pop()
                for line in lines:
                    address, first_name, points = line.split(b"\t")
                    if address == last or b"@" not in address:
                        continue
                    last = address
                    yield (
                        b'{"type":"profile","attributes":{"email":"%s","first_name":%s,'
                        b'"properties":{"points":%s}}}' % (address, first_name, points)
                    )


def bodies(url: str, list_id: str, segment: str) -> Iterator[bytes]:
    head = b'{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":['
    tail = (
        b']}},"relationships":{"lists":{"data":[{"type":"list","id":"%s"}]}}}}' % list_id.encode()
    )
    room = BYTES - len(head) - len(tail)
    batch: list[bytes] = []
    size = 0
    for profile in profiles(url, segment):
        if len(batch) == ROWS or size + len(profile) + 1 > room:
            yield head + b",".join(batch) + tail
            batch, size = [], 0
        batch.append(profile)
        size += len(profile) + 1
    if batch:
        yield head + b",".join(batch) + tail


class Pace:
    """Waits until one more request is within both windows."""

    def __init__(self) -> None:
        self.ended: deque[float] = deque(maxlen=STEADY)

    def wait(self) -> None:
        for count, window in ((BURST, 1.0), (STEADY, 60.0)):
            if len(self.ended) >= count:
                time.sleep(max(0.0, self.ended[-count] + window - time.monotonic()))

    def done(self) -> None:
        self.ended.append(time.monotonic())


class Klaviyo:
    def __init__(self, url: str, key: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.headers = {
            "Authorization": f"Klaviyo-API-Key {key}",
            "revision": "2026-10-15",
            "Content-Type": "application/vnd.api+json",
        }

    def ask(self, method: str, path: str, body: bytes | None = None) -> dict:
        self.connection.request(method, path, body, self.headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.status not in (200, 202):
            sys.exit(f"{method} {path}: {response.status} {text[:200]!r}")
        return dict(json.loads(text))


def main() -> None:
    database, url, key, list_id, segment = sys.argv[1:]
    started = time.monotonic()
    imports, polls = Pace(), Pace()
    klaviyo = Klaviyo(url, key)
    first = 0.0
    open_jobs: set[str] = set()
    for body in bodies(database, list_id, segment):
        imports.wait()
        first = first or time.monotonic() - started
        answer = klaviyo.ask("POST", "/api/profile-bulk-import-jobs", body)
        imports.done()
        open_jobs.add(answer["data"]["id"])
    while open_jobs:
        polls.wait()
        page = klaviyo.ask("GET", "/api/profile-bulk-import-jobs?page%5Bsize%5D=100&sort=-created_at")
        polls.done()
        ended = {job["id"] for job in page["data"] if job["attributes"]["status"] == "complete"}
        open_jobs -= ended
    print(json.dumps({"first_import": first, "complete": time.monotonic() - started}))


if __name__ == "__main__":
    main()
