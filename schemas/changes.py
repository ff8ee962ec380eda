"""Changes: what the feed says of each write, and a page of it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.base import Id, Instant, Version
from schemas.vocabularies import ChangeOp, RecordType

Cursor = Annotated[str, Meta(min_length=1, max_length=500)]
"""A position in the feed; opaque."""
Seq = Annotated[int, Meta(ge=1, le=2**53 - 1)]

MAX_CHANGES = 1_000


class Change(Struct, kw_only=True):
    """One change of one record, as the reader may know of it."""

    seq: Annotated[
        Seq,
        Meta(
            description="Its number: it rises from change to change, with gaps where changes are "
            "not for the reader."
        ),
    ]
    op: Annotated[ChangeOp, Meta(description="What was done.")]
    type: Annotated[RecordType, Meta(description="What sort of record it was done to.")]
    id: Annotated[Id, Meta(description="The record's id.")]
    version: Annotated[Version, Meta(description="The version that it made.")]
    at: Annotated[Instant, Meta(description="When it was done.")]
    record: Annotated[
        dict[str, Any] | None,
        Meta(
            description="The record as this version has it; null where it is gone, and where it "
            "is no longer for the reader to see.",
        ),
    ]


class ChangePage(Struct, kw_only=True):
    """A stretch of the feed."""

    items: Annotated[
        list[Change], Meta(max_length=MAX_CHANGES, description="In the order of the feed.")
    ]
    next_cursor: Annotated[Cursor, Meta(description="`since` of the next request; always there.")]
    up_to_date: Annotated[
        bool,
        Meta(
            description="Whether this reaches the feed's end; if not, ask again at once, even "
            "when there are no items."
        ),
    ]


class UpToDate(Struct, kw_only=True):
    """Where a stream has come to: the end of the feed, for now."""

    next_cursor: Annotated[Cursor, Meta(description="As the event's `id`.")]
