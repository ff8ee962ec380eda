"""The recipe for a record type, done: a copy of this checkout gets a fifth one and is tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.factories import EVERY, create
from tests.recipe import REPOSITORY, apply, copy
from tests.test_changes import cursor_of, refused

PAGE = REPOSITORY / "docs/adding-a-record-type.md"
SUITES = (
    "contract",
    "every_type",
    "drift",
    "changes",
    "lists",
    "openapi",
    "examples",
    "demo",
    "migrations_frozen",
)

# What the service with rulings makes of a database from before, and of cursors to it.
AFTERWARDS = """
import asyncio, json, sys
import asyncpg
from api.server import schema
from tests.conftest import serving
from tests.factories import EVERY, create
from tests.test_changes import cursor_of, walk

async def main(url, cursors):
    await schema.migrate(url)
    await schema.grant(url, schema.SERVICE_ROLE)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE keys SET scopes = scopes || 'rulings:write'::text")
    await connection.close()
    async with serving(url) as client:
        await create(client, EVERY["ruling"])
        for name, since in cursors.items():
            cursors[name] = [item["type"] for item in await walk(client, since)]
        print(json.dumps(cursors))
        print(await cursor_of(client))
    await schema.migrate(url, schema.known()[-2])

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def run(directory: Path, *arguments: str) -> str:
    """Run Python in the copy, with its modules and without this run's settings."""
    unwanted = ("PYTEST_", "COV_", "DATABASE_URL", "CLAIM_RECORDS_")
    environment: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith(unwanted)
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**environment, "PYTHONPATH": str(directory)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-8_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


@pytest.fixture
def with_rulings(tmp_path: Path) -> Path:
    """Copy this checkout, and add the record type that the page adds."""
    directory = tmp_path / "checkout"
    copy(directory)
    apply(PAGE, directory)
    document = run(directory, "-m", "api.cli", "openapi")
    (directory / "openapi/openapi.json").write_text(document)
    run(directory, "-m", "tests.migration_digests")
    return directory


@pytest.mark.process
@pytest.mark.newest
def test_a_fifth_record_type_holds_what_all_promise(with_rulings: Path) -> None:
    suites = [f"tests/test_{name}.py" for name in SUITES]
    said = run(with_rulings, "-m", "pytest", "-q", "-n", "2", "-p", "tests.recipe", *suites)
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.process
@pytest.mark.newest
async def test_cursors_from_before_go_on(
    empty: httpx.AsyncClient, empty_url: str, with_rulings: Path
) -> None:
    """And after the way back, cursors of the type that is gone ask for a new start."""
    cursors = {
        "unnamed": await cursor_of(empty),
        "named": await cursor_of(empty, types=",".join(EVERY)),
    }
    await create(empty, next(iter(EVERY.values())))
    said = run(with_rulings, "-c", AFTERWARDS, empty_url, json.dumps(cursors))
    behind, since = said.splitlines()
    types: dict[str, Any] = json.loads(behind)
    assert types == {name: [next(iter(EVERY)), "ruling"] for name in cursors}
    assert await refused(empty, since=since) == (410, "resync-required")
    assert await cursor_of(empty)
