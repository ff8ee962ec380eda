"""Clients that others' tools write from the document: they compile, and they work."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from api import demo
from tests.conftest import KEY, PATIENCE, allow, bearer, cloned
from tests.npm import PATIENCE as INSTALLED
from tests.npm import Packages, installed
from tests.test_cli import execute, serving

ROOT = Path(__file__).parent.parent
HERE = ROOT / "tests" / "clients"
DOCUMENT = ROOT / "openapi" / "openapi.json"
PYTHON = ("openapi-python-client==0.29.1", "mypy==2.4.1", "httpx==0.28.1", "attrs==26.1.0")
STRANGE = "foretold"
ANSWERS = {
    "killed": [
        "Lee Seong-kweun | At least 100 | 100",
        "Lee Seong-kweun | 100 or more | 100",
        "National Intelligence Service | at least 100 | 100",
    ],
    "injured": [
        (
            "Lee Seong-kweun | approaching 1,000 | - "
            "| North Korean casualties run to “several hundreds”"
        ),
    ],
    "origins": 2,
    "unanswered": ["North Korea exports ballistic missiles to Russia"],
    "responders": [
        "a North Korean diplomat at the United Nations: full_denial",
        "a vice-minister in North Korea\u2019s foreign ministry: non_denial_denial",
        "North Korea: neither_confirms_nor_denies",
        "Russia: neither_confirms_nor_denies",
    ],
    "claimants": ["Lee Seong-kweun: 5", "Volodymyr Zelensky: 3"],
    "without": 10,
    "suggested": ['typography: "at least 100" soldiers'],
    "attached": 1,
}
"""What the sample records answer to the questions that each client asks."""


class Served(NamedTuple):
    """A service with the sample records, of which one holds a term that no vocabulary has."""

    address: str
    strange: str

    @property
    def told(self) -> dict[str, str]:
        """Tell a program where it is."""
        return {"BASE": self.address, "KEY": KEY, "STRANGE": self.strange}

    def get(self, path: str) -> Any:
        """Ask for something."""
        answer = httpx.get(self.address + path, headers=bearer(KEY), timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def check(self, printed: str) -> None:
        """Hold what a program printed against what the service says."""
        said = json.loads(printed)
        source, article, claim, denial = said["created"]
        for path in (
            f"sources/{source}",
            f"articles/{article}",
            f"claims/{claim}",
            f"denials/{denial}",
        ):
            assert self.get(f"/v1/{path}")
        assert said["pointers"] == ["/text", "/attributions/0/source_id"]
        page = self.get("/v1/claims?limit=200")
        assert said["claims"] == [item["id"] for item in page["items"]]
        assert len(said["claims"]) > 3
        assert said["terms"] == [STRANGE, STRANGE]
        changes = self.get("/v1/changes?limit=1000")["items"]
        begun = len(said["before"])
        assert said["before"] == [change["id"] for change in changes[:begun]]
        assert said["told"] == [f"{c['op']} {c['type']} {c['id']}" for c in changes[begun:]]
        assert [line.split()[:2] for line in said["told"]] == [
            ["created", "source"],
            ["created", "article"],
            ["created", "claim"],
            ["created", "denial"],
            ["updated", "claim"],
            ["updated", "claim"],
        ]


@pytest.fixture
def served(template: str, tmp_path: Path) -> Iterator[Served]:
    """Serve on a socket, as to anybody."""
    with asyncio.Runner() as runner:
        database = cloned(template)
        url = runner.run(database.__aenter__())
        runner.run(allow(url))
        with serving(tmp_path, DATABASE_URL=url) as service:
            loaded = httpx.post(
                f"{service.address}/v1/import",
                content=b"\n".join(demo.records()),
                headers={"Content-Type": "application/x-ndjson"} | bearer(KEY),
                params={"atomic": "true"},
                timeout=PATIENCE,
            )
            assert json.loads(loaded.text.splitlines()[-1])["committed"] is True
            found = Served(
                service.address,
                next(
                    line["id"]
                    for line in map(json.loads, demo.records())
                    if line["type"] == "claim"
                ),
            )
            change = f"UPDATE claims SET certainty = '{STRANGE}' WHERE id = '{found.strange}'"
            runner.run(execute(url, change))
            assert found.get(f"/v1/claims/{found.strange}")["certainty"] == STRANGE
            yield found
        runner.run(database.__aexit__(None, None, None))


def _run(*command: str | Path, **more: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=INSTALLED,
        **more,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def _printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- openapi-python-client -------------------------------------------------------------------


@pytest.mark.outside
def test_the_client_of_openapi_python_client_works(served: Served, tmp_path: Path) -> None:
    tools = tmp_path / "venv" / "bin"
    _run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    _run("uv", "pip", "install", "--quiet", "--python", tools / "python", *PYTHON)
    for program in ("program.py", "questions.py"):
        shutil.copy(HERE / program, tmp_path)
    said = _run(
        *(tools / "openapi-python-client", "generate", "--path", DOCUMENT, "--meta", "none"),
        *("--config", HERE / "openapi-python-client.yaml"),
        *("--output-path", tmp_path / "generated"),
    )
    # It knows no NDJSON, in answers or in bodies, and no CSV; whatever else it can't read is a
    # fault of the document.
    assert re.findall(r"^WARNING parsing (.*) within", said, re.MULTILINE) == [
        "GET /v1/export",
        *["POST /v1/import"] * 3,
    ]
    assert said.count("WARNING") == 4, said
    programs = ("questions.py", "program.py")
    checked = _run(tools / "mypy", "--strict", *programs, "generated", cwd=tmp_path)
    assert "Success" in checked
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    answered, said = (
        _run(tools / "python", program, cwd=tmp_path, env=environment | served.told)
        for program in programs
    )
    assert json.loads(answered) == ANSWERS
    served.check(said)


# --- TypeScript ------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Install the generators beside the programs."""
    return installed(HERE, tmp_path_factory)


@pytest.mark.outside
def test_the_client_of_openapi_fetch_works(served: Served, packages: Packages) -> None:
    # With the defaults of the generator, as everybody has them.
    written = packages.run("openapi-typescript", DOCUMENT, "--output", "generated/schema.d.ts")
    assert "warn" not in (_printed(written) + written.stderr).lower()
    _printed(packages.run("tsc", "--project", "tsconfig.fetch.json"))
    assert json.loads(_printed(packages.node("questions.ts", **served.told))) == ANSWERS
    served.check(_printed(packages.node("fetch.ts", **served.told)))
    said = json.loads(_printed(packages.node("tour.ts", **served.told)))
    assert served.get(f"/v1/denials?claim_id={said['claim']}")["items"][0]["id"] == said["denial"]


@pytest.mark.outside
def test_the_client_of_hey_api_works(served: Served, packages: Packages) -> None:
    written = packages.run("openapi-ts", "--file", "openapi-ts.config.mjs", "--input", DOCUMENT)
    assert "warn" not in (_printed(written) + written.stderr).lower()
    _printed(packages.run("tsc", "--project", "tsconfig.hey.json"))
    assert json.loads(_printed(packages.node("questions.hey.ts", **served.told))) == ANSWERS
    served.check(_printed(packages.node("hey.ts", **served.told)))
