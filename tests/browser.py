"""A real browser for tests of pages, the service that it looks at, and what every page must hold.

The tests speak to it in WebDriver's own plain HTTP (W3C WebDriver), which needs chromedriver and
a Chrome or Chromium on the machine and no Python package.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from tests.conftest import PATIENCE, allow, cloned
from tests.npm import installed
from tests.test_cli import serving

SCREENS = list(itertools.product((1280, 390), ("light", "dark")))
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


class Browser:
    """One headless browser session; every message from its page is kept for the asking."""

    def __init__(self, driver: str, profile: Path) -> None:
        self.http = httpx.Client(base_url=driver, timeout=PATIENCE, trust_env=False)
        flags = [
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            *("disable-dev-shm-usage", "no-proxy-server", f"user-data-dir={profile}"),
        ]
        wanted = {
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": PATIENCE * 1000, "pageLoad": PATIENCE * 1000},
        }
        answer = self.post("/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{answer['sessionId']}"

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]

    def command(self, path: str, **body: Any) -> Any:
        return self.post(f"{self.session}/{path}", body)

    def evaluate(self, script: str) -> Any:
        return self.command("execute/sync", script=f"return {script}", args=[])

    def devtools(self, name: str, **params: Any) -> Any:
        return self.command("goog/cdp/execute", cmd=name, params=params)

    def show(self, url: str, width: int, scheme: str) -> None:
        """Open a page as a screen of this width and a reader of this colour scheme see it."""
        self.turn(width, scheme)
        self.command("url", url=url)

    def turn(self, width: int, scheme: str) -> None:
        """Turn the page that is open, and all later ones, to another screen and colour scheme."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def click(self, selector: str) -> None:
        """Click what a selector names, once it is there and can be clicked."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{element} && !{element}.disabled")
        self.evaluate(f"{element}.click()")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a person does."""
        for key in keys:
            down = {"type": "keyDown", "key": key}
            if len(key) == 1:
                down["text"] = key
            elif key == "Enter":
                down["text"] = "\r"
            self.devtools("Input.dispatchKeyEvent", **down)
            self.devtools("Input.dispatchKeyEvent", type="keyUp", key=key)

    def write(self, selector: str, text: str) -> None:
        """Put text into a field in the place of what it holds."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.devtools("Input.insertText", text=text)

    def text(self, selector: str) -> str:
        self.wait(f"document.querySelector({json.dumps(selector)})")
        found: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return found

    def wait(self, condition: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.05)

    def errors(self) -> list[str]:
        """Give the console's errors and warnings since the last time.

        Breaches of the policy are among them.
        """
        log = self.command("se/log", type="browser")
        return [line["message"] for line in log if line["level"] in {"SEVERE", "WARNING"}]

    def hosts(self) -> set[str]:
        """Give every host that was asked for anything since the last time.

        chrome: is the browser's own first tab, data: and blob: are the page itself.
        """
        log = self.command("se/log", type="performance")
        events = [msgspec.json.decode(line["message"])["message"] for line in log]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        local = ("blob:", "chrome:", "data:")
        return {urlsplit(url).netloc for url in urls if not url.startswith(local)}

    def close(self) -> None:
        self.http.delete(self.session)
        self.http.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    command = shutil.which("chromedriver")
    assert command, "this test needs chromedriver and Chromium (Debian: chromium-driver)"
    with subprocess.Popen([command, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        found = (re.search(r"on port (\d+)\.", line) for line in driver.stdout)
        port = next(match[1] for match in found if match)
        browser = Browser(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("profile"))
        yield browser
        browser.close()
        driver.terminate()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, template: str) -> Iterator[str]:
    """Serve the sample records; give the address."""
    with asyncio.Runner() as runner:
        database = cloned(template)
        url = runner.run(database.__aenter__())
        runner.run(allow(url))
        try:
            directory = tmp_path_factory.mktemp("site")
            with serving(directory, "--demo", DATABASE_URL=url) as service:
                yield service.address
        finally:
            runner.run(database.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the script that judges whether everybody can use a page."""
    source = Path(__file__).parent / "accessibility"
    packages = installed(source, tmp_path_factory)
    return (packages.directory / "node_modules" / "axe-core" / "axe.min.js").read_text()


def assert_quiet_local_and_fitting(browser: Browser, site: str, scheme: str) -> None:
    assert browser.errors() == []
    assert browser.hosts() <= {urlsplit(site).netloc}
    assert (sum(browser.evaluate(BACKGROUND)) < 3 * 128) == (scheme == "dark")
    assert not browser.evaluate(OVERFLOWS)


def assert_usable(browser: Browser, axe: str, *, of_others: bool = False) -> None:
    """Hold a page, as it is now, to WCAG and to good practice: axe finds nothing, and no waivers.

    Where most of a page is the work of others, only what axe calls serious or critical counts.
    """
    browser.command("execute/sync", script=f"{axe}; return true", args=[])
    run = "axe.run({resultTypes: ['violations']}).then(arguments[0])"
    result = browser.command("execute/async", script=run, args=[])
    found = [
        (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"][:5]])
        for each in result["violations"]
        if not of_others or each["impact"] in {"serious", "critical"}
    ]
    assert found == []
