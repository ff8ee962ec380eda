"""Fair turns: how many of the connections to Postgres each caller may hold at once.

Each key has a share of its own, and all callers without a key have one together. A share has at
most so many places. Who finds none free waits in a line, and the lines are served in turn, one
place each. So a caller who asks a thousand times waits longer, and nobody else does.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

KEYLESS: Final = "keyless"
"""The share that all callers without a key have together."""
MAX_IN_LINE: Final = 100
MAX_WAITING: Final = 2_000
"""How many may wait for a place in one line, and in all lines of one share."""


class Account(NamedTuple):
    """Whose share a place is taken from, in which of the share's lines, and for what."""

    share: str
    line: str
    writes: bool = False


_account: ContextVar[Account | None] = ContextVar("account", default=None)


def charge(account: Account | None) -> None:
    """Take the places for the rest of this task from an account; null means the service itself."""
    _account.set(account)


def charged() -> Account | None:
    """Give the account of this task; null if it works for the service itself."""
    return _account.get()


@contextmanager
def charging(account: Account | None) -> Iterator[None]:
    """Take the places in this block, and in the tasks that begin in it, from an account."""
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


class _Group:
    """The lines of those who wait for a place of one share, for the same kind of work."""

    def __init__(self) -> None:
        self.lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting = 0

    def next(self) -> asyncio.Future[None] | None:
        """Take out the first of the line whose turn it is; that line goes to the end."""
        while self.lines:
            name, line = next(iter(self.lines.items()))
            turn = line.popleft()
            self.waiting -= 1
            if line:
                self.lines.move_to_end(name)
            else:
                del self.lines[name]
            if not turn.done():
                return turn
        return None


class Turns:
    """A number of places, of which each share has at most some, and readers leave some free."""

    def __init__(self, places: int, for_readers: int, per_share: int) -> None:
        """Hand out `places` in all, of them at most `for_readers` to those who do not write."""
        self._places = places
        self._for_readers = for_readers
        self._per_share = per_share
        self._writing = self._reading = 0
        self._held: dict[str, int] = {}
        self._groups: OrderedDict[tuple[str, bool], _Group] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(group.waiting for group in self._groups.values())

    @asynccontextmanager
    async def place(self, account: Account, timeout_seconds: float) -> AsyncIterator[None]:
        """Have a place for as long as the block lasts; raise TimeoutError where none comes free."""
        await self.take(account, timeout_seconds)
        try:
            yield
        finally:
            self.give_back(account)

    async def take(self, account: Account, timeout_seconds: float) -> None:
        """Wait for a place; raise TimeoutError where none comes free."""
        group = self._groups.get((account.share, account.writes))
        if group is None and self._may_have(account.share, writes=account.writes):
            self._hand_out(account.share, writes=account.writes)
            return
        turn = self._wait_in_line(account)
        try:
            async with asyncio.timeout(timeout_seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back(account)  # the turn came at the moment when the wait ended
            else:
                self._leave(account, turn)
            raise

    def _may_have(self, share: str, *, writes: bool) -> bool:
        return (
            self._reading + self._writing < self._places
            and (writes or self._reading < self._for_readers)
            and self._held.get(share, 0) < self._per_share
        )

    def _hand_out(self, share: str, *, writes: bool) -> None:
        self._writing += writes
        self._reading += not writes
        self._held[share] = self._held.get(share, 0) + 1

    def give_back(self, account: Account) -> None:
        """Give a place back, to the next who waits."""
        self._writing -= account.writes
        self._reading -= not account.writes
        self._held[account.share] -= 1
        if not self._held[account.share]:
            del self._held[account.share]
        self._serve()

    def _wait_in_line(self, account: Account) -> asyncio.Future[None]:
        group = self._groups.setdefault((account.share, account.writes), _Group())
        line = group.lines.setdefault(account.line, deque())
        if len(line) >= MAX_IN_LINE or group.waiting >= MAX_WAITING:
            if not line:
                del group.lines[account.line]
            raise TimeoutError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        group.waiting += 1
        return turn

    def _leave(self, account: Account, turn: asyncio.Future[None]) -> None:
        group = self._groups.get((account.share, account.writes))
        line = group.lines.get(account.line) if group is not None else None
        if group is None or line is None or turn not in line:
            return
        line.remove(turn)
        group.waiting -= 1
        if not line:
            del group.lines[account.line]
        if not group.lines:
            del self._groups[account.share, account.writes]

    def _serve(self) -> None:
        """Hand the free places to the groups in turn: the one that was served goes to the end."""
        for name in list(self._groups):
            if self._reading + self._writing >= self._places:
                return
            share, writes = name
            if not self._may_have(share, writes=writes):
                continue
            group = self._groups[name]
            turn = group.next()
            if turn is not None:
                self._hand_out(share, writes=writes)
                turn.set_result(None)
            if group.lines:
                self._groups.move_to_end(name)
            else:
                del self._groups[name]
