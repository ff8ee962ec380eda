"""The change feed as a process reads it: numbered after commit, in stretches, and awaited.

A write leaves a row in the outbox (migration 0001); `sequence_feed` (migration 0003) gives it a
number once it is visible. That is done here, on a connection of its own, forty times a second while
there is work, and before each reading. Whichever process comes first does it for all.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import asyncpg

from api.core import sql
from api.core.background import meanwhile
from api.core.caller import Caller
from api.core.db import DATABASE_ERRORS, Database, Row
from api.core.errors import RESYNC_REQUIRED, Problem, unavailable
from api.core.request import Request
from api.core.services import service
from schemas.vocabularies import ChangeOp, RecordType

EAGER_SECONDS: Final = 0.025
IDLE_SECONDS: Final = 0.25
LIVELY_SECONDS: Final = 1.0
"""How long after a change the next one is looked for eagerly."""
SHARED_SECONDS: Final = 0.025
"""How old an answer may be that somebody else asked for: a record in it may have been hidden."""
NUMBERING_SECONDS: Final = 300.0
"""How long numbering may take: as long as a hundred million changes. After that the server, or the
way to it, is taken for lost: a network that went silent would say nothing for ever."""
MAX_SCANNED: Final = 10_000
"""How many changes one reading passes over at most, to find those of the types asked for."""
MAX_BYTES: Final = 4_194_304
MAX_STRETCHES: Final = 8
_TAG_BYTES: Final = 6

log = logging.getLogger("claim_records")


@dataclass(frozen=True, slots=True)
class Head:
    """Where the feed ends."""

    epoch: str
    seq: int
    secret: bytes = field(repr=False)  # of the epoch; its tags are made with it


class Position(NamedTuple):
    """A place behind one change of the feed: behind that very change, not just its number."""

    epoch: str
    seq: int
    tag: str  # of that change; "" at the start


class Change(NamedTuple):
    """One change, as the service sees it; the classes say who else does."""

    seq: int
    op: ChangeOp
    type: RecordType
    id: str
    version: int
    at: dt.datetime
    before: int | None  # the record's class before; null for a new one
    after: int
    now: int | None  # its class today
    doc: bytes | None
    tag: str
    """A digest by which this change differs from any other of the same number.

    A feed that went back to an earlier time gives numbers again, to other changes. Readers get tags
    of changes, too, that are hidden from them: without the secret a tag tells nothing.
    """


class Stretch(NamedTuple):
    """Some changes in a row, the position behind them, and whether that is the end."""

    changes: list[Change]
    to: Position
    up_to_date: bool


class _Reading(NamedTuple):
    """A stretch that is being read, or was."""

    began: float  # on the loop's clock
    task: asyncio.Task[Stretch]

    def is_for(self, now: float) -> bool:
        """Tell whether it answers whoever asks now.

        It holds records that were visible when it was read, so it is not for those who ask later: a
        record may have been hidden. Where nothing is in it, it holds for as long as the head does.
        """
        if not self.task.done():
            return True
        if self.task.cancelled() or self.task.exception():
            return False
        return now - self.began < SHARED_SECONDS or not self.task.result().changes


class Feed:
    """The feed, for as long as the process lives."""

    def __init__(self, database: Database) -> None:
        """Know nothing of it yet; :meth:`following` starts to look."""
        self._database = database
        self.head: Head | None = None
        self.stopping = asyncio.Event()
        self.streams = 0
        """How many are open."""
        self.certain = True
        """Whether the end is known to be the end, or numbering takes too long to tell."""
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[Head]] = []
        self._moved = asyncio.Event()
        self._watchers = 0
        self._last_move = 0.0  # on the loop's clock
        self._readings: OrderedDict[Any, _Reading] = OrderedDict()

    # --- where it ends -----------------------------------------------------------------------

    async def catch_up(self) -> Head:
        """Tell where the feed ends, with everything in it that was committed before this call.

        Where numbering takes too long (a very large import is at it), where it ends until then.
        """
        future: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wanted.set()
        try:
            async with asyncio.timeout(self._database.settings.acquire_seconds):
                return await future
        except TimeoutError:
            self.certain = False
            row = await self._database.fetchrow(_STATE)
            if row is None:
                raise unavailable("The change feed has not been numbered yet.") from None
            head = Head(*row)
            # Other processes are further than this one, and so are cursors that they have given.
            if self.head is None or self.head.epoch != head.epoch or self.head.seq < head.seq:
                self._note(head)
            return self.head or head

    async def moved(self, place: Head | Position, seconds: float, *, eager: bool = True) -> bool:
        """Wait until the feed goes on behind a place; false if it did not, or if all ends.

        It has gone on as well where it is another feed now. Whoever is not `eager` does with a
        quarter of a second.
        """
        self._watchers += eager
        if eager:
            self._wanted.set()
        try:
            async with asyncio.timeout(seconds):
                while not self.stopping.is_set():
                    if self.head is not None and _goes_on(self.head, place):
                        return True
                    await self._moved.wait()
        except TimeoutError:
            pass
        finally:
            self._watchers -= eager
        return False

    def stop(self) -> None:
        """End all waiting: the service is about to stop."""
        self.stopping.set()
        self._moved.set()

    # --- what is in it -----------------------------------------------------------------------

    async def behind(
        self, position: Position, limit: int, types: Collection[RecordType] = ()
    ) -> Stretch:
        """Read the changes behind a position, up to where the feed was last seen to end.

        Raises `resync-required` if the position is of another feed. Who asks for the same at the
        same time shares the answer: streams at the end of the feed cost one reading together.
        """
        head = self.head or await self.catch_up()
        if position.epoch != head.epoch or position.seq > head.seq:
            if position.epoch == head.epoch and await self._lags():
                raise unavailable("This standby of the database has not got so far yet.")
            raise resync_required("The feed was restored from a copy; this cursor is of another.")
        key = (position, limit, frozenset(types), head)
        now = asyncio.get_running_loop().time()
        reading = self._readings.pop(key, None)
        if reading is None or not reading.is_for(now):
            task = asyncio.create_task(self._read(position, limit, types, head))
            task.add_done_callback(lambda done: self._forget_failed(key, done))
            reading = _Reading(now, task)
        self._readings[key] = reading
        if len(self._readings) > MAX_STRETCHES:
            self._readings.popitem(last=False)
        return await asyncio.shield(reading.task)

    async def _lags(self) -> bool:
        """Tell whether the database follows another one, which is further."""
        row = await self._database.fetchrow(_IS_STANDBY)
        return row is not None and row["it_is"]

    def _forget_failed(self, key: Any, task: asyncio.Task[Stretch]) -> None:  # noqa: ANN401
        if task.cancelled() or task.exception():
            reading = self._readings.get(key)
            if reading is not None and reading.task is task:
                del self._readings[key]

    async def _read(
        self, position: Position, limit: int, types: Collection[RecordType], head: Head
    ) -> Stretch:
        end = min(head.seq, position.seq + MAX_SCANNED)
        at_start = position.seq == 0
        query = sql.stretch(of_types=bool(types))
        arguments: list[Any] = [position.seq, end, limit + (not at_start), MAX_BYTES]
        if types:
            arguments.append([of.value for of in types])
        rows = await self._database.fetch(query, *arguments)
        changes = [_change(row, head.secret) for row in rows]
        if not at_start:
            before = changes.pop(0) if changes else None
            if before is None or (before.seq, before.tag) != (position.seq, position.tag):
                raise resync_required("The feed went back to an earlier time; this cursor did not.")
        to = position
        if changes:
            to = Position(head.epoch, changes[-1].seq, changes[-1].tag)
        elif position.seq < end:
            raise unavailable("The change feed is being restored.")
        return Stretch(
            [each for each in changes if not types or each.type in types], to, to.seq >= head.seq
        )

    async def position(self, seq: int) -> Position:
        """Give the position behind a number that the feed has reached."""
        head = self.head or await self.catch_up()
        if seq == 0:
            return Position(head.epoch, 0, "")
        rows = await self._database.fetch(sql.stretch(of_types=False), seq, seq, 1, MAX_BYTES)
        if not rows:
            raise unavailable("The change feed is being restored.")
        return Position(head.epoch, seq, _change(rows[0], head.secret).tag)

    # --- numbering ---------------------------------------------------------------------------

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keep numbering what is committed, in the background."""
        async with meanwhile(self._follow()):
            try:
                yield
            finally:
                self.stop()

    async def _follow(self) -> None:
        connection: asyncpg.Connection[Row] | None = None
        failing = False
        try:
            while True:
                await self._rest(failing=failing)
                waiting, self._waiting = self._waiting, []
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._database.connect()
                    waits = bool(waiting) or not self.certain
                    self._note(await self._number(connection, waits=waits))
                    failing = False
                except DATABASE_ERRORS as error:
                    if not failing:
                        log.warning("the change feed is not numbered", exc_info=error)
                    failing = True
                    _fail(waiting)
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    continue
                for future in waiting:
                    if not future.done():
                        future.set_result(self.head)  # type: ignore[arg-type] # noted above
        finally:
            if connection is not None:
                connection.terminate()

    async def _number(self, connection: asyncpg.Connection[Row], *, waits: bool) -> Head:
        """Give numbers to what is visible; tell where the feed ends."""
        try:
            row = await connection.fetchrow(_NUMBER, waits, timeout=NUMBERING_SECONDS)
            self.certain = self.certain or waits
        except asyncpg.LockNotAvailableError:  # another process is at a very large import
            row = await connection.fetchrow(_STATE, timeout=NUMBERING_SECONDS)
            self.certain = False
        except asyncpg.ReadOnlySQLTransactionError:  # nobody may write; what there is can be read
            row = await connection.fetchrow(_STATE, timeout=NUMBERING_SECONDS)
        assert row is not None  # noqa: S101 - for the type checker
        return Head(*row)

    async def _rest(self, *, failing: bool) -> None:
        """Sleep until it is time to look, or somebody asks."""
        lively = asyncio.get_running_loop().time() - self._last_move < LIVELY_SECONDS
        eager = (lively or self._watchers) and not failing
        with suppress(TimeoutError):
            async with asyncio.timeout(EAGER_SECONDS if eager else IDLE_SECONDS):
                await self._wanted.wait()
        self._wanted.clear()

    def _note(self, head: Head) -> None:
        if head == self.head:
            return
        self.head = head
        self._readings.clear()  # of another head: nobody asks for them any more
        self._last_move = asyncio.get_running_loop().time()
        self._moved.set()
        self._moved = asyncio.Event()


_STATE: Final = "SELECT epoch, seq, secret FROM feed_states ORDER BY id DESC LIMIT 1"
_NUMBER: Final = "SELECT epoch, seq, secret FROM sequence_feed($1)"
_IS_STANDBY: Final = "SELECT pg_is_in_recovery() AS it_is"


def _goes_on(head: Head, place: Head | Position) -> bool:
    """Tell whether the feed has gone on behind a place, or is another one."""
    return head.epoch != place.epoch or head.seq > place.seq


def _fail(waiting: list[asyncio.Future[Head]]) -> None:
    problem = unavailable("The change feed can't be numbered now.")
    for future in waiting:
        if not future.done():
            future.set_exception(problem)


def _change(row: Row, secret: bytes) -> Change:
    seq, op, of, identity, version, at, before, after, now, doc = row
    return Change(
        seq,
        ChangeOp[op.upper()],
        RecordType[of.upper()],
        str(identity),
        version,
        at,
        before,
        after,
        now,
        doc,
        _tag(f"{seq} {of} {identity} {version} {at.isoformat()}", secret),
    )


def _tag(text: str, secret: bytes) -> str:
    return blake2b(text.encode(), digest_size=_TAG_BYTES, key=secret).hexdigest()


def resync_required(detail: str) -> Problem:
    """Ask for a new start: what lies between the cursor and now is not known."""
    return Problem(RESYNC_REQUIRED, detail, export="/v1/export")


def feed_of(request: Request) -> Feed:
    """Give the process' feed."""
    return service(request, Feed)


# --- what a reader may know of it ------------------------------------------------------------


class Item(NamedTuple):
    """A change as one reader is told of it."""

    seq: int
    op: ChangeOp
    type: RecordType
    id: str
    version: int
    at: dt.datetime
    record: bytes | None

    def encoded(self) -> bytes:
        """Write it as JSON, the record as it is stored."""
        at = in_utc(self.at)
        return b'{"seq":%d,"op":"%b","type":"%b","id":"%b","version":%d,"at":"%b","record":%b}' % (
            self.seq,
            self.op.value.encode(),
            self.type.value.encode(),
            self.id.encode(),
            self.version,
            at.encode(),
            self.record or b"null",
        )


def in_utc(at: dt.datetime) -> str:
    """Write an instant in UTC (RFC 3339)."""
    return at.isoformat().replace("+00:00", "Z")


def seen(change: Change, caller: Caller) -> Item | None:
    """Tell a reader of a change; null if it is not for them to know.

    A record that becomes visible was `created` for them, one that becomes invisible `removed`. Its
    content is told if they could see it then and can see the record today.
    """
    classes = caller.classes[change.type]
    before, after = change.before in classes, change.after in classes
    op = change.op
    if not after:
        if not before:
            return None
        op = ChangeOp.REMOVED
    elif not before:
        if op is ChangeOp.DELETED:
            return None
        op = ChangeOp.CREATED
    there = op is not ChangeOp.REMOVED and change.now in classes
    return Item(
        change.seq,
        op,
        change.type,
        change.id,
        change.version,
        change.at,
        change.doc if there else None,
    )
