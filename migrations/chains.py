"""The sources of a chain, in three columns of its record's row (migration 0019)."""

from __future__ import annotations

from typing import Final

from migrations.defining import RecordType


def _chain(attributions: str) -> str:
    """Select the sources at position 0 of a chain, at its last position, and anywhere in it."""
    return f"""
            SELECT coalesce(array_agg(DISTINCT each.id) FILTER (WHERE each.is_first), '{{}}')
                       AS first_source_ids,
                   coalesce(array_agg(DISTINCT each.id) FILTER (WHERE each.is_last), '{{}}')
                       AS last_source_ids,
                   coalesce(array_agg(DISTINCT each.id), '{{}}') AS source_ids
            FROM (
                SELECT a.source_id, a.via_id, a.audience_id, coalesce(a.position, 0) AS position,
                       max(coalesce(a.position, 0)) OVER () AS last
                FROM json_to_recordset({attributions}) AS a(
                    position integer, source_id uuid, via_id uuid, audience_id uuid
                )
            ) AS hop
            CROSS JOIN LATERAL (
                VALUES (hop.source_id, hop.position = 0, hop.position = hop.last),
                       (hop.via_id, false, false), (hop.audience_id, false, false)
            ) AS each(id, is_first, is_last)
            WHERE each.id IS NOT NULL"""


CHAIN: Final = ("first_source_ids", "last_source_ids", "source_ids")
"""The columns of a record that is `chained`."""
FIND_CHAIN: Final = f"""
        IF TG_OP = 'INSERT' OR NEW.attributions::text <> OLD.attributions::text THEN
            SELECT chain.first_source_ids, chain.last_source_ids, chain.source_ids
            INTO NEW.first_source_ids, NEW.last_source_ids, NEW.source_ids
            FROM ({_chain("NEW.attributions")}
            ) AS chain;
        END IF;"""


def add_chains(record_types: tuple[RecordType, ...]) -> list[str]:
    """Add the sources of chains to the rows that there are; each table is written anew.

    An UPDATE would take six times as long: it derives all other columns anew too.
    """
    functions = [
        f"""
    CREATE FUNCTION their_{column}(attributions json) RETURNS uuid[]
    LANGUAGE sql IMMUTABLE AS $$
        SELECT chain.{column} FROM ({_chain("attributions")}
        ) AS chain
    $$
    """
        for column in CHAIN
    ]
    added = ", ".join(
        f"\n        -- squawk-ignore adding-field-with-default"
        f"\n        ADD COLUMN {column} uuid[] GENERATED ALWAYS AS (their_{column}(attributions)) STORED"
        for column in CHAIN
    )
    kept = ", ".join(
        f"\n        -- squawk-ignore ban-drop-generated-expression"
        f"\n        ALTER COLUMN {column} DROP EXPRESSION"
        for column in CHAIN
    )
    return [
        *functions,
        *(
            f"ALTER TABLE {each.table} {change}"
            for each in record_types
            for change in (added, kept)
        ),
        *(f"DROP FUNCTION their_{column}" for column in CHAIN),
    ]
