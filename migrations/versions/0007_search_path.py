"""Fix the schema in which functions look for the names that they use.

Revision ID: 0007
Revises: 0006

A function looks for tables on the path of the session that calls it, and there temporary tables
come first. So whoever could create a temporary table `revisions` could change records without a
trace. Now every function that reads or writes tables, and every function that a generated column
calls, sets its own path. The other SQL functions name no table. Postgres puts them into the
statement that calls them, which a setting would prevent.
"""

from alembic import op

from migrations.defining import PATH_7
from migrations.record_types import RECORD_TYPES

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FUNCTIONS = (
    *(
        f"{each.table}_{when}"
        for each in RECORD_TYPES
        for when in ("before", "inserted", "updated")
    ),
    "refuse_removal",
    "refuse_rewriting",
    "revisions_audited",
    "audited(text, text, text, text)",
    "audited(text[], text, text, text)",
    "time_from",
    "time_until",
    "names_text",
)


def upgrade() -> None:
    """Set the path of each function."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function}{PATH_7}")


def downgrade() -> None:
    """Let the session's path count again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} RESET search_path")
