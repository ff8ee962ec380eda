"""Score claims against a text by the stems of its words (BM25), its letters and its figures.

:class:`Scorer` is the place for another method; `docs/matching.md` shows one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from api.core.large_input import work_on
from api.matching.letters import MAX_LETTERS, Letters
from api.matching.texts import capitalised, figures, folded, plain, printed_words, spoken

# The letters of the formula: k1, b and k3 in Robertson and Zaragoza, “The Probabilistic Relevance
# Framework: BM25 and Beyond” (2009). The length of a claim says little, as claims are short. Rare
# words count more than in that formula; `bench/README.md` has the measurement.
_REPETITION: Final = 1.2
_LENGTH: Final = 0.3
_REPETITION_ASKED: Final = 0.6
_RARITY: Final = 1.5
# The score is a geometric mean of what words and letters say, so that neither makes up for the
# other. The weights are those that ordered the posts of the part named train best.
_LETTERS: Final = 0.15
_NO_LETTERS: Final = 0.02
"""A claim of other letters is not quite ruled out by them."""
_OTHER_FIGURES: Final = 0.15
"""So much of its score a claim loses at most by figures that the text does not have."""
_MOST_SPELT: Final = 50
"""So many claims are compared by their letters: the best by their words."""
# Fact-checkers judge what is said of one event in several claims, and a text that says it in other
# words has something of each. So claims that are like the best ones gain, by the cube of how much.
_LEADERS: Final = 10
_SUPPORT: Final = 0.3
_INLINE_PAIRS: Final = 8
"""So many bytes of input are as much work as comparing a term with a claim, or a letter."""


def rarity(records: int, total: int) -> float:
    """Weigh a word by how few of all records have it."""
    records = min(records, total)
    return math.pow(math.log(1 + (total - records + 0.5) / (records + 0.5)), _RARITY)


class AskedTerm(NamedTuple):
    """A word of a text, with all words that count as the same, and how much each does (0 to 1)."""

    word: str  # as it stands in a tsvector
    times: float  # in the text, less for a word of a post's signature
    weight: float
    records: int  # about how many public claims have it
    forms: Mapping[str, float]
    stem: str | None


class AskedText(NamedTuple):
    """A text, as it is compared with claims."""

    text: str  # as it was sent
    language: str
    terms: Sequence[AskedTerm]
    length: int  # different words
    usual_length: float  # of a claim
    dictionary: str  # of Postgres, the likeliest for the text


class Candidate(NamedTuple):
    """A claim that may say the same as a text."""

    id: str
    text: str
    note: str
    found: Sequence[int]  # for each term of the asked text, how often the claim has it
    degrees: Sequence[float]  # and how much its words count as that term
    length: int  # different words


class Reasons(NamedTuple):
    """What a text and a claim have in common, as the text has it, the rarest first."""

    words: list[str]
    figures: list[str]
    names: list[str]


class Scored(NamedTuple):
    """The score of a claim, from 0 to 1, and its reasons."""

    score: float
    why: Reasons


class Scorer(ABC):
    """Compares a text with the claims that share words with it."""

    @abstractmethod
    async def score(self, asked: AskedText, candidates: Sequence[Candidate]) -> list[Scored]:
        """Score each candidate. The order does not matter."""


class WordScorer(Scorer):
    """The method of the service: it needs nothing but the words."""

    async def score(self, asked: AskedText, candidates: Sequence[Candidate]) -> list[Scored]:
        """Score each candidate by the words that it shares with the text."""
        size = len(asked.terms) * len(candidates) * _INLINE_PAIRS + len(asked.text)
        for each in candidates:
            length = len(each.text) + len(each.note)
            size += length + _INLINE_PAIRS * min(length, MAX_LETTERS)
        return await work_on(size, _score_all, asked, candidates)


def _score_all(asked: AskedText, candidates: Sequence[Candidate]) -> list[Scored]:
    itself = sum(_share(term, term.times, asked.length, asked.usual_length) for term in asked.terms)
    by_words = [_by_words(asked, each, itself) for each in candidates]
    texts = [f"{each.text} {each.note}" for each in candidates]
    sharing = [place for place, score in enumerate(by_words) if score]
    best = sorted(sharing, key=lambda place: -by_words[place])[:_MOST_SPELT]
    spelt = Letters([texts[place] for place in best])
    letters = dict(zip(best, spelt.likenesses(spoken(asked.text)), strict=True))
    explain = _Explainer(asked)
    scores, reasons = [], []
    for place, candidate in enumerate(candidates):
        theirs = {plain(figure) for figure in figures(texts[place])}
        other_figures = len(theirs - explain.plain_figures) / (1 + len(theirs))
        scores.append(_put_together(by_words[place], letters.get(place, 0), other_figures))
        reasons.append(explain.reasons(candidate, theirs))
    raised = supported([scores[place] for place in best], spelt)
    for place, score in zip(best, raised, strict=True):
        scores[place] = score
    return [Scored(round(score, 4), why) for score, why in zip(scores, reasons, strict=True)]


def supported(scores: Sequence[float], spelt: Letters) -> list[float]:
    """Raise the score of each claim by the best ones that are like it, nearer to 1."""
    leaders = sorted(range(len(scores)), key=lambda place: -scores[place])[:_LEADERS]
    raised = []
    for place, score in enumerate(scores):
        support = sum(
            scores[leader] * math.pow(spelt.between(place, leader), 3)
            for leader in leaders
            if leader != place
        )
        raised.append(score + (1 - score) * min(_SUPPORT * support, 1))
    return raised


def _put_together(words: float, letters: float, other_figures: float) -> float:
    spelt = (letters + _NO_LETTERS) / (1 + _NO_LETTERS)
    mean = math.pow(words, 1 - _LETTERS) * math.pow(spelt, _LETTERS)
    return mean * (1 - _OTHER_FIGURES * other_figures)


def _by_words(asked: AskedText, candidate: Candidate, itself: float) -> float:
    if not itself:
        return 0
    total = sum(
        degree * _share(term, times, candidate.length, asked.usual_length)
        for term, times, degree in zip(asked.terms, candidate.found, candidate.degrees, strict=True)
        if times
    )
    return min(total / itself, 1)


def _share(term: AskedTerm, times: float, length: int, usual_length: float) -> float:
    """Give what a term adds to a score, in a record that has it so many times."""
    asked = (_REPETITION_ASKED + 1) * term.times / (_REPETITION_ASKED + term.times)
    norm = _REPETITION * (1 - _LENGTH + _LENGTH * length / usual_length)
    return term.weight * asked * times * (_REPETITION + 1) / (times + norm)


class _Explainer:
    """Tells the reasons for scores, in the words of the text."""

    def __init__(self, asked: AskedText) -> None:
        self._asked = asked
        self._printed = printed_words(asked.text)
        self._names = {folded(word) for word in capitalised(asked.text)}
        self._figures = figures(spoken(asked.text))
        self.plain_figures = {plain(figure) for figure in self._figures}
        self._order = sorted(range(len(asked.terms)), key=lambda place: -asked.terms[place].weight)

    def reasons(self, candidate: Candidate, theirs: Collection[str]) -> Reasons:
        """Tell what the text has in common with a claim that has these figures."""
        reasons = Reasons([], [each for each in self._figures if plain(each) in theirs], [])
        for place in self._order:
            if not candidate.found[place]:
                continue
            word = self._asked.terms[place].word
            if word[0].isdigit():
                continue
            target = reasons.names if word in self._names else reasons.words
            target.append(self._printed.get(word, word))
        return Reasons(*(each[:_MAX_REASONS] for each in reasons))


_MAX_REASONS: Final = 50
