"""Silence: find out whether Postgres still works on a statement that may take long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_TRIES: Final = 2
"""How often Postgres is asked before it counts as silent, because it may only be busy."""
_ANSWER_SECONDS: Final = 2.0
_SILENT: Final = (
    OSError,  # a TimeoutError is one
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# Postgres tells the state of a session only to the role of that session, and a pooler gives ids of
# its own. Where the state is not told, the answer says only that Postgres can be reached.
_WAITS_FOR_US: Final = """
    SELECT true FROM pg_stat_activity
    WHERE pid = $1 AND state <> 'active'
        AND clock_timestamp() - state_change > make_interval(secs => $2)"""


async def works_on(connect: Callable[[], Awaitable[Connection]], pid: int, seconds: float) -> bool:
    """Tell whether Postgres may still work on the statement that a session sent `seconds` ago.

    It does not if it gives no answer over a new connection, or if the session `pid` has done
    nothing for that long: then its answer has got lost, or the statement has.
    """
    for _ in range(_TRIES):
        with suppress(*_SILENT):
            return await _ask(connect, pid, seconds)
    return False


async def _ask(connect: Callable[[], Awaitable[Connection]], pid: int, seconds: float) -> bool:
    try:
        connection = await connect()
    except asyncpg.PostgresError:
        return True  # a refusal is an answer, too
    try:
        waits = await connection.fetchval(_WAITS_FOR_US, pid, seconds, timeout=_ANSWER_SECONDS)
    finally:
        await connection.close()
    return waits is None
