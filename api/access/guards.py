"""Guards of browsers: the host names of this service, and the origins of pages that may call it.

Any page can point its own host name at 127.0.0.1 and read the answers from there (DNS rebinding),
but it can't send another name than its own in `Host`. So the names of the service are listed, and
all other names are refused, whatever the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from api.core.errors import INVALID_HEADER, WRONG_HOST, Problem
from api.settings import Settings, comma_separated

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
FOR_ANY_PAGE: Final = "/v1/reconcile"
"""OpenRefine asks this path from its own page, whose origin nobody can list."""
_PREFLIGHT_SECONDS: Final = "600"


class Guards:
    """The host names and the origins that the settings allow."""

    def __init__(self, settings: Settings) -> None:
        """Read the lists from the settings."""
        listed = comma_separated((settings.allowed_hosts or "").lower())
        self._names = frozenset({*LOOPBACK, _bracketed(settings.host.lower()), *listed})
        # An address can't be pointed at the service by somebody else, as a name can.
        self._any_address = settings.host in _EVERY_ADDRESS
        self._origins = frozenset(
            origin.encode() for origin in comma_separated((settings.cors_origins or "").lower())
        )
        self._allows = lru_cache(maxsize=256)(self._judge)

    def check_host(self, headers: Headers) -> None:
        """Refuse a request that was not sent to one of the service's host names."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1:
            raise Problem(INVALID_HEADER, "A request needs exactly one `Host` header.")
        allowed = self._allows(hosts[0])
        if allowed is None:
            raise Problem(
                INVALID_HEADER, "`Host` takes a name or an address, and optionally a port."
            )
        if not allowed:
            raise Problem(
                WRONG_HOST,
                "The name in `Host` is not one of the service's names. Its operator lists them in "
                "`CLAIM_RECORDS_ALLOWED_HOSTS`.",
            )

    def _judge(self, host: bytes) -> bool | None:
        """Tell whether a `Host` names this service; None if it is not valid."""
        match = _HOST.match(host.decode("latin-1"))
        if match is None:
            return None
        name, port = match["name"].lower(), match["port"]
        if name in self._names or (self._any_address and _ADDRESS.match(name)):
            return True
        return port is not None and f"{name}:{port}" in self._names

    # --- pages of other origins (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol) --------

    def origin_headers(self, headers: Headers, path: str) -> Sequence[tuple[bytes, bytes]]:
        """Give the headers that let a page of a listed origin read an answer.

        Credentials are never allowed: the service has no cookies, and a page sends a key itself.
        """
        if is_for_any_page(path):
            return (_ANY_PAGE,)
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

    def preflight_headers(self, headers: Headers, allowed: str, path: str) -> dict[str, str]:
        """Give the headers of an answer to OPTIONS; `allowed` are the methods of the path."""
        asked = _first(headers, b"access-control-request-method")
        if asked and is_for_any_page(path):
            return {
                "access-control-allow-methods": allowed,
                "access-control-allow-headers": "Content-Type",  # and no key
                "access-control-max-age": _PREFLIGHT_SECONDS,
            }
        if not asked or _first(headers, b"origin") not in self._origins:
            return {}
        return {
            "access-control-allow-methods": allowed,
            "access-control-allow-headers": SENT,
            "access-control-max-age": _PREFLIGHT_SECONDS,
        }


def is_for_any_page(path: str) -> bool:
    """Tell whether pages of any origin may ask a path, which shows what everybody may read."""
    return path == FOR_ANY_PAGE or path.startswith(f"{FOR_ANY_PAGE}/")


_ANY_PAGE: Final = (b"access-control-allow-origin", b"*")
_VARY: Final = (b"vary", b"Origin")


def _bracketed(host: str) -> str:
    """Write an IPv6 address in brackets, as in a URL."""
    return f"[{host}]" if ":" in host else host


def _first(headers: Headers, wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")
