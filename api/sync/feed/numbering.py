"""Whether what is committed gets its number in the feed: how many changes lack one, and since when.

Any process numbers for all (:mod:`api.sync.feed.feed`), so none of them knows by itself that nobody
does. Each looks now and then, and remembers since when the oldest change has been waiting: when a
change was written is no measure, because a large import is committed long after its first line.
"""

from __future__ import annotations

import logging
import time
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, NamedTuple

from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from api.core.errors import Problem, unavailable
from api.sync.feed.feed import Feed

MAX_COUNTED: Final = 100_000
_LOOKS: Final = 12
"""How often to look in the time after which changes without a number are a stall."""

log = logging.getLogger("claim_records")

# What the next numbering would take: the condition is that of `sequence_feed` (migration 0003).
_UNNUMBERED: Final = f"""
    WITH state AS (
        SELECT seq, at, snapshot FROM feed_states ORDER BY id DESC LIMIT 1
    ), unnumbered AS (
        (
            SELECT id, at FROM outbox
            WHERE xid >= (SELECT pg_snapshot_xmax(snapshot) FROM state)
            ORDER BY xid
            LIMIT {MAX_COUNTED}
        )
        UNION ALL
        (
            SELECT id, at FROM outbox
            WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(snapshot) FROM state))
            LIMIT {MAX_COUNTED}
        )
    )
    SELECT s.seq,
        count(u.id) AS changes,
        min(u.id) AS oldest,
        coalesce(extract(epoch FROM clock_timestamp() - min(u.at))::float8, 0) AS seconds,
        extract(epoch FROM clock_timestamp() - s.at)::float8 AS still_seconds
    FROM state AS s LEFT JOIN unnumbered AS u ON true
    GROUP BY s.seq, s.at"""  # noqa: S608 - a number of ours


class Unnumbered(NamedTuple):
    """What has no number yet, as one statement saw it."""

    seq: int  # the last number that was given
    changes: int  # at most `MAX_COUNTED` for each way in which they can be late
    oldest: int | None  # its id in the outbox
    seconds: float  # since the oldest was written; 0 where there is none
    still_seconds: float  # since the last number was given


class Numbering:
    """Watches the numbering, for as long as the process lives."""

    def __init__(self, database: Database, feed: Feed) -> None:
        """Have seen nothing yet; :meth:`watching` looks in the background."""
        self._database = database
        self._feed = feed
        self._limit = database.settings.feed_stall_seconds
        self._oldest: int | None = None
        self._seen_at = 0.0  # when it was first seen without a number; on the monotonic clock

    async def unnumbered(self) -> Unnumbered:
        """Tell what has no number, and remember it."""
        row = await self._database.fetchrow(_UNNUMBERED)
        if row is None:
            raise unavailable("The change feed has not been numbered yet.")
        found = Unnumbered(*row)
        if found.oldest != self._oldest:
            self._oldest, self._seen_at = found.oldest, time.monotonic()
        return found

    async def check(self) -> None:
        """Refuse if committed changes have been without a number for too long.

        Asks for numbering before it says so.
        """
        if not self._stalled(await self.unnumbered()):
            return
        with suppress(Problem):  # why numbering fails, the log says; that it does, the next look
            await self._feed.catch_up()
        if self._stalled(found := await self.unnumbered()):
            raise unavailable(
                f"The change feed stands still: {found.changes} committed changes have no number, "
                f"the oldest for {found.seconds:.0f} s."
            )

    def _stalled(self, found: Unnumbered) -> bool:
        """Tell whether nothing is numbered although something waits.

        What was written long ago may have been committed just now: it has to have been seen here,
        unchanged, for half the time.
        """
        seen_seconds = time.monotonic() - self._seen_at
        return (
            found.oldest is not None
            and min(found.seconds, found.still_seconds) > self._limit
            and seen_seconds > self._limit / 2
        )

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Look in the background."""
        what = "the numbering of changes can't be watched"
        return meanwhile(again_and_again(self._limit / _LOOKS, self.unnumbered, what))
