"""Measure the sides of each case in alternating rounds, on the same rows of the same Postgres."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import asking  # beside this file
import ground  # likewise
import installing  # likewise
import machine  # likewise
import servers  # likewise
from asking import Draw, Ground  # likewise
from results import Measured, Result, head, row, together  # likewise
from servers import NotMeasured, Server  # likewise
from workloads import LOOP, Case, Side, of_sides  # likewise

WARM_UP: Final = 2  # seconds


class Cores(NamedTuple):
    """Which cores each process may use; none named: any."""

    name: str
    server: tuple[int, ...] = ()
    wrk: tuple[int, ...] = ()
    postgres: tuple[int, ...] = ()


class Bench(NamedTuple):
    """What all rounds of a layout have in common."""

    options: Namespace
    ground: Ground
    cores: Cores
    running: dict[str, Server]
    missing: list[str]
    """What could not be measured, and why."""


def measure(
    options: Namespace, ours: Ground, cases: Sequence[Case], names: Sequence[str], cores: Cores
) -> tuple[list[list[Result]], list[str]]:
    """Run all rounds with the processes laid out in one way, and print them as they come."""
    print(f"\n## {cores.name}\n\n{head()}", flush=True)
    found = []
    with ExitStack() as stack:
        bench = Bench(options, ours, cores, {}, [])
        with machine.on_cores(cores.server):
            bodies = _start_ours(bench, cases, stack)
            for name in names:
                _start(bench, name, bodies, stack)
        for case in of_sides(cases, (*bench.running, *({LOOP} & {*names}))):
            results = _run(bench, case)
            print("\n".join(row(each, results[0]) for each in results), flush=True)
            found.append(results)
    return found, bench.missing


def _start_ours(bench: Bench, cases: Sequence[Case], stack: ExitStack) -> Path:
    """Start our service; write the bytes of its answers, with which the ceilings answer."""
    server = stack.enter_context(servers.running(*servers.ours(bench.ground.url)))
    bench.running["ours"] = server
    bodies = bench.ground.directory / "bodies"
    bodies.mkdir(exist_ok=True)
    for case in cases:
        if case.method == "GET":
            _write_requests(bench, case, case.sides[0])
            body = asking.answer_of(bench.ground, case, case.sides[0], server)
            (bodies / case.code).write_bytes(body)
    return bodies


def _start(bench: Bench, name: str, bodies: Path, stack: ExitStack) -> None:
    """Install and start another side; if that is not possible, tell why and go on."""
    try:
        programs = bench.options.data / "programs"
        started = installing.command(
            name, bench.ground.url, programs, bodies, bench.options.postgrest
        )
        if started is not None:
            bench.running[name] = stack.enter_context(servers.running(*started))
    except NotMeasured as reason:
        _tell_missing(bench, name, reason)


def _tell_missing(bench: Bench, what: str, reason: NotMeasured) -> None:
    bench.missing.append(f"{what}: {reason}")
    print(f"Not measured: {bench.missing[-1]}", file=sys.stderr, flush=True)


def _write_requests(bench: Bench, case: Case, side: Side) -> None:
    """Draw what the requests of a side ask for, and write them."""
    draws: Sequence[Draw] = [{}]
    claims, url = bench.options.claims, bench.ground.url
    if "{since}" in case.sides[0].path:
        draws = asyncio.run(ground.find_places(url, bench.running["ours"], claims))
    elif "{id}" in case.sides[0].path:
        draws = asyncio.run(ground.draw_claims(url))
    asking.write_requests(bench.ground, case, side, draws)


def _run(bench: Bench, case: Case) -> list[Result]:
    """Run the rounds of a case with the sides that answer as they should."""
    sizes: dict[Side, int] = {}
    for side in case.sides:
        try:
            sizes[side] = _look(bench, case, side)
        except NotMeasured as reason:
            if side is case.sides[0]:
                sys.exit(f"{case.name}, {side.name}: {reason}")
            _tell_missing(bench, f"{case.code}, {side.name}", reason)
    rounds = _alternate(bench, case, [*sizes])
    mine = case.sides[0]
    return [
        Result(case.name, side.name, sizes[side] or sizes[mine], measured)
        for side, measured in rounds.items()
    ]


def _look(bench: Bench, case: Case, side: Side) -> int:
    """Ask a side once, and give the size of its answer."""
    _write_requests(bench, case, side)
    if side.server == LOOP:
        return 0
    server = bench.running[side.server]
    return len(asking.answer_of(bench.ground, case, side, server))


def _alternate(bench: Bench, case: Case, sides: Sequence[Side]) -> dict[Side, list[Measured]]:
    """Measure the sides in turn after a warm-up, each round beginning with another one.

    A round goes through the sides and back again, with half of its time for each way. So whatever
    becomes slower or faster at a steady pace does so for all sides alike.
    """
    found: dict[Side, list[Measured]] = {side: [] for side in sides}
    _measure_each(bench, case, found, [*found], WARM_UP)
    seconds = -(-bench.options.seconds // 2)
    for number in range(bench.options.rounds):
        order = [*found]
        order = order[number % len(order) :] + order[: number % len(order)]
        ways = [_measure_each(bench, case, found, each, seconds) for each in (order, order[::-1])]
        for side, rounds in found.items():
            rounds.append(together(*(way[side] for way in ways)))
    return found


def _measure_each(
    bench: Bench,
    case: Case,
    found: dict[Side, list[Measured]],
    order: Sequence[Side],
    seconds: int,
) -> dict[Side, Measured]:
    """Measure sides one after another; leave out of what was found a side that does not answer."""
    measured = {}
    for side in order:
        if side not in found:
            continue
        try:
            measured[side] = _once(bench, case, side, seconds)
        except NotMeasured as reason:
            if case.sides[0] is side:
                sys.exit(f"{case.name}, {side.name}: {reason}")
            _tell_missing(bench, f"{case.code}, {side.name}", reason)
            del found[side]
    return measured


def _once(bench: Bench, case: Case, side: Side, seconds: int) -> Measured:
    """Measure one side for some time; a patch names the version that there is now.

    What others have written is to be finished before, since Postgres' time is counted.
    """
    if case.method == "PATCH":
        _write_requests(bench, case, side)
    elif case.method != "GET":
        asyncio.run(ground.settle(bench.ground.url))
    with machine.on_cores(bench.cores.wrk):
        return asking.measure(bench.ground, case, side, bench.running.get(side.server), seconds)
