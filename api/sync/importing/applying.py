"""Apply the lines of an import: write them in batches, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Final

import asyncpg

from api.core.database_errors import from_database
from api.core.errors import Problem, contended, unavailable
from api.core.resource import Resource
from api.core.sql import render
from api.core.writing.store import (
    DELETE_MANY,
    is_external_id,
    is_own_id,
    still_referenced,
    write_consequence,
)
from api.records.nouns import RESOURCES
from api.sync.importing.ahead import Step, prepared_ahead
from api.sync.importing.batches import NumberedLine, gather_batches
from api.sync.importing.lines import Entry, read_line
from api.sync.importing.preparing import Moved, Prepared, Rows, prepare
from api.sync.importing.results import Done, forget, keep, kept, refusal, success
from api.sync.importing.settling import PendingDeletion, find_current, look_up_batch
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun
from api.sync.importing.tables.comparing import parts_of
from api.sync.importing.tables.rows import read_row
from schemas.vocabularies import ImportOp

_TRIES: Final = 5


RETRIED: Final = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DeadlockDetectedError,
    Moved,
)


async def apply_lines(run: ImportRun, lines: Iterable[NumberedLine]) -> None:
    """Read lines, apply them in batches, and keep their results.

    While a batch is written, the next one is read, and looked up if nothing of the one before
    decides about it. It is written only then, since its lines may refer to those before.
    """
    run.results.append(Spool())
    read = read_line if run.table is None else read_row
    async with aclosing(prepared_ahead(run, gather_batches(run, lines, read))) as steps:
        async for step in steps:
            if run.in_one_transaction:
                await _apply_parts(run, step)
                continue
            async with run.connected():
                await _apply_parts(run, step)


async def _apply_parts(run: ImportRun, step: Step) -> None:
    """Write a batch, in parts if much has to be read for it."""
    if run.table is None:
        await _apply(run, step)
        return
    for part in await parts_of(run, step.batch):
        await _apply(run, Step(part))


async def _apply(run: ImportRun, step: Step) -> None:
    """Write a batch in one transaction; if that fails, write line by line."""
    batch = step.batch
    if (problem := await run.find_revocation()) is not None:
        keep(run, [refusal(entry, problem) for entry in batch])
        return
    for attempt in range(_TRIES):
        before = kept(run)
        try:
            # The results are kept before the commit: what they tell must not get lost.
            async with run.batch_transaction(batch[-1].number, deletes=_deletes(batch)):
                if step.prepared is None:
                    step.settle(await prepare(run, batch))
                keep(run, await write_prepared(run, step.known))
            step.is_written = attempt == 0
            return  # noqa: TRY300 - only errors of the block are handled
        except RETRIED as error:
            forget(run, before)
            step.prepared = None
            if len(batch) > 1:
                for entry in batch:
                    await _apply(run, Step([entry]))
                return
            if _record_was_created(error, batch[0]):
                continue
            problem = find_conflict(error)
            if isinstance(error, asyncpg.ForeignKeyViolationError) and _deletes(batch):
                problem = await _find_referrers(run, batch[0])
            if problem is not None:
                keep(run, [refusal(batch[0], problem)])
                return
    keep(run, [refusal(batch[0], contended())])


def find_conflict(error: Exception) -> Problem | None:
    """Give the problem of a line that the other records forbid, whenever it is tried again."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return from_database(error) or unavailable("")
    if isinstance(error, asyncpg.ForeignKeyViolationError) or not isinstance(
        error, asyncpg.IntegrityConstraintViolationError
    ):
        return None
    if (problem := from_database(error)) is None:
        raise error
    return problem.under("/data")


def _record_was_created(error: Exception, entry: Entry) -> bool:
    """Tell whether another writer created the line's record: the next look-up finds it."""
    line = entry.line
    if line is None or not isinstance(error, asyncpg.UniqueViolationError):
        return False
    if line.id is not None:
        return is_own_id(error, RESOURCES[line.type])
    name = line.external_id
    return name is not None and is_external_id(error, (name.namespace, name.value))


def _deletes(batch: Sequence[Entry]) -> bool:
    return any(e.line is not None and e.line.op is ImportOp.DELETE for e in batch)


async def write_batch(run: ImportRun, batch: Sequence[Entry]) -> list[Done]:
    """Look up, settle and store a batch; give the results in the order of the lines."""
    return await write_prepared(run, await prepare(run, batch))


async def write_prepared(run: ImportRun, prepared: Prepared) -> list[Done]:
    """Store a batch that is prepared; give the results in the order of the lines."""
    done = {**prepared.done}
    for rows in prepared.rows:
        done |= await _store(run, rows)
    for record_type, ending in prepared.deletions.items():
        done |= await _delete(run, RESOURCES[record_type], ending)
    return [done[entry.number] for entry in prepared.batch]


async def _store(run: ImportRun, rows: Rows) -> dict[int, Done]:
    """Write records of one type with one statement, and what follows from them."""
    resource, statement, writes, text = rows
    query = render(resource.table.compose(statement), rows=text, actor=run.author.actor)
    versions = {str(row["id"]): row["version"] for row in await run.connection.fetch(*query)}
    for write in writes:
        if write.current is not None and write.has_consequence:
            version = versions.get(write.id, write.current.version)
            await write_consequence(
                run.connection, run.author, resource, write.current, write.record, version
            )
    if len(versions) < len(writes):
        raise Moved
    done = {}
    for write in writes:
        counted_as, status = ("created", 201) if write.current is None else ("updated", 200)
        result = success(write.entry, counted_as, status, write.id, versions[write.id])
        done[write.entry.number] = result._replace(forward=write.forward, named=write.entry.named)
    return done


async def _delete(
    run: ImportRun, resource: Resource, deletions: Sequence[PendingDeletion]
) -> dict[int, Done]:
    """Delete records of one type."""
    query = render(
        resource.table.compose(DELETE_MANY),
        ids=[current.id for _, current in deletions],
        versions=[current.version for _, current in deletions],
        actor=run.author.actor,
    )
    versions = {str(row["id"]): row["version"] for row in await run.connection.fetch(*query)}
    if len(versions) < len(deletions):
        raise Moved
    return {
        entry.number: success(entry, "deleted", 200, current.id, versions[current.id])._replace(
            deleted=current.id
        )
        for entry, current in deletions
    }


async def _find_referrers(run: ImportRun, entry: Entry) -> Problem | None:
    """Give the problem that names the records which refer to the one that a line deletes.

    If the record has changed such that the line is refused for itself, it is that problem.
    """
    line = entry.known_line
    resource = RESOURCES[line.type]
    found_by_type = await look_up_batch(run, [entry])
    try:
        current = find_current(line, found_by_type[line.type])
    except Problem as problem:  # the record has changed since the line was settled
        return problem
    if current is None:
        return None
    return await still_referenced(run.connection, run.author, resource, current.id)
