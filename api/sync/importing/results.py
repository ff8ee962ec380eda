"""The results of the lines of an import, and the answer that lists them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from api.core.errors import NOT_APPLIED, Problem, invalid_record, summary
from api.core.request import encoded
from api.exchange.rows import RowState
from api.sync.importing.lines import Entry
from api.sync.importing.named import NamedReference
from api.sync.importing.spool import CHUNK
from api.sync.importing.state import ImportRun
from schemas.imports import ImportCell, ImportCounts, ImportResult, ImportTotals
from schemas.vocabularies import RecordType
from schemas.walking import Reference


class Done(NamedTuple):
    """The result of a line, and the field of the totals that counts it.

    The other fields are for an atomic run, which checks them at its end: references to records that
    were not known when the line was applied or refused, and the id of the record that the line
    deleted, to which others may still refer.
    """

    counted_as: str
    result: ImportResult
    forward: Sequence[Reference] = ()
    named: Sequence[NamedReference] = ()  # those of them that are by external id, and others
    ill_formed: bool = False  # whether the line is refused for the form of its record
    deleted: str | None = None
    cells: Sequence[ImportCell] = ()  # of a row, for a run that shows them


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
    edited = _cells(entry) if result.changed else []
    return Done(counted_as, result, cells=[*edited, *_ignored_cells(entry)])


def unchanged(entry: Entry, identity: str, version: int | None) -> Done:
    """Give the result of a line that had nothing to change."""
    return success(entry, "unchanged", 200, identity, version)


def refusal(entry: Entry, problem: Problem) -> Done:
    """Give the result of a line that is refused with a problem."""
    line = entry.line
    identity = line.id if line and not entry.id_is_ours else None
    record_type = line.type if line else None
    if entry.row is None:
        return numbered_refusal(entry.number, record_type, identity, problem)
    told, indices = _with_addresses(entry.row, problem)
    done = numbered_refusal(entry.number, record_type, identity, told)
    return done._replace(cells=_refused_cells(entry.row, told, indices))


def _cells(entry: Entry) -> list[ImportCell]:
    """Tell what each edited cell of a row changes."""
    if entry.row is None:
        return []
    return [
        ImportCell(
            row=entry.number,
            column=each.column.name,
            was=each.was or None,
            becomes=each.text or None,
        )
        for each in entry.row.edits
    ]


def _ignored_cells(entry: Entry) -> Sequence[ImportCell]:
    """Tell which cells of a row differ from what they would show, and change nothing."""
    if entry.row is None or not entry.row.ignored:
        return ()
    problem = invalid_record(entry.row.ignored).under("/data")
    cells = _refused_cells(entry.row, *_with_addresses(entry.row, problem))
    return [msgspec.structs.replace(each, ignored=True) for each in cells]


def _with_addresses(state: RowState, problem: Problem) -> tuple[Problem, list[int | None]]:
    """Name the cell in each error of a problem; give the indices of the columns, too."""
    errors, indices = [], []
    for error in problem.errors:
        steps = error.get("pointer", "").replace("~1", "/").split("/")[2:]
        index = state.index_of([step.replace("~0", "~") for step in steps])
        indices.append(index)
        if index is not None:
            error = {**error, "detail": f"{state.row.address(index)}: {error['detail']}"}  # noqa: PLW2901
        errors.append(error)
    detail = summary(errors) if errors else problem.detail
    return Problem(problem.kind, detail, errors=errors, **problem.more), indices


def _refused_cells(
    state: RowState, problem: Problem, indices: Sequence[int | None]
) -> list[ImportCell]:
    """Tell what is wrong with each cell of a row, or with the row."""
    row = state.row
    if not problem.errors:
        document = problem.document("/v1/import")
        return [ImportCell(row=row.number, problem=document)]
    was = {each.place: each.was for each in state.edits}
    return [
        ImportCell(
            row=row.number,
            column=None if index is None else row.columns[index].name,
            was=was.get(index) or None if index is not None else None,
            becomes=row.cells[index] or None
            if index is not None and index < len(row.cells)
            else None,
            problem=Problem(problem.kind, error["detail"], errors=[error]).document("/v1/import"),
        )
        for index, error in zip(indices, problem.errors, strict=True)
    ]


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


class Kept(NamedTuple):
    """How many results a run has kept: the sizes of its files, and the number of refusals."""

    results: int
    put_off: int
    refusals: int


def kept(run: ImportRun) -> Kept:
    """Tell what a run has kept so far."""
    return Kept(run.results[-1].keep(), run.put_off.keep(), run.refusals)


def keep(run: ImportRun, done: Iterable[Done]) -> None:
    """Keep the results of lines; raise a problem if there is no space for them."""
    for each in done:
        shown = (list(each.cells),) if run.shows_cells else ()
        run.results[-1].add((each.counted_as, each.result, *shown))
        run.refusals += each.counted_as == "refused"
        if run.atomic and (each.forward or each.deleted):
            names = {n.path: n.name for n in each.named}
            references = [(r.path, r.to, r.id, names.get(r.path)) for r in each.forward]
            run.put_off.add((each.result, references, each.ill_formed, each.deleted))
    kept(run)


def forget(run: ImportRun, before: Kept) -> None:
    """Remove the results that were kept since, because their transaction failed."""
    run.results[-1].cut(before.results)
    run.put_off.cut(before.put_off)
    run.refusals = before.refusals


class Answer:
    """The answer to an import that has ended: a line for each result, and the totals.

    It is made while it is sent. So nothing has to be written after the last commit, for which there
    might be no space.
    """

    def __init__(self, run: ImportRun, *, committed: bool) -> None:
        """Take over the results of a run."""
        self._run = run
        self._committed = committed

    def chunks(self) -> Iterator[bytes]:
        """Give the answer in pieces."""
        piece = bytearray()
        for line in self._lines():
            piece += encoded(line) + b"\n"
            if len(piece) >= CHUNK:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)

    def totals(self) -> ImportTotals:
        """Count the results, holding one at a time."""
        [totals] = deque(self._lines(), maxlen=1)
        assert isinstance(totals, ImportTotals)  # noqa: S101 - for the type checker
        return totals

    def _lines(self) -> Iterator[dict[str, Any] | ImportTotals]:
        run, counts = self._run, ImportCounts()
        for counted_as, result, *shown in _in_line_order(run):
            counts.lines += 1
            told = shown[0] if run.shows_cells else [result]
            if run.refused and counted_as != "refused":
                counted_as = "not_applied"  # noqa: PLW2901
                replaced = _not_applied() if not run.shows_cells else _problem_of_not_applied()
                told = [each | replaced for each in told]
            setattr(counts, counted_as, getattr(counts, counted_as) + 1)
            for each in told:
                if each["problem"] is not None:
                    each["problem"]["request_id"] = run.sender.request_id
                yield each
        yield ImportTotals(
            totals=counts, atomic=run.atomic, dry_run=run.dry_run, committed=self._committed
        )

    def close(self) -> None:
        """Remove the run's files."""
        self._run.close()


def _in_line_order(run: ImportRun) -> Iterator[list[Any]]:
    """Merge the files of results by line; a late result replaces the first one of its line."""
    last = 0
    spools = (*run.late_results, *run.results)
    for kept_result in heapq.merge(*spools, key=lambda each: each[1]["line"]):
        if kept_result[1]["line"] != last:
            last = kept_result[1]["line"]
            yield kept_result


def _not_applied() -> dict[str, Any]:
    """Give what replaces the result of a good line if its atomic run is refused."""
    status = int(NOT_APPLIED.status)
    return {"status": status, "version": None, "changed": False, **_problem_of_not_applied()}


def _problem_of_not_applied() -> dict[str, Any]:
    return {"problem": Problem(NOT_APPLIED).document("/v1/import")}
