"""Lists: a page of a resource's records, or of the rows of another table, by cursor.

Records leave as Postgres holds them: the bytes of their `doc`, joined, and never rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from api.core import cursor
from api.core.caller import Caller
from api.core.db import Database, Row
from api.core.errors import invalid_parameter
from api.core.expanding import Brought, Item, bring
from api.core.filters import Among, Parameter, read_query, read_terms, sets_and_conditions
from api.core.kept_pages import Page, page_key
from api.core.near_first import Ordered, rows_near_first
from api.core.request import Answer, Context, Request, caller, context, encoded, reserve_room
from api.core.resource import (
    CURSOR,
    DEFAULT_LIMIT,
    LIMIT,
    MAX_COUNTED,
    MAX_PAGE_BYTES,
    MAX_RANKED,
    Expansion,
    Resource,
    Sort,
)
from api.core.sql import compose, render
from api.core.usual_page import KNOWN, Asked, Found, position, read_usual, usual_statement
from schemas.scalars import Id

_NULL: Final = b"null"
MAX_STATEMENTS: Final = 1_024
"""How many statements of lists are kept; the one unused for longest is dropped first."""

# --- a resource's records --------------------------------------------------------------------

_THERE: Final = "t.deleted_at IS NULL AND {unmerged} AND :sees({type}, t)"
# The first document always comes, and the others as long as they have room on the page. A size is
# that of a document and a comma, and is known without reading the document.
_PAGE: Final = """
    SELECT p.id, p.key,
           CASE WHEN p.bytes <= {most_bytes} OR p.bytes = p.size THEN p.doc END AS doc{total}
    FROM (
        SELECT r.*, sum(r.size) OVER (
            ORDER BY r.key {direction}{nulls}, r.id {direction} ROWS UNBOUNDED PRECEDING
        ) AS bytes
        FROM (
            SELECT t.id, t.doc, octet_length(t.doc) + 1 AS size, {sort_key} AS key
            FROM {rows} AS t
            WHERE {conditions}
            ORDER BY {sort_key} {direction}{nulls}, t.id {direction}
            LIMIT {limit}
        ) AS r
    ) AS p
    ORDER BY p.key {direction}{nulls}, p.id {direction}"""
_RANKED: Final = "(SELECT * FROM {table} AS t WHERE {conditions} LIMIT {limit})"
_COUNT: Final = """
    SELECT count(*) FROM (SELECT FROM {table} AS t WHERE {conditions} LIMIT {limit}) AS counted"""


class Order(NamedTuple):
    """How a list is sorted: by a key and then by id; nulls come last in both directions."""

    sort: Sort
    descending: bool

    @property
    def direction(self) -> str:
        """Write the direction in SQL."""
        return "DESC" if self.descending else "ASC"

    @property
    def nulls(self) -> str:
        """Write in SQL where nulls come."""
        return " NULLS LAST" if self.sort.nullable else ""

    def behind(self, key: object) -> str:
        """Write the condition for the rows after `:cursor_key` and `:cursor_id`.

        A comparison with null is null, so the nulls at the end are a case of their own.
        """
        than = "<" if self.descending else ">"
        expression = self.sort.expression
        if key is None:
            return f"({expression} IS NULL AND t.id {than} :cursor_id::uuid)"
        row = f"({expression}, t.id) {than} (:cursor_key, :cursor_id::uuid)"
        return f"({row} OR {expression} IS NULL)" if self.sort.nullable else row


class _List(NamedTuple):
    """The records of a list: the conditions on them.

    Its statements are kept, because to put one together takes longer than to look it up, and all
    that it depends on is in its key.
    """

    resource: Resource
    where: tuple[str | Among, ...]

    @lru_cache(maxsize=MAX_STATEMENTS)  # noqa: B019 - a tuple of what lives as long as the code
    def count_statement(self) -> str:
        """Write the statement that counts the records, up to one more than the most counted."""
        return self._compose(_COUNT, limit=f"{MAX_COUNTED + 1}")

    @lru_cache(maxsize=MAX_STATEMENTS)  # noqa: B019 - as above
    def usual_statement(
        self,
        order: Order,
        limit: int,
        behind: str | None,
        expansions: tuple[Expansion, ...],
        *,
        is_named: bool,
    ) -> str:
        """Write the statement that reads a page of usual size with all that it brings."""
        rows, conditions = self._rows(order, limit, behind)
        asked = Asked(rows, conditions, order.sort, order.direction, order.nulls, limit)
        return usual_statement(self.resource.type, asked, expansions, is_named=is_named)

    @lru_cache(maxsize=MAX_STATEMENTS)  # noqa: B019 - as above
    def page_statement(self, order: Order, limit: int, behind: str | None, *, counted: bool) -> str:
        """Write the statement that reads a page, and one row more if another page follows."""
        rows, conditions = self._rows(order, limit, behind)
        return compose(
            _PAGE,
            conditions=conditions,
            rows=rows,
            sort_key=order.sort.expression,
            total=self._total(limit, is_first=behind is None) if counted else "",
            direction=order.direction,
            nulls=order.nulls,
            limit=f"{limit + 1}",
            most_bytes=f"{MAX_PAGE_BYTES}",
        )

    def _rows(self, order: Order, limit: int, behind: str | None) -> tuple[str, str]:
        """Name the table, or write the statement for the rows, with the conditions on these."""
        if order.sort.ranks:
            return self._compose(_RANKED, limit=f"{MAX_RANKED}"), self._conditions(behind)
        if order.sort.needs is None:
            by = f"{order.sort.expression} {order.direction}{order.nulls}, t.id {order.direction}"
            page = Ordered(self.resource.plural, self._there(behind), by, limit + 1)
            rows = rows_near_first(page, self.where)
            if rows is not None:
                return rows, "true"
        return self.resource.plural, self._conditions(behind)

    def _there(self, behind: str | None) -> tuple[str, ...]:
        return (self.resource.table.compose(_THERE), *([behind] if behind else ()))

    def _conditions(self, behind: str | None = None) -> str:
        where = (each.condition if isinstance(each, Among) else each for each in self.where)
        return " AND ".join((*self._there(behind), *where))

    def _total(self, limit: int, *, is_first: bool) -> str:
        """Write the column with the number of records; a first page that is not full tells it."""
        counted = f"({self.count_statement()})"
        if is_first:
            on_page = "count(*) OVER ()"
            counted = f"CASE WHEN {on_page} <= {limit} THEN {on_page} ELSE {counted} END"
        return f", {counted} AS total"

    def _compose(self, text: str, **pieces: str) -> str:
        return compose(text, table=self.resource.plural, conditions=self._conditions(), **pieces)


def forget_statements() -> None:
    """Have all statements put together anew."""
    for statements in (_List.count_statement, _List.usual_statement, _List.page_statement):
        statements.cache_clear()


class Documents(NamedTuple):
    """The documents of a page, and the cursors of what is behind it."""

    rows: Sequence[Row]
    next_cursor: str | None
    of_list: bytes

    @property
    def documents(self) -> list[bytes]:
        """Give the documents."""
        return [row["doc"] for row in self.rows]

    def cursor_behind(self, count: int) -> str | None:
        """Give the cursor after the first `count` documents, at least one."""
        if count == len(self.rows):
            return self.next_cursor
        return cursor.write(self.of_list, position(self.rows[count - 1]))


async def list_page(resource: Resource, request: Request, given: Mapping[str, Any]) -> Answer:
    """Answer with a page of the records that the values of parameters ask for."""
    room = await reserve_room(request, MAX_PAGE_BYTES)
    page = await read_page(resource, context(request), caller(request), given)
    room.keep(len(page.body))
    return Answer(page.body, headers=link_next(request, page.next_cursor))


async def read_page(
    resource: Resource, service: Context, asker: Caller, asked: Mapping[str, Any]
) -> Page:
    """Read a page of the records that the values of parameters ask for, as a caller sees them."""
    key = page_key(resource.plural, asker.sight, asked)
    kept = service.pages.find(key)
    read = await _read(resource, service.database, asker, asked, kept.name if kept else None)
    if kept is not None and read.is_known:
        return kept
    found, brought = read.page, read.brought
    body = page_body(
        found.documents, found.next_cursor, read.total, brought.included, brought.truncated
    )
    page = Page(body, found.next_cursor, read.name)
    if kept is not None:
        service.pages.keep(key, page)
    return page


async def read_documents(
    resource: Resource, database: Database, asker: Caller, asked: Mapping[str, Any]
) -> Documents:
    """Read the documents of such a page alone."""
    return (await _read(resource, database, asker, asked)).page


class _Read(NamedTuple):
    """What was read of a page."""

    page: Documents
    total: int | None
    brought: Brought
    name: bytes | None
    is_known: bool


async def _read(
    resource: Resource,
    database: Database,
    asker: Caller,
    asked: Mapping[str, Any],
    known: bytes | None = None,
) -> _Read:
    """Read the documents of a page, the number of all records, and what the page brings.

    Nothing is read of the page that is known by the name `known`. Null means that the page's name
    is not wanted.
    """
    given = dict(asked)
    limit = given.pop("limit", DEFAULT_LIMIT)
    cursor_text = given.pop("cursor", None)
    expansions = _expansions(resource, given.pop("expand", None))
    counted = given.pop("count", None) is not None
    of_list = cursor.fingerprint(resource.plural, given)
    order = _order(resource, given.pop("sort", "-created_at"), given)

    where, filtered = sets_and_conditions(resource.all_filters, given)
    records = _List(resource, tuple(where))
    values, behind = dict(filtered), None
    if cursor_text is not None:
        key, identity = cursor.read(cursor_text, of_list, _position(order.sort))
        behind = order.behind(key)
        values |= {"cursor_id": identity} | ({} if key is None else {"cursor_key": key})
    async with database.connection(searches="q" in given) as connection:
        found = None
        if not counted:
            is_named = known is not None
            name = {"known": known} if is_named else {}
            statement = records.usual_statement(order, limit, behind, expansions, is_named=is_named)
            query = render(statement, asker, **name, **values)
            found = await read_usual(connection, query, limit, expansions)
        if found is None:
            statement = records.page_statement(order, limit, behind, counted=counted)
            rows = await connection.fetch(*render(statement, asker, **values))
            total = rows[0]["total"] if rows and counted else None
            if counted and not rows and cursor_text is None:
                total = 0
            elif counted and not rows:
                count = render(records.count_statement(), asker, **filtered)
                total = await connection.fetchval(*count)
            found = _fitting(rows, limit, total)
        brought = Brought(len(found.rows), found.related or (), ())
        if expansions and found.related is None and found is not KNOWN:
            there = [Item(row["id"], len(row["doc"]) + 1) for row in found.rows]
            brought = await bring(connection, asker, resource.type, there, expansions)
    items = found.rows[: brought.kept]
    next_cursor = None
    if found.has_next or len(items) < len(found.rows):
        next_cursor = cursor.write(of_list, position(items[-1]))
    page = Documents(items, next_cursor, of_list)
    return _Read(page, found.total, brought, found.name, found is KNOWN)


def _fitting(rows: Sequence[Row], limit: int, total: int | None) -> Found:
    """Keep the rows that have room on the page: the documents of the others are null."""
    kept = list(rows[:limit])
    while kept and kept[-1]["doc"] is None:
        kept.pop()
    return Found(kept, has_next=len(rows) > len(kept), total=total)


def _expansions(resource: Resource, text: str | None) -> tuple[Expansion, ...]:
    """Read `expand`."""
    if text is None:
        return ()
    known = {expansion.name: expansion for expansion in resource.expansions}
    return tuple(known[name] for name in read_terms("expand", text, known))


def _order(resource: Resource, name: str, given: Mapping[str, Any]) -> Order:
    """Read `sort`."""
    sort = resource.all_sorts.get(name)
    if sort is None:
        raise invalid_parameter("sort", f"It takes one of {', '.join(resource.all_sorts)}.")
    if sort.needs is not None and sort.needs not in given:
        detail = f"`{sort.name}` can only be used together with `{sort.needs}`."
        raise invalid_parameter("sort", detail)
    return Order(sort, descending=sort.ranks or name.startswith("-"))


def _position(sort: Sort) -> Any:  # noqa: ANN401 - a type form
    """Give the type of a cursor's values: the sort key's, and an id."""
    return tuple[sort.key | None if sort.nullable else sort.key, Id]  # type: ignore[misc]


# --- the rows of another table ---------------------------------------------------------------


async def list_rows(
    request: Request,
    name: str,
    statement: str,
    key: Sequence[tuple[str, Any]],
    filters: Sequence[Parameter] = (),
    **values: Any,  # noqa: ANN401 - the types of the statement's parameters
) -> Answer:
    """Answer with a page of a statement's rows.

    `key` names the columns that the rows are sorted by, with the types that a cursor gives them.
    The statement's parameters are these columns of the last row of the page before (`:after_id`
    for a column `id`, null on the first page), `:limit`, the `filters` (null if not given), and
    `values`.
    """
    parameters = {p.name: p for p in (*filters, LIMIT, CURSOR)}
    given = read_query(request.scope["query_string"], parameters)
    limit = given.pop("limit", DEFAULT_LIMIT)
    cursor_text = given.pop("cursor", None)
    of_list = cursor.fingerprint(name, given)
    after: Sequence[Any] = [None] * len(key)
    if cursor_text is not None:
        after = cursor.read(cursor_text, of_list, tuple[tuple(kind for _, kind in key)])  # type: ignore[misc]
    values |= {f"after_{column}": value for (column, _), value in zip(key, after, strict=True)}
    values |= {parameter.name: given.get(parameter.name) for parameter in filters}
    rows = await context(request).database.fetch(*render(statement, limit=limit + 1, **values))
    items = fitting_items(encoded(dict(row)) for row in rows[:limit])
    next_cursor = None
    if len(rows) > len(items):
        last = rows[len(items) - 1]
        next_cursor = cursor.write(of_list, [last[column] for column, _ in key])
    return Answer(page_body(items, next_cursor), headers=link_next(request, next_cursor))


def fitting_items(items: Iterable[bytes]) -> list[bytes]:
    """Take as many items as have room on a page; the first always has."""
    taken: list[bytes] = []
    room = MAX_PAGE_BYTES
    for item in items:
        room -= len(item) + 1
        if room < 0 and taken:
            break
        taken.append(item)
    return taken


# --- the body and the header of any page -----------------------------------------------------


def page_body(
    items: Sequence[bytes],
    next_cursor: str | None,
    total: int | None = None,
    included: Sequence[tuple[str, bytes]] = (),
    truncated: Sequence[tuple[UUID, str]] = (),
) -> bytes:
    """Write a page from the JSON of its items, and of the members of each object in `included`.

    `truncated` names records, each with the relation of which `included` lacks some records.
    """
    about = (
        b'],"next_cursor":%b,"total":%b,"total_is_lower_bound":%b,"truncated":%b,"included":{'
        % (
            encoded(next_cursor) if next_cursor else _NULL,
            encoded(min(total, MAX_COUNTED)) if total is not None else _NULL,
            encoded(total is not None and total > MAX_COUNTED),
            encoded([{"id": identity, "relation": name} for identity, name in truncated]),
        )
    )
    # One copy of up to 8 MiB, and no more.
    pieces = [b'{"items":[', *_separated(items), about]
    for place, (name, members) in enumerate(included):
        pieces += [b'%b"%b":{' % (b"," if place else b"", name.encode()), members, b"}"]
    return b"".join([*pieces, b"}}"])


def _separated(items: Sequence[bytes]) -> list[bytes]:
    return [piece for item in items for piece in (item, b",")][:-1]


def link_next(request: Request, next_cursor: str | None) -> dict[str, str]:
    """Write the Link header (RFC 8288) to the next page; no header if this page is the last."""
    if next_cursor is None:
        return {}
    query = request.scope["query_string"].decode("latin-1")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("cursor=")]
    kept.append(f"cursor={next_cursor}")  # its characters need no escape
    return {"link": f'<{request.scope["path"]}?{"&".join(kept)}>; rel="next"'}
