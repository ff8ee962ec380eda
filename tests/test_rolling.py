"""A rolling restart: two instances are restarted in turn, and no request fails."""

from __future__ import annotations

import asyncio
import itertools
import select
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from api.server.draining import Draining
from api.server.listening import accept_waiting, ignore_new_clients
from tests.conftest import KEY, PATIENCE, allow, bearer, serving
from tests.network import free_port
from tests.test_cli import Service, url  # noqa: F401 - a fixture
from tests.test_cli import serving as serving_for_real

DRAIN_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.2
CLIENTS: Final = 8
PACE_SECONDS: Final = 0.02
LEAST: Final = 300
"""How many requests are sent at least."""


# --- a balancer ------------------------------------------------------------------------------


class Balancer:
    """Sends each request to an instance in turn, over connections that it keeps.

    One that reads readiness leaves out instances that are not ready. Both try the next instance
    only if no connection can be made: a request that was sent is never sent again.
    """

    def __init__(self, addresses: list[str], *, kept: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=CLIENTS if kept else 0)
        self._instances = [
            httpx.AsyncClient(base_url=each, headers=bearer(KEY), limits=limits, timeout=PATIENCE)
            for each in addresses
        ]
        self._ready = dict.fromkeys(self._instances, True)
        self._turns = itertools.count()
        self.statuses: Counter[int | str] = Counter()

    async def send(self) -> None:
        """Send one request, and count what became of it."""
        number = next(self._turns)
        for turn in range(number, number + 2 * len(self._instances)):
            instance = self._instances[turn % len(self._instances)]
            if not self._ready[instance] and any(self._ready.values()):
                continue
            try:
                answer = await self._ask(instance, number)
            except httpx.ConnectError:
                continue
            except httpx.HTTPError as error:
                self.statuses[repr(error)] += 1
            else:
                self.statuses[answer.status_code] += 1
            return
        self.statuses["no instance"] += 1

    async def _ask(self, instance: httpx.AsyncClient, number: int) -> httpx.Response:
        if number % 4:
            return await instance.get("/v1/claims", params={"limit": "1"})
        return await instance.post("/v1/claims", json={"text": "x"})

    @asynccontextmanager
    async def reading_readiness(self) -> AsyncIterator[None]:
        async def poll() -> None:
            while True:
                for instance in self._instances:
                    ready = False
                    with suppress(httpx.HTTPError):
                        ready = (await instance.get("/health/ready")).is_success
                    self._ready[instance] = ready
                await asyncio.sleep(POLL_SECONDS)

        polling = asyncio.create_task(poll())
        yield
        polling.cancel()

    async def close(self) -> None:
        for each in self._instances:
            await each.aclose()


# --- instances -------------------------------------------------------------------------------


@contextmanager
def instance(tmp_path: Path, url: str, port: int, *more: str) -> Iterator[Service]:  # noqa: F811
    with serving_for_real(
        tmp_path,
        "--port",
        str(port),
        *more,
        DATABASE_URL=url,
        CLAIM_RECORDS_DRAIN_SECONDS=str(DRAIN_SECONDS),
        CLAIM_RECORDS_RATE_PER_MINUTE="0",
    ) as service:
        yield service


async def restart_in_turn(
    tmp_path: Path,
    url: str,  # noqa: F811
    more: tuple[str, ...],
    balancer_kind: str,
    least: int = LEAST,
    seconds: float = 3 * PATIENCE,
) -> Counter[int | str]:
    """Restart two instances in turn, until clients have sent so many requests, or time is over.

    Gives what became of the requests. `bench/rolling.py` sends more of them.
    """
    until = time.monotonic() + seconds
    ports = [free_port(), free_port()]
    balancer = Balancer(
        [f"http://127.0.0.1:{port}" for port in ports], kept=balancer_kind != "connects anew"
    )
    over = asyncio.Event()

    async def client() -> None:
        while not over.is_set():
            await balancer.send()
            await asyncio.sleep(PACE_SECONDS)  # an instance that starts needs the processor too

    def restart(service: Service) -> None:
        assert service.stop(signal.SIGTERM) == 0
        assert "Draining" in service.log

    async def roll() -> None:
        running = [instance(tmp_path, url, port, *more) for port in ports]
        services = [await asyncio.to_thread(each.__enter__) for each in running]
        clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
        try:
            for turn in itertools.count():
                place = turn % len(ports)
                enough = balancer.statuses.total() > least or time.monotonic() > until
                if place == 0 and enough:
                    break
                await asyncio.sleep(2 * POLL_SECONDS)
                await asyncio.to_thread(restart, services[place])
                running[place].__exit__(None, None, None)
                running[place] = instance(tmp_path, url, ports[place], *more)
                services[place] = await asyncio.to_thread(running[place].__enter__)
            over.set()
            await asyncio.gather(*clients)
        finally:
            for task in clients:
                task.cancel()
            for each in running:
                each.__exit__(None, None, None)

    async with asyncio.timeout(seconds + PATIENCE):
        if balancer_kind == "reads readiness":
            async with balancer.reading_readiness():
                await roll()
        else:
            await roll()
    await balancer.close()
    return balancer.statuses


# --- tests -----------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.newest
@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        ("reads readiness", "1"),
        ("keeps connections", "1"),
        ("connects anew", "1"),
        ("connects anew", "2"),
    ],
)
async def test_no_request_fails_while_instances_are_restarted_in_turn(
    tmp_path: Path,
    url: str,  # noqa: F811
    kind: str,
    workers: str,
) -> None:
    await allow(url)
    statuses = await restart_in_turn(tmp_path, url, ("--workers", workers), kind)
    assert statuses.keys() == {200, 201}
    assert statuses.total() > LEAST


@pytest.mark.process
@pytest.mark.newest
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_client_that_connected_before_the_stop_may_send_a_while_later(
    tmp_path: Path,
    url: str,  # noqa: F811
    workers: str,
) -> None:
    port = free_port()
    with instance(tmp_path, url, port, "--workers", workers) as service:
        opened: list[socket.socket] = []
        service.process.send_signal(signal.SIGTERM)
        with suppress(ConnectionRefusedError):
            while True:
                opened.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
                time.sleep(0.01)
        time.sleep(0.8)  # the client, or its machine, is busy
        for each in opened[-3:]:
            each.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert each.recv(1000).startswith(b"HTTP/1.1 200")
        for each in opened:
            each.close()
        assert service.process.wait(PATIENCE) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the packet filter is Linux's")
def test_a_listener_that_ignores_new_clients_keeps_those_that_have_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, PATIENCE) as before, socket.socket() as after:
            ignore_new_clients(listener)
            after.setblocking(False)
            with pytest.raises(BlockingIOError):
                after.connect(address)
            accepted = accept_waiting(non_blocking(listener))
            assert [each.getpeername() for each in accepted] == [before.getsockname()]
            before.sendall(b"x")
            assert accepted[0].recv(1) == b"x"
            assert not select.select([], [after], [], 0.1)[1]
            accepted[0].close()


def non_blocking(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    return listener


async def test_a_service_that_drains_is_not_ready_and_asks_clients_to_leave(
    empty_url: str,
) -> None:
    async with serving(empty_url) as client:
        assert "connection" not in (await client.get("/v1/claims")).headers
        client._transport.app.services.get(Draining).begin()  # type: ignore[attr-defined] # noqa: SLF001 - the application behind the client
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["code"]) == (503, "unavailable")
        assert "about to stop" in ready.json()["detail"]
        assert (await client.get("/health/live")).status_code == 200
        for answer in (ready, await client.get("/v1/claims"), await client.get("/v1/none")):
            assert answer.headers["connection"] == "close"
