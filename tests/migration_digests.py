"""Digests of the SQL of each migration: `python -m tests.migration_digests` writes the new ones.

It replaces the digest of the newest migration and adds those that are missing. All others are of
migrations that databases have run: they stay.
"""

from __future__ import annotations

import importlib
import json
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from api.server import schema

VERSIONS: Final = Path(__file__).parents[1] / "migrations/versions"
DIGESTS: Final = Path(__file__).with_suffix(".json")


class Recorder:
    """The methods of alembic's `op` that migrations call; it keeps the statements.

    It is a database in which nothing is found.
    """

    def __init__(self) -> None:
        """Begin with no statement."""
        self.statements: list[str] = []

    def execute(self, statement: str) -> Recorder:
        """Keep a statement."""
        self.statements.append(statement)
        return self

    exec_driver_sql = execute

    def scalar(self) -> None:
        """Give what a statement has found."""

    def get_bind(self) -> Recorder:
        """Give the connection."""
        return self

    def get_context(self) -> Any:
        """Give the context, of which one method is called."""
        return type("Context", (), {"autocommit_block": staticmethod(nullcontext)})


def generated(revision: str) -> dict[str, str]:
    """Give the digests of a migration's statements, forward and back."""
    [path] = VERSIONS.glob(f"{revision}_*.py")
    module = importlib.import_module(f"migrations.versions.{path.stem}")
    digests = {}
    for direction in ("upgrade", "downgrade"):
        recorder = Recorder()
        with patch.object(module, "op", recorder):
            getattr(module, direction)()
        text = "\0".join(recorder.statements)
        digests[direction] = sha256(text.encode()).hexdigest()
    return digests


def main() -> None:
    """Write the digests of new migrations."""
    kept = json.loads(DIGESTS.read_text())
    kept.pop(schema.latest(), None)
    digests = {each: kept.get(each) or generated(each) for each in schema.known()}
    DIGESTS.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()
