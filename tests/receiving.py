"""A receiver of webhooks, and services that deliver to it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest

from api.app import create_app
from api.core.db import Database
from api.sync.feed.following import Feed
from api.sync.webhooks.delivery import Deliverer
from tests.conftest import (
    PATIENCE,
    allow,
    as_service,
    client_of,
    patient,
    running,
)
from tests.test_openapi import check

LOOPBACK = "127.0.0.0/8,::1/128"
PATCH = {"content-type": "application/merge-patch+json"}
SOMEWHERE = "01938f7a-4c00-7000-8000-0000000000ff"
PUBLIC_URL = "https://receiver.example/hook"
HURRIED: dict[str, Any] = {
    "poll_seconds": 0.05,
    "delays": (0.01,) * 1_000,
    # No attempt ends, and no lease is lost, because the machine is slow.
    "attempt_seconds": PATIENCE,
    "lease_seconds": 3 * PATIENCE,
}


class Received(NamedTuple):
    """A request, as a receiver gets it."""

    headers: dict[str, str]
    body: bytes
    at: dt.datetime

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def told(self) -> tuple[str, str, int]:
        event = self.event
        return event["type"], event["data"]["id"], event["data"]["version"]


Answering = Callable[[Received], Awaitable[tuple[int, dict[str, str]]]]


async def take(_: Received) -> tuple[int, dict[str, str]]:
    return 204, {}


def always(status: int, **headers: str) -> Answering:
    async def answer(_: Received) -> tuple[int, dict[str, str]]:
        return status, {name.replace("_", "-"): value for name, value in headers.items()}

    return answer


class Receiver:
    """An HTTP server on loopback that keeps what it gets, and answers as it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[Received] = []
        self.answering: Answering = take
        self._came = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        assert first.split()[0] == "POST"
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        received = Received(headers, body, dt.datetime.now(dt.UTC))
        async with self._came:
            self.got.append(received)
            self._came.notify_all()
        status, more = await self.answering(received)
        said = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{said}content-length: 0\r\n\r\n".encode())
        await writer.drain()

    async def until(self, number: int) -> list[Received]:
        """Wait for so many requests."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.got) >= number)
        return self.got


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"https://localhost:{port}/hook" if tls else f"http://127.0.0.1:{port}/hook?a=b"
    try:
        yield receiver
    finally:
        server.close()


@pytest.fixture(name="receiver")
async def a_receiver() -> AsyncIterator[Receiver]:
    """Be ready to receive."""
    async with receiving() as found:
        yield found


@asynccontextmanager
async def delivering(
    url: str, listed: str | None = LOOPBACK, host: str = "127.0.0.1", **hurry: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on a database, with a deliverer in a hurry, and give a client."""
    settings = patient(pool_size=5, rate_per_minute=10_000_000, webhook_networks=listed, host=host)
    database = Database(as_service(url), settings)
    app = create_app(settings, database)
    deliverer = Deliverer(database, app.services.get(Feed), **{**HURRIED, **hurry})
    app.services.put(Deliverer, deliverer)
    await allow(url)
    async with running(app), client_of(app) as client:
        yield client


async def made(client: httpx.AsyncClient, url: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/webhooks", json={"url": url} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = check(answer, "createWebhook")
    return found


async def claimed(client: httpx.AsyncClient, text: str = "It is so", **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/claims", json={"text": text} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def changed(client: httpx.AsyncClient, claim: dict[str, Any], **more: Any) -> None:
    path = f"/v1/claims/{claim['id']}"
    answer = await client.patch(path, json=more, headers={"if-match": "*"} | PATCH)
    assert answer.status_code == 200, answer.text


async def patched(client: httpx.AsyncClient, webhook: dict[str, Any], **more: Any) -> Any:
    answer = await client.patch(f"/v1/webhooks/{webhook['id']}", json=more, headers=PATCH)
    assert answer.status_code == 200, answer.text
    return check(answer, "updateWebhook")


async def eventually(
    client: httpx.AsyncClient, webhook: dict[str, Any], what: Callable[[Any], Any]
) -> Any:
    """Wait until a webhook is as expected."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = (await client.get(f"/v1/webhooks/{webhook['id']}")).json()
            if what(found):
                return found
            await asyncio.sleep(0.02)


async def logged(client: httpx.AsyncClient, webhook: dict[str, Any], number: int) -> list[Any]:
    """Wait for so many deliveries in the log; newest first."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await client.get(f"/v1/webhooks/{webhook['id']}/deliveries")
            found: list[Any] = check(answer, "listWebhookDeliveries")["items"]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.02)


async def execute(url: str, statement: str, *values: Any) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()
