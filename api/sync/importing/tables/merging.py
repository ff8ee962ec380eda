"""Rows that come back: each becomes a line that writes the record with the edited cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from api.core.errors import GONE, PRECONDITION_FAILED, Problem, invalid_record, pointer
from api.core.large_input import in_thread, without_frames
from api.core.resource import Resource
from api.core.writing.look_up import Current
from api.core.writing.settle import split
from api.exchange.cells import text_of
from api.exchange.columns import TableRow
from api.exchange.rows import CellEdit, Edits, Merged, RowState, find_edits, merge, read_changes
from api.exchange.tables import add_names
from api.sync.importing.lines import Entry, well_formed
from api.sync.importing.named import put_stand_ins
from api.sync.importing.state import ImportRun
from api.sync.importing.tables.comparing import Compared, compare
from api.sync.importing.tables.sources import Named, find_named_sources
from schemas.base import Fault
from schemas.walking import references


async def with_rows_merged(run: ImportRun, batch: Sequence[Entry]) -> Sequence[Entry]:
    """Find out what the rows of a batch change; each then is as a line that was sent."""
    if run.table is None:
        return batch
    refused: dict[int, Entry] = {each.number: each for each in batch if each.problem is not None}
    compared, more = await compare(run, [each for each in batch if each.problem is None])
    refused |= more
    resource, columns = run.table
    rows = [each.before for each in compared if each.before is not None]
    await add_names(run.connection, run.author.caller, resource.type, columns, rows)
    edits = await in_thread(lambda: [find_edits(each.row, each.before) for each in compared])
    ids = await find_named_sources(run, compared, edits)
    merged = await in_thread(
        lambda: [_merge(run, resource, *each) for each in zip(compared, edits, ids, strict=True)]
    )
    done = refused | {each.number: each for each in merged}
    return [done[each.number] for each in batch]


def _merge(
    run: ImportRun, resource: Resource, compared: Compared, edits: Edits, named: Named
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
