"""Requests and answers: read bodies and headers, and send bytes that are ready."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import litestar
import msgspec
from litestar.connection import ASGIConnection
from litestar.types import Receive, Scope, Send

from api.core.admission import Admission
from api.core.caller import EVERYTHING, Actor, Caller
from api.core.db import Connection, Database
from api.core.errors import (
    BODY_TOO_LARGE,
    NOT_FOUND,
    REQUEST_TIMEOUT,
    UNAVAILABLE,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
)
from api.core.flight import Room, room_of
from api.core.joined import JoinedReads
from api.core.kept_pages import KeptPages
from api.core.services import service
from api.settings import Settings
from schemas.scalars import UUID_PATTERN

if TYPE_CHECKING:
    Request = litestar.Request[Any, Any, Any]
else:
    Request = litestar.Request

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
NDJSON: Final = "application/x-ndjson"


class Context(NamedTuple):
    """What the application gives to its handlers."""

    database: Database
    settings: Settings
    reads: JoinedReads
    pages: KeptPages


def context(request: Request) -> Context:
    """Give the application's context."""
    return service(request, Context)


def caller(request: Request) -> Caller:
    """Give the caller of a request."""
    admitted: Caller = request.scope["state"]["caller"]
    return admitted


class Author(NamedTuple):
    """The writer of a change: what exists for them, and what is kept about them."""

    caller: Caller
    actor: Actor | None


SERVICE: Final = Author(EVERYTHING, None)
"""The service itself."""


def author(request: Request) -> Author:
    """Give the writer of a request's changes."""
    return Author(caller(request), request.scope["state"].get("actor"))


_UUID: Final = re.compile(UUID_PATTERN)


def record_id(request: Request) -> str:
    """Read the id in the path; 404 unless it is a canonical UUID."""
    identity: str = request.path_params["id"]
    if not _UUID.match(identity):
        raise Problem(NOT_FOUND, "An id is a canonical lower-case UUID.")
    return identity


def new_id() -> str:
    """Make a UUIDv7 (RFC 9562): milliseconds, then random bits."""
    at = f"{time.time_ns() // 1_000_000:012x}"
    bits = _random_digits()
    return f"{at[:8]}-{at[8:]}-7{bits[:3]}-{_VARIANTS[bits[3]]}{bits[4:7]}-{bits[7:]}"


_DIGITS: Final = 19
"""How many hexadecimal digits of an id are random, the one included that has two bits only."""
_VARIANTS: Final = {f"{digit:x}": "89ab"[digit % 4] for digit in range(16)}
_unused: list[str] = []


def _random_digits() -> str:
    """Give random digits that nothing else has had; the kernel is asked for many at once."""
    try:
        return _unused.pop()
    except IndexError:
        bits = os.urandom(_DIGITS * _AT_ONCE // 2).hex()
        _unused.extend(bits[start : start + _DIGITS] for start in range(0, len(bits), _DIGITS))
        return _unused.pop()


_AT_ONCE: Final = 128
os.register_at_fork(after_in_child=_unused.clear)  # else both processes would make the same ids


ADMITTED_SECONDS: Final = 0.5
"""How long an admitted caller is trusted before the key is checked again.

Together with the time for which the row of a key is trusted (`api.access.authentication`), that
makes a second: within this time every process refuses a revoked key.
"""


async def still_admitted(request: Request, over: Connection | None = None) -> None:
    """Refuse a caller whose key was revoked since the request began.

    If the database can't be asked, the request goes on. `over` is a connection that the request
    holds already: an error on it also ends the work that the connection is used for.
    """
    try:
        await service(request, Admission).admit_again(request, over)
    except Problem as problem:
        if problem.kind is not UNAVAILABLE:
            raise


def header_values(connection: ASGIConnection[Any, Any, Any, Any], name: bytes) -> list[str]:
    """Give the values of a header, which may be sent several times; the name is in lower case.

    Litestar's `headers` would read all headers of the request into a dictionary.
    """
    return [value.decode("latin-1") for key, value in connection.scope["headers"] if key == name]


# --- bodies ----------------------------------------------------------------------------------


def require_media_type(request: Request, expected: Collection[str]) -> str:
    """Give the media type of a body; refuse one that the operation does not read.

    A web page can send text/plain to any host without permission, but not JSON.
    """
    # Two of a header mean both: readers differ in which one they believe.
    sent = ", ".join(header_values(request, b"content-type"))
    media_type, _, parameters = sent.partition(";")
    media_type = media_type.strip().lower()
    fault = _fault_of_parameters(media_type, parameters) if media_type in expected else ""
    if fault is not None:
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            fault
            or f"Send `Content-Type: {'` or `'.join(expected)}`"
            + (f", not `{sent[:100]}`." if sent else "."),
            headers={"Accept-Patch" if MERGE_PATCH in expected else "Accept": ", ".join(expected)},
        )
    transfer = header_values(request, b"transfer-encoding") or ["chunked"]
    if ", ".join(transfer).lower() != "chunked":
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            "A body with a `Transfer-Encoding` other than `chunked` is not accepted.",
        )
    codings = header_values(request, b"content-encoding") or ["identity"]
    if ", ".join(codings).lower() != "identity":
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            "A body with `Content-Encoding` is not accepted; send it uncompressed.",
            headers={"Accept-Encoding": "identity"},
        )
    return media_type


_HEADED: Final = frozenset({"text/csv"})
"""The media types with a parameter that says whether there is a heading (RFC 7111, section 5.1)."""
_PROFILED: Final = frozenset({"application/ld+json"})
"""The media types with a parameter for the form of a document (JSON-LD 1.1, appendix C)."""
_QUOTED: Final = re.compile(r'"([^"]*)"\Z')


def _fault_of_parameters(media_type: str, parameters: str) -> str | None:
    """Say what is wrong with the parameters of a media type; "" if they are not known at all."""
    given: dict[str, str] = {}
    for parameter in filter(None, (each.strip() for each in parameters.lower().split(";"))):
        name, _, value = parameter.partition("=")
        if name in given:
            return ""
        given[name] = _QUOTED.sub(r"\1", value)
    charset = given.pop("charset", "utf-8")
    heading = given.pop("header", "present") if media_type in _HEADED else "present"
    if media_type in _PROFILED:
        given.pop("profile", None)  # says how the document is written, which is seen anyway
    if given or not charset or not heading:
        return ""
    if charset != "utf-8":
        return (
            f"The body has to be in UTF-8, not in `{charset[:100]}`. Save it in UTF-8, and send "
            f"`Content-Type: {media_type}; charset=utf-8`."
        )
    if heading != "present":
        return "The first row has to name the columns. Add it, and send `header=present`."
    return None


class ClientLeftError(Exception):
    """The client left before the end of its body, so that nobody reads the answer."""


CLIENT_LEFT: Final = 499
"""The status under which such a request is counted and logged; nginx has it for the same."""


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield a body as it arrives; refuse one that pauses for too long or is cut off.

    While a long body arrives, its key may be revoked, so the key is checked again at the end.
    """
    began = time.monotonic()
    idle = context(request).settings.body_idle_seconds
    more = True
    while more:
        try:
            async with asyncio.timeout(idle):
                message: Any = await request.receive()
        except TimeoutError:
            raise Problem(
                REQUEST_TIMEOUT, f"No byte of the body came for {idle:g} s.", headers=_CLOSE
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        more = message.get("more_body", False)
        if chunk := message.get("body"):
            yield chunk
    if time.monotonic() - began >= ADMITTED_SECONDS:
        await still_admitted(request)


async def read_body(request: Request, limit: int) -> bytes:
    """Read a whole body of at most `limit` bytes."""
    declared = header_values(request, b"content-length")
    if declared and declared[0].isdigit() and int(declared[0]) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in body_chunks(request):
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


_CLOSE = {"Connection": "close"}


def too_large(limit: int) -> Problem:
    """Refuse a body that is too long."""
    return Problem(BODY_TOO_LARGE, f"The body may have at most {limit} bytes.", headers=_CLOSE)


# --- answers ---------------------------------------------------------------------------------


PIECE_BYTES: Final = 262_144
"""How many bytes of an answer are handed to the connection before the client has read them."""


async def reserve_room(request: Request, size: int) -> Room:
    """Wait until the caller may have so many bytes more in flight; give the room of the request."""
    room = room_of(request.scope)
    await room.reserve(size, context(request).settings.acquire_seconds)
    return room


class Answer:
    """An answer whose bytes are ready: an ASGI application that sends them."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str = JSON,
    ) -> None:
        """Prepare the headers; the body is sent as it is."""
        self.body = body
        self.status = status
        self.headers = [] if headers and "cache-control" in headers else [_NO_CACHE]
        if status not in _BODILESS:
            self.headers.append((b"content-type", media_type.encode()))
            self.headers.append((b"content-length", str(len(body)).encode()))
        for name, value in (headers or {}).items():
            self.headers.append((name.lower().encode(), value.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer, a large one in pieces: each waits until the client reads."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        last = max(0, len(self.body) - 1) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, last, PIECE_BYTES):
            piece = self.body[start : start + PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        body = self.body[last:] if last else self.body
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def to_asgi_response(self, **_: object) -> Answer:
        """Give itself: Litestar calls this on the answer of an exception handler."""
        return self


if TYPE_CHECKING:
    NoContent = Answer
else:
    # Litestar 2.25 takes 204 only from a handler that says it returns this (`base.py`, in
    # `_validate_handler_function`); it then calls the answer's own `to_asgi_response`.
    NoContent = litestar.Response[None]


class Stream(Answer):
    """An answer whose length is not known when it begins, and which must not be stored."""

    __slots__ = ()

    def __init__(self, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Prepare the headers; a subclass or a caller sends the body."""
        super().__init__(media_type=media_type, headers={**NO_STORE, **(headers or {})})
        self.headers = [header for header in self.headers if header[0] != b"content-length"]


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


_BODILESS = {204, 304}
_NO_CACHE = (b"cache-control", b"no-cache")
NO_STORE: Final = {"cache-control": "no-store"}
"""The header of an answer that must not be stored anywhere."""


def encoded(value: object) -> bytes:
    """Write a value as JSON."""
    return msgspec.json.encode(value)
