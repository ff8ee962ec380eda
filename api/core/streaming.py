"""Streaming: an answer that is sent while it is made, one piece after another.

Its length is not known when it begins. If it is cut off, the body has no end, so a client notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from api.core import codings
from api.core.background import end
from api.core.errors import UNAVAILABLE, Problem
from api.core.large_input import in_thread
from api.core.request import PIECE_BYTES, Request, Stream, wait_for_disconnect
from api.core.services import service

GRACE_SECONDS: Final = 5.0
"""How much longer a stream waits for room than a reader may stall before it is cut off."""
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 1.0

Result = TypeVar("Result")

log = logging.getLogger("claim_records")


class Stopping(asyncio.Event):
    """Set when the service stops: streams end then, because they might take long to end."""


def take_piece(lines: deque[bytes]) -> bytes:
    """Take the next lines, up to the size of a piece, out of those that wait."""
    taken, size = [lines.popleft()], 0
    while lines and (size := size + len(taken[-1])) + len(lines[0]) <= PIECE_BYTES:
        taken.append(lines.popleft())
    return b"".join(taken)


async def patiently(read: Callable[[], Awaitable[Result]]) -> Result:
    """Read, and try again if the database is busy: what was sent before would be lost."""
    for _ in range(_TRIES - 1):
        try:
            return await read()
        except Problem as problem:
            if problem.kind is not UNAVAILABLE:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
    return await read()


class StreamedAnswer(Stream):
    """An answer that is sent while it is made; if it is cut off, its end is missing."""

    __slots__ = ("_chunks", "_coding", "_first", "_stopping")

    def __init__(
        self,
        request: Request,
        media_type: str,
        first: bytes,
        others: AsyncGenerator[bytes, None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the first chunk, which was read already, and the source of the others."""
        self._coding = codings.preferred(request.headers.getall("accept-encoding", []))
        super().__init__(media_type, {**codings.headers(self._coding), **(headers or {})})
        self._first, self._chunks = first, others
        self._stopping = service(request, Stopping)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send the answer, until the client leaves or the service stops."""
        work: list[Coroutine[Any, Any, object]] = [
            self._send(send, bodiless=scope["state"].get("head", False)),
            wait_for_disconnect(receive),
            self._stopping.wait(),
        ]
        sending, *_ = tasks = [asyncio.create_task(each) for each in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(tasks)
            await self._chunks.aclose()
        if sending.done() and not sending.cancelled() and (error := sending.exception()):
            # Returning without an end makes the server cut the connection: so the client knows.
            log.error("a streamed answer was cut off", exc_info=error, extra=_request_id(scope))

    async def _send(self, send: Send, *, bodiless: bool) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if not bodiless:
            encoder = codings.ENCODERS[self._coding]()
            first, self._first = self._first, b""
            await _send_on(send, await self._encoded(encoder, first))
            async for chunk in self._chunks:
                await _send_on(send, await self._encoded(encoder, chunk))
            await _send_on(send, encoder.flush())
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _encoded(self, encoder: codings.Encoder, chunk: bytes) -> bytes:
        """Compress a chunk in a thread; one that stays as it is needs none."""
        if self._coding == codings.IDENTITY:
            return chunk
        return await in_thread(encoder.compress, chunk)


async def _send_on(send: Send, body: bytes) -> None:
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def _request_id(scope: AsgiScope) -> dict[str, Any]:
    return {"request_id": scope["state"]["request_id"]}
