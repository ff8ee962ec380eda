"""Let sources be merged into others, and apart again.

Revision ID: 0025
Revises: 0024

A merged source keeps its row: while other records still name it, it stays a live record, whose only
link leads to its survivor. Then it is deleted, which the keys of the links allow only when nothing
names it any more. `source_merges` has what is needed to undo a merge, and
`source_merge_references` each reference that was led to the survivor. Nothing changes in a document.
"""

from alembic import op

from migrations import circles, defining, derive
from migrations.record_types import CIRCULAR_10, SOURCES_15, SOURCES_25

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# A write that began before would go on with the former triggers, so it has to end first.
_WAIT_FOR_WRITES = "LOCK TABLE sources IN SHARE ROW EXCLUSIVE MODE"
_TABLES = (
    # `before` has the columns of the merged source that a merge changes or leaves behind, and
    # `added` what the survivor got from them.
    """
    CREATE TABLE source_merges (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT source_merges_pkey PRIMARY KEY,
        source_id uuid NOT NULL
            CONSTRAINT source_merges_source_id_fkey REFERENCES sources (id),
        survivor_id uuid NOT NULL
            CONSTRAINT source_merges_survivor_id_fkey REFERENCES sources (id),
        state text NOT NULL,
        before json NOT NULL,
        added json NOT NULL,
        merged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        unmerged_at timestamptz
    )
    """,
    # A source is merged into one other at a time.
    """
    CREATE UNIQUE INDEX source_merges_source_id_key ON source_merges (source_id)
        WHERE state <> 'undone'
    """,
    "CREATE INDEX source_merges_source_id_idx ON source_merges (source_id, id)",
    "CREATE INDEX source_merges_survivor_id_idx ON source_merges (survivor_id, id)",
    """
    CREATE INDEX source_merges_work_idx ON source_merges (id)
        WHERE state IN ('repointing', 'restoring')
    """,
    # `at_path` is where the reference stands in the record since then. `item` is the item of a list
    # in which it stands: as it was, if it was dropped.
    """
    CREATE TABLE source_merge_references (
        id bigint GENERATED ALWAYS AS IDENTITY
            CONSTRAINT source_merge_references_pkey PRIMARY KEY,
        merge_id bigint NOT NULL
            CONSTRAINT source_merge_references_merge_id_fkey REFERENCES source_merges (id),
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        at_path text NOT NULL,
        item json,
        item_count integer NOT NULL,
        dropped boolean NOT NULL,
        state text NOT NULL
    )
    """,
    """
    CREATE INDEX source_merge_references_merge_id_idx
        ON source_merge_references (merge_id, state, record_id)
    """,
    """
    CREATE INDEX source_merge_references_record_id_idx
        ON source_merge_references (record_id, id)
    """,
    # The identities that were moved, and in which of their two columns.
    """
    CREATE TABLE source_merge_identities (
        merge_id bigint NOT NULL
            CONSTRAINT source_merge_identities_merge_id_fkey REFERENCES source_merges (id),
        identity_id uuid NOT NULL,
        moved text NOT NULL,
        CONSTRAINT source_merge_identities_pkey PRIMARY KEY (merge_id, identity_id, moved)
    )
    """,
    # The records that can't name the survivor, in the version of which it was tried.
    """
    CREATE TABLE source_merge_refusals (
        merge_id bigint NOT NULL
            CONSTRAINT source_merge_refusals_merge_id_fkey REFERENCES source_merges (id),
        record_type text NOT NULL,
        record_id uuid NOT NULL,
        version integer NOT NULL,
        CONSTRAINT source_merge_refusals_pkey PRIMARY KEY (merge_id, record_type, record_id)
    )
    """,
)
_FUNCTIONS = (
    # The source that an id means, itself if it is not merged.
    """
    CREATE FUNCTION survivor_of(source uuid) RETURNS uuid LANGUAGE plpgsql STABLE
    SET search_path = public, pg_temp AS $$
    DECLARE
        found uuid := source;
        following uuid;
    BEGIN
        FOR step IN 1 .. 1000 LOOP
            SELECT s.merged_into_id INTO following FROM sources AS s WHERE s.id = found;
            EXIT WHEN following IS NULL;
            found := following;
        END LOOP;
        RETURN found;
    END
    $$
    """,
    # All ids by which records may still name the source that an id means.
    """
    CREATE FUNCTION same_sources(source uuid) RETURNS uuid[] LANGUAGE plpgsql STABLE
    SET search_path = public, pg_temp AS $$
    DECLARE
        level uuid[] := ARRAY[survivor_of(source)];
        found uuid[] := level;
    BEGIN
        LOOP
            level := ARRAY(
                SELECT l.owner_id FROM links AS l
                WHERE l.source_id = ANY(level) AND l.owner_type = 'source'
                    AND l.link = 'merged_into'
            );
            EXIT WHEN cardinality(level) = 0;
            found := found || level;
        END LOOP;
        RETURN found;
    END
    $$
    """,
)


def _types(source: defining.RecordType) -> tuple[defining.RecordType, ...]:
    return (source, *CIRCULAR_10[1:])


def upgrade() -> None:
    """Create the index while others write, then tables, functions, and the triggers of sources."""
    with op.get_context().autocommit_block():
        # It waits for all transactions that began before, such as a backup, and nobody for it.
        op.execute("SET lock_timeout = 0")
        for statement in derive.create_concurrently(
            "sources_merged_idx", "sources (id) WHERE merged_into_id IS NOT NULL"
        ):
            op.execute(statement)
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        _WAIT_FOR_WRITES,
        *_TABLES,
        *_FUNCTIONS,
        *derive.replace_derived(SOURCES_25, derive.ACTOR_6),
        circles.replace_function(_types(SOURCES_25), merges=True),
    ):
        op.get_bind().exec_driver_sql(statement)


REFUSE_MERGED = """
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM source_merges WHERE state <> 'undone') THEN
            RAISE EXCEPTION 'some sources are merged, which the version before does not know'
                USING HINT = 'Unmerge them first, and wait until all merges are undone.';
        END IF;
    END
    $$
    """


def downgrade() -> None:
    """Drop the tables and functions; refuse while merges are not undone."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        _WAIT_FOR_WRITES,
        REFUSE_MERGED,
        "DROP INDEX sources_merged_idx",
        circles.replace_function(_types(SOURCES_15)),
        *derive.replace_derived(SOURCES_15, derive.ACTOR_6),
        "DROP FUNCTION same_sources",
        "DROP FUNCTION survivor_of",
        "DROP TABLE source_merge_refusals",
        "DROP TABLE source_merge_identities",
        "DROP TABLE source_merge_references",
        "DROP TABLE source_merges",
    ):
        op.get_bind().exec_driver_sql(statement)
