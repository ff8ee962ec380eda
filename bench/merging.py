"""Measure a merge of a source that 50,000 records name, kill the service in the middle, undo it.

    uv run python bench/merging.py [--references 50000] [--seconds 20]

Starts an embedded Postgres and the service on loopback, and removes everything. Four clients create
claims, one after another, before the merge, after it, and while the records follow or come back:
the ratio of their p99 is what may be read on a busy machine, and so is the processor time. The
service is killed (SIGKILL) when two fifths of the records have followed, and started again; until
the others have followed, these clients wait. A mirror follows. Each wait ends after `--limit`
seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import httpx

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from machine import family, processor_seconds  # noqa: E402 - beside this file
from servers import Server, free_port, ours, running  # noqa: E402 - likewise

from api.embedded import EmbeddedPostgres  # noqa: E402
from api.server import schema  # noqa: E402
from tests.conftest import KEY, allow, bearer  # noqa: E402

CLIENTS: Final = 4
PACE_SECONDS: Final = 0.02
KILLED_AT: Final = 0.4
_BATCH: Final = 5_000
_FILL: Final = """
    INSERT INTO claims (id, text, review_status, language, attributions)
    SELECT gen_random_uuid(), 'Claim ' || n || ': ' || repeat('so many words were said ', 20),
           'published', 'en',
           json_build_array(json_build_object('position', 0, 'source_id', $1::text))
    FROM generate_series(1, $2::integer) AS n"""
# All but the time and the version of each record that names one of the two, and of the two.
_CONTENTS: Final = """
    SELECT r.id::text, md5((convert_from(r.doc, 'UTF8')::jsonb - 'version' - 'updated_at')::text)
    FROM (
        SELECT id, doc FROM claims WHERE created_at < $1
        UNION ALL SELECT id, doc FROM sources
    ) AS r"""
_STORED: Final = " UNION ALL ".join(
    f"SELECT '{each}', id::text, version, convert_from(doc, 'UTF8') FROM {each}s"
    " WHERE deleted_at IS NULL"
    for each in ("source", "article", "claim", "denial")
)
_FOLLOWED: Final = "SELECT count(*) FROM source_merge_references WHERE state = 'standing'"


class Bench(NamedTuple):
    """What a measurement works on."""

    url: str
    postgres: int  # the process id
    port: int
    directory: Path
    limit: float


async def fetch(bench: Bench, text: str, *values: object) -> list[Any]:
    """Ask Postgres."""
    connection = await asyncpg.connect(bench.url)
    try:
        return list(await connection.fetch(text, *values))
    finally:
        await connection.close()


@asynccontextmanager
async def writing(server: Server) -> AsyncIterator[list[float]]:
    """Create claims while the block runs; give the seconds that each took."""
    taken: list[float] = []

    async def write(client: httpx.AsyncClient) -> None:
        while True:
            began = time.perf_counter()
            answer = await client.post("/v1/claims", json={"text": "Somebody else writes this"})
            answer.raise_for_status()
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(PACE_SECONDS)

    async with httpx.AsyncClient(
        base_url=server.address, headers=bearer(KEY), timeout=60
    ) as client:
        tasks = [asyncio.create_task(write(client)) for _ in range(CLIENTS)]
        try:
            yield taken
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, httpx.HTTPError):
                    raise result


async def reached(bench: Bench, text: str, least: int) -> None:
    """Wait until a count is as high."""
    connection = await asyncpg.connect(bench.url)
    try:
        async with asyncio.timeout(bench.limit):
            while await connection.fetchval(text) < least:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.25)
    finally:
        await connection.close()


def in_state(state: str) -> str:
    """Write the count of merges in a state."""
    return f"SELECT count(*) FROM source_merges WHERE state = '{state}'"


def mirrored(bench: Bench, server: Server) -> dict[tuple[str, str], tuple[int, str]]:
    """Let the mirror go on where it was, until it is up to date; read the copy."""
    copy = bench.directory / "copy.sqlite"
    command = [sys.executable, "-m", "api.cli", "mirror", "--once"]
    subprocess.run(
        [*command, "--from", server.address, "--to", str(copy)],
        env={**os.environ, "MIRROR_KEY": KEY, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        timeout=bench.limit,
        stderr=subprocess.DEVNULL,
    )
    with closing(sqlite3.connect(copy)) as database:
        rows = database.execute("SELECT type, id, version, doc FROM mirror_records").fetchall()
    return {
        (kind, identity): (version, doc.decode() if isinstance(doc, bytes) else doc)
        for kind, identity, version, doc in rows
    }


async def is_mirrored(bench: Bench, server: Server) -> bool:
    """Tell whether the copy of the mirror is what the service has."""
    copy = await asyncio.to_thread(mirrored, bench, server)
    stored = {(row[0], row[1]): (row[2], row[3]) for row in await fetch(bench, _STORED)}
    return copy == stored


async def changes(server: Server, since: str) -> tuple[Counter[str], str]:
    """Count the changes of the feed behind a cursor, by their operation."""
    counts: Counter[str] = Counter()
    async with httpx.AsyncClient(
        base_url=server.address, headers=bearer(KEY), timeout=60
    ) as client:
        while True:
            parameters = {"since": since, "limit": "1000"}
            page = (await client.get("/v1/changes", params=parameters)).json()
            counts.update(f"{each['type']} {each['op']}" for each in page["items"])
            since = page["next_cursor"]
            if not page["items"]:
                return counts, since


def p99(taken: Sequence[float]) -> float:
    """Give the 99th percentile in milliseconds."""
    return 1_000 * statistics.quantiles(taken, n=100)[98]


async def fill(bench: Bench, server: Server, references: int) -> tuple[str, str]:
    """Create the two sources and what names the one; give their ids."""
    async with httpx.AsyncClient(base_url=server.address, headers=bearer(KEY)) as client:
        ids = []
        for name in ("The survivor", "The other one"):
            body = {"kind": "person", "name": name}
            ids.append((await client.post("/v1/sources", json=body)).json()["id"])
    connection = await asyncpg.connect(bench.url)
    for start in range(0, references, _BATCH):
        await connection.execute(
            _FILL, ids[1], min(_BATCH, references - start), timeout=bench.limit
        )
    await connection.execute("VACUUM (ANALYZE)", timeout=bench.limit)
    await connection.close()
    survivor, other = ids
    return survivor, other


async def post(server: Server, path: str, body: dict[str, str] | None = None) -> float:
    """Send a request of a merge; give the milliseconds that it took."""
    async with httpx.AsyncClient(
        base_url=server.address, headers=bearer(KEY), timeout=60
    ) as client:
        began = time.perf_counter()
        answer = await client.post(path, json=body, headers={"if-match": "*"})
        took = 1_000 * (time.perf_counter() - began)
    answer.raise_for_status()
    return took


class Waited(NamedTuple):
    """What passed until a count was reached, with clients that write meanwhile."""

    seconds: float
    used: float  # processor time of the service and Postgres, in seconds
    taken: list[float]  # seconds of each create

    def told(self, references: int, alone: Sequence[float]) -> str:
        """Write what a reference took, and how much longer a create took than alone."""
        return (
            f"{references:,} references in {self.seconds:.0f} s beside {len(self.taken):,} creates:"
            f" {1_000 * self.seconds / references:.2f} ms and"
            f" {1_000 * self.used / references:.2f} ms of processor time each;"
            f" p99 of a create {p99(self.taken):.0f} ms, {p99(self.taken) / p99(alone):.2f} times"
            f" that alone; median {1_000 * statistics.median(self.taken):.0f} ms,"
            f" {statistics.median(self.taken) / statistics.median(alone):.2f} times"
        )


async def waited(bench: Bench, server: Server, text: str, least: int) -> Waited:
    """Wait until a count is as high, while clients write."""
    pids = [*family(server.pid), *family(bench.postgres)]
    used, began = processor_seconds(pids), time.monotonic()
    async with writing(server) as taken:
        await reached(bench, text, least)
    return Waited(time.monotonic() - began, processor_seconds(pids) - used, taken)


async def measure(bench: Bench, references: int, seconds: float) -> None:
    """Merge, kill, go on, undo, and print what was found."""
    served = ours(bench.url)
    with running(*served, port=bench.port) as server:
        survivor, other = await fill(bench, server, references)
        ((now,),) = await fetch(bench, "SELECT clock_timestamp()")
        before = dict(map(tuple, await fetch(bench, _CONTENTS, now)))
        print("mirror equal before:", await is_mirrored(bench, server), flush=True)
        _, since = await changes(server, "start")
        async with writing(server) as alone:
            await asyncio.sleep(seconds)
        took = await post(server, f"/v1/sources/{survivor}/merge", {"source_id": other})
        print(f"request of the merge: {took:.0f} ms", flush=True)
        merging = await waited(bench, server, _FOLLOWED, int(references * KILLED_AT))
        ((killed_at,),) = await fetch(bench, _FOLLOWED)
        os.kill(server.pid, signal.SIGKILL)
    print(f"killed after {killed_at:,} of {references:,}", flush=True)
    with running(*served, port=bench.port) as server:
        began = time.monotonic()
        await reached(bench, in_state("done"), 1)
        rest = time.monotonic() - began
        print(f"all followed after {merging.seconds + rest:.0f} s of service", flush=True)
        ((standing,),) = await fetch(bench, _FOLLOWED)
        ((left,),) = await fetch(
            bench, "SELECT count(*) FROM links WHERE source_id = $1::uuid", other
        )
        print(f"references in the log: {standing:,}, left: {left}", flush=True)
        async with writing(server) as again:
            await asyncio.sleep(seconds)
        alone += again
        print("merge:", merging.told(killed_at, alone), flush=True)
        told, since = await changes(server, since)
        print(f"changes of the merge and of the writers: {dict(told)}", flush=True)
        print("mirror equal after the merge:", await is_mirrored(bench, server), flush=True)
        took = await post(server, f"/v1/sources/{other}/unmerge")
        print(f"request of the unmerge: {took:.0f} ms", flush=True)
        undoing = await waited(bench, server, in_state("undone"), 1)
        async with writing(server) as again:
            await asyncio.sleep(seconds)
        alone += again
        print("unmerge:", undoing.told(references, alone), flush=True)
        ratio = (undoing.seconds / references) / (merging.seconds / killed_at)
        print(f"a reference of the unmerge takes {ratio:.2f} times as long as one of the merge")
        told, _ = await changes(server, since)
        print(f"changes of the unmerge and of the writers: {dict(told)}", flush=True)
        print("mirror equal after the unmerge:", await is_mirrored(bench, server))
        after = dict(map(tuple, await fetch(bench, _CONTENTS, now)))
        print(f"documents as before: {before == after} ({len(after):,})", flush=True)


def main() -> None:
    """Measure on a Postgres of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--limit", type=float, default=900)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "data" / "merging")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.data, ignore_errors=True)
    arguments.data.mkdir(parents=True)
    try:
        with EmbeddedPostgres(arguments.data / "postgres") as server:
            url = server.url()
            asyncio.run(schema.migrate(url))
            asyncio.run(allow(url))
            rows = asyncio.run(_pid_of(url))
            bench = Bench(url, rows, free_port(), arguments.data, arguments.limit)
            asyncio.run(measure(bench, arguments.references, arguments.seconds))
    finally:
        shutil.rmtree(arguments.data, ignore_errors=True)


async def _pid_of(url: str) -> int:
    """Give the process id of the first process of Postgres."""
    connection = await asyncpg.connect(url)
    text = "SELECT pg_read_file('postmaster.pid')"
    try:
        return int((await connection.fetchval(text)).splitlines()[0])
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
