"""The way to the receivers of webhooks: which addresses may be reached, and no way to others.

Whoever may create a webhook makes this service send requests to a host of their choice (SSRF). So
a name is resolved here, every address that it has is checked, and one of those that were checked is
connected to: a name that resolves differently the next time gains nothing. Redirects are not
followed, and no proxy is read from the environment. Python's `is_global` is no guard: with 3.11
NAT64, 6to4 and `::127.0.0.1` pass it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Thread
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_ADDRESSES: Final = 4
"""How many addresses of a name are tried."""
_CONNECT_SECONDS: Final = 5.0
_SLOW_CONNECT: Final = (
    f"Connecting, or the TLS handshake, had not ended after {_CONNECT_SECONDS:g} s."
)
_KEEPALIVE_SECONDS: Final = 5.0
_MAX_READ: Final = 65_536
"""How many bytes of an answer are read, and dropped, so that its connection can be used again."""

# https://www.iana.org/assignments/iana-ipv4-special-registry, but for three networks of it that
# are ordinary ones; and multicast.
_SPECIAL_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "168.63.129.16/32",  # the host of a machine in Azure, in no registry
        ),
    )
)
# https://www.iana.org/assignments/iana-ipv6-special-registry within what is global unicast; the
# rest of IPv6 is refused as a whole: ::/96 (compatible), 64:ff9b:1::/48, fc00::/7, fe80::/10 …
_GLOBAL_6: Final = IPv6Network("2000::/3")
_SPECIAL_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Teredo, 2001::/32, among others
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "3fff::/20",
        ),
    )
)
# Where an IPv4 address stands in the last 32 bits, and is what is reached.
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052; an IPv6-only host reaches IPv4 by these


NETWORK_ERRORS: Final = (
    OSError,  # of TLS after the handshake too, which httpcore lets through; and a timeout
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)
"""What the network and the receiver may do to a message."""


class TargetRefused(Exception):  # noqa: N818 - it says what happened
    """A URL or an address that no message is sent to."""


def permitted(address: Address, networks: Iterable[Network], *, only: bool = False) -> bool:
    """Tell whether an address may be reached: with `only`, by its being listed alone."""
    plain = _plain(address)
    if any(one in network for network in networks for one in (address, plain)):
        return True
    return not only and not _special(plain)


def _plain(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 address leads to; itself, if to none."""
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _special(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _SPECIAL_4)
    return address not in _GLOBAL_6 or any(address in network for network in _SPECIAL_6)


# --- URLs ------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A URL, taken apart once."""

    scheme: str
    host: str  # without brackets, and without a dot at its end
    port: int
    path: str  # with its query

    @property
    def url(self) -> httpcore.URL:
        """Give the parts as they are, to be read by nobody again."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return httpcore.URL(
            scheme=self.scheme.encode(),
            host=host.encode(),
            port=self.port,
            target=self.path.encode(),
        )


_PORTS: Final = {"https": 443, "http": 80}
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z")


def parsed(url: str) -> Target:
    """Take a URL apart, or say why nothing is sent to it."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise TargetRefused("It is no URL.") from None
    if parts.scheme not in _PORTS:
        raise TargetRefused("Its scheme is `https`.")
    if "@" in parts.netloc:
        raise TargetRefused("It has no user and no password.")
    if parts.fragment:
        raise TargetRefused("It has no fragment.")
    bracketed = "[" in parts.netloc
    if port == 0 or not (_literal(host) if ":" in host else not bracketed and _NAME.match(host)):
        raise TargetRefused("It names no host.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def _literal(host: str) -> Address | None:
    """Read a host that is an address, in any spelling that the system's resolver takes."""
    with suppress(OSError, ValueError):
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        return ip_address(found[0][4][0])
    return None


def check_url(url: str, networks: Sequence[Network]) -> None:
    """Refuse a URL that nothing can be sent to, as far as that can be told by looking at it."""
    target = parsed(url)
    plain = target.scheme == "http"
    if plain and not networks:
        raise TargetRefused("Its scheme is `https`.")
    address = _literal(target.host)
    if address is not None and not permitted(address, networks, only=plain):
        raise TargetRefused("Its address may not be reached.")


# --- requests --------------------------------------------------------------------------------


class Resolver:
    """Names to addresses, in threads of its own: a name server that is slow delays no others.

    The loop's own threads are few, and other work waits for them. These are daemons, because
    nothing ends a look-up before its time, and the end of the process waits for an executor's.
    """

    def __init__(self, threads: int) -> None:
        """Have no thread yet."""
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
        except RuntimeError:  # the system lets us have no more
            self._free.release()
            raise
        try:
            found = await asyncio.wrap_future(look)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("The name has no address.") from None
        return list(dict.fromkeys(found))


def _look_up(look: Future[list[Address]], host: str, port: int) -> None:
    """Ask the system's resolver, and hand its answer to whoever still waits for that."""
    if not look.set_running_or_notify_cancel():
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        look.set_result([ip_address(each[4][0]) for each in found])
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
        look.set_exception(error)


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, resolver: Resolver, networks: Sequence[Network], *, only: bool) -> None:
        self._resolver = resolver
        self._networks = networks
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
        """Connect to a host, if every address of it may be reached."""
        addresses = await self._resolver.addresses(host, port)
        if not all(permitted(each, self._networks, only=self._only) for each in addresses):
            raise TargetRefused("The host has an address that may not be reached.")
        failure: Exception = httpcore.ConnectError("The name has no address.")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class Answered(NamedTuple):
    """What a receiver said."""

    status: int
    retry_after: str | None


class Targets:
    """Sends messages to receivers."""

    def __init__(self, networks: Sequence[Network], most: int) -> None:
        """Be ready to send to `most` receivers at a time; `networks` may be reached besides."""
        self._resolver = Resolver(most)
        self._networks = networks
        self._most = most
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}
        self._making_pool = asyncio.Lock()

    async def post(
        self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, seconds: float
    ) -> Answered:
        """Send a message, once; raise `TimeoutError` where no answer came in time."""
        target = parsed(url)
        pool = await self._pool(target.scheme)
        answered = None
        try:
            async with (
                asyncio.timeout(seconds),
                pool.stream(
                    "POST",
                    target.url,
                    headers=headers,
                    content=body,
                    extensions={"timeout": {"connect": _CONNECT_SECONDS}},
                ) as response,
            ):
                answered = Answered(response.status, _retry_after(response.headers))
                await _drop(response)
        except NETWORK_ERRORS as error:
            if answered is None:  # else the answer is known, and its body of no interest
                if isinstance(error, httpcore.ConnectTimeout):
                    raise httpcore.ConnectTimeout(_SLOW_CONNECT) from None
                raise
        assert answered is not None  # noqa: S101 - for the type checker
        return answered

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
                    max_keepalive_connections=self._most,
                    keepalive_expiry=_KEEPALIVE_SECONDS,
                    # Messages over plain HTTP stay within the networks listed for it.
                    network_backend=_Guarded(self._resolver, self._networks, only=scheme == "http"),
                )
        return self._pools[scheme]

    async def close(self) -> None:
        """Disconnect."""
        for pool in self._pools.values():
            await pool.aclose()


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    found = (value for name, value in headers if name.lower() == b"retry-after")
    return next((value.decode("latin-1") for value in found), None)


async def _drop(response: httpcore.Response) -> None:
    """Read a body to its end, if that is near."""
    read = 0
    async for chunk in response.aiter_stream():
        read += len(chunk)
        if read > _MAX_READ:
            return
