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


def likenesses(asked: str, texts: Sequence[str]) -> list[float]:
    """Tell for each text how alike it is to the one that is asked for, from 0 to 1.

    It is the cosine of their groups of letters, each weighted by how few of the texts have it.
    """
    its = _groups(asked)
    if not its:
        return [1.0] * len(texts)
    theirs = [_groups(text) for text in texts]
    total = len(texts) + 1
    weights = {
        group: math.log(total / (number + 0.5)) ** 2
        for group, number in Counter(chain.from_iterable(theirs)).items()
    }
    unknown = math.log(total / 0.5) ** 2
    size = sum(weights.get(group, unknown) for group in its)
    return [
        _sum(groups & its, weights) / math.sqrt(size * _sum(groups, weights)) if groups else 0.0
        for groups in theirs
    ]


def _sum(groups: set[str], weights: dict[str, float]) -> float:
    return sum(weights[group] for group in groups)


def _groups(text: str) -> set[str]:
    words = (f" {word} " for word in _WORDS.findall(folded(text[:MAX_LETTERS])))
    return {
        word[start : start + _GROUP]
        for word in words
        for start in range(max(len(word) - _GROUP + 1, 1))
    }
