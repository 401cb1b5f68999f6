"""A person is forgotten: nothing here remembers the address, and no run brings it back."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from typing import Any

import psycopg
import pytest

from support import people
from support.postgres import Database
from support.process import wait_until
from support.terminal import Terminal
from support.world import EXPORT, LIST, SEGMENT, World, check_sums

ROWS = 20
WHO = "user7@shop7.example"
SPELLED = " USER7@Shop7.Example\t"
# Each row of a table as a text, bytes as what they say.
ROWS_WITH = """
select count(*) from (
    select (select string_agg(case when left(c.value, 2) = E'\\\\x'
                                   then encode(decode(substr(c.value, 3), 'hex'), 'escape')
                                   else c.value end, ' ') from jsonb_each_text(to_jsonb(t)) c) as text
    from klaviyo.{} t) r
where lower(r.text) like %s
"""


def tables_that_know(world: World, text: str) -> list[str]:
    """Of all tables of the worker's: those that hold the text somewhere."""
    names = world.db.rows(
        "select relname::text from pg_class where relnamespace = 'klaviyo'::regnamespace and relkind = 'r'"
    )
    return sorted(
        name
        for (name,) in names
        if world.db.value(ROWS_WITH.format(name), f"%{text.lower()}%") > 0
    )


def forget(world: World, address: str = SPELLED) -> dict[str, Any]:
    found = world.admin("member", "forget", address, "--json").json
    assert isinstance(found, dict)
    return found


def delete_upstream(world: World, address: str = WHO) -> None:
    world.db.execute(
        "with gone as (delete from insights.customer_profile where attributes ->> 'email' = %s"
        " returning profile_id) delete from insights.segment_member m using gone g"
        " where m.profile_id = g.profile_id",
        address,
    )


def set_up(world: World) -> people.Population:
    population = people.simple(ROWS)
    world.set_up_export(population)
    return population


def refuse(world: World, address: str, stage: str) -> None:
    rule = {"email": address, "stage": stage, "code": "invalid", "detail": f"{address} is no good"}
    world.simulator.control("PUT", "rejects", rule)


def run_once(world: World, **event: Any) -> dict[str, Any]:
    before = len(world.runs())
    world.refresh(**event)
    return world.wait_runs_ended(before + 1)[0]


def wait_for_batches(world: World, state: str) -> None:
    wait_until(
        lambda: world.db.value("select count(*) from klaviyo.batch where state = %s", state) > 0,
        30,
        f"a batch that is {state}",
    )


def test_nothing_that_is_stored_has_the_address_any_more(world: World) -> None:
    set_up(world)
    refuse(world, WHO, "import-error")
    world.start_worker().wait_ready()
    run_once(world)
    assert tables_that_know(world, WHO) == ["ledger", "rejection"]

    delete_upstream(world)
    found = forget(world)

    assert (found["address"], found["still_members"]) == (WHO, [])
    assert found["exports"] == [
        {"export": EXPORT, "ledger": True, "outbox": False, "rejections": 1, "late_jobs": 0}
    ]
    assert tables_that_know(world, WHO) == []
    assert world.db.value("select count(*) from klaviyo.ledger") == ROWS - 1
    run = run_once(world)
    assert (run["counts"]["read"], run["counts"]["selected"]) == (ROWS - 1, 0)
    assert tables_that_know(world, WHO) == []


def test_the_audit_says_who_forgot_and_where_it_was_and_not_whom(world: World) -> None:
    set_up(world)
    world.start_worker().wait_ready()
    run_once(world)

    forget(world)
    again = forget(world)

    assert again["exports"] == []
    first, second = world.admin("audit", "list", "--limit", "2", "--json").json[::-1]
    for line in (first, second):
        assert (line["action"], line["object"], line["by"]) == ("forget", "member", "postgres")
    assert [export["export"] for export in first["detail"]["exports"]] == [EXPORT]
    assert second["detail"]["exports"] == []


def test_words_about_others_that_quote_the_address_go(world: World) -> None:
    set_up(world)
    other = "user3@shop3.example"
    rule = {"email": other, "stage": "sync", "code": "invalid", "detail": f"{WHO} has this id"}
    world.simulator.control("PUT", "rejects", rule)
    world.start_worker().wait_ready()
    run = run_once(world)

    forget(world)

    assert tables_that_know(world, WHO) == []
    assert [(r["email"], r["code"], r["detail"]) for r in world.rejections(run["id"])] == [
        (other, "invalid", None)
    ]


def make_words(world: World, state: str, ended: bool) -> int:
    """A run in whose rejections Klaviyo quotes the address."""
    return int(world.db.value(
        "with run as (insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, epoch,"
        " started_at, lease_until, finished_at, planned)"
        " select export_id, name, 'main', 'schedule', %s, 1, now(), now() + interval '1 hour',"
        " case when %s then now() end, true from klaviyo.export returning run_id)"
        " insert into klaviyo.rejection (run_id, epoch, stage, email, code, detail)"
        " select run_id, 1, 'import', 'other@shop.example', 'invalid', %s || ' has this id' from run"
        " returning run_id", state, ended, WHO))  # fmt: skip


def test_words_of_a_run_that_goes_on_go_too(world: World) -> None:
    set_up(world)
    make_words(world, "running", ended=False)

    forget(world)

    assert tables_that_know(world, WHO) == []


def make_turkish_database(world: World) -> Database:
    """Its lower-case letter of I is no i."""
    name = f"{world.db.name[-50:]}_tr"
    icu = world.db.value("select current_setting('server_version_num')::int >= 150000")
    how = "locale_provider icu icu_locale 'tr'" if icu else "locale 'tr_TR.UTF-8'"
    try:
        world.db.execute(f'create database "{name}" encoding \'UTF8\' {how} template template0')
    except psycopg.Error as error:
        pytest.skip(f"no Turkish database here: {error}")
    turkish = Database(world.postgres.url(name), name)
    assert turkish.value("select lower('I') <> 'i'")
    return turkish


def test_words_go_whatever_language_the_database_has(world: World) -> None:
    turkish = make_turkish_database(world)
    at = {"DATABASE_URL": turkish.url}
    quoted = "INFO@SHOP.EXAMPLE has this id"
    assert world.command("migrate", **at).rc == 0
    for ended in ("now()", "null"):
        turkish.execute(
            "with run as (insert into klaviyo.run (export_name, connection_name, trigger, state, finished_at)"
            f" values ('gone', 'main', 'schedule', 'failed', {ended}) returning run_id)"
            " insert into klaviyo.rejection (run_id, epoch, stage, email, code, detail)"
            " select run_id, 1, 'import', 'other@shop.example', 'invalid', %s from run",
            quoted,
        )
    turkish.execute("alter table klaviyo.task disable trigger all")
    turkish.execute(
        "insert into klaviyo.task (kind, connection_id, arguments, answer, created_by)"
        " values ('export verify', 1, '{}', jsonb_build_object('a', %s::text), 'mo')", quoted,
    )  # fmt: skip

    done = world.command("member", "forget", "Info@Shop.Example", "--yes", **at)

    assert done.rc == 0, done
    assert turkish.rows("select detail from klaviyo.rejection") == [(None,), (None,)]
    assert turkish.value("select count(*) from klaviyo.task") == 0
    world.postgres.drop_database(turkish.name)


def test_runs_go_on_while_the_words_of_ended_ones_are_read(world: World) -> None:
    """Reading them takes as long as there are many: no heartbeat waits for that."""
    set_up(world)
    ended = make_words(world, "failed", ended=True)
    going = make_words(world, "running", ended=False)
    forgets = threading.Thread(target=forget, args=(world,))
    waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with world.db.connect() as connection, connection.transaction():
        connection.execute("select from klaviyo.rejection where run_id = %s for update", (ended,))
        forgets.start()
        wait_until(lambda: world.db.value(waits) == 1, 20, "it to come to the words")

        world.db.execute("set lock_timeout = '1s'; update klaviyo.run set idle_ms = 1 where run_id = " + str(going))

    forgets.join()
    assert tables_that_know(world, WHO) == []


def test_who_is_still_a_member_is_sent_again_by_the_next_run(world: World) -> None:
    set_up(world)
    world.start_worker().wait_ready()
    run_once(world)

    words = world.admin("member", "forget", WHO, "--yes")
    assert f'export {EXPORT} has the address (segments ["{SEGMENT}"])' in words.stderr
    assert WHO not in words.stderr
    again = forget(world)
    assert again["still_members"] == [{"export": EXPORT, "segments": [SEGMENT]}]
    run = run_once(world)

    assert run["counts"]["selected"] == 1
    check_sums(run)
    assert tables_that_know(world, WHO) == ["ledger"]


def test_an_address_that_waits_to_be_sent_is_not_sent(world: World) -> None:
    set_up(world)
    world.simulator.settings(keep_emails=True)
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.simulator.diary("import"), 30, "an import in vain")
    assert "batch" in tables_that_know(world, WHO)

    delete_upstream(world)
    found = forget(world)
    assert found["exports"][0]["outbox"] is True
    assert tables_that_know(world, WHO) == []
    world.simulator.clear_faults()

    run = world.wait_runs_ended(1)[0]
    assert run["state"] == "succeeded", run
    check_sums(run)
    assert run["counts"]["selected"] == ROWS - 1
    assert WHO not in world.simulator.emails(LIST)
    assert world.simulator.count(LIST) == ROWS - 1
    assert tables_that_know(world, WHO) == []


def test_the_only_address_of_a_batch_goes_with_the_batch(world: World) -> None:
    world.set_up_export(people.simple(1))
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    wait_until(lambda: world.simulator.diary("import"), 30, "an import in vain")

    delete_upstream(world, "user1@shop1.example")
    forget(world, "user1@shop1.example")
    world.simulator.clear_faults()

    run = world.wait_runs_ended(1)[0]
    assert run["state"] == "succeeded", run
    assert run["counts"]["selected"] == 0
    assert world.db.value("select count(*) from klaviyo.batch") == 0
    assert tables_that_know(world, "user1@shop1.example") == []


def test_a_job_that_is_on_its_way_does_not_bring_the_address_back(world: World) -> None:
    """Klaviyo has a job with it and will refuse it; its words are about somebody who is forgotten."""
    set_up(world)
    refuse(world, WHO, "import-error")
    world.simulator.settings(queued_ms=100, processing_ms=4000)
    world.start_worker().wait_ready()
    world.refresh()
    wait_for_batches(world, "sent")
    delete_upstream(world)

    found = forget(world)
    assert found["exports"][0]["outbox"] is True
    assert tables_that_know(world, WHO) == []

    run = world.wait_runs_ended(1)[0]
    assert run["state"] == "succeeded", run
    check_sums(run)
    assert run["counts"]["accepted"] == ROWS - 1
    world.simulator.settings(queued_ms=50, processing_ms=100)
    assert run_once(world)["state"] == "succeeded"
    assert tables_that_know(world, WHO) == []
    assert world.db.value("select count(*) from klaviyo.late_job") == 0


def test_a_batch_that_was_confirmed_counts_as_if_the_person_had_never_been(world: World) -> None:
    """The first batch is through, the second one waits: the run is planned again, its sums hold."""
    world.set_up_export(people.simple(10_050))
    first = world.db.value(
        "select min(attributes ->> 'email' collate \"C\") from insights.customer_profile"
    )
    world.simulator.fault("import", {"status": 503}, times=-1, skip=1)
    world.start_worker().wait_ready()
    world.refresh()
    confirmed = "select count(*) from klaviyo.batch where state = 'complete'"
    wait_until(lambda: world.db.value(confirmed) == 1, 60, "the first batch to be confirmed")

    delete_upstream(world, first)
    forget(world, first)
    world.simulator.clear_faults()

    run = world.wait_runs_ended(1)[0]
    assert run["state"] == "succeeded", run
    check_sums(run)
    assert run["counts"]["selected"] == 10_049
    assert tables_that_know(world, first) == []


SLOW_VIEW = """
create or replace view insights.segment_profile as
select m.segment_id, m.profile_id, p.attributes
from insights.segment_member m join insights.customer_profile p using (profile_id), pg_sleep(4)
"""


def test_a_run_that_has_read_the_person_before_does_not_write_it_down(world: World) -> None:
    """Its snapshot is older than the deletion upstream, and it writes after the forgetting."""
    set_up(world)
    world.db.execute(SLOW_VIEW)
    world.start_worker().wait_ready()
    world.refresh()
    reading = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and query like 'copy (select m.profile_id%%' and state = 'active'"
    )
    wait_until(lambda: world.db.value(reading) > 0, 30, "the members to be read")
    delete_upstream(world)

    said = world.admin("member", "forget", WHO, "--yes").stdout

    assert said == "Nothing was remembered about this address.\n1 run in progress reads its members again.\n"
    run = world.wait_runs_ended(1, 90)[0]
    assert run["state"] == "succeeded", run
    assert run["counts"]["read"] == ROWS - 1
    assert WHO not in world.simulator.emails(LIST)
    assert tables_that_know(world, WHO) == []


def test_forgetting_often_uses_up_no_takes(world: World) -> None:
    set_up(world)
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.start_worker().wait_ready()
    world.refresh()
    for n in range(1, 8):
        wait_until(
            lambda: world.db.value("select count(*) from klaviyo.run where state = 'running' and planned"),
            30, "the run to be planned",
        )  # fmt: skip
        address = f"user{n}@shop{n}.example"
        delete_upstream(world, address)
        assert forget(world, address)["runs_taken_anew"] == 1
    world.simulator.clear_faults()

    run = world.wait_runs_ended(1, 90)[0]
    assert run["state"] == "succeeded", run
    assert world.simulator.count(LIST) == ROWS - 7


RANDOM_FORGETS = int(os.environ.get("RANDOM_FORGETS", "4"))


@pytest.mark.parametrize("seed", range(RANDOM_FORGETS))
def test_forgetting_at_any_moment_of_a_run_loses_nobody_else(world: World, seed: int) -> None:
    """Two workers, of which one may be killed; some are refused; people go upstream and are forgotten."""
    chance = random.Random(seed)
    population = people.simple(300)
    world.set_up_export(population)
    refuse(world, "user9@shop9.example", "import-error")
    world.simulator.settings(queued_ms=chance.randrange(300), processing_ms=chance.randrange(600))
    victim = world.start_worker(LEASE_SECONDS="2").wait_ready()
    world.start_worker(LEASE_SECONDS="2").wait_ready()
    world.refresh()
    gone = chance.sample(sorted(population.wanted.keys() - {"user9@shop9.example"}), 6)
    for address in gone:
        time.sleep(chance.random() * 0.4)
        delete_upstream(world, address)
        forget(world, address)
        if chance.random() < 0.15:
            victim.kill()
    run = world.wait_runs_ended(1, 90)[0]
    assert run["state"] == "succeeded_with_rejections", run
    check_sums(run)
    last = run_once(world)

    assert last["counts"]["read"] == 294
    check_sums(last)
    assert world.simulator.emails(LIST) >= population.wanted.keys() - {*gone, "user9@shop9.example"}
    known = {address for (address,) in world.db.rows("select address from klaviyo.ledger")}
    assert known == population.wanted.keys() - set(gone)
    for address in gone:
        assert tables_that_know(world, address) == [], address


# -- who may, and how it is asked for --------------------------------------------


def test_on_a_terminal_it_is_asked_for(world: World) -> None:
    set_up(world)
    world.start_worker().wait_ready()
    run_once(world)
    for answer, rc, known in ((b"no\r", 1, True), (b"\r", 1, True), (b"\x04", 1, True), (b"yes\r", 0, False)):
        shown = Terminal(["member", "forget", WHO], world.env())
        try:
            shown.wait_for(lambda: "[yes/no]" in "".join(shown.lines()), "the question")
            shown.type(answer)
            assert shown.wait() == rc, shown.lines()
        finally:
            shown.close()
        assert (tables_that_know(world, WHO) == ["ledger"]) == known, answer


@pytest.mark.parametrize("address", ["", "  ", "\u00a0"], ids=["nothing", "blanks", "no-break-space"])
def test_an_address_is_needed(world: World, address: str) -> None:
    result = world.command("member", "forget", address, "--yes")

    assert result.rc == 1
    assert "an address is needed" in result.stderr


# -- what goes by itself ----------------------------------------------------------


def test_rejections_keep_addresses_for_two_weeks(world: World) -> None:
    """Those of a run that ended before keep stage, code and profile; a younger run's keep all."""
    population = set_up(world)
    population.members.append(("p-bad", json.dumps({"email": "no address"})))
    world.db.copy("insights.customer_profile (profile_id, attributes)", population.members[-1:])
    world.db.copy("insights.segment_member (segment_id, profile_id)", [(SEGMENT, "p-bad")])
    refuse(world, WHO, "import-error")
    worker = world.start_worker()
    worker.wait_ready()
    old = run_once(world)["id"]
    young = run_once(world)["id"]
    worker.stop()
    before = world.rejections(young)
    assert {r["email"] for r in before} == {WHO, "no address"}
    for run, days in ((old, 14.1), (young, 13.9)):
        world.db.execute(
            "update klaviyo.run set finished_at = now() - %s * interval '1 day' where run_id = %s",
            days, run,
        )  # fmt: skip

    world.start_worker().wait_ready()
    wait_until(
        lambda: not world.db.value("select names_people from klaviyo.run where run_id = %s", old),
        30, "the addresses to go",
    )  # fmt: skip

    assert world.rejections(young) == before
    kept = [(r["stage"], r["code"], r["email"], r["detail"]) for r in world.rejections(old)]
    assert sorted(kept) == [("import", "invalid", None, None), ("local", "email_malformed", None, None)]
    assert {r["profile_id"] for r in world.rejections(old)} == {r["profile_id"] for r in before}


def test_who_was_never_on_the_list_and_is_deleted_upstream_is_forgotten_by_the_next_run(world: World) -> None:
    """Also where those who leave are kept: nothing of them is on the list."""
    set_up(world)
    refuse(world, WHO, "import-error")
    world.start_worker().wait_ready()
    run_once(world)
    assert "ledger" in tables_that_know(world, WHO)
    delete_upstream(world)
    delete_upstream(world, "user3@shop3.example")

    run = run_once(world)

    assert "ledger" not in tables_that_know(world, WHO)
    assert tables_that_know(world, "user3@shop3.example") == ["ledger"], "the list still has it"
    assert (run["counts"]["left"], run["counts"]["kept"]) == (1, 1)


def test_a_removed_export_leaves_no_address_behind(world: World) -> None:
    """Also of a run that was going on, with batches and a job on their way."""
    set_up(world)
    refuse(world, "user3@shop3.example", "import-error")
    world.start_worker().wait_ready()
    run_once(world)
    world.simulator.settings(queued_ms=100, processing_ms=4000)
    world.refresh(full=True)
    wait_for_batches(world, "sent")
    assert tables_that_know(world, "@shop") == ["batch", "ledger", "rejection"]

    world.admin("export", "remove", EXPORT)

    assert tables_that_know(world, "@shop") == []
    assert tables_that_know(world, "shop7") == []
