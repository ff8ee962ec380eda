"""Let the audit log tell where refused requests came from, and let old events of it be deleted.

Revision ID: 0013
Revises: 0012

Events can be deleted by `prune_audit` alone, with its owner's rights: the oldest ones, and none of
the last thirty days, whatever it is asked for.
"""

from alembic import op

from migrations.defining import PATH_7

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_PRUNING = "claim_records.pruning"
_REFUSE = f"""
    CREATE OR REPLACE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql{PATH_7} AS $$
    BEGIN{{unless}}
        RAISE EXCEPTION 'the audit log is only added to';
    END
    $$
    """
_UNLESS = f"""
        IF TG_OP = 'DELETE' AND current_setting('{_PRUNING}', true) = 'on' THEN
            RETURN NULL;
        END IF;"""
# Events have numbers in the order in which they were begun: so the oldest ones stand first.
_PRUNE = f"""
    CREATE FUNCTION prune_audit(days integer, now timestamptz, most integer) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER{PATH_7} AS $$
    DECLARE
        pruned integer;
    BEGIN
        PERFORM set_config('{_PRUNING}', 'on', true);
        WITH oldest AS (
            SELECT a.id, a.at FROM audit AS a ORDER BY a.id LIMIT most
        )
        DELETE FROM audit AS a USING oldest AS o
        WHERE a.id = o.id
            AND o.at <= least(clock_timestamp(), now) - make_interval(days => greatest(days, 30));
        GET DIAGNOSTICS pruned = ROW_COUNT;
        PERFORM set_config('{_PRUNING}', '', true);
        RETURN pruned;
    END
    $$
    """


def upgrade() -> None:
    """Add the column and the function."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        "ALTER TABLE audit ADD COLUMN IF NOT EXISTS address text",
        _REFUSE.format(unless=_UNLESS),
        _PRUNE,
    ):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Drop both; what was deleted stays so."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        "DROP FUNCTION prune_audit",
        _REFUSE.format(unless=""),
        "ALTER TABLE audit DROP COLUMN address",
    ):
        op.get_bind().exec_driver_sql(statement)
