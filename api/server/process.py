"""One process' server: it runs the application on the listening socket until it is stopped.

uvicorn, not granian: the two are equally fast here, and uvicorn runs in our own process and can
be extended in Python where the contract asks for more than uvicorn does.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, Protocol, TypeAlias

import uvicorn

from api.core import large_input
from api.server.exits import CommandError
from api.server.listening import accept_waiting, ignore_new_clients
from api.server.memory import keep_freed_memory
from api.server.protocol import protocol
from api.server.shares import Share
from api.server.signals import STOPPING, StopSignals, drains_at
from api.settings import Settings

CLOSING_SECONDS: Final = 5
"""How long requests that were cut off after `stop_seconds` may take to free their connections."""

_MAX_TURNS: Final = 100
"""How many turns of the loop a listener may take to be closed."""

_HANDSHAKE_SECONDS: Final = 0.2
"""How long connections that have begun may take to be made, before the listener is closed.

The kernel resets those of clients whose packets take longer to arrive and come back.
"""

log = logging.getLogger("claim_records")


class Application(Protocol):
    """An ASGI application whose long answers can be told to end."""

    async def __call__(self, scope: Any, receive: Any, send: Any, /) -> None:  # noqa: ANN401 - ASGI
        """Answer a request, or run the lifespan."""

    def drain(self) -> None:
        """Ask balancers and clients for no more requests, and go on answering."""

    def stop(self) -> None:
        """End the answers that would not end by themselves."""


Factory: TypeAlias = "Callable[[Share | None], Application]"
"""Makes the application in the process that serves it. Workers get it pickled."""


COLLECTION_SECONDS: Final = 10
"""How often the server collects all garbage, if no large body is being read."""
LATE_COLLECTION_SECONDS: Final = 60
"""How often it does so at least."""
SWITCH_SECONDS: Final = 0.001
"""How long the event loop waits for a thread that calculates; Python's default is five times it."""


def shorten_blocks() -> None:
    """Let nothing hold the event loop for long that is not a request's own work.

    A full garbage collection would look at all that was made at the start, for some 80 ms. It would
    also look at all parts of a large body, for up to 50 ms, whenever it comes while one is read. So
    Python itself makes none: the server makes it (:meth:`Server.on_tick`).
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)


_NEVER: Final = 2**31 - 1
"""After so many collections of younger objects, Python would look at the old ones."""


class Server(uvicorn.Server):
    """A uvicorn server that announces when it is ready, and returns when it is stopped."""

    def __init__(
        self,
        settings: Settings,
        factory: Factory,
        announce: Callable[[], None],
        share: Share | None = None,
        supervise: Callable[[], None] = lambda: None,
    ) -> None:
        """Put the application and the server together; :meth:`run` starts both."""
        self.failure: CommandError | None = None
        self._supervise = supervise
        self._application = factory(share)
        super().__init__(_configuration(settings, self._application))
        self.signals = StopSignals()
        self._announce = announce
        self._drain_seconds = settings.drain_seconds
        self._stop_seconds = settings.stop_seconds
        self.drains = False  # whether a balancer may send requests elsewhere
        self.shares_listener = False  # whether others are to accept connections after the end
        self._drained_at: float | None = None  # on the monotonic clock
        self._collected_at = time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce it."""
        try:
            await super().startup(sockets=sockets)
        except SystemExit:
            raise CommandError("The service did not start; the log says why.") from None
        shorten_blocks()
        keep_freed_memory()
        self._announce()

    async def on_tick(self, counter: int) -> bool:
        """Look after the database and the memory, too, every tenth of a second.

        The server stops if nothing can be done for the database.
        """
        self._collect_garbage()
        if self.failure is None:
            try:
                self._supervise()
            except CommandError as error:
                self.failure, self.should_exit = error, True
        return await super().on_tick(counter) and self._is_drained()

    def _collect_garbage(self) -> None:
        """Collect all garbage if it is time, when this takes the shortest."""
        wait = LATE_COLLECTION_SECONDS if large_input.is_under_way() else COLLECTION_SECONDS
        if time.monotonic() - self._collected_at >= wait:
            gc.collect()
            self._collected_at = time.monotonic()

    def _is_drained(self) -> bool:
        """Tell whether clients have had their time to go elsewhere; at first, begin to drain."""
        if self._drained_at is None:
            drains = self.drains and self.failure is None
            self._drained_at = time.monotonic() + (self._drain_seconds if drains else 0)
            if drains:
                log.info("Draining; new requests are answered for %g seconds", self._drain_seconds)
                self._application.drain()
        return self.force_exit or time.monotonic() >= self._drained_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the running requests end, then cut them off.

        uvicorn would wait without a limit for requests that do not end when they are cancelled.
        """
        log.info("Stopping; running requests have %g seconds", self._stop_seconds)
        self._application.stop()
        await self._close_listeners(sockets or [])
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds + CLOSING_SECONDS):
                await super().shutdown(sockets=sockets)

    async def _close_listeners(self, listeners: Sequence[socket.socket]) -> None:
        """Take no more connections, but answer those that the kernel has accepted already.

        uvloop closes a listener a little later, and connections made until then would be reset. A
        second descriptor keeps the listener open, until the moment in which the last one is taken.
        """
        kept = [listener.dup() for listener in listeners]
        if not self.shares_listener:
            for listener in kept:
                ignore_new_clients(listener)
            await asyncio.sleep(_HANDSHAKE_SECONDS)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        for _ in range(_MAX_TURNS):
            if all(listener.fileno() < 0 for listener in listeners):
                break
            await asyncio.sleep(0)
        waiting = []
        for listener in kept:
            listener.setblocking(False)
            waiting += accept_waiting(listener)
            listener.close()
        for client in waiting:
            with suppress(OSError):  # the client has left
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, client)

    def _protocol(self) -> asyncio.Protocol:
        """Make the protocol of a connection, as uvicorn does for those that it accepts itself."""
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the server runs.

        uvicorn 0.54 raises them again at its end, and the process then ends without running any
        `finally`: Postgres would not be stopped.
        """
        before = {number: signal.signal(number, self.handle_exit) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn has it
        """Stop; at a second signal, stop without waiting for requests."""
        self.force_exit = self.signals.receive(sig)
        self.should_exit = True
        self.drains = drains_at(sig)


def _configuration(settings: Settings, application: Application) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=protocol(settings),
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,  # the edge logs requests, with their ids
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.stop_seconds),
    )
