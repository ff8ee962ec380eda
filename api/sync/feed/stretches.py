"""Stretches: runs of successive changes, read from the feed behind a position.

The JSON of a change is kept in the feed, but for its record (migration 0021). Postgres decides for
all changes of a stretch at once what the reader may know of each, and adds the records. So all that
is left to do for a page is to join the texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from api.core.caller import EVERYTHING, Sight, quotes_hidden
from api.core.db import Database, Row
from api.core.errors import RESYNC_REQUIRED, Problem, unavailable
from api.core.sql import Query, compose, plural, render
from api.sync.feed.numbering import Head
from schemas.vocabularies import RecordType

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


class Place(NamedTuple):
    """Where a change stands, and the type of its record."""

    type: RecordType
    position: Position  # behind the change


@dataclass(frozen=True)
class Stretch:
    """Successive changes as the reader may know them, and the position behind them.

    Changes that are hidden from the reader are passed over: the position is behind them too.
    """

    texts: list[bytes]  # the JSON of each change
    places: list[Place]  # of the same changes; empty unless they were wanted
    to: Position
    up_to_date: bool  # whether the feed ends there
    made: dict[Any, list[bytes]] = field(default_factory=dict)
    """What readers who share the stretch have made of its texts, so that they make it once."""

    @cached_property
    def size(self) -> int:
        """About how many bytes it has in memory."""
        return sum(map(len, self.texts)) + CHANGE_BYTES * len(self.texts)


async def read_stretch(
    database: Database, head: Head, position: Position, wanted: Wanted
) -> Stretch:
    """Read the changes behind a position, at most as many as the limit, with those passed over.

    Raises `resync-required` if the change at the position is not the one that its tag belongs to.
    """
    end = min(head.seq, position.seq + MAX_SCANNED)
    at_start = position.seq == 0
    rows = await _read(database, position.seq, end, wanted, wanted.limit + (not at_start))
    if not at_start:
        first = rows.pop(0) if rows else None
        if first is None or _place(first, head).position != position:
            raise resync_required(
                "The feed was set back to a time before this cursor. Export again, and go on from "
                "that export's cursor."
            )
    to = position
    if rows:
        to = _place(rows[-1], head).position
    elif position.seq < end:
        raise unavailable("The change feed is being restored.")
    texts = [text for _, text, _ in rows if text is not None]
    places: list[Place] = []
    if wanted.places:
        places = [_place(row, head) for row in rows if row[_TEXT] is not None]
    return Stretch(texts, places, to, to.seq >= head.seq)


async def read_position(database: Database, head: Head, seq: int) -> Position:
    """Read the position behind the change with a number; 0 is the start of the feed."""
    if seq == 0:
        return Position(head.epoch, 0, "")
    rows = await _read(database, seq, seq, Wanted(EVERYTHING.sight, 1, documents=False), 1)
    if not rows:
        raise unavailable("The change feed is being restored.")
    return _place(rows[0], head).position


def resync_required(detail: str) -> Problem:
    """Make the problem that tells a reader to start again from an export."""
    return Problem(RESYNC_REQUIRED, detail, export="/v1/export")


async def _read(database: Database, first: int, last: int, wanted: Wanted, limit: int) -> list[Row]:
    return await database.fetch(*stretch_query(first, last, wanted, limit))


def stretch_query(first: int, last: int, wanted: Wanted, limit: int) -> Query:
    """Write the query for at most `limit` changes from number `first` to number `last`."""
    values: dict[str, Any] = {
        _classes(record_type): classes
        if not wanted.types or record_type in wanted.types
        else 0  # changes of other types are passed over as if they were hidden
        for record_type, classes in zip(RecordType, wanted.sight.classes, strict=True)
    }
    if wanted.types:
        values["types"] = [record_type.value for record_type in wanted.types]
    return render(
        _statement(of_types=bool(wanted.types), places=wanted.places),
        first=first,
        last=last,
        limit=limit,
        bytes=wanted.most_bytes,
        documents=wanted.documents,
        hidden_articles=wanted.sight.hidden_articles,
        **values,
    )


def _classes(record_type: RecordType) -> str:
    """Name the parameter for the classes of a type that the reader sees."""
    return f"{record_type.value}_classes"


_TEXT: Final = 1  # the column; its name would be looked up for each row


class _Head(msgspec.Struct):
    """What the text of a change says before its record."""

    seq: int
    type: RecordType
    id: str
    version: int
    at: str


_HEAD: Final = msgspec.json.Decoder(_Head)


def _place(row: Row, head: Head) -> Place:
    """Give the place of a change.

    Its position has a tag, a digest that tells the change from any other change with the same
    number: a feed that was set back to an earlier time gives the same numbers again, to other
    changes. Readers also get the tags of changes that are hidden from them; without the secret, a
    tag says nothing about its change.
    """
    _, _, text = row
    change = _HEAD.decode(text + b"null}")
    at = change.at.replace("Z", "+00:00")  # as in the tags that were given out first
    tag = _tag(f"{change.seq} {change.type} {change.id} {change.version} {at}", head.secret)
    return Place(change.type, Position(head.epoch, change.seq, tag))


def _tag(text: str, secret: bytes) -> str:
    return blake2b(text.encode(), digest_size=_TAG_BYTES, key=secret).hexdigest()


@cache
def _statement(*, of_types: bool, places: bool) -> str:
    """Write the statement that reads a stretch.

    It gives at most `limit` changes with about `bytes` bytes of records, and these are summed up
    without being read. With `of_types` it gives changes of the `types` alone, and always those at
    both ends. A change has no text if its reader may not know of it, nor has the one at `first`.
    Its head, from which its place is read, comes with each change if the `places` are wanted, and
    else with those at both ends.
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
        placed="true" if places else "s.seq = :first OR s.is_last",
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
               CASE WHEN {placed} THEN s.head END AS head
        FROM stretch AS s
        ORDER BY s.seq"""
