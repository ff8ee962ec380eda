"""Lost words: words of claims and denials that an article's text no longer has, and new places."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from schemas.base import Part
from schemas.pages import Page
from schemas.parts import Span
from schemas.references import RecordReference
from schemas.scalars import Count, Offset, Version
from schemas.vocabularies import Anchor, SpanRole, SuggestionReason

MAX_SUGGESTIONS: Final = 20
"""A lost span has no more suggestions than this."""
MAX_REATTACHED: Final = 500
"""One request attaches no more appearances than this."""
_Words = Annotated[str, Meta(min_length=1, max_length=20_000)]
_Around = Annotated[str, Meta(max_length=200)]
AppearanceIndex = Annotated[
    int,
    Meta(ge=0, le=199, description="The position of the appearance in the record, counted from 0."),
]


class Suggestion(Struct, kw_only=True):
    """A place in the article's current text at which the lost words may stand now.

    With the `role` of the span, and without `score` and `why`, it is the span to send.
    """

    start: Annotated[Offset, Meta(description="Start offset, in Unicode code points.")]
    end: Annotated[Offset, Meta(description="Exclusive end offset, in Unicode code points.")]
    exact: Annotated[_Words, Meta(description="The words that stand there.")]
    prefix: Annotated[
        _Around,
        Meta(
            description="The characters right before these words, as many as `prefix` of the span "
            "has."
        ),
    ] = ""
    suffix: Annotated[
        _Around,
        Meta(
            description="The characters right after these words, as many as `suffix` of the span "
            "has."
        ),
    ] = ""
    score: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="How much is the same as before, from 0 to 1, in the words and the 32 "
            "characters on each side of them. Differences of typography do not count.",
        ),
    ]
    why: Annotated[SuggestionReason, Meta(description="Why the place is suggested.")]


class LostSpan(Struct, kw_only=True):
    """A span of a lost appearance, as it is in the record, and where it may stand now."""

    role: Annotated[SpanRole, Meta(description="What these words do in the report.")]
    start: Annotated[
        Offset,
        Meta(description="Start offset in the text of `article_version`, in Unicode code points."),
    ]
    end: Annotated[Offset, Meta(description="Exclusive end offset, in Unicode code points.")]
    exact: Annotated[_Words, Meta(description="The words.")]
    prefix: Annotated[_Around, Meta(description="The characters right before the words.")]
    suffix: Annotated[_Around, Meta(description="The characters right after the words.")]
    suggestions: Annotated[
        list[Suggestion],
        Meta(
            max_length=MAX_SUGGESTIONS,
            description="Where the words may stand in the article's current text, the likeliest "
            "first.",
        ),
    ]


class LostAppearance(Struct, kw_only=True):
    """An appearance whose words are no longer where it says."""

    record: Annotated[
        RecordReference, Meta(description="The claim or denial that has the appearance.")
    ]
    version: Annotated[Version, Meta(description="The version of that record.")]
    appearance: AppearanceIndex
    anchor: Annotated[Anchor, Meta(description="How the words were lost.")]
    article_version: Annotated[
        Version | None,
        Meta(
            description="The version of the article to whose text the offsets of the spans belong."
        ),
    ]
    spans: Annotated[
        list[LostSpan],
        Meta(
            max_length=100,
            description="All spans of the appearance, even those whose words are still in the "
            "text, because an appearance is attached as a whole.",
        ),
    ]
    truncated: Annotated[
        bool,
        Meta(
            description="True if the search ended at its limit, so that suggestions may be missing."
        ),
    ]


class LostAppearancePage(Page[LostAppearance], kw_only=True):
    """A page of lost appearances."""

    items: Annotated[
        list[LostAppearance],
        Meta(
            max_length=200,
            description="The appearances: first those of claims, then those of denials, by id.",
        ),
    ]


class Reattachment(Part, kw_only=True):
    """An appearance, and the spans that take the place of its own."""

    record: Annotated[
        RecordReference, Meta(description="The claim or denial that has the appearance.")
    ]
    appearance: AppearanceIndex
    spans: Annotated[
        list[Span],
        Meta(max_length=100, description="The words, at their offsets in the current text."),
    ]
    if_match: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(
            description='The ETag that the record must have now, or its version as `"v3"`, or `*` '
            "for any."
        ),
    ] = None


Reattachments = Annotated[
    list[Reattachment],
    Meta(
        min_length=1,
        max_length=MAX_REATTACHED,
        description="Appearances in one article that are to be attached to its current text. Each "
        "is named once.",
    ),
]


class ReattachmentResult(Struct, kw_only=True):
    """The result for one appearance."""

    record: Annotated[RecordReference, Meta(description="The record that was named.")]
    appearance: AppearanceIndex
    status: Annotated[
        int,
        Meta(
            ge=200,
            le=599,
            description="200 if the appearance is attached now. Otherwise see `problem`.",
        ),
    ]
    version: Annotated[
        Version | None,
        Meta(description="The version of the record after this request; null if it was refused."),
    ] = None
    changed: Annotated[bool, Meta(description="Whether this changed anything.")] = False
    problem: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Why the appearance was refused (RFC 9457).",
            extra_json_schema={"x-component": "ImportProblem"},
        ),
    ] = None


class ReattachmentResults(Struct, kw_only=True):
    """The results for all appearances, in the order in which they were sent."""

    items: Annotated[
        list[ReattachmentResult], Meta(max_length=MAX_REATTACHED, description="The results.")
    ]
    attached: Annotated[Count, Meta(description="The number of appearances that were attached.")]
    refused: Annotated[Count, Meta(description="The number of appearances that were refused.")]
    atomic: Annotated[bool, Meta(description="Whether all or none were to be attached.")]
    dry_run: Annotated[
        bool,
        Meta(
            description="Whether this was a dry run: everything was checked and nothing was kept."
        ),
    ]
    committed: Annotated[bool, Meta(description="Whether anything was kept.")]
