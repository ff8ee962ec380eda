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
TRAILER: Final = "#count"
"""How the line begins that counts the rows, at the end of a table."""
_SEPARATORS: Final = (",", ";", "\t")
_WIDE_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
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
    best: list[str] = []
    chosen, most = _SEPARATORS[0], -1
    unreadable: Problem | None = None
    for separator in _SEPARATORS:
        try:
            _, names = next(_rows(file, separator, row_bytes), (1, []))
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


def read_rows(
    file: BinaryIO, heading: Heading, row_bytes: int
) -> Iterator[tuple[int, Sequence[str]]]:
    """Give the rows below the heading: their numbers, from 2, and their cells without escapes.

    Rows of which all cells are empty are counted but not given.
    """
    for number, cells in _rows(file, heading.separator, row_bytes):
        if number > MAX_ROWS:
            raise malformed(f"A table has at most {MAX_ROWS:,} rows. Send it in parts.")
        if number == 1 or not any(cells) or _is_trailer(cells):
            continue
        if any(cells[len(heading.columns) :]):
            raise malformed(
                f"Row {number} has more cells than there are columns. A separator or a quotation "
                "mark is missing or too many."
            )
        yield number, [unescaped(cell) for cell in cells[: len(heading.columns)]]


def _is_trailer(cells: Sequence[str]) -> bool:
    """Tell whether a row only says how many there are."""
    first, count, *others = [*cells, ""]
    return first == TRAILER and count.isdecimal() and not any(others)


def malformed(detail: str) -> Problem:
    """Refuse a body that is no table."""
    return Problem(MALFORMED_TABLE, detail)


def _rows(file: BinaryIO, separator: str, row_bytes: int) -> Iterator[tuple[int, list[str]]]:
    """Split a file into rows with their numbers, from 1."""
    lines = _Lines(file, row_bytes)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise malformed(
                f"Row {lines.row} can't be read: {error}. A cell that has a quotation mark, a "
                "separator or a line break has to stand in quotation marks, and a quotation mark "
                "inside of it is written twice."
            ) from None
        yield lines.row, cells
        lines.begin_row()


class _Lines:
    """The lines of a file as text, as the reader of rows asks for them."""

    def __init__(self, file: BinaryIO, row_bytes: int) -> None:
        file.seek(0)
        self.row = 1
        self._file, self._most, self._size = file, row_bytes, 0
        self._is_first = True

    def begin_row(self) -> None:
        """Go on to the next row."""
        self.row += 1
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(self._most - self._size + 1)
        if not raw:
            raise StopIteration
        self._size += len(raw)
        if self._size > self._most:
            raise malformed(
                f"Row {self.row} has more than {self._most:,} bytes. A quotation mark may be "
                "missing at the end of a cell."
            )
        if self._is_first:
            self._is_first = False
            if raw.startswith(_WIDE_BOMS):
                raise malformed(f"The table is in UTF-16, not in UTF-8. {_HOW}")
            raw = raw.removeprefix(_BOM)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise malformed(
                f"Row {self.row} is not in UTF-8: it has the byte 0x{raw[error.start]:02X}. {_HOW}"
            ) from None
