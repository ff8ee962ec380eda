"""Numbering: it is done where there is something to number, and nothing is missed."""

from __future__ import annotations

from typing import Final

import pytest

from api.core.db import Database, Row
from api.sync.feed.numbering import Numberer
from tests.conftest import patient
from tests.test_changes import owner

MAX_TRIES: Final = 500
"""Other databases of the same Postgres have transactions too, which may come between two calls."""
ADD: Final = "INSERT INTO claims (id, text) VALUES (gen_random_uuid(), 'It was said.')"


async def test_nothing_is_numbered_where_nothing_was_committed(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    number = Numberer._number  # noqa: SLF001 - the call that asks Postgres to number

    async def counted(self: Numberer, *, waits: bool) -> Row | None:
        nonlocal calls
        calls += 1
        return await number(self, waits=waits)

    monkeypatch.setattr(Numberer, "_number", counted)
    numberer = Numberer(Database(empty_url, patient()))
    try:
        head = await numberer.number(waits=True)
        for _ in range(MAX_TRIES):
            before = calls
            assert await numberer.number(waits=True) == head
            if calls == before:
                break
        else:
            pytest.fail("it numbers each time")
    finally:
        numberer.disconnect()


async def test_what_was_committed_meanwhile_has_its_number(empty_url: str) -> None:
    """Also what a transaction has written that was running when all was numbered."""
    numberer = Numberer(Database(empty_url, patient()))
    try:
        first = (await numberer.number(waits=True)).seq
        async with owner(empty_url) as connection:
            await connection.execute(ADD)
            assert (await numberer.number(waits=True)).seq == first + 1
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(ADD)
            for _ in range(3):
                assert (await numberer.number(waits=True)).seq == first + 1
            await transaction.commit()
        assert (await numberer.number(waits=False)).seq == first + 2
        assert (await numberer.number(waits=True)).seq == first + 2
    finally:
        numberer.disconnect()


_BULK: Final = """
    INSERT INTO outbox (record_type, record_id, version, op, at, visibility_after)
    SELECT 'claim', gen_random_uuid(), 1, 'created', now(), 0 FROM generate_series(1, 20000)"""
# Postgres may add up several transactions before it starts again at 0.
_READ: Final = """
    SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
    FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"""


@pytest.mark.parametrize("analyzed", [True, False])
async def test_numbering_reads_new_changes_alone(empty_url: str, analyzed: bool) -> None:
    """Also where one transaction has written nearly all that there are, as an import does."""
    async with owner(empty_url) as connection, owner(empty_url) as other:
        await connection.execute(_BULK)
        await connection.execute("SELECT sequence_feed(true)")
        if analyzed:
            await connection.execute("ANALYZE outbox")
        transaction = other.transaction()
        await transaction.start()
        await other.execute(ADD)  # runs while the next changes are numbered
        for commits in (False, True):
            if commits:
                await transaction.commit()
            await connection.execute(ADD)
            async with connection.transaction():
                before = await connection.fetchval("SELECT max(seq) FROM feed")
                read = await connection.fetchval(_READ)
                after = await connection.fetchval("SELECT seq FROM sequence_feed(true)")
                assert after == before + 1 + commits
                assert await connection.fetchval(_READ) - read < 100
