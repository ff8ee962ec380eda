"""Sample the service while it is asked, and print where its time goes.

    python bench/where.py [--only R1,W1] [--claims 10000] [--seconds 5]

It asks for our side of the cases of `run.py`, one after another, and samples the process with
py-spy, which uv fetches. The first list of a case says in which room the processor was; the second,
which of our functions were under way, with all that they called. It needs `wrk` and `uv`, and the
right to look into other processes (root, or 0 in `kernel.yama.ptrace_scope`).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asking  # beside this file
import ground  # likewise
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
_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>[^()]*)\)$")
_ROOMS: Final = (
    "api/access", "api/core/writing", "api/core", "api/questions", "api/records", "api/server",
    "api/sync", "asyncpg", "httptools", "litestar", "msgspec", "uvicorn", "uvloop",
)  # fmt: skip
_LIBRARIES: Final = {
    "libc.so": "the kernel: sockets, memory",
    "libpthread": "the kernel: sockets, memory",
    "loop.cpython": "uvloop",
    "protocol.cpython": "asyncpg",
    "parser.cpython": "httptools",
    "_core.cpython": "msgspec",
}
"""Those in C, by the beginnings of their files' names."""


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
        how = [
            "--format",
            "raw",
            "--function",
            "--native",
            "--rate",
            str(SAMPLES),
            "--subprocesses",
        ]
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
            if "epoll_" not in stack:  # which waits for work
                stacks[stack] += int(count)
    return stacks


def _print(case: Case, stacks: Counter[str]) -> None:
    """Print the shares of the rooms and of our functions."""
    rooms: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in stacks.items():
        frames = stack.split(";")
        inner = [frame for frame in reversed(frames) if "__libc_start" not in frame]
        rooms[next(filter(None, map(_room, inner)), "Python itself")] += count
        for frame in {frame for frame in frames if "api/" in frame}:
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
    """Name the room of ours, or the package, to which a frame belongs."""
    match = _FRAME.match(frame)
    file = match["file"] if match else frame
    library = next((_LIBRARIES[name] for name in _LIBRARIES if name in file), "")
    return library or next((room for room in _ROOMS if f"{room}/" in file), "")


if __name__ == "__main__":
    main()
