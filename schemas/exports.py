"""Export: the lines that leave, which import takes back."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.base import Count, Id, Instant, Version
from schemas.changes import Cursor
from schemas.vocabularies import RecordType


class ExportHeader(Struct, kw_only=True):
    """The first line: where the change feed goes on from here."""

    cursor: Annotated[
        Cursor,
        Meta(
            description="`since` of the first request to the change feed. It was taken before the "
            "first record was read."
        ),
    ]
    at: Annotated[Instant, Meta(description="When the export began.")]
    types: Annotated[
        list[RecordType],
        Meta(max_length=len(RecordType), description="What sorts of records follow, in order."),
    ]


class ExportLine(Struct, kw_only=True):
    """One record, as the lines between the first and the last have it."""

    type: Annotated[RecordType, Meta(description="What sort of record.")]
    id: Annotated[Id, Meta(description="The record's id.")]
    version: Annotated[Version, Meta(description="The version that it is at.")]
    data: Annotated[
        dict[str, Any],
        Meta(description="The record, byte for byte as `GET` gives it."),
    ]


class ExportTotals(Struct, kw_only=True):
    """The last line; without it, the export was cut off."""

    count: Annotated[Count, Meta(description="How many records there were.")]
