"""What `/metrics` promises: right counts, of all processes together, few names; and readiness."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.core import clocks
from api.core.db import Database
from api.server.shares import shared_directory
from api.settings import Settings
from tests import test_cli
from tests.conftest import (
    KEY,
    PATIENCE,
    allow,
    as_service,
    bearer,
    client_of,
    patient,
    running,
    serving,
)
from tests.test_cli import eventually, url  # noqa: F401 - a fixture

PREFIX = "claim_records_"
SEQUENCER = "SELECT pg_advisory_lock(7378697629483820646)"
Samples: TypeAlias = "Mapping[tuple[str, frozenset[tuple[str, str]]], float]"


def read(text: str) -> Samples:
    """Read an exposition: values by name and labels."""
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """Give one sample's value."""
    return samples.get((name, frozenset(labels.items())))


def counted(samples: Samples, operation: str, status: int = 200, method: str = "GET") -> float:
    """Give how often an operation was answered with a status."""
    labels = {"method": method, "operation": operation, "status": str(status)}
    return value(samples, "requests_total", **labels) or 0


async def scrape(client: httpx.AsyncClient) -> Samples:
    """Read `/metrics`."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return read(answer.text)


async def until(client: httpx.AsyncClient, holds: Callable[[Samples], bool]) -> Samples:
    """Scrape until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds(found := await scrape(client)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)
    return found


# --- requests --------------------------------------------------------------------------------


async def test_it_is_prometheus_text(empty: httpx.AsyncClient) -> None:
    answer = await empty.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.name.startswith(PREFIX) for family in families)
    assert all(family.documentation and family.type != "untyped" for family in families)
    assert "_created" not in answer.text
    refused = await empty.get("/metrics?name=x")
    assert refused.json()["code"] == "unknown-parameter"


async def test_requests_are_counted_by_operation_and_status(empty: httpx.AsyncClient) -> None:
    for _ in range(3):
        await empty.get("/v1/claims")
    await empty.get("/v1/claims?no=1")
    await empty.head("/v1/claims")
    await empty.post("/v1/claims", json={"text": "t"})
    found = await scrape(empty)
    assert counted(found, "listClaims") == 3
    assert counted(found, "listClaims", 400) == 1
    assert counted(found, "listClaims", method="HEAD") == 1
    assert counted(found, "createClaim", 201, "POST") == 1
    assert value(found, "request_duration_seconds_count", operation="listClaims") == 5
    bucket = {"operation": "listClaims", "le": "+Inf"}
    assert value(found, "request_duration_seconds_bucket", **bucket) == 5
    assert 0 < (value(found, "request_duration_seconds_sum", operation="listClaims") or 0) < 60


@pytest.mark.parametrize(
    ("path", "operation", "media_type"),
    [
        ("/v1/claims", "createClaim", b"application/json"),
        ("/v1/import", "importRecords", b"application/x-ndjson"),
    ],
)
async def test_a_client_that_leaves_before_the_end_of_its_body_is_499_and_no_error(
    empty: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    path: str,
    operation: str,
    media_type: bytes,
) -> None:
    messages = iter(
        [
            {"type": "http.request", "body": b'{"type": "claim", ', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(_: Any) -> None:
        """Nobody reads the answer."""

    headers = [
        (b"host", b"127.0.0.1"),
        (b"authorization", f"Bearer {KEY}".encode()),
        (b"content-type", media_type),
    ]
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    transport = empty._transport  # noqa: SLF001 - what `serving` made
    assert isinstance(transport, httpx.ASGITransport)
    await transport.app(scope, receive, send)
    found = await scrape(empty)
    assert counted(found, operation, 499, "POST") == 1
    assert counted(found, operation, 500, "POST") == 0
    assert [entry.message for entry in caplog.records if entry.levelname == "ERROR"] == []
    assert (await empty.get("/v1/claims")).json()["items"] == []


async def test_a_client_makes_no_names(empty: httpx.AsyncClient) -> None:
    for number in range(20):
        await empty.get(f"/nothing/{number}")
        await empty.get(f"/v1/claims/{number}")
        await empty.request(f"METHOD{number}", "/v1/claims")
        await empty.request("OPTIONS", "/v1/claims")
    found = await scrape(empty)
    operations = {
        (labels["operation"], labels["method"], labels["status"], count)
        for (name, pairs), count in found.items()
        if name == "requests_total" and (labels := dict(pairs))
    }
    assert operations == {
        ("none", "GET", "404", 20),
        ("getClaim", "GET", "404", 20),
        ("none", "other", "405", 20),
        ("none", "OPTIONS", "204", 20),
    }


# --- who may read it -------------------------------------------------------------------------


async def test_it_takes_a_reading_key_where_reading_does(empty_url: str) -> None:
    settings = patient(open_reads=False)
    async with serving(empty_url, settings) as client:
        assert (await client.get("/metrics")).status_code == 200
        del client.headers["authorization"]
        assert (await client.get("/metrics")).status_code == 401


async def test_it_takes_no_key_on_loopback(empty: httpx.AsyncClient) -> None:
    del empty.headers["authorization"]
    assert (await empty.get("/metrics")).status_code == 200


# --- the pool --------------------------------------------------------------------------------


@asynccontextmanager
async def serving_on(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on a database whose pool the test knows too."""
    app = create_app(database.settings, database)
    async with running(app), client_of(app) as client:
        yield client


async def test_a_busy_pool_shows(empty_url: str) -> None:
    settings = patient(pool_size=4, rate_per_minute=0)
    database = Database(as_service(empty_url), settings)
    await allow(empty_url)
    async with serving_on(database) as client, session(empty_url) as other:
        created = await client.post("/v1/claims", json={"text": "t"})
        path = f"/v1/claims/{created.json()['id']}"
        headers = {**bearer(KEY), "if-match": created.headers["etag"]}
        del client.headers["authorization"]  # finding out whose key it is takes a connection
        found = await until(client, lambda found: _connections(found)["in_use"] == 0)
        assert value(found, "pool_size") == 4
        assert _connections(found)["idle"] >= 1
        async with other.transaction():
            await other.execute("LOCK TABLE claims IN ACCESS EXCLUSIVE MODE")
            waiting = [asyncio.create_task(client.delete(path, headers=headers)) for _ in range(4)]
            async with asyncio.timeout(PATIENCE):
                while database.use().waiting < 2:  # noqa: ASYNC110 - the pool tells nobody
                    await asyncio.sleep(0.02)
            # A key has half of the pool. Two of these requests have a connection, and the others
            # wait. The service itself still has connections.
            found = await until(client, lambda found: _connections(found)["in_use"] >= 2)
            assert (value(found, "pool_waiting") or 0) >= 2
            assert value(found, "database_up") == 1
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await until(client, lambda found: value(found, "pool_waiting") == 0)


def _connections(found: Samples) -> dict[str, float]:
    return {
        state: value(found, "pool_connections", state=state) or 0 for state in ("in_use", "idle")
    }


async def test_without_the_database_the_rest_is_told() -> None:
    settings = Settings(acquire_seconds=0.5)
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    async with serving_on(Database(nowhere, settings)) as client:
        del client.headers["authorization"]
        assert (await client.get("/v1/claims")).status_code == 503
        found = await scrape(client)
        assert value(found, "database_up") == 0
        assert counted(found, "listClaims", 503) == 1
        assert value(found, "pool_size") == settings.pool_size
        assert value(found, "feed_changes_total") is None
        assert value(found, "feed_lag_seconds") is None


# --- the feed --------------------------------------------------------------------------------


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:  # noqa: F811
    """Connect beside the service."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_what_has_no_number_shows(empty_url: str) -> None:
    async with serving(empty_url) as client:
        created = await client.post("/v1/claims", json={"text": "t"})
        assert created.status_code == 201
        found = await until(client, lambda found: value(found, "feed_changes_total") == 1)
        assert value(found, "database_up") == 1
        assert value(found, "feed_unnumbered_changes") == 0
        assert value(found, "feed_lag_seconds") == 0
        async with session(empty_url) as other:
            await other.execute(SEQUENCER)
            for _ in range(3):
                await client.post("/v1/claims", json={"text": "t"})
            found = await scrape(client)
            assert value(found, "feed_changes_total") == 1
            assert value(found, "feed_unnumbered_changes") == 3
            await until(client, lambda found: (value(found, "feed_lag_seconds") or 0) > 0.1)
        found = await until(client, lambda found: value(found, "feed_unnumbered_changes") == 0)
        assert value(found, "feed_changes_total") == 4


async def test_what_is_not_committed_is_not_late(empty_url: str) -> None:
    async with serving(empty_url) as client, session(empty_url) as writer:
        await client.post("/v1/claims", json={"text": "t"})
        async with session(empty_url) as sequencer:
            await writer.execute("BEGIN; UPDATE claims SET text = 'u'")
            await client.post("/v1/claims", json={"text": "after it"})
            found = await until(client, lambda found: value(found, "feed_changes_total") == 2)
            assert value(found, "feed_unnumbered_changes") == 0
            await sequencer.execute(SEQUENCER)
            await writer.execute("UPDATE claims SET text = 'v' WHERE text = 'u'")
            assert value(await scrape(client), "feed_unnumbered_changes") == 0
            # It ran at the last numbering: its changes are older than others that have numbers.
            await writer.execute("COMMIT")
            assert value(await scrape(client), "feed_unnumbered_changes") == 2
        await until(client, lambda found: value(found, "feed_changes_total") == 4)


async def test_webhooks_show(empty_url: str) -> None:
    async with serving(empty_url) as client, session(empty_url) as other:
        found = await scrape(client)
        assert value(found, "webhooks", status="active") == 0
        assert value(found, "webhook_backlog_changes") == 0
        for _ in range(3):
            await client.post("/v1/claims", json={"text": "t"})
        await until(client, lambda found: value(found, "feed_changes_total") == 3)
        key = await other.fetchval("SELECT id FROM keys LIMIT 1")
        epoch = await other.fetchval("SELECT epoch FROM feed_states ORDER BY id DESC LIMIT 1")
        # Another process holds the leases, so nothing is delivered here.
        await other.executemany(
            "INSERT INTO webhooks (id, key_id, url, types, secret, status, paused_reason, epoch,"
            " seq, tag, lease, lease_until, failing_since) VALUES (gen_random_uuid(), $1,"
            " 'https://h.example/', '{claim}', 'whsec_', $2, $3, $4, $5, '', gen_random_uuid(),"
            " 'infinity', CASE WHEN $6::boolean THEN clock_timestamp() END)",
            [
                (key, "paused", "failing", epoch, 0, True),
                (key, "active", None, epoch, 0, True),  # which hides nothing of the others
                (key, "active", None, epoch, 1, False),
                (key, "active", None, epoch, 3, False),
            ],
        )
        found = await scrape(client)
        assert value(found, "webhooks", status="active") == 3
        assert value(found, "webhooks_failing") == 1
        assert value(found, "webhooks", status="paused") == 1
        assert value(found, "webhook_backlog_changes") == 2
        await other.execute("UPDATE webhooks SET failing_since = clock_timestamp()")
        found = await scrape(client)
        assert value(found, "webhooks_failing") == 3
        assert value(found, "webhook_backlog_changes") == 0


# --- readiness -------------------------------------------------------------------------------


async def ready(client: httpx.AsyncClient) -> httpx.Response:
    """Ask whether the service is ready."""
    return await client.get("/health/ready")


async def test_a_stalled_sequencer_is_not_ready(empty_url: str) -> None:
    settings = patient(feed_stall_seconds=0.6, lock_seconds=0.1, rate_per_minute=0)
    async with serving(empty_url, settings) as client:
        async with session(empty_url) as other:
            await other.execute(SEQUENCER)
            assert (await ready(client)).status_code == 200
            began = time.monotonic()
            await client.post("/v1/claims", json={"text": "t"})
            while (answer := await ready(client)).status_code == 200:
                assert time.monotonic() < began + PATIENCE
                await asyncio.sleep(0.02)
            assert time.monotonic() - began > 0.5
            assert answer.status_code == 503
            problem = answer.json()
            assert problem["code"] == "unavailable"
            assert "1 committed changes have no number" in problem["detail"]
            assert (await client.get("/health/live")).status_code == 200
            await other.execute("SELECT pg_advisory_unlock_all()")
        answer = await ready(client)
        assert answer.status_code == 200, answer.text
        assert value(await scrape(client), "feed_unnumbered_changes") == 0


async def test_what_was_written_long_before_its_commit_is_no_stall(empty_url: str) -> None:
    async with serving(empty_url) as client:
        await client.post("/v1/claims", json={"text": "t"})
        await until(client, lambda found: value(found, "feed_changes_total") == 1)
        async with session(empty_url) as other, session(empty_url) as writer:
            await other.execute(SEQUENCER)
            # As of an import that began long ago and is committed now, while it is being numbered.
            await writer.execute(
                "UPDATE feed_states SET at = at - interval '1 h'; BEGIN;"
                "UPDATE claims SET text = 'u';"
                "UPDATE outbox SET at = at - interval '1 h'; COMMIT"
            )
            assert (value(await scrape(client), "feed_lag_seconds") or 0) > 3_000
            assert (await ready(client)).status_code == 200
        await until(client, lambda found: value(found, "feed_unnumbered_changes") == 0)


# --- several processes -----------------------------------------------------------------------


def _scraped(service: test_cli.Service) -> Samples:
    answer = service.get("/metrics")
    assert answer.status_code == 200, answer.text
    return read(answer.text)


@pytest.mark.process
@pytest.mark.newest
def test_the_counts_of_all_processes_add_up_and_outlive_them(
    tmp_path: Path,
    url: str,  # noqa: F811
) -> None:
    with test_cli.serving(tmp_path, "--workers", "2", DATABASE_URL=url) as service:
        one, other = sorted(service.workers())
        # One at a time: whichever is stopped leaves the requests to the other.
        for stopped, requests in ((one, 5), (other, 7)):
            _stop(stopped)
            for _ in range(requests):
                assert service.get("/v1/claims").status_code == 200
            os.kill(stopped, signal.SIGCONT)
        # An answer is counted when it has been sent, so the other process may be asked too early.
        eventually(lambda: counted(_scraped(service), "listClaims") == 12)
        for _ in range(8):
            assert counted(_scraped(service), "listClaims") == 12
        eventually(lambda: value(_scraped(service), "pool_size") == 20)
        with httpx.stream("GET", f"{service.address}/v1/changes/stream", timeout=PATIENCE):
            eventually(lambda: value(_scraped(service), "feed_streams") == 1)
        eventually(lambda: value(_scraped(service), "feed_streams") == 0)

        os.kill(one, signal.SIGKILL)
        eventually(lambda: f"Worker {one} ended" in service.log)
        eventually(lambda: len(service.workers() - {one}) == 2)
        assert counted(_scraped(service), "listClaims") == 12
        (new,) = service.workers() - {one, other}
        eventually(lambda: value(_scraped(service), "pool_size") == 20)
        _stop(other)
        assert service.get("/v1/claims").status_code == 200
        assert counted(_scraped(service), "listClaims") == 13
        os.kill(other, signal.SIGCONT)
        directory = _directory(new)
        assert directory.exists()
        left = directory.with_name("claim-records-metrics-left")  # as of one that was killed
        left.mkdir(exist_ok=True)
        (left / "lock").touch()
        os.utime(left, (0, 0))
        os.utime(directory, (0, 0))
        with shared_directory() as another:
            assert Path(another).parent == directory.parent
            assert not left.exists()
            assert directory.exists()
        assert service.stop() == 0
        assert not directory.exists()


async def test_clocks_that_differ_show_in_the_metrics_and_once_in_the_log(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    ours = asyncio.current_task()

    def note(message: str, *values: Any) -> None:
        if asyncio.current_task() is ours:  # services of this and of other tests look too
            told.append(message % values)

    monkeypatch.setattr(clocks, "log", SimpleNamespace(warning=note, info=note))
    database = Database(empty_url, patient(pool_size=1))
    await database.open()
    watch = clocks.ClockWatch(database)
    async with serving(empty_url) as client:
        assert abs(value(await scrape(client), "database_clock_ahead_seconds") or 0) < 5
        with monkeypatch.context() as shifted:
            shifted.setattr(clocks, "utc_now", lambda: datetime.now(UTC) - timedelta(days=1))
            for _ in range(2):
                await watch.look()
            ahead = value(await scrape(client), "database_clock_ahead_seconds")
        for _ in range(2):
            await watch.look()
    await database.close()
    assert round((ahead or 0) / 10) == 8_640
    assert len(told) == 2
    assert "86400 s ahead of" in told[0]
    assert "agree again" in told[1]


def test_a_pipe_among_abandoned_directories_holds_up_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make a directory beside those of the service, and a pipe in it."""
    monkeypatch.setattr("api.server.shares._IN_MEMORY", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").touch()
    pipe, link, left = (tmp_path / f"claim-records-metrics-{n}" for n in ("pipe", "link", "left"))
    for each in (pipe, link, left):
        each.mkdir()
    os.mkfifo(pipe / "lock")
    (link / "lock").symlink_to(tmp_path / "elsewhere" / "lock")
    (left / "lock").touch()
    (tmp_path / "claim-records-metrics-alias").symlink_to(tmp_path / "elsewhere")
    for each in (pipe, link, left, tmp_path / "elsewhere"):
        os.utime(each, (0, 0))
    ended = threading.Event()

    def share() -> None:
        with shared_directory():
            ended.set()

    threading.Thread(target=share, daemon=True).start()
    assert ended.wait(PATIENCE)
    assert pipe.exists()
    assert link.exists()
    assert (tmp_path / "elsewhere" / "lock").exists()
    assert not left.exists()


def _stop(pid: int) -> None:
    """Have a process take no more requests."""
    os.kill(pid, signal.SIGSTOP)
    state = Path(f"/proc/{pid}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")


def _directory(pid: int) -> Path:
    """Find where a process writes what it counts."""
    mapped = Path(f"/proc/{pid}/maps").read_text().split()
    return Path(next(each for each in mapped if "claim-records-metrics-" in each)).parent
