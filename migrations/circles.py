"""The function that refuses links which lead back to the record in which they stand."""

from __future__ import annotations

from typing import Final

from migrations.derive import SETTINGS_9, RecordType

MAX_LEVELS: Final = 1_000
MAX_RECORDS: Final = 10_000
_LEADS_ON: Final = """(l.link IN ('parent', 'member', 'superseded_by')
                 OR l.link = 'target' AND l.denial_id IS NOT NULL)"""


_OF_MERGED: Final = "l.link = 'merged_into'"
"""The link of a merged source leads on to the one that it means."""


def create_function(types: tuple[RecordType, ...], *, merges: bool = False) -> str:
    """Define the function for all types that have `circles`; each can refer to its own type.

    The error names the property, for the service to say where the link stands.
    """
    walked = f"l.link = start.link AND {_LEADS_ON}"
    if merges:
        walked = f"(l.link = start.link AND {_LEADS_ON} OR {_OF_MERGED})"
    locks = "\n                ".join(
        f"""{"ELSIF" if place else "IF"} owners = '{each.type}' THEN
                    PERFORM FROM {each.table} AS t WHERE t.id = ANY(level) ORDER BY t.id FOR SHARE;"""
        for place, each in enumerate(types)
    )
    targets = ", ".join(f"l.{each.type}_id" for each in types)
    return f"""
    CREATE FUNCTION refuse_circles(owners text, ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE{SETTINGS_9} AS $$
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
                    SELECT coalesce({targets}) FROM links AS l
                    WHERE l.owner_id = ANY(level) AND l.owner_type = owners
                        AND {walked}
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
                {locks}
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


def replace_function(types: tuple[RecordType, ...], *, merges: bool = False) -> str:
    """Define the function for other types than before, or for merged sources as well."""
    created = create_function(types, merges=merges)
    return created.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
