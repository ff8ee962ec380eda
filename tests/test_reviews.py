"""Reviews in the terms of schema.org (ClaimReview) are imported, each as a whole or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from copy import deepcopy
from itertools import combinations
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import pytest

from api.access import keyring
from api.sync.importing.reviews import documents, nodes
from api.sync.importing.reviews.nodes import MAX_FAULTS, MAX_VALUES, cleaned
from api.sync.importing.reviews.values import as_bound, as_number, as_time
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer, cloned, serving
from tests.factories import Client
from tests.world import MERGE_PATCH, World

Json = dict[str, Any]

LINKED = {"content-type": "application/ld+json"}
REVIEW: Json = {
    "@context": "https://schema.org",
    "@type": "ClaimReview",
    "url": "https://facts.example/1",
    "datePublished": "2024-12-20",
    "author": {"@type": "Organization", "name": "The Fact Desk"},
    "claimReviewed": "At least 100 soldiers were killed.",
    "itemReviewed": {
        "@type": "Claim",
        "author": {"@type": "Person", "name": "Lee", "jobTitle": "MP"},
        "datePublished": "2024-12-19",
        "appearance": {
            "@type": "NewsArticle",
            "url": "https://paper.example/1",
            "headline": "Lee says so",
            "datePublished": "2024-12-19T10:00:00Z",
            "publisher": {"@type": "NewsMediaOrganization", "name": "The Paper"},
            "author": [{"name": "Kim"}],
        },
    },
    "reviewRating": {
        "@type": "Rating",
        "alternateName": "Unproven",
        "ratingValue": "3",
        "bestRating": 5,
        "worstRating": 1.0,
        "ratingExplanation": "Nobody else has counted.",
    },
}


def review(**changed: Any) -> Json:
    """Write a review with an address of its own, and with some properties in another way."""
    return {**deepcopy(REVIEW), "url": f"https://facts.example/{uuid4()}", **changed}


async def send(
    client: Client, document: Any, headers: Mapping[str, str] | None = None, **asked: str
) -> list[Json]:
    """Import a document; give the lines of the answer, the totals last."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = await client.post(
        "/v1/import", content=content, params=asked, headers={**LINKED, **(headers or {})}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def refused(client: Client, document: Any) -> Json:
    """Import a document that is refused as such; give the problem."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = await client.post("/v1/import", content=content, headers=LINKED)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: Json = answer.json()
    return problem


async def get(client: Client, plural: str, identity: str) -> Json:
    answer = await client.get(f"/v1/{plural}/{identity}")
    assert answer.status_code == 200, answer.text
    record: Json = answer.json()
    return record


async def counts(url: str) -> dict[str, int]:
    """Count the versions of all records that a review can write."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT record_type::text AS type, count(*) AS n FROM revisions GROUP BY 1"
        )
        return {row["type"]: row["n"] for row in rows}
    finally:
        await connection.close()


# --- what becomes of a review ------------------------------------------------------------------


async def test_a_review_becomes_a_claim_with_its_rating_source_and_article(empty: Client) -> None:
    [result, totals] = await send(empty, REVIEW)
    assert (result["line"], result["status"], result["type"]) == (1, 201, "claim")
    assert totals["totals"]["created"] == totals["totals"]["lines"] == 1
    assert totals["committed"]
    claim = await get(empty, "claims", result["id"])
    assert claim["text"] == "At least 100 soldiers were killed."
    assert claim["review_status"] == "draft"
    assert claim["extraction"]["method"] == "import"
    day = {"earliest": "2024-12-19", "latest": "2024-12-19", "precision": "day"}
    assert claim["stated"] == {"expression": None, **day}
    [rating] = claim["assessments"]
    assert rating == {
        "assessor": "The Fact Desk",
        "scheme": "The Fact Desk",
        "label": "Unproven",
        "value": 3,
        "best": 5,
        "worst": 1,
        "url": "https://facts.example/1",
        "published_at": "2024-12-20",
        "explanation": "Nobody else has counted.",
    }
    [hop] = claim["attributions"]
    assert (hop["role"], hop["printed"]) == ("claimant", "Lee")
    source = await get(empty, "sources", hop["source_id"])
    assert (source["kind"], source["name"]) == ("person", "Lee")
    assert [role["title"] for role in source["roles"]] == ["MP"]
    [appearance] = claim["appearances"]
    article = await get(empty, "articles", appearance["article_id"])
    assert (article["url"], article["headline"]) == ("https://paper.example/1", "Lee says so")
    assert article["published"]["earliest"] == "2024-12-19T10:00:00Z"
    assert article["authors"][0]["name"] == "Kim"
    publisher = await get(empty, "sources", article["publisher_id"])
    assert (publisher["kind"], publisher["name"]) == ("publication", "The Paper")
    for record in (claim, source, article):
        assert [each["namespace"] for each in record["external_ids"]] == ["schema.org"]


@pytest.mark.long
async def test_the_same_document_again_changes_nothing(empty: Client, empty_url: str) -> None:
    document = [REVIEW, review(itemReviewed={"@type": "CreativeWork", "author": {"name": "Lee"}})]
    *first, _ = await send(empty, document)
    before = await counts(empty_url)
    for asked in ({}, {"atomic": "true"}, {"dry_run": "true"}):
        *again, totals = await send(empty, document, None, **asked)
        assert totals["totals"]["unchanged"] == 2
        assert [each["id"] for each in again] == [each["id"] for each in first]
        assert [each["version"] for each in again] == [1, 1]
    assert await counts(empty_url) == before
    assert before == {"claim": 2, "source": 2, "article": 1}


@pytest.mark.long
async def test_a_rating_that_has_changed_takes_the_place_of_the_former_one(empty: Client) -> None:
    """What editors have changed meanwhile stays, also in the source and in the article."""
    [first, _] = await send(empty, REVIEW)
    path = f"/v1/claims/{first['id']}"
    other = {"assessor": "We", "scheme": "ours", "label": "open"}
    claim = (await empty.get(path)).json()
    edited = {"text": "In other words.", "assessments": [other, *claim["assessments"]]}
    assert (await empty.patch(path, json=edited, headers=MERGE_PATCH)).status_code == 200
    source = f"/v1/sources/{claim['attributions'][0]['source_id']}"
    answer = await empty.patch(source, json={"name": "Lee Seong"}, headers=MERGE_PATCH)
    assert answer.status_code == 200
    changed = {**REVIEW, "reviewRating": {"alternateName": "False"}}
    [result, totals] = await send(empty, changed)
    assert (result["id"], result["status"], result["changed"]) == (first["id"], 200, True)
    assert totals["totals"]["updated"] == 1
    claim = (await empty.get(path)).json()
    assert claim["text"] == "In other words."
    assert [each["label"] for each in claim["assessments"]] == ["open", "False"]
    assert claim["assessments"][1]["value"] is None
    assert (await empty.get(source)).json()["name"] == "Lee Seong"


@pytest.mark.long
async def test_a_feed_that_has_not_changed_changes_nothing_that_editors_have(
    empty: Client, empty_url: str
) -> None:
    """A rating that the claim once had was changed or removed on purpose."""
    [first, _] = await send(empty, REVIEW)
    path = f"/v1/claims/{first['id']}"
    [rating] = (await empty.get(path)).json()["assessments"]
    moved = {**rating, "url": "https://facts.example/moved"}
    for edited in ([{**rating, "label": "Not proven"}], [moved], []):
        answer = await empty.patch(path, json={"assessments": edited}, headers=MERGE_PATCH)
        assert answer.status_code == 200
        before = await counts(empty_url)
        [again, totals] = await send(empty, REVIEW)
        assert (again["status"], again["changed"], again["id"]) == (200, False, first["id"])
        assert totals["totals"]["unchanged"] == 1
        assert (await empty.get(path)).json()["assessments"] == edited
        assert await counts(empty_url) == before
    [result, _] = await send(empty, {**REVIEW, "reviewRating": {"alternateName": "False"}})
    assert (result["status"], result["changed"]) == (200, True)
    assert [each["label"] for each in (await empty.get(path)).json()["assessments"]] == ["False"]


@pytest.mark.parametrize(
    "parameters",
    [
        '; profile="http://www.w3.org/ns/json-ld#compacted"',
        ";profile=http://www.w3.org/ns/json-ld#expanded;charset=utf-8",
        '; charset=utf-8; profile="http://www.w3.org/ns/json-ld#a http://www.w3.org/ns/json-ld#b"',
    ],
)
async def test_a_document_may_name_its_profile(empty: Client, parameters: str) -> None:
    media_type = f"application/ld+json{parameters}"
    [result, _] = await send(empty, review(), headers={"content-type": media_type})
    assert result["status"] == 201


async def test_works_without_address_on_one_page_are_told_apart_by_their_headlines(
    empty: Client,
) -> None:
    page = f"https://facts.example/{uuid4()}"
    speech, interview = (
        [{"@type": "Article", "headline": headline}] for headline in ("A speech", "An interview")
    )
    results = await send(
        empty,
        [
            review(url=page, claimReviewed="It rains.", itemReviewed=speech),
            review(url=page, claimReviewed="It snows.", itemReviewed=interview),
            review(url=page, claimReviewed="It hails.", itemReviewed=[*interview, *speech]),
        ],
    )
    claims = [await get(empty, "claims", each["id"]) for each in results[:-1]]
    headlines = [
        {
            (await get(empty, "articles", each["article_id"]))["headline"]
            for each in claim["appearances"]
        }
        for claim in claims
    ]
    assert headlines == [{"A speech"}, {"An interview"}, {"An interview", "A speech"}]
    articles = (await empty.get("/v1/articles")).json()["items"]
    assert len(articles) == 2


async def test_several_claims_on_one_page_are_several(empty: Client) -> None:
    """A page often has the reviews of several claims: none must take the place of another."""
    document = [REVIEW, {**REVIEW, "claimReviewed": "Nobody was killed."}]
    *results, _ = await send(empty, document)
    assert [each["status"] for each in results] == [201, 201]
    texts = [(await get(empty, "claims", each["id"]))["text"] for each in results]
    assert texts == ["At least 100 soldiers were killed.", "Nobody was killed."]
    *again, _ = await send(empty, document[::-1])
    assert [each["id"] for each in again] == [each["id"] for each in results[::-1]]
    assert {each["changed"] for each in again} == {False}


@pytest.mark.long
async def test_a_dry_run_tells_what_would_happen_and_keeps_nothing(
    empty: Client, empty_url: str
) -> None:
    document = [REVIEW, REVIEW, review(author=None)]
    *results, totals = await send(empty, document, dry_run="true")
    assert [each["status"] for each in results] == [201, 200, 422]
    assert (totals["dry_run"], totals["committed"]) == (True, False)
    assert await counts(empty_url) == {}
    *real, _ = await send(empty, document)
    assert [each["status"] for each in real] == [201, 200, 422]


@pytest.mark.long
async def test_an_atomic_document_is_taken_or_refused_as_a_whole(
    empty: Client, empty_url: str
) -> None:
    *results, totals = await send(empty, [REVIEW, review(author=None)], atomic="true")
    assert [each["status"] for each in results] == [424, 422]
    assert results[0]["problem"]["code"] == "not-applied"
    assert results[0]["problem"]["request_id"]
    assert (totals["totals"]["not_applied"], totals["totals"]["refused"]) == (1, 1)
    assert not totals["committed"]
    assert await counts(empty_url) == {}
    *results, totals = await send(empty, [REVIEW, review()], atomic="true")
    assert [each["status"] for each in results] == [201, 201]
    assert totals["committed"]


@pytest.mark.long
@pytest.mark.parametrize(
    "document",
    [
        pytest.param(lambda one, two: [one, two], id="array"),
        pytest.param(lambda one, two: {"@graph": [{"@type": "WebPage"}, one, two]}, id="graph"),
        pytest.param(
            lambda one, two: {
                "@type": "DataFeed",
                "dataFeedElement": [
                    {"@type": "DataFeedItem", "item": [one]},
                    {"@type": "DataFeedItem", "item": None},
                    {"@type": "DataFeedItem", "item": two},
                ],
            },
            id="feed",
        ),
        pytest.param(
            lambda one, two: {"@type": "Claim", "text": "So.", "review": [one, two]}, id="claim"
        ),
        pytest.param(
            lambda *both: [
                {key if key[0] == "@" else f"https://schema.org/{key}": each[key] for key in each}
                for each in both
            ],
            id="whole names",
        ),
    ],
)
async def test_reviews_are_found_in_each_form_of_a_document(
    client: Client, document: Callable[[Json, Json], Any]
) -> None:
    *results, _ = await send(client, document(review(), review()))
    assert [each["status"] for each in results] == [201, 201]
    assert [each["line"] for each in results] == [1, 2]


async def test_objects_in_another_place_of_the_document_are_found(empty: Client) -> None:
    """The plugins of many sites write every object once, and name it elsewhere by its id."""
    document = {
        "@graph": [
            review(author={"@id": "#us"}, itemReviewed={"@id": "#claim"}),
            {"@id": "#us", "@type": "Organization", "name": "The Fact Desk"},
            {"@id": "#claim", "@type": "Claim", "author": {"@id": "#lee"}},
            {"@id": "#lee", "@type": ["Person", "Thing"], "name": "Lee"},
        ]
    }
    [result, _] = await send(empty, document)
    claim = await get(empty, "claims", result["id"])
    assert claim["assessments"][0]["assessor"] == "The Fact Desk"
    assert claim["attributions"][0]["printed"] == "Lee"


async def test_a_plain_review_has_no_line(empty: Client) -> None:
    """Pages of all kinds have reviews of products and places beside those of claims."""
    plain = {**review(), "@type": "Review"}
    *results, totals = await send(empty, [plain, REVIEW, plain])
    assert [(each["line"], each["status"]) for each in results] == [(1, 201)]
    assert totals["totals"]["lines"] == 1


async def test_the_review_of_a_claim_of_ours_comes_back_to_it(empty: Client) -> None:
    world = World(empty)
    await world.add("sources", "lee", name="Lee")
    await world.add("claims", "said", text="So it is.", attributions=[{"source_id": "@lee"}])
    answer = await empty.get(world.at("said"), headers={"accept": "application/ld+json"})
    theirs = review(itemReviewed={"@id": answer.json()["@id"]})
    [result, _] = await send(empty, theirs)
    assert result["id"] == world.id("said")
    assert [each["label"] for each in (await world.get("said"))["assessments"]] == ["Unproven"]
    answer = await empty.get(world.at("said"), headers={"accept": "application/ld+json"})
    [again, _] = await send(empty, answer.json())
    assert (again["id"], again["status"], again["changed"]) == (world.id("said"), 200, False)


async def test_a_review_of_two_claims_is_refused(client: Client) -> None:
    """Else the authors of the one would have said the other as well."""
    claims = [{"@type": "Claim", "author": name, "text": name} for name in ("Lee", "Kim")]
    [result, _] = await send(client, review(itemReviewed=claims))
    [error] = result["problem"]["errors"]
    assert error["pointer"] == "/itemReviewed"
    assert "Send a review for each of them" in error["detail"]
    work = {"@type": "Article", "headline": "It was said."}
    [result, _] = await send(client, review(itemReviewed=[claims[0], claims[0], work]))
    assert result["status"] == 201
    claim = await get(client, "claims", result["id"])
    assert [hop["printed"] for hop in claim["attributions"]] == ["Lee"]


@pytest.mark.parametrize(
    ("identity", "url"),
    [("https://f.example/a|b", "https://f.example/a%7Cb"), ("https:///a", None)],
)
async def test_an_id_that_stands_for_the_address_is_read_as_one(
    empty: Client, identity: str, url: str | None
) -> None:
    """Also in a review of a claim that is there, to which only the rating is added."""
    item = {"@type": "Claim", "@id": "https://claims.example/1"}
    [first, _] = await send(empty, review(itemReviewed=item))
    second = review(itemReviewed=item, **{"@id": identity})
    del second["url"]
    [result, _] = await send(empty, second)
    if url is None:
        assert result["status"] == 422
        assert [each["pointer"] for each in result["problem"]["errors"]] == ["/@id"]
    else:
        assert (result["status"], result["id"]) == (200, first["id"])
        claim = await get(empty, "claims", first["id"])
        assert claim["assessments"][1]["url"] == url
    work = {"@type": "Article", "@id": identity}
    [result, _] = await send(empty, review(itemReviewed=work))
    if url is None:
        assert [each["pointer"] for each in result["problem"]["errors"]] == ["/itemReviewed/@id"]
    else:
        assert result["status"] == 201


async def test_an_article_that_is_there_is_found_by_its_address(empty: Client) -> None:
    world = World(empty)
    await world.add("articles", "ours", headline="Ours", url="https://paper.example/1")
    [result, _] = await send(empty, REVIEW)
    claim = await get(empty, "claims", result["id"])
    assert [each["article_id"] for each in claim["appearances"]] == [world.id("ours")]
    assert (await world.get("ours"))["headline"] == "Ours"


async def test_the_same_name_means_the_same_source_for_the_same_publisher_only(
    empty: Client,
) -> None:
    elsewhere = review(url=f"https://other.example/{uuid4()}")
    *results, _ = await send(empty, [REVIEW, review(), elsewhere])
    claims = [await get(empty, "claims", each["id"]) for each in results]
    one, two, three = (each["attributions"][0]["source_id"] for each in claims)
    assert one == two != three


async def test_several_claimants_speak_jointly(client: Client) -> None:
    authors = ["Lee", {"@type": "Country", "name": "Korea"}, {"name": "Lee"}]
    [result, _] = await send(client, review(itemReviewed={"@type": "Claim", "author": authors}))
    claim = await get(client, "claims", result["id"])
    hops = [(hop["position"], hop["role"], hop["printed"]) for hop in claim["attributions"]]
    assert hops == [(0, "claimant", "Lee"), (0, "co_claimant", "Korea")]


# --- what stands in the way --------------------------------------------------------------------


async def test_one_document_sent_many_times_at_once_is_imported_once(
    empty: Client, empty_url: str
) -> None:
    document = [REVIEW, review()]
    answers = await asyncio.gather(*(send(empty, document) for _ in range(4)))
    assert len({tuple(each["id"] for each in answer[:-1]) for answer in answers}) == 1
    assert sum(answer[-1]["totals"]["created"] for answer in answers) == 2
    assert sum(answer[-1]["totals"]["refused"] for answer in answers) == 0
    assert await counts(empty_url) == {"claim": 2, "source": 2, "article": 1}


async def test_a_claim_or_a_source_that_was_deleted_does_not_come_back_by_itself(
    empty: Client,
) -> None:
    [result, _] = await send(empty, REVIEW)
    claim = await get(empty, "claims", result["id"])
    assert (await empty.delete(f"/v1/claims/{result['id']}", headers={"if-match": "*"})).is_success
    [again, _] = await send(empty, [REVIEW])
    assert again["status"] == 410
    [error] = again["problem"]["errors"]
    assert error["pointer"] == "/0"
    source = claim["attributions"][0]["source_id"]
    assert (await empty.delete(f"/v1/sources/{source}", headers={"if-match": "*"})).is_success
    [other, _] = await send(empty, [review()])
    assert other["status"] == 410
    assert other["problem"]["errors"][0]["pointer"] == "/0/itemReviewed/author"
    assert "Restore" in other["problem"]["detail"]


async def test_a_key_needs_the_scope_of_each_record_that_it_writes(
    empty: Client, empty_url: str
) -> None:
    scopes = (Scope.IMPORT, Scope.CLAIMS_WRITE, Scope.SOURCES_WRITE)
    key = bearer(await allow(empty_url, keyring.new_key(), scopes))
    [result, _] = await send(empty, REVIEW, headers=key)
    assert result["status"] == 403
    assert "articles:write" in result["problem"]["detail"]
    assert await counts(empty_url) == {}


async def test_a_source_that_the_key_does_not_see_is_not_told_of(
    empty: Client, empty_url: str
) -> None:
    [result, _] = await send(empty, REVIEW)
    claim = await get(empty, "claims", result["id"])
    source = f"/v1/sources/{claim['attributions'][0]['source_id']}"
    hidden = {"confidentiality": "protected"}
    assert (await empty.patch(source, json=hidden, headers=MERGE_PATCH)).is_success
    scopes = (Scope.IMPORT, Scope.CLAIMS_WRITE, Scope.SOURCES_WRITE, Scope.ARTICLES_WRITE)
    key = bearer(await allow(empty_url, keyring.new_key(), scopes))
    [result, _] = await send(empty, review(), headers=key)
    assert (result["status"], result["problem"]["code"]) == (409, "not-unique")
    assert source.rpartition("/")[2] not in json.dumps(result)


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        ({}, "invalid-record", "@type"),
        ([], "invalid-record", "@type"),
        ("ClaimReview", "invalid-record", "@type"),
        (None, "invalid-record", "@type"),
        ([None, 7], "invalid-record", "@type"),
        ({"@type": "Review", "claimReviewed": "So."}, "invalid-record", "@type"),
        (b"{", "malformed-json", "Line 1"),
        (b'{"@type": "ClaimReview", "@type": "ClaimReview"}', "malformed-json", "twice"),
        (b"[" * 33 + b"]" * 33, "too-deep", "32"),
        (b'{"@type": "ClaimReview", "x": "\\u0000"}', "invalid-record", "U+0000"),
    ],
)
async def test_a_document_without_a_review_is_refused(
    client: Client, document: Any, code: str, words: str
) -> None:
    problem = await refused(client, document)
    assert problem["code"] == code
    assert words in problem["detail"]


async def test_a_document_has_so_many_reviews_and_bytes_and_no_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = await refused(client, b'"' + b"x" * 5_000_000 + b'"')
    assert problem["status"] == 413
    long = review(reviewBody="x" * 4_000_000, reviewRating="False")
    [result, _] = await send(client, long)
    assert result["problem"]["errors"][0]["pointer"] == "/reviewBody"
    monkeypatch.setattr(documents, "MAX_REVIEWS", 2)
    problem = await refused(client, [REVIEW] * 3)
    assert (problem["status"], "At most" in problem["detail"]) == (422, False)
    assert "at most 2 reviews, not 3" in problem["detail"]


async def test_a_review_lists_so_many_faults_and_no_more(client: Client) -> None:
    authors = [{"name": 7}] * 20 + [{"name": [7] * 30}]
    [result, _] = await send(client, review(author=authors, url=None, reviewRating=None))
    assert len(result["problem"]["errors"]) == MAX_FAULTS


async def test_objects_that_all_reviews_name_do_not_add_up(client: Client) -> None:
    """Else a small document could have each of a thousand reviews read thousands of objects."""
    works = [{"@type": "Article", "headline": f"Number {number}"} for number in range(20)]
    claim = {"@type": "Claim", "appearance": works}
    document = {"@graph": [{"@id": "#a", **claim}, {"@id": "#b", **works[0]}]}
    document["@graph"] += [review(itemReviewed=[{"@id": "#a"}, {"@id": "#b"}])]
    [result, _] = await send(client, document)
    [error] = result["problem"]["errors"]
    assert error["pointer"] == "/@graph/2/itemReviewed"
    [result, _] = await send(client, review(itemReviewed=claim))
    written = await get(client, "claims", result["id"])
    assert len(written["appearances"]) == 20


async def test_texts_that_all_reviews_name_are_cleaned_once_and_only_if_they_are_short(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a small document could keep the service at work for many minutes."""
    noted: list[str] = []

    def note(text: str) -> str:
        noted.append(text)
        return cleaned(text)

    monkeypatch.setattr(nodes, "cleaned", note)
    short, long = "&amp;" * 9_000, "&amp;" * 100_000
    for text, statuses in ((short, [201, 201]), (long, [422, 422])):
        rating = {"@id": "#r", "alternateName": "False", "ratingExplanation": text}
        document = {"@graph": [rating, *(review(reviewRating={"@id": "#r"}) for _ in range(2))]}
        *results, _ = await send(client, document, dry_run="true")
        assert [each["status"] for each in results] == statuses
        assert noted.count(text) == (1 if text is short else 0)


async def test_of_a_property_so_many_values_are_looked_at_and_no_more(client: Client) -> None:
    for values in (["So."] * MAX_VALUES, [[None] * 600, [""] * 600]):
        [result, _] = await send(client, review(claimReviewed=values))
        [error] = result["problem"]["errors"]
        assert error["pointer"] == "/claimReviewed"
        assert "Leave some out" in error["detail"]


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("2024-12-19", "2024-12-19"),
        ("2024-12-19T10:00:00Z", "2024-12-19T10:00:00Z"),
        ("2024-12-19T10:00Z", "2024-12-19T10:00:00Z"),
        ("2024-12-19 10:00:00+0100", "2024-12-19T10:00:00+01:00"),
        ("2024-12-19T10:00:00.1234567-05", "2024-12-19T10:00:00.123456-05:00"),
        ("2024-12-19T10:00:00", "2024-12-19"),
        ("2024-02-30", None),
        ("2024-12-19T25:00:00Z", None),
        ("19/12/2024", None),
        ("December 19, 2024", None),
        ("2024", None),
        ("20241219", None),
        ("0001-01-01", None),
    ],
)
def test_dates_are_those_of_iso_8601(text: str, bound: str | None) -> None:
    assert as_bound(text) == bound


def test_when_something_was_said_may_be_in_words() -> None:
    assert as_time("last week") == {"expression": "last week"}
    assert as_time("2024-02") == {
        "earliest": "2024-02-01",
        "latest": "2024-02-29",
        "precision": "month",
    }
    assert as_time("2024")["latest"] == "2024-12-31"


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (3, 3),
        ("3", 3),
        (" 3.50 ", 3.5),
        (5.0, 5),
        ("-1", -1),
        ("3,5", None),
        ("1/5", None),
        (True, None),
        ("1e3", None),
        ("٣", None),
        ("9" * 16, None),
        (10**15, None),
    ],
)
def test_numbers_may_be_texts(given: Any, number: float | None) -> None:
    assert as_number(given) == number


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("&quot;So&quot;", '"So"'),
        ("&amp;quot;So&amp;quot;", '"So"'),
        ("AT&T &lt;b&gt;", "AT&T <b>"),
        ("a?b=1&copy=2", "a?b=1&copy=2"),
        ("&#8217;&#x2019;", "\u2019\u2019"),
        ("&#0;&#xD800;", "\ufffd\ufffd"),
        (" &nbsp;x ", "x"),
    ],
)
def test_entities_are_what_they_stand_for(text: str, clean: str) -> None:
    assert cleaned(text) == clean


# --- dirty documents ---------------------------------------------------------------------------

Change = Callable[[Json], None]


class Defect(NamedTuple):
    """Something that public feeds get wrong, and the places of the faults; none if it is taken."""

    place: str  # defects of the same place are not combined
    change: Change
    faults: tuple[str, ...] = ()


def put(path: str, value: Any) -> Change:
    """Put a value at a place of a review."""
    *above, last = path.split("/")

    def change(document: Json) -> None:
        for step in above:
            document = document[step]
        document[last] = value

    return change


def drop(path: str) -> Change:
    """Remove a property of a review."""
    *above, last = path.split("/")

    def change(document: Json) -> None:
        for step in above:
            document = document[step]
        del document[last]

    return change


def wrap(path: str) -> Change:
    """Put a value into a list."""
    *above, last = path.split("/")

    def change(document: Json) -> None:
        for step in above:
            document = document[step]
        document[last] = [document[last]]

    return change


_WORK = {"@type": "CreativeWork", "author": {"name": "Lee"}, "datePublished": "2024"}
DEFECTS: Mapping[str, Defect] = {
    "no author": Defect("author", drop("author"), ("/author",)),
    "null for the author": Defect("author", put("author", None), ("/author",)),
    "an author without a name": Defect("author", put("author", {"@type": "Person"}), ("/author",)),
    "a text for the author": Defect("author", put("author", "The Fact Desk")),
    "a list for the author": Defect("author", wrap("author")),
    "a number for the author's name": Defect(
        "author", put("author", {"name": 7}), ("/author/name",)
    ),
    "the type in a list": Defect("@type", put("@type", ["Review", "ClaimReview"])),
    "the type as an address": Defect("@type", put("@type", "http://schema.org/ClaimReview")),
    "entities in the claim": Defect("claimReviewed", put("claimReviewed", "&quot;So&amp;quot;")),
    "no claim": Defect("claimReviewed", drop("claimReviewed"), ("/claimReviewed",)),
    "space for the claim": Defect(
        "claimReviewed", put("claimReviewed", " \n"), ("/claimReviewed",)
    ),
    "a long claim": Defect(
        "claimReviewed", put("claimReviewed", "x" * 10_001), ("/claimReviewed",)
    ),
    "two claims": Defect(
        "claimReviewed", put("claimReviewed", ["So.", "No."]), ("/claimReviewed",)
    ),
    "a claim with its language": Defect(
        "claimReviewed", put("claimReviewed", {"@value": "So.", "@language": "en"})
    ),
    "a date in words": Defect(
        "datePublished", put("datePublished", "December 20, 2024"), ("/datePublished",)
    ),
    "no date": Defect("datePublished", put("datePublished", "")),
    "a time without an offset": Defect(
        "datePublished", put("datePublished", "2024-12-20T10:00:00")
    ),
    "a number for the date": Defect(
        "datePublished", put("datePublished", 1_734_652_800), ("/datePublished",)
    ),
    "no address": Defect("url", drop("url"), ("/url",)),
    "a relative address": Defect("url", put("url", "/facts/1"), ("/url",)),
    "an address of another kind": Defect("url", put("url", "javascript:alert(1)"), ("/url",)),
    "no rating": Defect("reviewRating", drop("reviewRating"), ("/reviewRating",)),
    "an empty rating": Defect("reviewRating", put("reviewRating", {}), ("/reviewRating",)),
    "a text for the rating": Defect("reviewRating", put("reviewRating", "False")),
    "the label as the value": Defect(
        "reviewRating", put("reviewRating", {"ratingValue": "Mostly false"})
    ),
    "a list for the rating": Defect("reviewRating", wrap("reviewRating")),
    "numbers as texts": Defect(
        "reviewRating",
        put("reviewRating", {"alternateName": "False", "ratingValue": "1", "bestRating": "5.0"}),
    ),
    "a value with a comma": Defect(
        "reviewRating",
        put("reviewRating", {"alternateName": "Half", "ratingValue": "3,5"}),
        ("/reviewRating/ratingValue",),
    ),
    "a value with a comma and no words": Defect(
        "reviewRating",
        put("reviewRating", {"ratingValue": "1,5", "bestRating": 5}),
        ("/reviewRating/ratingValue",),
    ),
    "a text that is no number for the value": Defect(
        "reviewRating", put("reviewRating", {"ratingValue": "3/5", "bestRating": 5})
    ),
    "no item": Defect("itemReviewed", drop("itemReviewed")),
    "null for the item": Defect("itemReviewed", put("itemReviewed", None)),
    "a work for the item": Defect("itemReviewed", put("itemReviewed", _WORK)),
    "a text for the item": Defect(
        "itemReviewed", put("itemReviewed", "a speech"), ("/itemReviewed",)
    ),
    "no claimant": Defect("itemReviewed", drop("itemReviewed/author")),
    "a date of the claim in words": Defect(
        "itemReviewed", put("itemReviewed/datePublished", "last week")
    ),
    "a relative address of the article": Defect(
        "itemReviewed",
        put("itemReviewed/appearance/url", "news/1"),
        ("/itemReviewed/appearance/url",),
    ),
    "an address for the article": Defect(
        "itemReviewed", put("itemReviewed/appearance", "https://paper.example/a b?q=é")
    ),
    "a number for the article": Defect(
        "itemReviewed", put("itemReviewed/appearance", 7), ("/itemReviewed/appearance",)
    ),
    "unknown properties": Defect("image", put("image", {"@type": "ImageObject", "x": [[[]]]})),
}
PAIRS = [
    (one, other)
    for one, other in combinations(DEFECTS, 2)
    if DEFECTS[one].place != DEFECTS[other].place
]
_EACH = [(name,) for name in DEFECTS]
_STEP = len(PAIRS) // (200 - len(_EACH))
DIRTY: list[tuple[str, ...]] = [*_EACH, *PAIRS[::_STEP]]


def test_there_are_two_hundred_dirty_documents() -> None:
    assert len(DIRTY) >= 200
    outcomes = [any(DEFECTS[name].faults for name in names) for names in DIRTY]
    assert min(outcomes.count(True), outcomes.count(False)) >= 50


@pytest.fixture(scope="module")
async def dirty_url(template: str) -> AsyncIterator[str]:
    async with cloned(template) as url:
        yield url


@pytest.fixture(scope="module")
async def dirty(dirty_url: str) -> AsyncIterator[Client]:
    async with serving(dirty_url) as client:
        yield client


@pytest.mark.parametrize("names", DIRTY, ids=" and ".join)
async def test_a_dirty_document_is_taken_or_refused_with_a_reason_and_nothing_is_half_there(
    dirty: Client, dirty_url: str, names: tuple[str, ...]
) -> None:
    document = review()
    appearance = document["itemReviewed"]["appearance"]
    document["itemReviewed"]["author"]["name"] = f"Lee {uuid4()}"
    appearance["url"] = f"https://paper.example/{uuid4()}"
    expected = set()
    for name in names:
        DEFECTS[name].change(document)
        expected |= set(DEFECTS[name].faults)
    before = await counts(dirty_url)
    [result, totals] = await send(dirty, document)
    if expected:
        assert result["status"] == 422, result
        errors = result["problem"]["errors"]
        assert {error["pointer"] for error in errors} == expected
        assert all(error["detail"].endswith(".") for error in errors)
        assert totals["totals"]["refused"] == 1
        assert await counts(dirty_url) == before
        return
    assert result["status"] == 201, result
    claim = await get(dirty, "claims", result["id"])
    assert claim["assessments"][0]["url"] == document["url"]
    for hop in claim["attributions"]:
        await get(dirty, "sources", hop["source_id"])
    for each in claim["appearances"]:
        await get(dirty, "articles", each["article_id"])
    after = await counts(dirty_url)
    [again, _] = await send(dirty, document)
    assert (again["status"], again["changed"], again["id"]) == (200, False, result["id"])
    assert await counts(dirty_url) == after


_JUNK: tuple[Any, ...] = (None, "", 0, True, [], {}, [[]], [{}], {"@id": 7}, "&#0;", [1, "x", {}])


@pytest.mark.parametrize("junk", _JUNK, ids=repr)
async def test_junk_in_any_place_is_no_failure(dirty: Client, dirty_url: str, junk: Any) -> None:
    """Each property of each object of a review in turn: a result that says which, or a claim."""
    places = [*_places(REVIEW)]
    document = []
    for place in places:
        changed = review()
        put(place, junk)(changed)
        document.append(changed)
    before = await counts(dirty_url)
    *results, totals = await send(dirty, document, dry_run="true")
    assert len(results) == len(document) - _left_out(document)
    for result in results:
        assert result["status"] in (200, 201, 422), result
        for error in (result["problem"] or {"errors": ()})["errors"]:
            assert error["pointer"].startswith("/")
    assert totals["totals"]["lines"] == len(results)
    assert await counts(dirty_url) == before


def _places(value: Json, above: str = "") -> list[str]:
    """List the places of all properties of a review."""
    found = []
    for key, each in value.items():
        found.append(f"{above}{key}")
        if isinstance(each, dict):
            found += _places(each, f"{above}{key}/")
    return found


def _left_out(document: list[Json]) -> int:
    """Count the objects that are no reviews any more."""
    return sum(each["@type"] != "ClaimReview" for each in document)
