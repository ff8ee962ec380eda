"""Run Postgres' programs as children that are never root and do not outlive us."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, NamedTuple

from api.embedded.errors import EmbeddedPostgresError

# The variables of our environment that the programs see. PG* and LC_* would change what they do,
# and settings may hold secrets.
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


class Owner(NamedTuple):
    """The user that owns the data, and that the server runs as."""

    uid: int
    gid: int

    def take(self, path: Path | int) -> None:
        """Give a file or directory to this owner. Only root can do this, and only root has to."""
        if os.geteuid() == 0:
            os.chown(path, *self)


def spawn(
    command: list[str],
    owner: Owner,
    *,
    stdin: int,
    stdout: int | IO[bytes],
    inherited: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a program through child.py, in a session of its own.

    In the terminal's session, Ctrl-C would also reach Postgres, before the application has closed
    its connections.
    """
    identity = [str(number) for number in (os.getpid(), *owner)]
    child = str(Path(__file__).with_name("child.py"))
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - the program is the one find_binaries found
        [sys.executable, "-I", "-S", child, *identity, *command],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=environment | {"LC_ALL": "C"},
        start_new_session=True,
        pass_fds=inherited,
    )


def run(command: list[str], owner: Owner, given: bytes = b"") -> None:
    """Run a program to its end; if it fails, raise an error with the end of its output."""
    with spawn(command, owner, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate(given)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise EmbeddedPostgresError(
            f"{Path(command[0]).name} failed (status {process.returncode}). "
            f"The end of its output:\n{last_lines(output)}"
        )


def last_lines(output: bytes, count: int = 12) -> str:
    """Return the end of a program's output, indented."""
    lines = output.decode(errors="replace").splitlines()[-count:]
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
