"""Single reads that are joined into one statement answer as if they were alone."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.core.db import Database
from api.core.errors import Problem
from api.core.joined import JoinedReads
from tests.conftest import patient

QUERY = "SELECT id::text AS name, pg_sleep(0.01) FROM unnest($1::uuid[]) AS id"


async def _created(client: httpx.AsyncClient, text: str) -> str:
    response = await client.post("/v1/claims", json={"text": text})
    identity: str = response.json()["id"]
    return identity


async def test_each_reader_gets_its_own_record(client: httpx.AsyncClient) -> None:
    ids = [await _created(client, f"number {n}") for n in range(5)]
    nobody = str(uuid4())
    asked = [*ids, nobody] * 10
    answers = await asyncio.gather(*(client.get(f"/v1/claims/{each}") for each in asked))
    for identity, answer in zip(asked, answers, strict=True):
        if identity == nobody:
            assert answer.status_code == 404
        else:
            assert answer.json()["text"] == f"number {ids.index(identity)}"


async def test_no_answer_is_older_than_its_request(client: httpx.AsyncClient) -> None:
    identity = await _created(client, "version 1")
    headers = {"if-match": "*", "content-type": "application/merge-patch+json"}

    async def read_on(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await client.get(f"/v1/claims/{identity}")

    stop = asyncio.Event()
    readers = [asyncio.create_task(read_on(stop)) for _ in range(4)]
    try:
        for version in range(2, 22):
            note = {"note": f"version {version}"}
            await client.patch(f"/v1/claims/{identity}", json=note, headers=headers)
            after = (await client.get(f"/v1/claims/{identity}")).json()
            assert after["version"] == version
    finally:
        stop.set()
        await asyncio.gather(*readers)


async def test_a_reader_that_leaves_takes_no_one_along(database_url: str) -> None:
    database = Database(database_url, patient())
    await database.open()
    try:
        reads = JoinedReads(database)
        identity = str(uuid4())
        first = asyncio.create_task(reads.read(QUERY, identity))
        second = asyncio.create_task(reads.read(QUERY, identity))
        await asyncio.sleep(0)
        first.cancel()
        row = await second
        assert row is not None
        assert row["name"] == identity
        with pytest.raises(asyncio.CancelledError):
            await first
    finally:
        await database.close()


async def test_a_failure_reaches_everyone_who_waits(database_url: str) -> None:
    database = Database(database_url, patient())
    await database.open()
    try:
        reads = JoinedReads(database)
        query = "SELECT 1 / (random() * 0)::integer, $1::uuid[]"
        answers = await asyncio.gather(
            *(reads.read(query, str(uuid4())) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(a, asyncpg.PostgresError | Problem) for a in answers)
        row = await reads.read(QUERY, identity := str(uuid4()))
        assert row is not None
        assert row["name"] == identity
    finally:
        await database.close()
