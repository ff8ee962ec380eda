"""Work in the background: it runs as long as the service, and is tried again when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from api.core.db import DATABASE_ERRORS
from api.core.errors import Problem

log = logging.getLogger("claim_records")

_END_TIMES: Final = 10
_END_SECONDS: Final = 3.0
"""A task that is cancelled has so long to clean up before it is cancelled once more."""


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work while the block runs; if a bug ends the work, log that at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_end)
    try:
        yield
    finally:
        await end([task])
        if task.done():
            with suppress(asyncio.CancelledError):
                task.result()


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    A cancellation can be lost: an error takes its place while the work cleans up, such as that of a
    ROLLBACK, and the work is tried again as after any failure; or `asyncio.wait_for`, before Python
    3.12, gives a result that comes at the same moment. Whoever waited for the end of work that
    never ends by itself would wait forever.
    """
    for _ in range(_END_TIMES):
        running = [task for task in tasks if not task.done()]
        if not running:
            return
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_END_SECONDS)
    log.error("work goes on in the background though it was cancelled %d times", _END_TIMES)


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
