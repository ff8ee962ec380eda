"""Webhooks as their deliverers share them: who holds which, how far each is, what was delivered.

A process takes a lease of each webhook that something is to be sent to. Every statement about a
webhook names its lease, so that a process that was thought dead, and that another one has taken
over from, changes nothing; and the place that it knows, so that it does not undo a replay.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from api.core.caller import Caller
from api.core.db import Database, Row
from api.core.errors import Problem
from api.sync.feed.numbering import Head
from api.sync.feed.stretches import Position
from schemas.vocabularies import PausedReason, RecordType, Scope

MAX_KEPT: Final = 1_000
"""How many deliveries of a webhook are kept, for 30 days at most."""
MAX_PRUNED: Final = 5_000
_AGAIN_SECONDS: Final = 0.5

log = logging.getLogger("claim_records")


class LeaseLost(Exception):  # noqa: N818 - it says what happened
    """Somebody else has the webhook, or it was changed, or it is gone."""


class Endpoint(NamedTuple):
    """A webhook, as it was when something was last written of it; its repr shows no secrets."""

    id: UUID
    lease: UUID
    until: float  # on the loop's clock: up to when the lease is surely ours
    url: str
    types: tuple[RecordType, ...]
    secrets: tuple[str, ...]
    caller: Caller
    position: Position
    attempts: int
    test_message_id: str | None
    due: bool  # whether changes are to be sent now

    def __repr__(self) -> str:
        return f"<webhook {self.id}>"


class Delivery(NamedTuple):
    """What is written down of an attempt, in the order of the log's columns."""

    message_id: str
    event: str
    record_type: str | None
    record_id: str | None
    version: int | None
    seq: int | None
    attempt: int
    at: dt.datetime
    milliseconds: int
    status: int | None
    error: str | None


# --- statements ------------------------------------------------------------------------------

WORKS: Final = "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())"
"""Whether the key of alias `k` works."""
_DUE: Final = """w.status = 'active'
            AND (w.next_attempt_at IS NULL OR w.next_attempt_at <= clock_timestamp())"""
_TOLD: Final = """w.id, w.url, w.types, w.secret, w.epoch, w.seq, w.tag, w.attempts, w.key_id,
        k.scopes, :due AND :works AS due,
        CASE WHEN w.previous_until > clock_timestamp() THEN w.previous_secret END AS previous,
        CASE WHEN :works THEN w.test_message_id END AS test_message_id"""
_LOGGED: Final = """
    WITH logged AS (
        INSERT INTO webhook_deliveries (
            webhook_id, message_id, event, record_type, record_id, version, seq, attempt, at,
            milliseconds, status, error
        )
        VALUES ($1, $4, $5, $6, $7::text::uuid, $8, $9, $10, $11, $12, $13, $14)
    )"""


def _query(text: str) -> str:
    """Fill in what the statements have in common."""
    lease = "lease_until = clock_timestamp() + make_interval(secs => $3)"
    filled = text.replace(":logged", _LOGGED).replace(":told", _TOLD).replace(":lease", lease)
    return filled.replace(":due", _DUE).replace(":works", WORKS)


# What a person has paused keeps its reason. The feed is the one that the table has now: a process
# may lag behind it, and must not pause the webhooks that have been made in it.
_PAUSE = _query("""
    UPDATE webhooks AS w
    SET status = 'paused', updated_at = clock_timestamp(), paused_reason = CASE
        WHEN k.revoked_at IS NOT NULL THEN 'key_revoked'
        WHEN NOT (:works) THEN 'key_expired'
        ELSE 'resync_required'
    END
    FROM keys AS k
    WHERE k.id = w.key_id AND w.status = 'active' AND (
        w.epoch <> (SELECT epoch FROM feed_states ORDER BY id DESC LIMIT 1) OR NOT (:works)
    )
    RETURNING w.id, w.paused_reason, audited(NULL, 'webhook', w.id::text, 'paused')""")
# Who has waited longest comes first.
_TAKE = _query("""
    WITH free AS MATERIALIZED (
        SELECT w.id
        FROM webhooks AS w JOIN keys AS k ON k.id = w.key_id AND :works
        WHERE (w.lease IS NULL OR w.lease_until < clock_timestamp())
            AND (w.test_message_id IS NOT NULL OR (:due AND w.epoch = $4 AND w.seq < $5))
        ORDER BY w.lease_until NULLS FIRST, w.id
        LIMIT $1
        FOR NO KEY UPDATE OF w SKIP LOCKED
    )
    UPDATE webhooks AS w SET lease = $2, :lease
    FROM free, keys AS k
    WHERE w.id = free.id AND k.id = w.key_id
    RETURNING :told""")
_GIVE_BACK = """
    UPDATE webhooks SET lease = NULL, lease_until = clock_timestamp()
    WHERE id = $1 AND lease = $2
    RETURNING true"""
_PASSED = _query("""
    UPDATE webhooks AS w SET :lease, seq = $7, tag = $8
    FROM keys AS k
    WHERE k.id = w.key_id AND w.id = $1 AND w.lease = $2
        AND w.epoch = $4 AND w.seq = $5 AND w.tag = $6
    RETURNING :told""")
_TAKEN = _query(""":logged
    UPDATE webhooks AS w
    SET :lease, seq = $18, tag = $19, attempts = 0, failing_since = NULL, next_attempt_at = NULL
    FROM keys AS k
    WHERE k.id = w.key_id AND w.id = $1 AND w.lease = $2
        AND w.epoch = $15 AND w.seq = $16 AND w.tag = $17
    RETURNING :told""")
# A failure counts only against what was tried: who has resumed the webhook meanwhile, or moved it,
# has it tried anew.
_FAILED = _query(""":logged
    UPDATE webhooks AS w
    SET :lease, attempts = attempts + 1, failing_since = coalesce(failing_since, $11),
        next_attempt_at = clock_timestamp() + make_interval(secs => $18)
    FROM keys AS k
    WHERE k.id = w.key_id AND w.id = $1 AND w.lease = $2
        AND w.epoch = $15 AND w.seq = $16 AND w.tag = $17
        AND w.attempts = $10 - 1 AND w.url = $19
    RETURNING :told""")
_GIVEN_UP = _query(""":logged
    UPDATE webhooks AS w
    SET :lease, attempts = attempts + 1, failing_since = coalesce(failing_since, $11),
        next_attempt_at = NULL, status = 'paused', updated_at = clock_timestamp(),
        paused_reason = coalesce(paused_reason, $18::text)
    FROM keys AS k
    WHERE k.id = w.key_id AND w.id = $1 AND w.lease = $2
        AND w.epoch = $15 AND w.seq = $16 AND w.tag = $17
        AND w.attempts = $10 - 1 AND w.url = $19
    RETURNING :told, audited(NULL, 'webhook', w.id::text, 'paused')""")
_LOST_PLACE = _query("""
    UPDATE webhooks AS w
    SET :lease, status = 'paused', paused_reason = coalesce(paused_reason, $7::text),
        updated_at = clock_timestamp()
    FROM keys AS k
    WHERE k.id = w.key_id AND w.id = $1 AND w.lease = $2
        AND w.epoch = $4 AND w.seq = $5 AND w.tag = $6
    RETURNING :told, audited(NULL, 'webhook', w.id::text, 'paused')""")
_TESTED = _query(""":logged
    UPDATE webhooks AS w SET :lease, test_message_id = NULL
    FROM keys AS k
    WHERE k.id = w.key_id AND w.id = $1 AND w.lease = $2
    RETURNING :told""")
_FORGET = """
    UPDATE webhooks SET previous_secret = NULL
    WHERE previous_secret IS NOT NULL AND previous_until <= clock_timestamp()
    RETURNING true"""
_PRUNE = """
    WITH old AS (
        SELECT d.id
        FROM webhooks AS w CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries
            WHERE webhook_id = w.id AND id <= (
                SELECT id FROM webhook_deliveries
                WHERE webhook_id = w.id
                ORDER BY id DESC
                OFFSET $1 LIMIT 1
            )
        ) AS d
        UNION
        SELECT id FROM webhook_deliveries WHERE at < clock_timestamp() - interval '30 days'
        LIMIT $2
    )
    DELETE FROM webhook_deliveries AS d USING old WHERE d.id = old.id
    RETURNING true"""


class Leases:
    """The webhooks that a process holds."""

    def __init__(self, database: Database, seconds: float, reserve: float) -> None:
        """Hold none yet; each lasts for some seconds, and nothing begins in the last of them."""
        self._database = database
        self._seconds = seconds
        self._reserve = reserve

    async def pause_unfit(self) -> None:
        """Pause those whose key has ended, and those whose place is in another feed."""
        for row in await self._database.fetch(_PAUSE):
            log.warning("webhook %s was paused: %s", row["id"], row["paused_reason"])

    async def take(self, head: Head, most: int) -> list[Endpoint]:
        """Take leases of webhooks that something is to be sent to and that nobody holds."""
        until, lease = self._until(), uuid4()
        end = (head.epoch, head.seq)
        rows = await self._database.fetch(_TAKE, most, lease, self._seconds, *end)
        return [_endpoint(row, lease, until) for row in rows]

    async def give_back(self, endpoint: Endpoint) -> None:
        """Let others have a webhook."""
        await self._database.fetchrow(_GIVE_BACK, endpoint.id, endpoint.lease)

    async def passed(self, endpoint: Endpoint, to: Position) -> Endpoint:
        """Move on behind changes that are not for the receiver."""
        return await self._write(endpoint, _PASSED, *endpoint.position, to.seq, to.tag)

    async def taken(self, endpoint: Endpoint, delivery: Delivery, to: Position) -> Endpoint:
        """Move on behind a change that the receiver has taken."""
        return await self._write(endpoint, _TAKEN, *delivery, *endpoint.position, to.seq, to.tag)

    async def failed(self, endpoint: Endpoint, delivery: Delivery, seconds: float) -> Endpoint:
        """Have the next attempt made after some seconds."""
        values = (*delivery, *endpoint.position, seconds, endpoint.url)
        return await self._write(endpoint, _FAILED, *values)

    async def given_up(
        self, endpoint: Endpoint, delivery: Delivery, reason: PausedReason
    ) -> Endpoint:
        """Make no other attempt, and say why."""
        values = (*delivery, *endpoint.position, reason.value, endpoint.url)
        written = await self._write(endpoint, _GIVEN_UP, *values)
        log.warning("webhook %s was paused: %s", endpoint.id, reason)
        return written

    async def lost_place(self, endpoint: Endpoint) -> None:
        """Pause a webhook whose place is not in the feed any more."""
        log.warning("webhook %s was paused: %s", endpoint.id, PausedReason.RESYNC_REQUIRED)
        reason = PausedReason.RESYNC_REQUIRED.value
        await self._write(endpoint, _LOST_PLACE, *endpoint.position, reason)

    async def tested(self, endpoint: Endpoint, delivery: Delivery) -> Endpoint:
        """Write down how a test went."""
        return await self._write(endpoint, _TESTED, *delivery)

    async def forget_secrets(self) -> None:
        """Delete the secrets that nothing is signed with any more."""
        await self._database.fetch(_FORGET)

    async def prune(self) -> int:
        """Delete old deliveries; gives how many, at most 5,000."""
        return len(await self._database.fetch(_PRUNE, MAX_KEPT, MAX_PRUNED))

    async def _write(self, endpoint: Endpoint, query: str, *values: Any) -> Endpoint:  # noqa: ANN401
        """Write something of a webhook, again while the database is away; raise if it is not ours.

        What was delivered and can't be written down is delivered once more.
        """
        lease = endpoint.lease
        while True:
            until = self._until()
            try:
                row = await self._database.fetchrow(
                    query, endpoint.id, lease, self._seconds, *values
                )
            except asyncpg.ForeignKeyViolationError:  # it was deleted: there is no log any more
                raise LeaseLost from None
            except Problem:
                if asyncio.get_running_loop().time() > endpoint.until + self._reserve:
                    raise
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if row is None:
                raise LeaseLost
            return _endpoint(row, lease, until)

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._seconds - self._reserve


_KNOWN_SCOPES: Final = {scope.value: scope for scope in Scope}


def _endpoint(row: Row, lease: UUID, until: float) -> Endpoint:
    scopes = frozenset(_KNOWN_SCOPES[name] for name in row["scopes"] if name in _KNOWN_SCOPES)
    return Endpoint(
        row["id"],
        lease,
        until,
        row["url"],
        tuple(of for of in RecordType if not row["types"] or of.value in row["types"]),
        tuple(secret for secret in (row["secret"], row["previous"]) if secret is not None),
        Caller(row["key_id"], scopes),
        Position(row["epoch"], row["seq"], row["tag"]),
        row["attempts"],
        row["test_message_id"],
        row["due"],
    )
