"""The script in `docs/warehouse.md`, run as it stands: it loads what the API gives."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import test_cli
from tests.conftest import PATIENCE, bearer
from tests.test_cli import url  # noqa: F401 - a fixture

SECTION = (Path(__file__).parent.parent / "docs" / "warehouse.md").read_text()
PLURALS = ("sources", "articles", "claims", "denials")
INSTANTS = ("created_at", "updated_at")
# What dlt says it normalized, but for its own tables.
_COUNTS = re.compile(r"^\{.*\}$", re.MULTILINE)
_DUMP = """\
import duckdb, json, sys
with duckdb.connect("claim_records.duckdb", read_only=True) as connection:
    found = connection.execute(f"SELECT * FROM records.{sys.argv[1]}")
    names = [column[0] for column in found.description]
    types = [str(column[1]) for column in found.description]
    rows = [dict(zip(names, row)) for row in found.fetchall()]
print(json.dumps({"types": dict(zip(names, types)), "rows": rows}, default=lambda v: v.isoformat()))
"""


class Warehouse:
    """Where the recipe loads to."""

    def __init__(self, directory: Path, api: str, key: str) -> None:
        """Install what the recipe says that it takes."""
        self._directory = directory
        self._python = directory / "venv" / "bin" / "python"
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "SSL_CERT_FILE")}
        self._environment = kept | {
            "HOME": str(directory),
            "DLT_DATA_DIR": str(directory / "dlt"),
            "KEY": key,
            "API": api,
            "RUNTIME__DLTHUB_TELEMETRY": "false",
        }
        packages = re.findall(r"'([a-z]+(?:\[[a-z]+\])?==[0-9.]+)'", SECTION)
        assert [each.partition("=")[0] for each in packages] == ["dlt[duckdb]", "duckdb"]
        (script,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
        (directory / "load.py").write_text(script)
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert uv
        subprocess.run(
            [uv, "venv", "-q", "--python", sys.executable, directory / "venv"], check=True
        )
        subprocess.run(
            [uv, "pip", "install", "-q", "--python", self._python, *packages], check=True
        )

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._python, *arguments],
            cwd=self._directory,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stdout + done.stderr
        return done.stdout

    def load(self, *arguments: str) -> dict[str, int]:
        """Run the recipe; give how many rows it loaded, by table."""
        (counts,) = _COUNTS.findall(self._run("load.py", *arguments))
        found: dict[str, int] = json.loads(counts.replace("'", '"'))
        return {name: rows for name, rows in found.items() if not name.startswith("_dlt")}

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """Read a table: rows by id, as the API writes them, nulls left out."""
        dumped = json.loads(self._run("-c", _DUMP, name))
        types: dict[str, str] = dumped["types"]
        assert not [column for column in types if "__" in column.strip("_")]  # no variants
        rows = [
            {
                column: json.loads(cell) if types[column] == "JSON" else cell
                for column, cell in row.items()
                if cell is not None and not column.startswith("_dlt")
            }
            for row in dumped["rows"]
        ]
        found = {row.pop("id"): row for row in rows}
        assert len(found) == len(rows)
        for row in rows:
            assert row.pop("gone") is False
            assert row.pop("seq") > 0
            row |= {name: _instant(row[name]) for name in INSTANTS}
        return found


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def listed(client: httpx.Client, plural: str) -> dict[str, dict[str, Any]]:
    """Read all records of a type from the API, nulls left out."""
    page = client.get(plural, params={"limit": 200}).json()
    assert page["next_cursor"] is None
    found = {}
    for record in page["items"]:
        row = {name: value for name, value in record.items() if value is not None}
        row |= {name: _instant(row[name]) for name in INSTANTS}
        found[row.pop("id")] = row
    return found


def _change_some(client: httpx.Client) -> None:
    """Create, update, delete and restore, some of it to the same records."""

    def sent(method: str, path: str, **more: Any) -> httpx.Response:
        answer = client.request(method, path, **more)
        assert answer.is_success, answer.text
        return answer

    def matching(path: str) -> dict[str, str]:
        return {"if-match": sent("GET", path).headers["etag"]}

    def patch(path: str, **fields: Any) -> None:
        headers = matching(path) | {"content-type": "application/merge-patch+json"}
        sent("PATCH", path, json=fields, headers=headers)

    def delete(path: str) -> dict[str, str]:
        return {"if-match": sent("DELETE", path, headers=matching(path)).headers["etag"]}

    paths = [f"claims/{uuid4()}" for _ in range(3)]
    for path in paths:
        sent("PUT", path, json={"text": path, "tags": ["a"]}, headers={"if-none-match": "*"})
    patch(paths[0], text="2026-01-01T00:00:00Z", note="a new column, and a text like a time")
    patch(paths[0], tags=[], note=None)
    delete(paths[1])
    sent("POST", f"{paths[2]}/restore", headers=delete(paths[2]))
    # And to what was loaded before.
    denials = [f"denials/{identity}" for identity in listed(client, "denials")]
    delete(denials[0])
    sent("POST", f"{denials[1]}/restore", headers=delete(denials[1]))
    patch(denials[2], note="changed")
    (article, *_) = listed(client, "articles")
    patch(f"articles/{article}", tags=["changed"])


@pytest.mark.outside
def test_the_recipe_loads_what_the_api_gives(
    tmp_path: Path,
    url: str,  # noqa: F811
) -> None:
    with test_cli.serving(tmp_path, "--demo", DATABASE_URL=url) as service:
        key = service.key()
        api = f"{service.address}/v1/"
        warehouse = Warehouse(tmp_path, api, key)
        with httpx.Client(base_url=api, headers=bearer(key), timeout=PATIENCE) as client:

            def compare() -> None:
                for plural in PLURALS:
                    assert warehouse.table(plural) == listed(client, plural), plural

            assert warehouse.load() == {name: len(listed(client, name)) for name in PLURALS}
            compare()
            assert warehouse.load() == {}
            compare()
            before = {name: listed(client, name) for name in PLURALS}
            _change_some(client)
            assert set(listed(client, "denials")) < set(before["denials"])
            assert set(warehouse.load()) == {"articles", "claims", "denials"}
            compare()
            assert warehouse.load() == {}
            warehouse.load("--anew")
            compare()
            assert warehouse.load() == {}
