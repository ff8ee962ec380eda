"""Serving, by one process or by several."""

from __future__ import annotations

import socket
from collections.abc import Callable

from api.server.exits import HurriedError
from api.server.listening import raise_connection_limit
from api.server.process import Factory, Server
from api.server.shares import shared_directory
from api.server.workers import Workers
from api.settings import Settings


def serve(
    settings: Settings,
    factory: Factory,
    listener: socket.socket,
    announce: Callable[[], None],
    supervise: Callable[[], None],
) -> None:
    """Serve until a signal asks to stop; `announce` is called once, when clients can connect.

    `supervise` is called every tenth of a second in the main thread. If it raises a CommandError,
    the service ends with it.
    """
    raise_connection_limit()
    if settings.workers > 1:
        with shared_directory() as directory:
            Workers(settings, factory, listener, announce, directory, supervise).run()
        return
    server = Server(settings, factory, announce, supervise=supervise)
    server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
    if server.force_exit:
        raise HurriedError(server.signals.last)
