"""Against a receiver that says no more than it must: HTTP/1.0, bare documents, no listing.

It is not our simulator, and shares nothing with it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support import people
from support.world import KEY, World, check_sums

BATCH = 10_000
JOBS = "/api/profile-bulk-import-jobs"


class Receiver(ThreadingHTTPServer):
    """Remembers addresses, by job; refuses those that it was told to, when their job has ended."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.jobs: dict[str, list[str]] = {}
        self.refused: set[str] = set()
        self.asked: list[str] = []  # paths of GETs
        self.failed_count_told = True
        self.page_rows = 100
        self.repeated_pages = 0  # the first page comes so often again, before the others

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def members(self) -> set[str]:
        return {email for emails in self.jobs.values() for email in emails} - self.refused

    def accept(self, body: Any) -> str:
        profiles = body["data"]["attributes"]["profiles"]["data"]
        with self.lock:
            job = f"job{len(self.jobs)}"
            self.jobs[job] = [profile["attributes"]["email"] for profile in profiles]
        return job

    def look(self, job: str) -> dict[str, Any]:
        failed = sum(email in self.refused for email in self.jobs[job])
        told = {"failed_count": failed} if self.failed_count_told else {}
        return {"status": "complete", **told}

    def error_pages(self, job: str) -> list[list[dict[str, Any]]]:
        errors = self.errors(job)
        pages = [errors[n : n + self.page_rows] for n in range(0, len(errors), self.page_rows)]
        return pages[:1] * self.repeated_pages + pages or [[]]

    def errors(self, job: str) -> list[dict[str, Any]]:
        return [
            {
                "type": "import-error",
                "id": email,
                "attributes": {
                    "code": "invalid",
                    "title": "Invalid input.",
                    "detail": "Not wanted.",
                    "source": {"pointer": None},
                    "original_payload": {"email": email},
                },
            }
            for email in self.jobs[job]
            if email in self.refused
        ]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, *_: Any) -> None:
        pass

    def give_errors(self, job: str) -> None:
        pages = self.server.error_pages(job)
        number = int((re.search(r"cursor(?:%5[dD]|\])=(\d+)", self.path) or [0, 0])[1])
        link = f"https://a.klaviyo.com{JOBS}/{job}/import-errors/?page%5Bcursor%5D={number + 1}"
        more = number + 1 < len(pages)
        self.give(200, pages[number], links={"next": link if more else None})

    def give(self, status: int, data: Any = None, **more: Any) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        if data is not None:
            self.wfile.write(json.dumps({"data": data, **more}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == JOBS and self.headers["Authorization"] == f"Klaviyo-API-Key {KEY}":
            self.give(202, {"type": "profile-bulk-import-job", "id": self.server.accept(body)})
        else:
            self.give(404)

    def do_GET(self) -> None:
        self.server.asked.append(self.path.split("?")[0])
        found = re.fullmatch(rf"{JOBS}/(job\d+)(/import-errors)?/?(\?.*)?", self.path)
        if found and found[2]:
            self.give_errors(found[1])
        elif found:
            job = {"type": "profile-bulk-import-job", "id": found[1]}
            self.give(200, {**job, "attributes": self.server.look(found[1])})
        elif re.match(r"/api/accounts/?(\?|$)", self.path):
            self.give(200, [{"type": "account", "id": "Plain1"}])
        else:
            self.give(404)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def set_up(world: World, receiver: Receiver, population: people.Population) -> None:
    world.add_segment("loyal", population)
    added = world.command(
        *("connection", "add", "plain", "--api-key-file", "-", "--agree-to-data-transfer"),
        stdin=KEY,
        KLAVIYO_BASE_URL=receiver.url,
    )
    assert added.rc == 0, added.stderr
    world.add_export("newsletter", segments=("loyal",), connection="plain")
    world.start_worker(KLAVIYO_BASE_URL=receiver.url)
    world.refresh("loyal")


@pytest.mark.parametrize("failed_count_told", [True, False])
def test_a_receiver_of_few_words_gets_every_member(
    world: World, receiver: Receiver, failed_count_told: bool
) -> None:
    population = people.simple(2 * BATCH + 500)
    receiver.refused = set(sorted(population.wanted)[:3])
    receiver.failed_count_told = failed_count_told
    set_up(world, receiver, population)

    (run,) = world.wait_runs_ended()
    assert run["state"] == "succeeded_with_rejections", run["detail"]
    check_sums(run)
    assert {row["email"] for row in world.rejections(run["id"])} == receiver.refused
    assert receiver.members() == population.wanted.keys() - receiver.refused
    assert sum(map(len, receiver.jobs.values())) == len(population.wanted)


def test_a_preview_does_not_wait_for_what_is_not_there(world: World, receiver: Receiver) -> None:
    set_up(world, receiver, people.simple(1500))
    world.wait_runs_ended()
    world.add_export("second", segments=("loyal",), connection="plain", list_id="Second")
    before = len(receiver.asked)

    shown = world.command("export", "preview", "second", "--json", KLAVIYO_BASE_URL=receiver.url)

    assert (shown.rc, shown.json["usage"]) == (0, None), shown
    optional = [path for path in receiver.asked[before:] if "billing" in path or "flow" in path]
    assert len(optional) == len(set(optional)) == 2, "each was asked for once"


def test_pages_that_tell_of_the_same_rows_again_are_not_the_last(
    world: World, receiver: Receiver
) -> None:
    population = people.simple(500)
    receiver.refused = set(sorted(population.wanted)[:25])
    receiver.page_rows = 10
    receiver.repeated_pages = 3
    set_up(world, receiver, population)

    (run,) = world.wait_runs_ended()
    assert run["state"] == "succeeded_with_rejections", run["detail"]
    assert {row["email"] for row in world.rejections(run["id"])} == receiver.refused


def test_pages_without_an_end_are_left(world: World, receiver: Receiver) -> None:
    population = people.simple(500)
    receiver.refused = set(sorted(population.wanted)[:25])
    receiver.page_rows = 10
    receiver.repeated_pages = 100_000
    set_up(world, receiver, population)

    (run,) = world.wait_runs_ended()
    assert run["state"] == "succeeded_with_rejections", run["detail"]
    assert run["counts"]["rejected"] == 25
    assert run["counts"]["requests"] < 60
