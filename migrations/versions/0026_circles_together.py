"""Look for circles through all records of a statement together, reading each link once.

Revision ID: 0026
Revises: 0025

The links of each record were walked by themselves. Where many records of one statement refer to each
other, the same links were read again for each of them: 300 denials that answer 150 denials each took
26 s. No row changes.
"""

from alembic import op

from migrations import circles
from migrations.record_types import CIRCULAR_10, SOURCES_25

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

TYPES = (SOURCES_25, *CIRCULAR_10[1:])


def upgrade() -> None:
    """Walk from one record only where all links together leave a doubt about it."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        circles.create_suspects(TYPES),
        circles.replace_function(TYPES, merges=True, together=True),
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Walk from each record."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        circles.replace_function(TYPES, merges=True),
        "DROP FUNCTION circle_suspects(text, text, uuid[])",
    ):
        op.get_bind().exec_driver_sql(statement)
