"""The server's side of an HTTP connection, with a limit on every wait for the client.

uvicorn 0.54 waits without a limit for the head of a request, for a byte on a silent connection and
for a client that does not read its answer. A proxy would cut such clients off, but the service may
run without one.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import re
import sys
import termios
from contextlib import suppress
from typing import Any, ClassVar, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.core.errors import HEADERS_TOO_LARGE, MALFORMED_REQUEST, URI_TOO_LONG, Kind
from api.server.cycle import Cycle, Flow
from api.server.edge import MAX_HEADER_BYTES, MAX_URL_BYTES, bare_problem
from api.settings import Settings

_MAX_HEAD_BYTES: Final = 2 * (MAX_HEADER_BYTES + MAX_URL_BYTES)
"""How many bytes of an unfinished head or trailer are read; the edge limits whole heads."""
_MAX_PARSED: Final = 0xFFFF
"""httptools parses no URL of more bytes, and calls it malformed."""
_LEAST_READ: Final = 16_384
"""How many bytes of an answer the client must read within `stall_seconds`."""
_MAX_QUEUED: Final = 32
"""How many requests a client may send before it has the answer to the one under way."""
_LINGER_SECONDS: Final = 0.5
"""How long a connection may wait for its first request when the service stops."""
_YOUNG_SECONDS: Final = 3.0
"""Until a connection is this old, it may wait longer: its client is about to send."""

_WHOLE_URL: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?P<host>[^/?#]*)")

log = logging.getLogger("claim_records.access")


class _TooManyQueuedError(Exception):
    """The client sends more requests ahead of their answers than are kept."""


class _TunnelError(Exception):
    """The client takes the service for a proxy."""


class PatientProtocol(HttpToolsProtocol):
    """One connection, with a deadline for each thing that the client has to do.

    One timer checks the deadline and is set again when the deadline has moved. So a request only
    moves the deadline, which costs nothing.
    """

    head_seconds: ClassVar[float]
    silent_seconds: ClassVar[float]
    stall_seconds: ClassVar[float]

    flow: Flow

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """Start without a connection."""
        super().__init__(*arguments, **more)
        self._due = math.inf  # the deadline for the client to send
        self._watch: asyncio.TimerHandle | None = None
        self._watch_due = 0.0  # when it looks; uvloop rounds what the timer itself tells
        self._stall: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None  # the request that is being answered
        self._in_head = False
        self._in_body = False
        self._head_begins = False
        self._head_bytes = 0  # also those of chunk sizes and trailers
        self._moved = False  # whether the read had more than a part of a head or trailer
        self._stopping = False
        self._opened_at = 0.0  # on the loop's clock

    # --- the client sends --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._opened_at = self.loop.time()
        self._allow(self.silent_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching, and tell the request under way, also if others wait behind it."""
        for timer in (self._watch, self._stall):
            if timer is not None:
                timer.cancel()
        self._watch = self._stall = None
        self.pipeline.clear()
        if self._running is not None:
            self._give_up(self._running)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the head of a request must be complete in time, however slowly it arrives."""
        if self.flow.ended:
            return
        self._moved = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            # The parser calls a URL malformed that is too long for it.
            self._refuse(URI_TOO_LONG if len(self.url) > _MAX_PARSED else MALFORMED_REQUEST)
            return
        if not (self._in_head or self._in_body) or self.transport.is_closing():
            return
        if self._in_head and self._head_begins:
            self._head_begins = False
            self._allow(self.head_seconds)
        if self._moved:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            # What is too long may be the URL alone, and then shorter headers are no way out.
            self._refuse(URI_TOO_LONG if len(self.url) > MAX_URL_BYTES else HEADERS_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        while True:  # as often as requests want an upgrade, of which few may wait
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
            else:
                return

    def _without_upgrade(self) -> bytes:
        """Write the head again without `Upgrade`, for a new parser.

        The service speaks HTTP/1.1 only, and may ignore the header (RFC 9110, section 7.8). But
        httptools does not: it takes what follows the head for another protocol, also if it is the
        body of the request.
        """
        request = b"%b %b HTTP/%b" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        kept = [b": ".join(header) for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"\r\n".join([request, *kept, b"", b""])

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._head_begins, self._head_bytes = True, True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; ignore trailers, which nobody uses and nothing limits."""
        if not self._in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the request on; its handler limits the time from here on."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _TunnelError
            return  # the head comes again
        has_to_wait = self._answering
        if has_to_wait and len(self.pipeline) == _MAX_QUEUED:
            raise _TooManyQueuedError
        self._in_head, self._in_body, self._moved = False, True, True
        self._due = math.inf
        self.cycle = cycle = self._make_cycle()
        if has_to_wait:  # the client sends requests before it has the answers to the former ones
            self.pipeline.appendleft((cycle, self.app))
            self.flow.hold_reading()
        else:
            self._running = cycle
            self._start_asgi_task(cycle, self.app)

    def on_body(self, body: bytes) -> None:
        """Give a part of the body to the request."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Tell the request that its body has ended."""
        if self.parser.should_upgrade():
            return
        self._in_body, self._moved = False, True
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _make_cycle(self) -> Cycle:
        version = self.parser.get_http_version()
        return Cycle(
            self._make_scope(version),
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            access_log=False,  # the edge logs requests
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self._stopping,
            on_response=self.on_response_complete,
        )

    def _make_scope(self, version: str) -> Any:  # noqa: ANN401 - ASGI
        """Describe the request to the application."""
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        if not self.url.startswith(b"/"):
            self._name_target_host()
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": target.path,
            "query_string": target.query or b"",
        }

    def _name_target_host(self) -> None:
        """Put the host of a whole URL in the place of `Host` (RFC 9112, section 3.2.2)."""
        if match := _WHOLE_URL.match(self.url):
            self.headers[:] = [
                (name, match["host"] if name == b"host" else value) for name, value in self.headers
            ]

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read the last answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch_reading()
            return
        if self.pipeline:
            self._running, app = self.pipeline.pop()
            self._start_asgi_task(self._running, app)
        elif not self._in_head:
            self._allow(self.silent_seconds)
        if self.flow.read_paused and not self.pipeline:
            # While requests wait, each answer would let in as many more as fit into a read.
            self.flow.release_reading()

    @property
    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves None out
        return cycle is not None and not cycle.response_complete

    def _allow(self, seconds: float) -> None:
        """Set the deadline, and make sure that the timer checks it in time."""
        self._due = self.loop.time() + seconds
        if self._watch is None or self._watch_due > self._due:
            self._look_at(self._due)

    def _look_at(self, when: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_due = when
        self._watch = self.loop.call_at(when, self._look)

    def _look(self) -> None:
        """Close the connection if the client is late; else check again at the deadline."""
        self._watch = None
        now = self.loop.time()
        if self.transport.is_closing():
            self._watch_reading()  # nobody else does after an answer that broke off
            return
        if self._due > now:
            self._look_at(min(self._due, now + self.silent_seconds))
        elif self._answering or self.flow.write_paused:
            # The client waits for us, or reads.
            self._allow(self.head_seconds)
        else:
            self.transport.close()
            self._watch_reading()

    # --- the client reads --------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than we write."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Stop watching: the client has caught up."""
        super().resume_writing()
        if self._stall is not None and not self.transport.is_closing():
            self._stall.cancel()
            self._stall = None

    def _watch_reading(self) -> None:
        if self._stall is None:
            left = self._unread()
            self._stall = self.loop.call_later(self.stall_seconds, self._check_reading, left)

    def _check_reading(self, before: int) -> None:
        """Cut the connection if the client has read hardly anything since the last check."""
        self._stall = None
        if before - self._unread() < _LEAST_READ:
            self.transport.abort()
        else:
            self._watch_reading()

    def _unread(self) -> int:
        """Count the bytes of answers that the client has not received yet.

        The kernel buffers megabytes, and takes more only when a third of them is gone. Without the
        kernel's part, a client that reads slowly would look like one that does not read.
        """
        return self.transport.get_write_buffer_size() + self._kernel_bytes(termios.TIOCOUTQ)

    # --- the service stops -------------------------------------------------------------------

    def shutdown(self) -> None:
        """Close the connection when the request on it is answered, or at once if there is none.

        A connection on which no request has come yet was opened to send one: it may be on its way,
        also in the kernel's buffer. Such a connection is closed a little later.
        """
        self._stopping = True
        cycle: RequestResponseCycle | None = self.cycle  # as above
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
        elif cycle is None:
            young_until = self._opened_at + _YOUNG_SECONDS
            linger_until = self.loop.time() + _LINGER_SECONDS
            self.loop.call_at(max(young_until, linger_until), self._close_if_idle)
        else:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        """Close the connection, unless a request is on its way; then look again."""
        if self._answering or self.transport.is_closing():
            return
        if self._in_head or self._unhandled():
            self.loop.call_later(_LINGER_SECONDS, self._close_if_idle)
        else:
            self.transport.close()

    def _unhandled(self) -> int:
        """Count the bytes that the client has sent and that were not read yet."""
        return self._kernel_bytes(termios.FIONREAD)

    def _kernel_bytes(self, queue: int) -> int:
        """Ask the kernel how many bytes it holds in one of the connection's queues."""
        held = bytes(4)
        with suppress(OSError, ValueError):  # a closed socket has the number -1
            number = self.transport.get_extra_info("socket").fileno()
            held = fcntl.ioctl(number, queue, held)
        return int.from_bytes(held, sys.byteorder)

    # --- bytes that are no request -----------------------------------------------------------

    def _refuse(self, kind: Kind) -> None:
        """Close the connection, behind the answers to the whole requests that came before."""
        broken = self.cycle if self._in_body else None
        self._in_head = self._in_body = False
        if self._running is not None and broken not in (None, self._running):
            self.pipeline.popleft()  # the broken request waits for its turn, which does not come
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running
            broken = None
        if broken is None and self._answering:
            # An answer to these bytes would be taken for that to the request under way.
            self.cycle.keep_alive = False
            self.flow.end_reading()
            return
        if broken is None or not broken.response_started:
            status, document = bare_problem(kind)
            log.info("- - %d", status, extra={"address": self.client[0]} if self.client else None)
            self.transport.write(document)
        if broken is not None:
            self._give_up(broken)
        self.transport.close()
        self._watch_reading()

    @staticmethod
    def _give_up(cycle: RequestResponseCycle) -> None:
        """Tell a request that its client has left."""
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()


def protocol(settings: Settings) -> type[PatientProtocol]:
    """Make the protocol class with the time limits of the settings."""
    limits = {
        "head_seconds": settings.head_seconds,
        "silent_seconds": settings.silent_seconds,
        "stall_seconds": settings.stall_seconds,
    }
    return type("PatientProtocol", (PatientProtocol,), limits)
