"""Repointing: after a merge, records are changed in the background to name the survivor.

After an unmerge, the same is done backwards. Each step is a transaction of its own that changes at
most 200 records, writes down how it did, and is taken by one process: so a process that is killed
loses nothing, and another one goes on. When nothing names a merged source any more, it is deleted,
which the keys of the links would refuse before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import monotonic
from typing import Final, NamedTuple

import asyncpg
import msgspec

from api.core.background import again_and_again, meanwhile
from api.core.db import Connection, Database
from api.core.resource import Resource
from api.core.sql import render
from api.merging import log as merge_log
from api.merging.crossing import can_be_set_aside, find_crossings, set_aside
from api.merging.log import EntryState
from api.merging.references import SYMMETRIC, Content, columns_of, follow, give_back
from api.merging.referrers import (
    MAX_RECORDS,
    lock_referrers,
    next_referrers,
    note_refusal,
    write_referrers,
)
from api.records.nouns import RESOURCES
from schemas.vocabularies import MergeState, RecordType

EVERY_SECONDS: Final = 1.0
MAX_STEPS: Final = 1_000
"""How many steps are made in a row."""
log = logging.getLogger("claim_records")

# A merge that another process is working on is left to it.
_TAKE: Final = """
    SELECT m.id, m.source_id::text, m.survivor_id::text, m.state
    FROM source_merges AS m
    WHERE m.state IN ('repointing', 'restoring') AND m.id > :after_id
    ORDER BY m.id
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED"""
# Others wait for the records that a step has locked, so it waits for nobody for long.
_LIMIT: Final = "SELECT set_config('lock_timeout', '200', true)"
_SET_STATE: Final = "UPDATE source_merges SET state = :state WHERE id = :id"
_STATED: Final = """
    SELECT l.source_id::text, l.label FROM links AS l
    WHERE l.owner_id = :survivor_id::uuid AND l.owner_type = 'source' AND l.link = 'relation'
        AND l.label = ANY(:labels::text[]) AND l.source_id = ANY(:ids::uuid[])"""
_IS_NAMED: Final = "SELECT EXISTS (SELECT FROM links WHERE source_id = :source_id::uuid)"
_IS_FREE: Final = """
    SELECT true FROM sources WHERE id = :source_id::uuid FOR UPDATE SKIP LOCKED"""
_DELETE: Final = """
    UPDATE sources
    SET (deleted_at, actor, actor_scope, actor_request_id, actor_route)
        = ROW(clock_timestamp(), 'system', NULL::text, NULL::text, NULL::text)
    WHERE id = :source_id::uuid AND merged_into_id IS NOT NULL AND deleted_at IS NULL"""
_TO_RESTORE: Final = """
    SELECT DISTINCT r.record_id::text, r.record_type FROM source_merge_references AS r
    WHERE r.merge_id = :merge_id AND r.state = 'standing'
    ORDER BY 1
    LIMIT :limit"""
_KEPT: Final = """
    SELECT m.source_id::text, m.before::text FROM source_merges AS m
    WHERE m.source_id = ANY(:ids::uuid[]) AND m.state IN ('repointing', 'done')"""
_KEEP: Final = """
    UPDATE source_merges SET before = :before::text::json
    WHERE source_id = :source_id::uuid AND state IN ('repointing', 'done')"""


class Work(NamedTuple):
    """A merge of which something is left to do."""

    id: int
    source_id: str
    survivor_id: str


async def work_off(database: Database) -> None:
    """Make steps until nothing is left that this process can do."""
    after_id = 0
    for _ in range(MAX_STEPS):
        began = monotonic()
        taken, did_something = await step(database, after_id)
        if taken is None:
            return
        if not did_something:  # others are writing these records, or are merged into it themselves
            after_id = taken.id
        # Others who write get as much time as this takes from them.
        await asyncio.sleep(monotonic() - began)


async def step(database: Database, after_id: int = 0) -> tuple[Work | None, bool]:
    """Make one step of the first merge that is free; tell whether it did anything."""
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(*render(_TAKE, after_id=after_id))
        if row is None:
            return None, False
        work = Work(row["id"], row["source_id"], row["survivor_id"])
        make = _repoint_some if row["state"] == MergeState.REPOINTING else _restore_some
        try:
            async with connection.transaction():
                await connection.execute(_LIMIT)
                return work, await make(connection, work)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            return work, False  # somebody writes for long what these records name


# --- forward -------------------------------------------------------------------------------------


async def _repoint_some(connection: Connection, work: Work) -> bool:
    for resource in RESOURCES.values():
        ids = await next_referrers(connection, resource, work.id, work.source_id)
        if ids:
            repoint = partial(_repoint, connection, work, resource)
            give_up = partial(note_refusal, connection, resource, work.id)
            return await _all_or_each(connection, ids, repoint, give_up)
    return await _finish(connection, work)


async def _repoint(
    connection: Connection, work: Work, resource: Resource, ids: Sequence[str]
) -> bool:
    """Let some records name the survivor; tell whether there were any that nobody else writes."""
    taken: set[tuple[str, str]] = set()
    if resource.type is RecordType.SOURCE:
        labels = [each.value for each in SYMMETRIC]
        query = render(_STATED, survivor_id=work.survivor_id, labels=labels, ids=ids)
        taken = {(each, label) for each, label in await connection.fetch(*query)}
    contents, followed = {}, []
    for referrer in await lock_referrers(connection, resource, ids):
        if referrer.deleted:
            continue
        new, some = follow(
            referrer.content,
            columns_of(resource),
            referrer.id if resource.type is RecordType.SOURCE else "",
            work.source_id,
            work.survivor_id,
            taken,
        )
        if some:
            contents[referrer.id] = new
            followed.append((referrer.id, some))
    await write_referrers(connection, resource, contents)
    await merge_log.add(connection, work.id, resource.type, followed)
    return bool(contents)


async def _finish(connection: Connection, work: Work) -> bool:
    """Delete a merged source that nothing names any more."""
    if await connection.fetchval(*render(_IS_NAMED, source_id=work.source_id)):
        return False
    if not await connection.fetchval(*render(_IS_FREE, source_id=work.source_id)):
        return False  # somebody writes a record that names it, and may take long
    try:
        async with connection.transaction():
            await connection.execute(*render(_DELETE, source_id=work.source_id))
    except asyncpg.ForeignKeyViolationError:
        return False  # a record that names it was being written, and is there now
    await _set_state(connection, work, MergeState.DONE)
    return True


async def _set_state(connection: Connection, work: Work, state: MergeState) -> None:
    await connection.execute(*render(_SET_STATE, id=work.id, state=state.value))


# --- backward ------------------------------------------------------------------------------------


async def _restore_some(connection: Connection, work: Work) -> bool:
    query = render(_TO_RESTORE, merge_id=work.id, limit=MAX_RECORDS)
    rows = await connection.fetch(*query)
    if not rows:
        await _set_state(connection, work, MergeState.UNDONE)
        return True
    did_something = False
    for resource in RESOURCES.values():
        ids = [row["record_id"] for row in rows if row["record_type"] == resource.type]
        if ids:
            restore = partial(_restore, connection, work, resource)
            give_up = partial(_give_up, connection, work, resource)
            did_something |= await _all_or_each(connection, ids, restore, give_up)
    return did_something


async def _restore(
    connection: Connection, work: Work, resource: Resource, ids: Sequence[str]
) -> bool:
    """Let some records name the merged source again, where they stand as the merge left them."""
    referrers = await lock_referrers(connection, resource, ids)
    kept = await _read_kept(connection, resource, ids)
    stored = {each.id: kept.get(each.id, each.content) for each in referrers}
    gone = {each.id for each in referrers if each.deleted} - kept.keys()
    entries = await merge_log.read(connection, resource.type, stored)
    columns = columns_of(resource)
    returned = {
        identity: give_back(stored[identity], columns, entries[identity], work.id)
        for identity in stored.keys() - gone
    }
    new = {identity: each.content for identity, each in returned.items() if each.restored}
    live = {identity: content for identity, content in new.items() if identity not in kept}
    crossings = await find_crossings(connection, stored, live)
    for identity, some in crossings.items():
        if await can_be_set_aside(connection, work.id, some):
            live[identity] = await set_aside(connection, work.id, identity, live[identity], some)
        else:
            # What stands against it is about to be given back itself, so this is tried again.
            del live[identity], returned[identity]
    for identity in new.keys() & kept.keys():
        before = msgspec.json.encode({**stored[identity], **new[identity]}).decode()
        await connection.execute(*render(_KEEP, source_id=identity, before=before))
    await write_referrers(connection, resource, live)
    for each in returned.values():
        await merge_log.move(connection, each.paths)
    settled = {
        EntryState.RESTORED: [i for each in returned.values() for i in each.restored],
        EntryState.PASSED: [i for each in returned.values() for i in each.passed],
        EntryState.CHANGED: [i for each in returned.values() for i in each.changed]
        + [e.id for identity in gone for e in entries[identity] if e.merge_id == work.id],
    }
    for state, some_ids in settled.items():
        await merge_log.settle(connection, state, some_ids)
    return any(settled.values())


async def _read_kept(
    connection: Connection, resource: Resource, ids: Sequence[str]
) -> dict[str, Content]:
    """Read what sources that are merged themselves name: it is kept with their merges."""
    if resource.type is not RecordType.SOURCE:
        return {}
    rows = await connection.fetch(*render(_KEPT, ids=ids))
    return {identity: msgspec.json.decode(before) for identity, before in rows}


async def _give_up(connection: Connection, work: Work, resource: Resource, identity: str) -> None:
    """Leave a record as it is, of which other records forbid that it names the source again."""
    entries = await merge_log.read(connection, resource.type, [identity])
    own = [each.id for each in entries[identity] if each.merge_id == work.id]
    await merge_log.settle(connection, EntryState.CHANGED, own)


# --- together, or one by one ---------------------------------------------------------------------


async def _all_or_each(
    connection: Connection,
    ids: Sequence[str],
    work: Callable[[Sequence[str]], Awaitable[bool]],
    give_up: Callable[[str], Awaitable[None]],
) -> bool:
    """Do some work on records together; if one of them can't be written, do it on each alone."""
    try:
        async with connection.transaction():
            return await work(ids)
    except asyncpg.IntegrityConstraintViolationError:
        pass
    did_something = False
    for identity in ids:
        try:
            async with connection.transaction():
                did_something |= await work([identity])
        except asyncpg.IntegrityConstraintViolationError as error:
            log.warning("a record can't name the other source", exc_info=error)
            await give_up(identity)
            did_something = True
    return did_something


def repointing(database: Database) -> AbstractAsyncContextManager[None]:
    """Do what follows from merges in the background."""
    work = again_and_again(
        EVERY_SECONDS, lambda: work_off(database), "records wait to name the survivors of merges"
    )
    return meanwhile(work)
