"""Pages: what they bring along, and that they end early instead of leaving anything out unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.access.keyring import written
from api.core.expanding import Item, Relation, fitting
from api.core.kept_pages import KeptPages
from api.core.listing import fitting_items
from api.core.resource import MAX_PAGE_BYTES
from api.core.usual_page import Found, read_usual
from api.records.claims import CLAIMS
from schemas.vocabularies import RecordType, Scope
from tests.conftest import allow, bearer
from tests.factories import Body, Client, Connection, Ids, Noun, create, unique
from tests.world import World

MIB = 1024**2
LARGE = "x" * (3 * MIB)
"""A text of which two have room on a page."""

_ANSWERS = """
    INSERT INTO denials (id, text, kind, observed_by, targets, review_status)
    SELECT gen_random_uuid(), 'No.', 'full_denial', 'responder_statement',
           json_build_array(json_build_object('claim_id', $1::uuid, 'coverage', 'explicit')),
           'published'
    FROM generate_series(1, $2)"""


@pytest.fixture
def world(client: Client) -> World:
    """Give records of this test's own."""
    return World(client)


async def read(client: Client, path: str, **asked: Any) -> Body:
    """Read one page."""
    response = await client.get(path, params=asked)
    assert response.status_code == 200, response.text
    assert len(response.content) <= 8 * MIB
    found: Body = response.json()
    return found


async def walk(client: Client, path: str, **asked: Any) -> list[Body]:
    """Read all pages."""
    pages = [await read(client, path, **asked)]
    while pages[-1]["next_cursor"] is not None:
        assert len(pages) < 20
        pages.append(await read(client, path, **asked, cursor=pages[-1]["next_cursor"]))
    return pages


def ids_of(page: Body) -> list[str]:
    """List the ids of a page's items."""
    return [item["id"] for item in page["items"]]


# --- what the included records refer to -------------------------------------------------------


async def answered_claim(world: World) -> None:
    """Make a claim in an article, and a denial by somebody else in another article."""
    for name in ("speaker", "responder", "paper"):
        await world.add("sources", name)
    await world.add("articles", "report")
    await world.add("articles", "reply", publisher_id="@paper")
    await world.add(
        "claims",
        "claim",
        attributions=[{"source_id": "@speaker"}],
        appearances=[{"article_id": "@report"}],
        review_status="published",
    )
    await world.add(
        "denials",
        "denial",
        targets=[{"claim_id": "@claim"}],
        attributions=[{"source_id": "@responder"}],
        appearances=[{"article_id": "@reply"}],
    )


async def test_the_sources_and_articles_of_included_records_come_along(world: World) -> None:
    await answered_claim(world)
    asked = {"tag": world.tag, "expand": "sources,articles,denials"}
    page = await read(world.client, "/v1/claims", **asked)
    included = {name: set(records) for name, records in page["included"].items()}
    assert included == {
        "sources": {world.id("speaker"), world.id("responder"), world.id("paper")},
        "articles": {world.id("report"), world.id("reply")},
        "denials": {world.id("denial")},
    }
    assert list(page["included"]) == ["sources", "articles", "denials"]
    page = await read(world.client, "/v1/claims", tag=world.tag, expand="sources")
    assert set(page["included"]["sources"]) == {world.id("speaker")}
    page = await read(
        world.client, "/v1/articles", id__in=world.id("report"), expand="claims,sources"
    )
    assert set(page["included"]["sources"]) == {world.id("speaker")}


async def test_nothing_comes_along_through_a_hidden_record(world: World, database_url: str) -> None:
    await answered_claim(world)
    key = await allow(database_url, written("pages".ljust(12, "0"), "0" * 30), [Scope.READ])
    asked = {"tag": world.tag, "expand": "sources,articles,denials"}
    response = await world.client.get("/v1/claims", params=asked, headers=bearer(key))
    assert response.status_code == 200, response.text
    included = {name: set(records) for name, records in response.json()["included"].items()}
    assert included == {
        "sources": {world.id("speaker")},
        "articles": {world.id("report")},
        "denials": set(),
    }


# --- the statement for pages of usual size ----------------------------------------------------


async def _unread(*_: Any) -> None:
    """Find each page too large for the statement that reads all of it."""


async def _alone(*asked: Any) -> Found | None:
    """Find what each page brings too large for the same statement."""
    found = await read_usual(*asked)
    return found and found._replace(related=None)


def _asked(noun: Noun, about: str) -> Iterator[dict[str, str]]:
    """Give questions with each sort, and with many combinations of relations."""
    names = [expansion.name for expansion in noun.resource.expansions]
    given = {"q": "killed or ten", "article_id": about}
    for name, sort in noun.resource.all_sorts.items():
        needed = {sort.needs: given[sort.needs]} if sort.needs else {}
        yield {"sort": name, "limit": "2", "expand": ",".join(names), **needed}
    for number in range(len(names)):
        turned = names[number:] + names[:number]
        yield {"expand": ",".join(turned[: number + 1])}
        yield {"expand": ",".join(reversed(turned))}
    yield {}
    yield {"limit": "1"}


@pytest.mark.long
async def test_a_page_of_usual_size_has_the_same_bytes_as_if_it_were_large(
    client: Client, noun: Noun, ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if it is known by its name."""
    tag = unique()
    for _ in range(3):
        await create(client, noun, noun.full(ids, tags=[tag]))
    await create(client, noun, noun.minimal(tags=[tag]))
    for asked in _asked(noun, str(ids[RecordType.ARTICLE])):
        for its_tag in (tag, unique()):
            path = httpx.URL(noun.path, params={"tag": its_tag, **asked})
            answers = [await _walked(client, path)]
            for other in (_unread, _alone):
                with monkeypatch.context() as patch:
                    patch.setattr(KeptPages, "find", lambda *_: None)
                    patch.setattr("api.core.listing.read_usual", other)
                    answers.append(await _walked(client, path))
            answers += [await _walked(client, path) for _ in range(2)]
            assert all(each == answers[0] for each in answers), asked


async def _walked(client: Client, path: httpx.URL) -> list[bytes]:
    """Read all pages of a list, as bytes."""
    pages: list[bytes] = []
    while True:
        response = await client.get(path)
        assert response.status_code == 200, response.text
        pages.append(response.content)
        if "link" not in response.headers:
            return pages
        path = httpx.URL(response.links["next"]["url"])


# --- a relation with many records -------------------------------------------------------------


@pytest.mark.long
async def test_a_page_ends_where_a_relation_would_pass_its_bound(
    world: World, connection: Connection
) -> None:
    for name, number in (("first", 1_500), ("second", 600), ("third", 1_400)):
        await world.add("claims", name)
        await connection.execute(_ANSWERS, world.id(name), number)
    asked = {"tag": world.tag, "sort": "created_at", "expand": "denials"}
    pages = await walk(world.client, "/v1/claims", **asked)
    names = [[world.id("first")], [world.id("second"), world.id("third")]]
    assert [ids_of(page) for page in pages] == names
    assert [len(page["included"]["denials"]) for page in pages] == [1_500, 2_000]
    assert [page["truncated"] for page in pages] == [[], []]


@pytest.mark.long
async def test_a_record_that_alone_passes_a_bound_is_named(
    world: World, connection: Connection
) -> None:
    for name, number in (("before", 1), ("much", 2_001), ("after", 1)):
        await world.add("claims", name)
        await connection.execute(_ANSWERS, world.id(name), number)
    asked = {"tag": world.tag, "sort": "created_at", "expand": "sources,denials"}
    pages = await walk(world.client, "/v1/claims", **asked)
    assert [ids_of(page) for page in pages] == [
        [world.id(name)] for name in ("before", "much", "after")
    ]
    assert [len(page["included"]["denials"]) for page in pages] == [1, 2_000, 1]
    much = {"id": world.id("much"), "relation": "denials"}
    assert [page["truncated"] for page in pages] == [[], [much], []]


# --- bytes ------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_page_ends_where_its_bytes_pass_their_bound(world: World) -> None:
    for number in range(5):
        await world.add("articles", f"{number}", text=LARGE)
    asked = {"tag": world.tag, "sort": "created_at"}
    pages = await walk(world.client, "/v1/articles", **asked, count="exact")
    expected = [["0", "1"], ["2", "3"], ["4"]]
    assert [ids_of(page) for page in pages] == [
        [world.id(name) for name in names] for names in expected
    ]
    assert {page["total"] for page in pages} == {5}
    assert not any(page["truncated"] for page in pages)


@pytest.mark.long
async def test_what_comes_along_counts_as_bytes_of_the_page(world: World) -> None:
    for number in range(3):
        await world.add("articles", f"a{number}", text=LARGE)
        appearances = [{"article_id": f"@a{number}"}]
        await world.add("claims", f"c{number}", appearances=appearances)
    asked = {"tag": world.tag, "sort": "created_at", "expand": "articles"}
    pages = await walk(world.client, "/v1/claims", **asked)
    assert [ids_of(page) for page in pages] == [[world.id("c0"), world.id("c1")], [world.id("c2")]]
    assert [set(page["included"]["articles"]) for page in pages] == [
        {world.id("a0"), world.id("a1")},
        {world.id("a2")},
    ]
    assert not any(page["truncated"] for page in pages)


@pytest.mark.long
async def test_a_record_that_alone_brings_too_many_bytes_is_named(world: World) -> None:
    await world.add("sources", "paper")
    for number in range(3):
        await world.add("articles", f"a{number}", text=LARGE, publisher_id="@paper")
    appearances = [{"article_id": f"@a{number}"} for number in range(3)]
    await world.add("claims", "claim", appearances=appearances)
    page = await read(world.client, "/v1/claims", tag=world.tag, expand="articles,sources")
    assert len(page["included"]["articles"]) == 2
    assert set(page["included"]["sources"]) == {world.id("paper")}
    assert page["truncated"] == [{"id": world.id("claim"), "relation": "articles"}]


@pytest.mark.long
async def test_a_history_ends_a_page_where_its_bytes_pass_their_bound(world: World) -> None:
    await world.add("articles", "article", text=LARGE)
    for number in range(3):
        await world.patch("article", note=f"{number}")
    await world.delete("article")
    pages = await walk(world.client, f"{world.at('article')}/revisions")
    versions = [[item["version"] for item in page["items"]] for page in pages]
    assert versions == [[5, 4, 3], [2, 1]]
    assert [page["truncated"] for page in pages] == [[], []]
    changed = [item["changed"] for page in pages for item in page["items"]]
    assert changed == [[], ["note"], ["note"], ["note"], []]


def test_the_rows_of_other_lists_end_a_page_likewise() -> None:
    half = b"x" * (MAX_PAGE_BYTES // 2 - 1)
    assert fitting_items([half, half, b"x"]) == [half, half]
    assert fitting_items([half * 3, b"x"]) == [half * 3]
    assert fitting_items([]) == []


def test_a_page_keeps_the_items_that_have_room_with_what_they_bring() -> None:
    expansion = CLAIMS.expansions[0]
    item = Item(uuid4(), 100)
    half = MAX_PAGE_BYTES // 2

    def kept(places: list[int], sizes: list[int], items: int = 3) -> int:
        relation = Relation(expansion, [uuid4() for _ in places], places, sizes)
        return fitting([item] * items, [relation])

    assert kept([], []) == 3
    assert kept([0, 1, 2], [10, 10, 10]) == 3
    assert kept([0, 2], [half, half]) == 2
    assert kept([0, 1], [half, half]) == 1
    assert kept([0, 0], [half, half]) == 1
    assert kept([1] * 2_000 + [2], [1] * 2_001) == 2
    assert kept([0] + [1] * 2_000, [1] * 2_001) == 1
    assert kept([0] * 2_001, [1] * 2_001) == 1
