"""Plan nothing anew at a write, and compute the bounds of times faster.

Revision ID: 0034
Revises: 0031

A statement that writes records searches for circles among those that have such a link. Postgres made
a new plan for that search, also where there was none of them: a quarter of a millisecond for each
statement. At each statement, too, it parsed the two SQL functions of indexes, to put them into the
index's expression, which can't be done. It does not try that with PL/pgSQL. The bounds of times are
computed at each write. In PL/pgSQL that takes less than half as long, and nothing for a time that is
not there. No row changes, and no function gives another result.
"""

from alembic import op

from migrations import circles
from migrations.defining import PATH_7
from migrations.record_types import CIRCULAR_10, SOURCES_25

revision = "0034"
down_revision = "0031"
branch_labels = None
depends_on = None

TYPES = (SOURCES_25, *CIRCULAR_10[1:])
_BOUNDS = {
    "time_from": ("coalesce(at ->> 'earliest', at ->> 'latest')", "", "bound::date"),
    "time_until": (
        "coalesce(at ->> 'latest', at ->> 'earliest')",
        " + interval '1 microsecond'",
        "(bound::date + 1)",
    ),
}
"""Of each function: the bound that counts, what is added to an instant, and the date to take."""
_EXIST = {
    "has_source": ("source_id text", "a.source_id IS NOT NULL"),
    "is_credited": ("source_id text, printed text", "num_nonnulls(a.source_id, a.printed) > 0"),
}
"""Of each function of an index: the properties of an attribution that it reads, and the condition."""


def upgrade() -> None:
    """Return at once where nothing is to be searched; write the other functions in PL/pgSQL."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(
        circles.replace_function(TYPES, merges=True, together=True, at_once=True)
    )
    for name in _BOUNDS:
        op.get_bind().exec_driver_sql(_bound_in_plpgsql(name))
    for name in _EXIST:
        op.get_bind().exec_driver_sql(_existence_in_plpgsql(name))


def downgrade() -> None:
    """Search in any case; write the other functions in SQL."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in _EXIST:
        op.get_bind().exec_driver_sql(_existence_in_sql(name))
    for name in _BOUNDS:
        op.get_bind().exec_driver_sql(_bound_in_sql(name))
    op.get_bind().exec_driver_sql(circles.replace_function(TYPES, merges=True, together=True))


def _bound_in_plpgsql(name: str) -> str:
    """Define a bound that is null where there is no time, without a call."""
    counts, more, date = _BOUNDS[name]
    return f"""
    CREATE OR REPLACE FUNCTION {name}(at json) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE{PATH_7} AS $$
    DECLARE
        bound text := {counts};
    BEGIN
        IF strpos(bound, 'T') > 0 THEN
            RETURN bound::timestamptz{more};
        END IF;
        RETURN {date}::timestamp AT TIME ZONE 'UTC';
    END
    $$
    """


def _bound_in_sql(name: str) -> str:
    """Define a bound as 0001 and 0007 made it."""
    counts, more, date = _BOUNDS[name]
    return f"""
    CREATE OR REPLACE FUNCTION {name}(at json) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE{PATH_7} AS $$
        SELECT CASE
            WHEN strpos(bound, 'T') > 0 THEN bound::timestamptz{more}
            ELSE {date}::timestamp AT TIME ZONE 'UTC'
        END
        FROM {counts} AS bound
    $$
    """


def _existence_in_plpgsql(name: str) -> str:
    """Tell whether there is an attribution of a kind, by a function that no plan tries to contain."""
    properties, condition = _EXIST[name]
    return f"""
    CREATE OR REPLACE FUNCTION {name}(attributions json) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        RETURN EXISTS (
            SELECT FROM json_to_recordset(attributions) AS a({properties})
            WHERE {condition}
        );
    END
    $$
    """


def _existence_in_sql(name: str) -> str:
    """Tell it as 0008 and 0018 did."""
    properties, condition = _EXIST[name]
    return f"""
    CREATE OR REPLACE FUNCTION {name}(attributions json) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT EXISTS (
            SELECT FROM json_to_recordset(attributions) AS a({properties})
            WHERE {condition}
        )
    $$
    """
