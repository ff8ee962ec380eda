"""Counted readings: what a request has read from the feed counts as its bytes in flight.

Most readings are small and shared with other readers, so room is taken when a reading's size is
known. If there is none, the reading is let go of, the request waits for the room of the largest
reading, and reads again.
"""

from __future__ import annotations

import asyncio
from typing import Final

from api.core.flight import room_of
from api.core.reading import MAX_RECORD_BYTES
from api.core.request import Request, context
from api.sync.feed.following import feed_of
from api.sync.feed.stretches import Position, Stretch, Wanted

_GRACE_SECONDS: Final = 5.0


class CountedReader:
    """Reads the feed for one request, which holds the last stretch until it says otherwise."""

    def __init__(self, request: Request) -> None:
        """Hold nothing yet."""
        self._feed, self._room = feed_of(request), room_of(request.scope)
        # At the latest then, those who do not read are cut off and have given back their room.
        self._patience = context(request).settings.stall_seconds + _GRACE_SECONDS
        self._waiting: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        """Whether the reader stands in line for room."""
        return self._waiting is not None

    async def read(self, position: Position, wanted: Wanted, seconds: float) -> Stretch | None:
        """Read the changes behind a position; null if there is no room for them within `seconds`.

        A reader who gets null keeps its place in line for the next call.
        """
        if self._waiting is None:
            self._room.keep(0)
            stretch = await self._feed.behind(position, wanted)
            if self._room.hold(stretch.size):
                return stretch
            del stretch
            most = wanted.most_bytes + MAX_RECORD_BYTES
            self._waiting = asyncio.create_task(self._room.reserve(most, self._patience))
        await asyncio.wait([self._waiting], timeout=seconds)
        if not self._waiting.done():
            return None
        waiting, self._waiting = self._waiting, None
        await waiting
        stretch = await self._feed.behind(position, wanted)
        self._room.keep(stretch.size)
        return stretch

    def keep(self, size: int) -> None:
        """Hold only so many bytes of the last stretch."""
        self._room.keep(size)

    def close(self) -> None:
        """Leave the line."""
        if self._waiting is not None:
            self._waiting.cancel()
