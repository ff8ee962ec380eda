"""The claims that say the same thing, or have the same origin, as their relations state."""

from __future__ import annotations

from typing import Final

SAME_CLAIMS: Final = """
    WITH RECURSIVE reached(id) AS (
        SELECT asked.id FROM unnest(:ids::uuid[]) AS asked(id)
        UNION
        SELECT n.id
        FROM reached AS r
        CROSS JOIN LATERAL (
            SELECT FROM claims AS t
            WHERE t.id = r.id AND t.deleted_at IS NULL AND :sees(claim, t)
            OFFSET 0 -- or else Postgres may read all claims in each step
        ) AS seen
        CROSS JOIN LATERAL (
            SELECT l.claim_id AS id FROM links AS l
            WHERE l.owner_id = r.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label IN ('restates', 'same_origin_as') AND l.state = 'confirmed'
            UNION ALL
            SELECT l.owner_id FROM links AS l
            WHERE l.claim_id = r.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label IN ('restates', 'same_origin_as') AND l.state = 'confirmed'
            OFFSET 0
        ) AS n
    ), same(id) AS (
        SELECT r.id
        FROM reached AS r
        CROSS JOIN LATERAL (
            SELECT FROM claims AS t
            WHERE t.id = r.id AND t.deleted_at IS NULL AND :sees(claim, t)
            OFFSET 0
        ) AS seen
    )"""
"""The claims `:ids`, and all that `restates` and `same_origin_as` lead to, in both directions.

A claim that the caller can't see leads nowhere. A statement that begins so selects from `same`.
"""
