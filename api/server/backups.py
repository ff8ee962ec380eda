"""Back up a database into a file, and restore a file into an empty database."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

from api.core.hosts import connect
from api.embedded import EmbeddedPostgres, access, find_of_major, running_url, version_of
from api.server.database import ask
from api.server.exits import DATABASE, CommandError
from api.settings import Settings, masked

log = logging.getLogger("claim_records")

_LOCK_WAIT: Final = "10s"
"""How long a backup waits for a migration that is under way."""
_STEP: Final = re.compile(r"(dumping contents of|processing data for) table \"(?P<table>[^\"]+)\"")
_OPTIONS_OF_LIBPQ: Final = {
    *("host", "port", "dbname", "user", "passfile", "sslmode", "sslcert", "sslkey", "sslrootcert"),
    *("sslcrl", "target_session_attrs", "connect_timeout", "application_name", "options"),
}


# --- the databases ---------------------------------------------------------------------------


@contextmanager
def database_to_read(settings: Settings) -> Iterator[str]:
    """Give the URL of the database to back up; start the embedded Postgres if it does not run.

    Data that another major version made is read with the programs of that version, so that it can
    be moved to a new one.
    """
    data_dir = Path(settings.data_dir)
    url = settings.migrate_url or settings.database_url or running_url(data_dir)
    if url:
        yield url
        return
    major = version_of(access.locate(data_dir.resolve()))
    if major is None:
        raise CommandError(f"{data_dir} holds no data, so there is nothing to back up.")
    binaries = find_of_major("postgres", major).parent
    with EmbeddedPostgres(data_dir, binaries=binaries, progress=log.info) as server:
        yield server.url()


@contextmanager
def database_to_fill(settings: Settings) -> Iterator[str]:
    """Give the URL of an empty database to restore into: of the settings, or a new embedded one."""
    data_dir = Path(settings.data_dir)
    url = settings.migrate_url or settings.database_url or running_url(data_dir)
    if url:
        yield url
        return
    with EmbeddedPostgres(data_dir, progress=log.info) as server:
        yield server.url()


# --- back up ---------------------------------------------------------------------------------


def back_up(url: str, file: Path) -> int:
    """Write one consistent dump of a database, read it back, and give its size in bytes.

    The service may go on writing meanwhile. The file takes its name when it is complete.
    """
    if file.exists():
        raise CommandError(f"{file} exists already. Name another file, or remove it.")
    major, is_empty = ask(_state(url), url)
    if is_empty:
        raise CommandError(f"The database {masked(url)} is empty: there is nothing to back up.")
    program = find_of_major("pg_dump", major, or_newer=True)
    try:
        # Only its owner may read it: it holds the secrets of webhooks, and identities.
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.unfinished-", dir=file.parent)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from error
    os.close(descriptor)
    unfinished = Path(name)
    try:
        dump = ["--format=custom", f"--file={unfinished}", f"--lock-wait-timeout={_LOCK_WAIT}"]
        _run(program, url, [*dump, "--no-owner", "--verbose"], unfinished)
        _read_back(program.with_name("pg_restore"), unfinished)
        _put_in_place(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    return file.stat().st_size


def _read_back(program: Path, file: Path) -> None:
    """Read a dump to its end, as a restore would; raise an error if any of it is damaged."""
    log.info("Reading the backup")
    try:
        _run(program, None, [f"--file={os.devnull}", str(file)])
    except CommandError as error:
        raise CommandError(f"{file} is damaged, or is no backup. {error}") from error
    listed = subprocess.run(  # noqa: S603 - fixed arguments
        [program, "--list", file], check=True, capture_output=True, text=True
    ).stdout
    if not re.search(r" TABLE DATA public alembic_version ", listed):
        raise CommandError(f"{file} is no backup of claim-records: it has no schema of ours.")


def _put_in_place(unfinished: Path, file: Path) -> None:
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    try:
        os.link(unfinished, file)  # not over a file that somebody has made meanwhile
    except FileExistsError:
        raise CommandError(f"{file} exists by now. Name another file.") from None
    except OSError:  # a file system without links
        unfinished.rename(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- restore ---------------------------------------------------------------------------------


class Restored(NamedTuple):
    """What a restore has done, beside the records."""

    epoch: str | None  # of the feed; null if the backup is older than the feed
    keys: int | None  # how many keys were brought to their state of today; null if not known


def restore(url: str, file: Path, keys_from: str | None) -> Restored:
    """Restore a backup into an empty database, all of it or nothing, and begin a new feed.

    Keys that were revoked or replaced since the backup are so again, if the database that was in
    use until now can be asked (`keys_from`).
    """
    major, is_empty = ask(_state(url), url)
    if not is_empty:
        raise CommandError(
            f"The database {masked(url)} is not empty, and nothing was changed. Restore into a new "
            "database: name a new directory (`--data-dir`), or create a database and name it in "
            "DATABASE_URL."
        )
    program = find_of_major("pg_restore", major, or_newer=True)
    _read_back(program, file)
    known = _keys_of(keys_from)
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    _run(program, url, [*options, "--verbose", str(file)])
    return ask(_finish(url, known), url)


def _keys_of(url: str | None) -> list[asyncpg.Record] | None:
    """Read the keys of the database that was in use until now; null if it can't be reached."""
    if url is None:
        return None
    try:
        return ask(_fetch_keys(url), url)
    except (CommandError, ValueError) as error:
        log.warning("The keys of %s can't be read: %s", masked(url), error)
        return None


async def _fetch_keys(url: str) -> list[asyncpg.Record]:
    connection = await connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(_KEYS)
        return rows
    finally:
        await connection.close()


_KEYS: Final = """
    SELECT id, hash, previous_hash, previous_until, expires_at, revoked_at FROM keys"""
_BRING_FORWARD: Final = """
    UPDATE keys AS k
    SET hash = $2, previous_hash = $3, previous_until = $4, expires_at = $5, revoked_at = $6
    WHERE id = $1 AND (hash, previous_hash, previous_until, expires_at, revoked_at)
        IS DISTINCT FROM ($2, $3, $4, $5, $6)"""
# A restore without privileges leaves functions to everybody.
_CLOSE: Final = "REVOKE EXECUTE ON FUNCTION sequence_feed(boolean) FROM PUBLIC"
_BEGIN_FEED: Final = "SELECT epoch FROM sequence_feed(true)"


async def _finish(url: str, known: Sequence[asyncpg.Record] | None) -> Restored:
    connection = await connect(url)
    try:
        changed = 0
        for row in known or ():
            changed += (await connection.execute(_BRING_FORWARD, *row)) != "UPDATE 0"
        epoch = None
        with suppress(asyncpg.UndefinedFunctionError):
            await connection.execute(_CLOSE)
            epoch = await connection.fetchval(_BEGIN_FEED)
        await connection.execute("ANALYZE")
        return Restored(epoch, None if known is None else changed)
    finally:
        await connection.close()


async def _state(url: str) -> tuple[int, bool]:
    """Tell a database's major version, and whether it is empty."""
    connection = await connect(url)
    try:
        relations = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        return connection.get_server_version().major, relations == 0
    finally:
        await connection.close()


# --- Postgres' programs ----------------------------------------------------------------------


def _run(
    program: Path, url: str | None, arguments: Sequence[str], growing: Path | None = None
) -> None:
    """Run one of Postgres' programs and log its progress; raise an error if it fails."""
    connecting, environment = ([], {}) if url is None else _connection(url)
    said = ""
    with subprocess.Popen(  # noqa: S603 - fixed arguments
        [program, *connecting, *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | environment,
    ) as process:
        assert process.stderr is not None  # noqa: S101 - for the type checker
        try:
            for line in process.stderr:
                if step := _STEP.search(line):
                    size = f", {growing.stat().st_size:,} bytes so far" if growing else ""
                    log.info("%s: %s%s", program.name, step["table"], size)
                elif "error:" in line or "detail:" in line.lower():
                    said = f"{said} {line.strip()}"[:_MAX_SAID]
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise CommandError(f"`{program.name}` failed: {said.strip()}", DATABASE)


_MAX_SAID: Final = 1_000
_PATIENCE: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
"""How long libpq waits for a network that has fallen silent; the last is in milliseconds."""


def _connection(url: str) -> tuple[list[str], Mapping[str, str]]:
    """Give a database URL to libpq: without its password, which every user could read.

    libpq does not know the settings of a session that asyncpg takes as parameters of the URL.
    """
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    password = given.pop("password", None) or (parts.password and unquote(parts.password))
    kept = {name: value for name, value in given.items() if name in _OPTIONS_OF_LIBPQ}
    session = [f"-c {name}={value}" for name, value in given.items() if name not in kept]
    user, at, hosts = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}{at}{hosts}"
    query = urlencode(_PATIENCE | kept, quote_via=quote)
    environment = {"PGPASSWORD": password} if password else {}
    if session:
        environment["PGOPTIONS"] = " ".join(session)
    dsn = urlunsplit(("postgresql", netloc, parts.path, query, ""))
    return [f"--dbname={dsn if netloc else dsn.replace('postgresql:', 'postgresql://', 1)}"], (
        environment
    )
