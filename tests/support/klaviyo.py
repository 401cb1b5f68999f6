"""What people do in Klaviyo itself, and what they see there: through its API, as the site's own key may."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

from support.simulator import Simulator

HAND_KEY = "pk_planted0secret0key0of0account0A1"
HAND_AGENT = "by-hand"
PER_PAGE = 100


def ask(simulator: Simulator, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{simulator.url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Klaviyo-API-Key {HAND_KEY}",
            "revision": "2026-10-15",
            "Content-Type": "application/vnd.api+json",
            "User-Agent": HAND_AGENT,
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def profiles(simulator: Simulator, *addresses: str) -> dict[str, dict[str, Any]]:
    """The profiles with these addresses, at most 100; by address."""
    words = ",".join(json.dumps(address) for address in addresses)
    query = urllib.parse.urlencode({"filter": f"any(email,[{words}])", "page[size]": PER_PAGE})
    found = ask(simulator, "GET", f"/api/profiles?{query}")["data"]
    return {resource["attributes"]["email"]: resource for resource in found}


def profile(simulator: Simulator, address: str) -> dict[str, Any]:
    return dict(profiles(simulator, address)[address]["attributes"])


def _change(simulator: Simulator, method: str, list_id: str, addresses: tuple[str, ...]) -> None:
    ids = [resource["id"] for resource in profiles(simulator, *addresses).values()]
    body = {"data": [{"type": "profile", "id": one} for one in ids]}
    ask(simulator, method, f"/api/lists/{list_id}/relationships/profiles", body)


def take_off(simulator: Simulator, list_id: str, *addresses: str) -> None:
    _change(simulator, "DELETE", list_id, addresses)


def put_on(simulator: Simulator, list_id: str, *addresses: str) -> None:
    _change(simulator, "POST", list_id, addresses)


def create(simulator: Simulator, address: str) -> str:
    body = {"data": {"type": "profile", "attributes": {"email": address}}}
    ask(simulator, "POST", "/api/profile-import", body)
    return address
