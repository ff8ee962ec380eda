"""The search for pairs of sources that may be the same, in the background.

It goes on in steps. Each is a transaction that compares some sources, writes their pairs, and
notes how far it is. So a process that is killed loses one step, and another one goes on. First it
follows the changes of sources in the feed, up to the one whose words are counted. Otherwise it
compares all sources: once at the beginning, and again when there are twice or half as many public
ones, because words weigh otherwise then. No write waits for it.

If a step fails while the database is there, it is made with fewer sources. One that fails alone is
passed over, so that no source keeps the others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from api.core.background import again_and_again, meanwhile
from api.core.db import Connection, Database, Row
from api.core.sql import compose, render
from api.matching import counting
from api.matching.pairs import NAMELESS, find_pairs

log = logging.getLogger("claim_records")

EVERY_SECONDS: Final = 1.0
FAILED_SECONDS: Final = 60.0
"""After a step that failed, a process makes no other for so long."""
MAX_SOURCES: Final = 25
"""Sources that one step compares."""
MAX_CHANGES: Final = 10_000
"""Changes of any record that one step reads."""
MAX_STEPS: Final = 1_000
"""How many steps are made in a row."""
MAX_TRIES: Final = 10
"""How often a step is made with fewer sources, or without one, before it counts as failed."""
_LOCK: Final = 0x7061697273
"""The number of the advisory lock (“pairs” in ASCII): one process makes steps at a time."""
TAKE_LOCK: Final = compose(counting.LOCK, number=f"{_LOCK}")
_BEFORE_ALL: Final = UUID(int=0)
_FEW: Final = 100
"""With so few sources more or less, no comparison of all begins."""

_STATE: Final = """
    SELECT p.seq, p.after_id, p.records, c.seq AS counted, c.records AS total
    FROM word_counts AS c
    LEFT JOIN duplicate_progress AS p ON true
    WHERE c.record_type = 'source' AND NOT current_setting('transaction_read_only')::boolean"""
_BEGIN: Final = """
    INSERT INTO duplicate_progress (seq, after_id, records, began_at)
    VALUES (:seq::bigint, :after_id::uuid, :records::bigint, clock_timestamp())
    ON CONFLICT (single) DO UPDATE SET seq = excluded.seq, after_id = excluded.after_id,
        records = excluded.records, began_at = excluded.began_at"""
_FOLLOW: Final = "UPDATE duplicate_progress SET seq = :seq::bigint"
_GO_ON: Final = "UPDATE duplicate_progress SET after_id = :after_id::uuid"
_CHANGED: Final = """
    SELECT f.seq, f.record_id AS id FROM feed AS f
    WHERE f.seq > :seq::bigint AND f.seq <= :until::bigint AND f.record_type = 'source'
    ORDER BY f.seq
    LIMIT {limit}"""
_NEXT: Final = """
    SELECT s.id FROM sources AS s WHERE s.id > :after_id::uuid ORDER BY s.id LIMIT {limit}"""
# A source can have more pairs than are compared again with it: the others stay as long as they can.
_FORGET: Final = """
    DELETE FROM duplicate_pairs AS p
    WHERE (p.source_id = ANY(:ids::uuid[]) OR p.other_id = ANY(:ids::uuid[])) AND (
        (p.source_id, p.other_id) IN (
            SELECT c.source_id, c.other_id
            FROM unnest(:source_ids::uuid[], :other_ids::uuid[]) AS c(source_id, other_id)
        )
        OR NOT EXISTS (
            SELECT FROM sources AS a
            JOIN sources AS b ON b.id = p.other_id
            JOIN source_names AS n ON n.source_id = a.id AND n.name = p.source_name
            JOIN source_names AS o ON o.source_id = b.id AND o.name = p.other_name
            WHERE a.id = p.source_id
                AND a.deleted_at IS NULL AND a.merged_into_id IS NULL
                AND b.deleted_at IS NULL AND b.merged_into_id IS NULL
                AND (a.identification = ANY(:nameless::text[]))
                    = (b.identification = ANY(:nameless::text[]))
        )
    )"""
_CLASSIFY: Final = """
    UPDATE duplicate_pairs AS p SET classes = 1 << a.visibility | 1 << b.visibility
    FROM sources AS a, sources AS b
    WHERE (p.source_id = ANY(:ids::uuid[]) OR p.other_id = ANY(:ids::uuid[]))
        AND a.id = p.source_id AND b.id = p.other_id
        AND p.classes <> (1 << a.visibility | 1 << b.visibility)"""
_KEEP: Final = """
    INSERT INTO duplicate_pairs
        (source_id, other_id, source_name, other_name, score, words, classes)
    SELECT * FROM unnest(
        :source_ids::uuid[], :other_ids::uuid[], :source_names::text[], :other_names::text[],
        :scores::float8[], :words::json[], :classes::smallint[]
    )"""
_AGE: Final = """
    SELECT coalesce(
        extract(epoch FROM clock_timestamp() - least(
            (
                SELECT o.at FROM feed AS f
                JOIN outbox AS o ON o.id = f.outbox_id
                WHERE f.seq > p.seq AND f.record_type = 'source'
                ORDER BY f.seq
                LIMIT 1
            ),
            CASE WHEN p.after_id IS NOT NULL THEN p.began_at END
        ))::float8,
        0
    )
    FROM duplicate_progress AS p"""


class Pairing:
    """Searches for pairs in the background."""

    def __init__(self, database: Database) -> None:
        """Start without having searched."""
        self._database = database
        self._tries_again = 0.0  # after a failure, on the monotonic clock

    def searching(self) -> AbstractAsyncContextManager[None]:
        """Search while the block runs."""
        return meanwhile(
            again_and_again(EVERY_SECONDS, self.work_off, "pairs of sources can't be searched")
        )

    async def work_off(self) -> None:
        """Make steps until nothing is left to do, or another process makes them."""
        if time.monotonic() < self._tries_again:
            return
        self._tries_again = time.monotonic() + FAILED_SECONDS
        for _ in range(MAX_STEPS):
            began = time.monotonic()
            if not await step(self._database):
                break
            # Others get as much time as this takes from them.
            await asyncio.sleep(time.monotonic() - began)
        self._tries_again = 0.0


async def age(database: Database) -> float:
    """Give the age in seconds of the oldest change that was not followed yet; 0 if there is none.

    While all sources are compared, it is at least the time since that began.
    """
    rows = await database.fetch(_AGE)
    return float(rows[0][0]) if rows else 0.0


class _Batch(NamedTuple):
    """What one step compares."""

    most: int  # sources
    passed: frozenset[UUID] = frozenset()  # sources that are passed over


class _ComparisonError(Exception):
    """Some sources could not be compared, though the database is there."""

    def __init__(self, ids: Collection[UUID]) -> None:
        """Keep the ids of the sources."""
        super().__init__(", ".join(map(str, ids)))
        self.ids = ids


async def step(database: Database) -> bool:
    """Make one step; tell whether there was something to do that could be done."""
    batch = _Batch(MAX_SOURCES)
    for _ in range(MAX_TRIES):
        try:
            return await _try_step(database, batch)
        except _ComparisonError as error:
            if batch.most == 1:
                log.warning("no pairs are searched for the source %s", error, exc_info=error)
                batch = batch._replace(passed=batch.passed.union(error.ids))
            batch = batch._replace(most=max(batch.most // 2, 1))
    return False


async def _try_step(database: Database, batch: _Batch) -> bool:
    async with database.connection() as connection:
        if _next_part(await connection.fetchrow(_STATE)) is None:
            return False
        async with connection.transaction():
            if not await connection.fetchval(TAKE_LOCK):
                return False
            # Another process may have made this step by now.
            state = await connection.fetchrow(_STATE)
            part = _next_part(state)
            if state is None or part is None:
                return False
            await part(connection, state, batch)
            return True


def _next_part(state: Row | None) -> Callable[[Connection, Row, _Batch], Awaitable[None]] | None:
    """Tell what is to be done next; null if it is nothing."""
    if state is None:  # no words were counted yet
        return None
    if state["seq"] is None or state["counted"] < state["seq"]:  # or the feed was restored
        return _begin
    if state["seq"] < state["counted"]:
        return _follow
    if state["after_id"] is not None:
        return _go_on
    fewer, more = sorted((state["records"], state["total"]))
    return _begin if more > 2 * fewer + _FEW else None


async def _begin(connection: Connection, state: Row, _: _Batch) -> None:
    """Let all sources be compared from the beginning."""
    given = {"seq": state["counted"], "records": state["total"]}
    await connection.execute(*render(_BEGIN, after_id=_BEFORE_ALL, **given))


async def _follow(connection: Connection, state: Row, batch: _Batch) -> None:
    """Compare the sources that were changed next."""
    until = min(state["counted"], state["seq"] + MAX_CHANGES)
    query = render(compose(_CHANGED, limit=f"{batch.most}"), seq=state["seq"], until=until)
    rows = await connection.fetch(*query)
    seq = rows[-1]["seq"] if len(rows) == batch.most else until
    after_id = state["after_id"]
    # The others are compared later anyway.
    ids = {row["id"] for row in rows if after_id is None or row["id"] <= after_id}
    await _compare(connection, ids - batch.passed, state["total"])
    await connection.execute(*render(_FOLLOW, seq=seq))


async def _go_on(connection: Connection, state: Row, batch: _Batch) -> None:
    """Compare the next of all sources."""
    query = render(compose(_NEXT, limit=f"{batch.most}"), after_id=state["after_id"])
    ids = [row["id"] for row in await connection.fetch(*query)]
    await _compare(connection, set(ids) - batch.passed, state["total"])
    last = ids[-1] if len(ids) == batch.most else None
    await connection.execute(*render(_GO_ON, after_id=last))


async def _compare(connection: Connection, ids: Collection[UUID], total: int) -> None:
    """Write the pairs that some sources make now."""
    try:
        await _write_pairs(connection, ids, total)
    except asyncpg.LockNotAvailableError:  # whatever the sources are
        raise
    except Exception as error:  # a bug of ours, too: otherwise it would end the search for good
        if connection.is_closed():
            raise
        raise _ComparisonError(ids) from error


async def _write_pairs(connection: Connection, ids: Collection[UUID], total: int) -> None:
    if not ids:
        return
    found = await find_pairs(connection, ids, total)
    query = render(
        _FORGET,
        ids=list(ids),
        source_ids=[source_id for source_id, _ in found.compared],
        other_ids=[other_id for _, other_id in found.compared],
        nameless=list(NAMELESS),
    )
    await connection.execute(*query)
    await connection.execute(*render(_CLASSIFY, ids=list(ids)))
    kept = found.kept
    query = render(
        _KEEP,
        source_ids=[each.pair.source_id for each in kept],
        other_ids=[each.pair.other_id for each in kept],
        source_names=[each.pair.source_name for each in kept],
        other_names=[each.pair.other_name for each in kept],
        scores=[each.pair.score for each in kept],
        words=[each.pair.words for each in kept],
        classes=[each.classes for each in kept],
    )
    await connection.execute(*query)
