"""Expansion: the related records in `included`, within the bounds of the page.

A page ends early where its bytes pass `MAX_PAGE_BYTES` or where it would bring more than
`MAX_INCLUDED` records of one relation. Only where the first record alone brings more than that,
some of them are left out, and the page names the record and the relation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from api.core.caller import Caller
from api.core.db import Connection
from api.core.resource import MAX_PAGE_BYTES, Expansion
from api.core.sql import compose, plural, render
from schemas.vocabularies import RecordType

MAX_INCLUDED: Final = 2_000
"""A page brings no more related records than this, for each relation that it expands."""

MEMBER_BYTES: Final = 40
"""How many bytes an included record takes beside its document: its id, its colon and its comma."""

# The members of a JSON object.
_MEMBERS: Final = """
    SELECT string_agg(convert_to('"' || i.id || '":', 'UTF8') || i.doc, ',')
    FROM (
        SELECT t.id, t.doc FROM {table} AS t
        WHERE t.id = ANY({ids}) AND t.deleted_at IS NULL AND :sees({type}, t)
        ORDER BY t.created_at DESC, t.id DESC
    ) AS i"""
# `place` says which item of the page is the first that brings a record. A size is that of a member
# with its id and its comma. The documents come at once if all of them have room on the page.
_BROUGHT: Final = """
    WITH owners AS (
        SELECT o.type, o.id, o.place
        FROM unnest(
            :owner_types::text::text[], :owner_ids::text::uuid[], :places::text::integer[]
        ) AS o(type, id, place)
    ), brought AS (
        SELECT b.id, min(b.place) AS place FROM ({pairs}) AS b GROUP BY b.id
    ), found AS MATERIALIZED (
        SELECT t.id, t.created_at, b.place, octet_length(t.doc) + {more} AS size
        FROM brought AS b
        JOIN {table} AS t ON t.id = b.id
        WHERE t.deleted_at IS NULL AND :sees({type}, t)
        ORDER BY b.place, t.created_at DESC, t.id DESC
        LIMIT {limit}
    )
    SELECT array_agg(f.id ORDER BY f.place, f.created_at DESC, f.id DESC) AS ids,
           array_agg(f.place ORDER BY f.place, f.created_at DESC, f.id DESC) AS places,
           array_agg(f.size ORDER BY f.place, f.created_at DESC, f.id DESC) AS sizes,
           CASE WHEN count(*) < {limit} AND sum(f.size) <= :room THEN ({members}) END AS members
    FROM found AS f"""


class Item(NamedTuple):
    """An item of the page: the id of its record, and how many bytes it takes on the page."""

    id: UUID
    size: int
    owners: Sequence[tuple[RecordType, UUID]] = ()
    """The records whose related records it brings, if it is not this record alone."""


class Brought(NamedTuple):
    """What a page brings: how many of its items it keeps, and the related records of these."""

    kept: int
    included: Sequence[tuple[str, bytes]]
    """For each relation its name and the members of a JSON object: records by their id."""
    truncated: Sequence[tuple[UUID, str]]
    """The record and the relation of which not all related records are included."""


class Relation:
    """The related records that a page brings, in the order of the items that bring them."""

    def __init__(
        self,
        expansion: Expansion,
        ids: Sequence[UUID] = (),
        places: Sequence[int] = (),
        sizes: Sequence[int] = (),
        members: bytes | None = b"",
    ) -> None:
        """Take the records that the items bring; `members` is null until they are read."""
        self.expansion = expansion
        self.ids, self.places, self.sizes = ids, places, sizes
        self.members = members
        self.is_truncated = False

    def keep(self, items: int) -> None:
        """Keep only what the first items of the page bring."""
        self._cut(bisect_left(self.places, items))

    def truncate(self, room: int) -> None:
        """Keep as many records as there is room for, and remember if that is not all of them."""
        fitting = 0
        for size in self.sizes[:MAX_INCLUDED]:
            room -= size
            if room < 0:
                break
            fitting += 1
        self.is_truncated = fitting < len(self.ids)
        self._cut(fitting)

    def _cut(self, number: int) -> None:
        if number < len(self.ids):
            self.ids, self.places = self.ids[:number], self.places[:number]
            self.sizes, self.members = self.sizes[:number], None


async def bring(
    connection: Connection,
    asker: Caller,
    record_type: RecordType,
    items: Sequence[Item],
    expansions: Sequence[Expansion],
) -> Brought:
    """Read the related records of a page's items, as a caller sees them.

    At most two statements a relation: ids and sizes, then documents. The second is only needed if
    not everything has room on the page.
    """
    kept = len(items)
    relations: list[Relation] = []
    for expansion in in_order_of_reading(expansions):
        if not kept:
            relations.append(Relation(expansion))
            continue
        room = MAX_PAGE_BYTES - _size(items[:kept], relations)
        owners = _owners(record_type, items[:kept], relations if expansion.follows else ())
        relation = await _read_brought(connection, asker, expansion, owners, room)
        relations.append(relation)
        kept = fitting(items[:kept], relations)
        for each in relations:
            each.keep(kept)
        if kept == 1:
            relation.truncate(MAX_PAGE_BYTES - _size(items[:1], relations[:-1]))
    for relation in relations:
        if relation.members is None:
            relation.members = await _read_members(connection, asker, relation)
    by_name = {each.expansion.name: each.members or b"" for each in relations}
    return Brought(
        kept,
        [(each.name, by_name[each.name]) for each in expansions],
        [(items[0].id, each.expansion.name) for each in relations if each.is_truncated],
    )


def in_order_of_reading(expansions: Iterable[Expansion]) -> list[Expansion]:
    """Sort expansions so that each comes behind those which it follows."""
    return sorted(expansions, key=lambda each: each.turn)


def fitting(items: Sequence[Item], relations: Iterable[Relation]) -> int:
    """Count the items that fit on a page with everything that they bring; at least one."""
    sizes = [item.size for item in items]
    kept = len(items)
    for relation in relations:
        for place, size in zip(relation.places, relation.sizes, strict=True):
            sizes[place] += size
        if len(relation.ids) > MAX_INCLUDED:
            kept = min(kept, relation.places[MAX_INCLUDED])
    room = MAX_PAGE_BYTES
    for place, size in enumerate(sizes[:kept]):
        room -= size
        if room < 0:
            kept = place
            break
    return max(kept, 1)


def _size(items: Iterable[Item], relations: Iterable[Relation]) -> int:
    return sum(item.size for item in items) + sum(sum(each.sizes) for each in relations)


class _Owners(NamedTuple):
    """The records whose related records are read, and the items of the page that bring them.

    Each is the text of an array, since asyncpg takes a microsecond for each element of a list.
    """

    owner_types: str
    owner_ids: str
    places: str


def _owners(
    record_type: RecordType,
    items: Sequence[Item],
    followed: Iterable[Relation],
) -> _Owners:
    """List the items, and the included records of the relations that are followed further."""
    owners = [
        (owner_type.value, identity, place)
        for place, item in enumerate(items)
        for owner_type, identity in item.owners or [(record_type, item.id)]
    ]
    owners += [
        (relation.expansion.target.value, identity, place)
        for relation in followed
        for identity, place in zip(relation.ids, relation.places, strict=True)
    ]
    return _Owners(*(f"{{{','.join(map(str, column))}}}" for column in zip(*owners, strict=True)))


async def _read_brought(
    connection: Connection, asker: Caller, expansion: Expansion, owners: _Owners, room: int
) -> Relation:
    statement = compose(
        _BROUGHT,
        pairs=expansion.pairs,
        members=_members_of(expansion, "(SELECT array_agg(g.id) FROM found AS g)::uuid[]"),
        limit=f"{MAX_INCLUDED + 1}",
        more=f"{MEMBER_BYTES}",
        **_target(expansion),
    )
    row = await connection.fetchrow(*render(statement, asker, room=room, **owners._asdict()))
    if row is None or row["ids"] is None:
        return Relation(expansion)
    return Relation(expansion, row["ids"], row["places"], row["sizes"], row["members"])


async def _read_members(connection: Connection, asker: Caller, relation: Relation) -> bytes | None:
    statement = _members_of(relation.expansion, ":ids::uuid[]")
    members: bytes | None = await connection.fetchval(*render(statement, asker, ids=relation.ids))
    return members


def _members_of(expansion: Expansion, ids: str) -> str:
    return compose(_MEMBERS, ids=ids, **_target(expansion))


def _target(expansion: Expansion) -> dict[str, Any]:
    return {"table": plural(expansion.target), "type": expansion.target}
