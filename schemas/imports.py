"""The lines of an import: those that are sent, and those that are answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from schemas.base import ExternalId, Fault, Part
from schemas.scalars import Count, Id, Version
from schemas.vocabularies import ImportOp, RecordType

MAX_CELL: Final = 8_388_608
"""How many characters a cell of a table has."""
LineNumber = Annotated[
    int, Meta(ge=1, le=2**31 - 1, description="The number of the line that was sent, from 1.")
]


class ImportLine(Part, kw_only=True):
    """One record to write, found by `id` or by `external_id`. Without either it is a new record."""

    op: Annotated[ImportOp, Meta(description="What to do with the record.")] = ImportOp.UPSERT
    type: Annotated[RecordType, Meta(description="The type of the record.")]
    id: Annotated[Id | None, Meta(description="The record's id.")] = None
    external_id: Annotated[
        ExternalId | None,
        Meta(description="The record's id in another system. It is added to the record."),
    ] = None
    data: Annotated[
        dict[str, Any] | None,
        Meta(
            description="The whole record, as in the body of `PUT`. To name another record, it may "
            "have that record's external id in the place of its id, as an object with `namespace` "
            "and `value`."
        ),
    ] = None
    if_match: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(
            description='The ETag that the record must have now, or its version as `"v3"`, or `*` '
            "for any."
        ),
    ] = None
    version: Annotated[
        Version | None,
        Meta(
            description="The version that the record had on the server that exported it. If you "
            "send it, the properties in `data` that a server sets are ignored."
        ),
    ] = None

    def faults(self) -> Iterator[Fault]:
        """Ask for the record that is to be written, or for an id of the one to be deleted."""
        if self.op is ImportOp.UPSERT and self.data is None:
            yield Fault(("data",), "required", "`upsert` needs the record as `data`.")
        if self.op is ImportOp.DELETE:
            if self.data is not None:
                yield Fault(("data",), "not-allowed", "`delete` does not take `data`.")
            if self.id is None and self.external_id is None:
                yield Fault(("id",), "required", "`delete` needs `id` or `external_id`.")


class ImportResult(Struct, kw_only=True):
    """The result of one line."""

    line: LineNumber
    status: Annotated[
        int,
        Meta(
            ge=200,
            le=599,
            description="201 if created, 200 if updated, unchanged or deleted. Anything else is a "
            "refusal: see `problem`.",
        ),
    ]
    type: Annotated[RecordType | None, Meta(description="The type that the line named.")] = None
    id: Annotated[Id | None, Meta(description="The record's id.")] = None
    version: Annotated[
        Version | None, Meta(description="The version of the record after this line.")
    ] = None
    changed: Annotated[bool, Meta(description="Whether this line changed anything.")] = False
    problem: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Why the line was refused (RFC 9457).",
            extra_json_schema={"x-component": "ImportProblem"},
        ),
    ] = None


class ImportCell(Struct, kw_only=True):
    """What one cell of a table would change, in a dry run. Cells that change nothing have none."""

    row: Annotated[
        int,
        Meta(ge=2, le=2**31 - 1, description="The number of the row; the heading is row 1."),
    ]
    column: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(description="The name of the column; null if the problem is with the whole row."),
    ] = None
    was: Annotated[
        Annotated[str, Meta(max_length=MAX_CELL)] | None,
        Meta(
            description="What the cell had at the row's `version`; null if it was empty, or if the "
            "record is new."
        ),
    ] = None
    becomes: Annotated[
        Annotated[str, Meta(max_length=MAX_CELL)] | None,
        Meta(description="What the cell has now; null if it is empty."),
    ] = None
    problem: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Why the row is refused, or why this cell is ignored (RFC 9457); null if "
            "nothing is wrong with the cell.",
            extra_json_schema={"x-component": "ImportProblem"},
        ),
    ] = None
    ignored: Annotated[
        bool,
        Meta(
            description="True if the row is written without this cell. The column of the cell only "
            "shows other records, and the cell differs from what it would show now."
        ),
    ] = False


class ImportCounts(Struct, kw_only=True):
    """How many lines had each result."""

    lines: Annotated[Count, Meta(description="The number of lines that have a result.")] = 0
    created: Annotated[Count, Meta(description="The number of records that were created.")] = 0
    updated: Annotated[
        Count, Meta(description="The number of records that were changed or brought back.")
    ] = 0
    unchanged: Annotated[
        Count, Meta(description="The number of records that already had the content that was sent.")
    ] = 0
    deleted: Annotated[Count, Meta(description="The number of records that were deleted.")] = 0
    refused: Annotated[Count, Meta(description="The number of lines that were refused.")] = 0
    not_applied: Annotated[
        Count,
        Meta(
            description="The number of valid lines that an atomic import did not apply, because "
            "another line was refused."
        ),
    ] = 0


class ImportTotals(Struct, kw_only=True):
    """The last line of the answer. An answer without it was cut off."""

    totals: Annotated[ImportCounts, Meta(description="How many lines had each result.")]
    atomic: Annotated[bool, Meta(description="Whether all lines or none were to be applied.")]
    dry_run: Annotated[
        bool,
        Meta(
            description="Whether this was a dry run: everything was checked and nothing was kept."
        ),
    ]
    committed: Annotated[bool, Meta(description="Whether anything was kept.")]
