"""The text of a table: from a file of CSV to its rows, as spreadsheets write them.

The separator is a comma, a semicolon or a tab. The file is read line by line, and a row at a time
is in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from api.core.errors import MALFORMED_TABLE, Problem
from api.core.resource import Resource
from api.exchange.cells import unescaped
from api.exchange.columns import Column, all_columns, known_column
from schemas.imports import MAX_CELL

MAX_ROWS: Final = 1_048_576
"""How many rows a table has, with its heading: as many as Excel has."""
MAX_COLUMNS: Final = 500
MAX_SEPARATORS: Final = 500_000
"""How many separators a row has, also those inside of cells: it is split in one call."""
TRAILER: Final = "#count"
"""How the line begins that counts the rows, at the end of a table."""
_SEPARATORS: Final = (",", ";", "\t")
_WIDE_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_WIDEST: Final = 4
"""In so many bytes, the first letter of a heading has a zero if it is in UTF-16 or UTF-32."""
_BOM: Final = b"\xef\xbb\xbf"
_HOW: Final = (
    "Save the table as CSV in UTF-8: in Excel as “CSV UTF-8”, in LibreOffice with the character "
    "set “Unicode (UTF-8)”."
)

csv.field_size_limit(MAX_CELL)  # for the whole process; nothing else in it reads CSV


class Heading(NamedTuple):
    """The first row of a table: how cells are separated, and the columns."""

    separator: str
    columns: tuple[Column, ...]


def read_heading(resource: Resource, file: BinaryIO, row_bytes: int) -> Heading:
    """Read the names of the columns; refuse a name that is unknown or there twice."""
    known = all_columns(resource)
    separator, names = _read_names(resource, file, row_bytes)
    while names and not names[-1]:
        names.pop()  # columns that a spreadsheet adds at the end
    if not names:
        raise malformed("The first row has to name the columns.")
    if len(names) > MAX_COLUMNS:
        raise malformed(f"A table has at most {MAX_COLUMNS} columns.")
    columns = []
    for index, name in enumerate(names):
        if "\0" in name or (column := known_column(resource, name)) is None:
            there = ", ".join([*known, "external_id.…"])
            raise malformed(
                f"Column {index + 1} is called `{name[:100]}`. Rename it, or take it out; a table "
                f"of {resource.plural} can have: {there}."
            )
        if name in names[:index]:
            raise malformed(f"Two columns are called `{name[:100]}`. Take one out.")
        columns.append(column)
    return Heading(separator, tuple(columns))


def _read_names(resource: Resource, file: BinaryIO, row_bytes: int) -> tuple[str, list[str]]:
    """Read the first row with the separator by which it has the most known columns.

    Names in quotation marks can't be read with another separator.
    """
    best: Sequence[str] = ()
    chosen, most = _SEPARATORS[0], -1
    unreadable: Problem | None = None
    for separator in _SEPARATORS:
        try:
            names = next((row.cells for row in _rows(file, separator, row_bytes)), ())
        except Problem as problem:
            unreadable = unreadable or problem
            continue
        shown = names[: MAX_COLUMNS + 1]
        count = sum(known_column(resource, name.strip()) is not None for name in shown)
        if count > most:
            best, chosen, most = names, separator, count
    if unreadable is not None and most < 0:
        raise unreadable
    return chosen, [name.strip() for name in best]


class TableCells(NamedTuple):
    """A row as it stands in the file: its number, from 1 for the heading, and its cells."""

    number: int
    cells: Sequence[str]
    size: int  # in bytes


def read_rows(file: BinaryIO, heading: Heading, row_bytes: int) -> Iterator[TableCells]:
    """Give rows without escapes. The heading, and rows that say nothing, come without cells."""
    for number, cells, size in _rows(file, heading.separator, row_bytes):
        if number > MAX_ROWS:
            raise malformed(f"A table has at most {MAX_ROWS:,} rows. Send it in parts.")
        if number == 1 or not any(cells) or _is_trailer(cells):
            yield TableCells(number, (), size)
            continue
        if any(cells[len(heading.columns) :]):
            raise malformed(
                f"Row {number} has more cells than there are columns. A separator or a quotation "
                "mark is missing or too many."
            )
        known = cells[: len(heading.columns)]
        yield TableCells(number, [unescaped(cell) for cell in known], size)


def _is_trailer(cells: Sequence[str]) -> bool:
    """Tell whether a row only says how many there are."""
    first, count, *others = [*cells, ""]
    return first == TRAILER and count.isdecimal() and not any(others)


def malformed(detail: str) -> Problem:
    """Refuse a body that is no table."""
    return Problem(MALFORMED_TABLE, detail)


def _rows(file: BinaryIO, separator: str, row_bytes: int) -> Iterator[TableCells]:
    """Split a file into rows, with escapes."""
    lines = _Lines(file, row_bytes, separator)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise malformed(f"Row {lines.row} {_why_unreadable(error)}") from None
        yield TableCells(lines.row, cells, lines.size)
        lines.begin_row()


def _why_unreadable(error: csv.Error) -> str:
    """Say in our words what the module `csv` says about a row."""
    told = str(error)
    if "new-line character" in told:
        return (
            "has a carriage return without a line feed after it, outside of quotation marks. Old "
            f"Mac programs end lines in this way. {_HOW}"
        )
    if "field limit" in told:
        return f"has a cell of more than {csv.field_size_limit():,} characters. Make it shorter."
    if "end of data" in told:
        return (
            "has a cell that begins with a quotation mark, and no other at its end. Add it, and "
            "write each quotation mark inside of the cell twice."
        )
    return (
        "has a quotation mark inside of a cell. A cell that has one, a separator or a line break "
        "has to stand in quotation marks, and a quotation mark inside of it is written twice."
    )


class _Lines:
    """The lines of a file as text, as the reader of rows asks for them."""

    def __init__(self, file: BinaryIO, row_bytes: int, separator: str) -> None:
        file.seek(0)
        self.row, self.size = 1, 0
        self._file, self._most = file, row_bytes
        self._separator, self._separators = separator.encode(), 0
        self._is_first = True

    def begin_row(self) -> None:
        """Go on to the next row."""
        self.row += 1
        self.size = self._separators = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(self._most - self.size + 1)
        if not raw:
            raise StopIteration
        self.size += len(raw)
        if self.size > self._most:
            raise malformed(
                f"Row {self.row} has more than {self._most:,} bytes. A quotation mark may be "
                "missing at the end of a cell."
            )
        self._separators += raw.count(self._separator)
        if self._separators > MAX_SEPARATORS:
            raise malformed(
                f"Row {self.row} has more than {MAX_SEPARATORS:,} separators. Take out the empty "
                "cells at its end, or send this record as a line of JSON."
            )
        if self._is_first:
            self._is_first = False
            if raw.startswith(_WIDE_BOMS) or b"\0" in raw[:_WIDEST]:
                raise malformed(f"The table is in UTF-16, not in UTF-8. {_HOW}")
            raw = raw.removeprefix(_BOM)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise malformed(
                f"Row {self.row} is not in UTF-8: it has the byte 0x{raw[error.start]:02X}. {_HOW}"
            ) from None
