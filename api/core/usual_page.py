"""A page of usual size, read by one statement together with its related records.

Postgres sends each document as a row of its own. To join them there would take it longer than to
send them: a text of more than 128 KiB is new memory of the kernel at each execution, again and
again while it grows. Postgres computes nothing from a document except its size.

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
    SELECT t.id, t.doc, {sort_key} AS key
    FROM {rows} AS t
    WHERE {conditions}
    ORDER BY {sort_key} {direction}{nulls}, t.id {direction}
    LIMIT {limit}"""
# A document that takes more than its share of the page is null here. Then the page is not usual.
_ITEM: Final = """
    CASE WHEN octet_length(f.doc) < {share} THEN f.doc END AS doc, f.id, {key} AS key"""
# Only the key of the last record is needed, so the others need not be made instants of Python.
_SENT: Final = "timestamptz_send(f.key)"
_EPOCH: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_ALONE: Final = "SELECT {items} FROM ({found}) AS f"

# Each row has the number of its relation; the records themselves have 0.
_WITH_RELATED: Final = """
    WITH found AS MATERIALIZED ({found}), items AS MATERIALIZED (
        SELECT f.id, octet_length(f.doc) + 1 AS size
        FROM found AS f
        ORDER BY f.key {direction}{nulls}, f.id {direction}
        LIMIT {limit}
    ){relations}, page AS MATERIALIZED (
        SELECT coalesce((SELECT sum(i.size) FROM items AS i), 0){sizes} <= {most_bytes}{bounds}
            AS is_usual
    )
    SELECT {items}, 0 AS relation FROM found AS f{members}
    UNION ALL SELECT NULL, NULL, NULL, -1 FROM page AS p WHERE NOT p.is_usual"""
_RELATION: Final = """, {name} AS MATERIALIZED (
        SELECT t.id, t.doc
        FROM (
            WITH owners AS ({owners}) SELECT DISTINCT p.id FROM ({pairs}) AS p
        ) AS related
        JOIN {table} AS t ON t.id = related.id
        WHERE t.deleted_at IS NULL AND :sees({type}, t)
        ORDER BY t.created_at DESC, t.id DESC
        LIMIT {limit}
    )"""
_OWNERS: Final = "SELECT '{type}'::text AS type, o.id, 0 AS place FROM {name} AS o"
_SIZE: Final = """
            + coalesce((SELECT sum(octet_length(r.doc) + {more}) FROM {name} AS r), 0)"""
_BOUND: Final = """
            AND (SELECT count(*) FROM {name}) <= {most}"""
_MEMBERS: Final = """
    UNION ALL SELECT r.doc, NULL, NULL, {number} FROM {name} AS r
    WHERE (SELECT p.is_usual FROM page AS p)"""
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


class Asked(NamedTuple):
    """Which rows a statement reads, in which order."""

    rows: str  # the name of a table, or a statement in brackets
    conditions: str
    sort: Sort
    direction: str
    nulls: str
    limit: int


def usual_statement(
    record_type: RecordType, asked: Asked, expansions: Sequence[Expansion] = ()
) -> str:
    """Write the statement that reads a page, and one row more if another page follows."""
    order = {"direction": asked.direction, "nulls": asked.nulls}
    found = compose(
        _FOUND,
        rows=asked.rows,
        conditions=asked.conditions,
        sort_key=asked.sort.expression,
        limit=f"{asked.limit + 1}",
        **order,
    )
    share = f"{MAX_PAGE_BYTES // (asked.limit + 1)}"
    key = _SENT if asked.sort.key is INSTANT_KEY else "f.key"
    items = compose(_ITEM, share=share, key=key)
    if not expansions:
        return compose(_ALONE, items=items, found=found)
    names = {each: f"related_{number}" for number, each in enumerate(expansions, 1)}
    return compose(
        _WITH_RELATED,
        found=found,
        items=items,
        limit=f"{asked.limit}",
        relations=_relations(record_type, names),
        sizes=_for_each(_SIZE, names),
        most_bytes=f"{MAX_PAGE_BYTES}",
        bounds=_for_each(_BOUND, names),
        members=_for_each(_MEMBERS, names),
        **order,
    )


def _for_each(text: str, names: Mapping[Expansion, str]) -> str:
    """Write a piece for each relation."""
    pieces = (
        compose(text, name=name, number=f"{number}", most=f"{MAX_INCLUDED}", more=f"{MEMBER_BYTES}")
        for number, name in enumerate(names.values(), 1)
    )
    return "".join(pieces)


def _relations(record_type: RecordType, names: Mapping[Expansion, str]) -> str:
    """Write the tables of related records; those that are followed read the ones before them."""
    text = ""
    read: list[Expansion] = []
    for expansion in in_order_of_reading(names):
        owners = [compose(_OWNERS, type=record_type, name="items")]
        if expansion.follows:
            owners += [compose(_OWNERS, type=each.target, name=names[each]) for each in read]
        text += compose(
            _RELATION,
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
    """Read a page by its statement; null if one of its documents is too large."""
    rows = await connection.fetch(*query)
    if not expansions:
        return _found(rows, limit)
    parts: list[list[Row]] = [[] for _ in range(len(expansions) + 2)]
    for row in rows:
        parts[row["relation"]].append(row)
    items, *related, unusual = parts
    found = _found(items, limit)
    if found is None or unusual:
        return found
    members = [(each.name, _members(own)) for each, own in zip(expansions, related, strict=True)]
    return found._replace(related=members)


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
