"""The work of `claim-records keys`: on the database itself, not through the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api.access import keyring
from api.core.db import Database
from api.server.database import on_database
from api.server.exits import CommandError
from api.settings import Settings
from schemas.vocabularies import Scope


def create_first_key(settings: Settings, url: str) -> str | None:
    """Create a key with every scope, if the database has never had a key; return it."""
    return on_database(settings, url, keyring.create_first)


def create_key(
    settings: Settings, url: str, name: str, scopes: Iterable[Scope], expires_at: str | None
) -> str:
    """Create a key; return it."""
    given = set(scopes)
    ordered = [scope for scope in Scope if scope in given]

    async def create(database: Database) -> str:
        key, _ = await keyring.create(database, name, ordered, expires_at)
        return key

    return on_database(settings, url, create)


def list_keys(settings: Settings, url: str) -> list[dict[str, Any]]:
    """List the columns of each key that may be shown."""
    return on_database(settings, url, keyring.list_all)


def rotate_key(settings: Settings, url: str, identity: str, overlap_seconds: int) -> str:
    """Give a key a new secret; return the key with it."""

    async def rotate(database: Database) -> str:
        rotated = await keyring.rotate(database, identity, overlap_seconds, Scope)
        if rotated is None:
            raise CommandError(
                f"No valid key has the id {identity}. `claim-records keys list` lists all keys."
            )
        return rotated[0]

    return on_database(settings, url, rotate)


def revoke_key(settings: Settings, url: str, identity: str) -> None:
    """Revoke a key."""

    async def revoke(database: Database) -> None:
        if not await keyring.revoke(database, identity):
            raise CommandError(
                f"No key has the id {identity}. `claim-records keys list` lists all keys."
            )

    on_database(settings, url, revoke)
