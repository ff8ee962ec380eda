"""Work in the background: it runs as long as the service, and is tried again when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from api.core.db import DATABASE_ERRORS
from api.core.errors import Problem

log = logging.getLogger("claim_records")


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work while the block runs; if a bug ends the work, log that at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_end)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("work in the background has ended", exc_info=error)


async def again_and_again(
    every_seconds: float, work: Callable[[], Awaitable[object]], message: str
) -> None:
    """Do some work every so many seconds, until cancelled.

    The database may be away, busy or not migrated yet. Such a failure is logged with the message,
    which says what waits, and the work is tried again.
    """
    failures = FailureLog(message)
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await work()
        except (Problem, *DATABASE_ERRORS) as error:
            failures.record(error)
        else:
            failures.clear()


class FailureLog:
    """Logs the first of several failures in a row, so that a loop does not fill the log."""

    def __init__(self, message: str) -> None:
        """Start without a failure; `message` says what does not work."""
        self._message = message
        self.failing = False

    def record(self, error: Exception) -> None:
        """Log a failure, unless the last attempt failed too."""
        if not self.failing:
            log.warning(self._message, exc_info=error)
        self.failing = True

    def clear(self) -> None:
        """Remember that the last attempt succeeded."""
        self.failing = False
