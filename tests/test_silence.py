"""A network that falls silent: nothing arrives any more, and no connection is closed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import asyncpg
import httpx
import msgspec
import pytest

from api.access import embargoes
from api.core import hosts, silence
from api.core.db import Database
from api.core.errors import Problem
from api.records.nouns import RESOURCES
from api.server import schema
from api.sync.importing import batches
from api.sync.mirror import copies
from api.sync.mirror.errors import NO_DATABASE, MirrorError
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, as_service, patient, serving
from tests.factories import EVERY, create
from tests.network import HASTY, Network, fill_pool, over
from tests.test_changes import cursor_of, walk

SOURCE = EVERY[RecordType.SOURCE]


pytestmark = pytest.mark.usefixtures("resting_matching")


@pytest.fixture
async def network(empty_url: str) -> AsyncIterator[Network]:
    """Give a way to the database of one test."""
    async with Network(empty_url).open() as found:
        yield found


@pytest.mark.long
@pytest.mark.newest
@pytest.mark.parametrize("forget", [False, True], ids=["for a while", "for good"])
async def test_writes_lists_and_the_feed_end_in_503_and_succeed_after_healing(
    empty_url: str, network: Network, *, forget: bool
) -> None:
    async with (
        serving(over(empty_url, [network]), HASTY) as client,
        asyncio.timeout(PATIENCE),
    ):
        made = await create(client, SOURCE)
        since = await cursor_of(client)
        await fill_pool(client, SOURCE.path)
        network.fall_silent()
        answers = await asyncio.gather(
            client.post(SOURCE.path, json=SOURCE.minimal()),
            client.patch(
                made.path,
                json={},
                headers={"content-type": "application/merge-patch+json", **made.match},
            ),
            client.get(SOURCE.path),
            client.get("/v1/changes", params={"since": since}),
            client.get(made.path),
            client.get("/health/ready"),
        )
        assert [answer.status_code for answer in answers] == [503] * len(answers)
        assert all(answer.headers["retry-after"] for answer in answers)
        network.heal(forget=forget)
        # More writes than connections: each of them has one that answers.
        written = await asyncio.gather(
            *(client.post(SOURCE.path, json=SOURCE.minimal()) for _ in range(HASTY.pool_size * 2))
        )
        assert [answer.status_code for answer in written] == [201] * len(written)
        ids = {answer.json()["id"] for answer in written}
        while not ids <= {item["id"] for item in await changes(client, since)}:
            pass


async def changes(client: httpx.AsyncClient, since: str) -> list[dict[str, object]]:
    """Read the feed behind a cursor, if it answers."""
    answer = await client.get("/v1/changes", params={"since": since})
    if answer.status_code == 503:
        return []
    return await walk(client, since)


@pytest.mark.long
@pytest.mark.newest
async def test_a_statement_that_is_late_ends_its_connection_without_asking_the_server(
    empty_url: str, network: Network
) -> None:
    database = Database(as_service(over(empty_url, [network])), HASTY)
    await database.open()
    try:
        async with asyncio.timeout(PATIENCE), database.connection() as connection:
            asked = network.connections
            network.fall_silent()
            with pytest.raises(TimeoutError):
                await connection.fetchval("SELECT 1")
            # Neither a statement nor the end of a transaction waits for this connection again.
            with pytest.raises(asyncpg.InterfaceError):
                await connection.execute("ROLLBACK")
            assert network.connections == asked
        assert database.use().size == HASTY.pool_size
        assert database.use().in_use == 0
    finally:
        async with asyncio.timeout(PATIENCE):
            await database.close()


async def test_a_connection_is_tried_before_it_is_used_after_a_time_without_any_answer(
    empty_url: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.core.db.QUIET_SECONDS", 0)
    # With these settings a statement on a silent connection would take longer than this test may.
    database = Database(as_service(over(empty_url, [network])), patient(pool_size=4))
    await database.open()
    try:
        async with asyncio.timeout(PATIENCE / 2):
            await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.1)") for _ in range(4)))
            network.fall_silent()
            network.heal(forget=True)
            for _ in range(8):
                assert await database.fetchrow("SELECT 1")
    finally:
        await database.close()


async def test_the_service_stops_while_the_network_is_silent(
    empty_url: str, network: Network
) -> None:
    settings = patient(pool_size=4)
    async with asyncio.timeout(PATIENCE / 2):
        database = Database(as_service(over(empty_url, [network])), settings)
        await database.open()
        assert await database.fetch("SELECT 1")
        network.fall_silent()
        await database.close()


IMPORTS = [
    ("", b"the second", 1, "The lines up to 1 were applied, and no line after that."),
    ("", b"COMMIT;", 2, "The lines up to 1 were applied. It is unknown whether the lines up to 2"),
    ("?atomic=true", b"the second", 0, "No line was applied."),
    ("?atomic=true", b"COMMIT;", 3, "It is unknown whether the lines were applied: all were, or"),
]


@pytest.mark.long
@pytest.mark.newest
@pytest.mark.parametrize(("query", "word", "applied", "told"), IMPORTS, ids=range(len(IMPORTS)))
async def test_an_import_ends_soon_after_the_network_fell_silent(
    empty_url: str,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    word: bytes,
    applied: int,
    told: str,
) -> None:
    monkeypatch.setattr(batches, "MAX_LINES", 1)
    monkeypatch.setattr(silence, "_TRIES", 1)
    names = ["the first", "the second", "the third"]
    lines = "\n".join(
        json.dumps({"type": "source", "data": SOURCE.minimal(name=name)}) for name in names
    )
    # Postgres may take ten minutes for a statement of an import; the test may not.
    settings = msgspec.structs.replace(HASTY, acquire_seconds=3)
    async with serving(over(empty_url, [network]), settings) as client, asyncio.timeout(60):
        network.fall_silent_at(word, times=applied if word == b"COMMIT;" and not query else 1)
        answer = await client.post(
            f"/v1/import{query}", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert told in answer.json()["detail"]
        assert answer.headers["retry-after"]
        network.heal(forget=True)
    connection = await asyncpg.connect(empty_url)
    try:
        found = await connection.fetch("SELECT name FROM sources")
    finally:
        await connection.close()
    assert sorted(row["name"] for row in found) == names[:applied]


async def test_a_statement_that_may_take_long_ends_where_its_connection_alone_is_silent(
    empty_url: str, network: Network
) -> None:
    # Postgres is asked every 0.4 s, and it may take long to answer.
    database = Database(over(empty_url, [network]), patient(statement_seconds=0.4))
    await database.open()
    try:
        async with asyncio.timeout(PATIENCE / 2), database.connection(PATIENCE) as connection:
            await connection.execute("SET statement_timeout = 0")
            assert await connection.fetchval("SELECT 1 FROM pg_sleep(0.9)") == 1
            network.fall_silent()
            network.heal(forget=True)
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                await connection.fetchval("SELECT 1")
    finally:
        await database.close()


async def test_a_long_lift_of_embargoes_ends_soon_after_the_network_fell_silent(
    empty_url: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "_TRIES", 1)
    # A lift may take ten minutes; the test may not.
    settings = msgspec.structs.replace(HASTY, acquire_seconds=3)
    database = Database(over(empty_url, [network]), settings)
    await database.open()
    owner = await asyncpg.connect(empty_url)
    try:
        await owner.execute(_ENDED_EMBARGO, timeout=PATIENCE)
        async with asyncio.timeout(PATIENCE / 2) as limit:
            lifting = asyncio.create_task(embargoes.lift(database, [RESOURCES[RecordType.CLAIM]]))
            while not await owner.fetchval(_LIFTS_SLOWLY):
                assert not lifting.done()
            network.fall_silent()
            with pytest.raises(Problem, match="away or busy"):
                await lifting
        assert not limit.expired()
    finally:
        await owner.fetch(f"SELECT pg_terminate_backend(pid) FROM ({_LIFTS_SLOWLY}) AS s")
        await owner.close()
        await database.close()


_ENDED_EMBARGO = """
    INSERT INTO claims (id, text, review_status, embargoed_until)
        VALUES (gen_random_uuid(), 'x', 'published', clock_timestamp() + interval '1 d');
    SET session_replication_role = replica;
    UPDATE claims SET embargoed_until = now(), lifts_at = now();
    CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(1000); RETURN NEW; END';
    CREATE TRIGGER a_long_one BEFORE UPDATE ON claims FOR EACH ROW EXECUTE FUNCTION take_long()"""
_LIFTS_SLOWLY = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '%SKIP LOCKED%'
        AND pid <> pg_backend_pid() AND clock_timestamp() - query_start > interval '1 s'"""


async def test_a_command_does_not_wait_for_a_database_that_has_fallen_silent(
    empty_url: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "_TRIES", 1)
    monkeypatch.setattr(hosts, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(hosts, "_REACH_SECONDS", 1)
    network.fall_silent_at(b"CREATE ROLE")
    async with asyncio.timeout(PATIENCE / 2) as limit:
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await schema.create_role(over(empty_url, [network]), schema.SERVICE_ROLE)
    assert not limit.expired()


async def test_a_mirror_does_not_wait_for_a_copy_that_has_fallen_silent(
    empty_url: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "STATEMENT_SECONDS", 1)  # of any statement

    async def keep() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            copies.open_copy(over(empty_url, [network])) as copy,
        ):
            assert await copy.state() is None
            network.fall_silent()
            await copy.keep([copies.Row("claim", "x", 1, "{}")], 1)

    with pytest.raises(MirrorError, match="cannot be written: TimeoutError") as ended:
        await keep()
    assert ended.value.code == NO_DATABASE


async def test_the_kernel_watches_each_connection(empty_url: str, network: Network) -> None:
    database = Database(as_service(over(empty_url, [network])), HASTY)
    connection = await database.connect()
    try:
        wire = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 0 < wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
        assert 0 < wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) <= 1
        assert 0 < wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 5_000
    finally:
        await connection.close()
