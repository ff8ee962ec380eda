"""Who holds a data directory: one launcher at a time, from before initdb until after shutdown.

Postgres' own lock file starts with the server; this one also covers the making of the directory
and tells our own orphaned server from a stranger's. The kernel drops it with the process.
"""

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":
    import fcntl

from api.embedded.errors import EmbeddedPostgresError

# Seconds to wait for a lock that is held. One killed between fork and exec leaves it for a moment
# to the child it was about to start.
PATIENCE = 1


class Holder(NamedTuple):
    """A launcher, the server it started and where its socket is; 0 and "" where not known."""

    launcher: int = 0
    server: int = 0
    sockets: str = ""


class DirectoryLock:
    """An flock on a file beside the data directory, which says who holds it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> Holder:
        """Take the lock, or raise where another has it; return who had it last."""
        path = self._data_dir.parent / f".{self._data_dir.name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_for(PATIENCE, descriptor):
            holder = _read(descriptor)
            os.close(descriptor)
            raise in_use(self._data_dir, holder.launcher)
        self._descriptor = descriptor
        previous = _read(descriptor)
        self.record(previous._replace(launcher=os.getpid()))
        return previous

    def record(self, holder: Holder) -> None:
        """Write down who holds the directory, for whoever finds it held or abandoned."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, os.fsencode("\n".join(map(str, holder))), 0)

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would let two hold it."""
        if self._descriptor is not None:
            # Closing alone would leave it to our forks, which have inherited it.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def in_use(data_dir: Path, pid: int) -> EmbeddedPostgresError:
    """Make the error for a directory that another process holds."""
    return EmbeddedPostgresError(
        f"The data directory {data_dir} is in use by process {pid or '(just starting)'}. "
        "Stop that one first, or name another data directory."
    )


def _try_for(seconds: float, descriptor: int) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _read(descriptor: int) -> Holder:
    lines = os.fsdecode(os.pread(descriptor, 4096, 0)).split("\n")
    launcher, server, sockets, *_ = [*lines, "", "", ""]
    return Holder(int(launcher or 0), int(server or 0), sockets)
