"""Targets: the network to the receivers of webhooks.

A host name is resolved here, every address that it has is checked, and the connection is made to
one of the checked addresses. So a name that resolves differently the next time gains nothing.
Redirects are not followed, and no proxy is read from the environment.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import Final, NamedTuple

import httpcore

from api.sync.webhooks.addresses import (
    WAY_OUT,
    Address,
    Reach,
    TargetRefused,
    parse_url,
    permitted,
)

_MAX_ADDRESSES: Final = 4
"""How many addresses of a host are tried."""
_CONNECT_SECONDS: Final = 5.0
_SLOW_CONNECT: Final = (
    f"The connection or its TLS handshake was not complete after {_CONNECT_SECONDS:g} s."
)
_KEEPALIVE_SECONDS: Final = 5.0
_MAX_READ: Final = 65_536
"""How many bytes of an answer are read and dropped, so that its connection can be used again."""

NETWORK_ERRORS: Final = (
    OSError,  # a timeout too, and a TLS error after the handshake, which httpcore does not wrap
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)
"""The errors that the network or the receiver may cause."""


class Resolver:
    """Resolves host names in threads of its own, so that a slow name server delays nothing else.

    The event loop's own threads are few, and other work waits for them. These threads are daemons,
    because a look-up can't be cancelled, and a process waits for an executor's threads at its end.
    """

    def __init__(self, threads: int) -> None:
        """Start without a thread; there are never more than `threads`."""
        self._free = asyncio.Semaphore(threads)

    async def addresses(self, host: str, port: int) -> list[Address]:
        """List the addresses of a host."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        look: Future[list[Address]] = Future()

        def work() -> None:
            _look_up(look, host, port)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._free.release)

        try:
            Thread(target=work, name="resolve", daemon=True).start()
        except RuntimeError:  # the system allows no more threads
            self._free.release()
            raise
        try:
            addresses = await asyncio.wrap_future(look)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("The host name has no address.") from None
        return list(dict.fromkeys(addresses))


def _look_up(look: Future[list[Address]], host: str, port: int) -> None:
    """Ask the system's resolver, and pass its answer on unless nobody waits for it any more."""
    if not look.set_running_or_notify_cancel():
        return
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        look.set_result([ip_address(entry[4][0]) for entry in entries])
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
        look.set_exception(error)


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that were checked."""

    def __init__(self, resolver: Resolver, reach: Reach, *, only: bool) -> None:
        self._resolver = resolver
        self._reach = reach
        self._only = only
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host if every address that it has may be reached."""
        host = host.strip("[]")  # as a URL writes an IPv6 address
        addresses = await self._resolver.addresses(host, port)
        own = self._reach.of(host)
        if not all(permitted(each, own, only=self._only) for each in addresses):
            why = "plain HTTP is not sent there" if self._only else "it is private or special"
            raise TargetRefused(
                f"The host has an address that may not be reached: {why}. {WAY_OUT}"
            )
        failure: Exception = httpcore.ConnectError("The host name has no address.")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class TargetAnswer(NamedTuple):
    """The parts of a receiver's answer that matter here."""

    status: int
    retry_after: str | None


class Targets:
    """Sends messages to receivers."""

    def __init__(self, reach: Reach, limit: int) -> None:
        """Prepare to send to `limit` receivers at a time, within the reach that is permitted."""
        self._resolver = Resolver(limit)
        self._reach = reach
        self._limit = limit
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}
        self._making_pool = asyncio.Lock()

    async def post(
        self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, seconds: float
    ) -> TargetAnswer:
        """Send a message once; raise `TimeoutError` if no answer comes in time."""
        target = parse_url(url)
        pool = await self._pool(target.scheme)
        answer = None
        try:
            async with (
                asyncio.timeout(seconds),
                pool.stream(
                    "POST",
                    target.url,
                    headers=headers,
                    content=body,
                    extensions={
                        "timeout": {"connect": _CONNECT_SECONDS},
                        "sni_hostname": target.host,
                    },
                ) as response,
            ):
                answer = TargetAnswer(response.status, _retry_after(response.headers))
                await _drop(response)
        except NETWORK_ERRORS as error:
            if answer is None:  # otherwise the answer is known, and its body does not matter
                if isinstance(error, httpcore.ConnectTimeout):
                    raise httpcore.ConnectTimeout(_SLOW_CONNECT) from None
                raise
        assert answer is not None  # noqa: S101 - for the type checker
        return answer

    async def _pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        """Give the connections for a scheme; the first HTTPS target loads the trusted certificates.

        Loading them takes a tenth of a second, which a service without webhooks does not spend.
        """
        async with self._making_pool:
            if scheme not in self._pools:
                trusted = None
                if scheme == "https":
                    trusted = await asyncio.to_thread(httpcore.default_ssl_context)
                self._pools[scheme] = httpcore.AsyncConnectionPool(
                    ssl_context=trusted,
                    max_connections=None,
                    max_keepalive_connections=self._limit,
                    keepalive_expiry=_KEEPALIVE_SECONDS,
                    # Messages over plain HTTP stay within the networks permitted for it.
                    network_backend=_Guarded(self._resolver, self._reach, only=scheme == "http"),
                )
        return self._pools[scheme]

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    values = (value for name, value in headers if name.lower() == b"retry-after")
    return next((value.decode("latin-1") for value in values), None)


async def _drop(response: httpcore.Response) -> None:
    """Read a body to its end, but not much more than `_MAX_READ` bytes of it."""
    read = 0
    async for chunk in response.aiter_stream():
        read += len(chunk)
        if read > _MAX_READ:
            return
