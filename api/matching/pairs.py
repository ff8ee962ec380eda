"""Find the sources whose names are like those of some sources: the pairs that may be duplicates.

A name has words without which no other name is close enough. Only names that have words like these
are compared with it. What is read for a source is bounded, however many sources there are.

Sources of each visibility class are chosen apart, and words weigh by how many public sources have
them. So no source moves a score for readers who don't see it, nor takes the place of one; except
where more names have the words than are looked up at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from api.core.db import Connection, Row
from api.core.large_input import in_thread
from api.core.relations import IS_ANY_NAMED, relations_stated
from api.core.sql import compose, render
from api.matching.candidates import any_form
from api.matching.names import Weight, alike, compare, latin, weight_of, words_of
from api.matching.sources import read_alike
from schemas.duplicates import MIN_SCORE
from schemas.vocabularies import Identification

MAX_NAMES: Final = 20
"""Names of a source that others are looked up by."""
MAX_LOOKED_AT: Final = 2_000
"""Names that the look-up of one name reads at most."""
MAX_COMPARED: Final = 50
"""Names of each visibility class that one name is compared with: those of the nearest length."""
MAX_PAIRS: Final = 10
"""Pairs of a source that are kept, for each visibility class of the other source."""
_MAX_TOGETHER: Final = 2
"""Words that a name has to have all of. With more, “Kim Yojong” would not find “Kim Yo-jong”."""
_ALIKE: Final = 0.75
"""Words that are less alike are different words: “North” and “South” are 0.6 alike."""
MAX_SCORED: Final = 500
"""Names that are compared in one go, so that other work of the thread gets in between."""
MAX_PARTNERS: Final = 200
"""Equal names that one name is compared with at most, and pairs that are compared again."""

NAMELESS: Final = (Identification.ANONYMOUS, Identification.DESCRIBED)
"""Who one of these is, is told by identities: it makes no pair with a source of another kind."""
# Somebody has decided about the sources `a` and `b`, or one is a part of the other. What a source
# states that is merged into one of the two counts as well, as it does for a merge.
DECIDED: Final = compose(
    """EXISTS (
        SELECT FROM ({stated}) AS stated(id, relations)
        CROSS JOIN LATERAL json_to_recordset(stated.relations)
            AS r(source_id uuid, kind text, state text)
        CROSS JOIN LATERAL survivor_of(r.source_id) AS other
        WHERE (r.state = 'confirmed' OR r.kind = 'possibly_same_as' AND r.state = 'rejected')
            AND other IN (a.id, b.id) AND other <> stated.id
    ) OR EXISTS (
        SELECT FROM links AS l
        WHERE l.owner_id IN (a.id, b.id) AND l.owner_type = 'source'
            AND l.source_id IN (a.id, b.id) AND l.link IN ('parent', 'member')
    ) OR {is_any_named} AND EXISTS (
        SELECT FROM links AS l
        WHERE l.owner_id IN (a.id, b.id) AND l.owner_type = 'source'
            AND survivor_of(l.source_id) IN (a.id, b.id) AND l.link IN ('parent', 'member')
    )""",
    is_any_named=IS_ANY_NAMED,
    stated=relations_stated("VALUES (a.id, a.relations), (b.id, b.relations)"),
)

_NAMES: Final = """
    SELECT s.id, s.visibility, n.name,
        tsvector_to_array(to_tsvector('claim_records', search_text(n.name))) AS parts
    FROM sources AS s
    CROSS JOIN LATERAL (
        SELECT n.name FROM source_names AS n WHERE n.source_id = s.id
        ORDER BY length(n.name), n.name
        LIMIT {most}
    ) AS n
    WHERE s.id = ANY(:ids::uuid[]) AND s.deleted_at IS NULL AND s.merged_into_id IS NULL"""
_RECORDS: Final = """
    SELECT w.latin, sum(w.records)::bigint AS records FROM name_words AS w
    WHERE w.latin = ANY(:words::text[])
    GROUP BY w.latin"""
# Beside the names that the query finds: equal ones, and those of sources that make a pair already.
FOUND: Final = compose(
    """
    SELECT a.place, f.source_id, f.name
    FROM unnest(:ids::uuid[], :names::text[], :queries::text[]) WITH ORDINALITY
        AS a(id, name, query, place)
    JOIN sources AS s ON s.id = a.id
    CROSS JOIN LATERAL (
        SELECT n.source_id, n.name, row_number() OVER (
            PARTITION BY t.visibility
            ORDER BY abs(length(n.name) - length(a.name)), n.source_id
        ) AS rank
        FROM (
            (
                SELECT n.source_id, n.name FROM source_names AS n
                WHERE to_tsvector('claim_records', search_text(n.name)) @@ a.query::tsquery
                LIMIT {looked_at}
            )
            UNION
            (SELECT n.source_id, n.name FROM source_names AS n WHERE n.name = a.name LIMIT {most})
        ) AS n
        JOIN sources AS t ON t.id = n.source_id AND t.deleted_at IS NULL
            AND t.merged_into_id IS NULL AND t.id <> a.id
            AND (t.identification = ANY(:nameless::text[]))
                = (s.identification = ANY(:nameless::text[]))
    ) AS f
    WHERE f.rank <= {compared}
    UNION
    SELECT a.place, n.source_id, n.name
    FROM unnest(:ids::uuid[], :names::text[]) WITH ORDINALITY AS a(id, name, place)
    CROSS JOIN LATERAL (
        SELECT p.other_id AS source_id, p.other_name AS name FROM duplicate_pairs AS p
        WHERE p.source_id = a.id AND p.source_name = a.name
        UNION ALL
        SELECT p.source_id, p.source_name FROM duplicate_pairs AS p
        WHERE p.other_id = a.id AND p.other_name = a.name
        LIMIT {most}
    ) AS k
    JOIN source_names AS n ON n.source_id = k.source_id AND n.name = k.name""",
    looked_at=f"{MAX_LOOKED_AT}",
    compared=f"{MAX_COMPARED}",
    most=f"{MAX_PARTNERS}",
)
_UNDECIDED: Final = compose(
    """
    SELECT p.place, a.visibility, b.visibility AS other_visibility,
        EXISTS (
            SELECT FROM duplicate_pairs AS d WHERE d.source_id = a.id AND d.other_id = b.id
        ) AS known
    FROM unnest(:ids::uuid[], :other_ids::uuid[]) WITH ORDINALITY AS p(id, other_id, place)
    JOIN sources AS a ON a.id = p.id AND a.deleted_at IS NULL AND a.merged_into_id IS NULL
    JOIN sources AS b ON b.id = p.other_id AND b.deleted_at IS NULL AND b.merged_into_id IS NULL
    WHERE (a.identification = ANY(:nameless::text[])) = (b.identification = ANY(:nameless::text[]))
        AND NOT ({decided})""",
    decided=DECIDED,
)


class Pair(NamedTuple):
    """Two sources with names that are alike. The lower id comes first."""

    source_id: UUID
    other_id: UUID
    source_name: str
    other_name: str
    score: float
    words: str  # JSON


class Placed(NamedTuple):
    """A pair and the bits of its visibility classes."""

    pair: Pair
    classes: int


class Found(NamedTuple):
    """The pairs that some sources make, and those that were looked at."""

    kept: list[Placed]
    compared: set[tuple[UUID, UUID]]  # by their ids, the lower one first


class _Named(NamedTuple):
    """A name by which others are looked up, and what is looked up."""

    id: UUID
    name: str
    query: str | None


async def find_pairs(connection: Connection, ids: Collection[UUID], total: int) -> Found:
    """Find the pairs that some sources make. `total` is how many public sources are counted."""
    rows = await connection.fetch(*render(compose(_NAMES, most=f"{MAX_NAMES}"), ids=list(ids)))
    words = await in_thread(_latin_words, rows)
    weight = weight_of(await _read_records(connection, words), total)
    named = await _read_queries(connection, rows, weight)
    found = await connection.fetch(
        *render(
            FOUND,
            ids=[each.id for each in named],
            names=[each.name for each in named],
            queries=[each.query for each in named],
            nameless=list(NAMELESS),
        )
    )
    pairs = [(named[row["place"] - 1], row["source_id"], row["name"]) for row in found]
    names = {name for _, _, name in pairs}.union(each.name for each in named)
    words |= await in_thread(_words_of_all, names)
    weight = weight_of(await _read_records(connection, words), total)
    scored: dict[tuple[UUID, UUID], Pair] = {}
    for start in range(0, len(pairs), MAX_SCORED):
        await in_thread(_score_some, scored, pairs[start : start + MAX_SCORED], weight)
    compared = {(min(each.id, other), max(each.id, other)) for each, other, _ in pairs}
    return Found(await _chosen(connection, ids, scored), compared)


def _latin_words(rows: Iterable[Row]) -> set[str]:
    return {latin(part) for row in rows for part in row["parts"]}


def _words_of_all(names: Iterable[str]) -> set[str]:
    return {word for name in names for word in words_of(name)}


async def _read_records(connection: Connection, words: Iterable[str]) -> dict[str, int]:
    """Read how many public sources have each of some words in Latin letters."""
    rows = await connection.fetch(*render(_RECORDS, words=sorted(words)))
    return {row["latin"]: row["records"] for row in rows}


# --- what is looked up ---------------------------------------------------------------------------


async def _read_queries(
    connection: Connection, rows: Sequence[Row], weight: Weight
) -> list[_Named]:
    """Write for each name the query that finds the names that may be close enough."""
    needed = await in_thread(_all_needed, rows, weight)
    known = await read_alike(connection, [latin(part) for parts, _ in needed for part in parts])
    return await in_thread(_written, rows, needed, known)


def _all_needed(rows: Iterable[Row], weight: Weight) -> list[tuple[list[str], str]]:
    return [_needed(row["parts"], weight) for row in rows]


def _written(
    rows: Sequence[Row],
    needed: Sequence[tuple[list[str], str]],
    known: Mapping[str, Sequence[tuple[str, str, int]]],
) -> list[_Named]:
    named = []
    for row, (parts, operator) in zip(rows, needed, strict=True):
        forms = [
            [part, *(form for form, other, _ in known[word] if alike(word, other))]
            for part in parts
            for word in (latin(part),)
        ]
        query = operator.join(f"({any_form(list(dict.fromkeys(each)))})" for each in forms)
        named.append(_Named(row["id"], row["name"], query or None))
    return named


def _needed(parts: Sequence[str], weight: Weight) -> tuple[list[str], str]:
    """Choose the words of a name that are looked up, and whether all or any have to be there.

    A name that lacks a word with more than this part of the weight scores too low.
    """
    weights = {part: weight(latin(part)) for part in parts if len(latin(part)) > 1}
    spare = (1 - MIN_SCORE) * sum(weights.values())
    heaviest = sorted(weights, key=lambda part: (-weights[part], part))
    together = [part for part in heaviest[:_MAX_TOGETHER] if weights[part] > spare]
    if together:
        return together, " & "
    chosen: list[str] = []
    while heaviest[len(chosen) :] and sum(weights[part] for part in chosen) <= spare:
        chosen.append(heaviest[len(chosen)])
    return chosen, " | "


# --- which pairs are kept ------------------------------------------------------------------------


def _score_some(
    best: dict[tuple[UUID, UUID], Pair],
    found: Iterable[tuple[_Named, UUID, str]],
    weight: Weight,
) -> None:
    """Score some pairs; of the names of two sources, those that are most alike count."""
    for named, other_id, other_name in found:
        sides = sorted([(named.id, named.name), (other_id, other_name)])
        pair = _score(sides[0], sides[1], weight)
        if pair is not None:
            key = pair.source_id, pair.other_id
            if key not in best or best[key].score < pair.score:
                best[key] = pair


def _score(source: tuple[UUID, str], other: tuple[UUID, str], weight: Weight) -> Pair | None:
    """Score two names by the one that has less of the other."""
    words, others = words_of(source[1]), words_of(other[1])
    there = compare(words, [others], weight, _ALIKE)
    back = compare(others, [words], weight, _ALIKE)
    score = min(there.score, back.score)
    if score < MIN_SCORE:
        return None
    told = [{"word": one, "other": two, "alike": degree} for one, two, degree in there.words]
    return Pair(source[0], other[0], source[1], other[1], score, msgspec.json.encode(told).decode())


async def _chosen(
    connection: Connection, ids: Collection[UUID], scored: Mapping[tuple[UUID, UUID], Pair]
) -> list[Placed]:
    """Keep the best undecided pairs of each source, and those that were kept before."""
    keys = list(scored)
    query = render(
        _UNDECIDED,
        ids=[one for one, _ in keys],
        other_ids=[other for _, other in keys],
        nameless=list(NAMELESS),
    )
    undecided = [(keys[row["place"] - 1], row) for row in await connection.fetch(*query)]
    undecided.sort(key=lambda each: (-scored[each[0]].score, each[0]))
    kept: list[Placed] = []
    taken: dict[tuple[UUID, int], int] = {}
    for key, row in undecided:
        seen = (key[0], row["other_visibility"]), (key[1], row["visibility"])
        sides = [each for each in seen if each[0] in ids]
        if row["known"] or any(taken.get(each, 0) < MAX_PAIRS for each in sides):
            classes = 1 << row["visibility"] | 1 << row["other_visibility"]
            kept.append(Placed(scored[key], classes))
            for each in sides:
                taken[each] = taken.get(each, 0) + 1
    return kept
