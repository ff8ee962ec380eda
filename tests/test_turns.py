"""Turns: connections are handed out fairly, none is lost, and no caller takes all of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import asyncpg
import httpx
import msgspec
import pytest

from api.access import authentication, keyring
from api.core import turns as turns_module
from api.core.db import Database, turns_of
from api.core.turns import KEYLESS, Account, Turns, charging
from api.matching import pairing, vocabulary
from schemas.vocabularies import Scope
from tests.conftest import PATIENCE, allow, bearer, patient, serving

A, B, C = (Account(name, name) for name in "abc")
WRITER = Account("a", "a", writes=True)


@asynccontextmanager
async def place(turns: Turns, account: Account, timeout_seconds: float) -> AsyncIterator[None]:
    """Have a place for as long as the block lasts."""
    await turns.take(account, timeout_seconds)
    try:
        yield
    finally:
        turns.give_back(account)


async def has_place(turns: Turns, account: Account) -> bool:
    """Tell whether a caller would get a place at once."""
    try:
        async with place(turns, account, 0):
            return True
    except TimeoutError:
        return False


async def until_waiting(turns: Turns, number: int) -> None:
    """Let tasks begin until so many of them wait."""
    for _ in range(100):
        await asyncio.sleep(0)
    assert turns.waiting == number


async def test_a_caller_has_at_most_its_share() -> None:
    turns = Turns(4, 4, 2)
    async with place(turns, A, 1), place(turns, A, 1):
        assert not await has_place(turns, A)
        assert not await has_place(turns, WRITER)
        async with place(turns, B, 1), place(turns, B, 1):
            assert not await has_place(turns, C)
        assert await has_place(turns, C)
    assert await has_place(turns, A)


async def test_readers_leave_places_to_writers() -> None:
    turns = Turns(3, 2, 2)
    async with place(turns, A, 1), place(turns, B, 1):
        assert not await has_place(turns, C)
        async with place(turns, WRITER, 1):
            assert not await has_place(turns, Account("c", "c", writes=True))


async def test_searches_have_fewer_places_and_hold_up_only_searches() -> None:
    turns = Turns(8, 8, 4, 2)
    search, other = (Account(name, name, searches=True) for name in "ab")
    async with place(turns, search, 1), place(turns, search, 1):
        assert not await has_place(turns, search)
        assert await has_place(turns, other)
        served: list[str] = []

        async def wait() -> None:
            async with place(turns, search, 60):
                served.append("search")

        waiting = asyncio.create_task(wait())
        await until_waiting(turns, 1)
        async with place(turns, A, 1), place(turns, A, 1):  # behind the search, and served at once
            assert not await has_place(turns, A)
        assert not served
    await waiting
    assert served == ["search"]


async def test_who_has_no_key_has_fewer_places_while_keys_are_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = Turns(8, 8, 3, beside_keys=1)
    reader, feed = Account(KEYLESS, "reader"), Account("feed", "")
    with_key = Account("key", "key", has_key=True)
    async with place(turns, reader, 1), place(turns, feed, 1):
        assert await has_place(turns, reader)
        assert await has_place(turns, with_key)
        assert not await has_place(turns, reader)
        async with place(turns, with_key, 1), place(turns, with_key, 1):
            assert await has_place(turns, with_key)
        monkeypatch.setattr(turns_module, "ACTIVE_SECONDS", 0)  # and so it is some time later
        assert await has_place(turns, reader)


async def test_the_shares_and_their_lines_are_served_in_turn() -> None:
    turns = Turns(1, 1, 1)
    served: list[str] = []

    async def ask(account: Account) -> None:
        async with place(turns, account, 60):
            served.append(account.line)
            await asyncio.sleep(0)

    loud, quiet = (Account(KEYLESS, name) for name in ("loud", "quiet"))
    async with asyncio.TaskGroup() as group, place(turns, A, 60):
        for account in [*[loud] * 4, quiet, B]:
            group.create_task(ask(account))
        await until_waiting(turns, 6)
    assert served == ["loud", "b", "quiet", "loud", "loud", "loud"]


async def test_no_line_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "MAX_IN_LINE", 2)
    monkeypatch.setattr(turns_module, "MAX_WAITING", 3)
    turns = Turns(1, 1, 1)

    async def wait(line: str) -> None:
        async with place(turns, Account(KEYLESS, line), 60):
            pass

    async with asyncio.TaskGroup() as group, place(turns, A, 60):
        for line in "one", "one", "two":
            group.create_task(wait(line))
        await until_waiting(turns, 3)
        for line in "one", "two", "three":
            with pytest.raises(TimeoutError):
                await wait(line)
        assert turns.waiting == 3
    assert turns.waiting == 0


async def test_no_place_is_lost_however_waits_end() -> None:
    turns = Turns(3, 2, 2, 1)
    rng = random.Random(7)  # noqa: S311 - nothing here is secret

    async def ask() -> None:
        name = str(rng.randrange(4))
        kinds = {"writes": rng.random() < 0.5, "searches": rng.random() < 0.5}
        account = Account(name, name, **kinds)
        async with place(turns, account, rng.choice([0, 0.001, 5])):
            await asyncio.sleep(rng.choice([0, 0.0005]))

    tasks = []
    for _ in range(2_000):
        tasks.append(asyncio.create_task(ask()))
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
        if rng.random() < 0.2:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert turns.waiting == 0
    async with place(turns, B, 0), place(turns, C, 0), place(turns, WRITER, 0):
        pass


# --- the connections of the service ----------------------------------------------------------


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def locked(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connection]:
    """Lock the names of sources, so that everybody who reads them holds a connection meanwhile."""
    # No key is looked up twice, which would take a connection.
    monkeypatch.setattr(authentication, "FRESH_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr(turns_module, "ACTIVE_SECONDS", 10 * PATIENCE)
    # Nor are the words of names counted, or names compared: both would look like one more request
    # that waits, and comparing would take a connection.
    for module in (vocabulary, pairing):
        monkeypatch.setattr(module, "EVERY_SECONDS", 10 * PATIENCE)
    connection = await asyncpg.connect(empty_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE source_names IN ACCESS EXCLUSIVE MODE")
            yield connection
    finally:
        await connection.close()


SLOW = "/v1/sources?name=x"
"""A list that does not answer while the names are locked."""
_BLOCKED = "SELECT count(*) FROM pg_locks WHERE relation = 'source_names'::regclass AND NOT granted"


async def held_up(client: httpx.AsyncClient, locked: Connection) -> int:
    """Tell how many requests wait for the lock, for a turn, or for room for their answers."""
    app: Any = client._transport.app  # type: ignore[attr-defined]  # noqa: SLF001 - nobody else asks
    blocked: int = await locked.fetchval(_BLOCKED)
    waiting: int = app._database._turns.waiting  # noqa: SLF001 - as above
    lines = app._in_flight._lines.values()  # noqa: SLF001 - as above
    return blocked + waiting + sum(map(len, lines))


@asynccontextmanager
async def asking(
    client: httpx.AsyncClient, locked: Connection, times: int, headers: dict[str, str]
) -> AsyncIterator[None]:
    """Have so many slow lists asked for while the block runs."""
    wanted = await held_up(client, locked) + times
    tasks = [asyncio.create_task(client.get(SLOW, headers=headers)) for _ in range(times)]
    try:
        async with asyncio.timeout(PATIENCE):
            while await held_up(client, locked) < wanted:
                assert not any(task.done() for task in tasks)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextmanager
def hurried(client: httpx.AsyncClient) -> Iterator[None]:
    """Have nobody wait long for a connection: for requests that are to be refused."""
    database: Database = client._transport.app._database  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    patient_settings = database.settings
    database.settings = msgspec.structs.replace(patient_settings, acquire_seconds=0.5)
    try:
        yield
    finally:
        database.settings = patient_settings


async def test_nobody_takes_all_connections(empty_url: str, locked: Connection) -> None:
    scopes = [Scope.READ, Scope.CLAIMS_WRITE]
    one, other = [bearer(await allow(empty_url, keyring.new_key(), scopes)) for _ in range(2)]
    settings = patient(pool_size=6, open_reads=True)
    async with serving(empty_url, settings) as client:
        del client.headers["authorization"]
        async with asking(client, locked, 9, {}), asking(client, locked, 9, one):
            # Three connections are left of six: one for readers, one for writers, one for us.
            claim = {"text": "It is so"}
            written = await client.post("/v1/claims", json=claim, headers=other)
            assert written.status_code == 201
            assert (await client.get("/health/ready")).status_code == 200
            refused = await client.post("/v1/articles", json={}, headers=other)
            assert refused.status_code == 403


async def test_half_of_a_callers_connections_search(empty_url: str, locked: Connection) -> None:
    key = bearer(await allow(empty_url, keyring.new_key(), [Scope.READ]))
    settings = patient(pool_size=8, open_reads=True)
    async with serving(empty_url, settings) as client:
        del client.headers["authorization"]
        searches = "/v1/sources/query", {"name": "x", "q": "x"}
        slow = [asyncio.create_task(client.post(searches[0], json=searches[1])) for _ in range(2)]
        async with asyncio.timeout(PATIENCE):
            while await locked.fetchval(_BLOCKED) < len(slow):
                assert not any(task.done() for task in slow)
        with hurried(client):
            refused = await client.post("/v1/claims/query", json={"q": "x"})
        assert refused.status_code == 503
        assert (await client.get("/v1/claims")).status_code == 200
        assert (await client.get("/v1/claims?q=x", headers=key)).status_code == 200
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)


@pytest.mark.parametrize("with_key", [False, True])
async def test_who_has_all_of_its_share_waits_and_nobody_else(
    empty_url: str, locked: Connection, *, with_key: bool
) -> None:
    key = bearer(await allow(empty_url, keyring.new_key(), [Scope.READ]))
    settings = patient(pool_size=6, open_reads=True)
    async with serving(empty_url, settings) as client:
        del client.headers["authorization"]
        busy, other = (key, {}) if with_key else ({}, key)
        async with asking(client, locked, 3, busy):
            assert (await client.get("/v1/articles", headers=other)).status_code == 200
            with hurried(client):
                refused = await client.get("/v1/articles", headers=busy)
    assert refused.status_code == 503
    assert "Send fewer at once" in refused.json()["detail"]
    assert ("send a key" in refused.json()["detail"]) is not with_key


async def test_any_request_with_a_key_leaves_fewer_connections_to_those_without(
    empty_url: str, locked: Connection
) -> None:
    key = bearer(await allow(empty_url, keyring.new_key(), [Scope.READ]))
    settings = patient(pool_size=8, open_reads=True)
    # A request of an earlier test may have left its account, which background tasks would take.
    with charging(None):
        async with serving(empty_url, settings) as client:
            del client.headers["authorization"]
            async with asking(client, locked, 1, {}):
                assert (await client.get("/v1/articles")).status_code == 200
                joined = "/v1/claims/01938f7a-4c00-7000-8000-00000000c002"
                assert (await client.get(joined, headers=key)).status_code == 404
                with hurried(client):
                    refused = await client.get("/v1/articles")
                assert refused.status_code == 503
                assert (await client.get("/v1/articles", headers=key)).status_code == 200


async def test_an_operator_can_set_the_share() -> None:
    for size, wanted, most in ((10, None, 5), (10, 2, 2), (1, None, 1)):
        turns = turns_of(patient(pool_size=size, caller_connections=wanted))
        async with AsyncExitStack() as held:
            for _ in range(most):
                await held.enter_async_context(place(turns, A, 0))
            assert not await has_place(turns, A)
