"""Filters and a grouping by the figures of records: unit and population in any spelling."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from api.core.filters import Clause, Filter, Parameter
from api.core.resource import Grouping
from schemas.scalars import Line, Number
from schemas.vocabularies import RecordType

_METRIC = Annotated[
    str, Meta(min_length=1, max_length=500, extra_json_schema={"x-vocabulary": "metric"})
]

FIGURE: Final = "{clauses}"
"""The condition on a figure `f`: all that is asked holds for the same one."""
_ASKED: Final = {
    "metric": "f.metric = :metric::text",
    "unit": "f.unit = fold(:unit::text)",
    "population": "f.population = fold(:population::text)",
    "quantity_from": """(f.upper > :quantity_from::float8
            OR (f.upper = :quantity_from AND NOT f.upper_open))""",
    "quantity_to": """(f.lower < :quantity_to::float8
            OR (f.lower = :quantity_to AND NOT f.lower_open))""",
}
"""What each parameter asks of a figure `f`, whose unit and population are as `fold` makes them.

Vague words have no range, so none overlaps theirs. A parameter that is not given stands in no
condition: Postgres would keep a plan for few figures, though a metric alone has many.
"""


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
        clauses={name: Clause(asked) for name, asked in _ASKED.items()},
        element="figure",
    )


BY_METRIC: Final = Grouping(
    "metric",
    "the metric of a figure",
    "SELECT DISTINCT m.id, q.metric AS value FROM {matched} AS m"
    " CROSS JOIN LATERAL json_to_recordset(m.quantities) AS q(metric text)",
    columns=("quantities",),
)
"""The grouping by the metrics of a record's figures."""
