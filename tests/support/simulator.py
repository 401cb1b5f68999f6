"""The Klaviyo simulator as a child process, and its control interface."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

from support.paths import program
from support.process import Process

READY_SECONDS = 20


class Simulator:
    """Started by the constructor, on a free port."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        port_file = folder / "simulator.port"
        self.log = folder / "simulator.log"
        command = [str(program("klaviyo-simulator")), "--port-file", str(port_file)]
        self._process = Process(command, self.log, env=env)
        self.url = (
            f"http://127.0.0.1:{self._process.wait_ready(_port_in(port_file), READY_SECONDS)}"
        )

        self._entries: list[dict[str, Any]] = []  # of the diary, as far as it was read
        self._read = 0

    def stop(self) -> int:
        return self._process.stop(10)

    def freeze(self) -> None:
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send(signal.SIGCONT)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        if method == "DELETE" and path in ("diary", "state"):
            self._entries.clear()
        return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/control/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def add_account(self, account: str) -> None:
        self.control("PUT", f"accounts/{account}", {})

    def add_key(self, key: str, account: str, scopes: list[str] | None = None) -> None:
        body: dict[str, Any] = {"account": account}
        if scopes is not None:
            body["scopes"] = scopes
        self.control("PUT", f"keys/{key}", body)

    def remove_key(self, key: str) -> None:
        self.control("DELETE", f"keys/{key}")

    def add_list(self, list_id: str, account: str, name: str) -> None:
        self.control("PUT", f"lists/{list_id}", {"account": account, "name": name})

    def remove_list(self, list_id: str) -> None:
        self.control("DELETE", f"lists/{list_id}")

    def settings(self, **values: Any) -> None:
        self.control("PUT", "settings", values)

    def fault(self, endpoint: str, action: dict[str, Any], **when: Any) -> None:
        """Arms a fault; when: skip, times, probability, method."""
        self.control("POST", "faults", {"endpoint": endpoint, "action": action, **when})

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def diary(self, endpoint: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """Its requests, in the order in which they were answered."""
        # Only what is new is fetched: tests look often.
        page = self._ask("GET", f"diary?after={self._read}")
        self._entries += page["entries"]
        self._read = max(self._read, page["next"])
        return [
            entry
            for entry in self._entries
            if entry["seq"] > after and endpoint in (None, entry["endpoint"])
        ]

    def body(self, seq: int) -> Any:
        return self.control("GET", f"diary/bodies/{seq}")

    def members(self, list_id: str) -> list[dict[str, Any]]:
        return list(self.control("GET", f"lists/{list_id}/members")["members"])

    def emails(self, list_id: str) -> set[str]:
        return {member["email"] for member in self.members(list_id)}

    def count(self, list_id: str) -> int:
        return int(self.control("GET", f"lists/{list_id}/count")["count"])


def _port_in(path: Path) -> Any:
    return lambda: path.exists() and path.read_text().strip()
