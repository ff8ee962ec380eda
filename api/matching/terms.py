"""Turn a text into terms: its words with their other forms, weighted by how rare they are.

The words of a text are those that the search takes from it. The dictionary of its language gives
their stems, and the vocabulary gives all words of claims with these stems. So the index that serves
the search finds inflected words too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from api.core.db import Connection
from api.core.sql import render
from api.matching import counting
from api.matching.names import closeness
from api.matching.scoring import AskedTerm, AskedText, rarity
from api.matching.texts import signed, spoken
from api.matching.vocabulary import Counts

MAX_TERMS: Final = 60
"""So many words of a text are compared: the rarest."""
_PARTS: Final = (1.0, 0.5, 0.3)
"""How much a word of a post counts, one of its writer's name, and one of its date."""
_MAX_LOOKED_UP: Final = 400
"""So many words of a text are looked up: the first."""
_SHORT: Final = 12
_MAX_MISSPELT: Final = 8
_SPELT_ALIKE: Final = 0.7
_LEAST_LETTERS: Final = 4
_MAX_GUESSED: Final = 5

_WORDS: Final = """
    SELECT a.place::integer - 1 AS place, u.lexeme AS word, cardinality(u.positions) AS times
    FROM unnest(:texts::text[]) WITH ORDINALITY AS a(text, place)
    CROSS JOIN LATERAL (
        SELECT u.lexeme, u.positions
        FROM unnest(to_tsvector('claim_records', search_text(a.text))) AS u
        ORDER BY u.positions[1], u.lexeme
        LIMIT :most::integer
    ) AS u"""
_FORMS: Final = """
    SELECT p.word, p.dictionary, p.stems = '{}' AS stops, p.stems[1] AS stem,
        coalesce(f.words, '{}') AS words, coalesce(f.records, 0) AS records
    FROM (
        SELECT p.word, p.dictionary, ts_lexize(p.dictionary::regdictionary, p.word) AS stems
        FROM unnest(:words::text[], :dictionaries::text[]) AS p(word, dictionary)
    ) AS p
    CROSS JOIN LATERAL (
        SELECT array_agg(c.word ORDER BY c.records DESC, c.word) AS words,
            sum(c.records)::bigint AS records
        FROM claim_words AS c
        WHERE c.dictionary = p.dictionary AND c.stem = p.stems[1]
    ) AS f"""
_RECORDS: Final = """
    SELECT c.word, sum(c.records)::bigint AS records FROM claim_words AS c
    WHERE c.word = ANY(:words::text[])
    GROUP BY c.word"""
# A word with another first letter is rarely a misspelling: “training” is none of “raining”.
_SPELT: Final = """
    SELECT a.word AS asked, w.word, w.records
    FROM unnest(:words::text[]) AS a(word)
    CROSS JOIN LATERAL (
        SELECT c.word, sum(c.records)::bigint AS records FROM claim_words AS c
        WHERE c.word % a.word AND left(c.word, 1) = left(a.word, 1)
        GROUP BY c.word
        ORDER BY similarity(c.word, a.word) DESC, c.word
        LIMIT 5
    ) AS w"""


class Asked(NamedTuple):
    """A text as it was sent."""

    text: str
    language: str


class _Form(NamedTuple):
    """What a dictionary and the vocabulary know of a word."""

    stops: bool
    stem: str | None
    words: Sequence[str]
    records: int


async def read_terms(
    connection: Connection, asked: Sequence[Asked], counts: Counts
) -> list[AskedText]:
    """Read the terms of some texts."""
    installed = {row[0] for row in await connection.fetch(counting.INSTALLED)}
    rows = await connection.fetch(
        *render(
            _WORDS,
            texts=[spoken(part) for each in asked for part in signed(each.text)],
            most=_MAX_LOOKED_UP,
        )
    )
    words: list[dict[str, float]] = [{} for _ in asked]
    for row in rows:
        place, part = divmod(row["place"], len(_PARTS))
        former = words[place].get(row["word"], 0)
        words[place][row["word"]] = former + row["times"] * _PARTS[part]
    chosen = [_dictionaries(each.language, counts, installed) for each in asked]
    pairs = {
        (word, dictionary)
        for its, dictionaries in zip(words, chosen, strict=True)
        for word in its
        for dictionary in dictionaries
    }
    forms = await _read_forms(connection, sorted(pairs))
    records = {
        row["word"]: row["records"]
        for row in await connection.fetch(
            *render(_RECORDS, words=sorted({word for word, _ in pairs}))
        )
    }
    texts = []
    for each, its, dictionaries in zip(asked, words, chosen, strict=True):
        likely = _likely(its, dictionaries, forms) if len(dictionaries) > 1 else dictionaries
        terms = _terms(its, likely, forms, records, counts)
        terms = await _with_misspelt(connection, terms, records, counts)
        usual = counts.words / counts.records if counts.records and counts.words else 10
        texts.append(AskedText(each.text, each.language, terms, max(len(its), 1), usual, likely[0]))
    return texts


def _dictionaries(language: str, counts: Counts, installed: set[str]) -> tuple[str, ...]:
    """Give the dictionaries for a language; without one, those of the claims that there are."""
    subtag = language.lower().partition("-")[0]
    if subtag in counting.UNDETERMINED:
        return counts.dictionaries[:_MAX_GUESSED] or (counting.SIMPLE,)
    name = counting.DICTIONARIES.get(subtag, counting.SIMPLE)
    return (name if name in installed else counting.SIMPLE,)


async def _read_forms(
    connection: Connection, pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], _Form]:
    words, dictionaries = [], []
    for word, dictionary in pairs:
        words.append(word)
        dictionaries.append(dictionary)
    return {
        (row["word"], row["dictionary"]): _Form(
            bool(row["stops"]), row["stem"], row["words"], row["records"]
        )
        for row in await connection.fetch(*render(_FORMS, words=words, dictionaries=dictionaries))
    }


def _likely(
    words: Iterable[str],
    dictionaries: Sequence[str],
    forms: Mapping[tuple[str, str], _Form],
) -> Sequence[str]:
    """Give the dictionaries that know the most of the words as stop words; all, if none does."""
    known = {name: sum(forms[word, name].stops for word in words) for name in dictionaries}
    most = max(known.values())
    return [name for name in dictionaries if known[name] == most]


def _terms(
    words: Mapping[str, float],
    dictionaries: Sequence[str],
    forms: Mapping[tuple[str, str], _Form],
    records: Mapping[str, int],
    counts: Counts,
) -> list[AskedTerm]:
    """Put words of one stem together, and give the rarest terms."""
    terms: dict[str, AskedTerm] = {}
    total = max(counts.records, 1)
    for word, times in words.items():
        its = [forms[word, name] for name in dictionaries]
        if all(each.stops for each in its):
            continue
        stem = next((each.stem for each in its if each.stem), word)
        if stem in terms:
            former = terms[stem]
            terms[stem] = former._replace(
                times=former.times + times, forms={**former.forms, word: 1.0}
            )
            continue
        found = max(sum(each.records for each in its), records.get(word, 0))
        same = dict.fromkeys([word, *(f for each in its for f in each.words)], 1.0)
        terms[stem] = AskedTerm(word, times, rarity(found, total), found, same, stem)
    return sorted(terms.values(), key=lambda term: (-term.weight, term.word))[:MAX_TERMS]


async def _with_misspelt(
    connection: Connection,
    terms: list[AskedTerm],
    records: Mapping[str, int],
    counts: Counts,
) -> list[AskedTerm]:
    """Add words of a similar spelling to the terms of a short text that stand in no claim."""
    unknown = [
        place
        for place, term in enumerate(terms)
        if len(term.forms) == 1
        and not records.get(term.word)
        and len(term.word) >= _LEAST_LETTERS
        and not term.word[0].isdigit()
    ]
    if not unknown or (len(terms) > _SHORT and 2 * len(unknown) < len(terms)):
        return terms
    unknown = unknown[:_MAX_MISSPELT]
    asked = [terms[place].word for place in unknown]
    meant: dict[str, dict[str, tuple[float, int]]] = {word: {} for word in asked}
    for row in await connection.fetch(*render(_SPELT, words=asked)):
        degree = closeness(row["asked"], row["word"])
        if degree >= _SPELT_ALIKE:
            meant[row["asked"]][row["word"]] = degree, row["records"]
    terms = list(terms)
    for place in unknown:
        found = meant[terms[place].word]
        if found:
            number = sum(each for _, each in found.values())
            degrees = {word: degree for word, (degree, _) in found.items()}
            terms[place] = terms[place]._replace(
                weight=rarity(number, max(counts.records, 1)),
                records=number,
                forms={**terms[place].forms, **degrees},
            )
    return terms
