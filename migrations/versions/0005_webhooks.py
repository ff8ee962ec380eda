"""Create webhooks, and the log of what was delivered to them.

Revision ID: 0005
Revises: 0004

A webhook is a position in the change feed, which moves behind each change as its receiver takes it.
Whichever process holds the lease delivers; `lease` tells whether a process still holds it, and
`lease_until` from when on another one may take it (of a lease that was given back: since when).
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    # The secrets themselves: a signature cannot be made with the hash of one.
    """
    CREATE TABLE webhooks (
        id uuid CONSTRAINT webhooks_pkey PRIMARY KEY,
        key_id text NOT NULL CONSTRAINT webhooks_key_id_fkey REFERENCES keys (id),
        url text NOT NULL,
        description text,
        types text[] NOT NULL,
        secret text NOT NULL,
        previous_secret text,
        previous_until timestamptz,
        status text NOT NULL DEFAULT 'active',
        paused_reason text,
        epoch text NOT NULL,
        seq bigint NOT NULL,
        tag text NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        failing_since timestamptz,
        next_attempt_at timestamptz,
        test_message_id text,
        lease uuid,
        lease_until timestamptz,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT webhooks_check CHECK ((status = 'active') = (paused_reason IS NULL))
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX webhooks_key_id_idx ON webhooks (key_id, created_at, id)",
    """
    CREATE TABLE webhook_deliveries (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT webhook_deliveries_pkey PRIMARY KEY,
        webhook_id uuid NOT NULL CONSTRAINT webhook_deliveries_webhook_id_fkey
            REFERENCES webhooks (id) ON DELETE CASCADE,
        message_id text NOT NULL,
        event text NOT NULL,
        record_type text,
        record_id uuid,
        version integer,
        seq bigint,
        attempt integer NOT NULL,
        at timestamptz NOT NULL,
        milliseconds integer NOT NULL,
        status integer,
        error text
    )
    """,
    "CREATE INDEX webhook_deliveries_webhook_id_idx ON webhook_deliveries (webhook_id, id)",
    "CREATE INDEX webhook_deliveries_at_idx ON webhook_deliveries (at)",
)


def upgrade() -> None:
    """Create everything."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything: webhooks, their secrets, the log."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("webhook_deliveries", "webhooks"):
        op.execute(f"DROP TABLE {table}")
