"""The change feed as Server-Sent Events, over real sockets where it is about connections."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx
import litestar
import pytest

from api.access import keyring
from api.access.callers import EVERYTHING
from api.app import at_edge, create_router
from api.core.db import Database
from api.settings import Settings
from api.sync.changes import EventStream
from schemas.vocabularies import RecordType, Scope
from tests.conftest import KEY, allow, as_service, bearer, serving
from tests.factories import EVERY, create
from tests.test_changes import asking, cursor_of, go_back, owner, page, told, walk
from tests.test_cli import PATIENCE, Service
from tests.test_cli import serving as serving_for_real
from tests.world import World

STREAM: Final = "/v1/changes/stream"
CLAIM: Final = EVERY[RecordType.CLAIM]
STALL: Final = 0.7  # seconds


class Event(NamedTuple):
    """One event, or a comment, which has no name."""

    name: str
    id: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Read events as the standard has it (WHATWG HTML, section 9.2.6)."""
    buffer = b""
    async for chunk in chunks:
        buffer += chunk
        while b"\n\n" in buffer:
            block, _, buffer = buffer.partition(b"\n\n")
            lines = [line.partition(": ") for line in block.decode().split("\n")]
            fields = {name: value for name, _, value in lines if name != ":"}
            yield Event(fields.get("event", ""), fields.get("id", ""), fields.get("data", ""))
    assert buffer == b""


async def until_up_to_date(events: AsyncIterator[Event]) -> list[Event]:
    """Take events up to the one that says that the end is reached."""
    taken = []
    async for event in events:
        taken.append(event)
        if event.name == "up-to-date":
            return taken
    raise AssertionError("the stream ended")


async def changes(events: AsyncIterator[Event], number: int) -> list[Any]:
    """Take so many changes."""
    taken: list[Any] = []
    async for event in events:
        if event.name == "change":
            taken.append(event.json)
        if len(taken) == number:
            break
    return taken


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, **asked: str
) -> AsyncIterator[AsyncIterator[Event]]:
    """Open a stream on a real socket."""
    async with client.stream("GET", STREAM, params=asked, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield events_of(answer.aiter_bytes())


class Running(NamedTuple):
    """A real service, its database, and a client of it."""

    service: Service
    url: str
    client: httpx.AsyncClient


@pytest.fixture
async def running(empty_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """Run the service in a process of its own."""
    await allow(empty_url)
    with serving_for_real(
        tmp_path, DATABASE_URL=empty_url, CLAIM_RECORDS_STALL_SECONDS=str(STALL)
    ) as service:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=service.address, headers=bearer(KEY), timeout=PATIENCE, limits=limits
        ) as client:
            yield Running(service, empty_url, client)


# --- what is sent ----------------------------------------------------------------------------


async def test_a_stream_sends_what_there_is_says_so_and_goes_on(running: Running) -> None:
    client = running.client
    for noun in EVERY.values():
        await create(client, noun)
    whole = await walk(client)
    async with client.stream("GET", STREAM) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        assert "content-length" not in answer.headers
        events = events_of(answer.aiter_bytes())
        *first, last = await until_up_to_date(events)
        assert [event.json for event in first] == whole
        assert {event.name for event in first} == {"change"}
        assert last.json == {"next_cursor": last.id}
        for number, event in enumerate(first, 1):
            assert await walk(client, event.id) == whole[number:]
        assert await walk(client, last.id) == []
        for _ in range(3):
            made = await create(client, CLAIM)
            written = time.monotonic()
            change, end = await until_up_to_date(events)
            assert time.monotonic() - written < 0.5
            assert told([change.json]) == [("created", made.id, 1)]
            assert end.json == {"next_cursor": end.id}


async def test_a_stream_goes_on_behind_the_event_that_was_last(running: Running) -> None:
    client = running.client
    for _ in range(5):
        await create(client, CLAIM)
    whole = await walk(client)
    async with streaming(client) as events:
        ids = [event.id for event in await until_up_to_date(events)]
    for number, identity in enumerate(ids[:5], 1):
        for asked in ({}, {"since": "start"}, {"since": "now"}, {"since": ids[0]}):
            async with streaming(client, {"last-event-id": identity}, **asked) as events:
                taken = await until_up_to_date(events)
            assert [event.json for event in taken[:-1]] == whole[number:]
        async with streaming(client, since=identity) as events:
            taken = await until_up_to_date(events)
        assert [event.json for event in taken[:-1]] == whole[number:]
    async with streaming(client, since="now") as events:
        (end,) = await until_up_to_date(events)
        made = await create(client, CLAIM)
        assert told(await changes(events, 1)) == [("created", made.id, 1)]
    async with streaming(client, {"last-event-id": end.id}) as events:
        assert told(await changes(events, 1)) == [("created", made.id, 1)]


async def test_each_is_sent_what_is_theirs_and_what_they_asked_for(running: Running) -> None:
    world = World(running.client)
    await world.add("claims", "draft")
    await world.add("claims", "open", review_status="published")
    await world.add("sources", "s")
    await world.patch("open", review_status="killed")
    nobody = httpx.AsyncClient(base_url=running.service.address, timeout=PATIENCE)
    async with (
        nobody,
        streaming(nobody) as public,
        streaming(nobody, types="claim") as claims,
        streaming(running.client, types="source,claim") as everything,
    ):
        for client, events, types in (
            (nobody, public, {}),
            (nobody, claims, {"types": "claim"}),
            (running.client, everything, {}),
        ):
            taken = [event.json for event in (await until_up_to_date(events))[:-1]]
            assert taken == await walk(client, **types)
        await world.patch("draft", note="hidden")
        await world.patch("s", note="seen")
        await world.patch("open", review_status="published")
        assert [item["id"] for item in await changes(public, 2)] == [
            world.id("s"),
            world.id("open"),
        ]
        assert [item["op"] for item in await changes(claims, 1)] == ["created"]
        assert [item["version"] for item in await changes(everything, 3)] == [2, 2, 3]


async def test_what_is_wrong_is_a_status_before_the_stream_begins(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    for _ in range(3):
        await create(empty, CLAIM)
        end = await cursor_of(empty)
    narrow = await cursor_of(asking(empty, None))
    claims = await cursor_of(empty, types="claim")
    of_list = (await empty.get("/v1/claims?limit=1")).json()["next_cursor"]
    await go_back(empty_url, 1)
    for since, status, code in (
        ("x", 400, "invalid-cursor"),
        (end[:-1], 400, "invalid-cursor"),
        (of_list, 400, "cursor-mismatch"),
        (claims, 400, "cursor-mismatch"),
        (end, 410, "resync-required"),
        (narrow, 410, "resync-required"),
    ):
        for headers, asked in (({"last-event-id": since}, {}), ({}, {"since": since})):
            answer = await empty.get(STREAM, params=asked, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            assert answer.headers["content-type"] == "application/problem+json"
    for query in ("types=x", "limit=1", "wait=1", "since=now&since=now"):
        assert (await empty.get(f"{STREAM}?{query}")).status_code == 400


async def test_head_ends_at_once(running: Running) -> None:
    answer = await running.client.head(STREAM)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert (await running.client.head(f"{STREAM}?since=x")).status_code == 400


async def test_a_restored_feed_says_so_as_the_last_event(running: Running) -> None:
    await create(running.client, CLAIM)
    async with streaming(running.client) as events:
        await until_up_to_date(events)
        async with owner(running.url) as connection:
            await connection.execute("UPDATE feed_states SET place = 'elsewhere'")
        (last,) = [event async for event in events]
    assert (last.name, last.id) == ("resync-required", "")
    assert (last.json["code"], last.json["export"]) == ("resync-required", "/v1/export")


# --- how it ends -----------------------------------------------------------------------------


async def test_it_ends_soon_after_its_key_is_revoked(running: Running) -> None:
    key = await allow(running.url, keyring.new_key(), [Scope.READ])
    async with (
        streaming(running.client, bearer(key)) as revoked,
        streaming(running.client) as other,
    ):
        await until_up_to_date(revoked)
        answer = await running.client.delete(f"/v1/keys/{keyring.identity_of(key)}")
        assert answer.status_code in {200, 204}
        at = time.monotonic()
        assert [event async for event in revoked] == []
        assert time.monotonic() - at < 2
        await create(running.client, CLAIM)
        assert len(await changes(other, 1)) == 1


async def test_streams_and_those_who_wait_end_cleanly_when_the_service_stops(
    running: Running,
) -> None:
    await create(running.client, CLAIM)
    since = await cursor_of(running.client)
    async with streaming(running.client) as events, streaming(running.client) as busy:
        await until_up_to_date(events)
        waiting = asyncio.create_task(page(running.client, since, wait=30))
        await asyncio.sleep(0.3)
        at = time.monotonic()
        running.service.process.send_signal(signal.SIGTERM)
        assert [event async for event in events] == []  # the last chunk came, or this raises
        assert (await until_up_to_date(busy))[0].name == "change"
        assert [event async for event in busy] == []
        assert (await waiting)["next_cursor"] == since
        code = await asyncio.to_thread(running.service.process.wait, PATIENCE)
    assert code == 0
    assert time.monotonic() - at < 5
    assert "Traceback" not in running.service.log


async def test_who_does_not_read_is_cut_off_and_holds_up_nobody(running: Running) -> None:
    text = "x" * (3 * 1_048_576)
    for number in range(6):
        body = {"headline": f"{number}", "text": text}
        await create(running.client, EVERY[RecordType.ARTICLE], body)
    place = urlsplit(running.service.address)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect((place.hostname, place.port))
        key = f"Authorization: Bearer {KEY}".encode()
        stalled.sendall(
            b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (STREAM.encode(), key)
        )
        at = time.monotonic()
        number = 0
        async with streaming(running.client) as events:
            assert len(await changes(events, 6)) == 6
            while time.monotonic() - at < 3 * STALL:
                await create(running.client, CLAIM)
                written = time.monotonic()
                assert len(await changes(events, 1)) == 1
                assert time.monotonic() - written < 0.5
                number += 1
        received = await asyncio.to_thread(everything_of, stalled)
    assert number > 5
    assert len(received) < 6 * len(text)
    assert not received.endswith(b"0\r\n\r\n")


def everything_of(client: socket.socket) -> bytes:
    """Read what still comes, until the connection is closed."""
    client.settimeout(PATIENCE)
    received = b""
    try:
        while chunk := client.recv(1_048_576):
            received += chunk
    except ConnectionResetError:
        pass
    return received


async def test_two_hundred_streams_see_every_change_in_order(running: Running) -> None:
    client = running.client
    async with asyncio.timeout(PATIENCE):
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Barrier(201)
            listening = [group.create_task(listen(client, ready, 60)) for _ in range(200)]
            await ready.wait()
            async with asyncio.TaskGroup() as writers:
                for _ in range(6):
                    writers.create_task(write_ten(client))
    whole = await walk(client)
    assert len(whole) == 60
    for task in listening:
        assert task.result() == whole


async def listen(client: httpx.AsyncClient, ready: asyncio.Barrier, number: int) -> list[Any]:
    async with streaming(client) as events:
        await until_up_to_date(events)
        await ready.wait()
        return await changes(events, number)


async def write_ten(client: httpx.AsyncClient) -> None:
    for _ in range(10):
        await create(client, CLAIM)


# --- inside ----------------------------------------------------------------------------------


class Listener:
    """A client in this process, which takes what an application sends."""

    def __init__(self, headers: dict[str, str] | None = None, query: str = "") -> None:
        self.scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": STREAM,
            "raw_path": STREAM.encode(),
            "query_string": query.encode(),
            "headers": [
                (b"host", b"127.0.0.1"),
                *((name.encode(), value.encode()) for name, value in (headers or {}).items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self.sent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif message["more_body"]:
            self.sent.put_nowait(message["body"])
        else:
            self.sent.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self.sent.get()) is not None:
            yield chunk


async def test_more_streams_take_no_more_statements(empty_url: str) -> None:
    """The sequencer has a connection of its own; on the pool each change is read once."""
    settings = Settings(pool_size=1, rate_per_minute=0)
    database = Database(as_service(empty_url), settings)
    router, routes = create_router(settings, database)
    statements: list[str] = []

    def note(query: asyncpg.connection.LoggedQuery) -> None:
        if "feed AS f" in query.query:
            statements.append(query.query)

    async with router.lifespan(), serving(empty_url) as writer:
        async with database.connection() as connection:
            connection.add_query_logger(note)
        edge = at_edge(settings, router, routes)
        taken = {}
        for number in (1, 60):
            listeners = [Listener(bearer(KEY), "since=now") for _ in range(number)]
            tasks = [asyncio.create_task(edge(x.scope, x.receive, x.send)) for x in listeners]
            each = [events_of(x.chunks()) for x in listeners]
            for events in each:
                await until_up_to_date(events)
            statements.clear()
            for _ in range(5):
                made = await create(writer, CLAIM)
                for events in each:
                    assert told(await changes(events, 1)) == [("created", made.id, 1)]
            taken[number] = len(statements)
            for listener in listeners:
                listener.gone.set()
            await asyncio.gather(*tasks)
    # One for each change, and one for those that ask before and those that ask after it.
    assert taken[1] <= 10
    assert taken[60] <= 10


async def test_a_silent_stream_has_a_heartbeat(empty_url: str) -> None:
    settings = Settings(pool_size=2)
    router, _ = create_router(settings, Database(as_service(empty_url), settings))
    async with router.lifespan():
        feed = router.state["feed"]
        listener = Listener()
        listener.scope |= {"litestar_app": router, "app": router, "state": {"caller": EVERYTHING}}
        router.state["gate"] = Everybody()
        request: Any = litestar.Request(listener.scope)
        await feed.catch_up()
        stream = EventStream(request, await feed.position(0), tuple(RecordType), heartbeat=0.1)
        task = asyncio.create_task(stream(listener.scope, listener.receive, listener.send))
        chunks = listener.chunks()
        async with asyncio.timeout(10):
            assert b"event: up-to-date" in await anext(chunks)
            assert [await anext(chunks) for _ in range(2)] == [b":\n\n"] * 2
        feed.stop()
        assert [chunk async for chunk in chunks] == []
        await task


class Everybody:
    """Lets everybody in, as often as they come."""

    async def admit_again(self, _: object) -> None:
        """Say nothing."""


async def test_a_stream_outlasts_a_database_that_has_no_time(empty_url: str) -> None:
    settings = Settings(pool_size=1, acquire_seconds=0.2, rate_per_minute=0)
    database = Database(as_service(empty_url), settings)
    router, routes = create_router(settings, database)
    async with serving(empty_url) as writer, router.lifespan():
        listener = Listener(bearer(KEY))
        edge = at_edge(settings, router, routes)
        task = asyncio.create_task(edge(listener.scope, listener.receive, listener.send))
        events = events_of(listener.chunks())
        await until_up_to_date(events)
        async with database.connection():
            made = await create(writer, CLAIM)
            await asyncio.sleep(1.5)
            assert listener.sent.empty()
            assert not task.done()
        async with asyncio.timeout(PATIENCE):
            assert told(await changes(events, 1)) == [("created", made.id, 1)]
        listener.gone.set()
        await task
