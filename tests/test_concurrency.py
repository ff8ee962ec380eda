"""What two writers at once may not break: no dangling link, no lost write, no double record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from api.core.caller import EVERYTHING
from api.core.sql import render
from api.core.writing.store import DELETE, INSERT, UPDATE, rows_of
from api.records.articles import ARTICLES
from api.records.claims import CLAIMS
from api.records.denials import DENIALS
from api.records.sources import SOURCES
from schemas.walking import references
from tests.conftest import PATIENCE, serving
from tests.world import MERGE_PATCH, World, faults

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
RESOURCES = {of.plural: of for of in (SOURCES, ARTICLES, CLAIMS, DENIALS)}


@pytest.fixture
def world(client: httpx.AsyncClient) -> World:
    return World(client)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Connection]:
    """Connect a writer that is not the service, whose transactions the test holds open."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


class Link(NamedTuple):
    """A way for a record to refer to another."""

    target: str
    owner: str
    fields: dict[str, Any]
    pointer: str


HOP = {"attributions": [{"source_id": "@target"}]}
PRINTED = {"appearances": [{"article_id": "@target"}]}
LINKS = [
    Link("sources", "claims", HOP, "/attributions/0/source_id"),
    Link("sources", "sources", {"parent_id": "@target"}, "/parent_id"),
    Link("articles", "claims", PRINTED, "/appearances/0/article_id"),
    Link("claims", "denials", {"targets": [{"claim_id": "@target"}]}, "/targets/0/claim_id"),
    Link("denials", "denials", {"superseded_by_id": "@target"}, "/superseded_by_id"),
]
each_link = pytest.mark.parametrize(
    "link", LINKS, ids=[f"{link.owner}{link.pointer}" for link in LINKS]
)


BLOCKED_BY_US = """
    FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"""
"""Sessions that wait for a lock of this one; others wait for each other now and then."""


async def blocked(task: asyncio.Task[httpx.Response], other: Connection, sessions: int = 1) -> None:
    """Wait until requests, over so many connections, wait for a lock of another transaction."""
    async with asyncio.timeout(PATIENCE):
        while await other.fetchval(f"SELECT count(*) {BLOCKED_BY_US}") < sessions:
            assert not task.done(), task.result().text


async def insert(other: Connection, world: World, link: Link) -> str:
    """Write a record that has a link, as the service would."""
    of = RESOURCES[link.owner]
    record = msgspec.convert(world.body(link.owner, link.fields), of.create)
    identity = str(uuid4())
    rows = rows_of([(identity, None, record)])
    await other.execute(*render(of.table.compose(INSERT), rows=rows, actor=None))
    return identity


async def remove(other: Connection, world: World, link: Link) -> None:
    """Delete the link's target, as the service would."""
    statement = RESOURCES[link.target].table.compose(DELETE)
    query = render(statement, EVERYTHING, id=world.id("target"), versions=None, actor=None)
    assert await other.fetchval(*query) == 2


async def dangling(client: httpx.AsyncClient, other: Connection, world: World) -> list[str]:
    """List what refers to nothing: links, and ids in the documents of this world."""
    found = []
    for plural, of in RESOURCES.items():
        found += await other.fetch(
            f"SELECT l.* FROM links AS l LEFT JOIN {plural} AS t ON t.live_id = l.{of.type}_id"
            f" WHERE l.{of.type}_id IS NOT NULL AND t.id IS NULL"
        )
        found += await other.fetch(
            f"SELECT l.* FROM links AS l LEFT JOIN {plural} AS t ON t.live_id = l.owner_id"
            f" WHERE l.owner_type = '{of.type}' AND t.id IS NULL"
        )
    told = [str(row) for row in found]
    for plural, of in RESOURCES.items():
        page = await client.get(f"/v1/{plural}?tag={world.tag}&limit=200")
        assert page.json()["next_cursor"] is None
        for item in page.json()["items"]:
            names = {field for field in of.create.__struct_fields__ if field in item}
            record = msgspec.convert({name: item[name] for name in names}, of.create)
            told += [str(r) for r in references(record) if not await live(client, r.to, r.id)]
    return told


async def live(client: httpx.AsyncClient, kind: str, identity: str) -> bool:
    return (await client.get(f"/v1/{kind}s/{identity}")).status_code == 200


# --- a link to what is being deleted ---------------------------------------------------------


@each_link
async def test_a_deletion_waits_for_a_link_and_is_refused(
    world: World, other: Connection, link: Link
) -> None:
    await world.add(link.target, "target")
    async with other.transaction():
        identity = await insert(other, world, link)
        deletion = asyncio.create_task(world.delete("target"))
        await blocked(deletion, other)
    response = await deletion
    assert response.status_code == 409, response.text
    referrers = response.json()["referrers"]
    owner = RESOURCES[link.owner].type
    assert [(r["type"], r["id"]) for r in referrers] == [(owner, identity)]
    assert await dangling(world.client, other, world) == []


@each_link
async def test_a_link_waits_for_a_deletion_and_is_refused(
    world: World, other: Connection, link: Link
) -> None:
    await world.add(link.target, "target")
    body = world.body(link.owner, {**link.fields, "tags": [world.tag]})
    async with other.transaction():
        await remove(other, world, link)
        writing = asyncio.create_task(world.client.post(f"/v1/{link.owner}", json=body))
        await blocked(writing, other)
    assert faults(await writing) == {link.pointer: "unknown-reference"}
    assert (await world.client.get(world.at("target"))).status_code == 410
    assert await dangling(world.client, other, world) == []


@each_link
async def test_what_is_rolled_back_stands_in_nobodys_way(
    world: World, other: Connection, link: Link
) -> None:
    await world.add(link.target, "target")
    transaction = other.transaction()
    await transaction.start()
    await remove(other, world, link)
    body = world.body(link.owner, link.fields)
    writing = asyncio.create_task(world.client.post(f"/v1/{link.owner}", json=body))
    await blocked(writing, other)
    await transaction.rollback()
    assert (await writing).status_code == 201

    await world.add(link.target, "target")
    transaction = other.transaction()
    await transaction.start()
    await insert(other, world, link)
    deletion = asyncio.create_task(world.delete("target"))
    await blocked(deletion, other)
    await transaction.rollback()
    assert (await deletion).status_code == 204
    assert await dangling(world.client, other, world) == []


async def test_a_change_that_links_to_what_is_being_deleted_is_refused(
    world: World, other: Connection
) -> None:
    await world.add("sources", "target")
    claim = await world.add("claims", "c")
    change = world.resolved({"attributions": [{"source_id": "@target"}], "note": "changed"})
    async with other.transaction():
        await remove(other, world, LINKS[0])
        writing = asyncio.create_task(
            world.client.patch(world.at("c"), json=change, headers=MERGE_PATCH)
        )
        await blocked(writing, other)
    assert faults(await writing) == {"/attributions/0/source_id": "unknown-reference"}
    assert await world.get("c") == claim


async def test_a_record_that_comes_back_finds_its_targets_or_does_not(
    world: World, other: Connection
) -> None:
    await world.add("sources", "target")
    await world.add("claims", "c", attributions=[{"source_id": "@target"}])
    await world.delete("c")
    restore = f"{world.at('c')}/restore"
    async with other.transaction():
        await remove(other, world, LINKS[0])
        writing = asyncio.create_task(world.client.post(restore, headers={"if-match": "*"}))
        await blocked(writing, other)
    assert faults(await writing) == {"/attributions/0/source_id": "unknown-reference"}
    assert (await world.client.get(world.at("c"))).status_code == 410
    assert await dangling(world.client, other, world) == []


@pytest.mark.long
async def test_links_and_deletions_that_race_leave_nothing_dangling(
    world: World, other: Connection
) -> None:
    client = world.client
    for number in range(30):
        await world.add("sources", "target")
        await world.add("claims", "there")
        hop = world.resolved({"attributions": [{"source_id": "@target"}], "tags": [world.tag]})
        requests = [
            client.post("/v1/claims", json={"text": "t"} | hop),
            client.patch(world.at("there"), json=hop, headers=MERGE_PATCH),
            client.post("/v1/denials", json=world.body("denials", hop)),
        ]
        requests.insert(number % 4, world.delete("target"))
        statuses = [response.status_code for response in await asyncio.gather(*requests)]
        deleted = statuses.pop(number % 4)
        if deleted == 204:
            assert set(statuses) == {422}
        else:
            assert deleted == 409
            assert set(statuses) & {200, 201}
    assert await dangling(client, other, world) == []


@pytest.mark.long
async def test_records_that_are_deleted_while_they_link_to_each_other(
    world: World, other: Connection
) -> None:
    for _ in range(20):
        await world.add("claims", "a")
        await world.add("claims", "b")
        both = await asyncio.gather(
            *(
                world.client.patch(
                    world.at(one),
                    json=world.resolved({"relations": [{"claim_id": f"@{two}", "kind": "about"}]}),
                    headers=MERGE_PATCH,
                )
                for one, two in ("ab", "ba")
            ),
            world.delete("a"),
            world.delete("b"),
        )
        assert {response.status_code for response in both} <= {200, 204, 409, 410, 422}
    assert await dangling(world.client, other, world) == []


# --- the same record twice -------------------------------------------------------------------


async def together(requests: Iterable[Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """Send requests at once."""
    return await asyncio.gather(*requests)


def statuses(responses: list[httpx.Response]) -> list[int]:
    return sorted(response.status_code for response in responses)


@pytest.mark.parametrize("plural", RESOURCES)
async def test_two_first_upserts_make_one_record(world: World, plural: str) -> None:
    for _ in range(10):
        value = uuid4().hex
        path = f"/v1/{plural}/by-external-id?namespace=race&value={value}"
        bodies = [world.body(plural, {"note": f"written by {number}"}) for number in range(2)]
        responses = await together(world.client.put(path, json=body) for body in bodies)
        assert statuses(responses) == [200, 201]
        assert len({response.json()["id"] for response in responses}) == 1
        last = max(responses, key=lambda response: response.json()["version"])
        assert last.status_code == 200
        assert (await world.client.get(path)).content == last.content
        asked = {"external_namespace": "race", "external_value": value}
        items = (await world.client.get(f"/v1/{plural}", params=asked)).json()["items"]
        assert items == [last.json()]


async def test_many_first_upserts_of_the_same_make_one_version(world: World) -> None:
    path = f"/v1/claims/by-external-id?namespace=race&value={uuid4().hex}"
    body = {"text": "the same"}
    responses = await together(world.client.put(path, json=body) for _ in range(12))
    assert statuses(responses) == [200] * 11 + [201]
    assert {response.json()["version"] for response in responses} == {1}


async def test_two_first_puts_under_one_id_make_one_record(world: World) -> None:
    path = f"/v1/claims/{uuid4()}"
    responses = await together(
        world.client.put(path, json={"text": str(number)}, headers={"if-none-match": "*"})
        for number in range(5)
    )
    assert statuses(responses) == [201, 412, 412, 412, 412]
    (created,) = (response for response in responses if response.status_code == 201)
    assert (await world.client.get(path)).content == created.content


async def test_what_is_unique_is_taken_once(world: World) -> None:
    outside = {"namespace": "race", "value": uuid4().hex}
    for path, body in [
        ("/v1/claims", {"text": "t", "external_ids": [outside]}),
        ("/v1/articles", {"headline": "h", "url": f"https://example.org/{uuid4()}"}),
    ]:
        responses = await together(world.client.post(path, json=body) for _ in range(5))
        assert statuses(responses) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("kind", "expected"), [("conflicts_with", [200, 409]), ("about", [200, 200])]
)
async def test_two_claims_are_related_from_both_ends_at_once(
    world: World, kind: str, expected: list[int]
) -> None:
    async def relate(one: str, two: str) -> httpx.Response:
        relation = {"claim_id": world.id(two), "kind": kind}
        return await world.client.patch(
            world.at(one), json={"relations": [relation]}, headers=MERGE_PATCH
        )

    for _ in range(10):
        await world.add("claims", "a")
        await world.add("claims", "b")
        responses = await together([relate("a", "b"), relate("b", "a")])
        assert statuses(responses) == expected


async def test_a_change_does_not_stand_in_the_way_of_links(world: World, other: Connection) -> None:
    source = await world.add("sources", "target")
    record = msgspec.convert(world.body("sources", {"name": "Another name"}), SOURCES.create)
    rows = rows_of([(source["id"], 1, record)])
    async with other.transaction():
        assert await other.fetchrow(*render(SOURCES.table.compose(UPDATE), rows=rows, actor=None))
        # The name changes; that the source is there does not.
        async with asyncio.timeout(PATIENCE):
            await world.add("claims", "c", attributions=[{"source_id": "@target"}])


async def test_who_waits_goes_on_whatever_isolation_the_database_gives(empty_url: str) -> None:
    name = urlsplit(empty_url).path.removeprefix("/")
    other = await asyncpg.connect(empty_url)
    try:
        await other.execute(
            f"ALTER DATABASE {name} SET default_transaction_isolation = serializable"
        )
        async with serving(empty_url) as client:
            world = World(client)
            source = await world.add("sources", "s")
            record = msgspec.convert(world.body("sources", {"name": "Another"}), SOURCES.create)
            async with other.transaction():
                rows = rows_of([(source["id"], 1, record)])
                assert await other.fetchrow(
                    *render(SOURCES.table.compose(UPDATE), rows=rows, actor=None)
                )
                change = asyncio.create_task(
                    client.patch(world.at("s"), json={"note": "n"}, headers=MERGE_PATCH)
                )
                await blocked(change, other)
            answer = await change
            assert answer.status_code == 200, answer.text
            assert (answer.json()["version"], answer.json()["name"]) == (3, "Another")
    finally:
        await other.close()


# --- changes of one record -------------------------------------------------------------------


async def history(world: World, name: str) -> list[int]:
    """List a record's versions, oldest first, and see that its times rise."""
    page = await world.client.get(f"{world.at(name)}/revisions?limit=200")
    items = page.json()["items"][::-1]
    times = [item["at"] for item in items]
    assert times == sorted(set(times))
    return [item["version"] for item in items]


async def test_of_changes_to_one_version_one_wins(world: World) -> None:
    await world.add("claims", "c")
    for version in range(1, 11):
        tag = (await world.client.get(world.at("c"))).headers["etag"]
        headers = {"content-type": "application/merge-patch+json", "if-match": tag}
        notes = [f"{version}, written by {number}" for number in range(5)]
        responses = await together(
            world.client.patch(world.at("c"), json={"note": note}, headers=headers)
            for note in notes
        )
        assert statuses(responses) == [200, 412, 412, 412, 412]
        (won,) = (response for response in responses if response.status_code == 200)
        assert won.json()["version"] == version + 1
        assert await world.get("c") == won.json()
        for lost in responses:
            if lost is not won:
                assert lost.json()["current"] == won.json()
                assert lost.headers["etag"] == won.headers["etag"]
    assert await history(world, "c") == list(range(1, 12))


async def test_changes_of_different_fields_lose_nothing(world: World) -> None:
    changes: list[dict[str, Any]] = [
        {"text": "another text"},
        {"language": "ko"},
        {"kind": "event"},
        {"speech_act": "warn"},
        {"certainty": "possible"},
        {"polarity": "negative"},
        {"validity": "disowned"},
        {"review_status": "approved"},
        {"note": "looked at"},
        {"stated": {"expression": "on Monday"}},
        {"stated": {"precision": "week"}},
        {"places": [{"role": "event", "name": "Kursk"}]},
    ]
    await world.add("claims", "c")

    async def change(number: int) -> httpx.Response:
        """Change one field; come back when asked to."""
        while True:
            response = await world.client.patch(
                world.at("c"), json=changes[number], headers=MERGE_PATCH
            )
            if response.status_code != 503:
                return response
            assert response.headers["retry-after"] == "1"

    responses = await together(change(number) for number in range(len(changes)))
    assert statuses(responses) == [200] * len(changes)
    versions = sorted(response.json()["version"] for response in responses)
    assert versions == list(range(2, len(changes) + 2))
    claim = await world.get("c")
    assert claim["stated"]["expression"] == "on Monday"
    assert claim["stated"]["precision"] == "week"
    assert claim["places"][0]["name"] == "Kursk"
    for field in changes[:9]:
        assert claim.items() >= field.items()
    assert await history(world, "c") == list(range(1, len(changes) + 2))


async def test_a_change_and_a_deletion_come_one_after_the_other(world: World) -> None:
    for number in range(20):
        await world.add("claims", "c")
        requests = [
            world.client.patch(world.at("c"), json={"note": "n"}, headers=MERGE_PATCH),
            world.delete("c"),
        ]
        if number % 2:
            requests.reverse()
        told = set(statuses(await asyncio.gather(*requests)))
        assert told in ({200, 204}, {204, 410})
        changed = 200 in told
        assert await history(world, "c") == list(range(1, 4 if changed else 3))


async def test_one_of_two_deletions_deletes(world: World) -> None:
    for _ in range(10):
        await world.add("claims", "c")
        responses = await together(world.delete("c") for _ in range(2))
        assert statuses(responses) == [204, 410]
        assert await history(world, "c") == [1, 2]
