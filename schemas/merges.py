"""Merges: two sources become one, and apart again."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.base import MAX_EXTERNAL_IDS, ExternalId, Part
from schemas.pages import Page
from schemas.scalars import Id, Instant, SourceId, Version
from schemas.sources import MAX_NAMES, Name
from schemas.vocabularies import MergeState, RecordType

MAX_LISTED: Final = 100
"""An answer names no more references than this."""
MAX_REFERRERS: Final = 10_000
"""Records that refer to a source are counted up to this."""
_Pointer = Annotated[
    str,
    Meta(
        max_length=200,
        description="The place of the reference in the record, as a JSON Pointer (RFC 6901).",
    ),
]
_Records = Annotated[int, Meta(ge=0, le=MAX_REFERRERS)]


class SourceMergeCreate(Part, kw_only=True):
    """What is to be merged into a source."""

    source_id: Annotated[
        SourceId, Meta(description="The source that is merged into the source in the path.")
    ]
    other_etag: Annotated[
        Annotated[str, Meta(min_length=1, max_length=100)] | None,
        Meta(
            description='The ETag of that source, or its version as `"v3"`. If the source has '
            "changed since, the merge is refused. If you leave this out, any version is merged.",
        ),
    ] = None


class FollowedReference(Struct, kw_only=True):
    """A place in a record that names, or has named, the merged source."""

    type: Annotated[RecordType, Meta(description="The type of the record.")]
    id: Annotated[Id, Meta(description="The id of the record.")]
    pointer: _Pointer


class ReferrerCounts(Struct, kw_only=True):
    """How many records that you see name a source, of each type, counted up to 10,000."""

    articles: Annotated[_Records, Meta(description="Articles.")]
    claims: Annotated[_Records, Meta(description="Claims.")]
    denials: Annotated[_Records, Meta(description="Denials.")]
    sources: Annotated[_Records, Meta(description="Other sources.")]


class SourceMergeOutcome(Struct, kw_only=True):
    """What a merge does, or would do."""

    source_id: Annotated[Id, Meta(description="The merged source.")]
    survivor_id: Annotated[Id, Meta(description="The survivor: the source that it is merged into.")]
    dry_run: Annotated[bool, Meta(description="Whether nothing was written.")]
    version: Annotated[Version, Meta(description="The present version of the survivor.")]
    names: Annotated[
        list[Name],
        Meta(max_length=MAX_NAMES, description="The names that the survivor gets."),
    ]
    external_ids: Annotated[
        list[ExternalId],
        Meta(max_length=MAX_EXTERNAL_IDS, description="The external ids that the survivor gets."),
    ]
    referrers: Annotated[
        ReferrerCounts, Meta(description="The records that will name the survivor instead.")
    ]
    dropped: Annotated[
        list[FollowedReference],
        Meta(
            max_length=MAX_LISTED,
            description="The references that are dropped, because they would name the survivor "
            "twice in one list, or would name their own record, or would repeat a relation that "
            "the survivor states. The first 100 are listed.",
        ),
    ]


class SourceMerge(Struct, kw_only=True):
    """A merge, and how far it is."""

    source_id: Annotated[Id, Meta(description="The merged source.")]
    survivor_id: Annotated[
        Id, Meta(description="The survivor: the source that it was merged into.")
    ]
    state: Annotated[MergeState, Meta(description="How far the merge is.")]
    merged_at: Annotated[Instant, Meta(description="When the sources were merged.")]
    unmerged_at: Annotated[
        Instant | None, Meta(description="When the merge was undone; null if it was not.")
    ]
    remaining: Annotated[
        _Records,
        Meta(
            description="How many records the service still has to change, so that they name the "
            "survivor or, after an unmerge, the merged source. Only records that you see count. "
            "Counted up to 10,000."
        ),
    ]
    changed: Annotated[
        list[FollowedReference],
        Meta(
            max_length=MAX_LISTED,
            description="After an unmerge: the references that did not go back, because somebody "
            "has changed them or deleted the record since the merge, each by its place after the "
            "merge; and the references of the merged source itself that it did not get back, "
            "because what they name is deleted, or leads back to it. Before that: the records, "
            "with an empty pointer, in which the survivor can't be named, because other records "
            "forbid it; they are tried again when they have changed. The first 100 are listed.",
        ),
    ]


class SourceMergePage(Page[SourceMerge], kw_only=True):
    """A page of the merges of a source."""
