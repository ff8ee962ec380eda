"""The two clocks: this machine's, and that of Postgres, which can be another machine.

An embargo, for example, ends when both clocks say so. So one wrong clock publishes
nothing too early and deletes nothing too early. The log and the metrics say when the clocks differ.
"""

from __future__ import annotations

import datetime as dt
import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from api.core.errors import unavailable

MAX_DIFFERENCE_SECONDS: Final = 5.0
"""How much the clocks may differ before it is logged."""
EVERY_SECONDS: Final = 10.0

log = logging.getLogger("claim_records")


def utc_now() -> dt.datetime:
    """Read this machine's clock."""
    return dt.datetime.now(dt.UTC)


async def difference(database: Database) -> float:
    """Give by how many seconds Postgres' clock is ahead of this machine's; below 0, it is behind.

    0 if the difference is too small to be told from the time that the question takes.
    """
    before = utc_now()
    row = await database.fetchrow("SELECT clock_timestamp() AS at")
    after = utc_now()
    if row is None:
        raise unavailable("The database does not tell the time.")
    at: dt.datetime = row["at"]
    return (at - min(max(at, before), after)).total_seconds()


class ClockWatch:
    """Logs when the two clocks begin to differ, and when they agree again."""

    def __init__(self, database: Database) -> None:
        """Start without having looked; :meth:`watching` looks in the background."""
        self._database = database
        self._differ = False

    async def look(self) -> None:
        """Compare the clocks once."""
        seconds = await difference(self._database)
        differ = abs(seconds) > MAX_DIFFERENCE_SECONDS
        if differ and not self._differ:
            log.warning(
                "Postgres' clock is %.0f s %s this machine's; an embargo ends when both clocks say "
                "so. Set the clock that is wrong.",
                abs(seconds),
                "ahead of" if seconds > 0 else "behind",
            )
        elif self._differ and not differ:
            log.info("Postgres' clock and this machine's agree again")
        self._differ = differ

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Compare the clocks in the background."""
        return meanwhile(
            again_and_again(EVERY_SECONDS, self.look, "the clock of Postgres can't be read")
        )
