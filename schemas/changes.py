"""The Structs of the change feed: a change, a page of changes, and the end of the feed."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.scalars import Id, Instant, Version
from schemas.vocabularies import ChangeOp, RecordType

Cursor = Annotated[str, Meta(min_length=1, max_length=500)]
"""A position in the feed, which only this service can read."""
Seq = Annotated[int, Meta(ge=1, le=2**53 - 1)]

MAX_CHANGES = 1_000


class Change(Struct, kw_only=True):
    """One change of one record, as far as the reader may see it."""

    seq: Annotated[
        Seq,
        Meta(
            description="The number of the change. Later changes have higher numbers; a number is "
            "missing if the reader may not see its change."
        ),
    ]
    op: Annotated[ChangeOp, Meta(description="What was done.")]
    type: Annotated[RecordType, Meta(description="The type of the record.")]
    id: Annotated[Id, Meta(description="The record's id.")]
    version: Annotated[Version, Meta(description="The version that the change made.")]
    at: Annotated[Instant, Meta(description="When the change was made.")]
    record: Annotated[
        dict[str, Any] | None,
        Meta(
            description="The record at this version. Null if it was deleted, or if the reader can "
            "no longer see it.",
        ),
    ]


class ChangePage(Struct, kw_only=True):
    """A page of the feed."""

    items: Annotated[
        list[Change],
        Meta(max_length=MAX_CHANGES, description="The changes, in the order of the feed."),
    ]
    next_cursor: Annotated[
        Cursor, Meta(description="Send this as `since` in the next request. It is always given.")
    ]
    up_to_date: Annotated[
        bool,
        Meta(
            description="Whether the page reaches the end of the feed. If not, ask again at once, "
            "even if the page has no items."
        ),
    ]


class UpToDate(Struct, kw_only=True):
    """The position of a stream that has reached the end of the feed."""

    next_cursor: Annotated[Cursor, Meta(description="The same as the event's `id`.")]
