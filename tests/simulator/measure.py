"""How many profiles a second the simulator takes.

    python3 tests/simulator/measure.py BUILD/tests/simulator/klaviyo-simulator [bytes-per-profile]

Sends prepared bodies of 10,000 profiles over two connections, a million
different addresses and then the same million again, waits for the last job and
counts the list. The simulator runs on the first processor, this script on the
second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.client import HTTPConnection
from typing import Any

ROWS = 10_000
BODIES = 100
HEADERS = {
    "Authorization": "Klaviyo-API-Key pk_measure",
    "revision": "2026-07-15",
    "Content-Type": "application/vnd.api+json",
}


def profile(number: int, size: int) -> str:
    properties = {"segment_version": number % 7, "loyalty": "gold", "score": number / 8}
    attributes = {"email": f"person.{number}@shop.example", "properties": properties}
    row = {"type": "profile", "attributes": attributes}
    missing = size - len(json.dumps(row, separators=(",", ":"))) - len(',"filler":""')
    properties["filler"] = "x" * max(0, missing)
    return json.dumps(row, separators=(",", ":"))


def body(number: int, size: int) -> bytes:
    rows = ",".join(profile(number * ROWS + i, size) for i in range(ROWS))
    lists = '{"lists":{"data":[{"type":"list","id":"L1"}]}}'
    head = '{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":['
    return f'{head}{rows}]}}}},"relationships":{lists}}}}}'.encode()


def control(port: int, method: str, path: str, value: Any = None) -> dict[str, Any]:
    data = None if value is None else json.dumps(value).encode()
    url = f"http://127.0.0.1:{port}/control/{path}"
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as answer:
        text = answer.read()
    return json.loads(text) if text else {}


def send(port: int, bodies: list[bytes]) -> None:
    connection = HTTPConnection("127.0.0.1", port)
    for one in bodies:
        connection.request("POST", "/api/profile-bulk-import-jobs", one, HEADERS)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status


def run(port: int, bodies: list[bytes]) -> float:
    threads = [threading.Thread(target=send, args=(port, bodies[i::2])) for i in range(2)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert control(port, "GET", "lists/L1/count")["count"] == ROWS * BODIES
    return ROWS * BODIES / (time.monotonic() - start)


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def main() -> None:
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    bodies = [body(number, size) for number in range(BODIES)]
    with tempfile.TemporaryDirectory() as folder:
        command = ["taskset", "-c", "0", sys.argv[1], "--port-file", f"{folder}/port"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        os.sched_setaffinity(0, {1})
        control(port, "PUT", "settings", {"limits": False, "queued_ms": 0, "processing_ms": 0})
        control(port, "PUT", "keys/pk_measure", {"account": "A"})
        control(port, "PUT", "lists/L1", {"account": "A"})
        print(f"{len(bodies[0]) / ROWS:.0f} bytes a profile")
        print(f"new:   {run(port, bodies):9,.0f} profiles/s")
        print(f"again: {run(port, bodies):9,.0f} profiles/s")
        print(f"resident: {resident_bytes(process.pid) / ROWS / BODIES:.0f} bytes a profile")
        process.terminate()
        process.wait()


main()
