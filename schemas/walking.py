"""Walking through a record and the parts in it: the rules it breaks, and the ids it refers to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from schemas.base import Fault, Part, Path
from schemas.scalars import UUID_PATTERN
from schemas.shapes import Shape, fields, shape
from schemas.vocabularies import RecordType


class Reference(NamedTuple):
    """An id inside a record that must name a record which is not deleted."""

    path: Path
    to: RecordType
    id: str


@cache
def _followed(struct: type[Struct]) -> tuple[tuple[FieldInfo, Shape], ...]:
    """Give the fields that hold parts or references."""
    shapes = ((field, shape(field.type)) for field in fields(struct))
    return tuple(
        (field, found)
        for field, found in shapes
        if found.refers_to or (isinstance(found.kind, type) and issubclass(found.kind, Struct))
    )


@cache
def _referring(struct: type[Struct]) -> tuple[tuple[FieldInfo, Shape], ...]:
    """Give the fields that hold references, or parts in which there are some."""
    return tuple(
        (field, found)
        for field, found in _followed(struct)
        if found.refers_to or _referring(found.kind)
    )


@cache
def _places(struct: type[Struct]) -> tuple[tuple[str, str, bool, RecordType | None], ...]:
    """Give the same fields: name, encoded name, whether it is a list, and to what it refers."""
    return tuple(
        (field.name, field.encode_name, found.many, found.refers_to)
        for field, found in _referring(struct)
    )


@cache
def _ruled(struct: type[Part]) -> tuple[tuple[str, str, bool], ...]:
    """Give the fields that hold parts with rules: name, encoded name, and whether it is a list."""
    return tuple(
        (field.name, field.encode_name, found.many)
        for field, found in _followed(struct)
        if not found.refers_to and (has_rules(found.kind) or _ruled(found.kind))
    )


def has_rules(struct: type[Part]) -> bool:
    """Tell whether a part has rules of its own, beside those of the parts in it."""
    return struct.faults is not Part.faults


def _ruled_parts(
    part: Part, path: Path, listed: list[tuple[Path, Part]], only: Collection[str] | None = None
) -> list[tuple[Path, Part]]:
    """List a record and every part in it that have rules, each with its path."""
    kind = type(part)
    if has_rules(kind):
        listed.append((path, part))
    for name, key, many in _ruled(kind):
        value = getattr(part, name)
        if not value or (only is not None and key not in only):
            continue
        if not many:
            _ruled_parts(value, (*path, key), listed)
            continue
        for index, item in enumerate(value):
            _ruled_parts(item, (*path, key, index), listed)
    return listed


def references(part: Part, only: Collection[str] | None = None) -> list[Reference]:
    """List every id in a record that must name a record which is not deleted.

    `only` names the properties in which they are looked for.
    """
    listed: list[Reference] = []
    _add_references(part, (), listed, only)
    return listed


def _add_references(
    part: Part, path: Path, listed: list[Reference], only: Collection[str] | None = None
) -> None:
    for name, key, many, to in _places(type(part)):
        value = getattr(part, name)
        if not value or (only is not None and key not in only):
            continue
        where = (*path, key)
        for index, item in enumerate(value if many else (value,)):
            place = (*where, index) if many else where
            if to is not None:
                listed.append(Reference(place, to, item))
            else:
                _add_references(item, place, listed)


def with_references(part: Part, to: RecordType, replaced: Mapping[str, str]) -> Part:
    """Give a record in which other ids stand in the place of some that name records of a type."""
    changed: dict[str, Any] = {}
    for field, found in _referring(type(part)):
        value = getattr(part, field.name)
        if not value or found.refers_to not in (to, None):
            continue

        def new(item: Any, found: Shape = found) -> Any:  # noqa: ANN401 - an id or a part
            return (
                replaced.get(item, item) if found.refers_to else with_references(item, to, replaced)
            )

        changed[field.name] = [new(item) for item in value] if found.many else new(value)
    return msgspec.structs.replace(part, **changed) if changed else part


class Slot(NamedTuple):
    """A place in a JSON object for the id of a record: `holder[key]`."""

    holder: Any  # the object or the list
    key: Any
    to: RecordType
    path: Path

    @property
    def value(self) -> Any:  # noqa: ANN401 - JSON
        """What stands there."""
        return self.holder[self.key]


def slots_in(document: dict[str, Any], struct: type[Struct], path: Path = ()) -> Iterator[Slot]:
    """Yield the places for ids in a JSON object that may be no valid record, if they are filled."""
    for field, found in _referring(struct):
        name = field.encode_name
        if (value := document.get(name)) is None:
            continue
        places: Iterable[tuple[Any, Any, Path]] = [(document, name, (*path, name))]
        if found.many:
            most = len(value[: found.max_items]) if isinstance(value, list) else 0
            places = ((value, index, (*path, name, index)) for index in range(most))
        for holder, key, place in places:
            if found.refers_to:
                yield Slot(holder, key, found.refers_to, place)
            elif isinstance(holder[key], dict):
                yield from slots_in(holder[key], found.kind, place)


def has_object_for_id(document: dict[str, Any], struct: type[Struct]) -> bool:
    """Tell whether an object stands where a JSON object may have the id of a record.

    It takes a quarter of the time of :func:`slots_in`.
    """
    for field, found in _referring(struct):
        value = document.get(field.encode_name)
        items = value if found.many and isinstance(value, list) else (value,)
        for item in items:
            if isinstance(item, dict) and (found.refers_to or has_object_for_id(item, found.kind)):
                return True
    return False


def references_in(document: dict[str, Any], struct: type[Struct]) -> Iterator[Reference]:
    """Yield the references in a JSON object that may be no valid record, where they can be read."""
    for slot in slots_in(document, struct):
        if isinstance(slot.value, str) and re.match(UUID_PATTERN, slot.value):
            yield Reference(slot.path, slot.to, slot.value)


def faults(record: Part, only: Collection[str] | None = None) -> Iterator[Fault]:
    """Yield every rule of the model that a well-typed record breaks.

    `only` names the properties whose parts are looked at, beside the record itself.
    """
    listed = _ruled_parts(record, (), [], only)
    return (fault.under(*path) for path, part in listed for fault in part.faults())
