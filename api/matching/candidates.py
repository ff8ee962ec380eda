"""Choose the records that are compared, so that few are read however many there are.

They are looked up by their words. Words that few records have are looked up one by one. Those that
many have are looked up in pairs and all together, which Postgres does by walking along the rarest
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from api.core.sql import compose, plural
from schemas.vocabularies import RecordType

MAX_READ: Final = 1_500
"""Records that the words of one text may bring, looked up one by one."""
MAX_LOOKED_AT: Final = 10_000
"""Records that one look-up reads at most, where filters leave most of them out."""
_MOST_TOGETHER: Final = 200
"""Records that each group of words may bring."""
_IN_PAIRS: Final = 4
_TOGETHER: Final = 8
_MAX_FORMS: Final = 50
_FRESH: Final = """
        SELECT t.id FROM (
            SELECT t.* FROM {table} AS t
            WHERE t.updated_at > :counted_at::timestamptz - interval '10 s'
                AND t.deleted_at IS NULL
            ORDER BY t.updated_at DESC
            LIMIT {looked_at}
        ) AS t
        WHERE {conditions} AND :sees({type}, t)
        ORDER BY t.updated_at DESC
        LIMIT {limit}"""
_DOCUMENTS: Final = """
    SELECT d.id, d.doc FROM (
        SELECT t.id::text AS id, t.doc, a.place,
            sum(octet_length(t.doc)) OVER (ORDER BY a.place) AS size
        FROM unnest(:ids::uuid[]) WITH ORDINALITY AS a(id, place)
        JOIN {table} AS t ON t.id = a.id AND t.deleted_at IS NULL AND :sees({type}, t)
    ) AS d
    WHERE d.size <= :room::bigint
    ORDER BY d.place"""


class Term(NamedTuple):
    """A word of a text in all its forms."""

    forms: tuple[str, ...]  # as they stand in tsvectors; the word itself comes first
    records: int  # about how many have one of them
    weight: float


class Lookup(NamedTuple):
    """What to look up, how much it says that a record has it, and how many records to read."""

    query: str  # a tsquery
    weight: float
    most: int


def choose(terms: Iterable[Term]) -> list[Lookup]:
    """Choose what is looked up for the terms of a text."""
    rarest = sorted(terms, key=lambda term: (term.records, term.forms))
    lookups: list[Lookup] = []
    room = MAX_READ
    common = []
    for term in rarest:
        if term.records <= room:
            room -= term.records
            # The count may be a little old.
            lookups.append(
                Lookup(any_form(term.forms), term.weight, 2 * term.records + _MOST_TOGETHER)
            )
        else:
            common.append(term)
    if common:
        alone = {term.forms for term in rarest} - {term.forms for term in common}
        groups: list[Sequence[Term]] = [
            pair
            for pair in combinations(rarest[:_IN_PAIRS], 2)
            if not any(term.forms in alone for term in pair)
        ]
        groups += [common[:size] for size in (3, _TOGETHER) if len(common) >= size]
        groups += [common] if len(common) == 1 else []
        for group in groups:
            query = " & ".join(f"({any_form(term.forms)})" for term in group)
            lookups.append(Lookup(query, sum(term.weight for term in group), _MOST_TOGETHER))
    return lookups


def any_form(forms: Sequence[str]) -> str:
    """Write the tsquery that finds any of the forms of a word."""
    return " | ".join(map(_quoted, forms[:_MAX_FORMS]))


def _quoted(word: str) -> str:
    """Write a word as a tsquery has it, whatever characters it consists of."""
    doubled = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def statement(found: str, record_type: RecordType, conditions: str, limit: int) -> str:
    """Write a statement that reads candidates, and the newest ones beside them.

    What was written since the words were counted may have words that nobody knows yet.
    """
    pieces = {
        "conditions": conditions,
        "limit": f"{limit}",
        "looked_at": f"{MAX_LOOKED_AT}",
    }
    fresh = compose(_FRESH, table=plural(record_type), type=record_type, **pieces)
    return compose(found, fresh=fresh, **pieces)


def documents(record_type: RecordType) -> str:
    """Write the statement that reads documents: the first ones, as many as there is room for."""
    return compose(_DOCUMENTS, table=plural(record_type), type=record_type)
