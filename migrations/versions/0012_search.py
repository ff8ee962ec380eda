"""Search words whatever stands beside them, whatever the locale, and texts without spaces by parts.

Revision ID: 0012
Revises: 0011

The locale of the embedded Postgres took typographic punctuation for letters, so that words beside it
were not found. Now `search_text` makes spaces of it before the parser sees a text, and
`search_query` does the same with what is searched for.

The columns `search` are filled anew, which rewrites the four tables: nobody reads or writes them
meanwhile. 10,000 articles of 5,000 characters take about a minute.
"""

from alembic import op

from migrations import defining, derive, search
from migrations.record_types import RECORD_TYPES_9, RECORD_TYPES_12

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _refill(record_type: defining.RecordType) -> None:
    """Replace the column `search`, which removes its index."""
    op.get_bind().exec_driver_sql(f"""
    ALTER TABLE {record_type.table}
        -- squawk-ignore ban-drop-column
        DROP COLUMN search,
        -- squawk-ignore adding-field-with-default
        ADD COLUMN {search.column_of(record_type)}
    """)


def _index() -> None:
    """Create the indexes while others write."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        for each in RECORD_TYPES_12:
            name = f"{each.table}_search_idx"
            for statement in derive.create_concurrently(name, f"{each.table} USING gin (search)"):
                op.execute(statement)


def upgrade() -> None:
    """Define how words are taken from texts and queries, and take them anew."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(search.TEXT_FUNCTION)
    op.get_bind().exec_driver_sql(search.QUERY_FUNCTION)
    for each in RECORD_TYPES_12:
        _refill(each)
    _index()


def downgrade() -> None:
    """Take the words as before."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for each in RECORD_TYPES_9:
        _refill(each)
    op.execute("DROP FUNCTION search_query")
    op.execute("DROP FUNCTION search_text")
    _index()
