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
from api.core.relations import meant
from api.core.request import Answer, Request, caller, context, encoded
from api.core.resource import MAX_LIMIT, Grouping, Resource, grouped_by_items
from api.core.sql import compose, render
from api.records.nouns import RESOURCES
from schemas.parts import Time
from schemas.questions import Group, GroupCounts
from schemas.shapes import fields, is_vocabulary, shape
from schemas.vocabularies import RecordType

MAX_BY: Final = 5
MAX_GROUPED: Final = 1_000_000
"""Groups are exact for as many records, by a property of the record itself."""
MAX_GROUPED_BY_OTHERS: Final = 200_000
"""Groups are exact for as many records, by what is in their lists or in other records."""
_DEFAULT_LIMIT: Final = 20
_PERIODS: Final = {"year": "YYYY", "month": "YYYY-MM", "day": "YYYY-MM-DD"}

_FOUND: Final = (
    "{table} AS t WHERE {conditions} AND t.deleted_at IS NULL AND {unmerged} AND :sees({type}, t)"
)
# To read the lists of a record, Postgres reads its row, so no more rows are read than are counted
# by them. If there are more records, their other properties are read once more.
_MATCHED: Final = """
    WITH matched AS MATERIALIZED (
        SELECT {columns} FROM {found} LIMIT {most}
    ){every}{groups}
    SELECT {total} AS total{answers}"""
_EVERY: Final = """, every AS MATERIALIZED (
        SELECT {columns} FROM matched AS t WHERE {all_matched}
        UNION ALL
        (SELECT {columns} FROM {found} AND NOT {all_matched} LIMIT {most})
    )"""
_ALL_MATCHED: Final = "(SELECT count(*) < {most} FROM matched)"
_TOTAL: Final = "(SELECT count(*) FROM {records})"
_TOTAL_OF_MORE: Final = """CASE
            WHEN {all_matched} THEN (SELECT count(*) FROM matched)
            ELSE (SELECT count(*) FROM (SELECT FROM {found} LIMIT {most}) AS more)
        END"""
_OWN: Final = "SELECT {value} AS value FROM {matched} AS m WHERE m.{column} IS NOT NULL"
_SINGLE: Final = """, {name}_seen AS (
        SELECT p.value, count(*) AS records FROM ({pairs}) AS p GROUP BY p.value
    )"""
_MANY: Final = """, {name}_pairs AS MATERIALIZED (
        {pairs}
    ), {name}_counts AS MATERIALIZED (
        SELECT p.value, count(*) AS records FROM {name}_pairs AS p GROUP BY p.value
    ), {name}_seen AS MATERIALIZED (
        SELECT c.value, c.records FROM {name}_counts AS c{seen}
    )"""
# There are fewer values than pairs, so it is the values that are looked at for who sees them.
_SEEN: Final = " JOIN {type}s AS o ON o.id = c.value AND :sees({type}, o)"
_TOP: Final = """, {name}_top AS (
        SELECT c.value, c.records FROM {name}_seen AS c
        ORDER BY c.records DESC, c.value LIMIT :limit
    )"""
# How many records have a value, and how many have one of those listed.
_SINGLE_SUMS: Final = """,
        (SELECT coalesce(sum(c.records), 0)::bigint FROM {name}_seen AS c) AS {name}_valued,
        (SELECT coalesce(sum(p.records), 0)::bigint FROM {name}_top AS p) AS {name}_listed"""
_MANY_SUMS: Final = """,
        CASE
            WHEN (SELECT count(*) FROM {name}_counts) = (SELECT count(*) FROM {name}_seen)
            THEN {valued}
            ELSE {with_seen}
        END AS {name}_valued,
        {with_top} AS {name}_listed"""
_VALUED: Final = "(SELECT count(*) FROM (SELECT FROM {name}_pairs AS p GROUP BY p.id) AS valued)"
_WITH_ITEMS: Final = "(SELECT count(*) FROM matched AS m WHERE cardinality(m.{column}) > 0)"
_WITH: Final = """(
            SELECT count(*) FROM (
                SELECT FROM {name}_pairs AS p
                WHERE p.value IN (SELECT c.value FROM {values} AS c)
                GROUP BY p.id
            ) AS valued
        )"""
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

_EXAMPLE_BY: Final = "created_at:month"  # every record type has it
_EXAMPLE: Final = GroupCounts(
    total=40,
    groups={_EXAMPLE_BY: [Group(value="2024-12", name=None, count=25)]},
    others={_EXAMPLE_BY: 15},
    none={_EXAMPLE_BY: 0},
    exact={_EXAMPLE_BY: True},
)
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
        grouped_by_items("tag", "", "tags"),
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
    names = [f"by_{number}" for number in range(len(chosen))]
    own = list(dict.fromkeys(c for each in chosen if each.single for c in each.columns))
    of_lists = list(dict.fromkeys(c for each in chosen if not each.single for c in each.columns))
    every, counted, most = "", "matched", f"{MAX_GROUPED + 1}"
    total = compose(_TOTAL, records=counted)
    columns = own
    if not all(each.single for each in chosen):
        found = {
            "all_matched": compose(_ALL_MATCHED, most=f"{MAX_GROUPED_BY_OTHERS}"),
            "found": _FOUND,
            "most": most,
        }
        total = compose(_TOTAL_OF_MORE, **found)
        if own:
            every, counted = compose(_EVERY, columns=_listed(own), **found), "every"
            total = compose(_TOTAL, records=counted)
        columns = list(dict.fromkeys(["id", *own, *of_lists]))
        most = f"{MAX_GROUPED_BY_OTHERS}"
    statement = compose(
        _MATCHED,
        columns=_listed(columns),
        found=_FOUND,
        most=most,
        every=every,
        total=total,
        groups="".join(_counted(name, by, counted) for name, by in zip(names, chosen, strict=True)),
        answers="".join(map(_answered, names, chosen)),
    )
    return resource.table.compose(
        compose(
            statement,
            conditions=" AND ".join(where) or "true",
            table=resource.table.name,
            type=resource.type,
            unmerged=resource.table.pieces["unmerged"],
        )
    )


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(f"t.{column}" for column in columns)


def _counted(name: str, by: Grouping, of_single: str) -> str:
    """Write the values of a property, the records of each, and which of them are listed."""
    if by.single:
        counts = compose(_SINGLE, name=name, pairs=compose(by.pairs, matched=of_single))
    else:
        seen = compose(_SEEN, type=by.names) if by.names is not None else ""
        pairs = meant(by.pairs) if by.names is RecordType.SOURCE else by.pairs
        pairs = compose(pairs, matched="matched")
        counts = compose(_MANY, name=name, pairs=pairs, seen=seen)
    return counts + compose(_TOP, name=name)


def _answered(name: str, by: Grouping) -> str:
    label, named = "NULL::text", ""
    if by.names is not None:
        label, named = _LABELS[by.names], f" JOIN {by.names}s AS o ON o.id = p.value"
    values = compose(_VALUES, name=name, label=label, named=named)
    if by.single:
        return values + compose(_SINGLE_SUMS, name=name)
    valued = compose(_VALUED, name=name)
    if by.items:
        valued = compose(_WITH_ITEMS, column=by.columns[0])
    with_seen, with_top = (
        compose(_WITH, name=name, values=f"{name}_{which}") for which in ("seen", "top")
    )
    sums = compose(_MANY_SUMS, name=name, valued=valued, with_seen=with_seen, with_top=with_top)
    return values + sums


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
        max_items=MAX_BY,
        example=_EXAMPLE_BY,
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
        example=_EXAMPLE,
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


group_handlers = [_handler(resource) for resource in RESOURCES.values()]
