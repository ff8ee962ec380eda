"""Read JSON text strictly, in a time that grows with its size alone.

A small text is decoded by msgspec if it is written as msgspec writes it, or else by the standard
library, which says where a fault is. A large text is decoded by msgspec, piece by piece
(:mod:`api.core.json_pieces`), and this module finds by counting the faults that msgspec does not
notice. Other calls into C, which keep the event loop waiting, pass over the bytes once at most.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from api.core import json_pieces
from api.core.errors import MALFORMED_JSON, MAX_ERRORS, TOO_DEEP, Problem, invalid_record
from schemas.base import Fault, Path
from schemas.scalars import MAX_DIGITS, significant_digits

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 60_000
"""How many values a text may have. An article with every list full has some 51,000."""
MAX_KEYS: Final = 40_000
"""How many keys all objects of a text may have together; each takes longer than a value.

A claim or denial with every list full has some 38,000.
"""
WINDOW_BYTES: Final = json_pieces.PIECE_BYTES
_NUL: Final = rb"\u0000"


def read_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read a JSON text strictly (RFC 8259, and I-JSON's rules for keys and text).

    Refuses duplicate keys, which readers understand differently; NaN and Infinity; text that UTF-8
    can't encode; U+0000, which Postgres can't store; numbers that a float would round; more than
    :data:`MAX_DEPTH` levels, and more than :data:`MAX_VALUES` values.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem(MALFORMED_JSON, f"Byte {error.start} is not UTF-8.") from None
    if len(body) <= WINDOW_BYTES:
        return _read_small(body)
    mask = json_pieces.masked(body)
    structure = _unmasked(mask)
    _refuse_large(structure, body)
    try:
        document = json_pieces.decode(body, mask)
    except msgspec.ValidationError as error:
        raise _out_of_range() from error
    for number in _fractions(structure):
        _float(number.decode())
    if structure.count(b":") != _count_keys(document):
        raise Problem(MALFORMED_JSON, "One object has a key twice.")
    if _NUL in body:
        _refuse_nul(document)
    return document


def is_refused_for_its_size(body: bytes) -> bool:
    """Tell whether :func:`read_json` refuses a text for how much it holds, without decoding it."""
    if len(body) <= WINDOW_BYTES:
        return False
    try:
        _refuse_large(_structure(body), b"")
    except Problem:
        return True
    return False


# --- the structure: a JSON text without its strings -------------------------------------------


def _structure(body: bytes) -> bytes:
    """Give what stands outside the strings of a JSON text: brackets, commas, colons, numbers.

    Of a text that is no JSON it gives some of that, from which nothing is concluded but a limit.
    """
    if len(body) <= WINDOW_BYTES and b"\\" not in body:
        return b"".join(body.split(b'"')[::2])
    return _unmasked(json_pieces.masked(body))


def _unmasked(mask: bytes) -> bytes:
    """Leave out the strings of a text, whose mask is given."""
    windows = (mask[at : at + WINDOW_BYTES] for at in range(0, len(mask), WINDOW_BYTES))
    return b"".join(window.translate(None, delete=_NO_STRUCTURE) for window in windows)


_NO_STRUCTURE: Final = b'_"'


def _refuse_large(structure: bytes, body: bytes) -> None:
    """Refuse a text that nests too deeply or holds too many values, before it is decoded."""
    brackets = structure.translate(_ONE_KIND, delete=_NO_BRACKETS)
    if b"[" * (MAX_DEPTH + 1) in brackets:
        raise Problem(TOO_DEEP)
    if structure.count(b":") > MAX_KEYS:
        detail = (
            f"All objects of a body together have at most {MAX_KEYS:,} properties. A record whose "
            "lists are not too long has fewer."
        )
        raise invalid_record([Fault((), "invalid-value", detail)])
    if structure.count(b",") + len(brackets) // 2 >= MAX_VALUES:
        raise _too_many_values(body)
    if _too_deep(brackets):
        raise Problem(TOO_DEEP)


def _too_deep(brackets: bytes) -> bool:
    """Tell whether brackets nest too deeply."""
    left = brackets
    for _ in range(MAX_DEPTH):
        left = left.replace(b"[]", b"")  # the innermost pairs
        if not left:
            return False
    # Either they nest too deeply, or they do not match: then the text is no JSON.
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket == ord("[") else -1
        if depth > MAX_DEPTH:
            return True
    return False


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def _too_many_values(body: bytes) -> Problem:
    """Name the properties that have more values than a whole text may have."""
    properties: dict[str, msgspec.Raw] = {}
    try:
        if len(body) <= _MAX_NAMED_BYTES:
            properties = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        pass  # it is a list
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Problem(MALFORMED_JSON, f"{error}.")
    detail = f"A body has at most {MAX_VALUES:,} values."
    paths: list[Path] = [
        (name,)
        for name, raw in properties.items()
        if _structure(bytes(raw)).count(b",") >= MAX_VALUES
    ]
    return invalid_record(Fault(path, "invalid-value", detail) for path in paths or [()])


_MAX_NAMED_BYTES: Final = 1_048_576
"""To split a longer text into its properties would take too long for one step."""


def _fractions(structure: bytes) -> Iterator[bytes]:
    """Yield the numbers of a JSON text that have a fraction or an exponent.

    A regular expression would try each digit of a long number as the first one, all in one call.
    """
    if not any(mark in structure for mark in (b".", b"e", b"E")):
        return
    for word in structure.translate(_SPACED).split():
        if word[0] in _FIRST_OF_NUMBER and not _MARKS.isdisjoint(word):
            yield word


_SPACED: Final = bytes.maketrans(b"[]{},:", b" " * 6)
_FIRST_OF_NUMBER: Final = frozenset(b"-0123456789")
_MARKS: Final = frozenset(b".eE")


def _count_keys(document: Any) -> int:  # noqa: ANN401 - JSON
    """Count the keys of all objects in a JSON value."""
    count = 0
    containers = [document]
    while containers:
        container = containers.pop()
        if type(container) is dict:
            count += len(container)
            containers += container.values()
        elif type(container) is list:
            containers += container
    return count


# --- a small text: the standard library's decoder says where a fault is ------------------------


def _read_small(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read a text of at most :data:`WINDOW_BYTES`."""
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _too_deep(
        _structure(body).translate(_ONE_KIND, delete=_NO_BRACKETS)
    ):
        raise Problem(TOO_DEEP)
    if (plain := _read_plain(body)) is not None:
        return plain
    try:
        document = _DECODER.decode(body.decode())
    except json.JSONDecodeError as error:
        raise Problem(
            MALFORMED_JSON, f"Line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except ValueError as error:  # an integer of thousands of digits
        raise _out_of_range() from error
    if _SURROGATE.search(body):
        _refuse_lone_surrogates(document)
    if _NUL in body:
        _refuse_nul(document)
    return document


def _read_plain(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read a text that msgspec would write in the same bytes; give null for any other text.

    If an object had a key twice, or a number was rounded, the bytes would differ.
    """
    if _UNICODE_ESCAPE in body or _BLANK_BEHIND_KEY in body:
        return None
    try:
        document = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return None
    return document if msgspec.json.encode(document) == body else None


_UNICODE_ESCAPE: Final = rb"\u"
_BLANK_BEHIND_KEY: Final = b'": '
"""Programs that write blanks write them behind the first key, so they are soon found."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def _out_of_range() -> Problem:
    return invalid_record([Fault((), "invalid-value", "A number is out of range.")])


def _refuse_lone_surrogates(document: Any) -> None:  # noqa: ANN401 - JSON
    if any(_LONE_SURROGATE.search(text) for _, text in _texts(document)):
        raise Problem(MALFORMED_JSON, "A \\u escape is a lone surrogate, which is not a character.")


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


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
    if len(digits) <= MAX_DIGITS and "e" not in digits.lower():
        return number
    written = significant_digits(digits)
    lost = len(written) > MAX_DIGITS and written != significant_digits(repr(number))
    if lost or (written and not number) or number in (float("inf"), float("-inf")):
        raise _out_of_range()
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _refuse_nul(document: Any) -> None:  # noqa: ANN401 - JSON
    """Refuse U+0000 in any string or key, and name its places."""
    message = "The text contains U+0000, which can't be stored; remove it."
    paths = (path for path, text in _texts(document) if "\0" in text)
    if found := list(islice(paths, MAX_ERRORS)):
        raise invalid_record(Fault(path, "invalid-text", message) for path in found)


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
