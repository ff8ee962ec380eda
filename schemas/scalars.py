"""The scalar types of all records: ids, texts, times and numbers, each with its form and bounds."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Final

from msgspec import Meta

from schemas.vocabularies import RecordType

# `\Z`, not `$`: Python's `$` also matches before a final newline. The OpenAPI document says `$`.
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"

_DATE = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"

# No place on earth is more than 14 hours from UTC; Postgres refuses offsets beyond 15:59.
_CLOCK = (
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)"
)

_UUID = "a UUID in lower case"


def _reference(to: RecordType) -> Any:  # noqa: ANN401 - a type form, which no type describes
    """Build the type of an id that must name a record which is not deleted."""
    return Annotated[
        str,
        Meta(
            min_length=36,
            max_length=36,
            pattern=UUID_PATTERN,
            extra_json_schema={"format": "uuid"},
            extra={"refers_to": to, "form": _UUID},
        ),
    ]


Id = Annotated[
    str,
    Meta(
        min_length=36,
        max_length=36,
        pattern=UUID_PATTERN,
        extra_json_schema={"format": "uuid"},
        extra={"form": _UUID},
    ),
]

ArticleId = _reference(RecordType.ARTICLE)

ClaimId = _reference(RecordType.CLAIM)

DenialId = _reference(RecordType.DENIAL)

SourceId = _reference(RecordType.SOURCE)

Line = Annotated[str, Meta(min_length=1, max_length=500)]
"""A name or a few words."""

Text = Annotated[str, Meta(min_length=1, max_length=10_000)]
"""A sentence or a few paragraphs."""

Url = Annotated[
    str,
    Meta(
        max_length=2_000,
        pattern=r"^https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+\Z",
        extra_json_schema={"format": "uri"},
        extra={"form": "an absolute http or https URL in ASCII, of at most 2,000 characters"},
    ),
]
"""An absolute http(s) URL in ASCII (RFC 3986: anything else is percent-encoded)."""

Language = Annotated[
    str,
    Meta(
        max_length=35,
        pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*\Z",
        extra={"form": "a BCP 47 language tag, such as `en` or `zh-Hant`"},
    ),
]
"""A BCP 47 language tag; `und` is undetermined."""

Country = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=2,
        pattern=r"^[A-Z]{2}\Z",
        extra={"form": "two capital letters (ISO 3166-1), such as `KR`"},
    ),
]
"""ISO 3166-1 alpha-2."""

Instant = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=rf"^{_DATE}{_CLOCK}\Z",
        extra_json_schema={"format": "date-time"},
        extra={
            "instant": True,
            "form": "an instant with its offset (RFC 3339), such as `2024-12-19T10:00:00Z`",
        },
    ),
]
"""RFC 3339, with an offset; kept and returned in UTC."""

Bound = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=rf"^{_DATE}({_CLOCK})?\Z",
        extra={
            "form": "a date, such as `2024-12-19`, or an instant with its offset (RFC 3339), such "
            "as `2024-12-19T10:00:00Z`"
        },
    ),
]
"""A date, or an RFC 3339 instant; kept as written."""

MAX_DIGITS: Final = 15
"""Every JSON reader keeps this many significant digits of a number."""

LARGEST = 999_999_999_999_999
"""The largest number of 15 significant digits."""

Number = (
    Annotated[int, Meta(ge=-LARGEST, le=LARGEST)] | Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
)

Confidence = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
"""From 0 to 1."""

Latitude = Annotated[int, Meta(ge=-90, le=90)] | Annotated[float, Meta(ge=-90, le=90)]

Longitude = Annotated[int, Meta(ge=-180, le=180)] | Annotated[float, Meta(ge=-180, le=180)]

_HALF_EARTH: Final = 20_040_000

Metres = Annotated[int, Meta(ge=0, le=_HALF_EARTH)] | Annotated[float, Meta(ge=0, le=_HALF_EARTH)]
"""A distance on the Earth, at most half of its circumference."""

Offset = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A position in Unicode code points."""

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]

Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]


def moment(bound: str, *, end: bool = False) -> dt.datetime | None:
    """Give the moment in UTC at which a date's day begins, or the instant itself.

    With `end`, give the moment at which the bound is over: the end of the day, or one microsecond
    after the instant. None if the date is not valid, such as 30 February, or if its year in UTC is
    before 1000 or after 2999.
    """
    try:
        if "T" in bound:
            at = dt.datetime.fromisoformat(bound).astimezone(dt.UTC)
        else:
            at = dt.datetime.combine(dt.date.fromisoformat(bound), dt.time(), dt.UTC)
    except (ValueError, OverflowError):
        return None
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        return None
    if not end:
        return at
    return at + (dt.timedelta(microseconds=1) if "T" in bound else dt.timedelta(days=1))


_FIRST_YEAR, _LAST_YEAR = 1000, 2999


def in_utc(instant: str | None) -> str | None:
    """Write an instant in UTC, as it is stored; an invalid one stays as it is."""
    at = moment(instant) if instant is not None else None
    return at.isoformat().replace("+00:00", "Z") if at else instant


def significant_digits(number: str) -> str:
    """Give the significant digits of a number in JSON."""
    return re.split("[eE]", number)[0].replace(".", "").strip("-0")
