"""A record's structure, read off the types of its fields."""

from __future__ import annotations

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Struct, UnsetType
from msgspec.structs import FieldInfo

from schemas.vocabularies import RecordType, Vocabulary


class Shape(NamedTuple):
    """The type of a field, without `Annotated` and `| None`."""

    kind: Any  # a Struct, a Vocabulary, or a builtin type
    many: bool  # a list of it
    max_items: int | None  # of the list
    optional: bool  # whether it may be null
    refers_to: RecordType | None
    filled: bool  # whether the server fills it in where a client leaves it out
    instant: bool
    form: str | None  # the form of a string, in words


@cache
def shape(annotation: Any) -> Shape:  # noqa: ANN401 - a type form, which no type describes
    """Read the shape of a field off its annotation."""
    kind, many, optional = annotation, False, False
    notes: dict[str, Any] = {}
    max_length = max_items = None
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind, *metas = get_args(kind)
            for meta in metas:
                notes |= meta.extra or {}
                max_length = meta.max_length
        elif origin in (Union, UnionType):
            members = [m for m in get_args(kind) if m not in (NoneType, UnsetType)]
            optional = optional or NoneType in get_args(kind)
            kind = members[0]
        elif origin is list:
            (kind,) = get_args(kind)
            many, max_items = True, max_length
        else:
            return Shape(
                kind,
                many,
                max_items,
                optional,
                notes.get("refers_to"),
                notes.get("filled", False),
                notes.get("instant", False),
                notes.get("form"),
            )


@cache
def fields(struct: type[Struct]) -> tuple[FieldInfo, ...]:
    """Give the fields of a Struct, with their types resolved."""
    return msgspec.structs.fields(struct)


def is_vocabulary(kind: Any) -> bool:  # noqa: ANN401 - a type form, which no type describes
    """Tell whether a field's type is a closed list of terms."""
    return isinstance(kind, type) and issubclass(kind, Vocabulary)
