"""The change feed as Server-Sent Events, over real sockets where it is about connections."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx
import litestar
import pytest

from api.access import keyring
from api.app import create_app
from api.core.admission import Admission
from api.core.caller import EVERYTHING
from api.core.db import Database
from api.core.errors import Problem
from api.core.flight import InFlight, hold_room
from api.settings import Settings
from api.sync.feed.following import Feed
from api.sync.feed.stream import HEARTBEAT_SECONDS, PIECE_BYTES, EventStream
from api.sync.feed.stretches import Position, Stretch, Wanted
from schemas.vocabularies import RecordType, Scope
from tests.conftest import (
    KEY,
    PATIENCE,
    allow,
    as_service,
    bearer,
    cloned,
    patient,
    serving,
)
from tests.conftest import running as background
from tests.factories import EVERY, create
from tests.test_changes import (
    asking,
    cursor_of,
    go_back,
    impatient,
    owner,
    page,
    standing_still,
    told,
    walk,
)
from tests.test_cli import Service
from tests.test_cli import serving as serving_for_real
from tests.world import World

STREAM: Final = "/v1/changes/stream"
CLAIM: Final = EVERY[RecordType.CLAIM]


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


@asynccontextmanager
async def run(url: str, directory: Path, **settings: str) -> AsyncIterator[Running]:
    """Run the service in a process of its own."""
    await allow(url)
    with serving_for_real(directory, DATABASE_URL=url, **settings) as service:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=service.address, headers=bearer(KEY), timeout=PATIENCE, limits=limits
        ) as client:
            yield Running(service, url, client)


@pytest.fixture(scope="module")
async def running(
    template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """Run a patient service for all tests that leave it running, and its feed where it is."""
    async with cloned(template) as url, run(url, tmp_path_factory.mktemp("stream")) as found:
        yield found


@pytest.fixture
async def running_alone(empty_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """Run a patient service for one test."""
    async with run(empty_url, tmp_path) as found:
        yield found


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
            change, end = await until_up_to_date(events)
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
            (running.client, everything, {"types": "source,claim"}),
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


async def test_a_stream_is_checked_without_reading_a_record(
    empty: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = Feed.behind
    read: list[Wanted] = []

    async def seen(self: Feed, position: Position, wanted: Wanted) -> Stretch:
        read.append(wanted)
        return await behind(self, position, wanted)

    monkeypatch.setattr(Feed, "behind", seen)
    assert (await empty.head(STREAM)).status_code == 200
    assert [wanted.documents for wanted in read] == [False]


async def test_head_ends_at_once(running: Running) -> None:
    answer = await running.client.head(STREAM)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert (await running.client.head(f"{STREAM}?since=x")).status_code == 400


@pytest.mark.long
async def test_a_restored_feed_says_so_as_the_last_event(running_alone: Running) -> None:
    await create(running_alone.client, CLAIM)
    async with streaming(running_alone.client) as events:
        await until_up_to_date(events)
        async with owner(running_alone.url) as connection:
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
        await until_up_to_date(other)
        answer = await running.client.delete(f"/v1/keys/{keyring.identity_of(key)}")
        assert answer.status_code in {200, 204}
        async with asyncio.timeout(PATIENCE):
            assert [event async for event in revoked] == []  # nor a heartbeat, which comes late
        await create(running.client, CLAIM)
        assert len(await changes(other, 1)) == 1


async def test_streams_and_those_who_wait_end_cleanly_when_the_service_stops(
    running_alone: Running,
) -> None:
    """Each of them is let be for much longer than anybody waits here."""
    await create(running_alone.client, CLAIM)
    async with (
        streaming(running_alone.client) as events,
        streaming(running_alone.client) as busy,
        httpx.AsyncClient(base_url=running_alone.service.address, timeout=PATIENCE) as other,
    ):
        await until_up_to_date(events)
        assert (await anext(busy)).name == "change"
        since = await cursor_of(other)
        waiting = asyncio.create_task(sent_and_answered(other, since, sent := asyncio.Event()))
        await asyncio.wait_for(sent.wait(), PATIENCE)
        assert (
            await running_alone.client.get("/health/live")
        ).status_code == 200  # so it came before
        running_alone.service.process.send_signal(signal.SIGTERM)
        assert [event async for event in events] == []  # the last chunk came, or this raises
        assert [event.name async for event in busy] == ["up-to-date"]
        assert (await waiting)["next_cursor"] == since
        code = await asyncio.to_thread(running_alone.service.process.wait, PATIENCE)
    assert code == 0
    assert "Traceback" not in running_alone.service.log


async def sent_and_answered(client: httpx.AsyncClient, since: str, sent: asyncio.Event) -> Any:
    """Wait for a change as long as one may; tell when the request is on its way."""

    async def trace(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            sent.set()

    asked: dict[str, str | int] = {"since": since, "wait": 30}
    return (await client.get("/v1/changes", params=asked, extensions={"trace": trace})).json()


@pytest.mark.long
@pytest.mark.newest
async def test_who_does_not_read_is_cut_off_and_holds_up_nobody(
    empty_url: str, tmp_path: Path
) -> None:
    text = "x" * (3 * 1_048_576)
    async with (
        run(empty_url, tmp_path, CLAIM_RECORDS_STALL_SECONDS="0.7") as running,
        streaming(running.client, types="claim") as events,  # never more than a few bytes
    ):
        for number in range(6):
            body = {"headline": f"{number}", "text": text}
            await create(running.client, EVERY[RecordType.ARTICLE], body)
        with stalled(running) as client:
            await asyncio.to_thread(client.recv, 1, socket.MSG_PEEK)  # it has begun
            number, open_ = 0, 2.0
            async with asyncio.timeout(PATIENCE):
                while open_ > 1:
                    open_ = await open_streams(running.client)
                    made = await create(running.client, CLAIM)
                    assert told(await changes(events, 1)) == [("created", made.id, 1)]
                    number += 1
            received = await asyncio.to_thread(everything_of, client)
    assert number > 0
    assert len(received) < 6 * len(text)
    assert not received.endswith(b"0\r\n\r\n")


async def open_streams(client: httpx.AsyncClient) -> float:
    """Tell how many streams a service sends."""
    answer = await client.get("/metrics")
    (line,) = re.findall(r"^claim_records_feed_streams (\S+)$", answer.text, re.MULTILINE)
    return float(line)


@contextmanager
def stalled(running: Running) -> Iterator[socket.socket]:
    """Ask for a stream on a socket that takes little, and read nothing of it."""
    place = urlsplit(running.service.address)
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((place.hostname, place.port))
        key = f"Authorization: Bearer {KEY}".encode()
        client.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (STREAM.encode(), key))
        yield client


def everything_of(client: socket.socket) -> bytes:
    """Read what still comes, until the connection is closed."""
    received = b""
    try:
        while chunk := client.recv(1_048_576):
            received += chunk
    except ConnectionResetError:
        pass
    return received


@pytest.mark.long
@pytest.mark.newest
async def test_two_hundred_streams_see_every_change_in_order(running_alone: Running) -> None:
    client = running_alone.client
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


@pytest.mark.long
async def test_more_streams_take_no_more_statements(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sequencer has a connection of its own; on the pool each change is read once."""
    monkeypatch.setattr(
        "api.sync.feed.following.SHARED_SECONDS", PATIENCE
    )  # however slow the machine
    settings = patient(pool_size=1, rate_per_minute=0)
    database = Database(as_service(empty_url), settings)
    edge = create_app(settings, database)
    statements: list[str] = []

    def note(query: asyncpg.connection.LoggedQuery) -> None:
        if "feed AS f" in query.query:
            statements.append(query.query)

    async with background(edge), serving(empty_url) as writer:
        async with database.connection() as connection:
            connection.add_query_logger(note)
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
    settings = patient(pool_size=2)
    app = create_app(settings, Database(as_service(empty_url), settings))
    async with background(app):
        feed = app.services.get(Feed)
        listener = Listener()
        listener.scope |= {"state": {"caller": EVERYTHING}}
        app.services.attach(listener.scope)
        app.services.put(Admission, Everybody())
        hold_room(listener.scope, InFlight())
        request: Any = litestar.Request(listener.scope)
        await feed.catch_up()
        stream = EventStream(request, await feed.position(0), tuple(RecordType), heartbeat=0.1)
        task = asyncio.create_task(stream(listener.scope, listener.receive, listener.send))
        chunks = listener.chunks()
        async with asyncio.timeout(PATIENCE):
            assert b"event: up-to-date" in await anext(chunks)
            assert [await anext(chunks) for _ in range(2)] == [b":\n\n"] * 2
        feed.stop()
        assert [chunk async for chunk in chunks] == []
        await task


class Everybody(Admission):
    """Lets everybody in, as often as they come."""

    async def admit_again(self, *_: object) -> None:
        """Say nothing."""


async def test_a_change_is_sent_because_somebody_listens(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone, the service would look for changes long after the test has given up."""
    monkeypatch.setattr("api.sync.feed.following.IDLE_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr("api.sync.feed.following.LIVELY_SECONDS", 0)
    monkeypatch.setattr("api.sync.feed.stream.RECHECK_SECONDS", 10 * PATIENCE)
    settings = patient(pool_size=2, rate_per_minute=0)
    edge = create_app(settings, Database(as_service(empty_url), settings))
    async with background(edge), serving(empty_url) as writer:
        listener = Listener(bearer(KEY))
        task = asyncio.create_task(edge(listener.scope, listener.receive, listener.send))
        events = events_of(listener.chunks())
        async with asyncio.timeout(PATIENCE):
            await until_up_to_date(events)
            for _ in range(3):
                made = await create(writer, CLAIM)
                assert told(await changes(events, 1)) == [("created", made.id, 1)]
        listener.gone.set()
        edge.services.get(Feed).stop()
        await task


@pytest.mark.long
async def test_a_stream_outlasts_a_database_that_has_no_time(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = Feed.behind
    failed = asyncio.Event()

    async def seen(self: Feed, *arguments: Any) -> Stretch:
        try:
            return await behind(self, *arguments)
        except Problem:
            failed.set()
            raise

    settings = patient(pool_size=1, rate_per_minute=0)
    database = Database(as_service(empty_url), settings)
    edge = create_app(settings, database)
    async with serving(empty_url) as writer, background(edge):
        listener = Listener(bearer(KEY))
        task = asyncio.create_task(edge(listener.scope, listener.receive, listener.send))
        events = events_of(listener.chunks())
        await until_up_to_date(events)
        monkeypatch.setattr(Feed, "behind", seen)
        async with database.connection():
            database.settings = patient(pool_size=1, acquire_seconds=0.2)
            made = await create(writer, CLAIM)
            await asyncio.wait_for(failed.wait(), PATIENCE)
            assert listener.sent.empty()
            assert not task.done()
        database.settings = settings
        async with asyncio.timeout(PATIENCE):
            assert told(await changes(events, 1)) == [("created", made.id, 1)]
        listener.gone.set()
        await task


@asynccontextmanager
async def listening(url: str, settings: Settings, query: str = "") -> AsyncIterator[Listener]:
    """Listen to a service in this process."""
    edge = create_app(settings, Database(as_service(url), settings))
    async with background(edge):
        listener = Listener(bearer(KEY), query)
        task = asyncio.create_task(edge(listener.scope, listener.receive, listener.send))
        try:
            async with asyncio.timeout(PATIENCE):
                yield listener
        finally:
            edge.services.get(Feed).stop()
            listener.gone.set()
            await task


async def test_the_end_is_told_when_it_is_known_again_though_nobody_asks(empty_url: str) -> None:
    settings = impatient()
    edge = create_app(settings, Database(as_service(empty_url), settings))
    async with serving(empty_url) as writer, background(edge), asyncio.timeout(PATIENCE):
        listener = Listener(bearer(KEY))
        task = asyncio.create_task(edge(listener.scope, listener.receive, listener.send))
        events = events_of(listener.chunks())
        await until_up_to_date(events)
        feed = edge.services.get(Feed)
        async with standing_still(empty_url):
            made = await create(writer, CLAIM)
            await feed.catch_up()
            assert not feed.certain
        change, end = await until_up_to_date(events)
        assert told([change.json]) == [("created", made.id, 1)]
        assert end.json == {"next_cursor": end.id}
        listener.gone.set()
        feed.stop()
        await task


async def test_the_end_is_not_told_while_nobody_can_tell(empty_url: str) -> None:
    async with serving(empty_url) as writer:
        await create(writer, CLAIM)
        await page(writer)
        async with (
            standing_still(empty_url),
            listening(empty_url, impatient()) as listener,
        ):
            assert (await anext(listener.chunks())).count(b"event: ") == 1  # the change


async def test_many_events_are_sent_in_pieces(empty_url: str) -> None:
    """The next one is made when the connection has taken the last."""
    async with serving(empty_url) as writer:
        for number in range(40):
            await create(writer, CLAIM, {"text": f"{number} " + "x" * 9_000})
        largest = 20_000
        async with listening(empty_url, patient(pool_size=2)) as listener:
            taken, sizes = 0, []
            async for chunk in listener.chunks():
                taken += chunk.count(b"event: change")
                sizes.append(len(chunk))
                if taken == 40:
                    break
    assert len(sizes) > 3
    assert max(sizes) < PIECE_BYTES + largest


async def test_heartbeats_are_in_time_however_rarely_the_key_is_looked_at(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert HEARTBEAT_SECONDS < 15
    monkeypatch.setattr("api.sync.feed.stream.RECHECK_SECONDS", 10 * PATIENCE)
    await test_a_silent_stream_has_a_heartbeat(empty_url)
