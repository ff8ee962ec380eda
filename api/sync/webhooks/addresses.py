"""Addresses and URLs: to which of them the messages of a webhook may be sent.

A client that may create a webhook makes this service send requests to a host of its choice
(server-side request forgery, SSRF). So private and other special addresses are refused, unless the
settings permit their network. Python's `is_global` does not suffice: in 3.11 it lets NAT64,
6to4 and `::127.0.0.1` pass.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

from api.settings import Settings, comma_separated, listens_on_loopback, networks, variable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# https://www.iana.org/assignments/iana-ipv4-special-registry, without three of its networks,
# which are ordinary ones; and multicast.
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
            "168.63.129.16/32",  # in Azure, the host of a virtual machine; it is in no registry
        ),
    )
)
# https://www.iana.org/assignments/iana-ipv6-special-registry: its networks within global unicast.
# The rest of IPv6 is refused as a whole: ::/96 (compatible), 64:ff9b:1::/48, fc00::/7, fe80::/10 …
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
# Addresses of these networks lead to the IPv4 address in their last 32 bits.
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: IPv6-only hosts reach IPv4 by these


LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

WAY_OUT: Final = (
    "The operator of the service can permit the receiver's network in the setting "
    f"`{variable('webhook_networks')}`."
)


class TargetRefused(Exception):  # noqa: N818 - it says what happened
    """A URL or an address to which no message is sent; says why."""


def permitted(address: Address, networks: Iterable[Network], *, only: bool = False) -> bool:
    """Tell whether messages may be sent to an address.

    `networks` are permitted although they are special; with `only`, nothing else is permitted.
    """
    plain = _plain(address)
    if any(one in network for network in networks for one in (address, plain)):
        return True
    return not only and not _special(plain)


def _plain(address: Address) -> Address:
    """Give the IPv4 address to which an IPv6 address leads; otherwise the address itself."""
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _special(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _SPECIAL_4)
    return address not in _GLOBAL_6 or any(address in network for network in _SPECIAL_6)


# --- what the settings allow -----------------------------------------------------------------


class Reach(NamedTuple):
    """The addresses to which messages are sent besides public ones, and over plain HTTP."""

    networks: Sequence[Network] = ()
    own_machine: bool = False
    """Whether hosts that name this machine may be reached, but no other name that leads to it."""

    def of(self, host: str) -> Sequence[Network]:
        """Give the networks that may be reached under the name of a host."""
        return LOOPBACK if self.own_machine and _names_own_machine(host) else self.networks


def reach(settings: Settings) -> Reach:
    """Read the reach of webhooks from the settings.

    A service that only its own machine can call is one that somebody tries out, with receivers
    beside it. One that answers under other host names, or trusts a proxy, has a proxy in front of
    it, so strangers may call it.
    """
    listed = networks("webhook_networks", settings.webhook_networks)
    proxied = comma_separated(settings.allowed_hosts) or comma_separated(settings.trusted_proxies)
    local = listens_on_loopback(settings) and not proxied
    return Reach(listed, own_machine=local and not listed)


def _names_own_machine(host: str) -> bool:
    """Tell whether a host is a loopback address or a name of loopback (RFC 6761, section 6.3).

    Any other name is under the control of somebody who can let it lead here.
    """
    address = _literal(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


# --- URLs ------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A URL in its parts. It is parsed once, so that the parts checked are the parts used."""

    scheme: str
    host: str  # without brackets, and without a dot at its end
    port: int
    path: str  # with its query

    @property
    def url(self) -> httpcore.URL:
        """Give the parts to the HTTP client, which does not parse them again."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return httpcore.URL(
            scheme=self.scheme.encode(),
            host=host.encode(),
            port=self.port,
            target=self.path.encode(),
        )


DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z")


def parse_url(url: str) -> Target:
    """Parse a URL; raise `TargetRefused` if no message can be sent to it."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise TargetRefused("It is not a valid URL.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise TargetRefused("Its scheme must be `https`.")
    if "@" in parts.netloc:
        raise TargetRefused("It must not contain a user or a password.")
    if parts.fragment:
        raise TargetRefused("It must not contain a fragment.")
    bracketed = "[" in parts.netloc
    if port == 0 or not (_literal(host) if ":" in host else not bracketed and _NAME.match(host)):
        raise TargetRefused("It does not name a valid host.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], path)


def _literal(host: str) -> Address | None:
    """Read a host that is an address, in any spelling that the system's resolver accepts."""
    with suppress(OSError, ValueError):
        entries = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        return ip_address(entries[0][4][0])
    return None


def check_url(url: str, reach: Reach) -> None:
    """Refuse a URL to which nothing can be sent, as far as the URL itself tells that."""
    target = parse_url(url)
    plain = target.scheme == "http"
    own = reach.of(target.host)
    if plain and not own:
        raise TargetRefused(f"Its scheme must be `https`. {WAY_OUT}")
    address = _literal(target.host)
    if address is not None and not permitted(address, own, only=plain):
        why = "plain HTTP is not sent there" if plain else "it is private or special"
        raise TargetRefused(f"Its address may not be reached: {why}. {WAY_OUT}")
