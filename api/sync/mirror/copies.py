"""Copies: where a mirror keeps its records, in a Postgres database or in an SQLite file.

The cursor is stored beside the records and written in the same transactions, so that each change is
applied exactly once, even if the process is killed.
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

from api.core.hosts import connect
from api.core.sql import render, rendered
from api.sync.errors import USAGE
from api.sync.mirror.errors import NO_DATABASE, MirrorError

PATIENCE: Final = 2.0
"""How many seconds a mirror that was killed may take to release the copy."""
_PAUSE: Final = 0.05
CONNECT_SECONDS: Final = 30.0
STATEMENT_SECONDS: Final = 60.0
"""How long Postgres may take to store some hundred records."""
SWEEP_SECONDS: Final = 600.0
"""How long it may take to drop the records of an older generation, which can be all of them."""


class Phase(StrEnum):
    """What a mirror is doing."""

    COPYING = "copying"
    FOLLOWING = "following"


class State(NamedTuple):
    """How far a copy is; it is stored with the copy."""

    source: str
    types: str  # the record types, separated by commas; "" for all
    reader: str  # the public id of the key that it was made with; "" without a key
    cursor: str
    generation: int  # the number of the export: rows of an older one are gone from the source
    phase: Phase


class Row(NamedTuple):
    """A record to keep, or to drop if `doc` is null."""

    type: str
    id: str
    version: int
    doc: str | None


class Copy(Protocol):
    """A copy that no other mirror writes to. Each call is one transaction."""

    async def state(self) -> State | None:
        """Read how far the copy is; null for a new copy."""

    async def begin(self, state: State) -> None:
        """Begin to copy an export."""

    async def keep(self, rows: Sequence[Row], generation: int) -> None:
        """Store records of an export."""

    async def finish(self, state: State) -> None:
        """Drop records of older generations, and store that the export is complete."""

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
# SQLite takes the named parameters as they are.
_STATE: Final = "SELECT source, types, reader, cursor, generation, phase FROM mirror_state"
_STORE: Final = """
    INSERT INTO mirror_state (one, source, types, reader, cursor, generation, phase)
    VALUES (1, :source, :types, :reader, :cursor, :generation, :phase)
    ON CONFLICT (one) DO UPDATE
    SET source = excluded.source, types = excluded.types, reader = excluded.reader,
        cursor = excluded.cursor, generation = excluded.generation, phase = excluded.phase"""
# A higher version of an older generation is replaced too: the source may have been restored.
_KEEP: Final = """
    INSERT INTO mirror_records AS r (type, id, version, doc, generation)
    VALUES (:type, :id, :version, :doc, :generation)
    ON CONFLICT (type, id) DO UPDATE
    SET version = excluded.version, doc = excluded.doc, generation = excluded.generation
    WHERE r.generation < excluded.generation OR r.version < excluded.version"""
_DROP: Final = "DELETE FROM mirror_records WHERE type = :type AND id = :id AND version <= :version"
_SWEEP: Final = "DELETE FROM mirror_records WHERE generation < :generation"


def _state(row: Sequence[Any] | None) -> State | None:
    if row is None:
        return None
    source, types, reader, cursor, generation, phase = row
    return State(source, types, reader, cursor, generation, Phase(phase))


def _last_changes(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Take the last change of each record; give the rows to keep and the rows to drop."""
    last = {(row.type, row.id): row for row in rows}
    kept = [row for row in last.values() if row.doc is not None]
    return kept, [row for row in last.values() if row.doc is None]


def _of_generation(rows: Sequence[Row], generation: int) -> list[dict[str, Any]]:
    """Give the parameters with which rows of a generation are stored."""
    return [row._asdict() | {"generation": generation} for row in rows]


@asynccontextmanager
async def open_copy(target: str) -> AsyncIterator[Copy]:
    """Open the copy at a Postgres URL or a path, and lock it against other mirrors."""
    if re.match(r"postgres(ql)?://", target):
        with _errors_named(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            async with _in_postgres(target) as copy:
                yield copy
        return
    if "://" in target:
        raise MirrorError("The target must be a postgresql:// URL or the path of a file.", USAGE)
    with _errors_named(sqlite3.Error, OSError):
        async with _in_file(Path(target)) as copy:
            yield copy


@contextmanager
def _errors_named(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors of the target into a sentence."""
    try:
        yield
    except errors as error:
        kind = type(error).__name__
        raise MirrorError(f"The copy cannot be written: {kind}: {error}", NO_DATABASE) from error


async def _lock(try_lock: Callable[[], Awaitable[bool]], name: str) -> None:
    """Take the lock of a copy; raise an error if another mirror holds it."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await try_lock():
        if asyncio.get_running_loop().time() > deadline:
            raise MirrorError(f"Another mirror writes to {name}; stop that mirror first.")
        await asyncio.sleep(_PAUSE)


# --- Postgres ------------------------------------------------------------------------------------

# Two mirrors that make the tables at once take turns.
_LOCK_TABLES: Final = "SELECT pg_advisory_xact_lock(120299659095922)"
_LOCK: Final = "SELECT pg_try_advisory_lock(1835627378, 'mirror_state'::regclass::oid::integer)"


@asynccontextmanager
async def _in_postgres(url: str) -> AsyncIterator[Copy]:
    connection = await connect(
        url,
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS,
        server_settings={"application_name": "claim-records mirror"},
    )
    try:
        async with connection.transaction():
            await connection.execute(_LOCK_TABLES)
            for statement in _TABLES:
                await connection.execute(statement)

        async def try_lock() -> bool:
            return bool(await connection.fetchval(_LOCK))

        await _lock(try_lock, "this database")
        yield PostgresCopy(connection)
    finally:
        await connection.close()


class PostgresCopy:
    """A copy in a Postgres database, locked by the session."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Take a connection that holds the lock."""
        self._connection = connection

    async def state(self) -> State | None:
        """Read how far the copy is."""
        row = await self._connection.fetchrow(*render(_STATE))
        return _state(None if row is None else tuple(row))

    async def begin(self, state: State) -> None:
        """Begin to copy an export."""
        await self._connection.execute(*render(_STORE, **state._asdict()))

    async def keep(self, rows: Sequence[Row], generation: int) -> None:
        """Store records of an export."""
        async with self._connection.transaction():
            await self._execute_many(_KEEP, _of_generation(rows, generation))

    async def finish(self, state: State) -> None:
        """Drop records of older generations, and store that the export is complete."""
        async with self._connection.transaction():
            sweep = render(_SWEEP, generation=state.generation)
            await self._connection.execute(*sweep, timeout=SWEEP_SECONDS)
            await self._connection.execute(*render(_STORE, **state._asdict()))

    async def apply(self, rows: Sequence[Row], state: State) -> None:
        """Apply changes, and store the cursor behind them."""
        kept, dropped = _last_changes(rows)
        async with self._connection.transaction():
            await self._execute_many(_KEEP, _of_generation(kept, state.generation))
            await self._execute_many(_DROP, [row._asdict() for row in dropped])
            await self._connection.execute(*render(_STORE, **state._asdict()))

    async def _execute_many(self, statement: str, rows: Sequence[dict[str, Any]]) -> None:
        text, names = rendered(statement)
        await self._connection.executemany(text, [[row[name] for name in names] for row in rows])


# --- SQLite --------------------------------------------------------------------------------------


@asynccontextmanager
async def _in_file(path: Path) -> AsyncIterator[Copy]:
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _lock(lambda: _try_flock(lock), str(path))
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            # Others may read while it is written. A power failure may undo the last transactions,
            # each as a whole: they are applied again, from the cursor that is left.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            for statement in _TABLES:
                connection.execute(statement)
            yield FileCopy(connection)
        finally:
            connection.close()
    finally:
        os.close(lock)  # the file stays: if it were removed, two mirrors could hold it


async def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class FileCopy:
    """A copy in an SQLite file, locked by a file beside it."""

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
        """Begin to copy an export."""
        with self._transaction() as connection:
            connection.execute(_STORE, state._asdict())

    async def keep(self, rows: Sequence[Row], generation: int) -> None:
        """Store records of an export."""
        with self._transaction() as connection:
            connection.executemany(_KEEP, _of_generation(rows, generation))

    async def finish(self, state: State) -> None:
        """Drop records of older generations, and store that the export is complete."""
        with self._transaction() as connection:
            connection.execute(_SWEEP, {"generation": state.generation})
            connection.execute(_STORE, state._asdict())

    async def apply(self, rows: Sequence[Row], state: State) -> None:
        """Apply changes, and store the cursor behind them."""
        kept, dropped = _last_changes(rows)
        with self._transaction() as connection:
            connection.executemany(_KEEP, _of_generation(kept, state.generation))
            connection.executemany(_DROP, [row._asdict() for row in dropped])
            connection.execute(_STORE, state._asdict())
