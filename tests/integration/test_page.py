"""The status page as a person sees it, in a real browser, in each of its states."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

from support import people
from support.browser import accessibility_faults, complaints, open_browser, set_width, take_screenshot
from support.paths import BUILD
from support.process import wait_until
from support.worker import Worker
from support.world import EXPORT, World

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
    """Found and clicked anew where the page renewed itself in between, until the other page is there."""

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
    page = worker.page("/")
    assert len(page.encode()) < 300_000
    assert "more:" in page
    browser.get(url(worker))
    wait_text(browser, "export number 1")
    look_at(browser, "many")


def test_without_a_script_the_page_is_whole_and_loads_itself_again(world: World) -> None:
    world.set_up_export(people.simple(20))
    worker = world.start_worker().wait_ready()
    world.refresh()
    world.wait_runs_ended()
    wait_until(lambda: "succeeded" in worker.page("/"), 10, "the run to be shown")
    page = worker.page("/")
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "20 of 20" in page.replace("\u202f", "")

