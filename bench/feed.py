"""Measure what the change feed costs writers, and how soon a reader has what was written.

    python bench/feed.py [--rounds 3] [--seconds 6]

Starts an embedded Postgres (durable, as in service) in a temporary directory and the service on
loopback, and removes everything. Sixteen connections in four processes insert claims as fast as
they can, in short, alternating rounds: with nobody who numbers changes, and without the index that
numbering needs; with a service that numbers them; and with a reader of its stream beside that.
Then eight connections create claims through the API. A change's lag is from its `at`, which the
write's trigger sets before the commit, to when the reader has it: the commit is part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import msgspec

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import records  # noqa: E402 - beside this file

from api.access import keyring  # noqa: E402 - found by the line above
from api.core.db import Database  # noqa: E402
from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from api.settings import Settings  # noqa: E402
from api.sync.importing.runs import load  # noqa: E402
from schemas.vocabularies import Scope  # noqa: E402

PROCESSES: Final = 4
SQL_CONNECTIONS: Final = 4  # of each
API_CONNECTIONS: Final = 2
PATIENCE: Final = 60  # seconds, for anything
BODIES: Final = 200
NO_INDEX, NOBODY, NUMBERED, STREAMED = (
    "nobody numbers, no index",
    "nobody numbers",
    "a service numbers",
    "the same, and one reads the stream",
)
DROP: Final = "DROP INDEX IF EXISTS outbox_xid_idx"
CREATE: Final = "CREATE INDEX IF NOT EXISTS outbox_xid_idx ON outbox (xid)"
UNNUMBERED: Final = "SELECT (SELECT count(*) FROM outbox) - (SELECT count(*) FROM feed)"


class Ground(NamedTuple):
    """What the measurements stand on."""

    url: str
    key: str
    seconds: float
    pool: ProcessPoolExecutor


class Lags(NamedTuple):
    """What a reader of the stream saw."""

    changes: int
    p50: float  # milliseconds
    p99: float


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs what ends the others
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claim-bench-")))
        url = stack.enter_context(EmbeddedPostgres(directory / "data")).url()
        key = asyncio.run(fill(url))
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(PROCESSES + 1, mp_context=spawn)
        stack.callback(pool.shutdown, cancel_futures=True)
        ground = Ground(url, key, options.seconds, pool)
        compare(ground, options.rounds)
        through_api(ground)


async def fill(url: str) -> str:
    """Make the schema, what claims refer to, and a key."""
    await schema.migrate(url)
    database = Database(url, Settings())
    await database.open()
    try:
        await load(database, records.lines(1_000))
        key, _ = await keyring.create(database, "bench", [*Scope], None)
    finally:
        await database.close()
    return key


# --- writers, in processes of their own ------------------------------------------------------


def insert(url: str, until: float) -> int:
    """Insert claims on some connections until a time; give how many."""
    return asyncio.run(_insert(url, until))


async def _insert(url: str, until: float) -> int:
    bodies = [body.replace(records.UNIQUE, "@") for body in records.bodies(BODIES)]
    columns = ", ".join(json.loads(bodies[0]))
    statement = (
        f"INSERT INTO claims (id, {columns}) SELECT $1, {columns}"
        " FROM json_populate_record(NULL::claims, $2::json)"
    )

    async def work() -> int:
        connection = await asyncpg.connect(url)
        count = 0
        while time.time() < until:
            body = bodies[count % BODIES].replace('"@"', f'"{uuid4().hex}"')
            await connection.execute(statement, uuid4(), body)
            count += 1
        await connection.close()
        return count

    return sum(await asyncio.gather(*(work() for _ in range(SQL_CONNECTIONS))))


def post(address: str, key: str, until: float) -> int:
    """Create claims through the API on some connections until a time; give how many."""
    bodies = [*records.bodies(BODIES)]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def work(_: int) -> int:
        client = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
        count = 0
        while time.time() < until:
            body = bodies[count % BODIES].replace(records.UNIQUE, uuid4().hex)
            client.request("POST", "/v1/claims", body, headers)
            response = client.getresponse()
            if response.read() and response.status != http.client.CREATED:
                raise SystemExit(f"POST answered {response.status}")
            count += 1
        return count

    with ThreadPoolExecutor(API_CONNECTIONS) as threads:
        return sum(threads.map(work, range(API_CONNECTIONS)))


# --- a reader, in a process of its own -------------------------------------------------------


class _Change(msgspec.Struct):
    at: datetime


def read(address: str, key: str, since: float, until: float) -> list[float]:
    """Read the stream until a time; give the milliseconds by which each change came late."""
    found: list[float] = []
    rest = b""
    headers = {"authorization": f"Bearer {key}"}
    url = f"{address}/v1/changes/stream?since=now"
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE) as response:
        for chunk in response.raise_for_status().iter_bytes():
            now = time.time()
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                if event.startswith(b"event: change"):
                    data = event.partition(b"\ndata: ")[2]
                    at = msgspec.json.decode(data, type=_Change).at.timestamp()
                    if since <= at < until:
                        found.append((now - at) * 1000)
            if now > until + 1:
                return found
    return found


# --- rounds ----------------------------------------------------------------------------------


@contextmanager
def serving(ground: Ground, workers: int = 1) -> Iterator[str]:
    """Run the service until the end of the block, from when its feed is caught up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--workers", str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
        env=os.environ
        | {
            "DATABASE_URL": ground.url,
            "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
            "CLAIM_RECORDS_LOG_LEVEL": "warning",
        },
    )
    try:
        address = process.stdout.readline().split()[-1] if process.stdout else ""
        while asyncio.run(ask(ground.url, UNNUMBERED)):
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def ask(url: str, statement: str) -> Any:  # noqa: ANN401 - whatever it gives
    """Run a statement, and give its value."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def measure(
    ground: Ground, write: Callable[..., int], *arguments: str, at: str = ""
) -> tuple[float, Lags | None]:
    """Let all write for a round; give claims a second, and the lags of a reader, if any."""
    begin = time.time() + 1
    until = begin + ground.seconds
    reading: Future[list[float]] | None = None
    if at:
        reading = ground.pool.submit(read, at, ground.key, begin, until)
    counts = [ground.pool.submit(write, *arguments, until) for _ in range(PROCESSES)]
    started = time.time()
    rate = sum(count.result(PATIENCE) for count in counts) / (time.time() - started)
    if reading is None:
        return rate, None
    # A last change ends the reader's wait.
    asyncio.run(asyncio.sleep(1.5))
    asyncio.run(_insert(ground.url, time.time() + 0.2))
    lags = sorted(reading.result(PATIENCE))
    return rate, Lags(len(lags), median(lags), lags[int(len(lags) * 0.99)])


def compare(ground: Ground, rounds: int) -> None:
    """Compare the sides in alternating rounds, after one to warm up, and print them."""
    found: dict[str, list[tuple[float, Lags | None]]] = {}
    sides = [NO_INDEX, NOBODY, NUMBERED, STREAMED]
    for number in range(-1, rounds):
        for side in sides if number % 2 else reversed(sides):
            asyncio.run(ask(ground.url, DROP if side == NO_INDEX else CREATE))
            with ExitStack() as stack:
                numbers = side in (NUMBERED, STREAMED)
                address = stack.enter_context(serving(ground)) if numbers else ""
                reader = address if side == STREAMED else ""
                measured = measure(ground, insert, ground.url, at=reader)
            if number >= 0:
                found.setdefault(side, []).append(measured)
    print("| SQL, 16 connections | claims/s | lowest to highest | ÷ nobody | p50 ms | p99 ms |")
    print("|---|--:|--:|--:|--:|--:|")
    for side in sides:
        rates = [rate for rate, _ in found[side]]
        ratio = median(r / base for r, (base, _) in zip(rates, found[NOBODY], strict=True))
        lags = [seen for _, seen in found[side] if seen]
        late = [f"{median(seen[n] for seen in lags):.0f}" if lags else "" for n in (1, 2)]
        print(
            f"| {side} | {median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} |"
            f" {ratio:.2f} | {late[0]} | {late[1]} |",
            flush=True,
        )


def through_api(ground: Ground) -> None:
    """Create claims through the API, beside a reader, and print what came of it."""
    with serving(ground, workers=2) as address:
        rate, lags = measure(ground, post, address, ground.key, at=address)
    print(f"\nAPI, two processes, 8 connections: {rate:,.0f} claims/s", end="")
    if lags:
        print(f"; of {lags.changes:,} changes p50 {lags.p50:.0f} ms, p99 {lags.p99:.0f} ms")


if __name__ == "__main__":
    main()
