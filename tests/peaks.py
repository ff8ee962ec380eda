"""The memory of a process that does something more and more often, for a script of a test."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from api.core.db import Database
from api.settings import Settings


def peak(pid: int | str = "self") -> int:
    """Give what a process had at its peak, in KiB: proc(5)."""
    with Path(f"/proc/{pid}/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def write_peaks(work: Callable[[Database, int], Awaitable[None]]) -> None:
    """Do some work for each count of the command line, and write the peak after each, as JSON."""
    url, *counts = sys.argv[1:]

    async def peaks() -> list[int]:
        database = Database(url, Settings())
        await database.open()
        found = []
        for count in counts:
            await work(database, int(count))
            found.append(peak())
        await database.close()
        return found

    sys.stdout.write(json.dumps(asyncio.run(peaks())))
