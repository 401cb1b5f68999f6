"""No address, key or attribute value appears where it must not."""

from __future__ import annotations

import json

from support import events, people
from support.world import KEY, LIST, SEGMENT, World

ADDRESS = "planted.address@planted-domain.example"
BAD_ADDRESS = "planted..bad@planted-domain.example"
REFUSED_ADDRESS = "planted.refused@planted-domain.example"
VALUE = "planted-attribute-value"
PLANTED = ["planted-domain", "planted.", VALUE, KEY, "planted-member"]


def planted_population() -> people.Population:
    population = people.simple(20)
    for n, address in enumerate((ADDRESS, BAD_ADDRESS, REFUSED_ADDRESS)):
        attributes = {"email": address, "first_name": VALUE, "tags": [VALUE]}
        population.members.append((f"planted-{n}", json.dumps(attributes)))
    return population


def test_a_debug_log_holds_no_address_no_key_and_no_value(world: World) -> None:
    world.simulator.control("POST", "rejects", {"emails": [REFUSED_ADDRESS]})
    world.set_up_export(planted_population())
    world.start_worker(LOG_LEVEL="debug").wait_ready()
    world.refresh()
    world.publish(events.Message(b'{"planted-member": "' + VALUE.encode() + b'"}', {}, b"k"))
    world.wait_runs_ended(1)
    # A failing run says more: a key that is refused, an answer that is quoted.
    world.simulator.remove_key(KEY)
    world.refresh(full=True)
    world.wait_runs_ended(2)
    world.wait_all_committed()

    worker = world.workers[0]
    seen = {
        "log": worker.log.read_text(),
        "metrics": worker.page("/metrics"),
        "page": worker.page("/"),
        "runs": worker.page("/api/runs"),
        "headers": str([letter.headers for letter in world.dead_letters()]),
        "runs list": world.admin("runs", "list", "--json").stdout,
    }
    for place, text in seen.items():
        for planted in PLANTED:
            assert planted not in text, f"{planted} in {place}"


def test_a_stored_key_is_sealed(world: World) -> None:
    world.add_connection()

    dump = str(world.db.rows("select * from klaviyo.connection"))
    dump += str(world.db.rows("select * from klaviyo.connection_key"))
    shown = world.admin("connection", "show", "main", "--json").stdout

    for text in (dump, shown):
        assert KEY not in text
        assert KEY.encode().hex() not in text


def test_the_key_file_is_private_and_never_overwritten(world: World) -> None:
    assert world.secret_key_file.stat().st_mode & 0o777 == 0o600
    before = world.secret_key_file.read_bytes()

    result = world.command("keygen", "--out", str(world.secret_key_file))

    assert result.rc != 0
    assert world.secret_key_file.read_bytes() == before


def test_requests_carry_the_key_in_its_header_only(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended(1)

    assert world.simulator.count(LIST) == 5
    assert all(KEY not in entry["path"] for entry in world.simulator.diary())
    assert SEGMENT not in str(world.simulator.diary("import"))
