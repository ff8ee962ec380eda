"""Restart two instances in turn behind a balancer, and count the requests that fail.

    python bench/rolling.py [--requests 10000] [--kind "keeps connections"] [--workers 1]

Starts an embedded Postgres and the instances on loopback, and removes everything. The clients and
the balancers are those of `tests/test_rolling.py`: one that reads readiness, one that keeps its
connections, and one that connects anew for each request. After `--seconds` no instance is restarted
any more, however few requests were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from tests.conftest import allow  # noqa: E402
from tests.test_rolling import restart_in_turn  # noqa: E402

KINDS: Final = ("reads readiness", "keeps connections", "connects anew")


def main() -> None:
    """Serve, restart, and print what became of the requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="how many at least")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0], help="which balancer")
    parser.add_argument("--workers", default="1", help="processes of each instance")
    parser.add_argument("--seconds", type=float, default=360, help="after which no more are sent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="claim-bench-") as name:
        directory = Path(name)
        with EmbeddedPostgres(directory / "data") as server:
            asyncio.run(_roll(options, directory, server.url()))


async def _roll(options: argparse.Namespace, directory: Path, url: str) -> None:
    await schema.migrate(url)
    await allow(url)
    began = time.monotonic()
    statuses = await restart_in_turn(
        directory,
        url,
        ("--workers", options.workers),
        options.kind,
        options.requests,
        options.seconds,
    )
    failed = statuses.total() - statuses[200] - statuses[201]
    print(
        f"{options.kind}, {options.workers} workers: {failed} failed of {statuses.total()} requests"
        f" in {time.monotonic() - began:.0f} s: {dict(statuses)}"
    )


if __name__ == "__main__":
    main()
