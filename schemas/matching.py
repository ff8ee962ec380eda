"""Matching: claims that may say what a text says, and sources that may be meant by a name."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.base import Part
from schemas.claims import Claim
from schemas.scalars import Language, Line, Text
from schemas.sources import Source

MAX_TEXTS: Final = 100
"""One request matches no more texts than this."""
MAX_MATCHES: Final = 50
"""A text has no more matches than this."""
_Score = Annotated[float, Meta(ge=0, le=1)]
_Words = Annotated[list[Annotated[str, Meta(max_length=2_100)]], Meta(max_length=MAX_MATCHES)]
TextId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=r"^[!-~]([ -~]*[!-~])?\Z",
        extra={"form": "printable ASCII, without spaces at the ends"},
    ),
]
MatchLimit = Annotated[int, Meta(ge=1, le=MAX_MATCHES)]


class MatchText(Part, kw_only=True):
    """A text that may have been recorded as a claim."""

    text: Annotated[Text, Meta(description="The words, as they were said or posted.")]
    id: Annotated[
        TextId | None, Meta(description="A name of your choice, which the answer repeats.")
    ] = None
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"


class MatchReasons(Struct, kw_only=True):
    """What a text and a claim have in common, as the text has it, the rarest first."""

    words: Annotated[_Words, Meta(description="Words, in any of their forms.")]
    figures: Annotated[_Words, Meta(description="Figures.")]
    names: Annotated[
        _Words, Meta(description="Words with a capital letter within a sentence of the text.")
    ]


class ClaimMatch(Struct, kw_only=True):
    """A claim that may say what the text says."""

    score: Annotated[
        _Score,
        Meta(description="How much of the text the claim contains: 1 if it has the same words."),
    ]
    why: Annotated[MatchReasons, Meta(description="The reasons for the score.")]
    record: Annotated[Claim, Meta(description="The claim.")]  # type: ignore[valid-type]  # made by `record`


class TextMatches(Struct, kw_only=True):
    """The claims for one text."""

    id: Annotated[TextId | None, Meta(description="The `id` of the text; null if it has none.")]
    complete: Annotated[
        bool,
        Meta(
            description="False if there was no time left to look at this text. Send it again, with "
            "fewer other texts."
        ),
    ]
    items: Annotated[
        list[ClaimMatch], Meta(max_length=MAX_MATCHES, description="The claims, the best first.")
    ]


class ClaimMatches(Struct, kw_only=True):
    """The claims that may say what some texts say."""

    matches: Annotated[
        list[TextMatches],
        Meta(
            max_length=MAX_TEXTS, description="The matches of each text, in the order of the texts."
        ),
    ]


class NameWords(Struct, kw_only=True):
    """A word of the name that is asked for, and the word of the source's name that is like it."""

    asked: Annotated[str, Meta(max_length=2_000, description="The word, in Latin letters.")]
    found: Annotated[str, Meta(max_length=2_000, description="The other word, in Latin letters.")]
    alike: Annotated[_Score, Meta(description="How alike the two words are: 1 if they are equal.")]


class NameReasons(Struct, kw_only=True):
    """Why a source may be meant."""

    name: Annotated[
        Line,
        Meta(
            description="The name of the source that fits best, in small letters and without "
            "accents."
        ),
    ]
    words: Annotated[list[NameWords], Meta(max_length=20, description="The words that are alike.")]


class SourceMatch(Struct, kw_only=True):
    """A source that may be meant by a name."""

    score: Annotated[
        _Score,
        Meta(
            description="How well the name of the source fits, from 0 to 1. From 0.85 on, the "
            "source is probably meant."
        ),
    ]
    why: Annotated[NameReasons, Meta(description="The reasons for the score.")]
    record: Annotated[Source, Meta(description="The source.")]  # type: ignore[valid-type]  # the same


class SourceMatches(Struct, kw_only=True):
    """The sources that may be meant by a name."""

    items: Annotated[
        list[SourceMatch], Meta(max_length=MAX_MATCHES, description="The sources, the best first.")
    ]
