"""Kept blocks: a reader gets the same bytes as without them, and what is true today."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.caller import EVERYTHING, READER, Caller
from api.core.db import Database
from api.sync.feed.following import Feed
from api.sync.feed.kept import MAX_KEPT_BYTES, KeptBlocks, Kind
from api.sync.feed.numbering import Head, read_head
from api.sync.feed.stretches import Wanted
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, cloned, patient
from tests.test_changes import let_embargoes_end, owner, page, walk
from tests.test_feed_blocks import REWRITES, add, seal, texts
from tests.test_feed_texts import READERS, TYPES, fill, read_log
from tests.world import World

WHOLE: Final = Wanted(EVERYTHING.sight, 1000)


class Sent:
    """The rows of blocks that Postgres sent: with their texts, and without."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.whole = self.bare = 0


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    counts = Sent()
    fetch = Database.fetch

    async def counted(self: Database, query: str, *values: Any) -> list[asyncpg.Record]:
        rows = await fetch(self, query, *values)
        blocks = [row for row in rows if row.get("block") is not None]
        counts.whole += sum(row["texts"] is not None for row in blocks)
        counts.bare += sum(row["texts"] is None for row in blocks)
        return rows

    monkeypatch.setattr(Database, "fetch", counted)
    return counts


async def test_texts_are_sent_once(empty_url: str, sent: Sent) -> None:
    await add(empty_url, 200)
    assert await seal(empty_url) == 3
    kept = KeptBlocks()
    first = await texts(empty_url, WHOLE, kept=kept)
    assert (sent.whole, sent.bare) == (3, 0)
    for limit in (1000, 70):
        assert await texts(empty_url, WHOLE._replace(limit=limit), kept=kept) == first
    assert sent.whole == 3
    assert sent.bare >= 6
    assert await texts(empty_url, WHOLE) == first


async def test_each_reader_gets_what_the_log_means_of_what_another_one_has_left(
    empty: httpx.AsyncClient, empty_url: str, sent: Sent
) -> None:
    """Also when records and articles are hidden, embargoes end, and records are seen again."""
    await fill(empty, empty_url)
    world = World(empty)
    await world.add("articles", "b", text="Said so.")
    printed = {"appearances": [{"article_id": world.id("b")}]}
    await world.add("claims", "gone", review_status="published")
    await world.add("claims", "moved away", review_status="published", **printed)
    await world.patch("moved away", appearances=[])
    await world.add("claims", "in b", review_status="published", **printed)
    await world.add(
        "denials", "lifted", review_status="published", embargoed_until="2999-01-01T00:00:00Z"
    )
    await add(empty_url, 100)
    assert await seal(empty_url) >= 2
    kept = KeptBlocks()
    await texts(empty_url, WHOLE, kept=kept)
    everything = sent.whole
    await _compare(empty_url, kept)
    await world.patch("gone", review_status="killed")
    await world.patch("b", status="withheld")
    await _compare(empty_url, kept)
    since = (await page(empty, "now"))["next_cursor"]
    await let_embargoes_end(empty_url, "denials")
    assert (await page(empty, since, wait=30))["items"]
    await world.patch("b", status="usable")
    await world.patch("gone", review_status="published")
    await world.delete("in b")
    await _compare(empty_url, kept)
    assert sent.whole == everything
    assert sent.bare > everything


async def _compare(url: str, kept: KeptBlocks) -> None:
    """Compare what each reader gets of kept blocks with the log."""
    log = await read_log(url)
    for scopes in READERS:
        caller = Caller("key", frozenset(scopes)) if scopes else READER
        for types in TYPES:
            expected = b",".join(log.texts(caller, types))
            wanted = Wanted(caller.sight, 1000, types if len(types) < len(RecordType) else ())
            for one in (wanted, wanted._replace(places=True)):
                assert await texts(url, one, kept=kept) == expected, (scopes, one)


@pytest.mark.parametrize("statement", [*REWRITES[:2], "DELETE FROM revisions"])
async def test_what_was_rewritten_or_erased_is_told_by_nobody(
    empty_url: str, statement: str, sent: Sent
) -> None:
    await add(empty_url, 192)
    assert await seal(empty_url) == 3
    kept = KeptBlocks()
    before = await texts(empty_url, WHOLE, kept=kept)
    assert kept.size > len(before)
    async with owner(empty_url) as connection:
        await connection.execute(statement)
    assert await texts(empty_url, WHOLE, kept=kept) == await texts(empty_url, WHOLE)
    assert await seal(empty_url) == 3
    assert await texts(empty_url, WHOLE, kept=kept) == await texts(empty_url, WHOLE)
    # What is kept now is what was sent now.
    assert sent.bare == 0


async def test_a_restored_feed_has_other_texts_under_the_same_numbers(empty_url: str) -> None:
    """A copy and its original have one epoch here, as after a return to an earlier backup."""
    await add(empty_url, 64)
    assert await seal(empty_url) == 1
    kept = KeptBlocks()
    async with cloned(empty_url) as copy:
        await _say(empty_url, "It was said here.")
        await _say(copy, "It was said there.")
        here = await texts(empty_url, WHOLE, kept=kept)
        there = await texts(copy, WHOLE, kept=kept)
        assert there == await texts(copy, WHOLE)
    assert here == await texts(empty_url, WHOLE, kept=kept)
    assert (here.count(b"said here"), there.count(b"said there")) == (64, 64)
    assert here.index(b"said here") == there.index(b"said there")


async def _say(url: str, text: str) -> None:
    """Change all claims, and make the second block of it without a new epoch."""
    async with owner(url) as connection:
        await connection.execute(f"UPDATE claims SET text = '{text}'")
        await connection.execute(
            "WITH fresh AS ("
            "    SELECT o.*, 64 + row_number() OVER (ORDER BY o.id) AS seq"
            "    FROM outbox AS o WHERE o.op = 'updated'"
            ") INSERT INTO feed (seq, outbox_id, record_type, record_id, version, op,"
            "     visibility_before, visibility_after, head)"
            " SELECT seq, id, record_type, record_id, version, op, visibility_before,"
            "     visibility_after, change_head(seq, op, record_type, record_id, version, at)"
            " FROM fresh"
        )
        await connection.execute(
            "INSERT INTO feed_states (id, epoch, secret, place, seq, snapshot)"
            " SELECT id + 1, epoch, secret, place, 128, snapshot FROM feed_states"
            " ORDER BY id DESC LIMIT 1"
        )
        assert await connection.fetchval("SELECT seal_feed(1000)") == 128


# --- how much is kept ------------------------------------------------------------------------


def kind(block: int, size: int = 100) -> Kind:
    return Kind(block, "created", [1], [size], b"x" * size)


def test_the_newest_blocks_are_kept() -> None:
    kept = KeptBlocks(3 * 5_000)
    ids = {number: uuid4() for number in range(9)}
    for number in (4, 2, 7, 5, 1, 8, 3, 0):
        kept.add(ids[number], kind(number))
    assert kept.within(0, 9).keys() == {ids[number] for number in (8, 7, 5)}
    assert kept.within(6, 8).keys() == {ids[7]}
    kept.clear()
    assert (kept.within(0, 9), kept.size) == ({}, 0)
    kept.add(ids[1], kind(1))
    assert kept.within(0, 9).keys() == {ids[1]}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30_000), st.integers(0, 30))))
def test_no_more_is_kept_than_there_is_room_for(added: list[tuple[int, int, int]]) -> None:
    kept = KeptBlocks(50_000)
    for block, size, identity in added:
        kept.add(UUID(int=identity * 10 + block), kind(block, size))
        there = kept.within(0, 10)
        assert sum(len(each.texts) for each in there.values()) <= kept.size <= 50_000
        assert bool(there) == bool(kept.size)


@asynccontextmanager
async def feed_of(url: str) -> AsyncIterator[Feed]:
    """Have a feed that numbers nothing, and makes no blocks."""
    database = Database(url, patient())
    await database.open()
    try:
        yield Feed(database)
    finally:
        await database.close()


async def test_a_process_keeps_nothing_of_blocks_that_are_gone(empty_url: str) -> None:
    await add(empty_url, 128)
    assert await seal(empty_url) == 2
    async with feed_of(empty_url) as feed:
        head = await read_head(feed._database)  # noqa: SLF001 - it numbers nothing here
        feed.head, feed.sealed_to = head, 128
        start = await feed.position(0)
        await feed.behind(start, WHOLE)
        assert feed.kept.size > 0
        async with owner(empty_url) as connection:
            await connection.execute("DELETE FROM feed_blocks")
        await feed.behind(start, WHOLE._replace(limit=500))
        assert feed.kept.size == 0


@pytest.mark.parametrize(("epoch", "seq"), [("another", 128), (None, 100)])
async def test_a_process_keeps_nothing_of_another_feed(
    empty_url: str, epoch: str | None, seq: int
) -> None:
    await add(empty_url, 128)
    assert await seal(empty_url) == 2
    async with feed_of(empty_url) as feed:
        head = await read_head(feed._database)  # noqa: SLF001 - as above
        feed.head, feed.sealed_to = head, 128
        await feed.behind(await feed.position(0), WHOLE)
        feed._note(Head(head.epoch, head.seq + 1, head.secret))  # noqa: SLF001
        assert feed.kept.size > 0
        feed._note(Head(epoch or head.epoch, seq, head.secret))  # noqa: SLF001
        assert feed.kept.size == 0


async def test_operators_see_how_much_is_kept(empty: httpx.AsyncClient, empty_url: str) -> None:
    await add(empty_url, 200)
    assert await seal(empty_url) == 3
    first = await walk(empty)
    size = 0.0
    async with asyncio.timeout(PATIENCE):
        while not size:  # until the process knows of the blocks, it reads none
            assert await walk(empty) == first
            size = await _kept_bytes(empty)
    assert size < MAX_KEPT_BYTES


async def _kept_bytes(client: httpx.AsyncClient) -> float:
    metrics = (await client.get("/metrics")).text
    sampled = re.search(r"^claim_records_feed_kept_bytes (\S+)$", metrics, re.MULTILINE)
    assert sampled is not None
    return float(sampled[1])
