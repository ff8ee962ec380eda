"""Find the places of many phrases in one long text, in one pass and within a bound.

The text is read at every *step*-th character only: a phrase of at least ``2 * step - 1`` characters
holds one of those pieces of ``step`` characters whole, wherever it stands (the sampling of
Karp and Rabin, "Efficient randomized pattern-matching algorithms", 1987, with the pieces themselves
in the place of their hashes).
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

ENOUGH: Final = 2
"""How many places of a phrase are looked for: two tell that it is not at one place only."""
MAX_COMPARISONS: Final = 5_000_000
"""How many pieces are compared in one search, some 0.3 µs each."""
_STEPS: Final = (16, 8, 4, 2, 1)


class Places(NamedTuple):
    """Where phrases stand."""

    starts: dict[str, list[int]]
    """For each phrase, at most :data:`ENOUGH` of its places, in no order."""
    complete: bool
    """False where the search was given up: then a phrase may stand at more places."""


def find_places(text: str, phrases: Iterable[str]) -> Places:
    """Find where each phrase stands in a text; an empty phrase stands nowhere."""
    starts: dict[str, list[int]] = {phrase: [] for phrase in phrases}
    by_step: dict[int, list[str]] = defaultdict(list)
    for phrase in starts:
        if phrase:
            by_step[next(step for step in _STEPS if len(phrase) >= 2 * step - 1)].append(phrase)
    budget = MAX_COMPARISONS
    for step, some in by_step.items():
        budget = _find(text, some, step, starts, budget)
    return Places(starts, complete=budget > 0)


def _find(
    text: str, phrases: Iterable[str], step: int, starts: dict[str, list[int]], budget: int
) -> int:
    """Add the places of phrases that are long enough for a step; give what is left of a budget."""
    wanted = _by_piece(text, phrases, step)
    for position in range(0, len(text) - step + 1, step):
        groups = wanted.get(text[position : position + step])
        if not groups:
            continue
        budget -= len(groups)
        if budget <= 0:
            return 0
        for (offset, length), group in list(groups.items()):
            start = position - offset
            phrase = text[start : start + length] if start >= 0 else ""
            if phrase in group:
                starts[phrase].append(start)
                if len(starts[phrase]) >= ENOUGH:
                    group.remove(phrase)
            if not group:
                del groups[offset, length]
    return budget


Groups = dict[tuple[int, int], set[str]]
"""Phrases that have the same piece, by its offset in them and their length."""


def _by_piece(text: str, phrases: Iterable[str], step: int) -> dict[str, Groups]:
    """Choose the pieces by which each phrase is looked for, one for each remainder of its place.

    Of the pieces that could be met the rarest in the text is taken, since it costs least.
    """
    counts = _count_pieces(text, step)
    wanted: dict[str, Groups] = defaultdict(lambda: defaultdict(set))
    for phrase in phrases:
        for first in range(step):
            offsets = range(first, len(phrase) - step + 1, step)
            count, offset = min((counts[_slot(phrase, o, step)], o) for o in offsets)
            if count:
                wanted[phrase[offset : offset + step]][offset, len(phrase)].add(phrase)
    return wanted


def _count_pieces(text: str, step: int) -> array[int]:
    """Count the pieces of a text, each in the slot of its hash, which others may share."""
    counts = array("I", bytes(4 * _SLOTS))
    for position in range(0, len(text) - step + 1, step):
        counts[_slot(text, position, step)] += 1
    return counts


def _slot(text: str, start: int, step: int) -> int:
    return hash(text[start : start + step]) % _SLOTS


_SLOTS: Final = 1 << 18
