"""The database's schema: find its migration, migrate it, and grant the rights that are needed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

import migrations
from api.core.hosts import connect
from api.embedded import access

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK: Final = 0x636C61696D
"""The number of the advisory lock (“claim” in ASCII): only one process migrates at a time."""
_POLL_SECONDS: Final = 0.2


def known() -> list[str]:
    """List every migration, oldest first; a file's name starts with its revision.

    Alembic would list the same, but it takes a second to import.
    """
    versions = Path(migrations.__file__).parent / "versions"
    return sorted(path.name.partition("_")[0] for path in versions.glob("[0-9]*_*.py"))


class MigrationError(Exception):
    """The database refused a migration; the message is the database's own."""


def latest() -> str:
    """Name the newest migration that this version of the service knows."""
    return known()[-1]


async def current(url: str) -> str | None:
    """Find the migration of a database; None for an empty one."""
    connection = await connect(url)
    try:
        revision: str | None = await connection.fetchval(CURRENT)
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return revision


CURRENT: Final = "SELECT version_num FROM alembic_version"


SERVICE_ROLE: Final = access.SERVICE_ROLE
_WITHHELD: Final = {
    "revisions": "UPDATE, DELETE",
    "outbox": "UPDATE, DELETE",
    "audit": "UPDATE, DELETE",
    "feed": "INSERT, UPDATE, DELETE",  # written by `sequence_feed`, with its owner's rights
    "feed_states": "INSERT, UPDATE, DELETE",
    "feed_blocks": "INSERT, UPDATE, DELETE",  # likewise, by `seal_feed`
}
"""The rights on a table that the service does not get: the history can only grow."""


async def create_role(url: str, role: str) -> None:
    """Create a role that may log in, if it is not there."""
    connection = await connect(url)
    try:
        with suppress(asyncpg.DuplicateObjectError):
            await connection.execute(f"CREATE ROLE {_quoted(role)} LOGIN")
    finally:
        await connection.close()


_GRANTS: Final = """
    GRANT CONNECT ON DATABASE :database TO :role;
    REVOKE TEMPORARY ON DATABASE :database FROM PUBLIC, :role;
    GRANT USAGE ON SCHEMA public TO :role;
    REVOKE CREATE ON SCHEMA public FROM PUBLIC, :role;
    REVOKE ALL ON ALL TABLES IN SCHEMA public FROM :role;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :role;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :role;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO :role;
    REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM :role"""


async def grant(url: str, role: str) -> None:
    """Let a role do what the service needs: no DDL, no TRUNCATE, and the history only grows.

    Nobody but the owner keeps the right to create temporary tables: names of these come before all
    others.
    """
    connection = await connect(url)
    try:
        async with connection.transaction():
            database = _quoted(await connection.fetchval("SELECT current_database()"))
            grants = _GRANTS.replace(":database", database).replace(":role", _quoted(role))
            await connection.execute(grants)
            for table, withheld in _WITHHELD.items():
                if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                    await connection.execute(f"REVOKE {withheld} ON {table} FROM {_quoted(role)}")
    finally:
        await connection.close()


def _quoted(name: str) -> str:
    """Write a name as a quoted SQL identifier."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


async def migrate(url: str, target: str = "head") -> None:
    """Bring a database to a migration, forward or back; wait for others that migrate it."""
    lock = await connect(url)
    try:
        while not await lock.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        now = await current(url)
        back = target == "base" or (now is not None and _older(target, now))
        await _run(url, target, back=back)
    finally:
        await lock.close()


def _older(one: str, other: str) -> bool:
    """Tell whether a migration comes before another one."""
    order = [*known(), "head"]
    return order.index(one) < order.index(other)


async def _run(url: str, target: str, *, back: bool) -> None:
    """Let alembic migrate. It works on a SQLAlchemy connection, so it gets one."""
    from alembic import command  # noqa: PLC0415 - these take a second; only a migration needs them
    from alembic.config import Config  # noqa: PLC0415 - as above
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - as above
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - as above
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - as above

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, target)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(url), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    except DBAPIError as error:
        raise MigrationError(str(error.orig)) from error
    finally:
        await engine.dispose()
