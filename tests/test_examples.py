"""Every request that the document shows works: sent as it stands, it gets a documented success.

So do the requests in its guides; and what is shown by id is there in a service with sample records.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import resources
from typing import Any

import httpx
import pytest

from api import demo
from api.document.examples import story
from api.records.nouns import RESOURCES
from schemas.examples import EXAMPLES, OTHERS
from schemas.vocabularies import RecordType
from tests.conftest import KEY, PATIENCE, bearer
from tests.test_cli import address, url  # noqa: F401 - fixtures
from tests.test_openapi import (
    OPERATIONS,
    check,
    create_others,
    example,
    faults,
    resolved,
)

SUCCESSES = {
    name: {int(status) for status in operation["responses"] if status < "300"}
    for name, operation in OPERATIONS.items()
}
IDENTITY: dict[str, Any] = OPERATIONS["createSourceIdentity"]["requestBody"]["content"][
    "application/json"
]["example"]
LINES = "application/x-ndjson"
TABLE = "text/csv"


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
    await create_others(client)
    for of in map(RESOURCES.__getitem__, EXAMPLES):
        if name == f"create{of.record.__name__}":
            break  # whatever comes later refers to this one
        await put(client, f"{of.path}/{story(of).id}", example(f"{of.record.__name__}Create"))
    path = OPERATIONS[name]["path"]
    known = {p["name"]: _sent(p["example"]) for p in parameters(name) if "example" in p}
    if path.endswith("/{identity_id}"):
        created = await client.post(f"/v1/sources/{known['id']}/identities", json=IDENTITY)
        assert created.status_code == 201, created.text
    if name == "unmergeSource":
        ((_, body),) = bodies("mergeSource")
        (into,) = (p["example"] for p in parameters("mergeSource") if p["name"] == "id")
        merge = {**body, "source_id": known["id"]}
        headers = {"If-Match": "*"}
        merged = await client.post(f"/v1/sources/{into}/merge", json=merge, headers=headers)
        assert merged.status_code == 200, merged.text
    for noun in ("webhook", "key"):
        if path.startswith(f"/v1/{noun}s/"):
            known["id"] = await made(client, f"create{noun.title()}")
    return known


def _sent(value: Any) -> str:
    """Give the first value of a parameter that can be repeated, and the only one of another."""
    return str(value[0] if isinstance(value, list) else value)


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
        record = path.removesuffix("/merge")
        return {"If-Match": (await client.get(record)).headers["etag"]}
    return {}


async def delete_referrers(client: httpx.AsyncClient, name: str) -> None:
    """Delete the records that refer to the one that an operation deletes."""
    if name.startswith(("delete", "restore")):
        for of in reversed([RESOURCES[type_] for type_ in EXAMPLES]):
            if name in (f"delete{of.record.__name__}", f"restore{of.record.__name__}"):
                return
            await client.delete(f"{of.path}/{story(of).id}", headers={"If-Match": "*"})


@pytest.mark.parametrize(
    ("name", "place"),
    [
        each if "Claim" in each[0] else pytest.param(*each, marks=pytest.mark.sweep)
        for each in SHOWN
    ],
)
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
        content = body if media == TABLE else json.dumps(body)
        query |= {"type": "source"} if media == TABLE else {}
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


# --- with the sample records -----------------------------------------------------------------


async def test_what_is_shown_is_there_in_the_sample_records(
    with_samples: httpx.AsyncClient,
) -> None:
    for of in RESOURCES.values():
        name = of.record.__name__
        for operation in (f"get{name}", f"get{name}ByExternalId", f"list{name}Revisions"):
            given = {p["name"]: p["example"] for p in parameters(operation) if "example" in p}
            path = OPERATIONS[operation]["path"].format(**given)
            params = given if path.endswith("by-external-id") else None
            answer = await with_samples.get(path, params=params)
            assert answer.status_code == 200, answer.text
    for identity in OTHERS:
        assert (await with_samples.get(f"/v1/sources/{identity}")).status_code == 200


async def test_what_is_shown_can_be_created_beside_the_sample_records(
    with_samples: httpx.AsyncClient,
) -> None:
    for of in RESOURCES.values():
        name = f"create{of.record.__name__}"
        for _, body in bodies(name):
            answer = await with_samples.post(of.path, json=body)
            assert answer.status_code == 201, answer.text
            check(answer, name)


def test_the_text_that_is_shown_begins_the_sample_report() -> None:
    lines = [json.loads(line) for line in demo.records()]
    samples = {line["id"]: line["data"] for line in lines}
    shown = EXAMPLES[RecordType.ARTICLE]
    assert samples[shown.id]["text"].startswith(shown.create["text"])


# --- the guides ------------------------------------------------------------------------------


def blocks(language: str) -> list[tuple[str, str]]:
    """Give the guides' blocks in a language, each with its guide's name."""
    guides = {
        guide.name.removesuffix(".md"): guide.read_text(encoding="utf-8")
        for guide in (resources.files("openapi") / "guides").iterdir()
    }
    return [
        (name, block)
        for name in sorted(guides)
        for block in re.findall(rf"```{language}\n(.*?)```", guides[name], re.DOTALL)
    ]


@pytest.mark.parametrize(("name", "block"), blocks("json"))
async def test_what_a_guide_shows_can_be_sent(
    with_samples: httpx.AsyncClient, name: str, block: str
) -> None:
    """Each goes to the path that its guide is named for."""
    media = LINES if name == "import" else "application/json"
    answer = await with_samples.post(f"/v1/{name}", content=block, headers={"content-type": media})
    assert answer.status_code in (200, 201), answer.text
    assert answer.json()["id"] if media != LINES else '"status":201' in answer.text


def test_guides_show_what_can_be_tried() -> None:
    assert {name for name, _ in blocks("json")} >= {"claims", "import"}
    assert {name for name, _ in blocks("python")} >= {"export", "import"}


@pytest.mark.parametrize(("name", "block"), blocks("python"))
@pytest.mark.process
def test_a_program_in_a_guide_runs(address: str, name: str, block: str) -> None:  # noqa: F811
    created = httpx.post(
        f"{address}/v1/claims",
        json={"text": "Python ends a line at\u2028 and at\u0085, JSON does not"},
        headers=bearer(KEY),
        timeout=PATIENCE,
    )
    assert created.status_code == 201
    program = block.replace("http://127.0.0.1:8000", address).replace("clk_…", KEY)
    out = ran(program)
    assert (created.json()["id"] if name == "export" else "'created': 1") in out
    if name == "import":  # the refusal has the term
        out = ran(program.replace('"person"', '"per\\u2028son"'))
        assert "'refused': 1" in out


def ran(program: str) -> str:
    """Run a Python program; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=500", "At most 200."),
        ("limit=x", "It takes a whole number."),
        ("id__in=1", "It takes a UUID in lower case."),
        ("quantity_from=x", "It takes a number."),
        ("quantity_from=+5", "It takes a number."),
        ("quantity_from=5%0A", "It takes a number."),
        ("q=", "At least 1 character."),
    ],
)
async def test_a_parameter_is_refused_in_words(
    client: httpx.AsyncClient, query: str, told: str
) -> None:
    answer = await client.get(f"/v1/claims?{query}")
    assert [error["detail"] for error in answer.json()["errors"]] == [told]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"text": 5}, "It takes a string, not a whole number."),
        ({"text": "x", "tags": "y"}, "It takes a list, not a string."),
        ({"text": "x", "note": 5}, "It takes a string or null, not a whole number."),
        (
            {"text": "x", "appearances": [{"article_version": "1"}]},
            "It takes a whole number or null, not a string.",
        ),
        ({"text": "x", "tags": ["y"] * 101}, "At most 100 items."),
        ({"text": "x", "parent_claim_id": "1"}, "It takes a UUID in lower case."),
        ({"text": "x" * 10_001}, "At most 10,000 characters."),
        (
            {"text": "x", "assessments": [{"value": "y"}]},
            "It takes a number or null, not a string.",
        ),
    ],
)
async def test_a_body_is_refused_in_words(
    client: httpx.AsyncClient, body: dict[str, Any], told: str
) -> None:
    answer = await client.post("/v1/claims", json=body)
    assert answer.status_code == 422
    assert told in [error["detail"] for error in answer.json()["errors"]]
