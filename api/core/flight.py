"""Bytes in flight: how much memory the answers to one caller may take at the same time.

An answer is in memory until its client has read it. So a request reserves room before it reads
records, keeps as much as they turn out to have, and gives it back when its answer has been sent.
Each key has room of its own, and all callers without a key have it together. A request that finds
no room waits, and waiting requests are served in the order of their arrival.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Any, Final, NamedTuple

from api.core.errors import Problem, unavailable
from api.core.turns import charged

MAX_BYTES: Final = 32 * 1024**2
"""How many bytes the answers to one key, or to all callers without one, may have at once."""
MAX_WAITING: Final = 500
"""How many requests of one share may wait for room."""
_STATE: Final = "in_flight"


class _Wait(NamedTuple):
    size: int
    turn: asyncio.Future[None]


class InFlight:
    """The room that each share of callers has for its answers."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        """Let each share have `most` bytes."""
        self._most = most
        self._held: dict[str, int] = {}
        self._lines: OrderedDict[str, deque[_Wait]] = OrderedDict()

    def held(self, share: str) -> int:
        """Tell how many bytes a share holds."""
        return self._held.get(share, 0)

    def take_at_once(self, share: str, size: int) -> bool:
        """Take room if there is enough and nobody waits for some; tell whether it was taken."""
        if share in self._lines or not self._fits(share, size):
            return False
        self.add(share, size)
        return True

    async def take(self, share: str, size: int, timeout_seconds: float) -> None:
        """Wait for room; raise TimeoutError where none comes free."""
        if self.take_at_once(share, size):
            return
        line = self._lines.setdefault(share, deque())
        if len(line) >= MAX_WAITING:
            raise TimeoutError
        wait = _Wait(size, asyncio.get_running_loop().create_future())
        line.append(wait)
        try:
            async with asyncio.timeout(timeout_seconds):
                await wait.turn
        except BaseException:
            if wait.turn.done() and not wait.turn.cancelled():
                self.add(share, -size)  # the room came at the moment when the wait ended
            else:
                wait.turn.cancel()
            self._serve(share)
            raise

    def add(self, share: str, size: int) -> None:
        """Count bytes that are held in addition, or fewer of them."""
        self._held[share] = self.held(share) + size
        if not self._held[share]:
            del self._held[share]
        if size < 0:
            self._serve(share)

    def _fits(self, share: str, size: int) -> bool:
        """Tell whether there is room; a request for more than the whole share gets all of it."""
        return self.held(share) + min(size, self._most) <= self._most

    def _serve(self, share: str) -> None:
        line = self._lines.get(share)
        while line:
            if not line[0].turn.done():
                if not self._fits(share, line[0].size):
                    return
                self._held[share] = self.held(share) + line[0].size
                line[0].turn.set_result(None)
            line.popleft()
        if line is not None:
            del self._lines[share]


class Room:
    """The room that one request holds."""

    def __init__(self, in_flight: InFlight) -> None:
        """Hold nothing yet."""
        self._in_flight = in_flight
        self._share = ""
        self._size = 0

    async def reserve(self, size: int, timeout_seconds: float) -> None:
        """Hold so many bytes, in place of those that were held before; wait until there is room."""
        self.keep(0)
        account = charged()
        if account is None:
            return
        try:
            await self._in_flight.take(account.share, size, timeout_seconds)
        except TimeoutError:
            raise no_room() from None
        self._share, self._size = account.share, size

    def hold(self, size: int) -> bool:
        """Hold so many bytes, in place of those that were held before, if there is room at once."""
        self.keep(0)
        account = charged()
        if account is None or size == 0:
            return True
        if not self._in_flight.take_at_once(account.share, size):
            return False
        self._share, self._size = account.share, size
        return True

    def keep(self, size: int) -> None:
        """Hold fewer bytes than were reserved, or more, if they turned out to be so many."""
        if self._size:
            self._in_flight.add(self._share, size - self._size)
            self._size = size


def no_room() -> Problem:
    """Make the problem of a caller who has too much in flight."""
    return unavailable(
        "You have not read too many large answers yet. Read them first, or ask for fewer at once."
    )


def hold_room(scope: Any, in_flight: InFlight) -> Room:  # noqa: ANN401 - one of Litestar's unions
    """Let a request hold room; the caller gives it back at the end of the request."""
    room = scope.setdefault("state", {})[_STATE] = Room(in_flight)
    return room


def room_of(scope: Any) -> Room:  # noqa: ANN401 - as above
    """Give the room of a request."""
    room: Room = scope["state"][_STATE]
    return room
