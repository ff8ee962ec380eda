"""Another instance, asked over HTTP: its address, its key, and what its refusals mean."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import httpx
import msgspec
from msgspec import Struct

from api.sync.retry_after import retry_after_seconds

_RETRIED: Final = frozenset({408, 425, 429, *range(500, 600)})
"""The statuses of answers after which the same request may succeed later."""


class TransientFailure(Exception):  # noqa: N818 - it is retried
    """The instance can't be reached or is busy, so the same is tried again."""

    def __init__(self, message: str, seconds: float = 0) -> None:
        """Say what happened, and how long the instance asks to wait."""
        super().__init__(message)
        self.seconds = seconds


def read_address(url: str) -> httpx.URL:
    """Read the address of an instance; raise a ValueError that says what is wrong with it."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url} is not a valid URL: {error}.") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise ValueError("The address must be an http:// or https:// URL.")
    if address.userinfo or address.query:
        raise ValueError("The address must be a URL without a user and without a query.")
    return address


def key_headers(key: str | None) -> dict[str, str]:
    """Give the header that sends a key; raise a ValueError if it can't be a key."""
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError("is not a key of this service.")
    return {"authorization": f"Bearer {key}"} if key else {}


class _Problem(Struct):
    detail: str = ""


def explain_refusal(answer: httpx.Response, body: bytes, key_variable: str) -> str:
    """Say what an answer that is no success means, and where a key belongs that is missing.

    Raises a transient failure if the same request may succeed later.
    """
    detail = _detail_of(body)
    message = f"{answer.url.path} answered {answer.status_code}"
    message += f": {detail}" if detail else "."
    if answer.status_code in _RETRIED:
        raise TransientFailure(message, retry_after_seconds(answer.headers.get("retry-after")))
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        message += f" Put the key into the environment variable {key_variable}."
    return message


def _detail_of(body: bytes) -> str:
    """Read the detail of a problem; "" if the body is something else, such as a proxy's page."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(body, type=_Problem).detail
    return ""
