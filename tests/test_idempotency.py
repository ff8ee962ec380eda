"""Idempotency-Key: what is sent again is not done again, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.access import keyring
from api.core import clocks, idempotency
from api.core.db import Database
from api.core.idempotency import derived_id
from schemas.examples import KEY_ID
from schemas.scalars import UUID_PATTERN
from schemas.vocabularies import RecordType, Scope
from tests.conftest import KEY, PATIENCE, allow, as_service, bearer, cloned, patient, serving
from tests.factories import (
    EVERY,
    MERGE_PATCH,
    Ids,
    Noun,
    count_rows,
    create,
    delete,
    prerequisites,
    unique,
)
from tests.test_concurrency import BLOCKED_BY_US, blocked

Client: TypeAlias = httpx.AsyncClient
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
CLAIMS = EVERY[RecordType.CLAIM]
SOURCES = EVERY[RecordType.SOURCE]


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Connection]:
    """Connect somebody who is not the service, whose transactions the test holds open."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


def keyed(key: str | None = None, **more: str) -> dict[str, str]:
    return {"idempotency-key": unique() if key is None else key, **more}


def replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotency-replayed") == "true")


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """Give all of an answer that has to be the same the second time."""
    names = ("location", "etag", "content-type", "content-length", "cache-control")
    return answer.status_code, answer.content, *(answer.headers.get(name) for name in names)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert not replayed(answer)


async def stored_answers(connection: Connection, key: str) -> int:
    query = "SELECT count(*) FROM idempotency_keys WHERE key = $1"
    found: int = await connection.fetchval(query, key)
    return found


# --- sent again ------------------------------------------------------------------------------


async def test_the_second_answer_is_the_first_byte_for_byte(
    client: Client, noun: Noun, ids: Ids
) -> None:
    headers, body = keyed(), noun.full(ids)
    first = await client.post(noun.path, json=body, headers=headers)
    assert first.status_code == 201
    assert not replayed(first)
    for _ in range(2):
        again = await client.post(noun.path, json=body, headers=headers)
        assert replayed(again)
        assert told(again) == told(first)
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
    revisions = await client.get(f"{first.headers['location']}/revisions")
    assert len(revisions.json()["items"]) == 1


async def test_without_the_header_nothing_is_stored_or_told(
    empty: Client, empty_url: str, noun: Noun
) -> None:
    answers = [await empty.post(noun.path, json=noun.minimal()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 2
    assert not any(replayed(answer) for answer in answers)
    connection = await asyncpg.connect(empty_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    finally:
        await connection.close()


async def test_restore_gives_its_first_answer_again(client: Client, noun: Noun, ids: Ids) -> None:
    record = await create(client, noun, noun.full(ids))
    headers = keyed() | {"if-match": await delete(client, record)}
    path = f"{record.path}/restore"
    first = await client.post(path, headers=headers)
    assert (first.status_code, first.json()["version"]) == (200, 3)
    again = await client.post(path, headers=headers)
    assert told(again) == told(first)
    assert replayed(again)
    refused(await client.post(path, headers=headers | keyed()), 409, "not-deleted")
    refused(
        await client.post(path, headers=headers | {"if-match": "*"}), 422, "idempotency-key-reused"
    )


async def test_the_identity_of_a_source_is_written_down_once(client: Client) -> None:
    anonymous, known = [await create(client, SOURCES) for _ in range(2)]
    body = {"identity_id": known.id, "basis": "Said so."}
    headers, path = keyed(), f"{anonymous.path}/identities"
    first = await client.post(path, json=body, headers=headers)
    assert first.status_code == 201
    await delete(client, known)
    again = await client.post(path, json=body, headers=headers)
    assert told(again) == told(first)
    assert replayed(again)
    refused(await client.post(path, json=body, headers=keyed()), 422, "unknown-reference")
    listed = await client.get(path)
    assert [item["identity_id"] for item in listed.json()["items"]] == [known.id]


async def test_what_happened_since_does_not_change_the_answer(client: Client, noun: Noun) -> None:
    headers, body = keyed(), noun.minimal()
    first = await client.post(noun.path, json=body, headers=headers)
    path = first.headers["location"]
    changed = await client.patch(
        path, json={"note": "changed"}, headers={**MERGE_PATCH, "if-match": "*"}
    )
    assert changed.json()["version"] == 2
    assert told(await client.post(noun.path, json=body, headers=headers)) == told(first)
    assert (await client.delete(path, headers={"if-match": "*"})).status_code == 204
    again = await client.post(noun.path, json=body, headers=headers)
    assert told(again) == told(first)
    assert replayed(again)
    assert (await client.get(path)).status_code == 410


async def test_another_request_with_the_same_key_is_refused(client: Client, noun: Noun) -> None:
    headers = keyed()
    first = await client.post(noun.path, json=noun.minimal(), headers=headers)
    for path, body in (
        (noun.path, noun.minimal(note="another")),
        *((each.path, each.minimal()) for each in EVERY.values() if each is not noun),
        (f"{first.headers['location']}/restore", {}),
    ):
        answer = await client.post(path, json=body, headers=headers | {"if-match": "*"})
        refused(answer, 422, "idempotency-key-reused")
    spaced = json.dumps(noun.minimal(), indent=1).encode()
    more = headers | {"content-type": "application/json"}
    refused(await client.post(noun.path, content=spaced, headers=more), 422,
            "idempotency-key-reused")  # fmt: skip
    again = await client.post(noun.path, json=noun.minimal(), headers=headers)
    assert told(again) == told(first)


async def test_a_key_is_its_callers(client: Client, database_url: str) -> None:
    headers = keyed()
    stranger = await allow(database_url, keyring.written("stranger0001", "1" * 30))
    mine = await client.post(CLAIMS.path, json=CLAIMS.minimal(), headers=headers)
    theirs = await client.post(
        CLAIMS.path, json=CLAIMS.minimal(), headers=headers | bearer(stranger)
    )
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    for key, first in ((KEY, mine), (stranger, theirs)):
        again = await client.post(CLAIMS.path, json=CLAIMS.minimal(), headers=headers | bearer(key))
        assert told(again) == told(first)


async def test_a_key_that_may_not_write_gets_no_stored_answer(
    client: Client, database_url: str, other: Connection
) -> None:
    key = await allow(database_url, keyring.written("narrowed0001", "2" * 30), [Scope.CLAIMS_WRITE])
    headers = keyed() | bearer(key)
    first = await client.post(CLAIMS.path, json=CLAIMS.minimal(), headers=headers)
    assert first.status_code == 201
    await other.execute("UPDATE keys SET scopes = '{read}' WHERE id = 'narrowed0001'")
    async with asyncio.timeout(PATIENCE):
        while (answer := await client.post(
            CLAIMS.path, json=CLAIMS.minimal(), headers=headers
        )).status_code != 403:  # fmt: skip
            assert told(answer) == told(first)
    assert not replayed(answer)


# --- what is not stored ----------------------------------------------------------------------


async def test_a_refusal_stores_nothing_and_leaves_the_key_to_be_used(
    client: Client, other: Connection
) -> None:
    source = str(uuid4())
    headers = keyed()
    body = CLAIMS.minimal(attributions=[{"source_id": source}])
    before = await count_rows(other)
    for _ in range(2):
        answer = await client.post(CLAIMS.path, json=body, headers=headers)
        refused(answer, 422, "unknown-reference")
    answer = await client.post(CLAIMS.path, json={"text": 1}, headers=headers)
    refused(answer, 422, "invalid-record")
    assert await count_rows(other) == before
    put = await client.put(
        f"{SOURCES.path}/{source}", json=SOURCES.minimal(), headers={"if-none-match": "*"}
    )
    assert put.status_code == 201
    answers = [await client.post(CLAIMS.path, json=body, headers=headers) for _ in range(2)]
    assert [replayed(answer) for answer in answers] == [False, True]
    assert told(answers[0]) == told(answers[1])


async def test_what_is_taken_is_refused_again_and_not_stored(
    client: Client, other: Connection
) -> None:
    name = {"namespace": "seed", "value": unique()}
    first = await create(client, CLAIMS, CLAIMS.minimal(external_ids=[name]))
    headers, body = keyed(), CLAIMS.minimal(external_ids=[name], note="the second")
    for _ in range(2):
        refused(await client.post(CLAIMS.path, json=body, headers=headers), 409, "not-unique")
    assert await stored_answers(other, headers["idempotency-key"]) == 0
    await client.patch(
        first.path, json={"external_ids": []}, headers={**MERGE_PATCH, "if-match": "*"}
    )
    assert (await client.post(CLAIMS.path, json=body, headers=headers)).status_code == 201


async def test_a_crash_between_the_work_and_the_commit_leaves_neither(
    empty: Client, empty_url: str
) -> None:
    """Whoever holds the connection is ended while it stores the answer, the work being done."""
    headers, body = keyed(), CLAIMS.minimal()
    connection = await asyncpg.connect(empty_url)
    try:
        before = await count_rows(connection)
        async with connection.transaction():
            await connection.execute("LOCK TABLE idempotency_keys IN SHARE MODE")
            task = asyncio.create_task(empty.post(CLAIMS.path, json=body, headers=headers))
            await blocked(task, connection)
            ended = await connection.fetchval(
                f"SELECT count(pg_terminate_backend(pid)) {BLOCKED_BY_US}"
            )
            assert ended == 1
            refused(await task, 503, "unavailable")
        assert await count_rows(connection) == before
        answers = [await empty.post(CLAIMS.path, json=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert [replayed(answer) for answer in answers] == [False, True]
        assert await connection.fetchval("SELECT count(*) FROM claims") == 1
    finally:
        await connection.close()


# --- at once ---------------------------------------------------------------------------------


@pytest.mark.long
async def test_of_many_at_once_one_is_done_and_all_hear_of_it_or_wait(empty_url: str) -> None:
    """Two processes' worth of pools on one database, twenty requests at once, many times."""
    async with serving(empty_url) as one, serving(empty_url) as two:
        ids = await prerequisites(one)
        for noun in (*EVERY.values(), *EVERY.values()):
            tag = unique()
            headers, body = keyed(), noun.full(ids, tags=[tag])
            answers = await asyncio.gather(
                *(
                    client.post(noun.path, json=body, headers=headers)
                    for _ in range(10)
                    for client in (one, two)
                )
            )
            done = [answer for answer in answers if answer.status_code == 201]
            for answer in answers:
                if answer.status_code != 201:
                    refused(answer, 409, "idempotency-in-progress")
                    assert answer.headers["retry-after"] == "1"
            assert len({told(answer) for answer in done}) == 1
            assert sum(not replayed(answer) for answer in done) == 1
            listed = await two.get(noun.path, params={"tag": tag})
            assert [item["id"] for item in listed.json()["items"]] == [done[0].json()["id"]]
            later = await two.post(noun.path, json=body, headers=headers)
            assert told(later) == told(done[0])


@pytest.mark.long
async def test_who_comes_back_as_told_gets_the_first_answer(empty_url: str) -> None:
    async with serving(empty_url) as one, serving(empty_url) as two:
        headers, body = keyed(), CLAIMS.minimal()

        async def insist(client: Client) -> httpx.Response:
            while True:
                answer = await client.post(CLAIMS.path, json=body, headers=headers)
                if answer.status_code != 409:
                    return answer

        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*(insist(c) for _ in range(10) for c in (one, two)))
        assert len({told(answer) for answer in answers}) == 1
        assert sum(not replayed(answer) for answer in answers) == 1


async def test_while_the_first_is_at_work_another_is_told_to_come_back(
    client: Client, other: Connection
) -> None:
    name = {"namespace": "seed", "value": unique()}
    headers, body = keyed(), CLAIMS.minimal(external_ids=[name])
    async with other.transaction():
        await other.execute("LOCK TABLE idempotency_keys IN SHARE MODE")
        first = asyncio.create_task(client.post(CLAIMS.path, json=body, headers=headers))
        await blocked(first, other)
        for sent in (body, CLAIMS.minimal(note="another")):
            answer = await client.post(CLAIMS.path, json=sent, headers=headers)
            refused(answer, 409, "idempotency-in-progress")
            assert answer.headers["retry-after"] == "1"
    assert (await first).status_code == 201
    again = await client.post(CLAIMS.path, json=body, headers=headers)
    assert told(again) == told(await first)


async def test_the_table_itself_keeps_a_second_answer_out(
    client: Client, other: Connection
) -> None:
    """Where somebody passed by the lock, the second one's work is undone."""
    headers, body = keyed(), CLAIMS.minimal(tags=[unique()])
    first = await client.post(CLAIMS.path, json=body, headers=headers)
    copy = "SELECT * FROM idempotency_keys WHERE key = $1"
    row = await other.fetchrow(copy, headers["idempotency-key"])
    assert row is not None
    await other.execute("DELETE FROM idempotency_keys WHERE key = $1", row["key"])
    async with other.transaction():
        await other.execute(
            "INSERT INTO idempotency_keys VALUES ($1, $2, $3, $4, $5, $6)", *row[:6]
        )
        task = asyncio.create_task(client.post(CLAIMS.path, json=body, headers=headers))
        await blocked(task, other)
    again = await task
    assert replayed(again)
    assert told(again) == told(first)
    listed = await client.get(CLAIMS.path, params={"tag": body["tags"][0]})
    assert [item["id"] for item in listed.json()["items"]] == [first.json()["id"]]


async def test_a_keyed_write_goes_on_where_what_it_refers_to_is_deleted_meanwhile(
    client: Client, other: Connection
) -> None:
    source = await create(client, SOURCES)
    headers, body = keyed(), CLAIMS.minimal(attributions=[{"source_id": source.id}])
    async with other.transaction():
        await other.execute(
            "UPDATE sources SET deleted_at = clock_timestamp() WHERE id = $1", source.id
        )
        task = asyncio.create_task(client.post(CLAIMS.path, json=body, headers=headers))
        await blocked(task, other)
    refused(await task, 422, "unknown-reference")
    assert await stored_answers(other, headers["idempotency-key"]) == 0

    claim = await create(client, CLAIMS)
    gone = await create(client, SOURCES)
    hop = {"attributions": [{"source_id": gone.id}]}
    await client.patch(claim.path, json=hop, headers={**MERGE_PATCH, "if-match": "*"})
    await client.delete(claim.path, headers={"if-match": "*"})
    await delete(client, gone)
    restore = await client.post(f"{claim.path}/restore", headers=keyed() | {"if-match": "*"})
    refused(restore, 422, "unknown-reference")


async def test_a_client_that_goes_away_finds_its_answer(client: Client, other: Connection) -> None:
    headers, body = keyed(), CLAIMS.minimal()
    async with other.transaction():
        await other.execute("LOCK TABLE idempotency_keys IN SHARE MODE")
        first = asyncio.create_task(client.post(CLAIMS.path, json=body, headers=headers))
        await blocked(first, other)
    lost = await first  # what the client does not get to see
    again = await client.post(CLAIMS.path, json=body, headers=headers)
    assert replayed(again)
    assert told(again) == told(lost)


# --- 48 hours --------------------------------------------------------------------------------


async def age(connection: Connection, key: str, hours: float) -> None:
    query = """
        UPDATE idempotency_keys SET created_at = clock_timestamp() - $2::float * interval '1 hour'
        WHERE key = $1"""
    assert await connection.execute(query, key, hours) == "UPDATE 1"


async def test_an_answer_is_kept_for_48_hours(client: Client, other: Connection) -> None:
    headers, body = keyed(), CLAIMS.minimal()
    first = await client.post(CLAIMS.path, json=body, headers=headers)
    await age(other, headers["idempotency-key"], 47.9)
    assert told(await client.post(CLAIMS.path, json=body, headers=headers)) == told(first)
    await age(other, headers["idempotency-key"], 48.1)
    new = await client.post(CLAIMS.path, json=CLAIMS.minimal(note="new"), headers=headers)
    assert new.status_code == 201
    assert not replayed(new)
    assert new.json()["id"] != first.json()["id"]
    again = await client.post(CLAIMS.path, json=CLAIMS.minimal(note="new"), headers=headers)
    assert told(again) == told(new)
    assert replayed(again)
    assert await stored_answers(other, headers["idempotency-key"]) == 1


async def test_old_answers_are_deleted_and_young_ones_stay(empty: Client, empty_url: str) -> None:
    old, young = keyed(), keyed()
    for headers in (old, young):
        await empty.post(CLAIMS.path, json=CLAIMS.minimal(), headers=headers)
    connection = await asyncpg.connect(empty_url)
    database = Database(as_service(empty_url), patient(pool_size=1))
    await database.open()
    try:
        await idempotency.sweep(database)
        assert await stored_answers(connection, old["idempotency-key"]) == 1
        await age(connection, old["idempotency-key"], 48.1)
        await age(connection, young["idempotency-key"], 47.9)
        await idempotency.sweep(database)
        assert await stored_answers(connection, old["idempotency-key"]) == 0
        assert await stored_answers(connection, young["idempotency-key"]) == 1
    finally:
        await database.close()
        await connection.close()


async def test_an_answer_is_kept_for_48_hours_by_both_clocks(
    empty: Client, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres' clock is three days ahead, then right again."""
    headers, body = keyed(), CLAIMS.minimal()
    first = await empty.post(CLAIMS.path, json=body, headers=headers)
    connection = await asyncpg.connect(empty_url)
    database = Database(as_service(empty_url), patient(pool_size=1))
    await database.open()
    try:
        with monkeypatch.context() as shifted:
            shifted.setattr(clocks, "utc_now", lambda: datetime.now(UTC) - timedelta(days=3))
            await age(connection, headers["idempotency-key"], 72)
            await idempotency.sweep(database)
            again = await empty.post(CLAIMS.path, json=body, headers=headers)
            assert told(again) == told(first)
            assert replayed(again)
            other = await empty.post(CLAIMS.path, json=CLAIMS.minimal(note="x"), headers=headers)
            assert other.json()["code"] == "idempotency-key-reused"
        await idempotency.sweep(database)
        assert await stored_answers(connection, headers["idempotency-key"]) == 0
    finally:
        await database.close()
        await connection.close()


async def test_the_service_deletes_old_answers_by_itself(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "SWEEP_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(idempotency, "MAX_SWEPT", 2)
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute(
            "INSERT INTO idempotency_keys SELECT 'k', n, '', 201, '{}', '', now() - interval '3 d'"
            " FROM generate_series(1, 7) AS n"
        )
        async with serving(empty_url), asyncio.timeout(PATIENCE):
            while await connection.fetchval("SELECT count(*) FROM idempotency_keys"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


# --- the header ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b", '"quoted"', "~!,;=", "{[|\\^`"])
async def test_a_key_is_any_printable_ascii(client: Client, key: str) -> None:
    body = CLAIMS.minimal(note=unique())
    answers = [await client.post(CLAIMS.path, json=body, headers=keyed(key)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert told(answers[0]) == told(answers[1])


@pytest.mark.parametrize("keys", [[b""], [b"x" * 256], [b"\xe9"], [b"a\tb"], [b"a", b"a"]])
async def test_other_keys_are_refused(client: Client, noun: Noun, keys: list[bytes]) -> None:
    headers = [(b"idempotency-key", key) for key in keys]
    for path in (noun.path, f"{noun.path}/{uuid4()}/restore", "/v1/import"):
        sent = [*headers, (b"if-match", b"*"), (b"content-type", b"application/json")]
        if path == "/v1/import":
            sent[-1] = (b"content-type", b"application/x-ndjson")
        answer = await client.post(path, content=b"{}" if path == noun.path else b"", headers=sent)
        if path == noun.path:
            answer = await client.post(path, json=noun.minimal(), headers=sent[:-1])
        refused(answer, 400, "invalid-header")


SECRET = {"createKey", "rotateKey", "createWebhook", "rotateWebhookSecret"}
"""What answers with a secret, which is not kept."""


QUERIES = {"matchClaims", "queryArticles", "queryClaims", "queryDenials", "querySources"}
"""What only reads, and can be sent again as it is."""


PUBLISHED = Path(__file__).parents[1] / "openapi" / "openapi.json"
POSTS = {
    item["post"]["operationId"]: (path, item["post"])
    for path, item in json.loads(PUBLISHED.read_text())["paths"].items()
    if "post" in item
}


@pytest.mark.parametrize("name", POSTS)
async def test_every_post_takes_the_header_or_refuses_it(client: Client, name: str) -> None:
    """Those that document it say so of a bad one; the others refuse even a good one."""
    path, operation = POSTS[name]
    told_of = [each.get("$ref", "").rpartition("/")[2] for each in operation.get("parameters", ())]
    takes = any(name.startswith("IdempotencyKey") for name in told_of)
    media, content = "application/json", b"{}"
    if "requestBody" in operation:
        media, body = next(iter(operation["requestBody"]["content"].items()))
        given = body.get("example") or CLAIMS.minimal()
        content = json.dumps(given).encode()
    headers = {"content-type": media, "if-match": "*"}
    where = path.replace("{id}", KEY_ID if "/keys/" in path else str(uuid4()))
    answer = await client.post(where, content=content, headers=headers | keyed("x" * 256))
    refused(answer, 400, "invalid-header")
    if takes:
        assert "1 to 255" in answer.json()["detail"]
        if "IdempotencyKey" in told_of:
            good = operation["responses"][min(operation["responses"])]
            assert "Idempotency-Replayed" in good["headers"]
    else:
        refused(await client.post(where, content=content, headers=headers | keyed()), 400,
                "invalid-header")  # fmt: skip
    assert takes or name in SECRET | QUERIES


# --- import ----------------------------------------------------------------------------------

NDJSON = {"content-type": "application/x-ndjson"}


async def send(
    client: Client, lines: list[Any], headers: dict[str, str] | None = None, **query: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    body = b"\n".join(json.dumps(each).encode() for each in lines)
    answer = await client.post(
        "/v1/import", params=query, content=body, headers=NDJSON | (headers or {})
    )
    assert answer.status_code == 200, answer.text
    *results, totals = [json.loads(each) for each in answer.text.splitlines()]
    return results, totals["totals"]


def source(**more: Any) -> dict[str, Any]:
    return {"type": "source", "data": SOURCES.minimal(), **more}


@pytest.mark.parametrize("atomic", ["false", "true"])
async def test_a_file_without_ids_is_imported_once(client: Client, atomic: str) -> None:
    headers = keyed()
    tag = unique()
    lines = [source(data=SOURCES.minimal(tags=[tag], note=f"{n}")) for n in range(5)]
    first, totals = await send(client, lines, headers, atomic=atomic)
    assert (totals["created"], [r["status"] for r in first]) == (5, [201] * 5)
    again, totals = await send(client, lines, headers, atomic=atomic)
    assert (totals["unchanged"], [r["status"] for r in again]) == (5, [200] * 5)
    assert [r["id"] for r in again] == [r["id"] for r in first]
    assert not any(r["changed"] for r in again)
    listed = await client.get(SOURCES.path, params={"tag": tag})
    assert len(listed.json()["items"]) == 5


async def test_a_file_that_was_cut_off_is_gone_on_with(client: Client) -> None:
    headers = keyed()
    lines = [source(data=SOURCES.minimal(note=f"{n}")) for n in range(6)]
    await send(client, lines[:4], headers)
    results, totals = await send(client, lines, headers)
    assert (totals["unchanged"], totals["created"]) == (4, 2)
    assert [r["line"] for r in results] == [1, 2, 3, 4, 5, 6]


async def test_what_became_of_a_record_since_stays(client: Client) -> None:
    headers = keyed()
    lines = [source(), source(), source()]
    first, _ = await send(client, lines, headers)
    changed, deleted, _ = (f"{SOURCES.path}/{result['id']}" for result in first)
    await client.patch(changed, json={"note": "n"}, headers={**MERGE_PATCH, "if-match": "*"})
    await client.delete(deleted, headers={"if-match": "*"})
    again, totals = await send(client, lines, headers)
    assert totals["unchanged"] == 3
    assert [(r["status"], r["changed"], r["version"]) for r in again] == [
        (200, False, 2),
        (200, False, 2),
        (200, False, 1),
    ]
    assert (await client.get(changed)).json()["note"] == "n"
    assert (await client.get(deleted)).status_code == 410


async def test_ids_are_derived_from_caller_key_and_line(client: Client, database_url: str) -> None:
    stranger = await allow(database_url, keyring.written("stranger0002", "3" * 30))
    headers = keyed()
    mine, _ = await send(client, [source(), source()], headers)
    theirs, _ = await send(client, [source()], headers | bearer(stranger))
    others, _ = await send(client, [source()], keyed())
    unkeyed, _ = await send(client, [source()])
    results = [*mine, *theirs, *others, *unkeyed]
    assert [r["status"] for r in results] == [201] * 5
    assert len({r["id"] for r in results}) == 5
    for result in (*mine, *theirs, *others):
        assert result["id"][14] == "8"
    assert mine[1]["id"] == derived_id(KEY_ID, headers["idempotency-key"], 2)


async def test_lines_with_names_and_refused_lines_are_as_without_a_key(client: Client) -> None:
    headers, identity = keyed(), str(uuid4())
    name = {"namespace": "seed", "value": unique()}
    lines = [source(id=identity), source(external_id=name), source(data={"kind": "wizard"})]
    first, _ = await send(client, lines, headers)
    assert [(r["status"], r["id"] is None) for r in first] == [
        (201, False),
        (201, False),
        (422, True),
    ]
    for line in lines[:2]:
        line["data"] = SOURCES.minimal(note="changed")
    lines[2] = source()
    again, _ = await send(client, lines, headers)
    assert [(r["status"], r["changed"], r["version"]) for r in again] == [
        (200, True, 2),
        (200, True, 2),
        (201, True, 1),
    ]


async def test_a_dry_run_with_a_key_keeps_nothing(client: Client) -> None:
    headers = keyed()
    dry, _ = await send(client, [source()], headers, dry_run="true")
    wet, totals = await send(client, [source()], headers)
    assert totals["created"] == 1
    assert dry[0]["id"] == wet[0]["id"]


async def test_a_record_that_the_caller_does_not_see_is_left_alone(
    client: Client, database_url: str
) -> None:
    scopes = [Scope.IMPORT, Scope.SOURCES_WRITE]
    key = await allow(database_url, keyring.written("unseeing0001", "4" * 30), scopes)
    headers = keyed() | bearer(key)
    lines = [source(data=SOURCES.minimal(confidentiality="protected"))]
    (first,), _ = await send(client, lines, headers)
    assert first["status"] == 201
    (again,), _ = await send(client, lines, headers)
    assert (again["status"], again["id"], again["version"]) == (200, first["id"], None)


@pytest.mark.long
async def test_one_file_sent_many_times_at_once_is_imported_once(empty_url: str) -> None:
    async with serving(empty_url) as one, serving(empty_url) as two:
        headers = keyed()
        lines = [source(data=SOURCES.minimal(note=f"{n}")) for n in range(60)]
        done = await asyncio.gather(
            *(send(c, lines, headers) for _ in range(3) for c in (one, two))
        )
        assert sum(totals["created"] for _, totals in done) == 60
        assert sum(totals["unchanged"] for _, totals in done) == 300
        page = await one.get(SOURCES.path, params={"count": "exact", "limit": "1"})
        assert page.json()["total"] == 60


# --- import by external id, at once ----------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("atomic", ["false", "true"])
async def test_first_upserts_of_imports_at_once_make_one_record(
    empty_url: str, atomic: str
) -> None:
    async with serving(empty_url) as one, serving(empty_url) as two:
        for turn in range(15):
            names = [{"namespace": "race", "value": f"{turn} {n}"} for n in range(4)]

            async def upsert(client: Client, writer: int) -> list[dict[str, Any]]:
                data = SOURCES.minimal(note=f"by {writer}")
                lines = [source(external_id=name, data=data) for name in names]  # noqa: B023
                results, totals = await send(client, lines, atomic=atomic)
                assert totals["refused"] == 0, results
                return results

            done = await asyncio.gather(upsert(one, 1), upsert(two, 2), upsert(one, 3))
            for results in zip(*done, strict=True):
                assert sorted(r["status"] for r in results) == [200, 200, 201]
                assert sorted(r["version"] for r in results) == [1, 2, 3]
                assert len({r["id"] for r in results}) == 1


@pytest.mark.long
async def test_an_import_and_an_upsert_at_once_make_one_record(empty_url: str) -> None:
    async with serving(empty_url) as one, serving(empty_url) as two:
        for turn in range(15):
            name = {"namespace": "race", "value": f"{turn}"}
            (results, _), put = await asyncio.gather(
                send(one, [source(external_id=name, data=SOURCES.minimal(note="import"))]),
                two.put(
                    f"{SOURCES.path}/by-external-id", params=name, json=SOURCES.minimal(note="put")
                ),
            )
            assert sorted([results[0]["status"], put.status_code]) == [200, 201]
            assert results[0]["id"] == put.json()["id"]
            assert sorted([results[0]["version"], put.json()["version"]]) == [1, 2]


@pytest.mark.long
async def test_imports_of_the_same_names_in_another_order_refuse_nothing(empty_url: str) -> None:
    """Each holds what the other waits for: Postgres ends one of them, which starts over."""
    async with serving(empty_url) as one, serving(empty_url) as two:
        for turn in range(3):
            lines = [
                source(external_id={"namespace": "race", "value": f"{turn} {n}"})
                for n in range(200)
            ]
            done = await asyncio.gather(send(one, lines), send(two, lines[::-1]))
            assert [totals["refused"] for _, totals in done] == [0, 0]
            assert sum(totals["created"] for _, totals in done) == 200


async def test_an_external_id_that_another_record_has_still_refuses_a_line(client: Client) -> None:
    name = {"namespace": "seed", "value": unique()}
    results, _ = await send(
        client, [source(external_id=name), source(id=str(uuid4()), external_id=name)]
    )
    assert [r["status"] for r in results] == [201, 409]
    assert results[1]["problem"]["code"] == "not-unique"


# --- import of what was exported -------------------------------------------------------------

HEADER = {"cursor": "abc", "at": "2024-12-19T10:00:00.250000Z", "types": ["source", "claim"]}


async def exported(client: Client, noun: Noun, identity: str) -> dict[str, Any]:
    record = (await client.get(f"{noun.path}/{identity}")).json()
    return {"type": noun.type, "id": identity, "version": record["version"], "data": record}


async def test_the_first_and_last_line_of_an_export_are_passed_over(client: Client) -> None:
    for atomic in ("false", "true"):
        lines = [HEADER, source(), source(data={}), {"count": 2}]
        results, totals = await send(client, lines, atomic=atomic)
        assert [r["line"] for r in results] == [2, 3]
        assert totals["lines"] == 2
    results, _ = await send(client, [{"cursor": "x", "type": "source"}, {"count": 1, "at": "x"}])
    assert [r["status"] for r in results] == [422, 422]


async def test_exported_records_are_taken_by_another_service(
    client: Client, template: str, ids: Ids
) -> None:
    lines = []
    for noun in EVERY.values():
        lines.append(await exported(client, noun, ids[noun.type]))
        record = await create(client, noun, noun.full(ids))
        await client.patch(
            record.path, json={"note": "second"}, headers={**MERGE_PATCH, "if-match": "*"}
        )
        lines.append(await exported(client, noun, record.id))
    async with cloned(template) as url, serving(url) as there:
        results, totals = await send(there, [HEADER, *lines, {"count": len(lines)}], atomic="true")
        assert (totals["created"], totals["refused"]) == (len(lines), 0), results
        for line in lines:
            mine = line["data"]
            theirs = (await there.get(f"/v1/{line['type']}s/{line['id']}")).json()
            own = {"version", "created_at", "updated_at"}
            assert {k: v for k, v in theirs.items() if k not in own} == {
                k: v for k, v in mine.items() if k not in own
            }
            assert theirs["version"] == 1
        again, totals = await send(there, [HEADER, *lines], atomic="true")
        assert totals["unchanged"] == len(lines), again


async def test_spans_in_a_text_that_is_not_there_keep_what_is_known_of_them(
    client: Client, template: str
) -> None:
    """The article's text was changed; the other service never had the earlier one."""
    articles = EVERY[RecordType.ARTICLE]
    article = await create(client, articles, articles.minimal(text="Ten were killed."))
    printed = {
        "article_id": article.id,
        "spans": [{"start": 0, "end": 3, "exact": "Ten"}],
    }
    claim = await create(client, CLAIMS, CLAIMS.minimal(appearances=[printed]))
    await client.patch(
        article.path,
        json={"text": "Nobody was killed."},
        headers={**MERGE_PATCH, "if-match": "*"},
    )
    lines = [
        await exported(client, articles, article.id),
        await exported(client, CLAIMS, claim.id),
    ]
    (stands,) = lines[1]["data"]["appearances"]
    assert (stands["anchor"], stands["article_version"]) == ("orphaned", 1)
    async with cloned(template) as url, serving(url) as there:
        results, _ = await send(there, lines)
        assert [r["status"] for r in results] == [201, 201]
        (found,) = (await there.get(claim.path)).json()["appearances"]
        assert found == stands | {"article_version": 1}
        again, _ = await send(there, lines)
        assert [r["changed"] for r in again] == [False, False]
    results, _ = await send(client, lines)
    assert [r["changed"] for r in results] == [False, False]


async def test_without_a_version_a_line_is_as_strict_as_a_put(client: Client) -> None:
    record = await create(client, SOURCES)
    line = await exported(client, SOURCES, record.id)
    other = str(uuid4())
    results, _ = await send(
        client,
        [
            {**line, "id": other},
            {**line, "id": other, "version": 1, "data": line["data"] | {"id": other}},
            {k: v for k, v in line.items() if k != "version"},
            {k: v for k, v in (line | {"id": str(uuid4())}).items() if k != "version"},
            {**line, "version": 0},
            {**line, "data": line["data"] | {"nothing": 1}},
        ],
    )
    assert [r["status"] for r in results] == [422, 201, 200, 422, 422, 422]
    assert [e["pointer"] for e in results[0]["problem"]["errors"]] == ["/data/id"]
    codes = {e["code"] for e in results[3]["problem"]["errors"]}
    assert codes == {"read-only"}
    assert [e["pointer"] for e in results[4]["problem"]["errors"]] == ["/version"]
    assert results[1]["id"] == other


def test_derived_ids_are_canonical_uuids_of_version_8() -> None:
    found = {derived_id(caller, key, line) for caller in "ab" for key in "ab" for line in (1, 12)}
    assert len(found) == 8
    for identity in found:
        assert re.match(UUID_PATTERN, identity)
        assert (identity[14], identity[19] in "89ab") == ("8", True)
    assert derived_id("a", "b1", 2) != derived_id("a", "b", 12)
