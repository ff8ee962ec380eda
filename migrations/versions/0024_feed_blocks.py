"""Keep the changes of the feed in blocks, so that a page is a few rows.

Revision ID: 0024
Revises: 0023

A page of 1,000 changes was 1,000 rows, each with two records to look up. A block has the JSON of 64
successive changes, records and all, in one row for each kind of change. It never changes. Who may
know of its changes is still decided at each reading: the kind of a row says what its readers could
see then, and the indexes that are made here find which of its records they can't see today.

Nothing is filled here: the service makes the blocks, some at a time (`seal_feed`).
"""

from alembic import op

from migrations import derive

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TABLES = ("sources", "articles", "claims", "denials")
INDEXES = {
    f"{table}_unseen_idx": f"{table} (id) INCLUDE (visibility) WHERE visibility > 0"
    for table in _TABLES
}
_STATEMENTS = (
    # A block has all its 64 changes, or one row without texts: then its changes are read one by one.
    # It has no texts where its records are large, as they would only double what is stored, and
    # where one of its changes or revisions was deleted.
    """
    CREATE TABLE feed_blocks (
        block bigint NOT NULL, -- the number of the change before the first one, divided by 64
        record_type text,
        op text,
        visibility_before smallint,
        visibility_after smallint,
        places smallint[] NOT NULL DEFAULT '{}', -- of the changes in the block, from 1 to 64
        record_ids uuid[] NOT NULL DEFAULT '{}',
        ends integer[] NOT NULL DEFAULT '{}', -- of each text; a comma follows
        quoting smallint[], -- the places of changes, and beside each an article that it quotes
        quoted uuid[],
        size integer NOT NULL DEFAULT 0, -- of the texts, about
        texts bytea,
        CONSTRAINT feed_blocks_key
            UNIQUE NULLS NOT DISTINCT (block, record_type, op, visibility_before, visibility_after)
    -- Only the texts lie apart.
    ) WITH (toast_tuple_target = 4096)
    """,
    # This makes the next blocks, as far as all their changes have numbers, unless another process
    # makes them now. It gives the number of the last change that is in a block. It takes the lock
    # before it reads anything. `unseal_feed` takes the same lock before a revision or a change is
    # changed or deleted, so no block is made of what is about to go.
    """
    CREATE FUNCTION seal_feed(most integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
    DECLARE
        first bigint;
        last bigint;
    BEGIN
        IF NOT pg_is_in_recovery() AND pg_try_advisory_xact_lock(108217864776563) THEN
            first := coalesce((SELECT max(b.block) + 1 FROM feed_blocks AS b), 0);
            last := (SELECT s.seq / 64 - 1 FROM feed_states AS s ORDER BY s.id DESC LIMIT 1);
            last := least(last, first + most - 1);
            INSERT INTO feed_blocks (block, record_type, op, visibility_before, visibility_after,
                                     places, record_ids, ends, quoting, quoted, size, texts)
            WITH changes AS MATERIALIZED (
                SELECT (f.seq - 1) / 64 AS block, ((f.seq - 1) % 64 + 1)::smallint AS place,
                       f.record_type, f.op, f.visibility_before, f.visibility_after, f.seq,
                       f.record_id, f.head, r.doc, r.article_ids,
                       octet_length(f.head) + coalesce(octet_length(r.doc), 4) + 2 AS size
                FROM feed AS f
                JOIN revisions AS r ON r.record_type = f.record_type
                    AND r.record_id = f.record_id AND r.version = f.version
                WHERE f.seq > first * 64 AND f.seq <= (last + 1) * 64
            ), blocks AS (
                SELECT n.block, count(c.seq) = 64 AND sum(c.size) <= 524288 AS has_texts
                FROM generate_series(first, last) AS n(block)
                LEFT JOIN changes AS c ON c.block = n.block
                GROUP BY n.block
            ), placed AS (
                SELECT c.*, sum(c.size) OVER (
                    PARTITION BY c.block, c.record_type, c.op, c.visibility_before,
                        c.visibility_after
                    ORDER BY c.seq
                ) AS text_end
                FROM changes AS c
                JOIN blocks AS b ON b.block = c.block AND b.has_texts
            ), quotes AS (
                SELECT p.block, p.record_type, p.op, p.visibility_before, p.visibility_after,
                       array_agg(p.place) AS quoting, array_agg(quoted.id) AS quoted
                FROM placed AS p CROSS JOIN unnest(p.article_ids) AS quoted(id)
                GROUP BY p.block, p.record_type, p.op, p.visibility_before, p.visibility_after
            ), kinds AS (
                SELECT p.block, p.record_type, p.op, p.visibility_before, p.visibility_after,
                       array_agg(p.place ORDER BY p.seq) AS places,
                       array_agg(p.record_id ORDER BY p.seq) AS record_ids,
                       array_agg(p.text_end::integer - 1 ORDER BY p.seq) AS ends,
                       max(p.text_end)::integer AS size,
                       string_agg(p.head || coalesce(p.doc, 'null') || '}', ',' ORDER BY p.seq) AS texts
                FROM placed AS p
                GROUP BY p.block, p.record_type, p.op, p.visibility_before, p.visibility_after
            )
            SELECT k.block, k.record_type, k.op, k.visibility_before, k.visibility_after,
                   k.places, k.record_ids, k.ends, q.quoting, q.quoted, k.size, k.texts
            FROM kinds AS k
            LEFT JOIN quotes AS q ON (q.block, q.record_type, q.op, q.visibility_after)
                    = (k.block, k.record_type, k.op, k.visibility_after)
                AND q.visibility_before IS NOT DISTINCT FROM k.visibility_before
            UNION ALL
            SELECT b.block, NULL, NULL, NULL, NULL, '{}', '{}', '{}', NULL, NULL, 0, NULL
            FROM blocks AS b
            WHERE NOT b.has_texts
            ORDER BY 1, 2, 3;
        END IF;
        RETURN coalesce((SELECT (max(b.block) + 1) * 64 FROM feed_blocks AS b), 0);
    END
    $$
    """,
    "REVOKE EXECUTE ON FUNCTION seal_feed FROM PUBLIC",
    # Only migrations change or delete revisions and changes: they may change how records are
    # published.
    """
    CREATE FUNCTION unseal_feed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'the feed and its revisions are changed at READ COMMITTED only'
                USING ERRCODE = 'invalid_transaction_state',
                      DETAIL = 'Another transaction could leave blocks that do not see the change.',
                      HINT = 'Begin the transaction with ISOLATION LEVEL READ COMMITTED.';
        END IF;
        PERFORM pg_advisory_xact_lock(108217864776563);
        DELETE FROM feed_blocks;
        RETURN NULL;
    END
    $$
    """,
    *(
        f"""
    CREATE TRIGGER {table}_unsealing BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION unseal_feed()
    """
        for table in ("revisions", "feed")
    ),
)


def upgrade() -> None:
    """Create the indexes while others write, then the empty table and its functions."""
    with op.get_context().autocommit_block():
        # They wait for all transactions that began before, such as a backup, and nobody for them.
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            for statement in derive.create_concurrently(name, definition):
                op.execute(statement)
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop everything; the feed itself stays."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        "DROP TRIGGER feed_unsealing ON feed",
        "DROP TRIGGER revisions_unsealing ON revisions",
        "DROP FUNCTION unseal_feed",
        "DROP FUNCTION seal_feed",
        "DROP TABLE feed_blocks",
        *(f"DROP INDEX {name}" for name in INDEXES),
    ):
        op.get_bind().exec_driver_sql(statement)
