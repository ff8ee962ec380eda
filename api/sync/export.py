"""Export: every record that a reader may see, as lines that can be imported.

The cursor of the change feed is taken before the first record is read, and no transaction spans
the pages. A change that is committed during the export may be in it or not, but it is always in the
feed behind the cursor. So an export and then the feed give a copy without a gap. Only one page at a
time is in memory.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from litestar import get

from api.core.caller import ANYTHING
from api.core.filters import read_query
from api.core.flight import room_of
from api.core.operation import Operation, example_of
from api.core.reading import MAX_RECORD_BYTES
from api.core.request import (
    NDJSON,
    Answer,
    Request,
    caller,
    context,
    encoded,
    still_admitted,
)
from api.core.resource import Resource
from api.core.sql import render
from api.core.streaming import GRACE_SECONDS, StreamedAnswer, patiently, take_piece
from api.records.nouns import RESOURCES
from api.sync.feed import positions
from api.sync.feed.following import feed_of
from schemas.examples import AT, CLAIM_ID, CURSOR
from schemas.exports import ExportHeader, ExportLine, ExportTotals
from schemas.vocabularies import RecordType

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 262_144
"""About how many bytes of records a page has; it always has at least one record."""
TYPES: Final = msgspec.structs.replace(
    positions.TYPES,
    description="Only records of these types, separated by commas. The cursor in the first line "
    "can be used for these types or fewer.",
)
_Place = tuple[dt.datetime, str]
"""The time of creation and the id of the last record of a page."""
_START: Final[_Place] = (
    dt.datetime.min.replace(tzinfo=dt.UTC),
    "00000000-0000-0000-0000-000000000000",
)
# A page of records behind a time of creation and an id: at most `limit` records and about `bytes`
# bytes, but always the first record. Bytes are summed up without reading the documents.
_PAGE: Final = """
        SELECT q.id::text AS id, q.version, q.created_at, q.doc
        FROM (
            SELECT p.*, sum(octet_length(p.doc)) OVER (ORDER BY p.created_at, p.id)
                        - octet_length(p.doc) AS bytes
            FROM (
                SELECT t.id, t.version, t.created_at, t.doc FROM {table} AS t
                WHERE t.deleted_at IS NULL AND :sees({type}, t)
                    AND (t.created_at, t.id) > (:created_at, :id)
                ORDER BY t.created_at, t.id
                LIMIT :limit
            ) AS p
        ) AS q
        WHERE q.bytes < :bytes
        ORDER BY q.created_at, q.id"""

EXPORT_RECORDS = Operation(
    tag="export",
    description="""\
Gives every record that the caller may see, one on each line: first all sources, then articles, \
claims and denials, each type in the order of creation. The first line has a cursor of the change \
feed, taken before the first record was read: follow the feed from there, and you miss no change \
that was made during the export. The last line has the number of records. An export without that \
line was cut off; this also happens when the key is revoked. `POST /v1/import` takes the lines \
as they are. With `Accept-Encoding: zstd` or `gzip`, the answer is several times smaller.""",
    parameters=(TYPES,),
    success="JSON lines: the cursor, the records, the count.",
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
    """Export all records, as JSON lines."""
    types = positions.types_of(read_query(request.scope["query_string"], {TYPES.name: TYPES}))
    feed, asker = feed_of(request), caller(request)
    at = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = await feed.catch_up()
    cursor = positions.written(await feed.position(head.seq), asker, types)
    wanted = [record_type for record_type in RESOURCES if record_type in types]
    header = ExportHeader(cursor=cursor, at=at, types=wanted)
    chunks = _chunks(request, header)
    # If the database is away, the answer is a status, which must come before the first line.
    first = await anext(chunks)
    return StreamedAnswer(request, NDJSON, first, chunks)


# --- the lines -----------------------------------------------------------------------------------


async def _chunks(request: Request, header: ExportHeader) -> AsyncGenerator[bytes, None]:
    """Write the lines of one page after another; nothing else of a page is kept meanwhile."""
    lines = deque([encoded(header) + b"\n"])
    count = 0
    for record_type in header.types:
        place: _Place | None = _START
        while place is not None:
            page, place = await _next_page(request, RESOURCES[record_type], place)
            count += len(page)
            lines.extend(page)
            del page
            while lines:
                yield take_piece(lines)
    yield encoded(ExportTotals(count=count)) + b"\n"


async def _next_page(
    request: Request, resource: Resource, place: _Place
) -> tuple[deque[bytes], _Place | None]:
    """Read the lines of the records behind a place, and the place behind them; null at the end.

    The key must be valid, and the caller must not have too much in flight already. Other readers
    give their room back at the latest when they are cut off, because they read nothing.
    """
    created_at, identity = place
    query = render(
        resource.table.compose(_PAGE),
        caller(request),
        created_at=created_at,
        id=identity,
        limit=MAX_RECORDS,
        bytes=MAX_BYTES,
    )
    room, settings = room_of(request.scope), context(request).settings
    await room.reserve(MAX_BYTES + MAX_RECORD_BYTES, settings.stall_seconds + GRACE_SECONDS)
    database = context(request).database
    rows = await patiently(lambda: database.fetch(*query))
    await still_admitted(request)  # after the reading, which may have had to wait
    type_name = resource.type.encode()
    lines = deque(
        b'{"type":"%b","id":"%b","version":%d,"data":%b}\n'
        % (type_name, row["id"].encode(), row["version"], row["doc"])
        for row in rows
    )
    room.keep(sum(map(len, lines)))
    return lines, (rows[-1]["created_at"], rows[-1]["id"]) if rows else None
