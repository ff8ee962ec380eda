"""The pool: what lending a connection costs, and in which state one comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest

from api.core.db import Database
from tests.conftest import patient


@asynccontextmanager
async def _pool_of_one(url: str) -> AsyncIterator[Database]:
    database = Database(url, patient(pool_size=1))
    await database.open()
    try:
        await database.fetchrow("SELECT 1")  # connects
        yield database
    finally:
        await database.close()


@contextmanager
def _counting_tasks() -> Iterator[list[Any]]:
    loop, made, counted = asyncio.get_running_loop(), [], asyncio.current_task()

    def make(loop: Any, work: Any, **more: Any) -> Any:
        if asyncio.current_task() is counted:  # services of other tests work in the background
            made.append(work)
        return asyncio.Task(work, loop=loop, **more)

    loop.set_task_factory(make)
    try:
        yield made
    finally:
        loop.set_task_factory(None)


async def test_a_statement_on_the_pool_makes_no_task(database_url: str) -> None:
    async with _pool_of_one(database_url) as database:
        with _counting_tasks() as made:
            await database.fetchrow("SELECT 1")
    assert made == []


async def test_a_cancelled_statement_gives_its_connection_back(database_url: str) -> None:
    async with _pool_of_one(database_url) as database:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await database.fetchrow("SELECT pg_sleep(60)")
            row = await database.fetchrow("SELECT 1 AS one")
            assert row is not None
            assert row["one"] == 1
        assert database.use().in_use == 0


async def test_a_transaction_that_was_left_open_is_rolled_back(database_url: str) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # asyncpg tells it
    try:
        async with _pool_of_one(database_url) as database:
            async with database.connection() as connection:
                await connection.execute("BEGIN")
                await connection.execute("CREATE TABLE left_open ()")
            row = await database.fetchrow("SELECT to_regclass('left_open') AS there")
            assert row is not None
            assert row["there"] is None
    finally:
        asyncio.get_running_loop().set_exception_handler(None)


async def test_an_error_of_a_statement_gives_the_connection_back(database_url: str) -> None:
    async with _pool_of_one(database_url) as database:
        for _ in range(2):
            with pytest.raises(ValueError, match="of the caller"):
                async with database.connection():
                    raise ValueError("of the caller")
        assert database.use().in_use == 0


async def test_a_connection_that_the_server_has_cut_is_closed_without_an_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would hear of it: the pool closes connections in tasks of its own."""

    async def write_to_nobody(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    async with _pool_of_one(database_url) as database:
        connection = await database.connect()
        with monkeypatch.context() as cut:
            cut.setattr(asyncpg.Connection, "close", write_to_nobody)
            await connection.close()
        assert connection.is_closed()
