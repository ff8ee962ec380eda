"""How many rows Postgres reads to find a source by its name, and that a write reads none for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import asyncpg
import pytest

from api.core.db import Connection, Database
from api.matching import candidates
from api.matching.vocabulary import Vocabulary
from tests.conftest import PATIENCE, as_service, patient
from tests.test_plans import FEW, MANY, Watched, watching

# To fill its database takes seconds.
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unhurried_matching")]
_SOURCES = f"""
    INSERT INTO sources (id, kind, identification, name)
    SELECT gen_random_uuid(), 'government_body', 'named', 'Ministry of Quay ' || (20000 + n)
    FROM generate_series(1, {MANY}) AS n"""

_COUNTED = f"SELECT FROM name_words WHERE word = 'ministry' AND latin <> '' AND records = {MANY}"


@pytest.fixture(scope="module")
async def watched(template: str) -> AsyncIterator[Watched]:
    """Serve a database with many sources whose names share two words."""
    async with watching(template, _fill) as found:
        database = Database(as_service(found.url), patient(pool_size=2))
        await database.open()
        # The service may be counting them at this moment, so that nobody else can.
        async with asyncio.timeout(PATIENCE):
            while not await database.fetch(_COUNTED):
                await Vocabulary(database).count(at_once=True)
                await asyncio.sleep(0.05)
        await database.close()
        yield found


async def _fill(connection: Connection) -> None:
    await connection.execute(_SOURCES)
    assert await connection.fetchval("SELECT count(*) FROM source_names") == MANY


@pytest.mark.parametrize("name", ["quay 21777", "Ministry of Quay 22002", "minstry 21212"])
async def test_a_rare_word_chooses_the_sources(
    watched: Watched, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside one that is misspelt, and that nearly all sources have."""
    monkeypatch.setattr(candidates, "_MOST_TOGETHER", 20)
    path = f"/v1/sources/match?name={quote(name)}"
    items = (await watched.client.get(path)).json()["items"]
    assert items[0]["record"]["name"].endswith(name[-5:])
    assert await watched.rows_read(path) < FEW


@pytest.mark.parametrize(
    "path", ["sources/match?name={}", 'reconcile?queries={{"q":{{"query":"{}"}}}}']
)
async def test_words_that_all_sources_have_read_no_more_than_the_limits(
    watched: Watched, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_MOST_TOGETHER", 20)
    asked = f"/v1/{path.format('ministry+quay')}"
    assert await watched.rows_read(asked) < FEW
    # Where a filter leaves nearly all of them out, the rows that are looked at have a limit.
    monkeypatch.setattr(candidates, "MAX_LOOKED_AT", 100)
    if "sources" in path:
        assert await watched.rows_read(f"{asked}&country_code=FR") < FEW


async def test_a_misspelt_word_of_all_sources_hides_no_source_with_a_rare_one(
    watched: Watched,
) -> None:
    """No source has the misspelt word, but it is not rare: it stands for one that all have."""
    answer = await watched.client.get("/v1/sources/match?name=minstry+21212")
    assert answer.json()["items"][0]["record"]["name"] == "Ministry of Quay 21212"


_OF_MATCHING = ("claim_words", "name_words", "word_counts", "duplicate_pairs", "duplicate_progress")
_THERE = "SELECT FROM pg_class WHERE relname = ANY($1)"
_TOUCHED = """
    SELECT relname FROM pg_stat_xact_user_tables
    WHERE relname = ANY($1) AND
        seq_scan + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del > 0"""


async def test_a_write_does_nothing_for_matching(watched: Watched) -> None:
    """Its cost is the same without it: words are counted and pairs are searched elsewhere."""
    watched.asked.clear()
    body = {"kind": "person", "name": "Wilhelmina Wordsmith"}
    assert (await watched.client.post("/v1/sources", json=body)).status_code == 201
    assert not [each.query for each in watched.asked for name in _OF_MATCHING if name in each.query]
    connection = await asyncpg.connect(watched.url)
    try:
        assert len(await connection.fetch(_THERE, _OF_MATCHING)) == len(_OF_MATCHING)
        await connection.execute("BEGIN")
        await connection.execute(_SOURCES)
        await connection.execute("INSERT INTO claims (id, text) VALUES (gen_random_uuid(), 'A')")
        assert await connection.fetch(_TOUCHED, _OF_MATCHING) == []
        await connection.fetch("SELECT FROM claim_words")
        assert len(await connection.fetch(_TOUCHED, _OF_MATCHING)) == 1
    finally:
        await connection.close()
