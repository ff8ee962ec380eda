"""The database's schema: which migration it is at, and bringing it forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import migrations

Result = TypeVar("Result")

_LOCK: Final = 0x636C61696D  # “claim”: only one process migrates at a time
_POLL_SECONDS: Final = 0.2


def latest() -> str:
    """Name the newest migration that this version of the service knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there is no migration"  # noqa: S101 - the wheel ships them
    return head


def known() -> list[str]:
    """List every migration, oldest first."""
    return [s.revision for s in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


async def current(url: str) -> str | None:
    """Tell at which migration a database is; None for an empty one."""
    return await _with_connection(
        url, lambda connection: MigrationContext.configure(connection).get_current_revision()
    )


async def migrate(url: str, target: str = "head") -> None:
    """Bring a database to a migration, forward or back; wait for others that do the same."""

    def run(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        now = MigrationContext.configure(connection).get_current_revision()
        back = target == "base" or (now is not None and _older(target, now))
        (command.downgrade if back else command.upgrade)(config, target)

    lock = await asyncpg.connect(url)
    try:
        while not await lock.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        await _with_connection(url, run)
    finally:
        await lock.close()


def _older(one: str, other: str) -> bool:
    """Tell whether a migration comes before another one."""
    order = [*known(), "head"]
    return order.index(one) < order.index(other)


async def _with_connection(url: str, use: Callable[[Connection], Result]) -> Result:
    """Run a function of a SQLAlchemy connection, which is what alembic works on."""
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            result = await connection.run_sync(use)
            await connection.commit()
            return result
    finally:
        await engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
