"""The published document passes the linters, with no error and no warning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.npm import Packages, installed

ROOT = Path(__file__).parent.parent


@pytest.fixture
def linters(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Install the linters beside their rules, and put the document there."""
    found = installed(ROOT / "tests" / "lint", tmp_path_factory)
    shutil.copy(ROOT / "openapi" / "openapi.json", tmp_path)
    (tmp_path / "openapi.json").replace(
        found.directory / "openapi.json"
    )  # others may be reading it
    return found


@pytest.mark.outside
def test_spectral_finds_nothing(linters: Packages) -> None:
    rules = ("--ruleset", "spectral.yaml", "--fail-severity", "hint")
    done = linters.run("spectral", "lint", *rules, "openapi.json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "No results with a severity of 'hint' or higher found!" in done.stdout


@pytest.mark.outside
def test_redocly_finds_nothing(linters: Packages) -> None:
    linted = linters.run(
        "redocly", "lint", "--config", "redocly.yaml", "--format", "json", "openapi.json"
    )
    assert linted.returncode == 0, linted.stdout
    assert json.loads(linted.stdout)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


@pytest.mark.outside
@pytest.mark.parametrize("linter", ["spectral", "redocly"])
def test_a_linter_finds_what_is_wrong(linters: Packages, tmp_path: Path, linter: str) -> None:
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    document["paths"] = {"/v1/claims": {"get": {"responses": {"200": {"description": "Done."}}}}}
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    given = {
        "spectral": ("--ruleset", "spectral.yaml", "--fail-severity", "hint"),
        "redocly": ("--config", "redocly.yaml"),
    }
    done = linters.run(linter, "lint", *given[linter], tmp_path / "wrong.json")
    assert done.returncode == 1
    assert "operation-operationId" in done.stdout + done.stderr
