"""Read the figures with which those of a page are compared, as the caller sees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, cycle, zip_longest
from typing import Any, Final
from uuid import UUID

from api.core.caller import Caller
from api.core.db import Connection
from api.core.sql import compose, render
from api.questions.closure import SAME_CLAIMS
from api.questions.conflicts import Counted, Key, Known
from schemas.figures import MAX_CONFLICTS
from schemas.vocabularies import RecordType

_CLAIM: Final = RecordType.CLAIM

MAX_SAME: Final = 2_000
"""At most this many claims that say the same are read, for all figures of a page together."""
MAX_FACTS: Final = 10_000
"""At most this many relations of these claims are read, and as many figures and answers."""
MAX_OF_TOPIC: Final = 100
"""A figure is compared with at most this many others at the same place and time."""
MAX_AT_PLACES: Final = 400
"""The figures of a page are compared at no more places than this, those of all of them together."""
MAX_REJECTED: Final = 500
"""At most this many rejected conflicts of a claim are read."""

_COLUMNS: Final = """f.owner_type AS type, f.owner_id AS id, f.index AS place, f.metric, f.unit,
           f.population, f.lower, f.upper, f.lower_open, f.upper_open,
           lower(f.during) AS starts, upper(f.during) AS ends"""
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
    SELECT k.id, n.claim_id
    FROM kept AS k
    CROSS JOIN LATERAL (
        SELECT l.claim_id FROM links AS l
        WHERE l.owner_id = k.id AND l.owner_type = 'claim' AND l.link = 'relation'
            AND l.label IN ('restates', 'same_origin_as') AND l.state = 'confirmed'
        OFFSET 0 -- or else Postgres may read the links of all claims
    ) AS n
    JOIN kept AS to_claim ON to_claim.id = n.claim_id
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
# Each figure at each of its places, with the figures that conflict with it there. Only figures of
# claims have places.
_OF_TOPICS: Final = """
    SELECT a.number, count(*) AS compared,
           (array_agg(k.id ORDER BY k.id, k.index) FILTER (WHERE k.conflicts))[1:{most}] AS ids,
           (array_agg(k.index ORDER BY k.id, k.index) FILTER (WHERE k.conflicts))[1:{most}]
               AS places
    FROM unnest(
        :ids::uuid[], :topics::uuid[], :starts::timestamptz[], :ends::timestamptz[],
        :lowers::float8[], :uppers::float8[], :lower_opens::boolean[], :upper_opens::boolean[]
    ) WITH ORDINALITY AS a(
        id, topic, starts, ends, lower, upper, lower_open, upper_open, number
    )
    CROSS JOIN LATERAL (
        SELECT f.owner_id AS id, f.index,
               f.upper < a.lower OR (f.upper = a.lower AND (f.upper_open OR a.lower_open))
               OR a.upper < f.lower OR (a.upper = f.lower AND (a.upper_open OR f.lower_open))
                   AS conflicts
        FROM figure_topics AS o
        CROSS JOIN LATERAL (
            SELECT FROM claims AS t WHERE t.id = o.owner_id AND :sees(claim, t)
            OFFSET 0 -- or else Postgres may read all figures of each claim
        ) AS seen
        CROSS JOIN LATERAL (
            SELECT f.* FROM figures AS f
            WHERE f.owner_type = 'claim' AND f.owner_id = o.owner_id AND f.index = o.index
                AND f.lower IS NOT NULL
            OFFSET 0
        ) AS f
        WHERE o.owner_type = 'claim' AND o.topic = a.topic
            AND o.during && tstzrange(a.starts, a.ends)
            AND o.owner_id <> a.id
        LIMIT {limit}
    ) AS k
    GROUP BY a.number"""
# The claims that `conflicts_with` relates, in one state of the relation, with their figures.
_RELATED_AS: Final = """
    SELECT a.id, o.id AS other, ARRAY(
        SELECT f.index FROM figures AS f
        WHERE f.owner_id = o.id AND f.owner_type = 'claim'
        ORDER BY f.index
    ) AS indexes
    FROM unnest(:ids::uuid[]) AS a(id)
    CROSS JOIN LATERAL (
        SELECT n.id
        FROM (
            SELECT l.claim_id AS id FROM links AS l
            WHERE l.owner_id = a.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label = 'conflicts_with' AND l.state = '{state}'
            UNION ALL
            SELECT l.owner_id FROM links AS l
            WHERE l.claim_id = a.id AND l.owner_type = 'claim' AND l.link = 'relation'
                AND l.label = 'conflicts_with' AND l.state = '{state}'
            OFFSET 0
        ) AS n
        JOIN claims AS t ON t.id = n.id AND :sees(claim, t)
        ORDER BY n.id
        LIMIT {limit}
    ) AS o
    ORDER BY a.id, o.id"""


_STATED: Final = compose(_RELATED_AS, state="confirmed", limit="{limit}")
_REJECTED: Final = compose(_RELATED_AS, state="rejected", limit="{limit}")


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
            most=f"{MAX_CONFLICTS + 1}",
            limit=f"{limit + 1}",
        )
        return await connection.fetch(*render(text, asker, **values))

    timed = [each for each in asked if each.starts is not None and each.lower is not None]
    answers = await rows(_ANSWERED, MAX_FACTS, ids=_ids(timed, RecordType.DENIAL))
    seeds = [*_ids(timed, _CLAIM), *(row["claim_id"] for row in answers)]
    related = await rows(_RELATED, MAX_FACTS, ids=list(dict.fromkeys(seeds)))
    same = [row["id"] for row in related if row["other"] is None]
    metrics = list({each.metric for each in timed})
    about = await rows(_ABOUT, MAX_FACTS, ids=same[:MAX_SAME], metrics=metrics)
    by_rank = chain.from_iterable(zip_longest(*(each.topics for each in timed)))
    at_places = [(e, t) for e, t in zip(cycle(timed), by_rank, strict=False) if t is not None]
    not_compared = {each.key for each, _ in at_places[MAX_AT_PLACES:]}
    at_places = at_places[:MAX_AT_PLACES]
    of_topics = await rows(_OF_TOPICS, MAX_OF_TOPIC, **_columns(at_places))
    asked_of = [(at_places[row["number"] - 1][0].key, row) for row in of_topics]
    conflicting: dict[Key, list[Key]] = {}
    for key, row in asked_of:
        found = zip(row["ids"] or (), row["places"] or (), strict=True)
        conflicting.setdefault(key, []).extend((id_, _CLAIM, place) for id_, place in found)
    claims = _ids(asked, _CLAIM)
    stated = await rows(_STATED, MAX_CONFLICTS, ids=claims)
    rejected = await rows(_REJECTED, MAX_REJECTED, ids=claims)
    return Known(
        figures=[Counted(*tuple(row)[1:]) for row in about],
        same=[(row["id"], row["other"]) for row in related if row["other"] is not None],
        answered=[
            *((row["owner_id"], row["claim_id"]) for row in answers),
            *((row["id"], row["about"]) for row in about if row["type"] == RecordType.DENIAL),
        ],
        stated=[tuple(row) for row in stated],
        rejected={(row["id"], row["other"]) for row in rejected},
        of_topics=conflicting,
        cut=len(same) > MAX_SAME or any(len(e) > MAX_FACTS for e in (answers, related, about)),
        cut_figures=not_compared | {key for key, row in asked_of if row["compared"] > MAX_OF_TOPIC},
    )


def _columns(figures: Sequence[tuple[Counted, UUID]]) -> dict[str, list[Any]]:
    """Give figures at their places, as the columns of a table."""
    return {
        "ids": [each.id for each, _ in figures],
        "topics": [topic for _, topic in figures],
        "starts": [each.starts for each, _ in figures],
        "ends": [each.ends for each, _ in figures],
        "lowers": [each.lower for each, _ in figures],
        "uppers": [each.upper for each, _ in figures],
        "lower_opens": [each.lower_open for each, _ in figures],
        "upper_opens": [each.upper_open for each, _ in figures],
    }


def _ids(figures: Iterable[Counted], record_type: str) -> list[UUID]:
    return list(dict.fromkeys(each.id for each in figures if each.type == record_type))
