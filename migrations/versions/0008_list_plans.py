"""Let lists find the few records that match among many, however they are asked.

Revision ID: 0008
Revises: 0007

A list that nothing matches read every record: for claims without a known source, for a time in the
future, for a language that no record has. Each such condition now has an index.

Language tags are compared without case, and `en` finds `en-GB`: the key of the index is the tag in
lower case with a hyphen at its end, so that the tags below `en` are those between `en-` and `en.`.
"""

from alembic import op

from migrations import derive

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_HAS_SOURCE = """
    CREATE OR REPLACE FUNCTION has_source(attributions json) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT EXISTS (
            SELECT FROM json_to_recordset(attributions) AS a(source_id text)
            WHERE a.source_id IS NOT NULL
        )
    $$
    """
_LIVE = "WHERE deleted_at IS NULL"
# Of deleted records as well: Postgres takes no statistics of an expression from a partial index.
_LANGUAGE = """(lower(language COLLATE "C") || '-'), created_at, id"""
INDEXES = {
    "articles_language_idx": f"articles ({_LANGUAGE})",
    "articles_published_until_idx": f"articles (published_until) {_LIVE}",
    "claims_attributed_idx": "claims (has_source(attributions), created_at, id)",
    "claims_language_idx": f"claims ({_LANGUAGE})",
    "claims_occurred_until_idx": f"claims (occurred_until) {_LIVE}",
    "claims_stated_until_idx": f"claims (stated_until) {_LIVE}",
    "denials_language_idx": f"denials ({_LANGUAGE})",
    "denials_stated_until_idx": f"denials (stated_until) {_LIVE}",
}


def upgrade() -> None:
    """Create the indexes while others write; let the planner know what the keys are."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(_HAS_SOURCE)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for name, definition in INDEXES.items():
            for statement in derive.create_concurrently(name, definition):
                op.execute(statement)
        for table in ("articles", "claims", "denials"):
            op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    """Drop the indexes, and the function of one of them."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("DROP FUNCTION has_source")
