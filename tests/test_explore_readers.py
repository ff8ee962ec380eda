"""Everybody can read the pages: with a screen reader, a keyboard, little contrast, or no motion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.browser import SCREENS, Browser, assert_quiet_local_and_fitting, assert_usable
from tests.conftest import KEY, PATIENCE, bearer
from tests.test_explore import FOCUSED, KILLED, OMISSION, READY, open_page, use_key
from tests.test_explore_figures import drawn, row

MINISTRY = "76cc97cf-bda0-59fa-b022-310de798edcd"
PAGES = {
    "front": "/explore",
    "articles": "/explore/articles",
    "claims": "/explore/claims?metric=killed",
    "denials": "/explore/denials",
    "sources": "/explore/sources",
    "article": "/explore/articles/{article}",
    "claim": f"/explore/claims/{KILLED}",
    "denial": f"/explore/denials/{OMISSION}",
    "source": f"/explore/sources/{MINISTRY}",
    "history": "/explore/articles/{article}/history",
    "figures": "/explore/figures",
    "numbers": "/explore/groups",
    "match": "/explore/match",
    "problem": "/explore/claims?colour=red",
    "no record": f"/explore/claims/{KILLED.replace('1', '2')}",
}


@pytest.fixture(scope="session")
def article(site: str) -> str:
    """Give the id of the sample article in which most is printed."""
    latest: list[dict[str, str]] = httpx.get(f"{site}/v1/articles?sort=-published&limit=1").json()[
        "items"
    ]
    return latest[0]["id"]


# --- screen readers, and weak eyes ---------------------------------------------------------------


@pytest.mark.outside
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_axe_finds_nothing_on_any_page(
    browser: Browser, site: str, axe: str, article: str, page: str
) -> None:
    open_page(browser, site, page.format(article=article))
    for screen in SCREENS:
        browser.turn(*screen)
        assert_usable(browser, axe)
    browser.errors()  # the browser itself logs a refused request


# axe judges no text and no shape of a drawing. This one lays each over what is below it.
WEAK = """(() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const over = ([r, g, b, a = 1], below, share) =>
        [r, g, b].map((its, at) => its * a * share + below[at] * (1 - a * share));
    const linear = its => its <= 0.03928 ? its / 12.92 : ((its + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const contrast = (one, two) => {
        const [low, high] = [light(one), light(two)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const paper = numbers(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    const weak = new Set();
    const judge = (name, paints, below, least) => {
        const seen = paints.filter(([paint]) => paint !== 'none')
            .map(([paint, share]) => contrast(over(numbers(paint), below, share), below));
        if (Math.max(0, ...seen) < least) weak.add(`${name}: ${Math.max(0, ...seen).toFixed(2)}`);
    };
    const shapes = 'main svg :is(text, path, circle, ellipse, rect)';
    for (const element of document.querySelectorAll(shapes)) {
        if (element.matches('.rule, .grid, .hit, .band, .under')) continue; // they carry no meaning
        const style = getComputedStyle(element);
        let share = 1;
        for (let each = element; each.localName !== 'main'; each = each.parentNode)
            share *= getComputedStyle(each).opacity;
        const band = element.closest('.words')?.previousElementSibling;
        const below = band ? numbers(getComputedStyle(band).fill) : paper;
        const isText = element.localName === 'text';
        const stroke = isText ? [] : [[style.stroke, share * style.strokeOpacity]];
        const name = `${element.localName}.${element.getAttribute('class')}`;
        judge(name, [[style.fill, share * style.fillOpacity], ...stroke], below, isText ? 4.5 : 3);
    }
    for (const [names, part, property] of [['.times li', '::before', 'backgroundColor'],
            ['.chain li', '::before', 'borderTopColor'], ['.thread li', null, 'borderLeftColor']]) {
        for (const element of document.querySelectorAll(names))
            judge(names, [[getComputedStyle(element, part)[property], 1]], paper, 3);
    }
    return [...weak];
})()"""
DRAWINGS = {
    "figures": "/explore/figures",
    "origins": f"/explore/claims/{KILLED}",
    "numbers": "/explore/groups",
    "time line": f"/explore/sources/{MINISTRY}",
}


@pytest.mark.outside
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", DRAWINGS.values(), ids=DRAWINGS)
def test_drawings_have_contrast(browser: Browser, site: str, page: str, scheme: str) -> None:
    open_page(browser, site, page, (1280, scheme))
    browser.wait("document.querySelector('main :is(svg, .times)')")
    assert browser.evaluate(WEAK) == []


WAYS = ("dim", "denied")


@pytest.mark.outside
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_of_every_kind_have_contrast(browser: Browser, site: str, scheme: str) -> None:
    open_page(browser, site, "/explore/figures", (1280, scheme))
    bounds = {"lower_bound": 5, "upper_bound": 10, "value": 7}
    kinds = ["exact", "approximately", "at_least", "fewer_than", "approaching", "between", "vague"]
    rows = [row(kind, kind, **(bounds if kind != "vague" else {})) for kind in kinds]
    for one in rows:
        one["conflicts"] = [{"other": "elsewhere", "basis": "stated"}]
    rows += [each | {"key": f"{each['key']} {way}", way: True} for each in rows for way in WAYS]
    drawn(browser, rows, None, "document.querySelector('.drawing').replaceChildren(svg)")
    assert browser.evaluate("document.querySelectorAll('.row:is(.dim, .denied)').length") == 14
    assert browser.evaluate(WEAK) == []


# --- keyboards -----------------------------------------------------------------------------------

REACHABLE = """[...document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [tabindex="0"]'
)].filter(each => each.tabIndex >= 0 && !each.disabled && each.checkVisibility())"""
IN_CARD = f"{FOCUSED}.closest('#card') !== null"
RING = """(({ outlineStyle, outlineWidth }) => outlineStyle !== 'none'
    && parseFloat(outlineWidth) >= 2)(getComputedStyle(document.activeElement))"""


@pytest.mark.outside
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_tab_key_alone_reaches_everything_in_order(
    browser: Browser, site: str, article: str, page: str
) -> None:
    open_page(browser, site, page.format(article=article))
    browser.evaluate(f"window.all = {REACHABLE}")
    count = browser.evaluate("all.length")
    assert count > 8
    reached: list[int] = []
    for _ in range(2 * count):
        browser.press("Tab")
        at, is_card, is_ringed = browser.evaluate(f"[all.indexOf({FOCUSED}), {IN_CARD}, {RING}]")
        assert is_ringed, browser.evaluate(f"{FOCUSED}.outerHTML.slice(0, 200)")
        if not is_card:  # it shows the passage that was reached last
            reached.append(at)
        if len(reached) == count:
            break
    assert reached == list(range(count))
    browser.errors()


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[2]], ids=str)
def test_the_keyboard_leads_from_a_passage_to_its_claim_and_back(
    browser: Browser, site: str, article: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, f"/explore/articles/{article}", screen)
    browser.press("Tab")
    assert browser.evaluate(f"{FOCUSED}.className") == "skip"
    browser.press("Enter")
    browser.wait(f"{FOCUSED}.id === 'content'")
    while not browser.evaluate(f"{FOCUSED}.localName === 'mark'"):
        browser.press("Tab")
        assert browser.evaluate(f"document.querySelector('main').contains({FOCUSED})")
    browser.press("Tab")
    passage = browser.evaluate(f"{FOCUSED}.innerText")
    browser.press("Enter")
    browser.wait(f"{FOCUSED}.id === 'card'")
    while not browser.evaluate(f"{FOCUSED}.closest('h3') !== null"):
        browser.press("Tab")
        assert browser.evaluate(f"{FOCUSED}.closest('#card') !== null")
    said = browser.evaluate(f"{FOCUSED}.innerText")
    browser.press("Enter")
    browser.wait(f"{READY} && document.querySelector('h1').innerText === {json.dumps(said)}")
    assert browser.evaluate(f"{FOCUSED}.id") == "content"
    browser.evaluate("history.back()")
    browser.wait(f"{READY} && {FOCUSED}.localName === 'mark'")
    assert browser.evaluate(f"{FOCUSED}.innerText") == passage
    assert said in browser.text("#card")
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_who_comes_back_to_a_list_is_where_they_left_it(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/claims")
    links = "document.querySelectorAll('.records h2 a')"
    browser.evaluate(f"{links}[9].focus()")
    left = browser.evaluate("[scrollY, document.activeElement.href]")
    browser.press("Enter")
    browser.wait(f"{READY} && location.pathname !== '/explore/claims'")
    browser.evaluate("history.back()")
    browser.wait(f"{READY} && location.pathname === '/explore/claims'")
    browser.wait(f"{FOCUSED}.localName === 'a'")
    assert browser.evaluate("[scrollY, document.activeElement.href]") == left


# --- motion --------------------------------------------------------------------------------------

MOVING = """[...document.querySelectorAll('*')].filter(element => {
    const style = getComputedStyle(element);
    return style.scrollBehavior === 'smooth' || style.animationName !== 'none'
        || style.transitionDuration.split(', ').some(time => parseFloat(time) > 0);
}).map(element => element.localName)"""


@pytest.fixture
def motion(browser: Browser) -> Iterator[Any]:
    """Let a reader want less motion, or not."""

    def prefer(wanted: str) -> None:
        feature = {"name": "prefers-reduced-motion", "value": wanted}
        browser.devtools("Emulation.setEmulatedMedia", features=[feature])

    yield prefer
    prefer("")


@pytest.mark.outside
@pytest.mark.parametrize("page", ["front", "article", "source", "figures"])
def test_nothing_moves_for_a_reader_who_wants_less_motion(
    browser: Browser, site: str, article: str, page: str, motion: Any
) -> None:
    open_page(browser, site, PAGES[page].format(article=article))
    motion("no-preference")
    assert browser.evaluate(MOVING) == ["main"]
    motion("reduce")
    browser.command("refresh")  # what has begun to move still moves
    browser.wait(READY)
    assert browser.evaluate(MOVING) == []
    assert browser.evaluate("document.getAnimations().length") == 0


# --- writing from right to left ------------------------------------------------------------------

ARABIC = "قالت الوزارة إن العاصفة أغرقت 40 حاوية.\nوقال متحدث: «لم نعلم بعد» (Reuters)."  # noqa: RUF001 - these letters are Arabic
RIGHT_TO_LEFT = """(() => {
    const box = element => element.getBoundingClientRect();
    const block = document.querySelector('.text p');
    const mark = block.querySelector('mark');
    const range = document.createRange();
    range.setStart(block.firstChild, 0);
    range.setEnd(block.firstChild, 1);
    return {
        first: box(block).right - range.getBoundingClientRect().right,
        before: range.getBoundingClientRect().left - box(mark).right,
        title: getComputedStyle(document.querySelector('h1 bdi')).direction,
        listed: getComputedStyle(document.querySelector('.order bdi')).direction,
        around: getComputedStyle(document.querySelector('.order .aside')).direction,
    };
})()"""


@pytest.fixture(scope="session")
def arabic(site: str) -> dict[str, str]:
    """Make an article in Arabic, with a passage in its first line, and its claim."""
    made = {}
    with httpx.Client(base_url=site, headers=bearer(KEY), timeout=PATIENCE) as client:

        def make(plural: str, **body: Any) -> str:
            answer = client.post(f"/v1/{plural}", json=body)
            assert answer.status_code == 201, answer.text
            identity: str = answer.json()["id"]
            return identity

        source = make("sources", kind="organisation", name="وزارة النقل")
        made["article"] = make("articles", headline="العاصفة", text=ARABIC, language="ar")
        words = "العاصفة أغرقت 40 حاوية"
        start = ARABIC.index(words)
        span = {"start": start, "end": start + len(words), "exact": words}
        made["claim"] = make(
            "claims",
            text="أغرقت العاصفة 40 حاوية",
            language="ar",
            attributions=[{"source_id": source, "resolution": "certain"}],
            appearances=[{"article_id": made["article"], "spans": [span]}],
        )
    return made


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_a_text_from_right_to_left_begins_at_the_right(
    browser: Browser, site: str, axe: str, arabic: dict[str, str], screen: tuple[int, str]
) -> None:
    open_page(browser, site, f"/explore/articles/{arabic['article']}", screen)
    use_key(browser)
    found = browser.evaluate(RIGHT_TO_LEFT)
    assert abs(found.pop("first")) < 2
    assert found.pop("before") > 0  # the mark stands to the left of the first letter
    assert found == {"title": "rtl", "listed": "rtl", "around": "ltr"}
    assert_usable(browser, axe)
    browser.click(f".order a[href$='{arabic['claim']}']")
    browser.click("#card h3 a")
    browser.wait(f"{READY} && location.pathname.startsWith('/explore/claims')")
    quote = "getComputedStyle(document.querySelector('blockquote')).direction"
    assert browser.evaluate(quote) == "rtl"
    assert_quiet_local_and_fitting(browser, site, screen[1])


# --- what became of a response -------------------------------------------------------------------


WORDS = ("No comment on the gate", "The gate was shut", "There is no gate")


@pytest.fixture(scope="session")
def hardened(site: str) -> str:
    """Make a claim that was first not commented on, then denied, and then no longer."""
    with httpx.Client(base_url=site, headers=bearer(KEY), timeout=PATIENCE) as client:

        def make(plural: str, **body: Any) -> str:
            answer = client.post(f"/v1/{plural}", json=body)
            assert answer.status_code == 201, answer.text
            identity: str = answer.json()["id"]
            return identity

        claim = make("claims", text="The gate was left open")
        answers = {"targets": [{"claim_id": claim}], "attributions": []}
        denial = make("denials", text="The gate was shut", kind="full_denial", **answers)
        gone = {"validity": "hardened", "superseded_by_id": denial}
        make(
            "denials", text="No comment on the gate", kind="declined_to_comment", **gone, **answers
        )
        taken_back = {"validity": "retracted"}
        make("denials", text="There is no gate", kind="full_denial", **taken_back, **answers)
    return claim


@pytest.mark.outside
def test_the_thread_says_what_was_taken_back_and_what_was_hardened(
    browser: Browser, site: str, axe: str, hardened: str
) -> None:
    open_page(browser, site, f"/explore/claims/{hardened}")
    browser.errors()  # without the key it is refused, which the browser itself logs
    use_key(browser)
    items = browser.evaluate("[...document.querySelectorAll('.thread > li')].map(e => e.innerText)")
    said = {words: item for item in items for words in WORDS if words in item.split("\n")}
    assert "Hardened: replaced by a stronger response: The gate was shut" in said[WORDS[0]]
    assert "stronger than the response that it replaces: No comment" in said[WORDS[1]]
    assert "Taken back by the responder." in said[WORDS[2]]
    assert_usable(browser, axe)
    browser.click(".thread .left a")
    browser.wait(f"{READY} && document.title.startsWith('No comment on the gate')")
    assert "Hardened: replaced by a stronger response: The gate was shut" in browser.text("main")
