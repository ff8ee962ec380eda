"""A page of a list that is not of records: of keys, of webhooks, of what was done."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct

Listed = TypeVar("Listed")
Cursor = Annotated[str, Meta(min_length=1, max_length=5_000)]
Total = Annotated[int, Meta(ge=0, le=10_000)]


class Page(Struct, Generic[Listed], kw_only=True):
    """The shape that every list has; these are not counted, and bring nothing along."""

    items: Annotated[list[Listed], Meta(max_length=200, description="The page, newest first.")]
    next_cursor: Annotated[
        Cursor | None, Meta(description="`cursor` of the next page; null on the last one.")
    ]
    total: Annotated[Total | None, Meta(description="Null: these lists are not counted.")]
    total_is_lower_bound: Annotated[bool, Meta(description="False: these lists are not counted.")]
    included: Annotated[
        dict[str, Any], Meta(max_length=0, description="Nothing is brought along here.")
    ]
