"""Filters by the places that claims mention, and by the ratings that they were given."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from api.core.filters import Clause, Filter, Parameter, Words, on_one
from schemas.scalars import Country
from schemas.vocabularies import PlaceRole

_DEGREES: Final = r"-?[0-9]{1,3}(\.[0-9]{1,15})?"
Box = Annotated[
    str,
    Meta(
        pattern=rf"^{_DEGREES}(,{_DEGREES}){{3}}\Z",
        max_length=100,
        extra={"form": "west,south,east,north in degrees, such as `124.5,33,132,43.1`"},
    ),
]


def read_box(text: str) -> list[float]:
    """Read a box of coordinates as the west, south, east and north of two, which may be the same.

    A box that crosses the antimeridian is one on each side of it; the antimeridian itself has two
    names, 180 and -180. Raises ValueError for a box that is not on the globe.
    """
    west, south, east, north = map(float, text.split(","))
    if max(-west, west, -east, east) > 180:  # noqa: PLR2004 - degrees
        raise ValueError("West and east, its first and third number, lie between -180 and 180.")
    if max(-south, north) > 90 or south > north:  # noqa: PLR2004 - degrees
        raise ValueError(
            "South and north, its second and fourth number, lie between -90 and 90, and south is"
            " not above north."
        )
    if west > east:
        return [west, south, 180, north, -180, south, east, north]
    if west > -180 and east == 180:  # noqa: PLR2004 - degrees
        return [west, south, east, north, -180, south, -180, north]
    if west == -180 and east < 180:  # noqa: PLR2004 - degrees
        return [west, south, east, north, 180, south, 180, north]
    return [west, south, east, north] * 2


def _corners(first: int) -> str:
    """Write a box of which the four numbers begin at a place of `:bbox`."""
    west, south, east, north = (f"(:bbox::float8[])[{first + place}]" for place in range(4))
    return f"p.spot <@ box(point({west}, {south}), point({east}, {north}))"


def located() -> Filter:
    """Declare the filter by places; all its parameters must hold for the same place."""
    return on_one(
        "place",
        "t.id IN (SELECT p.claim_id FROM places AS p WHERE {clauses})",
        (
            Parameter(
                "place",
                Words,
                "Words of the name of a place, in any order. Accents, case and punctuation are"
                " ignored.",
            ),
            Clause("p.words @@ plainto_tsquery('claim_records', search_text(:place::text))"),
        ),
        (
            Parameter("place_country_code", Country, "The country of that place."),
            Clause("p.country_code = :place_country_code::text"),
        ),
        (
            Parameter("place_role", PlaceRole, "The role of that place."),
            Clause("p.role = :place_role::text"),
        ),
        (
            Parameter(
                "bbox",
                Box,
                "The place has coordinates in this box: `west,south,east,north`, in degrees. A box"
                " whose west is above its east crosses the antimeridian.",
                read=read_box,
            ),
            Clause(f"({_corners(1)} OR {_corners(5)})"),
        ),
    )


def assessed() -> Filter:
    """Declare the filter by ratings; all its parameters must hold for the same rating."""
    return on_one(
        "rating",
        "t.id IN (SELECT a.claim_id FROM assessments AS a WHERE {clauses})",
        (
            Parameter("assessor", Words, "Who rated it. Accents and case are ignored."),
            Clause("a.assessor = fold(:assessor::text)"),
        ),
        (
            Parameter(
                "assessment_label",
                Words,
                "The rating in the words of its scale. Accents and case are ignored.",
            ),
            Clause("a.label = fold(:assessment_label::text)"),
        ),
    )
