"""Figures: the quantities of claims and denials side by side, with their conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import isinf
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from litestar import get
from msgspec import structs

from api.core import cursor
from api.core.caller import Caller
from api.core.db import Connection, Row
from api.core.expanding import Brought, Item, bring
from api.core.figures import FIGURE, quantified
from api.core.filters import Filter, Parameter, conditions, read_query, read_terms
from api.core.large_input import in_thread
from api.core.listing import fitting_items, link_next, page_body
from api.core.operation import Operation
from api.core.relations import forward, survivor
from api.core.request import Answer, Request, caller, context, encoded, reserve_room
from api.core.resource import (
    CURSOR,
    DEFAULT_LIMIT,
    LIMIT,
    MAX_PAGE_BYTES,
    Expansion,
    Resource,
    Sort,
)
from api.core.sql import compose, render
from api.questions.comparing import read_known
from api.questions.conflicts import Counted, Found, find_conflicts
from api.records.claims import CLAIMS
from api.records.denials import DENIALS
from schemas.examples import CLAIM_ID, SOURCE_ID
from schemas.figures import MAX_CONFLICTS, Figure, FigurePage
from schemas.parts import whole
from schemas.references import RecordReference
from schemas.scalars import Id, Line
from schemas.vocabularies import Qualifier, RecordType, Validity

_BOUND: Final[Any] = float | Literal["Infinity", "-Infinity"]  # JSON has no infinite numbers
_SORTS: Final = {
    sign + sort.name: sort
    for sort in (
        Sort("lower", "f.lower", nullable=True, key=_BOUND),
        Sort("upper", "f.upper", nullable=True, key=_BOUND),
        Sort("stated", "t.stated_from", nullable=True),
        Sort("created_at", "t.created_at"),
    )
    for sign in ("", "-")
}
_DEFAULT_SORT: Final = "-created_at"
_RECORDS: Final = (CLAIMS, DENIALS)
_OF_CLAIMS: Final = CLAIMS.filter_parameters
_OF_DENIALS: Final = DENIALS.filter_parameters
_OCCURRED: Final = {RecordType.CLAIM: "t.occurred", RecordType.DENIAL: "NULL::json"}

# The ids that some links of a figure's record lead to. What the caller can't see is left out.
_LINKED: Final = """ARRAY(
               SELECT DISTINCT s.id::text FROM links AS l
               JOIN {to}s AS s ON s.id = {meant} AND :sees({to}, s)
               WHERE l.owner_id = p.owner_id AND l.owner_type = '{type}' AND {which}
               ORDER BY 1
           ) AS {name}"""
_LISTS: Final = (
    ("claimants", RecordType.SOURCE, "l.link = 'attribution' AND l.hop = 0"),
    ("origins", RecordType.SOURCE, "l.link = 'attribution' AND l.is_origin"),
    ("articles", RecordType.ARTICLE, "l.link = 'appearance'"),
)
_PAGE: Final = """
    SELECT p.owner_type AS type, p.owner_id AS id, p.index AS place, p.metric, p.unit, p.population,
           p.lower, p.upper, p.lower_open, p.upper_open,
           lower(p.during) AS starts, upper(p.during) AS ends, p.topics, p.key,
           (t.quantities -> p.index)::text AS quantity, t.validity, t.stated,
           {occurred} AS occurred,
           {lists}
    FROM (
        SELECT m.* FROM (
            SELECT f.*, {key} AS key
            FROM figures AS f JOIN {table} AS t ON t.id = f.owner_id
            WHERE f.owner_type = '{type}' AND {conditions}
                AND t.deleted_at IS NULL AND :sees({type}, t)
            {fence}
        ) AS m
        ORDER BY m.key {direction}{nulls}, m.owner_id {direction}, m.index {direction}
        LIMIT {limit}
    ) AS p
    JOIN {table} AS t ON t.id = p.owner_id
    ORDER BY p.key {direction}{nulls}, p.owner_id {direction}, p.index {direction}"""


# Only with a metric there is an index by the numbers. Without it, Postgres would sort all figures
# before it looks at the other filters.
_FENCE: Final = "OFFSET 0"

_SORT: Final = Parameter(
    "sort",
    Literal[tuple(_SORTS)],
    "The order of the figures. Figures without the bound or the time come last. Equal figures are "
    "sorted by the id of their record.",
    default=_DEFAULT_SORT,
    example="lower",
)


def _own(record_type: RecordType) -> Expansion:
    return Expansion(
        f"{record_type}s",
        record_type,
        f"SELECT o.id, o.place FROM owners AS o WHERE o.type = '{record_type}'",  # noqa: S608
        f"the {record_type}s with these figures, and with those of their conflicts",
    )


_EXPANSIONS: Final = {
    each.name: each
    for each in (
        forward("sources", RecordType.SOURCE, "the sources that these records name"),
        forward("articles", RecordType.ARTICLE, "the articles in which they are printed"),
        _own(RecordType.CLAIM),
        _own(RecordType.DENIAL),
    )
}
_EXPAND: Final = Parameter(
    "expand",
    Line,
    "Related records to include, separated by commas. "
    + "; ".join(f"`{each.name}`: {each.description}" for each in _EXPANSIONS.values())
    + ".",
    terms=tuple(_EXPANSIONS),
)
_ONLY_OF_DENIALS: Final = tuple(
    structs.replace(each, description=f"{each.description} Only figures of denials are found.")
    for name, each in _OF_DENIALS.items()
    if name not in _OF_CLAIMS
)
_PARAMETERS: Final = {
    **_OF_CLAIMS,
    **{each.name: each for each in (*_ONLY_OF_DENIALS, _SORT, _EXPAND, LIMIT, CURSOR)},
}
_EXAMPLE: Final = FigurePage(
    items=[
        Figure(
            metric="killed",
            unit="person",
            qualifier=Qualifier.AT_LEAST,
            lower=100,
            printed="At least 100",
            population="North Korean soldiers",
            record=RecordReference(type=RecordType.CLAIM, id=CLAIM_ID),
            index=0,
            lower_bound=100,
            upper_bound=None,
            lower_open=False,
            upper_open=False,
            claimants=[SOURCE_ID],
            origins=[SOURCE_ID],
            articles=[],
            stated=None,
            occurred=None,
            validity=Validity.STANDING,
            conflicts=[],
            more=False,
        )
    ],
    next_cursor=None,
    total=None,
    total_is_lower_bound=False,
    included={},
    truncated=[],
)
FIGURES: Final = Operation(
    tag="questions",
    description="Gives the figures of the claims and denials that match the filters, each with "
    "the lowest and the highest number that its printed words allow, and with the figures that "
    "conflict with it. The filters on a figure, such as `metric`, are conditions on the figure "
    "itself. All other filters are those of `listClaims` and `listDenials`. If both lists have a "
    "filter of the same name, such as `kind`, it takes the terms of claims. A filter that only "
    "claims have finds no figures of denials, and the other way round.\n\nA conflict is `stated` "
    "if a confirmed relation `conflicts_with` connects the two claims, whatever they count. It is "
    "`computed` if all of this is true:\n\n- The figures have the same metric, unit and "
    "population.\n- The times that they are about are known and overlap: `as_of`, or else the "
    "time at which the claim `occurred`.\n- No number is within the bounds of both.\n- Their "
    "claims say the same (a confirmed `restates` or `same_origin_as` connects them), or are about "
    "events at the same place. A denial counts as a statement about the claims that it "
    "answers.\n- No editor has rejected a `conflicts_with` between the two claims.\n\nAn "
    f"approximate number counts as if it were exact. At most {MAX_CONFLICTS} conflicts are listed "
    "for a figure; `more` says whether there are, or may be, more.",
    filters_of=CLAIMS,
    parameters=(*_ONLY_OF_DENIALS, _SORT, _EXPAND, LIMIT, CURSOR),
    success="A page of figures.",
    answer=(FigurePage,),
    headers=("Link",),
    expansions=tuple(_EXPANSIONS.values()),
    linked_from={RecordType.CLAIM: "id__in", RecordType.DENIAL: "id__in"},
    example=_EXAMPLE,
)


@get(
    "/v1/figures",
    operation_id="listFigures",
    opt={"operation": FIGURES, "reads": (RecordType.CLAIM, RecordType.DENIAL)},
)
async def list_figures(request: Request) -> Answer:
    """List figures with their bounds and conflicts."""
    given = read_query(request.scope["query_string"], _PARAMETERS)
    limit = given.pop(LIMIT.name, DEFAULT_LIMIT)
    at = given.pop(CURSOR.name, None)
    names = given.pop(_EXPAND.name, None)
    expansions = [_EXPANSIONS[n] for n in read_terms("expand", names, _EXPANSIONS)] if names else []
    of_list = cursor.fingerprint("figures", given)
    asked = _Asked.read(given, at, of_list, limit)
    asker = caller(request)
    room = await reserve_room(request, MAX_PAGE_BYTES)
    async with context(request).database.connection() as connection:
        rows = await asked.rows(connection, asker)
        figures = [_counted(row) for row in rows[:limit]]
        known = await read_known(connection, asker, figures)
        found = await in_thread(find_conflicts, figures, known)
        items = fitting_items(map(_written, rows, found))
        brought = await _bring(connection, asker, figures, found, items, expansions)
    next_cursor = None
    if len(rows) > brought.kept:
        next_cursor = _next(of_list, rows[brought.kept - 1])
    body = page_body(items[: brought.kept], next_cursor, None, brought.included, brought.truncated)
    room.keep(len(body))
    return Answer(body, headers=link_next(request, next_cursor))


# --- which figures -----------------------------------------------------------------------------


class _Asked(NamedTuple):
    """The figures that are asked for: where they are looked for, their order, and the page."""

    records: Sequence[Resource]
    given: Mapping[str, Any]
    sort: Sort
    descending: bool
    limit: int
    behind: str
    position: Mapping[str, Any]

    @classmethod
    def read(cls, given: dict[str, Any], at: str | None, of_list: bytes, limit: int) -> _Asked:
        """Read the parameters of a request."""
        name = given.pop(_SORT.name, _DEFAULT_SORT)
        sort, descending = _SORTS[name], name.startswith("-")
        behind, position = "true", dict[str, Any]()
        if at is not None:
            key, *place = cursor.read(at, of_list, _position(sort))
            behind = _behind(sort, key, descending=descending)
            position = dict(zip(("cursor_id", "cursor_type", "cursor_index"), place, strict=True))
            if key is not None:
                position["cursor_key"] = float(key) if sort.key is _BOUND else key
        records = [
            resource
            for resource in _RECORDS
            if all(name in resource.filter_parameters for name in given)
        ]
        for resource in _RECORDS:  # report a wrong filter, whichever type is read
            conditions(_filters(resource), given)
        return cls(records, given, sort, descending, limit, behind, position)

    async def rows(self, connection: Connection, asker: Caller) -> list[Row]:
        """Read the page, and one row more if another page follows."""
        rows = [
            row
            for resource in self.records
            for row in await connection.fetch(*self._query(resource, asker))
        ]
        rows.sort(key=lambda row: (row["id"], row["type"], row["place"]), reverse=self.descending)
        valued = [row for row in rows if row["key"] is not None]
        valued.sort(key=lambda row: row["key"], reverse=self.descending)
        return [*valued, *(row for row in rows if row["key"] is None)][: self.limit + 1]

    def _query(self, resource: Resource, asker: Caller) -> tuple[Any, ...]:
        where, values = conditions(_filters(resource), self.given)
        statement = compose(
            _PAGE,
            type=resource.type,
            table=resource.table.name,
            occurred=_OCCURRED[resource.type],
            lists=_lists(resource.type),
            key=self.sort.expression,
            conditions=" AND ".join([*where, self.behind]),
            direction="DESC" if self.descending else "ASC",
            nulls=" NULLS LAST" if self.sort.nullable else "",
            fence=_FENCE if self.sort.key is _BOUND and "metric" not in self.given else "",
            limit=f"{self.limit + 1}",
        )
        return render(statement, asker, **values, **self.position)


@cache
def _lists(record_type: RecordType) -> str:
    return ", ".join(
        compose(
            _LINKED,
            type=record_type,
            name=name,
            to=to,
            meant=survivor(to, f"l.{to}_id"),
            which=which,
        )
        for name, to, which in _LISTS
    )


def _filters(resource: Resource) -> tuple[Filter, ...]:
    """Give the filters of a list, where the one on figures is a condition on the figure itself."""
    own = quantified(resource.type)
    others = (each for each in resource.all_filters if each.parameters != own.parameters)
    return (structs.replace(own, sql=FIGURE), *others)


def _position(sort: Sort) -> Any:  # noqa: ANN401 - a type form
    """Give the type of a cursor's values: the sort key's, and what names a figure."""
    key = sort.key | None if sort.nullable else sort.key
    return tuple[key, Id, Literal["claim", "denial"], int]  # type: ignore[valid-type]


def _behind(sort: Sort, key: object, *, descending: bool) -> str:
    """Write the condition of the figures behind the cursor; nulls come last in both directions."""
    than = "<" if descending else ">"
    place, last = (
        "f.owner_id, f.owner_type, f.index",
        ":cursor_id::uuid, :cursor_type, :cursor_index",
    )
    if key is None:
        return f"({sort.expression} IS NULL AND ({place}) {than} ({last}))"
    row = f"({sort.expression}, {place}) {than} (:cursor_key, {last})"
    return f"({row} OR {sort.expression} IS NULL)" if sort.nullable else row


def _next(of_list: bytes, last: Row) -> str:
    key = last["key"]
    if isinstance(key, float) and isinf(key):
        key = "Infinity" if key > 0 else "-Infinity"
    return cursor.write(of_list, [key, str(last["id"]), last["type"], last["place"]])


# --- what is told of them ------------------------------------------------------------------------


def _counted(row: Row) -> Counted:
    return Counted(*(row[name] for name in Counted._fields))


def _written(row: Row, found: Found) -> bytes:
    """Write an item: the quantity as it is in its record, and what is known about it."""
    about = {
        "record": {"type": row["type"], "id": row["id"]},
        "index": row["place"],
        "lower_bound": _bound(row["lower"]),
        "upper_bound": _bound(row["upper"]),
        **{name: row[name] for name in ("lower_open", "upper_open", "claimants", "origins")},
        "articles": row["articles"],
        **{name: msgspec.Raw((row[name] or "null").encode()) for name in ("stated", "occurred")},
        "validity": row["validity"],
        "conflicts": found.conflicts,
        "more": found.more,
    }
    quantity: str = row["quantity"]
    return quantity.encode()[:-1] + b"," + encoded(about)[1:]


def _bound(number: float | None) -> float | None:
    return None if number is None or isinf(number) else whole(number)


async def _bring(
    connection: Connection,
    asker: Caller,
    figures: Sequence[Counted],
    found: Sequence[Found],
    items: Sequence[bytes],
    expansions: Sequence[Expansion],
) -> Brought:
    """Read the records that some figures and their conflicts bring, as many as fit."""
    listed = []
    for figure, its, item in zip(figures, found, items, strict=False):
        others = ((each.record.type, UUID(each.record.id)) for each in its.conflicts)
        own = (RecordType[figure.type.upper()], figure.id)
        listed.append(Item(figure.id, len(item) + 1, tuple(dict.fromkeys([own, *others]))))
    return await bring(connection, asker, RecordType.CLAIM, listed, expansions)


figure_handlers = [list_figures]
