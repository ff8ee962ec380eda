"""Keep everybody but the serving user away from the server, from its socket and from its files.

Root cannot run Postgres, so under root the server runs as `nobody`, which other programs do too.
Two walls keep their processes out. The data lies below a directory that only root may enter; the
server passes it with CAP_DAC_OVERRIDE. And the server asks the kernel who connects (`peer`).
"""

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import pwd

from api.embedded.cluster import NOBODY, exists, remove_unfinished, sync
from api.embedded.errors import EmbeddedPostgresError
from api.embedded.process import Owner

SERVICE_ROLE: Final = "claim_records_service"
"""The role that the service has in the embedded Postgres: it may read and write, and no more."""

# Where the cluster lies in a data directory that is root's own.
_INSIDE = "postgres"
# Files that only root may enter have none of these bits, and then no access list grants more.
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# pg_ident.conf knows `all` as the name of every database user.
_ALL_ROLES_SINCE = 16

_RULES = """\
# Written by claim-records at every start: only the user who serves may connect (and root).
local  all          all  peer  map=claim_records
local  replication  all  peer  map=claim_records
"""


def locate(data_dir: Path) -> Path:
    """Return the directory of the cluster: the data directory itself, or one inside it."""
    inside = data_dir / _INSIDE
    try:
        return inside if (inside / "PG_VERSION").exists() else data_dir
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"{data_dir} belongs to another user. Run the command as that user."
        ) from error


def close(data_dir: Path) -> Path:
    """As root, let nobody else enter the directory above the cluster; return the cluster's place.

    Data that lies open is moved into a directory of root's own, which takes its name. The caller
    makes sure that no server runs on it.
    """
    cluster = locate(data_dir)
    if os.geteuid() != 0 or _is_closed(cluster):
        return cluster
    if cluster == data_dir and data_dir.is_dir():
        remove_unfinished(data_dir / _INSIDE)
    holds_data = exists(cluster)
    if holds_data:
        _refuse_others(cluster)
    if cluster == data_dir and holds_data:
        _move_inside(data_dir)
    else:
        data_dir.mkdir(mode=0o700, exist_ok=True)
        os.chown(data_dir, 0, 0)
        data_dir.chmod(0o700)
    return data_dir / _INSIDE


def finish_closing(data_dir: Path) -> None:
    """Finish a move that was interrupted between its two steps."""
    outside = _outside(data_dir)
    if os.geteuid() != 0 or not os.path.lexists(outside):
        return
    status = outside.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & _OTHERS:
        raise EmbeddedPostgresError(f"{outside} is in the way and is not ours. Remove it.")
    if (outside / _INSIDE).exists():
        outside.rename(data_dir)
        sync(data_dir.parent)
    else:
        outside.rmdir()


def write_rules(cluster: Path, major: int, owner: Owner) -> None:
    """Let in the user who serves, as any database user, and nobody else.

    Root may come in too: it could become that user anyway.
    """
    names = dict.fromkeys((name_of(os.geteuid()), name_of(0)))
    roles = ["all"] if major >= _ALL_ROLES_SINCE else ["postgres", SERVICE_ROLE]
    users = "".join(f'claim_records  "{name}"  {role}\n' for name in names for role in roles)
    _replace(cluster / "pg_hba.conf", _RULES, owner)
    _replace(cluster / "pg_ident.conf", users, owner)


def name_of(uid: int) -> str:
    """Return the name of a user; refuse a uid that has none, as with `docker run --user 1234`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError as error:
        raise EmbeddedPostgresError(
            f"The uid {uid} has no entry in /etc/passwd, and Postgres needs one. "
            "Run as a user that has an entry, or set DATABASE_URL."
        ) from error


def _is_closed(path: Path) -> bool:
    """Tell whether a directory above the path is root's own and lets nobody else in."""
    for directory in path.parents:
        if directory.exists():
            status = directory.stat()
            if status.st_uid == 0 and not status.st_mode & _OTHERS:
                return True
    return False


def _refuse_others(cluster: Path) -> None:
    """Refuse open data of an ordinary user: its processes could take over a server of root's."""
    uid = cluster.stat().st_uid
    if uid not in (0, NOBODY):  # root's own data is refused elsewhere, with another way out
        raise EmbeddedPostgresError(
            f"The data in {cluster} belongs to uid {uid}. Every process of that user could take "
            "over a Postgres that root starts on it. Run as that user, or let nobody but root "
            f"enter the directory above: chown root {cluster.parent} && chmod 700 {cluster.parent}"
        )


def _move_inside(data_dir: Path) -> None:
    """Put a directory of root's own around the data. Two renames; a start finishes the second."""
    outside = _outside(data_dir)
    outside.mkdir(mode=0o700)
    try:
        data_dir.rename(outside / _INSIDE)
    except OSError as error:
        outside.rmdir()
        parent = data_dir.parent
        raise EmbeddedPostgresError(
            f"Other processes of uid {NOBODY} can reach the data in {data_dir}, and it cannot be "
            f"moved away from them ({error.strerror}). Run as an ordinary user that owns it, or "
            f"let nobody but root enter the directory above: chown root {parent} && "
            f"chmod 700 {parent}"
        ) from error
    sync(outside)
    outside.rename(data_dir)
    sync(data_dir.parent)


def _outside(data_dir: Path) -> Path:
    return data_dir.with_name(f".{data_dir.name}.closing")


def _replace(path: Path, text: str, owner: Owner) -> None:
    """Write a file anew; what lies there may be a link to somewhere else."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            owner.take(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
