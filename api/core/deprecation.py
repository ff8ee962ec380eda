"""Saying that an operation will go: in the document, and in each of its answers.

A handler declares it once, as its `opt["deprecated"]`; `Deprecation` (RFC 9745), `Sunset`
(RFC 8594) and the document's `deprecated` follow from that.
"""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

_STATE: Final = "deprecation"


class Deprecated(Struct, frozen=True):
    """From when on an operation should not be used any more, from when on it is gone."""

    since: dt.date
    sunset: dt.date
    instead: str  # what to use, in a sentence

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Give what its answers say of it."""
        since, sunset = _instant(self.since), _instant(self.sunset)
        return (
            (b"deprecation", b"@%d" % int(since.timestamp())),
            (b"sunset", format_datetime(sunset, usegmt=True).encode()),
        )

    @property
    def told(self) -> str:
        """Say it in words."""
        return f"Deprecated since {self.since}, gone from {self.sunset} on. {self.instead}"


def _instant(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), dt.UTC)


async def mark(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Have the answer to a request say that its operation is deprecated, if it is."""
    found: Deprecated | None = handler.opt.get("deprecated")
    if found is not None:
        scope: Any = connection.scope  # one of Litestar's unions
        scope["state"][_STATE] = found.headers


def headers(scope: Any) -> tuple[tuple[bytes, bytes], ...]:  # noqa: ANN401 - as above
    """Give what was marked."""
    found: tuple[tuple[bytes, bytes], ...] = scope["state"].get(_STATE, ())
    return found
