"""A connection to Postgres on which every wait ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import asyncpg

if TYPE_CHECKING:
    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection

GRACE_SECONDS: Final = 2
"""How much longer an answer may take than the statement timeout of Postgres."""
CLOSE_SECONDS: Final = 1.0
"""How long Postgres may take to close a connection, before the connection is cut."""
_SILENT_SECONDS: Final = 5
"""How long the other end of a connection may acknowledge nothing, before the kernel cuts it."""
_Result = TypeVar("_Result")


class Host(NamedTuple):
    """A host of a database URL, and the port of Postgres there."""

    host: str  # or the path of a socket
    port: int


class Check(NamedTuple):
    """How to find out whether Postgres still works on a long statement."""

    seconds: float  # after which, and again after which, it is asked
    still_works: Callable[[int], Awaitable[bool]]  # takes the id of the session


class LimitedConnection(_Base):
    """A connection on which each statement has a time limit of ours, and that ends with it.

    Postgres ends late statements itself. If it did not do so in time, then it, or the network to
    it, has fallen silent: whatever is sent over this connection would wait as well. Where Postgres
    allows a statement much time, it is asked now and then whether it still works on it.
    """

    def __init__(self, protocol: Any, transport: Any, *more: Any) -> None:  # noqa: ANN401
        """Have the kernel watch the other end of the connection."""
        super().__init__(protocol, transport, *more)
        _watch(transport.get_extra_info("socket"))
        self._seconds: float | None = None
        self._check: Check | None = None
        self.host: Host | None = None
        """The host that the connection leads to, where the URL names several."""
        self.long_seconds: float = 0
        """How long a statement may take that writes any number of records, for Postgres."""
        self.long_check: Check | None = None
        self.on_answer: Callable[[], None] | None = None
        """Called after each statement that succeeded."""
        self.on_silence: Callable[[], Awaitable[None]] | None = None
        """Called after a statement was late, or the connection was cut."""

    def limit(self, seconds: float | None, check: Check | None = None) -> None:
        """Set how long each of the next statements may take, and how to check the long ones.

        Null means the connection's own limit, and no check.
        """
        self._seconds = seconds
        self._check = check

    async def allow_long_statements(self) -> None:
        """Give the rest of a transaction more time for each statement, until :meth:`limit`."""
        milliseconds = int(self.long_seconds * 1000)
        await self.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        self.limit(self.long_seconds + GRACE_SECONDS, self.long_check)

    def get_reset_query(self) -> str:
        """Ask for no reset, to be released without a round trip.

        asyncpg resets the session on release. This service changes settings only in transactions.
        """
        return ""

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Forget listeners, and roll back a transaction that was left open.

        asyncpg sets a timer for this, although only a transaction makes it wait for Postgres.
        """
        if self.is_in_transaction():
            await super().reset(timeout=timeout)
        else:
            await super()._reset()

    async def execute(self, *arguments: Any, timeout: float | None = None) -> str:  # noqa: ANN401, ASYNC109
        """Execute a statement in time."""
        return await self._in_time(super().execute, arguments, timeout)

    async def executemany(self, *arguments: Any, timeout: float | None = None) -> None:  # noqa: ANN401, ASYNC109
        """Execute a statement several times, all in time."""
        return await self._in_time(super().executemany, arguments, timeout)

    async def fetch(self, *arguments: Any, timeout: float | None = None, **more: Any) -> Any:  # noqa: ANN401, ASYNC109
        """Give the rows of a statement in time."""
        return await self._in_time(super().fetch, arguments, timeout, **more)

    async def fetchrow(self, *arguments: Any, timeout: float | None = None, **more: Any) -> Any:  # noqa: ANN401, ASYNC109
        """Give the first row of a statement in time."""
        return await self._in_time(super().fetchrow, arguments, timeout, **more)

    async def fetchval(self, *arguments: Any, timeout: float | None = None, **more: Any) -> Any:  # noqa: ANN401, ASYNC109
        """Give the first value of a statement in time."""
        return await self._in_time(super().fetchval, arguments, timeout, **more)

    async def _in_time(
        self,
        method: Callable[..., Awaitable[_Result]],
        arguments: tuple[Any, ...],
        seconds: float | None,
        **more: Any,  # noqa: ANN401
    ) -> _Result:
        watch = None if self._check is None else asyncio.create_task(self._watch(self._check))
        try:
            result = await method(*arguments, timeout=seconds or self._seconds, **more)
        except TimeoutError:
            # asyncpg would ask the server over a new connection to cancel the statement, and wait.
            self.terminate()
            await self._tell()
            raise
        except asyncpg.ConnectionDoesNotExistError:  # the kernel, or the server, cut it
            await self._tell()
            raise
        finally:
            if watch is not None:
                watch.cancel()
        if self.on_answer is not None:
            self.on_answer()
        return result

    async def _watch(self, check: Check) -> None:
        """Cut the connection when Postgres no longer works on the statement, which then fails."""
        while True:
            await asyncio.sleep(check.seconds)
            if not await check.still_works(self.get_server_pid()):
                self.terminate()
                return

    async def _tell(self) -> None:
        if self.on_silence is not None:
            await self.on_silence()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Close the connection; cut it if the server does not close it in time, or is gone."""
        seconds = CLOSE_SECONDS if timeout is None else min(timeout, CLOSE_SECONDS)
        try:
            await super().close(timeout=seconds)
        except OSError:  # TimeoutError is one
            self.terminate()


def _watch(wire: socket.socket) -> None:
    """Have the kernel cut a TCP connection whose other end has fallen silent."""
    if wire.family == socket.AF_UNIX:
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _SILENT_SECONDS),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", _SILENT_SECONDS * 1000),
    ):
        if hasattr(socket, option):  # not each system has each of them
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
