"""One Postgres for a run, and one database for each test worker, cloned from a migrated template.

With `DATABASE_URL` the tests use that server instead; its role must be allowed to create databases.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api import demo
from api.access import keyring
from api.app import Application, create_app
from api.core.db import Database
from api.core.turns import charge, charged
from api.embedded import EmbeddedPostgres
from api.matching import claims, sources, vocabulary
from api.matching.pairing import Pairing
from api.matching.vocabulary import Vocabulary
from api.server import schema
from api.settings import Settings
from schemas.examples import KEY_ID
from schemas.vocabularies import Scope
from tests.factories import EVERY, Ids, Noun, prerequisites

pytest_plugins = ["tests.browser", "tests.collecting"]

PATIENCE: Final = 120
"""Seconds after which a test gives up. No test waits for all of them unless it fails."""

THROWAWAY: Final = {
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "1h",
}
"""Settings of a cluster that ends with the run and is never recovered."""
_ROOM: Final = 2 * 1024**3
"""Bytes that have to be free in memory: some hundred databases of 9 MB, and the write-ahead log."""

_PREFIX: Final = "claim-records-tests-"
_LOCK: Final = "lock"
_TEMPLATE = pytest.StashKey[str]()
_CLEANUP = pytest.StashKey[list[Callable[[], None]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start Postgres and make the template, once, in the process that distributes the tests."""
    config.stash[_CLEANUP] = cleanup = []
    if hasattr(config, "workerinput"):
        config.stash[_TEMPLATE] = config.workerinput["template"]
        return
    if config.option.collectonly:
        return
    stack = ExitStack()
    directory = stack.enter_context(directory_of_run())
    cleanup.append(stack.close)
    _keep_bytecode(directory)
    url = os.environ.get("DATABASE_URL")
    if url is None:
        server = EmbeddedPostgres(directory / "data", fsync=False, settings=THROWAWAY)
        server.start()
        cleanup.insert(0, server.stop)
        url = server.url("postgres")
    template = asyncio.run(_make_template(url))
    config.stash[_TEMPLATE] = template
    cleanup.insert(0, lambda: asyncio.run(_drop(template)))


@contextmanager
def directory_of_run() -> Iterator[Path]:
    """Make a directory for the cluster of this run, in memory where there is room for it.

    It goes at the end of the block. A run that was killed leaves its directory, and memory is
    scarcer than disk: the next run removes each whose lock nobody holds any more.
    """
    place = _place_for_databases()
    for left in place.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), left.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    try:
        with (directory / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (directory / "new").rename(directory / _LOCK)  # nobody sees it before it is held
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _place_for_databases() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - only the parent of a directory of our own
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _ROOM:
        return memory
    return Path(tempfile.gettempdir())


def _keep_bytecode(directory: Path) -> None:
    """Have workers and child processes compile each module once a run, where Python keeps none.

    `PYTHONDONTWRITEBYTECODE` keeps a checkout clean; it also makes every process compile all that
    it imports, and pytest rewrite each test module again. The run's own directory takes the files.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")


def pytest_configure_node(node: object) -> None:
    """Give a worker the URL of the template."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    node.workerinput["template"] = config.stash[_TEMPLATE]  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop Postgres and remove its files."""
    for clean in config.stash.get(_CLEANUP, []):
        clean()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements that tests recorded with `record_property`."""
    passed_and_failed = [
        *terminalreporter.getreports("passed"),
        *terminalreporter.getreports("failed"),
    ]
    for name in ("corpus", "corpus over HTTP", "contract", "tables over HTTP", "soak"):
        told = [
            value
            for report in passed_and_failed
            for key, value in report.user_properties
            if key == name
        ]
        if told:
            terminalreporter.section(name)
            terminalreporter.write_line("\n".join(map(str, sorted(told))))


def in_database(url: str, name: str) -> str:
    """Give the URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def as_service(url: str) -> str:
    """Give the URL for a session with the permissions of the service's role."""
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}role={schema.SERVICE_ROLE}"


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _execute_alone(url: str, statement: str) -> None:
    """Execute a statement that needs a database without sessions, until the last one has ended.

    Postgres itself waits 5 s for them.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(asyncpg.ObjectInUseError):
                return await _execute(url, statement)


async def _make_template(server: str) -> str:
    name = f"template_{uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name}")
    template = in_database(server, name)
    await schema.migrate(template)
    await schema.create_role(template, schema.SERVICE_ROLE)
    await schema.grant(template, schema.SERVICE_ROLE)
    return template


async def _drop(url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    await _execute_alone(in_database(url, "postgres"), drop)


@asynccontextmanager
async def cloned(template: str) -> AsyncIterator[str]:
    """Clone a template into a database, which is dropped at the end of the block."""
    name = f"test_{uuid4().hex}"
    source = urlsplit(template).path.removeprefix("/")
    server = in_database(template, "postgres")
    # In memory the copy of files is the cheaper strategy, its checkpoints included: 34 ms, not 60.
    await _execute_alone(server, f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy")
    url = in_database(template, name)
    try:
        yield url
    finally:
        await _drop(url)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run async tests on one loop for the whole session, as the service does."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def template(pytestconfig: pytest.Config) -> str:
    """Give the URL of the migrated, empty database from which the others are cloned."""
    return pytestconfig.stash[_TEMPLATE]


def swept(values: Iterable[Any], tried: Container[Any], *marks: pytest.MarkDecorator) -> list[Any]:
    """Give the parameters of a sweep, of which the plain run tries those named."""
    return [
        value if value in tried else pytest.param(value, marks=[pytest.mark.sweep, *marks])
        for value in values
    ]


KEY = keyring.written(KEY_ID, "0" * 30)
"""A key with all scopes, which exists in every database that `serving` serves."""


def bearer(key: str) -> dict[str, str]:
    """Give the header that authenticates with a key."""
    return {"authorization": f"Bearer {key}"}


async def allow(url: str, key: str = KEY, scopes: Iterable[Scope] = Scope) -> str:
    """Insert a key into a database directly, not through the service, unless it exists."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO keys (id, name, scopes, hash) VALUES ($1, 'test', $2, $3)"
            " ON CONFLICT DO NOTHING",
            keyring.identity_of(key),
            [scope.value for scope in scopes],
            keyring.hashed(key),
        )
    finally:
        await connection.close()
    return key


PATIENT: Final = dict.fromkeys(
    (
        "acquire_seconds",
        "body_idle_seconds",
        "feed_stall_seconds",
        "head_seconds",
        "lock_seconds",
        "silent_seconds",
        "stall_seconds",
        "statement_seconds",
        "stop_seconds",
    ),
    PATIENCE,
)
"""Settings under which the service refuses or ends nothing only because the machine is slow."""
PATIENT["drain_seconds"] = 0  # no test has a balancer, but those of rolling restarts


def patient(**more: Any) -> Settings:
    """Give the patient settings, with those named instead of their own."""
    return Settings(**{**PATIENT, **more})


def client_of(app: object) -> httpx.AsyncClient:
    """Give a client of an application in this process, with all scopes."""
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=bearer(KEY))


@asynccontextmanager
async def serving(url: str, settings: Settings | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application in this process on a database, and give a client with all scopes."""
    async with serving_as_it_is(url, settings) as client:
        await allow(url)
        yield client


@asynccontextmanager
async def serving_as_it_is(
    url: str, settings: Settings | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Do the same on a database that may be read-only: insert no key."""
    settings = settings or patient(pool_size=5, rate_per_minute=10_000_000)
    app = create_app(settings, Database(as_service(url), settings))
    async with running(app), client_of(app) as client:
        yield client


@contextmanager
def counted_calls(*, of_callers: bool = False) -> Iterator[list[int]]:
    """Count the calls of Python functions; if so told, only those that work for a caller.

    What the service does by itself in between is not counted then, nor is the admission.
    """
    calls = [0]

    def count(_frame: object, event: str, _value: object) -> None:
        calls[0] += event == "call" and (charged() is not None or not of_callers)

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[None]:
    """Have an application work in the background, at nobody's expense.

    Requests of earlier tests were answered in the same task, and the last one left its account
    there: connections that the background uses would be counted as those of its caller.
    """
    charge(None)
    async with app.lifespan():
        yield


@pytest.fixture(scope="session")
async def database_url(template: str) -> AsyncIterator[str]:
    """Make this worker's database."""
    async with cloned(template) as url:
        yield url


@pytest.fixture(scope="session")
async def client(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve this worker's database, to which other tests write too, and give a client."""
    async with serving(database_url) as found:
        yield found


@pytest.fixture
async def empty_url(template: str) -> AsyncIterator[str]:
    """Make a database for one test."""
    async with cloned(template) as url:
        yield url


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a database for one test, and give a client."""
    async with serving(empty_url) as found:
        yield found


@pytest.fixture
async def with_samples(template: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a service as `serve --demo` does."""
    async with cloned(template) as samples, serving(samples) as client:
        answer = await client.post(
            "/v1/import",
            content=b"\n".join(demo.records()),
            headers={"content-type": "application/x-ndjson"},
            params={"atomic": "true"},
        )
        assert json.loads(answer.text.splitlines()[-1])["committed"], answer.text
        yield client


@pytest.fixture(scope="session")
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Connect to this worker's database directly, not through the service."""
    found = await asyncpg.connect(database_url)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture(scope="session")
async def ids(client: httpx.AsyncClient) -> Ids:
    """Create one record of each type in this worker's database, for others to refer to."""
    return await prerequisites(client)


@pytest.fixture(scope="module")
def unhurried_matching() -> Iterator[None]:
    """Let each search of matching take its time, and have words counted by tests alone.

    While a service counts them, nobody else does, also not where a test has just written some.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (claims, sources):
            patch.setattr(module, "MAX_SECONDS", PATIENCE)
        patch.setattr(vocabulary, "EVERY_SECONDS", 10 * PATIENCE)
        yield


@pytest.fixture
def resting_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count no words and search no pairs in the background.

    Both commit, and take connections, at times of their own; a test that waits for a certain commit
    or counts connections would take theirs for that of a request.
    """
    monkeypatch.setattr(Vocabulary, "counting", lambda _: nullcontext())
    monkeypatch.setattr(Pairing, "searching", lambda _: nullcontext())


@pytest.fixture(params=list(EVERY.values()), ids=list(EVERY))
def noun(request: pytest.FixtureRequest) -> Noun:
    """Give each record type in turn."""
    found: Noun = request.param
    return found
