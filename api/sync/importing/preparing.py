"""Prepare a batch: look up what its lines name, and settle what is to be written of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from api.core.large_input import in_thread
from api.core.resource import Resource
from api.core.writing.look_up import Found
from api.core.writing.store import INSERT_MANY, UPDATE_MANY, rows_of
from api.records.nouns import RESOURCES
from api.sync.importing.lines import Entry, record_names
from api.sync.importing.named import ExternalName
from api.sync.importing.results import Done
from api.sync.importing.settling import (
    PendingDeletion,
    PendingWrite,
    find_named,
    look_up_batch,
    settle_lines,
    with_ids_put_in,
)
from api.sync.importing.state import ImportRun
from api.sync.importing.tables.comparing import has_moved
from api.sync.importing.tables.merging import with_rows_merged
from schemas.vocabularies import RecordType


class Moved(Exception):  # noqa: N818 - it is no error
    """A record changed between the look-up and the write."""


class LookedUp(NamedTuple):
    """A batch, and what is known about it."""

    batch: Sequence[Entry]
    found_by_type: dict[RecordType, Found]
    ids: Mapping[ExternalName, str]


class Rows(NamedTuple):
    """Records of one type that one statement writes."""

    resource: Resource
    statement: str
    writes: Sequence[PendingWrite]
    text: str  # the records as a JSON array


class Prepared(NamedTuple):
    """What a batch comes to, before anything of it is written."""

    batch: Sequence[Entry]
    done: Mapping[int, Done]  # by number, of the lines that write nothing
    rows: Sequence[Rows]
    deletions: Mapping[RecordType, Sequence[PendingDeletion]]


async def prepare(run: ImportRun, batch: Sequence[Entry]) -> Prepared:
    """Look up and settle a batch over the connection of a run."""
    return await in_thread(settle_batch, run, await look_up_lines(run, batch))


async def look_up_lines(run: ImportRun, batch: Sequence[Entry]) -> LookedUp:
    """Look up all that has to be known before a batch is settled."""
    batch = await with_rows_merged(run, batch)
    ids = await find_named(run, batch)
    found_by_type = await look_up_batch(run, await with_ids_put_in(batch, ids))
    if any(has_moved(entry, found_by_type[entry.known_line.type]) for entry in batch if entry.row):
        raise Moved
    return LookedUp(batch, found_by_type, ids)


def settle_batch(run: ImportRun, looked_up: LookedUp) -> Prepared:
    """Settle the lines of a batch in their order, and sort them by the statements that they need.

    A record is created before another one of its type is changed, and deletions come last.
    """
    done: dict[int, Done] = {}
    writes: dict[RecordType, list[PendingWrite]] = {each: [] for each in RESOURCES}
    deletions: dict[RecordType, list[PendingDeletion]] = {each: [] for each in RESOURCES}
    for entry, settled in settle_lines(run, *looked_up):
        if isinstance(settled, Done):
            done[entry.number] = settled
        elif isinstance(settled, PendingWrite):
            writes[entry.known_line.type].append(settled)
        else:
            deletions[entry.known_line.type].append(settled)
    rows = [
        _rows(RESOURCES[record_type], statement, some)
        for record_type, listed in writes.items()
        for statement, some in (
            (INSERT_MANY, [each for each in listed if each.current is None]),
            (UPDATE_MANY, [each for each in listed if each.current is not None]),
        )
        if some
    ]
    ending = {record_type: listed for record_type, listed in deletions.items() if listed}
    return Prepared(looked_up.batch, done, rows, ending)


def _rows(resource: Resource, statement: str, writes: Sequence[PendingWrite]) -> Rows:
    text = rows_of([(w.id, w.current.version if w.current else None, w.record) for w in writes])
    return Rows(resource, statement, writes, text)


def is_apart(batch: Sequence[Entry], before: Prepared) -> bool:
    """Tell whether nothing that a prepared batch is about to write decides about another batch.

    It may only create records, and the other batch must name none of these, neither by an id nor by
    an external id. Then that comes to the same, whether it is prepared before or afterwards.
    """
    if before.deletions or any(rows.statement != INSERT_MANY for rows in before.rows):
        return False
    created: set[tuple[str, ...]] = set()
    for rows in before.rows:
        record_type = rows.resource.type
        for write in rows.writes:
            created.add((record_type, write.id))
            created.update(
                (record_type, each.namespace, each.value) for each in write.record.external_ids
            )
    return all(created.isdisjoint(_named_in(entry)) for entry in batch)


def _named_in(entry: Entry) -> list[tuple[str, ...]]:
    """List the names of all records on which the result of a line depends."""
    names = record_names(entry.line)
    names += [tuple(each.name) for each in entry.named]
    if entry.draft is not None:
        names += [(each.to, each.id) for each in entry.draft.referred or ()]
    if entry.invalid is not None:
        names += [(each.to, each.id) for each in entry.invalid.references]
    return names
