"""The memory that the embedded Postgres may use for its buffers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

SHARE: Final = 4
"""Postgres keeps a part of its data in memory of its own: a quarter of what there is.

https://www.postgresql.org/docs/current/runtime-config-resource.html, `shared_buffers`.
"""
MIN_BUFFERS: Final = 128 * 1024**2
MAX_BUFFERS: Final = 1024**3
"""With a million claims, four times as much made no request cheaper; `docs/performance.md`."""

_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def shared_buffers() -> str:
    """Give the value of `shared_buffers` for this machine, or for the container that we are in."""
    limits = [_physical(), *cgroup_limits(_MEMBERSHIP, _CGROUPS)]
    return f"{buffers_of(min(limits)) // 1024**2}MB"


def buffers_of(memory: int) -> int:
    """Give the bytes of buffers for so many bytes of memory."""
    return min(max(memory // SHARE, MIN_BUFFERS), MAX_BUFFERS)


def cgroup_limits(membership: Path, root: Path) -> Iterator[int]:
    """Give the limits of memory, in bytes, of the control groups that this process is in.

    Each group above one limits it, too. In version 2, the membership has one line, `0::/path`; in
    version 1 it has one for each hierarchy, `4:memory:/path`; cgroups(7). Where neither is there,
    as outside of Linux, there are none.
    """
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                hierarchy, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                hierarchy, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            group = PurePosixPath(path)
            for each in (group, *group.parents):
                yield from _limit(hierarchy / each.relative_to("/") / name)


def _limit(file: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):  # "max", where nothing is limited
        yield int(file.read_text())


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
