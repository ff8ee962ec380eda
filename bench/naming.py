"""Measure what it costs to find a source by a name, at 10,000 and 100,000 sources.

The sources are the invented ones of `bench/duplicates.py`, with those of the sample and of
`tests/test_match_sources.py` among them. Asked are the fifty names of that test, which are
misspelt, in another order, or in another script, each alone; and then, in batches of ten, as
OpenRefine asks them. For each size it prints how many of the fifty come first, the time on the
clock, the processor time, and the rows that Postgres reads for a name. Run it in a clone of the
repository:

    uv run python bench/naming.py --sources 10000,100000
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import by_size
from duplicates import Names, fill
from machine import processor_seconds

from api import demo
from api.core.caller import READER
from api.core.db import Connection, Database
from api.matching.sources import Deadline, Search, find_sources
from api.matching.vocabulary import Vocabulary
from api.server import schema
from api.settings import Settings
from tests.test_match_sources import FIFTY, INVENTED

_SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
_ROUNDS: Final = 4
_BATCH: Final = 10
# Of the session's open transaction: what scans of tables and of indexes have given.
_ROWS: Final = """
    SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
    FROM pg_stat_xact_user_tables"""


async def add_known(url: str) -> dict[uuid.UUID, str]:
    """Write the sources that the fifty names mean; give their names by their ids."""
    lines = [each["data"] for each in map(json.loads, demo.records()) if each["type"] == "source"]
    names = [
        [line["name"], *(each["name"] for each in line.get("names", ()))]
        for line in lines
        if "name" in line
    ]
    names += [[name] for of_kind in INVENTED.values() for name in of_kind]
    known = {uuid.UUID(int=(1 << 100) + place): its for place, its in enumerate(names)}
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")
    await connection.executemany(
        """
        INSERT INTO sources
            (id, version, created_at, updated_at, kind, identification, name, visibility, doc)
        VALUES ($1, 1, '2025-01-01', '2025-01-01', 'person', 'named', $2, 0, '{}')""",
        [(identity, its[0]) for identity, its in known.items()],
    )
    await connection.executemany(
        "INSERT INTO source_names (source_id, name) VALUES ($1, $2)",
        [(identity, name) for identity, its in known.items() for name in dict.fromkeys(its)],
    )
    await connection.close()
    return {identity: its[0] for identity, its in known.items()}


async def ask(connection: Connection, names: list[str]) -> uuid.UUID | None:
    """Find the sources of some names; give the id of the very first."""
    search = Search(connection, READER, Deadline())
    first, *_ = await find_sources(search, [(name, 10) for name in names])
    return uuid.UUID(first[0].id) if first else None


async def measure(url: str, known: dict[uuid.UUID, str], sources: int) -> str:
    """Ask for the fifty names, and write a row of the table."""
    database = Database(url, Settings(statement_seconds=60, import_statement_seconds=600))
    await database.open()
    await Vocabulary(database).count(at_once=True)
    connection = await asyncpg.connect(url)
    for table in ("sources", "source_names", "name_words"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    await connection.close()
    asked = [name for name, _ in FIFTY]
    async with database.connection() as using:
        backend = await using.fetchval("SELECT pg_backend_pid()")
        right, read = 0, []
        for name, meant in FIFTY:
            async with using.transaction():
                first = await ask(using, [name])
                right += first is not None and known.get(first) == meant
                read.append(await using.fetchval(_ROWS))
        times, batches = [], []
        own, theirs = time.process_time(), processor_seconds([backend])
        for _ in range(_ROUNDS):
            for name in asked:
                began = time.perf_counter()
                await ask(using, [name])
                times.append(1_000 * (time.perf_counter() - began))
        own, theirs = time.process_time() - own, processor_seconds([backend]) - theirs
        for start in range(0, len(asked), _BATCH):
            began = time.perf_counter()
            await ask(using, asked[start : start + _BATCH])
            batches.append(1_000 * (time.perf_counter() - began))
    await database.close()
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    number = _ROUNDS * len(asked)
    return (
        f"| {sources:,} | {right} | {p50:.1f} | {p99:.1f} | {1_000 * own / number:.1f} |"
        f" {1_000 * theirs / number:.1f} | {statistics.median(read):,.0f} | {max(read):,} |"
        f" {max(batches):.0f} |"
    )


async def run(url: str, sizes: list[int]) -> None:
    """Fill and measure, size by size."""
    names = Names(1)
    await schema.migrate(url)
    known = await add_known(url)
    print(
        "| sources | of 50 first | p50 ms | p99 ms | service CPU ms | Postgres CPU ms |"
        " rows, median | rows, most | slowest batch of ten, ms |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    await by_size.grow(sizes, partial(fill, url, names), lambda size: measure(url, known, size))


def main() -> None:
    """Measure."""
    parser = by_size.parser("naming", __doc__, "sources", "10000,100000")
    arguments = parser.parse_args()
    with by_size.empty_postgres(arguments.data, _SETTINGS) as url:
        asyncio.run(run(url, arguments.sizes))


if __name__ == "__main__":
    main()
