"""The way through a spreadsheet and back: the sample records, the page about it, many rows."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from api.core.db import Database
from api.settings import Settings
from api.sync.importing import runs
from tests.conftest import KEY, PATIENCE, allow, bearer
from tests.peaks import peak
from tests.recipe import REPOSITORY
from tests.test_cli import address, serving, url  # noqa: F401 - fixtures

PAGE: Final = (REPOSITORY / "docs/spreadsheet.md").read_text()
CSV: Final = {"content-type": "text/csv"}


def edited(table: bytes, edits: dict[tuple[int, str], str]) -> bytes:
    """Change cells of a table, by the number of the row and the name of the column."""
    columns, *rows = csv.reader(io.StringIO(table.decode(), newline=""))
    names = [name.removeprefix("\ufeff") for name in columns]
    for (row, column), text in edits.items():
        rows[row - 2][names.index(column)] = text
    changed = io.StringIO(newline="")
    csv.writer(changed).writerows([columns, *rows])
    return changed.getvalue().encode()


async def records(client: httpx.AsyncClient) -> dict[str, bytes]:
    """Give the bytes of all records, by their ids."""
    found: dict[str, bytes] = {}
    for plural in ("articles", "claims", "denials", "sources"):
        answer = await client.get(f"/v1/{plural}", params={"format": "ndjson"})
        found |= {json.loads(line)["id"]: line for line in answer.content.splitlines()[:-1]}
    return found


@pytest.mark.parametrize("bom", [{}, {"bom": "1"}], ids=["plain", "bom"])
async def test_five_edited_cells_of_the_sample_claims_are_five_changes(
    with_samples: httpx.AsyncClient, bom: dict[str, str]
) -> None:
    """In a dry run and for real; everything else keeps its bytes."""
    asked = {"format": "csv", "wide": "1", "trailer": "1", "sort": "created_at", **bom}
    answer = await with_samples.get("/v1/claims", params=asked)
    edits = {
        (2, "note"): "=see the ministry's page",
        (3, "tags"): '["casualties", "disputed"]',
        (5, "attribution.source"): "Volodymyr Zelensky",
        (9, "review_status"): "in_review",
    }
    table = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"), newline="")))
    figure = next(n for n, row in enumerate(table, start=2) if n > 9 and row["quantity.printed"])
    edits[figure, "quantity.printed"] = "some"
    was = {place: table[place[0] - 2][place[1]] for place in edits}
    changed = {table[row - 2]["id"] for row, _ in edits}
    body = edited(answer.content, edits)
    before = await records(with_samples)
    for dry_run in ("true", "false"):
        sent = await with_samples.post(
            "/v1/import",
            params={"type": "claim", "dry_run": dry_run},
            content=body,
            headers=CSV,
        )
        *results, last = [json.loads(line) for line in sent.text.splitlines()]
        assert last["totals"]["updated"] == 5, results
        assert last["totals"]["unchanged"] == len(table) - 1 - 5
        if dry_run == "true":
            told = {
                (each["row"], each["column"]): (each["was"], each["becomes"]) for each in results
            }
            assert told == {place: (was[place] or None, text) for place, text in edits.items()}
            assert await records(with_samples) == before
    after = await records(with_samples)
    assert {identity for identity in before if before[identity] != after[identity]} == changed


# --- the page --------------------------------------------------------------------------------


def steps() -> list[tuple[str, str]]:
    """Read the blocks of the page, and the cells that it has people change, in their order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.process
@pytest.mark.newest
def test_every_step_of_the_page_does_what_it_says(address: str, tmp_path: Path) -> None:  # noqa: F811
    """A block of CSV is a file, one of cells is an edit, one of JSON is what was printed last."""
    printed = ""
    for language, block in steps():
        if language == "csv":
            name, _, text = block.partition("\n")
            (tmp_path / name.removeprefix("# ")).write_text(text)
        elif language == "cells":
            name, *lines = block.splitlines()
            place = tmp_path / name.removeprefix("# ")
            cells = [line.split(" | ") for line in lines]
            edits = {(int(row), column): text for row, column, text in cells}
            place.write_bytes(edited(place.read_bytes(), edits))
        elif language == "sh":
            script = block.replace("http://127.0.0.1:8000", address).replace("clk_…", KEY)
            done = subprocess.run(
                ["bash", "-euc", _KEPT + script],
                check=False,
                capture_output=True,
                text=True,
                cwd=tmp_path,
            )
            assert done.returncode == 0, (script, done.stderr)
            printed = done.stdout
        elif language == "json":
            assert _plain(block) == _plain(printed)


_KEPT: Final = "[ ! -e .kept ] || . ./.kept; trap 'declare -p API KEY > .kept' EXIT\n"
"""What a person types in one shell: the variables are there in the next block."""


def _plain(lines: str) -> list[Any]:
    """Read lines of JSON; ids differ from run to run, and problems are shown by their details."""
    plain = []
    for line in lines.splitlines():
        told = json.loads(line)
        told.pop("id", None)
        if told.get("problem"):
            told["problem"] = {"detail": told["problem"]["detail"]}
        plain.append(told)
    return plain


# --- many rows -------------------------------------------------------------------------------

_MEMORY: Final = r"""
import json
from contextlib import closing
from uuid import UUID
from api.core.request import SERVICE
from api.records.claims import CLAIMS
from api.sync.importing import runs
from api.sync.importing.spool import Spool
from tests.peaks import write_peaks

def identities(count):
    return (str(UUID(int=(4 << 76) | (2 << 62) | (count << 80) | n)) for n in range(count))

def lines(count):
    for identity in identities(count):
        data = {"text": "Something is so", "note": "a note", "tags": ["a", "b"]}
        yield json.dumps({"type": "claim", "id": identity, "data": data}).encode()

async def load_and_edit(database, count):
    await runs.load(database, lines(count))
    with closing(Spool()) as body:
        body.write(b"id,version,text,note,tags,claimant\r\n")
        for n, identity in enumerate(identities(count)):
            note = "changed" if n % 2_000 == 0 else "a note"
            row = f'{identity},1,Something is so,{note},"[""a"",""b""]",\r\n'
            body.write(row.encode())
        answer = await runs.run_import(database, SERVICE, body, table_of=CLAIMS)
        with closing(answer):
            totals = answer.totals().totals
    changed = -(-count // 2_000)
    assert (totals.updated, totals.unchanged) == (changed, count - changed), totals

write_peaks(load_and_edit)
"""


@pytest.mark.process
@pytest.mark.newest
async def test_memory_does_not_grow_with_the_number_of_rows(empty_url: str) -> None:
    """Five cells among 10,000 rows; five times the rows take less than 4 MiB more."""
    script = [sys.executable, "-c", _MEMORY, empty_url, "2000", "10000"]
    found = await asyncio.to_thread(
        subprocess.run, script, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    few, many = json.loads(found.stdout)
    assert many - few < 4 * 1_024


def used(pid: int) -> tuple[int, float]:
    """Give the peak of the memory of a process, in KiB, and its CPU time, in seconds: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return peak(pid), sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.process
@pytest.mark.newest
def test_ten_thousand_claims_go_out_and_come_back_over_http(
    url: str,  # noqa: F811
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Five changed cells are five changes; five times the rows take less than 8 MiB more."""
    asyncio.run(allow(url))
    asyncio.run(_load(url, {"few": 2_000, "many": 10_000}))
    peaks = []
    with (
        serving(tmp_path, "--workers", "1", DATABASE_URL=url) as service,
        httpx.Client(base_url=service.address, headers=bearer(KEY), timeout=PATIENCE) as client,
    ):
        for tag, count in (("few", 2_000), ("many", 10_000)):
            told = [f"{count:,} claims"]
            steps = iter(_steps(client, tag, count))
            while True:
                began, (_, cpu) = time.perf_counter(), used(service.process.pid)
                if (step := next(steps, None)) is None:
                    break
                _, spent = used(service.process.pid)
                told.append(f"{step} {time.perf_counter() - began:.2f} s (CPU {spent - cpu:.2f} s)")
            peaks.append(used(service.process.pid)[0])
            told.append(f"peak {peaks[-1] / 1_024:.1f} MiB")
            record_property("tables over HTTP", ", ".join(told))
    assert peaks[1] - peaks[0] < 8 * 1_024


def _steps(client: httpx.Client, tag: str, count: int) -> Iterator[str]:
    """Take a table out, change five cells, try it, and send it."""
    asked = {"format": "csv", "wide": "1", "tag": tag, "sort": "created_at"}
    table = client.get("/v1/claims", params=asked).content
    yield "export"
    edits = {(count * part // 5 + 2, "note"): f"Changed {part}" for part in range(5)}
    body = edited(table, edits)
    for dry_run in ("true", "false"):
        params = {"type": "claim", "dry_run": dry_run}
        answer = client.post("/v1/import", params=params, content=body, headers=CSV)
        *results, last = [json.loads(line) for line in answer.text.splitlines()]
        assert (last["totals"]["updated"], last["totals"]["unchanged"]) == (5, count - 5)
        if dry_run == "true":
            told = {(each["row"], each["column"]): each["becomes"] for each in results}
            assert told == edits
        yield "dry run" if dry_run == "true" else "import"


async def _load(database_url: str, counts: dict[str, int]) -> None:
    """Create so many claims under each tag, all by one source."""
    source = "01938f7a-4c00-7000-8000-000000000001"
    hop = {"position": 0, "source_id": source, "cue": "said", "printed": "the ministry"}
    figure = {"metric": "killed", "unit": "person", "qualifier": "exact"}
    lines: list[dict[str, Any]] = [
        {"type": "source", "id": source, "data": {"kind": "organisation", "name": "The Ministry"}}
    ]
    for tag, count in counts.items():
        for number in range(count):
            data = {
                "text": f"At least {number} soldiers were killed near the border, it was said.",
                "note": "To be checked.",
                "tags": [tag, "casualties"],
                "attributions": [hop],
                "quantities": [{**figure, "value": number, "printed": f"{number} soldiers"}],
            }
            lines.append({"type": "claim", "data": data})
    database = Database(database_url, Settings())
    await database.open()
    try:
        answer = await runs.load(database, (json.dumps(line).encode() for line in lines))
        assert answer.totals.created == len(lines)
    finally:
        await database.close()
