"""From where a browser may be sent here: the names of this service, and the pages that may ask.

A page on any host can point its own name at 127.0.0.1 and read what answers there (DNS
rebinding); what it can't do is to send another name than its own. So the names are listed, and
others are refused, whatever the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from api.core.errors import INVALID_HEADER, WRONG_HOST, Problem
from api.settings import Settings

Headers = Iterable[tuple[bytes, bytes]]

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_EVERY_ADDRESS: Final = {"0.0.0.0", "::", ""}  # noqa: S104 - nothing is bound
_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*))(?::(?P<port>[0-9]{1,5}))?\Z"
)
_ADDRESS: Final = re.compile(r"\[[0-9a-f:.]+\]\Z|[0-9]{1,3}(\.[0-9]{1,3}){3}\Z")

SENT: Final = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id"
"""The request headers that a page of another origin may send."""
READ: Final = (
    "ETag, Link, Location, Content-Location, Retry-After, RateLimit, RateLimit-Policy,"
    " X-Request-Id, Idempotency-Replayed, Deprecation, Sunset"
)
"""The headers of answers that such a page may read."""
_PREFLIGHT_SECONDS: Final = "600"


class Guards:
    """What the settings say of names and origins."""

    def __init__(self, settings: Settings) -> None:
        """Read the lists."""
        listed = _items(settings.allowed_hosts)
        self._names = frozenset({*LOOPBACK, _bracketed(settings.host.lower()), *listed})
        # No name can be pointed at the service by being an address: nothing is looked up.
        self._any_address = settings.host in _EVERY_ADDRESS
        self._origins = frozenset(origin.encode() for origin in _items(settings.cors_origins))
        self._allows = lru_cache(maxsize=256)(self._judge)

    def check_host(self, headers: Headers) -> None:
        """Refuse a request that was not sent to one of the service's names."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1:
            raise Problem(INVALID_HEADER, "A request has one `Host` header.")
        allowed = self._allows(hosts[0])
        if allowed is None:
            raise Problem(INVALID_HEADER, "`Host` takes a name or an address, and perhaps a port.")
        if not allowed:
            raise Problem(
                WRONG_HOST,
                "The service does not go by the name in `Host`. Whoever runs it lists its names "
                "in `CLAIM_RECORDS_ALLOWED_HOSTS`.",
            )

    def _judge(self, host: bytes) -> bool | None:
        """Tell whether a `Host` is one of ours; None where it is none at all."""
        found = _HOST.match(host.decode("latin-1"))
        if found is None:
            return None
        name, port = found["name"].lower(), found["port"]
        if name in self._names or (self._any_address and _ADDRESS.match(name)):
            return True
        return port is not None and f"{name}:{port}" in self._names

    # --- pages of other origins (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol) --------

    def origin_headers(self, headers: Headers) -> Sequence[tuple[bytes, bytes]]:
        """Give the headers by which a page of a listed origin may read an answer.

        Credentials are never allowed: nothing here goes by cookies, a key is sent by hand.
        """
        if not self._origins:
            return ()
        origin = _first(headers, b"origin")
        if origin not in self._origins:
            return (_VARY,)
        return (
            _VARY,
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", READ.encode()),
        )

    def preflight_headers(self, headers: Headers, allowed: str) -> dict[str, str]:
        """Give what an OPTIONS request of a listed origin is told; `allowed` are the methods."""
        asked = _first(headers, b"access-control-request-method")
        if not asked or _first(headers, b"origin") not in self._origins:
            return {}
        return {
            "access-control-allow-methods": allowed,
            "access-control-allow-headers": SENT,
            "access-control-max-age": _PREFLIGHT_SECONDS,
        }


_VARY: Final = (b"vary", b"Origin")


def _items(listed: str | None) -> list[str]:
    return [item.strip().lower() for item in (listed or "").split(",") if item.strip()]


def _bracketed(host: str) -> str:
    """Write an address as a URL does."""
    return f"[{host}]" if ":" in host else host


def _first(headers: Headers, wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")
