"""The checks that an atomic import can make only after its last line was applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.core.errors import MAX_ERRORS, Problem, invalid_record, record_problem
from api.core.sql import render
from api.core.writing.settle import unknown
from api.core.writing.store import LIVE, still_referenced
from api.records.nouns import RESOURCES
from api.sync.importing.named import ExternalName, find_ids, found_late, not_found
from api.sync.importing.results import numbered_refusal
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun
from schemas.base import Fault
from schemas.vocabularies import RecordType
from schemas.walking import Reference


async def check_put_off(run: ImportRun) -> bool:
    """Check what was put off; tell whether any line of the atomic run is refused.

    A line that is refused here gets a second result, which replaces its first one.
    """
    last = 0
    for result, forward, ill_formed, deleted in run.put_off:
        number, record_type = result["line"], RecordType[result["type"].upper()]
        if deleted:
            resource = RESOURCES[record_type]
            problem = await still_referenced(run.connection, run.author, resource, deleted)
        else:
            problem = await _find_unknown(run, forward, result["problem"], ill_formed=ill_formed)
        if problem is not None:
            if number < last or not run.late_results:
                run.late_results.append(Spool())
            last = number
            done = numbered_refusal(number, record_type, result["id"], problem)
            run.late_results[-1].add((done.counted_as, done.result))
    for spool in run.late_results:
        spool.keep()
    return bool(run.late_results or run.refusals)


async def _find_unknown(
    run: ImportRun, forward: Sequence[Any], told: dict[str, Any] | None, *, ill_formed: bool
) -> Problem | None:
    """Find the references of a line that name no record, now that all lines are applied.

    Gives a problem that has them and the errors `told` about the line before; null if all name one.
    """
    names = {
        tuple(path): ExternalName(RecordType[to.upper()], *name[1:])
        for path, to, _, name in forward
        if name is not None
    }
    references = [
        Reference(tuple(path), RecordType[to.upper()], identity)
        for path, to, identity, _ in forward
    ]
    missing = await _missing(run, references)
    if not missing:
        return None
    # Some may have got their external ids after the lines that refer to them were applied.
    late_names = [names[each.path] for each in missing if each.path in names]
    ids = await find_ids(run.connection, run.author.caller, late_names)
    gone = {each.id for each in missing}
    late = {name: identity for name, identity in ids.items() if identity not in gone}
    faults = [_unknown(reference, names.get(reference.path), late) for reference in missing]
    found = invalid_record(faults).under("/data")
    errors = [*(told["errors"] if told is not None else ()), *found.errors]
    return record_problem(errors[:MAX_ERRORS], ill_formed=ill_formed)


def _unknown(
    reference: Reference, name: ExternalName | None, late: Mapping[ExternalName, str]
) -> Fault:
    """Report a reference that names no record."""
    fault = unknown(reference)
    if name is None:
        return fault
    told = found_late(name, late[name]) if name in late else not_found(name)
    return fault._replace(detail=told)


async def _missing(run: ImportRun, references: Sequence[Reference]) -> list[Reference]:
    """List the references that name no live record that the caller sees."""
    missing = []
    for resource in RESOURCES.values():
        named = [reference for reference in references if reference.to is resource.type]
        if named:
            ids = [reference.id for reference in named]
            query = render(resource.table.compose(LIVE), run.author.caller, ids=ids)
            rows = await run.connection.fetch(*query)
            live = {str(row["id"]) for row in rows}
            missing += [reference for reference in named if reference.id not in live]
    return missing
