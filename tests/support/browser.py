"""A real browser without a screen, to look at the status page as people do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_core_python.base import AXE_FILE_PATH  # type: ignore[import-untyped]
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
           "--force-device-scale-factor=1", "--hide-scrollbars", "--no-proxy-server")  # fmt: skip


@contextmanager
def open_browser(dark: bool = False) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in OPTIONS:
        options.add_argument(option)
    if dark:
        options.add_argument("--force-dark-mode")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


def set_width(browser: webdriver.Chrome, width: int) -> None:
    """Of the view, not of the window: a headless one is never narrower than 500."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def take_screenshot(browser: webdriver.Chrome, file: Path) -> None:
    """Of the whole page, however long."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_from_base64(taken["data"]))


def _from_base64(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def accessibility_faults(browser: webdriver.Chrome) -> list[str]:
    """What axe-core finds; it goes in by the debugger, past the page's policy."""
    browser.execute_cdp_cmd(
        "Runtime.evaluate", {"expression": Path(AXE_FILE_PATH).read_text("utf-8")}
    )
    found: Any = browser.execute_cdp_cmd(
        "Runtime.evaluate",
        {
            "expression": "axe.run().then((r) => r.violations.map((v) =>"
            " v.id + ': ' + v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    faults: list[str] = found["result"]["value"]
    return faults


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Of the browser's console, since they were read last: errors and broken policies."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"]
