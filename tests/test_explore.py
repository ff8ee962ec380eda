"""The pages to look at: what they are made of, and that they show records in a real browser."""

from __future__ import annotations

import re

import httpx
import pytest

from api.site.pages import ASSETS
from tests.browser import SCREENS, Browser, assert_quiet_local_and_fitting, assert_usable

OWN = {
    name: asset.content.decode() for name, asset in ASSETS.items() if name.startswith("explore/")
}
SCRIPTS = {name: text for name, text in OWN.items() if name.endswith(".js")}
MAX_REQUESTS = 3


@pytest.mark.parametrize("path", ["/explore", "/explore/claims", "/explore/claims/some-id"])
async def test_one_page_is_served_for_every_view(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "/assets/explore/main.js" in answer.text
    again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_the_page_runs_scripts_of_this_host_only_and_none_may_write_html(
    client: httpx.AsyncClient,
) -> None:
    policies = (await client.get("/explore")).headers.get_list("content-security-policy")
    assert len(policies) == 1
    rules = dict(rule.split(" ", 1) for rule in policies[0].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["trusted-types"] == "'none'"


@pytest.mark.parametrize("path", ["/explore/nothing", "/explore/claims/some-id/nothing"])
async def test_there_is_no_other_view(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_no_html_of_text_and_imports_what_is_served(name: str) -> None:
    text = SCRIPTS[name]
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|Storage"
    assert not re.search(unsafe, re.sub(r"//.*", "", text))
    for imported in re.findall(r"""(?:from|import\(|all:|one:|part:) ?"\./([^"]+)\"""", text):
        assert f"explore/{imported}" in ASSETS


def test_the_scripts_are_short_enough_to_read() -> None:
    for name, text in SCRIPTS.items():
        assert len(text.splitlines()) <= 300, name


# --- in a browser --------------------------------------------------------------------------------

READY = "document.querySelector('main').getAttribute('aria-busy') === 'false'"
REQUESTS = """performance.getEntriesByType('resource')
    .map(entry => new URL(entry.name)).filter(url => url.pathname.startsWith('/v1/'))
    .map(url => url.pathname + url.search)"""


def open_page(browser: Browser, site: str, path: str, screen: tuple[int, str] = SCREENS[0]) -> None:
    """Open a page in a new document, and wait until it shows what it asked for."""
    browser.command("url", url="about:blank")
    browser.show(f"{site}{path}", *screen)
    browser.wait(READY)


@pytest.mark.outside
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_the_front_page_shows_articles_and_claims(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, "/explore", screen)
    assert "Seoul MP: 100 or more North Koreans dead" in browser.text("main")
    assert len(browser.evaluate(REQUESTS)) <= MAX_REQUESTS
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, screen[1])
