"""Plan once how the articles of a record are looked at, and not again for each record.

Revision ID: 0022
Revises: 0021

The trigger of claims and denials looks whether an article is hidden in which the record appears.
Postgres made a plan for each record, since it expected less of a plan that does not know how many
articles there are; that took it a third of the time of an insert. No row changes.
"""

from alembic import op

from migrations import defining

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _articles_hidden(ids: str) -> str:
    """Define the function as migration 0009 made it, with the expression for the ids."""
    return f"""
    CREATE OR REPLACE FUNCTION articles_hidden(ids uuid[]) RETURNS boolean
    LANGUAGE plpgsql VOLATILE{defining.SETTINGS_9} AS $$
    BEGIN
        IF cardinality(ids) = 0 THEN
            RETURN false;
        END IF;
        RETURN coalesce(bool_or(locked.hidden), false) FROM (
            SELECT a.visibility > 0 AS hidden FROM articles AS a
            WHERE a.id = ANY({ids})
            ORDER BY a.id
            FOR SHARE
        ) AS locked;
    END
    $$
    """


# Within a SELECT, no plan knows how many ids there are, so one that is kept costs no more.
_KEPT = "(SELECT ids)::uuid[]"


def upgrade() -> None:
    """Hide from the planner how many articles there are."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(_articles_hidden(_KEPT))


def downgrade() -> None:
    """Let it know again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(_articles_hidden("ids"))
