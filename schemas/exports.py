"""The lines of an export, which an import accepts."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.changes import Cursor
from schemas.scalars import Count, Id, Instant, Version
from schemas.vocabularies import RecordType


class ExportHeader(Struct, kw_only=True):
    """The first line. It says from where to follow the change feed afterwards."""

    cursor: Annotated[
        Cursor,
        Meta(
            description="Send this as `since` in the first request to the change feed. The cursor "
            "was taken before the first record was read."
        ),
    ]
    at: Annotated[Instant, Meta(description="When the export began.")]
    types: Annotated[
        list[RecordType],
        Meta(
            max_length=len(RecordType),
            description="The types of records that follow, in this order.",
        ),
    ]


class ExportLine(Struct, kw_only=True):
    """One record: every line between the first and the last."""

    type: Annotated[RecordType, Meta(description="The type of the record.")]
    id: Annotated[Id, Meta(description="The record's id.")]
    version: Annotated[Version, Meta(description="The version of the record.")]
    data: Annotated[
        dict[str, Any],
        Meta(description="The record, byte for byte as `GET` answers it."),
    ]


class ExportTotals(Struct, kw_only=True):
    """The last line. An export without it was cut off."""

    count: Annotated[Count, Meta(description="The number of records in the export.")]
