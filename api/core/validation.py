"""Bytes to Structs: strict JSON, and every fault of a body at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from api.core.errors import MALFORMED_JSON, TOO_DEEP, Problem, invalid_record
from schemas.base import Fault, Part, Path, faults, fields, is_vocabulary, shape

DEPTH = 32
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NUL = rb"\u0000"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")

Record = TypeVar("Record", bound=Part)


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body that is one JSON object; raise a problem for anything else."""
    document = read_json(body)
    if not isinstance(document, dict):
        raise invalid_record([Fault((), "wrong-type", "The body is one JSON object.")])
    return document


def read_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read a JSON text strictly (RFC 8259, I-JSON's rules on keys and text).

    Refused are duplicate keys, which readers resolve differently; NaN and Infinity; text that
    UTF-8 can't carry; U+0000, which Postgres can't keep; and nesting deeper than 32.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem(MALFORMED_JSON, f"Byte {error.start} is not UTF-8.") from None
    if body.count(b"[") + body.count(b"{") > DEPTH and _depth(body) > DEPTH:
        raise Problem(TOO_DEEP)
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Problem(
            MALFORMED_JSON, f"Line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except ValueError as error:  # an integer of thousands of digits
        raise invalid_record([Fault((), "invalid-value", _OUT_OF_RANGE)]) from error
    if _SURROGATE.search(body) and any(_LONE.search(text) for _, text in _texts(document)):
        raise Problem(MALFORMED_JSON, "A \\u escape is a lone surrogate, which is no character.")
    if _NUL in body:
        found = [path for path, text in _texts(document) if "\0" in text]
        if found:
            message = "The text holds U+0000, which can't be stored; take it out."
            raise invalid_record(Fault(path, "invalid-text", message) for path in found)
    return document


_OUT_OF_RANGE = "A number is out of range."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that stands there twice."""
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise Problem(MALFORMED_JSON, f"The key `{twice}` stands twice in one object.")
    return document


def _constant(word: str) -> None:
    raise Problem(MALFORMED_JSON, f"`{word}` is not JSON.")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise invalid_record([Fault((), "invalid-value", _OUT_OF_RANGE)])
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _depth(body: bytes) -> int:
    """Measure how deeply a JSON text nests, without recursion."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", body):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEPTH:
                break
        elif byte in b"]}":
            depth -= 1
    return deepest


def _texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:  # noqa: ANN401 - JSON
    """Yield every string in a JSON value, keys included, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def check(document: Any, kind: type[Record]) -> tuple[Record | None, list[Fault]]:  # noqa: ANN401
    """Make a record of a JSON value, or list everything that keeps it from being one."""
    try:
        record = msgspec.convert(document, kind)
    except msgspec.ValidationError:
        return None, _faults(document, kind)
    return record, faults(record)


def _faults(value: Any, kind: Any, path: Path = ()) -> list[Fault]:  # noqa: ANN401 - JSON, a type
    """List what keeps a JSON value from being of a type, going down to each fault's place."""
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error)
    else:
        inner = faults(converted) if isinstance(converted, Part) else []
        return [fault.under(*path) for fault in inner]
    found = shape(kind)
    if found.many and isinstance(value, list):
        below = [
            fault
            for index, item in enumerate(value)
            for fault in _faults(item, _item(kind), (*path, index))
        ]
    elif isinstance(found.kind, type) and issubclass(found.kind, Struct) and not found.many:
        below = list(_object_faults(value, found.kind, path)) if isinstance(value, dict) else []
    else:
        below = []
    return below or [_fault(found.kind, value, path, reason)]


def _object_faults(value: dict[str, Any], struct: type[Struct], path: Path) -> Iterator[Fault]:
    """Yield the faults of an object's properties."""
    known = _by_name(struct)
    for key, item in value.items():
        if key in known:
            yield from _faults(item, known[key].type, (*path, key))
        else:
            yield Fault((*path, key), "unknown-field", f"`{key}` is not known here.")
    for name, field in known.items():
        if field.required and name not in value:
            yield Fault((*path, name), "required", f"`{name}` is needed.")


@cache
def _by_name(struct: type[Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in fields(struct)}


@cache
def _item(kind: Any) -> Any:  # noqa: ANN401 - type forms
    """Give the type of a list's items."""
    while get_origin(kind) is not list:
        kind = get_args(kind)[0]
    return get_args(kind)[0]


def _fault(kind: Any, value: Any, path: Path, reason: str) -> Fault:  # noqa: ANN401 - JSON, a type
    """Say in words what is wrong with one value."""
    reason = reason.partition(" - at `")[0]
    if is_vocabulary(kind) and isinstance(value, str):
        terms = ", ".join(term.value for term in kind)
        return Fault(path, "unknown-term", f"`{value[:100]}` is not one of {terms}.")
    if "got `" in reason and not reason.startswith("Expected `str` matching"):
        code = "required" if value is None else "wrong-type"
        return Fault(path, code, f"{reason}.")
    return Fault(path, "invalid-value", f"{reason}.")


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
