"""The pages with drawings: figures on their scales, numbers at a glance, and a source in time."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from tests.browser import SCREENS, Browser, assert_quiet_local_and_fitting, assert_usable
from tests.test_explore import MAX_REQUESTS, READY, REQUESTS, open_page

HOSTILE = "\u202e<script>alert(1)</script>\u2069 " + "وزارة الدفاع " * 40


def drawn(
    browser: Browser,
    rows: list[dict[str, Any]],
    wanted: str | None,
    expression: str,
    width: int = 800,
) -> Any:
    """Draw rows in the page that is open, and ask something of the drawing."""
    panel = {"name": "Killed", "note": None, "unit": "person", "rows": rows}
    script = f"""
        const [panel, wanted, width, done] = arguments;
        import('/assets/explore/plot.js').then(({{ plot }}) => {{
            const svg = plot([panel], width, wanted, 'a plot');
            done({expression});
        }}, error => done(String(error)));"""
    return browser.command("execute/async", script=script, args=[panel, wanted, width])


def row(key: str, qualifier: str, **numbers: Any) -> dict[str, Any]:
    bounds = {"lower_bound": None, "upper_bound": None, "value": None}
    opened = {"lower_open": qualifier == "more_than", "upper_open": qualifier == "fewer_than"}
    figure = {"qualifier": qualifier, **bounds, **opened, **numbers}
    said = {"group": HOSTILE, "note": HOSTILE, "size": HOSTILE, "reading": HOSTILE}
    return {"key": key, "figure": figure, "conflicts": [], **said}


SHAPES = """[...svg.querySelectorAll('g.row')].map(row => [...row.querySelectorAll('*')]
    .map(each => each.classList[0])
    .filter(each => each && !['hit', 'soft', 'group', 'rule'].includes(each)).join(' '))"""


@pytest.mark.outside
def test_a_figure_reaches_as_far_as_its_words_do(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/figures?metric=nothing")
    assert "No figure that you may see matches." in browser.text("main")
    rows = [
        row("1", "exact", lower_bound=10, upper_bound=10, value=10),
        row("2", "approximately", lower_bound=10, upper_bound=10, value=10),
        row("3", "at_least", lower_bound=10),
        row("4", "more_than", lower_bound=10),
        row("5", "at_most", upper_bound=10),
        row("6", "fewer_than", upper_bound=10),
        row("7", "approaching", upper_bound=10),
        row("8", "between", lower_bound=5, upper_bound=10, value=7),
        row("9", "of_a_later_version", lower_bound=5),
        row("10", "vague"),
    ]
    assert drawn(browser, rows, None, SHAPES) == [
        "dot size",
        "halo dot size",
        "reach arrow dot size",
        "reach arrow open size",
        "reach arrow dot size",
        "reach arrow open size",
        "wedge bar size",
        "span bar dot size",
        "reach arrow dot size",
        "vague",  # nothing but its words: no place on the scale
    ]


@pytest.mark.outside
def test_no_words_of_a_drawing_hold_marks_of_direction(browser: Browser, site: str) -> None:
    open_page(browser, site, "/explore/figures?metric=nothing")
    title = "svg.querySelector('.row title').textContent"
    said = drawn(
        browser, [row("1", "exact", value=1, lower_bound=1) | {"size": "\x011"}], None, title
    )
    assert said.split()[:2] == ["<script>alert(1)</script>", "وزارة"]
    assert not any(sign in said for sign in "\x01\u202e\u2069")


SAID = "svg.textContent.match(/Each step of the scale is ten times|The scale begins at zero/g)"


@pytest.mark.outside
@pytest.mark.parametrize(
    ("numbers", "wanted", "said"),
    [
        ((1, 100), None, "The scale begins at zero"),
        ((1, 101), None, "Each step of the scale is ten times"),
        ((1, 101), "even", "The scale begins at zero"),
        ((0, 101), "log", "The scale begins at zero"),
        ((-5, 999_999_999_999_999), None, "The scale begins at zero"),
    ],
)
def test_the_drawing_says_which_scale_it_has(
    browser: Browser, site: str, numbers: tuple[float, ...], wanted: str | None, said: str
) -> None:
    if not browser.evaluate("location.pathname.startsWith('/explore')"):
        open_page(browser, site, "/explore/figures?metric=nothing")
    rows = [row(str(each), "at_least", lower_bound=each) for each in numbers]
    assert drawn(browser, rows, wanted, SAID) == [said]


@pytest.mark.outside
def test_two_hundred_figures_that_contradict_each_other_are_drawn(
    browser: Browser, site: str
) -> None:
    open_page(browser, site, "/explore/figures?metric=nothing")
    rows = [row(str(index), "exact", lower_bound=index, value=index) for index in range(200)]
    for index, each in enumerate(rows):
        others = [str((index + step) % 200) for step in range(1, 21)]
        each["conflicts"] = [{"other": other, "basis": "computed"} for other in others]
    rows[0]["conflicts"].append({"other": "elsewhere", "basis": "stated"})
    count = "['g.row', '.conflict.computed', '.elsewhere'].map(e => svg.querySelectorAll(e).length)"
    counted = drawn(browser, rows, None, count)
    assert counted[0] == 200
    assert counted[1] == 401  # 400 lines, and one in the legend
    assert counted[2] == 2


SAVED = """new Promise(saved => {
    URL.createObjectURL = blob => { blob.text().then(saved); return 'blob:nothing'; };
    HTMLAnchorElement.prototype.click = () => {};
    [...document.querySelectorAll('.plotted button')].at(-1).click();
})"""


SIZE_OF_IMAGE = """const [address, done] = arguments;
const image = new Image();
image.onload = image.onerror = () => done([image.naturalWidth, image.naturalHeight]);
image.src = address;"""


@pytest.mark.outside
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_figures_stand_side_by_side(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, "/explore/figures", screen)
    browser.wait("document.querySelector('svg.plot')")
    text = browser.text("main")
    assert "10 figures, from 7 claimants. 2 are in words, without a number." in text
    assert "1 pair contradicts each other." in text
    assert browser.evaluate("document.querySelectorAll('g.row').length") == 10
    assert browser.evaluate("document.querySelectorAll('tbody tr').length") == 10
    assert len(browser.evaluate(REQUESTS)) <= MAX_REQUESTS
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, screen[1])
    script = f"const done = arguments[0]; {SAVED}.then(done)"
    file = ET.fromstring(browser.command("execute/async", script=script, args=[]))  # noqa: S314 - ours
    assert not [each for each in file.iter() if "class" in each.attrib or "style" in each.attrib]
    words = "".join(file.itertext())
    picture = f"data:image/svg+xml,{quote(ET.tostring(file, encoding='unicode'))}"
    size = browser.command("execute/async", script=SIZE_OF_IMAGE, args=[picture])
    assert size == [int(file.attrib["width"]), int(file.attrib["height"])]
    assert f"{site}/v1/figures?sort=lower&limit=100" in words
    assert "“several hundreds”" in words
    assert browser.evaluate("document.querySelector('figcaption a').target") == "_blank"


@pytest.mark.outside
def test_the_form_writes_the_request_and_a_mark_leads_to_its_claim(
    browser: Browser, site: str
) -> None:
    open_page(browser, site, "/explore/figures?tag=casualties&metric=killed_or_wounded")
    browser.evaluate("document.querySelector('select[name=group]').value = 'day'")
    browser.click(".plotting button")
    browser.wait("location.search.includes('group=day')")
    browser.wait("document.querySelector('svg.plot')?.textContent.includes('Day not known')")
    (asked,) = [url for url in browser.evaluate(REQUESTS) if "figures" in url][-1:]
    assert "tag=casualties" in asked
    assert "group" not in asked
    browser.evaluate(
        "document.querySelector('g.row').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    browser.wait(f"{READY} && location.pathname.startsWith('/explore/claims/')")


LENGTHS = "[...document.querySelectorAll('.bars rect')].map(bar => bar.getAttribute('width'))"


@pytest.mark.outside
def test_numbers_are_bars_that_lead_to_their_lists(browser: Browser, site: str, axe: str) -> None:
    open_page(browser, site, "/explore/groups", SCREENS[3])
    assert "19 claims, 8 denials, " in browser.text("main")
    assert browser.evaluate(LENGTHS)[:2] == ["100%", "20%"]  # 10 claims of figures, 2 accusations
    assert len(browser.evaluate(REQUESTS)) == MAX_REQUESTS
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, SCREENS[3][1])
    open_page(browser, site, "/explore/groups?by=kind&metric=killed", SCREENS[3])
    browser.click(".bars a")
    browser.wait(f"{READY} && location.search === '?metric=killed&kind=quantity'")


@pytest.mark.outside
@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[3]], ids=str)
def test_a_source_is_shown_in_time(
    browser: Browser, site: str, axe: str, screen: tuple[int, str]
) -> None:
    open_page(browser, site, "/explore/sources/76cc97cf-bda0-59fa-b022-310de798edcd", screen)
    text = browser.text("main")
    assert "Washington" in text
    assert "Foreign ministry of North Korea\nDeflected 3 times" in text
    assert "Claimed as one of the United States and nine other signatories" in text
    assert "December 2024" in text
    assert len(browser.evaluate(REQUESTS)) == MAX_REQUESTS
    assert_usable(browser, axe)
    assert_quiet_local_and_fitting(browser, site, screen[1])
