"""The ceiling of the database: asyncpg runs a statement in a loop, without HTTP.

`loop.py STATEMENT FILE draw|once WORD TASKS SECONDS`: each line of the file has the arguments of
the statement, with tabs between them; an empty line has none. `draw` takes lines at random, `once`
takes each of them once. The statement `COPY` writes an array of claims as plain rows. The word
replaces `@unique@`, as in `wrk.lua`. It prints the same as that, and the processor time it took.
"""

import asyncio
import json
import os
import random
import sys
import time
from itertools import count
from pathlib import Path

import asyncpg
import uvloop

statement, file, mode, word, tasks, seconds = sys.argv[1:]
LINES = [tuple(filter(None, line.split("\t"))) for line in Path(file).read_text().splitlines()]

CLAIMS = json.loads(LINES[0][0]) if statement == "COPY" else [{}]
COLUMNS = list(CLAIMS[0])
ROWS = [
    tuple(
        json.dumps(value) if name != "tags" and isinstance(value, (dict, list)) else value
        for name, value in claim.items()
    )
    for claim in CLAIMS
]


async def main() -> None:
    """Ask as fast as the connections answer, and print the counts."""
    size = int(os.environ["POOL"])
    took: list[float] = []
    failed = 0
    numbers = count()
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=size, max_size=size
    ) as pool:
        end = time.monotonic() + float(seconds)

        async def run(number: int) -> bool:
            if statement == "COPY":
                await pool.copy_records_to_table(
                    "claims", schema_name="plain", columns=COLUMNS, records=ROWS
                )
                return True
            chosen = random.choice(LINES) if mode == "draw" else LINES[number]  # noqa: S311
            arguments = (each.replace("@unique@", f"{word}{number}") for each in chosen)
            rows = await pool.fetch(statement, *arguments)
            return bool(b",".join(row["doc"] for row in rows))

        async def work() -> None:
            nonlocal failed
            while (began := time.monotonic()) < end:
                failed += not await run(next(numbers))
                took.append(time.monotonic() - began)

        before, began = time.process_time(), time.monotonic()
        await asyncio.gather(*(work() for _ in range(int(tasks))))
        spent, passed = time.process_time() - before, time.monotonic() - began
    took.sort()
    told = {
        "requests": len(took), "microseconds": int(passed * 1e6), "failed": failed,
        "mean": sum(took) / len(took) * 1e6,
        "p50": took[len(took) // 2] * 1e6, "p99": took[len(took) * 99 // 100] * 1e6,
        "cpu": spent,
    }  # fmt: skip
    print(json.dumps(told))


uvloop.run(main())
