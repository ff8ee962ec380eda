"""The end of embargoes: publish records when their embargo is over.

The visibility class of a record is derived when it is written. So when an embargo ends, the record
is written once more, without a change. That gives it a new version, a revision with the same
content and an event in the change feed, and from then on everybody can see it. The first process
that notices the end of an embargo does it.

An embargo has ended when both clocks say so, that of Postgres and that of this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

import asyncpg

from api.core import clocks
from api.core.background import again_and_again, meanwhile
from api.core.db import Connection, Database, allow_long_statements
from api.core.resource import Resource
from api.core.sql import Query, compose, render

EVERY_SECONDS: Final = 1.0
log = logging.getLogger("claim_records")

# How late it is by both clocks: a trigger keeps records hidden whose embargo ends later (migration
# 0011). The time is stored when an embargo has ended, and otherwise once a minute, so that little
# is written. It can go back, if the clock of another process was ahead of this one's.
_NOTE: Final = """
    UPDATE embargo_clock AS c SET at = n.at
    FROM (SELECT least(clock_timestamp(), :now::timestamptz) AS at) AS n
    WHERE c.at NOT BETWEEN n.at - interval '1 minute' AND n.at + interval '5 s'
        OR c.at < n.at AND ({due})"""
# The first of them is looked up in the index. If no embargo is set, Postgres has no statistics of
# the column: it would expect a third of all records to match, and would read them all.
_DUE: Final = "(SELECT min(lifts_at) FROM {table}) <= n.at"
# Records that another process is working on are left to it. A trigger derives the new class.
_LIFT: Final = """
    WITH n AS MATERIALIZED (
        SELECT least(at, clock_timestamp(), :now::timestamptz) AS at FROM embargo_clock
    ), due AS (
        SELECT id FROM {table}
        WHERE (SELECT {due} FROM n) AND lifts_at <= (SELECT at FROM n)
        ORDER BY lifts_at
        LIMIT 500
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE {table} AS t SET ({actor_columns}) = ROW({actor}) FROM due WHERE t.id = due.id
    RETURNING t.id""".replace("{due}", _DUE)


async def lift(database: Database, resources: Iterable[Resource]) -> int:
    """Publish at most 500 records of each type whose embargo has ended; give how many.

    The claims and denials that appear in articles are published with these. If this exceeds the
    time limit of a statement, it is done again with the time limit of an import.
    """
    tables = [each.table for each in resources if _has_embargoes(each)]
    note = compose(_NOTE, due=" OR ".join(table.compose(_DUE) for table in tables))
    statements = [table.compose(_LIFT) for table in tables]
    now = clocks.utc_now()
    async with database.connection() as connection:
        await connection.execute(*render(note, now=now))
        lifted = 0
        for statement in statements:
            query = render(statement, actor=None, now=now)
            try:
                lifted += len(await connection.fetch(*query))
            except asyncpg.QueryCanceledError:
                lifted += await _lift_slowly(connection, query)
    return lifted


async def _lift_slowly(connection: Connection, query: Query) -> int:
    async with connection.transaction():
        await allow_long_statements(connection)
        return len(await connection.fetch(*query))


def _has_embargoes(resource: Resource) -> bool:
    return "embargoed_until" in resource.create.__struct_fields__


def lifting(database: Database, resources: Iterable[Resource]) -> AbstractAsyncContextManager[None]:
    """Publish records of these types in the background, as their embargoes end."""
    types = tuple(resources)
    work = again_and_again(
        EVERY_SECONDS, lambda: lift(database, types), "embargoes wait to be lifted"
    )
    return meanwhile(work)
