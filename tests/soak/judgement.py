"""What readers were told, against what is in the database."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import asyncpg

from tests.soak.writers import POST_NOTE, TABLES, Known

MIRRORED: Final = "SELECT type, id, version, doc FROM mirror_records"
_LIVE: Final = " UNION ALL ".join(
    f"SELECT '{of}', id::text, version, convert_from(doc, 'UTF8') FROM {table}"
    " WHERE deleted_at IS NULL"
    for of, table in TABLES.items()
)
_TWICE: Final = f"""
    SELECT count(*) FROM (
        SELECT note FROM claims WHERE note LIKE '{POST_NOTE}%' GROUP BY note HAVING count(*) > 1
    ) AS repeated"""
# Of each change: where it is in the feed, and in the outbox. (A change that the feed lacks is told
# apart by its missing number.)
_TRUTH: Final = """
    SELECT f.seq, o.id, r.record_type, r.record_id::text, r.version, r.op,
           o.visibility_before = 0 AS was_public, o.visibility_after = 0 AS is_public
    FROM revisions AS r
    LEFT JOIN outbox AS o USING (record_type, record_id, version)
    LEFT JOIN feed AS f ON f.outbox_id = o.id
    ORDER BY f.seq"""
_COUNTS: Final = """
    SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM feed),
           (SELECT max(seq) FROM feed), (SELECT count(DISTINCT epoch) FROM feed_states)"""

Copied = set[tuple[str, str, int, str]]


class Change(NamedTuple):
    """A change, by the number that its reader goes by."""

    seq: int
    type: str
    id: str
    version: int
    op: str

    @property
    def known(self) -> Known:
        """The change, whatever its number."""
        return self.type, self.id, self.version


class Truth(NamedTuple):
    """What there is in the end."""

    feed: list[Change]
    public: list[Change]
    """What of it is told to those who read what is public."""
    outbox: list[Change]
    live: Copied
    faults: list[str]
    """What is wrong in the database itself."""


class Verdict(NamedTuple):
    """What became of the changes on one reader's walk."""

    seen: int
    missed: int
    doubled: int
    unordered: int
    """Changes told behind a later version of the same record, or behind a higher number."""
    invented: int
    """Told, but not there, or there otherwise."""
    p50: float  # milliseconds from the commit, as its writer knew of it, to the reader
    p99: float

    @property
    def fine(self) -> bool:
        """Tell whether it was told everything, once, in order."""
        return not (self.missed or self.doubled or self.unordered or self.invented)


class Difference(NamedTuple):
    """What a copy and its source do not have in common."""

    records: int
    missing: int
    ghosts: int
    stale: int

    @property
    def none(self) -> bool:
        """Tell whether they are the same, byte for byte."""
        return not (self.missing or self.ghosts or self.stale)


async def truth(url: str, known: Collection[Known]) -> Truth:
    """Read what there is, once nobody writes any more and the feed is caught up."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_TRUTH)
        outbox, numbered, last, epochs = await connection.fetchrow(_COUNTS) or (0, 0, 0, 0)
        live = {(*row,) for row in await connection.fetch(_LIVE)}
        twice = await connection.fetchval(_TWICE)
    finally:
        await connection.close()
    faults = {
        "revisions without a row in the outbox": sum(row[1] is None for row in rows),
        "revisions that the feed lacks": sum(row[0] is None for row in rows),
        "rows in the outbox without a revision": outbox - len(rows),
        "numbers left out or given twice": abs((last or 0) - numbered),
        "epochs more than one": epochs - 1,
        "commits that were confirmed and are gone": len({*known} - {(*row[2:5],) for row in rows}),
        "posts under one key that were done twice": twice,
    }
    feed = [Change(row[0] or 0, *row[2:6]) for row in rows]
    ops = [_told_to_public(*row[5:]) for row in rows]
    return Truth(
        feed,
        [change._replace(op=op) for change, op in zip(feed, ops, strict=True) if op],
        [change._replace(seq=row[1] or 0) for change, row in zip(feed, rows, strict=True)],
        live,
        [f"{count} {what}" for what, count in faults.items() if count],
    )


def _told_to_public(op: str, was_public: bool | None, is_public: bool) -> str:
    """Say as what a change appears to who sees only what is public; "" if it does not."""
    if not is_public:
        return "removed" if was_public else ""
    if not was_public:
        return "created" if op != "deleted" else ""
    return op


def known(files: Iterable[Path]) -> dict[Known, float]:
    """Read what the writers knew to be committed, and when they did."""
    found: dict[Known, float] = {}
    for file in files:
        for line in file.read_text().splitlines():
            of, id_, version, at = line.split()
            found.setdefault((of, id_, int(version)), float(at))
    return found


def counted(files: Iterable[Path]) -> Counter[str]:
    """Add up what the writers counted."""
    return sum((Counter(json.loads(file.read_text())) for file in files), Counter[str]())


def judged(notes: Path, there: Iterable[Change], committed: Mapping[Known, float]) -> Verdict:
    """Compare what a reader wrote down with what it should have been told."""
    told: list[Change] = []
    lags: list[float] = []
    for line in notes.read_text().splitlines():
        seq, of, id_, version, op, at = line.split()
        told.append(Change(int(seq), of, id_, int(version), op))
        if (commit := committed.get(told[-1].known)) is not None:
            lags.append(max(0.0, float(at) - commit) * 1000)
    expected, seen = {*there}, {*told}
    lags.sort()
    return Verdict(
        len(told),
        len(expected - seen),
        len(told) - len({change.seq for change in told}),
        _unordered(told),
        len(seen - expected),
        median(lags) if lags else 0.0,
        lags[int(len(lags) * 0.99)] if lags else 0.0,
    )


def _unordered(told: Iterable[Change]) -> int:
    """Count what came behind something later; what came twice is another fault."""
    count = last = 0
    versions: dict[tuple[str, str], int] = {}
    for change in told:
        record = change.type, change.id
        before = versions.get(record, 0)
        count += change.seq < last or change.version < before
        last, versions[record] = max(last, change.seq), max(before, change.version)
    return count


def compared(copy: Copied, live: Copied) -> Difference:
    """Compare a copy with the live records of its source."""
    ours, theirs = {row[:2] for row in copy}, {row[:2] for row in live}
    return Difference(
        len(copy),
        len(theirs - ours),
        len(ours - theirs),
        len([row for row in copy - live if row[:2] in theirs]),
    )


def in_file(path: Path) -> Copied:
    """Read a mirror's SQLite file."""
    connection = sqlite3.connect(path)
    try:
        return {(*row,) for row in connection.execute(MIRRORED)}
    finally:
        connection.close()


async def in_database(url: str) -> Copied:
    """Read a mirror's tables in Postgres."""
    connection = await asyncpg.connect(url)
    try:
        return {(*row,) for row in await connection.fetch(MIRRORED)}
    finally:
        await connection.close()
