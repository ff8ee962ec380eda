"""Find sources by a name: read the words like those of the name, then the sources that have them.

:func:`find_sources` is what other operations use; it takes several names at a time, which share a
:class:`Deadline`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from api.core.caller import Caller
from api.core.db import Connection
from api.core.large_input import in_thread
from api.core.resource import MAX_PAGE_BYTES
from api.core.sql import render
from api.matching import candidates, counting
from api.matching.candidates import Term, choose
from api.matching.names import NameScore, Weight, alike, compare, sound, weight_of, words_of
from api.matching.vocabulary import Counts, read_counts
from schemas.vocabularies import RecordType

MAX_CANDIDATES: Final = 150
"""Sources whose names are compared with what is asked."""
MAX_SECONDS: Final = 2.0
"""No further name of a request is begun after this time."""
MAX_BYTES: Final = MAX_PAGE_BYTES - 256 * 1024
"""Bytes of the sources in one answer; the rest is for the reasons."""
_MAX_PARTS: Final = 40
"""Parts of a name, as the database divides it, that are looked up."""
_LEAST: Final = 0.3
"""A name that fits less is not told."""

# The words of names that are like those asked for: equal, of the same sound, or spelt alike.
_ALIKE: Final = """
    SELECT a.word AS asked, w.word, w.latin, w.records
    FROM unnest(:words::text[], :sounds::text[]) AS a(word, sound)
    CROSS JOIN LATERAL (
        (SELECT n.word, n.latin, n.records FROM name_words AS n WHERE n.latin = a.word LIMIT 10)
        UNION
        (
            SELECT n.word, n.latin, n.records FROM name_words AS n
            WHERE a.sound <> '' AND n.sound = a.sound
            ORDER BY similarity(n.latin, a.word) DESC, n.word
            LIMIT 20
        )
        UNION
        (
            SELECT n.word, n.latin, n.records FROM name_words AS n
            WHERE n.latin % a.word
            ORDER BY similarity(n.latin, a.word) DESC, n.word
            LIMIT 20
        )
    ) AS w"""
_OWN: Final = """
    SELECT a.place, tsvector_to_array(to_tsvector('claim_records', search_text(a.name))) AS words
    FROM unnest(:names::text[]) WITH ORDINALITY AS a(name, place)"""
_FOUND: Final = """
    WITH found AS (
        SELECT s.id, sum(q.weight) AS weight
        FROM unnest(:queries::text[], :weights::float8[], :most::bigint[]) AS q(query, weight, most)
        CROSS JOIN LATERAL (
            SELECT DISTINCT s.id FROM (
                SELECT t.id FROM (
                    SELECT n.source_id FROM source_names AS n
                    WHERE to_tsvector('claim_records', search_text(n.name)) @@ q.query::tsquery
                    LIMIT {looked_at}
                ) AS n
                JOIN sources AS t ON t.id = n.source_id
                WHERE {conditions} AND t.deleted_at IS NULL AND :sees(source, t)
                LIMIT q.most
            ) AS s
        ) AS s
        GROUP BY s.id
        ORDER BY 2 DESC, 1
        LIMIT {limit}
    ), fresh AS ({fresh}
    )
    SELECT e.id::text AS id, ARRAY(
        SELECT n.name FROM source_names AS n WHERE n.source_id = e.id ORDER BY n.name LIMIT 50
    ) AS names
    FROM (SELECT id FROM found UNION SELECT id FROM fresh) AS e"""
_DOCUMENTS: Final = candidates.documents(RecordType.SOURCE)


class Deadline:
    """The time that the names of one request have together. The first one is always in time."""

    def __init__(self) -> None:
        """Begin now."""
        self._until = time.monotonic() + MAX_SECONDS
        self._first = True

    def has_passed(self) -> bool:
        """Tell whether no further name is to be begun."""
        passed = not self._first and time.monotonic() > self._until
        self._first = False
        return passed


class Search(NamedTuple):
    """Where sources are looked for, for whom, and until when."""

    connection: Connection
    caller: Caller
    deadline: Deadline
    where: Sequence[str] = ()
    values: Mapping[str, Any] = {}


class FoundSource(NamedTuple):
    """A source that has a name like the one asked for."""

    id: str
    name: str  # the name that fits best, folded
    scored: NameScore


async def read_alike(
    connection: Connection, words: Iterable[str]
) -> dict[str, list[tuple[str, str, int]]]:
    """Read the words of names that are like each of some words in Latin letters.

    Each is given as it stands in names, in Latin letters, and with the number of public sources.
    """
    distinct = list(dict.fromkeys(words))
    known: dict[str, list[tuple[str, str, int]]] = {word: [] for word in distinct}
    sounds = [sound(word) for word in distinct]
    for row in await connection.fetch(*render(_ALIKE, words=distinct, sounds=sounds)):
        known[row["asked"]].append((row["word"], row["latin"], row["records"]))
    return known


async def find_sources(
    search: Search, asked: Sequence[tuple[str, int]]
) -> list[list[FoundSource] | None]:
    """Find the sources whose names are like each of some names, the likeliest first.

    Each name comes with how many sources are wanted. Null stands for a name for which there was no
    time; there always is for the first one.
    """
    counts = await read_counts(search.connection, RecordType.SOURCE)
    rows = await search.connection.fetch(*render(_OWN, names=[name for name, _ in asked]))
    own = {row["place"] - 1: row["words"][:_MAX_PARTS] for row in rows}
    answers: list[list[FoundSource] | None] = []
    for place, (name, limit) in enumerate(asked):
        if search.deadline.has_passed():
            answers.append(None)
        else:
            answers.append(await _find(search, words_of(name), own.get(place, []), counts, limit))
    return answers


async def _find(
    search: Search, words: Sequence[str], own: Sequence[str], counts: Counts, limit: int
) -> list[FoundSource]:
    known = await read_alike(search.connection, words)
    weight = weight_of(_records(known), counts.records)
    lookups = choose(_terms(words, own, known, weight))
    conditions = " AND ".join([*search.where, "t.merged_into_id IS NULL"])
    query = render(
        candidates.statement(_FOUND, RecordType.SOURCE, conditions, MAX_CANDIDATES),
        search.caller,
        queries=[each.query for each in lookups],
        weights=[each.weight for each in lookups],
        most=[each.most for each in lookups],
        counted_at=counts.counted_at or counting.NEVER,
        **search.values,
    )
    rows = [(row["id"], row["names"]) for row in await search.connection.fetch(*query)]
    return await in_thread(_ranked, words, rows, weight, limit)


async def read_documents(
    connection: Connection, asker: Caller, ids: Sequence[str]
) -> dict[str, bytes]:
    """Read the documents of sources by their ids, of the first ones, as many as fit."""
    rows = await connection.fetch(*render(_DOCUMENTS, asker, ids=ids, room=MAX_BYTES))
    return {row["id"]: row["doc"] for row in rows}


def _records(known: Mapping[str, Sequence[tuple[str, str, int]]]) -> dict[str, int]:
    """Tell how many sources have each word; one that none has is as frequent as those like it.

    Else a misspelt “minstry” would be the rarest word, and choose other sources than the others do.
    """
    records = {latin: number for found in known.values() for _, latin, number in found}
    for word, found in known.items():
        if word not in records:
            records[word] = sum(number for _, latin, number in found if alike(word, latin))
    return records


def _terms(
    words: Sequence[str],
    own: Sequence[str],
    known: Mapping[str, Sequence[tuple[str, str, int]]],
    weight: Weight,
) -> list[Term]:
    """Give each word of a name with the words that may be meant by it."""
    terms: dict[tuple[str, ...], Term] = {}
    for word in words:
        meant = [each for each in known[word] if alike(word, each[1])]
        forms = tuple(dict.fromkeys([word, *(each[0] for each in meant)]))
        terms[forms] = Term(forms, sum(each[2] for each in meant), weight(word))
    # As the database divides the name: parts of words in scripts without spaces.
    held = {form for forms in terms for form in forms}
    for part in own:
        if part not in held:
            terms[(part,)] = Term((part,), 0, weight(part))
    return list(terms.values())


def _ranked(
    words: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], weight: Weight, limit: int
) -> list[FoundSource]:
    found = []
    for identity, names in rows:
        scored = compare(words, [words_of(name) for name in names], weight)
        if scored.score >= _LEAST:
            found.append(FoundSource(identity, names[scored.name], scored))
    found.sort(key=lambda each: (-each.scored.score, len(each.name), each.id))
    return found[:limit]
