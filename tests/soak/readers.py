"""A process that reads the feed in one way, and writes down what it was told, in that order.

On SIGTERM it reads on to the end and stops. Two of the ways are known to lose changes: they read
the outbox itself, by its number and by its times.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import httpx
import msgspec
from msgspec import Struct

from api.core.db import DATABASE_ERRORS
from tests.soak import bound

POLL, LONG_POLL, STREAM = "poll", "long poll", "stream"
BY_NUMBER, BY_TIME = "outbox by number", "outbox by time"
_PAUSE: Final = 0.1
_LOOK_SECONDS: Final = 0.025
"""How often the outbox is looked at: as often as the feed is numbered."""
_OUTBOX: Final = {
    BY_NUMBER: "SELECT id, record_type, record_id, version, op, id AS last FROM outbox"
    " WHERE id > $1 ORDER BY id",
    BY_TIME: "SELECT id, record_type, record_id, version, op, at AS last FROM outbox"
    " WHERE at > $1 ORDER BY at, id",
}
_FIRST: Final = {BY_NUMBER: "SELECT 0::bigint", BY_TIME: "SELECT '-infinity'::timestamptz"}


class Task(NamedTuple):
    """What a reader is told."""

    how: str
    url: str
    addresses: list[str]
    key: str
    types: str
    seed: int
    notes: str


class Item(Struct):
    """A change."""

    seq: int
    type: str
    id: str
    version: int
    op: str


class Page(Struct):
    """A page of changes."""

    items: list[Item]
    next_cursor: str
    up_to_date: bool


class Reader:
    """Reads in one way."""

    def __init__(self, task: Task, finishing: asyncio.Event) -> None:
        """Begin at the start."""
        self._task, self._finishing = task, finishing
        self._draw = random.Random(task.seed)  # noqa: S311 - no secret
        self._cursor = "start"
        self._file = Path(task.notes).open("w", buffering=1)  # noqa: SIM115 - as long as the process
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {task.key}"}, timeout=httpx.Timeout(5, read=40)
        )

    async def run(self) -> None:
        """Read until told to finish, and then to the end."""
        how = self._task.how
        if how == STREAM:
            await self._stream()
        elif how in (POLL, LONG_POLL):
            await self._poll(waits=how == LONG_POLL)
        else:
            await self._outbox(how)

    def _note(self, item: Item) -> None:
        line = f"{item.seq} {item.type} {item.id} {item.version} {item.op} {time.time():.6f}\n"
        self._file.write(line)

    def _at(self, path: str) -> str:
        return self._draw.choice(self._task.addresses) + path

    # --- pages -------------------------------------------------------------------------------

    async def _poll(self, *, waits: bool) -> None:
        """Take page after page, from whichever server."""
        while True:
            finishing = self._finishing.is_set()
            parameters = {"since": self._cursor, "types": self._task.types}
            if waits:
                parameters["wait"] = "0" if finishing else str(self._draw.randint(1, 5))
            elif not finishing:
                parameters["limit"] = str(self._draw.randint(1, 300))
            page = await self._page(parameters)
            if page is None:
                await asyncio.sleep(_PAUSE)
                continue
            for item in page.items:
                self._note(item)
            self._cursor = page.next_cursor
            if page.up_to_date and finishing:
                return
            if page.up_to_date and not waits:
                await asyncio.sleep(self._draw.uniform(0, _PAUSE))

    async def _page(self, parameters: dict[str, str]) -> Page | None:
        """Ask for a page; null if the server is away."""
        try:
            response = await self._client.get(self._at("/v1/changes"), params=parameters)
        except httpx.TransportError:
            return None
        return msgspec.json.decode(response.content, type=Page) if _there(response) else None

    # --- a stream ----------------------------------------------------------------------------

    async def _stream(self) -> None:
        """Read the stream, leave it at random, and come back behind the last event."""
        while True:
            finishing = self._finishing.is_set()
            reading = asyncio.create_task(self._read_stream(to_end=finishing))
            if not finishing:
                stop = asyncio.create_task(self._finishing.wait())
                seconds = self._draw.choice([0.2, 2, 10])
                await asyncio.wait({reading, stop}, timeout=seconds, return_when="FIRST_COMPLETED")
                stop.cancel()
                reading.cancel()
            with suppress(asyncio.CancelledError):
                if await reading and finishing:
                    return
                await asyncio.sleep(_PAUSE)

    async def _read_stream(self, *, to_end: bool) -> bool:
        """Take events as they come; true if that was asked for and all are there."""
        behind = {} if self._cursor == "start" else {"last-event-id": self._cursor}
        left = self._draw.choice([1, 50, 5000])
        try:
            async with self._client.stream(
                "GET",
                self._at("/v1/changes/stream"),
                params={"types": self._task.types},
                headers=behind,
            ) as response:
                if not _there(response):
                    return False
                async for name, cursor, data in _events(response):
                    if name == "resync-required":
                        raise SystemExit(f"the stream ended: {data.decode()}")
                    if name == "change":
                        self._note(msgspec.json.decode(data, type=Item))
                        left -= 1
                    self._cursor = cursor
                    if to_end and name == "up-to-date":
                        return True
                    if left == 0 and not to_end:
                        return False
        except httpx.TransportError:
            pass
        return False

    # --- what loses changes ------------------------------------------------------------------

    async def _outbox(self, how: str) -> None:
        """Read what lies behind the last row that was seen."""
        connection: Any = None
        last: Any = None
        while True:
            finishing = self._finishing.is_set()
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(self._task.url, timeout=5)
                if last is None:
                    last = await connection.fetchval(_FIRST[how])
                rows = await connection.fetch(_OUTBOX[how], last)
            except DATABASE_ERRORS:
                if connection is not None:
                    connection.terminate()
                await asyncio.sleep(_PAUSE)
                continue
            for row in rows:
                seq, of, id_, version, op, last = row
                self._note(Item(seq, of, str(id_), version, op))
            if finishing:
                connection.terminate()
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _there(response: httpx.Response) -> bool:
    """Tell whether there is an answer; 503 passes by itself, a refusal is the end."""
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return False
    if not response.is_success:
        raise SystemExit(f"{response.url} answered {response.status_code}")
    return True


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, str, bytes]]:
    """Read events: name, id and data."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            told = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
            if b"event" in told:
                yield told[b"event"].decode(), told.get(b"id", b"").decode(), told[b"data"]


async def _run(task: Task) -> None:
    finishing = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, finishing.set)
    await Reader(task, finishing).run()


if __name__ == "__main__":
    bound.bind()
    asyncio.run(_run(msgspec.json.decode(sys.argv[1], type=Task)))
