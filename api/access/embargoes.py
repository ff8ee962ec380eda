"""The end of embargoes: an event by itself, which the first process to notice writes down.

A record's class is what it was at its last write. So when an embargo ends, the record is written
once more, as it is: that gives it a version, a revision that changes nothing of its content, and
its place in the outbox, and from then on it is there for everybody.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from schemas.vocabularies import RecordType

EVERY_SECONDS: Final = 1.0
EMBARGOED: Final = (RecordType.ARTICLE, RecordType.CLAIM, RecordType.DENIAL)
"""The types of records that can be under embargo."""

log = logging.getLogger("claim_records")

# Records on which another process is at work are left to it. The trigger derives the class anew.
_LIFT: Final = {
    of: f"""
        WITH due AS (
            SELECT id FROM {of}s
            WHERE lifts_at <= clock_timestamp()
            ORDER BY lifts_at
            LIMIT 500
            FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE {of}s AS t SET actor = NULL FROM due WHERE t.id = due.id
        RETURNING t.id"""  # noqa: S608 - a name of ours
    for of in EMBARGOED
}


async def lift(database: Database) -> int:
    """Write down that embargoes have ended; gives for how many records, at most 500 of a type."""
    async with database.connection() as connection:
        lifted = [await connection.fetch(statement) for statement in _LIFT.values()]
    return sum(map(len, lifted))


def lifting(database: Database) -> AbstractAsyncContextManager[None]:
    """Lift embargoes in the background, as they end."""
    work = again_and_again(EVERY_SECONDS, lambda: lift(database), "embargoes wait to be lifted")
    return meanwhile(work)
