"""Import over HTTP: `POST /v1/import` writes many records, of lines, of a table or of reviews."""

from __future__ import annotations

from functools import partial
from typing import Final

from litestar import post
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from api.core.caller import WRITE
from api.core.errors import FORBIDDEN, Problem, invalid_parameter, invalid_record
from api.core.filters import Parameter, read_query
from api.core.idempotency import derived_id, idempotency_key
from api.core.large_input import each_in_thread
from api.core.operation import Operation, OtherBody
from api.core.request import (
    NDJSON,
    Answer,
    Request,
    Stream,
    author,
    body_chunks,
    context,
    header_values,
    read_body,
    require_media_type,
    still_admitted,
)
from api.core.resource import Resource
from api.exchange.formats import AS_LINKED_DATA, AS_TABLE
from api.records.nouns import RESOURCES
from api.sync.importing import results
from api.sync.importing.reviews.documents import MAX_REVIEWS
from api.sync.importing.reviews.running import import_reviews
from api.sync.importing.runs import run_import
from api.sync.importing.spool import Spool
from api.sync.importing.state import Sender
from schemas.base import ExternalId, Fault
from schemas.examples import HEADERS
from schemas.imports import ImportCell, ImportCounts, ImportLine, ImportResult, ImportTotals
from schemas.vocabularies import RecordType, Scope

ATOMIC = Parameter(
    "atomic", bool, "Write all lines or none. Lines may then refer to later lines.", default=False
)
DRY_RUN = Parameter("dry_run", bool, "Check everything, and keep nothing.", default=False)
TYPE = Parameter(
    "type",
    RecordType,
    "The type of the records of a table. A table needs it; lines name the type themselves.",
    example="source",
)
_PARAMETERS = {parameter.name: parameter for parameter in (ATOMIC, DRY_RUN, TYPE)}

MAX_LENGTH: Final = 2_147_483_647
"""How many characters a table may have, as far as the document can say it: it has no bound."""
_REFUSED: Final = invalid_record([Fault(("data", "text"), "required", "`text` is needed.")])
_TABLE: Final = OtherBody(
    media_type=AS_TABLE.media_type,
    schema={
        "description": "A row for each record (RFC 4180), below the names of the columns. The "
        "separator is a comma, a semicolon or a tab.",
        "type": "string",
        "maxLength": MAX_LENGTH,
    },
    description="A table, as `text/csv` in UTF-8, has any number of rows. A row has at most as "
    "many bytes as a line.",
    example="external_id.example,kind,name\r\nmnd,government_body,Ministry of National Defense\r\n",
)
_REVIEWS: Final = OtherBody(
    media_type=AS_LINKED_DATA.media_type,
    schema={
        "description": "A `ClaimReview` of schema.org, an array, a `@graph`, or a `DataFeed`.",
        "anyOf": [
            {"type": "object", "additionalProperties": True},
            {
                "type": "array",
                "items": {"type": "object", "additionalProperties": True},
                "maxItems": MAX_REVIEWS,
            },
        ],
    },
    description=f"A document with reviews, in JSON-LD, has at most {MAX_REVIEWS:,} of them, and as "
    "many bytes as a line with an article.",
    example={
        "@context": "https://schema.org",
        "@type": "ClaimReview",
        "url": "https://facts.example/2024/soldiers",
        "datePublished": "2024-12-20",
        "author": {"@type": "Organization", "name": "The Fact Desk"},
        "claimReviewed": "At least 100 North Korean soldiers were killed in Kursk.",
        "itemReviewed": {
            "@type": "Claim",
            "author": {"@type": "Person", "name": "Lee Seong-kweun"},
            "datePublished": "2024-12-19",
            "appearance": {"@type": "NewsArticle", "url": "https://paper.example/kursk"},
        },
        "reviewRating": {
            "@type": "Rating",
            "alternateName": "Unproven",
            "ratingValue": 3,
            "bestRating": 5,
            "worstRating": 1,
        },
    },
)

IMPORT_RECORDS = Operation(
    tag="import",
    description="""\
Takes any number of lines. Each line is a JSON object that names one record to write or to delete. \
Its `data` replaces the whole record, as `PUT` does. The answer has a line for each line sent, in \
the same order, and a last line with the totals: an answer without it was cut off. A line that is \
refused has a problem. The other lines are written all the same, unless the import is `atomic`.

If each line names its record by `id` or `external_id`, you can send the same lines again: no \
record is created twice. A line then replaces the whole record, with all that others have changed \
meanwhile. With `if_match`, it is applied only to the version that `if_match` names. With an \
`Idempotency-Key`, lines that name no record do not create it twice either: your API key, the \
`Idempotency-Key` and the line's number then decide the record's id, and if that record exists \
already, the line leaves it as it is. So use an `Idempotency-Key` for one file only, and send \
that file again unchanged: the service would take the lines of another file under the same key \
for the lines of the first one.

You can import the lines of an export as they are; its first and its last line get no result.

With `text/csv`, the body is a table of records of one `type`, with the columns that lists have \
in this format. A row names its record by `id`, or by a column `external_id.` followed by a \
namespace; a row that names no record creates one. A row is compared with the record as it was at \
the row's `version`: only the cells that differ are written, so a cell that nobody edited never \
undoes the changes of others. If a property was changed on both sides, the row is refused with \
412. You can replace the name of a source in a cell by another name if exactly one source has \
that name. With `dry_run`, the answer has a line for each cell that would change, and for each \
cell that is wrong. Rows are numbered as in a spreadsheet: the heading is row 1. A table that \
can't be read is refused as a whole.

A document of the type `application/ld+json` has reviews in the terms of schema.org \
(`ClaimReview`). The answer has a line for each of them, about its claim, and `line` is the \
number of the review. A review is written with its sources and articles, or refused as a whole. \
The service recognises a review by its address and its claim. When you send it again, only its \
rating is written, if that has changed. The guide says what becomes of the other properties.

If your key is revoked during the import, the records written so far stay, and each line after \
that is refused with 401. An `atomic` import is then refused as a whole.""",
    parameters=(ATOMIC, DRY_RUN, TYPE),
    header_parameters=("IdempotencyKeyOfLines",),
    body=ImportLine,
    body_type=NDJSON,
    other_bodies=(_TABLE, _REVIEWS),
    body_example=ImportLine(
        type=RecordType.SOURCE,
        external_id=ExternalId(namespace="example", value="nis"),
        data={"kind": "government_body", "name": "National Intelligence Service"},
    ),
    success="JSON lines: a result for each line or row that was sent, then the totals. A dry run "
    "of a table has a result for each cell instead.",
    answer=(ImportResult, ImportCell, ImportTotals),
    media_type=NDJSON,
    example={
        "result": (
            "The result of a line",
            ImportResult(
                line=1,
                status=201,
                type=RecordType.SOURCE,
                id="01938f7a-4c00-7000-8000-000000000001",
                version=1,
                changed=True,
            ),
        ),
        "refused": (
            "The result of a line that was refused",
            ImportResult(
                line=2,
                status=422,
                type=RecordType.CLAIM,
                problem=_REFUSED.document("/v1/import", HEADERS["X-Request-Id"]),
            ),
        ),
        "cell": (
            "A cell that a table would change, in a dry run",
            ImportCell(row=2, column="note", was="To be checked.", becomes="Checked."),
        ),
        "totals": (
            "The last line",
            ImportTotals(
                totals=ImportCounts(lines=2, created=1, refused=1),
                atomic=False,
                dry_run=False,
                committed=True,
            ),
        ),
    },
)


@post(
    "/v1/import",
    operation_id="importRecords",
    opt={"operation": IMPORT_RECORDS, "scopes": (Scope.IMPORT,)},
    status_code=200,
)
async def import_records(request: Request) -> Answer:
    """Import many records, as JSON lines, as a table, or from reviews."""
    key = idempotency_key(request)
    given = read_query(request.scope["query_string"], _PARAMETERS)
    taken = [NDJSON, AS_TABLE.media_type, AS_LINKED_DATA.media_type]
    media_type = require_media_type(request, taken)
    writer = author(request)
    table_of = _table_of(request, given.pop("type", None))
    sender = Sender(
        request.scope["state"]["request_id"],
        None if key is None else partial(derived_id, writer.caller.key_id or "", key),
        partial(still_admitted, request),
    )
    database = context(request).database
    if media_type == AS_LINKED_DATA.media_type:
        document = await read_body(request, context(request).settings.article_body_bytes)
        return ResultLines(await import_reviews(database, writer, document, sender=sender, **given))
    body = Spool()
    try:
        async for chunk in body_chunks(request):
            body.write(chunk)
        body.keep()
        answer = await run_import(database, writer, body, sender=sender, table_of=table_of, **given)
    finally:
        body.close()
    return ResultLines(answer)


def _table_of(request: Request, record_type: RecordType | None) -> Resource | None:
    """Give the type of the records of a table; null if the request brings lines."""
    (sent,) = header_values(request, b"content-type")
    if sent.partition(";")[0].strip().lower() != AS_TABLE.media_type:
        if record_type is not None:
            raise invalid_parameter(
                "type", "This parameter is only for `text/csv`: lines name their type themselves."
            )
        return None
    if record_type is None:
        raise invalid_parameter("type", f"A table needs it: {', '.join(RESOURCES)}.")
    if not author(request).caller.may(scope := WRITE[record_type]):
        raise Problem(FORBIDDEN, f"This table needs a key with the scope `{scope}`.")
    return RESOURCES[record_type]


class ResultLines(Stream):
    """An answer that is made while it is sent, because it may have any length."""

    __slots__ = ("_lines",)

    def __init__(self, lines: results.Answer) -> None:
        """Take over the lines; their files are removed when they were sent."""
        super().__init__(NDJSON)
        self._lines = lines

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer a piece at a time."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status, "headers": self.headers}
            )
            async for chunk in each_in_thread(self._lines.chunks()):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._lines.close()
