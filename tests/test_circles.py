"""References of one kind never lead back to the record from which they start."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import nullcontext
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.test_hidden_articles import _rows_passed as rows_passed
from tests.test_hidden_articles import pair as pair  # noqa: PLC0414 - a fixture
from tests.world import MERGE_PATCH, MINIMAL, Record, World

NDJSON = {"content-type": "application/x-ndjson"}
DENIAL = MINIMAL["denials"]


def _target(to: str) -> Record:
    return {"targets": [{"denial_id": to}]}


KINDS: Final[dict[str, tuple[str, str, Any]]] = {
    "parent": ("sources", "/parent_id", lambda to: {"parent_id": to}),
    "member": (
        "sources",
        "/members",
        lambda to: {"members": [{"source_id": to, "role": "member"}]},
    ),
    "part": (
        "claims",
        "/parent_claim_id",
        lambda to: {"parent_claim_id": to, "embedding": "embedded"},
    ),
    "superseded": ("denials", "/superseded_by_id", lambda to: {"superseded_by_id": to}),
    "target": ("denials", "/targets", _target),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[str, str, Any]:
    """Take each kind of reference in turn."""
    return KINDS[request.param]


async def chain(client: httpx.AsyncClient, kind: tuple[str, str, Any], length: int) -> World:
    """Create records of which each refers to the one before; the first is `0`."""
    plural, _, to = kind
    world = World(client)
    for number in range(length):
        await world.add(plural, f"{number}", **(to(f"@{number - 1}") if number else {}))
    return world


def refused(response: httpx.Response, pointer: str) -> None:
    assert response.status_code == 409, response.text
    assert response.json()["code"] == "circular-reference"
    assert [each["pointer"] for each in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize("length", [2, 4])
async def test_no_write_closes_a_circle(
    client: httpx.AsyncClient, kind: tuple[str, str, Any], length: int
) -> None:
    plural, pointer, to = kind
    world = await chain(client, kind, length)
    before = await world.get("0")
    closing = world.resolved(to(f"@{length - 1}"))
    full = {**MINIMAL[plural], **closing}
    match = {"if-match": "*"}
    external = {"namespace": "circles", "value": world.tag}
    patched = await client.patch(
        world.at("0"), json={"external_ids": [external]}, headers=MERGE_PATCH
    )
    for response in (
        await client.patch(world.at("0"), json=closing, headers=MERGE_PATCH),
        await client.put(world.at("0"), json=full, headers=match),
        await client.put(f"/v1/{plural}/by-external-id", params=external, json=full),
        await client.post("/v1/import", content=_line(plural, world.id("0"), full), headers=NDJSON),
    ):
        if response.status_code == 200:
            result = json.loads(response.text.splitlines()[0])
            assert (result["status"], result["problem"]["code"]) == (409, "circular-reference")
            assert result["problem"]["errors"][0]["pointer"] == f"/data{pointer}"
        else:
            refused(response, pointer)
    after = await world.get("0")
    assert after == patched.json()
    assert after["version"] == before["version"] + 1
    # One more at the end makes no circle, and another way to the same record neither.
    await world.add(plural, "more", **to(f"@{length - 1}"))


def _line(plural: str, identity: str, record: Record) -> str:
    return json.dumps({"type": plural.removesuffix("s"), "id": identity, "data": record})


@pytest.mark.parametrize("atomic", ["true", "false"])
async def test_no_import_brings_a_circle(
    client: httpx.AsyncClient, kind: tuple[str, str, Any], atomic: str
) -> None:
    plural, _, to = kind
    world = await chain(client, kind, 3)
    one, other = world.id("1"), world.id("2")
    lines = [
        _line(plural, one, {**MINIMAL[plural], **to(other)}),
        _line(plural, other, {**MINIMAL[plural], **to(one)}),
        _line(plural, world.id("0"), {**MINIMAL[plural], "note": "unharmed"}),
    ]
    answer = await client.post(
        f"/v1/import?atomic={atomic}", content="\n".join(lines), headers=NDJSON
    )
    results = [json.loads(line) for line in answer.text.splitlines()][:3]
    codes = [each["problem"] and each["problem"]["code"] for each in results]
    assert "circular-reference" in codes
    assert codes[2] == ("not-applied" if atomic == "true" else None)
    names = [world.id(name) for name in ("0", "1", "2")]
    assert len({(await world.get(name))["id"] for name in ("0", "1", "2")}) == len(names)
    if atomic == "true":
        assert [(await world.get(name))["version"] for name in ("0", "1", "2")] == [1, 1, 1]


async def test_records_that_an_atomic_import_creates_make_no_circle(
    client: httpx.AsyncClient, kind: tuple[str, str, Any]
) -> None:
    plural, _, to = kind
    ids = ["01938f7a-4c00-7000-8000-00000000a001", "01938f7a-4c00-7000-8000-00000000a002"]
    lines = [
        _line(plural, one, {**MINIMAL[plural], **to(other)}) for one, other in (ids, reversed(ids))
    ]
    answer = await client.post("/v1/import?atomic=true", content="\n".join(lines), headers=NDJSON)
    first, second = [json.loads(line)["problem"]["code"] for line in answer.text.splitlines()[:2]]
    assert {first, second} == {"unknown-reference", "circular-reference"}
    assert (await client.get(f"/v1/{plural}/{ids[0]}")).status_code == 404


@pytest.mark.long
async def test_of_two_writes_that_together_make_a_circle_one_fails(
    client: httpx.AsyncClient, kind: tuple[str, str, Any]
) -> None:
    plural, pointer, to = kind
    for _ in range(3):
        world = World(client)
        await world.add(plural, "one")
        await world.add(plural, "other")
        answers = await asyncio.gather(
            *(
                client.patch(
                    world.at(name), json=world.resolved(to(f"@{target}")), headers=MERGE_PATCH
                )
                for name, target in (("one", "other"), ("other", "one"))
            )
        )
        first, second = sorted(answers, key=lambda answer: answer.status_code)
        assert first.status_code == 200
        refused(second, pointer)


async def test_of_two_transactions_that_together_make_a_circle_one_fails(
    pair: tuple[asyncpg.Connection[asyncpg.Record], asyncpg.Connection[asyncpg.Record]],
) -> None:
    one, other = pair
    ids = [
        await one.fetchval(
            "INSERT INTO sources (id, kind, identification, name)"
            " VALUES (gen_random_uuid(), 'group', 'named', 'x') RETURNING id"
        )
        for _ in range(3)
    ]
    link = "UPDATE sources SET parent_id = $2 WHERE id = $1"
    await one.execute(link, ids[0], ids[1])
    transactions = one.transaction(), other.transaction()
    await asyncio.gather(*(each.start() for each in transactions))
    await one.execute(link, ids[1], ids[2])
    waiting = asyncio.ensure_future(other.execute(link, ids[2], ids[0]))
    await asyncio.wait([waiting], timeout=0.2)
    await transactions[0].commit()
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await waiting
    await transactions[1].rollback()


async def test_a_chain_that_is_too_long_to_check_is_refused(
    pair: tuple[asyncpg.Connection[asyncpg.Record], asyncpg.Connection[asyncpg.Record]],
) -> None:
    connection, _ = pair
    await connection.execute("SET session_replication_role = replica")  # no triggers
    await connection.execute(
        "INSERT INTO links (owner_type, owner_id, link, is_origin, source_id)"
        " SELECT 'source', lpad(to_hex(g), 32, '0')::uuid, 'parent', false,"
        " lpad(to_hex(g + 1), 32, '0')::uuid FROM generate_series(1, 1001) AS g"
    )
    await connection.execute("SET session_replication_role = origin")
    for first, refused_too in ((2, False), (1, True)):
        check = "SELECT refuse_circles('source', ARRAY[lpad(to_hex($1::integer), 32, '0')::uuid])"
        if refused_too:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
                await connection.execute(check, first)
            assert caught.value.constraint_name == "links_circle_length"
        else:
            await connection.execute(check, first)


async def test_nothing_is_searched_where_no_record_can_be_in_a_circle(
    pair: tuple[asyncpg.Connection[asyncpg.Record], asyncpg.Connection[asyncpg.Record]],
) -> None:
    writer, other = pair
    async with other.transaction():
        # To make a plan takes a lock, too.
        await other.execute("LOCK TABLE links IN ACCESS EXCLUSIVE MODE")
        await writer.execute("SET lock_timeout = '100ms'")
        await writer.execute("SELECT refuse_circles('claim', '{}')")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await writer.execute("SELECT refuse_circles('claim', ARRAY[gen_random_uuid()])")


async def test_a_circle_through_hidden_records_is_refused_without_naming_them(
    client: httpx.AsyncClient,
) -> None:
    world = World(client)
    await world.add("sources", "top")
    await world.add("sources", "hidden", parent_id="@top", confidentiality="protected")
    await world.add("sources", "low", parent_id="@hidden")
    response = await client.patch(
        world.at("top"), json={"parent_id": world.id("low")}, headers=MERGE_PATCH
    )
    refused(response, "/parent_id")
    assert world.id("hidden") not in response.text


_ADD_DENIALS = """
    INSERT INTO denials (id, text, kind, observed_by, targets)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'x', 'full_denial', 'responder_statement', coalesce(
        (
            SELECT json_agg(json_build_object('denial_id', lpad(to_hex(t), 32, '0')))
            FROM generate_series(greatest({first}, n - 10), n - 1) AS t
        ),
        '[{{"text": "all of it"}}]'
    )
    FROM generate_series({first}, {last}) AS n"""


async def test_links_of_one_statement_are_read_once(
    pair: tuple[asyncpg.Connection[asyncpg.Record], asyncpg.Connection[asyncpg.Record]],
) -> None:
    """Three times the denials, each of which answers the ten before it; a square would be nine."""
    connection, _ = pair
    await connection.execute(_ADD_DENIALS.format(first=1, last=5))
    few = await rows_passed(connection, _ADD_DENIALS.format(first=100, last=139))
    many = await rows_passed(connection, _ADD_DENIALS.format(first=1_000, last=1_119))
    assert many < 4 * few


async def test_what_leads_back_is_refused_among_any_links(
    pair: tuple[asyncpg.Connection[asyncpg.Record], asyncpg.Connection[asyncpg.Record]],
) -> None:
    connection, _ = pair
    await connection.execute("SET session_replication_role = replica")  # no triggers
    outcomes = set()
    for seed in range(40):
        draw = random.Random(seed)  # noqa: S311 - nothing here is secret
        size = draw.randint(2, 10)
        links = {(draw.randrange(size), draw.randrange(size)) for _ in range(draw.randint(1, 12))}
        if draw.random() < 0.6:
            links = {(max(link), min(link)) for link in links if len(set(link)) > 1}
        starts = draw.sample(range(size), draw.randint(1, size))
        reached = {start: {to for owner, to in links if owner == start} for start in starts}
        for found in reached.values():
            for _ in range(size):
                found |= {to for owner, to in links if owner in found}
        leads_back = any(start in found for start, found in reached.items())
        ids = [UUID(int=(seed + 1) << 64 | number) for number in range(size)]
        await connection.executemany(
            "INSERT INTO links (owner_type, owner_id, link, is_origin, denial_id)"
            " VALUES ('denial', $1, 'target', false, $2)",
            [(ids[owner], ids[to]) for owner, to in links],
        )
        check = "SELECT refuse_circles('denial', $1::uuid[])"
        with pytest.raises(asyncpg.PostgresError) if leads_back else nullcontext():
            await connection.execute(check, [ids[start] for start in starts])
        outcomes.add((leads_back, len(starts) > 1))
    assert outcomes == {(True, True), (False, True), (True, False), (False, False)}
