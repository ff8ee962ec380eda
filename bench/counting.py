"""Measure what writers pay for the words that matching counts: creates with the counts and without.

    python bench/counting.py [--claims 10000] [--pairs 4]

A count is followed by a rest of twenty times its own length, so a round is as long as one count
with its rest. A pair of rounds, with and without counts, gives a ratio; the order changes from
pair to pair, because a create costs a little more with each round that came before. All are on one
service and one database. Linux only; needs `wrk`. With more claims a count takes longer, and so
does each round.
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
COUNTS: Final = 1
"""How many counts a round has: more of them take so long that other work changes meanwhile."""
_ORDERS: Final = ((False, True), (True, False))
WARM_UP: Final = 10  # seconds, of which the first count is taken
_TOOK: Final = "SELECT seconds FROM word_counts WHERE record_type = 'claim'"


def main() -> None:
    """Measure, and print each round and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=4)
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
        ratios, shares = [], []
        for pair in range(options.pairs):
            seconds = math.ceil(COUNTS * (1 + REST) * asyncio.run(_count_took(ours.url)))
            used = {
                counts: _round(ours, server, counts=counts, seconds=seconds)
                for counts in _ORDERS[pair % 2]
            }
            ratios.append(used[True].cpu / used[False].cpu)
            more = used[True].cpu - used[False].cpu
            shares.append(used[True].per_second * more / 1e6)
            print(f"with the counts to without: {ratios[-1]:.3f}", flush=True)
    print(
        f"median: {median(ratios):.3f}; the counts took {median(shares):.3f} of a core"
        " (this says what they cost where other work leaves the creates little of the machine)"
    )


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
