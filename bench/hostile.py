"""Measure a client with a key beside many readers without one who ask for the costliest lists.

    python bench/hostile.py [--claims 100000] [--readers 40] [--seconds 10] [--rate 6000] [--data D]

Starts an embedded Postgres and the service on loopback, and removes everything, unless `--data`
names a directory that keeps the records for the next run. The client has one connection and
alternates between a claim by id, a page of the newest 50 claims and a new claim. First it is alone,
then beside the readers. What counts is how many times longer its requests take then, and that none
of them is refused. With `--explain`, each list is asked for once by itself instead.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import asyncpg

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import records  # noqa: E402 - beside this file
from servers import free_port, running  # noqa: E402

from api.access import keyring  # noqa: E402
from api.core.db import Database  # noqa: E402
from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from api.settings import Settings  # noqa: E402
from api.sync.importing.runs import load  # noqa: E402
from schemas.vocabularies import Scope  # noqa: E402

WORDS: Final = ("troops", "killed", "force", "month", "least", "one", "of", "the", "in", "were")
COSTLY: Final = (
    "count=exact&limit=200&q=" + quote('"troops of the" "were killed in"'),
    "limit=200&sort=relevance&q=" + quote('"killed in one month"'),
    "count=exact&q=" + quote(" or ".join(WORDS)),
    "sort=relevance&q=" + quote(" or ".join(WORDS * 4)),
    "count=exact&q=" + quote('"month killed"'),
    "attributed=false&count=exact",
    "attributed=false",
    "stated__gte=2099-01-01",
    "stated__gte=2099-01-01&count=exact",
    "language=xx",
    "language=xx&count=exact",
    "polarity=negative&count=exact",
    "embedding__nin=asserted&sort=updated_at",
    "without_response_family=denies&count=exact",
    "occurred__lt=1900-01-01&count=exact",
    "metric=killed&quantity_from=900000&quantity_to=900001&count=exact",
    "anchor=orphaned&count=exact",
    "tag=war&count=exact&sort=-updated_at",
    "expand=sources,articles,claims,denials&limit=200",
)
"""Query strings of lists of claims that cost the most, most of them without finding anything."""


def main() -> None:
    """Fill a database, serve it, and measure."""
    options = _options()
    with ExitStack() as stack:
        directory = options.data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="claim-bench-"))
        )
        server = stack.enter_context(EmbeddedPostgres(directory / "data"))
        key = asyncio.run(_fill(server.url(), options.claims))
        port = free_port()
        environment = {
            "DATABASE_URL": server.url(),
            "CLAIM_RECORDS_PORT": str(port),
            "CLAIM_RECORDS_LOG_LEVEL": "warning",
            "CLAIM_RECORDS_RATE_PER_MINUTE": str(options.rate),
            "PYTHONPATH": str(HERE.parent),
        }
        command = [sys.executable, "-m", "api.cli", "serve"]
        address = stack.enter_context(running(command, environment, port)).address
        if options.explain:
            _ask_each(address)
            return
        _compare(options, address, key)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=100_000, help="how many to load")
    parser.add_argument("--readers", type=int, default=40, help="how many at the same time")
    parser.add_argument("--seconds", type=float, default=10, help="of each of the two rounds")
    parser.add_argument("--rate", type=int, default=6_000, help="the limit of requests a minute")
    parser.add_argument("--data", type=Path, help="a directory that keeps the records")
    parser.add_argument("--explain", action="store_true", help="ask for each list by itself")
    return parser.parse_args()


async def _fill(url: str, claims: int) -> str:
    """Make the schema and the records, unless they are there, and a key, which is returned."""
    await schema.migrate(url)
    database = Database(url, Settings())
    await database.open()
    try:
        if not await database.fetch("SELECT FROM claims LIMIT 1"):
            totals = (await load(database, records.lines(claims))).totals
            if totals.refused:
                sys.exit(f"{totals.refused} of the records to measure with were refused.")
        scopes = [Scope.READ, Scope.CLAIMS_WRITE]
        key, _ = await keyring.create(database, "bench", scopes, None)
    finally:
        await database.close()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return key


def _ask_each(address: str) -> None:
    """Print how long each of the lists takes when nobody else asks, the shortest of three."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    for query in COSTLY:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            connection.request("GET", f"/v1/claims?{query}")
            answer = connection.getresponse()
            body = json.loads(answer.read())
            times.append(time.perf_counter() - started)
        found = len(body.get("items", ())), body.get("total")
        print(f"{min(times) * 1000:8.1f} ms {answer.status} {found} {query[:90]}", flush=True)


# --- the two rounds --------------------------------------------------------------------------


def _compare(options: argparse.Namespace, address: str, key: str) -> None:
    alone = _client(address, key, options.claims, options.seconds)
    _print("alone", alone)
    spawn = multiprocessing.get_context("spawn")
    begun, ended, told = spawn.Event(), spawn.Event(), spawn.Queue()
    readers = spawn.Process(
        target=_read_hostilely, args=(address, options.readers, begun, ended, told)
    )
    readers.start()
    begun.wait(30)
    time.sleep(1)
    beside = _client(address, key, options.claims, options.seconds)
    ended.set()
    print("the readers' answers:", told.get(timeout=60))
    readers.join(30)
    _print(f"beside {options.readers}", beside)
    for name in alone:
        ratio = _p99(beside[name][0]) / _p99(alone[name][0])
        print(f"{name}: p99 is {ratio:.1f} times that alone")


def _client(
    address: str, key: str, claims: int, seconds: float
) -> dict[str, tuple[list[float], Counter[int]]]:
    """Send requests one after another; give the milliseconds and the statuses of each kind."""
    draw = random.Random(time.time_ns())  # noqa: S311 - nothing here is secret
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    found: dict[str, tuple[list[float], Counter[int]]] = {
        name: ([], Counter()) for name in ("one claim", "page of 50", "create")
    }
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        identity = records.record_id(3, draw.randrange(claims))
        body = json.dumps(records.claim(draw.randrange(claims), f"{time.time_ns()}"))
        for name, method, path, sent in (
            ("one claim", "GET", f"/v1/claims/{identity}", None),
            ("page of 50", "GET", "/v1/claims?limit=50", None),
            ("create", "POST", "/v1/claims", body),
        ):
            started = time.perf_counter()
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            answer.read()
            times, statuses = found[name]
            times.append((time.perf_counter() - started) * 1000)
            statuses[answer.status] += 1
    return found


def _p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def _print(title: str, found: dict[str, tuple[list[float], Counter[int]]]) -> None:
    for name, (times, statuses) in found.items():
        print(
            f"{title}: {name}: {len(times)} requests, p50 {statistics.median(times):.1f} ms,"
            f" p99 {_p99(times):.1f} ms, longest {max(times):.1f} ms, {dict(statuses)}",
            flush=True,
        )


# --- the readers, in a process of their own --------------------------------------------------


def _read_hostilely(address: str, readers: int, begun: Event, ended: Event, told: Any) -> None:  # noqa: ANN401 - a queue
    told.put(dict(asyncio.run(_read_all(address, readers, begun, ended))))


async def _read_all(address: str, readers: int, begun: Event, ended: Event) -> Counter[int]:
    statuses: Counter[int] = Counter()
    begun.set()
    tasks = [asyncio.create_task(_read(address, n, ended, statuses)) for n in range(readers)]
    await asyncio.gather(*tasks)
    return statuses


async def _read(address: str, number: int, ended: Event, statuses: Counter[int]) -> None:
    """Ask for one list after another; after a refusal, wait for a tenth of a second."""
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**26)
    for turn in itertools.count(number):
        if ended.is_set():
            break
        query = COSTLY[turn % len(COSTLY)]
        writer.write(f"GET /v1/claims?{query} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(size))
        status = int(head[9:12])
        statuses[status] += 1
        if status != 200:
            await asyncio.sleep(0.1)
    writer.close()


if __name__ == "__main__":
    main()
