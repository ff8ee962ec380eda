"""The SQL statements of the handlers of webhooks; those of the deliverers are in `leases.py`."""

from __future__ import annotations

from typing import Final

from api.core.sql import compose
from api.sync.webhooks.leases import KEY_WORKS
from schemas.webhooks import Webhook

_COLUMNS: Final = ", ".join(Webhook.__struct_fields__)
"""What may be shown of a webhook."""


# A key reaches its own webhooks. A key that manages keys also reaches those of keys that have
# ended: otherwise nobody could see or delete them.
_REACHABLE: Final = compose(
    """(
        key_id = :key_id
        OR :manages_keys::boolean
            AND EXISTS (SELECT FROM keys AS k WHERE k.id = key_id AND NOT ({works}))
    )""",
    works=KEY_WORKS,
)


def _statement(text: str) -> str:
    return compose(text, columns=_COLUMNS, reachable=_REACHABLE)


LIST: Final = _statement("""
    SELECT {columns} FROM webhooks
    WHERE (
        :after_created_at::text IS NULL
        OR (created_at, id) < (:after_created_at::text::timestamptz, :after_id::text::uuid)
    ) AND {reachable}
    ORDER BY created_at DESC, id DESC
    LIMIT :limit""")
LIST_DELIVERIES: Final = """
    SELECT id, message_id, event, record_type, record_id, version, seq, attempt, at, milliseconds,
           status, error
    FROM webhook_deliveries
    WHERE webhook_id = :webhook_id AND (:after_id::bigint IS NULL OR id < :after_id)
    ORDER BY id DESC
    LIMIT :limit"""
GET: Final = _statement("SELECT {columns} FROM webhooks WHERE id = :id AND {reachable}")
# Without the lock, two requests at once would both count the webhooks that were there before.
LOCK_KEY: Final = "SELECT FROM keys WHERE id = :key_id FOR NO KEY UPDATE"
CREATE: Final = _statement("""
    INSERT INTO webhooks (id, key_id, url, description, types, secret, epoch, seq, tag)
    SELECT :id, :key_id, :url, :description, :types, :secret, :epoch, :seq, :tag
    WHERE (SELECT count(*) FROM webhooks WHERE key_id = :key_id) < :limit
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'created')""")
# With `anew`, the next attempt is made at once: the receiver was repaired or has moved.
UPDATE: Final = _statement("""
    UPDATE webhooks
    SET url = coalesce(:url, url),
        description = CASE WHEN :describes THEN :description ELSE description END,
        types = coalesce(:types, types),
        status = CASE :paused::boolean
            WHEN true THEN 'paused'
            WHEN false THEN 'active'
            ELSE status
        END,
        paused_reason = CASE :paused::boolean
            WHEN true THEN coalesce(paused_reason, 'requested')
            WHEN false THEN NULL
            ELSE paused_reason
        END,
        attempts = CASE WHEN :anew THEN 0 ELSE attempts END,
        failing_since = CASE WHEN :anew THEN NULL ELSE failing_since END,
        next_attempt_at = CASE WHEN :anew THEN NULL ELSE next_attempt_at END,
        updated_at = clock_timestamp()
    WHERE id = :id AND key_id = :key_id
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'updated')""")
DELETE: Final = _statement("""
    DELETE FROM webhooks WHERE id = :id AND {reachable}
    RETURNING audited(:actor::text[], 'webhook', id::text, 'deleted')""")
ROTATE: Final = _statement("""
    UPDATE webhooks
    SET secret = :secret, previous_secret = secret,
        previous_until = clock_timestamp() + make_interval(secs => :overlap_seconds),
        updated_at = clock_timestamp()
    WHERE id = :id AND key_id = :key_id
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'rotated')""")
REPLAY: Final = _statement("""
    UPDATE webhooks
    SET epoch = :epoch, seq = :seq, tag = :tag, attempts = 0, failing_since = NULL,
        next_attempt_at = NULL, updated_at = clock_timestamp()
    WHERE id = :id AND key_id = :key_id
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'replayed')""")
TEST: Final = """
    UPDATE webhooks SET test_message_id = coalesce(test_message_id, :message_id)
    WHERE id = :id AND key_id = :key_id
    RETURNING test_message_id"""
