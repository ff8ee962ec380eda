"""Edit distance: how many characters differ, and where in a text words like others stand.

Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic programming"
(Journal of the ACM 46, 1999), as Hyyrö's "A bit-vector algorithm for computing Levenshtein and
Damerau edit distances" (2003) writes it. The bits are those of one integer of any length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_CHARACTERS_A_STEP: Final = 800
"""About this many characters of the words take as long as the rest of the work on a character."""


def distance(words: str, others: str) -> int:
    """Count the characters to insert, remove or replace that make words of others."""
    last = len(words)
    for last in _distances(words, others, anywhere=False):  # noqa: B007 - the last one counts
        pass
    return last


def best_place(words: str, text: str, start: int) -> tuple[int, int]:
    """Find the part of a text that is most like words; of equal parts, the one nearest a start."""
    end = _nearest_best(_distances(words, text, anywhere=True), start + len(words))
    before = text[:end][::-1]
    length = _nearest_best(_distances(words[::-1], before, anywhere=False), end - start)
    return end - length, end


def steps(words: str, text: str) -> int:
    """Say how long :func:`distance` takes, or half of :func:`best_place`, in microseconds."""
    return len(text) * (2 + len(words) // _CHARACTERS_A_STEP) + len(words)


def _nearest_best(distances: Iterator[int], near: int) -> int:
    """Give the length of the text at which the distance is least, and nearest to a length."""
    lengths = enumerate(distances, 1)
    return min(lengths, key=lambda each: (each[1], abs(each[0] - near)), default=(0, 0))[0]


def _distances(words: str, text: str, *, anywhere: bool) -> Iterator[int]:
    """Give the distance of words from the text up to each of its characters.

    They are compared with the whole text up to there, or with the end of it that is most alike.
    """
    if not words:
        yield from (0 if anywhere else end for end in range(1, len(text) + 1))
        return
    places: dict[str, int] = {}
    for place, character in enumerate(words):
        places[character] = places.get(character, 0) | 1 << place
    every = (1 << len(words)) - 1
    top = 1 << len(words) - 1
    from_start = 0 if anywhere else 1
    more, fewer, found = every, 0, len(words)
    for character in text:
        equal = places.get(character, 0)
        diagonal = (((equal & more) + more) ^ more) | equal | fewer
        up = fewer | ~(diagonal | more) & every
        down = more & diagonal
        if up & top:
            found += 1
        elif down & top:
            found -= 1
        up = (up << 1 | from_start) & every
        down = (down << 1) & every
        more = down | ~(diagonal | up) & every
        fewer = up & diagonal
        yield found
