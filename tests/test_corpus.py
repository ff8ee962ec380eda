"""The corpus of hostile requests, in process and over HTTP: exact answers, and nothing written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from api.app import create_app
from api.core.db import Database
from api.core.large_input import MAX_INLINE_BYTES
from api.embedded import running_url
from tests.conftest import as_service, cloned, patient, running, swept
from tests.corpus import CLASSES, World
from tests.corpus_run import (
    SERVED,
    Send,
    in_process,
    prepare,
    run_class,
    run_over_http,
    table,
)
from tests.factories import Connection
from tests.test_cli import serving

TRIED = ("cursors", "headers", "ids", "instants", "media types", "methods and paths", "numbers")
"""The classes of the plain run: the smaller ones."""
MAX_STEPS = 50_000
"""How many functions may be called in one turn of the event loop: as many take some 10 ms."""
Record = Callable[[str, object], None]


class Service(NamedTuple):
    """A service in this process."""

    send: Send
    connection: Connection
    world: World


@pytest.fixture(scope="module")
async def service(template: str) -> AsyncIterator[Service]:
    """Serve a database of the corpus' own."""
    settings = patient(pool_size=5, rate_per_minute=0)
    async with cloned(template) as url:
        app: Any = create_app(settings, Database(as_service(url), settings))
        connection = await asyncpg.connect(url)
        try:
            async with running(app):
                send = in_process(app)
                yield Service(send, connection, await prepare(send, connection))
        finally:
            await connection.close()


def told(failures: list[str]) -> str:
    """List what is wrong, at most some pages of it."""
    return f"{len(failures)} of them\n" + "\n".join(failures[:100])


@pytest.mark.long
def test_the_corpus_is_large_and_always_the_same() -> None:
    world = World({"claims": "x" * 40}, "y" * 40)
    cases = [case for make in CLASSES.values() for case in make(world)]
    assert len(cases) >= 1_500
    assert cases == [case for make in CLASSES.values() for case in make(world)]


@pytest.mark.parametrize("name", swept(CLASSES, TRIED, pytest.mark.newest))
async def test_each_case_gets_what_it_must(
    service: Service, name: str, record_property: Record
) -> None:
    cases = list(CLASSES[name](service.world))
    outcome = await run_class(name, cases, service.send, service.connection, counted=True)
    record_property("corpus", outcome.shown())
    assert not outcome.failures, told(outcome.failures)
    assert outcome.steps <= MAX_STEPS
    assert outcome.inline <= MAX_INLINE_BYTES


@pytest.mark.newest
@pytest.mark.process
def test_over_http_each_case_gets_the_same(tmp_path: Path, record_property: Record) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, "--data-dir", str(data), **SERVED) as running:
        url = running_url(data)
        assert url is not None
        outcomes = asyncio.run(run_over_http(running.address, url, running.process.pid))
        record_property("corpus over HTTP", table(outcomes))
        assert running.stop() == 0
        assert "Traceback" not in running.log
    failures = [f"{each.name}: {failure}" for each in outcomes for failure in each.failures]
    assert not failures, told(failures)
