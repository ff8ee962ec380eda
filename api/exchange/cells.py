"""Cells: values as the text of a cell and back, and what a spreadsheet does to such text.

A cell that a spreadsheet would take for a formula gets an apostrophe in front, and so does one that
begins with an apostrophe: whoever reads the table takes one off.
"""

from __future__ import annotations

import re
from typing import Any, Final

from api.core.errors import Problem
from api.core.json_text import read_json
from schemas.base import MAX_DIGITS, Part, Shape, significant_digits

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
MAX_EXCEL: Final = 32_767
"""How many units of UTF-16 a cell of Excel has; the rest of a longer text is cut off."""
_MOST_LOST: Final = 2
"""A cut cell may have so many units less: the mark of an escape, and half of a character."""


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

    Spreadsheets write line breaks in one way only, and truth values in capitals.
    """
    if isinstance(cell, bool):
        return text.lower() == text_of(cell)
    written = text_of(cell)
    return text == written or _with_one_break(text) == _with_one_break(written)


def _with_one_break(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


# --- what a spreadsheet has damaged ----------------------------------------------------------

_SHORTENED: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+\Z")
_ZEROS: Final = re.compile(r"0+[0-9]*\Z")
_DIGITS: Final = re.compile(r"[0-9]{16,}\Z")
_NO_CHARACTER: Final = "\ufffd"
"""What programs write for half of a character."""
_EXACT_DIGITS: Final = 15
"""Spreadsheets keep this many digits of a number, and write zeros for the others."""


def damage(text: str, before: Cell) -> str | None:
    """Say how a spreadsheet has damaged a cell that had other text before; null if it has not."""
    was = text_of(before)
    if _SHORTENED.match(text):
        return (
            f"A spreadsheet has shortened a long number to `{text}`. Write out all digits, in a "
            "column that is formatted as text."
        )
    if _ZEROS.match(was) and text == (was.lstrip("0") or "0"):
        return (
            f"A spreadsheet has taken off the zeros in front of `{was[:40]}`. Format the column as "
            "text, and write them again."
        )
    if _has_lost_digits(text, was):
        return (
            "A spreadsheet keeps 15 digits of a number, and has put zeros for the others. Format "
            "the column as text, and write them again."
        )
    if _is_cut(text, was):
        return (
            f"A spreadsheet has cut the text off behind {len(text):,} characters. Leave the column "
            "out, and change the text with `PATCH`."
        )
    return None


def _is_cut(text: str, was: str) -> bool:
    """Tell whether a text was cut off where a cell of a spreadsheet ends.

    A character beyond U+FFFF has two units there, and may have lost one of them. A line break may
    have had two when the text was cut.
    """
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units + text.count("\n") + _MOST_LOST < MAX_EXCEL:
        return False
    whole, kept = _with_one_break(was), _with_one_break(text).rstrip(_NO_CHARACTER)
    return len(kept) < len(whole) and whole.startswith(kept)


def _has_lost_digits(text: str, was: str) -> bool:
    """Tell whether a number of many digits has zeros where it had others, or is likely to."""
    if not _DIGITS.match(text) or text[_EXACT_DIGITS:].strip("0"):
        return False
    return len(was) == len(text) if _DIGITS.match(was) else len(text) > _EXACT_DIGITS + 1


# --- from text to a value --------------------------------------------------------------------

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?\Z")
_MAX_NUMBER: Final = 100
"""How many characters a number has."""
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
        if len(text) > _MAX_NUMBER or not _NUMBER.match(text):
            raise UnreadableCell(
                f"`{text[:40]}` is no number as it has to be written: digits, and a point before "
                "decimals, such as `1234.5`, without a separator of thousands."
            )
        if len(significant_digits(text)) > MAX_DIGITS:
            raise UnreadableCell(f"A number has at most {MAX_DIGITS} significant digits.")
        return float(text) if "." in text else int(text)
    return text


def _read_json(text: str, *, many: bool) -> Any:  # noqa: ANN401 - JSON
    try:
        value = read_json(text.encode())
    except Problem as problem:
        told = problem.errors[0]["detail"] if problem.errors else problem.detail
        form = 'a list, such as `["one", "two"]`' if many else "an object, such as `{…}`"
        raise UnreadableCell(f"Write {form}, as JSON. {told}") from None
    if not isinstance(value, list if many else dict):
        raise UnreadableCell(f"Write {'a list' if many else 'an object'}, as JSON.")
    return value
