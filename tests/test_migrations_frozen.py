"""The SQL of a migration stays what it was, whatever is changed in what generates it."""

from __future__ import annotations

import json

import pytest

from api.server import schema
from tests.migration_digests import DIGESTS, generated


@pytest.mark.parametrize("revision", schema.known())
def test_a_migration_runs_the_sql_that_it_has_always_run(revision: str) -> None:
    assert json.loads(DIGESTS.read_text()).get(revision) == generated(revision), (
        f"Migration {revision} runs other SQL than tests/migration_digests.json has. If it was "
        "released, undo the change: databases have run it as it was. If it is new, run "
        "`python -m tests.migration_digests`."
    )
