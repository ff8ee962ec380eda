"""The socket on which the service listens, and how many connections it may have."""

from __future__ import annotations

import ctypes
import resource
import socket
import struct
import sys
from contextlib import suppress
from errno import EACCES, EADDRINUSE
from typing import Final

from api.server.exits import CommandError

_MAX_WAITING: Final = 4_096
"""How many connections the kernel may hold; uvicorn asks for 2,048."""


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything slow is started; clients cannot connect yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CommandError(
            f"This machine finds no address for the host {host}: {error.strerror}. "
            "Name another one (`--host`)."
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CommandError(_explain(host, port, error)) from error
    return listener


def _explain(host: str, port: int, error: OSError) -> str:
    """Say why the service can't listen on an address, and what helps."""
    if error.errno == EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another program. Stop that program, or name "
            "another port (`--port`; 0 takes a free one)."
        )
    if error.errno == EACCES:
        return f"This user may not listen on port {port}. Name a port above 1023 (`--port`)."
    return f"Cannot listen on port {port} of {host}: {error.strerror}."


_SO_ATTACH_FILTER: Final = 26  # of Linux; Python's `socket` has no name for it
_DROP_SYN: Final = (  # for the kernel's packet filter: code, jumps if true and if false, value
    (0x30, 0, 0, 13),  # take byte 13 of the TCP header: the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep it
)


def ignore_new_clients(listener: socket.socket) -> None:
    """Have the kernel begin no more connections, on Linux; those that have begun can be finished.

    If a listener is closed at once, the kernel resets connections that it has accepted meanwhile,
    or is about to. A client that is ignored asks again after a second, and is refused then. This
    holds for all processes that share the listener, until the last of them has closed it.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *each) for each in _DROP_SYN)
    )
    described = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(program))
    with suppress(OSError):  # a kernel without the filter; few clients are reset then
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def accept_waiting(listener: socket.socket) -> list[socket.socket]:
    """Take the connections that the kernel has accepted and nobody has taken yet.

    If the listener were closed before, the kernel would reset them.
    """
    taken: list[socket.socket] = []
    with suppress(OSError):  # there are no more
        while len(taken) < _MAX_WAITING:
            taken.append(listener.accept()[0])
    return taken


def address_of(listener: socket.socket) -> str:
    """Write the URL by which this machine reaches a listening socket."""
    bound, port, *_ = listener.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)  # noqa: S104 - nothing is bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_connection_limit() -> None:
    """Allow as many open files as this user may have, because each connection is one.

    The usual limit of 1,024 would be used up by idle connections. Workers inherit the new limit.
    """
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS reports “unlimited” and refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
