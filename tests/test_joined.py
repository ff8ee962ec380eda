"""Single reads that are joined into one statement answer as if they were alone."""

from __future__ import annotations

import asyncio
from typing import Any
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


class Held(Database):
    """A database whose statements all end at the same moment."""

    def __init__(self) -> None:
        super().__init__("postgresql:///never", patient())
        self.end = asyncio.Event()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Find every record that is asked for, when the moment has come."""
        del query
        await self.end.wait()
        return [{"name": identity} for identity in arguments[0]]


async def test_a_read_that_comes_as_the_others_end_does_not_wait_in_vain() -> None:
    database = Held()
    reads = JoinedReads(database)

    async def read_again() -> None:
        await reads.read(QUERY, "first")
        await reads.read(QUERY, "second")

    again = asyncio.create_task(read_again())
    await asyncio.sleep(0)
    once = asyncio.create_task(reads.read(QUERY, "other"))
    for _ in range(3):
        await asyncio.sleep(0)
    database.end.set()
    async with asyncio.timeout(10):
        await once
        await again
