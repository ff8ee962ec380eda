"""The SQL of a migration stays what it was, whatever is changed in what generates it."""

from __future__ import annotations

import importlib
import json
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from api.server import schema

VERSIONS = Path(__file__).parents[1] / "migrations/versions"
DIGESTS = Path(__file__).with_name("migration_digests.json")


class Recorder:
    """What a migration calls of alembic's `op`; it keeps the statements."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        self.statements.append(statement)

    exec_driver_sql = execute

    def get_bind(self) -> Recorder:
        return self

    def get_context(self) -> Any:
        return type("Context", (), {"autocommit_block": staticmethod(nullcontext)})


def generated(revision: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the digests of a migration's statements, forward and back."""
    [path] = VERSIONS.glob(f"{revision}_*.py")
    module = importlib.import_module(f"migrations.versions.{path.stem}")
    digests = {}
    for direction in ("upgrade", "downgrade"):
        recorder = Recorder()
        monkeypatch.setattr(module, "op", recorder)
        getattr(module, direction)()
        text = "\0".join(recorder.statements)
        digests[direction] = sha256(text.encode()).hexdigest()
    return digests


@pytest.mark.parametrize("revision", schema.known())
def test_a_migration_says_what_it_has_always_said(
    revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.loads(DIGESTS.read_text())
    digests = generated(revision, monkeypatch)
    assert kept.get(revision) == digests, (
        f"Migration {revision} runs another SQL than tests/migration_digests.json has. If it was "
        "released, undo the change: databases have run it as it was. If it is new, write its "
        f"digests there: {json.dumps({revision: digests})}"
    )
