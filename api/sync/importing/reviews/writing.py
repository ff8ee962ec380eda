"""Write many reviews together, but each with its sources and articles, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import msgspec

from api.core.errors import (
    NOT_UNIQUE,
    PRECONDITION_FAILED,
    UNKNOWN_REFERENCE,
    Problem,
    contended,
    pointer,
)
from api.core.large_input import in_thread, read_ahead
from api.sync.importing.applying import RETRIED, find_conflict, write_batch
from api.sync.importing.batches import gather_batches
from api.sync.importing.results import Done, forget, keep, kept, numbered_refusal
from api.sync.importing.reviews.known import find_known
from api.sync.importing.reviews.mapping import Review
from api.sync.importing.reviews.planning import NumberedReview, PlannedLine, make_plan
from api.sync.importing.state import ImportRun
from schemas.imports import ImportResult
from schemas.vocabularies import RecordType

_TRIES: Final = 3
_MAY_PASS: Final = {NOT_UNIQUE.name, PRECONDITION_FAILED.name, UNKNOWN_REFERENCE.name}
"""What a review is refused for that others may have caused at the same moment."""


class _Refused(Exception):  # noqa: N818 - it is no error
    """A line of a review is refused."""

    def __init__(self, done: Done, *, may_pass: bool) -> None:
        super().__init__()
        self.done, self.may_pass = done, may_pass


async def write_reviews(run: ImportRun, reviews: Sequence[NumberedReview]) -> None:
    """Write what reviews say, all of each or nothing of it, over the connection of a run.

    They are written in one transaction. If that fails, each half of them is, and so on, until the
    one review for which it fails is alone.
    """
    before = kept(run)
    done = _refused(reviews[0].number, contended())
    for _ in range(_TRIES):
        try:
            # The results are kept before the commit: what they tell must not get lost.
            async with run.connection.transaction():
                await run.prepare()
                keep(run, await _write(run, reviews))
            return  # noqa: TRY300 - only errors of the block are handled
        except _Refused as refused:
            forget(run, before)
            done = refused.done
            if not refused.may_pass:
                break
        except RETRIED as error:
            forget(run, before)
            done = _refused(reviews[0].number, find_conflict(error) or contended())
    if len(reviews) == 1:
        keep(run, [done])
        return
    middle = len(reviews) // 2
    await write_reviews(run, reviews[:middle])
    await write_reviews(run, reviews[middle:])


async def _write(run: ImportRun, reviews: Sequence[NumberedReview]) -> list[Done]:
    """Write reviews; raise the refusal that undoes what was written of them."""
    if (revoked := await run.find_revocation()) is not None:
        return [_refused(number, revoked) for number, _ in reviews]
    known = await find_known(run, [each for _, each in reviews if isinstance(each, Review)])
    plan = await in_thread(make_plan, run, reviews, known)
    done = plan.done | await _apply(run, plan.lines)
    return [done[number] for number, _ in reviews]


def _refused(number: int, problem: Problem) -> Done:
    return numbered_refusal(number, RecordType.CLAIM, None, problem)


async def _apply(run: ImportRun, lines: Sequence[PlannedLine]) -> dict[int, Done]:
    """Apply the lines of reviews; give the results of their claims by the numbers of the reviews.

    Raises the refusal of the first line that is refused.
    """
    done: dict[int, Done] = {}
    # References of these lines point backwards, also in an atomic run.
    inner = replace(run, atomic=False)
    numbered = ((place, each.line) for place, each in enumerate(lines, 1))
    async with aclosing(read_ahead(gather_batches(inner, numbered))) as batches:
        async for batch in batches:
            for each in await write_batch(inner, batch):
                line = lines[each.result.line - 1]
                if each.counted_as == "refused":
                    raise _refusal(each.result, line)
                # The line of its claim is the last of a review.
                result = msgspec.structs.replace(each.result, line=line.number)
                done[line.number] = Done(each.counted_as, result)
    if lines:
        await run.connection.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
    return done


def _refusal(result: ImportResult, line: PlannedLine) -> _Refused:
    """Refuse a review because of one of its lines, with the places of the document."""
    problem = result.problem or {}
    for error in problem["errors"]:
        if "pointer" in error:
            error["pointer"] = pointer(line.path)
    refused = msgspec.structs.replace(result, line=line.number, id=None)
    return _Refused(Done("refused", refused), may_pass=problem["code"] in _MAY_PASS)
