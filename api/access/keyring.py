"""Keys as text and as rows: create, check, rotate and revoke them.

A key is `clk_`, its public id, `_`, 30 random characters and a checksum of everything before it.
Only its SHA-256 is stored: 178 random bits do not need a slower hash.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final
from zlib import crc32

from api.core.caller import Actor
from api.core.db import Database, Row
from api.core.sql import compose, render
from schemas.keys import Key
from schemas.vocabularies import Scope

_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_IDS: Final = string.ascii_lowercase + string.digits
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 12, 30, 6
_KEY: Final = re.compile(r"clk_([a-z0-9]{12})_[0-9A-Za-z]{36}\Z", re.ASCII)
_FIRST: Final = 0x6669727374
"""The number of an advisory lock (“first” in ASCII): only one process makes the first key."""


# --- the text --------------------------------------------------------------------------------


def new_key() -> str:
    """Make the text of a key with a new public id."""
    identity = "".join(secrets.choice(_IDS) for _ in range(_ID_LENGTH))
    return new_secret(identity)


def new_secret(identity: str) -> str:
    """Make the text of a key with a given public id."""
    return written(identity, "".join(secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH)))


def written(identity: str, secret: str) -> str:
    """Write a key of a public id and a secret, with its checksum."""
    text = f"clk_{identity}_{secret}"
    rest, digits = crc32(text.encode()), ""
    for _ in range(_CHECK_LENGTH):
        rest, digit = divmod(rest, len(_BASE62))
        digits = _BASE62[digit] + digits
    return text + digits


def identity_of(key: str) -> str | None:
    """Give the public id of a key; null for a text that can't be a key."""
    match = _KEY.match(key)
    if match is None:
        return None
    identity = match[1]
    secret = key[len("clk__") + _ID_LENGTH : -_CHECK_LENGTH]
    return identity if secrets.compare_digest(written(identity, secret), key) else None


def hashed(key: str) -> bytes:
    """Give the hash of a key, which is stored in its place."""
    return sha256(key.encode()).digest()


# --- the rows --------------------------------------------------------------------------------


PUBLISHED: Final = ", ".join(Key.__struct_fields__)
"""The columns of a key that may be shown: all except its hashes."""

_CREATE: Final = compose(
    """
    INSERT INTO keys (id, name, scopes, hash, expires_at, created_by)
    VALUES (
        :id, :name, :scopes, :hash, :expires_at::text::timestamptz, (:actor::text[])[1]
    )
    RETURNING {columns}, audited(:actor::text[], 'key', id, 'created')""",
    columns=PUBLISHED,
)
# A revoked key counts: a restart gives no new key to an operator who has revoked the last one.
_CREATE_FIRST: Final = """
    INSERT INTO keys (id, name, scopes, hash)
    SELECT :id, 'first', :scopes, :hash
    WHERE NOT EXISTS (SELECT FROM keys)
    RETURNING audited(NULL::text[], 'key', id, 'created')"""
_ROTATE: Final = compose(
    """
    UPDATE keys SET hash = :hash, previous_hash = hash,
        previous_until = clock_timestamp() + make_interval(secs => :overlap_seconds)
    WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
        AND scopes <@ :granted
    RETURNING {columns}, audited(:actor::text[], 'key', id, 'rotated')""",
    columns=PUBLISHED,
)
_REVOKE: Final = """
    UPDATE keys SET revoked_at = clock_timestamp()
    WHERE id = :id AND revoked_at IS NULL AND scopes <@ :granted
    RETURNING audited(:actor::text[], 'key', id, 'revoked')"""
_GET: Final = compose("SELECT {columns} FROM keys WHERE id = :id", columns=PUBLISHED)
_LIST: Final = compose("SELECT {columns} FROM keys ORDER BY created_at, id", columns=PUBLISHED)
_LOCK: Final = "SELECT pg_advisory_xact_lock(:number)"


def shown(row: Row) -> dict[str, Any]:
    """Give the columns of a key that may be shown."""
    return {name: row[name] for name in Key.__struct_fields__}


async def create(
    database: Database,
    name: str,
    scopes: Iterable[Scope],
    expires_at: str | None,
    actor: Actor | None = None,
) -> tuple[str, dict[str, Any]]:
    """Store a new key; give its text, which is not stored, and its shown columns."""
    key = new_key()
    query = render(
        _CREATE,
        id=identity_of(key),
        name=name,
        scopes=[*scopes],
        hash=hashed(key),
        expires_at=expires_at,
        actor=actor,
    )
    row = await database.fetchrow(*query)
    assert row is not None  # noqa: S101 - for the type checker
    return key, shown(row)


async def create_first(database: Database) -> str | None:
    """Store a key with every scope, if there has never been a key; give its text."""
    key = new_key()
    async with database.connection() as connection, connection.transaction():
        await connection.execute(*render(_LOCK, number=_FIRST))
        values = {"id": identity_of(key), "scopes": [*Scope], "hash": hashed(key)}
        row = await connection.fetchrow(*render(_CREATE_FIRST, **values))
    return key if row is not None else None


async def rotate(
    database: Database,
    identity: str,
    overlap_seconds: int,
    granted: Iterable[Scope],
    actor: Actor | None = None,
) -> tuple[str, dict[str, Any]] | None:
    """Give a key a new secret; null if there is no key that works and has only `granted` scopes.

    The secret before the current one ends at once.
    """
    key = new_secret(identity)
    query = render(
        _ROTATE,
        id=identity,
        hash=hashed(key),
        overlap_seconds=float(overlap_seconds),
        granted=[*granted],
        actor=actor,
    )
    row = await database.fetchrow(*query)
    return (key, shown(row)) if row is not None else None


async def revoke(
    database: Database,
    identity: str,
    granted: Iterable[Scope] = Scope,
    actor: Actor | None = None,
) -> bool:
    """Revoke a key, unless it is revoked already; tell whether there is one.

    A key that has more than the `granted` scopes is left as it is, and counts as if it were not.
    """
    may = [*granted]
    query = render(_REVOKE, id=identity, granted=may, actor=actor)
    if await database.fetchrow(*query) is not None:
        return True
    key = await get(database, identity)
    return key is not None and set(key["scopes"]) <= set(may)


async def get(database: Database, identity: str) -> dict[str, Any] | None:
    """Give the columns of a key that may be shown."""
    row = await database.fetchrow(*render(_GET, id=identity))
    return shown(row) if row is not None else None


async def list_all(database: Database) -> list[dict[str, Any]]:
    """List the shown columns of each key, oldest first."""
    return [shown(row) for row in await database.fetch(*render(_LIST))]
