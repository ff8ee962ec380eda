"""Resuming: go on with the webhooks that were paused because the feed was replaced by another one.

After a failover or a restore the feed has a new epoch, so every webhook is paused. Its row and
its log were restored with the feed, so they tell where the receiver has been: at the webhook's
place, if the last message that it has accepted is still at the number under which it was sent.
If the feed was set back further, the receiver has been at the last accepted message that is
still there.
"""

from __future__ import annotations

from typing import Any, Final

from api.core.db import Connection, Row
from api.core.sql import compose, render
from api.sync.feed.following import Feed
from api.sync.feed.stretches import Position
from api.sync.webhooks.leases import KEY_WORKS
from schemas.vocabularies import PausedReason

MAX_RESUMED: Final = 500
"""How many webhooks one request resumes."""

_ASKED: Final = """w.status = 'paused' AND w.paused_reason = :reason
        AND (w.key_id = :key_id OR :manages_keys::boolean)"""
# `last` is the number of the last accepted message; `known` that of the last one whose change is
# still at its number.
_PAUSED: Final = compose(
    """
    SELECT w.id, w.seq, last.seq AS last, known.seq AS known
    FROM webhooks AS w
    JOIN keys AS k ON k.id = w.key_id AND {works}
    LEFT JOIN LATERAL (
        SELECT d.seq FROM webhook_deliveries AS d
        WHERE d.webhook_id = w.id AND d.error IS NULL AND d.seq <= w.seq
        ORDER BY d.id DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT d.seq FROM webhook_deliveries AS d
        JOIN feed AS f ON f.seq = d.seq
        JOIN outbox AS o ON o.id = f.outbox_id
            AND (o.record_type, o.record_id, o.version)
                = (d.record_type, d.record_id, d.version)
        WHERE d.webhook_id = w.id AND d.error IS NULL AND d.seq <= w.seq
        ORDER BY d.id DESC LIMIT 1
    ) AS known ON true
    WHERE {asked}
    ORDER BY w.id
    LIMIT :limit
    FOR NO KEY UPDATE OF w""",
    works=KEY_WORKS,
    asked=_ASKED,
)
_LEFT: Final = compose("SELECT count(*) FROM webhooks AS w WHERE {asked}", asked=_ASKED)
_RESUME: Final = """
    UPDATE webhooks
    SET status = 'active', paused_reason = NULL, epoch = :epoch, seq = :seq, tag = :tag,
        attempts = 0, failing_since = NULL, next_attempt_at = NULL, updated_at = clock_timestamp()
    WHERE id = :id
    RETURNING audited(:actor::text[], 'webhook', id::text, 'replayed')"""


async def resume(
    connection: Connection, feed: Feed, reach: dict[str, Any], actor: object
) -> tuple[int, int]:
    """Resume webhooks; give how many were resumed, and how many are left.

    A webhook is left if its receiver's place is not known, or if it is beyond `MAX_RESUMED`.
    """
    reason = PausedReason.RESYNC_REQUIRED.value
    head = await feed.catch_up()
    places: dict[int, Position] = {}
    resumed = 0
    for row in await connection.fetch(*render(_PAUSED, **reach, reason=reason, limit=MAX_RESUMED)):
        seq = _known_seq(row)
        if seq is None or seq > head.seq:
            continue
        if seq not in places:
            places[seq] = await feed.position(seq)
        values = places[seq]._asdict() | {"id": row["id"], "actor": actor}
        await connection.execute(*render(_RESUME, **values))
        resumed += 1
    left = await connection.fetchval(*render(_LEFT, **reach, reason=reason))
    return resumed, left


def _known_seq(row: Row) -> int | None:
    """Tell up to which change a receiver is known to have been; null if that is not known."""
    if row["last"] == row["known"]:  # also where nothing was sent yet
        seq: int | None = row["seq"]
        return seq
    known: int | None = row["known"]
    return known
