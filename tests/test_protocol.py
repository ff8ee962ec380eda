"""The bytes of an answer: those that uvicorn's own protocol writes, in fewer writes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.access.guards import Guards
from api.access.limits import Limits
from api.server.draining import Draining
from api.server.edge import Edge, Routes
from api.server.protocol import protocol
from tests.conftest import PATIENCE, patient

App = Callable[[Any, Any, Any], Awaitable[None]]

HOST: Final = b"Host: localhost\r\n"
GET: Final = b"GET /a?b=c HTTP/1.1\r\n" + HOST + b"\r\n"
POST: Final = b"POST /a HTTP/1.1\r\n" + HOST
LENGTH: Final = (b"content-length", b"5")


class _Socket:
    """A socket of which the kernel knows nothing."""

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.2", 2

    def fileno(self) -> int:
        raise OSError


class Wire(asyncio.Transport):
    """A connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"socket": _Socket()})
        self.writes: list[bytes] = []
        self.closed = False
        self.reads = True

    def write(self, data: Any) -> None:
        assert not self.closed
        if data:
            self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_write_buffer_size(self) -> int:
        return 0


class Connection:
    """A connection with an application at its end."""

    def __init__(self, kind: type[HttpToolsProtocol], app: App, wire: Wire | None = None) -> None:
        config = uvicorn.Config(app, ws="none", access_log=False, log_config=None, lifespan="off")
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Sat, 28 Nov 2026 12:00:00 GMT")]
        self.wire = wire or Wire()
        self.protocol = kind(config, self.state, {})
        self.protocol.connection_made(self.wire)

    async def ask(self, *sent: bytes) -> None:
        """Send bytes, and wait until all requests that have come are answered."""
        for part in sent:
            self.protocol.data_received(part)
            await self.settle()

    async def settle(self) -> None:
        """Wait until no request is under way."""
        async with asyncio.timeout(PATIENCE):
            while self.state.tasks:
                await asyncio.gather(*self.state.tasks, return_exceptions=True)
                await asyncio.sleep(0)

    def lose(self) -> None:
        """End it as when the client has left."""
        self.wire.closed = True
        self.protocol.connection_lost(None)


OURS: Final = protocol(patient())


@dataclass(frozen=True)
class Messages:
    """An application that reads the whole request, then sends these messages."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    bodies: tuple[bytes, ...] = (b"",)
    reads: bool = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002
        more = self.reads
        while more:
            more = (await receive()).get("more_body", False)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        *first, last = self.bodies
        for body in first:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": last})


async def _fail(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
    raise ValueError("a bug")


async def _end(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


APPS: Final[dict[str, App]] = {
    "usual": Messages(200, (LENGTH, (b"x-a", b"a\tb")), (b"hello",)),
    "unread": Messages(200, (LENGTH,), (b"hello",), reads=False),
    "in pieces": Messages(200, (LENGTH,), (b"he", b"", b"llo")),
    "large": Messages(200, ((b"content-length", b"100000"),), (b"x" * 100_000,)),
    "stream": Messages(200, (), (b"he", b"", b"llo", b"")),
    "stream that ends with its last piece": Messages(200, (), (b"he", b"llo")),
    "empty": Messages(200, ((b"content-length", b"0"),)),
    "no content": Messages(204),
    "not modified": Messages(304, ((b"etag", b'"1"'),)),
    "closes": Messages(413, (LENGTH, (b"connection", b"close")), (b"hello",)),
    "twice the same header": Messages(200, (LENGTH, (b"vary", b"A"), (b"vary", b"B")), (b"hello",)),
    "odd status": Messages(499, ((b"content-length", b"0"),)),
    "fails": _fail,
    "answers nothing": _end,
}
REQUESTS: Final = {
    "get": GET,
    "head": GET.replace(b"GET", b"HEAD"),
    "1.0": GET.replace(b"1.1", b"1.0"),
    "close": b"GET /a HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
    "body": POST + b"Content-Length: 3\r\n\r\nabc",
    "expects": POST + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: a\r\n\r\n",
    "whole url": GET.replace(b"/a", b"http://other.example/a"),
    "escaped": GET.replace(b"/a", b"/%C3%A9%2F/%zz"),
    "upgrade": b"GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + HOST + b"\r\n",
    "pipelined": GET + GET.replace(b"GET", b"HEAD") + POST + b"Content-Length: 3\r\n\r\nabc" + GET,
}


async def _outcome(kind: type[HttpToolsProtocol], app: App, sent: bytes) -> tuple[Any, ...]:
    connection = Connection(kind, app)
    await connection.ask(sent)
    wire = connection.wire
    written, closed, reads = b"".join(wire.writes), wire.closed, wire.reads or wire.closed
    connection.lose()
    return written, closed, reads, connection.state.total_requests


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_bytes_are_those_of_uvicorn(name: str) -> None:
    for about, app in APPS.items():
        ours = await _outcome(OURS, app, REQUESTS[name])
        assert ours[0].startswith(b"HTTP/1.1 "), about
        assert ours == await _outcome(HttpToolsProtocol, app, REQUESTS[name]), about


class Listener:
    """An application that keeps what it is told of each request."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heard.append((scope, await receive()))
        await APPS["unread"](scope, receive, send)


@pytest.mark.parametrize("name", REQUESTS)
async def test_an_application_is_told_the_same_as_by_uvicorn(name: str) -> None:
    ours, theirs = Listener(), Listener()
    await _outcome(OURS, ours, REQUESTS[name])
    await _outcome(HttpToolsProtocol, theirs, REQUESTS[name])
    for scope, _ in theirs.heard:  # what is done on purpose in another way
        headers = dict(scope["headers"])
        headers.pop(b"x-trailer", None)
        headers.pop(b"upgrade", None)
        if name == "whole url":
            headers[b"host"] = b"other.example"
        scope["headers"][:] = headers.items()
    assert ours.heard == theirs.heard != []


@pytest.mark.parametrize("name", ["usual", "large", "empty", "no content", "not modified"])
async def test_an_answer_is_one_write(name: str) -> None:
    connection = Connection(OURS, APPS[name])
    for count in range(1, 4):
        await connection.ask(GET)
        assert len(connection.wire.writes) == count
    connection.lose()


class Paused:
    """An application whose answer pauses before each part of its body."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.headers = headers
        self.go_on = asyncio.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        for more in (True, False):
            await self.go_on.acquire()
            await send({"type": "http.response.body", "body": b"hello", "more_body": more})


async def _turns() -> None:
    """Let everything happen that waits for nobody."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_head_of_a_stream_does_not_wait_for_its_body() -> None:
    app = Paused((b"content-type", b"text/event-stream"))
    connection = Connection(OURS, app)
    connection.protocol.data_received(GET)
    await _turns()
    assert connection.wire.writes[-1].endswith(b"transfer-encoding: chunked\r\n\r\n")
    for end in (b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n\r\n"):
        app.go_on.release()
        await _turns()
        assert connection.wire.writes[-1] == end
    connection.lose()


async def test_an_answer_waits_for_a_client_that_does_not_read() -> None:
    app = Paused((b"content-length", b"10"))
    connection = Connection(OURS, app)
    connection.protocol.data_received(GET)
    app.go_on.release()
    await _turns()
    connection.protocol.pause_writing()
    app.go_on.release()
    await _turns()
    assert connection.wire.writes[-1].endswith(b"\r\n\r\nhello")
    assert connection.state.tasks
    connection.protocol.resume_writing()
    await connection.settle()
    assert connection.wire.writes[-1] == b"hello"
    connection.lose()


async def test_a_request_hears_that_its_client_has_left() -> None:
    heard: list[Any] = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
        heard.extend([await receive(), await receive()])
        await send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
        await send({"type": "http.response.body", "body": b"hello"})

    connection = Connection(OURS, listen)
    connection.protocol.data_received(GET)
    await _turns()
    connection.lose()
    await connection.settle()
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]
    assert connection.wire.writes == []


class Gated:
    """An application that reads a message, and answers when it may go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Semaphore(0)
        self.heard: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heard.append(await receive())
        await self.go_on.acquire()
        await APPS["unread"](scope, receive, send)


async def test_nothing_is_read_while_requests_wait_for_their_turn() -> None:
    """Else each answer would let in as many requests as fit into a read."""
    app = Gated()
    connection = Connection(OURS, app)
    connection.protocol.data_received(GET * 3)
    await _turns()
    for reads in (False, False, True, True):
        assert connection.wire.reads is reads
        app.go_on.release()
        await _turns()
    assert b"".join(connection.wire.writes).count(b"hello") == 3
    connection.lose()


@pytest.mark.parametrize("surplus", [0, 1, 10_000])
async def test_requests_beyond_the_limit_are_not_kept(surplus: int) -> None:
    """Those before are answered, and the last answer tells that the connection ends."""
    app = Gated()
    connection = Connection(OURS, app)
    connection.protocol.data_received(GET * (1 + 32 + surplus))
    assert len(connection.protocol.pipeline) == 32
    connection.protocol.data_received(GET * surplus)
    assert len(connection.protocol.pipeline) == 32
    for _ in range(33):
        app.go_on.release()
    await connection.settle()
    answers = b"".join(connection.wire.writes).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 33
    closing = [b"connection: close" in answer for answer in answers]
    assert closing == [False] * 32 + [surplus > 0]
    assert connection.wire.closed is (surplus > 0)
    connection.lose()


CHUNKS: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("garbage", [b"\0\r\n\r\n", CHUNKS + b"no size\r\n"])
@pytest.mark.parametrize("whole", [1, 3])
async def test_garbage_is_not_answered_before_the_requests_that_came_first(
    garbage: bytes, whole: int
) -> None:
    app = Gated()
    connection = Connection(OURS, app)
    connection.protocol.data_received(GET * whole + garbage)
    connection.protocol.data_received(GET)
    await _turns()
    assert connection.wire.writes == []
    for _ in range(whole + 2):
        app.go_on.release()
    await connection.settle()
    answers = b"".join(connection.wire.writes).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * whole
    assert b"connection: close" in answers[-1]
    assert connection.wire.closed
    assert not connection.wire.reads
    connection.lose()


async def test_a_request_whose_body_is_garbage_ends() -> None:
    app = Gated()
    connection = Connection(OURS, app)
    connection.protocol.data_received(CHUNKS)
    await _turns()
    connection.protocol.data_received(b"no size\r\n")
    app.go_on.release()
    await connection.settle()
    assert [message["type"] for message in app.heard] == ["http.disconnect"]
    [answer] = connection.wire.writes
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert connection.wire.closed
    connection.lose()


async def test_the_rest_of_a_request_that_is_answered_gets_no_second_answer() -> None:
    connection = Connection(OURS, APPS["unread"])
    await connection.ask(CHUNKS, b"no size\r\n")
    [answer] = connection.wire.writes
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert connection.wire.closed
    connection.lose()


async def test_the_request_under_way_hears_that_its_client_has_left_though_others_wait() -> None:
    heard: list[Any] = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
        heard.extend([await receive(), await receive()])

    connection = Connection(OURS, listen)
    connection.protocol.data_received(GET * 3)
    await _turns()
    connection.lose()
    await connection.settle()
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]


UPGRADE: Final = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
BODY_WITH_UPGRADE: Final = {
    "a length": POST + UPGRADE + b"Content-Length: 40\r\n\r\n" + GET,
    "chunks": CHUNKS.replace(HOST, HOST + UPGRADE) + b"28\r\n" + GET + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", BODY_WITH_UPGRADE)
@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_a_body_behind_an_upgrade_is_the_body(name: str, size: int) -> None:
    """It was taken for the next request; `curl --http2` sends such an upgrade with each `POST`."""
    assert len(GET) == 40
    bodies: list[bytes] = []

    async def keep(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        bodies.append(body)
        await APPS["unread"](scope, receive, send)

    connection = Connection(OURS, keep)
    sent = BODY_WITH_UPGRADE[name] * 2 + GET
    for place in range(0, len(sent), size):
        connection.protocol.data_received(sent[place : place + size])
    await connection.settle()
    assert bodies == [GET, GET, b""]
    assert b"".join(connection.wire.writes).count(b"HTTP/1.1 200 ") == 3
    connection.lose()


async def test_requests_that_want_an_upgrade_wait_as_others_do() -> None:
    app = Gated()
    connection = Connection(OURS, app)
    connection.protocol.data_received(GET.replace(HOST, HOST + UPGRADE) * 1_000)
    assert len(connection.protocol.pipeline) == 32
    connection.lose()
    app.go_on.release()
    await connection.settle()


async def test_a_tunnel_is_refused() -> None:
    connection = Connection(OURS, APPS["usual"])
    await connection.ask(b"CONNECT a.example:80 HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
    [answer] = connection.wire.writes
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert connection.wire.closed
    connection.lose()


@pytest.mark.parametrize("end", [b"0\r\nx-trailer: ", b"1;"])
async def test_a_trailer_without_end_is_cut_off(end: bytes) -> None:
    connection = Connection(OURS, APPS["usual"])
    connection.protocol.data_received(CHUNKS + b"3\r\nabc\r\n" + end)
    for _ in range(4):
        assert not connection.wire.closed
        connection.protocol.data_received(b"a" * 16_384)
    assert connection.wire.closed
    await connection.settle()
    [answer] = connection.wire.writes
    assert answer.startswith(b"HTTP/1.1 431 ")
    connection.lose()


async def test_a_body_does_not_count_as_the_next_head() -> None:
    connection = Connection(OURS, APPS["usual"])
    body = POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    await connection.ask(body + GET[:20], GET[20:])
    assert b"".join(connection.wire.writes).count(b"HTTP/1.1 200 ") == 2
    assert not connection.wire.closed
    connection.lose()


WRONG: Final = {
    "line end in a header": Messages(200, (LENGTH, (b"link", b"<a>\r\nx-b: c")), (b"hello",)),
    "NUL in a header": Messages(200, (LENGTH, (b"link", b"a\0b")), (b"hello",)),
    "too long": Messages(200, (LENGTH,), (b"hello!",)),
    "too short": Messages(200, (LENGTH,), (b"hell",)),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_answer_that_is_wrong_cuts_the_connection(name: str) -> None:
    """Else the client would take the rest for the answer to its next request."""
    connection = Connection(OURS, WRONG[name])
    await connection.ask(GET + GET)
    assert connection.wire.closed
    assert b"".join(connection.wire.writes).count(b"HTTP/1.1") <= 1
    assert b"x-b" not in b"".join(connection.wire.writes)
    connection.lose()


@pytest.mark.parametrize("name", WRONG)
async def test_an_answer_of_which_nothing_is_written_becomes_a_500(name: str) -> None:
    connection = Connection(OURS, WRONG[name])
    await connection.ask(GET)
    assert b"".join(connection.wire.writes).startswith(b"HTTP/1.1 500 ")
    assert connection.wire.closed
    connection.lose()


class Counts:
    """Keeps the statuses that are counted."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def count(self, method: str, scope: Any, status: int, seconds: float, /) -> None:  # noqa: ARG002
        self.statuses.append(status)


BROKEN: Final[dict[str, App]] = {
    **WRONG,
    "nothing": _fail,
    "a stream": Messages(200, (), (b"he", b"llo", "no bytes")),  # type: ignore[arg-type]
    "good": APPS["usual"],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_logged_and_counted_is_the_status_that_was_sent(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    settings, counts = patient(), Counts()
    routes = Routes([("/a", {"GET"})])
    edge = Edge(BROKEN[name], routes, Guards(settings), Limits(settings), counts, Draining())
    connection = Connection(OURS, edge)
    with caplog.at_level(logging.INFO, "claim_records.access"):
        await connection.ask(GET)
    connection.lose()
    sent = int(b"".join(connection.wire.writes).split(b" ", 2)[1])
    assert counts.statuses == [sent]
    logged = [each.message for each in caplog.records if each.name == "claim_records.access"]
    assert logged == [f"GET /a {sent}"]


class Unread(Wire):
    """A connection whose client reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return 1

    def abort(self) -> None:
        self.aborted.set()


async def test_a_client_that_does_not_read_an_answer_that_broke_off_is_cut_off() -> None:
    """By uvicorn, such a connection is closed only when the client has read all."""

    async def break_off(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        raise ValueError("a bug")

    hasty = protocol(patient(silent_seconds=0.01, stall_seconds=0.01))
    connection = Connection(hasty, break_off, wire := Unread())
    await connection.ask(GET)
    assert wire.closed
    async with asyncio.timeout(PATIENCE):
        await wire.aborted.wait()
    connection.lose()


async def test_a_closed_socket_has_no_bytes_in_the_kernel() -> None:
    connection = Connection(OURS, APPS["usual"])
    with socket.socket() as closed:
        closed.close()
        connection.wire._extra["socket"] = closed  # type: ignore[attr-defined]  # noqa: SLF001
        assert connection.protocol._unread() == 0  # type: ignore[attr-defined]  # noqa: SLF001
    connection.lose()


class _Loop:
    """A loop that counts the timers that are set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.timers = 0

    def __getattr__(self, name: str) -> Any:
        self.timers += name in {"call_later", "call_at"}
        return getattr(self._loop, name)


async def test_only_the_first_request_of_a_connection_sets_a_timer() -> None:
    connection = Connection(OURS, APPS["usual"])
    await connection.ask(GET)
    loop: Any = _Loop()
    connection.protocol.loop = loop
    for _ in range(3):
        await connection.ask(GET)
    assert len(connection.wire.writes) == 4
    assert loop.timers == 0
    connection.lose()
