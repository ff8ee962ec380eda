"""The connection pool: one for each process, every wait bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

import asyncpg

from api.core.connection import GRACE_SECONDS, Check, Host, LimitedConnection
from api.core.database_errors import from_database
from api.core.errors import unavailable
from api.core.hosts import hosts_of
from api.core.large_input import holding_connection
from api.core.silence import works_on
from api.core.turns import KEYLESS, Account, Turns, charged
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
_SERVER_WENT_READ_ONLY = (asyncpg.ReadOnlySQLTransactionError, asyncpg.OperatorInterventionError)


QUIET_SECONDS: Final = 1.0
"""After this time without any answer from Postgres, an idle connection is tried before it is used.

The feed asks Postgres four times a second, so that this happens only where something is wrong.
"""
_TRY_SECONDS: Final = 1.0
"""How long the answer to such a try may take."""


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
        self.hosts = hosts_of(url)
        self.settings = settings
        self._pool: Pool | None = None
        self._turns = turns_of(settings)
        self._waiting = 0
        self._connections: WeakSet[LimitedConnection] = WeakSet()  # also those outside of the pool
        self._answered = 0.0  # on the loop's clock
        self._generation = 0  # grows when the connections that exist are not trusted any more

    async def open(self) -> None:
        """Connect, with every timeout set for the session's whole life."""
        settings = self.settings
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,  # the service starts, and says 503, while the database is away
            max_size=settings.pool_size,
            connect=self._connect,  # type: ignore[call-overload]  # the stubs name every option
            connection_class=LimitedConnection,
            max_inactive_connection_lifetime=60,
            server_settings=_session(settings, settings.statement_seconds),
        )

    async def connect(self) -> LimitedConnection:
        """Connect outside of the pool, for work in the background.

        Postgres has no time limit for its statements. Ours is the one of all statements, where the
        work does not name another.
        """
        return await self._connect(server_settings=_session(self.settings, 0))

    async def _connect(self, *_: str, **options: Any) -> LimitedConnection:  # noqa: ANN401
        """Connect; try once more if the host is left while the connection is being made."""
        for _attempt in range(2):
            generation = self._generation
            connection = await self.hosts.connect(
                timeout=self.settings.acquire_seconds,
                statement_cache_size=self.settings.statement_cache_size,
                # Postgres ends statements itself; this is for a server that does not answer.
                command_timeout=self.settings.statement_seconds + GRACE_SECONDS,
                **options,
            )
            if generation == self._generation or connection.host in (None, self.hosts.first):
                return self._adopt(connection, generation)
            connection.terminate()  # :meth:`leave` did not know it yet
        raise ConnectionAbortedError("The hosts of the database were left while they answered.")

    def _adopt(self, connection: LimitedConnection, generation: int) -> LimitedConnection:
        """Remember a new connection, and listen to its successes and failures."""
        self._note_answer()
        self._connections.add(connection)
        connection.long_seconds = self.settings.import_statement_seconds
        connection.long_check = self._check
        connection.on_answer = self._note_answer
        connection.on_silence = lambda: self._distrust(generation)
        return connection

    def _note_answer(self) -> None:
        self._answered = asyncio.get_running_loop().time()

    async def _distrust(self, generation: int) -> None:
        """Replace all connections of a generation before they are used again.

        One of them has fallen silent, and the others lead to the same server.
        """
        if generation == self._generation and self._pool is not None:
            self._generation += 1
            await self._pool.expire_connections()

    async def leave(self, host: Host) -> None:
        """Cut all connections to a host, so that all work that waits for it fails at once."""
        for connection in [each for each in self._connections if each.host == host]:
            connection.terminate()
        await self.renew()

    async def renew(self) -> None:
        """Make all connections anew before they are used again."""
        await self._distrust(self._generation)

    async def close(self) -> None:
        """Let running statements finish, then disconnect."""
        if self._pool is not None:
            with suppress(TimeoutError):  # the pool then cuts its connections
                async with asyncio.timeout(self.settings.stop_seconds):
                    await self._pool.close()

    @asynccontextmanager
    async def connection(
        self,
        seconds: float | None = None,
        turn_seconds: float | None = None,
        *,
        searches: bool = False,
    ) -> AsyncIterator[Connection]:
        """Lend a connection; errors of Postgres become problems.

        `seconds` is the time limit of its statements, where Postgres was told another limit than
        the one of the settings. Then Postgres is asked now and then whether it still works on them.
        `turn_seconds` is how long the caller may have to wait for its turn, where that is not the
        time of the settings either. A caller has fewer turns for work that `searches`.
        """
        if self._pool is None:
            raise unavailable("The service is starting.")
        try:
            account = await self._wait_for_turn(
                turn_seconds or self.settings.acquire_seconds, searches=searches
            )
            try:
                connection = await self._acquire(self._pool)
                self._limit(connection, seconds)
                try:
                    with holding_connection():
                        yield connection
                except BaseException:
                    await self._pool.release(connection)
                    raise
                await _release(self._pool, connection)
            finally:
                if account is not None:
                    self._turns.give_back(account)
        except DATABASE_ERRORS as error:
            if isinstance(error, _SERVER_WENT_READ_ONLY):
                await self._pool.expire_connections()
            problem = from_database(error)
            if problem is None:
                raise
            raise problem from error

    def _limit(self, connection: Connection, seconds: float | None) -> None:
        # The proxy passes this on to the LimitedConnection behind it.
        limit = connection.limit  # type: ignore[attr-defined]
        if seconds is None:
            limit(None)
            return
        limit(seconds + GRACE_SECONDS, self._check)

    @property
    def _check(self) -> Check:
        every = self.settings.statement_seconds
        return Check(every, lambda pid: works_on(self.connect, pid, every))

    def notice_caller(self) -> None:
        """Note the caller of this task, for whom another task is going to take a connection."""
        self._turns.notice(charged())

    async def _wait_for_turn(self, seconds: float, *, searches: bool) -> Account | None:
        """Wait until the caller may take a connection; the service itself always may.

        Give the account whose turn has to be given back.
        """
        account = charged()
        if account is None:
            return None
        if searches:
            account = account._replace(searches=True)
        self._waiting += 1
        try:
            await self._turns.take(account, seconds)
        except TimeoutError:
            raise unavailable(
                "Too many requests without a key wait for the database. Send fewer at once, or "
                "send a key."
                if account.share == KEYLESS
                else "Too many of your requests wait for the database. Send fewer at once."
            ) from None
        finally:
            self._waiting -= 1
        return account

    async def _acquire(self, pool: Pool) -> Connection:
        """Take a connection of the pool."""
        self._waiting += 1
        try:
            connection = await pool.acquire(timeout=self.settings.acquire_seconds)
            if not await self._answers(pool, connection):
                connection = await pool.acquire(timeout=self.settings.acquire_seconds)
            return connection
        finally:
            self._waiting -= 1

    async def _answers(self, pool: Pool, connection: Connection) -> bool:
        """Try a connection if Postgres has been quiet; give it back if it is of no use."""
        if asyncio.get_running_loop().time() - self._answered < QUIET_SECONDS:
            return True
        try:
            await connection.execute("SELECT 1", timeout=_TRY_SECONDS)
        except BaseException as error:
            await pool.release(connection)
            if isinstance(error, DATABASE_ERRORS):
                return False
            raise
        return True

    def use(self) -> Use:
        """Tell how busy the pool is."""
        if self._pool is None:
            return Use(0, 0, self.settings.pool_size, 0)
        idle = self._pool.get_idle_size()
        return Use(self._pool.get_size() - idle, idle, self._pool.get_max_size(), self._waiting)

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:  # noqa: ANN401
        """Run a statement, and give its first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401
        """Run a statement, and give its rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)


async def _release(pool: Pool, connection: Connection) -> None:
    """Give a connection whose work has succeeded back to its pool.

    asyncpg 0.32 does so in a task of its own, so that a request that is cancelled meanwhile does
    not lose the connection. Without a transaction there is nothing to wait for
    (:meth:`LimitedConnection.reset`), so no task is needed.
    """
    held: Any = connection
    if held._con is None or held.is_closed() or held.is_in_transaction():  # noqa: SLF001
        await pool.release(connection)
        return
    held._con._on_release()  # noqa: SLF001 - as `pool.release` does
    await held._holder.release(None)  # noqa: SLF001


async def allow_long_statements(connection: Connection) -> None:
    """Give the statements of the transaction as much time as those of an import."""
    # The proxy passes this on to the LimitedConnection behind it.
    await connection.allow_long_statements()  # type: ignore[attr-defined]


def turns_of(settings: Settings) -> Turns:
    """Share out the connections of the pool.

    Readers leave a tenth of them to writers, and writers a tenth to the service itself, which looks
    up keys and checks its health. Half of a caller's connections can search at the same time. A
    quarter of them, but one at least, is left to callers without a key beside those with keys.
    """
    size = settings.pool_size
    kept = max(1, size // 10)
    per_share = settings.caller_connections or max(1, size // 2)
    return Turns(
        places=max(1, size - kept),
        for_readers=max(1, size - 2 * kept),
        per_share=per_share,
        for_searches=max(1, per_share // 2),
        beside_keys=max(1, per_share // 4),
    )


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
