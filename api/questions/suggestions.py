"""Suggest where the lost words of a span may stand in an article's text now.

Unchanged words come first, then words that differ in typography only, then similar words. Each step
looks near the old place first, and only where the step before it found nothing. All of it costs a
bounded number of steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import floor
from typing import Final, NamedTuple

from api.core.edit_distance import best_place, distance, steps
from api.questions.folding import FoldedText, fold
from schemas.anchors import MAX_SUGGESTIONS, Suggestion
from schemas.vocabularies import SuggestionReason

MAX_STEPS: Final = 2_000_000
"""How many steps of about a microsecond the search for one page may take."""
CONTEXT: Final = 32
"""How many characters on each side of the words are compared."""
MAX_SUGGESTED: Final = 40_000
"""The suggestions of a span have at most this many characters together; three are always listed."""
_FEW: Final = 3
_LONGEST: Final = 20_000
"""How many characters a span may have."""
_REACHES: Final = (500, 40_000, 2**31)
"""How far from the old place words are looked for, one distance after the other."""
_MAX_PLACES: Final = 1_100
"""How many places of the same words are looked at within one reach: all within the first."""
_LEAST_ALIKE: Final = 0.5
"""The part of the characters of similar words that is the same."""
_SURELY: Final = 0.8
"""If a place has this score, no better place is searched for farther away."""
_BESIDE: Final = 12
"""To find what replaced the words, this many characters on each side of them must be as before."""
_PIECE: Final = 8
_MAX_PIECES: Final = 24
_COMMON: Final = 40
"""A piece that is found more often than this within reach says nothing about the place."""
_MAX_ENDS: Final = 20
"""Similar words are widened to whole words by at most this many characters."""
# Letters and digits, but not those of scripts that are written without spaces.
_OF_WORD: Final = re.compile(
    r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff]"
)


class Lost(NamedTuple):
    """A span that was lost: its words, the text around them, and where they began."""

    words: str
    before: str
    behind: str
    start: int


class Work:
    """How many steps a search may still take."""

    def __init__(self) -> None:
        """Begin with all of them."""
        self._left = MAX_STEPS

    def take(self, steps: int) -> None:
        """Count steps that are taken."""
        self._left -= steps

    @property
    def is_over(self) -> bool:
        """Whether no step is left."""
        return self._left <= 0


class SearchedText:
    """The text in which lost words are looked for."""

    def __init__(self, text: str) -> None:
        """Take a text; it is folded when that is needed for the first time."""
        self.text: Final = text

    @cached_property
    def folded(self) -> FoldedText:
        """The same without its typography."""
        return FoldedText(self.text)


class _Place(NamedTuple):
    """A part of the folded text, and how much of it is like the lost words."""

    start: int
    end: int
    alike: float


class _Folded(NamedTuple):
    """A lost span without its typography."""

    words: str
    before: str
    behind: str


def suggest(lost: Lost, searched: SearchedText, work: Work) -> list[Suggestion]:
    """Suggest places for a lost span, the likeliest first.

    Where `work` is over, there may be other places, or better ones.
    """
    folded = _Folded(fold(lost.words), fold(lost.before), fold(lost.behind))
    starts = list(_places(searched.text, lost.words, lost.start, work))
    if starts:
        alone = len(starts) == 1
        why = SuggestionReason.SAME_WORDS if alone else SuggestionReason.ONE_OF_SEVERAL
        parts = [(start, start + len(lost.words)) for start in starts]
        found = [_suggestion(part, folded, searched, work, why) for part in parts]
    else:
        found = _typographic(folded, searched, work, lost.start)
    if folded.words and not any(_fits_words(each, searched.text) for each in found):
        found += _similar(folded, searched, work, lost.start)
    return _best(found, lost, searched.text)


def _best(found: Iterable[Suggestion], lost: Lost, text: str) -> list[Suggestion]:
    """Take the best of the suggestions, each place once: as what it was found to be first."""
    longest = min(4 * len(lost.words) + CONTEXT, _LONGEST)
    places: dict[tuple[int, int], Suggestion] = {}
    for each in found:
        if each.end - each.start <= longest:
            places.setdefault((each.start, each.end), each)
    ranked = sorted(
        places.values(),
        key=lambda s: (not _fits_words(s, text), -s.score, abs(s.start - lost.start)),
    )
    most = min(max(MAX_SUGGESTED // len(lost.words), _FEW), MAX_SUGGESTIONS)
    return ranked[:most]


def _fits_words(suggestion: Suggestion, text: str) -> bool:
    """Tell whether a suggestion begins and ends where words of the text do."""
    return not (_within_word(text, suggestion.start) or _within_word(text, suggestion.end))


def _within_word(text: str, position: int) -> bool:
    around = text[max(position - 1, 0) : position + 1]
    return 0 < position < len(text) and all(map(_OF_WORD.match, around))


# --- unchanged words -----------------------------------------------------------------------------


def _places(text: str, words: str, near: int, work: Work) -> Iterator[int]:
    """Find the nearest places of words in a text, nearest first."""
    starts: list[int] = []
    for reach in _REACHES:
        if not words or work.is_over:
            break
        low, high = max(near - reach, 0), min(near + reach + len(words), len(text))
        starts = list(_occurrences(text, words, low, high, _MAX_PLACES))
        work.take(_cost(high - low, len(words), len(starts)))
        if len(starts) >= MAX_SUGGESTIONS or (low == 0 and high == len(text)):
            break
    yield from sorted(starts, key=lambda start: abs(start - near))[:MAX_SUGGESTIONS]


def _occurrences(text: str, words: str, low: int, high: int, most: int) -> Iterator[int]:
    at = text.find(words, low, high)
    while at >= 0 and most:
        yield at
        most -= 1
        at = text.find(words, at + 1, high)


def _cost(searched: int, length: int, found: int) -> int:
    """Say how many steps it takes to find words: also in the texts for which `find` is slowest."""
    slowest = min(searched, 30_000) * min(length, 15_000) // 30_000 if length > _MAX_ENDS else 0
    return 1 + searched // 1_000 + slowest + found * (1 + length // 200)


def _suggestion(
    part: tuple[int, int],
    folded: _Folded,
    searched: SearchedText,
    work: Work,
    why: SuggestionReason,
    alike: float = 1.0,
) -> Suggestion:
    """Suggest a part of the text, of which the words are alike to some part."""
    start, end = part
    score = _score(part, folded, searched.text, work, alike)
    return Suggestion(start=start, end=end, exact=searched.text[start:end], score=score, why=why)


def _score(part: tuple[int, int], folded: _Folded, text: str, work: Work, alike: float) -> float:
    """Say how much of the words and of the text around them is the same, from 0 to 1."""
    start, end = part
    # Some characters more, because folding may make them fewer.
    before = fold(text[max(start - 2 * CONTEXT, 0) : start])[-CONTEXT:]
    behind = fold(text[end : end + 2 * CONTEXT])[:CONTEXT]
    same, length = alike * len(folded.words), len(folded.words)
    sides = (
        (folded.before, before[-len(folded.before) :]),
        (folded.behind, behind[: len(folded.behind)]),
    )
    for old, new in sides:
        work.take(steps(old, new))
        same += len(old) - min(distance(old, new), len(old))
        length += len(old)
    # Never rounded up: 1 says that nothing but typography has changed.
    return floor(1000 * same / length) / 1000 if length else 0.0


# --- words that differ in typography -------------------------------------------------------------


def _typographic(
    folded: _Folded, searched: SearchedText, work: Work, near: int
) -> list[Suggestion]:
    found = []
    near = searched.folded.position(near)
    for start in _places(searched.folded.text, folded.words, near, work):
        part = searched.folded.real(start, start + len(folded.words))
        # A part of a ligature, or of another character that became several, is no place.
        if fold(searched.text[slice(*part)]) == folded.words:
            why = SuggestionReason.TYPOGRAPHY
            found.append(_suggestion(part, folded, searched, work, why))
    return found


# --- similar words -------------------------------------------------------------------------------


def _similar(folded: _Folded, searched: SearchedText, work: Work, near: int) -> list[Suggestion]:
    """Suggest places at which similar words stand, or others between the same text as before."""
    text, near = searched.folded.text, searched.folded.position(near)
    found: dict[tuple[int, int], Suggestion] = {}
    for reach in _REACHES:
        low, high = max(near - reach, 0), min(near + reach, len(text))
        for place in _similar_places(text, folded, near, (low, high), work):
            part = searched.folded.real(place.start, place.end)
            why = SuggestionReason.SIMILAR
            each = _suggestion(part, folded, searched, work, why, place.alike)
            if place.alike >= _LEAST_ALIKE or each.score >= _SURELY:
                found[part] = each
        sure = any(each.score >= _SURELY for each in found.values())
        if sure or work.is_over or (low == 0 and high == len(text)):
            break
    return sorted(found.values(), key=lambda each: -each.score)[:_FEW]


def _similar_places(
    text: str, folded: _Folded, near: int, within: tuple[int, int], work: Work
) -> Iterator[_Place]:
    yield from _between(text, folded, within, work)
    for start in _likely_starts(text, folded, near, within, work):
        if work.is_over:
            break
        if (place := _aligned(text, folded, start, work)) is not None:
            yield place


def _between(text: str, folded: _Folded, within: tuple[int, int], work: Work) -> Iterator[_Place]:
    """Find what stands now between the text before the words and the text behind them."""
    before, behind = folded.before[-_BESIDE:], folded.behind[:_BESIDE]
    if len(before) < _BESIDE or len(behind) < _BESIDE:
        return
    places = list(_occurrences(text, before, *within, _FEW))
    work.take(_cost(within[1] - within[0], len(before), len(places)))
    farthest = 2 * len(folded.words) + CONTEXT
    for place in places:
        start = place + len(before)
        end = text.find(behind, start, start + farthest + len(behind))
        if end > start and not work.is_over:
            yield _place(text, folded, start, end, work)


def _place(text: str, folded: _Folded, start: int, end: int, work: Work) -> _Place:
    others = text[start:end]
    work.take(steps(folded.words, others))
    longer = max(len(others), len(folded.words))
    return _Place(start, end, 1 - distance(folded.words, others) / longer)


def _likely_starts(
    text: str, folded: _Folded, near: int, within: tuple[int, int], work: Work
) -> list[int]:
    """Find where words may begin, by the pieces of them, and of the text around them, that stand.

    The places that most pieces suggest come first.
    """
    whole = folded.before + folded.words + folded.behind
    starts: list[int] = []
    for offset, piece in _pieces(whole):
        places = list(_occurrences(text, piece, *within, _COMMON + 1))
        work.take(_cost(within[1] - within[0], len(piece), len(places)))
        if work.is_over:
            break
        if len(places) <= _COMMON:
            starts += [place - offset + len(folded.before) for place in places]
    starts.sort()
    slack = _slack(folded)
    ranked: list[tuple[int, int, int]] = []
    last = 0
    for first, start in enumerate(starts):
        while last < len(starts) and starts[last] <= start + slack:
            last += 1
        middle = starts[(first + last - 1) // 2]
        ranked.append((first - last, abs(middle - near), middle))
    chosen: list[int] = []
    for _, _, start in sorted(ranked):
        if len(chosen) < _FEW and all(abs(start - other) > slack for other in chosen):
            chosen.append(start)
    return chosen


def _pieces(whole: str) -> Iterator[tuple[int, str]]:
    size = min(_PIECE, max(len(whole) // 2, _FEW))
    step = max(size // 2, len(whole) // _MAX_PIECES, 1)
    for offset in range(0, len(whole) - size + 1, step):
        yield offset, whole[offset : offset + size]


def _slack(folded: _Folded) -> int:
    return max(_PIECE, len(folded.words) // 4)


def _aligned(text: str, folded: _Folded, start: int, work: Work) -> _Place | None:
    """Find the part of the text around a place that is most like the words."""
    slack = _slack(folded)
    low = max(start - slack, 0)
    window = text[low : start + len(folded.words) + slack]
    work.take(2 * steps(folded.words, window))
    first, last = best_place(folded.words, window, start - low)
    first, last = _whole_words(text, low + first, low + last, folded.words)
    if first >= last:
        return None
    return _place(text, folded, first, last, work)


def _whole_words(text: str, start: int, end: int, words: str) -> tuple[int, int]:
    """Move the ends of a part to those of its words, if they are near."""
    while start < end and text[start] == " " != words[0]:
        start += 1
    while end > start and text[end - 1] == " " != words[-1]:
        end -= 1
    return _start_of_word(text, start), _end_of_word(text, end)


def _start_of_word(text: str, start: int) -> int:
    for moved in range(start, max(start - _MAX_ENDS, -1), -1):
        if not _within_word(text, moved):
            return moved
    return start


def _end_of_word(text: str, end: int) -> int:
    for moved in range(end, min(end + _MAX_ENDS, len(text)) + 1):
        if not _within_word(text, moved):
            return moved
    return end


def context_of(text: str, start: int, end: int) -> tuple[str, str]:
    """Give the characters before and behind a part of a text."""
    return text[max(start - CONTEXT, 0) : start], text[end : end + CONTEXT]


def lost_of(words: str, start: int, around: Sequence[str]) -> Lost:
    """Describe a lost span by its words, its start and the text around them."""
    before, behind = around
    return Lost(words, before[-CONTEXT:], behind[:CONTEXT], start)
