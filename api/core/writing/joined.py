"""Concurrent writes of one caller, joined so that they share statements and a commit.

A write waits for no others to come: while none of the caller's is under way, it is carried out at
once, by itself. Those that arrive meanwhile are carried out together when it has ended. Nothing
joins a batch that has begun. A batch that takes long does not hold up the next one.

Only writes of the same caller to records of the same type are joined. So they see the same records,
they take the caller's own connection in the caller's own turn, and nobody's writes make those of
others fail or wait.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from api.core.caller import Caller
from api.core.db import Connection, Database
from api.core.errors import unavailable
from api.core.writing.batch import MAX_BYTES, Joined, external_ids, write_batch
from api.core.writing.single import Outcome, Write
from schemas.vocabularies import RecordType

MAX_JOINED: Final = 32
"""How many writes are carried out together."""
MAX_WAITING: Final = 100
"""How many writes of a caller wait to be joined; further ones are carried out by themselves."""
MAX_LANES: Final = 1_000
SLOW_SECONDS: Final = 0.1
"""How long writes hold up the next ones: longer ones wait for something that those may not need."""
FIRST_PAUSE: Final = 32
MAX_PAUSE: Final = 1_024
"""After a batch has failed, so many writes are not joined; twice as many after each further one.

That begins anew when the statements of a batch succeed. A batch without any tells nothing.
"""

Alone: TypeAlias = Callable[[Connection], Awaitable[Outcome]]
"""Carries out a write by itself, over a connection."""


class JoinedWrites:
    """The writes of a process."""

    def __init__(self, database: Database) -> None:
        """Join nothing yet."""
        self._database = database
        self._lanes: OrderedDict[tuple[Caller, RecordType], Lane] = OrderedDict()

    async def write(self, write: Write, alone: Alone) -> Outcome:
        """Carry out a write, by itself or together with others; return after its commit."""
        lane = self._lane(write)
        if _is_small(write) and lane.may_join():
            if not lane.is_free():
                outcome = await lane.join(write)
                if outcome is not None:
                    return outcome
            else:
                with lane.working():
                    return await self._write_alone(alone)
        return await self._write_alone(alone)

    async def _write_alone(self, alone: Alone) -> Outcome:
        async with self._database.connection() as connection:
            return await alone(connection)

    def _lane(self, write: Write) -> Lane:
        """Give the lane of a caller and a type; the one that was used longest ago makes room."""
        key = write.author.caller, write.resource.type
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self._database)
            if len(self._lanes) > MAX_LANES:
                self._lanes.popitem(last=False)
        self._lanes.move_to_end(key)
        return lane


class Lane:
    """The writes of one caller to records of one type."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Joined] = deque()
        self._working = 0  # how many hold up the next ones
        self._pause = FIRST_PAUSE
        self._paused = 0  # how many of the next writes are not joined
        self._senders: set[asyncio.Task[None]] = set()

    def is_free(self) -> bool:
        """Tell whether nothing is under way for which a write would have to wait."""
        return not self._working and not self._waiting

    def may_join(self) -> bool:
        """Tell whether a write may be joined with others; count it if it must not."""
        if self._paused:
            self._paused -= 1
            return False
        return len(self._waiting) < MAX_WAITING

    async def join(self, write: Write) -> Outcome | None:
        """Have a write carried out in the next batch; null if it was left out there."""
        joined = Joined(write, asyncio.get_running_loop().create_future())
        self._waiting.append(joined)
        return await joined.answer

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold up the next writes in this block, but not for long."""
        let_go = self._hold_up()
        try:
            yield
        finally:
            let_go()

    def _hold_up(self) -> Callable[[], None]:
        """Hold up the next writes, but not for long; give the function that lets them go."""
        self._working += 1
        holds_up = True

        def let_go() -> None:
            nonlocal holds_up
            timer.cancel()
            if holds_up:
                holds_up = False
                self._working -= 1
                self._send_next()

        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, let_go)
        return let_go

    def _send_next(self) -> None:
        """Carry out what waits, if nothing is under way."""
        if self._working or not (batch := self._take()):
            return
        let_go = self._hold_up()  # before the task starts: a write may come first

        # A task that is cancelled before it starts runs none of its own code, but this.
        def end(sender: asyncio.Task[None]) -> None:
            self._senders.discard(sender)
            _fail(batch, unavailable("The write was broken off; it may have been carried out."))
            let_go()

        # The task goes on in the caller's account: it was begun by a request of the caller.
        sender = asyncio.get_running_loop().create_task(self._send(batch))
        self._senders.add(sender)
        sender.add_done_callback(end)

    def _take(self) -> list[Joined]:
        """Take the next batch: no name twice, since a write has to see the one before it."""
        taken: list[Joined] = []
        left: deque[Joined] = deque()
        names: set[object] = set()
        for joined in self._waiting:
            if joined.answer.done():
                continue  # the client has left
            own = _names(joined.write)
            if len(taken) < MAX_JOINED and names.isdisjoint(own):
                taken.append(joined)
            else:
                left.append(joined)
            names |= own
        self._waiting = left
        return taken

    async def _send(self, batch: list[Joined]) -> None:
        try:
            async with self._database.connection() as connection:
                succeeded = await write_batch(connection, batch)
        except Exception as error:  # noqa: BLE001 - every write that waits gets it
            _fail(batch, error)
            return
        if succeeded is None:
            return
        if succeeded:
            self._pause = FIRST_PAUSE
        else:
            self._paused = self._pause
            self._pause = min(2 * self._pause, MAX_PAUSE)


def _fail(batch: Iterable[Joined], error: Exception) -> None:
    """Answer whoever still waits with an error."""
    for joined in batch:
        if not joined.answer.done():
            joined.answer.set_exception(error)


def _is_small(write: Write) -> bool:
    """Tell whether a write is small, and changes no record that may be large or change others."""
    resource = write.resource
    changes_much = resource.large or resource.consequence is not None
    return write.size <= MAX_BYTES and not (changes_much and write.names)


def _names(write: Write) -> set[object]:
    """Give all that names the record of a write: no two writes of a batch have one of these."""
    named = {*write.names.get("ids", ()), *write.names.get("external", ())}
    return named | set(external_ids(write))
