"""The status page as a person sees it, in a real browser, in each of its states."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

from support import people
from support.browser import accessibility_faults, complaints, open_browser, set_width, take_screenshot
from support.paths import BUILD
from support.process import wait_until
from support.roles import make_login
from support.worker import Worker
from support.world import ACCOUNT, CONNECTION, EXPORT, KEY, World

PICTURES = BUILD / "pages"
HOSTILE = "<script>alert(1)</script>&\"'\u202e" + "x" * 160


@pytest.fixture(scope="module")
def one_browser() -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def browser(one_browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """On no page, with nothing in its console; and so when the worker has gone."""
    complaints(one_browser)
    yield one_browser
    one_browser.get("about:blank")


def url(worker: Worker, path: str = "/") -> str:
    return f"http://127.0.0.1:{worker.port}{path}"


def text(browser: webdriver.Chrome) -> str:
    found: str = browser.execute_script("return document.body.innerText")
    return found


def wait_text(browser: webdriver.Chrome, words: str, seconds: float = 30) -> None:
    """Without loading the page again: it renews itself."""
    wait_until(lambda: words in text(browser), seconds, f"the page to say {words!r}")


def follow(browser: webdriver.Chrome, link: str, then: str) -> None:
    """Found and clicked again where the page renewed itself in between, until the other page is there."""

    def there() -> bool:
        try:
            browser.find_element("link text", link).click()
        except (NoSuchElementException, StaleElementReferenceException):
            pass
        return then in text(browser)

    wait_until(there, 30, f"the page behind {link!r}")


def idle(world: World) -> str:
    world.refresh()
    world.wait_runs_ended()
    return "succeeded"


def running(world: World) -> str:
    world.simulator.fault("import", {"job": "stuck"}, times=1)
    world.refresh()
    world.wait_requests("import", 1)
    return "running"


def waiting_for_the_limit(world: World) -> str:
    world.simulator.fault("import", {"throttle": 120}, times=1)
    world.refresh()
    return "rate_limited"


def klaviyo_away(world: World) -> str:
    world.simulator.fault("import", {"status": 503}, times=-1)
    world.refresh()
    return "klaviyo_unavailable"


def failed(world: World) -> str:
    world.simulator.fault("import", {"status": 401}, times=-1)
    world.refresh()
    world.wait_runs_ended()
    return "key_refused"


STATES: dict[str, Callable[[World], str]] = {
    "idle": idle,
    "running": running,
    "waiting": waiting_for_the_limit,
    "klaviyo-away": klaviyo_away,
    "failed": failed,
}


def look_at(browser: webdriver.Chrome, name: str) -> None:
    """Wide and narrow: nothing sticks out, nothing is beyond somebody's reach."""
    for width in (1280, 360, 320):
        set_width(browser, width)
        take_screenshot(browser, PICTURES / f"{name}-{width}.png")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    set_width(browser, 1280)
    assert accessibility_faults(browser) == []
    assert complaints(browser) == []


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_seen_without_loading_the_page_again(
    world: World, browser: webdriver.Chrome, state: str
) -> None:
    world.set_up_export(people.simple(200))
    worker = world.start_worker().wait_ready()
    set_width(browser, 1280)
    browser.get(url(worker))
    browser.execute_script("window.loadedOnce = true")
    wait_text(browser, EXPORT)

    words = STATES[state](world)

    wait_text(browser, words)
    assert browser.execute_script("return window.loadedOnce === true")
    look_at(browser, state)


def test_a_database_that_is_away_is_said(
    make_world: object, own_postgres: object, browser: webdriver.Chrome
) -> None:
    world: World = make_world(postgres=own_postgres)  # type: ignore[operator]
    world.set_up_export(people.simple(20))
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended()
    browser.get(url(worker))
    wait_text(browser, "succeeded")
    world.postgres.stop("immediate")
    wait_text(browser, "The database does not answer", 60)
    look_at(browser, "database-away")
    world.postgres.start()


def test_the_pages_of_an_export_and_of_a_run_show_what_became_of_the_members(
    world: World, browser: webdriver.Chrome
) -> None:
    world.set_up_export(people.simple(60))
    worker = world.start_worker().wait_ready()
    world.refresh()
    (run,) = world.wait_runs_ended()
    browser.get(url(worker))
    wait_text(browser, "succeeded")
    follow(browser, EXPORT, f"Export {EXPORT}")
    look_at(browser, "export")
    follow(browser, str(run["id"]), f"Run {run['id']} of {EXPORT}")
    assert "accepted 60" in text(browser)
    look_at(browser, "run")


def test_a_link_that_is_pressed_for_seconds_is_followed(world: World, browser: webdriver.Chrome) -> None:
    world.set_up_export(people.simple(5))
    browser.get(url(world.start_worker().wait_ready()))
    link = browser.find_element("link text", EXPORT)
    webdriver.ActionChains(browser).click_and_hold(link).pause(5).release().perform()
    wait_text(browser, f"Export {EXPORT}", 5)


def test_an_accounts_limit_is_the_share_that_is_ours(world: World) -> None:
    world.set_up_export(people.simple(5))
    worker = world.start_worker().wait_ready()
    assert " of 150</b>" in worker.page("/")
    world.admin("connection", "update", "main", "--share", "20%")
    wait_until(lambda: " of 30</b>" in worker.page("/"), 10, "the share to be shown")


def plain(page: str) -> str:
    """Its text, with blanks for what separates digits and words."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).replace("\u202f", "").split())


def test_what_the_plan_of_an_account_allows_is_shown_as_it_was_told_last(world: World) -> None:
    world.set_up_export(people.simple(5))
    world.simulator.add_key(KEY, ACCOUNT, ["accounts:read", "lists:read", "usage:read"])
    world.simulator.control("PUT", f"accounts/{ACCOUNT}", {"usage_used": 900, "usage_max": 12000})
    worker = world.start_worker().wait_ready()
    assert "What the Klaviyo plan allows is not known yet" in plain(worker.page("/"))

    world.admin("connection", "verify", CONNECTION)

    wait_until(lambda: "900 of 12000 profiles of the Klaviyo plan" in plain(worker.page("/")), 10, "the plan")
    world.db.execute("update klaviyo.account_plan set told_at = now() - interval '3 hours 5 minutes'")
    wait_until(lambda: "as of 3 h ago" in plain(worker.page("/")), 10, "its time")
    


def spans_of(page: str) -> list[tuple[str, float, float]]:
    """Colour, beginning and width of each bar of the timeline, the whole being 1000."""
    found = re.search(r'<svg class="spans".*?</svg>', page)
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)"', found.group()) if found else []
    return [(colour, float(x), float(width)) for colour, x, width in bars]


def test_when_the_batches_of_a_run_were_imported_is_seen_while_it_goes_on_and_after_it(
    world: World,
) -> None:
    world.set_up_export(people.simple(25_000))
    world.simulator.settings(queued_ms=50, processing_ms=4000)
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_requests("import", 3)
    path = f"/run?id={world.runs()[0]['id']}"
    wait_until(lambda: "busy" in {c for c, _, _ in spans_of(worker.page(path))}, 10, "jobs that go on")

    (run,) = world.wait_runs_ended()

    wait_until(lambda: [c for c, _, _ in spans_of(worker.page(path))] == ["good"] * 3, 10, "their ends")
    assert world.db.value("select count(*) from klaviyo.batch") == 0
    lasted = (datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])).total_seconds()
    for _, x, width in spans_of(worker.page(path)):
        assert width * lasted / 1000 > 3.9 and x + width <= 1000.5, (x, width, lasted)
    world.admin("export", "remove", EXPORT)
    world.db.execute("delete from klaviyo.run")
    assert world.db.value("select count(*) from klaviyo.run_timeline") == 0


def test_a_thousand_batches_are_twenty_four_bars(world: World) -> None:
    world.set_up_export(people.simple(5))
    run = world.db.value(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at,"
        " lease_until, selected_rows) select export_id, name, 'main', 'schedule', 'running',"
        " now() - interval '100 s', now() + interval '1 h', 1000 from klaviyo.export returning run_id"
    )
    world.db.execute(
        "insert into klaviyo.batch (export_id, run_id, state, row_count, posted_at, ended_at)"
        " select export_id, %s, case n when 500 then 'unresolved' when 1000 then 'sent' else 'complete' end,"
        " 1, now() - interval '100 s' + n * interval '0.08 s',"
        " case when n < 1000 then now() - interval '98 s' + n * interval '0.08 s' end"
        " from klaviyo.export, generate_series(1, 1000) n",
        run,
    )
    worker = world.start_worker().wait_ready()
    world.db.execute("update klaviyo.run set state = 'cancelled', finished_at = now() where run_id = %s", run)
    wait_until(lambda: len(spans_of(worker.page(f"/run?id={run}"))) == 24, 10, "the bars")
    bars = spans_of(worker.page(f"/run?id={run}"))
    assert [colour for colour, _, _ in bars] == ["good"] * 11 + ["bad"] + ["good"] * 11 + ["busy"]
    assert bars[0][1] < 2 and all(20 < width < 70 for _, _, width in bars[:23])
    assert bars[23][1] + bars[23][2] == 1000


OTHER_EXPORTS = """insert into klaviyo.export (name, connection_id, list_id, email_path)
select 'other ' || n, connection_id, list_id, email_path from klaviyo.export, generate_series(1, %s) n
where name = %s"""
IN_PROGRESS = """insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at,
lease_until, parked_until, wait_reason, waiting_until, read_rows, selected_rows, planned)
select export_id, name, 'main', 'schedule', 'running', now() - interval '1 hour', now() + interval '1 hour',
case when {parked} then now() + interval '1 hour' end, case when {parked} then 'rate_limited' end,
case when {parked} then now() + interval '1 hour' end, 1000000, 1000000, true
from klaviyo.export where {which} order by export_id"""
ENDED = """insert into klaviyo.run (export_id, export_name, connection_name, trigger, state, started_at, finished_at)
select export_id, name, 'main', 'schedule', 'succeeded', now(), now()
from klaviyo.export cross join generate_series(1, 5) where name like 'other%%'"""
PLANNED = """insert into klaviyo.batch (export_id, run_id, state, row_count)
select export_id, run_id, 'planned', 10000 from klaviyo.run, generate_series(1, 3) where run_id = %s"""


def add_other_exports(world: World, count: int) -> None:
    world.db.execute("alter table klaviyo.export disable trigger user")
    world.db.execute(OTHER_EXPORTS, count, EXPORT)


def begin_runs(world: World, which: str, parked: bool) -> None:
    world.db.execute(IN_PROGRESS.format(which=which, parked=parked))


def test_a_run_that_goes_on_is_shown_however_many_were_queued_since(
    world: World, browser: webdriver.Chrome
) -> None:
    world.set_up_export(people.simple(5))
    add_other_exports(world, 30)
    begin_runs(world, f"name = '{EXPORT}'", False)
    run = world.db.value("select run_id from klaviyo.run")
    world.db.execute(PLANNED, run)
    world.db.execute(ENDED)
    worker = world.start_worker().wait_ready()

    browser.get(url(worker))
    wait_text(browser, "Going on")
    look_at(browser, "old-run")
    follow(browser, str(run), f"Run {run} of {EXPORT}")
    wait_text(browser, "to be sent 3")
    assert f'<a href="/run?id={run}">' in worker.page(f"/export?name={EXPORT}")
    newest = [n for (n,) in world.db.rows("select run_id from klaviyo.run order by 1 desc limit 100")]
    assert [shown["id"] for shown in json.loads(worker.page("/api/runs"))] == newest


def test_what_holds_up_a_run_are_the_imports_of_its_account(world: World) -> None:
    world.set_up_export(people.simple(5))
    add_other_exports(world, 3)
    world.db.execute(
        "insert into klaviyo.connection (name, consent_version, consent_by, account_id) values ('b', 1, 'boss', 'b')"
    )
    world.db.execute(
        "update klaviyo.export set connection_id = (select max(connection_id) from klaviyo.connection)"
        " where name = 'other 3'"
    )
    begin_runs(world, "true", False)
    runs = dict(world.db.rows("select export_name, run_id from klaviyo.run"))
    for name, times in ((EXPORT, 1), ("other 1", 2), ("other 3", 3)):
        for _ in range(times):
            world.db.execute(PLANNED, runs[name])

    outlooks = dict(world.db.rows("select * from klaviyo.outlooks(%s::bigint[])", [*runs.values(), 99]))

    assert {name: (outlooks[run]["planned"], outlooks[run]["others"]) for name, run in runs.items()} == {
        EXPORT: (3, 3), "other 1": (6, 3), "other 2": (0, 0), "other 3": (9, 0),
    }  # fmt: skip
    assert len(outlooks) == 4 and world.db.value("select klaviyo.outlook(99)") is None
    assert world.db.value("select klaviyo.outlook(%s)", runs[EXPORT]) == outlooks[runs[EXPORT]]
    with make_login(world.db, "stranger", "klaviyo_contributor").connect() as connection:
        assert connection.execute("select * from klaviyo.outlooks(%s::bigint[])", [[*runs.values()]]).fetchall() == []


def cards(page: str) -> list[int]:
    """The runs that the page shows as going on."""
    return [int(n) for n in re.findall(r'class="detail">run <a href="/run\?id=(\d+)"', page)]


def test_of_very_many_that_go_on_those_are_shown_that_a_worker_has_and_the_oldest(
    world: World, browser: webdriver.Chrome
) -> None:
    world.set_up_export(people.simple(5))
    add_other_exports(world, 140)
    begin_runs(world, "name like 'other%%'", True)
    begin_runs(world, f"name = '{EXPORT}'", False)
    world.db.execute(ENDED)
    worker = world.start_worker().wait_ready()

    page = wait_until(lambda: known if "Going on" in (known := worker.page("/")) else "", 20, "the runs")

    assert len(page.encode()) < 300_000
    began = [n for (n,) in world.db.rows("select run_id from klaviyo.run where state = 'running' order by 1")]
    assert cards(page) == [began[-1], *reversed(began[:99])]
    assert "And 41 more" in page
    browser.get(url(worker))
    wait_text(browser, "And 41 more")
    look_at(browser, "many-that-go-on")


def test_of_many_connections_that_need_attention_the_newest_are_named_and_all_counted(
    world: World, browser: webdriver.Chrome
) -> None:
    world.set_up_export(people.simple(5))
    world.db.execute(
        "insert into klaviyo.connection (name, consent_version, consent_by, attention_reason, attention_at)"
        " select 'shop ' || n, 1, 'boss', 'key_refused', now() - n * interval '1 min' from generate_series(1, 60) n"
    )
    worker = world.start_worker().wait_ready()
    browser.get(url(worker))
    wait_text(browser, "60 connections need attention")
    assert "shop 50: key_refused" in text(browser) and "shop 51: key_refused" not in text(browser)
    assert "And 10 more: klaviyo-worker connection list shows them." in text(browser)
    look_at(browser, "many-in-need")


def test_what_is_not_there_is_said_with_404(world: World) -> None:
    worker = world.start_worker().wait_ready()
    for path in ("/export?name=nobody", "/export", "/run?id=12345", "/run?id=x", "/run"):
        assert worker.status(path) == 404, path


def test_hostile_names_do_no_harm(world: World, browser: webdriver.Chrome) -> None:
    world.set_up_export(people.simple(5))
    world.db.execute("alter table klaviyo.export disable trigger user")
    world.db.execute("update klaviyo.export set list_name = %s", HOSTILE)
    worker = world.start_worker().wait_ready()
    browser.get(url(worker))
    wait_text(browser, "<script>alert(1)</script>")
    assert "\u202e" not in text(browser)
    look_at(browser, "hostile-names")


def test_five_hundred_exports_and_ten_thousand_runs_are_a_small_page(
    world: World, browser: webdriver.Chrome
) -> None:
    world.set_up_export(people.simple(5))
    world.db.execute("alter table klaviyo.export disable trigger user")
    world.db.execute("alter table klaviyo.run disable trigger user")
    world.db.execute(
        "insert into klaviyo.export (name, connection_id, list_id, email_path)"
        " select 'export number ' || n, connection_id, list_id, email_path"
        " from klaviyo.export, generate_series(1, 500) n"
    )
    world.db.execute(
        "insert into klaviyo.run (export_id, export_name, connection_name, trigger, state,"
        " started_at, finished_at, accepted_rows)"
        " select x.export_id, x.name, 'main', 'schedule',"
        " case when n % 7 = 0 then 'failed' else 'succeeded' end,"
        " now() - n * interval '1 minute', now() - n * interval '1 minute' + interval '20 s',"
        " (n * 7919 * x.export_id) % 100000 from klaviyo.export x, generate_series(1, 20) n"
    )
    worker = world.start_worker().wait_ready()
    page = wait_until(lambda: known if "more:" in (known := worker.page("/")) else "", 20, "the exports")
    assert len(page.encode()) < 300_000
    browser.get(url(worker))
    wait_text(browser, "476 more exports")
    assert "export number 150" not in text(browser)
    look_at(browser, "many")
    browser.find_element("css selector", "#more-exports summary").click()
    wait_text(browser, "export number 150")
    time.sleep(3)  # it has renewed itself
    assert "export number 150" in text(browser), "what was unfolded stays so"


def test_without_a_script_the_page_is_whole_and_loads_itself_again(world: World) -> None:
    world.set_up_export(people.simple(20))
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended()
    wait_until(lambda: "succeeded" in worker.page("/"), 10, "the run to be shown")
    page = worker.page("/")
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "20 of 20" in page.replace("\u202f", "")

