"""Reviews are written many at a time, and yet each as a whole, and after those before it."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from api.access import keyring
from api.core.caller import EVERYTHING
from api.core.sql import compose, render
from api.sync.importing.reviews import known, nodes, running
from api.sync.importing.reviews.nodes import local_name
from api.sync.importing.tables import sources
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer, cloned, serving
from tests.factories import Client
from tests.test_plans import rows_in
from tests.test_reviews import counts, get, review, send
from tests.test_statements import Counted, counted
from tests.world import MERGE_PATCH, World

__all__ = ["counted"]  # a fixture

Json = dict[str, Any]


def about(text: str, *names: str, url: str = "https://paper.example/1", **changed: Any) -> Json:
    """Write a review of a claim that some have made in an article."""
    item = {
        "@type": "Claim",
        "author": [{"@type": "Person", "name": name} for name in names],
        "appearance": {
            "@type": "NewsArticle",
            "url": url,
            "publisher": {"name": "The Paper"},
        },
    }
    return review(claimReviewed=text, itemReviewed=item, **changed)


def of_claim(number: int, label: str, **changed: Any) -> Json:
    """Write a review of a claim that has an id."""
    item = {"@type": "Claim", "@id": f"https://claims.example/{number}", "author": "Lee"}
    return review(itemReviewed=item, reviewRating={"alternateName": label}, **changed)


async def everything(client: Client, *plurals: str) -> list[Json]:
    """Read all records of some types."""
    items: list[Json] = []
    for plural in plurals:
        page = (await client.get(f"/v1/{plural}", params={"limit": "200"})).json()
        assert page["next_cursor"] is None
        items += page["items"]
    return items


async def told(client: Client) -> list[Any]:
    """Tell what is there, in terms that are the same in another database."""
    names = {each["id"]: each["name"] for each in await everything(client, "sources")}
    articles = await everything(client, "articles")
    places = {each["id"]: each["url"] for each in articles}
    found: list[Any] = [sorted(names.values())]
    found.append(sorted((each["url"], names[each["publisher_id"]]) for each in articles))
    found.append(
        sorted(
            (
                each["text"],
                sorted(names[hop["source_id"]] for hop in each["attributions"]),
                [places[at["article_id"]] for at in each["appearances"]],
                sorted(rating["label"] for rating in each["assessments"]),
            )
            for each in await everything(client, "claims")
        )
    )
    return found


# --- what one review creates, others name ------------------------------------------------------


async def test_a_review_uses_what_one_before_it_creates(empty: Client, empty_url: str) -> None:
    document = [
        about("One.", "Lee"),
        about("Two.", "Kim", "Lee"),
        about("Three.", "Kim", url="https://paper.example/2"),
    ]
    *results, _ = await send(empty, document)
    assert [each["status"] for each in results] == [201, 201, 201]
    one, two, three = [await get(empty, "claims", each["id"]) for each in results]
    lee, kim = (hop["source_id"] for hop in (*one["attributions"], *three["attributions"]))
    assert [hop["source_id"] for hop in two["attributions"]] == [kim, lee]
    assert two["appearances"][0]["article_id"] == one["appearances"][0]["article_id"]
    assert await counts(empty_url) == {"claim": 3, "source": 3, "article": 2}


async def test_several_reviews_rate_a_claim_that_the_first_creates(
    empty: Client, empty_url: str
) -> None:
    document = [of_claim(number, label) for label in ("True", "False", "Open") for number in (1, 2)]
    document[1:3] = document[2:0:-1]
    *results, totals = await send(empty, document)
    assert [each["status"] for each in results] == [201, 200, 201, 200, 200, 200]
    assert [each["version"] for each in results] == [1, 2, 1, 2, 3, 3]
    assert (totals["totals"]["created"], totals["totals"]["updated"]) == (2, 4)
    for result in results[:3:2]:
        claim = await get(empty, "claims", result["id"])
        assert [each["label"] for each in claim["assessments"]] == ["True", "False", "Open"]
        assert [hop["printed"] for hop in claim["attributions"]] == ["Lee"]
    *again, _ = await send(empty, document[::-1])
    assert {(each["version"], each["changed"]) for each in again} == {(3, False)}
    assert await counts(empty_url) == {"claim": 6, "source": 1}


@pytest.mark.parametrize("known_before", [False, True])
async def test_a_rating_that_a_document_takes_back_does_not_come_again(
    empty: Client, *, known_before: bool
) -> None:
    """Whether the versions of the claim are there already, or come with the document."""
    url = "https://facts.example/1"
    first, second = (of_claim(1, label, url=url) for label in ("True", "False"))
    if known_before:
        await send(empty, first)
    *results, _ = await send(empty, [first, second, first, second])
    assert [each["version"] for each in results] == [1, 2, 2, 2]
    assert [each["changed"] for each in results] == [not known_before, True, False, False]
    claim = await get(empty, "claims", results[0]["id"])
    assert [each["label"] for each in claim["assessments"]] == ["False"]


async def test_reviews_in_another_order_make_the_same_records(template: str) -> None:
    document = [
        about("One.", "Lee"),
        about("Two.", "Kim", "Lee"),
        of_claim(1, "True", claimReviewed="Three."),
        about("One.", "Lee", url="https://paper.example/2", author=None),
        of_claim(1, "False", claimReviewed="Three."),
        about("Four.", "Park", url="https://paper.example/2"),
    ]
    found = []
    for order in (document, document[::-1], document[3:] + document[:3]):
        async with cloned(template) as url, serving(url) as client:
            *results, _ = await send(client, order)
            assert sorted(each["status"] for each in results) == [200, 201, 201, 201, 201, 422]
            found.append(await told(client))
    assert found[0] == found[1] == found[2]


# --- a review that is refused ------------------------------------------------------------------


async def test_a_review_that_is_refused_leaves_nothing_and_the_others_are_written(
    empty: Client,
) -> None:
    """Not even the source that the next review names, which is the next review's own then."""
    world = World(empty)
    await world.add("articles", "gone", url="https://paper.example/gone", headline="Gone")
    linked = {"namespace": "schema.org", "value": "https://paper.example/other"}
    await world.add("articles", "other", headline="Other", external_ids=[linked])
    headers = {"if-match": "*"}
    assert (await empty.delete(world.at("other"), headers=headers)).is_success
    document = [
        about("One.", "Lee"),
        about("Two.", "Park", "Choi", url="https://paper.example/other"),
        about("Three.", "Park"),
    ]
    *results, _ = await send(empty, document)
    assert [each["status"] for each in results] == [201, 410, 201]
    assert [each["pointer"] for each in results[1]["problem"]["errors"]] == [
        "/1/itemReviewed/appearance"
    ]
    names = {each["name"] for each in await everything(empty, "sources")}
    assert names == {"Lee", "Park", "The Paper"}
    assert {each["text"] for each in await everything(empty, "claims")} == {"One.", "Three."}


async def test_the_database_refuses_one_review_of_many(empty: Client, empty_url: str) -> None:
    """What is written of the others beside it is found again, however often it was tried."""
    connection = await asyncpg.connect(empty_url)
    await connection.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            RAISE unique_violation USING CONSTRAINT = 'external_ids_pkey';
        END$$;
        CREATE TRIGGER refuse BEFORE INSERT ON claims FOR EACH ROW
            WHEN (NEW.text = 'No.') EXECUTE FUNCTION refuse()
        """
    )
    await connection.close()
    document = [about(f"{number}.", "Lee") for number in range(7)]
    document[4:4] = [about("No.", "Park", "Choi", url="https://paper.example/2")]
    document[5] = about("5.", "Park")
    for asked in ({"dry_run": "true"}, {}):
        *results, totals = await send(empty, document, None, **asked)
        assert [each["line"] for each in results] == [*range(1, 9)]
        assert [each["status"] for each in results] == [201, 201, 201, 201, 409, 201, 201, 201]
        assert totals["totals"]["created"] == 7
    assert results[4]["problem"]["errors"][0]["code"] == "not-unique"
    names = {each["name"] for each in await everything(empty, "sources")}
    assert names == {"Lee", "Park", "The Paper"}
    assert await counts(empty_url) == {"claim": 7, "source": 3, "article": 1}
    *results, _ = await send(empty, [document[4], about("8.")], atomic="true")
    assert [each["status"] for each in results] == [409, 424]
    assert await counts(empty_url) == {"claim": 7, "source": 3, "article": 1}


async def test_a_claim_that_has_no_room_for_a_rating_refuses_it_alone(
    empty: Client, empty_url: str
) -> None:
    document = [of_claim(1, f"{number}") for number in range(52)]
    document[51:51] = [of_claim(2, "True")]
    *results, totals = await send(empty, document)
    assert [each["status"] for each in results] == [201] + [200] * 49 + [422, 201, 422]
    assert [each["pointer"] for each in results[50]["problem"]["errors"]] == ["/50"]
    assert totals["totals"]["refused"] == 2
    assert await counts(empty_url) == {"claim": 51, "source": 1}


async def test_an_article_that_the_key_does_not_see_is_not_told_of(
    empty: Client, empty_url: str
) -> None:
    world = World(empty)
    url = "https://paper.example/hidden"
    await world.add("articles", "it", url=url, embargoed_until="2900-01-01T00:00:00Z")
    await world.add("articles", "public", url="https://paper.example/1", status="usable")
    scopes = (Scope.IMPORT, Scope.CLAIMS_WRITE, Scope.SOURCES_WRITE)
    key = bearer(await allow(empty_url, keyring.new_key(), scopes))
    document = [about("One.", "Lee"), about("Two.", "Kim", url=url), about("Three.", "Kim")]
    *results, _ = await send(empty, document, key)
    assert [each["status"] for each in results] == [201, 403, 201]
    assert "articles:write" in results[1]["problem"]["detail"]
    assert "Lee" in {each["name"] for each in await everything(empty, "sources")}
    assert url not in json.dumps(results)


async def test_an_atomic_document_is_written_over_several_pieces_or_not_at_all(
    empty: Client, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MAX_TOGETHER", 2)
    document = [about(f"{number}.", "Lee") for number in range(5)]
    *results, totals = await send(empty, [*document, review(author=None)], atomic="true")
    assert [each["status"] for each in results] == [424] * 5 + [422]
    assert await counts(empty_url) == {}
    *results, totals = await send(empty, document, atomic="true")
    assert (totals["totals"]["created"], totals["committed"]) == (5, True)
    assert await counts(empty_url) == {"claim": 5, "source": 2, "article": 1}


# --- what it costs -----------------------------------------------------------------------------


async def test_many_reviews_take_as_many_statements_as_one(counted: Counted) -> None:
    taken = []
    for count in (1, 20):
        document = [
            about(f"{number}.", f"Lee {number}", url=f"https://paper.example/{count}/{number}")
            for number in range(count)
        ]
        *results, _ = await send(counted.client, document)
        assert {each["status"] for each in results} == {201}
        taken.append(counted.taken())
    assert taken[1] <= taken[0] + 1, taken


async def test_large_reviews_are_written_fewer_at_a_time(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"reviewRating": "False", "reviewBody": "x" * 9_000}
    document = [about(f"{number}.", "Lee", **long) for number in range(4)]
    taken = []
    for most in (20_000, 1_048_576):
        monkeypatch.setattr(running, "MAX_TOGETHER_BYTES", most)
        await send(counted.client, document, dry_run="true")
        taken.append(counted.taken())
    assert taken[0] > taken[1] * 1.5, taken


async def test_an_object_in_one_that_all_reviews_name_is_read_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a small document could keep the service at work for many minutes."""
    noted: list[str] = []

    def note(name: str) -> str:
        noted.append(name)
        return local_name(name)

    monkeypatch.setattr(nodes, "local_name", note)
    publisher = {"name": "The Paper", "@type": ["Thing", "Organization"], "marked": 1}
    work = {"@type": "Article", "headline": "It", "publisher": publisher}
    claim = {"@id": "#c", "@type": "Claim", "appearance": work}
    document = {"@graph": [claim, *(review(itemReviewed={"@id": "#c"}) for _ in range(5))]}
    for most, times in ((nodes.MAX_INNER, range(1, 2)), (1, range(2, 100))):
        monkeypatch.setattr(nodes, "MAX_INNER", most)
        noted.clear()
        *results, _ = await send(client, document, dry_run="true")
        assert {each["status"] for each in results} == {201}
        assert noted.count("marked") in times


@pytest.mark.parametrize(
    ("record_type", "statement", "asked"),
    [
        (
            "claim",
            known._FORMER,  # noqa: SLF001
            {"versions": [200] * 3, "ratings": ["{}", "[]", '"x"'], "most": 100},
        ),
        (
            "source",
            compose(sources._FORMER, most_versions="100"),  # noqa: SLF001
            {"names": ["Lee", "Kim", "Park"], "most": 200},
        ),
    ],
)
async def test_former_versions_are_read_once_for_all_that_is_asked_of_them(
    empty: Client, empty_url: str, record_type: str, statement: str, asked: Json
) -> None:
    world = World(empty)
    name = {"text": "So."} if record_type == "claim" else {"name": "Lee"}
    await world.add(f"{record_type}s", "it", **name)
    for number in range(9):
        answer = await empty.patch(world.at("it"), json={"note": f"{number}"}, headers=MERGE_PATCH)
        assert answer.is_success
    query, *given = render(statement, EVERYTHING, ids=[world.id("it")] * 3, **asked)
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute("ANALYZE")
        [plan] = json.loads(
            await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *given)
        )
    finally:
        await connection.close()
    assert 10 <= rows_in(plan) <= 12, plan
