"""The claims that say the same thing, or have it from the same origin: joined by relations."""

from __future__ import annotations

from typing import Final

SAME_CLAIMS: Final = """
    WITH RECURSIVE same(id) AS (
        SELECT t.id FROM claims AS t
        WHERE t.id = ANY(:ids::uuid[]) AND t.deleted_at IS NULL AND :sees(claim, t)
        UNION
        SELECT n.id
        FROM same
        CROSS JOIN LATERAL (
            SELECT l.claim_id AS id, l.owner_id, l.claim_id, l.label FROM links AS l
            WHERE l.owner_id = same.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label IN ('restates', 'same_origin_as')
            UNION ALL
            SELECT l.owner_id, l.owner_id, l.claim_id, l.label FROM links AS l
            WHERE l.claim_id = same.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label IN ('restates', 'same_origin_as')
        ) AS n
        JOIN claims AS t ON t.id = n.id AND t.deleted_at IS NULL AND :sees(claim, t)
        JOIN claims AS o ON o.id = n.owner_id
        WHERE EXISTS (
            SELECT FROM json_to_recordset(o.relations) AS r(claim_id uuid, kind text, state text)
            WHERE r.claim_id = n.claim_id AND r.kind = n.label AND r.state = 'confirmed'
        )
    )"""
"""The claims `:ids`, and all that `restates` and `same_origin_as` lead to, in both directions.

A claim that the caller can't see leads nowhere. A statement that begins so selects from `same`.
"""
