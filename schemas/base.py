"""What records of all types share: their parts, the rules of these, and the common properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self

from msgspec import Meta, Struct

from schemas.scalars import Text, moment

FILLED: Final = {"filled": True}
"""Marks a field that may be left out or null in a request and never is in a response."""

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """One thing that is wrong with a record, and its place in the record."""

    path: Path
    code: str
    detail: str

    def under(self, *above: str | int) -> Fault:
        """Give the same fault with its path from an enclosing part."""
        return self._replace(path=(*above, *self.path))


class Part(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A JSON object inside a record, or the record itself."""

    def faults(self) -> Iterator[Fault]:
        """Yield the rules that a well-typed part breaks, with paths that begin at this part."""
        yield from ()


MAX_EXTERNAL_IDS: Final = 50


class ExternalId(Part, kw_only=True):
    """The name of a record in another system; unique among records of one type."""

    namespace: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            description="The name of the other system, such as `demo`.",
        ),
    ]
    value: Annotated[
        str, Meta(min_length=1, max_length=400, description="The id that the other system uses.")
    ]


class Create(Part, kw_only=True):
    """The properties that a client writes in records of every type."""

    also_needed: ClassVar[str] = ""
    """What a rule requires besides the required properties, in words."""

    external_ids: Annotated[
        list[ExternalId],
        Meta(max_length=MAX_EXTERNAL_IDS, description="The ids of this record in other systems."),
    ] = []
    tags: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=100)]],
        Meta(max_length=100, description="Labels of your choice."),
    ] = []
    note: Annotated[
        Text | None, Meta(description="An editor's note. Every reader of the record can see it.")
    ] = None

    def keep(self, stored: Self, server: Mapping[str, Any]) -> None:
        """Take over the values that the database filled in, from the stored record's properties.

        Only where this record, which replaces it, leaves the choice to the server.
        """

    def forget(self, claimed: Mapping[str, Any]) -> None:
        """Drop the values that another server filled in, given the properties that it had set."""

    def faults(self) -> Iterator[Fault]:
        """Refuse an external id or a tag that is given twice."""
        yield from repeated("external_ids", [(e.namespace, e.value) for e in self.external_ids])
        yield from repeated("tags", self.tags)


def repeated(field: str, keys: Sequence[Any]) -> Iterator[Fault]:
    """Yield a fault for each item whose key an earlier item of the list has."""
    seen = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield Fault((field, index), "duplicate-item", "The list already has this item.")
        seen.add(key)


def impossible(field: str, bound: str | None) -> Iterator[Fault]:
    """Yield a fault for a date or an instant that is not valid, such as 30 February."""
    if bound is not None and moment(bound) is None:
        yield Fault((field,), "impossible-date", f"{bound} is not a valid date.")


def out_of_order(field: str, lower: float | None, upper: float | None) -> Iterator[Fault]:
    """Yield a fault if a lower bound is above its upper bound."""
    if lower is not None and upper is not None and lower > upper:
        yield Fault((field,), "out-of-order", "The lower bound is above the upper bound.")
