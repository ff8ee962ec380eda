"""The lock on a data directory: one launcher holds it, from before initdb until after shutdown.

Postgres' own lock file exists only while the server runs. This one also covers the making of the
directory, and tells a server that we left behind from a server of somebody else. The kernel frees
it when the process ends.
"""

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":
    import fcntl

from api.embedded.errors import EmbeddedPostgresError

# Seconds to wait for a lock that is held. A launcher that was killed between fork and exec leaves
# it for a moment to the child that it was about to start.
PATIENCE = 1


class Holder(NamedTuple):
    """A launcher's pid, its server's pid and the directory of the socket; 0 and "" if unknown."""

    launcher: int = 0
    server: int = 0
    sockets: str = ""


class DirectoryLock:
    """An flock on a file beside the data directory; the file names the holder."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> Holder:
        """Take the lock, or raise if another process has it; return the last holder."""
        path = self._data_dir.parent / f".{self._data_dir.name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if not _try_for(PATIENCE, descriptor):
            holder = _read(descriptor)
            os.close(descriptor)
            raise in_use(self._data_dir, holder.launcher)
        self._descriptor = descriptor
        previous = _read(descriptor)
        self.record(previous._replace(launcher=os.getpid()))
        return previous

    def record(self, holder: Holder) -> None:
        """Write the holder into the file, for a process that finds it locked or left behind."""
        if self._descriptor is not None:
            text = os.fsencode("\n".join(map(str, holder)))
            # In this order a full disk does no harm: the file has its block already.
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))

    def release(self) -> None:
        """Free the lock; the file stays, because without it two processes could hold a lock."""
        if self._descriptor is not None:
            # Closing the file alone would leave the lock to our forks, which have inherited it.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def in_use(data_dir: Path, pid: int) -> EmbeddedPostgresError:
    """Make the error for a directory that another process holds."""
    return EmbeddedPostgresError(
        f"The data directory {data_dir} is in use by process {pid or '(just starting)'}. "
        "Stop that process first, or name another data directory."
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
