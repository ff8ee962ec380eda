"""The sample records of `serve --demo`: they load, hold to their text, and answer the questions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api import demo
from tests.conftest import cloned, serving
from tests.factories import EVERY

NDJSON = {"content-type": "application/x-ndjson"}
LINES = [json.loads(line) for line in demo.records()]
NAMES = {line["id"]: line["data"]["external_ids"][0]["value"] for line in LINES}
IDS = {name: identity for identity, name in NAMES.items()}


async def load(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    """Import the records; give the results, totals last."""
    response = await client.post(
        "/v1/import", content=b"\n".join(demo.records()), headers=NDJSON, params=parameters
    )
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture(scope="module")
async def loaded(template: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a service that has the sample records and nothing else."""
    async with cloned(template) as url, serving(url) as client:
        *results, totals = await load(client, atomic="true")
        refused = [result for result in results if result["status"] != 201]
        assert (refused, totals["committed"]) == ([], True)
        yield client


async def ask(client: httpx.AsyncClient, plural: str, query: str) -> set[str]:
    """Ask a list, with `@name`s for ids; give the names of what it holds."""
    pairs = [pair.partition("=")[::2] for pair in query.split("&")]
    parameters = [(key, IDS[value[1:]] if value[0] == "@" else value) for key, value in pairs]
    response = await client.get(f"/v1/{plural}", params=[*parameters, ("limit", "200")])
    assert response.status_code == 200, response.text
    return {NAMES[item["id"]] for item in response.json()["items"]}


def test_the_records_are_named_once() -> None:
    assert len(NAMES) == len(IDS) == len(LINES)


async def test_the_records_are_all_there(loaded: httpx.AsyncClient) -> None:
    for of, noun in EVERY.items():
        response = await loaded.get(f"{noun.path}?count=exact&limit=1")
        sent = [line for line in LINES if line["type"] == of]
        assert response.json()["total"] == len(sent) > 0
        for line in sent:
            record = (await loaded.get(f"{noun.path}/{line['id']}")).json()
            for field, value in line["data"].items():
                assert_holds(record[field], value)


def assert_holds(kept: Any, sent: Any) -> None:
    """See that all that was sent is there; the server may have filled in more."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            assert_holds(kept[key], value)
    elif isinstance(sent, list):
        assert len(kept) == len(sent)
        for one, other in zip(kept, sent, strict=True):
            assert_holds(one, other)
    else:
        assert kept == sent


async def test_to_load_the_records_again_changes_nothing(loaded: httpx.AsyncClient) -> None:
    *results, totals = await load(loaded)
    assert {(result["status"], result["changed"]) for result in results} == {(200, False)}
    assert totals["totals"]["unchanged"] == len(LINES)


async def test_every_span_stands_in_the_text(loaded: httpx.AsyncClient) -> None:
    articles = {each["id"]: each for each in (await loaded.get("/v1/articles")).json()["items"]}
    counted = Counter[str]()
    for plural in ("claims", "denials"):
        items = (await loaded.get(f"/v1/{plural}?limit=200")).json()["items"]
        for appearance in [each for item in items for each in item["appearances"]]:
            assert appearance["anchor"] == "exact"
            assert appearance["article_version"] == 1
            assert appearance["spans"]
            text = articles[appearance["article_id"]]["text"]
            for span in appearance["spans"]:
                counted[appearance["article_id"]] += 1
                assert text[span["start"] : span["end"]] == span["exact"]
                assert text[: span["start"]].endswith(span["prefix"])
                assert text[span["end"] :].startswith(span["suffix"])
    assert counted[IDS["report"]] > 50
    assert counted[IDS["follow-up"]] > 20
    # An emoji stands before most of them: offsets in UTF-16 or in bytes would be others.
    report = articles[IDS["report"]]
    assert any(ord(character) > 0xFFFF for character in report["text"][:200])
    for article in articles.values():
        for zone in article["zones"]:
            words = article["text"][zone["start"] : zone["end"]]
            assert words == words.strip()
            assert words


KILLED = {"killed-100", "killed-100-again", "headline-toll"}
ASKED: list[tuple[str, str, set[str]]] = [
    (
        "claims",
        "origin_id=@nis",
        {"killed-100", "killed-100-again", "injured-1000", "more-troops"},
    ),
    ("claims", "claimant_id=@lee&origin_id=@nis", {"killed-100", "injured-1000", "more-troops"}),
    (
        "claims",
        "claimant_id=@lee",
        {"killed-100", "injured-1000", "more-troops", "briefing-held", "headline-toll"},
    ),
    ("claims", "via_id=@nis-briefing", {"killed-100", "injured-1000", "more-troops"}),
    ("claims", "response_family=declines&response_coverage=explicit", {"arms-deliveries"}),
    ("claims", "response_family=declines", {"arms-deliveries", "deployed-12000"}),
    # No denial stands: the only one was softened.
    ("claims", "response_family=denies", set()),
    ("denials", "family=denies&validity=standing", set()),
    ("denials", "family=denies", {"groundless"}),
    # The joint statement's claims, found by a state that signed it, one that stands in a group.
    (
        "claims",
        "source_id=@united-states",
        {"condemnation", "missile-trade", "dangerous-expansion"},
    ),
    (
        "claims",
        "source_id=@united-states&claimant_id=@ten-states",
        {"condemnation", "missile-trade"},
    ),
    ("claims", "claimant_id=@united-states", {"dangerous-expansion"}),
    (
        "claims",
        "source_id=@nine-states",
        {"condemnation", "missile-trade", "dangerous-expansion"},
    ),
    ("claims", "source_id=@ukraine", {"deployed-12000", "arms-deliveries"}),
    ("claims", "metric=killed", KILLED),
    ("claims", "metric=killed&quantity_from=150", KILLED),
    ("claims", "metric=killed&quantity_to=99", set()),
    ("claims", "metric=killed&quantity_from=50&quantity_to=100", KILLED),
    ("claims", "metric=deployed&quantity_from=11000&quantity_to=11000", {"deployed-12000"}),
    ("claims", "metric=deployed&quantity_from=12001", set()),
    ("claims", "metric=injured&quantity_from=1001", set()),
    ("claims", "attributed=false", {"heavy-losses", "thousand-days"}),
    ("claims", "related_to=@several-hundreds&relation_kind=conflicts_with", {"injured-1000"}),
    ("claims", "parent_claim_id=@condemnation", {"missile-trade"}),
    ("claims", "stated__lt=2024-12-19&attributed=false", set()),
    ("denials", "claim_id=@arms-deliveries", {"neither-nor"}),
    ("denials", "responder_id=@russia", {"neither-nor"}),
    ("denials", "family=silent", {"silent-on-front", "silent-on-losses"}),
    ("denials", "scope_source_id=@nk-statement", {"silent-on-front", "silent-on-losses"}),
    ("denials", "claim_id=@condemnation&family=deflects", {"distorted", "blames-washington"}),
    ("sources", "name=pyongyang", {"north-korea"}),
    ("sources", "name=УКРАЇНА", {"ukraine"}),
    ("sources", "parent_id=@united-states", {"pentagon"}),
    ("sources", "member_id=@united-states", {"ten-states"}),
    ("sources", "identification=anonymous", {"us-official"}),
    ("articles", "publisher_id=@courier", {"report"}),
    ("articles", "publisher_id=@estuary-post", {"follow-up"}),
    ("articles", "credit_id=@northgate&credit_role=wire", {"follow-up"}),
    ("articles", "source_id=@nis", {"report", "follow-up"}),
    ("articles", "source_id=@courier", set()),
]


@pytest.mark.parametrize(
    ("plural", "query", "names"), ASKED, ids=[f"{plural}?{query}" for plural, query, _ in ASKED]
)
async def test_the_records_answer_questions(
    loaded: httpx.AsyncClient, plural: str, query: str, names: set[str]
) -> None:
    assert await ask(loaded, plural, query) == names


async def test_one_request_brings_a_claim_with_all_that_belongs_to_it(
    loaded: httpx.AsyncClient,
) -> None:
    query = {"id__in": IDS["killed-100"], "expand": "sources,articles,denials,claims"}
    page = (await loaded.get("/v1/claims", params=query)).json()
    assert [NAMES[item["id"]] for item in page["items"]] == ["killed-100"]
    included = {
        name: {NAMES[identity] for identity in found} for name, found in page["included"].items()
    }
    assert included == {
        "sources": {
            *("lee", "nis", "nis-briefing", "sk-parliament", "nk-troops"),
            # of the article, of the denial, and of the claim that it is related to
            *("courier", "nk-foreign-ministry", "nk-statement", "ua-military-intelligence"),
        },
        "articles": {"report"},
        "denials": {"silent-on-losses"},
        "claims": {"heavy-losses", "killed-or-wounded-30"},
    }


async def test_figures_stand_side_by_side_as_they_are_printed(loaded: httpx.AsyncClient) -> None:
    query = {"sort": "lower", "tag": "casualties"}
    items = (await loaded.get("/v1/figures", params=query)).json()["items"]
    bounds = {
        (item["metric"], item["printed"]): (item["lower_bound"], item["upper_bound"])
        for item in items
        if item["metric"] in {"killed", "killed_or_wounded", "injured", "casualties"}
    }
    assert bounds[("killed", "At least 100")] == (100, None)
    assert bounds[("killed_or_wounded", "at least 30")] == (30, None)
    assert bounds[("injured", "approaching 1,000")] == (None, 1000)
    assert bounds[("casualties", "several hundreds")] == (None, None)
    against = {
        NAMES[item["record"]["id"]]: [
            (NAMES[each["record"]["id"]], each["basis"]) for each in item["conflicts"]
        ]
        for item in items
    }
    assert against["injured-1000"] == [("several-hundreds", "stated")]
    assert against["several-hundreds"] == [("injured-1000", "stated")]
    assert against["killed-100"] == []  # an editor has rejected the conflict with the 30
