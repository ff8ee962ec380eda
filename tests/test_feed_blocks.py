"""The blocks of the feed: whoever reads from them gets the same bytes, and what is true today."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg
import httpx
import pytest

from api.core.caller import EVERYTHING, READER, Caller
from api.core.db import DATABASE_ERRORS, Database
from api.sync.feed.following import Feed
from api.sync.feed.kept import KeptBlocks
from api.sync.feed.numbering import Numberer, read_head
from api.sync.feed.stretches import Position, Stretch, Wanted, read_position, read_stretch
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, patient
from tests.test_changes import following, owner, walk
from tests.test_feed_texts import ADD, READERS, TYPES, fill, read_log
from tests.world import World

ALL: Final = 2**53
SEAL: Final = "SELECT seal_feed(1000)"
TURN: Final = "SELECT pg_advisory_xact_lock(108217864776563)"  # after a service that makes blocks
COUNT: Final = "SELECT count(DISTINCT block) FROM feed_blocks"


async def add(url: str, count: int) -> None:
    async with owner(url) as connection:
        await connection.execute(ADD, count)


async def seal(url: str) -> int:
    """Put all changes into blocks; give how many blocks there are."""
    async with owner(url) as connection:
        await connection.fetch("SELECT * FROM sequence_feed(true)")
        async with connection.transaction():
            await connection.execute(TURN)
            await connection.execute(SEAL)
        count: int = await connection.fetchval(COUNT)
    return count


async def stretches(
    url: str, wanted: Wanted, sealed_to: int, kept: KeptBlocks | None = None
) -> list[Stretch]:
    """Walk through the feed."""
    database = Database(url, patient())
    await database.open()
    found: list[Stretch] = []
    try:
        head = await read_head(database)
        position = await read_position(database, head, 0)
        while not found or not found[-1].up_to_date:
            found.append(await read_stretch(database, head, position, wanted, sealed_to, kept))
            position = found[-1].to
            assert position == await read_position(database, head, position.seq)
    finally:
        await database.close()
    return found


async def texts(
    url: str, wanted: Wanted, sealed_to: int = ALL, kept: KeptBlocks | None = None
) -> bytes:
    found = await stretches(url, wanted, sealed_to, kept)
    return b",".join(text for stretch in found for text in stretch.texts)


@pytest.mark.long
async def test_each_reader_gets_the_bytes_that_the_log_means(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    """Also of what was hidden behind the last block, and of what quotes an article hidden today."""
    await add(empty_url, 100)
    await fill(empty, empty_url)
    world = World(empty)
    await world.add("articles", "b", text="Said so.")
    printed = {"appearances": [{"article_id": world.id("b")}]}
    await world.add("claims", "gone", review_status="published")
    await world.add("claims", "moved", review_status="published", **printed)
    await world.patch("moved", appearances=[])
    await world.add("claims", "printed", review_status="published", **printed)
    await add(empty_url, 100)
    assert await seal(empty_url) >= 3
    await world.patch("gone", review_status="killed")
    await world.patch("b", status="withheld")
    log = await read_log(empty_url)
    for scopes in READERS:
        caller = Caller("key", frozenset(scopes)) if scopes else READER
        for types in TYPES:
            expected = b",".join(log.texts(caller, types))
            wanted = Wanted(caller.sight, 1000, types if len(types) < len(RecordType) else ())
            for one in (wanted, wanted._replace(limit=70), wanted._replace(most_bytes=5_000)):
                assert await texts(empty_url, one) == expected, (scopes, one)
            single = await stretches(empty_url, wanted._replace(places=True), ALL)
            for stretch in single:
                for text, place in zip(stretch.texts, stretch.places, strict=True):
                    assert b'{"seq":%d,' % place.position.seq == text[: text.index(b",") + 1]


async def test_a_page_from_blocks_takes_few_rows(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(empty_url, 640)
    assert await seal(empty_url) == 10
    counts = []
    fetch = Database.fetch

    async def counted(self: Database, query: str, *values: Any) -> list[asyncpg.Record]:
        rows = await fetch(self, query, *values)
        counts.append(len(rows))
        return rows

    monkeypatch.setattr(Database, "fetch", counted)
    (stretch,) = await stretches(empty_url, Wanted(READER.sight, 640), ALL)
    assert b",".join(stretch.texts).count(b'"seq":') == 640
    assert max(counts) == 10


# A block of these changes has some 45,000 bytes.
NEEDED: Final = (
    (1, ALL, 0),  # few changes are read one by one
    (64, ALL, 3),  # each page is a block
    (96, ALL, 4),  # the first page ends in the middle of a block
    (1000, 50_000, 3),  # each stretch is a block, as two would be too many bytes
)


@pytest.mark.long
@pytest.mark.parametrize(("limit", "most_bytes", "most"), NEEDED)
async def test_no_more_blocks_are_read_than_are_needed(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, limit: int, most_bytes: int, most: int
) -> None:
    await add(empty_url, 192)
    assert await seal(empty_url) == 3
    blocks = 0
    fetch = Database.fetch

    async def counted(self: Database, query: str, *values: Any) -> list[asyncpg.Record]:
        nonlocal blocks
        rows = await fetch(self, query, *values)
        blocks += sum(row.get("block") is not None for row in rows)
        return rows

    monkeypatch.setattr(Database, "fetch", counted)
    wanted = Wanted(READER.sight, limit, most_bytes=most_bytes, places=most_bytes < ALL)
    found = await stretches(empty_url, wanted, ALL)
    assert b",".join(text for each in found for text in each.texts).count(b'"seq":') == 192
    assert blocks == most


async def test_pages_keep_their_limit_where_the_blocks_end(empty_url: str) -> None:
    await add(empty_url, 100)
    assert await seal(empty_url) == 1
    found = await stretches(empty_url, Wanted(READER.sight, 90), ALL)
    numbers = [b",".join(stretch.texts).count(b'"seq":') for stretch in found]
    assert numbers == [90, 10]


async def test_a_block_of_large_records_is_read_one_by_one(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    await add(empty_url, 64)
    await World(empty).add("articles", "large", text="word " * 200_000)
    await add(empty_url, 128)
    assert await seal(empty_url) == 3
    async with owner(empty_url) as connection:
        without = await connection.fetch("SELECT block FROM feed_blocks WHERE texts IS NULL")
    assert [row["block"] for row in without] == [1]
    wanted = Wanted(EVERYTHING.sight, 1000)
    assert await texts(empty_url, wanted) == await texts(empty_url, wanted, 0)


REWRITES: Final = (
    "UPDATE revisions SET doc = convert_to('{\"id\":null}', 'UTF8')",
    "DELETE FROM revisions WHERE version > 1",
    "DELETE FROM feed WHERE seq > 128",
)


@pytest.mark.parametrize("statement", REWRITES)
async def test_blocks_go_when_that_changes_of_which_they_are_made(
    empty_url: str, statement: str
) -> None:
    await add(empty_url, 128)
    assert await seal(empty_url) == 2
    async with owner(empty_url) as connection, owner(empty_url) as other:
        async with connection.transaction():
            await connection.execute(statement)
            assert await other.fetchval(SEAL) == 128  # nobody seals meanwhile, nor fails
            assert await other.fetchval(COUNT) == 2
        assert await other.fetchval(COUNT) == 0
    assert await seal(empty_url) == 2


HOLES: Final = (
    "DELETE FROM feed WHERE seq = 100",
    "DELETE FROM feed WHERE seq BETWEEN 60 AND 140",  # no change of block 1 is left
    "DELETE FROM feed WHERE seq <= 64",
    "DELETE FROM revisions WHERE record_id = (SELECT record_id FROM feed WHERE seq = 100)",
)


@pytest.mark.parametrize("statement", HOLES)
async def test_a_block_that_lacks_a_change_hides_no_other_change(
    empty_url: str, statement: str
) -> None:
    """It has no texts, so that what is left of it is read one by one. The next blocks are made."""
    await add(empty_url, 256)
    assert await seal(empty_url) == 4
    async with owner(empty_url) as connection:
        await connection.execute(statement)
        left = await connection.fetchval("SELECT count(*) FROM feed")
    assert await seal(empty_url) == 4
    wanted = Wanted(EVERYTHING.sight, 1000)
    found = await texts(empty_url, wanted)
    assert found.count(b'"seq":') == left
    assert found == await texts(empty_url, wanted, 0)


LOST: Final = (
    "DELETE FROM feed_blocks WHERE block = 0",
    "DELETE FROM feed_blocks WHERE block IN (1, 2)",
    "DELETE FROM feed_blocks WHERE block = 1 AND op = 'created'",
)


@pytest.mark.parametrize("statement", LOST)
async def test_a_reader_passes_over_no_block_that_is_missing(
    empty_url: str, statement: str
) -> None:
    """Nor over one of which a row is missing: its changes are read one by one."""
    await add(empty_url, 96)
    async with owner(empty_url) as connection:
        await connection.execute("UPDATE claims SET text = 'It was said again.'")
        assert await seal(empty_url) == 3
        assert await connection.execute(statement) != "DELETE 0"
    for wanted in (Wanted(EVERYTHING.sight, 1000), Wanted(READER.sight, 70)):
        found = await texts(empty_url, wanted)
        assert found.count(b'"seq":') == 192
        assert found == await texts(empty_url, wanted, 0)


async def test_blocks_that_a_transaction_does_not_see_are_not_left(empty_url: str) -> None:
    """It could not delete them, so it is refused."""
    await add(empty_url, 64)
    async with owner(empty_url) as connection:
        transaction = connection.transaction(isolation="repeatable_read")
        await transaction.start()
        assert await connection.fetchval(COUNT) == 0
        assert await seal(empty_url) == 1
        with pytest.raises(asyncpg.InvalidTransactionStateError, match="READ COMMITTED"):
            await connection.execute("DELETE FROM feed")
        await transaction.rollback()


async def test_a_position_of_another_feed_is_refused(empty_url: str) -> None:
    await add(empty_url, 128)
    await seal(empty_url)
    database = Database(empty_url, patient())
    await database.open()
    try:
        head = await read_head(database)
        with pytest.raises(Exception, match="set back"):
            await read_stretch(
                database, head, Position(head.epoch, 3, "f00"), Wanted(READER.sight, 9), ALL
            )
    finally:
        await database.close()


async def test_blocks_that_are_gone_are_made_again_when_they_are_missed(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without new changes: the process finds out when it reads."""
    monkeypatch.setattr("api.sync.feed.numbering.MAX_SEALING_SECONDS", PATIENCE)
    await add(empty_url, 128)
    database = Database(empty_url, patient())
    await database.open()
    feed = Feed(database)
    numberer = feed._numberer  # noqa: SLF001 - what the feed does in the background, step by step
    try:
        head = await numberer.number(waits=True)
        feed._note(head)  # noqa: SLF001
        await feed._seal(head)  # noqa: SLF001
        assert feed.sealed_to == 128
        async with owner(empty_url) as connection:
            await connection.execute(REWRITES[0])
            await feed.behind(await feed.position(0), Wanted(READER.sight, 100))
            feed._seals_at = 0  # noqa: SLF001
            await feed._seal(head)  # noqa: SLF001
            assert await connection.fetchval(COUNT) == 2
    finally:
        numberer.disconnect()
        await database.close()


@pytest.mark.long
async def test_blocks_that_take_too_long_are_made_fewer_at_a_time(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes on."""
    monkeypatch.setattr("api.sync.feed.numbering.MAX_SEALING_SECONDS", 0.1)
    await add(empty_url, 1024)
    numberer = Numberer(Database(empty_url, patient()))
    try:
        await numberer.number(waits=True)
        used = numberer._connection  # noqa: SLF001 - it must stay the same
        async with owner(empty_url) as connection:
            async with connection.transaction():
                await connection.execute("LOCK TABLE revisions")
                for most in (8, 4, 2, 1, 1):
                    with pytest.raises(asyncpg.QueryCanceledError):
                        await numberer.seal(0)
                    assert numberer.most_sealed == most
            monkeypatch.setattr("api.sync.feed.numbering.MAX_SEALING_SECONDS", PATIENCE)
            assert [await numberer.seal(0) for _ in range(3)] == [64, 192, 448]
            assert await connection.fetchval(COUNT) == 7
        await numberer.number(waits=True)
        assert numberer._connection is used  # noqa: SLF001
    finally:
        numberer.disconnect()


async def test_a_seal_that_gets_no_answer_halves_the_next_one(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sync.feed.numbering.MAX_SEALING_SECONDS", PATIENCE)
    await add(empty_url, 64)
    numberer = Numberer(Database(empty_url, patient()))
    try:
        await numberer.number(waits=True)
        assert numberer._connection is not None  # noqa: SLF001
        numberer._connection.limit(0.2)  # type: ignore[attr-defined]  # noqa: SLF001
        async with owner(empty_url) as connection, connection.transaction():
            await connection.execute("LOCK TABLE revisions")
            with pytest.raises(DATABASE_ERRORS):
                await numberer.seal(0)
        assert numberer.most_sealed == 8
        await numberer.number(waits=True)
        assert await numberer.seal(0) == 64
    finally:
        numberer.disconnect()


@pytest.mark.parametrize("error", [TimeoutError, asyncpg.InterfaceError])
async def test_blocks_that_get_no_answer_are_not_the_end_of_numbering(
    empty_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    async def fall_silent(*_: object) -> int:
        raise error("no answer")

    monkeypatch.setattr(Numberer, "seal", fall_silent)
    await add(empty_url, 64)
    async with following(empty_url) as feed:
        assert (await feed.catch_up()).seq == 64
        await add(empty_url, 1)
        assert (await feed.catch_up()).seq == 65
    assert "changes are not put into blocks" in caplog.text
    assert "not numbered" not in caplog.text


async def test_the_service_makes_blocks_by_itself(empty: httpx.AsyncClient, empty_url: str) -> None:
    await add(empty_url, 200)
    async with owner(empty_url) as connection, asyncio.timeout(PATIENCE):
        while await connection.fetchval(COUNT) < 3:  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0.05)
    assert len(await walk(empty)) == 200
    async with following(empty_url) as feed, asyncio.timeout(PATIENCE):
        while feed.sealed_to < 192:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)
