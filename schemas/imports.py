"""Import: the lines that go in, and those that come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.base import Count, ExternalId, Fault, Id, Part, Version
from schemas.vocabularies import ImportOp, RecordType

LineNumber = Annotated[int, Meta(ge=1, le=2**31 - 1, description="From 1.")]


class ImportLine(Part, kw_only=True):
    """One record to write: under its id, by an external id, or, with neither, as a new one."""

    op: Annotated[ImportOp, Meta(description="What to do.")] = ImportOp.UPSERT
    type: Annotated[RecordType, Meta(description="What sort of record.")]
    id: Annotated[Id | None, Meta(description="The record's id.")] = None
    external_id: Annotated[
        ExternalId | None, Meta(description="Its name in another system; added to the record.")
    ] = None
    data: Annotated[
        dict[str, Any] | None,
        Meta(description="The whole record, as `PUT` takes it."),
    ] = None
    if_match: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(description="The ETag that the record must have, or `*` for any."),
    ] = None
    version: Annotated[
        Version | None,
        Meta(
            description="The version that the record had where it was exported. What the server "
            "sets in `data` is then what that server had set, and is passed over."
        ),
    ] = None

    def faults(self) -> Iterator[Fault]:
        """Ask for a record to write, and only then, and for a name of what to delete."""
        if self.op is ImportOp.UPSERT and self.data is None:
            yield Fault(("data",), "required", "`upsert` needs `data`, the record.")
        if self.op is ImportOp.DELETE:
            if self.data is not None:
                yield Fault(("data",), "not-allowed", "`delete` takes no `data`.")
            if self.id is None and self.external_id is None:
                yield Fault(("id",), "required", "`delete` needs `id` or `external_id`.")


class ImportResult(Struct, kw_only=True):
    """What became of one line."""

    line: LineNumber
    status: Annotated[
        int,
        Meta(
            ge=200,
            le=599,
            description="201 created, 200 there already or deleted; 4xx refused, see `problem`.",
        ),
    ]
    type: Annotated[RecordType | None, Meta(description="As the line says.")] = None
    id: Annotated[Id | None, Meta(description="The record's id.")] = None
    version: Annotated[Version | None, Meta(description="The version that it is at now.")] = None
    changed: Annotated[bool, Meta(description="Whether this line altered anything.")] = False
    problem: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Why it was refused (RFC 9457).",
            extra_json_schema={"x-component": "Problem"},
        ),
    ] = None


class ImportCounts(Struct, kw_only=True):
    """How many lines had which end."""

    lines: Annotated[Count, Meta(description="Lines that have a result.")] = 0
    created: Annotated[Count, Meta(description="Records that are new.")] = 0
    updated: Annotated[Count, Meta(description="Records that changed, or came back.")] = 0
    unchanged: Annotated[Count, Meta(description="Records that were like that already.")] = 0
    deleted: Annotated[Count, Meta(description="Records that were deleted.")] = 0
    refused: Annotated[Count, Meta(description="Lines that have a `problem`.")] = 0


class ImportTotals(Struct, kw_only=True):
    """The last line of the answer; without it, the answer was cut off."""

    totals: Annotated[ImportCounts, Meta(description="How many lines had which end.")]
    atomic: Annotated[bool, Meta(description="All lines or none.")]
    dry_run: Annotated[bool, Meta(description="Everything was tried, and nothing kept.")]
    committed: Annotated[bool, Meta(description="Whether anything was kept.")]
