"""From bytes to Structs: read JSON strictly, and find every fault of a body at once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from api.core import reasons
from api.core.errors import MALFORMED_JSON, TOO_DEEP, Problem, invalid_record
from schemas.base import (
    MAX_DIGITS,
    Fault,
    Part,
    Path,
    Shape,
    faults,
    fields,
    is_vocabulary,
    shape,
    significant_digits,
)

DEPTH = 32
_NUL = rb"\u0000"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")

Record = TypeVar("Record", bound=Part)


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body that is one JSON object; raise a problem if it is anything else."""
    document = read_json(body)
    if not isinstance(document, dict):
        raise invalid_record([Fault((), "wrong-type", "The body must be one JSON object.")])
    return document


def read_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read a JSON text strictly (RFC 8259, I-JSON's rules on keys and text).

    Refuses duplicate keys, which readers understand differently; NaN and Infinity; text that
    UTF-8 can't encode; U+0000, which Postgres can't store; and more than 32 levels.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem(MALFORMED_JSON, f"Byte {error.start} is not UTF-8.") from None
    if body.count(b"[") + body.count(b"{") > DEPTH and _too_deep(body):
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
        raise Problem(MALFORMED_JSON, "A \\u escape is a lone surrogate, which is not a character.")
    if _NUL in body:
        paths = [path for path, text in _texts(document) if "\0" in text]
        if paths:
            message = "The text contains U+0000, which can't be stored; remove it."
            raise invalid_record(Fault(path, "invalid-text", message) for path in paths)
    return document


_OUT_OF_RANGE = "A number is out of range."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; refuse a key that it has twice."""
    document = dict(pairs)
    if len(document) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise Problem(MALFORMED_JSON, f"One object has the key `{twice[:100]}` twice.")
    return document


def _constant(word: str) -> None:
    raise Problem(MALFORMED_JSON, f"`{word}` is not JSON.")


def _float(digits: str) -> float:
    """Read a number; refuse one that a float would round."""
    number = float(digits)
    sent = significant_digits(digits)
    lost = len(sent) > MAX_DIGITS and sent != significant_digits(repr(number))
    if lost or (sent and not number) or number in (float("inf"), float("-inf")):
        raise invalid_record([Fault((), "invalid-value", _OUT_OF_RANGE)])
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _too_deep(body: bytes) -> bool:
    """Tell whether a JSON text has too many levels, in a time that grows with its size alone."""
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    brackets = left = outside.translate(_ONE_KIND, delete=_NO_BRACKETS)
    if b"[" * (DEPTH + 1) in brackets:
        return True
    for _ in range(DEPTH):
        left = left.replace(b"[]", b"")  # the innermost
        if not left:
            return False
    depth = 0  # too deep, or not JSON: count the brackets
    for bracket in brackets:
        depth += 1 if bracket == ord("[") else -1
        if depth > DEPTH:
            return True
    return False


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def _texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:  # noqa: ANN401 - JSON
    """Yield every string in a JSON value, also its keys, with its path."""
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
    """Make a record of a JSON value, or list all the faults that prevent it."""
    try:
        record = msgspec.convert(document, kind)
    except msgspec.ValidationError:
        return None, _faults(document, kind)
    return record, faults(record)


def _faults(value: Any, kind: Any, path: Path = ()) -> list[Fault]:  # noqa: ANN401 - JSON, a type
    """List the faults that keep a JSON value from being of a type, each with its place."""
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error)
    else:
        return [fault.under(*path) for fault in _broken_rules(converted)]
    expected = shape(kind)
    if expected.many and isinstance(value, list):
        below = [
            fault
            for index, item in enumerate(value)
            for fault in _faults(item, _item(kind), (*path, index))
        ]
    elif _is_object(expected):
        below = _with_own_rules(value, expected.kind, path) if isinstance(value, dict) else []
    else:
        below = []
    return below or [_fault(expected, value, path, reason)]


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


def _with_own_rules(value: dict[str, Any], struct: type[Struct], path: Path) -> list[Fault]:
    """List the faults of an object's properties, and the rules that the rest of it breaks.

    Rules about missing properties are left out then: the missing one may be a faulty one.
    """
    below = list(_object_faults(value, struct, path))
    faulty = {fault.path[len(path)] for fault in below}
    with suppress(msgspec.ValidationError):
        rest = msgspec.convert({k: v for k, v in value.items() if k not in faulty}, struct)
        own = rest.faults() if isinstance(rest, Part) else ()
        below += [f.under(*path) for f in own if f.code in _ABOUT_PRESENT_PROPERTIES]
    return below


_ABOUT_PRESENT_PROPERTIES = {"duplicate-item", "impossible-date", "out-of-order", "too-precise"}


def _object_faults(value: dict[str, Any], struct: type[Struct], path: Path) -> Iterator[Fault]:
    """Yield the faults of an object's properties."""
    known = _by_name(struct)
    for key, item in value.items():
        if key in known:
            yield from _faults(item, known[key].type, (*path, key))
        else:
            yield Fault((*path, key), "unknown-field", f"There is no property `{key}` here.")
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


def _fault(expected: Shape, value: Any, path: Path, reason: str) -> Fault:  # noqa: ANN401 - JSON
    """Report in words what is wrong with one value."""
    reason = reason.partition(" - at `")[0]
    if is_vocabulary(expected.kind) and isinstance(value, str):
        terms = ", ".join(term.value for term in expected.kind)
        return Fault(path, "unknown-term", f"`{value[:100]}` is not one of {terms}.")
    if "got `" in reason and not reason.startswith("Expected `str` matching"):
        code = "required" if value is None else "wrong-type"
        return Fault(path, code, reasons.in_words(reason))
    return Fault(path, "invalid-value", reasons.in_words(reason, expected.form))


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
