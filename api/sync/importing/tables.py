"""Tables that come back: each row becomes a line that writes the record with the edited cells.

A row is compared with the record as it was at the row's version, in the same transaction in which
the record is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from api.core.errors import (
    GONE,
    NOT_FOUND,
    PRECONDITION_FAILED,
    Problem,
    invalid_record,
    pointer,
)
from api.core.large_input import in_thread, without_frames
from api.core.resource import Resource
from api.core.sql import compose, render
from api.core.writing.look_up import Current, Found, look_up
from api.core.writing.settle import name_taken, split
from api.exchange.cells import UnreadableCell, text_of
from api.exchange.columns import TableRow
from api.exchange.rows import (
    CellEdit,
    Edits,
    Merged,
    Row,
    RowState,
    find_edits,
    first_external_id,
    merge,
    read_changes,
)
from api.exchange.source_names import NamedSource, find_sources
from api.exchange.table_text import Heading, read_heading, read_rows
from api.exchange.tables import add_names
from api.sync.importing.batches import PIECE_BYTES, NumberedLine
from api.sync.importing.lines import Entry, well_formed
from api.sync.importing.named import put_stand_ins
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun
from schemas.base import UUID_PATTERN, ExternalId, Fault, references
from schemas.imports import ImportLine

_ROW_COST: Final = 1_000
MAX_COMPARED_BYTES: Final = 8_388_608
"""How large the records are together with which rows are compared, unless one is larger."""
_ID: Final = re.compile(UUID_PATTERN)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}\Z")
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


# --- from the body to rows -------------------------------------------------------------------


def read_table(body: Spool, resource: Resource, row_bytes: int) -> Iterator[Heading | None]:
    """Read a table to its end, so that one that can't be read is refused as a whole.

    Gives its heading at last, and a null now and then, so that the thread is free for other work.
    """
    heading = read_heading(resource, body.rewind(), row_bytes)
    size = 0
    for row in read_rows(body.file, heading, row_bytes):
        size += _ROW_COST + row.size
        if size >= PIECE_BYTES:
            yield None
            size = 0
    yield heading


def numbered_rows(body: Spool, heading: Heading, row_bytes: int) -> Iterator[NumberedLine]:
    """Give the rows of a table in the form of the lines of an import.

    Each is filled up to its size in the file, so that empty cells and rows count, too.
    """
    for number, cells, size in read_rows(body.rewind(), heading, row_bytes):
        yield number, msgspec.json.encode(cells).ljust(size)


def read_row(run: ImportRun, number: int, raw: bytes | None) -> Entry | None:
    """Read which record a row is about; its cells are compared later. Null if it has no cells."""
    assert run.table is not None  # noqa: S101 - for the type checker
    resource, columns = run.table
    cells = msgspec.json.decode(raw or b"[]", type=list[str])
    if not cells:
        return None
    row = Row(number, columns, cells)
    size = len(raw or b"")
    line = ImportLine(type=resource.type)
    try:
        _name_record(line, row)
    except Problem as problem:
        return Entry(number, size, line, None, without_frames(problem), row=RowState(row))
    if run.sender.line_ids is not None and line.id is None and line.external_id is None:
        line.id = run.sender.line_ids(number)
        return Entry(number, size, line, None, None, id_is_ours=True, row=RowState(row))
    return Entry(number, size, line, None, None, row=RowState(row))


def _name_record(line: ImportLine, row: Row) -> None:
    """Put into a line which record the row is about."""
    if row.text("id"):
        if not _ID.match(row.text("id")):
            raise _fault("id", "invalid-value", "This is no id: a UUID in lower case.")
        line.id = row.text("id")
    if row.text("version") and not _VERSION.match(row.text("version")):
        raise _fault("version", "invalid-value", "This is no version: a whole number from 1.")
    try:
        name = None if line.id else first_external_id(row)
    except UnreadableCell as unreadable:
        raise _fault("external_ids", "invalid-value", str(unreadable)) from None
    if name is not None and "\0" in name[1]:
        raise _fault("external_ids", "invalid-text", "An external id has no U+0000.")
    if name is not None:
        line.external_id = ExternalId(namespace=name[0], value=name[1])
    if line.id is None and name is None and row.text("version"):
        raise _no_record()


def _fault(column: str, code: str, detail: str) -> Problem:
    return invalid_record([Fault((column,), code, detail)]).under("/data")


async def parts_of(run: ImportRun, batch: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Split a batch of rows so that the records with which they are compared fit into memory."""
    if run.table is None:
        return [batch]
    wanted = {each.known_line.id: _version(each) for each in batch if each.known_line.id}
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


def _version(entry: Entry) -> int:
    """Give the version of a row; 0 if it has none."""
    text = entry.known_row.row.text("version")
    return int(text) if _VERSION.match(text) else 0


# --- from a row to a record ------------------------------------------------------------------


class _Compared(NamedTuple):
    """A row beside the record as it is, and as it was at the row's version."""

    entry: Entry
    row: Row
    current: Current | None  # null if the row is a new record
    before: TableRow | None  # null also if there was no such version


async def with_rows_merged(run: ImportRun, batch: Sequence[Entry]) -> Sequence[Entry]:
    """Find out what the rows of a batch change; each then is as a line that was sent."""
    if run.table is None:
        return batch
    refused: dict[int, Entry] = {each.number: each for each in batch if each.problem is not None}
    compared, more = await _compare(run, [each for each in batch if each.problem is None])
    refused |= more
    resource, columns = run.table
    rows = [each.before for each in compared if each.before is not None]
    await add_names(run.connection, run.author.caller, resource.type, columns, rows)
    edits = await in_thread(lambda: [find_edits(each.row, each.before) for each in compared])
    ids = await _find_named(run, compared, edits)
    merged = await in_thread(
        lambda: [_merge(run, resource, *each) for each in zip(compared, edits, ids, strict=True)]
    )
    done = refused | {each.number: each for each in merged}
    return [done[each.number] for each in batch]


async def _compare(
    run: ImportRun, batch: Sequence[Entry]
) -> tuple[list[_Compared], dict[int, Entry]]:
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
    compared: list[_Compared] = []
    refused: dict[int, Entry] = {}
    for entry in batch:
        row = entry.known_row.row
        try:
            current = None if entry.id_is_ours else _current(entry, row, found)
        except Problem as problem:
            refused[entry.number] = entry._replace(problem=without_frames(problem))
            continue
        compared.append(_Compared(entry, row, current, None))
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
        identity = found.ids.get((line.external_id.namespace, line.external_id.value), "")
        if identity in found.hidden:
            raise name_taken("external id")
        if (current := found.current.get(identity)) is not None:
            return current
    if row.text("version"):
        raise _no_record()
    return None


def _no_record() -> Problem:
    """Refuse a row that was exported, and does not say from which record."""
    detail = (
        "The row has a `version`, but names no record that exists. Fill in `id`, or empty the "
        "cell of `version` to create a record."
    )
    return Problem(NOT_FOUND, detail)


async def _read_before(run: ImportRun, compared: Sequence[_Compared]) -> dict[int, bytes]:
    """Read the records as they were at the versions of the rows, by the numbers of the rows.

    A row without a version is compared with the record as it is.
    """
    assert run.table is not None  # noqa: S101 - for the type checker
    documents: dict[int, bytes] = {}
    wanted: dict[tuple[str, int], int] = {}
    for each in compared:
        if each.current is None:
            continue
        version = int(each.row.text("version") or each.current.version)
        if version == each.current.version:
            documents[each.entry.number] = each.current.doc
        else:
            wanted[each.current.id, version] = each.entry.number
    if wanted:
        ids, versions = map(list, zip(*wanted, strict=True))
        statement = run.table.resource.table.compose(_BEFORE)
        query = render(statement, run.author.caller, ids=ids, versions=versions)
        for identity, version, doc in await run.connection.fetch(*query):
            documents[wanted[identity, version]] = doc
    return documents


# --- the sources that cells name -------------------------------------------------------------

_FORMER: Final = """
    SELECT DISTINCT w.id::text, w.name
    FROM unnest(:ids::text[]::uuid[], :names::text[]) AS w(id, name)
    JOIN sources AS t ON t.id = w.id
    CROSS JOIN LATERAL (
        SELECT convert_from(r.doc, 'UTF8')::json AS doc FROM revisions AS r
        WHERE r.record_type = 'source' AND r.record_id = w.id AND r.doc IS NOT NULL
            AND :saw(source, r)
        ORDER BY r.version DESC
        LIMIT {most_versions}
    ) AS d
    WHERE left(coalesce(d.doc ->> 'name', d.doc ->> 'description'), :most::integer) = w.name
        AND :sees(source, t)"""
MAX_VERSIONS: Final = 100
"""In so many versions of a source, the newest ones, a former name is looked for."""
_NAMED: Final = 200
"""How many characters of a name a table shows."""


class _Named(NamedTuple):
    """What the names in a row mean: ids by the index of the cell, and what is wrong with others."""

    ids: dict[int, str]
    faults: list[Fault]


async def _find_named(
    run: ImportRun, compared: Sequence[_Compared], edits: Sequence[Edits]
) -> list[_Named]:
    """Find the sources that cells name; drop the edits that only show a former name."""
    names = {cell.text for each in edits for cell in each.edits if cell.edit.is_name and cell.text}
    found = await find_sources(run.connection, run.author.caller, names)
    await _drop_former(run, compared, edits, found)
    named = []
    for each in edits:
        row = _Named({}, [])
        for cell in each.edits:
            if not cell.edit.is_name or not cell.text:
                continue
            source = found[cell.text]
            if source.id is not None:
                row.ids[cell.place] = source.id
            else:
                detail = source.why_not(_id_column(cell))
                row.faults.append(Fault((cell.column.name,), "unknown-reference", detail))
        named.append(row)
    return named


def _id_column(cell: CellEdit) -> str:
    """Name the column that has the id in the place of the name."""
    edit = cell.edit
    return f"attribution.{edit.part}" if edit.part else edit.field


async def _drop_former(
    run: ImportRun,
    compared: Sequence[_Compared],
    edits: Sequence[Edits],
    found: Mapping[str, NamedSource],
) -> None:
    """Take back the edits of cells that have a name which their source had before.

    Somebody has renamed the source since the table was written, and nobody has edited the cell. If
    another source has the name now, the cell may mean that one, and is refused.
    """
    asked: dict[tuple[str, str], list[tuple[Edits, CellEdit]]] = {}
    for each, row in zip(compared, edits, strict=True):
        for cell in row.edits:
            if each.before is None or not cell.edit.is_name or not cell.text:
                continue
            identity = _id_before(cell, each.before)
            if identity is not None:
                asked.setdefault((identity, cell.text), []).append((row, cell))
    if not asked:
        return
    ids, names = map(list, zip(*asked, strict=True))
    statement = compose(_FORMER, most_versions=f"{MAX_VERSIONS}")
    query = render(statement, run.author.caller, ids=ids, names=names, most=_NAMED)
    for identity, name in await run.connection.fetch(*query):
        for row, cell in asked[identity, name]:
            row.edits.remove(cell)
            if other := found[name].other_than(identity):
                detail = (
                    f"`{cell.was[:100]}`, {identity}, was called `{name[:100]}` before, and "
                    f"{other} is called so now. Write the id of the source that you mean into "
                    f"`{_id_column(cell)}`, and leave this column out."
                )
                row.faults.append(Fault((cell.column.name,), "unknown-reference", detail))


def _id_before(cell: CellEdit, before: TableRow) -> str | None:
    """Give the id of the source that a cell named."""
    if cell.edit.part is None:
        identity: str | None = before.value(cell.edit.field)
        return identity
    return next((hop[cell.edit.part] for hop in before.hops_at()), None)


# --- the record with the edits ---------------------------------------------------------------


def _merge(
    run: ImportRun, resource: Resource, compared: _Compared, edits: Edits, named: _Named
) -> Entry:
    """Make the record that a row writes, or say why there is none."""
    entry, row, current, before = compared
    try:
        if current is not None and before is None:
            detail = f"The record is at version {current.version}, and has no such version."
            raise invalid_record([Fault(("version",), "other-version", detail)])
        unknown = {fault.path[0] for fault in named.faults}
        readable = [each for each in edits.edits if each.column.name not in unknown]
        changes = read_changes(readable, before, named.ids)
        faults = [*edits.faults, *named.faults, *changes.faults]
        if faults:
            raise invalid_record(faults)
        compared_row = RowState(row, edits.edits, changes.paths, ignored=edits.ignored)
        if current is None or before is None:
            values = {k: v for k, v in changes.values.items() if v is not msgspec.UNSET}
            return _with_draft(run, resource, entry._replace(row=compared_row), values)
        entry = entry._replace(row=compared_row._replace(version=current.version))
        return _changed(run, resource, entry, current, merge(changes, before, current.doc))
    except Problem as problem:
        return entry._replace(problem=without_frames(problem.under("/data")))


def _changed(
    run: ImportRun, resource: Resource, entry: Entry, current: Current, merged: Merged
) -> Entry:
    """Make the record that has the edits of a row beside what others have changed."""
    state = entry.known_row
    line = msgspec.structs.replace(entry.known_line, id=current.id, external_id=None)
    if merged.conflicts:
        raise _conflict(state, current, merged.conflicts)
    if not merged.values:
        return entry._replace(line=line, row=state._replace(edits=(), is_unchanged=True))
    if not state.row.text("version"):
        detail = (
            "The record exists, and differs from this row. Only with the `version` that a row was "
            "exported with does it tell what you edited: export the record, and edit that row."
        )
        raise invalid_record([Fault(("version",), "required", detail)])
    if current.deleted:
        raise Problem(GONE, "The record was deleted. Restore it first, or take this row out.")
    _, content = split(resource, msgspec.json.decode(current.doc))
    for name, value in merged.values.items():
        if value is msgspec.UNSET:
            content.pop(name, None)
        else:
            content[name] = value
    edits = [each for each in state.edits if each.edit.field in merged.values]
    return _with_draft(
        run, resource, entry._replace(line=line, row=state._replace(edits=edits)), content
    )


def _conflict(state: RowState, current: Current, names: Sequence[str]) -> Problem:
    """Refuse a row of which some properties were changed by others, too."""
    now = TableRow(current.doc)
    errors = [
        {
            "pointer": pointer((each.column.name,)),
            "code": "other-version",
            "detail": f"`{each.edit.field}` was changed after version "
            f"{state.row.text('version')}, too{_now(each, now)}. Export the record again, and "
            "edit it anew.",
        }
        for each in state.edits
        if each.edit.field in names
    ]
    return Problem(PRECONDITION_FAILED, errors=errors)


def _now(cell: CellEdit, now: TableRow) -> str:
    """Say what a cell would have now; a name is not known here."""
    if cell.edit.is_name:
        return ""
    return f": the cell would have `{text_of(cell.column.cell(now))[:100]}` now"


def _with_draft(run: ImportRun, resource: Resource, entry: Entry, content: dict[str, Any]) -> Entry:
    """Check a record as strictly as one that a line brings."""
    named = put_stand_ins(run.stand_ins, content, resource.create)
    wanted = well_formed(resource, content, named)
    wanted = wanted._replace(referred=references(wanted.record))
    return entry._replace(draft=wanted, named=named.references)


def has_moved(entry: Entry, found: Found) -> bool:
    """Tell whether a record was changed since its row was compared with it."""
    if entry.row is None or entry.draft is None or entry.id_is_ours:
        return False
    line = entry.known_line
    identity = line.id
    if identity is None and line.external_id is not None:
        identity = found.ids.get((line.external_id.namespace, line.external_id.value))
    current = found.current.get(identity or "")
    return entry.row.version != (current.version if current is not None else None)
