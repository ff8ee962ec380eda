"""Cells: values as the text of a cell and back.

A cell that a spreadsheet would take for a formula gets an apostrophe in front, and so does one that
begins with an apostrophe: whoever reads the table takes one off.
"""

from __future__ import annotations

import re
from typing import Any, Final

from api.core.errors import Problem
from api.core.json_text import read_json
from schemas.base import Part
from schemas.scalars import MAX_DIGITS, significant_digits
from schemas.shapes import Shape

Cell = str | int | float | bool | None
"""What stands in a cell; a null is an empty cell."""
FORMULAS: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
    "'",
)
"""What begins a cell that a spreadsheet would take for a formula, also in its full width, and the
mark of an escape."""
_ESCAPE: Final = "'"


def text_of(cell: Cell) -> str:
    """Write a value as text, before anything is escaped."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell if isinstance(cell, str) else str(cell)


def escaped(text: str) -> str:
    """Put an apostrophe before a text that begins like a formula."""
    return _ESCAPE + text if text.startswith(FORMULAS) else text


def unescaped(text: str) -> str:
    """Take off the apostrophe that :func:`escaped` has put there, and no other."""
    return text[1:] if text.startswith(_ESCAPE) and text[1:].startswith(FORMULAS) else text


def is_same(text: str, cell: Cell) -> bool:
    """Tell whether the text of a cell still says what was written there.

    Spreadsheets write line breaks in one way only, truth values in capitals, and numbers without
    zeros at their end.
    """
    if isinstance(cell, bool):
        return text.lower() == text_of(cell)
    written = text_of(cell)
    if text == written or with_one_break(text) == with_one_break(written):
        return True
    return isinstance(cell, int | float) and _value_of(text) == cell


def with_one_break(text: str) -> str:
    """Write all line breaks in the same way."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


_ANY_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\Z")


def _value_of(text: str) -> float | None:
    """Read a number as any program writes it; null if it is none."""
    return float(text) if len(text) <= MAX_NUMBER and _ANY_NUMBER.match(text) else None


MAX_NUMBER: Final = 100
"""How many characters a number has."""


# --- from text to a value --------------------------------------------------------------------

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?\Z")
_TRUTH: Final = {"true": True, "false": False}


class UnreadableCell(Exception):  # noqa: N818 - it is told as a fault of a record
    """A cell whose text is no value of its column; the message says what is."""


def read_value(text: str, expected: Shape) -> Any:  # noqa: ANN401 - JSON
    """Read the value that the text of a cell stands for.

    Text stays as it is. The rules of the record judge the value.
    """
    kind = expected.kind
    if expected.many or (isinstance(kind, type) and issubclass(kind, Part)):
        return _read_json(text, many=expected.many)
    if kind is bool:
        if (truth := _TRUTH.get(text.lower())) is None:
            raise UnreadableCell("Write `true` or `false`.")
        return truth
    if kind in (int, float):
        if len(text) > MAX_NUMBER or not _NUMBER.match(text):
            raise UnreadableCell(
                f"`{text[:40]}` is not a number in the form that is needed: digits, a point before "
                "the decimals, and no separator of thousands, such as `1234.5`."
            )
        if len(significant_digits(text)) > MAX_DIGITS:
            raise UnreadableCell(f"A number has at most {MAX_DIGITS} significant digits.")
        return float(text) if "." in text else int(text)
    return text


_CURVED: Final = frozenset("\u201c\u201d\u201e\u00ab\u00bb")
"""What spreadsheets put in the place of straight quotation marks while somebody types."""


def _read_json(text: str, *, many: bool) -> Any:  # noqa: ANN401 - JSON
    try:
        value = read_json(text.encode())
    except Problem as problem:
        told = problem.errors[0]["detail"] if problem.errors else problem.detail
        if not _CURVED.isdisjoint(text):
            told = f'Its quotation marks have to be straight, such as in `["one"]`. {told}'
        form = 'a list, such as `["one", "two"]`' if many else "an object, such as `{…}`"
        raise UnreadableCell(f"Write {form}, as JSON. {told}") from None
    if not isinstance(value, list if many else dict):
        raise UnreadableCell(f"Write {'a list' if many else 'an object'}, as JSON.")
    return value
