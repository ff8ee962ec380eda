"""`POST /v1/{type}/query`: a list whose parameters stand in the body."""

from __future__ import annotations

from typing import Any

import pytest

from api.access.keyring import written
from schemas.vocabularies import RecordType, Scope
from tests.conftest import allow, bearer
from tests.factories import EVERY, Body, Client, Ids, Noun, create, unique

CLAIM = EVERY[RecordType.CLAIM]


async def query(client: Client, noun: Noun, **asked: Any) -> Body:
    """Read a page."""
    response = await client.post(f"{noun.path}/query", json=asked)
    assert response.status_code == 200, response.text
    assert "link" not in response.headers
    found: Body = response.json()
    return found


async def refused(client: Client, noun: Noun, status: int, body: Any) -> list[tuple[str, str]]:
    """Hold a query to being refused; give the place and the code of each fault."""
    response = await client.post(f"{noun.path}/query", json=body)
    assert response.status_code == status, response.text
    errors = response.json()["errors"]
    return [(error.get("pointer", error.get("parameter")), error["code"]) for error in errors]


@pytest.mark.long
async def test_a_query_takes_two_hundred_ids(client: Client, noun: Noun) -> None:
    ids = [(await create(client, noun)).id for _ in range(200)]
    page = await query(client, noun, id__in=ids, limit=200)
    assert [item["id"] for item in page["items"]] == ids[::-1]
    faults = await refused(client, noun, 422, {"id__in": [*ids, ids[0]]})
    assert faults == [("/id__in", "invalid-value")]


async def test_a_query_gives_the_page_of_the_list(client: Client, noun: Noun, ids: Ids) -> None:
    tag = unique()
    for _ in range(3):
        await create(client, noun, noun.full(ids, tags=[tag]))
    expand = [expansion.name for expansion in noun.resource.expansions]
    asked: dict[str, Any] = {"tag": tag, "limit": 2, "sort": "created_at", "count": "exact"}
    asked["q"] = "killed or ten"
    listed = await client.get(noun.path, params={**asked, "expand": ",".join(expand)})
    page = await query(client, noun, **asked, expand=expand, created_at__lt=None)
    assert page == listed.json()
    behind = await query(client, noun, **asked, cursor=page["next_cursor"])
    assert len(behind["items"]) == 1
    assert behind["next_cursor"] is None
    again = await client.get(noun.path, params={**asked, "cursor": page["next_cursor"]})
    assert again.json() == behind


async def test_a_query_takes_values_of_every_type(client: Client) -> None:
    tag = unique()
    figure: Body = {"metric": "killed", "unit": "soldiers", "qualifier": "exact"}
    figure |= {"value": 12.5, "printed": "12.5"}
    body = CLAIM.minimal(tags=[tag], quantities=[figure], kind="event")
    record = await create(client, CLAIM, body)
    for asked, number in (
        ({"attributed": False}, 1),
        ({"attributed": True}, 0),
        ({"metric": "killed", "quantity_from": 12, "quantity_to": 12.5}, 1),
        ({"metric": "killed", "quantity_from": 13}, 0),
        ({"kind__in": ["event", "quantity"], "created_at__gte": "2024-12-19"}, 1),
        ({"kind__nin": ["event"]}, 0),
    ):
        page = await query(client, CLAIM, tag=tag, **asked)
        assert [item["id"] for item in page["items"]] == [record.id] * number, asked


async def test_all_faults_of_a_query_are_named(client: Client) -> None:
    body = {
        "colour": "red",
        "kind": "song",
        "attributed": "true",
        "limit": 201,
        "id__in": ["x"],
        "sort": "id",
        "expand": ["sources", "colours"],
        "stated__gte": "2024-02-30",
    }
    faults = await refused(client, CLAIM, 422, body)
    assert sorted(place for place, _ in faults) == [
        "/attributed",
        "/colour",
        "/expand/1",
        "/id__in/0",
        "/kind",
        "/limit",
        "/sort",
        "/stated__gte",
    ]
    assert await refused(client, CLAIM, 422, []) == [("", "wrong-type")]
    for parameter, asked in (
        ("quantity_from", {"quantity_from": 1}),
        ("sort", {"sort": "relevance"}),
        ("cursor", {"cursor": "x"}),
    ):
        ((place, _),) = await refused(client, CLAIM, 400, asked)
        assert place == parameter


async def test_a_query_needs_only_what_the_list_needs(
    client: Client, noun: Noun, database_url: str
) -> None:
    record = await create(client, noun)
    reader = await allow(database_url, written("queryreader0", "0" * 30), [Scope.READ])
    other = await allow(database_url, written("queryother00", "0" * 30), [Scope.AUDIT_READ])
    for headers in ({}, bearer(reader), bearer(other), {"authorization": "Bearer x"}):
        asked = {"id__in": [record.id]}
        listed = await client.get(noun.path, params=asked, headers=headers)
        queried = await client.post(f"{noun.path}/query", json=asked, headers=headers)
        assert queried.status_code == listed.status_code
        assert queried.json().get("items") == listed.json().get("items")


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"idempotency-key": "k"}, b"{}", 400),
        ({"content-type": "text/plain"}, b"{}", 415),
        ({}, b"{", 400),
        ({}, b'{"q": "' + b"x" * 1_048_576 + b'"}', 413),
    ],
)
async def test_a_query_is_read_as_strictly_as_other_bodies(
    client: Client, noun: Noun, headers: dict[str, str], content: bytes, status: int
) -> None:
    path = f"{noun.path}/query"
    json = {"content-type": "application/json"}
    response = await client.post(path, content=content, headers={**json, **headers})
    assert response.status_code == status, response.text
    assert (await client.post(f"{path}?limit=1", json={})).status_code == 400
    assert (await client.get(path)).status_code == 405
