"""The function that numbers the changes of the feed, as migrations define it."""

from __future__ import annotations

# As in migration 0003; what has changed is how the rows of `feed` are written.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION sequence_feed(waits boolean) RETURNS TABLE (
        epoch text, seq bigint, secret bytea
    ) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
    #variable_conflict use_column
    DECLARE
        state feed_states;
        here text;
        last bigint;
@declare@    BEGIN
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
@begin@            WITH numbered AS (
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
_INSERT = """
                INSERT INTO feed (seq, outbox_id, record_type, record_id, version, op,
                                  visibility_before, visibility_after, head)
                SELECT n.seq, n.id, n.record_type, n.record_id, n.version, n.op,
                       n.visibility_before, n.visibility_after,
                       change_head(n.seq, n.op, n.record_type, n.record_id, n.version, n.at)
                FROM ({rows}
                ) AS n
"""
_UNNUMBERED = _INSERT.format(
    rows="""
                    SELECT last + row_number() OVER (ORDER BY o.id) AS seq, o.*
                    FROM outbox AS o
                    WHERE NOT EXISTS (SELECT FROM feed AS f WHERE f.outbox_id = o.id)"""
)
_FRESH = _INSERT.format(
    rows="""
                    SELECT state.seq + row_number() OVER (ORDER BY fresh.id) AS seq, fresh.*
                    FROM (
                        SELECT o.* FROM outbox AS o WHERE o.xid >= pg_snapshot_xmax(state.snapshot)
                        UNION ALL
@running@
                    ) AS fresh"""
)
_JOINED = """\
                        SELECT o.* FROM pg_snapshot_xip(state.snapshot) AS running
                        JOIN outbox AS o ON o.xid = running"""
# Postgres knows the transactions that are looked up, and sorts what it has found: so it never reads
# all changes in their order, however few transactions it takes them to be from.
_LOOKED_UP = """\
                        SELECT o.* FROM outbox AS o WHERE o.xid = ANY(running)
                        OFFSET 0"""
WITH_TEXTS = (_FRESH.replace("@running@", _JOINED), _UNNUMBERED)
BY_INDEX = (_FRESH.replace("@running@", _LOOKED_UP), _UNNUMBERED)
RUNNING = (
    "        running xid8[];\n",
    "            running := ARRAY(SELECT pg_snapshot_xip(state.snapshot));\n",
)


def sequence_feed(inserts: tuple[str, str], running: tuple[str, str] = ("", "")) -> str:
    """Define it with the statements that number new changes, and all that have no number."""
    fresh, unnumbered = (text.removeprefix("\n") for text in inserts)
    declare, begin = running
    return (
        _FUNCTION.replace("@declare@", declare)
        .replace("@begin@", begin)
        .replace("@fresh@", fresh)
        .replace("@unnumbered@", unnumbered)
    )
