"""Say how far an import came before it had to stop, and which lines may have been applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from api.core.errors import STORAGE_FULL, UNAVAILABLE, Problem
from api.sync.importing.state import ImportRun

_AGAIN: Final = (
    "You can send the file again: lines that name their record by `id` or `external_id`, or that "
    "are sent with the same `Idempotency-Key`, are not written twice."
)
_UNANSWERED: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


@contextmanager
def ending_early(
    run: ImportRun, explain: Callable[[ImportRun, Problem], Problem]
) -> Iterator[None]:
    """If a run ends without an answer, remove its files, and explain its problem."""
    try:
        yield
    except Problem as problem:
        run.close()
        raise explain(run, problem) from problem.__cause__
    except BaseException:
        run.close()
        raise


def stopped(run: ImportRun, problem: Problem) -> Problem:
    """Add how far a run came to the problem that ended it, if that is one of the service."""
    if problem.kind not in (STORAGE_FULL, UNAVAILABLE):
        return problem
    cause = problem.__cause__
    # That a statement changed nothing is not so of the import.
    late = isinstance(cause, asyncpg.QueryCanceledError)
    reason = "The database took too long." if late else problem.detail
    unknown = run.committing and _may_have_committed(cause)
    far = _how_far(run, run.reached if unknown else run.applied)
    return Problem(problem.kind, f"{reason} {far} {_AGAIN}", headers=problem.headers)


def _may_have_committed(cause: BaseException | None) -> bool:
    """Tell whether a transaction may be committed whose COMMIT has ended with an error."""
    return not isinstance(cause, asyncpg.PostgresError) or isinstance(cause, _UNANSWERED)


def _how_far(run: ImportRun, last: int) -> str:
    """Tell which lines were applied, if the last that may have been is the line `last`."""
    if not last:
        return "No line was applied."
    if run.in_one_transaction:
        return "It is unknown whether the lines were applied: all were, or none."
    known = f"The lines up to {run.applied} were applied"
    if last == run.applied:
        return f"{known}, and no line after that."
    unknown = (
        f"It is unknown whether the lines up to {last} were applied; no line after that was "
        "applied."
    )
    return f"{known}. {unknown}" if run.applied else unknown
