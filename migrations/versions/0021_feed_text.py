"""Keep in the feed what its readers are told of each change, written once when it is numbered.

Revision ID: 0021
Revises: 0020

A page of the feed looked up each change in the outbox and wrote its JSON anew for every reader,
which was half of what Postgres did for the page. All that can differ between readers is the word
for the change, and whether the record is included. Changes that have their number already are
written in steps of 10,000, while the service goes on.
"""

from alembic import op

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
# As in migration 0003; what has changed is how the rows of `feed` are written.
_SEQUENCE_FEED = """
    CREATE OR REPLACE FUNCTION sequence_feed(waits boolean) RETURNS TABLE (
        epoch text, seq bigint, secret bytea
    ) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
    #variable_conflict use_column
    DECLARE
        state feed_states;
        here text;
        last bigint;
    BEGIN
        IF pg_is_in_recovery() THEN
            NULL; -- a standby reads what the primary has numbered
        ELSIF waits THEN
            PERFORM pg_advisory_xact_lock(7378697629483820646);
            here := feed_place();
        ELSIF pg_try_advisory_xact_lock(7378697629483820646) THEN
            here := feed_place();
        END IF;
        SELECT * INTO state FROM feed_states AS s ORDER BY s.id DESC LIMIT 1;
        IF state.id IS NOT NULL AND pg_current_xact_id_if_assigned() IS NOT NULL THEN
            RAISE EXCEPTION 'changes are numbered in a transaction that has written nothing'
                USING ERRCODE = 'active_sql_transaction';
        END IF;
        IF here = state.place THEN
            WITH numbered AS (
@fresh@                RETURNING seq
            )
            INSERT INTO feed_states (id, epoch, secret, place, seq, snapshot)
            SELECT state.id + 1, state.epoch, state.secret, state.place, max(n.seq),
                   pg_current_snapshot()
            FROM numbered AS n
            HAVING count(*) > 0;
            IF FOUND THEN
                DELETE FROM feed_states WHERE id = state.id - 100;
            END IF;
        ELSIF here IS NOT NULL THEN
            -- Another place: transactions have other ids here, so those of the rows that are there
            -- mean nothing any more. All that has no number gets one, under a new epoch.
            last := coalesce(greatest(state.seq, (SELECT max(f.seq) FROM feed AS f)), 0);
            WITH numbered AS (
@unnumbered@                RETURNING seq
            ), settled AS (
                UPDATE outbox AS o SET xid = '3'
                WHERE o.xid >= pg_snapshot_xmin(pg_current_snapshot())
            )
            INSERT INTO feed_states (id, epoch, secret, place, seq, snapshot)
            SELECT coalesce(state.id, 0) + 1, left(replace(gen_random_uuid()::text, '-', ''), 12),
                   uuid_send(gen_random_uuid()), here, coalesce(max(n.seq), last), pg_current_snapshot()
            FROM numbered AS n;
        END IF;
        RETURN QUERY SELECT s.epoch, s.seq, s.secret FROM feed_states AS s
            ORDER BY s.id DESC LIMIT 1;
    END
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
_INSERT = """
                INSERT INTO feed (seq, outbox_id, record_type, record_id, version, op,
                                  visibility_before, visibility_after, head)
                SELECT n.seq, n.id, n.record_type, n.record_id, n.version, n.op,
                       n.visibility_before, n.visibility_after,
                       change_head(n.seq, n.op, n.record_type, n.record_id, n.version, n.at)
                FROM ({rows}
                ) AS n
"""
_PRESENT = (
    _INSERT.format(
        rows="""
                    SELECT state.seq + row_number() OVER (ORDER BY fresh.id) AS seq, fresh.*
                    FROM (
                        SELECT o.* FROM outbox AS o WHERE o.xid >= pg_snapshot_xmax(state.snapshot)
                        UNION ALL
                        SELECT o.* FROM pg_snapshot_xip(state.snapshot) AS running
                        JOIN outbox AS o ON o.xid = running
                    ) AS fresh"""
    ),
    _INSERT.format(
        rows="""
                    SELECT last + row_number() OVER (ORDER BY o.id) AS seq, o.*
                    FROM outbox AS o
                    WHERE NOT EXISTS (SELECT FROM feed AS f WHERE f.outbox_id = o.id)"""
    ),
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


def _sequence_feed(inserts: tuple[str, str]) -> str:
    fresh, unnumbered = (text.removeprefix("\n") for text in inserts)
    return _SEQUENCE_FEED.replace("@fresh@", fresh).replace("@unnumbered@", unnumbered)


def upgrade() -> None:
    """Add the columns, let numbering fill them, and fill those that are there."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    columns = ", ".join(f"ADD COLUMN IF NOT EXISTS {definition}" for definition in _COLUMNS)
    for statement in (
        f"ALTER TABLE feed {columns}",
        _REQUIRE,
        _CHANGE_HEAD,
        _sequence_feed(_PRESENT),
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
        _sequence_feed(_FORMER),
        "DROP FUNCTION change_head",
        "ALTER TABLE feed DROP CONSTRAINT feed_head_check",
        "ALTER TABLE feed " + ", ".join(f"DROP COLUMN {name}" for name in names),
    ):
        op.get_bind().exec_driver_sql(statement)
