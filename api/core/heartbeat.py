"""Heartbeat: notice within a second that one of several hosts has fallen silent, and leave it.

A statement alone does not tell: Postgres may work on it for long. So a connection of its own asks
for nothing but a sign of life. A host is left only for another one that can be used instead, so
that a slow Postgres without such a neighbour stays in use, as the only host of a URL does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from api.core.background import again_and_again, meanwhile
from api.core.connection import Host, LimitedConnection
from api.core.db import DATABASE_ERRORS, Database

EVERY_SECONDS: Final = 0.2
SILENT_SECONDS: Final = 0.8
"""How long an answer may take, before the host counts as silent."""
_LOOKS: Final = 8
"""How often it is looked for an answer in this time.

Looks are counted, not only seconds: if this process itself was busy, the answer may lie unread.
"""

log = logging.getLogger("claim_records")


class Heartbeat:
    """Asks the host in use for a sign of life, again and again."""

    def __init__(self, database: Database) -> None:
        """Start without a connection; :meth:`beating` asks in the background."""
        self._database = database
        self._connection: LimitedConnection | None = None
        self._question: asyncio.Task[str] | None = None

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Ask while the block runs, if there is another host to go to."""
        if not self._database.hosts.several:
            yield
            return
        beats = again_and_again(EVERY_SECONDS, self.beat, "no host of the database can be used")
        try:
            async with meanwhile(beats):
                yield
        finally:
            await self.close()

    async def beat(self) -> None:
        """Ask once, and wait for the answer; if there is none, move to another host."""
        if self._question is None:
            connection = await self._connect()
            self._question = asyncio.create_task(connection.execute("SELECT 1"))
        for _ in range(_LOOKS):
            done, _ = await asyncio.wait({self._question}, timeout=SILENT_SECONDS / _LOOKS)
            if done:
                question, self._question = self._question, None
                question.result()
                return
        await self._move()

    async def _connect(self) -> LimitedConnection:
        """Give a connection to the host that is tried first, or else to the first that accepts."""
        before, first = self._connection, self._database.hosts.first
        if before is None or before.is_closed():
            self._connection = await self._open()
            left = first if before is None else before.host or first
            await self._leave(left, "cannot be used")
        elif before.host != first:  # the pool has found another host; all go there
            await before.close()
            self._connection = await self._open()
            await self._database.renew()
        else:
            return before
        return self._connection

    async def _open(self) -> LimitedConnection:
        connection = await self._database.connect()
        connection.on_silence = None  # a host that is only slow keeps its connections
        return connection

    async def _move(self) -> None:
        """Leave the silent host for one that accepts a connection; fail where there is none.

        If this is the silent host itself, then only the connection was silent, and is replaced.
        """
        silent = None if self._connection is None else self._connection.host
        if silent is None:
            return
        self._database.hosts.put_last(silent)
        connection = await self._open()
        await self.close()
        self._connection = connection
        await self._leave(silent, "does not answer")

    async def _leave(self, host: Host, why: str) -> None:
        """Cut the connections to a host, if there is a connection to another host now."""
        if self._connection is not None and self._connection.host != host:
            log.warning("the database host %s, port %d, %s; using another one", *host, why)
            await self._database.leave(host)

    async def close(self) -> None:
        """Cut the connection; what it asked is of no interest any more."""
        if self._connection is not None:
            self._connection.terminate()
        if self._question is not None:
            question, self._question = self._question, None
            with suppress(*DATABASE_ERRORS):
                await question
