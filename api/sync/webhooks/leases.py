"""Leases: how processes share webhooks, and what they store about each delivery.

A process takes a lease of each webhook that has something to be sent. Each statement about a
webhook names the lease, so that a process whose lease has passed to another process changes
nothing. It also names the webhook's place in the feed, as the process knows it, so that it does not
undo a replay.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from secrets import randbits
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from api.core.caller import Caller
from api.core.db import Database, Row
from api.core.errors import Problem
from api.core.sql import compose, render
from api.sync.feed.numbering import Head
from api.sync.feed.stretches import Position
from schemas.vocabularies import PausedReason, RecordType, Scope

MAX_KEPT: Final = 1_000
"""How many deliveries of a webhook are kept, for 30 days at most."""
MAX_PRUNED: Final = 5_000
_AGAIN_SECONDS: Final = 0.5
_LEASE_BITS: Final = 64
"""How much of a lease says which process took it, and how much tells its leases apart."""

log = logging.getLogger("claim_records")


class LeaseLost(Exception):  # noqa: N818 - it says what happened
    """Another process holds the webhook now, or the webhook was changed or deleted."""


class Endpoint(NamedTuple):
    """A webhook as it was when it was last written; its repr shows no secrets."""

    id: UUID
    lease: UUID
    until: float  # on the loop's clock: how long the lease is certain to be ours
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
    """An attempt to deliver, as the log has it: a field for each parameter of `_LOGGED`."""

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

KEY_WORKS: Final = (
    "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())"
)
"""The condition that the key of alias `k` works."""
_DUE: Final = """w.status = 'active'
            AND (w.next_attempt_at IS NULL OR w.next_attempt_at <= clock_timestamp())"""
_ENDPOINT: Final = compose(
    """w.id, w.url, w.types, w.secret, w.epoch, w.seq, w.tag, w.attempts, w.key_id,
        k.scopes, {due} AND {works} AS due,
        CASE WHEN w.previous_until > clock_timestamp() THEN w.previous_secret END AS previous,
        CASE WHEN {works} THEN w.test_message_id END AS test_message_id""",
    due=_DUE,
    works=KEY_WORKS,
)
_LOGGED: Final = """
    WITH logged AS (
        INSERT INTO webhook_deliveries (
            webhook_id, message_id, event, record_type, record_id, version, seq, attempt, at,
            milliseconds, status, error
        )
        VALUES (
            :id, :message_id, :event, :record_type, :record_id::text::uuid, :version, :seq,
            :attempt, :at, :milliseconds, :status, :error
        )
    )"""
_HELD: Final = "k.id = w.key_id AND w.id = :id AND w.lease = :lease"
_AT_PLACE: Final = "w.epoch = :from_epoch AND w.seq = :from_seq AND w.tag = :from_tag"
_TRIED: Final = "w.attempts = :attempt - 1 AND w.url = :url"


def _statement(text: str) -> str:
    """Fill in the pieces that the statements have in common."""
    return compose(
        text,
        logged=_LOGGED,
        renewed="lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)",
        held=_HELD,
        at_place=_AT_PLACE,
        tried=_TRIED,
        endpoint=_ENDPOINT,
        due=_DUE,
        works=KEY_WORKS,
    )


# A webhook that somebody paused keeps its reason. The epoch is compared with the one in the table,
# not with the one that this process knows: a process may be late to learn of a new feed, and must
# not pause webhooks that were made in it.
_PAUSE: Final = _statement("""
    UPDATE webhooks AS w
    SET status = 'paused', updated_at = clock_timestamp(), paused_reason = CASE
        WHEN k.revoked_at IS NOT NULL THEN 'key_revoked'
        WHEN NOT ({works}) THEN 'key_expired'
        ELSE 'resync_required'
    END
    FROM keys AS k
    WHERE k.id = w.key_id AND w.status = 'active' AND (
        w.epoch <> (SELECT epoch FROM feed_states ORDER BY id DESC LIMIT 1) OR NOT ({works})
    )
    RETURNING w.id, w.paused_reason, audited(NULL::text[], 'webhook', w.id::text, 'paused')""")
# The webhook that has waited longest comes first.
_TAKE: Final = _statement("""
    WITH free AS MATERIALIZED (
        SELECT w.id
        FROM webhooks AS w JOIN keys AS k ON k.id = w.key_id AND {works}
        WHERE (w.lease IS NULL OR w.lease_until < clock_timestamp())
            AND (w.test_message_id IS NOT NULL OR ({due} AND w.epoch = :epoch AND w.seq < :seq))
        ORDER BY w.lease_until NULLS FIRST, w.id
        LIMIT :limit
        FOR NO KEY UPDATE OF w SKIP LOCKED
    )
    UPDATE webhooks AS w SET lease = :lease, {renewed}
    FROM free, keys AS k
    WHERE w.id = free.id AND k.id = w.key_id
    RETURNING {endpoint}""")
_GIVE_BACK: Final = """
    UPDATE webhooks SET lease = NULL, lease_until = clock_timestamp()
    WHERE id = :id AND lease = :lease
    RETURNING true"""
_GIVE_ALL_BACK: Final = """
    UPDATE webhooks SET lease = NULL, lease_until = clock_timestamp()
    WHERE lease BETWEEN :first AND :last
    RETURNING true"""
_SKIP: Final = _statement("""
    UPDATE webhooks AS w SET {renewed}, seq = :to_seq, tag = :to_tag
    FROM keys AS k
    WHERE {held} AND {at_place}
    RETURNING {endpoint}""")
_SUCCEED: Final = _statement("""{logged}
    UPDATE webhooks AS w
    SET {renewed}, seq = :to_seq, tag = :to_tag, attempts = 0, failing_since = NULL,
        next_attempt_at = NULL
    FROM keys AS k
    WHERE {held} AND {at_place}
    RETURNING {endpoint}""")
# A failure counts only against what was tried. If somebody has resumed the webhook meanwhile, or
# changed its URL, attempts begin anew.
_FAIL: Final = _statement("""{logged}
    UPDATE webhooks AS w
    SET {renewed}, attempts = attempts + 1, failing_since = coalesce(failing_since, :at),
        next_attempt_at = clock_timestamp() + make_interval(secs => :delay_seconds)
    FROM keys AS k
    WHERE {held} AND {at_place} AND {tried}
    RETURNING {endpoint}""")
_GIVE_UP: Final = _statement("""{logged}
    UPDATE webhooks AS w
    SET {renewed}, attempts = attempts + 1, failing_since = coalesce(failing_since, :at),
        next_attempt_at = NULL, status = 'paused', updated_at = clock_timestamp(),
        paused_reason = coalesce(paused_reason, :reason::text)
    FROM keys AS k
    WHERE {held} AND {at_place} AND {tried}
    RETURNING {endpoint}, audited(NULL::text[], 'webhook', w.id::text, 'paused')""")
_PAUSE_DISPLACED: Final = _statement("""
    UPDATE webhooks AS w
    SET {renewed}, status = 'paused', paused_reason = coalesce(paused_reason, :reason::text),
        updated_at = clock_timestamp()
    FROM keys AS k
    WHERE {held} AND {at_place}
    RETURNING {endpoint}, audited(NULL::text[], 'webhook', w.id::text, 'paused')""")
_RECORD_TEST: Final = _statement("""{logged}
    UPDATE webhooks AS w SET {renewed}, test_message_id = NULL
    FROM keys AS k
    WHERE {held}
    RETURNING {endpoint}""")
_FORGET: Final = """
    UPDATE webhooks SET previous_secret = NULL
    WHERE previous_secret IS NOT NULL AND previous_until <= clock_timestamp()
    RETURNING true"""
_PRUNE: Final = """
    WITH old AS (
        SELECT d.id
        FROM webhooks AS w CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries
            WHERE webhook_id = w.id AND id <= (
                SELECT id FROM webhook_deliveries
                WHERE webhook_id = w.id
                ORDER BY id DESC
                OFFSET :kept LIMIT 1
            )
        ) AS d
        UNION
        SELECT id FROM webhook_deliveries WHERE at < clock_timestamp() - interval '30 days'
        LIMIT :limit
    )
    DELETE FROM webhook_deliveries AS d USING old WHERE d.id = old.id
    RETURNING true"""


class Leases:
    """The leases that a process takes, and what it writes under them."""

    def __init__(self, database: Database, seconds: float, reserve: float) -> None:
        """Hold no lease yet.

        A lease lasts for `seconds`, and no attempt begins in its last `reserve` seconds.
        """
        self._database = database
        self._seconds = seconds
        self._reserve = reserve
        self._first = randbits(_LEASE_BITS) << _LEASE_BITS  # all leases of a process begin alike

    async def pause_unfit(self) -> None:
        """Pause the webhooks whose key has ended, and those whose place is in another feed."""
        for row in await self._database.fetch(*render(_PAUSE)):
            log.warning("webhook %s was paused: %s", row["id"], row["paused_reason"])

    async def take(self, head: Head, limit: int) -> list[Endpoint]:
        """Take leases of webhooks that have something to be sent and that no process holds."""
        until, lease = self._until(), UUID(int=self._first | randbits(_LEASE_BITS))
        query = render(
            _TAKE,
            epoch=head.epoch,
            seq=head.seq,
            limit=limit,
            lease=lease,
            lease_seconds=self._seconds,
        )
        return [_endpoint(row, lease, until) for row in await self._database.fetch(*query)]

    async def give_back(self, endpoint: Endpoint) -> None:
        """End a lease, so that another process can take the webhook."""
        query = render(_GIVE_BACK, id=endpoint.id, lease=endpoint.lease)
        await self._database.fetchrow(*query)

    async def give_all_back(self) -> None:
        """End all leases, also those whose taking was cancelled before it was answered."""
        last = self._first | (1 << _LEASE_BITS) - 1
        query = render(_GIVE_ALL_BACK, first=UUID(int=self._first), last=UUID(int=last))
        await self._database.fetch(*query)

    async def skip(self, endpoint: Endpoint, to: Position) -> Endpoint:
        """Move behind changes that the receiver does not get."""
        return await self._write(endpoint, _SKIP, **_moved(endpoint, to))

    async def record_success(
        self, endpoint: Endpoint, delivery: Delivery, to: Position
    ) -> Endpoint:
        """Log an attempt, and move behind the change that the receiver has taken."""
        values = delivery._asdict() | _moved(endpoint, to)
        return await self._write(endpoint, _SUCCEED, **values)

    async def record_failure(
        self, endpoint: Endpoint, delivery: Delivery, delay_seconds: float
    ) -> Endpoint:
        """Log an attempt, and have the next one made after some seconds."""
        values = delivery._asdict() | _place(endpoint)
        values |= {"delay_seconds": delay_seconds, "url": endpoint.url}
        return await self._write(endpoint, _FAIL, **values)

    async def give_up(
        self, endpoint: Endpoint, delivery: Delivery, reason: PausedReason
    ) -> Endpoint:
        """Log an attempt, and pause the webhook for a reason."""
        values = delivery._asdict() | _place(endpoint)
        values |= {"reason": reason.value, "url": endpoint.url}
        paused = await self._write(endpoint, _GIVE_UP, **values)
        log.warning("webhook %s was paused: %s", endpoint.id, reason)
        return paused

    async def pause_displaced(self, endpoint: Endpoint) -> None:
        """Pause a webhook whose place is no longer in the feed."""
        log.warning("webhook %s was paused: %s", endpoint.id, PausedReason.RESYNC_REQUIRED)
        reason = PausedReason.RESYNC_REQUIRED.value
        await self._write(endpoint, _PAUSE_DISPLACED, **_place(endpoint), reason=reason)

    async def record_test(self, endpoint: Endpoint, delivery: Delivery) -> Endpoint:
        """Log the attempt to send a test message."""
        return await self._write(endpoint, _RECORD_TEST, **delivery._asdict())

    async def forget_secrets(self) -> None:
        """Delete old secrets with which no message is signed any more."""
        await self._database.fetch(*render(_FORGET))

    async def prune(self) -> int:
        """Delete old deliveries; give how many were deleted, at most `MAX_PRUNED`."""
        return len(await self._database.fetch(*render(_PRUNE, kept=MAX_KEPT, limit=MAX_PRUNED)))

    async def _write(self, endpoint: Endpoint, statement: str, **values: Any) -> Endpoint:  # noqa: ANN401
        """Write to a webhook and renew its lease; raise `LeaseLost` if it is no longer ours.

        While the database is away, try again. A delivery that can't be logged is made once more.
        """
        lease = endpoint.lease
        values |= {"id": endpoint.id, "lease": lease, "lease_seconds": self._seconds}
        query = render(statement, **values)
        while True:
            until = self._until()
            try:
                row = await self._database.fetchrow(*query)
            except asyncpg.ForeignKeyViolationError:  # the webhook was deleted, and its log too
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


def _place(endpoint: Endpoint) -> dict[str, Any]:
    """Give the parameters of the webhook's place in the feed, as this process knows it."""
    epoch, seq, tag = endpoint.position
    return {"from_epoch": epoch, "from_seq": seq, "from_tag": tag}


def _moved(endpoint: Endpoint, to: Position) -> dict[str, Any]:
    """Give the parameters of a move from the endpoint's place to another."""
    return _place(endpoint) | {"to_seq": to.seq, "to_tag": to.tag}


_KNOWN_SCOPES: Final = {scope.value: scope for scope in Scope}


def _endpoint(row: Row, lease: UUID, until: float) -> Endpoint:
    scopes = frozenset(_KNOWN_SCOPES[name] for name in row["scopes"] if name in _KNOWN_SCOPES)
    types = row["types"]
    return Endpoint(
        row["id"],
        lease,
        until,
        row["url"],
        tuple(each for each in RecordType if not types or each.value in types),
        tuple(secret for secret in (row["secret"], row["previous"]) if secret is not None),
        Caller(row["key_id"], scopes),
        Position(row["epoch"], row["seq"], row["tag"]),
        row["attempts"],
        row["test_message_id"],
        row["due"],
    )
