"""Bringing a database to where this version can serve it: its schema, and the sample records.

Apart from `cli.py`, which imports it only where it is needed: alembic takes a second to load.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError

from api import demo
from api.access import keyring
from api.core.db import Database
from api.core.errors import Problem
from api.embedded import as_role
from api.server import schema
from api.server.serving import DATABASE, USAGE, Refused
from api.settings import Settings, masked
from api.sync.importing.runs import load
from schemas.vocabularies import Scope

Result = TypeVar("Result")

_REACH_SECONDS: Final = 10

log = logging.getLogger("claim_records")


def bring_forward(settings: Settings, url: str, *, may_migrate: bool) -> None:
    """See that the schema is the one that this version needs, or refuse."""
    now, needed = _revision(url), schema.latest()
    if now == needed:
        return
    if not may_migrate:
        raise Refused(
            f"The database's schema is at {_name(now)}, and this version needs {needed}. Run "
            "`claim-records migrate`, or start with `claim-records serve --migrate`.",
            DATABASE,
        )
    log.info("Migrating the schema: %s → %s", _name(now), needed)
    _ask(schema.migrate(settings.migrate_url or url), url)


def grant(settings: Settings, url: str, role: str) -> None:
    """Let a role do what the service does, as the role that owns the schema."""
    _ask(schema.grant(settings.migrate_url or url, role), url)


def for_service(url: str) -> str:
    """Give the URL of the embedded database for a role that can't change the schema."""
    _ask(schema.create_role(url, schema.SERVICE_ROLE), url)
    _ask(schema.grant(url, schema.SERVICE_ROLE), url)
    return as_role(url, schema.SERVICE_ROLE)


def refuse_unknown(revision: str) -> None:
    """Refuse a revision that nobody could migrate to."""
    if revision not in (known := [*schema.known(), "head", "base"]):
        raise Refused(f"There is no revision {revision}; there are {', '.join(known)}.", USAGE)


def migrate(settings: Settings, url: str, revision: str) -> str:
    """Bring the schema to a revision, forward or back; say from where to where."""
    owner = settings.migrate_url or url  # who serves may have no right to look yet
    before = _revision(owner)
    _ask(schema.migrate(owner, revision), owner)
    after = _revision(owner)
    if before == after:
        return f"The schema is at {_name(after)} already."
    return f"The schema was at {_name(before)} and is at {_name(after)} now."


def first_key(settings: Settings, url: str) -> str | None:
    """Make a key that may do everything, if the database has never had one."""
    return _on_database(settings, url, keyring.create_first)


def create_key(
    settings: Settings, url: str, name: str, scopes: Iterable[Scope], expires_at: str | None
) -> str:
    """Make a key, and give it."""
    wanted = [scope for scope in Scope if scope in [*scopes]]

    async def run(database: Database) -> str:
        key, _ = await keyring.create(database, name, wanted, expires_at)
        return key

    return _on_database(settings, url, run)


def list_keys(settings: Settings, url: str) -> list[dict[str, Any]]:
    """Give what may be said of each key."""
    return _on_database(settings, url, keyring.every)


def rotate_key(settings: Settings, url: str, identity: str, overlap_seconds: int) -> str:
    """Give a key a new secret, and give that."""

    async def run(database: Database) -> str:
        done = await keyring.rotate(database, identity, overlap_seconds, Scope)
        if done is None:
            raise Refused(f"No key that works has the id {identity}.")
        return done[0]

    return _on_database(settings, url, run)


def revoke_key(settings: Settings, url: str, identity: str) -> None:
    """Withdraw a key."""

    async def run(database: Database) -> None:
        if not await keyring.revoke(database, identity):
            raise Refused(f"No key has the id {identity}.")

    _on_database(settings, url, run)


def _on_database(
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

    return _ask(run(), url)


def load_samples(settings: Settings, url: str) -> str:
    """Load the sample records; say what became of them."""

    async def run() -> str:
        database = Database(url, settings)
        await database.open()
        try:
            totals = (await load(database, demo.records(), atomic=True)).totals
        finally:
            await database.close()
        if totals.refused:
            raise Refused(f"{totals.refused} of the sample records were refused; none was loaded.")
        return (
            f"{totals.lines} sample records: {totals.created} created, {totals.updated} put back, "
            f"{totals.unchanged} there already"
        )

    return _ask(run(), url)


def _name(revision: str | None) -> str:
    return revision or "base (empty)"


def _revision(url: str) -> str | None:
    """Ask a database for its schema's revision, and refuse one that is not known here."""
    now = _ask(_current(url), url)
    if now is not None and now not in schema.known():
        raise Refused(
            f"The database's schema is at {now}, which is newer than this version of "
            f"claim-records knows ({schema.latest()}). Install the version that made it.",
            DATABASE,
        )
    return now


async def _current(url: str) -> str | None:
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            return await schema.current(url)
    except ValueError as error:  # asyncpg's word for a URL that it cannot read
        # Without its own words: they may hold a piece of a password.
        raise Refused(
            f"{masked(url)} is no URL of a Postgres database; it looks like "
            "postgresql://user:password@host:5432/name, special characters percent-encoded.",
            DATABASE,
        ) from error


def _ask(question: Coroutine[Any, Any, Result], url: str) -> Result:
    """Run something on the database; what keeps it from answering is no bug of ours."""
    try:
        return asyncio.run(question)
    except DBAPIError as error:
        raise Refused(f"The database {masked(url)} refused: {error.orig}", DATABASE) from error
    except asyncpg.PostgresError as error:
        raise Refused(f"The database {masked(url)} refused: {error}", DATABASE) from error
    except TimeoutError as error:
        raise Refused(f"The database {masked(url)} does not answer.", DATABASE) from error
    except OSError as error:
        raise Refused(f"Cannot reach the database {masked(url)}: {error}", DATABASE) from error
    except asyncpg.InterfaceError as error:
        raise Refused(f"The database {masked(url)} cannot be used: {error}", DATABASE) from error
    except Problem as problem:
        raise Refused(str(problem), DATABASE) from problem
