"""Stretches: runs of successive changes, read from the feed behind a position.

Most changes are read from blocks (:mod:`api.sync.feed.blocks`). Those that are in no block yet, or
whose records are large, are read one by one: the JSON of a change is kept in the feed, but for its
record (migration 0021). Postgres decides for all of them at once what the reader may know of each,
and adds the records. So all that is left to do for a page is to join the texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from api.core.caller import EVERYTHING, Sight, quotes_hidden
from api.core.db import Database, Row
from api.core.errors import RESYNC_REQUIRED, Problem, unavailable
from api.core.sql import Query, compose, plural, render
from api.sync.feed.blocks import (
    CHANGES,
    Sealed,
    blocks_statement,
    head_of,
    is_missing,
    kind_of,
    sealed,
)
from api.sync.feed.kept import KeptBlocks
from api.sync.feed.numbering import Head
from schemas.vocabularies import ChangeOp, RecordType

MAX_SCANNED: Final = 10_000
"""One reading passes over at most this many changes to find those of the types asked for."""
MAX_BYTES: Final = 4_194_304
"""About how many bytes of records a reading has; it always has at least one change."""
CHANGE_BYTES: Final = 500
"""About how many bytes a change has in memory beside its text."""
_TAG_BYTES: Final = 6


class Position(NamedTuple):
    """The place behind one change: behind that very change, not only behind its number."""

    epoch: str
    seq: int
    tag: str  # of that change; "" at the start of the feed


class Wanted(NamedTuple):
    """What is read behind a position, and for whom. Readers who want the same share a reading."""

    sight: Sight
    limit: int
    types: tuple[RecordType, ...] = ()  # none means all types
    most_bytes: int = MAX_BYTES
    documents: bool = True  # whether the changes hold their records
    places: bool = False  # whether each change comes with its own position


class NotedChange(msgspec.Struct):
    """A change, as the feed tells its reader of it without the record."""

    seq: int
    op: ChangeOp
    type: RecordType
    id: str
    version: int
    at: str


class Place(NamedTuple):
    """A change, and where it stands."""

    change: NotedChange
    position: Position  # behind the change


@dataclass(frozen=True)
class Stretch:
    """Successive changes as the reader may know them, and the position behind them.

    Changes that are hidden from the reader are passed over: the position is behind them too.
    """

    texts: list[bytes]  # the JSON of each change; unless places were wanted, also of several
    places: list[Place]  # of the same changes; empty unless they were wanted
    to: Position
    up_to_date: bool  # whether the feed ends there
    misses_block: bool = False  # whether the first change was to be in a block, and is in none
    made: dict[Any, list[bytes]] = field(default_factory=dict)
    """What readers who share the stretch have made of its texts, so that they make it once."""

    @cached_property
    def size(self) -> int:
        """About how many bytes it has in memory."""
        return sum(map(len, self.texts)) + CHANGE_BYTES * len(self.texts)


async def read_stretch(
    database: Database,
    head: Head,
    position: Position,
    wanted: Wanted,
    sealed_to: int = 0,
    kept: KeptBlocks | None = None,
) -> Stretch:
    """Read the changes behind a position, at most as many as the limit, with those passed over.

    Those up to number `sealed_to` are known to be in blocks. What is in `kept` is not sent again,
    and the rest is put there. Raises `resync-required` if the change at the position is not the one
    that its tag belongs to.
    """
    end = min(head.seq, position.seq + MAX_SCANNED)
    is_large = wanted.documents and wanted.limit >= CHANGES  # for less, a block is too much
    if not is_large or min(end, sealed_to) < position.seq + CHANGES:
        return await _read_single(database, head, position, wanted)
    kept = kept if kept is not None else KeptBlocks(0)
    known = kept.within(position.seq // CHANGES, end // CHANGES)
    query = _query(blocks_statement(), position.seq, end, wanted, wanted.limit, kept=list(known))
    rows = await database.fetch(*query)
    found = sealed(rows, known, position.seq, wanted.limit, wanted.most_bytes, single=wanted.places)
    for row in rows:
        if row["texts"] is not None and row["id"] is not None:
            kept.add(row["id"], kind_of(row))
    if found is None:
        stretch = await _read_single(database, head, position, wanted)
        return replace(stretch, misses_block=is_missing(rows))
    begun = _stretch(found, head, position, wanted)
    if found.more or found.end >= end:
        return begun
    most_bytes = wanted.most_bytes - sum(map(len, found.texts))
    rest = wanted._replace(limit=wanted.limit - found.changes, most_bytes=most_bytes)
    goes_on = await _read_single(database, head, begun.to, rest)
    texts, places = begun.texts + goes_on.texts, begun.places + goes_on.places
    return Stretch(texts, places, goes_on.to, goes_on.up_to_date)


def _stretch(found: Sealed, head: Head, position: Position, wanted: Wanted) -> Stretch:
    """Make a stretch of what was found in blocks."""
    _check(position, found.first_head, head)
    if found.last_head is None:
        raise unavailable("The change feed is being restored.")
    to = _place(found.last_head, head).position
    places: list[Place] = []
    if wanted.places:
        places = [_place(head_of(text), head) for text in found.texts]
    return Stretch(found.texts, places, to, to.seq >= head.seq)


async def _read_single(
    database: Database, head: Head, position: Position, wanted: Wanted
) -> Stretch:
    """Read the changes behind a position one by one."""
    end = min(head.seq, position.seq + MAX_SCANNED)
    at_start = position.seq == 0
    rows = await _read(database, position.seq, end, wanted, wanted.limit + (not at_start))
    if not at_start:
        _check(position, rows.pop(0)["head"] if rows else None, head)
    to = position
    if rows:
        to = _place(rows[-1]["head"], head).position
    elif position.seq < end:
        raise unavailable("The change feed is being restored.")
    texts = [row[_TEXT] for row in rows if row[_TEXT] is not None]
    places: list[Place] = []
    if wanted.places:
        places = [_place(head_of(text), head) for text in texts]
    return Stretch(texts, places, to, to.seq >= head.seq)


def _check(position: Position, text: bytes | None, head: Head) -> None:
    """Refuse a position whose change is not the one that stands there."""
    if position.seq and (text is None or _place(text, head).position != position):
        raise resync_required(
            "The feed was set back to a time before this cursor. Export again, and go on from "
            "that export's cursor."
        )


async def read_position(database: Database, head: Head, seq: int) -> Position:
    """Read the position behind the change with a number; 0 is the start of the feed."""
    if seq == 0:
        return Position(head.epoch, 0, "")
    rows = await _read(database, seq, seq, Wanted(EVERYTHING.sight, 1, documents=False), 1)
    if not rows:
        raise unavailable("The change feed is being restored.")
    return _place(rows[0]["head"], head).position


def resync_required(detail: str) -> Problem:
    """Make the problem that tells a reader to start again from an export."""
    return Problem(RESYNC_REQUIRED, detail, export="/v1/export")


async def _read(database: Database, first: int, last: int, wanted: Wanted, limit: int) -> list[Row]:
    return await database.fetch(*stretch_query(first, last, wanted, limit))


def stretch_query(first: int, last: int, wanted: Wanted, limit: int) -> Query:
    """Write the query for at most `limit` changes from number `first` to number `last`."""
    of_types = {}
    if wanted.types:
        of_types["types"] = [record_type.value for record_type in wanted.types]
    statement = _statement(of_types=bool(wanted.types))
    documents = wanted.documents
    return _query(statement, first, last, wanted, limit, documents=documents, **of_types)


def _query(
    statement: str,
    first: int,
    last: int,
    wanted: Wanted,
    limit: int,
    **more: Any,  # noqa: ANN401
) -> Query:
    """Write the query of a statement that reads changes for a reader."""
    classes = {
        _classes(record_type): classes
        if not wanted.types or record_type in wanted.types
        else 0  # changes of other types are passed over as if they were hidden
        for record_type, classes in zip(RecordType, wanted.sight.classes, strict=True)
    }
    return render(
        statement,
        first=first,
        last=last,
        limit=limit,
        bytes=wanted.most_bytes,
        hidden_articles=wanted.sight.hidden_articles,
        **classes,
        **more,
    )


def _classes(record_type: RecordType) -> str:
    """Name the parameter for the classes of a type that the reader sees."""
    return f"{record_type.value}_classes"


_TEXT: Final = 1  # the column; its name would be looked up for each row


_NOTED: Final = msgspec.json.Decoder(NotedChange)


def _place(text: bytes, head: Head) -> Place:
    """Give the place of a change, from its head.

    Its position has a tag, a digest that tells the change from any other change with the same
    number: a feed that was set back to an earlier time gives the same numbers again, to other
    changes. Readers also get the tags of changes that are hidden from them; without the secret, a
    tag says nothing about its change.
    """
    change = _NOTED.decode(text + b"null}")
    at = change.at.replace("Z", "+00:00")  # as in the tags that were given out first
    tag = _tag(f"{change.seq} {change.type} {change.id} {change.version} {at}", head.secret)
    return Place(change, Position(head.epoch, change.seq, tag))


def _tag(text: str, secret: bytes) -> str:
    return blake2b(text.encode(), digest_size=_TAG_BYTES, key=secret).hexdigest()


@cache
def _statement(*, of_types: bool) -> str:
    """Write the statement that reads a stretch.

    It gives at most `limit` changes with about `bytes` bytes of records, and these are summed up
    without being read. With `of_types` it gives changes of the `types` alone, and always those at
    both ends. A change has no text if its reader may not know of it, nor has the one at `first`.
    The changes at both ends come with their heads, from which their places are read.
    """
    types = "AND (f.seq IN (:first, :last) OR f.record_type = ANY(:types::text[]))"
    return compose(
        _STRETCH,
        types=types if of_types else "",
        classes=" ".join(
            f"WHEN '{each.value}' THEN :{each.value}_classes::integer" for each in RecordType
        ),
        today="\n            UNION ALL".join(
            compose(_TODAY, table=plural(each), type=each.value) for each in RecordType
        ),
        quotes_hidden=quotes_hidden("r"),
    )


# The records of a stretch are looked up by an array, all those of one type at once.
_TODAY: Final = """
            SELECT '{type}' AS record_type, t.id, t.version, t.visibility,
                   CASE WHEN t.deleted_at IS NULL THEN t.doc END AS doc
            FROM {table} AS t
            WHERE t.id = ANY(ARRAY(
                SELECT c.record_id FROM changes AS c WHERE c.has_record AND c.record_type = '{type}'
            ))"""

# A record that becomes visible to the reader counts as `created`, and one that becomes invisible as
# `removed`. The record's content is included if the reader could see it after the change, and can
# see today the record and the articles that this content quotes.
#
# There is a record of today for each change that asks for one, so a left join would do. But where
# Postgres takes the stretch for a short one, it would compare each of its changes with each record.
# A full join it can only make by hashing or by sorting.
_STRETCH: Final = """
        WITH logged AS (
            SELECT f.*, CASE f.record_type {classes} END AS classes
            FROM feed AS f
            WHERE f.seq >= :first AND f.seq <= :last {types}
            ORDER BY f.seq
            LIMIT :limit
        ), known AS (
            SELECT l.*, CASE
                WHEN l.seq = :first THEN NULL
                WHEN l.classes >> l.visibility_after & 1 = 1 THEN CASE
                    WHEN l.classes >> l.visibility_before & 1 = 1 THEN l.op
                    WHEN l.op <> 'deleted' THEN 'created'
                END
                WHEN l.classes >> l.visibility_before & 1 = 1 THEN 'removed'
            END AS told
            FROM logged AS l
        ), changes AS MATERIALIZED ( -- `has_record` is NULL for those that are not told
            SELECT k.*, :documents AND k.told NOT IN ('removed', 'deleted') AS has_record
            FROM known AS k
        ), today AS ({today}
        ), written AS (
            SELECT c.*, CASE
                WHEN c.has_record IS NOT TRUE OR c.classes >> today.visibility & 1 = 0 THEN NULL
                WHEN today.version = c.version THEN today.doc
                ELSE past.doc
            END AS doc
            FROM changes AS c
            FULL JOIN today ON today.id = c.record_id AND today.record_type = c.record_type
            LEFT JOIN LATERAL (
                SELECT r.doc FROM revisions AS r
                WHERE c.has_record AND today.version <> c.version
                    AND r.record_type = c.record_type AND r.record_id = c.record_id
                    AND r.version = c.version
                    AND (:hidden_articles OR NOT {quotes_hidden})
                OFFSET 0
            ) AS past ON true
            ORDER BY c.seq
            OFFSET 0 -- otherwise each mention of a document would look it up again
        ), summed AS (
            SELECT w.*, lead(w.seq) OVER running IS NULL AS at_end,
                   coalesce(sum(octet_length(w.doc)) OVER running, 0) AS bytes
            FROM written AS w
            WINDOW running AS (ORDER BY w.seq ROWS UNBOUNDED PRECEDING)
        ), stretch AS (
            SELECT m.*, m.at_end OR m.bytes >= :bytes AS is_last
            FROM summed AS m
            WHERE m.bytes - coalesce(octet_length(m.doc), 0) < :bytes
        )
        SELECT s.seq, CASE
                   WHEN s.told = s.op THEN s.head
                   WHEN s.told IS NOT NULL THEN convert_to(replace(
                       convert_from(s.head, 'UTF8'),
                       concat('"op":"', s.op, '"'), concat('"op":"', s.told, '"')
                   ), 'UTF8')
               END || coalesce(s.doc, 'null') || '}' AS text,
               CASE WHEN s.seq = :first OR s.is_last THEN s.head END AS head
        FROM stretch AS s
        ORDER BY s.seq"""
