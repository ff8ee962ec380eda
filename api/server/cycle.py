"""The answer to one request, written as HTTP/1.1.

uvicorn 0.54 looks at each header of an answer by two regular expressions, and writes the head and
the body apart. With the timers of its protocol, that took a fifth of the time of a small answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_STATUS: Final = {status: line.removesuffix(b"\r\n") for status, line in STATUS_LINE.items()}
_BODILESS: Final = {204, 304}
_CLOSE: Final = (b"connection", b"close")
_CHUNKED: Final = (b"transfer-encoding", b"chunked")
_CONTROLS: Final = bytes({*range(32), 127} - {ord("\t")})
"""The characters that no header may have (RFC 9110, section 5.5)."""
_LINE_END: Final = b"\r\n"
_COPIED_BYTES: Final = 16_384
"""A body of this size is copied behind its head; of a larger one, the kernel takes two pieces."""


class Flow(FlowControl):
    """Decides when the connection reads; a request that wants to read on can't overrule it."""

    ended = False
    _held = False

    def hold_reading(self) -> None:
        """Read nothing until `release_reading`."""
        self._held = True
        self.pause_reading()

    def release_reading(self) -> None:
        """Read on."""
        self._held = False
        self.resume_reading()

    def end_reading(self) -> None:
        """Read nothing any more."""
        self.ended = True
        self.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless the connection has requests enough."""
        if self.read_paused and not self._held and not self.ended:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """A request and its answer, of which the head waits for the body if that is to follow at once.

    It does so where the length of the body is known. A head without a length, such as that of a
    stream, is written when it comes.
    """

    _head = b""  # until it is written
    _bodiless = False
    _begun = False

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI
        """Take a message of the application, when the client has read enough of the former ones."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if self.response_complete:
            raise RuntimeError(f"The answer is complete; it takes no `{kind}`.")
        if kind != ("http.response.body" if self._begun else "http.response.start"):
            raise RuntimeError(f"The answer takes no `{kind}` at this point.")
        if self._begun:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._begin(message["status"], message.get("headers", ()))

    async def send_500_response(self) -> None:
        """Answer that the application failed, instead of a head that was not written yet."""
        self._head, self._begun, self._bodiless = b"", False, False
        self.chunked_encoding, self.expected_content_length = None, 0
        await super().send_500_response()

    def _begin(self, status: int, given: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the head, and find out how the end of the body is told."""
        self.waiting_for_100_continue = False
        headers = [*self.default_headers, *given]
        named = dict(headers)
        if named.get(b"connection") == b"close":
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append(_CLOSE)
        self._bodiless = self.scope["method"] == "HEAD" or status in _BODILESS
        length = named.get(b"content-length")
        if length is None and not self._bodiless:
            self.chunked_encoding = True
            headers.append(_CHUNKED)
        elif length is not None and not self._bodiless:
            self.expected_content_length = int(length)
        head = _written(_STATUS[status], headers)
        self._begun = True
        if length is None:
            self.response_started = True
            self.transport.write(head)
        else:
            self._head = head

    def _go_on(self, body: bytes, *, more: bool) -> None:
        """Write a part of the body; behind the last one, be ready for the next request."""
        if self._bodiless:
            body = b""
        elif self.chunked_encoding:
            body = _chunk(body, more=more)
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The body is longer than its `Content-Length`.")
        if self.expected_content_length and not more:
            raise RuntimeError("The body is shorter than its `Content-Length`.")
        self._write(body)
        if more:
            return
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _write(self, body: bytes) -> None:
        """Write a part of the answer, with the head if that is not written yet."""
        if not self._head:
            if body:
                self.transport.write(body)
            return
        head, self._head = self._head, b""
        self.response_started = True
        if len(body) <= _COPIED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))


def _written(status: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write a head. No header can end its line and begin another one."""
    lines = [status, *map(b": ".join, headers), b"", b""]
    head = _LINE_END.join(lines)
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls != len(_LINE_END) * (len(lines) - 1):
        raise RuntimeError("A header of the answer has a control character.")
    return head


def _chunk(body: bytes, *, more: bool) -> bytes:
    """Write a part of a body whose length nobody knows yet (RFC 9112, section 7.1)."""
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return chunk if more else chunk + b"0\r\n\r\n"
