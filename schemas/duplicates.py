"""Duplicates: pairs of sources that may be one and the same."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.pages import Cursor, Included, Truncated
from schemas.scalars import Id, Line

MIN_SCORE: Final = 0.8
"""Pairs of sources with a lower score are not kept."""
DuplicateScore = Annotated[float, Meta(ge=0, le=1)]
_Word = Annotated[str, Meta(max_length=2_000)]


class DuplicateWords(Struct, kw_only=True):
    """A word of one name, and the word of the other name that is like it."""

    word: Annotated[_Word, Meta(description="The word of `source_name`, in Latin letters.")]
    other: Annotated[_Word, Meta(description="The word of `other_name`, in Latin letters.")]
    alike: Annotated[
        DuplicateScore, Meta(description="How alike the two words are: 1 if they are equal.")
    ]


class DuplicateReasons(Struct, kw_only=True):
    """Why two sources may be one: the two of their names that are most alike."""

    source_name: Annotated[
        Line,
        Meta(description="A name of the source, in small letters and without accents."),
    ]
    other_name: Annotated[
        Line, Meta(description="A name of the other source, in small letters and without accents.")
    ]
    words: Annotated[
        list[DuplicateWords], Meta(max_length=20, description="The words that are alike.")
    ]


class SourceDuplicate(Struct, kw_only=True):
    """Two sources that may be one and the same, about which nobody has decided."""

    source_id: Annotated[Id, Meta(description="One of the sources: the one with the lower id.")]
    other_id: Annotated[Id, Meta(description="The other source.")]
    score: Annotated[
        DuplicateScore,
        Meta(
            description="How alike the two names are: from 0.85 on they are probably the same "
            f"name. Pairs below {MIN_SCORE} are not listed."
        ),
    ]
    why: Annotated[DuplicateReasons, Meta(description="The reasons for the score.")]


class SourceDuplicatePage(Struct, kw_only=True):
    """A page of pairs of sources."""

    items: Annotated[
        list[SourceDuplicate],
        Meta(max_length=200, description="The pairs of the page, the highest score first."),
    ]
    next_cursor: Annotated[
        Cursor | None,
        Meta(description="Send this as `cursor` for the next page; null on the last page."),
    ]
    total: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | None,
        Meta(description="Always null: pairs are not counted."),
    ]
    total_is_lower_bound: Annotated[bool, Meta(description="Always false: pairs are not counted.")]
    included: Included
    truncated: Annotated[
        list[Truncated],
        Meta(
            max_length=10,
            description="The relations that `included` does not contain in full, with the source "
            "of the only pair on the page.",
        ),
    ]
