"""Find the words of appearances again in an article's new text.

An appearance moves only where each of its spans is found at one place with the words before it or
behind it. Everything else stays as it was, and `anchor` says why: nothing ever moves silently to
text that merely looks alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from api.core.places import ENOUGH, Places, find_places
from schemas.parts import Appearance, Span
from schemas.vocabularies import Anchor

CONTEXT: Final = 32
"""How many characters on each side of a span tell its place from others like it."""
_START, _END = "\2", "\3"
"""Stand before and behind a whole text, so that its start and its end are a context too."""

Texts = Mapping[int, str | None]
"""The article's text at each version that an appearance names; null where none was stored."""


class _Phrases(NamedTuple):
    """The phrases by which a span is looked for."""

    words: str
    before: str
    behind: str

    @property
    def with_both(self) -> str:
        return self.before + self.words + self.behind if self.before and self.behind else ""

    @property
    def with_before(self) -> str:
        return self.before + self.words if self.before else ""

    @property
    def with_behind(self) -> str:
        return self.words + self.behind if self.behind else ""

    def all(self) -> tuple[str, ...]:
        """Give every phrase that is to be found."""
        if not self.before and not self.behind:
            return (self.words,)
        return self.with_both, self.with_before, self.with_behind


def relocate(
    appearances: Sequence[Appearance], texts: Texts, text: str | None, version: int
) -> list[Appearance]:
    """Anchor appearances in an article's new `text`, which is the text of `version`.

    The words around a span that count are those of the last version in which it was anchored: its
    `article_version`, whose text is one of `texts`, or else its own prefix and suffix.
    """
    if text is None:
        return [replace(each, anchor=Anchor.UNVERIFIED) for each in appearances]
    framed = _START + text + _END
    phrases = [
        [_phrases(span, texts.get(each.article_version or 0)) for span in each.spans]
        for each in appearances
    ]
    wanted = {phrase for some in phrases for each in some for phrase in each.all()}
    places = find_places(framed, wanted)
    return [
        _anchored(each, some, texts.get(each.article_version or 0), text, version, places)
        for each, some in zip(appearances, phrases, strict=True)
    ]


def _phrases(span: Span, earlier: str | None) -> _Phrases:
    """Give a span's words with the words around them."""
    if earlier is None or earlier[span.start : span.end] != span.exact:
        return _Phrases(span.exact, span.prefix, span.suffix)
    before = earlier[max(span.start - CONTEXT, 0) : span.start] or _START
    behind = earlier[span.end : span.end + CONTEXT] or _END
    return _Phrases(span.exact, before, behind)


def _anchored(
    appearance: Appearance,
    phrases: Sequence[_Phrases],
    earlier: str | None,
    text: str,
    version: int,
    places: Places,
) -> Appearance:
    spans = []
    for span, each in zip(appearance.spans, phrases, strict=True):
        if earlier is None and text[span.start : span.end] == span.exact:
            starts: Sequence[int] = [span.start]  # the text came after the appearance
        else:
            starts = _starts(each, places)
        if len(starts) != 1 or not places.complete:
            lost = Anchor.AMBIGUOUS if starts or not places.complete else Anchor.ORPHANED
            return replace(appearance, anchor=lost)
        spans.append(_moved(span, starts[0], text))
    stayed = all(new.start == old.start for new, old in zip(spans, appearance.spans, strict=True))
    anchor = Anchor.EXACT if stayed else Anchor.RELOCATED
    return replace(appearance, spans=spans, article_version=version, anchor=anchor)


def _starts(phrases: _Phrases, places: Places) -> list[int]:
    """Give the places where a span's words stand with the words around them, at most two.

    A place with the words on both sides comes before any with those on one side. Words of which
    nothing around is known are at no certain place, even where they stand only once.
    """
    shift = len(_START)

    def found(phrase: str, length_before: int) -> list[int]:
        return [start + length_before - shift for start in places.starts.get(phrase, ())]

    if not phrases.before and not phrases.behind:
        return found(phrases.words, 0) * ENOUGH
    before = len(phrases.before)
    both = found(phrases.with_both, before)
    if both:
        return both
    return found(phrases.with_before, before) + found(phrases.with_behind, 0)


def _moved(span: Span, start: int, text: str) -> Span:
    """Put a span to a place, with a prefix and suffix as long as its own."""
    end = start + len(span.exact)
    return replace(
        span,
        start=start,
        end=end,
        prefix=text[max(start - len(span.prefix), 0) : start],
        suffix=text[end : end + len(span.suffix)],
    )
