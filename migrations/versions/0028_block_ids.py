"""Give each row of a block an id, under which a process can keep its texts.

Revision ID: 0028
Revises: 0027

Rows of blocks never change, but they are deleted and made anew where revisions change, and a
database that was restored makes other ones with the same numbers. A random id tells all of them
apart. The newest rows that are there get one too, as many as a process may keep; the others are
read each time, as before.
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_BLOCKS = 4_096
"""How many of the newest blocks get ids: more than fit into what a process keeps."""
_UPGRADE = (
    # With the default in the same command, the whole table would be written anew.
    "ALTER TABLE feed_blocks ADD COLUMN id uuid",
    "ALTER TABLE feed_blocks ALTER COLUMN id SET DEFAULT gen_random_uuid()",
    f"""
    UPDATE feed_blocks SET id = gen_random_uuid()
    WHERE block > (SELECT max(block) FROM feed_blocks) - {_BLOCKS}
    """,
)


def upgrade() -> None:
    """Add the ids; this reads and writes the newest rows alone."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop the ids."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE feed_blocks DROP COLUMN id")
