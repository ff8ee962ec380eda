"""Settle the lines of a batch: compare each with the database before anything is written."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from api.core.errors import NOT_FOUND, PRECONDITION_FAILED, SOURCE_MERGED, Problem, unavailable
from api.core.large_input import in_thread
from api.core.merged import is_merged, refuse_merged
from api.core.request import new_id
from api.core.resource import Resource
from api.core.versions import etag, version_tag
from api.core.writing.look_up import Current, Found, appearances_of, look_up
from api.core.writing.settle import Draft, InvalidRecord, name_taken, read_stored, settle
from api.core.writing.store import has_consequence
from api.records.nouns import RESOURCES
from api.sync.importing.lines import Entry, identity_of
from api.sync.importing.named import (
    ExternalName,
    find_ids,
    in_words,
    references_with_ids,
    with_ids,
)
from api.sync.importing.results import Done, refusal, unchanged
from api.sync.importing.state import ImportRun
from schemas.base import Create
from schemas.imports import ImportLine
from schemas.vocabularies import ImportOp, RecordType
from schemas.walking import Reference


class PendingWrite(NamedTuple):
    """A record that a line asks to store."""

    entry: Entry
    id: str
    current: Current | None
    record: Create
    forward: list[Reference]  # to records that are not known yet; checked at an atomic run's end
    has_consequence: bool  # whether other records change with it


class PendingDeletion(NamedTuple):
    """A record that a line asks to delete."""

    entry: Entry
    current: Current


async def look_up_batch(run: ImportRun, batch: Sequence[Entry]) -> dict[RecordType, Found]:
    """Look up what the lines of a batch name and refer to, with one statement a record type.

    What is known about referred records is shared by all types, because a line may refer to a
    record that an earlier line of the batch writes.
    """
    found_by_type: dict[RecordType, Found] = {}
    shared = Found()
    for record_type, resource in RESOURCES.items():
        entries = [e for e in batch if _is_looked_up(e) and e.known_line.type is record_type]
        found = Found()
        if entries:
            lines = [entry.known_line for entry in entries]
            drafts = [entry.draft for entry in entries if entry.draft is not None]
            referred = [
                *(each.referred or () for each in drafts),
                *(entry.invalid.references for entry in entries if entry.invalid is not None),
            ]
            found = await look_up(
                run.connection,
                run.author,
                resource,
                (),
                ids=[line.id for line in lines if line.id],
                external=[
                    (line.external_id.namespace, line.external_id.value)
                    for line in lines
                    if line.external_id is not None
                ],
                more=chain.from_iterable(referred),
                also=chain.from_iterable(appearances_of(each.record) for each in drafts),
            )
        for target, versions in found.versions.items():
            shared.versions[target].update(versions)
        shared.survivors.update(found.survivors)
        # The texts that the batch writes are shared, too. Those that were read are each type's own:
        # they may be only what its own spans are found to be.
        texts = ChainMap(shared.texts, found.texts)
        found_by_type[record_type] = Found(
            found.current, found.hidden, found.ids, shared.versions, texts, shared.survivors
        )
    return found_by_type


def _is_looked_up(entry: Entry) -> bool:
    """Tell whether more has to be known about a line; a row that changes nothing is settled."""
    return entry.line is not None and (entry.row is None or not entry.row.is_unchanged)


async def find_named(run: ImportRun, batch: Sequence[Entry]) -> dict[ExternalName, str]:
    """Find the ids of the records to which the lines of a batch refer by external id."""
    names = [each.name for entry in batch for each in entry.named]
    return await find_ids(run.connection, run.author.caller, names)


async def with_ids_put_in(
    batch: Sequence[Entry], ids: Mapping[ExternalName, str]
) -> Sequence[Entry]:
    """Put ids where lines refer to records by external id."""
    return await in_thread(lambda: [_with_ids(entry, ids) for entry in batch]) if ids else batch


def _with_ids(entry: Entry, ids: Mapping[ExternalName, str]) -> Entry:
    if not entry.named:
        return entry
    if entry.invalid is not None:
        referred = references_with_ids(entry.invalid.references, entry.named, ids)
        return entry._replace(invalid=InvalidRecord(entry.invalid.faults, referred))
    if entry.draft is None:
        return entry
    try:
        return entry._replace(draft=with_ids(entry.draft, entry.named, ids))
    except Problem as problem:
        return entry._replace(draft=None, problem=problem.under("/data"))


Settled = Done | PendingWrite | PendingDeletion


def settle_lines(
    run: ImportRun,
    batch: Sequence[Entry],
    found_by_type: dict[RecordType, Found],
    ids: Mapping[ExternalName, str],
) -> list[tuple[Entry, Settled]]:
    """Settle each line of a batch; a line knows what the lines before it write.

    `ids` are those that external ids have before the first line.
    """
    names = ExternalNames(ids) if any(entry.named for entry in batch) else None
    settled = []
    for each in batch:
        entry = each if names is None else _with_ids(each, names.ids)
        settled.append((entry, _settle_line(run, entry, found_by_type)))
        if names is not None:
            names.follow(entry, settled[-1][1])
    return settled


class ExternalNames:
    """The ids that external ids have after the lines that are settled so far."""

    def __init__(self, ids: Mapping[ExternalName, str]) -> None:
        """Begin with those that are stored."""
        self.ids: dict[ExternalName, str] = {}
        self._names_of: dict[str, set[ExternalName]] = {}
        for name, identity in ids.items():
            self._put(name, identity)

    def follow(self, entry: Entry, settled: Settled) -> None:
        """Let the record of a line have the external ids that the line gives it, and no others."""
        if isinstance(settled, PendingWrite):
            self._drop(settled.id)
            record_type = entry.known_line.type
            for each in settled.record.external_ids:
                self._put(ExternalName(record_type, each.namespace, each.value), settled.id)
        elif isinstance(settled, PendingDeletion):
            self._drop(settled.current.id)

    def _put(self, name: ExternalName, identity: str) -> None:
        self.ids[name] = identity
        self._names_of.setdefault(identity, set()).add(name)

    def _drop(self, identity: str) -> None:
        for name in self._names_of.pop(identity, ()):
            if self.ids.get(name) == identity:  # else another record has got it
                del self.ids[name]


def _settle_line(run: ImportRun, entry: Entry, found_by_type: dict[RecordType, Found]) -> Settled:
    """Find out what a line changes; if it changes nothing or is refused, give its result."""
    if (done := _settled_already(entry, found_by_type)) is not None:
        return done
    line = entry.known_line
    resource, found = RESOURCES[line.type], found_by_type[line.type]
    try:
        current = find_current(line, found)
        if entry.invalid is not None:
            return _refuse_ill_formed(run, resource, entry, entry.invalid, current, found)
        if entry.draft is not None:
            return _settle_write(run, resource, entry, current, found)
        return _settle_deletion(entry, current)
    except Problem as problem:
        return refusal(entry, problem)


def _settled_already(entry: Entry, found_by_type: dict[RecordType, Found]) -> Done | None:
    """Give the result of a line that is refused, or that changes nothing, for all that is known."""
    if entry.line is None or (entry.problem is not None and entry.invalid is None):
        return refusal(entry, entry.problem or unavailable(""))
    if entry.row is not None and entry.row.is_unchanged:
        return unchanged(entry, entry.line.id or "", entry.row.version)
    if entry.id_is_ours:
        return _created_before(entry, found_by_type[entry.line.type])
    return None


def _refuse_ill_formed(
    run: ImportRun,
    resource: Resource,
    entry: Entry,
    invalid: InvalidRecord,
    current: Current | None,
    found: Found,
) -> Done:
    """Refuse a line whose record is not valid, also for the references that name no record.

    An atomic run may bring the missing records on later lines, and so checks them at its end.
    """
    if run.atomic:
        missing = invalid.missing(resource, current, found)
        done = refusal(entry, invalid.under("/data"))
        return done._replace(forward=missing, named=entry.named, ill_formed=True)
    problem = invalid.completed(resource, current, found)
    return refusal(entry, in_words(problem, entry.named).under("/data"))


def find_current(line: ImportLine, found: Found) -> Current | None:
    """Find the record that a line names, and check the line's `if_match` against it."""
    identity = identity_of(line, found)
    current = found.current.get(identity)
    if line.op is ImportOp.DELETE and current is not None:
        refuse_merged(RESOURCES[line.type], current.doc)
    if line.if_match is not None:
        tags: list[str] = []
        if current is not None:
            tags = ["*", etag(current.id, current.version), version_tag(current.version)]
        if line.if_match not in tags:
            document = msgspec.Raw(current.doc) if current and not current.deleted else None
            detail = "The record is at another version." if current else "There is no such record."
            raise Problem(PRECONDITION_FAILED, detail, current=document)
    if current is None and line.op is ImportOp.UPSERT and identity in found.hidden:
        raise name_taken("external id" if line.id is None else "id")
    return current


def _created_before(entry: Entry, found: Found) -> Done | None:
    """Give the result of a line that created its record when it was sent for the first time."""
    identity = entry.known_line.id or ""
    if current := found.current.get(identity):
        return unchanged(entry, identity, current.version)
    if identity in found.hidden:
        return unchanged(entry, identity, None)
    return None


def _settle_write(
    run: ImportRun, resource: Resource, entry: Entry, current: Current | None, found: Found
) -> Done | PendingWrite:
    """Check a line's record against what is known, and let later lines know of it."""
    assert entry.draft is not None  # noqa: S101 - for the type checker
    if current is not None and is_merged(resource, current.doc):
        return _settle_merged(entry, entry.draft, resource, current)
    identity = current.id if current is not None else _new_id(run, entry.known_line)
    forward: list[Reference] = []
    try:
        record, is_unchanged = settle(
            resource,
            identity,
            entry.draft,
            current,
            found,
            forward=forward if run.atomic and run.table is None else None,
        )
    except Problem as problem:
        told = in_words(problem, entry.named).under("/data")
        return refusal(entry, told)._replace(forward=forward, named=entry.named)
    if current is not None and is_unchanged:
        return unchanged(entry, identity, current.version)
    version = current.version + 1 if current is not None else 1
    found.versions[resource.type][identity] = version
    if resource.type is RecordType.ARTICLE:
        found.texts[identity, version] = getattr(record, "text", None)
    follows = current is not None and has_consequence(resource, current, record)
    return PendingWrite(entry, identity, current, record, forward, follows)


def _new_id(run: ImportRun, line: ImportLine) -> str:
    """Give the id for a new record: in an atomic run, that by which lines above may refer to it."""
    if line.id is not None:
        return line.id
    if run.atomic and line.external_id is not None:
        name = line.external_id
        return run.stand_ins.of(ExternalName(line.type, name.namespace, name.value))
    return new_id()


def _settle_merged(entry: Entry, wanted: Draft, resource: Resource, current: Current) -> Done:
    """Accept a merged record as it is stored, because exports have it; refuse any change of it."""
    before = read_stored(resource, current)
    wanted.record.keep(before.record, before.server)
    if wanted.record != before.record:
        raise Problem(SOURCE_MERGED)
    return unchanged(entry, current.id, current.version)


def _settle_deletion(entry: Entry, current: Current | None) -> Done | PendingDeletion:
    """Find the record that a line deletes; one that is deleted already stays as it is."""
    if current is None:
        raise Problem(NOT_FOUND, "There is no such record.")
    if current.deleted:
        return unchanged(entry, current.id, current.version)
    return PendingDeletion(entry, current)
