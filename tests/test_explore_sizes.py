"""The pages show what is large, deep or hostile: first what is on the screen, in the end all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.browser import SCREENS, Browser, assert_quiet_local_and_fitting, assert_usable
from tests.conftest import KEY, PATIENCE, bearer
from tests.test_explore import (
    FOCUSED,
    MAX_REQUESTS,
    READY,
    REQUESTS,
    open_page,
    use_key,
)
from tests.test_explore_figures import drawn, row

WRITTEN = "document.querySelector('.text').getAttribute('aria-busy') === 'false'"


def imported_records(site: str, lines: list[dict[str, Any]]) -> None:
    """Make many records in one request; without more they are drafts."""
    with httpx.Client(base_url=site, headers=bearer(KEY), timeout=PATIENCE) as client:
        answer = client.post(
            "/v1/import?atomic=true",
            content="\n".join(map(json.dumps, lines)),
            headers={"content-type": "application/x-ndjson"},
        )
        assert answer.status_code == 200, answer.text


def made(site: str, plural: str, **body: Any) -> str:
    """Make one record; give its id."""
    answer = httpx.post(f"{site}/v1/{plural}", json=body, headers=bearer(KEY), timeout=PATIENCE)
    assert answer.status_code == 201, answer.text
    identity: str = answer.json()["id"]
    return identity


def claim_line(article: str, spans: list[dict[str, Any]], **data: Any) -> dict[str, Any]:
    """Write a claim that is printed in an article as a line of an import."""
    said = {"text": "A claim", "appearances": [{"article_id": article, "spans": spans}], **data}
    return {"type": "claim", "data": said}


def span(text: str, start: int, end: int) -> dict[str, Any]:
    return {"start": start, "end": end, "exact": text[start:end]}


# --- two hundred claims --------------------------------------------------------------------------

SENTENCE = "Official number {number} said that {number} containers of the ship were lost.\n"
MANY = 200


@pytest.fixture(scope="session")
def report(site: str) -> str:
    """Make an article with 200 claims, two of which begin at the same word each; give its id."""
    lines = [SENTENCE.format(number=number) for number in range(100, 100 + MANY // 2)]
    text = "".join(lines)
    identity = made(site, "articles", headline="Two hundred claims", text=text, language="en")
    claims = []
    for line in lines:
        start = text.index(line)
        for end in (start + len(line) - 1, start + line.index(" of the ship")):
            said = {"text": f"Said: {text[start:end]}", "language": "en"}
            claims.append(claim_line(identity, [span(text, start, end)], **said))
    imported_records(site, claims)
    return identity


LEGIBLE = """(() => {
    const style = getComputedStyle(document.querySelector('.text'));
    const marks = [...document.querySelectorAll('.text mark')];
    const lines = marks.flatMap(mark => [...mark.getClientRects()]);
    const tops = [...new Set(lines.map(line => Math.round(line.top)))].sort((a, b) => a - b);
    return {
        letters: parseFloat(style.fontSize),
        // A line with the lines below its words ends above the next.
        clear: Math.min(...tops.slice(1).map((top, at) => top - tops[at]))
            >= Math.max(...lines.map(line => line.height)),
        lanes: new Set(marks.map(mark => mark.className)).size,
        named: document.querySelectorAll('.order li').length,
        room: document.querySelector('.column').clientHeight <= innerHeight,
    };
})()"""


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_two_hundred_claims_are_legible_and_their_list_leads_to_each(
    browser: Browser, site: str, axe: str, report: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, f"/explore/articles/{report}", screen)
    use_key(browser)
    browser.wait(WRITTEN)
    found = browser.evaluate(LEGIBLE)
    assert found.pop("letters") >= 16
    assert found.pop("room") or screen[0] < 600
    assert found == {"clear": True, "lanes": 2, "named": MANY}
    assert len(browser.evaluate(REQUESTS)) <= 2 * MAX_REQUESTS  # without the key, and with it
    assert_usable(browser, axe)
    last = "document.querySelector('.order li:last-child a')"
    browser.evaluate(f"{last}.focus()")
    said = browser.evaluate(f"{last}.innerText")
    browser.press("Enter")
    browser.wait(f"{FOCUSED}.localName === 'mark'")
    assert browser.text("#card h3") == said
    at = browser.evaluate(f"{FOCUSED}.getBoundingClientRect().top / innerHeight")
    assert 0 < at < 1
    assert_quiet_local_and_fitting(browser, site, screen[1])


@pytest.mark.outside
def test_more_claims_than_a_page_of_a_list_has_are_all_marked(browser: Browser, site: str) -> None:
    count = 203
    text = "word " * count
    identity = made(site, "articles", headline="Many more", text=text)
    spans = [span(text, start, start + 4) for start in range(0, len(text), 5)]
    imported_records(site, [claim_line(identity, [its]) for its in spans])
    open_page(browser, site, f"/explore/articles/{identity}")
    use_key(browser)
    browser.wait(WRITTEN)
    assert browser.evaluate("document.querySelectorAll('.text mark').length") == count
    assert f"{count} claims" in browser.text(".legend")
    assert len(browser.evaluate(REQUESTS)) <= 2 + MAX_REQUESTS  # without the key, and with it


ABOVE = """(mark => {
    mark.scrollIntoView({ block: 'end' });
    mark.click();
    const card = document.getElementById('card').getBoundingClientRect();
    return [card.top < innerHeight, mark.getBoundingClientRect().bottom < card.top];
})(document.querySelectorAll('.text mark')[30])"""


@pytest.mark.outside
def test_on_a_phone_a_passage_stays_above_what_is_known_about_it(
    browser: Browser, site: str, report: str
) -> None:
    open_page(browser, site, f"/explore/articles/{report}", SCREENS[2])
    use_key(browser)
    browser.wait(WRITTEN)
    assert browser.evaluate(ABOVE) == [True, True]


# --- marks in marks ------------------------------------------------------------------------------

DEEP = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
DEPTH = 12
SAME = 30


@pytest.fixture(scope="session")
def deep(site: str) -> str:
    """Make an article with marks twelve deep in each other, and one sentence of thirty claims."""
    text = f"{DEEP}\nEverybody says this.\n"
    identity = made(site, "articles", headline="Deep", text=text, language="en")
    ends = [(0, len(DEEP) - 5 * number) for number in range(DEPTH)]
    at = text.index("Everybody")
    ends += [(at, len(text) - 2)] * SAME
    claims = [
        claim_line(identity, [span(text, start, end)], text=f"Claim {number}")
        for number, (start, end) in enumerate(ends)
    ]
    imported_records(site, claims)
    return identity


LINES_BELOW = """[...document.querySelectorAll('.text mark')].map(mark =>
    getComputedStyle(mark).backgroundImage.match(/rgba?\\([^)]*\\)/g)
        .filter(colour => !/, 0\\)$/.test(colour)).length / 2)"""


@pytest.mark.outside
def test_marks_deep_in_each_other_stay_legible_and_all_can_be_reached(
    browser: Browser, site: str, axe: str, deep: str
) -> None:
    open_page(browser, site, f"/explore/articles/{deep}")
    use_key(browser)
    browser.wait(WRITTEN)
    lines = browser.evaluate(LINES_BELOW)
    assert max(lines) == 3  # more lines below the words could not be told apart
    assert lines[:DEPTH] == sorted(lines[:DEPTH], reverse=True)  # the deeper, the more
    assert browser.evaluate("document.querySelectorAll('.order li').length") == DEPTH + SAME
    browser.evaluate("document.querySelector('.text mark').focus()")
    assert browser.evaluate("document.querySelectorAll('#card section').length") == 8
    assert "More passages have these words." in browser.text("#card")
    assert_usable(browser, axe)
    seen = set()
    for number in range(DEPTH + SAME):
        browser.evaluate(f"document.querySelectorAll('.order a')[{number}].click()")
        assert browser.evaluate(f"{FOCUSED}.localName") == "mark"
        seen.add(browser.text("#card h3"))
    assert seen == {f"Claim {number}" for number in range(DEPTH + SAME)}


# --- long and hostile texts ----------------------------------------------------------------------

NEEDLE = "These words stand at the end alone."
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script> \u202e\u2066 &amp; \"'` مرحبا 🌊 "
MARKS_A_CLAIM = 100


@pytest.fixture(scope="session")
def hostile(site: str) -> dict[str, str]:
    """Make an article of 4 MiB of markup and bidi controls, with 10,000 marks; give the ids."""
    text = HOSTILE * ((4 * 1024**2 - len(NEEDLE)) // len(HOSTILE.encode())) + NEEDLE
    length = len(HOSTILE)
    source = made(site, "sources", kind="person", name=HOSTILE)
    url = "http://x/#javascript:alert(1)"
    identity = made(site, "articles", headline=HOSTILE, text=text, url=url)
    claims = []
    for number in range(100):
        places = range(number * MARKS_A_CLAIM, (number + 1) * MARKS_A_CLAIM)
        spans = [span(text, at * length, at * length + 10 + at % 200) for at in places]
        said = {"text": HOSTILE, "attributions": [{"source_id": source, "printed": HOSTILE}]}
        claims.append(claim_line(identity, spans, **said))
    imported_records(site, claims)
    with httpx.Client(base_url=site, headers=bearer(KEY), timeout=PATIENCE) as client:
        claim = client.get(f"/v1/claims?source_id={source}&limit=1").json()["items"][0]["id"]
    return {"articles": identity, "sources": source, "claims": claim}


@pytest.mark.outside
def test_hostile_records_are_harmless_and_can_be_read(
    browser: Browser, site: str, hostile: dict[str, str]
) -> None:
    open_page(browser, site, f"/explore/articles/{hostile['articles']}", SCREENS[2])
    use_key(browser)
    browser.wait(WRITTEN)
    assert browser.evaluate("document.querySelectorAll('.text mark[tabindex]').length") == 10_000
    assert browser.evaluate("document.querySelectorAll('main :is(img, script)').length") == 0
    assert browser.evaluate("document.querySelectorAll('.order li').length") == 100
    browser.evaluate("document.querySelectorAll('.text mark[tabindex]')[9000].focus()")
    assert "<img src=x onerror=alert(1)>" in browser.text("#card")
    assert browser.text("#card .status") == "draft"
    assert_quiet_local_and_fitting(browser, site, SCREENS[2][1])


@pytest.mark.outside
@pytest.mark.parametrize("plural", ["claims", "sources"])
def test_hostile_records_are_harmless_on_every_page(
    browser: Browser, site: str, hostile: dict[str, str], plural: str
) -> None:
    open_page(browser, site, "/explore/sources?name=img", SCREENS[2])
    use_key(browser)
    browser.evaluate(f"history.pushState(null, '', '/explore/{plural}/{hostile[plural]}')")
    browser.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    browser.wait(f"{READY} && document.title.startsWith('<img src=x')")
    assert browser.text("h1").startswith("<img src=x onerror=alert(1)><script>")
    assert browser.evaluate("document.querySelectorAll('main :is(img, script)').length") == 0
    # The words of the page itself stand in their order behind those of the record.
    assert browser.evaluate(TURNED) == []
    assert_quiet_local_and_fitting(browser, site, SCREENS[2][1])


TURNED = """[...document.querySelectorAll('main .kicker, main h2, main .aside, main .role')]
    .filter(each => getComputedStyle(each).direction !== 'ltr'
        || /[\u202a-\u202e\u2066-\u2069]/.test([...each.childNodes].filter(
            node => node.nodeType === Node.TEXT_NODE).map(node => node.data).join('')))
    .map(each => each.outerHTML.slice(0, 200))"""


# Counts how many passages are marked in one turn of the browser, from the first to the last, and
# looks in the first for words that stand at the end.
TURNS = """(() => {
    const seen = new Set();
    const marks = node => node.matches?.('.text mark') ? [node]
        : [...(node.querySelectorAll?.('.text mark') ?? [])];
    window.turns = [];
    new MutationObserver(records => {
        const before = seen.size;
        for (const { addedNodes } of records)
            for (const node of addedNodes) marks(node).forEach(mark => seen.add(mark));
        if (seen.size > before) turns.push(seen.size - before);
        if (turns.length === 1 && seen.size > before)
            window.first = [document.querySelector('.text').textContent.length, find('%s')];
    }).observe(document.getElementById('content'), { childList: true, subtree: true });
})()"""
SELECTED = """(range => [range.toString(), range.getBoundingClientRect().top / innerHeight])(
    getSelection().getRangeAt(0))"""


@pytest.mark.outside
def test_a_long_text_can_be_searched_at_once_and_is_marked_in_pieces(
    browser: Browser, site: str, hostile: dict[str, str]
) -> None:
    open_page(browser, site, "/explore/match")
    use_key(browser)
    browser.evaluate(TURNS % NEEDLE)
    browser.evaluate(f"history.pushState(null, '', '/explore/articles/{hostile['articles']}')")
    browser.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    browser.wait(f"{READY} && document.querySelector('.text')")
    browser.wait(WRITTEN)
    turns = browser.evaluate("turns")
    assert len(turns) > 10
    assert max(turns) <= 500
    # What stands far below is found, also before it has been on the screen.
    length, is_found = browser.evaluate("first")
    assert is_found
    assert length == browser.evaluate("document.querySelector('.text').textContent.length")
    words, at = browser.evaluate(SELECTED)
    assert words == NEEDLE
    assert 0 < at < 1
    assert browser.evaluate("window.find('no such words')") is False
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


@pytest.mark.outside
def test_an_address_leads_into_a_text_that_is_not_yet_written(
    browser: Browser, site: str, hostile: dict[str, str]
) -> None:
    open_page(browser, site, "/explore/match")
    use_key(browser)
    claims = f"/v1/claims?article_id={hostile['articles']}&sort=-position&limit=1"
    with httpx.Client(base_url=site, headers=bearer(KEY), timeout=PATIENCE) as client:
        (last,) = client.get(claims).json()["items"]
    address = f"/explore/articles/{hostile['articles']}#{last['id']}"
    browser.evaluate(f"history.pushState(null, '', '{address}')")
    browser.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    browser.wait(f"{READY} && {FOCUSED}.localName === 'mark'")
    at = browser.evaluate(f"{FOCUSED}.getBoundingClientRect().top / innerHeight")
    assert 0 < at < 1
    first = last["appearances"][0]["spans"][0]["exact"]
    assert first.startswith(browser.evaluate(f"{FOCUSED}.textContent"))
    browser.wait(WRITTEN)


LINES = "\n".join(f"{line:x}" for line in range(200_000))


@pytest.mark.outside
def test_a_text_of_many_lines_is_shown(browser: Browser, site: str) -> None:
    identity = made(site, "articles", headline="A log", text=LINES)
    open_page(browser, site, f"/explore/articles/{identity}")
    browser.wait(WRITTEN)
    assert browser.text("h1") == "A log"
    assert browser.evaluate("document.querySelector('.text').textContent.length") == len(LINES)
    assert browser.evaluate("document.querySelectorAll('.text p').length") < 200
    assert_quiet_local_and_fitting(browser, site, SCREENS[0][1])


# --- many groups ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def member(site: str) -> str:
    """Make a source that belongs to 60 groups, of which no statement brings any; give its id."""
    identity = made(site, "sources", kind="person", name="A member of many groups")
    members = [{"source_id": identity}]
    groups = [{"kind": "group", "name": f"Group {number}", "members": members} for number in SIXTY]
    imported_records(site, [{"type": "source", "data": group} for group in groups])
    return identity


SIXTY = range(1, 61)
BELONGS = """[...document.querySelectorAll('.facts dt')]
    .find(each => each.innerText === 'Belongs to').nextElementSibling"""


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[-1]], ids=str)
def test_a_source_is_shown_with_all_its_groups(
    browser: Browser, site: str, axe: str, member: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, f"/explore/sources/{member}", screen)
    assert len(browser.evaluate(REQUESTS)) <= MAX_REQUESTS
    names = browser.evaluate(f"[...{BELONGS}.querySelectorAll('a')].map(each => each.textContent)")
    assert names == [f"Group {number}" for number in SIXTY]
    assert browser.evaluate(f"{BELONGS}.querySelector('summary').innerText") == "10 more"
    browser.evaluate(f"{BELONGS}.querySelector('details').open = true")
    assert browser.evaluate(f"{BELONGS}.innerText.includes('Group 60')")
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, screen[1])


# --- long words ----------------------------------------------------------------------------------

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3


@pytest.fixture
def long_words(site: str) -> Iterator[dict[str, str]]:
    """Make an article, a claim and a source that are called by one long word, for a while."""
    source = made(site, "sources", kind="organisation", name=LONG)
    article = made(site, "articles", headline=LONG, text=LONG, publisher_id=source)
    said = {"attributions": [{"source_id": source, "printed": LONG}], "review_status": "published"}
    printed = {"appearances": [{"article_id": article, "spans": [span(LONG, 0, len(LONG))]}]}
    figure = {
        "metric": "losses",
        "unit": "ship",
        "qualifier": "vague",
        "term": LONG,
        "printed": LONG,
    }
    claim = made(site, "claims", text=LONG, quantities=[figure], **said, **printed)
    yield {"article": article, "claim": claim, "source": source}
    for path in (f"claims/{claim}", f"articles/{article}", f"sources/{source}"):
        headers = {**bearer(KEY), "if-match": "*"}
        assert httpx.delete(f"{site}/v1/{path}", headers=headers, timeout=PATIENCE).is_success


# A page that is 640 or 320 pixels wide is what a reader has who enlarges a wide or a narrow screen.
@pytest.mark.outside
@pytest.mark.parametrize("width", [640, 320])
def test_long_words_fit_on_enlarged_pages(
    browser: Browser, site: str, long_words: dict[str, str], width: int
) -> None:
    places = ["articles/{article}", "claims/{claim}", "sources/{source}", "groups", "figures"]
    pages = ["/", "/explore", *(f"/explore/{place.format(**long_words)}" for place in places)]
    pages += [f"/explore/{plural}" for plural in ("articles", "claims", "sources")]
    for page in pages:
        browser.command("url", url="about:blank")
        browser.show(f"{site}{page}", width, "light")
        browser.wait(
            f"document.readyState === 'complete' && (location.pathname === '/' || {READY})"
        )
        assert_quiet_local_and_fitting(browser, site, "light")


# --- two hundred figures -------------------------------------------------------------------------

# The figures of one place may not cover those of the next, and no letter is too small to read.
TIGHT = """(() => {
    document.querySelector('.drawing').replaceChildren(svg);
    const all = names => [...svg.querySelectorAll(names)];
    const sizes = all('.row .size').map(each => each.getBoundingClientRect());
    const letters = all('text').map(each => parseFloat(getComputedStyle(each).fontSize));
    // A label stands over no mark of its row.
    const hidden = all('.row .size').filter(label => {
        const text = label.getBoundingClientRect();
        return [...label.parentNode.querySelectorAll('.dot, .open, .halo, .wedge, .span')]
            .map(mark => mark.getBoundingClientRect())
            .some(mark => mark.left < text.right - 2 && mark.right > text.left + 2
                && mark.top < text.bottom - 2 && mark.bottom > text.top + 2);
    });
    const over = sizes.slice(1).filter((box, at) => box.top < sizes[at].bottom - 4);
    const faults = over.length + hidden.length;
    return [svg.viewBox.baseVal.height, faults, Math.min(...letters), all('g.row').length];
})()"""


@pytest.mark.outside
@pytest.mark.parametrize(("screen", "most"), [(SCREENS[0], 4_900), (SCREENS[2], 9_300)], ids=str)
@pytest.mark.parametrize("claimants", [1, 20, 200])
def test_two_hundred_figures_are_drawn_in_low_rows(
    browser: Browser, site: str, claimants: int, screen: tuple[int, str], most: int
) -> None:
    open_page(browser, site, "/explore/figures", screen)
    qualifiers = ["exact", "at_least", "at_most", "approximately", "vague"]
    rows = []
    for number in range(MANY):
        given = {"lower_bound": number, "upper_bound": number + 50, "value": number}
        qualifier = qualifiers[number % 5]
        said = {"group": f"The ministry {number * claimants // MANY}", "size": f"about {number}"}
        bounds = {} if qualifier == "vague" else given
        rows.append(row(f"{number}", qualifier, **bounds) | said | {"note": "3 December"})
    height, faults, letters, drawn_rows = drawn(browser, rows, None, TIGHT, width=screen[0] - 40)
    assert drawn_rows == MANY
    assert height <= most
    assert faults == 0
    assert letters >= 12


@pytest.mark.outside
def test_a_long_table_of_figures_is_folded_up_and_a_mark_still_leads_to_its_claim(
    browser: Browser, site: str, axe: str
) -> None:
    blankets = {"metric": "blankets_supplied", "unit": "blanket", "qualifier": "at_least"}
    claims = [
        {
            "text": f"Blankets {number}",
            "quantities": [{**blankets, "lower": number, "printed": f"at least {number}"}],
        }
        for number in range(60)
    ]
    imported_records(site, [{"type": "claim", "data": claim} for claim in claims])
    open_page(browser, site, "/explore/figures?metric=blankets_supplied", SCREENS[0])
    browser.errors()
    use_key(browser)
    browser.wait("document.querySelectorAll('g.row').length === 60")
    assert not browser.evaluate("document.querySelector('main details').open")
    assert_usable(browser, axe)
    browser.evaluate("document.querySelector('main details').open = true")
    assert browser.evaluate("document.querySelectorAll('tbody tr').length") == 60
    assert_usable(browser, axe)
    browser.evaluate(
        "document.querySelector('g.row').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    browser.wait(f"{READY} && document.title.startsWith('Blankets')")
