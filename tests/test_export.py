"""Export: every record that the caller sees, a cursor before it, a count behind it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
import zstandard

from api.access import keyring
from api.core import codings, streaming
from api.core.db import Database
from api.core.errors import Problem
from api.core.request import PIECE_BYTES
from api.sync import export
from schemas.vocabularies import Scope
from tests.conftest import KEY, PATIENCE, allow, bearer, cloned, patient, serving
from tests.test_cli import eventually, execute
from tests.test_cli import serving as serving_for_real
from tests.world import World

Lines = list[dict[str, Any]]


def lines_of(body: bytes) -> Lines:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


async def exported(client: httpx.AsyncClient, query: str = "", **headers: str) -> Lines:
    """Export everything; give the lines, which are whole."""
    answer = await client.get(f"/v1/export{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    header, *lines, totals = lines_of(answer.content)
    assert list(header) == ["cursor", "at", "types"]
    assert totals == {"count": len(lines)}
    for line in lines:
        assert list(line) == ["type", "id", "version", "data"]
        assert (line["id"], line["version"]) == (line["data"]["id"], line["data"]["version"])
    return [header, *lines]


async def some_records(client: httpx.AsyncClient) -> World:
    """Create records of each type, of which one is public, one a draft, one confidential."""
    world = World(client)
    await world.add("sources", "mp", name="Lee")
    await world.add("sources", "mole", confidentiality="protected")
    await world.add("articles", "report", text="Lee says so.", status="usable")
    await world.add(
        "claims", "said", review_status="published", attributions=[{"source_id": "@mp"}]
    )
    await world.add("claims", "draft", attributions=[{"source_id": "@mole"}])
    await world.add("denials", "no", targets=[{"claim_id": "@said"}], review_status="published")
    return world


NAMES = ("mp", "mole", "report", "said", "draft", "no")


# --- what is in it -------------------------------------------------------------------------------


async def test_each_record_is_a_line_with_the_bytes_that_get_gives(
    empty: httpx.AsyncClient,
) -> None:
    world = await some_records(empty)
    await world.patch("mp", note="Edited “here”")
    body = (await empty.get("/v1/export")).content
    header, *lines, _ = body.splitlines()
    assert json.loads(header)["types"] == ["source", "article", "claim", "denial"]
    assert [json.loads(line)["id"] for line in lines] == [world.id(name) for name in NAMES]
    for name, line in zip(NAMES, lines, strict=True):
        doc = (await empty.get(world.at(name))).content
        of, version = json.loads(line)["type"], json.loads(doc)["version"]
        start = f'{{"type":"{of}","id":"{world.id(name)}","version":{version},"data":'
        assert line == start.encode() + doc + b"}"


async def test_what_is_deleted_is_not_in_it(empty: httpx.AsyncClient) -> None:
    world = await some_records(empty)
    await world.delete("no")
    _, *lines = await exported(empty)
    assert world.id("no") not in {line["id"] for line in lines}


async def test_an_empty_database_gives_a_cursor_and_no_records(empty: httpx.AsyncClient) -> None:
    (header,) = await exported(empty)
    page = (await empty.get("/v1/changes", params={"since": header["cursor"]})).json()
    assert (page["items"], page["up_to_date"]) == ([], True)


async def test_types_choose_what_is_in_it(empty: httpx.AsyncClient) -> None:
    await some_records(empty)
    header, *lines = await exported(empty, "?types=denial,source")
    assert header["types"] == ["source", "denial"]
    assert [line["type"] for line in lines] == ["source", "source", "denial"]
    for wrong in ("planet", "claim,claim", "", "claim,"):
        answer = await empty.get("/v1/export", params={"types": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")


async def test_only_what_the_caller_sees_is_in_it(empty: httpx.AsyncClient, empty_url: str) -> None:
    world = await some_records(empty)
    drafts = {"draft"}
    confidential = {"mole"}
    for number, (scopes, seen) in enumerate(
        (
            ({Scope.READ}, set(NAMES) - drafts - confidential),
            ({Scope.DRAFTS_READ}, set(NAMES) - confidential),
            ({Scope.READ, Scope.CONFIDENTIAL_READ}, set(NAMES) - drafts),
            ({Scope.CLAIMS_WRITE}, set(NAMES) - confidential),
        )
    ):
        key = await allow(empty_url, keyring.written(f"{number:012d}", "1" * 30), scopes)
        _, *lines = await exported(empty, **bearer(key))
        assert {line["id"] for line in lines} == {world.id(name) for name in seen}
        counted = await empty.get("/v1/export?types=claim", headers=bearer(key))
        assert lines_of(counted.content)[-1]["count"] == len(seen & {"said", "draft"})


# --- where it goes -------------------------------------------------------------------------------


async def test_import_takes_an_export_as_it_is(empty: httpx.AsyncClient, template: str) -> None:
    await some_records(empty)
    body = (await empty.get("/v1/export")).content
    ndjson = {"content-type": "application/x-ndjson"}
    async with cloned(template) as url, serving(url) as other:
        for counted in ("created", "unchanged"):
            answer = await other.post("/v1/import?atomic=true", content=body, headers=ndjson)
            *_, totals = lines_of(answer.content)
            assert totals["totals"][counted] == totals["totals"]["lines"] == len(NAMES), totals
        _, *copied = await exported(other)
    _, *lines = await exported(empty)
    for line in (*lines, *copied):
        for own in ("version", "created_at", "updated_at"):
            del line["data"][own]
    by_id = {line["id"]: line["data"] for line in lines}
    assert {line["id"]: line["data"] for line in copied} == by_id
    again = await empty.post("/v1/import", content=body, headers=ndjson)
    assert lines_of(again.content)[-1]["totals"]["unchanged"] == len(NAMES)


Message = dict[str, Any]


async def call(
    client: httpx.AsyncClient,
    send: Callable[[Message], Awaitable[None]],
    receive: Callable[[], Awaitable[Message]] | None = None,
    key: str = KEY,
) -> None:
    """Ask for an export as a server does, to see each piece as it comes."""

    async def stay() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    transport = client._transport  # noqa: SLF001 - what `serving` made
    assert isinstance(transport, httpx.ASGITransport)
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {key}".encode())]
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/export",
        "raw_path": b"/v1/export",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await transport.app(scope, receive or stay, send)  # type: ignore[arg-type]


async def test_export_then_feed_is_everything(
    empty: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_RECORDS", 1)
    world = await some_records(empty)
    body = b""

    async def send(message: Message) -> None:
        """Write while the second record leaves."""
        nonlocal body
        if body.count(b"\n") == 2:
            await world.add("sources", "later", name="Kim")
            await world.patch("mp", note="read already")
            await world.patch("said", note="not read yet")
            await world.delete("no")
        body += message.get("body", b"")

    await call(empty, send)
    header, *lines, totals = lines_of(body)
    assert totals["count"] == len(lines)
    copy = {line["id"]: line["data"] for line in lines}
    page = (await empty.get("/v1/changes", params={"since": header["cursor"]})).json()
    assert page["up_to_date"]
    for item in page["items"]:
        if item["record"] is None:
            copy.pop(item["id"], None)
        elif item["version"] > copy.get(item["id"], {"version": 0})["version"]:
            copy[item["id"]] = item["record"]
    _, *now = await exported(empty)
    assert copy == {line["id"]: line["data"] for line in now}


# --- how it is sent ------------------------------------------------------------------------------


async def test_no_more_than_a_piece_is_handed_on_at_once(empty: httpx.AsyncClient) -> None:
    world = World(empty)
    long = "x" * 400_000
    for number in range(7):
        await world.add("articles", f"{number}", text=long)
    sizes: list[int] = []

    async def send(message: Message) -> None:
        sizes.append(len(message.get("body", b"")))

    await call(empty, send)
    assert sum(sizes) > 7 * len(long)
    assert max(sizes) == PIECE_BYTES


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ((), "identity"),
        (("",), "identity"),
        (("gzip",), "gzip"),
        (("GZIP;Q=0.5",), "gzip"),
        (("gzip, deflate, br, zstd",), "zstd"),
        (("gzip", "zstd"), "zstd"),
        (("gzip;q=0.8, zstd;q=0.7",), "gzip"),
        (("gzip;q=0, zstd;q=0.0",), "identity"),
        (("identity, gzip;q=0.5",), "identity"),
        (("*",), "zstd"),
        (("*;q=0",), "identity"),
        (("*, zstd;q=0",), "gzip"),
        (("br",), "identity"),
        (("gzip;q=2, zstd;level=3",), "identity"),
    ],
)
def test_the_coding_is_the_one_that_is_asked_for(accepted: tuple[str, ...], coding: str) -> None:
    assert codings.preferred(accepted) == coding


async def test_compressed_or_not_it_is_the_same(empty: httpx.AsyncClient) -> None:
    await some_records(empty)

    async def raw(coding: str) -> bytes:
        async with empty.stream("GET", "/v1/export", headers={"accept-encoding": coding}) as found:
            assert found.headers["vary"] == "Accept-Encoding"
            assert found.headers.get("content-encoding", "identity") == coding
            assert "content-length" not in found.headers
            return b"".join([chunk async for chunk in found.aiter_raw()])

    plain = await raw("identity")
    gzip = zlib.decompressobj(31)
    unpacked = {
        "gzip": gzip.decompress(await raw("gzip")) + gzip.flush(),
        "zstd": zstandard.ZstdDecompressor().decompressobj().decompress(await raw("zstd")),
    }
    assert gzip.eof
    for body in unpacked.values():
        assert body.splitlines()[1:] == plain.splitlines()[1:]  # the first has the time


async def test_head_reads_no_more_than_it_has_to(empty: httpx.AsyncClient) -> None:
    await some_records(empty)
    answer = await empty.head("/v1/export")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-ndjson"


# --- when it fails -------------------------------------------------------------------------------


async def locked(url: str, table: str) -> asyncpg.Connection[asyncpg.Record]:
    """Keep everybody from reading a table."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"BEGIN; LOCK TABLE {table}")
    return connection


async def test_a_failure_at_the_start_is_a_problem(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_PAUSE_SECONDS", 0.01)
    async with serving(empty_url, patient(lock_seconds=0.05)) as client:
        holder = await locked(empty_url, "sources")
        answer = await client.get("/v1/export")
        await holder.close()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_a_page_that_the_database_had_no_time_for_is_read_again(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Database.fetch
    refused: asyncio.Queue[Problem] = asyncio.Queue()

    async def seen(self: Database, query: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            return await fetch(self, query, *arguments)
        except Problem as problem:
            refused.put_nowait(problem)
            raise

    monkeypatch.setattr(Database, "fetch", seen)
    monkeypatch.setattr(streaming, "_TRIES", 100_000)
    monkeypatch.setattr(streaming, "_PAUSE_SECONDS", 0.01)
    async with serving(empty_url, patient(lock_seconds=0.05)) as client:
        world = await some_records(client)
        body = b""
        holders: list[asyncpg.Connection[asyncpg.Record]] = []

        async def send(message: Message) -> None:
            """Lock what is read last as soon as the answer begins."""
            nonlocal body
            if not holders:
                holders.append(await locked(empty_url, "denials"))
            body += message.get("body", b"")

        asking = asyncio.create_task(call(client, send))
        for _ in range(6):
            await asyncio.wait_for(refused.get(), PATIENCE)
        assert not asking.done()
        await holders[0].close()
        await asking
        *_, last, totals = lines_of(body)
        assert (last["id"], totals["count"]) == (world.id("no"), len(NAMES))


@pytest.mark.parametrize("after", range(1, len(NAMES) + 1))
async def test_an_export_is_cut_off_when_its_key_is_withdrawn(
    empty: httpx.AsyncClient,
    empty_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    after: int,
) -> None:
    monkeypatch.setattr(export, "MAX_RECORDS", 1)
    await some_records(empty)
    key = await allow(empty_url, keyring.new_key())
    pieces: list[bytes] = []
    ended = False

    async def send(message: Message) -> None:
        """Withdraw the key while a page is under way."""
        nonlocal ended
        if message["type"] == "http.response.start":
            return
        pieces.append(message["body"])
        ended = ended or not message["more_body"]
        if len(pieces) == after:
            revoked = await empty.delete(f"/v1/keys/{keyring.identity_of(key)}")
            assert revoked.status_code == 204

    await asyncio.wait_for(call(empty, send, key=key), PATIENCE)
    assert (len(pieces), ended) == (after, False)
    assert b'"count":' not in b"".join(pieces)
    assert "a streamed answer was cut off" in caplog.text


@pytest.mark.long
def test_an_export_that_fails_midway_is_seen_to_be_cut_off(tmp_path: Path, template: str) -> None:
    with asyncio.Runner() as runner:
        database = cloned(template)
        url = runner.run(database.__aenter__())
        runner.run(_prepare(url, some_records))
        runner.run(execute(url, "ALTER TABLE denials RENAME COLUMN created_at TO away"))
        with serving_for_real(tmp_path, DATABASE_URL=url) as service:
            client = httpx.Client(base_url=service.address, headers=bearer(KEY), timeout=PATIENCE)
            with client, client.stream("GET", "/v1/export") as answer:
                assert answer.status_code == 200, service.log
                body = b""
                whole = False
                with suppress(httpx.RemoteProtocolError):
                    for chunk in answer.iter_bytes():
                        body += chunk
                    whole = True
                assert not whole
            assert b'"count":' not in body
            eventually(lambda: "a streamed answer was cut off" in service.log)
            assert service.stop() == 0
        runner.run(database.__aexit__(None, None, None))


async def _prepare(url: str, write: Callable[[httpx.AsyncClient], Awaitable[object]]) -> None:
    async with serving(url) as client:
        await write(client)


async def long_articles(client: httpx.AsyncClient) -> None:
    """Write more than the kernel takes for a client that does not read."""
    world = World(client)
    for number in range(3):
        await world.add("articles", f"{number}", text="x" * 4_000_000)


async def test_who_leaves_takes_nothing_with_them(empty_url: str) -> None:
    async with serving(empty_url, patient(pool_size=1)) as client:
        await some_records(client)
        reading = asyncio.Event()

        async def send(message: Message) -> None:
            """Take nothing after the start."""
            if message["type"] == "http.response.body":
                reading.set()
                await asyncio.Event().wait()

        async def receive() -> Message:
            await reading.wait()
            return {"type": "http.disconnect"}

        await asyncio.wait_for(call(client, send, receive), PATIENCE)
        assert reading.is_set()
        await exported(client)


@pytest.mark.long
def test_a_stop_does_not_wait_for_who_reads_slowly(tmp_path: Path, template: str) -> None:
    with asyncio.Runner() as runner:
        database = cloned(template)
        url = runner.run(database.__aenter__())
        runner.run(_prepare(url, long_articles))
        settings = {"CLAIM_RECORDS_STOP_SECONDS": "600", "CLAIM_RECORDS_STALL_SECONDS": "600"}
        with (
            serving_for_real(tmp_path, DATABASE_URL=url, **settings) as service,
            socket.socket() as client,
        ):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            place = urlsplit(service.address)
            client.settimeout(PATIENCE)
            client.connect((place.hostname, place.port))
            client.sendall(
                b"GET /v1/export HTTP/1.1\r\nHost: localhost\r\n"
                b"Authorization: Bearer %b\r\nX-Request-Id: slow-%b\r\n\r\n"
                % (KEY.encode(), uuid4().hex.encode())
            )
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            service.process.send_signal(signal.SIGTERM)
            eventually(lambda: "Stopping" in service.log)
            with suppress(ConnectionError):
                while client.recv(1_000_000):
                    pass
            assert service.process.wait(PATIENCE) == 0
            assert "Traceback" not in service.log
        runner.run(database.__aexit__(None, None, None))
