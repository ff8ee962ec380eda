"""What tests of merges do again and again: merge, unmerge, and see to what follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api.core.db import Database
from api.merging import repointing
from tests.conftest import PATIENCE, as_service, patient, serving
from tests.world import World

Record = dict[str, Any]


@asynccontextmanager
async def stillness(url: str) -> AsyncIterator[World]:
    """Give a world in which nothing follows from merges until :func:`work_off` does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repointing, "EVERY_SECONDS", 10_000)
        async with serving(url) as client:
            yield World(client)


async def merge(world: World, other: str, into: str, **more: Any) -> httpx.Response:
    """Merge a source into another one."""
    return await world.client.post(
        f"{world.at(into)}/merge",
        json={"source_id": world.id(other)},
        headers={"if-match": "*"},
        **more,
    )


async def merged(world: World, other: str, into: str) -> Record:
    answer = await merge(world, other, into)
    assert answer.status_code == 200, answer.text
    told: Record = answer.json()
    return told


async def unmerged(world: World, name: str) -> Record:
    answer = await world.client.post(f"{world.at(name)}/unmerge")
    assert answer.status_code == 200, answer.text
    told: Record = answer.json()
    return told


async def settled(world: World, name: str) -> Record:
    """Wait until a merge has no work left; give what is told of it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await world.client.get(f"{world.at(name)}/merges")
            assert answer.status_code == 200, answer.text
            newest: Record = answer.json()["items"][0]
            if newest["state"] in ("done", "undone"):
                return newest
            await asyncio.sleep(0.05)


async def work_off(url: str) -> None:
    """Do all that follows from merges."""
    database = Database(as_service(url), patient())
    await database.open()
    try:
        after_id = 0
        while True:
            taken, did_something = await repointing.step(database, after_id)
            if taken is None:
                return
            if not did_something:
                after_id = taken.id
    finally:
        await database.close()
