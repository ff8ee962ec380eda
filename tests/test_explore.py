"""The pages to look at: what they are made of, and that they show records in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.site.pages import ASSETS
from tests.browser import SCREENS, Browser, assert_quiet_local_and_fitting, assert_usable
from tests.conftest import KEY, PATIENCE, bearer
from tests.factories import EVERY, Noun

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


@pytest.mark.parametrize(
    "path",
    [
        *("/explore/nothing", "/explore/claims/some-id/nothing"),
        *("/explore/match/some-id", "/explore/figures/some-id/history"),
    ],
)
async def test_there_is_no_other_view(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_no_html_of_text_and_imports_what_is_served(name: str) -> None:
    text = SCRIPTS[name]
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|Storage"
    assert not re.search(unsafe, re.sub(r"//.*", "", text))
    for imported in re.findall(r"""(?:from|import\(|all:|one:|history:) ?"\./([^"]+)\"""", text):
        assert f"explore/{imported}" in ASSETS


def test_the_scripts_are_short_enough_to_read() -> None:
    for name, text in SCRIPTS.items():
        assert len(text.splitlines()) <= 300, name


PRELOADED = re.compile(r'<link rel="modulepreload" href="/assets/explore/([^"]+)">')
SHOWN = {
    "/explore": "front.js",
    "/explore/articles": "list.js",
    f"/explore/articles/{uuid4()}": "article.js",
    f"/explore/claims/{uuid4()}": "claim.js",
    f"/explore/sources/{uuid4()}": "source.js",
    f"/explore/denials/{uuid4()}/history": "history.js",
    "/explore/figures": "figures.js",
    "/explore/groups": "groups.js",
    "/explore/match": "match.js",
}


@pytest.mark.parametrize(("path", "view"), SHOWN.items(), ids=SHOWN.values())
async def test_the_head_of_a_page_names_the_script_of_its_view(
    client: httpx.AsyncClient, path: str, view: str
) -> None:
    named = PRELOADED.findall((await client.get(path)).text)
    assert view in named
    assert len(set(named)) == len(named)


LOADED = """[...new Set(performance.getEntriesByType('resource')
    .filter(entry => entry.name.endsWith('.js')).map(entry => entry.name.split('/').at(-1)))]"""


@pytest.mark.outside
@pytest.mark.parametrize("path", SHOWN, ids=SHOWN.values())
def test_a_page_loads_the_scripts_that_its_head_names_and_no_others(
    browser: Browser, site: str, path: str
) -> None:
    open_page(browser, site, path)
    assert sorted(browser.evaluate(LOADED)) == sorted(
        PRELOADED.findall(httpx.get(f"{site}{path}").text)
    )
    browser.errors()  # most of these records do not exist


# --- from the API to the pages -------------------------------------------------------------------

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,"
    "image/avif,image/webp,image/apng,*/*;q=0.8"
)
ACCEPTS = {"browser": CHROMIUM, "html": "text/html", "weighed": "TEXT/HTML;q=0.9, */*;q=0.1"}


@pytest.mark.parametrize("accept", ACCEPTS.values(), ids=ACCEPTS)
@pytest.mark.parametrize("noun", EVERY.values(), ids=map(str, EVERY))
async def test_a_browser_is_led_from_a_record_to_its_page(
    client: httpx.AsyncClient, noun: Noun, accept: str
) -> None:
    identity = str(uuid4())  # it says nothing about what exists
    path = f"/v1/{noun.resource.plural}/{identity}"
    for method in ("GET", "HEAD"):
        answer = await client.request(
            method, path, headers={"accept": accept, "authorization": "Bearer none"}
        )
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/explore/{noun.resource.plural}/{identity}"
        assert answer.headers["vary"] == "Accept"
    assert (await client.get(answer.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    "accept",
    [
        *(None, "*/*", "application/json", "text/html;q=0, */*"),
        *("application/json, text/html", "text/html, */*", "text/html;q=0.5, application/*"),
    ],
)
async def test_a_program_gets_json(client: httpx.AsyncClient, accept: str | None) -> None:
    made = (await client.post("/v1/sources", json={"kind": "person", "name": "Lee"})).json()
    request = client.build_request("GET", f"/v1/sources/{made['id']}")
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = await client.send(request)
    assert answer.json() == made
    assert answer.headers["vary"] == "Accept"
    request.headers["if-none-match"] = answer.headers["etag"]
    again = await client.send(request)
    assert (again.status_code, again.headers["vary"]) == (304, "Accept")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/sources", 200),
        ("/v1/sources/x", 404),
        ("/v1/sources/{id}?as_of=2026-01-01T00:00:00Z", 404),
    ],
)
async def test_a_browser_is_led_from_records_only(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    made = (await client.post("/v1/sources", json={"kind": "person", "name": "Lee"})).json()
    answer = await client.get(path.format(id=made["id"]), headers={"accept": CHROMIUM})
    assert answer.status_code == status
    assert "json" in answer.headers["content-type"]


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


MARKS = "[...document.querySelectorAll('.text mark')].map(mark => [mark.innerText, mark.className])"
FOCUSED = "document.activeElement"


STORM = "🌊 At least 40 containers, some with “toxic” goods, were lost.\nخسرت كثير.\nNot so."
FIGURE = {
    "metric": "losses",
    "unit": "container",
    "qualifier": "at_least",
    "lower": 40,
    "printed": "At least 40",
}
PASSAGES = {
    "outer": ("At least 40 containers, some with “toxic” goods",),
    "inner": ("some with “toxic” goods",),
    "crossing": ("goods, were lost.\nخسرت",),
    "split": ("At least 40", "were lost"),
    "lost": ("Not so",),
}


@pytest.fixture(scope="session")
def storm(site: str) -> dict[str, str]:
    """Make an article whose text begins with an emoji, with marks that nest, overlap and get lost.

    Nothing of it shows elsewhere: its claims are drafts, for which a page needs the key.
    """
    made: dict[str, str] = {}
    with httpx.Client(base_url=site, headers=bearer(KEY), timeout=PATIENCE) as client:

        def make(made_as: str, plural: str, **body: Any) -> None:
            answer = client.post(f"/v1/{plural}", json=body)
            assert answer.status_code == 201, answer.text
            made[made_as] = answer.json()["id"]

        make("source", "sources", kind="person", name="Harbour master <b>")
        make("article", "articles", headline="The storm", text=STORM, language="en")
        said = {"attributions": [{"source_id": made["source"], "resolution": "certain"}]}
        for name, passages in PASSAGES.items():
            places = [(STORM.index(words), words) for words in passages]
            spans = [{"start": at, "end": at + len(words), "exact": words} for at, words in places]
            printed = {"appearances": [{"article_id": made["article"], "spans": spans}]}
            figures = [FIGURE] if name == "outer" else []
            text = f"The {name} claim"
            make(name, "claims", text=text, quantities=figures, **said, **printed)
        targets = [{"claim_id": made["inner"]}]
        text = "No goods were toxic"
        make("denial", "denials", text=text, kind="full_denial", targets=targets, **said)
        changed = client.patch(
            f"/v1/articles/{made['article']}",
            content=json.dumps({"text": STORM.replace("Not so", "That is so")}),
            headers={"if-match": "*", "content-type": "application/merge-patch+json"},
        )
        assert changed.status_code == 200, changed.text
    return made


def use_key(browser: Browser) -> None:
    """Enter the key that sees drafts, as a person does."""
    browser.click("#open-key")
    browser.write("#key input", KEY)
    browser.press("Enter")
    browser.wait(f"!document.getElementById('key').open && {READY}")


@pytest.mark.outside
def test_a_text_that_no_header_can_carry_is_refused_as_a_key(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    assert browser.evaluate("document.querySelector('#key input').autocomplete") == "one-time-code"
    browser.click("#open-key")
    browser.write("#key input", "clk_ключ")
    browser.press("Enter")
    browser.wait("document.getElementById('key-problem').innerText.startsWith('This is not a key')")
    assert browser.evaluate("document.getElementById('key').open")
    browser.write("#key input", f" {KEY} ")
    browser.press("Enter")
    browser.wait(f"!document.getElementById('key').open && {READY}")
    assert browser.text("#open-key") == "Key in use"
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
def test_marks_that_nest_and_overlap_are_told_apart(
    browser: Browser, site: str, storm: dict[str, str]
) -> None:
    open_page(browser, site, f"/explore/articles/{storm['article']}")
    assert browser.evaluate(MARKS) == []  # drafts
    use_key(browser)
    assert browser.evaluate(MARKS) == [
        ["At least 40", "claim claim-0 claim-1"],
        [" containers, ", "claim claim-0"],
        ["some with “toxic” ", "claim claim-0 claim-1"],
        ["goods", "claim claim-0 claim-1 claim-2"],
        [", ", "claim claim-2"],
        ["were lost", "claim claim-0 claim-2"],
        [".\n", "claim claim-2"],
        ["خسرت", "claim claim-2"],
    ]
    lost = r"The lost claim draft\s+Its words are no longer in the text: Not so"
    assert re.search(lost, browser.text("main"))
    assert browser.text(".order li:first-child").startswith("The outer claim draft")
    assert "<b>" in browser.text(".order")
    assert KEY not in browser.evaluate("JSON.stringify([localStorage, sessionStorage, location])")
    assert KEY not in browser.text(".foot")


@pytest.mark.outside
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_a_mark_shows_the_chain_the_figure_and_the_responses(
    browser: Browser, site: str, axe: str, storm: dict[str, str], screen: tuple[int, str]
) -> None:
    open_page(browser, site, f"/explore/articles/{storm['article']}", screen)
    use_key(browser)
    browser.evaluate("document.querySelector('.text mark').focus()")
    browser.press("Tab", "Tab")  # from passage to passage
    browser.wait(f"{FOCUSED}.innerText === 'goods'")
    for words in ("The inner claim", "Claimed by", "Harbour master <b>", "at least 40", "Denied"):
        assert words in browser.text("#card")
    browser.press("Enter")
    browser.wait(f"{FOCUSED}.id === 'card'")
    assert_usable(browser, axe)
    browser.press("Escape")
    browser.wait(f"{FOCUSED}.innerText === 'goods'")
    open_card = "document.querySelector('#card.open')"
    assert not browser.evaluate(open_card)
    browser.evaluate("document.querySelector('.text mark').focus()")
    assert browser.evaluate(open_card)
    browser.press("Escape")
    assert not browser.evaluate(open_card)
    browser.evaluate("document.querySelectorAll('.text mark')[1].click()")
    browser.evaluate("document.querySelector('#card .close').click()")
    browser.wait(f"{FOCUSED}.localName === 'mark'")
    assert len(browser.evaluate(REQUESTS)) <= 2 * MAX_REQUESTS  # without the key, and with it
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_two_versions_are_compared(browser: Browser, site: str, storm: dict[str, str]) -> None:
    open_page(browser, site, f"/explore/articles/{storm['article']}/history", SCREENS[2])
    shown = "[...document.querySelectorAll('{}')].map(e => e.innerText).join('|')"
    assert browser.evaluate(shown.format("del")) == "Not"
    assert browser.evaluate(shown.format("ins")) == "That is"
    assert_quiet_local_and_fitting(browser, site, SCREENS[2][1])


@pytest.mark.outside
def test_a_draft_is_marked_wherever_it_stands(
    browser: Browser, site: str, storm: dict[str, str]
) -> None:
    open_page(browser, site, f"/explore/denials/{storm['denial']}")
    browser.errors()  # without the key it is refused, which the browser itself logs
    use_key(browser)
    assert "The inner claim draft" in browser.text("main .records")
    browser.click(f"main .records a[href$='{storm['inner']}']")
    browser.wait(f"{READY} && document.title.startsWith('The inner claim')")
    browser.click("#places a[href='/explore/groups']")
    browser.wait(f"{READY} && document.title.startsWith('Numbers')")
    assert "such as drafts, is counted too" in browser.text("main")
    browser.click("#places a[href='/explore/figures']")
    browser.wait(f"{READY} && document.querySelector('tbody')")
    assert "The outer claim draft" in browser.text("tbody")
    assert "draft" in browser.evaluate("document.querySelector('svg.plot').textContent")


def without_words(text: str | None) -> str:
    """Ask what becomes of two appearances in an article: one has words, one has none."""
    spans = [{"start": 0, "end": 1, "exact": "a", "role": "content"}]
    printed = [{"article_id": "x", "anchor": "exact", "spans": each} for each in ([], spans)]
    statement = {"type": "claim", "record": {"id": "c", "appearances": printed}}
    article = json.dumps({"id": "x", "text": text})
    found = f"module.findMarks({article}, [{json.dumps(statement)}])"
    return f"Object.values({found}).map(its => its.length)"


@pytest.mark.outside
def test_words_that_have_no_place_are_not_called_lost(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    assert imported(browser, "marks.js", without_words("a")) == [1, 0, 1]
    assert imported(browser, "marks.js", without_words("b")) == [0, 1, 1]
    assert imported(browser, "marks.js", without_words(None)) == [0, 0, 2]


THREAD = [("a", 1, ["root"]), ("b", 1, ["root"]), ("c", 2, ["a"]), ("d", 2, ["root", "b", "a"])]


@pytest.mark.outside
def test_a_response_stands_below_what_it_answers(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    thread = [{"denial_id": key, "depth": depth, "answers": its} for key, depth, its in THREAD]
    asked = f"module.belowEachOther({json.dumps(thread)}, 'root')"
    found = imported(browser, "claim.js", f"{asked}.map(each => [each.denial_id, each.others])")
    assert found == [["a", []], ["c", []], ["b", []], ["d", ["root", "a"]]]


CUT_OFF = """[...document.querySelectorAll('.graph text')].filter(text => {
    const { x, width } = text.getBBox();
    return x < 0 || x + width > text.ownerSVGElement.viewBox.baseVal.width;
}).map(text => text.lastChild.textContent)"""
KILLED = "147fa90f-1ccf-53d4-af97-3da31ce125f2"
OMISSION = "a18130b6-f031-5589-86cb-279049c0d3ef"


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_a_claim_shows_who_said_it_where_and_how_it_was_answered(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, f"/explore/claims/{KILLED}", screen)
    for words in (
        *("Lee Seong-kweun", "National Intelligence Service", "at least 100", "the MP Lee"),
        *("The statement does not mention the losses", "2 independent origins", "SPECIFIES"),
    ):
        assert words.lower() in browser.text("main").lower()
    drawn = "document.querySelectorAll('.graph {}').length"
    assert browser.evaluate(drawn.format(".origin")) == 2
    assert browser.evaluate(drawn.format(".line")) == 4
    assert browser.evaluate(CUT_OFF) == []
    assert len(browser.evaluate(REQUESTS)) <= MAX_REQUESTS
    assert_usable(browser, axe)
    browser.click(f".thread a[href$='{OMISSION}']")
    browser.wait(f"{READY} && document.title.startsWith('The statement does not')")
    assert "WHAT IT ANSWERS" in browser.text("main")
    assert "NOT ANSWERED" in browser.text("main")
    assert_usable(browser, axe)
    browser.evaluate("history.back()")
    browser.wait(f"{READY} && document.title.startsWith('At least 100')")
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_a_claim_shows_what_other_claims_say_of_it(browser: Browser, site: str) -> None:
    open_page(browser, site, f"/explore/claims/{KILLED}")
    assert "specifies" in browser.text("main .records .role").lower()
    browser.click("main .records a")
    browser.wait(f"{READY} && !location.pathname.endsWith('{KILLED}')")
    assert "Specifies this claim" in browser.text("main")
    assert (
        browser.evaluate(f"document.querySelectorAll('.records a[href$=\"{KILLED}\"]').length") == 1
    )
    assert len(browser.evaluate(REQUESTS)) <= 2 * MAX_REQUESTS  # two pages
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
def test_what_is_not_there_is_said_in_the_words_of_the_api(browser: Browser, site: str) -> None:
    for path, said in {
        f"/explore/claims/{KILLED.replace('1', '2')}": "No record has this id.",
        "/explore/claims/nothing": "The value of a query parameter is not valid.",
        "/explore/claims?colour=red": "This operation does not have this query parameter.",
    }.items():
        open_page(browser, site, path)
        assert said in browser.text("main")
        browser.errors()  # the browser itself logs a refused request


@pytest.mark.outside
def test_of_several_problems_the_first_in_order_is_shown(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    late = "Promise.resolve().then(() => 0).then(() => Promise.reject('the record'))"
    failed = f"module.answersOf([1, {late}, Promise.reject('its responses')])"
    asked = f"{failed}.catch(problem => problem)"
    assert imported(browser, "api.js", asked) == "the record"


ANSWERING = """(window.asked = window.fetch, window.fetch = async () => ({{
    ok: {ok}, status: {status}, json: async () => {answer},
}}))"""
BUSY = {"status": 503, "title": "Too busy.", "detail": "Wait for `Retry-After`.", "code": "busy"}
CUT_SHORT = "{ throw new TypeError('network error'); }"


@pytest.mark.outside
@pytest.mark.parametrize("said", ["Too busy.", "The service does not answer."])
def test_what_failed_for_now_can_be_tried_again(browser: Browser, site: str, said: str) -> None:
    open_page(browser, site, "/explore")
    answers = {"Too busy.": ("false", 503, f"({json.dumps(BUSY)})")}
    ok, status, answer = answers.get(said, ("true", 200, CUT_SHORT))
    browser.evaluate(ANSWERING.format(ok=ok, status=status, answer=answer))
    browser.click("#places a[href='/explore/claims']")
    browser.wait(f"{READY} && document.querySelector('h1').innerText === '{said}'")
    assert "`" not in browser.text("main")
    browser.evaluate("window.fetch = window.asked")
    browser.click("main .buttons button")
    browser.wait(f"{READY} && document.querySelector('h1').innerText === 'Claims'")
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
def test_who_entered_a_wrong_key_can_go_on_without(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/claims")
    browser.click("#open-key")
    browser.write("#key input", "clk_wrong")
    browser.press("Enter")
    browser.wait(f"{READY} && document.querySelectorAll('main .buttons button').length === 2")
    browser.errors()  # the browser itself logs a refused request
    browser.click("main .buttons button:last-child")
    browser.wait(f"{READY} && document.querySelector('h1').innerText === 'Claims'")
    assert browser.text("#open-key") == "Use a key"
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


HANGING = """(window.asked = window.fetch, window.fetch = async (path, { signal }) => ({
    ok: true,
    json: () => new Promise((_, fail) => signal.addEventListener('abort', () => {
        fail(signal.reason);
    })),
}))"""


@pytest.mark.outside
def test_a_page_that_was_left_logs_nothing(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    browser.evaluate(HANGING)
    browser.click("#places a[href='/explore/claims']")
    browser.wait("document.querySelector('#asked li')")  # it has asked, and waits
    browser.wait("document.getElementById('waiting').innerText === 'Reading the records …'")
    browser.evaluate("window.fetch = window.asked")
    browser.click("#places a[href='/explore/articles']")
    browser.wait(f"{READY} && document.title.startsWith('Articles')")
    assert browser.text("#waiting") == ""
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_a_form_with_every_filter_writes_the_request(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, "/explore/claims?metric=killed", screen)
    browser.evaluate("document.querySelector('.filters').open = true")
    browser.wait("document.querySelector('[name=response_family]')")
    assert browser.evaluate("document.querySelector('[name=metric]').value") == "killed"
    assert not browser.evaluate("document.querySelector('[name=format], [name=columns]')")
    assert_usable(browser, axe)
    browser.evaluate("document.querySelector('[name=response_family]').value = 'silent'")
    browser.write("[name=quantity_from]", "90")
    browser.press("Enter")
    browser.wait(f"{READY} && location.search.includes('response_family')")
    asked = "/v1/claims?metric=killed&quantity_from=90&response_family=silent"
    assert asked in browser.text("#asked").replace("\n", "")
    assert "At least 100 North Korean soldiers" in browser.text(".records")
    assert "More than 3,000" not in browser.text(".records")
    assert browser.evaluate("document.querySelectorAll('.set a').length") == 3
    browser.click(".set li:last-child a")
    browser.wait(f"{READY} && !location.search.includes('response_family')")
    assert len(browser.evaluate(REQUESTS)) <= 3 * 2  # the list and its numbers, three times
    assert_quiet_local_and_fitting(browser, site, screen[1])


# Where the numbers stand beside the list, and where the day of a record beside its words.
PLACED = """(() => {
    const box = name => document.querySelector(name).getBoundingClientRect();
    const [list, numbers] = [box('.listing .records'), box('.listing .glance')];
    const [when, words] = [box('.dated .when'), box('.dated h2')];
    return [numbers.left > list.right && numbers.top < list.top + 100, when.right < words.left];
})()"""


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_the_numbers_beside_a_list_narrow_it(
    browser: Browser, site: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, "/explore/claims?metric=killed", screen)
    assert browser.evaluate(PLACED) == [screen[0] > 600] * 2
    assert browser.text(".listing section h2").lower() == "3 claims"
    assert len(browser.evaluate(REQUESTS)) == 2
    browser.click(".glance a[href*='claimant_id']")
    browser.wait(f"{READY} && location.search.includes('metric=killed&claimant_id=')")
    assert "By claimant" not in browser.text(".listing")  # it is chosen
    assert "By kind" in browser.text(".listing")
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_a_list_is_shown_whatever_form_its_address_asks_for(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/claims?metric=killed&format=csv&bom=true")
    assert browser.evaluate("document.querySelectorAll('.records > li').length") == 3
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
def test_a_list_is_shown_without_numbers_if_they_fail(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/match")
    failing = "path.includes('/groups') ? Promise.reject(new TypeError()) : window.asked(path, its)"
    browser.evaluate(f"(window.asked = fetch, window.fetch = (path, its) => {failing})")
    browser.click("#places a[href='/explore/claims']")
    browser.wait(f"{READY} && document.querySelector('.records')")
    assert not browser.evaluate("document.querySelector('.glance')")
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
def test_a_command_that_is_copied_works_in_a_shell(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/match")
    said = 'At least 100 North Korean soldiers\' deaths: `no` $HOME \\ "killed"'
    browser.write("#pasted", said)
    browser.click("main form button")
    browser.wait(f"{READY} && document.querySelector('#asked li')")
    command = browser.evaluate("document.querySelector('#asked pre').textContent")
    shell = ["sh", "-c", command.replace("curl ", "curl -sS --noproxy '*' ", 1)]
    answer = subprocess.run(shell, check=True, capture_output=True, timeout=PATIENCE)
    body = {"texts": [{"text": said}], "limit": 5}
    asked = httpx.post(f"{site}/v1/claims/match", json=body, timeout=PATIENCE).json()
    found = [[each["record"]["id"] for each in match["items"]] for match in asked["matches"]]
    same = json.loads(answer.stdout)["matches"]
    assert [[each["record"]["id"] for each in match["items"]] for match in same] == found
    assert found[0]


FILLED = """[...new FormData(document.querySelector('form.search'))]
    .filter(([, value]) => value).map(each => each.join('='))"""


@pytest.mark.outside
def test_a_form_keeps_filters_that_it_has_no_field_for(browser: Browser, site: str) -> None:
    filters = [f"id__in={KILLED}", f"id__in={OMISSION}", "tag=one", "colour=red"]
    open_page(browser, site, f"/explore/claims?{'&'.join(filters)}")
    assert "This operation does not have this query parameter." in browser.text("main section")
    browser.errors()  # the browser itself logs a refused request
    browser.evaluate("document.querySelector('.filters').open = true")
    browser.wait("document.querySelector('[name=response_family]')")
    assert sorted(browser.evaluate(FILLED)) == sorted(filters)
    assert browser.evaluate("document.querySelectorAll('.set a').length") == 4


REFUSING = """(window.asked = window.fetch, window.fetch = async (path, { body }) => {
    window.sent = JSON.parse(body).texts.map(({ text }) => [...text].length);
    return { ok: false, json: async () => ({ title: 'Too much', detail: 'Wait.', status: 503 }) };
})"""


@pytest.mark.outside
def test_a_refused_text_stays_in_its_form_and_is_not_sent_again(
    browser: Browser, site: str
) -> None:
    open_page(browser, site, "/explore/match")
    browser.evaluate(REFUSING)
    browser.write("#pasted", "🌊" * 10_001)
    browser.click("main form button")
    browser.wait(f"{READY} && document.querySelector('main section')")
    assert browser.text("main section h2") == "Too much"
    assert browser.evaluate("window.sent") == [10_000]
    browser.evaluate("window.fetch = window.asked")
    for place in ("sources", "match"):
        browser.click(f"#places a[href='/explore/{place}']")
        browser.wait(f"{READY} && location.pathname === '/explore/{place}'")
    assert browser.evaluate("document.getElementById('pasted').value.length") == 20_002
    assert browser.evaluate("document.querySelectorAll('#asked li').length") == 0


@pytest.mark.outside
def test_a_pasted_text_is_looked_up_and_stays_out_of_the_address(
    browser: Browser, site: str, axe: str
) -> None:
    open_page(browser, site, "/explore/match", SCREENS[2])
    browser.write("#pasted", "At least 100 North Korean soldiers have been killed\nIt is raining")
    browser.click("main form button")
    browser.wait(f"{READY} && document.querySelector('meter')")
    assert "At least 100 North Korean soldiers have been killed" in browser.text(".records")
    assert "National Intelligence Service" in browser.text(".records")
    assert "No claim says this." in browser.text("main")
    assert browser.evaluate("location.href") == f"{site}/explore/match"
    assert "It is raining" in browser.evaluate("document.querySelector('pre').textContent")
    assert len(browser.evaluate(REQUESTS)) <= MAX_REQUESTS
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, SCREENS[2][1])


DIRECTIONS = {
    "\u202eab": "\u202eab\u202c",
    "\u2066\u202eab": "\u2066\u202eab\u202c\u2069",
    "a\u2069b\u202cc": "abc",
    "\u2067\u202ea\u2069b\u202c": "\u2067\u202ea\u2069b",
    "\u2067a\u2069": "\u2067a\u2069",
}
"""Texts with marks of direction, and how they are shown: nothing behind them is turned around."""


def imported(browser: Browser, module: str, expression: str) -> Any:
    """Evaluate an expression with what a module of the pages exports."""
    path = json.dumps(f"/assets/explore/{module}")
    script = f"import({path}).then(module => {expression}).then(arguments[0])"
    return browser.command("execute/async", script=script, args=[])


@pytest.mark.outside
def test_marks_of_direction_end_with_their_text(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    shown = f"{json.dumps(list(DIRECTIONS))}.map(text => module.words(text).textContent)"
    assert imported(browser, "page.js", shown) == list(DIRECTIONS.values())


CHANGES = [
    ("one two three", "one 2 three", [["same", "one "], ["removed", "two"], ["added", "2"]]),
    ("", "new", [["added", "new"]]),
    ("old", "", [["removed", "old"]]),
    ("a b c d", "a x y d", [["same", "a "], ["removed", "b c"], ["added", "x y"], ["same", " d"]]),
    ("same", "same", [["same", "same"]]),
    (" ".join(map(str, range(900))), " ".join(map(str, range(900, 1800))), None),
]


@pytest.mark.outside
def test_texts_are_compared_word_by_word_within_bounds(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    for before, after, expected in CHANGES:
        asked = f"module.differences({json.dumps(before)}, {json.dumps(after)})"
        found = imported(browser, "differences.js", f"{asked}.map(p => [p.kind, p.text])")
        for kind, text in (("added", before), ("removed", after)):
            assert "".join(words for its, words in found if its != kind) == text
        if expected:
            assert found[: len(expected)] == expected


@pytest.mark.outside
def test_texts_that_take_too_long_to_compare_are_one_change(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    texts = "`b ${'a '.repeat(3e6)}c`, `d ${'a '.repeat(3e6)}e`"
    asked = f"module.differences({texts}).map(part => part.kind)"
    assert imported(browser, "differences.js", asked) == ["removed", "added"]


ENDED = """(marks => {
    let read = 0;
    for (const mark of marks) {
        const { end } = mark;
        Object.defineProperty(mark, 'end', { get: () => (read += 1, end) });
    }
    return [module.cut(marks).length, read];
})(Array.from({ length: 2000 }, (_, at) => ({
    start: 2 * at, end: 2 * at + 3, lane: at % 2, statement: { type: 'claim' },
})))"""


@pytest.mark.outside
def test_marks_that_have_ended_are_looked_at_no_more(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    pieces, read = imported(browser, "marks.js", ENDED)
    assert pieces == 2 * 2000 - 1
    assert read < 10 * 2000


EMOJI = "🌊" * 6000  # each is two units of UTF-16, and ten thousand of them fit
CUTS = [
    ("one\n\nthree", [], ["one\n", "\n", "three"]),
    ("a" + EMOJI, [], ["a" + EMOJI[:4999], EMOJI[4999:]]),
    ("a b" + EMOJI, [], ["a ", "b" + EMOJI[:4999], EMOJI[4999:]]),
    ("word " * 2001, [], ["word " * 2000, "word "]),
    ("🌊\n" * 4000, [(2000, 4000)], ["🌊\n" * 1000, "🌊\n" * 1000, "🌊\n" * 2000]),
    ("12\n" * 4000, [], ["12\n" * 3333, "12\n" * 667]),
]
"""Texts with the places of their captions, and the blocks they are cut into."""


@pytest.mark.outside
def test_a_text_is_cut_between_lines_words_and_characters(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    for text, places, expected in CUTS:
        zones = [{"zone": "caption", "start": start, "end": end} for start, end in places]
        asked = f"(text => module.blocksOf(text, {json.dumps(zones)})"
        asked += f".map(b => [text.slice(b.start, b.end), b.zone]))({json.dumps(text)})"
        found = imported(browser, "blocks.js", asked)
        assert [its for its, _ in found] == expected
        assert [zone for _, zone in found if zone] == ["caption"] * len(places)


SIZES = [
    ({"qualifier": "exact", "value": 10000}, "10,000"),
    ({"qualifier": "at_least", "lower": 100}, "at least 100"),
    ({"qualifier": "more_than", "lower": 3000}, "more than 3,000"),
    ({"qualifier": "at_most", "upper": 0.5}, "at most 0.5"),
    ({"qualifier": "fewer_than", "upper": 7}, "fewer than 7"),
    ({"qualifier": "approximately", "value": 40}, "about 40"),
    ({"qualifier": "approaching", "upper": 1000}, "approaching 1,000"),
    ({"qualifier": "between", "lower": 1, "upper": 2}, "between 1 and 2"),
    ({"qualifier": "between", "lower": 1, "upper": 3, "value": 2}, "between 1 and 3, at best 2"),
    ({"qualifier": "vague", "term": "several hundreds"}, "“several hundreds”"),
]
TIMES = [
    ({"earliest": "2024-12-19", "latest": "2024-12-19"}, "19 December 2024"),
    (
        {"earliest": "2024-12-19", "latest": "2024-12-19", "expression": "19 December 2024"},
        "19 December 2024",
    ),
    ({"earliest": "2024-12-19"}, "from 19 December 2024"),
    (
        {"earliest": "2024-12-19", "expression": "19 December 2024"},
        "from 19 December 2024 (“19 December 2024”)",
    ),
    ({"latest": "2024-12-19"}, "until 19 December 2024"),
    (
        {"earliest": "2024-12-31T23:59:60Z", "expression": "x"},
        "from 2024-12-31T23:59:60Z UTC (“x”)",
    ),
    ({"expression": "on Monday"}, "“on Monday”"),
]
DAYS = [
    ({"earliest": "2024-12-19", "latest": "2024-12-19T12:00:00Z"}, "19 Dec 2024"),
    ({"earliest": "2024-12-16", "latest": "2024-12-18"}, "16 – 18 Dec 2024"),  # noqa: RUF001 - a range
    ({"earliest": "2024-12-19"}, "from 19 Dec 2024"),
    ({"latest": "2024-12-19", "expression": "x"}, "until 19 Dec 2024"),
    ({"expression": "on Monday"}, ""),
    (None, ""),
]


@pytest.mark.outside
def test_figures_keep_their_hedges_and_times_their_words(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore")
    for function, cases in (("size", SIZES), ("time", TIMES), ("day", DAYS)):
        asked = f"{json.dumps([given for given, _ in cases])}.map(module.{function})"
        text = (
            f"{asked}.map(made => [made].flat(9).map(part => part?.textContent ?? part).join(''))"
        )
        assert imported(browser, "words.js", text) == [said for _, said in cases]
