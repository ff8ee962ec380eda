"""Rows beside their records: as these are, and as they were at the rows' versions.

It is read in the transaction in which the records are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from api.core.errors import NOT_FOUND, Problem
from api.core.large_input import without_frames
from api.core.sql import render
from api.core.writing.look_up import Current, Found, look_up
from api.core.writing.settle import name_taken
from api.exchange.columns import TableRow
from api.exchange.rows import Row
from api.sync.importing.lines import Entry, identity_of
from api.sync.importing.state import ImportRun
from api.sync.importing.tables.rows import no_record, version_of

MAX_COMPARED_BYTES: Final = 8_388_608
"""How large the records are together with which rows are compared, unless one is larger."""
_SIZES: Final = """
    SELECT t.id::text, octet_length(t.doc) + coalesce(octet_length(r.doc), 0)
    FROM unnest(:ids::text[]::uuid[], :versions::integer[]) AS w(id, version)
    JOIN {table} AS t ON t.id = w.id
    LEFT JOIN revisions AS r
        ON r.record_type = '{type}' AND r.record_id = w.id AND r.version = w.version
        AND w.version <> t.version"""
_BEFORE: Final = """
    SELECT w.id::text, w.version, r.doc
    FROM unnest(:ids::text[]::uuid[], :versions::integer[]) AS w(id, version)
    JOIN {table} AS t ON t.id = w.id
    JOIN revisions AS r
        ON r.record_type = '{type}' AND r.record_id = w.id AND r.version = w.version
    WHERE r.doc IS NOT NULL AND :sees({type}, t) AND :saw({type}, r)"""


async def parts_of(run: ImportRun, batch: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Split a batch of rows so that the records with which they are compared fit into memory."""
    if run.table is None:
        return [batch]
    wanted = {each.known_line.id: version_of(each) for each in batch if each.known_line.id}
    statement = run.table.resource.table.compose(_SIZES)
    query = render(statement, ids=list(wanted), versions=list(wanted.values()))
    sizes = dict(map(tuple, await run.connection.fetch(*query)))
    # The size of a record that is named in another way is not known.
    unknown = MAX_COMPARED_BYTES // 8 if run.table.resource.large else MAX_COMPARED_BYTES // 64
    parts: list[list[Entry]] = [[]]
    total = 0
    for each in batch:
        line = each.known_line
        size = unknown if line.external_id is not None else sizes.get(line.id, 0)
        if parts[-1] and total + size > MAX_COMPARED_BYTES:
            parts.append([])
            total = 0
        parts[-1].append(each)
        total += size
    return list(parts)


class Compared(NamedTuple):
    """A row beside the record as it is, and as it was at the row's version."""

    entry: Entry
    row: Row
    current: Current | None  # null if the row is a new record
    before: TableRow | None  # null also if there was no such version


async def compare(
    run: ImportRun, batch: Sequence[Entry]
) -> tuple[list[Compared], dict[int, Entry]]:
    """Look up the records of rows; give the rows that are refused apart."""
    assert run.table is not None  # noqa: S101 - for the type checker
    lines = [each.known_line for each in batch if not each.id_is_ours]
    found = await look_up(
        run.connection,
        run.author,
        run.table.resource,
        (),
        ids=[line.id for line in lines if line.id is not None],
        external=[
            (line.external_id.namespace, line.external_id.value)
            for line in lines
            if line.external_id is not None
        ],
    )
    compared: list[Compared] = []
    refused: dict[int, Entry] = {}
    for entry in batch:
        row = entry.known_row.row
        try:
            current = None if entry.id_is_ours else _current(entry, row, found)
        except Problem as problem:
            refused[entry.number] = entry._replace(problem=without_frames(problem))
            continue
        compared.append(Compared(entry, row, current, None))
    documents = await _read_before(run, compared)
    return [
        each._replace(before=TableRow(documents[each.entry.number]))
        if each.entry.number in documents
        else each
        for each in compared
    ], refused


def _current(entry: Entry, row: Row, found: Found) -> Current | None:
    """Find the record that a row names; null if the row is a new record."""
    line = entry.known_line
    if line.id is not None:
        if (current := found.current.get(line.id)) is None:
            detail = (
                "No record has this `id`. Empty the cell, and that of `version`, to create one."
            )
            raise Problem(NOT_FOUND, detail)
        return current
    if line.external_id is not None:
        identity = identity_of(line, found)
        if identity in found.hidden:
            raise name_taken("external id")
        if (current := found.current.get(identity)) is not None:
            return current
    if row.text("version"):
        raise no_record()
    return None


async def _read_before(run: ImportRun, compared: Sequence[Compared]) -> dict[int, bytes]:
    """Read the records as they were at the versions of the rows, by the numbers of the rows.

    A row without a version is compared with the record as it is. Two rows may name one record, by
    its id and by its external id.
    """
    assert run.table is not None  # noqa: S101 - for the type checker
    documents: dict[int, bytes] = {}
    wanted: dict[tuple[str, int], list[int]] = {}
    for each in compared:
        if each.current is None:
            continue
        version = int(each.row.text("version") or each.current.version)
        if version == each.current.version:
            documents[each.entry.number] = each.current.doc
        else:
            wanted.setdefault((each.current.id, version), []).append(each.entry.number)
    if wanted:
        ids, versions = map(list, zip(*wanted, strict=True))
        statement = run.table.resource.table.compose(_BEFORE)
        query = render(statement, run.author.caller, ids=ids, versions=versions)
        for identity, version, doc in await run.connection.fetch(*query):
            documents |= dict.fromkeys(wanted[identity, version], doc)
    return documents


def has_moved(entry: Entry, found: Found) -> bool:
    """Tell whether a record was changed since its row was compared with it."""
    if entry.row is None or entry.draft is None or entry.id_is_ours:
        return False
    current = found.current.get(identity_of(entry.known_line, found))
    return entry.row.version != (current.version if current is not None else None)
