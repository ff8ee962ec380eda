"""Measure what it costs to match a text, at 10,000, 100,000 and 1,000,000 claims.

The claims are invented: 12 to 24 words each, of which few are frequent and most are rare, as in a
language. They are written around the triggers and indexes that matching does not read. Each text
is a claim of which a third of the words are left out, with half as many others. One client asks the
service by HTTP, on one connection. Run it in a clone of the repository; it needs 3 GB of disk
(`--data`). For a time that other work disturbs little, give it a core and go before the others:

    uv run python bench/matching.py --claims 10000,100000
    sudo nice -n -10 taskset -c 1 uv run python bench/matching.py
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import by_size
import servers
from machine import family, processor_seconds

from api.core.db import Database
from api.matching.vocabulary import Vocabulary
from api.server import schema
from api.settings import Settings

_VOCABULARY: Final = 150_000
_COMMON: Final = [
    "the",
    "of",
    "to",
    "in",
    "a",
    "and",
    "is",
    "was",
    "that",
    "for",
    "said",
    "on",
    "by",
    "with",
    "at",
    "from",
    "has",
    "were",
    "be",
    "who",
]
_SYLLABLES: Final = [c + v for c in "bdfgklmnprstvz" for v in ("a", "e", "i", "o", "u", "ar", "en")]
_BATCH: Final = 20_000
WARM_UP: Final = 20
_TEXTS: Final = 300
_OLD: Final = datetime(2025, 1, 1, tzinfo=UTC)
_SETTINGS: Final = {"shared_buffers": "1GB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB"}


class Language:
    """An invented language: the n-th word is about n times rarer than the first."""

    def __init__(self, seed: int) -> None:
        """Invent its words."""
        chance = random.Random(seed)  # noqa: S311 - nothing here is secret
        words = {
            "".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4)))
            for _ in range(2 * _VOCABULARY)
        }
        self._words = [*_COMMON, *sorted(words)[:_VOCABULARY]]
        chance.shuffle(self._words[len(_COMMON) :])
        total = 0.0
        self._weights = []
        for rank in range(len(self._words)):
            total += 1 / (rank + 5)
            self._weights.append(total)

    def words(self, chance: random.Random, number: int) -> list[str]:
        """Say some words."""
        return chance.choices(self._words, cum_weights=self._weights, k=number)

    def claim(self, number: int) -> list[str]:
        """Give the words of a claim."""
        chance = random.Random(number)  # noqa: S311 - the same
        return [*self.words(chance, chance.randint(11, 23)), str(chance.randrange(3_000))]

    def post(self, number: int) -> str:
        """Repeat a claim in other words."""
        chance = random.Random(-number)  # noqa: S311 - the same
        kept = [word for word in self.claim(number) if chance.random() > 1 / 3]
        return " ".join([*kept, *self.words(chance, len(kept) // 2)])


def rows(language: Language, first: int, last: int) -> Iterator[tuple[object, ...]]:
    """Give the rows of claims."""
    for number in range(first, last):
        text = " ".join(language.claim(number))
        doc = f'{{"id":"{uuid.UUID(int=number)}","text":"{text}"}}'.encode()
        yield uuid.UUID(int=number), 1, _OLD, _OLD, text, "en", 0, doc


async def prepare(url: str) -> None:
    """Migrate, and drop what each claim would be written to and the service does not read."""
    await schema.migrate(url)
    connection = await asyncpg.connect(url)
    kept = (
        "claims_pkey",
        "claims_search_idx",
        "claims_updated_at_idx",
        "claims_live_id_key",
        "claims_lifts_at_idx",  # the service asks every second which embargoes are over
    )
    for name in await connection.fetch(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'claims' AND indexname <> ALL($1)", kept
    ):
        await connection.execute(f"DROP INDEX {name[0]}")
    await connection.close()


async def fill(url: str, language: Language, first: int, last: int) -> None:
    """Write claims."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("SET synchronous_commit = off")
    columns = ["id", "version", "created_at", "updated_at", "text", "language", "visibility", "doc"]
    for start in range(first, last, _BATCH):
        end = min(start + _BATCH, last)
        await connection.copy_records_to_table(
            "claims", records=list(rows(language, start, end)), columns=columns
        )
    await connection.execute("VACUUM (ANALYZE) claims")
    await connection.close()


async def measure(url: str, language: Language, claims: int) -> str:
    """Match the texts, and write a row of the table."""
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM word_counts")  # these claims are in no feed
    database = Database(url, Settings(import_statement_seconds=600))
    await database.open()
    began = time.monotonic()
    await Vocabulary(database).count(at_once=True)
    counted = time.monotonic() - began
    await database.close()
    await connection.execute("VACUUM (ANALYZE) claim_words")
    postmaster = int(
        (await connection.fetchval("SELECT pg_read_file('postmaster.pid')")).split()[0]
    )
    await connection.close()
    chance = random.Random(claims)  # noqa: S311 - the same
    numbers = [chance.randrange(claims) for _ in range(WARM_UP + _TEXTS)]
    times, found, used = [], 0, (0.0, 0.0)
    with servers.running(*servers.ours(url)) as server:

        def spent() -> tuple[float, float]:
            pids = family(server.pid), family(postmaster)
            return processor_seconds(pids[0]), processor_seconds(pids[1])

        client = HTTPConnection(urlsplit(server.address).netloc)
        for place, number in enumerate(numbers):
            if place == WARM_UP:
                used = spent()
            asked = urlencode({"text": language.post(number), "language": "en", "limit": 10})
            began = time.perf_counter()
            client.request("GET", f"/v1/claims/match?{asked}")
            answer = client.getresponse().read()
            if place >= WARM_UP:
                times.append(1_000 * (time.perf_counter() - began))
                (match,) = json.loads(answer)["matches"]
                items = match["items"]
                found += bool(items) and items[0]["record"]["id"] == str(uuid.UUID(int=number))
        own, theirs = (
            1_000 * (now - then) / _TEXTS for now, then in zip(spent(), used, strict=True)
        )
        client.close()
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    return (
        f"| {claims:,} | {p50:.1f} | {p99:.1f} | {own:.1f} | {theirs:.1f} |"
        f" {100 * found / _TEXTS:.0f} % | {counted:.1f} |"
    )


async def run(url: str, sizes: list[int]) -> None:
    """Fill and measure, size by size."""
    language = Language(1)
    await prepare(url)
    print("| claims | p50 ms | p99 ms | service CPU ms | Postgres CPU ms | first | counted in s |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    await by_size.grow(
        sizes, partial(fill, url, language), lambda size: measure(url, language, size)
    )


def main() -> None:
    """Measure."""
    parser = by_size.parser("matching", __doc__, "claims", "10000,100000,1000000")
    arguments = parser.parse_args()
    with by_size.empty_postgres(arguments.data, _SETTINGS) as url:
        asyncio.run(run(url, arguments.sizes))


if __name__ == "__main__":
    main()
