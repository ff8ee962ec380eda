"""Fair turns: how many of the connections to Postgres each caller may hold at once.

Each key has a share of its own, and all callers without a key have one together. A share has at
most so many places, and fewer for searches, which can take long whatever they find. A caller who
finds no free place waits in a line, and the lines are served in turn, one place each. So a caller
who asks a thousand times waits longer, and nobody else does.

Postgres shares its processors among all statements that run. So while callers with keys are active,
those without a key have fewer places.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

KEYLESS: Final = "keyless"
"""The share that all callers without a key have together."""
ACTIVE_SECONDS: Final = 10
"""For how long after a request with a key callers without one have fewer places."""
MAX_IN_LINE: Final = 100
MAX_WAITING: Final = 2_000
"""How many may wait for a place in one line, and in all lines of one share."""


class Account(NamedTuple):
    """The share from which a place is taken, the line within the share, and the kind of work."""

    share: str
    line: str
    writes: bool = False
    searches: bool = False
    has_key: bool = False


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

    def __init__(
        self,
        places: int,
        for_readers: int,
        per_share: int,
        for_searches: int | None = None,
        beside_keys: int | None = None,
    ) -> None:
        """Hand out `places` in all, of them at most `for_readers` to those who do not write.

        Each share has at most `per_share`, of them at most `for_searches` for its searches. All
        callers without a key have `beside_keys` while others are active.
        """
        self._places = places
        self._for_readers = for_readers
        self._per_share = per_share
        self._for_searches = per_share if for_searches is None else for_searches
        self._beside_keys = per_share if beside_keys is None else beside_keys
        self._key_seen_at = -math.inf  # on the loop's clock
        self._writing = self._reading = 0
        self._held: Counter[str] = Counter()
        self._searching: Counter[str] = Counter()
        self._groups: OrderedDict[Account, _Group] = OrderedDict()  # accounts without their lines

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(group.waiting for group in self._groups.values())

    def notice(self, account: Account | None) -> None:
        """Note that a caller is active, whichever share its places come from."""
        if account is not None and account.has_key:
            self._key_seen_at = asyncio.get_running_loop().time()

    async def take(self, account: Account, timeout_seconds: float) -> None:
        """Wait for a place, to be given back; raise TimeoutError where none comes free."""
        self.notice(account)
        waits = self._groups and _of_group(account) in self._groups
        if not waits and self._may_have(account):
            self._count(account, 1)
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

    def _may_have(self, account: Account) -> bool:
        return (
            self._reading + self._writing < self._places
            and (account.writes or self._reading < self._for_readers)
            and self._held[account.share] < self._most(account.share)
            and not (account.searches and self._searching[account.share] >= self._for_searches)
        )

    def _most(self, share: str) -> int:
        """Give how many places a share has at most."""
        if share != KEYLESS:
            return self._per_share
        idle_seconds = asyncio.get_running_loop().time() - self._key_seen_at
        return self._beside_keys if idle_seconds < ACTIVE_SECONDS else self._per_share

    def give_back(self, account: Account) -> None:
        """Give a place back, to the next who waits."""
        self._count(account, -1)
        self._serve()

    def _count(self, account: Account, places: int) -> None:
        if account.writes:
            self._writing += places
        else:
            self._reading += places
        for counter, counted in ((self._held, True), (self._searching, account.searches)):
            counter[account.share] += places * counted
            if not counter[account.share]:
                del counter[account.share]

    def _wait_in_line(self, account: Account) -> asyncio.Future[None]:
        group = self._groups.setdefault(_of_group(account), _Group())
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
        group = self._groups.get(_of_group(account))
        line = group.lines.get(account.line) if group is not None else None
        if group is None or line is None or turn not in line:
            return
        line.remove(turn)
        group.waiting -= 1
        if not line:
            del group.lines[account.line]
        if not group.lines:
            del self._groups[_of_group(account)]

    def _serve(self) -> None:
        """Hand the free places to the groups in turn: the one that was served goes to the end."""
        for account in list(self._groups):
            if self._reading + self._writing >= self._places:
                return
            if not self._may_have(account):
                continue
            group = self._groups[account]
            turn = group.next()
            if turn is not None:
                self._count(account, 1)
                turn.set_result(None)
            if group.lines:
                self._groups.move_to_end(account)
            else:
                del self._groups[account]


def _of_group(account: Account) -> Account:
    return account._replace(line="")
