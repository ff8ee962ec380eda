"""The edge of the application: the rules that hold for every request, whatever its route.

A plain ASGI layer around Litestar. It handles request ids, the access log, limits on the URL and
the headers, HEAD, OPTIONS and `Allow`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote_to_bytes

from litestar.types import ASGIApp, Receive

from api.core import deprecation
from api.core.errors import (
    HEADERS_TOO_LARGE,
    INVALID_PATH,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    URI_TOO_LONG,
    Kind,
    Problem,
)
from api.core.masking import has_secret, masked
from api.core.request import CLIENT_LEFT, Answer, encoded, new_id
from api.server.draining import Draining

MAX_URL_BYTES: Final = 8_192
MAX_HEADER_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
# A parameter in a path such as `/v1/claims/{id:str}`, as `re.escape` writes it.
_PARAMETER = re.compile(r"\\\{[a-z_]+(:str)?\\\}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}\Z")
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # for JSON; a page for browsers has its own
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_ALWAYS_NAMES: Final = frozenset(name for name, _ in _ALWAYS)

log = logging.getLogger("claim_records.access")


class Routes:
    """The methods that each path takes."""

    def __init__(self, routes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Compile paths such as `/v1/claims/{id:str}` with their methods."""
        methods_of: dict[str, set[str]] = {}
        for path, methods in routes:
            methods_of.setdefault(path, set()).update(methods)
        self._patterns = [
            (
                re.compile(_PARAMETER.sub("[^/]+", re.escape(path)) + r"\Z"),
                _all(methods),
            )
            # a path without parameters comes before one with parameters, as in the router
            for path, methods in sorted(methods_of.items(), key=lambda item: item[0].count("{"))
        ]

    def allowed(self, path: str) -> str | None:
        """Write the `Allow` header of a path; None for a path that does not exist."""
        for pattern, methods in self._patterns:
            if pattern.match(path):
                return methods
        return None


def _all(methods: Iterable[str]) -> str:
    """List a path's methods with those that the edge answers for every path."""
    every = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return ", ".join(sorted(every))


Headers = Iterable[tuple[bytes, bytes]]


class HasGuards(Protocol):
    """Knows the host names of the service, and the origins whose web pages may call it."""

    def check_host(self, headers: Headers, /) -> None:
        """Refuse a request for another host."""

    def origin_headers(self, headers: Headers, path: str, /) -> Headers:
        """Give the headers of an answer for a page of another origin."""

    def preflight_headers(self, headers: Headers, allowed: str, path: str, /) -> Mapping[str, str]:
        """Give the headers of the answer to an OPTIONS request of another origin."""


class HasLimits(Protocol):
    """Counts requests and limits them."""

    def arrive(self, scope: Any, /) -> None:  # noqa: ANN401 - ASGI
        """Count a request; refuse it if the limit is reached."""

    def headers(self, scope: Any, /) -> Headers:  # noqa: ANN401 - ASGI
        """Give the headers that say how many requests are left."""


class HasCounts(Protocol):
    """Counts answers."""

    def count(self, method: str, scope: Any, status: int, seconds: float, /) -> None:  # noqa: ANN401 - ASGI
        """Count a request that has ended."""


class Edge:
    """The application as the server sees it."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Routes,
        guards: HasGuards,
        limits: HasLimits,
        counts: HasCounts,
        draining: Draining,
    ) -> None:
        """Stand in front of an application."""
        self._draining = draining
        self._app = app
        self._routes = routes
        self._guards = guards
        self._limits = limits
        self._counts = counts

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Answer a request and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        method = scope["method"]
        started = time.perf_counter()
        status = 0
        headers: list[tuple[bytes, bytes]] = []
        has_body = False  # or a part of it

        async def send_on(message: Any) -> None:  # noqa: ANN401 - ASGI
            nonlocal status, headers, has_body
            is_head = message["type"] == "http.response.start"
            if is_head:
                status = message["status"]
                message["headers"] = headers = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
                headers += self._limits.headers(scope)
                headers += self._guards.origin_headers(scope["headers"], scope["path"])
                headers += deprecation.headers(scope)
                if self._draining.begun:
                    headers.append(_CLOSE)
                _complete(headers)
            elif method == "HEAD":
                message["body"] = b""
            await send(message)
            has_body = not is_head

        try:
            if refusal := self._refusal(scope):
                await refusal(scope, receive, send_on)
                return
            if method == "HEAD":
                # A copy: the server must still see HEAD, and so send no body with any answer.
                scope = {**scope, "method": "GET"}
                scope["state"]["head"] = True  # so that long answers are not produced in vain
            await self._app(scope, receive, send_on)
        except Exception:
            status = status if has_body or _is_written(headers) else 500  # the server's own answer
            raise
        finally:
            status = status or CLIENT_LEFT  # nothing was answered
            seconds = time.perf_counter() - started
            self._counts.count(method, scope, status, seconds)
            if log.isEnabledFor(logging.INFO):
                extras = {"request_id": request_id, "milliseconds": round(seconds * 1000, 2)}
                extras |= _who(scope)
                log.info("%s %s %d", method, masked(scope["path"]), status, extra=extras)

    def _refusal(self, scope: Any) -> Answer | None:  # noqa: ANN401 - one of Litestar's unions
        """Answer a request that must not reach a route; None for any other."""
        try:
            self._limits.arrive(scope)
            _check_size(scope)
            self._guards.check_host(scope["headers"])
        except Problem as problem:
            return problem_answer(problem, scope)
        path, method = scope["path"], scope["method"]
        if path != "/" and (path.endswith("/") or "//" in path):
            # Litestar's router would ignore these slashes, but a resource has one URL.
            return problem_answer(no_such_path(), scope)
        if method not in _ROUTED or method == "OPTIONS":
            allowed = self._routes.allowed(path)
            if allowed is None:
                return problem_answer(no_such_path(), scope)
            if method == "OPTIONS":
                more = self._guards.preflight_headers(scope["headers"], allowed, path)
                return Answer(status=204, headers={"allow": allowed, **more})
            return problem_answer(not_allowed(allowed), scope)
        return None


_CONTENT_LENGTH: Final = b"content-length"
_CLOSE: Final = (b"connection", b"close")
"""Tells a client to send its next request over a new connection, which another process may take."""
_ROUTED = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def not_allowed(allowed: str) -> Problem:
    """Report a method that a path does not take."""
    return Problem(METHOD_NOT_ALLOWED, f"This path takes {allowed}.", headers={"allow": allowed})


def no_such_path() -> Problem:
    """Report a path that does not exist."""
    return Problem(NOT_FOUND, "There is no such path.")


def problem_answer(problem: Problem, scope: Any) -> Answer:  # noqa: ANN401 - one of Litestar's unions
    """Answer with a problem."""
    document = problem.document(
        quote(scope["path"], safe="/:@!$&'()*+,;=~"), scope["state"]["request_id"]
    )
    return Answer(
        encoded(document),
        int(problem.kind.status),
        headers={"cache-control": "no-store", **problem.headers},
        media_type="application/problem+json",
    )


def bare_problem(kind: Kind) -> tuple[int, bytes]:
    """Write a whole HTTP answer for bytes that are not a request; it closes the connection."""
    request_id = new_id()
    document = encoded(Problem(kind).document(request_id=request_id))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(document)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
    ]
    _complete(headers)
    status = f"HTTP/1.1 {int(kind.status)} {kind.status.phrase}".encode()
    lines = [status, *(name + b": " + value for name, value in headers)]
    return int(kind.status), b"\r\n".join(lines) + b"\r\n\r\n" + document


def _is_written(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether a head has left before its body, for which it waits if it tells the length."""
    return bool(headers) and _CONTENT_LENGTH not in map(itemgetter(0), headers)


def _who(scope: Any) -> dict[str, str]:  # noqa: ANN401 - one of Litestar's unions
    """Tell the address of a request, and the id of its key, where they are known."""
    client, caller = scope.get("client"), scope["state"].get("caller")
    who = {"address": client[0]} if client else {}
    if caller is not None and caller.key_id is not None:
        who["key_id"] = caller.key_id
    return who


def _check_size(scope: Any) -> None:  # noqa: ANN401 - one of Litestar's unions
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw_path) + len(scope["query_string"]) > MAX_URL_BYTES:
        raise Problem(URI_TOO_LONG, f"A URL has at most {MAX_URL_BYTES} bytes.")
    headers = scope["headers"]
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise Problem(
            HEADERS_TOO_LARGE,
            f"A request has at most {MAX_HEADERS} headers, of {MAX_HEADER_BYTES} bytes together.",
        )
    try:
        path = (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode()
    except UnicodeDecodeError:
        raise Problem(INVALID_PATH, "The path is not UTF-8.") from None
    if "\0" in path:
        raise Problem(INVALID_PATH, "The path contains U+0000.")


def _request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Take the request id of the caller if it is well-formed, else make one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            text = value.decode()
            return new_id() if has_secret(text) else text
    return new_id()


def _complete(headers: list[tuple[bytes, bytes]]) -> None:
    """Add the headers that every answer has, where the answer did not set its own."""
    names = {name for name, _ in headers}  # in lower case, as ASGI has them
    headers += _ALWAYS if names.isdisjoint(_ALWAYS_NAMES) else _missing(names)


def _missing(names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    return [header for header in _ALWAYS if header[0] not in names]
