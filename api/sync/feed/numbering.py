"""Numbering: committed changes get their numbers in the feed, and the feed's end is known.

A write leaves a row in the outbox (migration 0001). The SQL function `sequence_feed`
(`migrations/feed.py`) gives each row a number once its transaction is visible, and writes what
all readers get of it. Any process may call it, and the first one that does numbers the changes of
all. Then `seal_feed` (migration 0024) puts changes that have numbers into blocks, from which most
are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import asyncpg

from api.core.connection import GRACE_SECONDS
from api.core.db import Database, Row
from api.core.errors import unavailable
from api.core.sql import render

NUMBERING_SECONDS: Final = 300.0
"""How long numbering may take at most: enough for a hundred million changes."""

_STATE: Final = "SELECT epoch, seq, secret FROM feed_states ORDER BY id DESC LIMIT 1"
# On a standby, a snapshot does not tell what is visible. After a failover, the timeline is another.
_VISIBLE: Final = """
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN
        concat_ws(' ', left(pg_walfile_name(pg_current_wal_lsn()), 8), pg_current_snapshot())
    END"""
_SEAL: Final = "SELECT seal_feed(:most)"
_LIMIT: Final = "SELECT set_config('statement_timeout', :milliseconds, true)"
_TOO_SLOW: Final = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    TimeoutError,
    asyncpg.InterfaceError,  # the connection was cut, so the transaction could not be rolled back
)
MAX_SEALED: Final = 16
"""How many blocks are made at once: of some thousand changes, in some 30 ms."""
MAX_SEALING_SECONDS: Final = 1.0
"""How long Postgres may take to make blocks, while nothing is numbered."""
_NUMBER: Final = "SELECT epoch, seq, secret FROM sequence_feed(:waits)"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the feed: the number of its last change."""

    epoch: str
    seq: int
    secret: bytes = field(repr=False)  # belongs to the epoch; change tags are made with it


async def read_head(database: Database) -> Head:
    """Read where the feed ends, without numbering anything."""
    row = await database.fetchrow(*render(_STATE))
    if row is None:
        raise unavailable("The change feed has not been numbered yet.")
    return Head(*row)


class Numberer:
    """Numbers changes, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        """Start without a connection; the first call of :meth:`number` connects."""
        self._database = database
        self._connection: asyncpg.Connection[Row] | None = None
        self._numbered: tuple[str, Head] | None = None
        """What was visible when all of it had been numbered last, and the end of the feed then."""
        # The first attempt waits as long as for any statement, so that a connection that went
        # silent is noticed. Postgres goes on numbering when it is left; should it be interrupted
        # instead, the next attempt has twice the time.
        self._first_seconds = database.settings.statement_seconds + GRACE_SECONDS
        self._seconds = self._first_seconds
        self.certain = True
        """Whether the known end is the real end; false while numbering takes too long to tell."""
        self.most_sealed = MAX_SEALED
        """How many blocks are made next: half as many after each attempt that took too long."""

    async def number(self, *, waits: bool) -> Head:
        """Give numbers to visible changes, and return the end of the feed.

        With `waits`, wait for a process that is numbering at the same time. Where nothing can be
        numbered now, the end is the one that was last stored. Where the same transactions are
        visible as when all was numbered last, there is nothing to number.
        """
        if self._connection is None or self._connection.is_closed():
            self._numbered = None
            self._connection = await self._database.connect()
        visible = await self._connection.fetchval(_VISIBLE)
        if self._numbered is not None and visible == self._numbered[0]:
            self.certain = True
            return self._numbered[1]
        try:
            row = await self._number(waits=waits)
        except asyncpg.LockNotAvailableError:  # another process is numbering a very large import
            row = await self._connection.fetchrow(*render(_STATE))
            self.certain = waits = False
        except asyncpg.ReadOnlySQLTransactionError:  # nothing can be written, but it can be read
            row = await self._connection.fetchrow(*render(_STATE))
            waits = False
        assert row is not None  # noqa: S101 - for the type checker
        head = Head(*row)
        if waits and visible is not None:
            self._numbered = visible, head
        self.certain = self.certain or waits
        return head

    async def _number(self, *, waits: bool) -> Row | None:
        assert self._connection is not None  # noqa: S101 - for the type checker
        seconds = min(self._seconds, NUMBERING_SECONDS)
        try:
            row = await self._connection.fetchrow(*render(_NUMBER, waits=waits), timeout=seconds)
        except TimeoutError:
            self._seconds = 2 * seconds
            raise
        self._seconds = self._first_seconds
        return row

    async def seal(self, before: int) -> int:
        """Make the next blocks; give the last change that is in a block.

        Where nothing can be written, it is the one `before`. Postgres itself ends what takes too
        long, so that the connection goes on.
        """
        assert self._connection is not None  # noqa: S101 - :meth:`number` has connected
        seconds = min(MAX_SEALING_SECONDS, self._database.settings.statement_seconds)
        try:
            async with self._connection.transaction():
                await self._connection.fetchval(
                    *render(_LIMIT, milliseconds=str(int(seconds * 1000)))
                )
                last: int = await self._connection.fetchval(*render(_SEAL, most=self.most_sealed))
        except asyncpg.ReadOnlySQLTransactionError:
            return before
        except _TOO_SLOW:
            self.most_sealed = max(self.most_sealed // 2, 1)
            raise
        self.most_sealed = min(self.most_sealed * 2, MAX_SEALED)
        return last

    def disconnect(self) -> None:
        """Close the connection at once."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
