"""Keep in the feed what its readers are told of each change, written once when it is numbered.

Revision ID: 0021
Revises: 0020

A page of the feed looked up each change in the outbox and wrote its JSON anew for every reader,
which was half of what Postgres did for the page. All that can differ between readers is the word
for the change, and whether the record is included. Changes that have their number already are
written in steps of 10,000, while the service goes on.
"""

from alembic import op

from migrations import feed

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_STEP = 10_000
_COLUMNS = (
    "record_type text",
    "record_id uuid",
    "version integer",
    "op text",
    "visibility_before smallint",
    "visibility_after smallint",
    # The JSON of the change, up to its record; it has the word of a reader who sees the record
    # before and after the change.
    "head bytea",
)
_CHANGE_HEAD = """
    CREATE OR REPLACE FUNCTION change_head(
        seq bigint, op text, record_type text, record_id uuid, version integer, at timestamptz
    ) RETURNS bytea LANGUAGE sql STABLE AS $$
        SELECT convert_to(
            '{"seq":' || seq || ',"op":"' || op || '","type":"' || record_type
            || '","id":"' || record_id || '","version":' || version
            || ',"at":"' || to_char(at AT TIME ZONE 'UTC', CASE
                WHEN date_trunc('second', at) = at THEN 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
                ELSE 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
            END) || '","record":',
            'UTF8'
        )
    $$
    """
_FORMER = (
    """
                INSERT INTO feed (seq, outbox_id)
                SELECT state.seq + row_number() OVER (ORDER BY fresh.id), fresh.id
                FROM (
                    SELECT o.id FROM outbox AS o WHERE o.xid >= pg_snapshot_xmax(state.snapshot)
                    UNION ALL
                    SELECT o.id FROM pg_snapshot_xip(state.snapshot) AS running
                    JOIN outbox AS o ON o.xid = running
                ) AS fresh
""",
    """
                INSERT INTO feed (seq, outbox_id)
                SELECT last + row_number() OVER (ORDER BY o.id), o.id
                FROM outbox AS o
                WHERE NOT EXISTS (SELECT FROM feed AS f WHERE f.outbox_id = o.id)
""",
)
# A numbering that began before, with the former function, fails and is made again.
_REQUIRE = """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'feed_head_check') THEN
            ALTER TABLE feed ADD CONSTRAINT feed_head_check CHECK (head IS NOT NULL) NOT VALID;
        END IF;
    END
    $$
    """

# `COMMIT` ends each step, so that nobody waits for more than one, and a migration that was cut off
# goes on where it stood.
_FILL = f"""
    DO $$
    DECLARE
        done bigint := 0;
        last bigint := (SELECT max(seq) FROM feed);
    BEGIN
        WHILE done < last LOOP
            UPDATE feed AS f
            SET record_type = o.record_type, record_id = o.record_id, version = o.version,
                op = o.op, visibility_before = o.visibility_before,
                visibility_after = o.visibility_after,
                head = change_head(f.seq, o.op, o.record_type, o.record_id, o.version, o.at)
            FROM outbox AS o
            WHERE o.id = f.outbox_id AND f.head IS NULL
                AND f.seq > done AND f.seq <= done + {_STEP};
            COMMIT;
            done := done + {_STEP};
        END LOOP;
        ALTER TABLE feed VALIDATE CONSTRAINT feed_head_check;
    END
    $$
    """


def upgrade() -> None:
    """Add the columns, let numbering fill them, and fill those that are there."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    columns = ", ".join(f"ADD COLUMN IF NOT EXISTS {definition}" for definition in _COLUMNS)
    for statement in (
        f"ALTER TABLE feed {columns}",
        _REQUIRE,
        _CHANGE_HEAD,
        feed.sequence_feed(feed.WITH_TEXTS),
    ):
        op.get_bind().exec_driver_sql(statement)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        op.get_bind().exec_driver_sql(_FILL)
        op.execute("ANALYZE feed")


def downgrade() -> None:
    """Let numbering write the former rows, and drop the columns."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    names = (definition.partition(" ")[0] for definition in _COLUMNS)
    for statement in (
        feed.sequence_feed(_FORMER),
        "DROP FUNCTION change_head",
        "ALTER TABLE feed DROP CONSTRAINT feed_head_check",
        "ALTER TABLE feed " + ", ".join(f"DROP COLUMN {name}" for name in names),
    ):
        op.get_bind().exec_driver_sql(statement)
