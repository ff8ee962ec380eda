"""Let no write publish a record whose embargo lasts by the clock of the service.

Revision ID: 0011
Revises: 0010

Whether an embargo had ended was decided by Postgres' clock, also when a record was written. So if
that clock was a day ahead, a write published the record for good. Now the service notes here how
late it is by both clocks (`api/access/embargoes.py`), and a record whose embargo ends later stays
hidden. The service publishes it when both clocks have come that far.
"""

from alembic import op

from migrations.defining import EMBARGO, HIDDEN, PATH_7
from migrations.record_types import RECORD_TYPES

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = tuple(each.table for each in RECORD_TYPES if EMBARGO in each.decides)

_CLOCK = """
    CREATE TABLE embargo_clock (
        one boolean CONSTRAINT embargo_clock_pkey PRIMARY KEY DEFAULT true
            CONSTRAINT embargo_clock_one_check CHECK (one),
        at timestamptz NOT NULL
    )
    """
# The trigger that derives the class has run before: its name comes first in the alphabet.
_STILL_EMBARGOED = f"""
    CREATE FUNCTION still_embargoed() RETURNS trigger LANGUAGE plpgsql{PATH_7} AS $$
    BEGIN
        IF NEW.{EMBARGO} > (SELECT at FROM embargo_clock) THEN
            NEW.visibility := NEW.visibility | 1;
            NEW.lifts_at := CASE WHEN NEW.deleted_at IS NULL THEN NEW.{EMBARGO} END;
        END IF;
        RETURN NEW;
    END
    $$
    """


def upgrade() -> None:
    """Note how late it is by Postgres' clock, and let the triggers look there."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    connection = op.get_bind()
    connection.exec_driver_sql(_CLOCK)
    connection.exec_driver_sql("INSERT INTO embargo_clock (at) VALUES (clock_timestamp())")
    connection.exec_driver_sql(_STILL_EMBARGOED)
    for table in TABLES:
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_embargo BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
            f" WHEN ((NEW.visibility & {HIDDEN - 1}) = 0 AND NEW.{EMBARGO} IS NOT NULL)"
            " EXECUTE FUNCTION still_embargoed()"
        )


def downgrade() -> None:
    """Let Postgres' clock decide alone."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.execute(f"DROP TRIGGER {table}_embargo ON {table}")
    op.execute("DROP FUNCTION still_embargoed")
    op.execute("DROP TABLE embargo_clock")
