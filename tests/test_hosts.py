"""A database URL with several hosts, of which some are silent or not the ones that are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from api.core.db import Database
from api.server import schema
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, allow, patient, serving, serving_as_it_is
from tests.factories import EVERY, create
from tests.network import HASTY, Network, fill_pool, over

SOURCE = EVERY[RecordType.SOURCE]


@pytest.fixture
async def networks(empty_url: str) -> AsyncIterator[list[Network]]:
    """Give two ways to the database of one test, which stand for two hosts."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Network(empty_url).open()) for _ in range(2)]


@pytest.mark.long
async def test_the_second_host_serves_while_the_first_is_silent(
    empty_url: str, networks: list[Network]
) -> None:
    first, second = networks
    first.fall_silent()
    url = over(empty_url, networks)
    async with asyncio.timeout(PATIENCE / 2):
        assert await schema.current(url) == schema.latest()
        await allow(empty_url)
        async with serving_as_it_is(url, HASTY) as client:
            made = await create(client, SOURCE)
            await fill_pool(client, made.path)
            asked = first.connections
            assert second.connections
            # Nobody asks the silent host again, because the other one answered last.
            await asyncio.gather(*(create(client, SOURCE) for _ in range(8)))
            assert first.connections == asked


@pytest.mark.long
async def test_the_service_moves_to_the_second_host_and_stays_there(
    empty_url: str, networks: list[Network]
) -> None:
    first, second = networks
    async with serving(over(empty_url, networks), HASTY) as client, asyncio.timeout(PATIENCE):
        made = await create(client, SOURCE)
        assert not second.connections  # the order is as given
        first.fall_silent()
        while (await client.get(made.path)).status_code != 200:
            pass
        assert second.connections
        first.heal()
        asked = first.connections
        await fill_pool(client, SOURCE.path)
        assert first.connections == asked


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        ("any", True),
        ("primary", True),
        ("read-write", True),
        ("prefer-standby", True),
        ("standby", False),
        ("read-only", False),
    ],
)
async def test_each_host_must_have_the_attributes_that_the_url_asks_for(
    empty_url: str, networks: list[Network], wanted: str, *, served: bool
) -> None:
    url = over(empty_url, networks, target_session_attrs=wanted)
    database = Database(url, patient())
    if served:
        connection = await database.connect()
        assert await connection.fetchval("SELECT NOT pg_is_in_recovery()")
        await connection.close()
        return
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await database.connect()
    assert [each.connections for each in networks] == [1, 1]
