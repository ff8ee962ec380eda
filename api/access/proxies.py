"""The client behind trusted proxies: its address and its scheme, from `Forwarded` and others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from typing import Any, Final

from api.settings import Settings, networks

Headers = Iterable[tuple[bytes, bytes]]
Address = IPv4Address | IPv6Address

MAX_HOPS: Final = 20
"""How many proxies before this service are looked at."""
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_PAIR: Final = rf"({_WORD})=({_WORD}|{_QUOTED})"
_HOP: Final = rf"\s*{_PAIR}(?:;{_PAIR})*\s*"
_FORWARDED: Final = re.compile(rf"{_HOP}(?:,{_HOP})*\Z")
"""`Forwarded` as RFC 7239 has it, section 4."""
_PARTS: Final = re.compile(rf"{_PAIR}|(?P<end>,)")
_WITH_PORT: Final = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?\Z")


class Proxies:
    """The proxies that the settings trust to say whose request they pass on."""

    def __init__(self, settings: Settings) -> None:
        """Read the networks of the proxies."""
        self._networks = networks("trusted_proxies", settings.trusted_proxies)

    def find_client(self, scope: Any) -> None:  # noqa: ANN401 - ASGI
        """Put the address of the client into a request that a trusted proxy has passed on.

        If the proxies say by which scheme the client has sent it, that is put in, too: the
        addresses in answers begin with it.

        A proxy adds to one of the two headers and may pass on the other one as the client wrote it.
        So where they name different clients, neither counts.
        """
        client = scope.get("client")
        if not self._networks or client is None:
            return
        peer = _read(client[0])
        if peer is None or not self._trusts(peer):
            return
        found = {
            self._client(peer, hops)
            for hops in (_x_forwarded_for(scope["headers"]), _forwarded(scope["headers"]))
            if hops is not None
        }
        if len(found) == 1:
            scope["client"] = (str(found.pop()), 0)
        schemes = set(_schemes(scope["headers"]))
        if len(schemes) == 1 and schemes <= _SCHEMES:
            scope["scheme"] = schemes.pop()

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _client(self, peer: Address, hops: list[str]) -> Address:
        """Go back from the last proxy to the first address that is not one of a trusted proxy.

        The client may have written everything before that itself.
        """
        address = peer
        for hop in islice(reversed(hops), MAX_HOPS):
            read = _read(hop)
            if read is None:
                break  # a proxy that hides the client, or nonsense
            address = read
            if not self._trusts(address):
                break
        return address


def _read(text: str) -> Address | None:
    """Read an address, with or without brackets and a port."""
    match = _WITH_PORT.match(text)
    try:
        address = ip_address((match["v6"] or match["v4"]) if match else text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _joined(headers: Headers, wanted: bytes) -> str | None:
    """Give the values of a header, which may be sent several times."""
    values = [value.decode("latin-1") for name, value in headers if name == wanted]
    return ",".join(values) if values else None


def _x_forwarded_for(headers: Headers) -> list[str] | None:
    """List the hops of `X-Forwarded-For`, the client first; null without the header."""
    value = _joined(headers, b"x-forwarded-for")
    return [hop.strip() for hop in value.split(",")] if value is not None else None


def _schemes(headers: Headers) -> Iterator[str]:
    """Yield the schemes that `X-Forwarded-Proto` and `Forwarded` name."""
    if value := _joined(headers, b"x-forwarded-proto"):
        yield from (scheme.strip().lower() for scheme in value.split(","))
    if (value := _joined(headers, b"forwarded")) and _FORWARDED.match(value):
        for part in _PARTS.finditer(value):
            if not part["end"] and part[1].lower() == "proto":
                yield part[2].strip('"').lower()


_SCHEMES: Final = frozenset(("http", "https"))


def _forwarded(headers: Headers) -> list[str] | None:
    """List the hops of `Forwarded`; null without the header, none if it is not valid."""
    value = _joined(headers, b"forwarded")
    if value is None:
        return None
    return list(_hops(value)) if _FORWARDED.match(value) else []


def _hops(value: str) -> Iterator[str]:
    hop = ""
    for part in _PARTS.finditer(value):
        if part["end"]:
            yield hop
            hop = ""
        elif part[1].lower() == "for":
            hop = part[2].strip('"')
    yield hop
