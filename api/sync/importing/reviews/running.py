"""Import the reviews of a document: each for itself, or all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from typing import Final

from api.core.db import Database
from api.core.errors import NOT_APPLIED, STORAGE_FULL, UNAVAILABLE, Problem, invalid_record
from api.core.large_input import in_thread, work_on
from api.core.request import Author, encoded
from api.sync.importing.results import Done, numbered_refusal
from api.sync.importing.reviews.documents import Document, read_document
from api.sync.importing.reviews.mapping import Review, map_review
from api.sync.importing.reviews.writing import write_review
from api.sync.importing.state import ImportRun, Sender
from schemas.imports import ImportCounts, ImportTotals
from schemas.vocabularies import RecordType

_AGAIN: Final = (
    "You can send the document again: what was written of it is found again, and stays as it is."
)


async def import_reviews(
    database: Database,
    author: Author,
    body: bytes,
    *,
    atomic: bool = False,
    dry_run: bool = False,
    sender: Sender,
) -> bytes:
    """Write the reviews of a document, and give a line for each, then the totals."""
    document = await work_on(len(body), read_document, body)
    with closing(ImportRun(database, author, atomic, dry_run, sender)) as run:
        done = await _write(run, document)
    refused = atomic and any(each.counted_as == "refused" for each in done)
    if refused:
        done = [_not_applied(number, each) for number, each in enumerate(done, 1)]
    committed = not dry_run and not refused
    return await in_thread(_answer, run, done, committed=committed)


async def _write(run: ImportRun, document: Document) -> list[Done]:
    """Write one review after another, each in its own transaction, or all in one."""
    done: list[Done] = []

    async def write_all() -> bool:
        await _write_each(run, document, done)
        await run.find_revocation()
        return not run.dry_run and all(each.counted_as != "refused" for each in done)

    try:
        if run.in_one_transaction:
            await run.hold_together(write_all)
        else:
            await _write_each(run, document, done)
    except Problem as problem:
        raise _stopped(run, problem) from problem.__cause__
    return done


async def _write_each(run: ImportRun, document: Document, done: list[Done]) -> None:
    for number, found in enumerate(document.reviews, 1):
        # One at a time is in memory: many may name the same large objects by their ids.
        review = await in_thread(map_review, found, document.named, document.texts)
        if not isinstance(review, Review):
            problem = invalid_record(review)
            done.append(numbered_refusal(number, RecordType.CLAIM, None, problem))
            continue
        async with nullcontext() if run.in_one_transaction else run.connected():
            done.append(await write_review(run, number, review))
        run.applied = number


def _stopped(run: ImportRun, problem: Problem) -> Problem:
    """Say how far an import came that could not go on."""
    if problem.kind not in (STORAGE_FULL, UNAVAILABLE):
        return problem
    written = run.applied and not run.in_one_transaction
    far = f"The reviews up to number {run.applied} were written." if written else ""
    detail = " ".join(filter(None, (problem.detail, far, _AGAIN)))
    return Problem(problem.kind, detail, headers=problem.headers)


def _not_applied(number: int, done: Done) -> Done:
    """Give the result of a review that was undone because another one was refused."""
    if done.counted_as == "refused":
        return done
    refusal = numbered_refusal(number, done.result.type, None, Problem(NOT_APPLIED))
    return refusal._replace(counted_as="not_applied")


def _answer(run: ImportRun, done: Sequence[Done], *, committed: bool) -> bytes:
    """Write the results as lines, and the totals."""
    counts = ImportCounts(lines=len(done))
    lines = []
    for each in done:
        if each.result.problem is not None:
            each.result.problem["request_id"] = run.sender.request_id
        setattr(counts, each.counted_as, getattr(counts, each.counted_as) + 1)
        lines.append(encoded(each.result))
    totals = ImportTotals(
        totals=counts, atomic=run.atomic, dry_run=run.dry_run, committed=committed
    )
    return b"\n".join([*lines, encoded(totals), b""])
