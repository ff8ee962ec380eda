"""Formats: which one an answer has, by `format` in the query or by the Accept header.

`format` is for browsers, which can't set a header, and comes before the header. Without either, or
if a client takes anything, the answer is JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from api.core.errors import NOT_ACCEPTABLE, Problem
from api.core.filters import Parameter
from api.core.request import JSON, NDJSON, Request, header_values
from schemas.vocabularies import RecordType


class Format(NamedTuple):
    """A format: its name in `format`, and its media type."""

    name: str
    media_type: str


AS_JSON: Final = Format("json", JSON)
AS_LINES: Final = Format("ndjson", NDJSON)
AS_TABLE: Final = Format("csv", "text/csv")
AS_PLACES: Final = Format("geojson", "application/geo+json")
AS_PAGE: Final = Format("html", "text/html")
"""A page for people, to which browsers are led; no operation gives it itself."""
AS_LINKED_DATA: Final = Format("jsonld", "application/ld+json")


LINKED: Final = (RecordType.ARTICLE, RecordType.CLAIM, RecordType.DENIAL)
"""The types whose records can be told in the terms of schema.org."""


@cache
def of_list(record_type: RecordType) -> tuple[Format, ...]:
    """Give the formats of a list of records of a type, the usual one first."""
    places = (AS_PLACES,) if record_type is RecordType.CLAIM else ()
    return (AS_JSON, AS_LINES, AS_TABLE, *places)


@cache
def of_record(record_type: RecordType) -> tuple[Format, ...]:
    """Give the formats of one record of a type, the usual one first."""
    linked = (AS_LINKED_DATA,) if record_type in LINKED else ()
    places = (AS_PLACES,) if record_type is RecordType.CLAIM else ()
    return (AS_JSON, *linked, *places)


def parameter(offered: Sequence[Format]) -> Parameter:
    """Declare the parameter `format` of an operation that offers some formats."""
    named = ", ".join(f"`{each.name}` is `{each.media_type}`" for each in offered)
    return Parameter(
        "format",
        Annotated[str, Meta(min_length=1, max_length=20)],
        f"The format of the answer, for browsers; programs send `Accept`. {named}.",
        example=offered[-1].name,
    )


def chosen(request: Request, name: str | None, offered: tuple[Format, ...]) -> Format:
    """Choose among the offered formats, by the value of `format` or by the Accept header.

    Raises 406 if the client takes none of them.
    """
    if name is not None:
        for each in offered:
            if each.name == name:
                return each
    elif not (accepted := header_values(request, b"accept")):
        return offered[0]
    elif (found := preferred(", ".join(accepted), offered)) is not None:
        return found
    names = ", ".join(f"`{each.media_type}` (`format={each.name}`)" for each in offered)
    raise Problem(NOT_ACCEPTABLE, f"Ask for one of {names}.")


_RANGE: Final = re.compile(
    r"(?P<type>[!#$%&'*+.^_`|~0-9a-z-]+)/(?P<subtype>[!#$%&'*+.^_`|~0-9a-z-]+)"
    r"(?P<parameters>(?:\s*;[^;,]*)*)\Z"
)
_WEIGHT: Final = re.compile(r";\s*q=(?:(0?\.[0-9]{1,3}|0\.?|1(?:\.0{0,3})?)\s*(?:;|\Z))?")


@lru_cache(maxsize=256)
def preferred(accepted: str, offered: tuple[Format, ...]) -> Format | None:
    """Choose the format with the highest weight (RFC 9110, section 12.5.1); null if none has one.

    A range that names a type is believed before one that names its first half, and that one before
    `*/*`. Of formats with the same weight, the first is chosen. What can't be read is not used.
    """
    weights: dict[tuple[str, str], float] = {}
    for item in accepted.lower().split(","):
        if match := _RANGE.match(item.strip()):
            given = _WEIGHT.search(match["parameters"])
            if given is None or given[1] is not None:
                weights[match["type"], match["subtype"]] = float(given[1]) if given else 1.0
    if not weights:
        return offered[0]
    best, best_weight = None, 0.0
    for each in offered:
        first, _, second = each.media_type.partition("/")
        ranges = ((first, second), (first, "*"), ("*", "*"))
        weight = next((weights[names] for names in ranges if names in weights), 0.0)
        if weight > best_weight:
            best, best_weight = each, weight
    return best
