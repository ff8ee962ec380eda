"""Import the reviews of a document: each for itself, or all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, nullcontext
from typing import Final

from api.core.db import Database
from api.core.errors import STORAGE_FULL, UNAVAILABLE, Problem, invalid_record
from api.core.large_input import read_ahead, work_on
from api.core.request import Author, encoded
from api.sync.importing.results import Answer
from api.sync.importing.reviews.documents import Document, read_document
from api.sync.importing.reviews.mapping import Review, map_review
from api.sync.importing.reviews.planning import NumberedReview
from api.sync.importing.reviews.writing import write_reviews
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun, Sender
from api.sync.importing.stopping import ending_early

MAX_TOGETHER: Final = 64
"""How many reviews are written together."""
MAX_TOGETHER_BYTES: Final = 1_048_576
"""How large they are together, unless one is larger; the next ones are read beside them."""
_READ_AT_ONCE: Final = 8
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
) -> Answer:
    """Write the reviews of a document, and give the answer."""
    document = await work_on(len(body), read_document, body)
    run = ImportRun(database, author, atomic, dry_run, sender)
    with ending_early(run, _stopped):
        run.results.append(Spool())
        return Answer(run, committed=await _write(run, document))


async def _write(run: ImportRun, document: Document) -> bool:
    """Write reviews, some in each transaction, or all in one; tell whether they were kept."""
    if not run.in_one_transaction:
        await _write_each(run, document)
        return True

    async def write_all() -> bool:
        await _write_each(run, document)
        await run.find_revocation()
        run.refused = run.atomic and run.refusals > 0
        return not run.refused and not run.dry_run

    return await run.hold_together(write_all)


async def _write_each(run: ImportRun, document: Document) -> None:
    """Write some reviews after the others. While some are written, the next ones are read."""
    async with aclosing(read_ahead(_gather(document))) as gathered:
        async for reviews in gathered:
            async with nullcontext() if run.in_one_transaction else run.connected():
                await write_reviews(run, reviews)
            run.applied = reviews[-1].number


def _gather(document: Document) -> Iterator[list[NumberedReview] | None]:
    """Gather reviews that are written together.

    A null comes now and then, so that the thread is free for other work before it reads on.
    """
    reviews: list[NumberedReview] = []
    size = 0
    for number, found in enumerate(document.reviews, 1):
        review = map_review(found, document.shared)
        if isinstance(review, Review):
            reviews.append(NumberedReview(number, review))
            size += len(encoded(review))
        else:
            reviews.append(NumberedReview(number, invalid_record(review)))
        full = len(reviews) >= MAX_TOGETHER or size >= MAX_TOGETHER_BYTES
        if full or number == len(document.reviews):
            yield reviews
            reviews, size = [], 0
        elif number % _READ_AT_ONCE == 0:
            yield None


def _stopped(run: ImportRun, problem: Problem) -> Problem:
    """Say how far an import came that could not go on."""
    if problem.kind not in (STORAGE_FULL, UNAVAILABLE):
        return problem
    written = run.applied and not run.in_one_transaction
    far = f"The reviews up to number {run.applied} were written." if written else ""
    detail = " ".join(filter(None, (problem.detail, far, _AGAIN)))
    return Problem(problem.kind, detail, headers=problem.headers)
