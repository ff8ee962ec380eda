"""Every request that the document shows works: sent as it stands, it gets a documented success."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from api.core.openapi.examples import story
from schemas.examples import EXAMPLES
from tests.test_openapi import OPERATIONS, RESOURCES, check, example, faults, resolved

SUCCESSES = {
    name: {int(status) for status in operation["responses"] if status < "300"}
    for name, operation in OPERATIONS.items()
}
IDENTITY: dict[str, Any] = OPERATIONS["createSourceIdentity"]["requestBody"]["content"][
    "application/json"
]["example"]
LINES = "application/x-ndjson"


def parameters(name: str) -> list[dict[str, Any]]:
    return [resolved(found) for found in OPERATIONS[name].get("parameters", ())]


def bodies(name: str) -> list[tuple[str, Any]]:
    """Give the examples of an operation's body, each with its media type."""
    content = OPERATIONS[name].get("requestBody", {}).get("content", {})
    return [
        (media, value)
        for media, told in content.items()
        for value in (
            [told["example"]]
            if "example" in told
            else [resolved(each)["value"] for each in told["examples"].values()]
        )
    ]


SHOWN = [
    (name, place)
    for name in OPERATIONS
    if bodies(name) or any("example" in each for each in parameters(name))
    for place in range(max(1, len(bodies(name))))
]


async def put(client: httpx.AsyncClient, path: str, body: Any) -> None:
    answer = await client.put(path, json=body, headers={"If-None-Match": "*"})
    assert answer.status_code == 201, answer.text


async def made(client: httpx.AsyncClient, name: str) -> str:
    """Create something by the document's example, and give its id."""
    ((_, body),) = bodies(name)
    answer = await client.post(OPERATIONS[name]["path"], json=body)
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["id"]
    return found


async def prepare(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    """Make what an operation's example takes for granted; give what goes into the path."""
    for of in map(RESOURCES.__getitem__, EXAMPLES):
        if name == f"create{of.record.__name__}":
            break  # whatever comes later refers to this one
        await put(client, f"{of.path}/{story(of).id}", example(f"{of.record.__name__}Create"))
    path = OPERATIONS[name]["path"]
    known = {p["name"]: str(p["example"]) for p in parameters(name) if "example" in p}
    if "/identities" in path:
        await put(
            client, f"/v1/sources/{IDENTITY['identity_id']}", {"kind": "person", "name": "Somebody"}
        )
        known["id"] = story(RESOURCES["source"]).id
    for noun in ("webhook", "key"):
        if path.startswith(f"/v1/{noun}s/"):
            known["id"] = await made(client, f"create{noun.title()}")
    return known


async def preconditions(client: httpx.AsyncClient, name: str, path: str) -> dict[str, str]:
    """Give the headers that an operation can't do without, as they are for this record."""
    if name.startswith("restore"):
        record = path.removesuffix("/restore")
        deleted = await client.delete(record, headers={"If-Match": "*"})
        assert deleted.status_code == 204, deleted.text
        return {"If-Match": deleted.headers["etag"]}
    if name.startswith("replace") or any(
        p["name"] == "If-Match" and p["required"] for p in parameters(name)
    ):
        return {"If-Match": (await client.get(path)).headers["etag"]}
    return {}


async def delete_referrers(client: httpx.AsyncClient, name: str) -> None:
    """Delete the records that refer to the one that an operation deletes."""
    if name.startswith(("delete", "restore")):
        for of in reversed([RESOURCES[type_] for type_ in EXAMPLES]):
            if name in (f"delete{of.record.__name__}", f"restore{of.record.__name__}"):
                return
            await client.delete(f"{of.path}/{story(of).id}", headers={"If-Match": "*"})


@pytest.mark.parametrize(("name", "place"), SHOWN)
async def test_a_request_that_is_shown_works(
    empty: httpx.AsyncClient, name: str, place: int
) -> None:
    known = await prepare(empty, name)
    await delete_referrers(empty, name)
    path = OPERATIONS[name]["path"].format(**known)
    query = {
        p["name"]: known[p["name"]]
        for p in parameters(name)
        if p["in"] == "query" and p["name"] in known
    }
    headers = await preconditions(empty, name, path)
    content = None
    if shown := bodies(name):
        media, body = shown[place]
        headers["Content-Type"] = media
        content = json.dumps(body)
    method = OPERATIONS[name]["method"].upper()
    answer = await empty.request(method, path, params=query, headers=headers, content=content)
    assert answer.status_code in SUCCESSES[name], answer.text
    if answer.headers.get("content-type") == LINES:
        told = OPERATIONS[name]["responses"]["200"]["content"][LINES]["schema"]
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [faults(told, line) for line in lines] == [[]] * len(lines)
        assert not [line for line in lines if line.get("problem")]
    else:
        check(answer, name)


def test_every_body_that_can_be_sent_is_tried() -> None:
    assert {name for name, _ in SHOWN} >= {n for n, o in OPERATIONS.items() if "requestBody" in o}
