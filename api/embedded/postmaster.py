"""Read from postmaster.pid, in the data directory, what a Postgres server reports of itself."""

import os
import subprocess
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote

from api.embedded.access import locate
from api.embedded.cluster import DATABASE
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.process import Owner

PORT = 5432  # only a part of the socket's name: the server does not listen on TCP


class Postmaster(NamedTuple):
    """The lines of postmaster.pid that matter (src/include/utils/pidfile.h)."""

    pid: int
    port: str
    sockets: str
    status: str


def read(data_dir: Path) -> Postmaster | None:
    """Read postmaster.pid; lines that are not written yet are empty.

    A single-user backend writes its pid as a negative number.
    """
    try:
        text = _file(data_dir).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"{data_dir} belongs to another user. Run the command as that user."
        ) from error
    lines = [line.strip() for line in text.splitlines()] + [""] * 8
    return Postmaster(abs(int(lines[0] or 0)), lines[3], lines[4], lines[7])


def running(data_dir: Path) -> Postmaster | None:
    """Return the server that runs on this directory, ready or not."""
    found = read(data_dir)
    return found if found is not None and _is_postgres(found.pid) else None


def running_url(data_dir: Path) -> str | None:
    """Return the URL of the server that runs on this directory and takes connections."""
    server = running(locate(data_dir.resolve()))
    if server is None or server.status != "ready":
        return None
    return url(server.sockets, server.port, DATABASE)


def url(sockets: str, port: str, database: str) -> str:
    """Write a URL that libpq, asyncpg and SQLAlchemy all understand."""
    where = f"host={quote(sockets, safe='')}&port={port}"
    return f"postgresql://postgres@/{quote(database, safe='')}?{where}"


def as_role(url: str, role: str) -> str:
    """Give the same URL for another role of the embedded server, which asks for no password."""
    return url.replace("://postgres@", f"://{quote(role, safe='')}@", 1)


def forget_crashed(data_dir: Path, owner: Owner) -> None:
    """Make the files of a crashed server harmless to the next one. Call it while none runs.

    Postgres takes an old postmaster.pid for a running server if any process has that pid, and
    after a reboot or in a container one often has, even if it is a zombie. Postgres ignores the pid
    of its own parent, so our pid is written there. The file itself must stay: it also names the
    shared memory by which Postgres recognises backends that outlived their postmaster.
    """
    file = _file(data_dir)
    if file.exists():
        rest = file.read_text().partition("\n")[2]
        # In a file of its own first: a full disk must not cost the number of the shared memory.
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with new.open("x") as written:
            written.write(f"{os.getpid()}\n{rest}")
        owner.take(new)
        new.replace(file)
    (data_dir / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def _file(data_dir: Path) -> Path:
    return data_dir / "postmaster.pid"


def _is_postgres(pid: int) -> bool:
    """Tell whether a pid is a running Postgres: neither a zombie nor another program."""
    if Path("/proc/self/cmdline").exists():
        try:
            program = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0])
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        command = ["/bin/ps", "-o", "comm=", "-p", str(pid)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - fixed program, a number
        program = done.stdout.strip()
    return PurePath(program).name == "postgres"
