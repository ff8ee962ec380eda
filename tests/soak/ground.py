"""What a soak stands on: a Postgres that can be killed, services, and children that end with us."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self
from uuid import uuid4

import asyncpg
import msgspec

from api.access import keyring
from api.embedded import EmbeddedPostgres, as_role, postmaster
from api.server import schema
from schemas.vocabularies import Scope
from tests.conftest import KEY, allow, in_database
from tests.test_cli import REPOSITORY, alive, environment

PUBLIC_KEY: Final = keyring.written("1a2b3c4d5e6f", "1" * 30)
# Every commit is handed to the kernel before it is confirmed, and pages are written whole: whoever
# kills processes, however hard, loses nothing by that. Only a kernel that dies would need fsync.
_SERVER: Final = {
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "max_wal_size": "4GB",
}
_START_SECONDS: Final = 300
_STOP_SECONDS: Final = 120
_SHARED_SOURCES: Final = 20
_READY: Final = "ready at"
_SETTINGS: Final = {
    "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
    "CLAIM_RECORDS_LOG_LEVEL": "warning",
    "CLAIM_RECORDS_STOP_SECONDS": "2",
}


class TooLong(Exception):  # noqa: N818 - a limit, not a fault
    """It took longer than it may."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise where a block takes too long, whatever it waits for."""

    def ring(*_: object) -> None:
        raise TooLong(f"The soak was not done after {seconds:.0f} s.")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _environment(directory: Path, settings: dict[str, str]) -> dict[str, str]:
    """Let what is started again and again compile its modules once."""
    variables = environment(PYTHONPYCACHEPREFIX=str(directory / "pycache"), **settings)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


class Child:
    """A process that ends with us, and what it printed."""

    def __init__(self, name: str, directory: Path, *command: str, **settings: str) -> None:
        """Start it."""
        self.name = name
        self.log = directory / f"{name}.log".replace(" ", "-")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env=_environment(directory, settings),
            )
        self.pid = self._process.pid

    def see(self) -> None:
        """Raise if it has ended, which is not for it to do."""
        if (code := self._process.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with {code}: {self.said()}")

    def said(self) -> str:
        """Give the end of what it printed."""
        return self.log.read_text(errors="replace")[-5000:]

    def is_ready(self) -> bool:
        """Tell whether it says so, as a service does."""
        self.see()
        return _READY in self.said()

    def tell(self) -> None:
        """Ask it to finish."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Wait until it has done what it had to."""
        if code := self._process.wait(seconds):
            raise RuntimeError(f"{self.name} ended with {code}: {self.said()}")

    def kill(self) -> None:
        """End it at once, and the processes that it has started."""
        workers = children_of(self.pid) if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Ground:
    """A database, two services of two processes each, and whoever is started beside them."""

    def __init__(self, directory: Path, server: EmbeddedPostgres) -> None:
        """Know of nobody yet."""
        self.directory = directory
        self.children: list[Child] = []
        self.services: list[Child] = []
        self.addresses: list[str] = []
        self.shared = [str(uuid4()) for _ in range(_SHARED_SOURCES)]
        self.crashes = 0
        self.workers_killed = 0
        self.mirrors_killed = 0
        self.sequencers_cut = 0
        self._server = server
        self.owner = server.url()
        self.url = as_role(self.owner, schema.SERVICE_ROLE)
        self.copy = in_database(self.owner, "copy")

    @classmethod
    @contextmanager
    def laid(cls, *, processes: int = 2) -> Iterator[Self]:
        """Start it all in a directory of its own; end all, and remove it, whatever happens."""
        with ExitStack() as stack:
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="claim-records-soak-"))
            )
            server = EmbeddedPostgres(directory / "data", fsync=False, settings=_SERVER)
            stack.enter_context(server)
            ground = cls(directory, server)
            stack.callback(ground.clear)
            asyncio.run(ground.prepare())
            ground.serve(processes)
            try:
                yield ground
            except BaseException as error:
                for service in ground.services:
                    error.add_note(f"--- {service.name}\n{service.said()}")
                raise

    async def prepare(self) -> None:
        """Make the databases, a key and what writers share."""
        await schema.migrate(self.owner)
        await schema.create_role(self.owner, schema.SERVICE_ROLE)
        await schema.grant(self.owner, schema.SERVICE_ROLE)
        await allow(self.owner)
        await allow(self.owner, PUBLIC_KEY, [Scope.READ])
        connection = await asyncpg.connect(self.owner)
        try:
            await connection.execute("CREATE DATABASE copy")
            await connection.executemany(
                "INSERT INTO sources (id, kind, identification, name)"
                " VALUES ($1, 'person', 'named', 'Shared')",
                [(id_,) for id_ in self.shared],
            )
        finally:
            await connection.close()

    def serve(self, processes: int) -> None:
        """Start two services, and wait until they say where they are."""
        self.services = [
            self.start(
                f"service {number}",
                "tests.soak.bound",
                *("serve", "--port", "0", "--workers", str(processes)),
                DATABASE_URL=self.url,
                **_SETTINGS,
            )
            for number in range(2)
        ]
        for service in self.services:
            until(service.is_ready, _START_SECONDS)
            line = next(line for line in service.said().splitlines() if _READY in line)
            self.addresses.append(line.rpartition(" ")[2])

    def start(self, name: str, *command: str, **settings: str) -> Child:
        """Start a process."""
        child = Child(name, self.directory, *command, **settings)
        self.children.append(child)
        return child

    def told(self, name: str, module: str, task: NamedTuple) -> Child:
        """Start a process of ours with a task."""
        return self.start(name, f"tests.soak.{module}", msgspec.json.encode(task).decode())

    def notes(self, name: str) -> Path:
        """Name the file of a process' notes."""
        return self.directory / f"{name}.notes".replace(" ", "-")

    def mirror(self, name: str, target: str, address: str, *options: str) -> Child:
        """Start `claim-records mirror`."""
        return self.start(
            name,
            "tests.soak.bound",
            *("mirror", "--from", address, "--to", target, *options),
            MIRROR_KEY=KEY,
        )

    def drop(self, child: Child) -> None:
        """Kill a process, and forget it."""
        child.kill()
        self.children.remove(child)

    def crash(self) -> None:
        """Kill Postgres with -9, every process of it at once, and start it again."""
        server = postmaster.running(self._server.data_dir)
        assert server is not None
        os.kill(server.pid, signal.SIGSTOP)  # it starts no more processes
        processes = [server.pid, *children_of(server.pid)]
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(alive, processes)), _START_SECONDS)
        self._server.stop()  # it is over; this only notices
        self._server.start()
        assert self._server.url() == self.owner
        self.crashes += 1

    def kill_worker(self, draw: random.Random) -> None:
        """Kill a process of a service with -9: whoever numbers just now, perhaps."""
        service = draw.choice(self.services)
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended by itself
            workers = [
                pid
                for pid in children_of(service.pid)
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            if workers:
                os.kill(draw.choice(workers), signal.SIGKILL)
                self.workers_killed += 1

    def clear(self) -> None:
        """End all that still run: services as they should be, which leaves nothing behind."""
        for service in self.services:
            service.tell()
        for service in self.services:
            with suppress(RuntimeError, subprocess.TimeoutExpired):
                service.wait(_STOP_SECONDS)
        for child in self.children:
            child.kill()


def children_of(pid: int) -> list[int]:
    """List the processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(holds: Callable[[], object], seconds: float) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TooLong(f"It did not come true in {seconds} s.")
        time.sleep(0.02)
