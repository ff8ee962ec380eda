"""Compare names of sources: whatever the order of their words, misspelt, or spelt in another way.

To score the names of two sources, as somebody who looks for duplicates does::

    scored = compare(words_of("Lee Seong-kweun"), [words_of("Seong-kwon Lee")], weight_of({}))
    scored.score  # 0..1; from about 0.85 on it is probably the same name
    scored.words  # the pairs of words that are alike, with how much

`weight_of` takes how many sources have each word, as the table `name_words` has it, so that
“ministry” says less than “Zelensky”. Without it, all words but the smallest weigh alike. Nothing
here reads the database.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from api.core.edit_distance import distance

MAX_WORDS: Final = 12
"""Words of a name behind this one are not compared."""
MAX_LETTERS: Final = 100
"""Letters of a word behind this one are not compared, nor looked up."""
SURE: Final = 0.85
"""From this score on, two names are probably the same."""
_ALIKE: Final = 0.6
"""Words that are less alike than this are different words."""
_SMALL_WORDS: Final = (
    "a al an and at bin by da das de del der des di die do dos du e el et for from i ibn in la las"
    " le les los o of on or the to u und van von y zu"
)
_SMALL: Final = frozenset(_SMALL_WORDS.split())
_WORD: Final = re.compile(r"[^\W_]+")
_SCRIPTS: Final = {
    **dict(zip("абвгдезийклмнопрстуфцыэіїєґўјљњ", "abvgdeziyklmnoprstufcyeiyegujln", strict=True)),
    **dict(zip("αβγδεζηθικλμνξοπρσςτυφχψω", "avgdezitiklmnxoprsstyfxpo", strict=True)),
    "ж": "zh", "х": "kh", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu", "я": "ya",
    "ё": "yo", "ћ": "c", "ђ": "dj", "џ": "dz", "θ": "th", "χ": "ch", "ψ": "ps",
    "ß": "ss", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i",
}  # fmt: skip
_SYLLABLES: Final = range(0xAC00, 0xD7A4)
# Revised Romanization of Korean, a syllable at a time.
_JAMO: Final = (
    "g kk n d tt r m b pp s ss  j jj ch k t p h",
    "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i",
    " k k k n n n t l k m l l l p l m p p t t ng t t k t p t",
)
_FIRST, _MIDDLE, _LAST = (letters.split(" ") for letters in _JAMO)
_SPELLINGS: Final = tuple(
    (re.compile(pattern), letters)
    for pattern, letters in (
        (r"sch|sh|sz|ch|tch|tsch|cz|zh|dzh|dj", "s"),
        (r"x", "ks"),
        (r"ts|tz|c(?=[eiy])", "s"),
        (r"ph", "f"),
        (r"ck|kh|gh|qu?|c|g", "k"),
        (r"dh", "d"),
        (r"th", "t"),
        (r"z", "s"),
        (r"w", "v"),
        (r"b", "p"),
        (r"r", "l"),
        (r"[aeiouyjh]", ""),
    )
)
_TWICE: Final = re.compile(r"(.)\1+")


@lru_cache(maxsize=65_536)
def latin(word: str) -> str:
    """Write a word in small Latin letters, as far as its script is known here.

    One character can become many, and Postgres looks up no word of more than 2,046 bytes.
    """
    letters = []
    for character in unicodedata.normalize("NFC", word.lower()):
        if ord(character) in _SYLLABLES:
            number = ord(character) - _SYLLABLES.start
            letters += [_FIRST[number // 588], _MIDDLE[number % 588 // 28], _LAST[number % 28]]
        elif character in _SCRIPTS:
            letters.append(_SCRIPTS[character])
        else:
            plain = unicodedata.normalize("NFKD", character)
            letters += [
                _SCRIPTS.get(each, each) for each in plain if not unicodedata.combining(each)
            ]
    return "".join(letters)[:MAX_LETTERS]


@lru_cache(maxsize=65_536)
def sound(word: str) -> str:
    """Give the consonants that stay where a word is spelt in another way; "" if there are few."""
    found = latin(word)
    for pattern, letters in _SPELLINGS:
        found = pattern.sub(letters, found)
    found = _TWICE.sub(r"\1", found)
    return found if len(found) > 1 else ""


def words_of(name: str) -> tuple[str, ...]:
    """Give the words of a name in Latin letters."""
    return tuple(filter(None, map(latin, _WORD.findall(name))))[:MAX_WORDS]


Weight = Callable[[str], float]


def weight_of(records: Mapping[str, int], total: int = 0) -> Weight:
    """Weigh words by how few records have them; one that is not counted weighs the most."""
    highest = math.log(2 + max(total, 1_000))

    def weight(word: str) -> float:
        rarity = math.log(1 + max(total, 1_000) / (1 + records.get(word, 0)))
        return rarity * (0.1 if word in _SMALL else 0.3 if len(word) == 1 else 1) / highest

    return weight


@lru_cache(maxsize=262_144)
def alike(one: str, other: str) -> float:
    """Tell how alike two words in Latin letters are, from 0 to 1."""
    if one == other:
        return 1
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) == 1:
        return 0.7 if longer.startswith(shorter) else 0
    if shorter[0].isdigit() or longer[0].isdigit():
        return 0
    best = 0.0
    if len(shorter) >= _STEM and _ends_otherwise(shorter, longer):
        best = 0.92
    heard = sound(one)
    close = closeness(shorter, longer)
    if heard and heard == sound(other) and close >= _HEARD:
        best = max(best, 0.8 + 0.1 * close)
    if len(shorter) >= _TYPED:
        best = max(best, close)
    return best if best >= _ALIKE else 0


_STEM, _ENDING, _TYPED, _HEARD = 4, 3, 3, 0.4


def _ends_otherwise(shorter: str, longer: str) -> bool:
    """Tell whether two words have one stem: Korea and Korean, ministry and ministries."""
    same = 0
    while same < len(shorter) and shorter[same] == longer[same]:
        same += 1
    return same >= max(_STEM, len(shorter) - 1) and len(longer) - same <= _ENDING


def closeness(one: str, other: str) -> float:
    """Tell which part of the longer of two words is the same, by the edits between them."""
    return 1 - distance(one, other) / max(len(one), len(other), 1)


class NameScore(NamedTuple):
    """How well a name fits, and which of its words are the reason."""

    score: float
    name: int  # the place of the best name
    words: tuple[tuple[str, str, float], ...]  # asked, found, how alike


def compare(
    asked: Sequence[str],
    names: Iterable[Sequence[str]],
    weight: Weight,
    least: float = _ALIKE,
) -> NameScore:
    """Find the one of a source's names that fits best. All are given by `words_of`.

    Words that are less alike than `least` are different words.
    """
    best = NameScore(0, 0, ())
    for place, name in enumerate(names):
        pairs = _pairs(asked, name, least)
        score = _score(asked, name, pairs, weight)
        joined = _joined(asked, name)
        if joined > score:
            score, pairs = joined, [("".join(asked), "".join(name), joined)]
        if score > best.score:
            best = NameScore(round(min(score, 1), 4), place, tuple(pairs))
    return best


def _pairs(asked: Sequence[str], name: Sequence[str], least: float) -> list[tuple[str, str, float]]:
    """Put the words together that are most alike, each once."""
    every = sorted(
        (
            (alike(one, other), -abs(here - there), here, there)
            for here, one in enumerate(asked)
            for there, other in enumerate(name)
        ),
        reverse=True,
    )
    pairs: dict[int, tuple[str, str, float]] = {}
    taken: set[int] = set()
    for degree, _, here, there in every:
        if degree >= least and here not in pairs and there not in taken:
            pairs[here] = asked[here], name[there], round(degree, 3)
            taken.add(there)
    return [pairs[here] for here in sorted(pairs)]


def _score(
    asked: Sequence[str],
    name: Sequence[str],
    pairs: Sequence[tuple[str, str, float]],
    weight: Weight,
) -> float:
    """Give the part of what is asked that the name has, less where the name has much more."""
    of_asked = sum(map(weight, asked))
    of_name = sum(map(weight, name))
    if not of_asked or not of_name:
        return 0
    found = sum(weight(one) * degree for one, _, degree in pairs) / of_asked
    covered = sum(weight(other) * degree for _, other, degree in pairs) / of_name
    return found * (0.75 + 0.25 * min(covered, 1))


def _joined(asked: Sequence[str], name: Sequence[str]) -> float:
    """Compare the names as one word each: Kim Jongun and Kim Jong-un."""
    one, other = "".join(asked), "".join(name)
    if len(asked) == len(name) or min(len(one), len(other)) < 2 * _STEM:
        return 0
    shorter, longer = sorted((one, other), key=len)
    if len(longer) - len(shorter) > _ENDING:
        return 0
    return 0.98 * closeness(shorter, longer)
