"""What is looked up before a write costs little, whoever has looked up before."""

from __future__ import annotations

from typing import Any

import asyncpg

from api.core.request import SERVICE
from api.core.writing.look_up import look_up
from api.records.claims import CLAIMS
from schemas.claims import ClaimCreate
from schemas.parts import Appearance, Attribution
from schemas.vocabularies import RecordType
from tests.factories import Ids

CUSTOM_PLANS = 5
"""How often Postgres plans a statement anew before it may keep a plan."""
LOOK_UPS = 3 * CUSTOM_PLANS


async def test_a_look_up_keeps_its_plan(empty_url: str) -> None:
    connection: Any = await asyncpg.connect(empty_url)
    try:
        await connection.execute(
            "INSERT INTO sources (id, kind, identification, name)"
            " SELECT gen_random_uuid(), 'person', 'named', 'Office ' || n"
            " FROM generate_series(1, 2000) AS n"
        )
        await connection.execute("ANALYZE sources")
        source = str(await connection.fetchval("SELECT id FROM sources LIMIT 1"))
        record = ClaimCreate(text="t", attributions=[Attribution(source_id=source)])
        for _ in range(LOOK_UPS):
            found = await look_up(connection, SERVICE, CLAIMS, [record])
            assert source in found.versions[RecordType.SOURCE]
        planned = await connection.fetchval(
            "SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE '% AS role%'"
        )
        assert planned <= CUSTOM_PLANS
    finally:
        await connection.close()


async def test_the_text_of_the_current_version_is_read_once(connection: Any, ids: Ids) -> None:
    appearances = [Appearance(article_id=ids[RecordType.ARTICLE])]
    without = await look_up(connection, SERVICE, CLAIMS, [_printed(appearances)])
    appearances = [Appearance(article_id=ids[RecordType.ARTICLE], article_version=1)]
    named = await look_up(connection, SERVICE, CLAIMS, [_printed(appearances)])
    assert named.texts == without.texts
    assert named.size == without.size


def _printed(appearances: list[Appearance]) -> ClaimCreate:
    return ClaimCreate(text="t", appearances=appearances)
