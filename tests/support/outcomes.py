"""Outcome events as a consumer has them that validates what it reads."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import jsonschema

from support.events import Record
from support.paths import TREE
from support.world import World

FOLDER = TREE / "schemas" / "events"
SCHEMA = json.loads((FOLDER / "segment-export.v1.schema.json").read_text())
# As validating consumers have it; and nothing besides what it names.
STRICT = {**SCHEMA, "additionalProperties": False}
SUCCEEDED = {"succeeded", "succeeded_with_rejections"}


def read(record: Record) -> dict[str, Any]:
    """The data of a record that is as a consumer expects it."""
    assert record.value and record.key
    data: dict[str, Any] = json.loads(record.value)
    jsonschema.validate(data, STRICT, jsonschema.Draft202012Validator)
    exported = data["state"] in SUCCEEDED
    kind = "segment.exported.v1" if exported else "segment.export.failed.v1"
    assert record.header("ce_type") == kind
    assert record.header("ce_specversion") == "1.0"
    assert record.header("content-type") == "application/json"
    assert record.header("ce_time") == data["finished_at"]
    assert record.header("ce_id").startswith(f"{data['run']}-")
    source = record.header("ce_source")
    assert source.isascii() and " " not in source
    assert unquote(source) == f"/klaviyo-worker/exports/{data['export']}"
    assert "@" not in record.value.decode(), "an address"
    return data


def ids_of(records: list[Record]) -> set[str]:
    """The ids of records that are all as they should be."""
    return {record.header("ce_id") for record in records if read(record)}


def ended(world: World) -> set[str]:
    """The ids that the outcomes of the runs have that have ended by now."""
    rows = world.db.rows("select run_id, epoch from klaviyo.run where finished_at is not null")
    return {f"{run}-{epoch}" for run, epoch in rows}


def check_all(world: World, records: list[Record]) -> None:
    """At least one for each run that has ended, with one id, and as the run is shown."""
    assert ids_of(records) == ended(world)
    for value in {record.value for record in records}:
        data = json.loads(value or b"")
        shown = world.run(data["run"])
        names = [name for name in data if name in shown and name != "trigger"]
        assert {n: shown[n] for n in names} == {n: data[n] for n in names}
