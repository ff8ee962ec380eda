"""A page of usual size, read by one statement together with its related records.

Postgres sends each document as a row of its own. To join them there would take it longer than to
send them: a text of more than 128 KiB is new memory of the kernel at each execution, again and
again while it grows. Postgres computes nothing from a document except its size.

A page can be named: its name is equal to that of another page only if both have the same bytes
(migration 0031). Whoever has kept the page gives the name that it had, and gets nothing if it still
has that name. Postgres finds out in the same statement what is on the page, and for whom.

A page that might pass a bound is not read like this (:func:`read_usual` gives less, or nothing).
The statements of `api.core.listing` and `api.core.expanding` then find out where it has to end.
Both ways give the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from api.core.db import Connection, Row
from api.core.expanding import MAX_INCLUDED, MEMBER_BYTES, in_order_of_reading
from api.core.resource import INSTANT_KEY, MAX_PAGE_BYTES, Expansion, Sort
from api.core.sql import Query, compose, plural
from schemas.vocabularies import RecordType

_FOUND: Final = """
    SELECT t.id, octet_length(t.doc) AS size, {held}, {sort_key} AS key
    FROM {rows} AS t
    WHERE {conditions}
    ORDER BY {sort_key} {direction}{nulls}, t.id {direction}
    LIMIT {limit}"""
# A document that takes more than its share of the page is null here. Then the page is not usual.
_ITEM: Final = """
    CASE WHEN f.size < {share} THEN {document} END AS doc, f.id, {key} AS key"""
# Only the key of the last record is needed, so the others need not be made instants of Python.
_SENT: Final = "timestamptz_send(f.key)"
_EPOCH: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

_ALONE: Final = """
    SELECT {items}, 0 AS relation FROM ({found}) AS f
    UNION ALL SELECT {name}, NULL, NULL, -1"""

# Each row has the number of its relation; the records themselves have 0. Behind them, the name of
# the page says that it is usual.
_WHOLE: Final = """
    WITH found AS MATERIALIZED ({found}), items AS MATERIALIZED (
        SELECT f.id, f.size + 1 AS size
        FROM found AS f
        ORDER BY f.key {direction}{nulls}, f.id {direction}
        LIMIT {limit}
    ){relations}, page AS MATERIALIZED (
        SELECT p.is_usual, p.name, {is_sent} AS is_sent
        FROM (
            SELECT coalesce((SELECT sum(i.size) FROM items AS i), 0){sizes} <= {most_bytes}{bounds}
                       AS is_usual,
                   {name} AS name
            OFFSET 0 -- otherwise each mention of the name would make it again
        ) AS p
    )
    SELECT {items}, 0 AS relation FROM found AS f WHERE (SELECT p.is_sent FROM page AS p){members}
    UNION ALL SELECT p.name, NULL, NULL, -1 FROM page AS p WHERE p.is_usual AND p.is_sent"""
# The digests of all documents in their order, and the key of the last one, where the next page
# begins. This is said in full, and not as a digest of it: Postgres takes less time to compare it.
_NAME: Final = """array_send(ARRAY[
                       (
                           SELECT convert_to(concat((array_agg(f.key))[{limit}]), 'UTF8')
                           FROM found AS f
                       ),
                       (SELECT string_agg(f.digest, '') FROM found AS f){digests}
                   ])"""
# The related records are found by one array of ids: to join them to a list of ids takes longer.
_RELATION: Final = """, {name} AS MATERIALIZED (
        SELECT t.id, octet_length(t.doc) AS size, {held}
        FROM {table} AS t
        WHERE t.id = ANY(ARRAY(
            WITH owners AS ({owners}) SELECT DISTINCT p.id FROM ({pairs}) AS p
        )) AND t.deleted_at IS NULL AND :sees({type}, t)
        ORDER BY t.created_at DESC, t.id DESC
        LIMIT {limit}
    )"""
_OWNERS: Final = "SELECT '{type}'::text AS type, o.id, 0 AS place FROM {name} AS o"
_SIZE: Final = """
            + coalesce((SELECT sum(r.size + {more}) FROM {name} AS r), 0)"""
_BOUND: Final = """
            AND (SELECT count(*) FROM {name}) <= {most}"""
_MEMBERS: Final = """
    UNION ALL SELECT {document}, NULL, NULL, {number} FROM {name} AS r
    WHERE (SELECT p.is_usual AND p.is_sent FROM page AS p)"""
_DIGESTS: Final = """,
                       (SELECT string_agg(r.digest, '') FROM {name} AS r)"""
_ID: Final = slice(6, 44)
"""Where a document has its id, in quotation marks: it begins with `{"id":`."""


class Found(NamedTuple):
    """The records of a page, and what they bring."""

    rows: Sequence[Row]
    """The records that have room on the page, each with its `id`, its `doc` and its sort `key`."""
    has_next: bool
    """Whether another page follows."""
    related: Sequence[tuple[str, bytes]] | None = None
    """For each relation its name and the members of a JSON object; null where they are not read."""
    total: int | None = None
    name: bytes | None = None
    """What the page is known by, empty if it was not to be named; null if it is not usual."""


KNOWN: Final = Found((), has_next=False)
"""The page that the service has under the name that it gave; nothing of it was sent."""


class _Way(NamedTuple):
    """What differs between pages that are named and others, as SQL."""

    held: str  # what is held of each record until it is sent
    document: str
    name: str
    is_sent: str


_PLAIN: Final = _Way("t.doc", "{alias}.doc", "''::bytea", "true")
# Mostly nothing of a named page is sent. If it is, its documents are looked up once more: to hold
# them until then would take fresh memory of the kernel at each execution.
_NAMED: Final = _Way(
    "t.digest",
    "(SELECT d.doc FROM {table} AS d WHERE d.id = {alias}.id)",
    _NAME,
    "NOT p.is_usual OR p.name IS DISTINCT FROM :known::bytea",
)


class Asked(NamedTuple):
    """Which rows a statement reads, in which order."""

    rows: str  # the name of a table, or a statement in brackets
    conditions: str
    sort: Sort
    direction: str
    nulls: str
    limit: int


def usual_statement(
    record_type: RecordType,
    asked: Asked,
    expansions: Sequence[Expansion] = (),
    *,
    is_named: bool = False,
) -> str:
    """Write the statement that reads a page, and one row more if another page follows.

    If the page is to be named, it gives nothing of a page that has the name `:known`.
    """
    way = _NAMED if is_named else _PLAIN
    order = {"direction": asked.direction, "nulls": asked.nulls}
    found = compose(
        _FOUND,
        held=way.held,
        rows=asked.rows,
        conditions=asked.conditions,
        sort_key=asked.sort.expression,
        limit=f"{asked.limit + 1}",
        **order,
    )
    items = compose(
        _ITEM,
        share=f"{MAX_PAGE_BYTES // (asked.limit + 1)}",
        key=_SENT if asked.sort.key is INSTANT_KEY else "f.key",
        document=compose(way.document, alias="f", table=plural(record_type)),
    )
    if not (is_named or expansions):
        return compose(_ALONE, items=items, found=found, name=way.name)
    names = {each: f"related_{number}" for number, each in enumerate(expansions, 1)}
    limit = f"{asked.limit}"
    return compose(
        _WHOLE,
        found=found,
        items=items,
        limit=limit,
        name=compose(way.name, limit=limit, digests=_for_each(_DIGESTS, names, way)),
        is_sent=way.is_sent,
        relations=_relations(record_type, names, way),
        sizes=_for_each(_SIZE, names, way),
        most_bytes=f"{MAX_PAGE_BYTES}",
        bounds=_for_each(_BOUND, names, way),
        members=_for_each(_MEMBERS, names, way),
        **order,
    )


def _for_each(text: str, names: Mapping[Expansion, str], way: _Way) -> str:
    """Write a piece for each relation."""
    pieces = (
        compose(
            text,
            name=name,
            number=f"{number}",
            most=f"{MAX_INCLUDED}",
            more=f"{MEMBER_BYTES}",
            document=compose(way.document, alias="r", table=plural(expansion.target)),
        )
        for number, (expansion, name) in enumerate(names.items(), 1)
    )
    return "".join(pieces)


def _relations(record_type: RecordType, names: Mapping[Expansion, str], way: _Way) -> str:
    """Write the tables of related records; those that are followed read the ones before them."""
    text = ""
    read: list[Expansion] = []
    for expansion in in_order_of_reading(names):
        owners = [compose(_OWNERS, type=record_type, name="items")]
        if expansion.follows:
            owners += [compose(_OWNERS, type=each.target, name=names[each]) for each in read]
        text += compose(
            _RELATION,
            held=way.held,
            name=names[expansion],
            owners=" UNION ALL ".join(owners),
            pairs=expansion.pairs,
            table=plural(expansion.target),
            type=expansion.target,
            limit=f"{MAX_INCLUDED + 1}",
        )
        read.append(expansion)
    return text


async def read_usual(
    connection: Connection, query: Query, limit: int, expansions: Sequence[Expansion]
) -> Found | None:
    """Read a page by its statement; null if one of its documents is too large.

    Gives :data:`KNOWN` for the page whose name is the statement's parameter `known`.
    """
    rows = await connection.fetch(*query)
    if not rows:
        return KNOWN
    name = rows.pop()["doc"] if rows[-1]["relation"] < 0 else None
    parts: list[list[Row]] = [[] for _ in range(len(expansions) + 1)]
    for row in rows:
        parts[row["relation"]].append(row)
    items, *related = parts
    found = _found(items, limit)
    if found is None or name is None:
        return found
    members = [(each.name, _members(own)) for each, own in zip(expansions, related, strict=True)]
    return found._replace(related=members, name=name)


def _found(rows: Sequence[Row], limit: int) -> Found | None:
    items = rows[:limit]
    if any(row["doc"] is None for row in items):
        return None
    return Found(items, has_next=len(rows) > limit)


def _members(rows: Iterable[Row]) -> bytes:
    """Write the members of an object; each name is the id with which its document begins."""
    documents = [row["doc"] for row in rows]
    return b",".join([document[_ID] + b":" + document for document in documents])


def position(row: Row) -> list[Any]:
    """Give the values of the cursor behind a row of a page."""
    key = row["key"]
    if isinstance(key, bytes):
        key = _EPOCH + dt.timedelta(microseconds=int.from_bytes(key, "big", signed=True))
    return [key, str(row["id"])]
