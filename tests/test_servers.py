"""What the service makes of a Postgres that only follows, takes no writes, or has fallen silent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from api.core.db import Database
from api.core.heartbeat import Heartbeat
from api.embedded import EmbeddedPostgres, find_binaries
from api.server import schema
from api.settings import Settings
from schemas.vocabularies import RecordType
from tests.conftest import PATIENCE, patient, serving, serving_as_it_is
from tests.factories import EVERY, create
from tests.network import Network, be_patient_with, over
from tests.test_changes import cursor_of, page, walk

CLAIM = EVERY[RecordType.CLAIM]
NO_WRITES = "The database takes no writes."

pytestmark = [pytest.mark.process, pytest.mark.newest]  # each starts servers of its own


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Run a primary and a standby of it; give the URL of the same database on each."""
    with primary_and_standby(tmp_path) as urls:
        yield urls


@contextmanager
def primary_and_standby(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Run both until the end of the block."""
    tmp_path.chmod(0o755)
    # A program may have it wait for the standby, which asynchronous commits would not.
    settings = {"synchronous_commit": "on"}
    with EmbeddedPostgres(tmp_path / "primary", fsync=False, settings=settings) as primary:
        let_standbys_in(primary)
        copy = tmp_path / "standby"
        command = find_binaries() / "pg_basebackup"
        where = ("--dbname", primary.url(), "--pgdata", copy)
        how = ("--write-recovery-conf", "--checkpoint", "fast")
        subprocess.run([command, *where, *how], check=True, capture_output=True)
        owner = primary.data_dir.stat()
        for each in [copy, *copy.rglob("*")]:
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)
        with EmbeddedPostgres(copy, fsync=False) as standby:
            yield primary.url(), standby.url()


def let_standbys_in(primary: EmbeddedPostgres) -> None:
    """Let a standby follow: under root its server is a process of `nobody`, who is kept out."""
    (primary.data_dir / "pg_hba.conf").write_text(
        "local all all trust\nlocal replication all trust\n"
    )
    os.kill(first_process(primary), signal.SIGHUP)  # it reads the file again


def first_process(server: EmbeddedPostgres) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().split()[0])


@asynccontextmanager
async def lagging(url: str) -> AsyncIterator[None]:
    """Let a standby take in nothing new meanwhile."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_wal_replay_pause()")
        while await connection.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":
            pass
        yield
        await connection.execute("SELECT pg_wal_replay_resume()")
    finally:
        await connection.close()


async def has_what(url: str, other: str) -> None:
    """Wait until a standby has everything that its primary has."""
    primary, standby = await asyncpg.connect(other), await asyncpg.connect(url)
    try:
        written = await primary.fetchval("SELECT pg_current_wal_insert_lsn()")
        while not await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1", written):
            pass
    finally:
        await primary.close()
        await standby.close()


async def with_schema(url: str) -> None:
    """Bring a database to where the service can use it."""
    await schema.migrate(url)
    await schema.create_role(url, schema.SERVICE_ROLE)
    await schema.grant(url, schema.SERVICE_ROLE)


async def test_a_standby_reads_the_feed_and_asks_for_patience_where_it_lags(
    servers: tuple[str, str],
) -> None:
    primary, standby = servers
    await with_schema(primary)
    async with serving(primary) as client:
        made = [await create(client, CLAIM) for _ in range(3)]
        items, since = await walk(client), await cursor_of(client)
        assert [item["id"] for item in items] == [each.id for each in made]
        await has_what(standby, primary)
        async with serving_as_it_is(standby) as reader:
            assert await walk(reader) == items
            assert await walk(reader, since) == []
            ready = await reader.get("/health/ready")
            assert (ready.status_code, ready.json()["detail"]) == (503, NO_WRITES)
            async with lagging(standby):
                later = await create(client, CLAIM)
                ahead = await cursor_of(client)
                answer = await reader.get("/v1/changes", params={"since": ahead})
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"]
                assert (await page(reader, since))["items"] == []
            await has_what(standby, primary)
            assert [item["id"] for item in await walk(reader, since)] == [later.id]
            assert await walk(reader, ahead) == []


@contextmanager
def silent(server: EmbeddedPostgres) -> Iterator[None]:
    """Let a server keep its connections and say nothing, as behind a broken network or disk."""
    first = first_process(server)
    tasks = Path(f"/proc/{first}/task/{first}/children").read_text()
    pids = [first, *map(int, tasks.split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Run a server of this test's own."""
    tmp_path.chmod(0o755)
    with EmbeddedPostgres(tmp_path / "data", fsync=False) as found:
        yield found


async def test_a_database_that_falls_silent_is_not_waited_for_without_end(
    server: EmbeddedPostgres,
) -> None:
    await with_schema(server.url())
    patience = Settings(statement_seconds=1, acquire_seconds=2, rate_per_minute=0)
    async with serving(server.url(), patience) as client, asyncio.timeout(PATIENCE):
        made = await create(client, CLAIM)
        with silent(server):
            for path in ("/health/ready", made.path, "/v1/changes?since=now"):
                answer = await client.get(path)
                assert (path, answer.status_code) == (path, 503)
                assert answer.headers["retry-after"]
        while (await client.get(made.path)).status_code != 200:
            pass


async def test_the_service_moves_only_to_a_host_that_takes_writes(
    servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby = servers
    await with_schema(primary)
    monkeypatch.setattr("api.core.db.QUIET_SECONDS", PATIENCE)  # no connection is tried before
    async with Network(primary).open() as first, Network(standby).open() as second:
        be_patient_with([first, second], monkeypatch)
        await _move_to_the_standby(primary, standby, first, second)


async def _move_to_the_standby(primary: str, standby: str, first: Network, second: Network) -> None:
    async with (
        serving(over(primary, [first, second]), patient(pool_size=4)) as client,
        asyncio.timeout(PATIENCE),
    ):
        made = await create(client, CLAIM)
        await has_what(standby, primary)
        first.fall_silent()
        waiting = asyncio.create_task(client.get(made.path))
        while second.connections < 2:  # noqa: ASYNC110 - the standby is looked at, and is not taken
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await promote(standby)
        assert (await waiting).status_code == 503
        assert (await client.get(made.path)).status_code == 200
        await create(client, CLAIM)
        first.heal()


async def test_a_standby_that_comes_first_in_the_url_is_not_called_silent(
    servers: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    primary, standby = servers
    async with Network(standby).open() as first, Network(primary).open() as second:
        heartbeat = Heartbeat(Database(over(primary, [first, second]), patient()))
        try:
            async with asyncio.timeout(PATIENCE):
                await heartbeat.beat()
        finally:
            await heartbeat.close()
    assert f"port {first.port}, cannot be used; using another one" in caplog.text
    assert "does not answer" not in caplog.text


async def promote(url: str) -> None:
    """Let a standby take writes."""
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT pg_promote()")
    finally:
        await connection.close()
