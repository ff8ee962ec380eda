"""The ceiling of the database: asyncpg reads stored documents in a loop, without HTTP.

`loop.py STATEMENT FILE TASKS SECONDS`: the statement takes an id of the file, if it takes anything.
It prints the same as `wrk.lua`, and the processor time that it took.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path

import asyncpg
import uvloop

ids = Path(sys.argv[2]).read_text().split()


async def main() -> None:
    """Read as fast as the connections answer, and print the counts."""
    statement, _, tasks, seconds = sys.argv[1:]
    size = int(os.environ["POOL"])
    took: list[float] = []
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=size, max_size=size
    ) as pool:
        end = time.monotonic() + float(seconds)

        async def work() -> None:
            while (began := time.monotonic()) < end:
                arguments = [random.choice(ids)] if "$1" in statement else []  # noqa: S311
                rows = await pool.fetch(statement, *arguments)
                b",".join(row["doc"] for row in rows)
                took.append(time.monotonic() - began)

        before, began = time.process_time(), time.monotonic()
        await asyncio.gather(*(work() for _ in range(int(tasks))))
        spent, passed = time.process_time() - before, time.monotonic() - began
    took.sort()
    told = {
        "requests": len(took), "microseconds": int(passed * 1e6), "failed": 0,
        "p50": took[len(took) // 2] * 1e6, "p99": took[len(took) * 99 // 100] * 1e6,
        "cpu": spent,
    }  # fmt: skip
    print(json.dumps(told))


uvloop.run(main())
