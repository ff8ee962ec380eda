"""The rows of a table, and which record each is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from api.core.errors import NOT_FOUND, Problem, invalid_record
from api.core.large_input import without_frames
from api.core.resource import Resource
from api.exchange.cells import UnreadableCell
from api.exchange.rows import Row, RowState, first_external_id
from api.exchange.table_text import Heading, read_heading, read_rows
from api.sync.importing.batches import PIECE_BYTES, NumberedLine
from api.sync.importing.lines import Entry
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun
from schemas.base import ExternalId, Fault
from schemas.imports import ImportLine
from schemas.scalars import UUID_PATTERN

_ROW_COST: Final = 1_000
_ID: Final = re.compile(UUID_PATTERN)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}\Z")


def read_table(body: Spool, resource: Resource, row_bytes: int) -> Iterator[Heading | None]:
    """Read a table to its end, so that one that can't be read is refused as a whole.

    Gives its heading at last, and a null now and then, so that the thread is free for other work.
    """
    heading = read_heading(resource, body.rewind(), row_bytes)
    size = 0
    for row in read_rows(body.file, heading, row_bytes):
        size += _ROW_COST + row.size
        if size >= PIECE_BYTES:
            yield None
            size = 0
    yield heading


def numbered_rows(body: Spool, heading: Heading, row_bytes: int) -> Iterator[NumberedLine]:
    """Give the rows of a table in the form of the lines of an import.

    Each is filled up to its size in the file, so that empty cells and rows count, too.
    """
    for number, cells, size in read_rows(body.rewind(), heading, row_bytes):
        yield number, msgspec.json.encode(cells).ljust(size)


def read_row(run: ImportRun, number: int, raw: bytes | None) -> Entry | None:
    """Read which record a row is about; its cells are compared later. Null if it has no cells."""
    assert run.table is not None  # noqa: S101 - for the type checker
    resource, columns = run.table
    cells = msgspec.json.decode(raw or b"[]", type=list[str])
    if not cells:
        return None
    row = Row(number, columns, cells)
    size = len(raw or b"")
    line = ImportLine(type=resource.type)
    try:
        _name_record(line, row)
    except Problem as problem:
        return Entry(number, size, line, None, without_frames(problem), row=RowState(row))
    if run.sender.line_ids is not None and line.id is None and line.external_id is None:
        line.id = run.sender.line_ids(number)
        return Entry(number, size, line, None, None, id_is_ours=True, row=RowState(row))
    return Entry(number, size, line, None, None, row=RowState(row))


def _name_record(line: ImportLine, row: Row) -> None:
    """Put into a line which record the row is about."""
    if row.text("id"):
        if not _ID.match(row.text("id")):
            raise _fault("id", "invalid-value", "This is no id: a UUID in lower case.")
        line.id = row.text("id")
    if row.text("version") and not _VERSION.match(row.text("version")):
        raise _fault("version", "invalid-value", "This is no version: a whole number from 1.")
    try:
        name = None if line.id else first_external_id(row)
    except UnreadableCell as unreadable:
        raise _fault("external_ids", "invalid-value", str(unreadable)) from None
    if name is not None and "\0" in name[1]:
        raise _fault("external_ids", "invalid-text", "An external id has no U+0000.")
    if name is not None:
        line.external_id = ExternalId(namespace=name[0], value=name[1])
    if line.id is None and name is None and row.text("version"):
        raise no_record()


def _fault(column: str, code: str, detail: str) -> Problem:
    return invalid_record([Fault((column,), code, detail)]).under("/data")


def no_record() -> Problem:
    """Refuse a row that was exported, and does not say from which record."""
    detail = (
        "The row has a `version`, but names no record that exists. Fill in `id`, or empty the "
        "cell of `version` to create a record."
    )
    return Problem(NOT_FOUND, detail)


def version_of(entry: Entry) -> int:
    """Give the version of a row; 0 if it has none."""
    text = entry.known_row.row.text("version")
    return int(text) if _VERSION.match(text) else 0
