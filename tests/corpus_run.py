"""What sends the corpus to a service and judges the answers.

`python -m tests.corpus_run` starts a service of its own, sends everything and prints the table.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import asyncpg

from api.access import keyring
from api.core import json_text
from api.embedded import running_url
from schemas.vocabularies import Scope
from tests.corpus import (
    BAD,
    CLASSES,
    FULL,
    IDS,
    JSON,
    KEYS,
    MINIMAL,
    PLURALS,
    Case,
    World,
    head,
    sufficient,
)
from tests.factories import count_rows

MAX_ANSWER: Final = 120  # seconds; nothing waits for them to pass
PIECE_BYTES: Final = 65_536
"""A server hands over a body in pieces of about this size."""


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.body)


Send = Callable[[Case], Awaitable[Reply]]


# --- keys ---------------------------------------------------------------------------------------


def _key(number: int) -> str:
    return keyring.written(f"corpus{number:06d}", f"{number:02d}" * 15)


_NAMED: Final = {
    name: _key(number)
    for number, name in enumerate([*KEYS, "unknown", *sorted(set(sufficient()) - set(KEYS))])
}


def authorization(name: str | None) -> list[tuple[bytes, bytes]]:
    """Write the header that brings a key, by its name in the corpus."""
    full = _NAMED[FULL]
    match name:
        case None:
            return []
        case "malformed":
            values = ["Bearer clk_x"]
        case "truncated":
            values = [f"Bearer {full[:-1]}"]
        case "forged":
            values = ["Bearer " + keyring.written(full.split("_")[1], "z" * 30)]
        case "basic":
            values = ["Basic eDp5"]
        case "twice":
            values = [f"Bearer {full}"] * 2
        case _:
            values = [f"Bearer {_NAMED[name]}"]
    return [(b"authorization", value.encode()) for value in values]


async def allow_all(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Put every key of the corpus into a database."""
    scopes = {**KEYS, **sufficient()}
    for name, key in _NAMED.items():
        if name == "unknown":
            continue
        await connection.execute(
            "INSERT INTO keys (id, name, scopes, hash, created_at, revoked_at, expires_at)"
            " VALUES ($1, $2, $3, $4, now() - interval '1 day',"
            " CASE WHEN $2 = 'revoked' THEN now() END, CASE WHEN $2 = 'expired' THEN now() END)",
            keyring.identity_of(key),
            name,
            list(scopes[name] or [scope.value for scope in Scope]),
            keyring.hashed(key),
        )


assert set(BAD) - {"malformed", "truncated", "forged", "basic", "twice"} <= set(_NAMED)


# --- the two ways to send -----------------------------------------------------------------------


def head_of(case: Case) -> list[tuple[bytes, bytes]]:
    """Write all the headers of a case."""
    headers = [(b"host", case.host)] if case.host is not None else []
    headers += [*authorization(case.key), *case.headers]
    if case.body or case.method in {"POST", "PUT", "PATCH"}:
        headers.append((b"content-length", b"%d" % len(case.body)))
    return headers


def in_process(app: Any) -> Send:
    """Send to an ASGI application."""

    async def send(case: Case) -> Reply:
        path, _, query = case.target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": case.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": head_of(case),
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        sent: list[Any] = []

        starts = iter(range(0, max(len(case.body), 1), PIECE_BYTES))

        async def receive() -> dict[str, Any]:
            start = next(starts, None)
            if start is None:
                await asyncio.Event().wait()  # the client stays
                raise AssertionError
            await asyncio.sleep(0)  # as after each piece that comes over a socket
            end = start + PIECE_BYTES
            body = case.body[start:end]
            return {"type": "http.request", "body": body, "more_body": end < len(case.body)}

        async def keep(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Reply(sent[0]["status"], dict(sent[0]["headers"]), body)

    return send


async def read_reply(reader: asyncio.StreamReader, method: str = "GET") -> Reply:
    """Read one answer off a connection."""
    async with asyncio.timeout(MAX_ANSWER):
        top = await reader.readuntil(b"\r\n\r\n")
        first, *lines = top[:-4].split(b"\r\n")
        pairs = (line.partition(b":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(first.split()[1])
        body = b""
        if method != "HEAD" and status not in {204, 304}:
            if headers.get(b"transfer-encoding") == b"chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                body = await reader.readexactly(int(headers[b"content-length"]))
    return Reply(status, headers, body)


class Wire:
    """A connection to a service, made anew where the service closes it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self, case: Case) -> Reply:
        lines = [f"{case.method} {case.target} HTTP/1.1".encode()]
        lines += [name + b": " + value for name, value in head_of(case)]
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + case.body)
        reply = await read_reply(reader, case.method)
        if reply.headers.get(b"connection") == b"close":
            await self.close()
        return reply

    async def raw(self, sent: bytes) -> Reply | None:
        """Send bytes on a connection of their own; null if it is closed without an answer."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(sent)
            with suppress(ConnectionError):
                await writer.drain()
            return await read_reply(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        finally:
            writer.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


# --- what is there before -----------------------------------------------------------------------


async def prepare(send: Send, connection: asyncpg.Connection[asyncpg.Record]) -> World:
    """Make the records that the corpus speaks of, and take a cursor of each list."""
    await allow_all(connection)
    cursors = {}
    for plural in PLURALS:
        body = json.dumps(MINIMAL[plural]).encode()
        sent = head(content_type=JSON, if_none_match="*")
        made = await send(Case("", "PUT", f"/v1/{plural}/{IDS[plural]}", 201, None, sent, body))
        other = await send(
            Case("", "POST", f"/v1/{plural}", 201, None, head(content_type=JSON), body)
        )
        assert (made.status, other.status) == (201, 201), made.body
        page = await send(Case("", "GET", f"/v1/{plural}?limit=1", 200))
        cursors[plural] = page.json()["next_cursor"]
    page = await send(Case("", "GET", "/v1/changes?since=now", 200))
    return World(cursors, page.json()["next_cursor"])


async def rows(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, int]:
    """Count what a refusal must leave alone: every table but the audit, where it is noted."""
    counts = await count_rows(connection)
    del counts["audit"]
    return counts


# --- judging ------------------------------------------------------------------------------------


async def fault(send: Send, case: Case, reply: Reply) -> str | None:
    """Say what is wrong with an answer."""
    expected, got = (case.status, case.code), (reply.status, None)
    if reply.status >= 400 and case.method != "HEAD":
        if reply.headers.get(b"content-type") != b"application/problem+json":
            return f"{got} is {reply.headers.get(b'content-type')!r}"
        told = reply.json()
        got = (reply.status, told["code"])
        if told["status"] != reply.status or not told["type"].endswith(f"/{told['code']}"):
            return f"{got} says {told['status']}, {told['type']}"
    if got != expected:
        return f"{got}, not {expected}: {reply.body[:200]!r}"
    if case.line is not None:
        return _of_line(case.line, reply)
    return await _of_record(send, case, reply) if case.kept is not None else None


def _of_line(expected: tuple[int, str], reply: Reply) -> str | None:
    """Judge an import by its first result line."""
    result = json.loads(reply.body.split(b"\n")[0])
    if result.get("problem") is None:
        return f"not refused: {reply.body[:200]!r}"
    got = result["status"], result["problem"]["code"]
    return None if got == expected else f"the line got {got}, not {expected}: {reply.body[:200]!r}"


async def _of_record(send: Send, case: Case, reply: Reply) -> str | None:
    """Read back what was accepted, through every way of reading one record."""
    assert case.kept is not None
    told = reply.json()
    if {name: told[name] for name in case.kept} != case.kept:
        return f"changed on its way: {reply.body[:200]!r}"
    path = urlsplit(case.target).path
    alone = await send(Case("", "GET", path, 200))
    if alone.body != reply.body:
        return f"read back as {alone.body[:200]!r}"
    past = await send(Case("", "GET", f"{path}/revisions/1", 200))
    if past.json()["record"] != told:
        return f"its revision is {past.body[:200]!r}"
    return None


@dataclass
class Outcome:
    """What became of a class of cases."""

    name: str
    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    block: float | None = None  # the longest block of the event loop, in milliseconds
    blocks: list[tuple[float, float, str]] = field(default_factory=list)
    """The longest block in each case: its processor time and its length, in milliseconds."""
    steps: int = 0  # the most calls of functions in one turn of the event loop, if counted
    inline: int = 0  # the most bytes of JSON that were read in the event loop itself, if counted
    slowest: tuple[float, str] = (0.0, "")  # milliseconds, and the case
    grown: int = 0  # bytes

    def shown(self) -> str:
        """Write a line of the table."""
        statuses = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        block = "" if self.block is None else f"{self.block:.0f}"
        return (
            f"{self.name:<18}{self.cases:>6}{len(self.failures):>9}{self.seconds:>7.1f}{block:>9}"
            f"{self.grown / 2**20:>9.1f}  {statuses}  (slowest: {self.slowest[0]:.0f} ms,"
            f" {self.slowest[1]})"
        )


HEADING: Final = (
    f"{'class':<18}{'cases':>6}{'failures':>9}{'s':>7}{'block ms':>9}{'MiB more':>9}  statuses"
)


def resident(pid: int | str = "self") -> int:
    """Count the bytes of memory that a process holds."""
    with suppress(FileNotFoundError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")
    return 0


class Watch:
    """Watches for how long, and with what, nothing else gets its turn on the event loop."""

    def __init__(self) -> None:
        self.longest = 0.0  # seconds
        self.busiest = 0.0  # seconds of this process' processor time in one block
        self.most_steps = 0  # calls of functions
        self.most_bytes = 0  # of JSON that the event loop's own thread reads
        self._steps = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        last, last_used = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now, used = time.perf_counter(), time.process_time()
            block = now - last - 0.001
            self.longest = max(self.longest, block)
            self.busiest = max(self.busiest, min(block, used - last_used))
            self.most_steps, self._steps = max(self.most_steps, self._steps), 0
            last, last_used = now, used

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the calls of this thread until the end of the block, which takes some time."""
        reader = json_text.read_json.__code__

        def count(frame: FrameType, event: str, _: object) -> None:
            self._steps += event in {"call", "c_call"}
            if event == "call" and frame.f_code is reader:
                self.most_bytes = max(self.most_bytes, len(frame.f_locals["body"]))

        sys.setprofile(count)
        try:
            yield
        finally:
            sys.setprofile(None)


async def run_class(
    name: str,
    cases: Iterable[Case],
    send: Send,
    connection: asyncpg.Connection[asyncpg.Record],
    pid: int | str = "self",
    *,
    counted: bool = False,
) -> Outcome:
    """Send a class of cases, and list everything that is wrong with what came of it."""
    outcome, listed = Outcome(name), list(cases)
    before, held = await rows(connection), resident(pid)
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    started = time.perf_counter()
    for case in listed:
        await asyncio.sleep(0.002)  # the watch gets its turn: judging is no part of the next case
        watch.longest = watch.busiest = 0.0
        asked = time.perf_counter()
        with watch.counting() if counted else nullcontext():
            reply = await send(case)
        took = (time.perf_counter() - asked) * 1000
        if pid == "self":
            await asyncio.sleep(0.002)  # the watch gets its turn
            block = (watch.busiest * 1000, watch.longest * 1000, case.name)
            outcome.blocks.append(block)
        outcome.slowest = max(outcome.slowest, (took, case.name))
        outcome.cases += 1
        outcome.statuses[reply.status] += 1
        if wrong := await fault(send, case, reply):
            outcome.failures.append(f"{case.name}: {wrong}")
    outcome.seconds = time.perf_counter() - started
    watching.cancel()
    outcome.block = max((longest for _, longest, _ in outcome.blocks), default=None)
    outcome.steps, outcome.inline = watch.most_steps, watch.most_bytes
    outcome.grown = resident(pid) - held
    after = await rows(connection)
    if after != before and not any(case.writes for case in listed):
        changed = {table: after[table] - count for table, count in before.items()}
        outcome.failures.append(f"written: { {t: n for t, n in changed.items() if n} }")
    return outcome


# --- what no client would send ------------------------------------------------------------------

_HOST: Final = b"Host: 127.0.0.1\r\n"
_LIVE: Final = b"GET /health/live HTTP/1.1\r\n" + _HOST
_AUTH: Final = b"".join(name + b": " + value + b"\r\n" for name, value in authorization(FULL))
_POST: Final = (
    b"POST /v1/claims HTTP/1.1\r\n" + _HOST + _AUTH + b"Content-Type: application/json\r\n"
)
_BODY: Final = b'{"text":1}'
RAW: Final[tuple[tuple[str, bytes, tuple[int, str | None]], ...]] = (
    ("no request", b"\r\n\r\nx\r\n\r\n", (400, "malformed-request")),
    ("HTTP/0.9", b"GET /\r\n\r\n", (400, "invalid-header")),
    ("no version", b"GET /health/live\r\n" + _HOST + b"\r\n", (200, None)),
    ("HTTP/9.9", _LIVE.replace(b"1.1", b"9.9") + b"\r\n", (400, "malformed-request")),
    ("HTTP/x", _LIVE.replace(b"1.1", b"x") + b"\r\n", (400, "malformed-request")),
    ("http/1.1", _LIVE.replace(b"HTTP", b"http") + b"\r\n", (400, "malformed-request")),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "malformed-request")),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, (400, "malformed-request")),
    ("NULs", b"\0" * 100, (400, "malformed-request")),
    ("unknown method", _LIVE.replace(b"GET", b"FETCH") + b"\r\n", (400, "malformed-request")),
    ("lower case method", _LIVE.replace(b"GET", b"get") + b"\r\n", (400, "malformed-request")),
    ("space before", b" " + _LIVE + b"\r\n", (400, "malformed-request")),
    ("two spaces", _LIVE.replace(b"GET ", b"GET  ") + b"\r\n", (200, None)),
    ("space in target", _LIVE.replace(b"/live", b"/li ve") + b"\r\n", (400, "malformed-request")),
    ("no target", b"GET  HTTP/1.1\r\n" + _HOST + b"\r\n", (400, "malformed-request")),
    ("bytes in target", _LIVE.replace(b"/live", b"/\xff\xfe") + b"\r\n", (400, "malformed-request")),
    ("NUL in target", _LIVE.replace(b"/live", b"/li\0ve") + b"\r\n", (400, "malformed-request")),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n", (404, "not-found")),
    ("absolute form", b"GET http://127.0.0.1/health/live HTTP/1.1\r\n" + _HOST + b"\r\n", (200, None)),
    ("absolute, foreign", b"GET http://evil.example/health/live HTTP/1.1\r\n" + _HOST + b"\r\n", (421, "wrong-host")),
    ("absolute, another name", b"GET http://localhost:9/health/live HTTP/1.1\r\n" + _HOST + b"\r\n", (200, None)),
    ("absolute, a user", b"GET http://127.0.0.1@evil.example/health/live HTTP/1.1\r\n" + _HOST + b"\r\n", (400, "invalid-header")),
    ("absolute, two hosts", b"GET http://127.0.0.1/health/live HTTP/1.1\r\n" + _HOST + _HOST + b"\r\n", (400, "invalid-header")),
    ("absolute, no host", b"GET http://127.0.0.1/health/live HTTP/1.1\r\n\r\n", (400, "invalid-header")),
    ("authority form", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + _HOST + b"\r\n", (400, "malformed-request")),
    ("no host", b"GET /health/live HTTP/1.1\r\n\r\n", (400, "invalid-header")),
    ("no host, HTTP/1.0", b"GET /health/live HTTP/1.0\r\n\r\n", (400, "invalid-header")),
    ("two hosts", _LIVE + _HOST + b"\r\n", (400, "invalid-header")),
    ("two hosts, one foreign", _LIVE + b"Host: evil.example\r\n\r\n", (400, "invalid-header")),
    ("bare LF", _LIVE.replace(b"\r\n", b"\n") + b"\n", (400, "malformed-request")),
    ("bare CR", _LIVE.replace(b"\r\n", b"\r") + b"\r\r\n\r\n", (400, "malformed-request")),
    ("space before colon", _LIVE + b"X-A : b\r\n\r\n", (400, "malformed-request")),
    ("no colon", _LIVE + b"X-A\r\n\r\n", (400, "malformed-request")),
    ("no name", _LIVE + b": b\r\n\r\n", (400, "malformed-request")),
    ("folded header", _LIVE + b"X-A: b\r\n c\r\n\r\n", (400, "malformed-request")),
    ("folded first", b"GET /health/live HTTP/1.1\r\n " + _HOST + b"\r\n", (400, "malformed-request")),
    ("NUL in a header", _LIVE + b"X-A: a\0b\r\n\r\n", (400, "malformed-request")),
    ("DEL in a header", _LIVE + b"X-A: a\x7fb\r\n\r\n", (400, "malformed-request")),
    ("CR in a header", _LIVE + b"X-A: a\rb\r\n\r\n", (400, "malformed-request")),
    ("bytes in a name", _LIVE + b"X-\xff: b\r\n\r\n", (400, "malformed-request")),
    ("bytes in a value", _LIVE + b"X-A: \xff\xfe\r\n\r\n", (200, None)),
    ("parenthesis in a name", _LIVE + b"X(A): b\r\n\r\n", (400, "malformed-request")),
    ("two lengths", _POST + b"Content-Length: 10\r\nContent-Length: 11\r\n\r\n" + _BODY, (400, "malformed-request")),
    ("the same length twice", _POST + b"Content-Length: 10\r\nContent-Length: 10\r\n\r\n" + _BODY, (400, "malformed-request")),
    ("two lengths in one", _POST + b"Content-Length: 10, 10\r\n\r\n" + _BODY, (400, "malformed-request")),
    ("negative length", _POST + b"Content-Length: -1\r\n\r\n", (400, "malformed-request")),
    ("signed length", _POST + b"Content-Length: +10\r\n\r\n" + _BODY, (400, "malformed-request")),
    ("hexadecimal length", _POST + b"Content-Length: 0xA\r\n\r\n" + _BODY, (400, "malformed-request")),
    ("no length", _POST + b"Content-Length:\r\n\r\n", (400, "malformed-request")),
    ("length of 2^64", _POST + b"Content-Length: 18446744073709551616\r\n\r\n", (400, "malformed-request")),
    ("length of 2^63", _POST + b"Content-Length: 9223372036854775808\r\n\r\n", (413, "body-too-large")),
    ("length and chunks", _POST + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, "malformed-request")),
    ("chunks and length", _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 10\r\n\r\n0\r\n\r\n", (400, "malformed-request")),
    ("chunked twice", _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, "malformed-request")),
    ("chunked, not last", _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", (400, "malformed-request")),
    ("another coding", _POST + b"Transfer-Encoding: gzip\r\n\r\n", (400, "malformed-request")),
    ("xchunked", _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (400, "malformed-request")),
    ("chunk size not hexadecimal", _POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", (400, "malformed-request")),
    ("negative chunk", _POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", (400, "malformed-request")),
    ("chunk of 2^64", _POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", (400, "malformed-request")),
    ("chunk without end", _POST + b"Transfer-Encoding: chunked\r\n\r\na\r\n" + _BODY + b"xx0\r\n\r\n", (400, "malformed-request")),
    ("chunks", _POST + b"Transfer-Encoding: chunked\r\n\r\na\r\n" + _BODY + b"\r\n0\r\n\r\n", (422, "invalid-record")),
    ("chunk extension", _POST + b"Transfer-Encoding: chunked\r\n\r\na;x=y\r\n" + _BODY + b"\r\n0\r\n\r\n", (422, "invalid-record")),
    ("trailers", _POST + b"Transfer-Encoding: chunked\r\n\r\na\r\n" + _BODY + b"\r\n0\r\nX-A: b\r\n\r\n", (422, "invalid-record")),
    ("chunk by chunk", _POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % c for c in _BODY) + b"0\r\n\r\n", (422, "invalid-record")),
    ("long target", b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n", (414, "uri-too-long")),
    ("longer target", b"GET /" + b"x" * 120_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n", (414, "uri-too-long")),
    ("long header", _LIVE + b"X-A: " + b"x" * 70_000 + b"\r\n\r\n", (431, "headers-too-large")),
    ("long header name", _LIVE + b"X" * 70_000 + b": b\r\n\r\n", (431, "headers-too-large")),
    ("many headers", _LIVE + b"X-A: b\r\n" * 500 + b"\r\n", (431, "headers-too-large")),
    ("upgrade", _LIVE + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n", (200, None)),
    ("upgrade to HTTP/2", _LIVE + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", (200, None)),
    ("unknown expectation", _POST + b"Content-Length: 10\r\nExpect: x\r\n\r\n" + _BODY, (422, "invalid-record")),
)  # fmt: skip


async def run_raw(
    wire: Wire, connection: asyncpg.Connection[asyncpg.Record], pid: int | str
) -> Outcome:
    """Send what is hardly HTTP; the service has to say so, and to live on."""
    outcome = Outcome("bytes")
    before, held, started = await rows(connection), resident(pid), time.perf_counter()
    for name, sent, expected in RAW:
        reply = await wire.raw(sent)
        outcome.cases += 1
        outcome.statuses[reply.status if reply else 0] += 1
        code = reply.json().get("code") if reply and reply.status >= 400 else None
        got = (reply.status, code) if reply else None
        if got != expected:
            outcome.failures.append(f"{name}: {got}, not {expected}")
    outcome.seconds = time.perf_counter() - started
    outcome.grown = resident(pid) - held
    if await rows(connection) != before:
        outcome.failures.append("something was written")
    return outcome


async def run_over_http(address: str, database: str, pid: int) -> list[Outcome]:
    """Send the whole corpus to a service that runs."""
    where = urlsplit(address)
    wire = Wire(where.hostname or "", where.port or 80)
    connection = await asyncpg.connect(database)
    try:
        world = await prepare(wire, connection)
        found = [
            await run_class(name, make(world), wire, connection, pid)
            for name, make in CLASSES.items()
        ]
        return [*found, await run_raw(wire, connection, pid)]
    finally:
        await wire.close()
        await connection.close()


def table(outcomes: Iterable[Outcome]) -> str:
    """Write the table."""
    listed = list(outcomes)
    total = Outcome("all")
    for each in listed:
        total.cases += each.cases
        total.failures += each.failures
        total.statuses += each.statuses
        total.seconds += each.seconds
        total.grown += each.grown
        total.slowest = max(total.slowest, each.slowest)
        if each.block is not None:
            total.block = max(total.block or 0.0, each.block)
    return "\n".join([HEADING, *(each.shown() for each in [*listed, total])])


SERVED: Final = {"CLAIM_RECORDS_RATE_PER_MINUTE": "10000000", "CLAIM_RECORDS_LOG_LEVEL": "warning"}


def main() -> None:
    """Serve, send, print."""
    from tests.test_cli import serving  # noqa: PLC0415 - which imports pytest's fixtures

    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        with serving(Path(directory), "--data-dir", str(data), **SERVED) as service:
            url = running_url(data)
            assert url is not None
            outcomes = asyncio.run(run_over_http(service.address, url, service.process.pid))
            print(table(outcomes))  # noqa: T201
            for outcome in outcomes:
                for failure in outcome.failures[:40]:
                    print(outcome.name, "|", failure)  # noqa: T201
            service.stop()


if __name__ == "__main__":
    main()
