"""The files with which several processes count together: one directory, a place for each process.

The prometheus-client library adds them up (its multiprocess mode).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client.multiprocess import mark_process_dead

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - files are made in a directory of our own alone
_PREFIX: Final = "claim-records-metrics-"
_LOCK: Final = "lock"
_NEW_SECONDS: Final = 60
"""A directory younger than this may belong to a process that has not locked it yet."""
_MAX_FOUND: Final = 1_000
"""How many directories of other processes are looked at."""


class Share(NamedTuple):
    """Where one process among several writes its counts."""

    directory: str
    place: int
    """The process' place among the others; its successor in the same place goes on counting."""

    def leave(self) -> None:
        """Remove the gauges of a process that has ended; its counts stay."""
        mark_process_dead(self.place, self.directory)


@contextmanager
def shared_directory() -> Iterator[str]:
    """Make the directory for the shares, in memory if possible: a disk may be full."""
    parent = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as directory,
        (Path(directory) / _LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # for as long as this process lives
        yield directory


def _remove_abandoned(parent: Path) -> None:
    """Remove the directories of processes that were killed."""
    for directory in islice(parent.glob(f"{_PREFIX}*"), _MAX_FOUND):
        with suppress(OSError):  # it is another user's, or its process lives and holds the lock
            _remove_if_abandoned(directory)


def _remove_if_abandoned(directory: Path) -> None:
    """Remove a directory of this user whose lock nobody holds.

    Every user of this machine can make such a directory, and a pipe in it. To open that pipe would
    take until somebody writes to it.
    """
    state = directory.lstat()
    ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
    if not ours or time.time() - state.st_mtime < _NEW_SECONDS:
        return
    lock = os.open(directory / _LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if stat.S_ISREG(os.fstat(lock).st_mode):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
    finally:
        os.close(lock)
