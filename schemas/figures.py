"""Figures: the quantities of claims and denials, each with its bounds and its conflicts."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.pages import Cursor, Included, Truncated
from schemas.parts import Quantity, Time
from schemas.references import RecordReference
from schemas.scalars import Id, Number
from schemas.vocabularies import ConflictBasis

MAX_CONFLICTS: Final = 20
"""A figure lists no more conflicts than this."""

_Ids = Annotated[list[Id], Meta(max_length=500)]
_Index = Annotated[int, Meta(ge=0, le=49)]


class FigureConflict(Struct, kw_only=True):
    """A figure that conflicts with another one."""

    record: Annotated[RecordReference, Meta(description="The record that has the figure.")]
    index: Annotated[
        _Index | None,
        Meta(
            description="The position of the figure in the record's `quantities`; null if the "
            "record has no figure."
        ),
    ]
    basis: Annotated[ConflictBasis, Meta(description="How it is known that the two conflict.")]


class Figure(Quantity, kw_only=True):
    """A figure of a claim or a denial, with its bounds, its context and its conflicts."""

    record: Annotated[RecordReference, Meta(description="The record that has the figure.")]
    index: Annotated[
        _Index, Meta(description="The position of the figure in the record's `quantities`.")
    ]
    lower_bound: Annotated[
        Number | None,
        Meta(description="The lowest number that the printed words allow; null if there is none."),
    ]
    upper_bound: Annotated[
        Number | None,
        Meta(description="The highest number that the printed words allow; null if there is none."),
    ]
    lower_open: Annotated[
        bool, Meta(description="Whether the number is above `lower_bound` and not equal to it.")
    ]
    upper_open: Annotated[
        bool, Meta(description="Whether the number is below `upper_bound` and not equal to it.")
    ]
    claimants: Annotated[
        _Ids,
        Meta(
            description="The sources at position 0 of the chain. For a denial, they are the "
            "responders."
        ),
    ]
    origins: Annotated[_Ids, Meta(description="The sources at the highest position of the chain.")]
    articles: Annotated[_Ids, Meta(description="The articles that print the claim or denial.")]
    stated: Annotated[Time | None, Meta(description="When the claim or denial was made.")]
    occurred: Annotated[
        Time | None,
        Meta(description="When the events of the claim happened; always null for a denial."),
    ]
    validity: Annotated[
        str, Meta(max_length=100, description="The `validity` of the claim or denial.")
    ]
    conflicts: Annotated[
        list[FigureConflict],
        Meta(
            max_length=MAX_CONFLICTS,
            description="The figures that conflict with this figure; stated conflicts come first.",
        ),
    ]
    more: Annotated[
        bool, Meta(description="Whether there are, or may be, more conflicts than are listed.")
    ]


class FigurePage(Struct, kw_only=True):
    """A page of figures."""

    items: Annotated[list[Figure], Meta(max_length=200, description="The figures of the page.")]
    next_cursor: Annotated[
        Cursor | None,
        Meta(description="Send this as `cursor` for the next page; null on the last page."),
    ]
    total: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | None,
        Meta(description="Always null: figures are not counted."),
    ]
    total_is_lower_bound: Annotated[
        bool, Meta(description="Always false: figures are not counted.")
    ]
    included: Included
    truncated: Annotated[
        list[Truncated],
        Meta(
            max_length=10,
            description="The relations that `included` does not contain in full, with the record "
            "of the only figure on the page.",
        ),
    ]
