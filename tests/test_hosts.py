"""A database URL with several hosts, of which some are silent or not the ones that are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import pytest

from api.core.connection import LimitedConnection
from api.core.db import Database
from api.core.heartbeat import Heartbeat
from api.server import schema
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, allow, as_service, patient, serving, serving_as_it_is
from tests.factories import EVERY, create
from tests.network import HASTY, Network, be_patient_with, fill_pool, over

SOURCE = EVERY[RecordType.SOURCE]


pytestmark = pytest.mark.usefixtures("resting_matching")


@pytest.fixture
async def networks(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Network]]:
    """Give two ways to the database of one test, which stand for two hosts."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(Network(empty_url).open()) for _ in range(2)]
        be_patient_with(found, monkeypatch)
        yield found


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
        async with serving_as_it_is(url, patient(pool_size=HASTY.pool_size)) as client:
            made = await create(client, SOURCE)
            await fill_pool(client, made.path)
            asked = first.connections
            assert second.connections
            # Nobody asks the silent host again, because the other one answered last.
            await asyncio.gather(*(create(client, SOURCE) for _ in range(8)))
            assert first.connections == asked


async def test_a_host_that_is_silent_at_the_start_is_asked_once(
    empty_url: str, networks: list[Network]
) -> None:
    first, _ = networks
    first.fall_silent()
    url = over(empty_url, networks)
    assert await schema.current(url) == schema.latest()
    database = Database(url, patient(pool_size=2))
    await database.open()
    try:
        assert await database.fetch("SELECT 1")
        assert await schema.current(url) == schema.latest()
        assert first.connections == 1
    finally:
        await database.close()


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


async def test_a_silent_host_is_left_long_before_its_statements_are_late(
    empty_url: str, networks: list[Network]
) -> None:
    first, second = networks
    url = over(empty_url, networks)
    # A statement may take longer than this test: only the heartbeat can tell that the host is gone.
    async with (
        serving(url, patient(pool_size=HASTY.pool_size)) as client,
        asyncio.timeout(PATIENCE / 2),
    ):
        made = await create(client, SOURCE)
        first.fall_silent()
        waiting = await asyncio.gather(
            client.get(made.path), client.post(SOURCE.path, json=SOURCE.minimal())
        )
        # A request whose statement began only after the host was left is served by the second one.
        late = [answer for answer in waiting if not answer.is_success]
        assert all(answer.status_code == 503 for answer in late)
        assert all(answer.headers["retry-after"] for answer in late)
        assert second.connections
        asked = first.connections
        assert (await client.get(made.path)).status_code == 200
        await fill_pool(client, SOURCE.path)
        await create(client, SOURCE)
        assert first.connections == asked


async def test_a_host_that_was_left_while_it_was_silent_is_not_tried_first_again(
    empty_url: str, networks: list[Network]
) -> None:
    first, second = networks
    database = Database(over(empty_url, networks), patient())
    first.fall_silent()
    connecting = asyncio.create_task(database.connect())
    while not first.connections:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0)
    database.hosts.put_last(database.hosts.first)
    first.heal()
    await (await connecting).close()
    assert database.hosts.first.port == second.port


async def test_a_connection_that_is_being_made_to_a_host_that_is_left_is_made_to_another(
    empty_url: str, networks: list[Network]
) -> None:
    first, second = networks
    database = Database(as_service(over(empty_url, networks)), patient())
    await database.open()
    try:
        first.fall_silent()
        connecting = asyncio.create_task(database.connect())
        while not first.connections:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        left = database.hosts.first
        database.hosts.put_last(left)
        await database.leave(left)
        first.heal()
        connection = await connecting
        assert connection.host is not None
        assert connection.host.port == second.port
        await connection.close()
    finally:
        await database.close()


async def test_a_connection_whose_hosts_are_left_again_and_again_is_given_up(
    empty_url: str, networks: list[Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(as_service(over(empty_url, networks)), patient())
    await database.open()
    connect, made = database.hosts.connect, list[LimitedConnection]()

    async def connect_and_leave(**options: Any) -> LimitedConnection:
        made.append(await connect(**options))
        database.hosts.put_last(database.hosts.first)
        await database.renew()
        return made[-1]

    monkeypatch.setattr(database.hosts, "connect", connect_and_leave)
    try:
        with pytest.raises(ConnectionAbortedError):
            await database.connect()
        assert [each.is_closed() for each in made] == [True, True]
    finally:
        await database.close()


async def test_a_host_that_works_on_a_long_statement_is_not_left(
    empty_url: str, networks: list[Network]
) -> None:
    """The heart beats beside the statement, however long that takes, and whoever waits for it."""
    first, second = networks
    database = Database(as_service(over(empty_url, networks)), patient(pool_size=1))
    await database.open()
    heartbeat, owner = Heartbeat(database), await asyncpg.connect(empty_url)
    try:
        async with asyncio.timeout(PATIENCE / 2):
            await owner.execute("SELECT pg_advisory_lock(1)")
            statement = asyncio.create_task(database.fetch("SELECT pg_advisory_lock_shared(1)"))
            while not await owner.fetchval(_BLOCKED):
                assert not statement.done()
            for _ in range(3):
                await heartbeat.beat()
            assert not statement.done()
            await owner.execute("SELECT pg_advisory_unlock(1)")
            assert await statement
        assert first.connections
        assert not second.connections
    finally:
        await owner.close()
        await heartbeat.close()
        await database.close()


_BLOCKED = """
    SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
    WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"""


async def test_a_silent_host_is_not_left_where_no_other_can_be_used(
    empty_url: str, networks: list[Network], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = networks
    second.fall_silent()
    database = Database(as_service(over(empty_url, networks)), patient(pool_size=2))
    await database.open()
    heartbeat = Heartbeat(database)
    try:
        async with asyncio.timeout(PATIENCE):
            await heartbeat.beat()
            assert await database.fetch("SELECT 1")
            first.fall_silent()
            statement = asyncio.create_task(database.fetch("SELECT 1"))
            with pytest.raises(TimeoutError):
                await heartbeat.beat()
            first.heal()
            # What waited on the old connection has its answer, because nothing was cut.
            assert await statement
            await heartbeat.beat()
            assert await database.fetch("SELECT 1")
        assert "using another one" not in caplog.text
    finally:
        await heartbeat.close()
        await database.close()


@pytest.mark.long
async def test_a_silent_host_is_left_as_soon_as_another_one_is_up_again(
    empty_url: str, networks: list[Network]
) -> None:
    first, second = networks
    database = Database(as_service(over(empty_url, networks)), HASTY)
    await database.open()
    heartbeat = Heartbeat(database)
    try:
        async with asyncio.timeout(PATIENCE):
            await heartbeat.beat()
            other = await database.connect()
            first.fall_silent()
            second.fall_silent()
            for _ in range(2):  # no host accepts a connection; then the question is late
                with pytest.raises(TimeoutError):
                    await heartbeat.beat()
            second.heal()
            assert not other.is_closed()
            while not other.is_closed():
                with suppress(TimeoutError):
                    await heartbeat.beat()
    finally:
        await heartbeat.close()
        await database.close()


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
