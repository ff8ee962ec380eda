"""Groups: how many records of a list there are for each value of a property."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from api.core.errors import invalid_parameter
from api.core.filters import Parameter, conditions, read_query
from api.core.operation import Operation
from api.core.request import Answer, Request, caller, context, encoded
from api.core.resource import MAX_LIMIT, Grouping, Resource
from api.core.sql import compose, render
from api.records.nouns import RESOURCES
from schemas.base import fields, is_vocabulary, shape
from schemas.parts import Time
from schemas.questions import Group, GroupCounts
from schemas.vocabularies import RecordType

MAX_BY: Final = 5
MAX_GROUPED: Final = 1_000_000
"""Groups are exact for as many records, by a property of the record itself."""
MAX_GROUPED_BY_OTHERS: Final = 200_000
"""Groups are exact for as many records, by what is in their lists or in other records."""
_DEFAULT_LIMIT: Final = 20
_PERIODS: Final = {"year": "YYYY", "month": "YYYY-MM", "day": "YYYY-MM-DD"}

_MATCHED: Final = """
    WITH matched AS MATERIALIZED (
        SELECT {columns} FROM {table} AS t
        WHERE {conditions} AND t.deleted_at IS NULL AND :sees({type}, t)
        LIMIT {most}
    ){groups}
    SELECT (SELECT count(*) FROM matched) AS total{answers}"""
# Lists take room; those of the records that are not grouped by them are not kept.
_OF_FIRST: Final = "CASE WHEN row_number() OVER () <= {most} THEN t.{column} END AS {column}"
_OWN: Final = "SELECT m.id, {value} AS value FROM {matched} AS m WHERE m.{column} IS NOT NULL"
_FIRST: Final = "(SELECT * FROM matched LIMIT {most})"
_SINGLE: Final = """, {name}_counts AS (
        SELECT p.value, count(*) AS records FROM ({pairs}) AS p GROUP BY p.value
    ), {name}_top AS (
        SELECT c.value, c.records FROM {name}_counts AS c
        ORDER BY c.records DESC, c.value LIMIT :limit
    )"""
_MANY: Final = """, {name}_pairs AS MATERIALIZED (
        {pairs}
    ), {name}_top AS (
        SELECT p.value, count(*) AS records FROM {name}_pairs AS p GROUP BY p.value
        ORDER BY records DESC, p.value LIMIT :limit
    )"""
# How many records have a value, and how many have one of those listed.
_SUMS: Final = {
    True: """,
        (SELECT coalesce(sum(c.records), 0)::bigint FROM {name}_counts AS c) AS {name}_valued,
        (SELECT coalesce(sum(p.records), 0)::bigint FROM {name}_top AS p) AS {name}_listed""",
    False: """,
        (
            SELECT count(*) FROM (SELECT FROM {name}_pairs AS p GROUP BY p.id) AS valued
        ) AS {name}_valued,
        (
            SELECT count(*) FROM (
                SELECT FROM {name}_pairs AS p
                WHERE p.value IN (SELECT c.value FROM {name}_top AS c)
                GROUP BY p.id
            ) AS listed
        ) AS {name}_listed""",
}
_VALUES: Final = """,
        (
            SELECT json_agg(
                json_build_object('value', p.value, 'name', {label}, 'count', p.records)
                ORDER BY p.records DESC, p.value
            )
            FROM {name}_top AS p{named}
        ) AS {name}"""
_LABELS: Final = {
    RecordType.SOURCE: "coalesce(o.name, o.description)",
    RecordType.ARTICLE: "o.headline",
}

_LIMIT: Final = Parameter(
    "limit",
    Annotated[int, Meta(ge=1, le=MAX_LIMIT)],
    "The largest number of values to list for each property; the most frequent ones are listed.",
    default=_DEFAULT_LIMIT,
)


@cache
def groupings(resource: Resource) -> dict[str, Grouping]:
    """Give everything by which the records of a resource can be grouped, by name."""
    own = fields(resource.record)
    plain = [f.name for f in own if _is_plain(f.name, f.type)]
    times = [(f.name, f"{f.name}_from") for f in own if shape(f.type).kind is Time]
    found = [
        *(_by_column(name) for name in plain),
        Grouping(
            "tag",
            "",
            "SELECT m.id, each.tag AS value FROM {matched} AS m"
            " CROSS JOIN LATERAL unnest(m.tags) AS each(tag)",
            columns=("tags",),
        ),
        *resource.groupings,
        *(
            _by_period(name, column, period)
            for name, column in [*times, ("created_at", "created_at")]
            for period in _PERIODS
        ),
    ]
    return {each.name: each for each in found}


def _is_plain(name: str, annotation: object) -> bool:
    """Tell whether a property holds one term, or a code of which there are few."""
    found = shape(annotation)
    return not found.many and (is_vocabulary(found.kind) or name in {"language", "country_code"})


def _by_column(name: str) -> Grouping:
    return Grouping(name, "", _own(f"m.{name}", name), columns=(name,), single=True)


def _by_period(name: str, column: str, period: str) -> Grouping:
    """Group by the year, month or day in UTC on which a time begins."""
    value = f"to_char(m.{column} AT TIME ZONE 'UTC', '{_PERIODS[period]}')"
    return Grouping(
        f"{name}:{period}",
        "",
        _own(value, column),
        columns=(column,),
        single=True,
    )


def _own(value: str, column: str) -> str:
    """Write the pairs of a value that a record itself has."""
    return compose(_OWN, value=value, column=column, matched="{matched}")


# --- the statement -------------------------------------------------------------------------------


def _statement(resource: Resource, chosen: Sequence[Grouping], where: Iterable[str]) -> str:
    single = {"id": None} | dict.fromkeys(c for each in chosen if each.single for c in each.columns)
    columns = {column: f"t.{column}" for column in single} | {
        column: compose(_OF_FIRST, column=column, most=f"{MAX_GROUPED_BY_OTHERS}")
        for each in chosen
        for column in each.columns
        if column not in single
    }
    names = [f"by_{number}" for number in range(len(chosen))]
    return resource.table.compose(
        compose(
            _MATCHED,
            columns=", ".join(columns.values()),
            conditions=" AND ".join(where) or "true",
            most=f"{MAX_GROUPED + 1}",
            groups="".join(map(_counted, names, chosen)),
            answers="".join(map(_answered, names, chosen)),
            table=resource.table.name,
            type=resource.type,
        )
    )


def _counted(name: str, by: Grouping) -> str:
    matched = "matched" if by.single else compose(_FIRST, most=f"{MAX_GROUPED_BY_OTHERS}")
    pairs = compose(by.pairs, matched=matched)
    return compose(_SINGLE if by.single else _MANY, name=name, pairs=pairs)


def _answered(name: str, by: Grouping) -> str:
    label, named = "NULL::text", ""
    if by.names is not None:
        label, named = _LABELS[by.names], f" JOIN {by.names}s AS o ON o.id = p.value"
    return compose(_VALUES + _SUMS[by.single], name=name, label=label, named=named)


# --- the operation -------------------------------------------------------------------------------


async def _group(resource: Resource, by: Parameter, request: Request) -> Answer:
    known = groupings(resource)
    parameters = {**resource.filter_parameters, by.name: by, _LIMIT.name: _LIMIT}
    given = read_query(request.scope["query_string"], parameters)
    names = given.pop(by.name, [])
    if not 1 <= len(names) <= MAX_BY or len(set(names)) < len(names):
        raise invalid_parameter("by", f"It takes 1 to {MAX_BY} different properties.")
    limit = given.pop(_LIMIT.name, _DEFAULT_LIMIT)
    where, values = conditions(resource.all_filters, given)
    chosen = [known[name] for name in names]
    statement = _statement(resource, chosen, where)
    query = render(statement, caller(request), limit=limit, **values)
    async with context(request).database.connection(searches=True) as connection:
        row = await connection.fetchrow(*query)
    assert row is not None  # noqa: S101 - for the type checker
    return Answer(encoded(_groups(chosen, row)))


def _groups(chosen: Sequence[Grouping], row: Any) -> GroupCounts:  # noqa: ANN401 - a row
    total = min(row["total"], MAX_GROUPED)
    groups: dict[str, list[Group]] = {}
    others: dict[str, int] = {}
    none: dict[str, int] = {}
    exact: dict[str, bool] = {}
    for number, by in enumerate(chosen):
        name = f"by_{number}"
        most = MAX_GROUPED if by.single else MAX_GROUPED_BY_OTHERS
        groups[by.name] = msgspec.json.decode(row[name] or "[]", type=list[Group])
        others[by.name] = row[f"{name}_valued"] - row[f"{name}_listed"]
        none[by.name] = min(total, most) - row[f"{name}_valued"]
        exact[by.name] = row["total"] <= most
    return GroupCounts(total=total, groups=groups, others=others, none=none, exact=exact)


# --- one handler for each record type ----------------------------------------------------------


def _handler(resource: Resource) -> HTTPRouteHandler:
    """Declare the operation on the records of a resource."""
    known = groupings(resource)
    listed = "; ".join(f"`{e.name}`: {e.description}" for e in known.values() if e.description)
    by = Parameter(
        "by",
        Literal[tuple(known)],
        f"Up to {MAX_BY} properties to group by. {listed}.",
        many=True,
        example=next(iter(known)),
        required=True,
    )
    operation = Operation(
        tag="questions",
        description=f"Counts the {resource.plural} that match the filters, for each value of some "
        "properties. The filters are those of the list. A record with several values is counted "
        "once for each of them. `created_at:month` and the like count by the year, month or day in "
        f"which a time begins, in UTC. If more than {MAX_GROUPED:,} records match, or more than "
        f"{MAX_GROUPED_BY_OTHERS:,} for a property that is a list or comes from other records, the "
        "rest is not counted, and `exact` is false for this property.",
        filters_of=resource,
        parameters=(by, _LIMIT),
        success=f"The number of {resource.plural} for each value.",
        answer=(GroupCounts,),
        example=_example(next(iter(known))),
    )

    @get(
        f"{resource.path}/groups",
        operation_id=f"group{resource.plural.title()}",
        opt={"operation": operation, "reads": (resource.type,)},
    )
    async def group_records(request: Request) -> Answer:
        return await _group(resource, by, request)

    group_records.fn.__doc__ = f"Count {resource.plural} by their properties."
    return group_records


def _example(name: str) -> GroupCounts:
    return GroupCounts(
        total=40,
        groups={name: [Group(value="person", name=None, count=25)]},
        others={name: 10},
        none={name: 5},
        exact={name: True},
    )


group_handlers = [_handler(resource) for resource in RESOURCES.values()]
