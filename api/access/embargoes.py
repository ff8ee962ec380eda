"""The end of embargoes: an event by itself, which the first process to notice writes down.

A record's class is what it was at its last write. So when an embargo ends, the record is written
once more, as it is: that gives it a version, a revision that changes nothing of its content, and
its place in the outbox, and from then on it is there for everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from api.core.resource import Resource

EVERY_SECONDS: Final = 1.0
log = logging.getLogger("claim_records")

# Records on which another process is at work are left to it. The trigger derives the class anew.
_LIFT: Final = """
    WITH due AS (
        SELECT id FROM {table}
        WHERE lifts_at <= clock_timestamp()
        ORDER BY lifts_at
        LIMIT 500
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE {table} AS t SET actor = NULL FROM due WHERE t.id = due.id
    RETURNING t.id"""


async def lift(database: Database, resources: Iterable[Resource]) -> int:
    """Write down that embargoes have ended; gives for how many records, at most 500 of a type."""
    embargoed = [each.table for each in resources if _has_embargoes(each)]
    async with database.connection() as connection:
        lifted = [await connection.fetch(table.compose(_LIFT)) for table in embargoed]
    return sum(map(len, lifted))


def _has_embargoes(resource: Resource) -> bool:
    return "embargoed_until" in resource.create.__struct_fields__


def lifting(database: Database, resources: Iterable[Resource]) -> AbstractAsyncContextManager[None]:
    """Lift the embargoes of these types of records in the background, as they end."""
    types = tuple(resources)
    work = again_and_again(
        EVERY_SECONDS, lambda: lift(database, types), "embargoes wait to be lifted"
    )
    return meanwhile(work)
