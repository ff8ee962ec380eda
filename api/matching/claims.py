"""Find the claims that may say what a text says.

:func:`find_claims` reads those that share the rarest words with the text, and has them scored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from api.core.caller import Caller
from api.core.db import Connection, Row
from api.core.resource import MAX_PAGE_BYTES
from api.core.sql import render
from api.matching import candidates, counting
from api.matching.candidates import Term, choose
from api.matching.scoring import AskedText, Candidate, Reasons, Scorer
from api.matching.terms import Asked, read_terms
from api.matching.vocabulary import Counts, read_counts
from schemas.vocabularies import RecordType

MAX_CANDIDATES: Final = 100
"""Claims that are compared with a text."""
MAX_SECONDS: Final = 2.0
"""No further text of a request is begun after this time."""
MAX_BYTES: Final = MAX_PAGE_BYTES - 256 * 1024
"""Bytes of the claims in one answer; the rest is for the reasons."""
_LEAST: Final = 0.05
"""A claim that scores less is not told."""

_FOUND: Final = """
    WITH found AS (
        SELECT f.id, sum(q.weight) AS weight
        FROM unnest(:queries::text[], :weights::float8[], :most::bigint[]) AS q(query, weight, most)
        CROSS JOIN LATERAL (
            SELECT t.id FROM (
                SELECT t.* FROM claims AS t
                WHERE t.search @@ q.query::tsquery AND t.deleted_at IS NULL
                LIMIT {looked_at}
            ) AS t
            WHERE {conditions} AND :sees(claim, t)
            LIMIT q.most
        ) AS f
        GROUP BY f.id
        ORDER BY 2 DESC, 1
        LIMIT {limit}
    ), fresh AS ({fresh}
    )
    SELECT t.id::text AS id, t.text, coalesce(t.note, '') AS note, length(t.search) AS length, (
        SELECT json_agg(json_build_array(w.lexeme, cardinality(w.positions), w.stem))::text
        FROM (
            SELECT u.lexeme, u.positions, CASE
                    WHEN f.id IS NULL THEN (ts_lexize(:dictionary::regdictionary, u.lexeme))[1]
                END AS stem
            FROM unnest(t.search) AS u
        ) AS w
        WHERE w.lexeme = ANY(:forms::text[]) OR w.stem = ANY(:stems::text[])
    ) AS words
    FROM (SELECT id FROM found UNION SELECT id FROM fresh) AS e
    JOIN claims AS t ON t.id = e.id
    LEFT JOIN found AS f ON f.id = e.id"""
_DOCUMENTS: Final = candidates.documents(RecordType.CLAIM)
_Words = list[tuple[str, int, str | None]]


class FoundClaim(NamedTuple):
    """A claim that may say the same, with its document."""

    score: float
    why: Reasons
    doc: bytes


class Found(NamedTuple):
    """The claims for one text."""

    claims: Sequence[FoundClaim] = ()
    complete: bool = False  # whether there was time and room for all of them


class Search(NamedTuple):
    """Where claims are looked for, and for whom."""

    connection: Connection
    caller: Caller
    scorer: Scorer
    limit: int
    where: Sequence[str] = ()
    values: Mapping[str, Any] = {}


async def find_claims(search: Search, asked: Sequence[Asked]) -> list[Found]:
    """Find the claims for each text, the best first, while there is time and room."""
    until = time.monotonic() + MAX_SECONDS
    counts = await read_counts(search.connection, RecordType.CLAIM)
    room = MAX_BYTES
    answers: list[Found] = []
    for text in asked:
        if answers and (time.monotonic() > until or not answers[-1].complete):
            answers.append(Found())
            continue
        (terms,) = await read_terms(search.connection, [text], counts)
        found = await _best(search, terms, await _read_candidates(search, terms, counts), room)
        room -= sum(len(each.doc) for each in found.claims)
        answers.append(found)
    return answers


async def _read_candidates(search: Search, asked: AskedText, counts: Counts) -> list[Candidate]:
    lookups = choose(Term(tuple(term.forms), term.records, term.weight) for term in asked.terms)
    place_of_form = {
        form: (place, degree)
        for place, term in reversed(list(enumerate(asked.terms)))
        for form, degree in term.forms.items()
    }
    place_of_stem = {term.stem: (place, 1.0) for place, term in enumerate(asked.terms)}
    conditions = " AND ".join(search.where) or "true"
    query = render(
        candidates.statement(_FOUND, RecordType.CLAIM, conditions, MAX_CANDIDATES),
        search.caller,
        queries=[each.query for each in lookups],
        weights=[each.weight for each in lookups],
        most=[each.most for each in lookups],
        counted_at=counts.counted_at or counting.NEVER,
        dictionary=asked.dictionary,
        forms=list(place_of_form),
        stems=list(filter(None, place_of_stem)),
        **search.values,
    )

    def candidate(row: Row) -> Candidate:
        times, degrees = [0] * len(asked.terms), [0.0] * len(asked.terms)
        words: _Words = msgspec.json.decode(row["words"] or "[]", type=_Words)
        for word, number, stem in words:
            place, degree = place_of_form.get(word) or place_of_stem[stem]
            times[place] += number
            degrees[place] = max(degrees[place], degree)
        return Candidate(row["id"], row["text"], row["note"], times, degrees, row["length"])

    return [candidate(row) for row in await search.connection.fetch(*query)]


async def _best(
    search: Search, asked: AskedText, compared: Sequence[Candidate], room: int
) -> Found:
    """Score the candidates, and read the documents of the best."""
    scored = await search.scorer.score(asked, compared)
    ranked = sorted(
        zip(scored, compared, strict=True), key=lambda each: (-each[0].score, each[1].id)
    )
    best = {one.id: each for each, one in ranked[: search.limit] if each.score >= _LEAST}
    rows = await search.connection.fetch(
        *render(_DOCUMENTS, search.caller, ids=list(best), room=room)
    )
    claims = [FoundClaim(best[row["id"]].score, best[row["id"]].why, row["doc"]) for row in rows]
    return Found(claims, complete=len(claims) == len(best))
