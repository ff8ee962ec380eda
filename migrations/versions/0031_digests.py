"""Give each record the digest of its document, by which the service knows a page again.

Revision ID: 0031
Revises: 0029

Postgres itself computes the digest whenever the row is written, with triggers or without. So a
migration that writes documents anew changes their digests too. The tables are written anew, with no
version and no event; they can't be read meanwhile.
"""

from alembic import op

from migrations.record_types import DIGEST_31, RECORD_TYPES_31

revision = "0031"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the digests, and let indexes be read alone again.

    What follows the first transaction can be cut off; then this goes on behind that transaction.
    """
    op.execute("SET LOCAL lock_timeout = '5s'")
    for each in RECORD_TYPES_31:
        op.get_bind().exec_driver_sql(
            f"""-- squawk-ignore adding-field-with-default
    ALTER TABLE {each.table} ADD COLUMN IF NOT EXISTS {DIGEST_31}"""
        )
    with op.get_context().autocommit_block():
        # Nobody waits for it.
        op.execute("SET lock_timeout = 0")
        for each in RECORD_TYPES_31:
            op.execute(f"VACUUM (ANALYZE) {each.table}")


def downgrade() -> None:
    """Drop the digests."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for each in RECORD_TYPES_31:
        op.execute(f"ALTER TABLE {each.table} DROP COLUMN IF EXISTS digest")
