"""A resource, and reading it: one record, its history, and lists.

What is read leaves as Postgres holds it: the bytes of `doc`, joined, never rebuilt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from msgspec import Meta, Struct

from api.core import cursor, sql
from api.core.db import Row
from api.core.errors import GONE, NOT_FOUND, Problem, invalid_parameter
from api.core.filters import (
    Filter,
    Parameter,
    conditions,
    everywhere,
    read_query,
    searchable,
)
from api.core.request import (
    Answer,
    Request,
    caller,
    context,
    encoded,
    etag,
    not_modified,
    record_answer,
    record_id,
)
from schemas.base import Create, Id, Instant, Line, Part, Version, moment
from schemas.vocabularies import RecordType, Vocabulary

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
_NULL = b"null"


class Sort(Struct, frozen=True):
    """A key that a list can be sorted by: a name, and an expression on the list's table `t`."""

    name: str
    expression: str
    nullable: bool = False
    key: Any = Annotated[dt.datetime, Meta(tz=True)]  # the type of its values


class Counting(Vocabulary):
    """How are the records on all pages counted? Not at all, unless one of these is asked for."""

    EXACT = "exact", "One by one, which takes longer the more there are."


class Expansion(Struct, frozen=True):
    """A relation that a page can bring with it: the ids of the records, for those in $1."""

    name: str
    target: RecordType
    ids: str
    description: str


# A resource has a field named `type`, which hides the builtin in its body.
_Creates = type[Create]
_Structs = type[Struct]
_Patches = type[Part]


@dataclass(frozen=True, eq=False)
class Resource:
    """A noun: what it is called, what a client writes of it, and what its list can be asked."""

    type: RecordType
    create: _Creates
    record: _Structs
    update: _Patches
    filters: tuple[Filter, ...]
    sorts: tuple[Sort, ...]
    expansions: tuple[Expansion, ...]
    searched: str  # the fields that `q` searches, in words
    large: bool = False  # whether its bodies may be as large as an article

    @cached_property
    def path(self) -> str:
        """Where the resource's list is."""
        return f"/v1/{self.plural}"

    @cached_property
    def plural(self) -> str:
        """What many of them are called, in the path and in the database."""
        return sql.plural(self.type)

    @cached_property
    def table(self) -> sql.Table:
        """The resource's table."""
        return sql.table(self.type, self.plural, self.create)

    @cached_property
    def all_filters(self) -> tuple[Filter, ...]:
        """The resource's filters, and those that every list has."""
        return (*self.filters, *everywhere(self.type))

    @cached_property
    def all_sorts(self) -> dict[str, Sort]:
        """The keys that the list can be sorted by, as written in the query."""
        rank = "ts_rank_cd(t.search, websearch_to_tsquery('claim_records', :q::text))::float8"
        own = (*_SORTS, *self.sorts, Sort("relevance", rank, key=float))
        return {sign + sort.name: sort for sort in own for sign in _signs(sort)}

    @cached_property
    def list_parameters(self) -> dict[str, Parameter]:
        """Every query parameter of the list, by name."""
        declared = [p for declared in self.all_filters for p in declared.parameters]
        return {p.name: p for p in [*declared, *self._page_parameters()]}

    def _page_parameters(self) -> list[Parameter]:
        sorts = ", ".join(f"`{name}`" for name in self.all_sorts)
        expansions = "; ".join(f"`{e.name}`: {e.description}" for e in self.expansions)
        return [
            Parameter(
                "sort",
                Line,
                f"One of {sorts}; then by id. `relevance` needs `q`.",
                default="-created_at",
            ),
            Parameter(
                "expand",
                Line,
                f"Records to bring along, with commas. {expansions}.",
                terms=tuple(e.name for e in self.expansions),
            ),
            LIMIT,
            CURSOR,
            Parameter("count", Counting, f"`exact` fills `total`, up to {sql.MAX_COUNTED}."),
        ]


_SORTS = (Sort("created_at", "t.created_at"), Sort("updated_at", "t.updated_at"))

LIMIT = Parameter(
    "limit",
    Annotated[int, Meta(ge=1, le=MAX_LIMIT)],
    "How many records a page has at most.",
    default=DEFAULT_LIMIT,
)
CURSOR = Parameter(
    "cursor",
    Annotated[str, Meta(max_length=5_000, min_length=1)],
    "`next_cursor` of the page before.",
)
AS_OF = Parameter("as_of", Instant, "Reads the record as it was at this instant.")
NAMESPACE = Parameter(
    "namespace",
    Annotated[str, Meta(min_length=1, max_length=100)],
    "The other system of the external id.",
)
VALUE = Parameter(
    "value", Annotated[str, Meta(min_length=1, max_length=400)], "The id used in that system."
)


def _signs(sort: Sort) -> tuple[str, ...]:
    """Say which directions a key can be sorted in; relevance means best first."""
    return ("",) if sort.name == "relevance" else ("", "-")


# --- one record ------------------------------------------------------------------------------


async def get(resource: Resource, request: Request) -> Answer:
    """Answer with a record, as it is or as it was."""
    identity = record_id(request)
    given = read_query(request.scope["query_string"], {"as_of": AS_OF})
    who, service = caller(request), context(request)
    if "as_of" in given:
        at = instant("as_of", given["as_of"])
        query = who.query(sql.get_as_of(resource.table))
        row = await service.database.fetchrow(query, identity, at)
        if row is None:
            raise Problem(NOT_FOUND, "No record had this id then.")
    else:
        row = await service.reads.read(who.query(sql.get(resource.table)), identity)
    return _found(request, identity, row)


async def get_by_external_id(resource: Resource, request: Request) -> Answer:
    """Answer with the record that another system knows by this name."""
    pair = external_id(request)
    query = caller(request).query(sql.get_by_external_id(resource.table))
    row = await context(request).database.fetchrow(query, *pair)
    location = f"{resource.path}/{row['id']}" if row else ""
    return _found(request, str(row["id"]) if row else "", row, location)


def external_id(request: Request) -> tuple[str, str]:
    """Read the external id that a path's query names."""
    given = read_query(request.scope["query_string"], {"namespace": NAMESPACE, "value": VALUE})
    for name in ("namespace", "value"):
        if name not in given:
            raise invalid_parameter(name, "It is needed.")
    return given["namespace"], given["value"]


def instant(name: str, text: str) -> str:
    """Refuse an instant that is on no calendar."""
    if moment(text) is None:
        raise invalid_parameter(name, f"{text} is on no calendar.")
    return text


def _found(request: Request, identity: str, row: Row | None, location: str = "") -> Answer:
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    if row["deleted"]:
        raise gone(identity, row["version"])
    headers = {"content-location": location} if location else {}
    if not_modified(request, tag := etag(identity, row["version"])):
        return Answer(status=304, headers={"etag": tag, **headers})
    return record_answer(identity, row["version"], row["doc"], headers=headers)


def gone(identity: str, version: int) -> Problem:
    """Report a deleted record, with the tombstone's version and ETag."""
    return Problem(GONE, headers={"etag": etag(identity, version)}, version=version)


# --- lists -----------------------------------------------------------------------------------


async def list_page(resource: Resource, request: Request) -> Answer:
    """Answer with a page of the records that the query asks for."""
    given = read_query(request.scope["query_string"], resource.list_parameters)
    limit = given.pop("limit", DEFAULT_LIMIT)
    after = given.pop("cursor", None)
    expansions = _expansions(resource, given.pop("expand", None))
    counted = given.pop("count", None) is not None
    of_list = cursor.fingerprint(resource.plural, given)
    order_by = given.pop("sort", "-created_at")

    arguments: list[Any] = []
    where = conditions(resource.all_filters, given, arguments)
    who = caller(request)
    count = who.query(sql.count(resource.table, where)), list(arguments)
    sort, order = _order(resource, order_by, given, arguments)
    behind = None
    if after is not None:
        values = list(cursor.read(after, of_list, _position(sort)))
        behind = sql.behind(order, values, arguments)
    query = who.query(sql.page(resource.table, where, behind, order, limit, counted=counted))

    database = context(request).database
    async with database.connection() as connection:
        rows = await connection.fetch(query, *arguments)
        total = rows[0]["total"] if rows and counted else None
        if counted and not rows:
            total = await connection.fetchval(count[0], *count[1])
        items = rows[:limit]
        ids = [row["id"] for row in items]
        brought = [(e, who.query(sql.included(e.target, e.ids))) for e in expansions]
        included = [(e.name, await connection.fetchval(q, ids) if ids else b"") for e, q in brought]
    following = None
    if len(rows) > limit:
        last = items[-1]
        following = cursor.write(of_list, [last["key"], str(last["id"])])
    body = page_body(
        [row["doc"] for row in items],
        following,
        total,
        included,
    )
    return Answer(body, headers=link_next(request, following))


def page_body(
    docs: Sequence[bytes],
    following: str | None,
    total: int | None = None,
    included: Sequence[tuple[str, bytes | None]] = (),
) -> bytes:
    """Write a page from the bytes of its records."""
    counted = total is not None and total > sql.MAX_COUNTED
    brought = b",".join(
        b'"%b":{%b}' % (name.encode(), members or b"") for name, members in included
    )
    return (
        b'{"items":[%b],"next_cursor":%b,"total":%b,"total_is_lower_bound":%b,"included":{%b}}'
        % (
            b",".join(docs),
            encoded(following) if following else _NULL,
            encoded(min(total, sql.MAX_COUNTED)) if total is not None else _NULL,
            encoded(counted),
            brought,
        )
    )


def link_next(request: Request, following: str | None) -> dict[str, str]:
    """Write the Link header (RFC 8288) to the next page."""
    if following is None:
        return {}
    query = request.scope["query_string"].decode("latin-1")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("cursor=")]
    kept.append(urlencode({"cursor": following}))
    return {"link": f'<{request.scope["path"]}?{"&".join(kept)}>; rel="next"'}


def _expansions(resource: Resource, text: str | None) -> list[Expansion]:
    """Read `expand`: names with commas, each once."""
    if text is None:
        return []
    known = {expansion.name: expansion for expansion in resource.expansions}
    names = text.split(",")
    if len(set(names)) < len(names) or not known.keys() >= set(names):
        raise invalid_parameter("expand", f"It takes {', '.join(known)}, with commas, each once.")
    return [known[name] for name in names]


def _order(
    resource: Resource, name: str, given: Mapping[str, Any], arguments: list[Any]
) -> tuple[Sort, sql.Order]:
    sort = resource.all_sorts.get(name)
    if sort is None:
        raise invalid_parameter("sort", f"It takes one of {', '.join(resource.all_sorts)}.")
    expression = sort.expression
    if sort.name == "relevance":
        if "q" not in given:
            raise invalid_parameter("sort", "`relevance` goes with `q`.")
        arguments.append(searchable(given["q"]))
        expression = expression.replace(":q", f"${len(arguments)}")
    descending = name.startswith("-") or sort.name == "relevance"
    return sort, sql.Order(expression, descending, sort.nullable)


def _position(sort: Sort) -> Any:  # noqa: ANN401 - a type form
    """Give the type of a cursor's values: the sort key's, and an id."""
    return tuple[sort.key | None if sort.nullable else sort.key, Id]  # type: ignore[misc]


# --- history ---------------------------------------------------------------------------------

_REVISION_PARAMETERS = {"limit": LIMIT, "cursor": CURSOR}
_NEWEST = 2**31 - 1


async def list_revisions(resource: Resource, request: Request) -> Answer:
    """Answer with a record's revisions, newest first."""
    identity = record_id(request)
    given = read_query(request.scope["query_string"], _REVISION_PARAMETERS)
    limit = given.get("limit", DEFAULT_LIMIT)
    of_list = cursor.fingerprint(resource.plural, identity, "revisions")
    below = _NEWEST
    if "cursor" in given:
        (below,) = cursor.read(given["cursor"], of_list, tuple[Version])
    rows = await _revisions(request, resource, identity, below, limit + 1)
    if not rows and "cursor" not in given:
        raise Problem(NOT_FOUND, "No record has this id.")
    items = rows[:limit]
    following = None
    if len(rows) > limit:
        following = cursor.write(of_list, [items[-1]["version"]])
    body = page_body([_revision(row) for row in items], following)
    return Answer(body, headers=link_next(request, following))


async def get_revision(resource: Resource, request: Request) -> Answer:
    """Answer with one revision of a record."""
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    number: str = request.path_params["version"]
    if not (number.isascii() and number.isdigit() and 0 < len(number) < 10) or number[0] == "0":  # noqa: PLR2004
        raise Problem(NOT_FOUND, "A version is a whole number from 1.")
    version = int(number)
    rows = await _revisions(request, resource, identity, version + 1, 1)
    if not rows or rows[0]["version"] != version:
        raise Problem(NOT_FOUND, "The record has no such version.")
    return Answer(_revision(rows[0]))


async def _revisions(
    request: Request, resource: Resource, identity: str, below: int, limit: int
) -> Sequence[Row]:
    query = caller(request).query(sql.revisions(resource.table))
    return await context(request).database.fetch(query, identity, below, limit)


def _revision(row: Row) -> bytes:
    """Write a revision: what happened, and the record as it was then (null when deleted)."""
    told = {name: row[name] for name in ("version", "op", "at", "actor", "changed")}
    return encoded(told)[:-1] + b',"record":' + (row["doc"] or _NULL) + b"}"
