"""Reading the change feed: a page at a time, or as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Annotated, Final

from litestar import get
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope
from msgspec import Meta

from api.core.admission import Admission
from api.core.caller import ANYTHING, Caller
from api.core.errors import RESYNC_REQUIRED, Problem
from api.core.filters import Parameter, read_query
from api.core.request import (
    Answer,
    Request,
    Stream,
    caller,
    encoded,
    gone,
    still_admitted,
)
from api.core.services import service
from api.document import Operation, refusals
from api.document.examples import CHANGED_AT, story
from api.records.claims import CLAIMS
from api.sync.feed import positions
from api.sync.feed.feed import Feed, Item, Position, Stretch, feed_of, seen
from api.sync.feed.positions import SINCE, START, TYPES
from schemas.changes import MAX_CHANGES, Change, ChangePage, UpToDate
from schemas.examples import AT, CLAIM_ID, CURSOR
from schemas.vocabularies import ChangeOp, RecordType

DEFAULT_CHANGES: Final = 500
MAX_WAIT_SECONDS: Final = 30
MAX_READING_SECONDS: Final = 1.0
"""How long one request passes over changes that its reader may not know of."""
HEARTBEAT_SECONDS: Final = 14.0
"""Less than the 15 s that the contract allows."""
PIECE_BYTES: Final = 65_536
"""How much of a stream is made at once; the next comes when the client has taken this one."""
RECHECK_SECONDS: Final = 1.0
"""How long after its key is revoked a stream ends at most."""
EVENT_STREAM: Final = "text/event-stream"

LIMIT = Parameter(
    "limit",
    Annotated[int, Meta(ge=1, le=MAX_CHANGES)],
    "How many changes an answer has at most.",
    default=DEFAULT_CHANGES,
)
WAIT = Parameter(
    "wait",
    Annotated[int, Meta(ge=0, le=MAX_WAIT_SECONDS)],
    "How many seconds to wait for a change where there is none yet.",
    default=0,
)
_PAGE_PARAMETERS = {p.name: p for p in (SINCE, TYPES, LIMIT, WAIT)}
_STREAM_PARAMETERS = {p.name: p for p in (SINCE, TYPES)}
_PATH: Final = "/v1/changes/stream"
_CLAIM: Final = story(CLAIMS).created
_CREATED: Final = Change(
    seq=41,
    op=ChangeOp.CREATED,
    type=RecordType.CLAIM,
    id=CLAIM_ID,
    version=1,
    at=AT,
    record=_CLAIM,
)
_DELETED: Final = Change(
    seq=42,
    op=ChangeOp.DELETED,
    type=RecordType.CLAIM,
    id=CLAIM_ID,
    version=2,
    at=CHANGED_AT,
    record=None,
)

LIST_CHANGES = Operation(
    tag="changes",
    description="""\
Gives the changes behind `since`, in the one order in which every reader sees them. Each change \
that was committed appears exactly once on a walk from `next_cursor` to `next_cursor`; those of \
one record come in the order of its versions; deletions carry their type and pass `types` like \
all others. Cursors do not expire. A walk has to start anew (410 `resync-required`) only when the \
feed itself was restored from a copy, or when the key may see more than the cursor's did.

With `wait` an answer at the feed's end waits for the next change.""",
    parameters=tuple(_PAGE_PARAMETERS.values()),
    told="Changes, and the cursor with which to go on.",
    answer=(ChangePage,),
    example=ChangePage(items=[_CREATED, _DELETED], next_cursor=CURSOR, up_to_date=True),
    refusals=(refusals.BAD_PAGE, refusals.RESYNC_REQUIRED, refusals.UNAVAILABLE),
)
STREAM_CHANGES = Operation(
    tag="changes",
    description="""\
Sends the same changes as they come, as Server-Sent Events: an event is some lines, each with a \
name and a value, and ends with an empty line. The examples show the `data` alone; on the wire it \
looks like this:

```
event: change
id: Z3Vlsb…
data: {"seq":41,"op":"created","type":"claim","id":"147fa90f-…","version":1,"at":"…","record":{…}}

event: up-to-date
id: Z3Vlsb…
data: {"next_cursor":"Z3Vlsb…"}

:

```

Each event's `id` is a cursor: whoever comes back with it in `Last-Event-ID`, as browsers do by \
themselves, goes on behind that event. The `data` of `event: change` is a change; \
`event: up-to-date` says that the end is reached for now; `event: resync-required` has no `id`, \
carries a problem and is the last. A line with a colon alone is a comment, sent where nothing \
else was for 15 s. The stream ends when the service stops and when the key is withdrawn: come \
back.

Generated clients read an answer to its end, which a stream has not. Use a client for Server-Sent \
Events instead, such as httpx-sse or, where no key is needed, the `EventSource` of browsers; or \
`GET /v1/changes` with `wait`.""",
    parameters=tuple(_STREAM_PARAMETERS.values()),
    header_parameters=("LastEventId",),
    told="A stream of events, which goes on until one side ends it.",
    answer=(Change, UpToDate, "Problem"),
    media_type=EVENT_STREAM,
    headers=("X-Accel-Buffering",),
    example={
        "change": ("The data of `event: change`", _CREATED),
        "deletion": ("The same, of a record that is gone", _DELETED),
        "up-to-date": ("The data of `event: up-to-date`", UpToDate(next_cursor=CURSOR)),
        "resync-required": (
            "The data of `event: resync-required`",
            Problem(RESYNC_REQUIRED, export="/v1/export").document(_PATH),
        ),
    },
    refusals=(refusals.BAD_PAGE, refusals.RESYNC_REQUIRED, refusals.UNAVAILABLE),
)


# --- a page ----------------------------------------------------------------------------------


@get("/v1/changes", operation_id="listChanges", opt={"operation": LIST_CHANGES, "reads": ANYTHING})
async def list_changes(request: Request) -> Answer:
    """List changes."""
    given = read_query(request.scope["query_string"], _PAGE_PARAMETERS)
    feed, who, types = feed_of(request), caller(request), positions.types_of(given)
    position = await positions.since(feed, given.get("since", START), who, types)
    limit = given.get("limit", DEFAULT_CHANGES)
    until = time.monotonic() + given.get("wait", 0)
    items, position, up_to_date = await _items(feed, position, who, types, limit)
    over = not given.get("wait")
    while not items and up_to_date and not over:
        over = not await feed.moved(position, until - time.monotonic())
        if feed.stopping.is_set():
            break
        if over:  # that nothing came may be because numbering hangs
            await feed.catch_up()
        await service(request, Admission).admit_again(request)  # who has waited
        items, position, up_to_date = await _items(feed, position, who, types, limit)
    following = positions.written(position, who, types)
    return Answer(_page(items, following, up_to_date=up_to_date and feed.certain))


async def _items(
    feed: Feed, position: Position, who: Caller, types: tuple[RecordType, ...], limit: int
) -> tuple[list[Item], Position, bool]:
    """Read on until there is something for the reader, the feed ends, or it takes long."""
    until = time.monotonic() + MAX_READING_SECONDS
    while True:
        stretch = await feed.behind(position, limit, positions.filtered(types))
        items = [item for change in stretch.changes if (item := seen(change, who))]
        if items or stretch.up_to_date or feed.stopping.is_set() or time.monotonic() > until:
            return items, stretch.to, stretch.up_to_date
        position = stretch.to


def _page(items: list[Item], following: str, *, up_to_date: bool) -> bytes:
    return b'{"items":[%b],"next_cursor":%b,"up_to_date":%b}' % (
        b",".join([item.encoded() for item in items]),
        encoded(following),
        encoded(up_to_date),
    )


# --- a stream --------------------------------------------------------------------------------


@get(
    "/v1/changes/stream",
    operation_id="streamChanges",
    opt={"operation": STREAM_CHANGES, "reads": ANYTHING},
)
async def stream_changes(request: Request) -> Answer:
    """Stream changes."""
    given = read_query(request.scope["query_string"], _STREAM_PARAMETERS)
    feed, who, types = feed_of(request), caller(request), positions.types_of(given)
    begin = request.headers.get("last-event-id") or given.get("since", START)
    position = await positions.since(feed, begin, who, types)
    # What is wrong with the cursor is told as a status, before the stream begins.
    await feed.behind(position, 1)
    return EventStream(request, position, types)


class EventStream(Stream):
    """An answer that goes on: the feed as Server-Sent Events (WHATWG HTML, section 9.2).

    Nothing is kept for a client that reads slowly: it is sent the next stretch when it has taken
    the last, and the connection is cut when it takes nothing for too long.
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
        """Send events until the client goes, the service stops, or the key is withdrawn."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if scope["state"].get("head"):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        leaving = asyncio.create_task(gone(receive))
        feed = feed_of(self._request)
        feed.streams += 1
        try:
            async with aclosing(self._pieces(leaving)) as found:
                async for piece in found:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            feed.streams -= 1
            leaving.cancel()

    async def _pieces(self, leaving: asyncio.Task[None]) -> AsyncGenerator[bytes, None]:
        """Write the events, a stretch at a time, and a comment where there are none."""
        feed, position = feed_of(self._request), self._position
        told: Position | None = None  # where the client knows that it is
        owed = True  # to tell the client when it is at the end
        last = time.monotonic()
        while not (feed.stopping.is_set() or leaving.done()) and await self._admitted():
            stretch: Stretch | None = None
            found: list[tuple[Position, Item]] = []
            try:
                stretch = await feed.behind(position, DEFAULT_CHANGES)
            except Problem as problem:
                if problem.kind is RESYNC_REQUIRED:
                    yield event("resync-required", "", encoded(problem.document(_PATH)))
                    return
                # Else the database is away.
            late, at_end = time.monotonic() - last >= self._heartbeat, False
            if stretch is not None:
                found, position = self._found(stretch), stretch.to
                owed = owed or bool(found)
                at_end = stretch.up_to_date and feed.certain
                at_end = at_end and position != told and (owed or late)
            events = chain(
                (self._change(place, item) for place, item in found),
                [self._up_to_date(position)] if at_end else [],
                [_COMMENT] if late and not (found or at_end) else [],
            )
            for piece in pieces(events):
                if feed.stopping.is_set() or leaving.done():
                    return
                yield piece
                last = time.monotonic()
            if at_end:
                told, owed = position, False
            if stretch is None or stretch.up_to_date:
                behind = position if stretch else position._replace(seq=_NEVER)
                left = last + self._heartbeat - time.monotonic()
                await feed.moved(behind, min(RECHECK_SECONDS, left))

    def _found(self, stretch: Stretch) -> list[tuple[Position, Item]]:
        who, epoch = caller(self._request), stretch.to.epoch
        return [
            (Position(epoch, change.seq, change.tag), item)
            for change in stretch.changes
            if change.type in self._types and (item := seen(change, who))
        ]

    def _change(self, place: Position, item: Item) -> bytes:
        return event("change", self._cursor(place), item.encoded())

    def _up_to_date(self, position: Position) -> bytes:
        cursor = self._cursor(position)
        return event("up-to-date", cursor, encoded(UpToDate(next_cursor=cursor)))

    def _cursor(self, position: Position) -> str:
        return positions.written(position, caller(self._request), self._types)

    async def _admitted(self) -> bool:
        """Tell whether the key still is one."""
        try:
            await still_admitted(self._request)
        except Problem:
            return False
        return True


_NEVER: Final = 2**63
"""A number that no feed reaches."""
_COMMENT: Final = b":\n\n"


def pieces(events: Iterable[bytes]) -> Iterator[bytes]:
    """Join events to pieces of some size, one at a time as they are taken."""
    joined: list[bytes] = []
    size = 0
    for each in events:
        joined.append(each)
        size += len(each)
        if size >= PIECE_BYTES:
            yield b"".join(joined)
            joined, size = [], 0
    if joined:
        yield b"".join(joined)


def event(name: str, identity: str, data: bytes) -> bytes:
    """Write an event; JSON has no line breaks, so the data are one line."""
    return b"event: %b\n%bdata: %b\n\n" % (
        name.encode(),
        b"id: %b\n" % identity.encode() if identity else b"",
        data,
    )


change_handlers = [list_changes, stream_changes]
