"""The requests of OpenRefine 3.5 to 3.9, written down from what its source sends, in their order.

`tests/test_reconcile.py` has the rules of the protocol; these are its best-known client's own ways.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from tests.reconciliation import (
    EXTENDED,
    MANIFEST,
    PROPOSED,
    RESULTS,
    SUGGESTED,
    SUGGESTED_ENTITIES,
    check,
)
from tests.test_match_claims import Matcher
from tests.test_match_sources import serving_sources

pytestmark = pytest.mark.usefixtures("unhurried_matching")
FROM_PAGE = {
    "origin": "http://127.0.0.1:3333",
    "referer": "http://127.0.0.1:3333/",
    "accept": "application/json, text/javascript, */*; q=0.01",
    "sec-fetch-mode": "cors",
    "sec-fetch-site": "cross-site",
}
FROM_PROGRAM = {
    "user-agent": "OpenRefine/3.9.5 [62fb8f4]",
    "accept-encoding": "gzip, x-gzip, deflate",
    "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
}
# What the widget that suggests adds to each request.
ADDED = "&spell=always&exact=false&prefixed=true"
ADDED_TO_TERMS = "&spell=always&exact=false&scoring=schema&prefixed=true"


@pytest.fixture(scope="module")
async def matcher(template: str) -> AsyncIterator[Matcher]:
    """Serve the sources of the sample, and invented ones."""
    async with serving_sources(template) as found:
        yield found


async def manifest_of(matcher: Matcher) -> Any:
    """Register the service, as somebody does who adds its URL."""
    answer = await matcher.client.get("/v1/reconcile", headers=FROM_PAGE)
    assert answer.headers["access-control-allow-origin"] == "*"
    return answer.json()


async def posted(matcher: Matcher, name: str, value: Any) -> Any:
    """Send a form, as the program does beside its page, without white space in the JSON."""
    body = urlencode({name: json.dumps(value, separators=(",", ":"), ensure_ascii=False)})
    answer = await matcher.client.post("/v1/reconcile", content=body, headers=FROM_PROGRAM)
    assert answer.status_code == 200, answer.text
    check(answer.json(), {"queries": RESULTS, "extend": EXTENDED}[name])
    return answer.json()


async def suggested(matcher: Matcher, of: str, query: str) -> Any:
    """Ask for suggestions at the URL that the manifest gives."""
    service = (await manifest_of(matcher))["suggest"][of]
    url = f"{service['service_url']}{service['service_path']}?{query}"
    answer = await matcher.client.get(url, headers=FROM_PAGE)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    check(answer.json(), SUGGESTED_ENTITIES if of == "entity" else SUGGESTED)
    return answer.json()["result"]


async def test_the_service_is_registered_and_its_types_are_guessed(matcher: Matcher) -> None:
    """Ten cells are asked for with three candidates each, whose types are counted."""
    manifest = await manifest_of(matcher)
    check(manifest, MANIFEST)
    cells = ["Volodymyr Zelensky", "Lee Seong-kweun", "Boris Yeltsin", "Kim Yo-jong"]
    queries = {f"q{place}": {"query": cell, "limit": 3} for place, cell in enumerate(cells)}
    answers = await posted(matcher, "queries", queries)
    first = [answers[key]["result"][0]["type"][0] for key in queries]
    assert first == [{"id": "person", "name": "Person"}] * len(cells)
    assert {each["id"] for each in manifest["defaultTypes"]} == {"source"}


async def test_a_batch_has_values_of_cells_as_they_are(matcher: Matcher) -> None:
    """A cell can be a number or a truth value, and one that is matched is an object."""
    queries = {
        "q0": {"query": "zelenski", "type": "person", "type_strict": "should"},
        "q1": {
            "query": "Зеленский",
            "type": "source",
            "type_strict": "should",
            "properties": [
                {"pid": "country_code", "v": "UA"},
                {"pid": "kind", "v": {"id": "person", "name": "Person"}},
                {"pid": "description", "v": 1978},
                {"pid": "names", "v": True},
                {"pid": "P31", "v": 1.5},
            ],
            "limit": 5,
        },
        "q2": {"query": "1978"},
    }
    answers = await posted(matcher, "queries", queries)
    names = [[each["name"] for each in answers[key]["result"]][:1] for key in queries]
    assert names == [["Volodymyr Zelensky"], ["Volodymyr Zelensky"], []]


async def test_a_candidate_is_previewed_in_a_frame_and_opened_as_a_page(matcher: Matcher) -> None:
    manifest = await manifest_of(matcher)
    answers = await posted(matcher, "queries", {"q0": {"query": "zelenski", "limit": 1}})
    identity = answers["q0"]["result"][0]["id"]
    headers = {
        "accept": "text/html,application/xhtml+xml",
        "sec-fetch-dest": "iframe",
        "sec-fetch-mode": "navigate",
        "sec-fetch-site": "cross-site",
    }
    url = manifest["preview"]["url"].replace("{{id}}", identity)
    framed = await matcher.client.get(url, headers=headers)
    assert framed.status_code == 200
    assert "Volodymyr Zelensky" in framed.text
    assert "frame-ancestors *" in framed.headers["content-security-policy"]
    assert "x-frame-options" not in framed.headers
    url = manifest["view"]["url"].replace("{{id}}", identity)
    page = await matcher.client.get(url, headers=headers, follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("of", "query", "name"),
    [
        ("entity", f"prefix=zelen{ADDED}", "Volodymyr Zelensky"),
        ("entity", f"prefix=Harbour+Cou{ADDED}", "The Harbour Courier"),
        # Somebody types “harbour courier kind:person type:person lang:de”.
        (
            "entity",
            f"prefix=harbour+courier{ADDED}&type=person&lang=de&filter=(all+kind%3Aperson)",
            "The Harbour Courier",
        ),
        ("property", f"prefix=count{ADDED_TO_TERMS}", "Country"),
        ("property", f"prefix=count{ADDED_TO_TERMS}&type=person", "Country"),  # before 3.8
        ("property", f"prefix=count{ADDED_TO_TERMS}&filter=a&filter=b", "Country"),
        ("type", f"prefix=pers{ADDED_TO_TERMS}", "Person"),
        ("type", f"prefix=pers{ADDED_TO_TERMS}&key=&mql_output=&_=1764384478", "Person"),
    ],
)
async def test_the_widget_that_suggests_gets_its_suggestions(
    matcher: Matcher, of: str, query: str, name: str
) -> None:
    assert (await suggested(matcher, of, query))[0]["name"] == name


async def test_types_of_a_suggested_source_can_be_joined(matcher: Matcher) -> None:
    """A cell is matched to what was suggested with its types in one string."""
    (first, *_) = await suggested(matcher, "entity", f"prefix=zelen{ADDED}")
    assert ",".join(first["notable"]) == "person,source"


@pytest.mark.parametrize("kind", ["", "person", "source", "no-such"])
async def test_properties_are_proposed_whatever_the_type_of_the_column(
    matcher: Matcher, kind: str
) -> None:
    """A column that was matched without a type sends an empty one."""
    proposes = (await manifest_of(matcher))["extend"]["propose_properties"]
    url = f"{proposes['service_url']}{proposes['service_path']}?type={kind}"
    answer = await matcher.client.get(url, headers=FROM_PAGE)
    assert answer.status_code == 200, answer.text
    check(answer.json(), PROPOSED)
    assert len(answer.json()["properties"]) == 8


async def test_ten_rows_get_their_columns(matcher: Matcher) -> None:
    """The preview sends the names of properties too, and settings where somebody made some."""
    answers = await posted(matcher, "queries", {"q0": {"query": "North Korea", "limit": 10}})
    ids = [each["id"] for each in answers["q0"]["result"]]
    properties: list[dict[str, Any]] = [
        {"id": "country_code", "name": "Country"},
        {"id": "parent_id", "name": "Part of", "settings": {"limit": "1"}},
        {"id": "kind"},
    ]
    added = await posted(matcher, "extend", {"properties": properties, "ids": ids})
    assert [each["id"] for each in added["meta"]] == [each["id"] for each in properties]
    assert set(added["rows"]) == set(ids)
    for row in added["rows"].values():
        assert list(row) == [each["id"] for each in properties]


async def flyout(matcher: Matcher, identity: str) -> httpx.Response:
    """Hover over a suggestion."""
    query = f"filter=(all%20mid:{quote(identity)})&output=(notable:/client/summary)&key=undefined"
    return await matcher.client.get(f"/v1/reconcile/search?{query}", headers=FROM_PAGE)


async def test_there_are_no_flyouts_and_no_answers_as_scripts(matcher: Matcher) -> None:
    """Without an answer, OpenRefine shows none; it asks with JSONP only after JSON failed."""
    (first, *_) = await suggested(matcher, "entity", f"prefix=zelen{ADDED}")
    assert (await flyout(matcher, first["id"])).status_code == 404
    manifest = await manifest_of(matcher)
    assert not any("flyout_service_path" in each for each in manifest["suggest"].values())
    answer = await matcher.client.get("/v1/reconcile?callback=jQuery35_1&_=1", headers=FROM_PAGE)
    assert answer.status_code == 400
