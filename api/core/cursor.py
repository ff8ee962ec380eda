"""Cursors: texts that name a position in one list, and that only this service can make."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any

import msgspec

from api.core.errors import CURSOR_MISMATCH, INVALID_CURSOR, Problem, invalid_parameter

_CHECK_BYTES = 6
_LIST_BYTES = 6


def fingerprint(*parts: Any) -> bytes:  # noqa: ANN401 - JSON
    """Digest the parts that make a list different from others: its name, filters and sort."""
    return blake2b(
        msgspec.json.encode(parts, order="deterministic"), digest_size=_LIST_BYTES
    ).digest()


def write(of_list: bytes, values: list[Any]) -> str:
    """Write a cursor for the position after a row; `values` are the sort key of the row."""
    body = of_list + msgspec.json.encode(values)
    return urlsafe_b64encode(_check(body) + body).decode().rstrip("=")


def read(cursor: str, of_list: bytes, kind: Any = list[Any], name: str = "cursor") -> Any:  # noqa: ANN401 - a type form
    """Read the values of a cursor, converted to a type; a client may have changed the text.

    `name` is the parameter that it came in. Raises a problem if the cursor was not made here, or
    was made for another list.
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
        raise invalid_parameter(name, "This cursor belongs to another list.", CURSOR_MISMATCH)
    try:
        return msgspec.convert(msgspec.json.decode(body[_LIST_BYTES:]), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise not_ours(name) from None


def not_ours(name: str) -> Problem:
    """Refuse a cursor that was not made by this service."""
    return invalid_parameter(name, "This cursor was not made by this service.", INVALID_CURSOR)


def _check(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECK_BYTES, person=b"cursor").digest()
