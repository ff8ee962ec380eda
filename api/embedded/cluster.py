"""The data directory: make all of it or nothing, and refuse one that cannot be served."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from api.embedded.errors import EmbeddedPostgresError
from api.embedded.process import Owner, run

DATABASE = "claim_records"
# The uid and gid of `nobody`. The server runs as this user where we are root.
NOBODY = 65534
# The first version with a locale provider of its own, which is the same on every machine.
BUILTIN_LOCALES_SINCE = 17


def exists(data_dir: Path) -> bool:
    """Tell whether the directory holds a cluster; refuse one that holds anything else."""
    try:
        entries = os.listdir(data_dir)  # noqa: PTH208 - a list, not an iterator: emptiness counts
    except FileNotFoundError:
        return False
    if entries and "PG_VERSION" not in entries:
        raise EmbeddedPostgresError(
            f"{data_dir} is not empty and holds no Postgres data. Name another directory: one "
            "that does not exist yet, or a new one inside it."
        )
    return bool(entries)


def version_of(data_dir: Path) -> int | None:
    """Tell which major version of Postgres has made the data; null if there is none."""
    try:
        return int((data_dir / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def refuse_other_version(data_dir: Path, major: int) -> None:
    """Refuse data that another major version than `major` made: Postgres cannot read it."""
    made_by = version_of(data_dir)
    if made_by not in (None, major):
        raise EmbeddedPostgresError(
            f"The data in {data_dir} was made by Postgres {made_by}. The programs here are "
            f"Postgres {major} and cannot read it. Nothing was changed. To move the data, install "
            f"the programs of Postgres {made_by} from your system's packages beside these, run "
            "`claim-records backup FILE`, and then `claim-records restore FILE --data-dir NEW` "
            f"with a new directory, which Postgres {major} makes."
        )


def owner_of(data_dir: Path) -> Owner:
    """Return the user that the server must run as: the owner of the data, and never root."""
    status = data_dir.stat()
    if status.st_uid == 0:
        raise EmbeddedPostgresError(
            f"{data_dir} belongs to root, and Postgres does not run as root. "
            f"Give it to another user: chown -R {NOBODY}:{NOBODY} {data_dir}"
        )
    if os.geteuid() not in (0, status.st_uid):
        raise EmbeddedPostgresError(
            f"{data_dir} belongs to uid {status.st_uid}, and this process runs as uid "
            f"{os.geteuid()}. Run as that user, or name a data directory of your own."
        )
    return Owner(status.st_uid, status.st_gid)


def new_owner() -> Owner:
    """Return the user that new data belongs to."""
    return Owner(NOBODY, NOBODY) if os.geteuid() == 0 else Owner(os.geteuid(), os.getegid())


def create(data_dir: Path, binaries: Path, major: int, *, fsync: bool) -> None:
    """Make the cluster and its database beside `data_dir`, then rename it: all of it or nothing."""
    owner = new_owner()
    unfinished = Path(tempfile.mkdtemp(prefix=_unfinished_prefix(data_dir), dir=data_dir.parent))
    try:
        owner.take(unfinished)
        run([str(binaries / "initdb"), *_initdb_options(unfinished, major, fsync=fsync)], owner)
        _create_database(unfinished, binaries, owner, fsync=fsync)
        _put_in_place(unfinished, data_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if fsync:
        sync(data_dir.parent)


def remove_unfinished(data_dir: Path) -> None:
    """Remove the directories that an interrupted `create` left behind."""
    for path in data_dir.parent.iterdir():
        if path.name.startswith(_unfinished_prefix(data_dir)):
            shutil.rmtree(path, ignore_errors=True)


def _unfinished_prefix(data_dir: Path) -> str:
    return f".{data_dir.name}.unfinished-"


def _initdb_options(directory: Path, major: int, *, fsync: bool) -> list[str]:
    # --locale=C for the categories that stay with libc: initdb would read the environment. The
    # parser of text search asks libc which characters are letters.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    if sys.platform == "linux":
        locale.append("--lc-ctype=C.UTF-8")
    if major < BUILTIN_LOCALES_SINCE:
        locale = ["--locale-provider=libc", "--locale=C.UTF-8", "--lc-messages=C"]
    return [
        f"--pgdata={directory}",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--no-instructions",
        *locale,
        *([] if fsync else ["--no-sync"]),
    ]


def _create_database(directory: Path, binaries: Path, owner: Owner, *, fsync: bool) -> None:
    """Create the database with a single-user backend, which needs no server and no client."""
    command = [str(binaries / "postgres"), "--single", "-D", str(directory)]
    settings = ["-c", "exit_on_error=on", "-c", f"fsync={'on' if fsync else 'off'}"]
    statement = f"CREATE DATABASE {DATABASE} ENCODING 'UTF8'\n"
    run([*command, *settings, "postgres"], owner, statement.encode())


def _put_in_place(unfinished: Path, data_dir: Path) -> None:
    try:
        unfinished.rename(data_dir)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"Cannot put the new database at {data_dir} ({error.strerror}). "
            "If that is a mount point, name a directory inside it."
        ) from error


def sync(directory: Path) -> None:
    """Make a rename in this directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
