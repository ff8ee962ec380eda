"""Filters and a grouping by the figures of records: unit and population in any spelling."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from api.core.filters import Filter, Parameter
from api.core.resource import Grouping
from schemas.scalars import Line, Number
from schemas.vocabularies import RecordType

_METRIC = Annotated[
    str, Meta(min_length=1, max_length=500, extra_json_schema={"x-vocabulary": "metric"})
]

# All these conditions are on one figure `f`. Its range overlaps the given one; vague words have no
# range. Unit and population are kept as `fold` makes them.
FIGURE: Final = """f.metric = :metric::text
        AND (:unit::text IS NULL OR f.unit = fold(:unit))
        AND (:population::text IS NULL OR f.population = fold(:population))
        AND (:quantity_to::float8 IS NULL OR f.lower < :quantity_to
             OR (f.lower = :quantity_to AND NOT f.lower_open))
        AND (:quantity_from::float8 IS NULL OR f.upper > :quantity_from
             OR (f.upper = :quantity_from AND NOT f.upper_open))"""


def quantified(record_type: RecordType) -> Filter:
    """Declare the filter on the figures of records of a type."""
    return Filter(
        (
            Parameter("metric", _METRIC, f"The {record_type} has a figure of this metric."),
            Parameter("unit", Line, "The figure has this unit. Case and accents are ignored."),
            Parameter(
                "population",
                Line,
                "The figure counts these people or things. Case and accents are ignored.",
            ),
            Parameter("quantity_from", Number, "The figure may be this number or more."),
            Parameter("quantity_to", Number, "The figure may be this number or less."),
        ),
        f"""t.id IN (
    SELECT f.owner_id FROM figures AS f
    WHERE f.owner_type = '{record_type}' AND {FIGURE})""",
        needs="metric",
        range=("quantity_from", "quantity_to"),
    )


BY_METRIC: Final = Grouping(
    "metric",
    "the metric of a figure",
    "SELECT DISTINCT m.id, q.metric AS value FROM {matched} AS m"
    " CROSS JOIN LATERAL json_to_recordset(m.quantities) AS q(metric text)",
    columns=("quantities",),
)
"""The grouping by the metrics of a record's figures."""
