"""What is promised of a merge whose process is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.conftest import KEY, PATIENCE, allow, bearer
from tests.test_cli import Service, serving, url  # noqa: F401 - a fixture

COUNT = 600  # three steps of a merge
_CLAIMS = """
    INSERT INTO claims (id, text, review_status, attributions)
    SELECT gen_random_uuid(), 'Number ' || n, 'published',
           json_build_array(json_build_object('position', 0, 'source_id', $1::text))
    FROM generate_series(1, $2::integer) AS n
    RETURNING id"""
_FOLLOWED = "SELECT count(*) FROM source_merge_references WHERE state = 'standing'"


def _of(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.address, headers=bearer(KEY), timeout=PATIENCE)


async def _until(owner: asyncpg.Connection, question: str, answer: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if await owner.fetchval(question) == answer:
                return
            await asyncio.sleep(0.05)


async def _updates_of_claims(client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    since = "start"
    while True:
        page = (await client.get("/v1/changes", params={"since": since, "limit": "500"})).json()
        for each in page["items"]:
            if (each["type"], each["op"]) == ("claim", "updated"):
                yield each
        since = page["next_cursor"]
        if not page["items"]:
            return


@pytest.mark.process
async def test_a_merge_goes_on_after_its_process_was_killed(
    tmp_path: Path,
    url: str,  # noqa: F811
) -> None:
    await allow(url)
    owner = await asyncpg.connect(url)
    try:
        with serving(tmp_path, DATABASE_URL=url) as service:
            async with _of(service) as client, owner.transaction():
                s, m = [
                    (await client.post("/v1/sources", json={"kind": "person", "name": name})).json()
                    for name in ("s", "m")
                ]
                other = await asyncpg.connect(url)
                try:
                    claims = [row["id"] for row in await other.fetch(_CLAIMS, m["id"], COUNT)]
                finally:
                    await other.close()
                # Somebody writes one of them, so the merge can't end before the process is killed.
                await owner.execute("SELECT FROM claims WHERE id = $1 FOR UPDATE", claims[0])
                answer = await client.post(
                    f"/v1/sources/{s['id']}/merge",
                    json={"source_id": m["id"]},
                    headers={"if-match": "*"},
                )
                assert answer.status_code == 200, answer.text
                await _until(owner, f"SELECT ({_FOLLOWED}) > 0", answer=True)
                service.process.kill()
                service.process.wait(PATIENCE)
        assert await owner.fetchval(_FOLLOWED) < COUNT
        with serving(tmp_path, DATABASE_URL=url) as service:
            await _until(owner, "SELECT state FROM source_merges", "done")
            async with _of(service) as client:
                changed = Counter([each["id"] async for each in _updates_of_claims(client)])
        assert changed == dict.fromkeys(map(str, claims), 1)  # each of them once
        assert await owner.fetchval(_FOLLOWED) == COUNT
        naming = "SELECT count(*) FROM links WHERE source_id = $1 AND owner_type = 'claim'"
        assert [await owner.fetchval(naming, each["id"]) for each in (s, m)] == [COUNT, 0]
    finally:
        await owner.close()
