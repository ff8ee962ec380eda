"""The database that a command works on, and the errors for the user when it can't be used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from api.core.db import Database
from api.core.errors import Problem
from api.embedded import EmbeddedPostgres, EmbeddedPostgresError, Supervisor, running_url
from api.server.exits import DATABASE, CommandError
from api.server.schema import MigrationError
from api.settings import Settings, masked

Result = TypeVar("Result")

_SPARE_CONNECTIONS: Final = 20
"""Connections beside those of the pools: for migrations, for psql and for Postgres itself."""

log = logging.getLogger("claim_records")


class StartedDatabase(NamedTuple):
    """A database to serve, and the call that keeps it running; see :class:`Supervisor`."""

    url: str
    supervise: Callable[[], None]


@contextmanager
def started_database(settings: Settings) -> Iterator[StartedDatabase]:
    """Give the database to serve: the one of the settings, or a Postgres of our own.

    Postgres runs until the block ends.
    """
    if settings.database_url:
        yield StartedDatabase(settings.database_url, lambda: None)
        return
    connections = settings.workers * settings.pool_size + _SPARE_CONNECTIONS
    server = EmbeddedPostgres(
        Path(settings.data_dir),
        settings={"max_connections": str(max(100, connections))},
        progress=log.info,
    )
    with server:
        supervisor = Supervisor(server, log.warning)

        def supervise() -> None:
            try:
                supervisor.check()
            except EmbeddedPostgresError as error:
                raise CommandError(str(error), DATABASE) from error

        yield StartedDatabase(server.url(), supervise)


@contextmanager
def running_database(settings: Settings) -> Iterator[str]:
    """Give the URL of the database, whether the service runs or not."""
    url = settings.database_url or running_url(Path(settings.data_dir))
    if url:
        yield url
        return
    with started_database(settings) as started:
        yield started.url


def on_database(
    settings: Settings, url: str, work: Callable[[Database], Coroutine[Any, Any, Result]]
) -> Result:
    """Connect as the service does, for one piece of work."""

    async def run() -> Result:
        database = Database(url, settings)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    return ask(run(), url)


def ask(question: Coroutine[Any, Any, Result], url: str) -> Result:
    """Run some work on the database; if the database fails, raise an error for the user."""
    try:
        return asyncio.run(question)
    except (TimeoutError, asyncpg.ConnectionDoesNotExistError) as error:
        raise CommandError(f"The database {masked(url)} does not answer.", DATABASE) from error
    except (MigrationError, asyncpg.PostgresError) as error:
        raise CommandError(f"The database {masked(url)} refused: {error}", DATABASE) from error
    except OSError as error:
        raise CommandError(f"Cannot reach the database {masked(url)}: {error}", DATABASE) from error
    except asyncpg.InterfaceError as error:
        raise CommandError(
            f"The database {masked(url)} cannot be used: {error}", DATABASE
        ) from error
    except Problem as problem:
        raise CommandError(str(problem), DATABASE) from problem
