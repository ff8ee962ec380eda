"""Anchors: check that the spans of appearances stand in the text of their articles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from schemas.base import Fault
from schemas.parts import Appearance, Span
from schemas.vocabularies import Anchor

MAX_PLACES: Final = 5
"""A fault names at most this many places where the words of a span really are."""
MAX_SEARCHES: Final = 20
"""The words of at most this many spans of a record are searched, because texts may be long."""


class CheckedText:
    """The result of checking the spans of some records against a text, in the place of the text.

    So the texts of many articles need not be in memory together.
    """

    def __init__(self, text: str, spans: Iterable[Span], searches: Iterator[int]) -> None:
        """Check all spans that the records have in this text."""
        self.faults = {_key(span): list(mismatch(span, text, searches)) for span in spans}


Text = str | CheckedText
Texts = Mapping[tuple[str, int], Text | None]
"""The stored text of each version of an article; null if none is stored."""


def _key(span: Span) -> tuple[int, int, str, str, str]:
    return span.start, span.end, span.exact, span.prefix, span.suffix


def check_texts(
    texts: Iterable[tuple[str, int, str | None]],
    appearances: Iterable[Appearance],
    versions: Mapping[str, int],
    searches: Iterator[int],
) -> dict[tuple[str, int], CheckedText | None]:
    """Check the spans of appearances against texts, each of which is a version of an article.

    `versions` has the current version of each article; `searches` as in :func:`settle`.
    """
    spans: dict[tuple[str, int], list[Span]] = {}
    for each in appearances:
        version = each.article_version or versions.get(each.article_id, 0)
        spans.setdefault((each.article_id, version), []).extend(each.spans)
    return {
        (article, version): None
        if text is None
        else CheckedText(text, spans.get((article, version), ()), searches)
        for article, version, text in texts
    }


def settle(
    appearances: Sequence[Appearance],
    before: Sequence[Appearance],
    versions: Mapping[str, int],
    texts: Texts,
    *,
    from_elsewhere: bool = False,
) -> Iterator[Fault]:
    """Fill in the article version and the anchor of each appearance; yield the faults.

    An appearance that is the same as one `before` keeps what the server filled in then. `versions`
    has the current version of each article, and `texts` the texts that :func:`texts_needed` names.
    An appearance `from_elsewhere` may belong to an earlier text that is not stored here. A span
    that does not fit is then no fault, and the anchor says that it was not verified.
    """
    searches = new_searches()
    for index, appearance in enumerate(appearances):
        sent = appearance.anchor
        kept = _unchanged(appearance, before)
        if kept is not None:
            appearance.article_version, appearance.anchor = kept.article_version, kept.anchor
        elif appearance.article_id in versions:
            current = versions[appearance.article_id]
            faults = list(_anchor(appearance, current, texts, searches))
            if from_elsewhere and faults:
                stands_there = sent in (None, Anchor.EXACT, Anchor.RELOCATED)
                appearance.anchor = Anchor.UNVERIFIED if stands_there else sent
                continue
            for fault in faults:
                yield fault.under("appearances", index)
        elif (known := _printed(appearance, before)) is not None:
            # The caller may not see the article, so nothing is said about its text.
            if appearance.article_version not in (None, known.article_version):
                detail = f"The record names only version {known.article_version} of the article."
                yield Fault(("appearances", index, "article_version"), "unknown-reference", detail)
            appearance.article_version = known.article_version
            appearance.anchor = Anchor.UNVERIFIED
        else:
            continue  # an unknown reference, reported as such
        stood = before[index].anchor if index < len(before) else None
        if not from_elsewhere and sent not in (None, appearance.anchor, stood):
            yield Fault(
                ("appearances", index, "anchor"),
                "read-only",
                f"The server sets `anchor`. Here it is `{appearance.anchor}`.",
            )


def new_searches() -> Iterator[int]:
    """Give an iterator with one item for each search that one record may cause."""
    return iter(range(MAX_SEARCHES))


def texts_needed(
    appearances: Sequence[Appearance], before: Sequence[Appearance]
) -> tuple[set[str], set[tuple[str, int]]]:
    """Name the articles and the versions of articles whose texts are needed to check spans."""
    current, versions = set(), set()
    for appearance in appearances:
        if _unchanged(appearance, before) is None:
            current.add(appearance.article_id)
            if appearance.article_version is not None:
                versions.add((appearance.article_id, appearance.article_version))
    return current, versions


def _unchanged(appearance: Appearance, before: Sequence[Appearance]) -> Appearance | None:
    """Find an earlier appearance that is the same, except for the fields that the server sets."""
    for earlier in before:
        if (
            appearance.article_version in (None, earlier.article_version)
            and msgspec.structs.replace(
                appearance, article_version=earlier.article_version, anchor=earlier.anchor
            )
            == earlier
        ):
            return earlier
    return None


def _printed(appearance: Appearance, before: Sequence[Appearance]) -> Appearance | None:
    """Find an earlier appearance in the same article."""
    return next((a for a in before if a.article_id == appearance.article_id), None)


def _anchor(
    appearance: Appearance, current: int, texts: Texts, searches: Iterator[int]
) -> Iterator[Fault]:
    """Check the spans of one appearance against the text of its article."""
    version = appearance.article_version or current
    appearance.article_version = version
    if (appearance.article_id, version) not in texts:
        yield Fault(
            ("article_version",),
            "unknown-reference",
            f"The article has no version {version}; its newest version is {current}.",
        )
        return
    text = texts[appearance.article_id, version]
    appearance.anchor = Anchor.UNVERIFIED if text is None else Anchor.EXACT
    if text is not None:
        for number, span in enumerate(appearance.spans):
            faults = (
                text.faults[_key(span)]
                if isinstance(text, CheckedText)
                else mismatch(span, text, searches)
            )
            for fault in faults:
                yield fault.under("spans", number)


def mismatch(span: Span, text: str, searches: Iterator[int]) -> Iterator[Fault]:
    """Yield a fault if the text has other words at a span's offsets.

    It says where the words stand, as long as there are `searches` left.
    """
    if span.end > len(text):
        detail = f"The text has {len(text)} code points.{_where(span.exact, text, searches)}"
        yield Fault(("end",), "outside-text", detail)
    elif text[span.start : span.end] != span.exact:
        stands = _quoted(text[span.start : span.end])
        detail = f"The text has {stands} there.{_where(span.exact, text, searches)}"
        yield Fault(("exact",), "span-mismatch", detail)
    else:
        for field, stands in (
            ("prefix", text[max(span.start - len(span.prefix), 0) : span.start]),
            ("suffix", text[span.end : span.end + len(span.suffix)]),
        ):
            if getattr(span, field) != stands:
                yield Fault((field,), "span-mismatch", f"The text has {_quoted(stands)} there.")


def _where(exact: str, text: str, searches: Iterator[int]) -> str:
    """Say where the words are in a text, unless enough was searched already."""
    if next(searches, None) is None:
        return ""
    places: list[str] = []
    start = text.find(exact)
    while start >= 0 and len(places) < MAX_PLACES:
        places.append(f"{start} to {start + len(exact)}")
        start = text.find(exact, start + 1)
    if not places:
        return f" {_quoted(exact)} is nowhere in the text."
    more = ", among others" if start >= 0 else ""
    return f" {_quoted(exact)} stands at {', '.join(places)}{more}."


def _quoted(words: str) -> str:
    return f"“{words[:200]}{'…' if len(words) > 200 else ''}”"  # noqa: PLR2004
