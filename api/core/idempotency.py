"""Idempotency-Key: a request that is sent again gets the first answer and has no further effect.

The answer is stored in the transaction of the work, so that neither exists without the other. An
advisory lock keeps two requests with the same key apart. It ends with the transaction, however
that ends; if it should ever fail, the primary key of the table prevents a second answer.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from api.core import clocks
from api.core.background import again_and_again, meanwhile
from api.core.db import Connection, Database
from api.core.errors import (
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_HEADER,
    Problem,
    contended,
    retry_after,
)
from api.core.request import Answer, Request, caller, context, header_values
from api.core.sql import compose, render

Work = Callable[[Connection], Awaitable[Answer]]
"""Carries out a request on a connection, and gives the answer or raises a problem."""

SWEEP_EVERY_SECONDS: Final = 60.0
MAX_SWEPT: Final = 500
MAX_STEPS: Final = 20
"""How many answers are deleted in one statement, and how many statements there are in a row."""
_TRIES: Final = 2
_RETRY_SECONDS: Final = 1
_REPLAYED: Final = (b"idempotency-replayed", b"true")

log = logging.getLogger("claim_records")

# --- the header --------------------------------------------------------------------------------

IDEMPOTENCY_KEY_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?\Z"
"""Printable ASCII without spaces at the ends, which HTTP removes."""
MAX_IDEMPOTENCY_KEY: Final = 255


def idempotency_key(request: Request) -> str | None:
    """Read Idempotency-Key; null without one."""
    values = header_values(request, b"idempotency-key")
    if not values:
        return None
    key = values[0]
    if (
        len(values) > 1
        or len(key) > MAX_IDEMPOTENCY_KEY
        or not re.match(IDEMPOTENCY_KEY_PATTERN, key)
    ):
        raise Problem(
            INVALID_HEADER,
            f"`Idempotency-Key` takes 1 to {MAX_IDEMPOTENCY_KEY} characters of printable "
            "ASCII, once.",
        )
    return key


def refuse_idempotency_key(request: Request) -> None:
    """Refuse Idempotency-Key where it has no effect: to ignore it would be a false promise."""
    if not header_values(request, b"idempotency-key"):
        return
    if request.route_handler.opt.get("reads"):
        detail = "a query changes nothing and can be repeated safely without it."
    elif request.method == "POST":
        detail = "the answer contains a secret, which is not stored and can't be given again."
    else:
        detail = f"only `POST` takes it. `{request.method}` can be repeated safely without it."
    raise Problem(INVALID_HEADER, f"Leave out `Idempotency-Key`: {detail}")


# --- one request, one answer ---------------------------------------------------------------------

# The lock has a statement of its own. If `_LOOK` took it, the snapshot of that statement would be
# older than the lock, and would not show what the last holder of the lock wrote.
_LOCK = "SELECT pg_try_advisory_xact_lock(:number)"
# The time is over when both clocks say so (`api/core/clocks.py`).
_OVER = "least(clock_timestamp(), :now::timestamptz) - make_interval(hours => :hours)"
_LOOK = compose(
    """
    SELECT fingerprint, status, headers, body FROM idempotency_keys
    WHERE key_id = :key_id AND key = :key
        AND created_at > {over}""",
    over=_OVER,
)
_KEEP = compose(
    """
    INSERT INTO idempotency_keys AS k (key_id, key, fingerprint, status, headers, body)
    VALUES (:key_id, :key, :fingerprint, :status, :headers, :body)
    ON CONFLICT (key_id, key) DO UPDATE
    SET fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status, headers = EXCLUDED.headers,
        body = EXCLUDED.body, created_at = EXCLUDED.created_at
    WHERE k.created_at <= {over}
    RETURNING true""",
    over=_OVER,
)
_SWEEP = compose(
    """
    WITH due AS (
        SELECT key_id, key FROM idempotency_keys
        WHERE created_at <= {over}
        ORDER BY created_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM idempotency_keys AS k USING due
    WHERE k.key_id = due.key_id AND k.key = due.key
    RETURNING true""",
    over=_OVER,
)


class _Keyed(NamedTuple):
    """The key that a request brought, and a digest by which it differs from other requests."""

    key_id: str
    key: str
    fingerprint: bytes


class _AnotherWasFirst(Exception):  # noqa: N818 - it is not an error
    """Another transaction has stored an answer for the same key meanwhile."""


async def once(request: Request, body: bytes, work: Work) -> Answer:
    """Carry out a request, or give the answer that the same request got before.

    Without the header, `work` runs on a connection outside of any transaction. With it, `work` runs
    inside one, and needs a savepoint where it goes on after an error of the database. If it raises,
    everything is undone and no answer is stored.
    """
    key = idempotency_key(request)
    database = context(request).database
    if key is None:
        async with database.connection() as connection:
            return await work(connection)
    key_id = caller(request).key_id
    assert key_id is not None  # noqa: S101 - only a caller with a key may write
    keyed = _Keyed(key_id, key, _fingerprint(request, body))
    hours = database.settings.idempotency_hours
    for _ in range(_TRIES):
        with suppress(_AnotherWasFirst):
            async with database.connection() as connection, connection.transaction():
                return await _in_transaction(connection, keyed, hours, work)
    raise contended()


async def _in_transaction(connection: Connection, keyed: _Keyed, hours: int, work: Work) -> Answer:
    if not await connection.fetchval(*render(_LOCK, number=_lock_number(keyed))):
        raise Problem(IDEMPOTENCY_IN_PROGRESS, headers=retry_after(_RETRY_SECONDS))
    time = {"now": clocks.utc_now(), "hours": hours}
    row = await connection.fetchrow(*render(_LOOK, key_id=keyed.key_id, key=keyed.key, **time))
    if row is not None:
        return _replayed(keyed, row)
    answer = await work(connection)
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    kept = {"status": answer.status, "headers": headers, "body": answer.body}
    if not await connection.fetchval(*render(_KEEP, **keyed._asdict(), **kept, **time)):
        raise _AnotherWasFirst
    return answer


def _replayed(keyed: _Keyed, row: asyncpg.Record) -> Answer:
    """Give the stored answer; refuse if it is the answer to another request."""
    if row["fingerprint"] != keyed.fingerprint:
        raise Problem(IDEMPOTENCY_KEY_REUSED)
    answer = Answer(row["body"], row["status"])
    stored = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in row["headers"]]
    answer.headers = [*stored, _REPLAYED]
    return answer


def _fingerprint(request: Request, body: bytes) -> bytes:
    """Digest everything that makes two requests different."""
    scope = request.scope
    match = ", ".join(request.headers.getall("if-match", []))
    parts = (
        scope["method"].encode(),
        scope["path"].encode(),
        scope["query_string"],
        match.encode("latin-1"),
        body,
    )
    return _digest(*parts)


def _lock_number(keyed: _Keyed) -> int:
    digest = _digest(b"idempotency", keyed.key_id.encode(), keyed.key.encode())
    return int.from_bytes(digest[:8], signed=True)


def derived_id(key_id: str, key: str, line: int) -> str:
    """Make the id of the record that an import line creates: always the same UUIDv8 (RFC 9562)."""
    digest = _digest(b"import", key_id.encode(), key.encode(), b"%d" % line)
    bits = int.from_bytes(digest[:16])
    bits = bits & ~(0xF << 76) | (0x8 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return str(UUID(int=bits))


def _digest(*parts: bytes) -> bytes:
    """Hash several texts, so that no two sequences of texts give the same digest."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


# --- old answers -----------------------------------------------------------------------------


async def sweep(database: Database) -> None:
    """Delete answers that are too old by both clocks, 500 at a time."""
    hours = database.settings.idempotency_hours
    query = render(_SWEEP, limit=MAX_SWEPT, now=clocks.utc_now(), hours=hours)
    for _ in range(MAX_STEPS):
        if len(await database.fetch(*query)) < MAX_SWEPT:
            return


def sweeping(database: Database) -> AbstractAsyncContextManager[None]:
    """Delete old answers in the background."""
    work = again_and_again(
        SWEEP_EVERY_SECONDS, lambda: sweep(database), "old answers wait to be deleted"
    )
    return meanwhile(work)
