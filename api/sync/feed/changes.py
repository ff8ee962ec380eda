"""Changes, a page at a time: `GET /v1/changes`, which can wait for the next change."""

from __future__ import annotations

import time
from typing import Annotated, Final

from litestar import get
from msgspec import Meta

from api.core.admission import Admission
from api.core.caller import ANYTHING
from api.core.errors import RESYNC_REQUIRED
from api.core.filters import Parameter, read_query
from api.core.flight import no_room
from api.core.operation import Operation, example_of
from api.core.request import Answer, Request, caller, context, encoded
from api.core.services import service
from api.sync.feed import positions
from api.sync.feed.counted import CountedReader
from api.sync.feed.following import feed_of
from api.sync.feed.positions import SINCE, START, TYPES
from api.sync.feed.stretches import Position, Wanted
from schemas.changes import MAX_CHANGES, Change, ChangePage
from schemas.examples import AT, CHANGED_AT, CLAIM_ID, CURSOR
from schemas.vocabularies import ChangeOp, RecordType

DEFAULT_CHANGES: Final = 500
MAX_WAIT_SECONDS: Final = 30
MAX_READING_SECONDS: Final = 1.0
"""How long one request may look for a change that its reader may see."""

LIMIT = Parameter(
    "limit",
    Annotated[int, Meta(ge=1, le=MAX_CHANGES)],
    "The most changes that an answer has.",
    default=DEFAULT_CHANGES,
)
WAIT = Parameter(
    "wait",
    Annotated[int, Meta(ge=0, le=MAX_WAIT_SECONDS)],
    "How many seconds to wait for a change if there is none yet.",
    default=0,
)
_PARAMETERS: Final = {parameter.name: parameter for parameter in (SINCE, TYPES, LIMIT, WAIT)}
CREATED: Final = Change(
    seq=41,
    op=ChangeOp.CREATED,
    type=RecordType.CLAIM,
    id=CLAIM_ID,
    version=1,
    at=AT,
    record=example_of("Claim"),
)
DELETED: Final = Change(
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
Returns the changes after `since`. Every reader gets them in the same order. Start with \
`since=start`, then pass each answer's `next_cursor` as the next `since`: you get each committed \
change exactly once. The changes of one record come in the order of its versions. A deletion is a \
change like any other: it has the record's type, so `types` selects it too. Cursors do not \
expire. You have to start again (410 `resync-required`) only if the service's database was \
restored from a copy, or if your key sees more or fewer records than the key that the cursor was \
made for.

With `wait`, a request at the end of the feed is answered when the next change comes, or after \
that number of seconds.""",
    parameters=tuple(_PARAMETERS.values()),
    success="Changes, and the cursor for the next request.",
    answer=(ChangePage,),
    example=ChangePage(items=[CREATED, DELETED], next_cursor=CURSOR, up_to_date=True),
    refusals=(RESYNC_REQUIRED,),
)


@get("/v1/changes", operation_id="listChanges", opt={"operation": LIST_CHANGES, "reads": ANYTHING})
async def list_changes(request: Request) -> Answer:
    """List changes."""
    given = read_query(request.scope["query_string"], _PARAMETERS)
    feed, asker, types = feed_of(request), caller(request), positions.types_of(given)
    position = await positions.since(feed, given.get("since", START), asker, types)
    limit = given.get("limit", DEFAULT_CHANGES)
    wanted = Wanted(asker.sight, limit, positions.filtered(types))
    until = time.monotonic() + given.get("wait", 0)
    reader = CountedReader(request)
    try:
        items, position, up_to_date = await _visible_changes(request, reader, position, wanted)
        over = not given.get("wait")
        while not items and up_to_date and not over:
            over = not await feed.moved(position, until - time.monotonic())
            if feed.stopping.is_set():
                break
            if over:  # no change came in time, which may be because numbering hangs
                await feed.catch_up()
            await service(request, Admission).admit_again(request)  # the key may be revoked by now
            items, position, up_to_date = await _visible_changes(request, reader, position, wanted)
    finally:
        reader.close()
    next_cursor = positions.written(position, asker, types)
    body = _page(items, next_cursor, up_to_date=up_to_date and feed.certain)
    reader.keep(len(body))
    return Answer(body)


async def _visible_changes(
    request: Request, reader: CountedReader, position: Position, wanted: Wanted
) -> tuple[list[bytes], Position, bool]:
    """Read on until the caller may see a change, the feed ends, or it has taken too long.

    Gives the JSON of the visible changes, the position behind them, and whether the feed ends
    there. Room is held for them alone.
    """
    feed, until = feed_of(request), time.monotonic() + MAX_READING_SECONDS
    patience = context(request).settings.acquire_seconds
    while True:
        stretch = await reader.read(position, wanted, patience)
        if stretch is None:
            raise no_room()
        items, over = stretch.texts, feed.stopping.is_set() or time.monotonic() > until
        if items or stretch.up_to_date or over:
            return items, stretch.to, stretch.up_to_date
        position = stretch.to


def _page(items: list[bytes], next_cursor: str, *, up_to_date: bool) -> bytes:
    first, *others = items or (b"",)
    parts = [b'{"items":[' + first, *others]
    parts[-1] += b'],"next_cursor":%b,"up_to_date":%b}' % (
        encoded(next_cursor),
        encoded(up_to_date),
    )
    return b",".join(parts)  # so the texts are copied once
