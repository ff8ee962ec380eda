"""Run a command with `DATABASE_URL` naming a throwaway server made of the binaries given.

`python -m tests.on_postgres /usr/lib/postgresql/15/bin pytest -q -p tests.on_postgres`

As a plugin of pytest, this module leaves out the tests that ask nothing of that server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.embedded import EmbeddedPostgres


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that have a database, each of which is cloned from the template."""
    without = [item for item in items if "template" not in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if "template" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=without)


def main() -> int:
    """Start the server, run the command, stop the server; give the command's exit code."""
    from tests.conftest import THROWAWAY, directory_of_run  # noqa: PLC0415 - pytest loads it later

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
