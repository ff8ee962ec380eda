"""Deprecation: say in the document and in each answer that an operation will be removed.

A handler declares it once, as its `opt["deprecated"]`. The headers `Deprecation` (RFC 9745) and
`Sunset` (RFC 8594), and `deprecated` in the document, follow from that.
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
    """When an operation was deprecated, and when it is removed."""

    since: dt.date
    sunset: dt.date
    instead: str  # the replacement, in a sentence

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers of the operation's answers."""
        since, sunset = _instant(self.since), _instant(self.sunset)
        return (
            (b"deprecation", b"@%d" % int(since.timestamp())),
            (b"sunset", format_datetime(sunset, usegmt=True).encode()),
        )

    @property
    def notice(self) -> str:
        """Announce the removal in the words of the document."""
        return f"Deprecated since {self.since}, gone from {self.sunset} on. {self.instead}"


def _instant(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), dt.UTC)


async def mark(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Note the headers for the answer to a request, if its operation is deprecated."""
    deprecated: Deprecated | None = handler.opt.get("deprecated")
    if deprecated is not None:
        scope: Any = connection.scope  # one of Litestar's unions
        scope["state"][_STATE] = deprecated.headers


def headers(scope: Any) -> tuple[tuple[bytes, bytes], ...]:  # noqa: ANN401 - as above
    """Give the headers that were noted for the answer to a request."""
    noted: tuple[tuple[bytes, bytes], ...] = scope["state"].get(_STATE, ())
    return noted
