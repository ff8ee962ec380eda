"""What the measurements need of Linux: cores, and what processes have taken of time and memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Start what is started in here on these cores, all if none is named; children inherit them."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pids: Iterable[int], cores: Sequence[int]) -> None:
    """Let processes run on these cores alone, on all if none is named."""
    for pid in pids:
        with suppress(ProcessLookupError):  # one that has ended meanwhile
            os.sched_setaffinity(pid, cores or os.sched_getaffinity(0))


def family(pid: int) -> list[int]:
    """List a process and its descendants."""
    found = [pid]
    for each in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for children in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """Add up the processor time of processes, and of their children that have ended.

    proc(5): utime, stime, cutime and cstime.
    """
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Add up the processor time that all processes of the machine have taken, and other machines.

    proc(5): of the first line, idle and iowait are left out, and what is in user and nice already.
    """
    fields = [*map(int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:9])]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def serving(pids: Iterable[int], database: str) -> list[int]:
    """List those processes of Postgres that serve clients of a database, by their titles."""
    found = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            if f" {database} ".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def memory(pids: Iterable[int]) -> int:
    """Add up the bytes of memory that processes hold; what several share is counted once."""
    kilobytes = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024


def description() -> str:
    """Name the cores and the version of Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}"
