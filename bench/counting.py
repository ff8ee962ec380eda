"""Measure what writers pay for the words that matching counts: creates with the counts and without.

    python bench/counting.py [--claims 10000] [--rounds 3]

A count is followed by a rest of twenty times its own length, so a round is as long as two counts
with their rests. Rounds with and without counts alternate, on one service and one database. Linux
only; needs `wrk`. With more claims a count takes longer, and so does each round.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from pathlib import Path
from statistics import median
from typing import Final

import asking  # beside this file
import asyncpg
import ground  # likewise
import machine  # likewise
import servers  # likewise
from asking import Ground  # likewise
from results import Measured  # likewise
from servers import Server  # likewise
from workloads import W1  # likewise

from api.matching.counting import REST

HERE: Final = Path(__file__).parent
COUNTS: Final = 2
"""How many counts a round has."""
WARM_UP: Final = 10  # seconds, of which the first count is taken
_TOOK: Final = "SELECT seconds FROM word_counts WHERE record_type = 'claim'"


def main() -> None:
    """Measure, and print each round and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=HERE / "data", help="where records are kept")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs what closes the servers
    print(f"{options.claims:,} claims at first, {machine.description()}")
    with (
        ground.prepared(options.data, options.claims) as ours,
        servers.running(*servers.ours(ours.url)) as server,
    ):
        asking.write_requests(ours, W1, W1.sides[0], [{}])
        _round(ours, server, counts=True, seconds=WARM_UP)
        ratios = []
        for _ in range(options.rounds):
            seconds = math.ceil(COUNTS * (1 + REST) * asyncio.run(_count_took(ours.url)))
            without, with_it = (
                _round(ours, server, counts=counts, seconds=seconds).cpu for counts in (False, True)
            )
            ratios.append(with_it / without)
    print(f"with the counts to without, median: {median(ratios):.3f}")


def _round(ours: Ground, server: Server, *, counts: bool, seconds: int) -> Measured:
    asyncio.run(ground.let_counting_rest(ours.url, rests=not counts))
    measured = asking.measure(ours, W1, W1.sides[0], server, seconds)
    print(
        f"{'with' if counts else 'without'} counts, {seconds} s:"
        f" {measured.per_second:.0f} a second; service {measured.server_cpu:,.0f} µs,"
        f" Postgres {measured.postgres_cpu:,.0f} µs",
        flush=True,
    )
    return measured


async def _count_took(url: str) -> float:
    """Give the seconds that the last count took."""
    connection = await asyncpg.connect(url)
    try:
        seconds: float = await connection.fetchval(_TOOK)
    finally:
        await connection.close()
    return seconds


if __name__ == "__main__":
    main()
