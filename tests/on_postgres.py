"""Run a command with `DATABASE_URL` naming a throwaway server made of the binaries given.

`python -m tests.on_postgres /usr/lib/postgresql/15/bin pytest -q`
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from api.embedded import EmbeddedPostgres
from tests.conftest import THROWAWAY, directory_of_run


def main() -> int:
    """Start the server, run the command, stop the server; give the command's exit code."""
    binaries, *command = sys.argv[1:]
    with directory_of_run() as directory:
        directory.chmod(0o755)
        server = EmbeddedPostgres(
            directory / "data",
            binaries=Path(binaries),
            fsync=False,
            settings=THROWAWAY,
        )
        with server:
            environment = os.environ | {"DATABASE_URL": server.url("postgres")}
            return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
