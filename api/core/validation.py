"""From JSON to Structs: find the faults of a body at once, in a bounded number of steps.

A list is measured before its items are looked at, and the search ends with the last fault that is
reported. So the cost of a body does not grow with the number of its faults.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from api.core import reasons
from api.core.errors import MAX_ERRORS, invalid_record
from api.core.json_text import read_json
from api.core.large_input import MAX_INLINE_FAULTS, leave_event_loop
from schemas.base import Fault, Part, Path
from schemas.shapes import Shape, fields, is_vocabulary, shape
from schemas.vocabularies import Vocabulary
from schemas.walking import faults

Record = TypeVar("Record", bound=Part)


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body that is one JSON object; raise a problem if it is anything else."""
    document = read_json(body)
    if not isinstance(document, dict):
        raise invalid_record([Fault((), "wrong-type", "The body must be one JSON object.")])
    return document


def check(document: Any, kind: type[Record]) -> tuple[Record | None, list[Fault]]:  # noqa: ANN401
    """Make a record or a list of a JSON value, or list the faults that prevent it.

    At most `MAX_ERRORS` faults are listed.
    """
    try:
        record = msgspec.convert(document, kind)
    except msgspec.ValidationError:
        return None, _first(_faults(document, kind))
    return record, _first(_broken_rules(record))


def keeps_rules(record: Part, changed: Collection[str]) -> bool:
    """Tell whether a record keeps the rules of which its changed properties are part."""
    return next(faults(record, changed), None) is None


def _first(found: Iterator[Fault]) -> list[Fault]:
    listed = list(islice(found, MAX_INLINE_FAULTS + 1))
    if len(listed) > MAX_INLINE_FAULTS:
        leave_event_loop()
    return [*listed, *islice(found, MAX_ERRORS - len(listed))]


def _faults(value: Any, kind: Any, path: Path = ()) -> Iterator[Fault]:  # noqa: ANN401 - JSON, a type
    """Yield the faults that keep a JSON value from being of a type, each with its place."""
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error)
    else:
        yield from (fault.under(*path) for fault in _broken_rules(converted))
        return
    expected = shape(kind)
    below: Iterator[Fault] = iter(())
    if expected.many and isinstance(value, list):
        below = _list_faults(value, kind, path)
    elif _is_object(expected) and isinstance(value, dict):
        below = _object_faults(value, expected.kind, path)
    first = next(below, None)
    yield first or _fault(expected, value, path, reason)
    yield from below


def _list_faults(value: list[Any], kind: Any, path: Path) -> Iterator[Fault]:  # noqa: ANN401 - a type
    """Yield the faults of a list's items; of a list that is too long, no more than it may have."""
    most = shape(kind).max_items
    if most is not None and len(value) > most:
        yield Fault(path, "invalid-value", f"At most {most:,} items.")
    for index, item in enumerate(value[:most]):
        yield from _faults(item, _item(kind), (*path, index))


def _is_object(expected: Shape) -> bool:
    kind = expected.kind
    return isinstance(kind, type) and issubclass(kind, Struct) and not expected.many


def _broken_rules(converted: Any) -> Iterator[Fault]:  # noqa: ANN401 - of the field's type
    """Yield the rules that the parts in a well-typed value break."""
    if isinstance(converted, Part):
        yield from faults(converted)
    elif isinstance(converted, list):
        for index, item in enumerate(converted):
            for fault in _broken_rules(item):
                yield fault.under(index)


def _object_faults(value: dict[str, Any], struct: type[Struct], path: Path) -> Iterator[Fault]:
    """Yield the faults of an object's properties, and the rules that the rest of it breaks.

    Rules about missing properties are left out then: the missing one may be a faulty one.
    """
    faulty = set()
    for fault in _property_faults(value, struct, path):
        faulty.add(fault.path[len(path)])
        yield fault
    if not faulty.isdisjoint(_required(struct)):
        return
    with suppress(msgspec.ValidationError):
        rest = msgspec.convert({k: v for k, v in value.items() if k not in faulty}, struct)
        own = rest.faults() if isinstance(rest, Part) else ()
        yield from (f.under(*path) for f in own if f.code in _ABOUT_PRESENT_PROPERTIES)


_ABOUT_PRESENT_PROPERTIES = {"duplicate-item", "impossible-date", "out-of-order", "too-precise"}


def _property_faults(value: dict[str, Any], struct: type[Struct], path: Path) -> Iterator[Fault]:
    """Yield the faults of an object's properties."""
    known, required = _by_name(struct), _required(struct)
    for key, item in value.items():
        if key in known:
            yield from _faults(item, known[key].type, (*path, key))
        else:
            yield Fault((*path, key), "unknown-field", f"There is no property `{key}` here.")
    for name in required:
        if name not in value:
            yield Fault((*path, name), "required", f"`{name}` is needed.")


@cache
def _by_name(struct: type[Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in fields(struct)}


@cache
def _required(struct: type[Struct]) -> tuple[str, ...]:
    return tuple(name for name, field in _by_name(struct).items() if field.required)


@cache
def _item(kind: Any) -> Any:  # noqa: ANN401 - type forms
    """Give the type of a list's items."""
    while get_origin(kind) is not list:
        kind = get_args(kind)[0]
    return get_args(kind)[0]


def _fault(expected: Shape, value: Any, path: Path, reason: str) -> Fault:  # noqa: ANN401 - JSON
    """Report in words what is wrong with one value."""
    reason = reason.partition(" - at `")[0]
    if is_vocabulary(expected.kind) and isinstance(value, str):
        detail = f"`{value[:100]}` is not one of {_terms(expected.kind)}."
        return Fault(path, "unknown-term", detail)
    if "got `" in reason and not reason.startswith("Expected `str` matching"):
        code = "required" if value is None else "wrong-type"
        return Fault(path, code, reasons.in_words(reason))
    return Fault(path, "invalid-value", reasons.in_words(reason, expected.form))


@cache
def _terms(vocabulary: type[Vocabulary]) -> str:
    return ", ".join(term.value for term in vocabulary)


def merge_patch(target: Any, patch: Any) -> Any:  # noqa: ANN401 - JSON
    """Apply a JSON merge patch (RFC 7396): null removes, a list replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return cast("dict[str, Any]", merged)
