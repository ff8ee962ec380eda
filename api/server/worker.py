"""A worker, one of several processes that serve: its own part, and its parent's handle on it.

The two talk through a pipe: the worker says that it is ready, the parent says when to stop. The
pipe also tells a worker that its parent has ended.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import Final

from api.server import logs
from api.server.exits import CommandError
from api.server.process import Factory, Server
from api.server.shares import Share
from api.server.signals import drains_at
from api.settings import Settings

DRAIN: Final = "drain"
STOP: Final = "stop"
HURRY: Final = "hurry"
_READY: Final = "ready"
# Not fork: a child would share the lock of the embedded Postgres, and whatever else is open here.
_SPAWN: Final = multiprocessing.get_context("spawn")

log = logging.getLogger("claim_records")


# --- in the worker -----------------------------------------------------------------------------


class _WorkerServer(Server):
    """A worker's server. It stops when its parent says so, and when its parent has ended."""

    def __init__(
        self, settings: Settings, factory: Factory, parent: Connection[str, str], share: Share
    ) -> None:
        super().__init__(settings, factory, self._report, share)
        self._parent = parent
        self.shares_listener = True  # a worker that ends alone is replaced

    def _report(self) -> None:
        asyncio.get_running_loop().add_reader(self._parent.fileno(), self._obey)
        with suppress(OSError):  # the parent has just ended; the reader notices it
            self._parent.send(_READY)

    def _obey(self) -> None:
        self.shares_listener = False  # all workers end, whatever the parent says
        try:
            word = self._parent.recv()
            self.force_exit = word == HURRY
            self.drains = self.drains or word == DRAIN
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._parent.fileno())
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn has it
        """Stop at SIGTERM, and never hurry: service managers send it to every process."""
        self.should_exit = self.should_exit or sig == signal.SIGTERM
        self.drains = self.drains or drains_at(sig)


def _serve(
    settings: Settings,
    factory: Factory,
    listener: socket.socket,
    parent: Connection[str, str],
    share: Share,
) -> None:
    """Serve, in the worker's process, until the parent says stop."""
    logs.configure(settings)
    try:
        _WorkerServer(settings, factory, parent, share).run(sockets=[listener])
    except CommandError as error:
        log.error(str(error))  # noqa: TRY400 - the cause is in the log already
        sys.exit(error.code)


# --- in the parent -----------------------------------------------------------------------------


class Worker:
    """The parent's handle on a worker: it starts the process, talks to it and collects it."""

    def __init__(
        self, settings: Settings, factory: Factory, listener: socket.socket, share: Share
    ) -> None:
        """Start the process."""
        self.ready = False
        self.share = share
        self.pipe, end_of_worker = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_serve, args=(settings, factory, listener, end_of_worker, share), daemon=True
        )
        # Ctrl-C reaches every process of a terminal, and the parent is to handle it. A signal that
        # is blocked here stays blocked in the child. The resource tracker would unblock SIGINT
        # when it is started, so it is started before.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        end_of_worker.close()
        self.pid = self._process.pid
        self.sentinel = self._process.sentinel

    def send(self, word: str) -> None:
        """Tell the worker to drain and stop, to stop, or to hurry."""
        with suppress(OSError):  # it has ended
            self.pipe.send(word)

    def receive(self) -> None:
        """Read what the worker has reported: that it is ready."""
        with suppress(EOFError, OSError):
            self.ready = self.pipe.recv() == _READY

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def collect(self) -> int | None:
        """Release an ended process; return its exit code, negative for a signal."""
        self._process.join()
        self.pipe.close()
        self.share.leave()
        return self._process.exitcode
