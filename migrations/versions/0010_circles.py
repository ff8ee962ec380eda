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

from migrations import derive
from migrations.record_types import (
    CLAIMS_9,
    CLAIMS_10,
    DENIALS_9,
    DENIALS_10,
    SOURCES_9,
    SOURCES_10,
)

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MAX_LEVELS = 1_000
MAX_RECORDS = 10_000
TYPES = (SOURCES_10, CLAIMS_10, DENIALS_10)

_LOCKS = "\n                ".join(
    f"""{"ELSIF" if place else "IF"} owners = '{each.type}' THEN
                    PERFORM FROM {each.table} AS t WHERE t.id = ANY(level) ORDER BY t.id FOR SHARE;"""
    for place, each in enumerate(TYPES)
)
_LEADS_ON = """(l.link IN ('parent', 'member', 'superseded_by')
                 OR l.link = 'target' AND l.denial_id IS NOT NULL)"""

# The error names the property, for the service to say where the link stands.
_REFUSE_CIRCLES = f"""
    CREATE FUNCTION refuse_circles(owners text, ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE{derive.SETTINGS_9} AS $$
    DECLARE
        start record;
        level uuid[];
        passed uuid[];
        levels integer;
        property text;
        why text;
    BEGIN
        FOR start IN
            SELECT DISTINCT l.owner_id AS id, l.link FROM links AS l
            WHERE l.owner_id = ANY(ids) AND l.owner_type = owners
                AND {_LEADS_ON}
            ORDER BY l.owner_id, l.link
        LOOP
            level := ARRAY[start.id];
            passed := '{{}}';
            levels := 0;
            why := NULL;
            LOOP
                level := ARRAY(
                    SELECT coalesce(l.source_id, l.claim_id, l.denial_id) FROM links AS l
                    WHERE l.owner_id = ANY(level) AND l.owner_type = owners
                        AND l.link = start.link AND {_LEADS_ON}
                    EXCEPT
                    SELECT unnest(passed)
                );
                EXIT WHEN cardinality(level) = 0;
                passed := passed || level;
                levels := levels + 1;
                IF start.id = ANY(level) THEN
                    why := 'circle';
                ELSIF levels > {MAX_LEVELS} OR cardinality(passed) > {MAX_RECORDS} THEN
                    why := 'length';
                END IF;
                EXIT WHEN why IS NOT NULL;
                {_LOCKS}
                END IF;
            END LOOP;
            IF why IS NOT NULL THEN
                property := CASE
                    WHEN start.link = 'parent' AND owners = 'claim' THEN 'parent_claim_id'
                    WHEN start.link = 'parent' THEN 'parent_id'
                    WHEN start.link = 'member' THEN 'members'
                    WHEN start.link = 'superseded_by' THEN 'superseded_by_id'
                    ELSE 'targets'
                END;
                RAISE EXCEPTION 'the links of % % lead back to it, or too far', owners, start.id
                    USING ERRCODE = 'integrity_constraint_violation',
                    CONSTRAINT = 'links_circle_' || why, COLUMN = property;
            END IF;
        END LOOP;
    END
    $$
    """


def upgrade() -> None:
    """Check the links of each record that is written from now on."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in (
        _REFUSE_CIRCLES,
        *(
            statement
            for each in TYPES
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
