"""Measure for how long hostile requests keep the event loop from everything else.

    python bench/blocks.py [--only "large and wrong"] [--slow 20]

The corpus of hostile requests (`tests/corpus.py`) is sent to a service in this process, one request
after another. For each class it prints the longest time in which nothing else got its turn on the
event loop, and then the requests that blocked it for longer than `--slow` milliseconds. Of each it
tells the processor time of this process first, and then how long the block was: a block without its
processor time is the work of others on the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import uvloop

from api.app import create_app
from api.core.db import Database
from api.embedded import EmbeddedPostgres
from api.server import schema
from api.server.process import shorten_blocks
from api.settings import Settings
from tests.corpus import CLASSES
from tests.corpus_run import HEADING, in_process, prepare, run_class

PATIENT: Final[dict[str, Any]] = {
    "statement_seconds": 60,
    "acquire_seconds": 60,
    "body_idle_seconds": 60,
}


async def measure(url: str, only: str | None, slow: float) -> None:
    """Send each class."""
    await schema.migrate(url)
    settings = Settings(pool_size=5, rate_per_minute=0, **PATIENT)
    app: Any = create_app(settings, Database(url, settings))
    connection = await asyncpg.connect(url)
    try:
        async with app.lifespan():
            send = in_process(app)
            world = await prepare(send, connection)
            print(HEADING)
            blocked: list[tuple[float, float, str]] = []
            for name, make in CLASSES.items():
                if only in (None, name):
                    cases = list(make(world))
                    shorten_blocks()  # the cases are no garbage to look for
                    outcome = await run_class(name, cases, send, connection)
                    blocked += outcome.blocks
                    print(outcome.shown(), flush=True)
                    print("\n".join(outcome.failures[:10]))
    finally:
        await connection.close()
    for used, longest, name in sorted(blocked, reverse=True):
        if max(used, longest) >= slow:
            print(f"{used:7.1f} ms of {longest:7.1f} ms  {name}")


def main() -> None:
    """Start a Postgres, measure, and remove it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="the name of one class")
    parser.add_argument("--slow", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory) / "data", fsync=False)
        server.start()
        try:
            uvloop.run(measure(server.url("postgres"), arguments.only, arguments.slow))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
