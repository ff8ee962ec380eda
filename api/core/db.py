"""The connection pool: one for each process, every wait bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from api.core.errors import from_database, unavailable
from api.settings import Settings

Row = asyncpg.Record

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.pool.PoolConnectionProxy

DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    # The server shut down between two statements (asyncpg 0.32: "cannot switch to state").
    asyncpg.InternalClientError,
)
"""The errors of a database that refuses a statement, or that is away."""
_GRACE_SECONDS: Final = 2
"""How much longer an answer may take than the statement timeout of Postgres."""
_SERVER_WENT_READ_ONLY = (asyncpg.ReadOnlySQLTransactionError, asyncpg.OperatorInterventionError)


class _Connection(asyncpg.Connection):
    """A connection that is released without a round trip.

    asyncpg resets the session on release. This service changes settings only in transactions.
    """

    def get_reset_query(self) -> str:
        """Ask for no reset."""
        return ""


class Use(NamedTuple):
    """How busy a pool is."""

    in_use: int
    idle: int
    size: int  # the most that there may be
    waiting: int  # how many wait for a connection


class Database:
    """The connections of this process to Postgres."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Remember where Postgres is; :meth:`open` connects."""
        self._url = url
        self.settings = settings
        self._pool: Pool | None = None
        self._waiting = 0

    async def open(self) -> None:
        """Connect, with every timeout set for the session's whole life."""
        settings = self.settings
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,  # the service starts, and says 503, while the database is away
            max_size=settings.pool_size,
            connection_class=_Connection,
            statement_cache_size=settings.statement_cache_size,
            max_inactive_connection_lifetime=60,
            timeout=settings.acquire_seconds,
            # Postgres ends statements itself; this is for a server that does not answer any more.
            command_timeout=settings.import_statement_seconds + _GRACE_SECONDS,
            server_settings=_session(settings, settings.statement_seconds),
        )

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """Connect outside of the pool, without a statement timeout, for work in the background."""
        return await asyncpg.connect(
            self._url,
            timeout=self.settings.acquire_seconds,
            statement_cache_size=self.settings.statement_cache_size,
            server_settings=_session(self.settings, 0),
        )

    async def close(self) -> None:
        """Let running statements finish, then disconnect."""
        if self._pool is not None:
            await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; errors of Postgres become problems."""
        if self._pool is None:
            raise unavailable("The service is starting.")
        try:
            connection = await self._acquire(self._pool)
            try:
                yield connection
            finally:
                await self._pool.release(connection)
        except DATABASE_ERRORS as error:
            if isinstance(error, _SERVER_WENT_READ_ONLY):
                await self._pool.expire_connections()
            problem = from_database(error)
            if problem is None:
                raise
            raise problem from error

    async def _acquire(self, pool: Pool) -> Connection:
        self._waiting += 1
        try:
            return await pool.acquire(timeout=self.settings.acquire_seconds)
        finally:
            self._waiting -= 1

    def use(self) -> Use:
        """Tell how busy the pool is."""
        if self._pool is None:
            return Use(0, 0, self.settings.pool_size, 0)
        idle = self._pool.get_idle_size()
        return Use(self._pool.get_size() - idle, idle, self._pool.get_max_size(), self._waiting)

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:  # noqa: ANN401
        """Run a statement, and give its first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments, timeout=self._patience())

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401
        """Run a statement, and give its rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments, timeout=self._patience())

    def _patience(self) -> float:
        return self.settings.statement_seconds + _GRACE_SECONDS


def _session(settings: Settings, statement_seconds: float) -> dict[str, str]:
    """Give the settings of a session for its whole life; 0 seconds mean no limit."""
    return {
        "application_name": "claim-records",
        "jit": "off",
        "timezone": "UTC",
        # A statement that waited for a row or a lock goes on with what the other one committed.
        "default_transaction_isolation": "read committed",
        "statement_timeout": _milliseconds(statement_seconds),
        "lock_timeout": _milliseconds(settings.lock_seconds),
        "idle_in_transaction_session_timeout": "10000",
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
