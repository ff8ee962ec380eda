"""Dates and numbers, which reviews give as texts in many forms: read where the form is clear."""

from __future__ import annotations

import calendar
import re
from typing import Any, Final

from schemas.scalars import MAX_DIGITS, moment, significant_digits
from schemas.vocabularies import Precision

MAX_EXPRESSION: Final = 500
_DAY: Final = r"(?P<day>[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01]))"
_CLOCK: Final = (
    r"(?:[T ](?P<minute>[0-2][0-9]:[0-5][0-9])(?P<second>:[0-5][0-9])?"
    r"(?P<fraction>[.,][0-9]{1,12})? ?(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_DATE: Final = re.compile(_DAY + _CLOCK + r"\Z")
_LONGER: Final = re.compile(r"(?P<year>[12][0-9]{3})(?:-(?P<month>0[1-9]|1[0-2]))?\Z")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")


def as_bound(text: str) -> str | None:
    """Read a date or an instant of ISO 8601; null if it is neither.

    Of a time of day without an offset only the date counts: at which instant it was is unknown.
    """
    match = _DATE.match(text)
    if match is None:
        return None
    bound = match["day"]
    if match["minute"] and match["offset"]:
        fraction = f".{match['fraction'][1:7]}" if match["fraction"] else ""
        bound += f"T{match['minute']}{match['second'] or ':00'}{fraction}{_offset(match['offset'])}"
    return bound if moment(bound) is not None else None


def _offset(written: str) -> str:
    if written in "Zz":
        return "Z"
    digits = written[1:].replace(":", "").ljust(4, "0")
    return f"{written[0]}{digits[:2]}:{digits[2:]}"


def as_time(text: str) -> dict[str, Any]:
    """Read when something was said; words that are no date of ISO 8601 stay words."""
    if (bound := as_bound(text)) is not None:
        precision = Precision.SECOND if "T" in bound else Precision.DAY
        return {"earliest": bound, "latest": bound, "precision": precision}
    if match := _LONGER.match(text):
        year, month = match["year"], match["month"]
        if month is None:
            return {
                "earliest": f"{year}-01-01",
                "latest": f"{year}-12-31",
                "precision": Precision.YEAR,
            }
        _, days = calendar.monthrange(int(year), int(month))
        return {
            "earliest": f"{year}-{month}-01",
            "latest": f"{year}-{month}-{days}",
            "precision": Precision.MONTH,
        }
    return {"expression": text}


def as_number(value: Any) -> int | float | None:  # noqa: ANN401 - JSON
    """Read a number, also where it is a text; null if it is none, or has too many digits."""
    if isinstance(value, str):
        if not _NUMBER.match(value.strip()):
            return None
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if len(significant_digits(repr(value))) > MAX_DIGITS or abs(value) >= 10**MAX_DIGITS:
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value
