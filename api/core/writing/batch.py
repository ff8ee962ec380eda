"""Carry out several writes together, of callers who see the same records.

Each step is one statement: one looks up all that the writes need, one inserts, one updates, and one
deletes. Each of the last three is committed by itself, and then its writes are answered. A write
that can't be carried out like this is left out, to be carried out by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

import asyncpg

from api.core.db import Connection
from api.core.errors import Problem
from api.core.large_input import work_on
from api.core.resource import Resource
from api.core.sql import render
from api.core.writing.look_up import Current, Found, look_up
from api.core.writing.single import Outcome, Write, decide_and_settle
from api.core.writing.store import array_of, row_of
from schemas.base import Create, ExternalId

# No write of a batch keeps the others waiting for longer than this, for a record that others have
# locked or an external id that others are about to take.
_LIMITED: Final = "set_config('lock_timeout', '100', true) IS NOT NULL"
_INSERT: Final = """
    INSERT INTO {table} (id, {actor_columns}, {columns})
    SELECT r.id, {own_actor}, {values}
    FROM json_to_recordset(:rows::json) AS r(id uuid, {actor_definitions}, {definitions})
    WHERE {limited}
    RETURNING id, version, doc""".replace("{limited}", _LIMITED)

# Rows that others have locked are skipped, and the others are locked in the order of their ids: so
# these statements wait for no row.
_FREE: Final = """
        SELECT t.id
        FROM unnest((SELECT :ids::uuid[])::uuid[]) AS w(id)
        JOIN {table} AS t ON t.id = w.id
        ORDER BY t.id
        FOR UPDATE OF t SKIP LOCKED"""
_UPDATE: Final = """
    WITH free AS ({free}
    )
    UPDATE {table} AS t
    SET ({actor_columns}, deleted_at, {columns}) = ROW({own_actor}, NULL, {values})
    FROM free
    JOIN json_to_recordset(:rows::json)
        AS r(id uuid, version integer, {actor_definitions}, {definitions}) ON r.id = free.id
    WHERE t.id = free.id AND t.version = r.version AND {limited}
    RETURNING t.id, t.version, t.doc""".replace(
    "{free}", _FREE.replace("FOR UPDATE", "FOR NO KEY UPDATE")
).replace("{limited}", _LIMITED)
_DELETE: Final = """
    WITH free AS ({free}
    )
    UPDATE {table} AS t SET (deleted_at, {actor_columns}) = ROW(clock_timestamp(), {own_actor})
    FROM free
    JOIN json_to_recordset(:rows::json)
        AS r(id uuid, version integer, {actor_definitions}) ON r.id = free.id
    WHERE t.id = free.id AND t.version = r.version AND t.deleted_at IS NULL AND {limited}
    RETURNING t.id, t.version, NULL::bytea AS doc""".replace("{free}", _FREE).replace(
    "{limited}", _LIMITED
)

_UNDONE: Final = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.RaiseError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
"""The errors of a statement by which nothing was changed, and which may be due to one row of it."""
MAX_BYTES: Final = 16_384
"""The largest body, and the largest record as it is stored, that is written together with others.

A larger one is worth statements of its own, and many of them would take much memory at once.
"""
_YIELD_EVERY: Final = 4
"""After settling so many records, other requests get their turn."""


class LeftOut(Enum):
    """Why a write has to be carried out by itself."""

    APART = auto()  # it does not go with the others
    FAILED = auto()  # the statement failed, by this write or another one
    LONE = auto()  # there is no other one


Answer: TypeAlias = "asyncio.Future[Outcome | LeftOut]"
"""Who waits for the outcome of a write."""


class Joined(NamedTuple):
    """A write that others may be joined with, and who waits for its outcome."""

    write: Write
    answer: Answer
    names: frozenset[object]  # of the record that it writes


class _Row(NamedTuple):
    """A record that is to be written."""

    joined: Joined
    id: str
    current: Current | None
    record: Create | None  # null to delete it


async def write_batch(connection: Connection, batch: Sequence[Joined]) -> None:
    """Carry out writes to records of one type, of callers who see the same records.

    Each is answered with its outcome, the problem that refuses it, or why it was left out.
    """
    try:
        found = await _look_up(connection, [each.write for each in batch])
    except _UNDONE:
        _leave_out(batch, LeftOut.FAILED)
        return
    rows: dict[str, _Row] = {}
    again: list[Joined] = []  # writes to a record that an earlier one writes to, under another name
    for number, joined in enumerate(batch):
        if number and number % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        row = await _settle(joined, found)
        if row is not None and rows.setdefault(row.id, row) is not row:
            again.append(joined)
    in_order = [rows[identity] for identity in sorted(rows)]
    created = [row for row in in_order if row.current is None]
    changed = [row for row in in_order if row.current is not None and row.record is not None]
    deleted = [row for row in in_order if row.record is None]
    for statement, some, new in (
        (_INSERT, created, True),
        (_UPDATE, changed, False),
        (_DELETE, deleted, False),
    ):
        if some:
            await _execute(connection, statement, some, created=new)
    _leave_out(again, LeftOut.APART)


async def _look_up(connection: Connection, writes: Sequence[Write]) -> Found:
    """Look up all that the writes have to know, and which of their external ids are taken."""
    author, resource = writes[0].author, writes[0].resource
    return await look_up(
        connection,
        author,
        resource,
        [write.sent for write in writes if write.sent is not None],
        ids=[each for write in writes for each in write.names.get("ids", ())],
        external=[each for write in writes for each in write.names.get("external", ())],
        more=list(chain.from_iterable(write.names.get("more", ()) for write in writes)),
        given=list(dict.fromkeys(pair for write in writes for pair in external_ids(write))),
    )


def external_ids(write: Write) -> list[tuple[str, str]]:
    """Give the external ids that a write brings."""
    listed: Iterable[ExternalId] = getattr(write.sent, "external_ids", None) or ()
    return [(each.namespace, each.value) for each in listed]


async def _settle(joined: Joined, found: Found) -> _Row | None:
    """Settle one write; null if it was answered, or has to be carried out by itself."""
    write = joined.write
    own = found.named(write.names.get("ids", ()), write.names.get("external", ()))
    size = write.size + found.largest
    if any(len(current.doc) > MAX_BYTES for current in own.current.values()):
        _answer(joined, LeftOut.APART)
        return None
    try:
        identity, current, settled = await work_on(size, decide_and_settle, write, own)
    except Problem as problem:
        _answer(joined, problem)
        return None
    except Exception:  # noqa: BLE001 - by itself it fails with this again, and nobody with it
        _answer(joined, LeftOut.APART)
        return None
    if settled is None:
        return _Row(joined, identity, current, None)
    record = settled.record
    if current is not None and settled.unchanged:
        _answer(joined, Outcome(identity, current.version, current.doc))
    elif _is_taken(write, identity, found):
        _answer(joined, LeftOut.APART)
    else:
        return _Row(joined, identity, current, record)
    return None


def _is_taken(write: Write, identity: str, found: Found) -> bool:
    """Tell whether another record has an external id that a write brings."""
    return any(found.taken.get(pair, identity) != identity for pair in external_ids(write))


async def _execute(
    connection: Connection, statement: str, rows: Sequence[_Row], *, created: bool
) -> None:
    """Write records with one statement, and answer who waits.

    Records that are `created` do not exist before; all others are locked by their ids.
    """
    resource: Resource = rows[0].joined.write.resource
    values: dict[str, object] = {"rows": _encoded(rows)}
    if not created:
        values["ids"] = [row.id for row in rows]
    try:
        written = await connection.fetch(*render(resource.table.compose(statement), **values))
    except _UNDONE:
        _leave_out([row.joined for row in rows], LeftOut.FAILED)
        return
    outcomes = {
        str(identity): Outcome(str(identity), version, doc or b"", created=created)
        for identity, version, doc in written
    }
    for row in rows:
        # One that is missing was locked, or has changed since it was looked up.
        _answer(row.joined, outcomes.get(row.id, LeftOut.APART))


def _leave_out(some: Iterable[Joined], why: LeftOut) -> None:
    """Have each of some writes carried out by itself."""
    for joined in some:
        _answer(joined, why)


def _answer(joined: Joined, outcome: Outcome | Problem | LeftOut) -> None:
    """Answer who waits, unless the client has left."""
    if joined.answer.done():
        return
    if isinstance(outcome, Problem):
        joined.answer.set_exception(outcome)
    else:
        joined.answer.set_result(outcome)


_ACTOR: Final = ("actor", "actor_scope", "actor_request_id", "actor_route")


def _encoded(rows: Iterable[_Row]) -> str:
    """Write rows as a JSON array, each with its id, its version, its actor and its record."""
    return array_of(map(_encoded_row, rows))


def _encoded_row(row: _Row) -> str:
    actor = row.joined.write.author.actor
    own = {} if actor is None else dict(zip(_ACTOR, actor, strict=True))
    version = None if row.current is None else row.current.version
    return row_of(row.id, version, row.record, **own)
