"""What spreadsheets do to cells that nobody edited: a text that looks like a number becomes one.

Each rule is what LibreOffice (`tests/test_libreoffice.py`) or Excel was seen to do. A comparison
with what the cell had before shows it. Where somebody may have meant the same, the cell is refused
all the same: what was lost can't be told from what was meant.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from api.exchange.cells import MAX_NUMBER, Cell, escaped, text_of, with_one_break
from schemas.shapes import Shape

MAX_EXCEL: Final = 32_767
"""How many units of UTF-16 a cell of Excel has; the rest of a longer text is cut off."""
_MOST_LOST: Final = 2
"""A cut cell may have so many units less: the mark of an escape, and half of a character."""
_SHORTENED: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+\Z")
_ZEROS: Final = re.compile(r"0+[0-9]*\Z")
_DIGITS: Final = re.compile(r"[0-9]{16,}\Z")
_ERROR: Final = re.compile(r"#(?:[A-Z\u00c0-\u00dd/0-9?]{1,20}[!?]|N/A|NV)\Z|Err:[0-9]{3}\Z")
_LOST: Final = {code: None for code in range(0x20) if chr(code) not in "\n\r"}
"""The control characters that are left out of a file of LibreOffice's own format."""
_NO_CHARACTER: Final = "\ufffd"
"""What programs write for half of a character."""
_EXACT_DIGITS: Final = 15
"""Spreadsheets keep this many digits of a number, and write zeros for the others."""
_WAY_OUT: Final = "If you mean the value that the cell has now, change the record with `PATCH`."


def damage(text: str, before: Cell, expected: Shape) -> str | None:
    """Say how a spreadsheet has damaged a cell that had other text before; null if it has not."""
    return next(_damages(text, text_of(before), expected), None)


def _damages(text: str, was: str, expected: Shape) -> Iterator[str]:
    if _ERROR.match(text):
        yield (
            f"A spreadsheet has taken the text for a formula, and has written its error, `{text}`. "
            "Write an apostrophe before it, or format the column as text."
        )
    if _SHORTENED.match(text):
        yield (
            f"A spreadsheet has shortened a long number to `{text}`. Write out all digits, in a "
            "column that is formatted as text."
        )
    if _ZEROS.match(was) and text == (was.lstrip("0") or "0"):
        yield (
            f"A spreadsheet has removed the zeros at the beginning of `{was[:40]}`. "
            "Format the column as "
            f"text, and write them again. {_WAY_OUT}"
        )
    if _has_lost_digits(text, was):
        yield (
            "A spreadsheet keeps 15 digits of a number, and has put zeros for the others. Format "
            "the column as text, and write them again."
        )
    if _is_cut(text, was):
        yield (
            f"A spreadsheet has cut the text off after {len(text):,} characters. Leave the column "
            "out, and change the text with `PATCH`."
        )
    if _has_lost_characters(text, was):
        yield (
            "A spreadsheet has removed control characters, such as tabs. Leave the column out, or "
            f"save the table as CSV only, never in another format in between. {_WAY_OUT}"
        )
    if expected.kind is not bool and _is_rewritten(text, was):
        yield (
            f"A spreadsheet has taken `{was[:40]}` for a number, a date or a truth value, and has "
            f"written it as `{text[:40]}`. Open the table with all columns as text. {_WAY_OUT}"
        )


def _is_cut(text: str, was: str) -> bool:
    """Tell whether a text was cut off where a cell of a spreadsheet ends.

    A character beyond U+FFFF has two units there, and may have lost one of them. A line break may
    have had two when the text was cut.
    """
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units + text.count("\n") + _MOST_LOST < MAX_EXCEL:
        return False
    whole, kept = with_one_break(was), with_one_break(text).rstrip(_NO_CHARACTER)
    return len(kept) < len(whole) and whole.startswith(kept)


def _has_lost_characters(text: str, was: str) -> bool:
    """Tell whether control characters were left out; the mark of an escape stays behind."""
    kept = [with_one_break(each).translate(_LOST) for each in (was, escaped(was))]
    return text != "" and with_one_break(text) in kept


def _has_lost_digits(text: str, was: str) -> bool:
    """Tell whether a number of many digits has zeros where it had others, or is likely to."""
    if not _DIGITS.match(text) or text[_EXACT_DIGITS:].strip("0"):
        return False
    return len(was) == len(text) if _DIGITS.match(was) else len(text) > _EXACT_DIGITS + 1


# --- a text that was taken for a number or a date ----------------------------------------------

_READINGS: Final = [
    re.compile(
        rf"([0-9]{{1,3}}(?:[{others} \u00a0\u202f'\u2019][0-9]{{3}})+|[0-9]*)"
        rf"(?:[{point}]([0-9]*))?(e[+-]?[0-9]{{1,3}})?\Z",
        re.IGNORECASE,
    )
    for point, others in ((".", ","), (",", "."))
]
"""How a number may be read: with a point or a comma before its decimals."""
_PLAIN: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?\Z")
_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_MONTH: Final = re.compile(rf"(?:{'|'.join(_MONTHS)})[a-z]*")
_HALF_DAY: Final = re.compile(r"([0-9]{1,2})(:[0-9:]+) ?([ap])m")
_LIKE_DATE: Final = re.compile(r"[0-9][0-9 ./:,-]*\Z")
_DATE: Final = re.compile(r"(?:[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{1,4})?(?: ?[0-9:]*:[0-9]{2})?\Z")
_DATE_IN_WORDS: Final = re.compile(r"[0-9]{1,2}(?:-|\. )[0-9]{1,4}\Z")
_ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_TRUTH: Final = frozenset(
    [
        "true",
        "false",
        "wahr",
        "falsch",
        "vrai",
        "faux",
        "verdadero",
        "falso",
        "vero",
        "verdadeiro",
        "waar",
        "onwaar",
        "sant",
        "falskt",
    ]
)
"""Truth values in some languages, which spreadsheets write in capitals."""
_NUMBER: Final = re.compile(r"[0-9]+")
_CENTURY: Final = 100
_NOON: Final = 12


def _is_rewritten(text: str, was: str) -> bool:
    """Tell whether a text is another way to write the number, date or truth value of before."""
    if not text or not was or max(len(text), len(was)) > MAX_NUMBER:
        return False
    if text == was.upper() and was.lower() in _TRUTH:
        return True
    return _is_same_number(text, was) or _is_same_date(text.lower(), was.lower())


class _Bare(NamedTuple):
    """A number without its sign and its symbols, such as that of a currency."""

    digits: str
    is_negative: bool
    symbols: frozenset[str]


def _bare(text: str) -> _Bare:
    symbols = frozenset(each for each in text if each == "%" or unicodedata.category(each) == "Sc")
    digits = "".join(each for each in text if each not in symbols).strip()
    is_negative = digits.startswith(("-", "(")) or digits.endswith("-")
    return _Bare(digits.strip("+-()").strip(), is_negative, symbols)


def _is_same_number(text: str, was: str) -> bool:
    """Tell whether a plain number is one way to read the text of before.

    Spreadsheets add neither symbols nor separators of thousands to a number; people do.
    """
    now, before = _bare(text), _bare(was)
    if not _PLAIN.match(now.digits) or not now.symbols <= before.symbols:
        return False
    if now.is_negative != before.is_negative or (_PLAIN.match(was) and text.startswith(was)):
        return False
    written = _rounded(now.digits.replace(",", "."))
    found = (reading.match(before.digits) for reading in _READINGS)
    return written in [
        _rounded(f"{re.sub('[^0-9]', '', each[1]) or 0}.{each[2] or 0}{each[3] or ''}")
        for each in found
        if each is not None and (each[1] or each[2])
    ]


def _rounded(number: str) -> str:
    return f"{float(number):.{_EXACT_DIGITS}g}"


def _is_same_date(text: str, was: str) -> bool:
    """Tell whether a date or a time has the numbers of before; often a year or seconds were added.

    A date as the API writes it is taken for an edit if it has no other numbers.
    """
    was, _ = _with_numbers(was)
    text, has_month = _with_numbers(text)
    if not _LIKE_DATE.match(was):
        return False
    if not _DATE.match(text) and not (has_month and _DATE_IN_WORDS.match(text)):
        return False
    before, now = _numbers(was), _numbers(text)
    return before <= now and (before < now or not _ISO.match(text))


def _with_numbers(text: str) -> tuple[str, bool]:
    """Write the names of months, and the hours after noon, as numbers."""
    text = _HALF_DAY.sub(
        lambda found: f"{int(found[1]) % _NOON + _NOON * (found[3] == 'p')}{found[2]}", text
    )
    text, count = _MONTH.subn(lambda found: f"{_MONTHS.index(found[0][:3]) + 1} ", text)
    return text.strip(), count > 0


def _numbers(text: str) -> Counter[int]:
    """Count the numbers in a text; the century of a year is often left out."""
    return Counter(int(each) % _CENTURY for each in _NUMBER.findall(text))
