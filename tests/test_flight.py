"""Bytes in flight: what clients that do not read make the service hold is bounded."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from api.access import keyring
from api.app import Application, create_app
from api.core import flight
from api.core.db import Database
from api.core.flight import InFlight
from api.core.request import PIECE_BYTES, Context
from api.core.turns import KEYLESS
from api.sync.feed import stream
from api.sync.feed.stream import EventStream
from schemas.vocabularies import Scope
from tests.conftest import (
    KEY,
    PATIENCE,
    allow,
    as_service,
    bearer,
    cloned,
    patient,
    running,
    serving,
)

MEBIBYTE = 1024**2


async def has_room(room: InFlight, share: str, size: int) -> bool:
    """Tell whether a share would get room at once."""
    try:
        await room.take(share, size, 0)
    except TimeoutError:
        return False
    room.add(share, -size)
    return True


async def test_a_share_holds_at_most_its_room() -> None:
    room = InFlight(10)
    await room.take("a", 6, 1)
    assert not await has_room(room, "a", 5)
    assert await has_room(room, "a", 4)
    assert await has_room(room, "b", 10)
    room.add("a", -3)
    assert await has_room(room, "a", 7)
    room.add("a", -3)
    assert await has_room(room, "a", 99)  # more than there is, when nobody else has any


async def test_who_waits_is_served_in_order() -> None:
    room = InFlight(10)
    await room.take("a", 10, 1)
    served: list[int] = []

    async def wait(size: int) -> None:
        await room.take("a", size, 60)
        served.append(size)

    async with asyncio.TaskGroup() as group:
        for size in (9, 1, 2):
            group.create_task(wait(size))
        await asyncio.sleep(0)
        room.add("a", -5)
        await asyncio.sleep(0)
        assert not served
        assert not await has_room(room, "a", 1)  # others came before
        room.add("a", -5)
        for _ in range(10):
            await asyncio.sleep(0)
        assert served == [9, 1]
        room.add("a", -9)
    assert served == [9, 1, 2]
    assert room.held("a") == 3


async def test_no_room_is_lost_however_waits_end() -> None:
    room = InFlight(10)
    rng = random.Random(7)  # noqa: S311 - nothing here is secret

    async def ask() -> None:
        share, size = rng.choice("ab"), rng.randrange(1, 12)
        await room.take(share, size, rng.choice([0, 0.001, 5]))
        try:
            await asyncio.sleep(rng.choice([0, 0.0005]))
        finally:
            room.add(share, -size)

    tasks = []
    for _ in range(1_000):
        tasks.append(asyncio.create_task(ask()))
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
        if rng.random() < 0.2:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (room.held("a"), room.held("b")) == (0, 0)
    assert await has_room(room, "a", 10)


# --- over HTTP -------------------------------------------------------------------------------


class Reader:
    """A client of the application that reads one message after another, when it is told to."""

    def __init__(self, app: Application, path: str, headers: dict[str, str]) -> None:
        self.status = 0
        self.sizes: list[int] = []
        self.body = b""
        self._may_read = asyncio.Semaphore(1)  # the head of the answer
        self._gone = asyncio.Event()
        self._broken = False
        path, _, query = path.partition("?")
        raw = {"host": "127.0.0.1", **headers}
        scope: Any = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "client": ("127.0.0.1", 1), "scheme": "http",
            "http_version": "1.1", "root_path": "", "server": ("127.0.0.1", 80),
            "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
        }  # fmt: skip
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self._may_read.acquire()
        if self._broken:
            raise ConnectionError
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sizes.append(len(message["body"]))
            self.body += message["body"]

    def read_one(self) -> None:
        """Read the next message."""
        self._may_read.release()

    def read_on(self) -> None:
        """Read whatever comes."""
        for _ in range(10_000):
            self._may_read.release()

    async def read(self) -> None:
        """Read to the end."""
        self.read_on()
        await self.task

    def fail(self) -> None:
        """Let the sending of what comes next raise an error."""
        self._broken = True
        self.read_one()

    async def has_begun(self) -> None:
        """Wait for the head of the answer."""
        await until(lambda: self.status > 0)

    async def leave(self) -> None:
        """Hang up."""
        self._gone.set()
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture(scope="module")
async def filled(template: str) -> AsyncIterator[str]:
    """Make a database with four articles of 2 MiB, which each test clones."""
    async with cloned(template) as url:
        async with serving(url) as client:
            for number in range(4):
                article = {"headline": f"{number}", "text": "x" * 2 * MEBIBYTE}
                assert (await client.post("/v1/articles", json=article)).status_code == 201
        yield url


@pytest.fixture
async def url(filled: str) -> AsyncIterator[str]:
    """Make a database with these articles for one test."""
    async with cloned(filled) as found:
        yield found


@pytest.fixture
async def app(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Application]:
    """Serve four articles of 2 MiB, with room for two pages in flight.

    Who finds no room is refused after a second; a connection may be waited for for longer.
    """
    monkeypatch.setattr(flight.InFlight.__init__, "__defaults__", (17 * MEBIBYTE,))
    settings = patient(pool_size=5, open_reads=True)
    found = create_app(settings, Database(as_service(url), settings))
    context = found.services.get(Context)
    hasty = patient(pool_size=5, open_reads=True, acquire_seconds=1)
    found.services.put(Context, context._replace(settings=hasty))
    async with running(found):
        yield found


@pytest.mark.parametrize("path", ["/v1/articles", "/v1/export"])
async def test_an_answer_is_handed_on_in_pieces(app: Application, path: str) -> None:
    reader = Reader(app, path, {})
    await reader.has_begun()
    await reader.read()
    assert max(reader.sizes) <= PIECE_BYTES
    if path == "/v1/export":
        lines = [json.loads(line) for line in reader.body.splitlines()]
        assert len(lines) == 6
        assert lines[-1]["count"] == 4
    else:
        assert len(json.loads(reader.body)["items"]) in (3, 4)


@pytest.mark.long
@pytest.mark.newest
async def test_what_nobody_reads_is_bounded_for_each_caller(app: Application, url: str) -> None:
    key = bearer(await allow(url, keyring.new_key(), [Scope.READ]))
    stalled = [Reader(app, "/v1/articles", {}) for _ in range(2)]
    for reader in stalled:
        await reader.has_begun()
        assert reader.status == 200
    refused = Reader(app, "/v1/articles", {})
    await refused.has_begun()
    assert refused.status == 503
    await refused.read()
    assert "You have not read too many large answers yet." in json.loads(refused.body)["detail"]
    other = Reader(app, "/v1/articles", key)
    await other.has_begun()
    assert other.status == 200
    await other.read()
    await stalled[0].leave()
    again = Reader(app, "/v1/articles", {})
    await again.has_begun()
    assert again.status == 200
    for reader in (again, stalled[1]):
        await reader.read()


@pytest.mark.long
@pytest.mark.newest
async def test_exports_that_nobody_reads_wait_for_each_other(app: Application) -> None:
    """Each has read an article of 2 MiB and holds it; one needs room for the largest page."""
    stalled = [Reader(app, "/v1/export?types=article", {}) for _ in range(20)]

    def begun() -> list[Reader]:
        return [reader for reader in stalled if reader.status]

    await until(lambda: len(begun()) + waiting(app) == len(stalled))
    first = begun()
    assert 0 < len(first) < 10
    for reader in first:
        await reader.leave()
    await until(lambda: len(begun()) > len(first))
    assert {reader.status for reader in begun()} == {200}
    for reader in stalled:
        await reader.leave()


def held(app: Application) -> int:
    """Tell how many bytes the callers without a key hold."""
    return app._in_flight.held(KEYLESS)  # noqa: SLF001 - nobody else asks


def waiting(app: Application) -> int:
    """Tell how many requests without a key stand in line for room."""
    return len(app._in_flight._lines.get(KEYLESS, ()))  # noqa: SLF001 - nobody else asks


async def until(true: Callable[..., bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


ARTICLE = "9b2f4f5e-3f6c-4c1e-8a57-1d1f0a3a7c11"
REVISIONS = f"/v1/articles/{ARTICLE}/revisions"
BY_NAME = "/v1/articles/by-external-id?namespace=test&value=large"


@pytest.fixture
async def named(app: Application) -> None:
    """Add an article with a known id and an external id."""
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=bearer(KEY)
    ) as client:
        article = {
            "headline": "x",
            "text": "x" * 2 * MEBIBYTE,
            "external_ids": [{"namespace": "test", "value": "large"}],
        }
        path, new = f"/v1/articles/{ARTICLE}", {"if-none-match": "*"}
        answer = await client.put(path, json=article, headers=new)
        assert answer.status_code == 201


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "path", [REVISIONS, f"{REVISIONS}/1", BY_NAME, "/v1/changes", "/v1/changes/stream"]
)
@pytest.mark.parametrize("end", ["leave", "fail", "read"])
async def test_each_large_answer_is_counted_until_it_ends(
    app: Application, path: str, end: str
) -> None:
    reader = Reader(app, path, {})
    await until(lambda: held(app) > 0 and reader.status == 200)
    await until(lambda: 2 * MEBIBYTE < held(app) < 5 * MEBIBYTE)
    if end == "leave":
        await reader.leave()
    elif end == "fail":
        reader.fail()
        await asyncio.wait([reader.task])
        # The event loop would report an exception that nobody took, to whichever test runs then.
        assert isinstance(reader.task.exception(), ConnectionError)
    else:
        reader.read_on()
        await until(lambda: held(app) == 0)
        await reader.leave()
    assert held(app) == 0


async def test_a_stream_counts_what_it_has_not_sent_yet(app: Application) -> None:
    reader = Reader(app, "/v1/changes/stream", {})
    await until(lambda: held(app) > 0)
    seen = [held(app)]
    for number in range(1, 100):
        reader.read_one()
        await until(lambda number=number: len(reader.sizes) == number)
        seen.append(held(app))
    assert max(reader.sizes) <= stream.PIECE_BYTES
    assert max(seen) < 3 * MEBIBYTE  # one article at a time, of the four
    reader.read_on()
    await until(lambda: held(app) == 0)
    await reader.leave()


async def test_streams_wait_for_room_and_stay_alive_meanwhile(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "RECHECK_SECONDS", 0.02)
    monkeypatch.setattr(EventStream.__init__, "__defaults__", (0.05,))
    stalled = [Reader(app, "/v1/changes/stream", {}) for _ in range(30)]
    await until(lambda: held(app) > 10 * MEBIBYTE)
    others = [Reader(app, "/v1/changes/stream", {}) for _ in range(3)]
    for reader in others:
        reader.read_on()
    await until(lambda: all(reader.body.count(b":\n\n") > 1 for reader in others))
    assert not any(b"event" in reader.body for reader in others)
    assert held(app) <= 17 * MEBIBYTE
    for reader in stalled:
        await reader.leave()
    await until(lambda: all(b"up-to-date" in reader.body for reader in others))
    for reader in others:
        assert reader.body.count(b"event: change") == 4
        await reader.leave()
    assert held(app) == 0


async def test_a_page_of_the_feed_waits_for_room_too(app: Application) -> None:
    stalled = [Reader(app, "/v1/changes", {}) for _ in range(4)]
    await until(lambda: held(app) > 10 * MEBIBYTE)
    refused = Reader(app, "/v1/changes", {})
    await refused.has_begun()
    assert refused.status == 503
    await refused.read()
    assert held(app) <= 17 * MEBIBYTE
    for reader in stalled:
        await reader.leave()
    again = Reader(app, "/v1/changes?limit=1", {})
    await again.read()
    assert again.status == 200
    assert held(app) == 0
