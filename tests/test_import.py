"""Import: per-line results, atomic and dry runs, references inside a file, flat memory."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any, BinaryIO
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from api.access import authentication, keyring
from api.core import json_text, large_input
from api.core.connection import LimitedConnection
from api.core.db import Database
from api.core.errors import unavailable
from api.core.request import SERVICE
from api.core.writing import look_up, settle
from api.settings import Settings
from api.sync.importing import applying, batches, preparing, results, settling
from api.sync.importing import lines as importing_lines
from api.sync.importing.batches import LinesByType, NumberedLine
from api.sync.importing.lines import Entry
from api.sync.importing.spool import Spool
from api.sync.importing.state import ImportRun, Sender
from schemas import walking
from tests.conftest import PATIENCE, allow, as_service, bearer, patient, serving
from tests.corpus import large
from tests.test_concurrency import blocked

NDJSON = {"content-type": "application/x-ndjson"}


def line(kind: str, data: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({"data": data} if data is not None else {}), **more}


def source(identity: str | None = None, **data: Any) -> dict[str, Any]:
    named = {"id": identity} if identity else {}
    return line("source", {"kind": "person", "name": "Somebody", **data}, **named)


def claim(identity: str | None = None, **data: Any) -> dict[str, Any]:
    named = {"id": identity} if identity else {}
    return line("claim", {"text": "Something is so", **data}, **named)


def new() -> str:
    return str(uuid4())


async def send(
    client: httpx.AsyncClient, lines: Iterable[Any], **query: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    body = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
    response = await client.post("/v1/import", params=query, content=body, headers=NDJSON)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    *results, totals = [json.loads(each) for each in response.text.splitlines()]
    for result in results:
        assert list(result) == ["line", "status", "type", "id", "version", "changed", "problem"]
    return results, totals


async def status(client: httpx.AsyncClient, path: str) -> int:
    return (await client.get(path)).status_code


async def test_creates_then_finds_unchanged_then_updates(client: httpx.AsyncClient) -> None:
    one, two = new(), new()
    lines = [source(one), claim(two, attributions=[{"source_id": one}])]
    results, totals = await send(client, lines)
    assert [(r["line"], r["status"], r["id"], r["version"]) for r in results] == [
        (1, 201, one, 1),
        (2, 201, two, 1),
    ]
    assert totals["totals"]["created"] == 2
    assert totals["committed"] is True

    results, totals = await send(client, lines)
    assert [(r["status"], r["version"], r["changed"]) for r in results] == [(200, 1, False)] * 2
    assert totals["totals"]["unchanged"] == 2
    revisions = (await client.get(f"/v1/claims/{two}/revisions")).json()["items"]
    assert [r["version"] for r in revisions] == [1]

    results, totals = await send(client, [claim(two, text="Something else is so")])
    assert [(r["status"], r["version"], r["changed"]) for r in results] == [(200, 2, True)]
    assert totals["totals"]["updated"] == 1


async def test_a_line_without_names_creates_a_record(client: httpx.AsyncClient) -> None:
    results, _ = await send(client, [source(), source()])
    assert len({r["id"] for r in results}) == 2
    assert await status(client, f"/v1/sources/{results[0]['id']}") == 200


async def test_external_id_names_the_record_and_is_added_to_it(client: httpx.AsyncClient) -> None:
    name = {"namespace": "wire", "value": new()}
    written = line("source", {"kind": "state", "name": "Freedonia"}, external_id=name)
    (first,), _ = await send(client, [written])
    (second,), _ = await send(client, [written])
    assert (first["status"], second["status"]) == (201, 200)
    assert first["id"] == second["id"]
    record = (await client.get(f"/v1/sources/{first['id']}")).json()
    assert record["external_ids"] == [name]


async def test_refused_lines_say_why_and_the_others_are_kept(client: httpx.AsyncClient) -> None:
    good = [source(new()) for _ in range(4)]
    bad = [
        b"{",
        b'{"type": "source", "type": "claim"}',
        {"type": "planet", "data": {}},
        {"type": "source", "foo": 1, "data": {}},
        {"type": "source"},
        {"type": "source", "op": "delete"},
        source(kind="wizard", colour="red"),
        claim(attributions=[{"source_id": new()}]),
        line("source", op="delete", id=new()),
        source(new()) | {"if_match": '"nothing"'},
    ]
    lines = [x for pair in zip(good, bad[:4], strict=True) for x in pair] + bad[4:]
    results, totals = await send(client, lines)
    assert totals["totals"] | {"lines": 0} == {
        "lines": 0,
        "created": 4,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "refused": 10,
        "not_applied": 0,
    }
    refused = [r for r in results if r["problem"]]
    assert [(r["status"], r["problem"]["code"]) for r in refused] == [
        (400, "malformed-json"),
        (400, "malformed-json"),
        (422, "invalid-record"),
        (422, "invalid-record"),
        (422, "invalid-record"),
        (422, "invalid-record"),
        (422, "invalid-record"),
        (422, "unknown-reference"),
        (404, "not-found"),
        (412, "precondition-failed"),
    ]
    pointers = [[e["pointer"] for e in r["problem"]["errors"]] for r in refused]
    assert pointers[6] == ["/data/kind", "/data/colour"]
    assert pointers[7] == ["/data/attributions/0/source_id"]
    for written in good:
        assert await status(client, f"/v1/sources/{written['id']}") == 200


@pytest.mark.parametrize("atomic", ["false", "true"])
async def test_the_problem_of_a_line_names_the_request(
    client: httpx.AsyncClient, atomic: str
) -> None:
    body = json.dumps(source()) + "\n" + json.dumps(source(name=""))
    target = f"/v1/import?atomic={atomic}"
    answer = await client.post(target, content=body, headers=NDJSON)
    *results, _ = [json.loads(each) for each in answer.text.splitlines()]
    problems = [result["problem"] for result in results if result["problem"]]
    assert len(problems) == 1 + (atomic == "true")
    assert {each["request_id"] for each in problems} == {answer.headers["x-request-id"]}


async def test_blank_lines_are_passed_over_but_counted_in_the_numbers(
    client: httpx.AsyncClient,
) -> None:
    results, totals = await send(
        client, [b"", json.dumps(source()).encode() + b"\r", b"  ", source()]
    )
    assert [r["line"] for r in results] == [2, 4]
    assert totals["totals"]["lines"] == 2


async def test_a_line_sees_the_lines_above_it_not_those_below(client: httpx.AsyncClient) -> None:
    one, two, three = new(), new(), new()
    results, _ = await send(
        client,
        [
            claim(one, relations=[{"claim_id": two, "kind": "restates"}]),
            claim(two),
            claim(three, relations=[{"claim_id": two, "kind": "restates"}]),
        ],
    )
    assert [r["status"] for r in results] == [422, 201, 201]


async def test_spans_are_held_to_an_article_of_the_same_file(client: httpx.AsyncClient) -> None:
    article = new()

    def printed(start: int) -> dict[str, Any]:
        spans = [{"start": start, "end": start + 5, "exact": "words"}]
        return claim(appearances=[{"article_id": article, "spans": spans}])

    text = {"headline": "H", "text": "🌊 words"}
    results, _ = await send(client, [line("article", text, id=article), printed(2), printed(1)])
    assert [r["status"] for r in results] == [201, 201, 422]
    (error,) = results[2]["problem"]["errors"]
    assert error["pointer"] == "/data/appearances/0/spans/0/exact"
    assert "2 to 7" in error["detail"]


async def test_one_record_twice_in_a_file_is_written_twice(client: httpx.AsyncClient) -> None:
    one = new()
    lines = [source(one, name="A"), source(one, name="B"), source(one, name="B")]
    results, totals = await send(client, lines)
    assert [(r["status"], r["version"]) for r in results] == [(201, 1), (200, 2), (200, 2)]
    assert totals["totals"]["unchanged"] == 1


async def test_one_record_by_two_names_in_a_file_is_written_twice(
    client: httpx.AsyncClient,
) -> None:
    """No two names are the same, so both lines are in one batch, which has one row for both."""
    one, name = new(), {"namespace": "wire", "value": new()}
    await send(client, [source(one, name="A", external_ids=[name])])
    by_name = line("source", {"kind": "person", "name": "C"}, external_id=name)
    results, _ = await send(client, [source(one, name="B", external_ids=[name]), by_name])
    assert [(r["status"], r["id"], r["version"]) for r in results] == [(200, one, 2), (200, one, 3)]
    assert (await client.get(f"/v1/sources/{one}")).json()["name"] == "C"


async def test_what_only_the_database_can_refuse_refuses_one_line(
    client: httpx.AsyncClient,
) -> None:
    name = [{"namespace": "wire", "value": new()}]
    one, two = new(), new()
    results, _ = await send(
        client,
        [
            source(external_ids=name),
            source(external_ids=name),
            source(),
            claim(one),
            claim(two, relations=[{"claim_id": one, "kind": "overlaps"}]),
            claim(one, relations=[{"claim_id": two, "kind": "overlaps"}]),
        ],
    )
    assert [r["status"] for r in results] == [201, 409, 201, 201, 201, 409]
    assert results[1]["problem"]["code"] == "not-unique"
    assert results[5]["problem"]["code"] == "relation-exists"


async def test_deletes_and_revives(client: httpx.AsyncClient) -> None:
    one, two = new(), new()
    await send(client, [source(one), claim(two, attributions=[{"source_id": one}])])
    results, totals = await send(
        client,
        [
            line("source", op="delete", id=one),  # refused: the claim refers to it
            line("claim", op="delete", id=two),
            line("source", op="delete", id=one),
            line("source", op="delete", id=one),  # deleted already
        ],
    )
    assert [(r["status"], r["changed"]) for r in results] == [
        (409, False),
        (200, True),
        (200, True),
        (200, False),
    ]
    assert results[0]["problem"]["referrers"] == [
        {"type": "claim", "id": two, "link": "attribution"}
    ]
    assert totals["totals"]["deleted"] == 2
    assert await status(client, f"/v1/sources/{one}") == 410
    (revived,), _ = await send(client, [source(one)])
    assert (revived["status"], revived["version"], revived["changed"]) == (200, 3, True)
    revisions = (await client.get(f"/v1/sources/{one}/revisions")).json()["items"]
    assert [r["op"] for r in revisions] == ["restored", "deleted", "created"]


async def test_a_source_that_is_merged_while_it_is_looked_at_again_is_refused_alone(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, survivor, another = new(), new(), new()
    cited = claim(attributions=[{"source_id": one}])
    await send(client, [source(one), source(survivor), cited])
    look_up_batch, looked_up = settling.look_up_batch, list[Sequence[Entry]]()

    async def merged_before_the_second(run: ImportRun, batch: Sequence[Entry]) -> Any:
        if len(looked_up) == 1:
            body, headers = {"source_id": one}, {"if-match": "*"}
            path = f"/v1/sources/{survivor}/merge"
            answer = await client.post(path, json=body, headers=headers)
            assert answer.status_code == 200, answer.text
        looked_up.append(batch)
        return await look_up_batch(run, batch)

    for room in (preparing, applying):
        monkeypatch.setattr(room, "look_up_batch", merged_before_the_second)
    lines = [line("source", op="delete", id=one), source(another)]
    results, _ = await send(client, lines)
    assert [result["status"] for result in results] == [409, 201]
    assert results[0]["problem"]["code"] == "source-merged"


async def test_if_match_holds_a_line_to_a_version(client: httpx.AsyncClient) -> None:
    one = new()
    await send(client, [source(one)])
    tag = (await client.get(f"/v1/sources/{one}")).headers["etag"]
    results, _ = await send(
        client,
        [
            source(one, name="A") | {"if_match": tag},
            source(one, name="B") | {"if_match": tag},
            source(one, name="C") | {"if_match": "*"},
            source(one, name="D") | {"if_match": '"v3"'},
            source(one, name="E") | {"if_match": '"v3"'},
        ],
    )
    assert [r["status"] for r in results] == [200, 412, 200, 200, 412]
    assert [results[n]["problem"]["current"]["name"] for n in (1, 4)] == ["A", "D"]


async def test_atomic_lines_may_refer_forward_across_types(client: httpx.AsyncClient) -> None:
    a_claim, other, article, one = new(), new(), new(), new()
    lines = [
        line("denial", {"text": "No", "kind": "full_denial", "targets": [{"claim_id": a_claim}]}),
        claim(
            a_claim,
            relations=[{"claim_id": other, "kind": "specifies"}],
            attributions=[{"source_id": one}],
            appearances=[{"article_id": article}],
        ),
        claim(other, embedding="embedded", parent_claim_id=a_claim),
        line(
            "article",
            {
                "headline": "H",
                "corrections": [{"kind": "correction", "notice": "N", "claim_ids": [a_claim]}],
            },
            id=article,
        ),
        source(one),
    ]
    results, totals = await send(client, lines, atomic="true")
    assert [(r["line"], r["status"]) for r in results] == [(n, 201) for n in range(1, 6)]
    assert totals["committed"] is True
    results, totals = await send(client, lines[1:], atomic="true")
    assert totals["totals"]["unchanged"] == 4


@pytest.mark.parametrize(
    "bad",
    [
        claim(attributions=[{"source_id": new()}]),
        claim(relations=[{"claim_id": new(), "kind": "restates"}]),
        source(kind="wizard"),
        b"{",
        line("claim", op="delete", id=new()),
    ],
    ids=["unknown source", "unknown claim", "invalid", "malformed", "delete of nothing"],
)
async def test_atomic_keeps_nothing_when_one_line_is_refused(
    client: httpx.AsyncClient, bad: Any
) -> None:
    one, two = new(), new()
    results, totals = await send(client, [source(one), bad, claim(two)], atomic="true")
    assert [r["status"] for r in results] == [424, results[1]["status"], 424]
    assert 400 <= results[1]["status"] < 424
    assert results[0]["problem"]["code"] == "not-applied"
    counts = totals["totals"]
    assert (counts["refused"], counts["not_applied"]) == (1, len(results) - 1)
    assert counts["lines"] == sum(count for name, count in counts.items() if name != "lines")
    assert totals["totals"]["created"] == 0
    assert totals["committed"] is False
    assert await status(client, f"/v1/sources/{one}") == 404
    assert await status(client, f"/v1/claims/{two}") == 404


async def test_atomic_tells_a_refused_line_which_references_no_line_brings(
    client: httpx.AsyncClient,
) -> None:
    brought, missing = new(), new()
    lines = [
        claim(kind="gossip", attributions=[{"source_id": missing}, {"source_id": brought}]),
        claim(kind="gossip", attributions=[{"source_id": brought}]),
        claim(version=2, attributions=[{"source_id": missing}, {"source_id": brought}]),
        source(brought),
    ]
    results, totals = await send(client, lines, atomic="true")
    assert [result["status"] for result in results] == [422, 422, 422, 424]
    told = [
        [(error["pointer"], error["code"]) for error in result["problem"]["errors"]]
        for result in results[:3]
    ]
    term = ("/data/kind", "unknown-term")
    unknown = ("/data/attributions/0/source_id", "unknown-reference")
    assert told == [[term, unknown], [term], [("/data/version", "read-only"), unknown]]
    codes = [result["problem"]["code"] for result in results[:3]]
    assert codes == ["invalid-record", "invalid-record", "unknown-reference"]
    assert totals["totals"]["refused"] == 3


async def test_atomic_deletes_what_refers_and_what_is_referred_to(
    client: httpx.AsyncClient,
) -> None:
    one, two = new(), new()
    await send(client, [source(one), claim(two, attributions=[{"source_id": one}])])
    only = [line("source", op="delete", id=one)]
    results, totals = await send(client, only, atomic="true")
    assert [r["status"] for r in results] == [409]
    assert totals["committed"] is False
    both = [*only, line("claim", op="delete", id=two)]
    results, totals = await send(client, both, atomic="true")
    assert [r["status"] for r in results] == [200, 200]
    assert totals["totals"]["deleted"] == 2


@pytest.mark.parametrize("atomic", ["true", "false"])
async def test_dry_run_tells_all_and_keeps_nothing(client: httpx.AsyncClient, atomic: str) -> None:
    one, two = new(), new()
    lines = [source(one), claim(two, attributions=[{"source_id": one}])]
    results, totals = await send(client, lines, atomic=atomic, dry_run="true")
    assert [r["status"] for r in results] == [201, 201]
    assert (totals["committed"], totals["dry_run"]) == (False, True)
    assert await status(client, f"/v1/sources/{one}") == 404


# --- the key is withdrawn meanwhile --------------------------------------------------------------


async def ended_while_a_line_waits(
    client: httpx.AsyncClient, url: str, lines: Sequence[Any], held: str, **query: str
) -> httpx.Response:
    """Import with a key that is withdrawn while a line waits for a source that another holds.

    The service has one connection: it has to look at the key over that which the import holds.
    """
    key = await allow(url, keyring.new_key())
    other = await asyncpg.connect(url)
    try:
        async with serving(url, patient(pool_size=1)) as small:
            async with other.transaction():
                await other.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", held)
                body = b"\n".join(json.dumps(each).encode() for each in lines)
                headers = NDJSON | bearer(key)
                task = asyncio.create_task(
                    small.post("/v1/import", params=query, content=body, headers=headers)
                )
                await blocked(task, other)
                revoked = await client.delete(f"/v1/keys/{keyring.identity_of(key)}")
                assert revoked.status_code == 204
            return await asyncio.wait_for(task, PATIENCE / 2)
    finally:
        await other.close()


async def test_when_its_key_ends_the_rest_of_an_import_is_refused(
    empty: httpx.AsyncClient, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_LINES", 1)
    monkeypatch.setattr(authentication, "FRESH_SECONDS", 0)
    first, held, third, fourth = (new() for _ in range(4))
    await send(empty, [source(held)])
    lines = [source(first), source(held, name="Changed"), source(third), claim(fourth)]
    answer = await ended_while_a_line_waits(empty, empty_url, lines, held)
    *results, totals = [json.loads(each) for each in answer.text.splitlines()]
    assert [result["status"] for result in results] == [201, 200, 401, 401]
    assert results[2]["id"] == third
    assert results[2]["problem"]["code"] == "unauthorized"
    assert totals["totals"]["refused"] == 2
    assert totals["committed"] is True
    assert (await empty.get(f"/v1/sources/{held}")).json()["name"] == "Changed"
    assert await status(empty, f"/v1/sources/{first}") == 200
    assert await status(empty, f"/v1/sources/{third}") == 404
    assert await status(empty, f"/v1/claims/{fourth}") == 404


@pytest.mark.parametrize("behind", [0, 1], ids=["before the commit", "between batches"])
async def test_when_its_key_ends_an_atomic_import_is_refused_as_a_whole(
    empty: httpx.AsyncClient, empty_url: str, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    monkeypatch.setattr(batches, "MAX_LINES", 1)
    monkeypatch.setattr(authentication, "FRESH_SECONDS", 0)
    first, held, third = (new() for _ in range(3))
    await send(empty, [source(held)])
    lines = [source(first), source(held, name="Changed"), source(third)][: 2 + behind]
    answer = await ended_while_a_line_waits(empty, empty_url, lines, held, atomic="true")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert (await empty.get(f"/v1/sources/{held}")).json()["version"] == 1
    assert await status(empty, f"/v1/sources/{first}") == 404


async def test_an_import_whose_key_ends_while_it_is_sent_writes_nothing(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    key = await allow(empty_url, keyring.new_key())
    ids = [new() for _ in range(3)]

    async def body() -> AsyncIterator[bytes]:
        for number, identity in enumerate(ids):
            if number == 1:
                revoked = await empty.delete(f"/v1/keys/{keyring.identity_of(key)}")
                assert revoked.status_code == 204
            yield json.dumps(source(identity)).encode() + b"\n"

    answer = await empty.post("/v1/import", content=body(), headers=NDJSON | bearer(key))
    told = [json.loads(each) for each in answer.text.splitlines()]
    assert {each["status"] for each in told if "totals" not in each} == {401}
    for identity in ids:
        assert await status(empty, f"/v1/sources/{identity}") == 404


@pytest.mark.long
async def test_a_batch_is_written_by_multi_row_statements(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    count = 3 * batches.FIRST_LINES  # the second batch has twice as many as the first one
    shared = new()
    lines = [source(shared)] + [
        claim(new(), attributions=[{"source_id": shared}]) for _ in range(count - 1)
    ]
    await send(empty, lines)
    connection = await asyncpg.connect(empty_url)
    try:
        transactions = await connection.fetchval("SELECT count(DISTINCT xid) FROM outbox")
        rows = await connection.fetchval("SELECT count(*) FROM outbox")
    finally:
        await connection.close()
    assert rows == count
    assert transactions == 2


async def test_an_import_gets_no_document_back_that_it_wrote(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer has none; they would be as large as the lines."""
    answered: list[list[str]] = []
    fetch = LimitedConnection.fetch

    async def noted(connection: LimitedConnection, query: str, *values: Any, **more: Any) -> Any:
        rows = await fetch(connection, query, *values, **more)
        if query.lstrip().startswith(("INSERT INTO sources", "UPDATE sources")):
            answered.extend(list(row.keys()) for row in rows)
        return rows

    monkeypatch.setattr(LimitedConnection, "fetch", noted)
    identity = new()
    for name in ("first", "second"):
        await send(client, [source(identity, name=name)])
    assert answered == [["id", "version"]] * 2


async def test_a_record_is_read_once_for_the_line_that_names_it(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 100
    namespace = new()
    lines = [
        line("claim", {"text": "x"}, external_id={"namespace": namespace, "value": str(number)})
        for number in range(count)
    ]
    _, totals = await send(client, lines)
    assert totals["totals"]["created"] == count
    documents = 0
    split = settle.split

    def counted(*args: Any) -> Any:
        nonlocal documents
        documents += 1
        return split(*args)

    monkeypatch.setattr(settle, "split", counted)
    _, totals = await send(client, lines)
    assert totals["totals"]["unchanged"] == count
    assert documents == 2 * count  # what was sent, and what is stored


@contextmanager
def busy_threads() -> Iterator[None]:
    """Occupy the threads that work on large input, until the end of the block."""
    free = threading.Event()
    for _ in range(large_input.MAX_THREADS):
        large_input._THREADS.submit(free.wait, PATIENCE)  # noqa: SLF001
    try:
        yield
    finally:
        free.set()


async def test_a_batch_is_read_while_the_one_before_is_written(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the other to have begun."""
    monkeypatch.setattr(batches, "FIRST_LINES", 1)
    read, prepare = batches.gather_batches, preparing.prepare
    reads, writes = threading.Event(), threading.Event()

    def reading(
        run: ImportRun, lines: Iterable[NumberedLine], *more: Any
    ) -> Iterator[list[Entry] | None]:
        for number, batch in enumerate(read(run, lines, *more)):
            if number == 1:
                reads.set()
                assert writes.wait(PATIENCE)
            yield batch

    async def writing(run: ImportRun, batch: Sequence[Entry]) -> Any:
        writes.set()
        assert await asyncio.to_thread(reads.wait, PATIENCE)
        return await prepare(run, batch)

    monkeypatch.setattr(applying, "gather_batches", reading)
    monkeypatch.setattr(applying, "prepare", writing)
    for atomic in ("false", "true"):
        reads.clear()
        writes.clear()
        results, totals = await send(client, [source() for _ in range(3)], atomic=atomic)
        assert [result["line"] for result in results] == [1, 2, 3]
        assert totals["totals"]["created"] == 3


async def test_an_import_that_fails_reads_no_further(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_LINES", 1)
    numbers = []
    read = importing_lines.read_line

    def noted(run: ImportRun, number: int, raw: bytes | None) -> Entry | None:
        numbers.append(number)
        return read(run, number, raw)

    async def writing(*_: Any) -> Any:
        raise unavailable("It is away.")

    monkeypatch.setattr(batches, "read_line", noted)
    monkeypatch.setattr(applying, "write_prepared", writing)
    body = b"\n".join(json.dumps(source()).encode() for _ in range(20))
    response = await client.post("/v1/import", content=body, headers=NDJSON)
    assert response.status_code == 503
    assert len(numbers) <= 3


async def test_an_import_holds_no_connection_while_its_lines_wait_to_be_read(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "FIRST_LINES", 1)
    gather, sort, connected = batches.gather_batches, LinesByType.sort, ImportRun.connected
    events: list[str] = []
    written = threading.Event()

    def gathered(
        run: ImportRun, lines: Iterable[NumberedLine], *more: Any
    ) -> Iterator[list[Entry] | None]:
        for number, batch in enumerate(gather(run, lines, *more)):
            if number == 1:
                assert written.wait(PATIENCE)
            events.append("read" if run._connection is None else "read, connected")  # noqa: SLF001
            yield batch

    def sorted_by_type(files: LinesByType, lines: Iterable[NumberedLine]) -> Iterator[None]:
        events.append("sort")
        yield from sort(files, lines)

    @asynccontextmanager
    async def noted(run: ImportRun) -> AsyncIterator[None]:
        async with connected(run):
            events.append("connected")
            yield
        written.set()

    monkeypatch.setattr(applying, "gather_batches", gathered)
    monkeypatch.setattr(LinesByType, "sort", sorted_by_type)
    monkeypatch.setattr(ImportRun, "connected", noted)
    await send(client, [source() for _ in range(3)])
    assert events == ["read", "connected"] * 2
    events.clear()
    await send(client, [source() for _ in range(3)], atomic="true")
    assert events[:2] == ["sort", "connected"]


async def test_the_references_of_a_line_are_listed_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks them up, and what settles the line, take the same list."""
    count = 20
    shared = new()
    lines = [source(shared)] + [
        claim(new(), attributions=[{"source_id": shared}]) for _ in range(count)
    ]
    listings = 0
    listed = walking.references

    def noted(*args: Any) -> Any:
        nonlocal listings
        listings += 1
        return listed(*args)

    for module in (importing_lines, look_up, settle):
        monkeypatch.setattr(module, "references", noted, raising=False)
    _, totals = await send(client, lines)
    assert totals["totals"]["created"] == 1 + count
    assert listings == 1 + count


async def test_work_that_holds_a_connection_does_not_wait_for_work_that_does_not(
    empty_url: str,
) -> None:
    database = Database(as_service(empty_url), patient(pool_size=2))
    await database.open()
    try:
        async with asyncio.timeout(PATIENCE):
            with busy_threads():
                async with database.connection():
                    assert await large_input.in_thread(lambda: 1) == 1
                waiting = asyncio.create_task(large_input.in_thread(lambda: 2))
                assert not (await asyncio.wait([waiting], timeout=0.1))[0]
            assert await waiting == 2
    finally:
        await database.close()


@pytest.mark.long
def test_no_line_is_sorted_by_decoding_more_values_than_a_line_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python lets no other thread run during a call of the decoder."""
    most = 0
    decode = msgspec.json.decode

    def counted(raw: bytes, **more: Any) -> Any:
        nonlocal most
        most = max(most, raw.count(b","))
        return decode(raw, **more)

    monkeypatch.setattr(msgspec.json, "decode", counted)
    lines = [
        b'{"type":"%b","data":%b}' % (plural.removesuffix("s").encode(), body)
        for plural, body in large().values()
    ]
    with closing(LinesByType()) as by_type:
        for _ in by_type.sort((number, line) for number, line in enumerate(lines, 1)):
            pass
        numbers = [number for lines_of_type in by_type for number, _ in lines_of_type]
    assert sorted(numbers) == list(range(1, len(lines) + 1))
    assert 0 < most <= json_text.MAX_VALUES


async def test_refusals_of_the_request_as_a_whole(client: httpx.AsyncClient) -> None:
    body = json.dumps(source()).encode()
    for headers, query, expected in (
        ({"content-type": "application/json"}, "", 415),
        (NDJSON | {"idempotency-key": "x" * 256}, "", 400),
        (NDJSON, "?atomic=yes", 400),
        (NDJSON, "?atom=true", 400),
    ):
        answer = await client.post(f"/v1/import{query}", content=body, headers=headers)
        assert answer.status_code == expected
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_line_that_is_too_long_is_refused_alone(client: httpx.AsyncClient) -> None:
    long = json.dumps(source(note="x" * 1_048_576)).encode()
    longer = b'{"type": "source", "data": {"note": "' + b"x" * 5_000_000 + b'"}}'
    results, _ = await send(client, [source(), long, longer, source()])
    assert [r["status"] for r in results] == [201, 413, 413, 201]


@pytest.fixture
def no_space(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk of temporary files be full after some bytes of results."""

    def fill(size: int) -> None:
        def full() -> BinaryIO:
            return FullFile(size)

        monkeypatch.setattr(tempfile, "TemporaryFile", full)

    return fill


class FullFile(io.BytesIO):
    """A file on a disk without space for more than some bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("query", ["", "?atomic=true", "?dry_run=true"])
async def test_without_space_for_the_lines_nothing_is_written(
    client: httpx.AsyncClient, no_space: Callable[[int], None], query: str
) -> None:
    identity = new()
    no_space(100)
    body = json.dumps(source(identity, name="x" * 100))
    answer = await client.post(f"/v1/import{query}", content=body, headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage-full")
    assert await status(client, f"/v1/sources/{identity}") == 404


@pytest.mark.parametrize(("query", "applied"), [("", 1), ("?atomic=true", 0)])
async def test_without_space_for_its_result_no_line_is_written(
    client: httpx.AsyncClient,
    no_space: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    applied: int,
) -> None:
    monkeypatch.setattr(batches, "MAX_LINES", 1)
    ids = [new() for _ in range(2)]
    lines = "\n".join(json.dumps(line("source", op="delete", id=each)) for each in ids)
    await send(client, [source(each) for each in ids])
    no_space(len(lines) + 50)  # and a result is longer than a line
    answer = await client.post(f"/v1/import{query}", content=lines, headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage-full")
    assert ("The lines up to 1 were applied" in answer.json()["detail"]) == bool(applied)
    found = [await status(client, f"/v1/sources/{each}") for each in ids]
    assert found == [410] * applied + [200] * (2 - applied)


async def test_an_empty_file_is_no_error(client: httpx.AsyncClient) -> None:
    results, totals = await send(client, [], atomic="true")
    assert results == []
    assert totals["totals"]["lines"] == 0


@pytest.mark.long
async def test_two_imports_of_the_same_new_records_at_once(client: httpx.AsyncClient) -> None:
    ids = [new() for _ in range(300)]
    lines = [source(each) for each in ids]
    done = await asyncio.gather(*(send(client, lines) for _ in range(3)))
    created = sum(totals["totals"]["created"] for _, totals in done)
    unchanged = sum(totals["totals"]["unchanged"] for _, totals in done)
    assert (created, unchanged) == (300, 600)


_MEMORY = """
import json
from uuid import UUID
from api.sync.importing import runs
from tests.peaks import write_peaks

def lines(count):
    for n in range(count):
        identity = str(UUID(int=(4 << 76) | (2 << 62) | (count << 80) | n))
        data = {"kind": "person", "name": f"P{n}"}
        yield json.dumps({"type": "source", "id": identity, "data": data}).encode()

async def load(database, count):
    totals = await runs.load(database, lines(count))
    assert totals.totals.created == count, totals

write_peaks(load)
"""


@pytest.mark.long
def test_the_results_are_counted_without_keeping_them() -> None:
    database = Database("postgresql://nowhere.invalid", Settings())
    run = ImportRun(database, SERVICE, atomic=False, dry_run=False, sender=Sender())
    run.results.append(Spool())
    entries = (Entry(number, 0, None, None, None) for number in range(1, 20_001))
    results.keep(run, (results.unchanged(entry, new(), 1) for entry in entries))
    with closing(results.Answer(run, committed=True)) as answer:
        tracemalloc.start()
        try:
            assert answer.totals().totals.lines == 20_000
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.process
@pytest.mark.newest
async def test_memory_does_not_grow_with_the_number_of_lines(empty_url: str) -> None:
    """Ten times the lines, and less than 4 MiB more; bench/ has the million."""
    script = [sys.executable, "-c", _MEMORY, empty_url, "2000", "20000"]
    found = await asyncio.to_thread(
        subprocess.run, script, capture_output=True, text=True, check=True
    )
    few, many = json.loads(found.stdout)
    assert many - few < 4 * 1_024
