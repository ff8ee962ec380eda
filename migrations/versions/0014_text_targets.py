"""Find the denials of something that is only described in words.

Revision ID: 0014
Revises: 0013

A target that is a text refers to no record, so that the link index does not have it. Two indexes say
which denials have such targets, and how clear it is that each denial is aimed at them.
"""

from alembic import op

from migrations import defining, derive

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TEXT_COVERAGES = f"""
    CREATE OR REPLACE FUNCTION text_coverages(targets json) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE{defining.PATH_7} AS $$
        SELECT array_agg(t.coverage)
        FROM json_to_recordset(targets) AS t(text text, coverage text)
        WHERE t.text IS NOT NULL
    $$
    """
INDEXES = {
    "denials_text_coverages_idx": "denials USING gin (text_coverages(targets))",
    "denials_text_target_idx": "denials (created_at, id)"
    " WHERE deleted_at IS NULL AND text_coverages(targets) IS NOT NULL",
}


def upgrade() -> None:
    """Create the indexes while others write."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(_TEXT_COVERAGES)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for name, definition in INDEXES.items():
            for statement in derive.create_concurrently(name, definition):
                op.execute(statement)


def downgrade() -> None:
    """Drop the indexes and their function."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("DROP FUNCTION text_coverages")
