"""The results of the lines of an import, and the answer that lists them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from api.core.errors import NOT_APPLIED, Problem
from api.sync.importing.lines import Entry
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun
from schemas.base import Reference
from schemas.imports import ImportCounts, ImportResult, ImportTotals
from schemas.vocabularies import RecordType


class Done(NamedTuple):
    """The result of a line, and the field of the totals that counts it.

    The other two fields are for an atomic run, which checks them at its end: references to records
    that were not known when the line was applied, and the id of the record that the line deleted,
    to which others may still refer.
    """

    counted_as: str
    result: ImportResult
    forward: Sequence[Reference] = ()
    deleted: str | None = None


def success(entry: Entry, counted_as: str, status: int, identity: str, version: int | None) -> Done:
    """Give the result of a line that was applied, or had nothing to change."""
    result = ImportResult(
        line=entry.number,
        status=status,
        type=entry.line.type if entry.line else None,
        id=identity,
        version=version,
        changed=counted_as != "unchanged",
    )
    return Done(counted_as, result)


def unchanged(entry: Entry, identity: str, version: int | None) -> Done:
    """Give the result of a line that had nothing to change."""
    return success(entry, "unchanged", 200, identity, version)


def refusal(entry: Entry, problem: Problem) -> Done:
    """Give the result of a line that is refused with a problem."""
    line = entry.line
    identity = line.id if line and not entry.id_is_ours else None
    return numbered_refusal(entry.number, line.type if line else None, identity, problem)


def numbered_refusal(
    number: int, record_type: RecordType | None, identity: str | None, problem: Problem
) -> Done:
    """Give the result of a refused line, by its number."""
    result = ImportResult(
        line=number,
        status=int(problem.kind.status),
        type=record_type,
        id=identity,
        problem=problem.document("/v1/import"),
    )
    return Done("refused", result)


def write_answer(run: ImportRun, answer: Spool, *, committed: bool) -> Iterator[None]:
    """Write the answer, a line for each result and the totals; pause after some of them."""
    counts = ImportCounts()
    for number, (counted_as, result) in enumerate(_in_line_order(run)):
        counts.lines += 1
        if run.refused and counted_as != "refused":
            counted_as, result = "not_applied", result | _not_applied()  # noqa: PLW2901
        if result["problem"] is not None:
            result["problem"]["request_id"] = run.sender.request_id
        setattr(counts, counted_as, getattr(counts, counted_as) + 1)
        answer.add(result)
        if number % 1_000 == 0:
            yield
    answer.add(
        ImportTotals(totals=counts, atomic=run.atomic, dry_run=run.dry_run, committed=committed)
    )


def _in_line_order(run: ImportRun) -> Iterator[tuple[str, dict[str, Any]]]:
    """Merge the files of results by line; a late result replaces the first one of its line."""
    last = 0
    spools = (*run.late_results, *run.results)
    for counted_as, result in heapq.merge(*spools, key=lambda each: each[1]["line"]):
        if result["line"] != last:
            last = result["line"]
            yield counted_as, result


def _not_applied() -> dict[str, Any]:
    """Give what replaces the result of a good line if its atomic run is refused."""
    problem = Problem(NOT_APPLIED)
    result = {"status": int(problem.kind.status), "version": None, "changed": False}
    return result | {"problem": problem.document("/v1/import")}
