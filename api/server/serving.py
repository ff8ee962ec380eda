"""Running the application: its socket, its Postgres, its processes, and stopping them all.

One process serves by itself. Several are started, watched and replaced by a parent that serves
nothing: it holds the listening socket and the embedded Postgres, which so outlive any of them.

uvicorn, not granian: the two are equally fast here, and uvicorn runs in our own process and can
be extended in Python where the contract asks for more than it does.
"""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EADDRINUSE
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from api.app import at_edge, create_router
from api.core.db import Database
from api.embedded import EmbeddedPostgres
from api.server import logs
from api.server.metrics import Share, shared_directory
from api.server.protocol import protocol
from api.settings import Settings
from api.sync.feed.following import Feed

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
# After `stop_seconds`, for requests that were cut off to give their connections back.
CLOSING_SECONDS: Final = 5
RESPAWN_SECONDS: Final = 1.0
# A wrapper such as `uv run` may hand on a signal that the terminal sent to this process too.
SAME_SIGNAL_SECONDS: Final = 0.5
_SPARE_CONNECTIONS: Final = 20  # for migrations, psql and Postgres' own

log = logging.getLogger("claim_records")


FAILED: Final = 1
USAGE: Final = 2
DATABASE: Final = 3


class Refused(Exception):  # noqa: N818 - nothing is broken: it says no
    """The command cannot do its work; says why in a sentence, and with which exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code


class HurriedError(Exception):
    """A second signal ended the service before its requests were done."""

    def __init__(self, number: int) -> None:
        """Remember the signal."""
        super().__init__(number)
        self.number = number


# --- what the service stands on ----------------------------------------------------------------


def listen(host: str, port: int) -> socket.socket:
    """Take the address, before anything slow is started; nobody can connect yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise Refused(f"There is no address {host} here: {error.strerror}.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Refused(_not_bound(host, port, error)) from error
    return listener


def _not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another program; stop that one, or name another "
            "port (`--port`; 0 takes a free one)."
        )
    if error.errno == EACCES:
        return f"This user may not listen on port {port}; name one above 1023 (`--port`)."
    return f"Cannot listen on port {port} of {host}: {error.strerror}."


def address_of(listener: socket.socket) -> str:
    """Write the URL by which this machine reaches a listening socket."""
    host, port, *_ = listener.getsockname()
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


@contextmanager
def postgres(settings: Settings) -> Iterator[str]:
    """Give the URL of the database that the settings name, or of the embedded one, and run it."""
    if settings.database_url:
        yield settings.database_url
        return
    connections = settings.workers * settings.pool_size + _SPARE_CONNECTIONS
    server = EmbeddedPostgres(
        Path(settings.data_dir),
        settings={"max_connections": str(max(100, connections))},
        progress=log.info,
    )
    with server:
        yield server.url()


def allow_connections() -> None:
    """Have as many files open as this user may: each connection is one.

    Thousands of idle ones would else use up the usual 1,024. Workers inherit it.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says “unlimited”, and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# --- serving -----------------------------------------------------------------------------------


def serve(
    settings: Settings, url: str, listener: socket.socket, announce: Callable[[], None]
) -> None:
    """Serve until a signal asks to stop; `announce` is called once, when clients can connect."""
    allow_connections()
    if settings.workers > 1:
        with shared_directory() as metrics:
            _Workers(settings, url, listener, announce, metrics).run()
        return
    server = _Server(settings, url, announce)
    server.run(sockets=[listener])
    if server.force_exit:
        raise HurriedError(server.signal)


class _Server(uvicorn.Server):
    """One process' server, which tells when it is ready and returns when it is stopped."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        announce: Callable[[], None],
        share: Share | None = None,
    ) -> None:
        """Put the application and the server together; :meth:`run` connects them."""
        router, routes = create_router(settings, Database(url, settings), share)
        self._feed: Feed = router.state["feed"]
        super().__init__(
            uvicorn.Config(
                at_edge(settings, router, routes),
                http=protocol(settings),
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,  # the edge logs requests, with their ids
                server_header=False,
                proxy_headers=False,
                # The protocol closes silent connections; uvicorn's timer, which any byte stops,
                # would ring after it.
                timeout_keep_alive=math.ceil(settings.silent_seconds) + 60,
                timeout_graceful_shutdown=math.ceil(settings.stop_seconds),
            )
        )
        self.signal = 0
        self._signalled = 0.0  # on the monotonic clock
        self._announce = announce
        self._stop_seconds = settings.stop_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        try:
            await super().startup(sockets=sockets)
        except SystemExit:
            raise Refused("The service did not start; the log says why.") from None
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end, then cut them off; uvicorn would wait for the rest without end."""
        log.info("Stopping; running requests have %g seconds", self._stop_seconds)
        self._feed.stop()  # streams and waiting readers would not end by themselves
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds + CLOSING_SECONDS):
                await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving.

        uvicorn 0.54 raises them again when it is done, and the process ends without running one
        `finally`; Postgres would not be stopped.
        """
        before = {number: signal.signal(number, self.handle_exit) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; at a second signal without waiting for anyone."""
        now = time.monotonic()
        self.force_exit = self.should_exit and now - self._signalled > SAME_SIGNAL_SECONDS
        if not self.should_exit:
            self._signalled = now
        self.should_exit = True
        self.signal = sig


# --- several processes -------------------------------------------------------------------------

# Not fork: the child would share the lock of the embedded Postgres, and whatever the parent has.
_SPAWN = multiprocessing.get_context("spawn")
_READY, _STOP, _HURRY = "ready", "stop", "hurry"


class _WorkerServer(_Server):
    """A worker's server, which its parent stops through a pipe; so does the parent's end."""

    def __init__(
        self, settings: Settings, url: str, parent: Connection[str, str], share: Share
    ) -> None:
        super().__init__(settings, url, self._report, share)
        self._parent = parent

    def _report(self) -> None:
        asyncio.get_running_loop().add_reader(self._parent.fileno(), self._listen)
        with suppress(OSError):  # the parent has ended meanwhile; the reader hears it
            self._parent.send(_READY)

    def _listen(self) -> None:
        try:
            self.force_exit = self._parent.recv() == _HURRY
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._parent.fileno())
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop at SIGTERM, however often it comes: service managers send it to every process."""
        self.should_exit = self.should_exit or sig == signal.SIGTERM


def _work(
    settings: Settings,
    url: str,
    listener: socket.socket,
    parent: Connection[str, str],
    share: Share,
) -> None:
    """Serve in a process of its own."""
    logs.configure(settings)
    try:
        _WorkerServer(settings, url, parent, share).run(sockets=[listener])
    except Refused as error:
        log.error(str(error))  # noqa: TRY400 - what failed is in the log already
        sys.exit(error.code)


class _Worker:
    """The parent's view of a worker."""

    def __init__(self, settings: Settings, url: str, listener: socket.socket, share: Share) -> None:
        self.ready = False
        self.share = share
        self.line, line = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(settings, url, listener, line, share), daemon=True
        )
        # Ctrl-C reaches every process of a terminal; it is the parent's to handle. What is
        # blocked here stays blocked in the child; the tracker unblocks it when it is started.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        line.close()
        self.pid = self._process.pid
        self.sentinel = self._process.sentinel

    def tell(self, word: str) -> None:
        with suppress(OSError):  # it has ended
            self.line.send(word)

    def hear(self) -> None:
        with suppress(EOFError, OSError):
            self.ready = self.line.recv() == _READY

    def kill(self) -> None:
        self._process.kill()

    def bury(self) -> int | None:
        """Collect an ended process; give its exit code, negative for a signal."""
        self._process.join()
        self.line.close()
        self.share.leave()
        return self._process.exitcode


class _Workers:
    """Starts the workers, replaces those that end, and stops them."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        listener: socket.socket,
        announce: Callable[[], None],
        metrics: str,
    ) -> None:
        self._settings = settings
        self._url = url
        self._listener = listener
        self._announce = announce
        self._metrics = metrics
        self._workers: list[_Worker] = []
        self._due: list[float] = []  # when to start a worker; on the monotonic clock
        self._announced = False
        self._signals: list[int] = []
        self._deadline = math.inf
        self._failed = False
        self._signalled = 0.0  # on the monotonic clock
        self._hurried = False

    def run(self) -> None:
        """Serve until a signal asks to stop."""
        self._due = [0.0] * self._settings.workers
        with self._wakened() as wakened:
            while self._due or self._workers:
                self._start_due()
                events = wait(
                    [wakened, *(w.sentinel for w in self._workers), *self._lines()], self._rest()
                )
                if wakened in events:
                    wakened.recv(64)
                    self._handle_signals()
                for worker in list(self._workers):
                    self._attend(worker, events)
                if time.monotonic() > self._deadline:
                    self._hurry()
        if self._failed:
            raise Refused("A worker did not start; the log says why.")
        if self._hurried:
            raise HurriedError(self._signals[-1])

    @contextmanager
    def _wakened(self) -> Iterator[socket.socket]:
        """Give a socket that gets a byte for each signal: handlers alone end no wait."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)

        def handle(number: int, _: FrameType | None) -> None:
            self._signals.append(number)
            theirs.send(b"!")

        before = {number: signal.signal(number, handle) for number in STOPPING}
        try:
            with ours, theirs:
                yield ours
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _lines(self) -> list[Connection[str, str]]:
        return [worker.line for worker in self._workers if not worker.ready]

    def _rest(self) -> float | None:
        """Say how long nothing has to be done, in seconds."""
        next_time = min([*self._due, self._deadline])
        return None if next_time == math.inf else max(0, next_time - time.monotonic())

    def _start_due(self) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._workers.append(
                _Worker(self._settings, self._url, self._listener, self._free_place())
            )

    def _free_place(self) -> Share:
        """Give a new worker the place of one that has ended."""
        taken = {worker.share.number for worker in self._workers}
        number = next(each for each in range(self._settings.workers) if each not in taken)
        return Share(self._metrics, number)

    def _attend(self, worker: _Worker, events: Sequence[object]) -> None:
        if worker.line in events:
            worker.hear()
            self._announce_once()
        if worker.sentinel in events:
            self._workers.remove(worker)
            self._replace(worker, worker.bury())

    def _announce_once(self) -> None:
        if not self._announced and not self._stopping and all(w.ready for w in self._workers):
            self._announced = True
            self._announce()

    @property
    def _stopping(self) -> bool:
        return self._deadline < math.inf

    def _replace(self, worker: _Worker, code: int | None) -> None:
        if self._stopping:
            return
        if not self._announced:
            self._failed = True
            self._stop()
            return
        log.warning("Worker %d ended (exit code %s); starting another", worker.pid, code)
        pause = 0 if worker.ready else RESPAWN_SECONDS
        self._due.append(time.monotonic() + pause)

    def _handle_signals(self) -> None:
        now = time.monotonic()
        if not self._stopping:
            self._signalled = now
            self._stop()
        elif now - self._signalled > SAME_SIGNAL_SECONDS:
            self._hurried = True
            self._hurry()

    def _stop(self) -> None:
        """Ask the workers to end; new clients are refused from now on."""
        self._due.clear()
        self._listener.close()
        self._deadline = time.monotonic() + self._settings.stop_seconds + 2 * CLOSING_SECONDS
        for worker in self._workers:
            worker.tell(_STOP)

    def _hurry(self) -> None:
        """Ask once more, then end those that do not listen."""
        if not self._stopping:
            self._stop()
        overdue = time.monotonic() > self._deadline
        self._deadline = time.monotonic() + CLOSING_SECONDS
        for worker in self._workers:
            worker.kill() if overdue else worker.tell(_HURRY)
