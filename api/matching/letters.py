"""Compare texts by the groups of letters that they share, the rarer among them the more.

Groups of letters find what stems miss: compounds, derived words, misspellings. They are compared in
few texts, which are read anyway, so they need no index.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

from api.matching.texts import folded

MAX_LETTERS: Final = 600
"""Letters of a text that are compared: its first ones."""
_GROUP: Final = 4
_WORDS: Final = re.compile(r"[^\W_]+")


class Letters:
    """Some texts by their groups of letters, each weighted by how few of the texts have it.

    Two texts are alike by the cosine of their groups, from 0 to 1.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the texts that are compared."""
        self._groups = [_groups(text) for text in texts]
        total = len(texts) + 1
        self._weights = {
            group: math.log(total / (number + 0.5)) ** 2
            for group, number in Counter(chain.from_iterable(self._groups)).items()
        }
        self._unknown = math.log(total / 0.5) ** 2
        self._sizes = [_sum(groups, self._weights) for groups in self._groups]

    def likenesses(self, asked: str) -> list[float]:
        """Tell for each text how alike it is to the one that is asked for."""
        its = _groups(asked)
        if not its:
            return [1.0] * len(self._groups)
        size = sum(self._weights.get(group, self._unknown) for group in its)
        return [
            self._cosine(groups & its, size * other)
            for groups, other in zip(self._groups, self._sizes, strict=True)
        ]

    def between(self, place: int, other: int) -> float:
        """Tell how alike two of the texts are."""
        shared = self._groups[place] & self._groups[other]
        return self._cosine(shared, self._sizes[place] * self._sizes[other])

    def _cosine(self, shared: set[str], sizes: float) -> float:
        return _sum(shared, self._weights) / math.sqrt(sizes) if sizes else 0.0


def _sum(groups: set[str], weights: dict[str, float]) -> float:
    return sum(map(weights.__getitem__, groups))


def _groups(text: str) -> set[str]:
    words = (f" {word} " for word in _WORDS.findall(folded(text[:MAX_LETTERS])))
    return {
        word[start : start + _GROUP]
        for word in words
        for start in range(max(len(word) - _GROUP + 1, 1))
    }
