"""Let the link of a claim's relation say its state, so that relations are followed by links alone.

Revision ID: 0020
Revises: 0019

A walk along confirmed relations read the list of relations in the claim, once for each link. Nothing
changes in a document, so no version and no event is made. No claim can be written while its links
are derived; all else goes on.
"""

from alembic import op

from migrations import derive
from migrations.record_types import CLAIMS_19, CLAIMS_20

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# A write that began before would go on with the former triggers, so it has to end first.
_WAIT_FOR_WRITES = "LOCK TABLE claims IN SHARE ROW EXCLUSIVE MODE"


def upgrade() -> None:
    """Add the column, and derive the links of relations anew."""
    # A transaction of its own: it keeps out all who read or write links, and only for a moment.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '5s'")
        op.execute("ALTER TABLE links ADD COLUMN IF NOT EXISTS state text")
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        _WAIT_FOR_WRITES,
        *derive.replace_derived(CLAIMS_20, derive.ACTOR_6),
        *derive.refill_links(CLAIMS_20, "relation"),
        "ANALYZE links",
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop the column."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        _WAIT_FOR_WRITES,
        *derive.replace_derived(CLAIMS_19, derive.ACTOR_6),
        "ALTER TABLE links DROP COLUMN state",
    ):
        op.get_bind().exec_driver_sql(statement)
