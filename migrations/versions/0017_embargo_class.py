"""Derive the class of a record from both clocks at once.

Revision ID: 0017
Revises: 0016

A second trigger hid a record again whose embargo lasted by the clock of the service. So where
Postgres' clock was ahead, the first trigger saw another class at each write, and a write that
changed nothing made a version. Now the first trigger looks at both clocks. An embargo that has
ended does not begin again where a clock is set back, so that such a write makes no version either.
"""

from alembic import op

from migrations import defining, derive
from migrations.record_types import ARTICLES_15, CLAIMS_16, DENIALS_16, EMBARGOED_17

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# As migration 0011 made them.
_STILL_EMBARGOED = f"""
    CREATE FUNCTION still_embargoed() RETURNS trigger LANGUAGE plpgsql{defining.PATH_7} AS $$
    BEGIN
        IF NEW.{defining.EMBARGO} > (SELECT at FROM embargo_clock) THEN
            NEW.visibility := NEW.visibility | 1;
            NEW.lifts_at := CASE WHEN NEW.deleted_at IS NULL THEN NEW.{defining.EMBARGO} END;
        END IF;
        RETURN NEW;
    END
    $$
    """


def upgrade() -> None:
    """Let one trigger look at both clocks."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    connection = op.get_bind()
    for each in EMBARGOED_17:
        for statement in derive.replace_before_function(each):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"DROP TRIGGER {each.table}_embargo ON {each.table}")
    connection.exec_driver_sql("DROP FUNCTION still_embargoed")


def downgrade() -> None:
    """Let a second trigger look at the clock of the service."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    connection = op.get_bind()
    connection.exec_driver_sql(_STILL_EMBARGOED)
    for each in (ARTICLES_15, CLAIMS_16, DENIALS_16):
        for statement in derive.replace_before_function(each):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(
            f"CREATE TRIGGER {each.table}_embargo BEFORE INSERT OR UPDATE ON {each.table}"
            f" FOR EACH ROW WHEN ((NEW.visibility & {defining.HIDDEN - 1}) = 0"
            f" AND NEW.{defining.EMBARGO} IS NOT NULL)"
            " EXECUTE FUNCTION still_embargoed()"
        )
