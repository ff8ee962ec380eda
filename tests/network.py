"""A network between the service and Postgres, which can fall silent."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.core import hosts
from api.core.connection import LimitedConnection
from api.core.heartbeat import Heartbeat
from api.settings import Settings
from tests.conftest import PATIENCE

HASTY = Settings(statement_seconds=1.5, acquire_seconds=4, rate_per_minute=0, pool_size=4)
"""The service ends each statement after these 1.5 s, and 2 s for the answer of Postgres."""


class Network:
    """A way to Postgres over TCP, which can stop to forward without closing anything."""

    def __init__(self, url: str) -> None:
        """Remember the database that the way leads to."""
        self._target = urlsplit(url)
        self._flows = asyncio.Event()
        self._flows.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.StreamWriter] = []
        self._last_word = (b"", 0)
        self.connections = 0
        """How many connections were made over it, also while it was silent."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Network]:
        """Forward, until the block ends."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._flows.set()
            for pump in self._pumps:
                pump.cancel()
            for end in self._ends:
                end.transport.abort()

    @property
    def is_silent(self) -> bool:
        """Whether nothing is forwarded now."""
        return not self._flows.is_set()

    def fall_silent(self) -> None:
        """Forward nothing from now on."""
        self._flows.clear()

    def fall_silent_at(self, word: bytes, *, times: int = 1) -> None:
        """Forward what has a word in it to Postgres, for so many times, and nothing afterwards."""
        self._last_word = (word, times)

    def heal(self, *, forget: bool = False) -> None:
        """Forward again; with `forget`, the connections that exist stay silent for good."""
        if forget:
            for pump in self._pumps:
                pump.cancel()
        self._flows.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._ends.append(writer)
        await self._flows.wait()
        from_server, to_server = await self._to_postgres()
        self._ends.append(to_server)
        for source, sink in ((reader, to_server), (from_server, writer)):
            self._pumps.add(asyncio.create_task(self._pump(source, sink)))

    async def _to_postgres(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = parse_qs(self._target.query)
        port = query.get("port", [str(self._target.port or 5432)])[0]
        host = query.get("host", [self._target.hostname or "127.0.0.1"])[0]
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))

    def _listen_for_word(self, data: bytes) -> None:
        word, times = self._last_word
        if times and word in data:
            self._last_word = (word, times - 1)
            if times == 1:
                self.fall_silent()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._flows.wait()
                sink.write(data)
                self._listen_for_word(data)
                await sink.drain()
        except asyncio.CancelledError:
            return  # neither closed nor forwarded
        except ConnectionError:
            pass
        with suppress(OSError):
            sink.close()


_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Find a port that nobody has, and that the kernel hands out to nobody who asks for any port.

    So a service finds it free, now and when it is started again.
    """
    if not _HANDED_OUT.exists():
        return _bound(0)
    first = int(_HANDED_OUT.read_text().split()[0])
    for port in random.sample(range(10_000, first), 100):
        with suppress(OSError):
            return _bound(port)
    raise AssertionError("no port is free")


def _bound(port: int) -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        return int(taken.getsockname()[1])


def over(url: str, networks: Iterable[Network], **more: str) -> str:
    """Give the URL of a database over networks, of which the first is tried first."""
    parts = urlsplit(url)
    user = parts.netloc.partition("@")[0] if "@" in parts.netloc else "postgres"
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in networks)
    query = "&".join(f"{name}={value}" for name, value in more.items())
    return parts._replace(netloc=f"{user}@{hosts}", query=query).geturl()


async def fill_pool(client: httpx.AsyncClient, path: str) -> None:
    """Have the service open all its connections, and leave them idle."""
    await asyncio.gather(*(client.get(path) for _ in range(HASTY.pool_size * 4)))


def be_patient_with(networks: Sequence[Network], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hosts that are not silent be left by no limit of time: only the machine is slow there.

    A silent host is left as soon as ever.
    """
    connect, move = hosts._connect, Heartbeat._move  # noqa: SLF001 - what leaves a host

    def is_silent(port: int) -> bool:
        return any(each.is_silent for each in networks if each.port == port)

    async def connect_patiently(url: str, **options: Any) -> LimitedConnection:
        if "port" in options:  # one host of several
            assert options["timeout"] == hosts.HOST_SECONDS
            if not is_silent(options["port"]):
                options["timeout"] = PATIENCE
        return await connect(url, **options)

    async def move_from_silence(heartbeat: Heartbeat) -> None:
        connection = heartbeat._connection  # noqa: SLF001 - as above
        host = None if connection is None else connection.host
        if host is None or is_silent(host.port):
            await move(heartbeat)

    monkeypatch.setattr(hosts, "_connect", connect_patiently)
    monkeypatch.setattr(Heartbeat, "_move", move_from_silence)
