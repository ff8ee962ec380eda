"""Import: a batch is prepared while the one before is written, and nobody can tell."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import asyncpg
import httpx
import pytest

from api.sync.importing import ahead, applying, batches, preparing
from api.sync.importing.lines import Entry
from api.sync.importing.preparing import Prepared, look_up_lines
from api.sync.importing.state import ImportRun
from tests.conftest import PATIENCE, cloned, patient, serving
from tests.test_import import claim, line, new, send, source


@pytest.fixture
def ahead_of(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Collect the numbers of the lines of each batch that was looked up ahead of its turn."""
    looked_up: list[list[int]] = []

    async def noted(run: ImportRun, batch: Sequence[Entry]) -> Any:
        looked_up.append([entry.number for entry in batch])
        return await look_up_lines(run, batch)

    monkeypatch.setattr(ahead, "look_up_lines", noted)
    return looked_up


def in_batches(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(batches, "MAX_LINES", size)


async def test_a_batch_is_looked_up_while_the_one_before_is_written(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ahead_of: list[list[int]]
) -> None:
    in_batches(monkeypatch, 2)
    write, prepare = applying.write_prepared, preparing.settle_batch
    settled = asyncio.Event()
    loop = asyncio.get_running_loop()
    writes: list[list[int]] = []

    def noted(*args: Any) -> Prepared:
        prepared = prepare(*args)
        loop.call_soon_threadsafe(settled.set)
        return prepared

    async def waiting(run: ImportRun, prepared: Prepared) -> Any:
        writes.append([entry.number for entry in prepared.batch])
        if len(writes) < 3:  # there is none behind the third
            await asyncio.wait_for(settled.wait(), PATIENCE)
            settled.clear()
        return await write(run, prepared)

    monkeypatch.setattr(ahead, "settle_batch", noted)
    monkeypatch.setattr(applying, "write_prepared", waiting)
    results, totals = await send(client, [source() for _ in range(6)])
    assert [result["line"] for result in results] == [1, 2, 3, 4, 5, 6]
    assert totals["totals"]["created"] == 6
    assert ahead_of == [[3, 4], [5, 6]]
    assert writes == [[1, 2], [3, 4], [5, 6]]


def _dependent() -> dict[str, list[dict[str, Any]]]:
    """Give lines of which each one depends on the one above it."""
    one, name = new(), {"namespace": "wire", "value": new()}
    named = line("source", {"kind": "person", "name": "N"}, external_id=name)
    beside = source(one, external_ids=[name])
    return {
        "refers by id": [source(one), claim(attributions=[{"source_id": one}])],
        "refers by external id": [named, claim(attributions=[{"source_id": name}])],
        "refers by another external id": [beside, claim(attributions=[{"source_id": name}])],
        "names by id": [source(one), source(one, name="Other")],
        "names by external id": [named, {**named, "data": {"kind": "person", "name": "Other"}}],
        "names by another external id": [
            beside,
            line("source", {"kind": "person", "name": "Other"}, external_id=name),
        ],
        "deletes": [source(one), line("source", op="delete", id=one)],
    }


@pytest.mark.parametrize("way", _dependent())
async def test_a_batch_that_depends_on_the_one_before_waits_for_it(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    ahead_of: list[list[int]],
    way: str,
) -> None:
    in_batches(monkeypatch, 1)
    first, second = _dependent()[way]
    results, _ = await send(client, [first, second])
    assert [result["status"] for result in results] == [201, 201 if "refers" in way else 200]
    assert ahead_of == []


async def test_an_ill_formed_line_depends_on_what_it_refers_to(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ahead_of: list[list[int]]
) -> None:
    """It is told what is wrong with its references, too."""
    in_batches(monkeypatch, 1)
    one = new()
    wrong = claim(attributions=[{"source_id": one}], language="no language")
    results, _ = await send(client, [source(one), wrong])
    assert [error["pointer"] for error in results[1]["problem"]["errors"]] == ["/data/language"]
    assert ahead_of == []


async def test_after_a_batch_that_changes_records_none_is_prepared_ahead(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ahead_of: list[list[int]]
) -> None:
    """A change may take an external id away, or hide other records."""
    in_batches(monkeypatch, 1)
    one, name = new(), {"namespace": "wire", "value": new()}
    await send(client, [source(one, external_ids=[name])])
    ahead_of.clear()
    named = line("source", {"kind": "person", "name": "N"}, external_id=name)
    results, _ = await send(client, [source(one), named, source()])
    assert [result["status"] for result in results] == [200, 201, 201]
    assert results[1]["id"] != one
    assert ahead_of == [[3]]


async def test_what_was_prepared_for_a_batch_that_failed_is_prepared_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, ahead_of: list[list[int]]
) -> None:
    in_batches(monkeypatch, 2)
    taken = {"namespace": "wire", "value": new()}
    await send(client, [source(external_ids=[taken])])
    prepared: list[list[int]] = []
    prepare = preparing.prepare

    async def noted(run: ImportRun, batch: Sequence[Entry]) -> Prepared:
        prepared.append([entry.number for entry in batch])
        return await prepare(run, batch)

    monkeypatch.setattr(applying, "prepare", noted)
    lines = [source(), source(external_ids=[taken]), source(), source(), source()]
    results, totals = await send(client, lines)
    assert [result["status"] for result in results] == [201, 409, 201, 201, 201]
    assert totals["totals"]["created"] == 4
    assert ahead_of == [[3, 4], [5]]
    assert prepared == [[1, 2], [1], [2], [3, 4]]


async def test_a_line_that_is_tried_again_decides_about_the_next_one(
    empty: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer takes its external id. So it changes theirs, which loses another name."""
    in_batches(monkeypatch, 1)
    name, other = ({"namespace": "wire", "value": new()} for _ in range(2))
    write, writes = applying.write_prepared, 0

    async def after_another(run: ImportRun, prepared: Prepared) -> Any:
        nonlocal writes
        writes += 1
        if writes == 1:
            body = {"kind": "person", "name": "Theirs", "external_ids": [name, other]}
            answer = await empty.post("/v1/sources", json=body)
            assert answer.status_code == 201, answer.text
            await asyncio.sleep(0.2)  # the next line is looked up meanwhile
        return await write(run, prepared)

    monkeypatch.setattr(applying, "write_prepared", after_another)
    named = line("source", {"kind": "person", "name": "Ours"}, external_id=name)
    results, _ = await send(empty, [named, claim(attributions=[{"source_id": other}])])
    assert [result["status"] for result in results] == [200, 422]


async def test_an_import_needs_no_second_connection(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, ahead_of: list[list[int]]
) -> None:
    """Where its caller may have one alone, the next batch waits for it."""
    in_batches(monkeypatch, 1)
    settings = patient(pool_size=3, caller_connections=1, acquire_seconds=0.2)
    write = applying.write_prepared

    async def long(run: ImportRun, prepared: Prepared) -> Any:
        if prepared.batch[0].number == 1:
            await asyncio.sleep(0.5)
        return await write(run, prepared)

    monkeypatch.setattr(applying, "write_prepared", long)
    async with serving(empty_url, settings) as client:
        _, totals = await send(client, [source() for _ in range(4)])
    assert totals["totals"]["created"] == 4
    assert [2] not in ahead_of


def _mixed(seed: int) -> list[dict[str, Any]]:
    """Invent lines that create, change, delete and name each other's records, many in vain."""
    draw = random.Random(seed)  # noqa: S311 - nothing here is secret
    ids = [f"01938f7a-4c00-7000-8000-{number:012x}" for number in range(6)]
    names = [{"namespace": "wire", "value": str(number)} for number in range(4)]
    lines: list[dict[str, Any]] = []
    for number in range(40):
        way = draw.choice(["new", "new", "new", "id", "name", "claim", "claim", "delete", "wrong"])
        data: dict[str, Any] = {"kind": "person", "name": f"Somebody {number}"}
        if draw.random() < 0.3:
            data["external_ids"] = [draw.choice(names)]
        target = draw.choice([*ids, *names])
        said = {"text": f"Claim {number}", "attributions": [{"source_id": target}]}
        lines.append(
            {
                "new": line("source", data),
                "id": line("source", data, id=draw.choice(ids)),
                "name": line("source", data, external_id=draw.choice(names)),
                "claim": line("claim", said),
                "delete": line("source", op="delete", id=draw.choice(ids)),
                "wrong": line("claim", {**said, "language": "no language"}),
            }[way]
        )
    return lines


def _told(results: list[dict[str, Any]]) -> list[Any]:
    """Give what must not differ: all but the ids that the service gives, and the request's."""
    return [
        (
            each["line"],
            each["status"],
            each["version"],
            each["changed"],
            each["problem"] and [(e["pointer"], e["code"]) for e in each["problem"]["errors"]],
        )
        for each in results
    ]


async def _order(url: str) -> list[tuple[str, str]]:
    """Give the documents of all changes in the order of the feed, without ids and times."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            """
            SELECT o.op, convert_from(r.doc, 'UTF8')::json AS doc
            FROM outbox AS o JOIN revisions AS r
                ON (r.record_type, r.record_id, r.version)
                    = (o.record_type, o.record_id, o.version)
            ORDER BY o.id"""
        )
    finally:
        await connection.close()
    documents = [(row["op"], json.loads(row["doc"] or "{}")) for row in rows]
    return [(op, doc.get("name") or doc.get("text")) for op, doc in documents]


@pytest.mark.parametrize("seed", range(6))
async def test_an_import_comes_to_the_same_whether_batches_are_prepared_ahead(
    template: str, monkeypatch: pytest.MonkeyPatch, ahead_of: list[list[int]], seed: int
) -> None:
    told, orders = [], []
    for goes_ahead in (True, False):
        with monkeypatch.context() as patched:
            in_batches(patched, 1 + seed % 3)
            if not goes_ahead:
                patched.setattr(ahead, "_may_be_ahead", lambda _: False)
            async with cloned(template) as url, serving(url) as client:
                results, _ = await send(client, _mixed(seed))
                told.append(_told(results))
                orders.append(await _order(url))
        assert ahead_of
    assert told[0] == told[1]
    assert orders[0] == orders[1]
