"""Blocks: the changes of the feed, 64 at a time, with their records (migration 0024).

A block has one row for each kind of change in it: changes of one type and one operation, whose
records had one class before and one class after. So Postgres decides for a whole row what the
reader may know of its changes. Then it looks up which of their records the reader can't see today,
and which of them quote an article that is hidden today. All other texts are handed on as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple
from uuid import UUID

from api.core.db import Row
from api.core.sql import compose, plural
from api.sync.feed.kept import Kind
from schemas.vocabularies import ChangeOp, RecordType

CHANGES: Final = 64
"""How many changes a block has."""
_RECORD: Final = b'"record":'
"""Ends the head of a change: what its text says before the record."""


class Sealed(NamedTuple):
    """Changes of blocks, as the reader may know them, and how far the blocks were read."""

    texts: list[bytes]  # of one change each, or of several with commas between them
    changes: int  # how many
    first_head: bytes | None  # of the change at the position; null if it is not there
    last_head: bytes | None  # of the last change that was looked at
    end: int  # the number of that change
    more: bool  # whether the next change is in a block too


def is_missing(rows: list[Row]) -> bool:
    """Tell whether the next change is in no block at all, with texts or without."""
    return not rows or not rows[0]["is_there"]


def head_of(text: bytes) -> bytes:
    """Give the head of a change; nothing in it looks like its end."""
    return text[: text.index(_RECORD) + len(_RECORD)]


def sealed(
    rows: list[Row],
    kept: Mapping[UUID, Kind],
    first: int,
    limit: int,
    most_bytes: int,
    *,
    single: bool,
) -> Sealed | None:
    """Read the rows of :func:`blocks_statement`; null if the next change is in no block with texts.

    `kept` has the kinds that came without texts. With `single`, each text is of one change.
    """
    if not rows or rows[0]["until"] is None:
        return None
    frame = rows[0]
    texts: list[bytes] = []
    count = size = 0
    for block, group in groupby(rows, itemgetter("block")):
        if block is None:  # there is nothing to be told
            break
        kinds = [
            _Told(kept.get(row["id"]) or kind_of(row), row["told"], row["nulls"]) for row in group
        ]
        if single or len(kinds) > 1 or not kinds[0].is_plain:
            taken = _taken_singly(kinds, first, limit - count, most_bytes - size)
        else:
            taken = _taken_together(kinds[0].kind, first, limit - count)
        if taken is None:
            continue
        texts += taken.texts
        count, size = count + taken.changes, size + sum(map(len, taken.texts))
        if count >= limit or size >= most_bytes:
            return Sealed(texts, count, frame["first_head"], taken.head, taken.end, more=True)
    return Sealed(
        texts, count, frame["first_head"], frame["last_head"], frame["until"], frame["more"]
    )


def kind_of(row: Row) -> Kind:
    """Make the kind from a row that came with its texts."""
    return Kind(row["block"], row["op"], row["places"], row["ends"], row["texts"])


class _Told(NamedTuple):
    """A kind of changes, and what the reader may know of it."""

    kind: Kind
    told: str  # the word for its changes
    nulls: Collection[int] | None  # the places of those that lose their record

    @property
    def is_plain(self) -> bool:
        """Whether the reader gets the texts as they are."""
        return self.told == self.kind.op and not self.nulls


class _Taken(NamedTuple):
    """Changes of one block."""

    texts: list[bytes]
    changes: int
    head: bytes  # of the last one
    end: int  # its number


def _taken_together(kind: Kind, first: int, limit: int) -> _Taken | None:
    """Take the changes of the only kind of a block, without looking at each."""
    before, places, ends, texts = kind.block * CHANGES, kind.places, kind.ends, kind.texts
    begin = bisect_right(places, first - before)
    end = min(begin + limit, len(places))
    if begin == end:
        return None
    last = texts[_start(ends, end - 1) : ends[end - 1]]
    text = texts[_start(ends, begin) : ends[end - 1]]
    return _Taken([text], end - begin, head_of(last), before + places[end - 1])


def _start(ends: Sequence[int], number: int) -> int:
    """Give where a text begins, behind the comma after the one before it."""
    return ends[number - 1] + 1 if number else 0


def _taken_singly(kinds: list[_Told], first: int, limit: int, most_bytes: int) -> _Taken | None:
    """Take the changes of a block one by one, at least one, until they have so many bytes."""
    pairs = sorted(pair for kind in kinds for pair in _singly(kind) if pair[0] > first)
    texts: list[bytes] = []
    size = 0
    for _, text in pairs[:limit]:
        texts.append(text)
        size += len(text)
        if size >= most_bytes:
            break
    count = len(texts)
    return _Taken(texts, count, head_of(texts[-1]), pairs[count - 1][0]) if texts else None


def _singly(of_reader: _Told) -> Iterator[tuple[int, bytes]]:
    """Give the number of each change of a kind, and its text for the reader."""
    kind, told, nulls = of_reader
    before, op = kind.block * CHANGES, kind.op
    said, says = f'"op":"{op}"'.encode(), f'"op":"{told}"'.encode()
    nulls = kind.places if told == ChangeOp.REMOVED else nulls or ()
    start = 0
    for place, end in zip(kind.places, kind.ends, strict=True):
        text = kind.texts[start:end]
        start = end + 1
        if place in nulls:
            text = head_of(text) + b"null}"
        yield before + place, text if told == op else text.replace(said, says, 1)


@cache
def blocks_statement() -> str:
    """Write the statement that reads the blocks behind number `first` up to number `last`.

    It takes the parameters of :func:`api.sync.feed.stretches.stretch_query`. It stops before a
    block that is missing, incomplete or without texts, and when it has `limit` changes. From the
    second block on it also stops before one with which it would have more than so many `bytes`, so
    that the next reading begins with that block and none is read twice. If there is nothing to be
    told it gives one row, which says how far it has looked. Kinds whose id is one of `kept` come
    without their texts.
    """
    return compose(
        _BLOCKS,
        told=_TOLD,
        classes=" ".join(
            f"WHEN '{each.value}' THEN :{each.value}_classes::integer" for each in RecordType
        ),
        unseen="\n            UNION ALL".join(
            compose(_UNSEEN, table=plural(each), type=each.value) for each in RecordType
        ),
    )


# As in `stretches.py`, and the same for all changes of a row.
_TOLD: Final = """CASE
                WHEN c.classes >> b.visibility_after & 1 = 1 THEN CASE
                    WHEN c.classes >> b.visibility_before & 1 = 1 THEN b.op
                    WHEN b.op <> 'deleted' THEN 'created'
                END
                WHEN c.classes >> b.visibility_before & 1 = 1 THEN 'removed'
            END"""
_UNSEEN: Final = """
            SELECT '{type}' AS record_type, t.id
            FROM {table} AS t
            WHERE t.visibility > 0 AND :{type}_classes::integer >> t.visibility & 1 = 0
                AND t.id = ANY(ARRAY(
                    SELECT unnest(p.record_ids) FROM picked AS p WHERE p.record_type = '{type}'
                ))"""

# The full join is there because Postgres can only make it by hashing or by sorting. Where no record
# is hidden from the reader, `mentions` is empty, so nothing is joined.
_BLOCKS: Final = """
        WITH known AS (
            SELECT b.block,
                   sum(cardinality(b.places)) = 64 AND bool_and(b.texts IS NOT NULL) AS is_whole,
                   coalesce(sum(
                       cardinality(b.places) - width_bucket( -- those up to `first`
                           greatest(:first::bigint - b.block * 64, 0)::smallint, b.places
                       )
                   ) FILTER (WHERE {told} IS NOT NULL), 0) AS changes,
                   coalesce(sum(b.size) FILTER (WHERE {told} IS NOT NULL), 0) AS size
            FROM feed_blocks AS b
            CROSS JOIN LATERAL (SELECT CASE b.record_type {classes} END) AS c(classes)
            WHERE b.block >= :first::bigint / 64 AND b.block < :last::bigint / 64
            GROUP BY b.block
        ), summed AS (
            SELECT k.block, bool_and(k.is_whole) OVER running
                       AND k.block = :first::bigint / 64 + row_number() OVER running - 1
                       AS follows, -- without a gap
                   sum(k.changes) OVER running - k.changes AS changes,
                   sum(k.size) OVER running AS size
            FROM known AS k
            WINDOW running AS (ORDER BY k.block)
        ), reach AS MATERIALIZED (
            SELECT max(s.block) FILTER (
                       WHERE s.block = :first::bigint / 64
                           OR s.changes < :limit::integer AND s.size <= :bytes::bigint
                   ) AS last_block,
                   max(s.block) AS last_sealed
            FROM summed AS s
            WHERE s.follows
        ), picked AS MATERIALIZED (
            SELECT b.*, {told} AS told, row_number() OVER () AS line
            FROM feed_blocks AS b
            CROSS JOIN LATERAL (SELECT CASE b.record_type {classes} END) AS c(classes)
            WHERE b.block >= :first::bigint / 64
                AND b.block <= (SELECT r.last_block FROM reach AS r)
                AND {told} IS NOT NULL
        ), unseen AS MATERIALIZED ({unseen}
            UNION ALL
            SELECT 'quoted', a.id
            FROM articles AS a
            WHERE a.visibility > 0 AND NOT :hidden_articles::boolean
                AND a.id = ANY(ARRAY(SELECT unnest(p.quoted) FROM picked AS p))
        ), mentions AS (
            SELECT p.line, p.record_type, m.place, m.id
            FROM picked AS p CROSS JOIN unnest(p.places, p.record_ids) AS m(place, id)
            WHERE EXISTS (SELECT FROM unseen)
            UNION ALL
            SELECT p.line, 'quoted', m.place, m.id
            FROM picked AS p CROSS JOIN unnest(p.quoting, p.quoted) AS m(place, id)
            WHERE EXISTS (SELECT FROM unseen)
        ), nulls AS (
            SELECT m.line, array_agg(m.place) FILTER (WHERE u.id IS NOT NULL) AS places
            FROM mentions AS m
            FULL JOIN unseen AS u ON u.id = m.id AND u.record_type = m.record_type
            GROUP BY m.line
        )
        SELECT (r.last_block + 1) * 64 AS until, r.last_block < r.last_sealed AS more,
               EXISTS (
                   SELECT FROM feed_blocks AS b WHERE b.block = :first::bigint / 64
               ) AS is_there,
               (SELECT f.head FROM feed AS f WHERE f.seq = :first::bigint) AS first_head,
               (
                   SELECT f.head FROM feed AS f
                   WHERE f.seq = (SELECT (e.last_block + 1) * 64 FROM reach AS e)
               ) AS last_head,
               p.block, p.id, p.told, n.places AS nulls, sent.*
        FROM reach AS r
        LEFT JOIN picked AS p ON true
        LEFT JOIN LATERAL (SELECT p.op, p.places, p.ends, p.texts) AS sent
            ON (p.id = ANY(:kept::uuid[])) IS NOT TRUE
        LEFT JOIN nulls AS n ON n.line = p.line
        ORDER BY p.block"""
