"""Number changes by the index of their transactions, also where few transactions wrote them all.

Revision ID: 0029
Revises: 0028

Where most changes came from few transactions, as after a large import, Postgres expected thousands of
changes of each transaction that had been running at the last numbering. So it read all changes
each time, many times in a second while others wrote. No row changes.
"""

from alembic import op

from migrations import feed

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Look up the transactions that were running by their numbers."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(feed.sequence_feed(feed.BY_INDEX, feed.RUNNING))


def downgrade() -> None:
    """Join them, as before."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(feed.sequence_feed(feed.WITH_TEXTS))
