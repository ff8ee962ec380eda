"""Following: how a process keeps up with the change feed.

Changes are numbered in the background, forty times a second while there is work, and before each
reading. Requests that wait for a change are woken when the feed has moved on. If several readers
ask for the same reading at the same time, it is made once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import asyncpg

from api.core.background import FailureLog, meanwhile
from api.core.db import DATABASE_ERRORS, Database
from api.core.errors import unavailable
from api.core.request import Request
from api.core.services import service
from api.core.sql import render
from api.core.streaming import Stopping
from api.core.turns import Account, charged, charging
from api.sync.feed.blocks import CHANGES
from api.sync.feed.kept import KeptBlocks
from api.sync.feed.numbering import Head, Numberer, read_head
from api.sync.feed.stretches import (
    Position,
    Stretch,
    Wanted,
    read_position,
    read_stretch,
    resync_required,
)

EAGER_SECONDS: Final = 0.025
IDLE_SECONDS: Final = 0.25
LIVELY_SECONDS: Final = 1.0
"""How long after a change the next one is looked for eagerly."""
SEALING_SECONDS: Final = 0.25
"""How long a process waits after it has put changes into blocks before it does so again."""
SEALING_AGAIN_SECONDS: Final = 10.0
"""How long a process waits after it could not do so, as it numbers nothing while it tries."""
SHARED_SECONDS: Final = 0.025
"""How long a reading may be shared with other readers: a record in it may be hidden later."""
MAX_READINGS: Final = 8
_IS_STANDBY: Final = "SELECT pg_is_in_recovery() AS is_standby"


class _Reading(NamedTuple):
    """A stretch that is being read or was read."""

    began: float  # on the loop's clock
    task: asyncio.Task[Stretch]

    def may_be_shared(self, now: float) -> bool:
        """Tell whether a reader who asks now may have this reading.

        It holds records that were visible when it was read, and such a record may have been hidden
        since. A reading without changes stays right for as long as the head is the same.
        """
        if not self.task.done():
            return True
        if self.task.cancelled() or self.task.exception():
            return False
        return now - self.began < SHARED_SECONDS or not self.task.result().texts


class Feed:
    """The change feed, for as long as the process lives."""

    def __init__(self, database: Database) -> None:
        """Start without knowing the feed; :meth:`following` begins to look."""
        self._database = database
        self._numberer = Numberer(database)
        self.head: Head | None = None
        self.sealed_to = 0
        """The last change that is known to be in a block."""
        self.kept = KeptBlocks()
        self._seals_at = 0.0  # on the loop's clock
        self._unsealed = FailureLog("changes are not put into blocks")
        self.stopping = Stopping()
        self.streams = 0
        """How many streams are open."""
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[Head]] = []
        self._moved = asyncio.Event()
        self._watchers = 0
        self._last_move = 0.0  # on the loop's clock
        self._readings: OrderedDict[Any, _Reading] = OrderedDict()

    @property
    def certain(self) -> bool:
        """Whether the known end is the real end; false while numbering takes too long to tell."""
        return self._numberer.certain

    # --- the end of the feed -----------------------------------------------------------------

    async def catch_up(self) -> Head:
        """Give the end of the feed, behind everything that was committed before this call.

        Where numbering takes too long, because another process numbers a very large import, give
        the end that was stored last.
        """
        future: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wanted.set()
        try:
            async with asyncio.timeout(self._database.settings.acquire_seconds):
                return await future
        except TimeoutError:
            self._numberer.certain = False
            head = await read_head(self._database)
            # Other processes may have got further, and may have given out cursors from there.
            if self.head is None or _is_behind(self.head, head):
                self._note(head)
            return self.head or head

    async def moved(self, place: Head | Position, seconds: float, *, eager: bool = True) -> bool:
        """Wait until the feed goes on behind a place; give false if it does not within `seconds`.

        A feed that was replaced by another one has gone on too. False is given at once when the
        service stops. Without `eager`, a change may be noticed a quarter of a second later.
        """
        self._watchers += eager
        if eager:
            self._wanted.set()
        try:
            async with asyncio.timeout(seconds):
                while not self.stopping.is_set():
                    if self.head is not None and _is_behind(place, self.head):
                        return True
                    await self._moved.wait()
        except TimeoutError:
            pass
        finally:
            self._watchers -= eager
        return False

    def stop(self) -> None:
        """End all waiting and all streamed answers, because the service is about to stop."""
        self.stopping.set()
        self._moved.set()

    # --- reading -----------------------------------------------------------------------------

    async def behind(self, position: Position, wanted: Wanted) -> Stretch:
        """Read the changes behind a position, up to the end of the feed that is known now.

        Raises `resync-required` if the position belongs to another feed. Readers who ask for the
        same at the same time share one reading, so that all streams at the end of the feed whose
        readers see the same records cost as much as one.
        """
        head = self.head or await self.catch_up()
        if position.epoch != head.epoch or position.seq > head.seq:
            if position.epoch == head.epoch and await self._is_standby():
                raise unavailable(
                    "The cursor is later than the last change that this standby of the database "
                    "has received. Try again soon."
                )
            raise resync_required(
                "This cursor belongs to an earlier feed: the database was restored from a copy. "
                "Export again, and go on from that export's cursor."
            )
        key = (position, wanted, head)
        now = asyncio.get_running_loop().time()
        reading = self._readings.pop(key, None)
        if reading is None or not reading.may_be_shared(now):
            reading_changes = read_stretch(
                self._database, head, position, wanted, self.sealed_to, self.kept
            )
            with charging(_account()):
                task = asyncio.create_task(reading_changes)
            task.add_done_callback(lambda done: self._note_done(key, done))
            reading = _Reading(now, task)
        self._readings[key] = reading
        if len(self._readings) > MAX_READINGS:
            self._readings.popitem(last=False)
        return await asyncio.shield(reading.task)

    async def position(self, seq: int) -> Position:
        """Give the position behind a number that the feed has reached."""
        head = self.head or await self.catch_up()
        return await read_position(self._database, head, seq)

    async def _is_standby(self) -> bool:
        """Tell whether the database follows another one, which may have got further."""
        row = await self._database.fetchrow(*render(_IS_STANDBY))
        return row is not None and row["is_standby"]

    def _note_done(self, key: Any, task: asyncio.Task[Stretch]) -> None:  # noqa: ANN401
        """Forget a reading that failed, and one with changes when it can't be shared any more."""
        if task.cancelled() or task.exception():
            self._forget(key, task)
            return
        if task.result().misses_block:  # blocks were deleted; :meth:`_seal` finds out how many
            self.sealed_to = 0
            self.kept.clear()
        if task.result().texts:
            asyncio.get_running_loop().call_later(SHARED_SECONDS, self._forget, key, task)

    def _forget(self, key: Any, task: asyncio.Task[Stretch]) -> None:  # noqa: ANN401
        reading = self._readings.get(key)
        if reading is not None and reading.task is task:
            del self._readings[key]

    # --- in the background -------------------------------------------------------------------

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keep numbering committed changes in the background."""
        async with meanwhile(self._follow()):
            try:
                yield
            finally:
                self.stop()

    async def _follow(self) -> None:
        failures = FailureLog("the change feed is not numbered")
        try:
            while True:
                await self._rest(failing=failures.failing)
                waiting, self._waiting = self._waiting, []
                try:
                    head = await self._numberer.number(waits=bool(waiting) or not self.certain)
                    self._note(head)
                    self._tell(waiting, head)
                    await self._seal(head)
                except DATABASE_ERRORS as error:
                    failures.record(error)
                    _refuse(waiting)
                    self._numberer.disconnect()
                    continue
                failures.clear()
        finally:
            self._numberer.disconnect()

    @staticmethod
    def _tell(waiting: list[asyncio.Future[Head]], head: Head) -> None:
        for future in waiting:
            if not future.done():
                future.set_result(head)

    async def _seal(self, head: Head) -> None:
        """Put the next changes into blocks if it is time."""
        now = asyncio.get_running_loop().time()
        if head.seq >= self.sealed_to + CHANGES and now >= self._seals_at:
            self._seals_at = now + SEALING_SECONDS
            try:
                self.sealed_to = await self._numberer.seal(self.sealed_to)
            except DATABASE_ERRORS as error:  # it is all read one by one then
                self._unsealed.record(error)
                if not isinstance(error, asyncpg.PostgresError):
                    self._numberer.disconnect()
                self._seals_at = asyncio.get_running_loop().time() + SEALING_AGAIN_SECONDS
            else:
                self._unsealed.clear()

    async def _rest(self, *, failing: bool) -> None:
        """Sleep until it is time to number again, or until somebody asks."""
        lively = asyncio.get_running_loop().time() - self._last_move < LIVELY_SECONDS
        eager = (lively or self._watchers) and not failing
        with suppress(TimeoutError):
            async with asyncio.timeout(EAGER_SECONDS if eager else IDLE_SECONDS):
                await self._wanted.wait()
        self._wanted.clear()

    def _note(self, head: Head) -> None:
        """Remember the end of the feed, and wake everybody who waits for it to move."""
        if head == self.head:
            return
        if self.head is not None and (head.epoch != self.head.epoch or head.seq < self.head.seq):
            self.kept.clear()  # its blocks are those of another feed
        self.head = head
        self._readings.clear()  # they were made with the old head, which nobody asks for any more
        self._last_move = asyncio.get_running_loop().time()
        self._moved.set()
        self._moved = asyncio.Event()


def _is_behind(place: Head | Position, head: Head) -> bool:
    """Tell whether a place lies before the end of the feed, or in another feed."""
    return head.epoch != place.epoch or head.seq > place.seq


def _account() -> Account:
    """Give the account of a reading: many may share it, so it has a share of its own."""
    asker = charged()
    return Account("feed", asker.line if asker is not None else "")


def _refuse(waiting: list[asyncio.Future[Head]]) -> None:
    problem = unavailable("The change feed can't be numbered now.")
    for future in waiting:
        if not future.done():
            future.set_exception(problem)


def feed_of(request: Request) -> Feed:
    """Give the feed of this process."""
    return service(request, Feed)
