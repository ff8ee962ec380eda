"""Concurrent writes, joined so that they share statements and a commit.

A write waits for no others to come: it is carried out as soon as the event loop has taken in the
requests that have arrived, together with the writes among these, or else by itself. Two batches are
under way at a time: while Postgres carries out one, the service prepares the other. Beside a batch,
the next one begins when half as many writes wait as that one has, or when it ends. Nothing joins a
batch that has begun, and no two batches at a time have a record in common. A batch that takes long
does not hold up the next ones.

Writes to records of one type are joined, of all callers who see the same records. The callers take
turns in a batch. If a batch fails, each of its writes is carried out by itself. If one then fails
again, or takes long, the next writes of its caller are not joined, so that nobody makes others wait
in vain.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from api.core.caller import Caller, Sight
from api.core.db import Connection, Database
from api.core.errors import unavailable
from api.core.turns import Account, charging
from api.core.writing.batch import (
    MAX_BYTES,
    Answer,
    Joined,
    LeftOut,
    external_ids,
    write_batch,
)
from api.core.writing.single import Outcome, Write
from schemas.vocabularies import RecordType

MAX_JOINED: Final = 32
"""How many writes are carried out together."""
AT_ONCE: Final = 2
"""How many batches of one lane are under way: one is prepared while Postgres has the other."""
MIN_HALF: Final = 8
"""Fewer than two times so many writes that wait are one batch.

Small batches cost more a write. If few were halved, both batches would often begin together.
"""
MAX_WAITING: Final = 100
MAX_WAITING_IN_ALL: Final = 1_000
"""How many writes wait to be joined, of one caller and of all; others are carried out at once."""
SLOW_SECONDS: Final = 0.1
"""How long writes hold up the next ones: longer ones wait for something that those may not need."""
FIRST_PAUSE: Final = 32
MAX_PAUSE: Final = 1_024
"""After a write that probably made a batch fail, so many writes of its caller are not joined.

It is twice as many after each further one, until a batch writes something for the caller.
"""
MAX_DOUBTS: Final = 1_000
_ACCOUNT: Final = Account("joined writes", "", writes=True, has_key=True)
"""Batches of several callers have a share of the connections of their own."""

Alone: TypeAlias = Callable[[Connection], Awaitable[Outcome]]
"""Carries out a write by itself, over a connection."""


@dataclass(slots=True)
class _Doubt:
    """What is remembered of a caller by whose write a batch has failed."""

    left: int  # how many of the next writes are not joined
    pause: int  # how many it will be after one more failure


class JoinedWrites:
    """The writes of a process."""

    def __init__(self, database: Database) -> None:
        """Join nothing yet."""
        self._database = database
        self._lanes: dict[tuple[Sight, RecordType], Lane] = {}  # scopes make some dozens of sights
        self._doubts: OrderedDict[Caller, _Doubt] = OrderedDict()

    async def write(self, write: Write, alone: Alone) -> Outcome:
        """Carry out a write, by itself or together with others; return after its commit."""
        caller = write.author.caller
        if not _is_small(write) or self._is_doubted(caller):
            return await self._write_alone(alone)
        lane = self._lane(caller, write.resource.type)
        if not lane.may_join(write):
            return await self._write_alone(alone)
        with lane.joining(write) as answer:
            outcome = await answer
            if outcome is LeftOut.LONE:
                return await self._write_alone(alone)
        if isinstance(outcome, Outcome):
            self._trust(caller)
            return outcome
        if outcome is LeftOut.FAILED:
            return await self._write_after_failure(caller, alone)
        return await self._write_alone(alone)

    async def _write_after_failure(self, caller: Caller, alone: Alone) -> Outcome:
        """Carry out a write whose batch has failed; doubt its caller if it seems to be the cause.

        That is a write that fails again, or that takes long: it waits for what others have locked.
        The caller is doubted while it still waits, since the caller's next writes may do the same.
        """
        async with self._database.connection() as connection:
            slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._doubt, caller)
            try:
                return await alone(connection)
            except Exception:
                self._doubt(caller)
                raise
            finally:
                slow.cancel()

    async def _write_alone(self, alone: Alone) -> Outcome:
        async with self._database.connection() as connection:
            return await alone(connection)

    def _lane(self, caller: Caller, record_type: RecordType) -> Lane:
        """Give the lane of those who see the same records, and of a type."""
        key = caller.sight, record_type
        if key not in self._lanes:
            self._lanes[key] = Lane(self._database)
        return self._lanes[key]

    def _is_doubted(self, caller: Caller) -> bool:
        """Tell whether a write of a caller must not be joined; count it then."""
        doubt = self._doubts.get(caller)
        if doubt is None or not doubt.left:
            return False
        doubt.left -= 1
        return True

    def _trust(self, caller: Caller) -> None:
        """Forget a doubt, unless it came up while this write of the caller was in the line."""
        doubt = self._doubts.get(caller)
        if doubt is not None and not doubt.left:
            del self._doubts[caller]

    def _doubt(self, caller: Caller) -> None:
        """Join none of the next writes of a caller.

        Several writes of one caller may have been in the batch that failed. They count once: a
        caller who is doubted already is not doubted for longer.
        """
        doubt = self._doubts.setdefault(caller, _Doubt(0, FIRST_PAUSE))
        if doubt.left:
            return
        doubt.left, doubt.pause = doubt.pause, min(2 * doubt.pause, MAX_PAUSE)
        self._doubts.move_to_end(caller)
        if len(self._doubts) > MAX_DOUBTS:
            self._doubts.popitem(last=False)


class Lane:
    """The writes to records of one type, of callers who see the same records."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Joined] = deque()
        self._waiting_of: Counter[Caller] = Counter()
        self._working = 0  # how many batches and lone writes hold up the next ones
        self._writing = 0  # how many writes these are
        self._names: set[object] = set()  # of the records that they write
        # The lone ones of them: what lets go when they are slow, and what does at once.
        self._lone: dict[Answer, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}
        self._sends_soon = False
        self._senders: set[asyncio.Task[None]] = set()

    def may_join(self, write: Write) -> bool:
        """Tell whether not too many writes wait already."""
        return (
            self._waiting_of[write.author.caller] < MAX_WAITING
            and len(self._waiting) < MAX_WAITING_IN_ALL
        )

    @contextmanager
    def joining(self, write: Write) -> Iterator[Answer]:
        """Have a write carried out with those that come at the same time.

        If it is `LONE`, it has to be carried out in this block, and holds up others until its end.
        """
        answer: Answer = asyncio.get_running_loop().create_future()
        names = _names(write)
        self._waiting.append(Joined(write, answer, names))
        self._waiting_of[write.author.caller] += 1
        if names.isdisjoint(self._names):  # else it is sent when they are let go
            self._send_soon()
        try:
            yield answer
        finally:
            if (lone := self._lone.pop(answer, None)) is not None:
                timer, let_go = lone
                timer.cancel()
                let_go()

    def _send_soon(self) -> None:
        """Carry out what waits when the loop has taken in what has arrived, if there is room."""
        if not self._sends_soon and self._working < AT_ONCE:
            self._sends_soon = True
            asyncio.get_running_loop().call_soon(self._send_next)

    def _send_next(self) -> None:
        """Carry out what waits, as far as there is room."""
        self._sends_soon = False
        while self._has_room() and (batch := self._take(self._most())):
            let_go = self._hold_up(batch)
            if len(batch) > 1:
                self._start(batch, let_go)
            else:
                self._lone[batch[0].answer] = _let_go_if_slow(let_go), let_go
                batch[0].answer.set_result(LeftOut.LONE)

    def _has_room(self) -> bool:
        """Tell whether another batch may begin; beside a large one, a few writes do not."""
        return self._working < AT_ONCE and 2 * len(self._waiting) >= self._writing

    def _most(self) -> int:
        """Give how many writes the next batch has at most: about half, if there is room for two."""
        waiting = len(self._waiting)
        halves = AT_ONCE - self._working if waiting >= 2 * MIN_HALF else 1
        return min(MAX_JOINED, -(-waiting // halves))

    def _take(self, most: int) -> list[Joined]:
        """Take the next batch: no name twice, since a write has to see the one before it."""
        taken: list[Joined] = []
        left: set[Answer] = set()
        names = set(self._names)
        for joined in _in_turns(self._waiting):
            if joined.answer.done():
                continue  # the client has left
            if len(taken) < most and names.isdisjoint(joined.names):
                taken.append(joined)
            else:
                left.add(joined.answer)
            names |= joined.names
        self._waiting = deque(joined for joined in self._waiting if joined.answer in left)
        self._waiting_of = Counter(joined.write.author.caller for joined in self._waiting)
        return taken

    def _hold_up(self, batch: Sequence[Joined]) -> Callable[[], None]:
        """Hold up the next writes; give the function that lets them go."""
        number, names = len(batch), {name for joined in batch for name in joined.names}
        self._working += 1
        self._writing += number
        self._names |= names
        holds_up = True

        def let_go() -> None:
            nonlocal holds_up
            if holds_up:
                holds_up = False
                self._working -= 1
                self._writing -= number
                self._names -= names  # nobody else has them: see `_take`
                self._send_soon()

        return let_go

    def _start(self, batch: list[Joined], let_go: Callable[[], None]) -> None:
        """Carry out a batch in a task of its own."""

        # A task that is cancelled before it starts runs none of its own code, but this.
        def end(sender: asyncio.Task[None]) -> None:
            self._senders.discard(sender)
            _fail(
                batch,
                unavailable("The write was cut off. It may or may not have been carried out."),
            )
            let_go()

        with charging(_ACCOUNT):
            sender = asyncio.get_running_loop().create_task(self._send(batch, let_go))
        self._senders.add(sender)
        sender.add_done_callback(end)

    async def _send(self, batch: list[Joined], let_go: Callable[[], None]) -> None:
        """Carry out a batch. It is slow only from when it has its connection.

        Else one batch after another would wait for a connection, until there are too many.
        """
        try:
            async with self._database.connection() as connection:
                timer = _let_go_if_slow(let_go)
                try:
                    await write_batch(connection, batch)
                finally:
                    timer.cancel()
        except Exception as error:  # noqa: BLE001 - every write that waits gets it
            _fail(batch, error)


def _let_go_if_slow(let_go: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(SLOW_SECONDS, let_go)


def _in_turns(waiting: Iterable[Joined]) -> list[Joined]:
    """Put the first write of each caller before the second of any, and so on."""
    counts: Counter[Caller] = Counter()

    def number(joined: Joined) -> int:
        counts[joined.write.author.caller] += 1
        return counts[joined.write.author.caller]

    return sorted(waiting, key=number)


def _fail(batch: Iterable[Joined], error: Exception) -> None:
    """Answer whoever still waits with an error."""
    for joined in batch:
        if not joined.answer.done():
            joined.answer.set_exception(error)


def _is_small(write: Write) -> bool:
    """Tell whether a write is small, and its change too.

    A change of an article is not small, however short it is: the article as it is stored may be
    large, and the records that are printed in it may have to be changed as well.
    """
    resource = write.resource
    changes_much = resource.large or resource.consequence is not None
    return write.size <= MAX_BYTES and not (changes_much and write.names)


def _names(write: Write) -> frozenset[object]:
    """Give all that names the record of a write: no two writes at a time have one of these."""
    named = {*write.names.get("ids", ()), *write.names.get("external", ())}
    return frozenset(named.union(external_ids(write)))
