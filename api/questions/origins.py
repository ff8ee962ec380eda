"""Origins: how many independent sources stand behind a claim, or behind a set of claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from litestar import get

from api.core.caller import Caller
from api.core.db import Connection
from api.core.errors import NOT_FOUND, Problem
from api.core.filters import Parameter, conditions, read_query
from api.core.large_input import in_thread
from api.core.operation import Operation
from api.core.request import Answer, Request, caller, context, encoded, record_id
from api.core.sql import compose, render
from api.questions.closure import SAME_CLAIMS
from api.questions.independence import Hop, Known, Printing, count_origins
from api.records.claims import CLAIMS
from schemas.examples import CLAIM_ID, SOURCE_ID
from schemas.questions import MAX_CLAIMS, Origin, OriginCounts
from schemas.scalars import Id
from schemas.vocabularies import RecordType, Rollup

_MAX_FACTS: Final = 10_000
"""No more hops, printings, or facts about sources and articles are read than this."""

_SAME: Final = "{same_claims} SELECT same.id::text FROM same LIMIT {limit}"
_MATCHING: Final = """
    SELECT t.id::text FROM claims AS t
    WHERE {conditions} AND t.deleted_at IS NULL AND :sees(claim, t)
    ORDER BY t.created_at DESC, t.id DESC
    LIMIT {limit}"""
_HOPS: Final = """
    SELECT t.id::text AS claim_id, survivor_of(h.source_id)::text AS source_id,
           survivor_of(h.via_id)::text AS via_id, h.role, h.resolution
    FROM unnest(:ids::uuid[]) WITH ORDINALITY AS asked(id, place)
    JOIN claims AS t ON t.id = asked.id AND :sees(claim, t)
    CROSS JOIN LATERAL (
        SELECT a.*, max(a.position) OVER () AS top
        FROM json_to_recordset(t.attributions) AS a(
            position integer, role text, source_id uuid, via_id uuid, resolution text
        )
    ) AS h
    WHERE h.position = h.top
    ORDER BY asked.place
    LIMIT {limit}"""
_PRINTINGS: Final = """
    SELECT l.owner_id::text AS claim_id, l.article_id::text
    FROM links AS l
    JOIN articles AS a ON a.id = l.article_id AND :sees(article, a)
    WHERE l.owner_id = ANY(:ids::uuid[]) AND l.owner_type = 'claim' AND l.link = 'appearance'
    ORDER BY a.created_at, a.id
    LIMIT {limit}"""
_MEMBERS: Final = """
            SELECT s.id FROM links AS l
            JOIN sources AS s ON s.id = survivor_of(l.source_id) AND :sees(source, s)
            WHERE l.owner_id = inside.id AND l.owner_type = 'source' AND l.link = 'member'
            OFFSET 0 -- or else Postgres may read the members of all groups"""
# Each fact is a kind and two ids. With a roll-up, everything above the sources is counted as well.
_ABOUT_SOURCES: Final = """
    WITH RECURSIVE asked(id) AS (
        SELECT s.id FROM sources AS s
        WHERE s.id = ANY(:ids::uuid[]) AND s.deleted_at IS NULL AND :sees(source, s)
    ), above(id, parent_id) AS (
        SELECT s.id, s.parent_id FROM asked JOIN sources AS s ON s.id = asked.id
        UNION
        SELECT s.id, s.parent_id
        FROM above
        CROSS JOIN LATERAL (
            SELECT s.id, s.parent_id FROM sources AS s
            WHERE s.id = survivor_of(above.parent_id) AND :sees(source, s)
            OFFSET 0 -- or else Postgres may read all sources in each step
        ) AS s
    ), counted(id) AS (
        SELECT {counted}.id FROM {counted}
    ), inside(id) AS (
        SELECT counted.id FROM counted
        UNION
        SELECT s.id FROM inside
        CROSS JOIN LATERAL ({members}
        ) AS s
    )
    (
        SELECT 'parent' AS kind, above.id::text AS one, s.id::text AS other
        FROM above JOIN sources AS s ON s.id = survivor_of(above.parent_id) AND :sees(source, s)
        LIMIT {limit}
    )
    UNION ALL
    (
        SELECT 'member', inside.id::text, s.id::text
        FROM inside
        CROSS JOIN LATERAL ({members}
        ) AS s
        LIMIT {limit}
    )
    UNION ALL
    (
        SELECT 'same', o.id::text, s.id::text
        FROM counted
        JOIN links AS l ON l.owner_id = counted.id AND l.owner_type = 'source'
            AND l.link = 'relation' AND l.label = 'possibly_same_as'
        JOIN sources AS o ON o.id = l.owner_id
        JOIN sources AS s ON s.id = survivor_of(l.source_id) AND :sees(source, s)
        WHERE NOT EXISTS (
            SELECT FROM json_to_recordset(o.relations) AS r(source_id uuid, kind text, state text)
            WHERE r.source_id = l.source_id AND r.kind = l.label AND r.state = 'rejected'
        )
        LIMIT {limit}
    )""".replace("{members}", _MEMBERS)
_ABOUT_ARTICLES: Final = """
    WITH RECURSIVE copied(id) AS (
        SELECT a.id FROM articles AS a
        WHERE a.id = ANY(:ids::uuid[]) AND a.deleted_at IS NULL AND :sees(article, a)
        UNION
        SELECT a.id FROM copied
        CROSS JOIN LATERAL (
            SELECT a.id FROM links AS l
            JOIN articles AS a ON a.id = l.article_id AND :sees(article, a)
            WHERE l.owner_id = copied.id AND l.owner_type = 'article'
                AND l.link = 'relation' AND l.label = 'syndicated_copy_of'
            OFFSET 0 -- or else Postgres may read the relations of all articles
        ) AS a
    )
    SELECT f.kind, f.one::text, f.other::text
    FROM copied
    CROSS JOIN LATERAL (
        SELECT 'publisher' AS kind, a.id AS one, survivor_of(a.publisher_id) AS other
        FROM articles AS a WHERE a.id = copied.id AND a.publisher_id IS NOT NULL
        UNION ALL
        SELECT 'wire', l.owner_id, survivor_of(l.source_id) FROM links AS l
        WHERE l.owner_id = copied.id AND l.owner_type = 'article'
            AND l.link = 'credit' AND l.label = 'wire'
        UNION ALL
        SELECT 'copy', l.owner_id, l.article_id FROM links AS l
        JOIN articles AS a ON a.id = l.article_id AND :sees(article, a)
        WHERE l.owner_id = copied.id AND l.owner_type = 'article'
            AND l.link = 'relation' AND l.label = 'syndicated_copy_of'
    ) AS f
    ORDER BY f.kind, f.one, f.other
    LIMIT {limit}"""

_ROLLUP: Final = Parameter(
    "rollup",
    Rollup,
    "`parent` counts each source as the topmost source that it is part of, such as a ministry as "
    "its state. Without it, each source counts by itself.",
)
_COUNTED: Final = (
    "The origin of a claim is the source at the highest position of its chain. An attribution "
    "without a source adds no origin, and neither does a claim that the article makes itself. A "
    "paper that only prints an agency's text counts as the agency. Origins that may not be "
    "independent of each other are listed in `uncertain`; they are counted all the same. At most "
    f"{MAX_CLAIMS:,} claims are read."
)
_EXAMPLE: Final = OriginCounts(
    claims=[CLAIM_ID],
    origins=[Origin(source_id=SOURCE_ID, claim_ids=[CLAIM_ID], via_ids=[], via_articles=[])],
    count=1,
    at_least=1,
    uncertain=[],
    unresolved=[],
    author_voice=[],
    truncated=False,
)
CLAIM_ORIGINS: Final = Operation(
    tag="questions",
    description="Counts the independent origins of a claim, together with all claims that restate "
    "it or have the same origin (`restates` and `same_origin_as`, if confirmed), in both "
    f"directions. {_COUNTED}",
    path_parameters=(Parameter("id", Id, "The claim's id.", example=CLAIM_ID),),
    parameters=(_ROLLUP,),
    success="The origins of the claim.",
    answer=(OriginCounts,),
    example=_EXAMPLE,
    linked_from={RecordType.CLAIM: "id"},
)
ORIGINS: Final = Operation(
    tag="questions",
    description="Counts the independent origins of the claims that match the filters, which are "
    f"those of `listClaims`. {_COUNTED} If more claims match, the newest are read.",
    filters_of=CLAIMS,
    parameters=(_ROLLUP,),
    success="The origins of these claims.",
    answer=(OriginCounts,),
    example=_EXAMPLE,
)


@get(
    "/v1/claims/{id:str}/origins",
    operation_id="getClaimOrigins",
    opt={"operation": CLAIM_ORIGINS, "reads": (RecordType.CLAIM,)},
)
async def get_claim_origins(request: Request) -> Answer:
    """Count the origins of a claim."""
    identity = record_id(request)
    given = read_query(request.scope["query_string"], {_ROLLUP.name: _ROLLUP})
    asker = caller(request)
    async with context(request).database.connection() as connection:
        statement = compose(_SAME, same_claims=SAME_CLAIMS, limit=f"{MAX_CLAIMS + 1}")
        rows = await connection.fetch(*render(statement, asker, ids=[identity]))
        if not rows:
            raise Problem(NOT_FOUND, "No record has this id.")
        count = await _read(connection, asker, [row["id"] for row in rows], given)
    return Answer(encoded(await in_thread(count)))


@get(
    "/v1/origins",
    operation_id="getOrigins",
    opt={"operation": ORIGINS, "reads": (RecordType.CLAIM,)},
)
async def get_origins(request: Request) -> Answer:
    """Count the origins of all claims that match the filters."""
    given = read_query(
        request.scope["query_string"], {**CLAIMS.filter_parameters, _ROLLUP.name: _ROLLUP}
    )
    where, values = conditions(CLAIMS.all_filters, given)
    asker = caller(request)
    async with context(request).database.connection() as connection:
        statement = compose(
            _MATCHING, conditions=" AND ".join(where) or "true", limit=f"{MAX_CLAIMS + 1}"
        )
        rows = await connection.fetch(*render(statement, asker, **values))
        count = await _read(connection, asker, [row["id"] for row in rows], given)
    return Answer(encoded(await in_thread(count)))


async def _read(
    connection: Connection, asker: Caller, claims: Sequence[str], given: Mapping[str, Any]
) -> Callable[[], OriginCounts]:
    """Read what is known of some claims' chains; give what counts their origins.

    To count takes long where thousands of hops meet thousands of articles.
    """

    async def facts(statement: str, ids: Sequence[str], **pieces: str) -> Sequence[Any]:
        text = compose(statement, limit=f"{_MAX_FACTS + 1}", **pieces)
        return await connection.fetch(*render(text, asker, ids=ids)) if ids else ()

    rolled_up = "rollup" in given
    truncated = len(claims) > MAX_CLAIMS
    claims = claims[:MAX_CLAIMS]
    hops = [Hop(*row) for row in await facts(_HOPS, claims)]
    if len(hops) > _MAX_FACTS:
        truncated = True
        # The claim whose hops were cut off, and those behind it, are not looked at.
        claims = claims[: max(1, claims.index(hops[_MAX_FACTS].claim_id))]
        looked_at = set(claims)
        hops = [hop for hop in hops[:_MAX_FACTS] if hop.claim_id in looked_at]
    printed = [Printing(*row) for row in await facts(_PRINTINGS, claims)]
    about_articles = await facts(_ABOUT_ARTICLES, list({each.article_id for each in printed}))
    agencies = [row["other"] for row in about_articles if row["kind"] != "copy"]
    sources = list({each.source_id for each in hops if each.source_id} | set(agencies))
    counted = "above" if rolled_up else "asked"
    about_sources = await facts(_ABOUT_SOURCES, sources, counted=counted)
    truncated |= any(len(each) > _MAX_FACTS for each in (printed, about_articles, about_sources))
    return partial(
        count_origins,
        claims,
        hops,
        _known(printed, [*about_articles, *about_sources]),
        rolled_up=rolled_up,
        truncated=truncated,
    )


def _known(printed: Sequence[Printing], facts: Sequence[Any]) -> Known:
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, one, other in facts:
        by_kind.setdefault(kind, []).append((one, other))
    members: dict[str, list[str]] = {}
    for group, member in by_kind.get("member", ()):
        members.setdefault(group, []).append(member)
    return Known(
        parents=dict(by_kind.get("parent", ())),
        members=members,
        possibly_same=by_kind.get("same", ()),
        printed=printed,
        originals=dict(by_kind.get("copy", ())),
        publishers=dict(by_kind.get("publisher", ())),
        wires=dict(by_kind.get("wire", ())),
    )


origin_handlers = [get_claim_origins, get_origins]
