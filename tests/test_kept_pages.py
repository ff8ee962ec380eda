"""Kept pages: each reader gets the bytes that Postgres would send now, whatever has happened."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.keyring import written
from api.core import listing
from api.core.caller import READER
from api.core.db import Database
from api.core.joined import JoinedReads
from api.core.kept_pages import MAX_ASKED, MAX_KEPT_BYTES, KeptPages, Page, page_key
from api.core.request import Context
from api.core.usual_page import KNOWN, Found, read_usual
from api.records.claims import CLAIMS
from schemas.vocabularies import Scope
from tests.conftest import allow, bearer, cloned, patient
from tests.merging import merged, settled
from tests.test_changes import let_embargoes_end, owner
from tests.test_feed_blocks import add
from tests.test_feed_texts import READERS
from tests.world import MERGE_PATCH, World

PATHS: Final = (
    "/v1/claims?limit=3&expand=sources,articles,denials",
    "/v1/claims?sort=created_at&limit=2",
    "/v1/claims?q=something&sort=relevance",
    "/v1/denials?expand=claims,sources",
    "/v1/sources?sort=name&expand=groups",
    "/v1/articles?expand=claims,sources&limit=1",
    "/v1/claims?tag=nobody",
)
SENT: Final = 3
"""At the first request, a page is noted, at the second it is kept, and then it need not be sent."""


class Known:
    """How many pages were known by their names."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.count = 0

    def taken(self) -> int:
        """Give the number since the last time."""
        count, self.count = self.count, 0
        return count


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Count the pages of which Postgres sent nothing."""
    counter = Known()

    async def counted(*asked: Any) -> Found | None:
        found = await read_usual(*asked)
        counter.count += found is KNOWN
        return found

    monkeypatch.setattr("api.core.listing.read_usual", counted)
    return counter


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Read all pages as if they were asked for the first time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeptPages, "find", lambda *_: None)
        yield


Answers = dict[tuple[int, str], tuple[bytes, str | None]]


class Newsroom:
    """A small archive, and readers with all kinds of keys."""

    def __init__(self, world: World, url: str) -> None:
        """Take the world that the test changes."""
        self.world, self.url = world, url
        self.keys: list[str] = []

    async def open(self) -> None:
        """Make the keys and the records."""
        for number, scopes in enumerate(filter(None, READERS)):
            key = written(f"reader{number}".ljust(12, "0"), "0" * 30)
            self.keys.append(await allow(self.url, key, scopes))
        add = self.world.add
        for name in ("speaker", "other", "paper"):
            await add("sources", name, name=name)
        await add("articles", "report", publisher_id="@paper")
        for number in range(4):
            await add(
                "claims",
                f"claim {number}",
                attributions=[{"source_id": "@speaker"}],
                appearances=[{"article_id": "@report"}] if number != 1 else [],
                review_status="published",
                **({"embargoed_until": "2999-01-01T00:00:00Z"} if number == 3 else {}),
            )
        for number in range(2):
            targets = [{"claim_id": "@claim 2"}]
            await add("denials", f"denial {number}", targets=targets, review_status="published")

    async def ask(self) -> Answers:
        """Ask for every page as every reader."""
        answers: Answers = {}
        for number, key in enumerate(self.keys):
            for path in PATHS:
                response = await self.world.client.get(path, headers=bearer(key))
                assert response.status_code == 200, response.text
                answers[number, path] = response.content, response.headers.get("link")
        return answers

    async def sql(self, *statements: str) -> None:
        """Do what only migrations do."""
        async with owner(self.url) as connection:
            for statement in statements:
                await connection.execute(statement)


_DISABLE, _ENABLE = (f"ALTER TABLE claims {do} TRIGGER USER" for do in ("DISABLE", "ENABLE"))
_REWRITE: Final = """
    UPDATE claims
    SET doc = convert_to(replace(convert_from(doc, 'UTF8'), 'so"', 'thus"'), 'UTF8')"""


async def _end_embargo(room: Newsroom) -> None:
    await let_embargoes_end(room.url, "claims")
    await room.world.patch("claim 3", embargoed_until=None)


async def _merge(room: Newsroom) -> None:
    await merged(room.world, "speaker", "other")
    await settled(room.world, "other")


EVENTS: Final[dict[str, Callable[[Newsroom], Awaitable[Any]]]] = {
    "changed": lambda room: room.world.patch("claim 0", text="Something else is so"),
    "a source changed": lambda room: room.world.patch("speaker", name="The speaker"),
    "hidden": lambda room: room.world.patch("claim 2", review_status="killed"),
    "shown again": lambda room: room.world.patch("claim 2", review_status="published"),
    "hidden with its article": lambda room: room.world.patch("report", status="withheld"),
    "shown with its article": lambda room: room.world.patch("report", status="usable"),
    "no longer under embargo": _end_embargo,
    "under embargo": lambda room: room.world.patch(
        "report", embargoed_until="2999-01-01T00:00:00Z"
    ),
    "a confidential source": lambda room: room.world.patch("paper", confidentiality="protected"),
    "merged": _merge,
    "deleted": lambda room: room.world.delete("denial 1"),
    "created": lambda room: room.world.add("claims", "claim 4", review_status="published"),
    "written anew, without a version": lambda room: room.sql(_DISABLE, _REWRITE, _ENABLE),
    # The next page begins at another time then, and no document says so.
    "another sort key": lambda room: room.sql(
        _DISABLE, "UPDATE claims SET created_at = created_at - interval '1 day'", _ENABLE
    ),
}


@pytest.mark.long
async def test_each_reader_gets_what_is_there_now(
    empty: httpx.AsyncClient, empty_url: str, known: Known
) -> None:
    room = Newsroom(World(empty), empty_url)
    await room.open()
    for name, happens in EVENTS.items():
        for _ in range(SENT):
            known.taken()
            before = await room.ask()
        # Callers who see the same records share pages.
        assert known.taken() == len(before), name
        await happens(room)
        after = await room.ask()
        assert known.taken() < len(before), name
        with nothing_kept():
            assert after == await room.ask(), name
        assert before != after, name


async def test_what_one_reader_leaves_is_not_told_to_another(
    empty: httpx.AsyncClient, empty_url: str, known: Known
) -> None:
    world = World(empty)
    await world.add("claims", "draft", review_status="draft")
    key = await allow(empty_url, written("readonly".ljust(12, "0"), "0" * 30), [Scope.READ])
    for _ in range(SENT):
        assert len((await empty.get("/v1/claims")).json()["items"]) == 1
    assert known.taken() == 1
    for _ in range(SENT):
        answer = await empty.get("/v1/claims", headers=bearer(key))
        assert answer.json()["items"] == []
    assert known.taken() == 1


async def test_a_page_is_known_whichever_way_it_is_asked_for(
    empty: httpx.AsyncClient, known: Known
) -> None:
    world = World(empty)
    await world.add("claims", "claim")
    asked = {"tag": world.tag, "limit": 5}
    bodies = set()
    for _ in range(SENT):
        answer = await empty.post("/v1/claims/query", json=asked)
        assert answer.status_code == 200, answer.text
        bodies.add(answer.content)
    assert known.taken() == 1
    bodies.add((await empty.get(f"/v1/claims?tag={world.tag}&limit=5")).content)
    assert known.taken() == 1
    assert len(bodies) == 1


@asynccontextmanager
async def context_of(url: str, pages: KeptPages) -> AsyncIterator[Context]:
    """Read a database as a process would that has kept these pages."""
    settings = patient()
    database = Database(url, settings)
    await database.open()
    try:
        yield Context(database, settings, JoinedReads(database), pages)
    finally:
        await database.close()


async def test_a_restored_database_has_other_pages_with_the_same_versions(empty_url: str) -> None:
    """As after a return to an earlier backup, and another migration than the first time."""
    await add(empty_url, 5)
    asked = {"limit": 3, "sort": "created_at", "expand": "sources"}
    pages = KeptPages()
    async with cloned(empty_url) as copy:
        for url, word in ((empty_url, "here"), (copy, "there")):
            async with owner(url) as connection:
                await connection.execute(_DISABLE)
                await connection.execute(
                    "UPDATE claims SET doc = convert_to("
                    f"replace(convert_from(doc, 'UTF8'), '\"note\":null', '\"note\":\"{word}\"')"
                    ", 'UTF8')"
                )
        async with context_of(empty_url, pages) as here, context_of(copy, pages) as there:
            for _ in range(SENT):
                body = (await listing.read_page(CLAIMS, here, READER, asked)).body
                assert body.count(b'"note":"here"') == 3
            assert pages.size > len(body)
            body = (await listing.read_page(CLAIMS, there, READER, asked)).body
            assert body.count(b'"note":"there"') == 3
            body = (await listing.read_page(CLAIMS, here, READER, asked)).body
            assert body.count(b'"note":"here"') == 3


async def test_no_page_is_older_than_its_request(empty: httpx.AsyncClient, known: Known) -> None:
    world = World(empty)
    await world.add("claims", "claim")
    path = f"/v1/claims?tag={world.tag}"

    async def read_on(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await empty.get(path)

    stop = asyncio.Event()
    readers = [asyncio.create_task(read_on(stop)) for _ in range(4)]
    try:
        for version in range(2, 22):
            note = {"note": f"version {version}"}
            await empty.patch(world.at("claim"), json=note, headers=MERGE_PATCH)
            item = (await empty.get(path)).json()["items"][0]
            assert (item["version"], item["note"]) == (version, f"version {version}")
    finally:
        stop.set()
        await asyncio.gather(*readers)
    for _ in range(SENT):
        await empty.get(path)
    assert known.count > 0


async def test_a_page_that_becomes_too_large_is_read_another_way(
    empty: httpx.AsyncClient, known: Known
) -> None:
    world = World(empty)
    await world.add("articles", "article", text="x")
    for size, knows in ((1_000, True), (4_000_000, False), (2_000, True)):
        await world.patch("article", text="x" * size)
        for _ in range(SENT):
            known.taken()
            page = (await empty.get(f"/v1/articles?tag={world.tag}")).json()
            assert len(page["items"][0]["text"]) == size
        assert bool(known.taken()) is knows


# --- how much is kept ------------------------------------------------------------------------


def page(size: int) -> Page:
    return Page(b"x" * size, None, b"name")


def test_a_page_is_kept_when_it_is_asked_for_again() -> None:
    pages, key = KeptPages(), page_key("claims")
    assert pages.find(key) is None
    again = pages.find(key)
    assert again is not None
    assert again.name == b""
    pages.keep(key, page(10))
    assert pages.find(key) == page(10)
    pages.keep(key, Page(b"", None))  # it has no name any more
    assert (pages.find(key), pages.size) == (again, 0)


def test_who_walks_through_a_list_drives_nothing_out() -> None:
    pages, key = KeptPages(), page_key("claims")
    pages.find(key)
    pages.keep(key, page(10))
    for number in range(2 * MAX_ASKED):
        assert pages.find(page_key("claims", number)) is None
    assert pages.find(key) == page(10)
    assert pages.find(page_key("claims", 0)) is None  # long forgotten


def test_a_key_says_all_that_was_asked() -> None:
    asked = [
        ("claims", READER.sight, {"tag": ["a", "b"]}),
        ("claims", READER.sight, {"tag": ["a,b"]}),
        ("claims", READER.sight, {"tag": ["a"], "q": "b"}),
        ("denials", READER.sight, {"tag": ["a", "b"]}),
        ("claims", READER.sight._replace(hidden_articles=True), {"tag": ["a", "b"]}),
    ]
    assert len({page_key(*each) for each in asked}) == len(asked)
    assert page_key("x", {"a": 1, "b": 2}) == page_key("x", {"b": 2, "a": 1})


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9_000), st.booleans())))
def test_no_more_is_kept_than_there_is_room_for(asked: list[tuple[int, int, bool]]) -> None:
    pages = KeptPages(50_000)
    for number, size, is_named in asked:
        key = page_key(number)
        if pages.find(key) is not None:
            pages.keep(key, page(size) if is_named else Page(b"x" * size, None))
        bodies = [each.body for each in pages._pages.values()]  # noqa: SLF001 - there is no other way
        assert sum(map(len, bodies)) <= pages.size <= 50_000
        assert bool(bodies) == bool(pages.size)


async def test_operators_see_how_much_is_kept(empty: httpx.AsyncClient) -> None:
    world = World(empty)
    await world.add("claims", "claim")
    assert await _kept_bytes(empty) == 0
    for _ in range(SENT):
        size = len((await empty.get("/v1/claims")).content)
    assert size < await _kept_bytes(empty) < MAX_KEPT_BYTES


async def _kept_bytes(client: httpx.AsyncClient) -> float:
    metrics = (await client.get("/metrics")).text
    sampled = re.search(r"^claim_records_pages_kept_bytes (\S+)$", metrics, re.MULTILINE)
    assert sampled is not None
    return float(sampled[1])
