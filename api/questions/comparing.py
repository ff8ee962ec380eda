"""Read the figures with which those of a page are compared, as the caller sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from api.core.caller import Caller
from api.core.db import Connection
from api.core.sql import compose, render
from api.questions.closure import SAME_CLAIMS
from api.questions.conflicts import Counted, Known
from schemas.figures import MAX_CONFLICTS
from schemas.vocabularies import RecordType

MAX_SAME: Final = 2_000
"""No more claims are looked at for those that say the same, for all figures of a page together."""
MAX_FACTS: Final = 10_000
"""No more relations and figures of these claims, and answers to them, are read than this."""
MAX_OF_TOPIC: Final = 200
"""No more figures of one topic at one time are read than this."""

_COLUMNS: Final = """f.owner_type AS type, f.owner_id AS id, f.index AS place, f.metric, f.unit,
           f.population, f.lower, f.upper, f.lower_open, f.upper_open,
           lower(f.during) AS starts, upper(f.during) AS ends, f.topics"""
# The claims that denials answer.
_ANSWERED: Final = """
    SELECT l.owner_id, l.claim_id
    FROM links AS l
    JOIN claims AS t ON t.id = l.claim_id AND :sees(claim, t)
    WHERE l.owner_id = ANY(:ids::uuid[]) AND l.owner_type = 'denial' AND l.link = 'target'
    ORDER BY l.owner_id, l.claim_id
    LIMIT {limit}"""
# Each claim comes with null first, and then with each claim to which a relation leads.
_RELATED: Final = """{same_claims}, kept AS MATERIALIZED (
        SELECT same.id FROM same LIMIT {claims}
    )
    SELECT k.id, NULL::uuid AS other FROM kept AS k
    UNION ALL
    SELECT l.owner_id, l.claim_id
    FROM kept AS k
    JOIN links AS l ON l.owner_id = k.id AND l.owner_type = 'claim' AND l.link = 'relation'
        AND l.label IN ('restates', 'same_origin_as')
    JOIN kept AS to_claim ON to_claim.id = l.claim_id
    JOIN claims AS o ON o.id = l.owner_id
    WHERE EXISTS (
        SELECT FROM json_to_recordset(o.relations) AS r(claim_id uuid, kind text, state text)
        WHERE r.claim_id = l.claim_id AND r.kind = l.label AND r.state = 'confirmed'
    )
    LIMIT {limit}"""
# The figures of claims, and of the denials that answer them, with the claim that they are about.
_ABOUT: Final = """
    SELECT a.id AS about, {columns}
    FROM unnest(:ids::uuid[]) AS a(id)
    JOIN figures AS f ON f.owner_id = a.id AND f.owner_type = 'claim'
    WHERE f.metric = ANY(:metrics::text[]) AND f.during IS NOT NULL AND f.lower IS NOT NULL
    UNION ALL
    SELECT a.id, {columns}
    FROM unnest(:ids::uuid[]) AS a(id)
    JOIN links AS l ON l.claim_id = a.id AND l.owner_type = 'denial' AND l.link = 'target'
    JOIN denials AS d ON d.id = l.owner_id AND :sees(denial, d)
    JOIN figures AS f ON f.owner_id = d.id AND f.owner_type = 'denial'
    WHERE f.metric = ANY(:metrics::text[]) AND f.during IS NOT NULL AND f.lower IS NOT NULL
    LIMIT {limit}"""
# Only figures of claims have topics.
_OF_TOPICS: Final = """
    SELECT a.number, k.*
    FROM unnest(:topics::uuid[], :starts::timestamptz[], :ends::timestamptz[])
        WITH ORDINALITY AS a(topic, starts, ends, number)
    CROSS JOIN LATERAL (
        SELECT {columns}
        FROM figure_topics AS o
        JOIN figures AS f USING (owner_type, owner_id, index)
        JOIN claims AS t ON t.id = o.owner_id AND :sees(claim, t)
        WHERE o.topic = a.topic AND o.during && tstzrange(a.starts, a.ends)
            AND f.lower IS NOT NULL
        LIMIT {limit}
    ) AS k
    ORDER BY a.number"""
_STATED: Final = """
    SELECT a.id, o.id AS other, ARRAY(
        SELECT f.index FROM figures AS f
        WHERE f.owner_id = o.id AND f.owner_type = 'claim'
        ORDER BY f.index
    ) AS indexes
    FROM unnest(:ids::uuid[]) AS a(id)
    CROSS JOIN LATERAL (
        SELECT n.id
        FROM (
            SELECT l.claim_id AS id, l.owner_id, l.claim_id FROM links AS l
            WHERE l.owner_id = a.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label = 'conflicts_with'
            UNION ALL
            SELECT l.owner_id, l.owner_id, l.claim_id FROM links AS l
            WHERE l.claim_id = a.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label = 'conflicts_with'
        ) AS n
        JOIN claims AS t ON t.id = n.id AND :sees(claim, t)
        JOIN claims AS w ON w.id = n.owner_id
        WHERE EXISTS (
            SELECT FROM json_to_recordset(w.relations) AS r(claim_id uuid, kind text, state text)
            WHERE r.claim_id = n.claim_id AND r.kind = 'conflicts_with' AND r.state = 'confirmed'
        )
        ORDER BY n.id
        LIMIT {limit}
    ) AS o
    ORDER BY a.id, o.id"""


async def read_known(connection: Connection, asker: Caller, asked: Sequence[Counted]) -> Known:
    """Read everything that can conflict with some figures, within bounds."""

    async def rows(statement: str, limit: int, **values: Any) -> Sequence[Any]:  # noqa: ANN401
        if not all(values.values()):
            return ()
        text = compose(
            statement,
            columns=_COLUMNS,
            same_claims=SAME_CLAIMS,
            claims=f"{MAX_SAME + 1}",
            limit=f"{limit + 1}",
        )
        return await connection.fetch(*render(text, asker, **values))

    timed = [each for each in asked if each.starts is not None and each.lower is not None]
    answers = await rows(_ANSWERED, MAX_FACTS, ids=_ids(timed, RecordType.DENIAL))
    seeds = [*_ids(timed, RecordType.CLAIM), *(row["claim_id"] for row in answers)]
    related = await rows(_RELATED, MAX_FACTS, ids=list(dict.fromkeys(seeds)))
    same = [row["id"] for row in related if row["other"] is None]
    metrics = list({each.metric for each in timed})
    about = await rows(_ABOUT, MAX_FACTS, ids=same[:MAX_SAME], metrics=metrics)
    windows = list({(topic, each.starts, each.ends) for each in timed for topic in each.topics})
    topics, starts, ends = [list(column) for column in zip(*windows, strict=True)] or ([], [], [])
    of_topics = await rows(_OF_TOPICS, MAX_OF_TOPIC, topics=topics, starts=starts, ends=ends)
    numbers = Counter(row["number"] for row in of_topics)
    return Known(
        figures=[Counted(*tuple(row)[1:]) for row in (*about, *of_topics)],
        same=[(row["id"], row["other"]) for row in related if row["other"] is not None],
        answered=[
            *((row["owner_id"], row["claim_id"]) for row in answers),
            *((row["id"], row["about"]) for row in about if row["type"] == RecordType.DENIAL),
        ],
        stated=[tuple(row) for row in await rows(_STATED, MAX_CONFLICTS, ids=_ids(asked, "claim"))],
        cut=len(same) > MAX_SAME or any(len(e) > MAX_FACTS for e in (answers, related, about)),
        cut_topics={windows[n - 1][0] for n, found in numbers.items() if found > MAX_OF_TOPIC},
    )


def _ids(figures: Iterable[Counted], record_type: str) -> list[UUID]:
    return list(dict.fromkeys(each.id for each in figures if each.type == record_type))
