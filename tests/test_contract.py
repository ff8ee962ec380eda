"""What every noun promises: each operation, over each type, through HTTP."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import anyio
import httpx
import pytest

from api.core.errors import KINDS
from schemas.shapes import fields, shape
from schemas.vocabularies import RecordType
from tests.factories import (
    EVERY,
    MERGE_PATCH,
    Body,
    Client,
    Connection,
    Ids,
    Noun,
    Stored,
    complete,
    content,
    count_rows,
    create,
    delete,
    referrer,
    stored,
    unique,
    untold,
)

CREATE = {"if-none-match": "*"}
"""The header that says that the record must not be there."""


def problem(response: httpx.Response, status: int, code: str) -> Body:
    """Read a problem, holding it to RFC 9457 and to the one schema."""
    assert response.status_code == status, response.text[:1_000]
    assert response.headers["content-type"] == "application/problem+json"
    body: Body = response.json()
    kind = KINDS[code]
    assert body["code"] == code
    assert body["type"] == f"/v1/problems/{code}"
    assert body["title"] == kind.title
    assert body["status"] == status
    assert body["detail"]
    assert unquote(body["instance"]) == response.request.url.path
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def faults(response: httpx.Response, code: str = "invalid-record") -> set[tuple[str, str]]:
    """Read which places of a body a problem points at, and why."""
    return {(e["pointer"], e["code"]) for e in problem(response, 422, code)["errors"]}


async def patched(client: Client, record: Stored, patch: Body, **headers: str) -> httpx.Response:
    """Send a merge patch."""
    return await client.patch(
        record.path, json=patch, headers={**MERGE_PATCH, **record.match, **headers}
    )


async def history(client: Client, record: Stored) -> list[Body]:
    """Read a record's revisions, newest first."""
    response = await client.get(f"{record.path}/revisions")
    assert response.status_code == 200, response.text
    found: list[Body] = response.json()["items"]
    return found


async def events(connection: Connection, record: Stored) -> list[tuple[int, str]]:
    """Read what the outbox says of a record."""
    rows = await connection.fetch(
        "SELECT version, op FROM outbox WHERE record_id = $1 ORDER BY id", record.id
    )
    return [(row["version"], row["op"]) for row in rows]


# --- the bodies of this suite ----------------------------------------------------------------


def test_the_full_bodies_say_something_of_every_property(noun: Noun) -> None:
    body = noun.full({type_: str(uuid4()) for type_ in RecordType})
    assert list(untold(noun.resource.create, body)) == []
    assert set(body) == {field.encode_name for field in fields(noun.resource.create)}


def test_the_full_bodies_differ_from_the_defaults(noun: Noun) -> None:
    full = complete(noun, noun.full({type_: str(uuid4()) for type_ in RecordType}))
    minimal = complete(noun, noun.minimal())
    required = {f.encode_name for f in fields(noun.resource.create) if f.required}
    assert {name for name in full if full[name] == minimal[name]} <= required


# --- create ----------------------------------------------------------------------------------


async def test_create_answers_with_where_it_is_and_every_property(
    client: Client, noun: Noun
) -> None:
    response = await client.post(noun.path, json=noun.minimal())
    assert response.status_code == 201
    record = response.json()
    assert response.headers["location"] == f"{noun.path}/{record['id']}"
    assert response.headers["etag"].startswith('"')
    assert response.headers["content-type"] == "application/json"
    assert set(record) == set(noun.resource.record.__struct_fields__) - {"from_"}
    assert record["version"] == 1
    assert record["created_at"] == record["updated_at"]
    assert dt.datetime.fromisoformat(record["created_at"]).tzinfo == dt.UTC
    assert content(noun, record) == complete(noun, noun.minimal())


async def test_create_keeps_everything_that_was_written(
    client: Client, noun: Noun, ids: Ids
) -> None:
    body = noun.full(ids)
    record = await create(client, noun, body)
    assert content(noun, record.record) == body
    assert (await client.get(record.path)).json() == record.record


async def test_create_makes_ids_that_sort_by_time(client: Client, noun: Noun) -> None:
    records = [await create(client, noun) for _ in range(2)]
    assert all(record.id[14] == "7" for record in records)


async def test_create_refuses_a_property_of_the_server(client: Client, noun: Noun) -> None:
    for name, value in (("id", str(uuid4())), ("version", 2), ("created_at", None)):
        response = await client.post(noun.path, json=noun.minimal(**{name: value}))
        assert faults(response) == {(f"/{name}", "read-only")}


async def test_create_takes_a_property_of_the_server_as_it_will_be(
    client: Client, noun: Noun, ids: Ids
) -> None:
    for body in (noun.minimal(), noun.full(ids)):
        record = (await create(client, noun, body)).record
        known = set(record) - {"id", "created_at", "updated_at", "external_ids", "url"}
        response = await client.post(noun.path, json={name: record[name] for name in known})
        assert response.status_code == 201, response.text
        identity = str(uuid4())
        again = {"id": identity, **{name: record[name] for name in known}}
        answer = await client.put(
            f"{noun.path}/{identity}", json=again, headers={"if-none-match": "*"}
        )
        assert answer.status_code == 201, answer.text


async def test_create_refuses_what_it_would_refer_to_but_is_not_there(
    client: Client, noun: Noun
) -> None:
    nowhere = {type_: str(uuid4()) for type_ in RecordType}
    response = await client.post(noun.path, json=noun.full(nowhere))
    found = faults(response, "unknown-reference")
    assert found
    assert {code for _, code in found} == {"unknown-reference"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "upsert"])
async def test_an_idempotency_key_is_refused_rather_than_ignored(
    client: Client, noun: Noun, method: str
) -> None:
    path = f"{noun.path}/{uuid4()}"
    if method == "upsert":
        method, path = "PUT", f"{noun.path}/by-external-id?namespace=seed&value={unique()}"
    headers = {"idempotency-key": unique(), "if-match": "*"}
    body: dict[str, Any] = {} if method == "DELETE" else {"json": noun.minimal()}
    response = await client.request(method, path, headers=headers, **body)
    assert "only `POST` takes it" in problem(response, 400, "invalid-header")["detail"]


async def test_an_external_id_names_one_record_of_a_type(client: Client, noun: Noun) -> None:
    body = noun.minimal(external_ids=[{"namespace": "seed", "value": unique()}])
    await create(client, noun, body)
    found = problem(await client.post(noun.path, json=body), 409, "not-unique")
    assert [error["pointer"] for error in found["errors"]] == ["/external_ids"]
    for other in EVERY.values():
        if other is not noun:
            await create(client, other, other.minimal(external_ids=body["external_ids"]))


# --- get -------------------------------------------------------------------------------------


async def test_get_gives_the_record_and_its_etag(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    response = await client.get(record.path)
    assert response.status_code == 200
    assert response.headers["etag"] == record.etag
    assert response.headers["content-type"] == "application/json"
    assert response.json() == record.record


async def test_get_of_nothing_is_404(client: Client, noun: Noun) -> None:
    problem(await client.get(f"{noun.path}/{uuid4()}"), 404, "not-found")
    problem(await client.get(f"{noun.path}/{uuid4()}/revisions"), 404, "not-found")
    query = {"namespace": "seed", "value": unique()}
    problem(await client.get(f"{noun.path}/by-external-id", params=query), 404, "not-found")


async def test_get_of_another_types_id_is_404(client: Client, noun: Noun, ids: Ids) -> None:
    for type_, identity in ids.items():
        if type_ != noun.type:
            problem(await client.get(f"{noun.path}/{identity}"), 404, "not-found")


@pytest.mark.parametrize("tags", ["{}", "W/{}", '"x", {}', "*"])
async def test_get_is_not_sent_again_if_it_is_known(client: Client, noun: Noun, tags: str) -> None:
    record = await create(client, noun)
    headers = {"if-none-match": tags.format(record.etag)}
    response = await client.get(record.path, headers=headers)
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == record.etag
    await patched(client, record, {"note": "changed"})
    headers = {"if-none-match": record.etag}
    assert (await client.get(record.path, headers=headers)).status_code == 200


async def test_head_answers_like_get_without_the_body(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    query = "?namespace=seed&value=nothing"
    paths = [record.path, noun.path, f"{record.path}/revisions", f"{record.path}/revisions/1"]
    for path in [*paths, f"{noun.path}/{uuid4()}", f"{noun.path}/by-external-id{query}"]:
        got, head = await client.get(path), await client.head(path)
        assert head.content == b""
        assert head.status_code == got.status_code
        differing = {"x-request-id"} | ({"content-length"} if got.status_code == 404 else set())
        assert {k: v for k, v in head.headers.items() if k not in differing} == {
            k: v for k, v in got.headers.items() if k not in differing
        }


async def test_the_past_stays_readable(client: Client, noun: Noun) -> None:
    first = await create(client, noun)
    second = stored(noun, await patched(client, first, {"note": "second"}))
    await delete(client, second)
    deleted, *_ = await history(client, first)

    async def as_of(at: str) -> httpx.Response:
        return await client.get(first.path, params={"as_of": at})

    created_at = dt.datetime.fromisoformat(first.record["created_at"])
    before = (created_at - dt.timedelta(microseconds=1)).isoformat()
    assert (
        problem(await as_of(before), 404, "not-found")["detail"]
        == "No record had this id at that time."
    )
    for record in (first, second):
        response = await as_of(record.record["updated_at"])
        assert response.json() == record.record
        assert response.headers["etag"] == record.etag
    just_before = dt.datetime.fromisoformat(deleted["at"]) - dt.timedelta(microseconds=1)
    assert (await as_of(just_before.isoformat())).json() == second.record
    assert problem(await as_of(deleted["at"]), 410, "gone")["version"] == 3
    assert problem(await as_of("2999-01-01T00:00:00Z"), 410, "gone")["version"] == 3


@pytest.mark.parametrize("at", ["2024-01-01", "2024-01-01T00:00:00", "now", "2023-02-30T00:00:00Z"])
async def test_as_of_takes_an_instant_with_an_offset(client: Client, noun: Noun, at: str) -> None:
    response = await client.get(f"{noun.path}/{uuid4()}", params={"as_of": at})
    found = problem(response, 400, "invalid-parameter")
    assert [error["parameter"] for error in found["errors"]] == ["as_of"]


# --- put -------------------------------------------------------------------------------------


async def test_put_creates_under_the_clients_id(
    client: Client, connection: Connection, noun: Noun, ids: Ids
) -> None:
    path = f"{noun.path}/{uuid4()}"
    body = noun.full(ids)
    response = await client.put(path, json=body, headers=CREATE)
    assert response.status_code == 201
    assert response.headers["location"] == path
    record = stored(noun, response)
    assert record.path == path
    assert record.record["version"] == 1
    assert content(noun, record.record) == body
    assert await events(connection, record) == [(1, "created")]


async def test_put_to_create_fails_if_it_is_there(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    response = await client.put(record.path, json=noun.minimal(), headers=CREATE)
    found = problem(response, 412, "precondition-failed")
    assert found["current"] == record.record
    assert response.headers["etag"] == record.etag


async def test_put_replaces_the_whole(client: Client, noun: Noun, ids: Ids) -> None:
    record = await create(client, noun, noun.full(ids))
    response = await client.put(record.path, json=noun.minimal(), headers=record.match)
    assert response.status_code == 200
    assert "location" not in response.headers
    replaced = stored(noun, response)
    assert replaced.etag != record.etag
    assert replaced.record["version"] == 2
    assert replaced.record["created_at"] == record.record["created_at"]
    assert replaced.record["updated_at"] > record.record["updated_at"]
    assert content(noun, replaced.record) == complete(noun, noun.minimal())
    assert (await client.get(record.path)).json() == replaced.record


async def test_put_with_a_star_overwrites_whatever_is_there(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    body = noun.minimal(note="changed")
    response = await client.put(record.path, json=body, headers={"if-match": "*"})
    assert response.json()["version"] == 2


async def test_put_does_not_create_what_it_was_to_match(client: Client, noun: Noun) -> None:
    path = f"{noun.path}/{uuid4()}"
    for expected in ("*", '"x"'):
        response = await client.put(path, json=noun.minimal(), headers={"if-match": expected})
        assert problem(response, 412, "precondition-failed")["current"] is None
    assert (await client.get(path)).status_code == 404


async def test_a_get_an_edit_and_a_put_of_the_whole_work(
    client: Client, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    edited = {**record.record, "note": "edited", "tags": []}
    response = await client.put(record.path, json=edited, headers=record.match)
    assert response.status_code == 200, response.text
    assert content(noun, response.json()) == content(noun, edited)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_every_different_read_only_property_is_pointed_at(
    client: Client, connection: Connection, noun: Noun, ids: Ids, method: str
) -> None:
    record = await create(client, noun, noun.full(ids))
    own = set(record.record) - set(content(noun, record.record))
    changed = {name: "other" if name != "version" else 7 for name in own}
    body = {**record.record, **changed} if method == "PUT" else changed
    headers = record.match if method == "PUT" else {**MERGE_PATCH, **record.match}
    before = await count_rows(connection)
    response = await client.request(method, record.path, json=body, headers=headers)
    assert faults(response) == {(f"/{name}", "read-only") for name in own}
    assert await count_rows(connection) == before


# --- preconditions ---------------------------------------------------------------------------

WRITES = ["PUT", "PATCH", "DELETE"]


async def write(client: Client, method: str, record: Stored, **headers: Any) -> httpx.Response:
    """Send a write that changes a record; nothing is sent with a deletion or a restoration."""
    match method:
        case "PUT":
            body = {**record.record, "note": "written"}
            return await client.put(record.path, json=body, headers=headers)
        case "PATCH":
            given = {**MERGE_PATCH, **headers}
            return await client.patch(record.path, json={"note": "written"}, headers=given)
        case "DELETE":
            return await client.delete(record.path, headers=headers)
        case _:
            return await client.post(f"{record.path}/restore", headers=headers)


@pytest.mark.parametrize("method", [*WRITES, "RESTORE"])
async def test_a_write_has_to_say_which_version_it_changes(
    client: Client, noun: Noun, method: str
) -> None:
    record = await create(client, noun)
    problem(await write(client, method, record), 428, "precondition-required")


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_to_another_version_fails_and_shows_the_current_one(
    client: Client, noun: Noun, method: str
) -> None:
    old = await create(client, noun)
    new = stored(noun, await patched(client, old, {"note": "second"}))
    for expected in (old.etag, f"W/{new.etag}", '"x"', f'{old.etag}, "y"'):
        response = await write(client, method, old, **{"if-match": expected})
        found = problem(response, 412, "precondition-failed")
        assert found["current"] == new.record
        assert response.headers["etag"] == new.etag
    assert (await client.get(old.path)).json() == new.record


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_may_name_several_versions(client: Client, noun: Noun, method: str) -> None:
    record = await create(client, noun)
    response = await write(client, method, record, **{"if-match": f'"x", {record.etag}'})
    assert response.status_code in {200, 204}


@pytest.mark.parametrize("method", [*WRITES, "RESTORE"])
async def test_a_write_may_name_the_version_alone(client: Client, noun: Noun, method: str) -> None:
    record = await create(client, noun)
    path, version = record.path, 1
    if method == "RESTORE":
        await delete(client, record)
        version = 2
    for other in ('"v9"', f'W/"v{version}"', f'"v0{version}"', f'"{version}"', '"v1234567890"'):
        response = await write(client, method, record, **{"if-match": other})
        problem(response, 412, "precondition-failed")
    response = await write(client, method, record, **{"if-match": f'"x", "v{version}"'})
    assert response.status_code in {200, 204}
    cached = await client.get(path, headers={"if-none-match": f'"v{version + 1}"'})
    assert cached.status_code != 304


@pytest.mark.parametrize("method", [*WRITES, "RESTORE"])
async def test_a_malformed_precondition_is_refused(client: Client, noun: Noun, method: str) -> None:
    record = await create(client, noun)
    for expected in ("", "x", '"x', "*, *", '"x" "y"', '"é"'):
        headers = {"if-match": expected.encode()}
        response = await write(client, method, record, **headers)
        problem(response, 400, "invalid-header")


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "RESTORE"])
async def test_a_write_to_nothing_is_404(client: Client, noun: Noun, method: str) -> None:
    nothing = Stored(f"{noun.path}/{uuid4()}", "*", {})
    problem(await write(client, method, nothing, **nothing.match), 404, "not-found")


# --- patch (RFC 7396) ------------------------------------------------------------------------


async def test_a_patch_changes_what_it_names_and_keeps_the_rest(
    client: Client, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    response = await patched(client, record, {"tags": ["one"], "note": None})
    assert response.status_code == 200
    expected = {**content(noun, record.record), "tags": ["one"], "note": None}
    assert content(noun, response.json()) == expected
    assert response.json()["version"] == 2


async def test_a_null_in_a_patch_brings_back_the_default(
    client: Client, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    required = {field.encode_name for field in fields(noun.resource.create) if field.required}
    keep = required | {"name", "headline"}  # a source needs something to name it by, an article too
    nulls = {name: None for name in noun.full(ids) if name not in keep}
    response = await patched(client, record, nulls)
    assert response.status_code == 200, response.text
    kept = {name: record.record[name] for name in keep if name in record.record}
    assert content(noun, response.json()) == complete(noun, kept)


async def test_a_null_in_a_patch_does_not_remove_what_is_required(
    client: Client, noun: Noun
) -> None:
    record = await create(client, noun)
    required = [field.encode_name for field in fields(noun.resource.create) if field.required]
    required = required or ["headline"]  # an article without text and URL
    response = await patched(client, record, dict.fromkeys(required))
    assert faults(response) == {(f"/{name}", "required") for name in required}


async def test_a_patch_goes_into_objects(client: Client, noun: Noun, ids: Ids) -> None:
    record = await create(client, noun, noun.full(ids))
    held = {name: value for name, value in record.record.items() if isinstance(value, dict)}
    for name, value in held.items():
        kind = shape(next(f for f in fields(noun.resource.create) if f.name == name).type).kind
        optional = next(f.name for f in fields(kind) if not f.required)
        response = await patched(client, record, {name: {optional: None}}, **{"if-match": "*"})
        assert response.json()[name] == {**value, optional: None}
        response = await patched(client, record, {name: None}, **{"if-match": "*"})
        assert response.json()[name] is None
        response = await patched(client, record, {name: value}, **{"if-match": "*"})
        assert content(noun, response.json()) == content(noun, record.record)
    assert held


async def test_a_patch_may_send_back_what_the_server_set(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    response = await patched(client, record, {**record.record, "note": "changed"})
    assert response.status_code == 200
    assert response.json()["note"] == "changed"


async def test_a_patch_says_that_it_is_one(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    for media_type in ("application/json", "application/json-patch+json", "text/plain"):
        response = await patched(client, record, {"note": "x"}, **{"content-type": media_type})
        problem(response, 415, "unsupported-media-type")
        assert response.headers["accept-patch"] == "application/merge-patch+json"


# --- by external id --------------------------------------------------------------------------


async def upserted(
    client: Client, noun: Noun, value: str, body: Any = None, **headers: str
) -> httpx.Response:
    """Write a record by its external id in the namespace `sync`."""
    return await client.put(
        f"{noun.path}/by-external-id",
        params={"namespace": "sync", "value": value},
        json=noun.minimal() if body is None else body,
        headers=headers,
    )


async def test_a_record_is_found_by_its_external_id(client: Client, noun: Noun) -> None:
    value = f"a/b ?&=#%+ ü {unique()}"
    record = await create(
        client, noun, noun.minimal(external_ids=[{"namespace": "o ther", "value": value}])
    )
    query = {"namespace": "o ther", "value": value}
    response = await client.get(f"{noun.path}/by-external-id", params=query)
    assert response.json() == record.record
    assert response.headers["etag"] == record.etag
    assert response.headers["content-location"] == record.path


async def test_an_upsert_creates_then_replaces_and_adds_the_pair(
    client: Client, connection: Connection, noun: Noun, ids: Ids
) -> None:
    value = unique()
    pair = {"namespace": "sync", "value": value}
    body = noun.full(ids)
    response = await upserted(client, noun, value, body)
    assert response.status_code == 201
    record = stored(noun, response)
    assert response.headers["location"] == record.path
    assert record.record["external_ids"] == [*body["external_ids"], pair]

    response = await upserted(client, noun, value, {**body, "note": "again"})
    assert response.status_code == 200
    assert "location" not in response.headers
    assert response.json()["id"] == record.id
    assert response.json()["version"] == 2
    assert response.json()["external_ids"] == [*body["external_ids"], pair]
    assert await events(connection, record) == [(1, "created"), (2, "updated")]


async def test_an_upsert_revives_a_deleted_record(
    client: Client, connection: Connection, noun: Noun
) -> None:
    value = unique()
    record = stored(noun, await upserted(client, noun, value))
    await delete(client, record)
    query = {"namespace": "sync", "value": value}
    response = await client.get(f"{noun.path}/by-external-id", params=query)
    assert problem(response, 410, "gone")["version"] == 2

    response = await upserted(client, noun, value, noun.minimal(note="back"))
    assert response.status_code == 200
    assert response.json()["id"] == record.id
    assert response.json()["version"] == 3
    assert response.json()["note"] == "back"
    assert await events(connection, record) == [(1, "created"), (2, "deleted"), (3, "restored")]
    assert [r["op"] for r in await history(client, record)] == ["restored", "deleted", "created"]


async def test_the_preconditions_of_an_upsert_are_kept(client: Client, noun: Noun) -> None:
    value = unique()
    response = await upserted(client, noun, value, **{"if-match": "*"})
    assert problem(response, 412, "precondition-failed")["current"] is None
    response = await upserted(client, noun, value, **CREATE)
    assert response.status_code == 201
    record = stored(noun, response)
    response = await upserted(client, noun, value, **CREATE)
    assert problem(response, 412, "precondition-failed")["current"] == record.record
    response = await upserted(client, noun, value, **{"if-match": '"x"'})
    assert problem(response, 412, "precondition-failed")["current"] == record.record
    response = await upserted(client, noun, value, noun.minimal(note="new"), **record.match)
    assert response.json()["version"] == 2


async def test_of_concurrent_first_upserts_one_creates(
    client: Client, connection: Connection, noun: Noun
) -> None:
    value = unique()
    responses: list[httpx.Response] = []

    async def one(number: int) -> None:
        responses.append(await upserted(client, noun, value, noun.minimal(note=f"{number}")))

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, number)
    assert sorted(r.status_code for r in responses) == [200, 200, 200, 201]
    assert len({r.json()["id"] for r in responses}) == 1
    record = stored(noun, responses[0])
    assert [op for _, op in await events(connection, record)] == ["created", *["updated"] * 3]


async def test_an_upsert_refuses_an_external_id_of_another_record(
    client: Client, noun: Noun
) -> None:
    taken = {"namespace": "seed", "value": unique()}
    await create(client, noun, noun.minimal(external_ids=[taken]))
    response = await upserted(client, noun, unique(), noun.minimal(external_ids=[taken]))
    problem(response, 409, "not-unique")


async def test_an_upsert_leaves_room_for_its_pair(client: Client, noun: Noun) -> None:
    """A record of more external ids than it may have could not be written again."""
    many = [{"namespace": "seed", "value": unique()} for _ in range(50)]
    value = unique()
    response = await upserted(client, noun, value, noun.minimal(external_ids=many))
    assert faults(response) == {("/external_ids", "invalid-value")}
    response = await upserted(client, noun, value, noun.minimal(external_ids=many[1:]))
    assert response.status_code == 201


@pytest.mark.parametrize("query", ["", "namespace=a", "value=b", "namespace=&value=b"])
async def test_an_external_id_is_a_namespace_and_a_value(
    client: Client, noun: Noun, query: str
) -> None:
    path = f"{noun.path}/by-external-id?{query}"
    problem(await client.get(path), 400, "invalid-parameter")
    problem(await client.put(path, json=noun.minimal()), 400, "invalid-parameter")


# --- delete and restore ----------------------------------------------------------------------


async def test_a_deleted_record_is_gone_but_remembered(
    client: Client, connection: Connection, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    response = await client.delete(record.path, headers=record.match)
    assert response.status_code == 204
    assert response.content == b""
    tombstone = response.headers["etag"]
    assert tombstone != record.etag
    answers = [
        await client.get(record.path),
        *[await write(client, method, record, **record.match) for method in WRITES],
        await write(client, "PUT", record, **CREATE),
        await write(client, "DELETE", record, **{"if-match": "*"}),
    ]
    for answer in answers:
        assert problem(answer, 410, "gone")["version"] == 2
        assert answer.headers["etag"] == tombstone
    assert await events(connection, record) == [(1, "created"), (2, "deleted")]
    page = await client.get(noun.path, params={"id__in": record.id})
    assert page.json()["items"] == []


@pytest.mark.parametrize("type_", list(RecordType))
async def test_a_record_that_others_refer_to_stays(
    client: Client, connection: Connection, ids: Ids, type_: RecordType
) -> None:
    noun, other = EVERY[type_], referrer(type_)
    record = await create(client, noun, noun.referred())
    holder = await create(client, other, other.full({**ids, type_: record.id}))
    before = await count_rows(connection)
    response = await client.delete(record.path, headers=record.match)
    found = problem(response, 409, "still-referenced")
    assert {(r["type"], r["id"]) for r in found["referrers"]} == {(other.type, holder.id)}
    assert all(r["link"] for r in found["referrers"])
    assert holder.id in found["detail"]
    assert await count_rows(connection) == before
    assert (await client.get(record.path)).json() == record.record

    await delete(client, holder)
    await delete(client, record)


async def test_a_restored_record_is_what_it_was(
    client: Client, connection: Connection, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    tombstone = await delete(client, record)
    response = await client.post(f"{record.path}/restore", headers={"if-match": tombstone})
    assert response.status_code == 200
    restored = stored(noun, response)
    assert restored.path == record.path
    assert restored.record["version"] == 3
    assert restored.record["created_at"] == record.record["created_at"]
    assert content(noun, restored.record) == content(noun, record.record)
    assert (await client.get(record.path)).json() == restored.record
    assert await events(connection, record) == [(1, "created"), (2, "deleted"), (3, "restored")]
    external = record.record["external_ids"][0]
    found = await client.get(f"{noun.path}/by-external-id", params=external)
    assert found.json() == restored.record


async def test_only_the_tombstone_can_be_restored(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    problem(await write(client, "RESTORE", record, **record.match), 409, "not-deleted")
    await delete(client, record)
    for expected in (record.etag, '"x"'):
        response = await write(client, "RESTORE", record, **{"if-match": expected})
        assert problem(response, 412, "precondition-failed")["version"] == 2
    assert (await write(client, "RESTORE", record, **{"if-match": "*"})).status_code == 200


@pytest.mark.parametrize("type_", list(RecordType))
async def test_a_record_does_not_come_back_to_refer_to_nothing(
    client: Client, connection: Connection, ids: Ids, type_: RecordType
) -> None:
    noun, other = EVERY[type_], referrer(type_)
    target = await create(client, noun, noun.referred())
    holder = await create(client, other, other.full({**ids, type_: target.id}))
    tombstone = await delete(client, holder)
    await delete(client, target)
    before = await count_rows(connection)
    response = await client.post(f"{holder.path}/restore", headers={"if-match": tombstone})
    found = problem(response, 422, "unknown-reference")["errors"]
    assert found
    for error in found:
        assert value_at(holder.record, error["pointer"]) == target.id
        assert error["code"] == "unknown-reference"
    assert await count_rows(connection) == before


def value_at(document: Any, pointer: str) -> Any:
    """Follow a JSON Pointer (RFC 6901)."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


# --- history ---------------------------------------------------------------------------------


async def test_revisions_say_what_was_done_and_what_changed(
    client: Client, noun: Noun, ids: Ids
) -> None:
    first = await create(client, noun)
    second = stored(noun, await patched(client, first, {"note": "n", "tags": ["t"]}))
    body = {**noun.full(ids), "note": "n"}
    third = stored(noun, await client.put(first.path, json=body, headers=second.match))
    tombstone = await delete(client, third)
    response = await client.post(f"{first.path}/restore", headers={"if-match": tombstone})
    fifth = stored(noun, response)

    revisions = await history(client, first)
    assert [r["version"] for r in revisions] == [5, 4, 3, 2, 1]
    ops = ["restored", "deleted", "updated", "updated", "created"]
    assert [r["op"] for r in revisions] == ops
    records = [r["record"] for r in revisions]
    assert records == [fifth.record, None, third.record, second.record, first.record]
    changed = {
        name
        for name in third.record
        if name not in {"version", "updated_at"} and third.record[name] != second.record[name]
    }
    assert [set(r["changed"]) for r in revisions] == [
        set(),
        set(),
        changed,
        {"note", "tags"},
        set(),
    ]
    assert [r["at"] for r in revisions] == sorted((r["at"] for r in revisions), reverse=True)
    assert revisions[0]["at"] == fifth.record["updated_at"]
    for revision in revisions:
        answer = await client.get(f"{first.path}/revisions/{revision['version']}")
        assert answer.json() == revision
    problem(await client.get(f"{first.path}/revisions/6"), 404, "not-found")


async def test_revisions_come_in_pages(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    for number in range(4):
        await patched(client, record, {"note": f"{number}"}, **{"if-match": "*"})
    versions, path = [], f"{record.path}/revisions?limit=2"
    while path:
        response = await client.get(path)
        page = response.json()
        assert set(page) == {
            "items",
            "next_cursor",
            "total",
            "total_is_lower_bound",
            "included",
            "truncated",
        }
        versions.append([r["version"] for r in page["items"]])
        path = response.links.get("next", {}).get("url", "")
    assert versions == [[5, 4], [3, 2], [1]]


# --- writes that change nothing --------------------------------------------------------------


@pytest.mark.parametrize("way", ["PUT", "PUT minimal", "PATCH", "PATCH empty", "upsert"])
async def test_a_write_that_changes_nothing_leaves_no_trace(
    client: Client, connection: Connection, noun: Noun, ids: Ids, way: str
) -> None:
    value = unique()
    body = noun.minimal() if way == "PUT minimal" else noun.full(ids)
    record = stored(noun, await upserted(client, noun, value, body))
    before = await count_rows(connection)
    match way:
        case "PUT":
            response = await client.put(record.path, json=record.record, headers=record.match)
        case "PUT minimal":
            body = {**body, "external_ids": record.record["external_ids"]}
            response = await client.put(record.path, json=body, headers=record.match)
        case "PATCH":
            response = await patched(client, record, content(noun, record.record))
        case "PATCH empty":
            response = await patched(client, record, {})
        case _:
            response = await upserted(client, noun, value, body)
    assert response.status_code == 200
    assert response.json() == record.record
    assert response.headers["etag"] == record.etag
    assert await count_rows(connection) == before
    assert await events(connection, record) == [(1, "created")]


async def test_the_order_of_properties_changes_nothing(
    client: Client, noun: Noun, ids: Ids
) -> None:
    record = await create(client, noun, noun.full(ids))
    turned = dict(reversed(record.record.items()))
    response = await client.put(record.path, json=turned, headers=record.match)
    assert response.json() == record.record


# --- lists, in short (the rest stands in test_lists) -----------------------------------------


async def test_a_list_holds_what_was_created(client: Client, noun: Noun) -> None:
    tag = unique()
    records = [await create(client, noun, noun.minimal(tags=[tag])) for _ in range(3)]
    response = await client.get(noun.path, params={"tag": tag})
    assert response.status_code == 200
    assert "link" not in response.headers
    assert "etag" not in response.headers
    assert response.json() == {
        "items": [record.record for record in reversed(records)],
        "next_cursor": None,
        "total": None,
        "total_is_lower_bound": False,
        "included": {},
        "truncated": [],
    }


# --- what holds on every path ----------------------------------------------------------------

PATHS = {
    "": "GET, HEAD, OPTIONS, POST",
    "/query": "OPTIONS, POST",
    "/by-external-id": "GET, HEAD, OPTIONS, PUT",
    "/{id}": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/{id}/restore": "OPTIONS, POST",
    "/{id}/revisions": "GET, HEAD, OPTIONS",
    "/{id}/revisions/1": "GET, HEAD, OPTIONS",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "QUERY", "TRACE", "PROPFIND"]


@pytest.mark.parametrize(("path", "allowed"), PATHS.items())
async def test_allow_is_right_on_every_path(
    client: Client, noun: Noun, path: str, allowed: str
) -> None:
    path = noun.path + path.format(id=uuid4())
    response = await client.options(path)
    assert response.status_code == 204
    assert response.headers["allow"] == allowed
    for method in METHODS:
        response = await client.request(method, path)
        if method in allowed.split(", "):
            assert response.status_code != 405, method
            continue
        assert response.headers["allow"] == allowed, method
        assert response.status_code == 405, method
        if method != "HEAD":
            problem(response, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/{id}/",
        "//{id}",
        "/by-external-id/",
        "/{id}/nothing",
        "/{id}/revisions/1/2",
        "/{id}/restore/x",
        "%2f",
    ],
)
async def test_other_paths_are_404_for_every_method(client: Client, noun: Noun, path: str) -> None:
    path = noun.path + path.format(id=uuid4())
    for method in [*METHODS, "OPTIONS"]:
        response = await client.request(method, path)
        assert response.status_code == 404, method
        if method != "HEAD":
            problem(response, 404, "not-found")


ODD_IDS = [
    "1",
    "1_0",
    "٣",
    "nil",
    "{{{id}}}",
    "urn:uuid:{id}",
    "{ID}",
    "{hex}",
    "{id} ",
    "{id}%0A",
    "{id}%00",
    "{id}x",
    "%ff",
    "%2e%2e",
    "{id}'--",
]


@pytest.mark.parametrize("odd", ODD_IDS)
@pytest.mark.parametrize("rest", ["", "/revisions", "/revisions/1"])
async def test_only_a_canonical_uuid_names_a_record(
    client: Client, noun: Noun, ids: Ids, odd: str, rest: str
) -> None:
    identity = ids[noun.type]
    given = odd.format(id=identity, ID=identity.upper(), hex=identity.replace("-", ""))
    response = await client.get(f"{noun.path}/{given}{rest}")
    assert response.status_code in {400, 404}
    problem(response, response.status_code, response.json()["code"])


@pytest.mark.parametrize("number", ["0", "-1", "01", "1_0", "1.0", "9" * 30, "٣", "%20" + "1"])
async def test_a_version_is_a_plain_number(
    client: Client, noun: Noun, ids: Ids, number: str
) -> None:
    path = f"{noun.path}/{ids[noun.type]}/revisions/{number}"
    problem(await client.get(path), 404, "not-found")


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_parameter_is_refused(
    client: Client, connection: Connection, noun: Noun, path: str
) -> None:
    record = await create(client, noun)
    path = noun.path + path.format(id=record.id)
    methods = set((await client.options(path)).headers["allow"].split(", "))
    before = await count_rows(connection)
    for method in sorted(methods - {"HEAD", "OPTIONS"}):
        headers = {"if-match": "*"} | (MERGE_PATCH if method == "PATCH" else {})
        for name in ("nothing", "LIMIT", "", "limit[]"):
            response = await client.request(
                method, f"{path}?{name}=1", json=noun.minimal(), headers=headers
            )
            (error,) = problem(response, 400, "unknown-parameter")["errors"]
            assert error["parameter"] == name
    assert await count_rows(connection) == before


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", "limit=1&limit=1"),
        ("", "limit=1&%6cimit=2"),
        ("/by-external-id", "namespace=a&value=b&namespace=a"),
        ("/{id}", "as_of=2024-01-01T00:00:00Z&as_of=2024-01-01T00:00:00Z"),
        ("/{id}/revisions", "limit=1&limit=2"),
    ],
)
async def test_a_repeated_parameter_is_refused(
    client: Client, noun: Noun, ids: Ids, path: str, query: str
) -> None:
    path = noun.path + path.format(id=ids[noun.type])
    (error,) = problem(await client.get(f"{path}?{query}"), 400, "duplicate-parameter")["errors"]
    assert error["parameter"] == query.partition("=")[0]


async def test_the_request_id_is_the_callers_or_ours(client: Client, noun: Noun) -> None:
    for path, status in ((noun.path, 200), (f"{noun.path}/{uuid4()}", 404)):
        mine = unique()
        response = await client.get(path, headers={"x-request-id": mine})
        assert response.status_code == status
        assert response.headers["x-request-id"] == mine
        for odd in ("short", "x" * 65, "has space here", "new\tline-here", "é" * 10):
            given = {b"x-request-id": odd.encode("latin-1")}
            response = await client.get(path, headers=given)
            assert response.headers["x-request-id"] != odd
            assert len(response.headers["x-request-id"]) == 36
            if status == 404:
                assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_every_answer_carries_the_security_headers(client: Client, noun: Noun) -> None:
    record = await create(client, noun)
    answers = [
        await client.get(noun.path),
        await client.get(record.path),
        await client.get(record.path, headers={"if-none-match": record.etag}),
        await client.head(record.path),
        await client.options(record.path),
        await client.get(f"{noun.path}/nothing"),
        await client.request("QUERY", noun.path),
        await client.post(noun.path, content=b"{"),
        await client.delete(record.path, headers=record.match),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == (
            "no-store" if answer.is_client_error else "no-cache"
        )
        assert "server" not in answer.headers
        assert answer.headers["x-request-id"]
