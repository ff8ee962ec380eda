"""Measure what becomes of the service when its records grow, and with several processes.

    python bench/growth.py [--sizes 10000,100000,1000000] [--processes 1,2,4]

It makes the records as `run.py` does, and measures all sizes side by side, with one process for
each; then one, two and four processes on the smallest size. All in alternating rounds, so that
other work on the machine disturbs each as much. Linux only; needs `wrk`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import asking  # beside this file
import asyncpg
import ground  # likewise
import machine  # likewise
import picture  # likewise
import servers  # likewise
from asking import Draw, Ground  # likewise
from results import Measured, Report, Result, row, save, table  # likewise
from servers import Server  # likewise
from workloads import HTTP_CONNECTIONS, OURS, R1, R2, R3, W1, W2, Case, S, Side  # likewise

HERE: Final = Path(__file__).parent
WARM_UP: Final = 2  # seconds
SHARES: Final = ((R1, 6), (R2, 3), (W1, 1))
"""Of ten requests of the mix, so many are of a workload."""
MIX: Final = Case("M reads 90 %, creates 10 %", "POST", 0, (Side(OURS, "ours", "/v1/claims"),))
GROWING: Final = (R1, R2, R3, S, W1, W2, MIX)
SPREAD: Final = (R1, R2, MIX)
"""What several processes are asked for."""


class Size(NamedTuple):
    """What a number of claims takes."""

    claims: int
    database: int  # bytes
    service: int  # bytes of memory, after all rounds


class Spread(NamedTuple):
    """What a number of processes take and answer."""

    processes: int
    memory: int  # bytes of all of them together, after all rounds


def main() -> None:
    """Measure, and write the tables and the pictures."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs what closes the servers
    with ground.side_by_side(options.data, options.sizes) as grounds:
        sizes, grown = _measure_sizes(options, grounds)
    with ground.prepared(options.data, options.sizes[0]) as ours:
        processes, spread = _measure_processes(options, ours)
    _write(options, [*_sized(sizes), *_held(processes)], grown, spread)


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--processes", type=numbers, default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of one round")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="a directory")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where records are kept")
    return parser.parse_args()


def _measure_sizes(
    options: argparse.Namespace, grounds: Sequence[Ground]
) -> tuple[list[Size], list[list[Result]]]:
    """Measure all workloads on each number of claims side by side, with one process for each."""
    databases = [asyncio.run(_database_size(each.url)) for each in grounds]
    with ExitStack() as stack:
        running = {}
        for claims, each in zip(options.sizes, grounds, strict=True):
            # At a million one count takes much longer than a round, and rests for much longer.
            asyncio.run(ground.let_counting_rest(each.url, rests=True))
            asyncio.run(ground.read_indexes(each.url))
            server = stack.enter_context(servers.running(*servers.ours(each.url)))
            _write_requests(each, claims, server)
            running[f"{claims:,} claims"] = each, server
        grown = [_alternate(options, case, running) for case in GROWING]
        memory = [machine.memory(machine.family(server.pid)) for _, server in running.values()]
    return [*map(Size, options.sizes, databases, memory)], grown


def _measure_processes(
    options: argparse.Namespace, ours: Ground
) -> tuple[list[Spread], list[list[Result]]]:
    """Measure services with different numbers of processes side by side."""
    asyncio.run(ground.let_counting_rest(ours.url, rests=True))
    with ExitStack() as stack:
        running = {
            f"{count} process{'es' if count > 1 else ''}": (
                ours,
                stack.enter_context(servers.running(*servers.ours(ours.url, count))),
            )
            for count in options.processes
        }
        _write_requests(ours, options.sizes[0], next(iter(running.values()))[1])
        spread = [_alternate(options, case, running) for case in SPREAD]
        memory = [machine.memory(machine.family(server.pid)) for _, server in running.values()]
    return [*map(Spread, options.processes, memory)], spread


def _alternate(
    options: argparse.Namespace, case: Case, running: Mapping[str, tuple[Ground, Server]]
) -> list[Result]:
    """Measure a workload on some servers in turn, after a warm-up, and print what came of it."""
    side = case.sides[0]
    rounds: dict[str, list[Measured]] = {name: [] for name in running}
    for number in range(-1, options.rounds):
        for name, (ours, server) in running.items():
            if case.method == "PATCH":  # which names the versions that there are now
                asking.write_requests(ours, case, side, asyncio.run(ground.draw_claims(ours.url)))
            seconds = options.seconds if number >= 0 else WARM_UP
            measured = asking.measure(ours, case, side, server, seconds)
            if number >= 0:
                rounds[name].append(measured)
    results = [Result(case.name, name, 0, those) for name, those in rounds.items()]
    print("\n".join(row(result, results[0]) for result in results), flush=True)
    return results


def _write_requests(ours: Ground, claims: int, server: Server) -> None:
    """Write the requests of each workload, and those of the mix."""
    drawn = asyncio.run(ground.draw_claims(ours.url))
    places = asyncio.run(ground.find_places(ours.url, server, claims))
    for case in GROWING:
        path = case.sides[0].path
        draws: Sequence[Draw] = places if "{since}" in path else drawn if "{id}" in path else [{}]
        asking.write_requests(ours, case, case.sides[0], draws)
    lines: list[str] = []
    for case, share in SHARES:
        its = asking.requests_file(ours, case, case.sides[0]).read_text().splitlines()
        lines += [its[place % len(its)] for place in range(share * 500)]
    asking.requests_file(ours, MIX, MIX.sides[0]).write_text("\n".join(lines) + "\n")


async def _database_size(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
    return size


def _sized(sizes: Sequence[Size]) -> list[str]:
    return [
        "| claims | database, MiB | bytes a claim, all told | memory of one process, MiB |",
        "|--:|--:|--:|--:|",
        *(
            f"| {size.claims:,} | {size.database / 2**20:,.0f} |"
            f" {size.database / size.claims:,.0f} | {size.service / 2**20:,.0f} |"
            for size in sizes
        ),
        "",
    ]


def _held(processes: Sequence[Spread]) -> list[str]:
    return [
        "| processes | memory of all of them, MiB |",
        "|--:|--:|",
        *(f"| {each.processes} | {each.memory / 2**20:,.0f} |" for each in processes),
        "",
    ]


def _write(
    options: argparse.Namespace,
    weights: Sequence[str],
    grown: Sequence[list[Result]],
    spread: Sequence[list[Result]],
) -> None:
    """Write all tables into one file, and the pictures."""
    about = (
        f"{HTTP_CONNECTIONS} connections (S: 4), {machine.description()}, medians of"
        f" {options.rounds} rounds of {options.seconds} s, {time.strftime('%Y-%m-%d')}"
    )
    parts = [*weights]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, title, first, those in (
        ("growth", "claim-records as its records grow", "smallest", grown),
        ("processes", "claim-records with several processes", "fewest", spread),
    ):
        report = Report(
            title=title, about=about, first=first, other="this", cases=[*those], is_ranked=False
        )
        parts.append(table(report))
        save(report, options.out / f"{name}.json")
        picture.write(report, options.out / f"{name}.json")
    (options.out / "growth.md").write_text("\n".join(parts))
    print(f"\nWritten to {options.out}: growth.md, and growth and processes as .json and .svg.")


if __name__ == "__main__":
    main()
