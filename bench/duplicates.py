"""Measure what it takes to compare all sources with each other, at 10,000 and 100,000 sources.

The sources are invented: three in four are persons of two or three names, of which few are frequent
and most are rare; the others are bodies whose names share words such as “ministry”. One in ten
repeats another one with an edit. They are written around the triggers that matching does not read.
Run it in a clone of the repository; with `--steps`, it compares a part of the sources:

    uv run python bench/duplicates.py --sources 10000,100000
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import by_size
from machine import processor_seconds

from api.core.db import Database
from api.matching import pairing
from api.matching.vocabulary import Vocabulary
from api.server import schema
from api.settings import Settings

_BODIES: Final = [
    "ministry",
    "agency",
    "council",
    "bureau",
    "office",
    "party",
    "union",
    "police",
    "court",
    "bank",
]
_SUBJECTS: Final = [
    "foreign",
    "defence",
    "health",
    "interior",
    "finance",
    "labour",
    "justice",
    "energy",
    "press",
]
_SYLLABLES: Final = [c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "ar", "en")]
_OLD: Final = datetime(2025, 1, 1, tzinfo=UTC)
_SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


class Names:
    """Invented names: of each sort, the n-th word is about n times rarer than the first."""

    def __init__(self, seed: int) -> None:
        """Invent the words."""
        chance = random.Random(seed)  # noqa: S311 - nothing here is secret

        def invented(number: int) -> list[str]:
            # In the order in which they were drawn: that of a set differs from run to run.
            words = dict.fromkeys(
                "".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4)))
                for _ in range(2 * number)
            )
            return sorted(words, key=lambda _: chance.random())[:number]

        self._first, self._last, self._places = invented(3_000), invented(40_000), invented(2_000)

    def name(self, number: int) -> str:
        """Give the name of a source."""
        chance = random.Random(number)  # noqa: S311 - the same
        if number % 10 == 9:
            return self._edited(self.name(chance.randrange(number)), chance)

        def rare(words: list[str]) -> str:
            return words[int(len(words) * chance.random() ** 3)]

        if number % 4 == 3:
            return f"{rare(_SUBJECTS)} {rare(_BODIES)} of {rare(self._places)}"
        middle = [rare(self._first)] if chance.random() < 0.3 else []
        return " ".join([rare(self._first), *middle, rare(self._last)])

    def _edited(self, name: str, chance: random.Random) -> str:
        place = chance.randrange(len(name))
        words = (name[:place] + chance.choice("aeiou") + name[place + 1 :]).split(" ")
        if chance.random() < 0.3:
            chance.shuffle(words)
        return " ".join(words)


async def fill(url: str, names: Names, first: int, last: int) -> None:
    """Write sources."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("SET synchronous_commit = off")
    listed = [(uuid.UUID(int=number + 1), names.name(number)) for number in range(first, last)]
    await connection.copy_records_to_table(
        "sources",
        columns=[
            "id",
            "version",
            "created_at",
            "updated_at",
            "kind",
            "identification",
            "name",
            "visibility",
            "doc",
        ],
        records=[
            (identity, 1, _OLD, _OLD, "person", "named", name, 0, b"{}")
            for identity, name in listed
        ],
    )
    await connection.copy_records_to_table(
        "source_names", columns=["source_id", "name"], records=listed
    )
    await connection.execute("DELETE FROM word_counts")  # these sources are in no feed
    await connection.execute("DELETE FROM duplicate_progress")
    await connection.close()


async def measure(url: str, sources: int, most: int) -> str:
    """Compare all sources, or as many as `most` steps do; write a row of the table."""
    database = Database(url, Settings(statement_seconds=60, pool_size=1))
    await database.open()
    await Vocabulary(database).count(at_once=True)
    connection = await asyncpg.connect(url)
    for table in ("sources", "source_names", "name_words"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    async with database.connection() as using:
        backend = await using.fetchval("SELECT pg_backend_pid()")
    own, theirs, longest, steps = time.process_time(), processor_seconds([backend]), 0.0, -1
    while steps < most:
        began = time.process_time()
        if not await pairing.step(database):
            break
        longest = max(longest, time.process_time() - began)
        steps += 1
    own, theirs = time.process_time() - own, processor_seconds([backend]) - theirs
    pairs = await connection.fetchval("SELECT count(*) FROM duplicate_pairs")
    await connection.close()
    await database.close()
    compared = min(steps * pairing.MAX_SOURCES, sources)
    return (
        f"| {sources:,} | {compared:,} | {own:.0f} | {theirs:.0f} |"
        f" {1_000 * (own + theirs) / compared:.1f} | {longest:.2f} | {pairs:,} |"
    )


async def run(url: str, sizes: list[int], most: int) -> None:
    """Fill and measure, size by size."""
    names = Names(1)
    await schema.migrate(url)
    print(
        "| sources | compared | service CPU s | Postgres CPU s | ms each | longest step | pairs |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|")
    await by_size.grow(sizes, partial(fill, url, names), lambda size: measure(url, size, most))


def main() -> None:
    """Measure."""
    parser = by_size.parser("duplicates", __doc__, "sources", "10000,100000")
    parser.add_argument("--steps", type=int, default=1_000_000, help="end after so many steps")
    arguments = parser.parse_args()
    with by_size.empty_postgres(arguments.data, _SETTINGS) as url:
        asyncio.run(run(url, arguments.sizes, arguments.steps))


if __name__ == "__main__":
    main()
