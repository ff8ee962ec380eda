"""Cursors: opaque, checked, and bound to the list that they were made for."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any

import msgspec

from api.core.errors import CURSOR_MISMATCH, INVALID_CURSOR, Problem, invalid_parameter

_CHECK_BYTES = 6
_LIST_BYTES = 6


def fingerprint(*parts: Any) -> bytes:  # noqa: ANN401 - whatever tells one list from another
    """Digest what makes a list: its name, filters and sort."""
    return blake2b(
        msgspec.json.encode(parts, order="deterministic"), digest_size=_LIST_BYTES
    ).digest()


def write(of_list: bytes, values: list[Any]) -> str:
    """Write the position behind the values of a row's sort key."""
    body = of_list + msgspec.json.encode(values)
    return urlsafe_b64encode(_check(body) + body).decode().rstrip("=")


def read(cursor: str, of_list: bytes, kind: Any = list[Any], name: str = "cursor") -> Any:  # noqa: ANN401 - a type form
    """Read a position back, as values of a type; anybody can write a cursor.

    `name` is the parameter that brought it.

    Raises a problem for one that is not ours, or of another list.
    """
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raw = b""
    check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    # The text is compared too: base64 has several spellings of some bytes.
    canonical = urlsafe_b64encode(raw).decode().rstrip("=") == cursor
    if not canonical or not body or check != _check(body):
        raise not_ours(name)
    if body[:_LIST_BYTES] != of_list:
        raise invalid_parameter(name, "It belongs to another list.", CURSOR_MISMATCH)
    try:
        return msgspec.convert(msgspec.json.decode(body[_LIST_BYTES:]), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise not_ours(name) from None


def not_ours(name: str) -> Problem:
    """Refuse what is no cursor of ours."""
    return invalid_parameter(name, "It is not one of ours.", INVALID_CURSOR)


def _check(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECK_BYTES, person=b"cursor").digest()
