"""Members with an address and a number that changes: as upstream writes them, as a list has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from support.world import World


def write_members(
    connection: psycopg.Connection[Any], segment: str, members: Sequence[tuple[str, str, int]]
) -> None:
    """Profile, address, points: new ones of the segment, or new points of those that are there."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into insights.customer_profile values (%s, %s)"
            " on conflict (profile_id) do update set attributes = excluded.attributes",
            [(profile, json.dumps({"email": a, "points": points})) for profile, a, points in members],
        )
        cursor.executemany(
            "insert into insights.segment_member values (%s, %s) on conflict do nothing",
            [(segment, profile) for profile, _, _ in members],
        )


def take_out_members(
    connection: psycopg.Connection[Any], segment: str, profiles: Iterable[str]
) -> None:
    connection.execute(
        "delete from insights.segment_member where segment_id = %s and profile_id = any(%s)",
        (segment, [*profiles]),
    )


def points_on_list(world: World, list_id: str) -> dict[str, int]:
    """By address."""
    members = world.simulator.control("GET", f"lists/{list_id}/members?attributes=1")["members"]
    return {m["email"]: m["attributes"].get("properties", {}).get("points") for m in members}
