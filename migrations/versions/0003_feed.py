"""Create the change feed: the outbox in the order in which it became visible.

Revision ID: 0003
Revises: 0002

An id of the outbox is taken before its transaction commits, and commits happen in another order: a
reader that saw 11 would never see 10, which commits later. So changes get their place, `feed.seq`,
only once they are visible: `sequence_feed` numbers what is visible now and was not when it last
did so, which the difference of two snapshots tells (those transactions that were running then, and
those that began later). It writes down each snapshot with the numbers that it gave, in one
transaction, so that a crash loses both or neither.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE feed (
        seq bigint CONSTRAINT feed_pkey PRIMARY KEY,
        outbox_id bigint NOT NULL CONSTRAINT feed_outbox_id_key UNIQUE
    )
    """,
    # The newest row is the state. Rows are added, never changed: while somebody holds an old
    # snapshot, a row that is updated forty times a second becomes slow to find. With `secret`, which
    # stays as long as the epoch, cursors are tagged: without it nobody can tell from a tag what
    # changed.
    """
    CREATE TABLE feed_states (
        id bigint CONSTRAINT feed_states_pkey PRIMARY KEY,
        epoch text NOT NULL,
        secret bytea NOT NULL,
        place text NOT NULL,
        seq bigint NOT NULL,
        snapshot pg_snapshot NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    # Where this feed lives. After a restored dump, a recovery to an earlier time or a failover, some
    # part of it is another: the cluster, its timeline, the database, the table.
    """
    CREATE FUNCTION feed_place() RETURNS text LANGUAGE sql VOLATILE
    SET search_path = public, pg_temp AS $$
        SELECT concat_ws(
            '/',
            (SELECT system_identifier FROM pg_control_system()),
            left(pg_walfile_name(pg_current_wal_lsn()), 8),
            (SELECT oid FROM pg_database WHERE datname = current_database()),
            'feed'::regclass::oid
        )
    $$
    """,
    # Give numbers to what has become visible; tell the epoch and the last number. One at a time:
    # another one waits, or (`waits` false) leaves it at what there is. Each statement in here has a
    # snapshot of its own, taken behind the lock, so it sees what the one before has written. To be
    # called in a transaction of its own that has written nothing, or it refuses: what was written
    # would count as visible to everybody. (The migration, which calls it first, wrote no change.) The
    # owner's rights: nobody else writes these tables. Whatever the planner thinks of transactions'
    # ids, there are few new ones among many, so the index is right.
    """
    CREATE FUNCTION sequence_feed(waits boolean) RETURNS TABLE (
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
                INSERT INTO feed (seq, outbox_id)
                SELECT state.seq + row_number() OVER (ORDER BY fresh.id), fresh.id
                FROM (
                    SELECT o.id FROM outbox AS o WHERE o.xid >= pg_snapshot_xmax(state.snapshot)
                    UNION ALL
                    SELECT o.id FROM pg_snapshot_xip(state.snapshot) AS running
                    JOIN outbox AS o ON o.xid = running
                ) AS fresh
                RETURNING seq
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
                INSERT INTO feed (seq, outbox_id)
                SELECT last + row_number() OVER (ORDER BY o.id), o.id
                FROM outbox AS o
                WHERE NOT EXISTS (SELECT FROM feed AS f WHERE f.outbox_id = o.id)
                RETURNING seq
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
    """,
    # Whoever serves is granted it (`migrate --grant-to`), and nobody else.
    "REVOKE EXECUTE ON FUNCTION sequence_feed FROM PUBLIC",
    # The first numbers, and the first state.
    "SELECT * FROM sequence_feed(true)",
)


def upgrade() -> None:
    """Create everything, and number what is there."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        # One that was cut off leaves an index that is not valid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS outbox_xid_idx")
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS outbox_xid_idx ON outbox (xid)")
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything; the outbox stays, and can be numbered anew."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP FUNCTION sequence_feed")
    op.execute("DROP FUNCTION feed_place")
    op.execute("DROP TABLE feed_states")
    op.execute("DROP TABLE feed")
    op.execute("DROP INDEX outbox_xid_idx")
