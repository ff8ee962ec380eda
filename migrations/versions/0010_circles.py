"""Refuse links that lead back to the record in which they stand.

Revision ID: 0010
Revises: 0009

A source could be its own grandparent, and a denial answer its own answer. After the links of a record
are written, `refuse_circles` walks from it: over the links of one kind at a time, level by level. It
locks the records of each level before it reads their links. So of two transactions whose links would
make a circle together, one waits for the other, or Postgres finds a deadlock; never do both succeed.
Circles that are there already stay, until one of their records gets other links.
"""

from alembic import op

from migrations import circles, derive
from migrations.record_types import CIRCULAR_10, CLAIMS_9, DENIALS_9, SOURCES_9

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Check the links of each record that is written from now on."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        circles.create_function(CIRCULAR_10),
        *(
            statement
            for each in CIRCULAR_10
            for statement in derive.replace_after_functions(each, derive.ACTOR_6)
        ),
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Let links lead back again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        *(
            statement
            for each in (SOURCES_9, CLAIMS_9, DENIALS_9)
            for statement in derive.replace_after_functions(each, derive.ACTOR_6)
        ),
        "DROP FUNCTION refuse_circles",
    ):
        op.get_bind().exec_driver_sql(statement)
