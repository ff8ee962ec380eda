"""What the command promises, tried by running it: processes, signals, exit codes, output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.cli import main
from api.embedded import postmaster, running_url
from api.server import schema
from api.server.signals import SAME_SIGNAL_SECONDS, STOPPING
from tests.conftest import PATIENCE, PATIENT, allow, bearer, cloned
from tests.test_logs import loggers_put_back

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-W", "error", "-m", "api.cli"]
Run: TypeAlias = "Callable[..., Ended]"
DENIED = "/v1/claims?response_family=declines&expand=sources,denials"


def environment(**settings: str | None) -> dict[str, str]:
    """Give an environment without settings but those named."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CLAIM_RECORDS_") and name != "DATABASE_URL"
    }
    return kept | {name: value for name, value in settings.items() if value is not None}


class Ended(NamedTuple):
    """What a command that has ended left."""

    code: int
    out: str
    err: str


def run_alone(*arguments: str, **settings: str) -> Ended:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment(**settings),
        timeout=PATIENCE,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Give what runs the command in this process: starting Python takes longer than the rest."""

    def run(*arguments: str, **settings: str) -> Ended:
        with monkeypatch.context() as patch, loggers_put_back():
            for name in set(os.environ) - set(environment()):
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["claim-records", *arguments])
            with pytest.raises(SystemExit) as exited:
                main()
        code = exited.value.code
        assert isinstance(code, int)
        return Ended(code, *capsys.readouterr())

    handlers = {number: signal.getsignal(number) for number in STOPPING}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Service:
    """A running `serve`, and what it printed."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        assert process.stdout is not None
        self.printed = [process.stdout.readline().rstrip("\n") for _ in range(3)]
        assert self.printed[0], self.log
        self.address = self.printed[0].rpartition(" ")[2]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def key(self) -> str:
        """Read the key that a first start prints behind the rest."""
        assert self.process.stdout is not None
        name, _, key = self.process.stdout.readline().rstrip("\n").partition(": ")
        assert name == "Key"
        assert "once" in self.process.stdout.readline()
        return key

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.address + path, timeout=PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def workers(self) -> set[int]:
        """List the processes that serve; Postgres and multiprocessing's own are children too."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {
            int(pid)
            for pid in children.read_text().split()
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }


@contextmanager
def serving(tmp_path: Path, *arguments: str, **settings: str | None) -> Iterator[Service]:
    """Run `serve` on a free port until the end of the block, patient where nothing else is said."""
    patient = {f"CLAIM_RECORDS_{name.upper()}": str(value) for name, value in PATIENT.items()}
    log = tmp_path / f"stderr-{uuid4().hex}"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=REPOSITORY,
            env=environment(**{**patient, **settings}),
        )
    with process:
        try:
            yield Service(process, log)
        finally:
            process.kill()


@pytest.fixture
def url(template: str) -> Iterator[str]:
    """Make a migrated, empty database."""
    with asyncio.Runner() as runner:
        database = cloned(template)
        yield runner.run(database.__aenter__())
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
def address(tmp_path: Path, url: str) -> Iterator[str]:
    """Serve an empty database on a socket, to those who have the key of the tests."""
    asyncio.run(allow(url))
    with serving(tmp_path, DATABASE_URL=url) as service:
        yield service.address


@pytest.fixture
def unmigrated(url: str) -> str:
    """Make a database without a schema."""
    asyncio.run(execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"))
    return url


async def execute(url: str, *statements: str) -> None:
    """Run statements on a database."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


# --- serving from nothing ------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.newest
def test_serve_needs_nothing_and_keeps_its_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, "--demo", "--data-dir", str(data)) as service:
        assert service.get("/health/ready").json() == {"status": "ready"}
        assert service.printed[1] == f"Documentation: {service.address}/docs"
        assert service.get("/docs").status_code == 200
        assert service.printed[2] == f"Try: curl '{service.address}{DENIED}'"
        answer = service.get(DENIED)
        assert answer.json()["items"]
        assert answer.json()["included"]["denials"]
        assert "server" not in answer.headers
        assert len(answer.headers.get_list("date")) == 1
        assert "Making a new database in" in service.log
        assert "Migrating the schema: base (empty)" in service.log
        server = postmaster.read(data.resolve())
        assert server is not None
        assert service.stop() == 0
        assert not alive(server.pid)
        assert running_url(data) is None
        assert "Traceback" not in service.log
    host, port = (urlsplit(service.address).hostname, urlsplit(service.address).port)
    eventually(lambda: is_free(host, port))

    with serving(tmp_path, "--data-dir", str(data)) as service:
        assert service.get(DENIED).json()["items"] == answer.json()["items"]
        assert "Making" not in service.log
        found = run_alone("database-url", "--data-dir", str(data))
        assert (found.code, found.out) == (0, f"{running_url(data)}\n")
        moved = run_alone("migrate", "--data-dir", str(data))
        assert (moved.code, moved.err) == (0, "")
        assert moved.out == f"The schema is at {schema.latest()} already.\n"
        assert service.stop(signal.SIGINT) == 0


def is_free(host: str | None, port: int | None) -> bool:
    """Tell whether nobody has a port."""
    with socket.socket() as wanted, suppress(OSError):
        wanted.bind((host, port))
        return True
    return False


@pytest.mark.process
@pytest.mark.newest
def test_postgres_ends_with_a_killed_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, "--workers", "2", "--data-dir", str(data)) as service:
        server = postmaster.read(data.resolve())
        assert server is not None
        workers = service.workers()
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(map(alive, [server.pid, *workers])))


def test_database_url_of_nothing_is_an_error(run: Run, tmp_path: Path) -> None:
    found = run("database-url", "--data-dir", str(tmp_path / "none"))
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith("Error: No embedded Postgres is running on ")


@pytest.mark.process
@pytest.mark.newest
def test_keys_are_made_listed_rotated_and_revoked_while_it_runs(
    run: Run, tmp_path: Path, url: str
) -> None:
    def me(key: str) -> httpx.Response:
        return httpx.get(f"{service.address}/v1/me", headers=bearer(key), timeout=PATIENCE)

    with serving(tmp_path, DATABASE_URL=url) as service:
        first = service.key()
        assert me(first).json()["name"] == "first"
        made = run(
            "keys", "create", "Desk", "--scope", "read", "--scope", "import", DATABASE_URL=url
        )
        assert (made.code, made.err) == (0, "")
        key = made.out.removesuffix("\n")
        assert me(key).json()["scopes"] == ["read", "import"]
        identity = me(key).json()["key_id"]
        new = run("keys", "rotate", identity, "--overlap-seconds", "0", DATABASE_URL=url)
        eventually(lambda: me(key).status_code == 401)
        assert me(new.out.strip()).json()["key_id"] == identity
        assert run("keys", "revoke", identity, DATABASE_URL=url) == Ended(0, "", "")
        eventually(lambda: me(new.out.strip()).status_code == 401)
        listed = run("keys", "list", DATABASE_URL=url)
        assert [line.split("\t")[1] for line in listed.out.splitlines()] == [
            "name",
            "first",
            "Desk",
        ]
        assert not any(
            each[-36:] in listed.out + service.log for each in (first, key, new.out[:-1])
        )
        assert service.stop() == 0
    with serving(tmp_path, DATABASE_URL=url) as service:
        assert me(first).status_code == 200
        assert service.stop() == 0
        assert service.process.stdout
        assert service.process.stdout.read() == ""  # the first key is printed once


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "x"),
        ("create", "x", "--scope", "none"),
        ("create", "", "--scope", "read"),
        ("create", "x", "--scope", "read", "--expires-at", "tomorrow"),
        ("create", "x", "--scope", "read", "--expires-at", "2024-02-30T00:00:00Z"),
        ("rotate", "x", "--overlap-seconds", "-1"),
    ],
)
def test_a_wrong_use_of_keys_is_one_line(run: Run, url: str, arguments: tuple[str, ...]) -> None:
    found = run("keys", *arguments, DATABASE_URL=url)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)


def test_a_key_that_is_not_there_is_an_error(run: Run, url: str) -> None:
    for command in ("rotate", "revoke"):
        found = run("keys", command, "0a1b2c3d4e5f", DATABASE_URL=url)
        assert (found.code, found.out) == (1, "")


# --- stopping ------------------------------------------------------------------------------------


@contextmanager
def unfinished_request(service: Service) -> Iterator[socket.socket]:
    """Send a request but for its body, and wait until it is being handled."""
    key = service.key()
    host, port = urlsplit(service.address).hostname, urlsplit(service.address).port
    assert host
    assert port
    with socket.create_connection((host, port), PATIENCE) as client:
        client.sendall(
            b"POST /v1/claims HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 14\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % key.encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        yield client


@pytest.mark.process
def test_a_stop_lets_requests_finish(tmp_path: Path, url: str) -> None:
    with serving(tmp_path, DATABASE_URL=url) as service, unfinished_request(service) as client:
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: "Stopping" in service.log)
        client.sendall(b'{"text": "la"}')
        assert client.recv(100_000).startswith(b"HTTP/1.1 201")
        assert service.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.process
@pytest.mark.newest
def test_a_stop_does_not_wait_for_ever(tmp_path: Path, url: str, workers: str) -> None:
    settings = {"CLAIM_RECORDS_STOP_SECONDS": "0.5", "CLAIM_RECORDS_BODY_IDLE_SECONDS": "600"}
    with (
        serving(tmp_path, "--workers", workers, DATABASE_URL=url, **settings) as service,
        unfinished_request(service),
    ):
        assert service.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.process
@pytest.mark.newest
def test_a_second_signal_hurries(tmp_path: Path, url: str, workers: str) -> None:
    settings = {"CLAIM_RECORDS_STOP_SECONDS": "600", "CLAIM_RECORDS_BODY_IDLE_SECONDS": "600"}
    with (
        serving(tmp_path, "--workers", workers, DATABASE_URL=url, **settings) as service,
        unfinished_request(service),
    ):
        service.process.send_signal(signal.SIGINT)
        eventually(lambda: "Stopping" in service.log)
        # At once it would be the same signal, handed on by a wrapper.
        time.sleep(2 * SAME_SIGNAL_SECONDS)
        assert service.stop() == 128 + signal.SIGTERM


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.newest
def test_a_dead_worker_is_replaced_while_the_other_answers(tmp_path: Path, url: str) -> None:
    with serving(tmp_path, "--workers", "2", DATABASE_URL=url) as service:
        before = service.workers()
        assert len(before) == 2
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not alive(victim))
        for _ in range(20):
            assert service.get("/health/ready").status_code == 200
        eventually(lambda: len(service.workers() - {victim}) == 2)
        assert f"Worker {victim} ended (exit code -9)" in service.log
        workers = service.workers()
        assert service.stop() == 0
        assert not any(map(alive, before | workers))


@pytest.mark.process
@pytest.mark.newest
def test_a_worker_that_is_stopped_alone_leaves_the_listener_to_the_others(
    tmp_path: Path, url: str
) -> None:
    settings = {"CLAIM_RECORDS_DRAIN_SECONDS": "0.2"}
    with serving(tmp_path, "--workers", "2", DATABASE_URL=url, **settings) as service:
        victim = min(service.workers())
        os.kill(victim, signal.SIGTERM)
        eventually(lambda: not alive(victim))
        for _ in range(20):  # each over a connection of its own
            assert service.get("/health/live").status_code == 200
        eventually(lambda: f"Worker {victim} ended (exit code 0)" in service.log)
        eventually(lambda: len(service.workers() - {victim}) == 2)
        assert service.stop() == 0


# --- refusals ------------------------------------------------------------------------------------


def test_a_taken_port_is_named(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = run("serve", "--port", str(port))
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith(f"Error: Port {port} on 127.0.0.1 is taken")
    assert found.err.count("\n") == 1


@pytest.mark.process
def test_a_database_behind_is_refused_until_it_is_migrated(
    run: Run, tmp_path: Path, unmigrated: str
) -> None:
    found = run("serve", "--port", "0", DATABASE_URL=unmigrated)
    assert (found.code, found.out) == (3, "")
    assert "schema is at base (empty)" in found.err
    assert "`claim-records migrate`" in found.err
    assert "`claim-records serve --migrate`" in found.err
    with serving(tmp_path, "--migrate", DATABASE_URL=unmigrated) as service:
        assert service.get("/v1/claims").status_code == 200


@pytest.mark.long
def test_migrate_says_from_where_to_where(run: Run, unmigrated: str) -> None:
    last = schema.latest()
    for arguments, said in [
        ((), f"The schema was at base (empty) and is at {last} now.\n"),
        ((), f"The schema is at {last} already.\n"),
        (("--to", "base"), f"The schema was at {last} and is at base (empty) now.\n"),
    ]:
        found = run("migrate", *arguments, DATABASE_URL=unmigrated)
        assert (found.code, found.out, found.err) == (0, said, "")


def test_a_database_from_the_future_is_refused(run: Run, url: str) -> None:
    asyncio.run(execute(url, "UPDATE alembic_version SET version_num = '9999'"))
    for arguments in (("serve", "--port", "0", "--migrate"), ("migrate",)):
        found = run(*arguments, DATABASE_URL=url)
        assert (found.code, found.out) == (3, "")
        assert "is at 9999, which is newer than this version" in found.err


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@127.0.0.1:1/x", "postgresql://me:s3/cret@host/x"]
)
def test_an_unreachable_database_is_named_without_its_password(run: Run, url: str) -> None:
    found = run("serve", "--port", "0", DATABASE_URL=url)
    assert (found.code, found.out) == (3, "")
    assert found.err.startswith("Error: ")
    assert found.err.count("\n") == 1
    assert "s3" not in found.err


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["serve", "--port", "65536"], {}, "Error: Invalid value for '--port': 65536: "),
        (["sevre"], {}, "Error: No such command 'sevre'."),
        (["migrate", "--to", "9999"], {}, "Error: There is no revision 9999. The revisions are "),
        (["serve"], {"CLAIM_RECORDS_PROT": "1"}, "Error: CLAIM_RECORDS_PROT is no setting"),
        (["serve"], {"CLAIM_RECORDS_PORT": "x"}, "Error: CLAIM_RECORDS_PORT=x: "),
        (["serve"], {"DATABASE_URL": "me:s3cret"}, "Error: DATABASE_URL=***: "),
    ],
)
def test_a_wrong_use_is_one_line(
    run: Run, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    found = run(*arguments, **settings)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(said)
    assert found.err.count("\n") == 1


# --- what it loads -------------------------------------------------------------------------------

_LOADED = """
import sys
sys.argv[0] = "claim-records"
from api.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
SERVICE = {
    "api.app",
    "api.core.request",
    "api.document",
    "litestar",
    "prometheus_client",
    "uvicorn",
}
MIGRATIONS = {"alembic", "sqlalchemy"}
CLIENT = {"httpcore", "httpx"}
NOWHERE = "postgresql://127.0.0.1:1/none"


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"asyncio", "asyncpg", *SERVICE, *MIGRATIONS, *CLIENT}),
        (["settings"], {"asyncio", "asyncpg", "rich", *SERVICE, *MIGRATIONS, *CLIENT}),
        (["database-url", "--data-dir", "/none"], {"asyncpg", *SERVICE, *MIGRATIONS, *CLIENT}),
        (["keys", "list"], {*SERVICE, *MIGRATIONS, *CLIENT}),
        (["mirror", "--from", "ftp://host", "--to", "none"], {*SERVICE, *MIGRATIONS}),
        (["openapi", "--check"], {"uvicorn", *MIGRATIONS}),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments: list[str], unwanted: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment(DATABASE_URL=NOWHERE),
        timeout=PATIENCE,
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "api.cli.command" in loaded, done.stderr
    assert loaded & unwanted == set()


# --- what it says --------------------------------------------------------------------------------


def test_settings_are_listed_without_secrets(run: Run) -> None:
    found = run(
        "settings",
        DATABASE_URL="postgresql://me:s3cret@host/x",
        CLAIM_RECORDS_PORT="81",
    )
    assert found.code == 0
    assert "DATABASE_URL=postgresql://me:***@host/x\n" in found.out
    assert (
        "CLAIM_RECORDS_PORT=81\n"
        "    The port that the service listens on; 0 takes a free one.\n"
        "    Default: 8000. Now from the environment.\n"
    ) in found.out
    assert "    Default: 127.0.0.1. Now the default.\n" in found.out
    assert "s3cret" not in found.out


def test_settings_are_listed_though_one_is_wrong(run: Run) -> None:
    found = run("settings", CLAIM_RECORDS_PROT="81")
    assert found.code == 2
    assert "CLAIM_RECORDS_PORT=8000" in found.out
    assert "CLAIM_RECORDS_PROT is no setting" in found.err


def test_help_tells_a_newcomer_where_to_start(run: Run) -> None:
    found = run()
    assert (found.code, found.err) == (0, "")
    assert "claim-records serve --demo" in found.out
    assert "Exit codes:" in found.out


def run_with_full_stdout(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a standard output that has no space left."""
    with Path("/dev/full").open("wb") as full:
        return subprocess.run(
            [*COMMAND, *arguments],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment(**settings),
            timeout=PATIENCE,
        )


@pytest.mark.parametrize(
    "arguments", [("settings",), ("--version",), ("openapi",), ("keys", "list")]
)
def test_a_stdout_that_is_full_is_no_bug(url: str, arguments: tuple[str, ...]) -> None:
    ended = run_with_full_stdout(*arguments, DATABASE_URL=url)
    assert ended.returncode == 1
    assert ended.stderr == "Error: stdout cannot be written: No space left on device.\n"


@pytest.mark.process
@pytest.mark.newest
def test_the_log_is_json_and_holds_no_body(tmp_path: Path, url: str) -> None:
    secret = f"not for the log {uuid4()}"
    settings = {"DATABASE_URL": url, "CLAIM_RECORDS_LOG_LEVEL": "debug"}
    with serving(tmp_path, "--log-format", "json", **settings) as service:
        key = service.key()
        answers = [
            httpx.post(
                f"{service.address}/v1/claims", json=body, headers=bearer(key), timeout=PATIENCE
            )
            for body in ({"text": secret}, {"text": secret, "kind": secret}, {"text": [secret]})
        ]
        answers.append(service.get(f"/v1/claims?q={secret}"))
        answers.append(service.get("/v1/nothing%0Ahere"))
        assert service.stop() == 0
        events = [json.loads(line) for line in service.log.splitlines()]
    requests = [event for event in events if event["logger"] == "claim_records.access"]
    assert [event["request_id"] for event in requests] == [
        answer.headers["x-request-id"] for answer in answers
    ]
    assert all({"time", "level", "message", "milliseconds"} <= event.keys() for event in requests)
    assert requests[0]["message"] == "POST /v1/claims 201"
    assert secret not in service.log
    assert key[-36:] not in service.log
    assert "not%20for" not in service.log


def test_a_failure_under_json_is_json(run: Run, unmigrated: str) -> None:
    found = run("serve", "--port", "0", "--log-format", "json", DATABASE_URL=unmigrated)
    assert found.code == 3
    assert json.loads(found.err)["level"] == "error"


@pytest.mark.long
def test_openapi_prints_what_is_published(run: Run) -> None:
    found = run("openapi")
    assert found.code == 0
    assert found.out.encode() == (REPOSITORY / "openapi" / "openapi.json").read_bytes()
    assert run("openapi", "--check").code == 0
