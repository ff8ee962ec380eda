import asyncio
import itertools
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
import uvicorn
from litestar import Litestar, get
from litestar.exceptions import NotAuthorizedException

from api.site.pages import ASSETS, PAGES, site_handlers

VENDORED = {"swagger-ui-bundle.js", "swagger-ui.css"}
OWN = {name: asset for name, asset in {**ASSETS, **PAGES}.items() if name not in VENDORED}
TEXTS = {name: asset.content.decode() for name, asset in OWN.items() if not name.endswith(".txt")}

SCHEMA = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "maxLength": 2000},
        "language": {"type": ["string", "null"], "examples": ["en"]},
        "parent": {"anyOf": [{"$ref": "#/components/schemas/Claim"}, {"type": "null"}]},
    },
}
PROBLEM = {"description": "Refused.", "content": {"application/problem+json": {"schema": {}}}}
OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "claim-records", "version": "1", "description": "Who *claimed* what."},
    "tags": [{"name": "claims", "description": "What is said to be so."}],
    "paths": {
        "/v1/claims": {
            "get": {
                "operationId": "listClaims",
                "summary": "List claims",
                "tags": ["claims"],
                "parameters": [
                    {"name": "q", "in": "query", "schema": {"type": "string", "maxLength": 200}},
                    {"name": "quantity_from", "in": "query", "schema": {"type": "number"}},
                    {
                        "name": "id__in",
                        "in": "query",
                        "schema": {"type": "array", "items": {"type": "string", "format": "uuid"}},
                    },
                ],
                "responses": {
                    "200": {
                        "description": "A page of claims.",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Claim"}}
                        },
                    },
                    "400": PROBLEM,
                },
            },
            "post": {
                "operationId": "createClaim",
                "summary": "Create a claim",
                "tags": ["claims"],
                "security": [{"key": ["write"]}],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Claim"}}
                    }
                },
                "responses": {"201": {"description": "Created."}, "422": PROBLEM},
            },
        }
    },
    "components": {
        "schemas": {"Claim": SCHEMA},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    },
}
HOSTILE = "<img src=x onerror=alert(1)> & “words”"
CLAIM = {
    "id": "0192f0c1-7b1e-7c3a-9d53-0a8f1f6f2a11",
    "text": HOSTILE,
    "language": "en",
    "attributions": [
        {"position": 1, "source_id": "authority", "via_id": "briefing", "resolution": "certain"},
        {"position": 0, "source_id": "mayor", "via_id": None, "resolution": "probable"},
        {"position": 0, "source_id": "hidden", "via_id": None, "resolution": "certain"},
    ],
}
AUTHOR_VOICE = CLAIM | {
    "attributions": [{"position": 0, "role": "author_voice", "resolution": "unresolved"}]
}
UNATTRIBUTED = CLAIM | {
    "attributions": [{"position": 0, "role": "claimant", "resolution": "unresolved"}]
}
HIDDEN = "a source not shown"
SOURCES = {
    "mayor": {"name": "the mayor", "description": None},
    "authority": {"name": None, "description": "a port official"},
    "briefing": {"name": "a briefing", "description": None},
}


@get("/openapi.json")
async def show_openapi() -> dict[str, Any]:
    return OPENAPI


@get("/v1/claims")
async def list_claims() -> dict[str, Any]:
    return {"items": [CLAIM, AUTHOR_VOICE, UNATTRIBUTED], "included": {"sources": SOURCES}}


@get("/v1/claims")
async def list_no_claims() -> dict[str, Any]:
    return {"items": [], "included": {}}


@get("/v1/claims")
async def refuse_claims() -> dict[str, Any]:
    raise NotAuthorizedException


def site_app(*more: Any) -> Litestar:
    return Litestar([*site_handlers, *more], openapi_config=None, logging_config=None)


def fetch(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        # httpx types ASGI with plain mappings, Litestar with typed ones.
        app: Any = site_app()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_are_html_that_may_load_from_this_host_only(path: str) -> None:
    answer = fetch(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "*" not in policy


def test_every_asset_a_page_names_is_served_with_its_type() -> None:
    named = set(re.findall(r'(?:href|src)="/assets/([^"]+)"', "".join(TEXTS.values())))
    assert {"home.css", "home.js", "docs.css", "docs.js", "icon.svg", *VENDORED} <= named
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for name in named:
        answer = fetch(f"/assets/{name}")
        assert answer.status_code == 200
        assert answer.content == ASSETS[name].content
        assert answer.headers["content-type"] == f"{types[Path(name).suffix]}; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_browsers_showing_json_get_an_icon() -> None:
    answer = fetch("/favicon.ico")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml; charset=utf-8"


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "README.md",
        "home.html",
        "pages.py",
        "..%2fpages.py",
        "%2e%2e%2fpages.py",
        "a/b",
    ],
)
def test_any_other_asset_is_unknown(name: str) -> None:
    answer = fetch(f"/assets/{name}")
    assert answer.status_code == 404


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br, gzip;q=0.5", "gzip;q=0", "*"])
def test_a_file_is_sent_again_only_after_it_changed(encoding: str) -> None:
    first = fetch("/assets/docs.js", headers={"Accept-Encoding": encoding})
    assert first.content == ASSETS["docs.js"].content
    compressed = encoding in {"gzip", "br, gzip;q=0.5"}
    assert first.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert first.headers["vary"] == "Accept-Encoding"
    tag = first.headers["etag"]
    for condition in (tag, f"W/{tag}", f'"other", {tag}'):
        headers = {"Accept-Encoding": encoding, "If-None-Match": condition}
        again = fetch("/assets/docs.js", headers=headers)
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
    headers = {"Accept-Encoding": encoding, "If-None-Match": '"other"'}
    assert fetch("/assets/docs.js", headers=headers).status_code == 200


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_we_wrote_refers_to_another_host(name: str) -> None:
    text = TEXTS[name].replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"""https?:|wss?:|["'(]//""", text)


@pytest.mark.parametrize("name", PAGES)
def test_pages_hold_no_inline_script_style_or_handler(name: str) -> None:
    text = TEXTS[name]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text)


def test_the_vendored_stylesheet_loads_nothing() -> None:
    css = ASSETS["swagger-ui.css"].content.decode()
    assert "@import" not in css
    assert all(url.startswith("data:") for url in re.findall(r"""url\(["']?([^"')]+)""", css))


def test_vendored_files_name_their_version_and_carry_their_licence() -> None:
    readme = files("api.site").joinpath("assets", "README.md").read_text()
    version = re.search(r"`swagger-ui-dist` (\d+\.\d+\.\d+)", readme)
    assert version
    assert f'"{version[1]}"' in ASSETS["swagger-ui-bundle.js"].content.decode()
    for name in ("swagger-ui.LICENSE.txt", "swagger-ui.NOTICE.txt"):
        assert name in ASSETS


# From here on: a real browser, spoken to in WebDriver's own plain HTTP (W3C WebDriver), which
# needs chromedriver and a Chrome or Chromium on the machine and no Python package.


@contextmanager
def serve(*handlers: Any) -> Iterator[str]:
    """Serve the site and these handlers on a free port of this machine; give the address."""
    app = site_app(*handlers)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


class Browser:
    """One headless browser session; every message from its page is kept for the asking."""

    def __init__(self, driver: str, profile: Path) -> None:
        self.http = httpx.Client(base_url=driver, timeout=60, trust_env=False)
        flags = [
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            *("disable-dev-shm-usage", "no-proxy-server", f"user-data-dir={profile}"),
        ]
        wanted = {
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
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
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])
        self.command("url", url=url)

    def wait(self, condition: str) -> None:
        deadline = time.monotonic() + 20
        while not self.evaluate(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.05)

    def errors(self) -> list[str]:
        """Give the console's errors since the last time, which include breaches of the policy.

        Swagger UI 5.35 warns of components that it then does without, so warnings don't count.
        """
        log = self.command("se/log", type="browser")
        return [line["message"] for line in log if line["level"] == "SEVERE"]

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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serve(show_openapi, list_claims) as address:
        yield address


SCREENS = list(itertools.product((1280, 390), ("light", "dark")))
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def assert_quiet_local_and_fitting(browser: Browser, site: str, scheme: str) -> None:
    assert browser.errors() == []
    assert browser.hosts() == {urlsplit(site).netloc}
    assert (sum(browser.evaluate(BACKGROUND)) < 3 * 128) == (scheme == "dark")
    assert not browser.evaluate(OVERFLOWS)


@pytest.mark.outside
@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_the_docs_show_and_try_every_operation(
    browser: Browser, site: str, width: int, scheme: str
) -> None:
    browser.show(f"{site}/docs", width, scheme)
    browser.wait("document.querySelectorAll('.opblock').length === 2")
    assert "Create a claim" in browser.evaluate("document.body.innerText")
    for control in (".opblock-summary-control", ".try-out__btn", ".execute"):
        browser.wait(f"document.querySelector('.opblock-get {control}')")
        browser.evaluate(f"document.querySelector('.opblock-get {control}').click()")
    browser.wait("document.querySelector('.live-responses-table .response-col_status')")
    assert "onerror" in browser.evaluate(
        "document.querySelector('.live-responses-table').innerText"
    )
    assert_quiet_local_and_fitting(browser, site, scheme)


@pytest.mark.outside
@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_the_landing_page_shows_the_latest_claims_as_text(
    browser: Browser, site: str, width: int, scheme: str
) -> None:
    browser.show(f"{site}/", width, scheme)
    browser.wait("document.querySelectorAll('.claims li').length === 3")
    assert browser.evaluate("document.querySelector('.claims .words').textContent") == HOSTILE
    who = browser.evaluate("[...document.querySelectorAll('.who')].map(e => e.textContent)")
    assert who == [
        f"Claimed by the mayor (probable) and {HIDDEN}, citing a port official, via a briefing",
        "Claimed by the article itself",
        "Nobody is credited with it",
    ]
    assert_quiet_local_and_fitting(browser, site, scheme)


@pytest.mark.outside
@pytest.mark.parametrize(
    ("handlers", "sentence"),
    [
        ([list_no_claims], "No claims yet."),
        ([refuse_claims], "Reading the claims here needs a key."),
        ([], "be shown just now"),
    ],
)
def test_without_claims_the_landing_page_says_so_in_a_sentence(
    browser: Browser, handlers: list[Any], sentence: str
) -> None:
    with serve(*handlers) as address:
        browser.show(f"{address}/", 390, "light")
        browser.wait(f"document.getElementById('latest').textContent.includes('{sentence}')")
    # The browser itself logs the refused fetch; the next test starts with empty logs.
    browser.errors()
    browser.hosts()
