"""Stalls: whether committed changes have been waiting too long for their numbers.

Any process numbers the changes of all (:mod:`api.sync.feed.numbering`), so no process can tell from
its own work that nobody numbers. Each process looks at regular times, and remembers since when the
oldest waiting change has been waiting. The time at which a change was written does not tell this,
because a large import is committed long after its first line was written.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, NamedTuple

from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from api.core.errors import Problem, unavailable
from api.core.sql import compose, render
from api.sync.feed.following import Feed

MAX_COUNTED: Final = 100_000
_LOOKS: Final = 12
"""How many times to look within `feed_stall_seconds`."""

# These are the changes that the next numbering would take: the condition is the one that
# `sequence_feed` has (`migrations/feed.py`).
_UNNUMBERED: Final = compose(
    """
    WITH state AS (
        SELECT seq, at, snapshot FROM feed_states ORDER BY id DESC LIMIT 1
    ), unnumbered AS (
        (
            SELECT id, at FROM outbox
            WHERE xid >= (SELECT pg_snapshot_xmax(snapshot) FROM state)
            ORDER BY xid
            LIMIT {limit}
        )
        UNION ALL
        (
            SELECT id, at FROM outbox
            WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(snapshot) FROM state))
            LIMIT {limit}
        )
    )
    SELECT s.seq,
        count(u.id) AS changes,
        min(u.id) AS oldest,
        coalesce(extract(epoch FROM clock_timestamp() - min(u.at))::float8, 0) AS seconds,
        extract(epoch FROM clock_timestamp() - s.at)::float8 AS still_seconds
    FROM state AS s LEFT JOIN unnumbered AS u ON true
    GROUP BY s.seq, s.at""",
    limit=str(MAX_COUNTED),
)


class Unnumbered(NamedTuple):
    """The changes that have no number yet, as one statement saw them."""

    seq: int  # the last number that was given
    changes: int  # at most `MAX_COUNTED` for each of the two reasons why a change can be late
    oldest: int | None  # its id in the outbox
    seconds: float  # since the oldest was written; 0 if there is none
    still_seconds: float  # since the last number was given


class StallWatch:
    """Watches whether changes are numbered, for as long as the process lives."""

    def __init__(self, database: Database, feed: Feed) -> None:
        """Start without having looked; :meth:`watching` looks in the background."""
        self._database = database
        self._feed = feed
        self._limit = database.settings.feed_stall_seconds
        self._oldest: int | None = None
        self._seen_at = 0.0  # when the oldest was first seen to wait; on the monotonic clock

    async def unnumbered(self) -> Unnumbered:
        """Count the changes without a number, and remember which is the oldest."""
        row = await self._database.fetchrow(*render(_UNNUMBERED))
        if row is None:
            raise unavailable("The change feed has not been numbered yet.")
        unnumbered = Unnumbered(*row)
        if unnumbered.oldest != self._oldest:
            self._oldest, self._seen_at = unnumbered.oldest, time.monotonic()
        return unnumbered

    async def check(self) -> None:
        """Raise `unavailable` if committed changes have waited too long for a number.

        Asks for numbering once before that.
        """
        if not self._stalled(await self.unnumbered()):
            return
        with suppress(Problem):  # the log has the reason; the next look tells whether it failed
            await self._feed.catch_up()
        unnumbered = await self.unnumbered()
        if self._stalled(unnumbered):
            raise unavailable(
                f"The change feed stands still: {unnumbered.changes} committed changes have no "
                f"number, and the oldest has waited for {unnumbered.seconds:.0f} s."
            )

    def _stalled(self, unnumbered: Unnumbered) -> bool:
        """Tell whether nothing is numbered although changes wait.

        A change that was written long ago may have been committed just now. So it must also have
        been seen here, as the oldest, for half of the time.
        """
        seen_seconds = time.monotonic() - self._seen_at
        return (
            unnumbered.oldest is not None
            and min(unnumbered.seconds, unnumbered.still_seconds) > self._limit
            and seen_seconds > self._limit / 2
        )

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Look in the background."""
        message = "the numbering of changes can't be watched"
        return meanwhile(again_and_again(self._limit / _LOOKS, self.unnumbered, message))
