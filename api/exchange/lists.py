"""Lists in every format: a page as JSON, or the whole list, streamed.

A streamed list is read page by page, and only one page at a time is in memory. `limit` then bounds
the whole list. If it is cut off, the connection ends without an end of the body.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from functools import cache, partial
from typing import Any, Final, Protocol

from api.core.errors import invalid_parameter
from api.core.filters import Parameter, read_query
from api.core.flight import room_of
from api.core.listing import Documents, list_page, read_documents
from api.core.request import Answer, Request, caller, context, encoded, still_admitted
from api.core.resource import MAX_LIMIT, MAX_PAGE_BYTES, MAX_RANKED, Resource
from api.core.streaming import GRACE_SECONDS, StreamedAnswer, patiently, take_piece
from api.exchange import formats
from api.exchange.formats import AS_JSON, AS_LINES, AS_TABLE, Format
from api.exchange.places import Places
from api.exchange.tables import TABLE_PARAMETERS, Table

MAX_RECORDS: Final = 10_000_000
"""A streamed list is cut off behind so many records: others may write as fast as it is read."""
WRITTEN_AT_ONCE: Final = 50
"""How many records are written at a time: the names that they are shown with take memory too."""
_OF_PAGES: Final = ("cursor", "expand", "count")
"""The parameters that only make sense for pages."""


class Writer(Protocol):
    """Writes the records of a list in a format."""

    headers: Mapping[str, str]

    def begin(self) -> bytes:
        """Write what comes before the first record."""
        ...

    async def write(self, request: Request, documents: list[bytes]) -> list[bytes]:
        """Write the records of a page, in pieces."""
        ...

    def end(self, count: int) -> bytes:
        """Write what comes behind the last record, of so many."""
        ...


class Lines:
    """One record a line, as JSON; the last line has their number."""

    headers: Mapping[str, str] = {}

    def begin(self) -> bytes:
        """Write nothing: there is no header."""
        return b""

    async def write(self, _: Request, documents: list[bytes]) -> list[bytes]:
        """Write a line for each record."""
        return [document + b"\n" for document in documents]

    def end(self, count: int) -> bytes:
        """Write the line with the number of records."""
        return encoded({"count": count}) + b"\n"


@cache
def parameters(resource: Resource) -> dict[str, Parameter]:
    """Give every query parameter of a list, in any format, by name."""
    more = (formats.parameter(formats.of_list(resource.type)), *TABLE_PARAMETERS)
    return {**resource.list_parameters, **{each.name: each for each in more}}


async def list_records(resource: Resource, request: Request) -> Answer:
    """Answer with the records that the query string asks for, in the format it asks for."""
    given = read_query(request.scope["query_string"], parameters(resource))
    offered = formats.of_list(resource.type)
    form = formats.chosen(request, given.pop("format", None), offered)
    asked = {name: given.pop(name) for each in TABLE_PARAMETERS if (name := each.name) in given}
    if asked and form is not AS_TABLE:
        raise invalid_parameter(next(iter(asked)), "This parameter is only for `format=csv`.")
    if form is AS_JSON:
        answer = await list_page(resource, request, given)
        answer.headers.append((b"vary", b"Accept"))
        return answer
    for name in _OF_PAGES:
        if name in given:
            detail = f"Leave it out: `{form.media_type}` gives the whole list, without pages."
            raise invalid_parameter(name, detail)
    if given.get("sort") == "relevance" and "limit" not in given:
        detail = f"Add `limit`: only {MAX_RANKED} records are ranked, so the list would end there."
        raise invalid_parameter("sort", detail)
    writer = _writer(resource, form, asked)
    chunks = _chunks(resource, request, given, writer)
    # If the database is away, the answer is a status, which must come before the first line.
    first = await anext(chunks)
    media_type = f"{form.media_type}; charset=utf-8" if form is AS_TABLE else form.media_type
    headers = {"vary": "Accept, Accept-Encoding", **writer.headers}
    return StreamedAnswer(request, media_type, first, chunks, headers)


def _writer(resource: Resource, form: Format, asked: Mapping[str, Any]) -> Writer:
    if form is AS_TABLE:
        return Table(resource, **asked)
    return Lines() if form is AS_LINES else Places()


async def _chunks(
    resource: Resource, request: Request, given: Mapping[str, Any], writer: Writer
) -> AsyncGenerator[bytes, None]:
    """Write one page after another; nothing else of a page is kept meanwhile."""
    most = given.get("limit", MAX_RECORDS)
    count = 0
    behind: dict[str, str] = {}
    pieces = deque([writer.begin()])
    while True:
        limit = min(MAX_LIMIT, most - count)
        page = await _next_page(resource, request, {**given, "limit": limit, **behind})
        documents, cursor = page.documents, page.next_cursor
        behind = {"cursor": cursor} if cursor is not None else {}
        count += len(documents)
        if cursor is not None and count == MAX_RECORDS:
            raise RuntimeError(f"a list of more than {MAX_RECORDS} records")
        del page
        for start in range(0, len(documents), WRITTEN_AT_ONCE):
            batch = documents[start : start + WRITTEN_AT_ONCE]
            pieces.extend(await patiently(partial(writer.write, request, batch)))
            await still_admitted(request)  # after the reading, which may have had to wait
            while pieces:
                yield take_piece(pieces)
        if cursor is None or count == most:
            pieces.append(writer.end(count))
            yield take_piece(pieces)
            return


async def _next_page(resource: Resource, request: Request, asked: Mapping[str, Any]) -> Documents:
    """Read a page as soon as there is room for it, for a caller whose key is still valid."""
    room, settings = room_of(request.scope), context(request).settings
    await room.reserve(MAX_PAGE_BYTES, settings.stall_seconds + GRACE_SECONDS)
    database, asker = context(request).database, caller(request)
    page = await patiently(lambda: read_documents(resource, database, asker, asked))
    room.keep(sum(map(len, page.documents)))
    return page
