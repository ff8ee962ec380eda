"""The pages for people: what they are made of, and that they work in a real browser."""

from __future__ import annotations

import asyncio
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.site.docs import docs_handlers
from api.site.pages import ASSETS, PAGES, site_handlers
from api.site.texts import text_handlers
from tests.browser import (
    BACKGROUND,
    OVERFLOWS,
    SCREENS,
    Browser,
    assert_quiet_local_and_fitting,
    assert_usable,
)
from tests.conftest import KEY

VENDORED = {"swagger-ui-bundle.js", "swagger-ui.css"}
OWN = {name: asset for name, asset in {**ASSETS, **PAGES}.items() if name not in VENDORED}
TEXTS = {name: asset.content.decode() for name, asset in OWN.items() if not name.endswith(".txt")}


def fetch(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        # httpx types ASGI with plain mappings, Litestar with typed ones.
        handlers = [*site_handlers, *docs_handlers, *text_handlers]
        app: Any = Litestar(handlers, openapi_config=None, logging_config=None)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_the_docs_are_html_that_may_load_from_this_host_only() -> None:
    answer = fetch("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_docs_can_be_read_before_any_script_has_run() -> None:
    document = json.loads(files("openapi").joinpath("openapi.json").read_text())
    page = fetch("/docs").text
    shown = html.unescape(re.sub(r"<[^>]+>", "", page))
    introduction = document["info"]["description"]
    for text in (introduction, *(tag["description"] for tag in document["tags"])):
        for line in FENCED.sub("", text).split("\n"):
            assert letters(LINKED.sub(r"\1", NUMBERED.sub("", line))) in letters(shown)
    operations = {
        (path, method, operation["operationId"], operation["tags"][0], operation["summary"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    for path, method, name, tag, summary in operations:
        assert (
            f'href="#/{tag}/{name}"><span class="opblock-summary-method">{method.upper()}' in page
        )
        assert path in shown
        assert summary in shown
    assert page.count('<div class="opblock ') == len(operations)
    places = set(re.findall(r'id="(/introduction/[^"]+)"', page))
    assert len(places) == introduction.count("\n## ")
    assert places == set(re.findall(r'class="chapter" href="#([^"]+)"', page))
    assert "<script" not in page.replace('<script src="/assets/', "")


def test_the_tour_is_the_one_of_the_readme_at_the_readers_address() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    tour = readme[readme.index("## A five-minute tour") : readme.index("\n## Keys")]
    answer = fetch("/docs/tour")
    assert answer.status_code == 200
    shown = html.unescape(re.sub(r"<[^>]+>", "", answer.text))
    assert "<h1>A five-minute tour</h1>" in answer.text
    for block in re.findall(r"```sh\n(.*?)```", tour, re.DOTALL):
        assert block.replace("http://127.0.0.1:8000", "http://test") in shown
    assert "127.0.0.1" not in shown
    assert "Keys\n" not in shown
    assert fetch("/docs/tour", {"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_the_questions_are_asked_at_the_readers_address() -> None:
    page = (Path(__file__).parent.parent / "docs" / "questions.md").read_text()
    answer = fetch("/docs/questions")
    shown = html.unescape(re.sub(r"<[^>]+>", "", answer.text))
    assert "<h1>The questions of a newsroom</h1>" in answer.text
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        assert block.replace("http://127.0.0.1:8000", "http://test") in shown
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize(
    "path", ["/docs/tour", "/docs/questions", "/docs/anchors", "/docs/matching", "/docs/changelog"]
)
def test_the_links_of_a_text_lead_to_pages(path: str) -> None:
    links = re.findall(r'<a [^>]*href="([^"#]+)', fetch(path).text)
    assert "/docs/questions" in links  # else none are looked at
    for link in links:
        here = link.removeprefix("http://test")
        if here != "/" and not re.match(r"https?:", here):
            assert fetch(here).status_code == 200, link


def test_the_page_about_anchors_is_served_where_others_refer_to_it() -> None:
    page = (Path(__file__).parent.parent / "docs" / "anchors.md").read_text()
    shown = html.unescape(re.sub(r"<[^>]+>", "", fetch("/docs/anchors").text))
    for block in re.findall(r"```js\n(.*?)```", page, re.DOTALL):
        assert block in shown
    assert 'href="/docs/anchors"' in fetch("/docs/questions").text
    assert fetch("/docs").text.count('href="/docs/anchors') == 2  # the guides


def test_the_changelog_is_served() -> None:
    changelog = (Path(__file__).parent.parent / "CHANGELOG.md").read_text()
    page = fetch("/docs/changelog").text
    assert "<h1>Changelog</h1>" in page
    for version in re.findall(r"^## (.*)$", changelog, re.MULTILINE):
        assert f"<h2>{version}</h2>" in page
    assert page.count("<li>") == len(re.findall(r"^- ", changelog, re.MULTILINE))


def letters(text: str) -> str:
    return re.sub(r"\W", "", text)


NUMBERED = re.compile(r"^\d+\. ")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINKED = re.compile(r"\[([^]]+)\]\([^)]+\)")


def test_every_asset_a_page_names_is_served_with_its_type() -> None:
    named = set(re.findall(r'"/assets/([^"]+)"', "".join(TEXTS.values())))
    assert {"home.css", "docs.css", "docs.js", "search.js", "icon.svg", *VENDORED} <= named
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


@pytest.mark.parametrize(
    ("encoding", "coding"),
    [
        ("identity", None),
        ("gzip", "gzip"),
        ("br, gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("*", "zstd"),
    ],
)
def test_a_file_is_sent_again_only_after_it_changed(encoding: str, coding: str | None) -> None:
    first = fetch("/assets/docs.js", headers={"Accept-Encoding": encoding})
    assert first.content == ASSETS["docs.js"].content
    assert first.headers.get("content-encoding") == coding
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
    text = TEXTS[name].replace('"http://www.w3.org/2000/svg"', "")  # a name, not a place
    assert not re.search(r"""https?:|\bwss?:|["'(]//""", text)


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


# From here on: a real browser.

CARD = BACKGROUND.replace("document.body", "document.querySelector('.opblock')")
SHOWN = "window.docs.then(ui => ui.getSystem().layoutActions.show({key}, true))"
LIVE = ".live-responses-table"


def open_docs(browser: Browser, site: str, hash_: str = "", *, screen: Any = SCREENS[0]) -> None:
    # Another document each time: a fragment alone would not load the page again.
    browser.command("url", url="about:blank")
    browser.show(f"{site}/docs{hash_}", *screen)
    browser.wait("!document.getElementById('search').disabled")


@pytest.mark.outside
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_the_text_the_list_and_the_search_wait_for_no_large_script(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    browser.devtools("Network.enable")
    browser.devtools("Network.setBlockedURLs", urls=["*/swagger-ui-bundle.js"])
    try:
        open_docs(browser, site, screen=screen)
        assert browser.evaluate("document.querySelectorAll('#list .opblock').length") > 50
        assert (
            browser.evaluate("document.getElementById('/introduction/lists').innerText") == "Lists"
        )
        browser.write("#search", "createClaim")
        browser.wait("document.querySelectorAll('#found li').length > 0")
        assert browser.evaluate(FOUND)[0][:2] == ["POST", "/v1/claims"]
        assert not browser.evaluate(OVERFLOWS)
        assert_usable(browser, axe)
    finally:
        browser.devtools("Network.setBlockedURLs", urls=[])
        browser.errors()  # of the script that was blocked


@pytest.mark.outside
def test_swagger_ui_takes_the_place_of_the_list_without_moving_it(
    browser: Browser, site: str
) -> None:
    names = "[...document.querySelectorAll('{} .opblock-summary-path')].map(e => e.innerText)"
    browser.command("url", url="about:blank")
    browser.show(f"{site}/docs", *SCREENS[0])
    # Before the scripts have had their turn, or after: the reader sees the same.
    place = (
        "[data-place='operations-claims-getClaim'], #ui:not([hidden]) #operations-claims-getClaim"
    )
    top = f'document.querySelector("{place}").getBoundingClientRect().top'
    browser.evaluate(f"scrollBy({{top: {top} - 100, behavior: 'instant'}})")
    before = browser.evaluate(top)
    browser.evaluate("window.docs.then(() => true)")
    assert browser.evaluate("document.getElementById('list')") is None
    assert abs(browser.evaluate(top) - before) < 5
    assert len(browser.evaluate(names.format("#ui"))) > 50
    assert browser.errors() == []


@pytest.mark.outside
@pytest.mark.parametrize("screen", SCREENS[1:3], ids=str)
def test_the_docs_fit_every_screen_with_operations_and_schemas_open(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    open_docs(browser, site, screen=screen)
    assert_usable(browser, axe)
    for key in ("claims/createClaim", "changes/streamChanges", "denials/getDenial"):
        tag, _, operation = key.partition("/")
        browser.evaluate(SHOWN.format(key=["operations", tag, operation]))
        browser.wait(f"document.querySelector('#operations-{tag}-{operation} .opblock-body')")
    browser.click("#operations-claims-createClaim .try-out__btn")
    browser.evaluate(SHOWN.format(key=["components", "schemas"]))
    browser.click(".models [data-index='3'] .json-schema-2020-12-accordion")
    browser.wait("document.querySelector('.models .json-schema-2020-12-property')")
    browser.click("#operations-claims-createClaim .failure button")
    browser.click("#operations-denials-getDenial .responses-wrapper [data-name='model']")
    browser.wait("document.querySelector('#operations-denials-getDenial .model-box')")
    browser.evaluate("document.querySelectorAll('.response details').forEach(e => e.open = true)")
    assert (sum(browser.evaluate(CARD)) < 3 * 128) == (screen[1] == "dark")
    assert_usable(browser, axe, of_others=True)  # Swagger UI
    browser.click("#authorize")
    browser.wait("document.querySelector('#auth-bearer-value[aria-label=Key][type=password]')")
    assert_usable(browser, axe, of_others=True)  # Swagger UI
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_a_slash_and_a_few_letters_lead_to_an_operation(
    browser: Browser, site: str, screen: tuple[int, str]
) -> None:
    open_docs(browser, site, screen=screen)
    browser.press("/")
    browser.wait("document.activeElement.id === 'search'")
    browser.press(*"listChanges")
    browser.wait("document.querySelectorAll('#found li').length === 1")
    assert browser.text("#found li") == "get\n/v1/changes\nList changes".replace("get", "GET")
    browser.press("Enter")
    opened = "document.querySelector('#operations-changes-listChanges .opblock-body')"
    browser.wait(opened)
    browser.wait("location.hash === '#/changes/listChanges'")
    top = "document.querySelector('#operations-changes-listChanges').getBoundingClientRect().top"
    bar = "document.elementFromPoint(innerWidth / 2, 5).closest('.side')?.offsetHeight"
    browser.wait(f"{top} >= ({bar} ?? 0) - 1 && {top} < 200")  # below the bar that stays on a phone
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_the_search_finds_by_path_summary_parameter_and_schema(browser: Browser, site: str) -> None:
    open_docs(browser, site)
    for query, found in {
        "revisions version": "/v1/articles/{id}/revisions/{version}",
        "bring back deleted claim": "/v1/claims/{id}/restore",
        "quantity_from": "/v1/claims",
        "nosuchthing": "Nothing is called that.",
    }.items():
        browser.write("#search", query)
        browser.wait(f"document.querySelector('#found').innerText.includes({json.dumps(found)})")
    browser.press("Escape")
    browser.wait("document.querySelector('#found').hidden")
    browser.press("/")
    browser.write("#search", "ArticleCreate")
    browser.press("Enter")
    browser.wait("location.hash === '#/schemas/ArticleCreate'")
    browser.wait(f"{FOCUSED}.innerText === 'ArticleCreate'")
    browser.wait(f"{FOCUSED}.closest('article').innerText.includes('headline')")
    browser.wait(f"{FOCUSED}.getBoundingClientRect().top < 200")
    assert browser.errors() == []


FOCUSED = "document.activeElement"

# What developers type, and what of it comes first: its kind, and what it is called.
FIRST_FOUND = {
    "412": "problem precondition-failed",
    "410": "problem gone",
    "429": "problem rate-limited",
    "not-unique": "problem not-unique",
    "rate limit": "problem rate-limited",
    "pagination": "chapter Lists",
    "cursor": "chapter Lists",
    "authorization": "chapter Keys",
    "authorize": "chapter Keys",
    "bearer": "chapter Keys",
    "x-request-id": "chapter HTTP",
    "errors": "chapter Errors",
    "validation": "chapter Errors",
    "if-match": "chapter Changing records",
    "etag": "chapter Changing records",
    "retry": "chapter Changing records",
    "headers": "chapter Changing records",
    "idempotency": "chapter Changing records",
    "bulk": "section export",
    "ndjson": "section export",
    "webhook": "section webhooks",
    "event-stream": "GET /v1/changes/stream",
    "sse": "GET /v1/changes/stream",
    "upload": "section import",
    "create claim": "POST /v1/claims",
    "listchanges": "GET /v1/changes",
    "recordChanged": "POST recordChanged",
    "receiveChange": "POST recordChanged",
    "embargoed_until": "schema Article",
    "Webhook": "schema Webhook",
}
FOUND = "[...document.querySelectorAll('#found li')].map(e => e.innerText.split('\\n'))"


@pytest.mark.outside
def test_the_search_finds_what_developers_type(browser: Browser, site: str) -> None:
    open_docs(browser, site)
    first = {}
    for query in FIRST_FOUND:
        browser.write("#search", query)
        kind, title, *_ = browser.evaluate(FOUND)[0]
        first[query] = f"{kind} {title}"
    assert first == FIRST_FOUND


@pytest.mark.outside
def test_the_search_knows_headers_and_answers_that_stand_elsewhere_in_the_document(
    browser: Browser, site: str
) -> None:
    open_docs(browser, site)
    for query, path, methods in (
        ("if-match claims id", "/v1/claims/{id}", {"PUT", "PATCH", "DELETE"}),
        ("410 stream", "/v1/changes/stream", {"GET"}),
        ("etag claims id", "/v1/claims/{id}", {"GET", "PUT", "PATCH"}),
    ):
        browser.write("#search", query)
        found = browser.evaluate(FOUND)
        assert {kind for kind, title, *_ in found if title == path} >= methods


@pytest.mark.outside
def test_sections_and_operations_are_found_before_schemas(browser: Browser, site: str) -> None:
    open_docs(browser, site)
    browser.write("#search", "webhook")
    found = [(kind, title) for kind, title, *_ in browser.evaluate(FOUND)]
    before = found[: [kind for kind, _ in found].index("schema")]
    assert {"section", "GET", "POST"} <= {kind for kind, _ in before}
    assert ("DELETE", "/v1/webhooks/{id}") in before
    assert ("schema", "Webhook") in found


@pytest.mark.outside
def test_back_leads_from_place_to_place_and_a_reload_to_the_same(
    browser: Browser, site: str
) -> None:
    open_docs(browser, site)
    places = ["#/claims/createClaim", "#/schemas/ArticleCreate", "#/introduction/lists"]
    for query, place in zip(("createClaim", "ArticleCreate", "pagination"), places, strict=True):
        browser.press("/")
        browser.write("#search", query)
        browser.press("Enter")
        browser.wait(f"location.hash === '{place}'")
        browser.wait(f"{FOCUSED} !== document.body && {FOCUSED}.id !== 'search'")
    for place in [*reversed(places[:-1]), ""]:
        browser.evaluate("history.back()")
        browser.wait(f"location.hash === '{place}'")
    for place, name in {
        "#/introduction/changing-records": "Changing records",
        "#/webhook-messages": "webhook messages",
        "#/schemas": "Schemas",
        "#/schemas/Problem": "Problem",
    }.items():
        open_docs(browser, site, place)
        browser.wait(f"{FOCUSED}.innerText === '{name}'")
        browser.wait(f"{FOCUSED}.getBoundingClientRect().top < 200")
        assert browser.evaluate("location.hash") == place
    assert browser.errors() == []


@pytest.mark.outside
def test_the_column_leads_to_chapters_sections_messages_and_schemas(
    browser: Browser, site: str
) -> None:
    open_docs(browser, site)
    links = browser.evaluate("[...document.querySelectorAll('#sections a')].map(e => e.innerText)")
    assert {"The model", "Errors", "claims", "webhooks", "webhook messages", "schemas"} <= {*links}
    browser.click("#sections [href='#/introduction/errors']")
    browser.wait(f"{FOCUSED}.innerText === 'Errors'")
    browser.click("#sections [href='#/webhook-messages']")
    browser.wait(f"{FOCUSED}.innerText === 'webhook messages'")


@pytest.mark.outside
def test_tab_leads_from_the_search_to_the_key_and_on(browser: Browser, site: str) -> None:
    open_docs(browser, site)
    browser.press("/", *"claim")
    browser.wait("document.querySelectorAll('#found li').length > 20")
    browser.press("Tab")
    browser.wait(f"{FOCUSED}.id === 'authorize'")
    browser.press("Tab")
    browser.wait(f"{FOCUSED}.closest('#sections')")


@pytest.mark.outside
def test_an_operation_shows_what_is_its_own_first(browser: Browser, site: str) -> None:
    open_docs(browser, site, "#/claims/createClaim")
    place = "document.querySelector('#operations-claims-createClaim')"
    browser.wait(f"{place}?.querySelector('.failure')")
    assert browser.evaluate(f"{place}.offsetHeight") < 5000
    shown = (
        f"[...{place}.querySelectorAll('.headers td:first-child')].filter(e => e.checkVisibility())"
    )
    names = browser.evaluate(f"{shown}.map(e => e.innerText)")
    assert {"ETag", "Location"} <= {*names}
    assert "X-Content-Type-Options" not in names
    browser.click("#operations-claims-createClaim .response[data-code='201'] [data-name='model']")
    browser.wait(f"{place}.innerText.includes('When this record was created.')")
    assert "matches ^[12]" not in browser.evaluate(f"{place}.innerText")
    codes = f"[...{place}.querySelectorAll('.failure td:first-child')].map(e => e.innerText)"
    assert {"401", "422"} <= {*browser.evaluate(codes)}
    row = "#operations-claims-createClaim .response.failure:has(+ .failure) button"
    browser.click(row)
    browser.wait(
        f"document.querySelector('{row.replace(':has(+ .failure)', '')}').ariaExpanded === 'true'"
    )
    browser.wait(f"{place}.querySelector('.failure + .response:not(.failure) .renderedMarkdown')")
    browser.click("#operations-claims-createClaim .operation-link a")
    browser.wait("location.hash === '#/claims/getClaim'")
    browser.wait("document.querySelector('#operations-claims-getClaim .opblock-body')")


def send(browser: Browser, operation: str) -> str:
    """Try an operation out as it stands; give what was answered."""
    place = f"#operations-{operation}"
    browser.wait(f"document.querySelector('{place} .opblock-body')")
    if not browser.evaluate(f"!!document.querySelector('{place} .execute')"):
        browser.click(f"{place} .try-out__btn")
    if browser.evaluate(f"!!document.querySelector('{place} .btn-clear')"):
        browser.click(f"{place} .btn-clear")
        browser.wait(f"!document.querySelector('{place} {LIVE}')")
    browser.click(f"{place} .execute")
    return browser.text(f"{place} {LIVE}")


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_trying_out_takes_a_key_where_the_service_does(
    browser: Browser, site: str, screen: tuple[int, str]
) -> None:
    open_docs(browser, site, "#/claims/createClaim", screen=screen)
    body = "#operations-claims-createClaim .body-param__text"
    browser.click("#operations-claims-createClaim .try-out__btn")
    browser.write(body, '{"text": "Tried out"}')
    refused = send(browser, "claims-createClaim")
    assert "401" in refused.split()
    assert "/v1/problems/unauthorized" in refused
    # The browser itself logs that.
    assert all("401" in message for message in browser.errors())

    browser.click("#authorize")
    browser.write("#auth-bearer-value", KEY)
    browser.click(".auth-btn-wrapper .authorize")
    browser.wait("document.querySelector('#authorize').innerText === 'Authorized'")
    browser.click(".auth-btn-wrapper .btn-done")
    browser.wait("document.activeElement.id === 'authorize'")
    created = send(browser, "claims-createClaim")
    assert "201" in created.split()
    assert "Tried out" in created

    browser.evaluate(SHOWN.format(key=["operations", "claims", "listClaims"]))
    assert "Tried out" in send(browser, "claims-listClaims")
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_trying_out_a_stream_or_an_export_ends(browser: Browser, site: str) -> None:
    open_docs(browser, site, "#/changes/streamChanges")
    told = send(browser, "changes-streamChanges")
    assert "event: change" in told
    assert "The stream itself goes on." in told
    browser.evaluate(SHOWN.format(key=["operations", "export", "exportRecords"]))
    exported = send(browser, "export-exportRecords")
    assert '"type":"article"' in exported.replace(" ", "")
    assert "can't parse" not in exported
    assert_quiet_local_and_fitting(browser, site, "light")


@pytest.mark.outside
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_the_landing_page_shows_a_claim_with_its_chain(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    browser.show(f"{site}/", *screen)
    roles = browser.evaluate("[...document.querySelectorAll('.chain .role')].map(e => e.innerText)")
    assert roles == ["Printed in", "Claimed by", "Citing", "Not answered by"]
    assert browser.text(".chain mark") == "the number of injured “approaching 1,000”"
    assert browser.evaluate("document.querySelectorAll('.claims > li').length") == 5
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, screen[1])
