"""The Reconciliation Service API: the requests of OpenRefine, in the order in which it sends them.

OpenRefine reads the manifest, guesses a type from ten rows, reconciles all rows in batches of ten,
previews and suggests while somebody judges them, and adds columns.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api.access import keyring
from api.matching import sources
from api.matching.reconciling import operations, reading
from api.matching.sources import Search, find_sources
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer
from tests.merging import settled
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
PAGE = {"origin": "http://127.0.0.1:3333"}
FORM = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8", **PAGE}
READER = keyring.written("refinereader", "0" * 30)


@pytest.fixture(scope="module")
async def matcher(template: str) -> AsyncIterator[Matcher]:
    """Serve the sources of the sample, and invented ones."""
    async with serving_sources(template) as found:
        yield found


async def asked(matcher: Matcher, **form: Any) -> Any:
    """Send a form as OpenRefine does, and give the answer."""
    fields = {name: json.dumps(value) for name, value in form.items()}
    answer = await matcher.client.post("/v1/reconcile", data=fields, headers=FORM)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    for name in form:
        check(answer.json(), {"queries": RESULTS, "extend": EXTENDED}[name])
    return answer.json()


async def got(matcher: Matcher, path: str, **query: str) -> httpx.Response:
    """Send a GET request as a page does."""
    return await matcher.client.get(f"/v1/reconcile{path}", params=query, headers=PAGE)


async def test_the_manifest_says_what_there_is(matcher: Matcher) -> None:
    manifest = (await got(matcher, "")).json()
    check(manifest, MANIFEST)
    for service in (*manifest["suggest"].values(), manifest["extend"]["propose_properties"]):
        url = service["service_url"] + service["service_path"]
        assert (await matcher.client.get(url)).status_code == 200, url


async def test_a_batch_is_matched_by_its_keys(matcher: Matcher) -> None:
    queries = {
        "q0": {"query": "zelenski", "limit": 3},
        "q1": {
            "query": "ministries north korea",
            "type": "government_body",
            "type_strict": "should",
        },
        "q2": {"query": "Xyzzy Plugh"},
        "q3": {"query": "Volodymyr Zelensky", "properties": [{"pid": "country_code", "v": "UA"}]},
        "q4": {"query": "Russia", "type": ["no-such-type"]},
    }
    answers = await asked(matcher, queries=queries)
    assert list(answers) == list(queries)
    names = [[c["name"] for c in answers[key]["result"]] for key in queries]
    assert names[0][0] == "Volodymyr Zelensky"
    assert names[1][0] == "Foreign ministry of North Korea"
    assert names[2] == names[4] == []
    (sure, *_) = answers["q3"]["result"]
    assert sure["match"] is True
    assert sure["score"] == 100
    assert {"id": "person", "name": "Person"} in sure["type"]
    assert all(0 <= c["score"] <= 100 for key in queries for c in answers[key]["result"])


async def test_a_property_that_differs_lowers_the_score(matcher: Matcher) -> None:
    queries = {
        place: {"query": "Russia", "properties": [{"pid": "country_code", "v": place}]}
        for place in ("RU", "FR")
    }
    answers = await asked(matcher, queries=queries)
    scores = {
        place: next(c["score"] for c in answers[place]["result"] if c["name"] == "Russia")
        for place in queries
    }
    assert scores["RU"] == 100
    assert scores["FR"] == 80


async def test_columns_are_added(matcher: Matcher) -> None:
    answers = await asked(matcher, queries={"q": {"query": "Foreign ministry of North Korea"}})
    identity = answers["q"]["result"][0]["id"]
    properties = [{"id": key} for key in ("country_code", "names", "parent_id", "no-such")]
    added = await asked(matcher, extend={"ids": [identity, "nobody"], "properties": properties})
    assert [each["id"] for each in added["meta"]] == ["country_code", "names", "parent_id"]
    row = added["rows"][identity]
    assert row["country_code"] == [{"str": "KP"}]
    assert row["names"] == [{"str": "North Korea’s foreign ministry"}]  # noqa: RUF001 - as printed
    assert row["parent_id"][0]["name"] == "North Korea"
    assert added["rows"]["nobody"] == {"country_code": [], "names": [], "parent_id": []}


async def test_no_query_of_a_batch_is_begun_after_its_time(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The protocol asks for a result for each query, and an empty one would call a cell new."""
    monkeypatch.setattr(sources, "MAX_SECONDS", -1.0)
    alone = await asked(matcher, queries={"q0": {"query": "zelenski"}})
    assert alone["q0"]["result"][0]["name"] == "Volodymyr Zelensky"
    queries = {"q0": {"query": "zelenski"}, "q1": {"query": "Telegram", "type": "platform"}}
    form = {"queries": json.dumps(queries)}
    answer = await matcher.client.post("/v1/reconcile", data=form, headers=FORM)
    assert answer.status_code == 503
    assert "fewer queries" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "1"


async def test_a_name_that_is_too_long_is_told_and_the_others_are_matched(
    matcher: Matcher,
) -> None:
    queries = {"q0": {"query": "a" * 100_000}, "q1": {"query": "zelenski"}}
    answers = await asked(matcher, queries=queries)
    assert answers["q0"] == {"result": [], "error": "A name has at most 500 characters."}
    assert answers["q1"]["result"][0]["name"] == "Volodymyr Zelensky"


@pytest.mark.parametrize("limit", [0, -1, 1.5, -1e300])
async def test_a_limit_is_a_positive_integer(matcher: Matcher, limit: float) -> None:
    form = {"queries": json.dumps({"q7": {"query": "zelenski", "limit": limit}})}
    answer = await matcher.client.post("/v1/reconcile", data=form, headers=FORM)
    assert answer.status_code == 400
    assert "`limit` of query `q7`" in answer.json()["detail"]


@pytest.mark.parametrize("field", ["queries", "extend"])
@pytest.mark.parametrize("text", ["", "{", "[" * 5_000, '{"q": 1, "q": 2}', '{"q": "\\u0000"}'])
async def test_broken_json_is_said_to_be_that_of_its_field(
    matcher: Matcher, field: str, text: str
) -> None:
    answer = await matcher.client.post("/v1/reconcile", data={field: text}, headers=FORM)
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["code"] == "invalid-parameter"
    assert problem["errors"][0]["parameter"] == field
    assert "body" not in problem["title"] + problem["detail"]


async def test_a_batch_reads_no_more_sources_than_its_limits(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[int] = []

    async def find(search: Search, names: list[tuple[str, int]]) -> Any:
        wanted.extend(limit for _, limit in names)
        return await find_sources(search, names)

    monkeypatch.setattr(operations, "find_sources", find)
    by_country = [{"pid": "country_code", "v": "KR"}]
    queries = {
        "q0": {"query": "South Korea", "limit": 1},
        "q1": {"query": "South Korea", "limit": 3, "properties": by_country},
        "q2": {"query": "South Korea", "limit": 1e300},
    }
    answers = await asked(matcher, queries=queries)
    assert [len(answers[key]["result"]) for key in ("q0", "q1")] == [1, 3]
    assert wanted == [2, 13, 51]


async def test_sources_that_are_too_large_together_are_not_answered(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await asked(matcher, queries={"q": {"query": "South Korea", "limit": 3}})
    ids = [each["id"] for each in first["q"]["result"]]
    monkeypatch.setattr(reading, "MAX_BYTES", 700)
    queries = {"q0": {"query": "zelenski", "limit": 1}, "q1": {"query": "South Korea"}}
    form = {"queries": json.dumps(queries)}
    answer = await matcher.client.post("/v1/reconcile", data=form, headers=FORM)
    assert answer.status_code == 400
    assert "fewer queries" in answer.json()["detail"]
    monkeypatch.setattr(reading, "MAX_BYTES", 300)
    extend = {"extend": json.dumps({"ids": ids, "properties": [{"id": "names"}]})}
    answer = await matcher.client.post("/v1/reconcile", data=extend, headers=FORM)
    assert answer.status_code == 400
    assert "too large" in answer.json()["detail"]


async def test_a_long_description_is_read_only_where_it_is_asked_for(matcher: Matcher) -> None:
    said = "Speaks for the harbour. " * 100
    source = await matcher.world.add(
        "sources", "wordy", kind="person", name="Wilhelmina Wordsmith", description=said.strip()
    )
    answers = await asked(matcher, queries={"q": {"query": "Wilhelmina Wordsmith"}})
    assert len(answers["q"]["result"][0]["description"]) < 250
    extend = {"ids": [source["id"]], "properties": [{"id": "description"}] * 2}
    added = await asked(matcher, extend=extend)
    assert added["rows"][source["id"]] == {"description": [{"str": said.strip()}]}
    assert len(added["meta"]) == 1


async def test_the_id_of_a_merged_source_means_its_survivor(matcher: Matcher) -> None:
    """A table keeps the ids that it got before the merge."""
    kept = await matcher.world.add("sources", "kept", kind="person", name="Ottoline Quince")
    merged = await matcher.world.add("sources", "gone", kind="person", name="Otoline Quinse")
    body = {"source_id": merged["id"]}
    path = f"{matcher.world.at('kept')}/merge"
    answer = await matcher.client.post(path, json=body, headers={"if-match": "*"})
    assert answer.status_code == 200, answer.text
    await settled(matcher.world, "kept")
    read = await matcher.client.get(f"/v1/sources/{merged['id']}", follow_redirects=False)
    assert read.status_code == 308
    extend = {"ids": [merged["id"], kept["id"]], "properties": [{"id": "names"}]}
    rows = (await asked(matcher, extend=extend))["rows"]
    assert rows[merged["id"]] == rows[kept["id"]] == {"names": [{"str": "Otoline Quinse"}]}
    page = await got(matcher, "/preview", id=merged["id"])
    assert page.status_code == 200
    assert "Ottoline Quince" in page.text


async def test_names_properties_and_types_are_suggested(matcher: Matcher) -> None:
    answer = (await got(matcher, "/suggest/entity", prefix="volod")).json()
    check(answer, SUGGESTED_ENTITIES)
    entities = answer["result"]
    assert entities[0]["name"] == "Volodymyr Zelensky"
    assert entities[0]["notable"] == ["person", "source"]
    kinds = (await got(matcher, "/suggest/type", prefix="gov")).json()["result"]
    assert kinds == [{"id": "government_body", "name": "Government body"}]
    properties = (await got(matcher, "/suggest/property", prefix="country")).json()["result"]
    assert properties == [{"id": "country_code", "name": "Country"}]
    proposed = (await got(matcher, "/properties", type="person", limit="2")).json()
    check(proposed, PROPOSED)
    assert (proposed["type"], len(proposed["properties"])) == ("person", 2)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/suggest/entity", SUGGESTED_ENTITIES),
        ("/suggest/property", SUGGESTED),
        ("/suggest/type", SUGGESTED),
    ],
)
async def test_a_cursor_leaves_out_what_was_suggested_before(
    matcher: Matcher, path: str, schema: dict[str, Any]
) -> None:
    pages = [
        (await got(matcher, path, prefix="e", **cursor)).json()
        for cursor in ({}, {"cursor": "0"}, {"cursor": "1"}, {"cursor": "1000"})
    ]
    for page in pages:
        check(page, schema)
    whole, same, rest, none = (page["result"] for page in pages)
    assert whole == same
    assert len(whole) > 1
    assert rest[: len(whole) - 1] == whole[1:]
    assert none == []
    check((await got(matcher, path, prefix="")).json(), schema)


@pytest.mark.parametrize("asked_for", ["queries", "extend"])
async def test_what_fits_a_url_can_be_asked_with_get(matcher: Matcher, asked_for: str) -> None:
    form = {
        "queries": {"q0": {"query": "zelenski", "type": [], "type_strict": "any", "limit": 1.0}},
        "extend": {"ids": [], "properties": [{"id": "kind", "settings": {"limit": 1}}]},
    }[asked_for]
    answer = await got(matcher, "", **{asked_for: json.dumps(form)})
    assert answer.json() == await asked(matcher, **{asked_for: form})


async def test_what_the_protocol_leaves_open_and_is_not_offered_is_refused(
    matcher: Matcher,
) -> None:
    """A script of another origin could run with JSONP; the headers of CORS serve the same end."""
    answer = await got(matcher, "", callback="jsonp123")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "callback"


async def test_a_preview_can_be_framed_and_has_text_alone(matcher: Matcher) -> None:
    name = "<script>alert(1)</script> Frame"
    source = await matcher.world.add("sources", "framed", kind="person", name=name)
    answer = await got(matcher, "/preview", id=source["id"])
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors *"
    assert "<script" not in answer.text
    assert (await got(matcher, "/preview", id=source["id"][:-1] + "0")).status_code in (200, 404)
    assert (await got(matcher, "/preview")).status_code == 404


async def test_pages_of_any_origin_may_ask_this_path_alone_and_without_a_key(
    matcher: Matcher,
) -> None:
    asks = {**PAGE, "access-control-request-method": "POST"}
    for path in ("", "/suggest/entity", "/preview"):
        told = (await matcher.client.options(f"/v1/reconcile{path}", headers=asks)).headers
        assert told["access-control-allow-origin"] == "*"
        assert told["access-control-allow-headers"] == "Content-Type"
        assert "access-control-allow-credentials" not in told
    answer = await got(matcher, "")
    assert answer.headers["access-control-allow-origin"] == "*"
    for path in ("/v1/sources", "/v1/reconciled", "/v1/sources/match"):
        answer = await matcher.client.get(path, headers=PAGE)
        assert "access-control-allow-origin" not in answer.headers


async def test_only_what_everybody_may_read_is_shown_whoever_asks(matcher: Matcher) -> None:
    """The key of this client sees everything."""
    hidden = await matcher.world.add(
        "sources", "secret", kind="person", name="Secret Quetzal", confidentiality="restricted"
    )
    await allow(matcher.url, READER, [Scope.READ])
    for headers in ({}, bearer(READER)):
        answer = await matcher.client.post(
            "/v1/reconcile",
            data={"queries": json.dumps({"q": {"query": "Secret Quetzal"}})},
            headers={**FORM, **headers},
        )
        assert hidden["id"] not in answer.text
        assert "Secret Quetzal" not in answer.text
    extend = {"ids": [hidden["id"]], "properties": [{"id": "kind"}]}
    assert (await asked(matcher, extend=extend))["rows"][hidden["id"]] == {"kind": []}
    assert (await got(matcher, "/preview", id=hidden["id"])).status_code == 404
    suggested = await got(matcher, "/suggest/entity", prefix="Secret")
    assert hidden["id"] not in suggested.text


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"queries=", 400),
        (b"queries=[]", 400),
        (b"queries=%7B%22q%22%3A%7B%22query%22%3A1%7D%7D", 400),
        (b"queries=%ff", 400),
        (b"extend=%7B%7D", 400),
        (b"&".join(b"a=1" for _ in range(20)), 400),
        (b"queries=" + b"[" * 5000, 400),
        (b"queries=" + json.dumps({f"q{n}": {"query": "a"} for n in range(51)}).encode(), 400),
    ],
)
async def test_what_is_not_of_the_protocol_is_refused(
    matcher: Matcher, content: bytes, status: int
) -> None:
    answer = await matcher.client.post("/v1/reconcile", content=content, headers=FORM)
    assert answer.status_code == status, answer.text
    wrong = await matcher.client.post("/v1/reconcile", json={})
    assert wrong.status_code == 415
