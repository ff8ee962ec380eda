"""Stretches: runs of successive changes, read from the feed behind a position."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from functools import cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from api.core.caller import quotes_hidden
from api.core.db import Database, Row
from api.core.errors import RESYNC_REQUIRED, Problem, unavailable
from api.core.sql import compose, plural, render
from api.sync.feed.numbering import Head
from schemas.vocabularies import ChangeOp, RecordType

MAX_SCANNED: Final = 10_000
"""One reading passes over at most this many changes to find those of the types asked for."""
MAX_BYTES: Final = 4_194_304
"""About how many bytes of records a reading has; it always has at least one change."""
CHANGE_BYTES: Final = 500
"""About how many bytes a change has in memory beside its record."""
_TAG_BYTES: Final = 6


class Position(NamedTuple):
    """The place behind one change: behind that very change, not only behind its number."""

    epoch: str
    seq: int
    tag: str  # of that change; "" at the start of the feed


class LoggedChange(NamedTuple):
    """A change as the feed has it, before it is known who reads it."""

    seq: int
    op: ChangeOp
    type: RecordType
    id: str
    version: int
    at: dt.datetime
    before: int | None  # the record's visibility class before the change; null for a new record
    after: int
    now: int | None  # its visibility class today
    doc: bytes | None
    quotes_hidden: bool  # whether this document quotes an article that is hidden today
    tag: str
    """A digest that tells this change from any other change with the same number.

    A feed that was set back to an earlier time gives the same numbers again, to other changes.
    Readers also get the tags of changes that are hidden from them; without the secret, a tag says
    nothing about its change.
    """

    @property
    def size(self) -> int:
        """About how many bytes it has in memory."""
        return len(self.doc or b"") + CHANGE_BYTES


class Stretch(NamedTuple):
    """Successive changes, the position behind them, and whether the feed ends there."""

    changes: list[LoggedChange]
    to: Position
    up_to_date: bool

    @property
    def size(self) -> int:
        """About how many bytes it has in memory."""
        return sum(change.size for change in self.changes)


async def read_stretch(
    database: Database,
    head: Head,
    position: Position,
    limit: int,
    types: Collection[RecordType],
    most_bytes: int = MAX_BYTES,
) -> Stretch:
    """Read at most `limit` changes of some types behind a position; no types mean all types.

    Raises `resync-required` if the change at the position is not the one that its tag belongs to.
    """
    end = min(head.seq, position.seq + MAX_SCANNED)
    at_start = position.seq == 0
    bounds = {
        "first": position.seq,
        "last": end,
        "limit": limit + (not at_start),
        "bytes": most_bytes,
    }
    changes = await _read(database, head, bounds, types)
    if not at_start:
        first = changes.pop(0) if changes else None
        if first is None or (first.seq, first.tag) != (position.seq, position.tag):
            raise resync_required(
                "The feed was set back to a time before this cursor. Export again, and go on from "
                "that export's cursor."
            )
    to = position
    if changes:
        to = Position(head.epoch, changes[-1].seq, changes[-1].tag)
    elif position.seq < end:
        raise unavailable("The change feed is being restored.")
    asked = [change for change in changes if not types or change.type in types]
    return Stretch(asked, to, to.seq >= head.seq)


async def read_position(database: Database, head: Head, seq: int) -> Position:
    """Read the position behind the change with a number; 0 is the start of the feed."""
    if seq == 0:
        return Position(head.epoch, 0, "")
    bounds = {"first": seq, "last": seq, "limit": 1, "bytes": MAX_BYTES}
    changes = await _read(database, head, bounds, ())
    if not changes:
        raise unavailable("The change feed is being restored.")
    return Position(head.epoch, seq, changes[0].tag)


def resync_required(detail: str) -> Problem:
    """Make the problem that tells a reader to start again from an export."""
    return Problem(RESYNC_REQUIRED, detail, export="/v1/export")


async def _read(
    database: Database, head: Head, bounds: dict[str, int], types: Collection[RecordType]
) -> list[LoggedChange]:
    values: dict[str, Any] = dict(bounds)
    if types:
        values["types"] = [record_type.value for record_type in types]
    rows = await database.fetch(*render(_statement(of_types=bool(types)), **values))
    return [_logged_change(row, head.secret) for row in rows]


def _logged_change(row: Row, secret: bytes) -> LoggedChange:
    seq, op, record_type, identity, version, at, before, after, now, doc, quotes = row
    return LoggedChange(
        seq,
        ChangeOp[op.upper()],
        RecordType[record_type.upper()],
        str(identity),
        version,
        at,
        before,
        after,
        now,
        doc,
        quotes,
        _tag(f"{seq} {record_type} {identity} {version} {at.isoformat()}", secret),
    )


def _tag(text: str, secret: bytes) -> str:
    return blake2b(text.encode(), digest_size=_TAG_BYTES, key=secret).hexdigest()


@cache
def _statement(*, of_types: bool) -> str:
    """Write the statement that reads the changes from number `first` to number `last`.

    It gives at most `limit` changes and about `bytes` bytes. Bytes are summed up without reading
    the documents. With `of_types` it gives changes of the `types` alone, and always those at both
    ends. The change at `first` comes without its document. `now` is the record's visibility class
    today.
    """
    types = "AND (f.seq IN (:first, :last) OR o.record_type = ANY(:types::text[]))"
    return compose(
        _STRETCH,
        types=types if of_types else "",
        today=_TODAY,
        quotes_hidden=quotes_hidden("r"),
    )


_TODAY: Final = "\n                    UNION ALL".join(
    compose(
        """
                    SELECT t.visibility, t.version, t.deleted_at, t.doc FROM {table} AS t
                    WHERE p.record_type = '{type}' AND t.id = p.record_id""",
        table=plural(record_type),
        type=record_type.value,
    )
    for record_type in RecordType
)
_STRETCH: Final = """
        SELECT s.seq, s.op, s.record_type, s.record_id, s.version, s.at, s.visibility_before,
               s.visibility_after, s.now, s.doc, s.quotes_hidden
        FROM (
            SELECT q.*,
                   coalesce(sum(octet_length(q.doc)) OVER (ORDER BY q.seq), 0)
                       - coalesce(octet_length(q.doc), 0) AS bytes
            FROM (
                SELECT p.*, today.visibility AS now, CASE
                    WHEN p.seq = :first THEN NULL
                    WHEN today.version = p.version AND today.deleted_at IS NULL THEN today.doc
                    ELSE past.doc
                END AS doc, coalesce(past.quotes_hidden, false) AS quotes_hidden
                FROM (
                    SELECT f.seq, o.op, o.record_type, o.record_id, o.version, o.at,
                           o.visibility_before, o.visibility_after
                    FROM feed AS f JOIN outbox AS o ON o.id = f.outbox_id
                    WHERE f.seq >= :first AND f.seq <= :last {types}
                    ORDER BY f.seq
                    LIMIT :limit
                ) AS p
                LEFT JOIN LATERAL ({today}
                ) AS today ON true
                LEFT JOIN LATERAL (
                    SELECT r.doc, {quotes_hidden} AS quotes_hidden FROM revisions AS r
                    WHERE r.record_type = p.record_type AND r.record_id = p.record_id
                        AND r.version = p.version AND p.seq <> :first
                        AND (today.version IS DISTINCT FROM p.version
                             OR today.deleted_at IS NOT NULL)
                ) AS past ON true
                OFFSET 0 -- otherwise each mention of a document would look it up again
            ) AS q
        ) AS s
        WHERE s.bytes < :bytes
        ORDER BY s.seq"""
