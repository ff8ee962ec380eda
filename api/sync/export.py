"""Export: everything that a reader may see, as lines that import takes back.

The cursor of the change feed is taken before the first record is read, and no transaction spans
the pages. So what was written meanwhile may be in the export or not, but is always in the feed
behind the cursor: export, then feed is a copy without a gap. In memory is one page at a time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, Final

import msgspec
from litestar import get
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from api.core import codings, sql
from api.core.caller import ANYTHING
from api.core.db import Database, Row
from api.core.errors import UNAVAILABLE, Problem
from api.core.filters import read_query
from api.core.operation import Operation, example_of
from api.core.request import (
    NDJSON,
    Answer,
    Request,
    Stream,
    caller,
    context,
    encoded,
    gone,
    still_admitted,
)
from api.sync.feed import positions
from api.sync.feed.feed import feed_of
from api.sync.importing.importing import RESOURCES
from schemas.examples import AT, CLAIM_ID, CURSOR
from schemas.exports import ExportHeader, ExportLine, ExportTotals
from schemas.vocabularies import RecordType

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 1_048_576
"""How long a page is; one record is always on it, even where it is longer."""
TYPES: Final = msgspec.structs.replace(
    positions.TYPES,
    description="Only records of these types, with commas. The cursor of the first line goes on "
    "with them, or with fewer.",
)
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 1.0
_START: Final = (dt.datetime.min.replace(tzinfo=dt.UTC), "00000000-0000-0000-0000-000000000000")

log = logging.getLogger("claim_records")

EXPORT_RECORDS = Operation(
    tag="export",
    description="""\
Gives every record that the caller may see, a line each: sources, articles, claims, denials, each \
in the order of creation. The first line has a cursor of the change feed, taken before the first \
record was read: go on from there, and nothing is missed that happens meanwhile. The last line has \
the number of records: an export without it was cut off, as one is whose key is withdrawn. \
`POST /v1/import` takes the lines as they are. With `Accept-Encoding: zstd` or `gzip` the answer \
is several times smaller.""",
    parameters=(TYPES,),
    success="A line of JSON each: the cursor, the records, the count.",
    answer=(ExportHeader, ExportLine, ExportTotals),
    media_type=NDJSON,
    headers=("Content-Encoding", "Vary"),
    example={
        "header": (
            "The first line",
            ExportHeader(cursor=CURSOR, at=AT, types=[RecordType.CLAIM]),
        ),
        "record": (
            "A line for each record",
            ExportLine(type=RecordType.CLAIM, id=CLAIM_ID, version=1, data=example_of("Claim")),
        ),
        "totals": ("The last line", ExportTotals(count=1)),
    },
)


@get(
    "/v1/export", operation_id="exportRecords", opt={"operation": EXPORT_RECORDS, "reads": ANYTHING}
)
async def export_records(request: Request) -> Answer:
    """Read all records, one a line."""
    types = positions.types_of(read_query(request.scope["query_string"], {TYPES.name: TYPES}))
    feed, who = feed_of(request), caller(request)
    at = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = await feed.catch_up()
    cursor = positions.written(await feed.position(head.seq), who, types)
    wanted = [of for of in RESOURCES if of in types]
    header = ExportHeader(cursor=cursor, at=at, types=wanted)
    chunks = _chunks(request, header)
    # What is wrong from the start is told as a status.
    first = await anext(chunks)
    coding = codings.preferred(request.headers.getall("accept-encoding", []))
    return StreamedAnswer(first, chunks, coding, feed.stopping)


# --- the lines -----------------------------------------------------------------------------------


async def _chunks(request: Request, header: ExportHeader) -> AsyncGenerator[bytes, None]:
    """Write the lines, a page at a time."""
    lines = [encoded(header) + b"\n"]
    count = 0
    for of in header.types:
        async for rows in _pages(request, of):
            count += len(rows)
            kind = of.encode()
            lines += [
                b'{"type":"%b","id":"%b","version":%d,"data":%b}\n'
                % (kind, row["id"].encode(), row["version"], row["doc"])
                for row in rows
            ]
            yield b"".join(lines)
            lines = []
    lines.append(encoded(ExportTotals(count=count)) + b"\n")
    yield b"".join(lines)


async def _pages(request: Request, of: RecordType) -> AsyncIterator[list[Row]]:
    """Read the records of a type, a page at a time, for as long as the key is one."""
    query = caller(request).query(sql.exported(RESOURCES[of].table))
    behind: Sequence[Any] = _START
    while True:
        rows = await _page(context(request).database, query, behind)
        await still_admitted(request)  # behind the reading, which may have had to wait
        if not rows:
            return
        yield rows
        behind = rows[-1]["created_at"], rows[-1]["id"]


async def _page(database: Database, query: str, behind: Sequence[Any]) -> list[Row]:
    """Read a page; where the database is busy, try again: what was sent would be lost."""
    for _ in range(_TRIES - 1):
        try:
            return await database.fetch(query, *behind, MAX_RECORDS, MAX_BYTES)
        except Problem as problem:
            if problem.kind is not UNAVAILABLE:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
    return await database.fetch(query, *behind, MAX_RECORDS, MAX_BYTES)


# --- the answer ----------------------------------------------------------------------------------


class StreamedAnswer(Stream):
    """An answer that is written while it is read; where it is cut off, its end is missing."""

    __slots__ = ("_chunks", "_coding", "_first", "_stopping")

    def __init__(
        self,
        first: bytes,
        others: AsyncGenerator[bytes, None],
        coding: str,
        stopping: asyncio.Event,
    ) -> None:
        """Take the first chunk, which is there already, and what gives the others."""
        super().__init__(NDJSON, codings.headers(coding))
        self._first, self._chunks = first, others
        self._coding, self._stopping = coding, stopping

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send it, until the client goes or the service stops."""
        work: list[Coroutine[Any, Any, object]] = [
            self._send(send, bodiless=scope["state"].get("head", False)),
            gone(receive),
            self._stopping.wait(),
        ]
        sending, *_ = tasks = [asyncio.create_task(each) for each in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._chunks.aclose()
        if not sending.cancelled() and (error := sending.exception()):
            # Returning without the end has the server cut the connection, which tells the client.
            log.error("an export was cut off", exc_info=error, extra=_request_id(scope))

    async def _send(self, send: Send, *, bodiless: bool) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if not bodiless:
            encoder = codings.ENCODERS[self._coding]()
            await _send_on(send, await asyncio.to_thread(encoder.compress, self._first))
            async for chunk in self._chunks:
                await _send_on(send, await asyncio.to_thread(encoder.compress, chunk))
            await _send_on(send, encoder.flush())
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_on(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _request_id(scope: AsgiScope) -> dict[str, Any]:
    return {"request_id": scope["state"]["request_id"]}
