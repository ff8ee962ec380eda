"""Sample the service while it is asked, and print where its time goes.

    python bench/where.py [--only R1,W1] [--claims 10000] [--seconds 5]

It asks for our side of the cases of `run.py`, one after another, and samples the process with
py-spy, which uv fetches. The first list of a case says in which room the thread that runs Python
was, with what that room called in C; the second, which of our functions were under way, with all
that they called. If `perf` is there, a third list says in which libraries the service and Postgres
used the processor. It needs `wrk` and `uv`, and the right to look into other processes (root, or 0
in `kernel.yama.ptrace_scope`).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asking  # beside this file
import ground  # likewise
import machine  # likewise
import servers  # likewise
from asking import Draw, Ground  # likewise
from servers import Server  # likewise
from workloads import CASES, Case  # likewise

HERE: Final = Path(__file__).parent
PY_SPY: Final = "py-spy==0.4.2"
SAMPLES: Final = 250  # a second
SHOWN: Final = 14
LEAST: Final = 0.02
"""The smallest share of the time that is shown."""
_SHARE: Final = re.compile(r"^ *([\d.]+)% +(\S+)", re.MULTILINE)
_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>[^()]*)\)$")
_ROOMS: Final = (
    "api/access", "api/core/writing", "api/core", "api/questions", "api/records", "api/server",
    "api/sync", "schemas", "asyncpg", "litestar", "uvicorn", "asyncio", "prometheus_client", "json",
)  # fmt: skip
_STARTING: Final = re.compile("api/cli/|api/server/serving")
"""The functions that start the service are in every stack."""
PERF: Final = "perf"
_OF_POSTGRES: Final = (b"[local]", b"127.0.0.1")
"""How Postgres names, in the title of a process, where its client is."""


def main() -> None:
    """Sample each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases, with commas: R1,R3")
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where records are kept")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else [case.code for case in CASES]
    with (
        ground.prepared(options.data, options.claims) as ours,
        servers.running(*servers.ours(ours.url)) as server,
    ):
        for case in CASES:
            if case.code in only:
                _write_requests(ours, case, server, options.claims)
                _print(case, _sample(ours, case, server, options.seconds))
                if shutil.which(PERF):
                    _print_libraries(ours, case, server, options.seconds)


def _write_requests(ours: Ground, case: Case, server: Server, claims: int) -> None:
    path = case.sides[0].path
    draws: Sequence[Draw] = [{}]
    if "{since}" in path:
        draws = asyncio.run(ground.find_places(ours.url, server, claims))
    elif "{id}" in path:
        draws = asyncio.run(ground.draw_claims(ours.url))
    asking.write_requests(ours, case, case.sides[0], draws)


def _sample(ours: Ground, case: Case, server: Server, seconds: int) -> Counter[str]:
    """Ask a case, and give how often each stack was found meanwhile."""
    with tempfile.NamedTemporaryFile() as file:
        command = ["uvx", "-q", PY_SPY, "record", "--pid", str(server.pid), "--output", file.name]
        # Threads that wait are in no sample, since they don't hold the interpreter's lock.
        how = ["--format", "raw", "--function", "--gil", "--rate", str(SAMPLES), "--subprocesses"]
        sampling = subprocess.Popen(
            [*command, *how, "--duration", str(seconds)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        asking.measure(ours, case, case.sides[0], server, seconds + 1)
        _, said = sampling.communicate(timeout=60)
        if sampling.returncode:
            raise SystemExit(f"py-spy could not look into the service: {said}")
        stacks: Counter[str] = Counter()
        for line in Path(file.name).read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            stacks[stack] += int(count)
    return stacks


def _print(case: Case, stacks: Counter[str]) -> None:
    """Print the shares of the rooms and of our functions."""
    rooms: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in stacks.items():
        frames = stack.split(";")
        rooms[next(filter(None, map(_room, reversed(frames))), "Python itself")] += count
        for frame in {frame for frame in frames if "api/" in frame and not _STARTING.search(frame)}:
            functions[frame] += count
    total = max(stacks.total(), 1)
    print(f"\n## {case.name}: {total:,} samples\n", flush=True)
    for name, found in (("room", rooms), ("function, and what it calls", functions)):
        print(f"| {name} | share |\n|---|--:|")
        for each, count in found.most_common(SHOWN):
            if count / total >= LEAST:
                print(f"| `{each}` | {count / total:.0%} |")
        print(flush=True)


def _room(frame: str) -> str:
    """Name the room of ours, or the package, to which a frame belongs.

    The event loop is in C; it shows as the function of asyncio that runs it.
    """
    match = _FRAME.match(frame)
    file = match["file"] if match else frame
    if "asyncio/runners.py" in file:
        return "uvloop"
    return next((room for room in _ROOMS if f"{room}/" in file), "")


def _print_libraries(ours: Ground, case: Case, server: Server, seconds: int) -> None:
    """Print in which libraries the service and Postgres used the processor."""
    if case.method == "PATCH":  # which names the versions that there are now
        _write_requests(ours, case, server, 0)
    sides = {
        "service": machine.family(server.pid),
        "Postgres": [each for each in machine.family(ours.postmaster) if _has_client(each)],
    }
    with tempfile.TemporaryDirectory() as directory:
        recording = {
            name: subprocess.Popen(
                [PERF, "record", "--quiet", "--event", "cpu-clock", "--freq", str(SAMPLES),
                 "--pid", ",".join(map(str, pids)), "--output", f"{directory}/{name}",
                 "--", "sleep", str(seconds)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for name, pids in sides.items()
        }  # fmt: skip
        asking.measure(ours, case, case.sides[0], server, seconds + 1)
        for name, process in recording.items():
            process.wait(60)
            _print_shares(name, f"{directory}/{name}")


def _has_client(pid: int) -> bool:
    """Tell whether a process of Postgres serves a client; the others come and go."""
    title = Path(f"/proc/{pid}/cmdline").read_bytes()
    return any(mark in title for mark in _OF_POSTGRES)


def _print_shares(name: str, recorded: str) -> None:
    """Print the shares of the libraries in what perf has recorded."""
    report = subprocess.run(
        [PERF, "report", "--stdio", "--input", recorded, "--sort", "dso", "--percent-limit", "2"],
        check=False, capture_output=True, text=True,
    ).stdout  # fmt: skip
    print(f"| {name}, library | share |\n|---|--:|")
    for share, library in _SHARE.findall(report):
        print(f"| `{library}` | {float(share):.0f}% |")
    print(flush=True)


if __name__ == "__main__":
    main()
