"""Start and stop a private Postgres server on a data directory."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self

from api.embedded import access, cluster, memory, postmaster
from api.embedded.binaries import find_binaries, major_version
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.lock import DirectoryLock, Holder, in_use
from api.embedded.process import Owner, last_lines, spawn

DEFAULTS = {
    "max_connections": "100",
    "jit": "off",  # it costs more than it saves on queries of a few milliseconds
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Failed statements are not logged here: the application reports them, their values may be
    # confidential, and this file is cut only at a start.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

LOG_LIMIT = 1_000_000  # bytes; checked at a start, where one older file is kept
SHUTDOWN_LIMIT = 60  # seconds a fast shutdown may take before an immediate one
STILL_STARTING = 10  # seconds between two messages while a server recovers
# The longest socket path (sun_path without its final zero): unix(7), macOS <sys/un.h>.
SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
SOCKETS_PREFIX = "claim-records-"


class EmbeddedPostgres:
    """A Postgres server on `data_dir` that lives as long as this process; a context manager.

    `fsync=False` is for data that may be lost, `settings` override the server's settings, and
    `progress` is called with a sentence when a start takes longer than usual.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Path | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._binaries = binaries
        self._fsync = fsync
        machine = {"shared_buffers": memory.shared_buffers()}
        self._settings = DEFAULTS | machine | ({} if fsync else NOT_DURABLE) | dict(settings)
        self._progress = progress or (lambda _: None)
        self._cluster = self.data_dir  # under root perhaps a directory inside it
        self._lock = DirectoryLock(self.data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_by = 0
        self._sockets: Path | None = None
        self._command: list[str] = []
        self._owner = cluster.new_owner()
        self._log_start = 0  # where the log of the latest start begins
        self._life: int | None = None  # reads the end of a pipe when the last process has ended

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._cluster / "server.log"

    def url(self, database: str = cluster.DATABASE) -> str:
        """Return the URL of a database on the running server."""
        if self._sockets is None:
            raise EmbeddedPostgresError("The embedded Postgres is not running: start it first.")
        return postmaster.url(str(self._sockets), str(postmaster.PORT), database)

    def start(self) -> None:
        """Start the server, and return when it is ready. The first start makes its data."""
        _refuse_unfit_caller()
        if self._process is not None:
            raise EmbeddedPostgresError("This embedded Postgres is already running.")
        binaries = self._binaries or find_binaries()
        major = major_version(binaries)
        try:
            self._start(binaries, major)
        except OSError as error:
            self.stop()
            raise EmbeddedPostgresError(
                f"Cannot use the data directory {self.data_dir} as uid {os.geteuid()}: {error}. "
                "Repair that, run as the user that owns it, or name another directory."
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all sessions, write a checkpoint, and wait; do nothing if no server runs."""
        if self._started_by != os.getpid():
            return  # not started, or we are a fork of the process that started it
        try:
            if self._process is not None:
                _shut_down(self._process)
        finally:
            self._process = None
            if self._sockets != self._cluster:
                _remove_sockets(self._sockets)
            self._sockets = None
            self._forget_life()
            self._lock.release()
            self._started_by = 0

    def _start(self, binaries: Path, major: int) -> None:
        self.data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        previous = self._lock.acquire()
        self._started_by = os.getpid()
        access.name_of(os.geteuid())
        access.finish_closing(self.data_dir)
        self._cluster = access.locate(self.data_dir)
        cluster.refuse_other_version(self._cluster, major)
        self._wait_for_orphan(previous.server)
        self._cluster = access.close(self.data_dir)
        cluster.remove_unfinished(self._cluster)
        if not cluster.exists(self._cluster):
            self._progress(f"Making a new database in {self.data_dir}")
            access.name_of(cluster.new_owner().uid)
            cluster.create(self._cluster, binaries, major, fsync=self._fsync)
        owner = cluster.owner_of(self._cluster)
        access.write_rules(self._cluster, major, owner)
        postmaster.forget_crashed(self._cluster, owner)
        if previous.sockets:
            _remove_sockets(Path(previous.sockets))
        self._launch(binaries, owner)

    # --- for a supervisor: none of these waits -------------------------------------------------

    def has_ended(self) -> bool:
        """Tell whether the server has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def has_survivors(self) -> bool:
        """Tell whether sessions outlive their server; another server can't start before they end.

        Every process of the server has inherited the other end of a pipe of ours.
        """
        if self._life is None:
            return False
        try:
            return os.read(self._life, 1) != b""
        except BlockingIOError:
            return True

    def is_ready(self) -> bool:
        """Tell whether the server takes connections."""
        return self._has_status("ready")

    def hasten_shutdown(self) -> None:
        """Let a server that somebody else has told to stop end its sessions, and not wait."""
        if self._process is not None and self._has_status("stopping"):
            self._process.send_signal(signal.SIGINT)

    def start_again(self) -> None:
        """Start the server after it has ended, on the same sockets, and do not wait for it."""
        postmaster.forget_crashed(self._cluster, self._owner)
        self._spawn()

    def last_words(self) -> str:
        """Return the end of the log of the latest start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return last_lines(log.read())

    # --- starting ------------------------------------------------------------------------------

    def _launch(self, binaries: Path, owner: Owner) -> None:
        self._sockets = _socket_directory(self._cluster)
        self._owner = owner
        self._command = [str(binaries / "postgres"), "-D", str(self._cluster)]
        for name, value in (self._settings | _private(self._sockets)).items():
            self._command += ["-c", f"{name}={value}"]
        self._wait_until_ready(self._spawn())

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._forget_life()
        self._life, life = os.pipe()
        os.set_blocking(self._life, False)
        try:
            with self._open_log(self._owner) as log:
                self._log_start = log.tell()
                self._process = spawn(
                    self._command,
                    self._owner,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    inherited=(life,),
                )
        finally:
            os.close(life)
        self._lock.record(Holder(os.getpid(), self._process.pid, str(self._sockets)))
        return self._process

    def _forget_life(self) -> None:
        if self._life is not None:
            os.close(self._life)
            self._life = None

    def _has_status(self, status: str) -> bool:
        """Tell what our server reports; a file that names another pid was left by a crash."""
        server = postmaster.read(self._cluster)
        return (
            server is not None
            and self._process is not None
            and (server.pid, server.status) == (self._process.pid, status)
        )

    def _open_log(self, owner: Owner) -> IO[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        log = os.fdopen(os.open(self.log, flags, 0o600), "ab")
        owner.take(log.fileno())
        os.fchmod(log.fileno(), 0o600)
        return log

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait without a limit while the server lives: its recovery must not be interrupted."""
        speak_at = time.monotonic() + STILL_STARTING
        while not self.is_ready():
            if process.poll() is not None:
                raise EmbeddedPostgresError(
                    f"Postgres did not start (status {process.returncode}). "
                    f"The end of its log, {self.log}:\n{self.last_words()}"
                )
            if time.monotonic() > speak_at:
                self._progress(f"Postgres is still starting, perhaps after a crash; see {self.log}")
                speak_at += STILL_STARTING
            time.sleep(0.005)

    def _wait_for_orphan(self, ours: int) -> None:
        """Make sure that no server runs here.

        Wait for the server of a launcher that has ended; refuse a server of anybody else.
        """
        server = postmaster.running(self._cluster)
        if server is None:
            return
        if server.pid != ours:
            raise in_use(self.data_dir, server.pid)
        self._progress(f"Waiting for the previous Postgres (pid {server.pid}) to shut down")
        # Linux has sent it this signal already; other systems have not.
        os.kill(server.pid, signal.SIGINT)
        deadline = time.monotonic() + SHUTDOWN_LIMIT
        while postmaster.running(self._cluster):
            if time.monotonic() > deadline:
                raise in_use(self.data_dir, server.pid)
            time.sleep(0.005)


def _refuse_unfit_caller() -> None:
    if sys.platform == "win32":
        raise EmbeddedPostgresError(
            "There is no embedded Postgres on Windows: set DATABASE_URL to a Postgres server."
        )
    if os.geteuid() == 0 and sys.platform != "linux":
        raise EmbeddedPostgresError(
            "Root can run the embedded Postgres only on Linux: run as an ordinary user."
        )
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedPostgresError(
            "Start the embedded Postgres from the main thread: Linux stops Postgres when the "
            "thread that started it ends."
        )


def _private(sockets: Path) -> dict[str, str]:
    """Return the settings by which only the serving user reaches the server and its memory."""
    settings = {
        "listen_addresses": "",
        "port": str(postmaster.PORT),
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
    }
    if os.geteuid() == 0:
        # Every process of the server's user could open its shared memory in /dev/shm. Files of the
        # cluster hold it instead, where the part that is set aside at the start does not suffice.
        settings |= {"dynamic_shared_memory_type": "mmap", "min_dynamic_shared_memory": "16MB"}
    return settings


def _socket_directory(data_dir: Path) -> Path:
    """Return the data directory itself, or a short private one if its path can't hold a socket."""
    if _can_hold_socket(data_dir):
        return data_dir
    parent = next(path for path in (Path(tempfile.gettempdir()), Path("/tmp")) if _has_room(path))  # noqa: S108 - mkdtemp makes a private one in it
    # Under root it stays root's, which the server may pass and no other process of its user.
    return Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=parent))


def _has_room(parent: Path) -> bool:
    return _can_hold_socket(parent / (SOCKETS_PREFIX + "12345678"))


def _can_hold_socket(directory: Path) -> bool:
    """Tell whether clients can name a socket here: a short path of ordinary characters."""
    path = directory / f".s.PGSQL.{postmaster.PORT}"
    fits = len(os.fsencode(path)) <= SOCKET_PATH_LIMIT
    return fits and re.fullmatch(r"[\w ./+~-]+", str(directory)) is not None


def _remove_sockets(directory: Path | None) -> None:
    if directory is not None and directory.name.startswith(SOCKETS_PREFIX):
        shutil.rmtree(directory, ignore_errors=True)


def _shut_down(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(SHUTDOWN_LIMIT)
    except BaseException as error:
        # It hangs, or Ctrl-C was pressed again: shut down at once, and recover at the next start.
        process.send_signal(signal.SIGQUIT)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
