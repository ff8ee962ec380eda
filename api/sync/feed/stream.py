"""Changes as they come: `GET /v1/changes/stream`, a stream of Server-Sent Events."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from litestar import get
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from api.core.caller import ANYTHING
from api.core.errors import RESYNC_REQUIRED, Problem
from api.core.filters import read_query
from api.core.operation import Operation
from api.core.request import (
    Answer,
    Request,
    Stream,
    caller,
    encoded,
    still_admitted,
    wait_for_disconnect,
)
from api.sync.feed import positions
from api.sync.feed.changes import CREATED, DEFAULT_CHANGES, DELETED
from api.sync.feed.counted import CountedReader
from api.sync.feed.following import feed_of
from api.sync.feed.positions import SINCE, START, TYPES
from api.sync.feed.stretches import Position, Stretch, Wanted
from schemas.changes import Change, UpToDate
from schemas.examples import CURSOR
from schemas.vocabularies import RecordType

HEARTBEAT_SECONDS: Final = 14.0
"""How long a stream may be silent: less than the 15 s that the contract allows."""
PIECE_BYTES: Final = 65_536
"""How much of a stream is written at once; the next piece is written when the client took this."""
STRETCH_BYTES: Final = 262_144
"""About how many bytes of records a stream reads at once; it always reads at least one change."""
RECHECK_SECONDS: Final = 1.0
"""A stream ends at most this long after its key was revoked."""
EVENT_STREAM: Final = "text/event-stream"
_PARAMETERS: Final = {parameter.name: parameter for parameter in (SINCE, TYPES)}
_PATH: Final = "/v1/changes/stream"
_COMMENT: Final = b":\n\n"
_NEVER: Final = 2**63
"""A number that no feed reaches."""

STREAM_CHANGES = Operation(
    tag="changes",
    description="""\
Sends the same changes as they come, as Server-Sent Events. An event is a few lines, each with a \
name and a value, and ends with an empty line. The examples below show the `data` alone; the whole \
stream looks like this:

```
event: change
id: Z3Vlsb…
data: {"seq":41,"op":"created","type":"claim","id":"147fa90f-…","version":1,"at":"…","record":{…}}

event: up-to-date
id: Z3Vlsb…
data: {"next_cursor":"Z3Vlsb…"}

:

```

There are three events. `change` has a change as its `data`. `up-to-date` says that the end of the \
feed is reached for now. `resync-required` carries a problem; it has no `id`, and it is the last \
event of its stream. A line with only a colon is a comment. It is sent when nothing else was sent \
for 15 s.

Each event's `id` is a cursor. To go on after an event, connect again and send its `id` in \
`Last-Event-ID`, as browsers do by themselves. The stream ends when the service stops and when \
the key is revoked: connect again then.

Most generated clients read an answer to its end, and a stream has no end. Use a client for \
Server-Sent Events instead, such as httpx-sse or, where no key is needed, the `EventSource` of \
browsers; or use `GET /v1/changes` with `wait`.""",
    parameters=tuple(_PARAMETERS.values()),
    header_parameters=("LastEventId",),
    success="A stream of events, which goes on until the client or the service ends it.",
    answer=(Change, UpToDate, "Problem"),
    media_type=EVENT_STREAM,
    headers=("X-Accel-Buffering",),
    example={
        "change": ("The data of `event: change`", CREATED),
        "deletion": ("The same, for a record that was deleted", DELETED),
        "up-to-date": ("The data of `event: up-to-date`", UpToDate(next_cursor=CURSOR)),
        "resync-required": (
            "The data of `event: resync-required`",
            Problem(RESYNC_REQUIRED, export="/v1/export").document(_PATH),
        ),
    },
    refusals=(RESYNC_REQUIRED,),
)


@get(
    "/v1/changes/stream",
    operation_id="streamChanges",
    opt={"operation": STREAM_CHANGES, "reads": ANYTHING},
)
async def stream_changes(request: Request) -> Answer:
    """Stream changes."""
    given = read_query(request.scope["query_string"], _PARAMETERS)
    feed, asker, types = feed_of(request), caller(request), positions.types_of(given)
    begin = request.headers.get("last-event-id") or given.get("since", START)
    position = await positions.since(feed, begin, asker, types)
    # A cursor that can't be used is answered with a status, which must come before the stream.
    await feed.behind(position, Wanted(asker.sight, 1, documents=False))
    return EventStream(request, position, types)


class EventStream(Stream):
    """An answer without an end: the feed as Server-Sent Events (WHATWG HTML, section 9.2).

    Nothing is stored for a client that reads slowly. The next stretch is read when it has taken the
    one before, and it is disconnected if it takes nothing for too long. What it has not taken yet
    of a stretch counts as its bytes in flight.
    """

    __slots__ = ("_heartbeat", "_position", "_request", "_types")

    def __init__(
        self,
        request: Request,
        position: Position,
        types: tuple[RecordType, ...],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        """Begin behind a position."""
        super().__init__(EVENT_STREAM, {"x-accel-buffering": "no"})
        self._request, self._position, self._types = request, position, types
        self._heartbeat = heartbeat

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves, the service stops, or the key is revoked."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if scope["state"].get("head"):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        leaving = asyncio.create_task(wait_for_disconnect(receive))
        feed, reader = feed_of(self._request), CountedReader(self._request)
        feed.streams += 1
        try:
            async with aclosing(self._pieces(reader, leaving)) as pieces:
                async for piece in pieces:
                    for start in range(0, len(piece), PIECE_BYTES):
                        body = piece[start : start + PIECE_BYTES]
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            feed.streams -= 1
            reader.close()
            leaving.cancel()

    async def _pieces(
        self, reader: CountedReader, leaving: asyncio.Task[None]
    ) -> AsyncGenerator[bytes, None]:
        """Write the events of one stretch after another, and a comment where there are none."""
        feed, position = feed_of(self._request), self._position
        sight = caller(self._request).sight
        wanted = Wanted(sight, DEFAULT_CHANGES, most_bytes=STRETCH_BYTES, places=True)
        announced: Position | None = None  # where the client was last told that it is up to date
        owed = True  # whether the client is to be told when it reaches the end
        last = time.monotonic()
        while not (feed.stopping.is_set() or leaving.done()) and await self._admitted():
            stretch: Stretch | None = None
            changes: deque[bytes] = deque()
            try:
                patience = max(0, min(RECHECK_SECONDS, last + self._heartbeat - time.monotonic()))
                stretch = await reader.read(position, wanted, patience)
            except Problem as problem:
                if problem.kind is RESYNC_REQUIRED:
                    yield event("resync-required", "", encoded(problem.document(_PATH)))
                    return
                # Any other problem is that the database is away: the stream waits for it.
            late, at_end, known = time.monotonic() - last >= self._heartbeat, False, False
            if stretch is not None:
                changes, position = deque(self._changes(stretch)), stretch.to
                owed, known = owed or bool(changes), True
                at_end = stretch.up_to_date and feed.certain
                at_end = at_end and position != announced and (owed or late)
            goes_on = stretch is not None and not stretch.up_to_date
            stretch = None  # its texts need not stay in memory beside their events
            end = self._up_to_date(position) if at_end else b""
            if late and not (changes or at_end):
                end = _COMMENT
            while changes or end:
                piece, end = self._take_piece(changes, end)
                reader.keep(len(piece) + sum(map(len, changes)))
                if feed.stopping.is_set() or leaving.done():
                    return
                yield piece
                last = time.monotonic()
            reader.keep(0)
            if at_end:
                announced, owed = position, False
            if not (goes_on or reader.waits):
                behind = position if known else position._replace(seq=_NEVER)
                left = last + self._heartbeat - time.monotonic()
                await feed.moved(behind, min(RECHECK_SECONDS, left))

    def _changes(self, stretch: Stretch) -> list[bytes]:
        """Give the events of the changes that this reader asked for and may see.

        Streams that share a stretch, and have asked for the same, share its events too.
        """
        events = stretch.made.get(self._types)
        if events is None:
            events = stretch.made[self._types] = [
                event("change", self._cursor(place.position), text)
                for text, place in zip(stretch.texts, stretch.places, strict=True)
                if place.change.type in self._types
            ]
        return events

    @staticmethod
    def _take_piece(changes: deque[bytes], end: bytes) -> tuple[bytes, bytes]:
        """Take the next events, up to the size of a piece.

        `end` follows the event of the last change. Gives the piece, and what is left of `end`.
        """
        events: list[bytes] = []
        size = 0
        while changes and (not events or size + len(changes[0]) <= PIECE_BYTES):
            events.append(changes.popleft())
            size += len(events[-1])
        if not changes:
            events.append(end)
            end = b""
        return b"".join(events), end

    def _up_to_date(self, position: Position) -> bytes:
        cursor = self._cursor(position)
        return event("up-to-date", cursor, encoded(UpToDate(next_cursor=cursor)))

    def _cursor(self, position: Position) -> str:
        return positions.written(position, caller(self._request), self._types)

    async def _admitted(self) -> bool:
        """Tell whether the key is still valid."""
        try:
            await still_admitted(self._request)
        except Problem:
            return False
        return True


def event(name: str, identity: str, data: bytes) -> bytes:
    """Write an event. JSON has no line breaks, so the data are one line."""
    return b"event: %b\n%bdata: %b\n\n" % (
        name.encode(),
        b"id: %b\n" % identity.encode() if identity else b"",
        data,
    )
