"""Concurrent reads of single records, joined into one statement.

A read does not wait for others to come: it is sent as soon as the event loop has taken in the
requests that have arrived. If two statements are under way already, it is sent with the next.
Nothing joins a statement that has been sent, so no answer is older than its request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, cast

from api.core.db import Database, Row
from api.core.turns import Account, charging

_AT_ONCE: Final = 2
_ACCOUNT: Final = Account("joined reads", "")
"""They have a share of the connections of their own: one statement answers several callers."""

Waiting = dict[str, list["asyncio.Future[Row | None]"]]


class JoinedReads:
    """The single reads of a process, joined with those of the same query."""

    def __init__(self, database: Database) -> None:
        """Join nothing yet."""
        self._database = database
        self._queries: dict[str, _Query] = {}

    async def read(self, query: str, identity: str) -> Row | None:
        """Read the row that a query gives for an id, as it is at some moment from now on.

        The query's only parameter is a list of ids. Its rows have the text of the id as `name`.
        There is one query for each table and each set of classes that a caller can see.
        """
        self._database.notice_caller()
        if query not in self._queries:
            self._queries[query] = _Query(self._database, query)
        return await self._queries[query].read(identity)


class _Query:
    """The reads that wait to be sent with one query."""

    def __init__(self, database: Database, query: str) -> None:
        self._database = database
        self._query = query
        self._waiting: Waiting = {}
        self._senders: set[asyncio.Task[None]] = set()

    async def read(self, identity: str) -> Row | None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.setdefault(identity, []).append(answer)
        if len(self._senders) < _AT_ONCE:
            with charging(_ACCOUNT):
                sender = loop.create_task(self._send())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return await answer

    async def _send(self) -> None:
        """Send the reads that wait, until none does.

        A read that comes after the last look would wait in vain for a sender that is still counted.
        """
        try:
            while self._waiting:
                await self._send_waiting()
        finally:
            self._senders.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _send_waiting(self) -> None:
        taken, self._waiting = self._waiting, {}
        try:
            rows = await self._database.fetch(self._query, list(taken))
        except Exception as error:  # noqa: BLE001 - every read that waits gets it
            for _, answer in _open(taken):
                answer.set_exception(error)
            return
        found = {row["name"]: row for row in rows}
        for identity, answer in _open(taken):
            answer.set_result(found.get(identity))


def _open(taken: Waiting) -> Iterator[tuple[str, asyncio.Future[Row | None]]]:
    """Yield the reads that somebody still waits for: a client may have disconnected."""
    for identity, answers in taken.items():
        for answer in answers:
            if not answer.done():
                yield identity, answer
