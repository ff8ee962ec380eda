"""A page of a list of keys, webhooks or other things that are not records."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct

from schemas.scalars import Id

Listed = TypeVar("Listed")
Cursor = Annotated[str, Meta(min_length=1, max_length=5_000)]
Total = Annotated[int, Meta(ge=0, le=10_000)]


class Truncated(Struct, kw_only=True):
    """A record that alone has more related records than a page can include."""

    id: Annotated[Id, Meta(description="The id of the record, which is the only item of its page.")]
    relation: Annotated[
        str,
        Meta(max_length=50, description="The name in `included` that lacks some of its records."),
    ]


Included = Annotated[
    dict[str, Any],
    Meta(
        max_length=10,
        description="Related records that `expand` asked for. Only the names that were asked for "
        "are present.",
    ),
]


class Page(Struct, Generic[Listed], kw_only=True):
    """A page of a list that is not counted and that includes no related records."""

    items: Annotated[
        list[Listed], Meta(max_length=200, description="The items of the page, newest first.")
    ]
    next_cursor: Annotated[
        Cursor | None,
        Meta(description="Send this as `cursor` for the next page; null on the last page."),
    ]
    total: Annotated[Total | None, Meta(description="Always null: these lists are not counted.")]
    total_is_lower_bound: Annotated[
        bool, Meta(description="Always false: these lists are not counted.")
    ]
    included: Annotated[
        dict[str, Any],
        Meta(max_length=0, description="Always empty: these lists include no related records."),
    ]
    truncated: Annotated[
        list[Truncated],
        Meta(max_length=0, description="Always empty: these lists include no related records."),
    ]


ListPage = TypeVar("ListPage", bound=Page[Any])


def only_page(kind: type[ListPage], item: object) -> ListPage:
    """Make the page of a list that has one item, as an example."""
    return kind(
        items=[item],
        next_cursor=None,
        total=None,
        total_is_lower_bound=False,
        included={},
        truncated=[],
    )
