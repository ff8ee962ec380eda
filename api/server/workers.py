"""The parent of several workers: it starts them, replaces those that end, and stops them all.

The parent serves nothing. It holds the listening socket and the embedded Postgres, so that both
outlive every worker. `docs/decisions/0026-own-supervisor.md` says why this is not uvicorn's own
supervisor (`uvicorn.supervisors.Multiprocess` of 0.54).
"""

from __future__ import annotations

import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Final

from api.server.exits import CommandError, HurriedError
from api.server.process import CLOSING_SECONDS, Factory
from api.server.shares import Share
from api.server.signals import STOPPING, StopSignals, drains_at
from api.server.worker import DRAIN, HURRY, STOP, Worker
from api.settings import Settings

RESPAWN_SECONDS: Final = 1.0
"""How long the parent waits before it replaces a worker that ended before it was ready."""

SUPERVISION_SECONDS: Final = 0.1
"""How often the parent looks after the database."""

log = logging.getLogger("claim_records")


class Workers:
    """All workers of a service; :meth:`run` returns when the last one has ended."""

    def __init__(
        self,
        settings: Settings,
        factory: Factory,
        listener: socket.socket,
        announce: Callable[[], None],
        directory: str,
        supervise: Callable[[], None],
    ) -> None:
        """Remember what workers are started with; `directory` is for their :class:`Share`."""
        self._settings = settings
        self._factory = factory
        self._listener = listener
        self._announce = announce
        self._directory = directory
        self._supervise = supervise
        self._failure: CommandError | None = None  # of the supervision
        self._workers: list[Worker] = []
        self._due: list[float] = []  # when to start a worker; on the monotonic clock
        self._announced = False
        self._received: list[int] = []  # signals that are not handled yet
        self._signals = StopSignals()
        self._deadline = math.inf  # when to hurry workers that do not stop
        self._failed = False
        self._hurried = False

    def run(self) -> None:
        """Serve until a signal asks to stop."""
        self._due = [0.0] * self._settings.workers
        with self._wakened_by_signals() as wakened:
            while self._due or self._workers:
                self._start_due()
                self._look_after_database()
                sentinels = [worker.sentinel for worker in self._workers]
                events = wait([wakened, *sentinels, *self._silent_pipes()], self._idle_seconds())
                if wakened in events:
                    wakened.recv(64)
                    self._handle_signals()
                for worker in list(self._workers):
                    self._attend(worker, events)
                if time.monotonic() > self._deadline:
                    self._hurry()
        if self._failure is not None:
            raise self._failure
        if self._failed:
            raise CommandError("A worker did not start; the log says why.")
        if self._hurried:
            raise HurriedError(self._signals.last)

    @contextmanager
    def _wakened_by_signals(self) -> Iterator[socket.socket]:
        """Give a socket that receives a byte for each signal: a handler alone ends no `wait`."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)

        def handle(number: int, _: FrameType | None) -> None:
            self._received.append(number)
            theirs.send(b"!")

        with ours, theirs:
            before = {number: signal.signal(number, handle) for number in STOPPING}
            try:
                yield ours
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _silent_pipes(self) -> list[Connection[str, str]]:
        """List the pipes of the workers that have not reported yet."""
        return [worker.pipe for worker in self._workers if not worker.ready]

    def _look_after_database(self) -> None:
        if self._stopping:
            return
        try:
            self._supervise()
        except CommandError as error:
            self._failure = error
            self._stop()

    def _idle_seconds(self) -> float:
        """Tell for how long there is nothing to do but to wait for an event."""
        next_time = min([*self._due, self._deadline])
        return min(SUPERVISION_SECONDS, max(0, next_time - time.monotonic()))

    # --- starting and replacing ----------------------------------------------------------------

    def _start_due(self) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            share = Share(self._directory, self._free_place())
            self._workers.append(Worker(self._settings, self._factory, self._listener, share))

    def _free_place(self) -> int:
        """Find the place of a worker that has ended, for its successor."""
        taken = {worker.share.place for worker in self._workers}
        return next(place for place in range(self._settings.workers) if place not in taken)

    def _attend(self, worker: Worker, events: Sequence[object]) -> None:
        if worker.pipe in events:
            worker.receive()
            self._announce_once()
        if worker.sentinel in events:
            self._workers.remove(worker)
            self._replace(worker, worker.collect())

    def _announce_once(self) -> None:
        ready = all(worker.ready for worker in self._workers)
        if ready and not self._announced and not self._stopping:
            self._announced = True
            self._announce()

    def _replace(self, worker: Worker, code: int | None) -> None:
        if self._stopping:
            return
        if not self._announced:  # a fault that the next worker would have too
            self._failed = True
            self._stop()
            return
        log.warning("Worker %d ended (exit code %s); starting another", worker.pid, code)
        pause = 0 if worker.ready else RESPAWN_SECONDS
        self._due.append(time.monotonic() + pause)

    # --- stopping ------------------------------------------------------------------------------

    @property
    def _stopping(self) -> bool:
        return self._deadline < math.inf

    def _handle_signals(self) -> None:
        while self._received:
            number = self._received.pop(0)
            again = self._signals.receive(number)
            if not self._stopping:
                self._stop(DRAIN if drains_at(number) else STOP)
            elif again or self._failed:
                self._hurried = True
                self._hurry()

    def _stop(self, word: str = STOP) -> None:
        """Ask the workers to end. New clients are refused when each has closed its listener."""
        self._due.clear()
        self._listener.close()
        seconds = self._settings.drain_seconds + self._settings.stop_seconds + 2 * CLOSING_SECONDS
        self._deadline = time.monotonic() + seconds
        for worker in self._workers:
            worker.send(word)

    def _hurry(self) -> None:
        """Ask the workers to end at once; kill those that were asked before and did not."""
        overdue = time.monotonic() > self._deadline
        self._deadline = time.monotonic() + CLOSING_SECONDS
        for worker in self._workers:
            worker.kill() if overdue else worker.send(HURRY)
