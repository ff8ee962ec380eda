"""Prepare a database for this version: its schema, the role of the service, sample records."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from api.embedded import as_role
from api.server import schema
from api.server.database import ask, on_database
from api.server.exits import DATABASE, USAGE, CommandError
from api.settings import Settings, masked

_REACH_SECONDS: Final = 10

log = logging.getLogger("claim_records")


def bring_forward(settings: Settings, url: str, *, may_migrate: bool) -> None:
    """Bring the schema to the migration that this version needs, or refuse to change it."""
    now, needed = _revision(url), schema.latest()
    if now == needed:
        return
    if not may_migrate:
        raise CommandError(
            f"The database's schema is at {_name(now)}, and this version needs {needed}. Run "
            "`claim-records migrate`, or start with `claim-records serve --migrate`.",
            DATABASE,
        )
    log.info("Migrating the schema: %s → %s", _name(now), needed)
    ask(schema.migrate(settings.migrate_url or url), url)


def grant(settings: Settings, url: str, role: str) -> None:
    """Let a role do what the service does. The role that owns the schema grants this."""
    ask(schema.grant(settings.migrate_url or url, role), url)


def for_service(url: str) -> str:
    """Give the URL of the embedded database for a role that can't change the schema."""
    ask(schema.create_role(url, schema.SERVICE_ROLE), url)
    ask(schema.grant(url, schema.SERVICE_ROLE), url)
    return as_role(url, schema.SERVICE_ROLE)


def refuse_unknown(revision: str) -> None:
    """Refuse a revision that this version does not know."""
    if revision not in (known := [*schema.known(), "head", "base"]):
        raise CommandError(
            f"There is no revision {revision}. The revisions are {', '.join(known)}.", USAGE
        )


def migrate(settings: Settings, url: str, revision: str) -> str:
    """Bring the schema to a revision, forward or back; return a sentence on what was done."""
    owner = settings.migrate_url or url  # the service's own role may have no right to look yet
    before = _revision(owner)
    ask(schema.migrate(owner, revision), owner)
    after = _revision(owner)
    if before == after:
        return f"The schema is at {_name(after)} already."
    return f"The schema was at {_name(before)} and is at {_name(after)} now."


def load_samples(settings: Settings, url: str) -> str:
    """Load the sample records; return a sentence on what was done."""
    from api import demo  # noqa: PLC0415 - most commands do without; this loads half the service
    from api.sync.importing.runs import load  # noqa: PLC0415 - as above

    result = on_database(
        settings, url, lambda database: load(database, demo.records(), atomic=True)
    )
    totals = result.totals
    if totals.refused:
        raise CommandError(f"{totals.refused} of the sample records were refused; none was loaded.")
    return (
        f"{totals.lines} sample records: {totals.created} created, {totals.updated} put back, "
        f"{totals.unchanged} there already"
    )


def _name(revision: str | None) -> str:
    return revision or "base (empty)"


def _revision(url: str) -> str | None:
    """Ask a database for its schema's revision, and refuse one that this version does not know."""
    now = ask(_current(url), url)
    if now is not None and now not in schema.known():
        raise CommandError(
            f"The database's schema is at {now}, which is newer than this version of "
            f"claim-records knows ({schema.latest()}). Install the version that made it.",
            DATABASE,
        )
    return now


async def _current(url: str) -> str | None:
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            return await schema.current(url)
    except ValueError as error:  # asyncpg cannot read the URL
        # Its message is left out: it may quote a part of a password.
        raise CommandError(
            f"{masked(url)} is not the URL of a Postgres database. Write it as "
            "postgresql://user:password@host:5432/name, with special characters percent-encoded.",
            DATABASE,
        ) from error
