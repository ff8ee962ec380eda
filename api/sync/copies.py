"""Where a mirror keeps its copy: in a Postgres, or in an SQLite file.

The cursor stands beside the records and changes in the same transactions, so each change is applied
exactly once, wherever the process is killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import asyncpg

_FAILED: Final = 1
_DATABASE: Final = 3
PATIENCE: Final = 2.0
"""How many seconds one who was killed may take to let go of the copy."""
_PAUSE: Final = 0.05


class MirrorError(Exception):
    """The mirror cannot go on; says why in a sentence, and with which exit code."""

    def __init__(self, message: str, code: int = _FAILED) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code


class Phase(StrEnum):
    """What a mirror is at."""

    COPYING = "copying"
    FOLLOWING = "following"


class State(NamedTuple):
    """How far a copy is; stored with it."""

    source: str
    types: str  # of the records, with commas; "" for all
    reader: str  # whose key it is for, by its public id; "" without a key
    cursor: str
    generation: int  # which export: rows of an older one are not in the source any more
    phase: Phase


class Row(NamedTuple):
    """A record as it is to be kept; to be dropped, if `doc` is null."""

    type: str
    id: str
    version: int
    doc: str | None


class Copy(Protocol):
    """A copy that nobody else writes to. Each call is one transaction."""

    async def state(self) -> State | None:
        """Read how far the copy is; null for a new one."""

    async def begin(self, state: State) -> None:
        """Begin with an export."""

    async def keep(self, rows: Sequence[Row], generation: int) -> None:
        """Keep records of an export."""

    async def finish(self, state: State) -> None:
        """Drop what is of an older generation, and follow from now on."""

    async def apply(self, rows: Sequence[Row], state: State) -> None:
        """Apply changes, and store the cursor behind them."""


_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS mirror_records (
        type text NOT NULL,
        id text NOT NULL,
        version bigint NOT NULL,
        doc text NOT NULL,
        generation bigint NOT NULL,
        PRIMARY KEY (type, id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS mirror_state (
        one integer PRIMARY KEY CHECK (one = 1),
        source text NOT NULL,
        types text NOT NULL,
        reader text NOT NULL,
        cursor text NOT NULL,
        generation bigint NOT NULL,
        phase text NOT NULL
    )
    """,
)
_STATE: Final = "SELECT source, types, reader, cursor, generation, phase FROM mirror_state"
_STORE: Final = """
    INSERT INTO mirror_state (one, source, types, reader, cursor, generation, phase)
    VALUES (1, $1, $2, $3, $4, $5, $6)
    ON CONFLICT (one) DO UPDATE
    SET source = excluded.source, types = excluded.types, reader = excluded.reader,
        cursor = excluded.cursor, generation = excluded.generation, phase = excluded.phase"""
# Of an older generation a higher version counts for nothing: the source may have been restored.
_KEEP: Final = """
    INSERT INTO mirror_records AS r (type, id, version, doc, generation)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (type, id) DO UPDATE
    SET version = excluded.version, doc = excluded.doc, generation = excluded.generation
    WHERE r.generation < excluded.generation OR r.version < excluded.version"""
_DROP: Final = "DELETE FROM mirror_records WHERE type = $1 AND id = $2 AND version <= $3"
_SWEEP: Final = "DELETE FROM mirror_records WHERE generation < $1"


def _state(row: Sequence[Any] | None) -> State | None:
    if row is None:
        return None
    source, types, reader, cursor, generation, phase = row
    return State(source, types, reader, cursor, generation, Phase(phase))


def _last(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Leave of each record's changes the last one; tell what to keep from what to drop."""
    last = {(row.type, row.id): row for row in rows}
    kept = [row for row in last.values() if row.doc is not None]
    return kept, [row for row in last.values() if row.doc is None]


@asynccontextmanager
async def opened(target: str) -> AsyncIterator[Copy]:
    """Open a copy by its Postgres URL or its path, for nobody else to write to."""
    if re.match(r"postgres(ql)?://", target):
        with _told(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            async with _in_postgres(target) as copy:
                yield copy
        return
    if "://" in target:
        raise MirrorError("A copy goes to postgresql://… or into a file.", 2)
    with _told(sqlite3.Error, OSError):
        async with _in_file(Path(target)) as copy:
            yield copy


@contextmanager
def _told(*errors: type[Exception]) -> Iterator[None]:
    """Say in a sentence that the copy is out of reach."""
    try:
        yield
    except errors as error:
        kind = type(error).__name__
        raise MirrorError(f"The copy cannot be written: {kind}: {error}", _DATABASE) from error


async def _hold(locked: Callable[[], Awaitable[bool]], what: str) -> None:
    """Take the lock on a copy; refuse to write to one that another holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await locked():
        if asyncio.get_running_loop().time() > deadline:
            raise MirrorError(f"Another mirror writes to {what}; stop that one first.")
        await asyncio.sleep(_PAUSE)


# --- Postgres ------------------------------------------------------------------------------------

_MAKING: Final = 0x6D6972726F72  # so that two who make the tables at once do so one by one
_LOCK: Final = "SELECT pg_try_advisory_lock(1835627378, 'mirror_state'::regclass::oid::integer)"


@asynccontextmanager
async def _in_postgres(url: str) -> AsyncIterator[Copy]:
    connection = await asyncpg.connect(
        url, timeout=30, server_settings={"application_name": "claim-records mirror"}
    )
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
            for statement in _TABLES:
                await connection.execute(statement)

        async def locked() -> bool:
            return bool(await connection.fetchval(_LOCK))

        await _hold(locked, "this database")
        yield PostgresCopy(connection)
    finally:
        await connection.close()


class PostgresCopy:
    """A copy in a Postgres; the session holds a lock on it."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Take a connection that holds the lock."""
        self._connection = connection

    async def state(self) -> State | None:
        """Read how far the copy is."""
        row = await self._connection.fetchrow(_STATE)
        return _state(None if row is None else tuple(row))

    async def begin(self, state: State) -> None:
        """Begin with an export."""
        await self._connection.execute(_STORE, *state)

    async def keep(self, rows: Sequence[Row], generation: int) -> None:
        """Keep records of an export."""
        async with self._connection.transaction():
            await self._connection.executemany(_KEEP, [(*row, generation) for row in rows])

    async def finish(self, state: State) -> None:
        """Drop what is of an older generation, and follow from now on."""
        async with self._connection.transaction():
            await self._connection.execute(_SWEEP, state.generation)
            await self._connection.execute(_STORE, *state)

    async def apply(self, rows: Sequence[Row], state: State) -> None:
        """Apply changes, and store the cursor behind them."""
        kept, dropped = _last(rows)
        async with self._connection.transaction():
            await self._connection.executemany(_KEEP, [(*row, state.generation) for row in kept])
            await self._connection.executemany(_DROP, [row[:3] for row in dropped])
            await self._connection.execute(_STORE, *state)


# --- SQLite --------------------------------------------------------------------------------------


@asynccontextmanager
async def _in_file(path: Path) -> AsyncIterator[Copy]:
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _hold(lambda: _flocked(lock), str(path))
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            # Others read while it is written. A power failure may take the last transactions,
            # whole ones: they are then applied again, from the cursor that is left.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            for statement in _TABLES:
                connection.execute(statement)
            yield FileCopy(connection)
        finally:
            connection.close()
    finally:
        os.close(lock)  # the file stays: were it removed, two could hold it


async def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _numbered(statement: str) -> str:
    """Write a statement's parameters as SQLite numbers them."""
    return re.sub(r"\$(\d)", r"?\1", statement)


class FileCopy:
    """A copy in an SQLite file; a lock is held on a file beside it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take an open file."""
        self._connection = connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:  # commits, or rolls back
            yield self._connection

    async def state(self) -> State | None:
        """Read how far the copy is."""
        return _state(self._connection.execute(_STATE).fetchone())

    async def begin(self, state: State) -> None:
        """Begin with an export."""
        with self._transaction() as connection:
            connection.execute(_numbered(_STORE), state)

    async def keep(self, rows: Sequence[Row], generation: int) -> None:
        """Keep records of an export."""
        with self._transaction() as connection:
            connection.executemany(_numbered(_KEEP), [(*row, generation) for row in rows])

    async def finish(self, state: State) -> None:
        """Drop what is of an older generation, and follow from now on."""
        with self._transaction() as connection:
            connection.execute(_numbered(_SWEEP), (state.generation,))
            connection.execute(_numbered(_STORE), state)

    async def apply(self, rows: Sequence[Row], state: State) -> None:
        """Apply changes, and store the cursor behind them."""
        kept, dropped = _last(rows)
        with self._transaction() as connection:
            connection.executemany(_numbered(_KEEP), [(*row, state.generation) for row in kept])
            connection.executemany(_numbered(_DROP), [row[:3] for row in dropped])
            connection.execute(_numbered(_STORE), state)
