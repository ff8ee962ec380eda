"""Fold typography: write texts alike that differ in it only, and find the way back.

Quotation marks, dashes, spaces, ligatures, the encoding of accents, invisible characters and letter
case make no difference in a folded text.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
from functools import lru_cache
from typing import Final


def _range(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


_QUOTES: Final = "".join(
    (
        '"`\xb4\xab\xbb\u2039\u203a\uff02\uff07',
        _range(0x2018, 0x201F),
        _range(0x2032, 0x2036),
        _range(0x2B9, 0x2BD),
        _range(0x301D, 0x301F),
    )
)
_DASHES: Final = "\u2043\u2212\ufe58\ufe63\uff0d" + _range(0x2010, 0x2015)
_SPACES: Final = "".join(
    (
        "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000",
        _range(0x09, 0x0D),
        _range(0x1C, 0x1F),
        _range(0x2000, 0x200A),
    )
)
# Soft hyphens, joiners, marks of direction, variation selectors and byte order marks.
_UNSEEN: Final = (
    "\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
)
_IS_UNSEEN: Final = re.compile(f"[{_UNSEEN}]")
_RUNS: Final = f"[{_UNSEEN}]+|-{{2,}}| {{2,}}"


class FoldedText:
    """A text without its typography, in which each character knows where it comes from.

    Most characters are folded one by one. Where several become one, or one becomes several, the
    places and lengths of both are kept, and are always taken as a whole.
    """

    def __init__(self, text: str) -> None:
        """Fold a text."""
        self._folded_at = array("L")
        self._folded_ends = array("L")
        self._real_at = array("L")
        self._real_ends = array("L")
        alike = _fold_each(text)
        pieces: list[str] = []
        done = length = 0
        for change in _changes(alike).finditer(alike):
            folded = _fold_together(change[0])
            if folded == change[0]:
                continue
            start, end = change.span()
            pieces += alike[done:start], folded
            length += start - done
            self._folded_at.append(length)
            length += len(folded)
            self._folded_ends.append(length)
            self._real_at.append(start)
            self._real_ends.append(end)
            done = end
        self.text: Final = "".join([*pieces, alike[done:]])

    def real(self, start: int, end: int) -> tuple[int, int]:
        """Give the offsets in the real text of a part of the folded text that is not empty."""
        return self._origin(start)[0], self._origin(end - 1)[1]

    def _origin(self, position: int) -> tuple[int, int]:
        """Give the offsets in the real text of one folded character."""
        change = bisect_right(self._folded_at, position) - 1
        if change < 0:
            return position, position + 1
        if position < self._folded_ends[change]:
            return self._real_at[change], self._real_ends[change]
        start = self._real_ends[change] + position - self._folded_ends[change]
        return start, start + 1

    def position(self, real: int) -> int:
        """Give the place in the folded text of an offset in the real one."""
        change = bisect_right(self._real_at, real) - 1
        if change < 0:
            return min(real, len(self.text))
        if real < self._real_ends[change]:
            return self._folded_at[change]
        return min(self._folded_ends[change] + real - self._real_ends[change], len(self.text))


def fold(text: str) -> str:
    """Give a text without its typography."""
    return FoldedText(text).text


def _fold_each(text: str) -> str:
    """Fold what is folded one character by one, so that every offset stays."""
    for characters, plain in ((_QUOTES, "'"), (_DASHES, "-"), (_SPACES, " ")):
        for character in characters:
            text = text.replace(character, plain)
    # U+0130 is the only letter whose lower case has another length; sigma has two lower cases.
    return text.replace("\u0130", "i").lower().replace("\u03c2", "\u03c3")


def _changes(text: str) -> re.Pattern[str]:
    """Give the pattern of what is folded together, of the characters that a text has."""
    if unicodedata.is_normalized("NFKC", text):
        return re.compile(_RUNS)
    present = [each for each in set(text) if not each.isascii() and not _IS_UNSEEN.match(each)]
    marks = "".join(each for each in present if _joins(each))
    others = "".join(each for each in present if unicodedata.normalize("NFKC", each) != each)
    # U+FFFF stands in no text, and keeps the classes from being empty.
    return re.compile(f"[^{_UNSEEN}]?[{marks}\uffff]+|[{others}\uffff]|{_RUNS}")


def _joins(character: str) -> bool:
    """Tell whether a character can become one with the one before it."""
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"


@lru_cache(4_096)
def _fold_together(change: str) -> str:
    """Fold characters that become one, or one that becomes several."""
    if change[0] in "- " and len(change) > 1 and len(set(change)) == 1:
        return change[0]
    if _IS_UNSEEN.match(change):
        return ""
    return _fold_each(unicodedata.normalize("NFKC", change))
