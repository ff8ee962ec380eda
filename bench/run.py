"""Measure the service beside its peers: the same rows, the same machine, alternating rounds.

    python bench/run.py [--claims 50000] [--only R1,R2] [--sides postgrest,go_pgx] [--rounds 5]

It makes the records, starts its own Postgres (durable, as in service) and the servers, all on
loopback, and stops them. It installs the peers itself, names those that can't be installed here,
and measures the others. Linux only; needs `wrk` and `uv`. It writes a table and two pictures. What
counts is the ratio.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run with the packages of the service, which uv installs where they are missing."""
    if importlib.util.find_spec("asyncpg") is None:
        if shutil.which("uv") is None:
            sys.exit("This needs uv: pip install uv.")
        command = ["uv", "run", "--quiet", "--project", str(REPOSITORY), "python", *sys.argv]
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    import comparison  # noqa: PLC0415 - beside this file, with the packages of the service

    comparison.main(__doc__ or "")


if __name__ == "__main__":
    main()
