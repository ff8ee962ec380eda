"""Start the embedded Postgres again when it has ended by itself."""

import errno
import shutil
import time
from collections.abc import Callable
from typing import Final

from api.embedded.errors import EmbeddedPostgresError
from api.embedded.launcher import EmbeddedPostgres

MAX_FAILED_STARTS: Final = 5
FIRST_PAUSE: Final = 0.1  # seconds before a start; doubled with each start
MAX_PAUSE: Final = 5.0
# While the disk is full: freed space must be noticed soon.
MAX_PAUSE_FULL: Final = 1.0
# A server that has run for this many seconds is taken to be well.
WELL_AFTER: Final = 60
# Bytes without which Postgres can't recover: two segments of the write-ahead log.
NEEDED_SPACE: Final = 32 * 1024**2
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("No space left on device", "Disk quota exceeded")


class Supervisor:
    """Watches a server that was started; its owner calls :meth:`check` every tenth of a second.

    No call waits, so the loop that serves may make them. They must come from the main thread:
    Linux stops Postgres when the thread that started it ends.
    """

    def __init__(self, server: EmbeddedPostgres, report: Callable[[str], None]) -> None:
        """Watch a running server; `report` is called with sentences for the log."""
        self._server = server
        self._report = report
        self._starting = False
        self._due: float | None = None  # when to start it; None while it runs
        self._ended_at = 0.0
        self._ready_at = time.monotonic()
        self._pause = FIRST_PAUSE
        self._failed_starts = 0

    def check(self) -> None:
        """Start the server if it has ended and its time has come; raise if that is in vain."""
        now = time.monotonic()
        if self._starting:
            self._follow_start(now)
        elif self._due is None:
            self._follow_run(now)
        elif now >= self._due and not self._server.has_survivors():
            self._start(now)

    def _follow_run(self, now: float) -> None:
        if not self._server.has_ended():
            self._server.hasten_shutdown()
            return
        if now - self._ready_at > WELL_AFTER:
            self._pause = FIRST_PAUSE
        self._ended_at = now
        self._report("The embedded Postgres has ended; starting it again")
        self._plan(now, MAX_PAUSE_FULL if self._disk_is_full() else MAX_PAUSE)

    def _start(self, now: float) -> None:
        try:
            self._server.start_again()
        except OSError as error:
            self._count_failure(now, str(error), full=error.errno in _FULL)
        else:
            self._starting = True

    def _follow_start(self, now: float) -> None:
        if self._server.is_ready():
            self._starting, self._due, self._ready_at = False, None, now
            self._failed_starts = 0
            self._report(f"The embedded Postgres runs again, after {now - self._ended_at:.1f} s")
        elif self._server.has_ended():
            self._starting = False
            said = self._server.last_words()
            self._count_failure(now, said, full=any(words in said for words in _FULL_WORDS))

    def _count_failure(self, now: float, reason: str, *, full: bool) -> None:
        """Plan the next start; a full disk is waited for, and other reasons five times."""
        full = full or self._disk_is_full()
        self._failed_starts = 0 if full else self._failed_starts + 1
        if self._failed_starts == MAX_FAILED_STARTS:
            raise EmbeddedPostgresError(
                f"Postgres ended and did not start again in {MAX_FAILED_STARTS} attempts. "
                f"The end of its log, {self._server.log}:\n{reason}"
            )
        self._report(f"Postgres did not start again{', as its disk is full' * full}: {reason}")
        self._plan(now, MAX_PAUSE_FULL if full else MAX_PAUSE)

    def _plan(self, now: float, longest: float) -> None:
        pause = min(self._pause, longest)
        self._due = now + pause
        self._pause = pause * 2

    def _disk_is_full(self) -> bool:
        cluster = self._server.log.parent
        try:
            places = (cluster, cluster / "pg_wal")
            return any(shutil.disk_usage(place).free < NEEDED_SPACE for place in places)
        except OSError:
            return False
