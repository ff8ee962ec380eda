"""What `migrations/derive.py` promises to a migration that adds a field."""

from __future__ import annotations

import json

import asyncpg
import httpx
import pytest

from migrations import defining, derive
from migrations.record_types import CLAIMS_20, SOURCES_25
from tests.conftest import serving
from tests.factories import EVERY, MERGE_PATCH, create
from tests.test_migrations import described

TYPES = {"source": SOURCES_25, "claim": CLAIMS_20}


async def documents(connection: asyncpg.Connection[asyncpg.Record], table: str) -> list[str]:
    rows = await connection.fetch(
        f"SELECT convert_from(doc, 'UTF8') FROM {table} UNION ALL SELECT convert_from(doc, 'UTF8')"
        " FROM revisions WHERE doc IS NOT NULL ORDER BY 1"
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize("name", TYPES)
async def test_a_field_is_added_to_every_document_and_taken_back(empty_url: str, name: str) -> None:
    before = TYPES[name]
    links = (*before.links, defining.link_to("parent", "source", "about_id"))
    after = defining.with_columns(
        before, "topic text", "weights json NOT NULL DEFAULT '[]'", "about_id uuid"
    )._replace(links=links)
    async with serving(empty_url) as client:
        [noun] = [noun for noun in EVERY.values() if noun.resource.plural == before.table]
        await create(client, noun)
        record = await create(client, noun, noun.minimal(note='A "quoted" note, {with: brackets}'))
        headers = {**MERGE_PATCH, **record.match}
        answer = await client.patch(record.path, content='{"tags": ["a"]}', headers=headers)
        assert answer.status_code == httpx.codes.OK
    schema = await described(empty_url)
    connection = await asyncpg.connect(empty_url)
    try:
        was = await documents(connection, before.table)
        for statement in derive.add_columns(before, after, derive.ACTOR_6):
            await connection.execute(statement)
        for document in await documents(connection, before.table):
            names = list(json.loads(document))
            added = names[names.index("topic") : names.index("topic") + 3]
            assert added == ["topic", "weights", "about_id"]
            assert [json.loads(document)[each] for each in added] == [None, [], None]
        # The documents are those that the trigger writes: a write that changes nothing agrees.
        assert await connection.execute(f"UPDATE {before.table} SET note = note") == "UPDATE 0"
        changed = f"UPDATE {before.table} SET topic = 'war', about_id = $1"
        if name == "source":
            await connection.execute(changed, record.id)
            owners = "SELECT count(*) FROM links WHERE link = 'parent'"
            assert await connection.fetchval(owners) == 2
            await connection.execute(changed, None)
        for statement in derive.drop_columns(before, after, derive.ACTOR_6):
            await connection.execute(statement)
        if name == "claim":
            assert await documents(connection, before.table) == was
        assert await described(empty_url) == schema
        assert await connection.execute(f"UPDATE {before.table} SET note = note") == "UPDATE 0"
    finally:
        await connection.close()
