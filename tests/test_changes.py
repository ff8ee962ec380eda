"""The change feed: every change once, in one order, and for each reader what is theirs to know."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.subprocess import PIPE
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.access import keyring
from api.core.caller import READER
from api.core.cursor import fingerprint, write
from api.core.db import Database
from api.embedded.binaries import find_binaries
from api.server import schema
from api.settings import Settings
from api.sync.feed import changes
from api.sync.feed.following import Feed
from api.sync.feed.stretches import MAX_SCANNED, Wanted
from schemas.vocabularies import RecordType, Scope
from tests.conftest import (
    PATIENCE,
    allow,
    as_service,
    bearer,
    cloned,
    in_database,
    patient,
    serving,
    serving_as_it_is,
)
from tests.factories import EVERY, MERGE_PATCH, Noun, create, delete, stored
from tests.world import MINIMAL, Record, World

ANY: Final = {"if-match": "*"}
PATCH: Final = {**MERGE_PATCH, **ANY}
ADD: Final = "INSERT INTO claims (id, text) VALUES (gen_random_uuid(), $1)"


async def page(client: httpx.AsyncClient, since: str | None = None, **more: Any) -> Record:
    """Ask for a page of the feed."""
    asked = {**({} if since is None else {"since": since}), **more}
    answer = await client.get("/v1/changes", params=asked)
    assert answer.status_code == 200, answer.text
    found: Record = answer.json()
    assert list(found) == ["items", "next_cursor", "up_to_date"]
    return found


async def walk(client: httpx.AsyncClient, since: str = "start", **more: Any) -> list[Record]:
    """Follow the feed to its end."""
    items: list[Record] = []
    while True:
        found = await page(client, since, **more)
        items += found["items"]
        since = found["next_cursor"]
        if found["up_to_date"]:
            numbers = [item["seq"] for item in items]
            assert numbers == sorted(set(numbers))
            return items


async def cursor_of(client: httpx.AsyncClient, since: str = "now", **more: Any) -> str:
    """Give a cursor: of the end, or behind a page."""
    found: str = (await page(client, since, **more))["next_cursor"]
    return found


async def refused(client: httpx.AsyncClient, **asked: Any) -> tuple[int, str]:
    answer = await client.get("/v1/changes", params=asked)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, problem["code"]


def told(items: Iterable[Record]) -> list[tuple[str, str, int]]:
    return [(item["op"], item["id"], item["version"]) for item in items]


def asking(client: httpx.AsyncClient, key: str | None) -> httpx.AsyncClient:
    """Ask the same application with another key, or with none."""
    other = httpx.AsyncClient(transport=client._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
    if key is not None:
        other.headers.update(bearer(key))
    return other


async def reader(client: httpx.AsyncClient, url: str, *scopes: Scope) -> httpx.AsyncClient:
    """Ask the same application with a key of these scopes."""
    return asking(client, await allow(url, keyring.new_key(), scopes))


@asynccontextmanager
async def owner(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Connect as who owns the database."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


# --- what is in it ---------------------------------------------------------------------------


async def test_every_write_appears_once_with_its_op_and_the_record_as_it_was(
    empty: httpx.AsyncClient, noun: Noun
) -> None:
    made = await create(empty, noun)
    records = [(await empty.get(made.path)).content]
    answer = await empty.patch(made.path, json={"note": "Ž 😀 \u2028"}, headers=PATCH)
    records.append(answer.content)
    tombstone = await delete(empty, stored(noun, answer))
    records.append(b"null")
    answer = await empty.post(f"{made.path}/restore", headers={"if-match": tombstone})
    records.append(answer.content)
    answer = await empty.get("/v1/changes")
    items = answer.json()["items"]
    assert [(each["op"], each["version"]) for each in items] == [
        ("created", 1),
        ("updated", 2),
        ("deleted", 3),
        ("restored", 4),
    ]
    for number, (item, record) in enumerate(zip(items, records, strict=True), 1):
        assert list(item) == ["seq", "op", "type", "id", "version", "at", "record"]
        assert (item["seq"], item["type"], item["id"]) == (number, noun.type.value, made.id)
        assert b'"at":"%b","record":%b}' % (item["at"].encode(), record) in answer.content
        revision = (await empty.get(f"{made.path}/revisions/{item['version']}")).json()
        assert (revision["op"], revision["at"]) == (item["op"], item["at"])
        assert revision["record"] == item["record"]


async def test_what_changes_nothing_or_is_refused_is_no_change(
    empty: httpx.AsyncClient, empty_url: str, noun: Noun
) -> None:
    made = await create(empty, noun)
    since = await cursor_of(empty)
    for answer, status in (
        (await empty.put(made.path, json=made.record, headers=made.match), 200),
        (await empty.patch(made.path, json={}, headers=PATCH), 200),
        (await empty.patch(made.path, json={"colour": 1}, headers=PATCH), 422),
        (await empty.delete(made.path), 428),
        (await empty.delete(made.path, headers={"if-match": '"x"'}), 412),
        (await empty.post(noun.path, json={}), 422),
    ):
        assert answer.status_code == status
    async with owner(empty_url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(ADD, "never")
        await transaction.rollback()
    assert await page(empty, since) == {"items": [], "next_cursor": since, "up_to_date": True}


async def test_it_begins_at_the_start_now_or_behind_a_cursor(empty: httpx.AsyncClient) -> None:
    for since in (None, "start", "now"):
        assert (await page(empty, since))["items"] == []
    before = await cursor_of(empty)
    world = World(empty)
    for number in range(5):
        await world.add("claims", f"c{number}")
    items = await walk(empty)
    assert [item["id"] for item in items] == [world.id(f"c{number}") for number in range(5)]
    assert (await page(empty))["items"] == items
    assert await walk(empty, before) == items
    assert await walk(empty, await cursor_of(empty, "start", limit=2)) == items[2:]
    end = await page(empty, "now")
    assert (end["items"], end["up_to_date"]) == ([], True)
    assert await walk(empty, end["next_cursor"]) == []


async def test_walks_in_steps_of_any_size_find_the_same(empty: httpx.AsyncClient) -> None:
    world = World(empty)
    for number in range(7):
        await world.add("sources", f"s{number}")
        await world.patch(f"s{number}", note="Seen.")
    whole = await page(empty, limit=1000)
    assert len(whole["items"]) == 14
    assert whole["up_to_date"]
    for limit in (1, 2, 14, 1000):
        assert await walk(empty, limit=limit) == whole["items"]
    cut = await page(empty, limit=14)
    assert cut == whole
    assert not (await page(empty, limit=13))["up_to_date"]


@pytest.mark.long
async def test_an_answer_holds_what_was_written_before_whoever_numbers_it(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    async with serving(empty_url) as other:
        busy = True

        async def poll() -> None:
            while busy:
                await page(other, "now")

        polling = asyncio.create_task(poll())
        since = await cursor_of(empty)
        for number in range(200):
            made = await create((empty, other)[number % 2], EVERY[RecordType.CLAIM])
            found = await page((empty, other)[number // 2 % 2], since)
            assert told(found["items"]) == [("created", made.id, 1)]
            assert found["up_to_date"]
            since = found["next_cursor"]
        busy = False
        await polling
    items = await walk(empty)
    assert [item["seq"] for item in items] == list(range(1, 201))


@pytest.mark.long
async def test_many_writers_and_readers_lose_double_and_invert_nothing(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    writing = True
    seen: list[Record] = []

    async def write_some(client: httpx.AsyncClient) -> None:
        made = await create(client, EVERY[RecordType.CLAIM])
        for number in range(10):
            await client.patch(made.path, json={"note": f"{number}"}, headers=PATCH)

    async def follow(client: httpx.AsyncClient) -> None:
        since = "start"
        while True:
            last = not writing
            found = await page(client, since, limit=7)
            seen.extend(found["items"])
            since = found["next_cursor"]
            if last and found["up_to_date"]:
                return

    async with serving(empty_url) as other:
        following = asyncio.create_task(follow(other))
        await asyncio.gather(*(write_some((empty, other)[n % 2]) for n in range(12)))
        writing = False
        await following
    assert [item["seq"] for item in seen] == list(range(1, 12 * 11 + 1))
    for identity in {item["id"] for item in seen}:
        versions = [item["version"] for item in seen if item["id"] == identity]
        assert versions == list(range(1, 12))


# --- transactions ----------------------------------------------------------------------------


async def test_who_begins_first_and_commits_last_is_not_missed(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    async with owner(empty_url) as late, owner(empty_url) as later:
        first, second = late.transaction(), later.transaction()
        await first.start()
        await late.execute(ADD, "late")
        await second.start()
        await later.execute(ADD, "later")
        made = [await create(empty, EVERY[RecordType.CLAIM])]
        found = await page(empty)
        assert [item["id"] for item in found["items"]] == [made[0].id]
        assert found["up_to_date"]
        made.append(await create(empty, EVERY[RecordType.CLAIM]))
        since = await cursor_of(empty, found["next_cursor"])
        await second.commit()
        items = (await page(empty, since))["items"]
        await late.execute(ADD, "late again")
        await first.commit()
        items = [*items, *(await walk(empty, since))[len(items) :]]
    assert [item["record"]["text"] for item in items] == ["later", "late", "late again"]
    whole = await walk(empty)
    assert whole[2:] == items
    assert [item["id"] for item in whole[:2]] == [each.id for each in made]


async def test_a_transaction_s_changes_come_in_order_without_what_was_rolled_back(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    async with owner(empty_url) as connection, connection.transaction():
        await connection.execute(ADD, "one")
        taken_back = connection.transaction()
        await taken_back.start()
        await connection.execute(ADD, "never")
        await taken_back.rollback()
        async with connection.transaction():
            await connection.execute(ADD, "two")
            await connection.execute("UPDATE claims SET note = 'x' WHERE text = 'one'")
        await connection.execute(ADD, "three")
        assert await walk(empty) == []
    items = await walk(empty)
    assert [(item["record"]["text"], item["version"]) for item in items] == [
        ("one", 1),
        ("two", 1),
        ("one", 2),
        ("three", 1),
    ]


# --- types -----------------------------------------------------------------------------------


async def test_types_are_told_apart_and_deletions_are_told_too(empty: httpx.AsyncClient) -> None:
    for noun in EVERY.values():
        await delete(empty, await create(empty, noun))
    whole = await walk(empty)
    assert len(whole) == 2 * len(EVERY)
    for types in (["claim"], ["denial", "article"], ["source", "claim", "article", "denial"]):
        expected = [item for item in whole if item["type"] in types]
        for limit in (1, 2, 500):
            assert await walk(empty, types=",".join(types), limit=limit) == expected


@pytest.mark.parametrize("types", ["", "claims", "claim,", "claim,claim", "claim, denial", "CLAIM"])
async def test_types_that_are_none_are_refused(client: httpx.AsyncClient, types: str) -> None:
    assert await refused(client, types=types) == (400, "invalid-parameter")


async def test_a_cursor_goes_on_with_fewer_types_but_not_with_more(
    empty: httpx.AsyncClient,
) -> None:
    for noun in EVERY.values():
        await create(empty, noun)
    both = await cursor_of(empty, "start", types="claim,denial", limit=1)
    everything = await cursor_of(empty, "start", limit=1)
    whole = await walk(empty)
    read = {both: min(i["seq"] for i in whole if i["type"] in {"claim", "denial"}), everything: 1}
    for since, types in ((both, "claim"), (both, "denial,claim"), (everything, "source")):
        items = await walk(empty, since, types=types)
        left = [item for item in whole if item["seq"] > read[since]]
        assert items == [item for item in left if item["type"] in types.split(",")]
    fewer = await cursor_of(empty, both, types="claim")
    for since, types in ((both, "claim,source"), (fewer, "denial"), (fewer, "claim,denial")):
        assert await refused(empty, since=since, types=types) == (400, "cursor-mismatch")
    assert await refused(empty, since=both) == (400, "cursor-mismatch")


@pytest.mark.long
async def test_one_among_very_many_of_other_types_is_found(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    """Also where a reading ends right before it, at it, and right behind it."""
    number = 2 * MAX_SCANNED + 100
    places = {1, MAX_SCANNED - 1, MAX_SCANNED, MAX_SCANNED + 1, 2 * MAX_SCANNED, number}
    async with owner(empty_url) as connection:
        await connection.execute(
            "INSERT INTO outbox (record_type, record_id, version, op, at, visibility_after)"
            " SELECT CASE WHEN n = ANY($2) THEN 'claim' ELSE 'source' END,"
            " gen_random_uuid(), 1, 'created', clock_timestamp(), 0"
            " FROM generate_series(1, $1::integer) AS n ORDER BY n",
            number,
            sorted(places),
        )
    for limit in (1, 500):
        items = await walk(empty, types="claim", limit=limit)
        assert [item["seq"] for item in items] == sorted(places)
    assert len(await walk(empty, types="source", limit=1000)) == number - len(places)


async def test_a_reader_of_little_among_very_much_is_not_kept_until_the_end(
    empty: httpx.AsyncClient, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is hidden is passed over, but not for as long as it takes."""
    number = 30
    async with owner(empty_url) as connection:
        await connection.execute(
            "INSERT INTO outbox (record_type, record_id, version, op, at, visibility_after)"
            " SELECT 'claim', gen_random_uuid(), 1, 'created', clock_timestamp(), 1"
            " FROM generate_series(1, $1::integer)",
            number,
        )
    nobody = asking(empty, None)
    monkeypatch.setattr(changes, "MAX_READING_SECONDS", PATIENCE)
    whole = await page(nobody, limit=1)
    assert (whole["items"], whole["up_to_date"]) == ([], True)
    monkeypatch.setattr(changes, "MAX_READING_SECONDS", 0)  # over as soon as anything was read
    since, steps = "start", 0
    while since != whole["next_cursor"]:
        found = await page(nobody, since, limit=1)
        assert (found["items"], found["next_cursor"] != since) == ([], True)
        since, steps = found["next_cursor"], steps + 1
    assert (steps, found["up_to_date"]) == (number, True)


# --- sizes -----------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_page_of_large_records_is_cut_and_nothing_is_missed(
    empty: httpx.AsyncClient,
) -> None:
    """Deletions, which weigh nothing, stand between them and at their end."""
    text = "x" * (3 * 1_048_576)
    for number in range(4):
        body = {"headline": f"{number}", "text": text}
        made = await create(empty, EVERY[RecordType.ARTICLE], body)
        if number == 1:
            await delete(empty, made)
    small = await create(empty, EVERY[RecordType.CLAIM])
    await delete(empty, small)
    since, seen, pages = "start", [], 0
    while True:
        answer = await empty.get("/v1/changes", params={"since": since})
        assert len(answer.content) < 9 * 1_048_576
        found = answer.json()
        assert found["items"]
        seen += [item["seq"] for item in found["items"]]
        since, pages = found["next_cursor"], pages + 1
        if found["up_to_date"]:
            break
    assert seen == list(range(1, 8))
    assert pages > 1
    for types in ("claim", "article", "claim,article"):
        expected = [seq for seq in seen if types != "claim" or seq > 5]
        expected = [seq for seq in expected if types != "article" or seq < 6]
        assert [item["seq"] for item in await walk(empty, types=types)] == expected


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 1001}, {"wait": -1}, {"wait": 31},
                                   {"wait": "1.5"}, {"since": ""}, {"since": "Start"},
                                   {"cursor": "x"}])  # fmt: skip
async def test_what_is_out_of_bounds_is_refused(client: httpx.AsyncClient, asked: Any) -> None:
    assert (await refused(client, **asked))[0] == 400


# --- waiting ---------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[None]:
    """Tell of each reader that has begun to wait for the feed to go on."""
    moved = Feed.moved
    begun: asyncio.Queue[None] = asyncio.Queue()

    async def seen(self: Feed, *arguments: Any, eager: bool = True) -> bool:
        if eager:
            begun.put_nowait(None)
        return await moved(self, *arguments, eager=eager)

    monkeypatch.setattr(Feed, "moved", seen)
    return begun


async def test_who_waits_is_told_as_soon_as_there_is_a_change(
    empty_url: str, waits: asyncio.Queue[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is why it is looked: left alone, the service would look after the wait is over."""
    monkeypatch.setattr("api.sync.feed.following.IDLE_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr("api.sync.feed.following.LIVELY_SECONDS", 0)
    async with serving(empty_url) as reading, serving(empty_url) as other:
        for writer in (reading, other):
            since = await cursor_of(reading)
            waiting = asyncio.create_task(page(reading, since, wait=30))
            await asyncio.wait_for(waits.get(), PATIENCE)
            made = await create(writer, EVERY[RecordType.CLAIM])
            assert told((await waiting)["items"]) == [("created", made.id, 1)]


@pytest.mark.long
async def test_who_waits_in_vain_gets_an_empty_page_when_the_time_is_over(
    empty: httpx.AsyncClient, waits: asyncio.Queue[None]
) -> None:
    await create(empty, EVERY[RecordType.CLAIM])
    since = await cursor_of(empty)
    started = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        found = await page(empty, since, wait=1)
    assert time.monotonic() - started >= 0.9  # timers of a loop may be a little early
    assert found == {"items": [], "next_cursor": since, "up_to_date": True}
    assert waits.qsize() == 1
    hidden = asyncio.create_task(page(asking(empty, None), "now", wait=1))
    await asyncio.wait_for(waits.get(), PATIENCE)
    await asyncio.wait_for(waits.get(), PATIENCE)
    await create(empty, EVERY[RecordType.CLAIM])  # a draft
    assert (await hidden)["items"] == []


async def test_who_has_something_to_read_does_not_wait(
    empty: httpx.AsyncClient, waits: asyncio.Queue[None]
) -> None:
    await create(empty, EVERY[RecordType.CLAIM])
    assert len((await page(empty, wait=30))["items"]) == 1
    assert waits.empty()


async def test_waiting_takes_no_connection_of_the_pool(
    empty_url: str, waits: asyncio.Queue[None]
) -> None:
    async with serving(empty_url, patient(pool_size=1, rate_per_minute=0)) as client:
        since = await cursor_of(client)
        waiting = [asyncio.create_task(page(client, since, wait=30)) for _ in range(50)]
        for _ in waiting:
            await asyncio.wait_for(waits.get(), PATIENCE)
        for _ in range(20):
            assert (await client.get("/v1/claims")).status_code == 200
        assert not any(task.done() for task in waiting)
        made = await create(client, EVERY[RecordType.CLAIM])
        for found in await asyncio.gather(*waiting):
            assert told(found["items"]) == [("created", made.id, 1)]


async def test_one_who_gives_up_does_not_disturb_the_others(empty: httpx.AsyncClient) -> None:
    await create(empty, EVERY[RecordType.CLAIM])
    since = await cursor_of(empty)
    for _ in range(20):
        asking_now = [asyncio.create_task(page(empty, "start")) for _ in range(10)]
        waiting = [asyncio.create_task(page(empty, since, wait=30)) for _ in range(10)]
        await asyncio.sleep(0.002)
        for task in (*asking_now[::2], *waiting[::2]):
            task.cancel()
        made = await create(empty, EVERY[RecordType.CLAIM])
        for task in asking_now[1::2]:
            assert (await task)["items"]
        for task in waiting[1::2]:
            assert told((await task)["items"]) == [("created", made.id, 1)]
        since = await cursor_of(empty)


# --- who sees what ---------------------------------------------------------------------------


async def test_what_comes_and_goes_is_told_as_created_and_removed(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    world = World(empty)
    nobody = asking(empty, None)
    editor = await reader(empty, empty_url, Scope.DRAFTS_READ)
    hidden = await world.add("claims", "hidden")
    await world.patch("hidden", note="still")
    await world.add("claims", "c", review_status="published")
    await world.patch("c", note="seen")
    await world.patch("c", review_status="draft")
    await world.patch("c", note="unseen")
    back = await world.patch("c", review_status="published")
    assert (await world.delete("hidden")).status_code == 204
    identity = world.id("c")
    items = await walk(nobody)
    assert told(items) == [
        ("created", identity, 1),
        ("updated", identity, 2),
        ("removed", identity, 3),
        ("created", identity, 5),
    ]
    assert [item["record"] is None for item in items] == [False, False, True, False]
    assert items[-1]["record"] == back
    whole = await walk(editor)
    assert [item["op"] for item in whole] == [
        *("created", "updated", "created", "updated", "updated", "updated", "updated", "deleted")
    ]
    assert whole == await walk(empty)
    assert hidden["id"] not in json.dumps(items)


async def test_what_is_hidden_today_tells_nothing_of_what_it_was(
    empty: httpx.AsyncClient,
) -> None:
    world = World(empty)
    await world.add("sources", "s", name="Somebody Secret")
    await world.add("claims", "c", text="Something Secret", review_status="published")
    await world.patch("s", confidentiality="protected")
    await world.patch("c", review_status="killed")
    items = await walk(asking(empty, None))
    assert [(item["op"], item["record"]) for item in items] == [
        ("created", None),
        ("created", None),
        ("removed", None),
        ("removed", None),
    ]
    assert "Secret" not in json.dumps(items)
    assert "Secret" in json.dumps(await walk(empty))


async def test_classes_that_are_not_nested_are_told_by_themselves(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    """A confidant sees what is public and what is confidential, but nothing in between."""
    world = World(empty)
    confidant = await reader(empty, empty_url, Scope.READ, Scope.CONFIDENTIAL_READ)
    editor = await reader(empty, empty_url, Scope.DRAFTS_READ)
    nobody = asking(empty, None)
    await world.add("sources", "s")
    for level in ("restricted", "internal", "protected", "public"):
        await world.patch("s", confidentiality=level)
    for client, expected in (
        (confidant, ["created", "updated", "removed", "created", "updated"]),
        (editor, ["created", "removed", "created", "removed", "created"]),
        (nobody, ["created", "removed", None, None, "created"]),
        (empty, ["created", *["updated"] * 4]),
    ):
        ops: list[str | None] = [None] * 5
        for item in await walk(client):
            ops[item["version"] - 1] = item["op"]
        assert ops == expected


async def test_deletion_and_restoring_of_what_is_hidden_are_not_told(
    empty: httpx.AsyncClient,
) -> None:
    world, nobody = World(empty), asking(empty, None)
    for name, more in (("draft", {}), ("open", {"review_status": "published"})):
        await world.add("claims", name, **more)
        tombstone = await world.delete(name)
        match = {"if-match": tombstone.headers["etag"]}
        answer = await empty.post(f"{world.at(name)}/restore", headers=match)
        assert answer.status_code == 200
    await world.delete("open")
    items = await walk(nobody)
    assert told(items) == [
        (op, world.id("open"), number)
        for number, op in enumerate(("created", "deleted", "restored", "deleted"), 1)
    ]


async def let_embargoes_end(url: str, table: str) -> None:
    """Have the time come until which records of a table are under embargo."""
    async with owner(url) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            f"UPDATE {table} SET embargoed_until = clock_timestamp(), lifts_at = clock_timestamp()"
            " WHERE lifts_at IS NOT NULL"
        )


@pytest.mark.parametrize("plural", ["articles", "claims", "denials"])
async def test_the_end_of_an_embargo_creates_for_readers_and_updates_for_the_rest(
    empty: httpx.AsyncClient, empty_url: str, plural: str
) -> None:
    public = {} if plural == "articles" else {"review_status": "published"}
    body = {**MINIMAL[plural], **public, "embargoed_until": "2999-01-01T00:00:00Z"}
    made = (await empty.post(f"/v1/{plural}", json=body)).json()
    nobody = asking(empty, None)
    editor = await reader(empty, empty_url, Scope.DRAFTS_READ)
    before, whole = await cursor_of(nobody), await cursor_of(editor)
    assert await walk(nobody) == []
    await let_embargoes_end(empty_url, plural)
    (item,) = (await page(nobody, before, wait=30))["items"]
    assert told([item]) == [("created", made["id"], 2)]
    assert item["record"] == (await nobody.get(f"/v1/{plural}/{made['id']}")).json()
    assert told((await page(editor, whole))["items"]) == [("updated", made["id"], 2)]


async def test_a_cursor_is_for_readers_who_see_the_same(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    """Who sees more has missed changes, and who sees less would keep records for ever."""
    world = World(empty)
    await world.add("claims", "draft")
    await world.add("sources", "secret", confidentiality="protected")
    await world.add("claims", "open", review_status="published")
    nobody = asking(empty, None)
    writer = await reader(empty, empty_url, Scope.READ, Scope.CLAIMS_WRITE)
    confidant = await reader(empty, empty_url, Scope.READ, Scope.CONFIDENTIAL_READ)
    narrow, wide = await cursor_of(nobody), await cursor_of(empty)
    for since, others in (narrow, (empty, writer, confidant)), (wide, (nobody, writer, confidant)):
        for client in others:
            answer = await client.get("/v1/changes", params={"since": since})
            assert (answer.status_code, answer.json()["code"]) == (410, "resync-required")
            assert answer.json()["export"] == "/v1/export"
    # Where the types asked for hold neither more nor less, there is nothing to miss or to keep.
    for one, other in (nobody, writer), (writer, nobody):
        assert await walk(other, await cursor_of(one), types="source,article") == []
    assert await walk(confidant, narrow, types="claim,denial") == []
    editor = await reader(empty, empty_url, Scope.READ, Scope.DRAFTS_READ)
    assert await walk(editor, wide, types="claim") == []
    # The writer does not see the claims that appear in hidden articles.
    assert await refused(writer, since=wide, types="claim") == (410, "resync-required")
    assert await refused(writer, since=narrow, types="claim") == (410, "resync-required")
    assert await refused(nobody, since=wide, types="claim") == (410, "resync-required")


async def test_a_copy_is_not_continued_under_a_key_that_sees_less(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    """The feed of the narrower key does not tell that a draft was deleted."""
    world = World(empty)
    await world.add("claims", "draft")
    narrow = await reader(empty, empty_url, Scope.READ)
    header, *_ = (await empty.get("/v1/export")).text.splitlines()
    assert world.id("draft") in (await empty.get("/v1/export?types=claim")).text
    await world.delete("draft")
    since = json.loads(header)["cursor"]
    assert await walk(narrow) == []
    assert await refused(narrow, since=since) == (410, "resync-required")


async def test_it_takes_a_key_where_reading_does(empty_url: str) -> None:
    async with serving(empty_url, patient(open_reads=False)) as closed:
        assert await refused(asking(closed, None)) == (401, "unauthorized")


# --- another feed ----------------------------------------------------------------------------


async def expect_whole(client: httpx.AsyncClient, before: list[Record]) -> list[Record]:
    """Walk a feed that goes on where another one was copied, writing to it."""
    items = await walk(client)
    assert items[: len(before)] == before
    since = await cursor_of(client)
    made = [await create(client, EVERY[RecordType.CLAIM]) for _ in range(5)]
    assert [item["id"] for item in await walk(client, since)] == [each.id for each in made]
    whole = await walk(client)
    assert whole[: len(items)] == items
    assert [item["seq"] for item in whole] == list(range(1, len(items) + 6))
    assert len({(item["id"], item["version"]) for item in whole}) == len(whole)
    return items


async def test_a_copy_of_the_database_has_a_feed_of_its_own(empty_url: str) -> None:
    async with serving(empty_url) as original:
        world = World(original)
        for number in range(3):
            await world.add("claims", f"c{number}")
        before, since = await walk(original), await cursor_of(original)
        first = await cursor_of(original, "start", limit=1)
    async with owner(empty_url) as connection:
        await connection.execute(ADD, "committed, not numbered")
    async with cloned(empty_url) as copied, serving(copied) as copy:
        for old in (since, first):
            answer = await copy.get("/v1/changes", params={"since": old})
            assert (answer.status_code, answer.json()["code"]) == (410, "resync-required")
        items = await expect_whole(copy, before)
        assert items[-1]["record"]["text"] == "committed, not numbered"
        assert len(items) == 4
    async with serving(empty_url) as original:
        assert [item["seq"] for item in await walk(original, since)] == [4]


@pytest.mark.parametrize("running", [True, False])
async def test_a_restore_into_a_younger_cluster_loses_and_doubles_nothing(
    empty_url: str, running: bool
) -> None:
    """What the outbox brings along are ids that transactions here have not reached yet."""
    here = "pg_current_xact_id()::text::bigint"
    foreign = (
        "UPDATE outbox SET xid = (9000000000000000000 - id)::text::xid8",
        f"UPDATE outbox SET xid = ({here} + id)::text::xid8 WHERE id > 2",
        "UPDATE feed_states SET place = 'elsewhere', snapshot = '8000:8000:'",
    )
    async with serving(empty_url) as client:
        world = World(client)
        for number in range(5):
            await world.add("claims", f"c{number}")
        before, since = await walk(client), await cursor_of(client)
        if running:
            async with owner(empty_url) as connection, connection.transaction():
                for statement in foreign:
                    await connection.execute(statement)
            assert await refused(client, since=since) == (410, "resync-required")
            assert len(await expect_whole(client, before)) == 5
    if not running:
        async with owner(empty_url) as connection:
            await connection.execute(ADD, "not numbered")
            for statement in foreign:
                await connection.execute(statement)
        async with serving(empty_url) as client:
            assert await refused(client, since=since) == (410, "resync-required")
            assert len(await expect_whole(client, before)) == 6


async def run(program: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Run a program; give what it writes."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    written, _ = await process.communicate(given)
    return written


async def test_a_restored_dump_has_a_feed_of_its_own(template: str, empty_url: str) -> None:
    async with serving(empty_url) as original:
        world = World(original)
        for number in range(3):
            await world.add("sources", f"s{number}")
        before, since = await walk(original), await cursor_of(original)
    async with owner(empty_url) as connection:
        await connection.execute(ADD, "not numbered")
    binaries = find_binaries()
    dump = await run(binaries / "pg_dump", "--format=custom", empty_url)
    name = f"test_{uuid4().hex}"
    async with owner(in_database(template, "postgres")) as server:
        await server.execute(f"CREATE DATABASE {name}")
        try:
            url = in_database(template, name)
            # A dump by newer binaries sets what an older server does not know; that alone fails.
            await run(binaries / "pg_restore", "--dbname", url, given=dump)
            async with serving(url) as restored:
                assert await refused(restored, since=since) == (410, "resync-required")
                items = await expect_whole(restored, before)
                assert items[-1]["record"]["text"] == "not numbered"
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def go_back(url: str, seq: int) -> None:
    """Take the newest changes out of a feed, as a restore that nobody noticed would."""
    async with owner(url) as connection, connection.transaction():
        await connection.execute(
            "DELETE FROM outbox WHERE id IN (SELECT outbox_id FROM feed WHERE seq > $1)", seq
        )
        await connection.execute("DELETE FROM feed WHERE seq > $1", seq)
        await connection.execute("DELETE FROM feed_states WHERE seq > $1", seq)


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_feed_that_went_back_never_passes_another_s_changes_for_the_same(
    empty_url: str, restarted: bool
) -> None:
    async with serving(empty_url) as client:
        since, cursors = "start", []
        for _ in range(6):
            await create(client, EVERY[RecordType.CLAIM])
            since = await cursor_of(client, since)
            cursors.append(since)
        for old in cursors:
            await walk(client, old)
        await go_back(empty_url, 3)
        if not restarted:
            await expect_gone_back(client, cursors)
    if restarted:
        async with serving(empty_url) as client:
            await expect_gone_back(client, cursors)


async def expect_gone_back(client: httpx.AsyncClient, cursors: list[str]) -> None:
    for old in cursors[3:]:
        assert await refused(client, since=old) == (410, "resync-required")
    assert [item["seq"] for item in await walk(client, cursors[0])] == [2, 3]
    made = []
    for _ in range(3):
        made.append(await create(client, EVERY[RecordType.CLAIM]))
        await page(client, "now")
    for old in cursors[3:]:
        assert await refused(client, since=old) == (410, "resync-required")
    for number, old in enumerate(cursors[:3], 1):
        items = await walk(client, old)
        assert [item["seq"] for item in items] == list(range(number + 1, 7))
        assert [item["id"] for item in items[-3:]] == [each.id for each in made]


async def test_a_feed_with_a_hole_is_unavailable_and_asks_nobody_forever(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    for _ in range(4):
        await create(empty, EVERY[RecordType.CLAIM])
    since = await cursor_of(empty, "start", limit=2)
    await page(empty)
    async with owner(empty_url) as connection:
        await connection.execute("DELETE FROM feed WHERE seq > 2")
    async with asyncio.timeout(PATIENCE):
        for asked in ({"since": since}, {"since": since, "types": "claim"}, {"since": "now"}):
            assert await refused(empty, **asked) == (503, "unavailable")


async def test_cursors_that_are_none_are_refused(empty: httpx.AsyncClient) -> None:
    for _ in range(2):
        await create(empty, EVERY[RecordType.CLAIM])
    found = await cursor_of(empty)
    mutated = {found[:-1], found[1:], found + "A", found + "=", f" {found}", found.swapcase()}
    mutated |= {
        found[:at] + ("A" if found[at] != "A" else "B") + found[at + 1 :]
        for at in range(0, len(found), 3)
    }
    list_cursor = (await empty.get("/v1/claims?limit=1")).json()["next_cursor"]
    for since in mutated | {"é", "%00", "🇰🇷"}:
        answer = await empty.get("/v1/changes", params={"since": since})
        assert answer.status_code == 400, since
        assert answer.json()["code"] == "invalid-cursor"
        (error,) = answer.json()["errors"]
        assert error["parameter"] == "since"
    assert await refused(empty, since=list_cursor) == (400, "cursor-mismatch")
    answer = await empty.get("/v1/claims", params={"cursor": found})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor-mismatch")


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["", 0, "", 15],
        ["x", -1, "", 15, 0],
        ["x", 2**53, "", 15, 0],
        ["x", 2**70, "", 15, 0],
        ["x", 1.5, "", 15, 0],
        ["x", "1", "", 15, 0],
        ["x", 1, None, 15, 0],
        ["x" * 41, 1, "", 15, 0],
        ["x", 1, "", 2**60, 0],
        ["x", 1, "", 15, -1],
    ],
)
async def test_cursors_that_are_made_up_are_refused(
    client: httpx.AsyncClient, values: list[Any]
) -> None:
    since = write(fingerprint("changes"), values)
    assert await refused(client, since=since) == (400, "invalid-cursor")


async def test_made_up_positions_are_of_no_feed(empty: httpx.AsyncClient, empty_url: str) -> None:
    await create(empty, EVERY[RecordType.CLAIM])
    await page(empty)
    async with owner(empty_url) as connection:
        epoch = await connection.fetchval("SELECT epoch FROM feed_states ORDER BY id DESC LIMIT 1")
    everything = 2**12 - 1
    for position in ((epoch, 2, ""), (epoch, 2**53 - 1, "x"), (epoch, 1, ""), (epoch, 1, "a" * 12),
                     ("", 0, ""), ("x\x00", 0, "")):  # fmt: skip
        since = write(fingerprint("changes"), [*position, 15, everything])
        assert await refused(empty, since=since) == (410, "resync-required")


# --- numbering -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO feed (seq, outbox_id) VALUES (1000, 1000)",
        "UPDATE feed SET seq = seq + 1000",
        "DELETE FROM feed",
        "TRUNCATE feed",
        "INSERT INTO feed_states SELECT * FROM feed_states",
        "UPDATE feed_states SET epoch = 'x'",
        "DELETE FROM feed_states",
        "TRUNCATE feed_states",
        "UPDATE outbox SET xid = '3'",
        "DELETE FROM outbox",
        "CREATE TABLE public.feed_state (epoch text)",
        "CREATE FUNCTION public.feed_place(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
    ],
)
async def test_only_numbering_writes_the_feed(empty_url: str, statement: str) -> None:
    async with owner(as_service(empty_url)) as service:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)


async def test_a_temporary_table_does_not_stand_in_for_the_feed(empty_url: str) -> None:
    async with owner(empty_url) as connection:
        await connection.execute(ADD, "one")
    async with owner(as_service(empty_url)) as service:
        for table in ("feed", "feed_states", "outbox", "pg_database"):
            schema = "pg_catalog" if table.startswith("pg_") else "public"
            await service.execute(
                f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM {schema}.{table} LIMIT 0"
            )
        await service.execute(
            "CREATE FUNCTION pg_temp.feed_place() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$"
        )
        await service.execute("SET search_path = pg_temp, public")
        epoch, seq, _ = await service.fetchrow("SELECT * FROM sequence_feed(true)") or [None] * 3
        assert await service.fetchval("SELECT count(*) FROM pg_temp.feed_states") == 0
    async with owner(empty_url) as connection:
        row = await connection.fetchrow(
            "SELECT epoch, seq FROM feed_states ORDER BY id DESC LIMIT 1"
        )
        assert row is not None
        assert tuple(row) == (epoch, seq)
        assert seq == 1
        assert await connection.fetchval("SELECT count(*) FROM feed") == 1


async def test_numbering_goes_on_when_postgres_has_ended_its_connections(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    since = await cursor_of(empty)
    made = []
    for _ in range(3):
        async with owner(empty_url) as connection:
            await connection.execute(
                # It waits for their end: one that ends later would cut a request further down.
                "SELECT pg_terminate_backend(pid, $1) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                PATIENCE * 1000,
            )
            made.append(await connection.fetchval(f"{ADD} RETURNING id", "x"))
        async with asyncio.timeout(PATIENCE):
            answer = await empty.get("/v1/changes", params={"since": "now"})
            while answer.status_code != 200:
                assert answer.status_code == 503
                answer = await empty.get("/v1/changes", params={"since": "now"})
    assert [item["id"] for item in await walk(empty, since)] == [str(each) for each in made]


async def test_a_database_that_takes_no_writes_can_still_be_read(empty_url: str) -> None:
    name = urlsplit(empty_url).path.removeprefix("/")
    async with serving(empty_url) as client:
        await create(client, EVERY[RecordType.CLAIM])
        items, since = await walk(client), await cursor_of(client)
    async with owner(empty_url) as connection:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            async with serving_as_it_is(empty_url) as client:
                assert await walk(client) == items
                assert await walk(client, since) == []
                assert (await client.get("/health/ready")).status_code == 503
        finally:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


@asynccontextmanager
async def standing_still(url: str) -> AsyncIterator[None]:
    """Let nobody number meanwhile, as while somebody numbers a very large import."""
    async with owner(url) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(7378697629483820646)")
        yield


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Feed]:
    """Have a feed as a process has it."""
    database = Database(as_service(url), patient(pool_size=2))
    await database.open()
    found = Feed(database)
    try:
        async with found.following():
            yield found
    finally:
        await database.close()


def impatient() -> Settings:
    """Give settings by which nobody waits for numbering."""
    return patient(pool_size=2, rate_per_minute=0, lock_seconds=0.1)


async def test_what_is_hidden_while_numbering_stands_still_is_hidden_at_once(
    empty_url: str,
) -> None:
    async with serving(empty_url, impatient()) as client:
        world, nobody = World(client), asking(client, None)
        since = await cursor_of(nobody)
        await world.add("claims", "c", review_status="published")
        (item,) = (await page(nobody, since))["items"]
        assert item["record"]["id"] == world.id("c")
        async with standing_still(empty_url):
            await world.patch("c", review_status="draft")
            found = await page(nobody, since)
            assert told(found["items"]) == [("created", world.id("c"), 1)]
            assert found["items"][0]["record"] is None
            assert not found["up_to_date"]
        assert [item["op"] for item in await walk(nobody, since)] == ["created", "removed"]


async def test_what_one_has_read_is_not_for_those_who_ask_later(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody has looked since whether the feed goes on."""
    monkeypatch.setattr("api.sync.feed.following.IDLE_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr("api.sync.feed.following.LIVELY_SECONDS", 0)
    monkeypatch.setattr("api.sync.feed.following.SHARED_SECONDS", 0)
    async with owner(empty_url) as connection:
        await connection.execute(ADD, "Secret")
        await connection.execute("UPDATE claims SET review_status = 'published'")
        async with following(empty_url) as found:
            start = await found.position(0)
            before = await found.behind(start, Wanted(READER.sight, 10))
            await connection.execute("UPDATE claims SET review_status = 'draft'")
            after = await found.behind(start, Wanted(READER.sight, 10))
    assert before.to == after.to
    (was,), (now,) = (list(map(json.loads, each.texts)) for each in (before, after))
    assert was["record"]["text"] == "Secret"
    assert now == {**was, "record": None}


async def test_who_waits_is_not_told_of_an_end_that_nobody_can_tell(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Feed.moved
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def seen(self: Feed, *arguments: Any, eager: bool = True) -> bool:
        if eager:
            begun.set()
            await go_on.wait()
        return await moved(self, *arguments, eager=eager)

    async with serving(empty_url, impatient()) as client:
        since = await cursor_of(client)
        monkeypatch.setattr(Feed, "moved", seen)
        waiting = asyncio.create_task(page(client, since, wait=1))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        async with standing_still(empty_url):
            made = await create(client, EVERY[RecordType.CLAIM])
            go_on.set()
            assert await waiting == {"items": [], "next_cursor": since, "up_to_date": False}
        assert told(await walk(client, since)) == [("created", made.id, 1)]


async def test_who_waits_hears_of_another_feed_at_once(empty_url: str) -> None:
    async with following(empty_url) as found:
        place = await found.position((await found.catch_up()).seq)
        waiting = asyncio.create_task(found.moved(place, PATIENCE))
        async with owner(empty_url) as connection:
            await connection.execute("UPDATE feed_states SET place = 'elsewhere'")
        assert await waiting
        assert found.head is not None
        assert (found.head.epoch != place.epoch, found.head.seq) == (True, place.seq)


async def test_numbering_that_hangs_is_given_up_and_begun_anew(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbering = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND query ~ 'sequence_feed|pg_current_snapshot|seal_feed'"
    )
    async with serving(empty_url) as client, owner(empty_url) as connection:
        since = await cursor_of(client)
        first = await connection.fetchval(numbering)
        assert first is not None
        with monkeypatch.context() as patch:
            patch.setattr("api.sync.feed.numbering.NUMBERING_SECONDS", 0.2)
            async with standing_still(empty_url), asyncio.timeout(PATIENCE):
                made = await create(client, EVERY[RecordType.CLAIM])
                assert await refused(client, since=since) == (503, "unavailable")
                while {row["pid"] for row in await connection.fetch(numbering)} <= {first}:
                    pass
        async with asyncio.timeout(PATIENCE):
            while (await client.get("/v1/changes")).status_code != 200:
                pass
        assert told(await walk(client, since)) == [("created", made.id, 1)]


@pytest.mark.parametrize("waits", [True, False])
async def test_numbering_refuses_a_transaction_that_has_written(
    empty: httpx.AsyncClient, empty_url: str, waits: bool
) -> None:
    number = "SELECT seq FROM sequence_feed($1)"
    async with owner(as_service(empty_url)) as service:
        for statement in (ADD, "SELECT pg_current_xact_id(), $1::text"):
            async with service.transaction():
                await service.execute(statement, "found")
                with pytest.raises(asyncpg.ActiveSQLTransactionError):
                    await in_savepoint(service, number, waits)
        async with service.transaction():
            assert await service.fetchval("SELECT count(*) FROM claims") == 1
            assert await service.fetchval(number, waits) is not None
    assert [item["record"]["text"] for item in await walk(empty)] == ["found"]


async def in_savepoint(
    connection: asyncpg.Connection[asyncpg.Record], query: str, *arguments: Any
) -> None:
    """Ask within a transaction that is to go on whatever comes of it."""
    async with connection.transaction():
        await connection.fetchval(query, *arguments)


async def test_only_who_serves_may_number(empty_url: str) -> None:
    async with owner(empty_url) as connection:
        for role, may in (("public", False), (schema.SERVICE_ROLE, True)):
            asked = "SELECT has_function_privilege($1, 'sequence_feed(boolean)', 'EXECUTE')"
            assert await connection.fetchval(asked, role) is may


# --- cursors, looked into --------------------------------------------------------------------


def values_of(written: str) -> list[Any]:
    """Look into a cursor, as anybody can."""
    raw = urlsafe_b64decode(written + "=" * (-len(written) % 4))
    values: list[Any] = json.loads(raw[12:])
    return values


async def test_a_cursor_tells_nothing_of_a_change_that_its_reader_may_not_see(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    """Not even whether it is one that its reader has guessed."""
    made = await create(empty, EVERY[RecordType.CLAIM])
    await page(empty)
    async with owner(empty_url) as connection:
        at = await connection.fetchval("SELECT at FROM outbox")
        states = await connection.fetch("SELECT epoch, secret FROM feed_states ORDER BY id")
        copy = await connection.fetchval("SELECT uuid_send(gen_random_uuid())")
    _, seq, tag, *_ = values_of(await cursor_of(asking(empty, None)))
    text = f"{seq} claim {made.id} 1 {at.isoformat()}".encode()
    assert tag != blake2b(text, digest_size=6).hexdigest()
    assert tag != blake2b(text, digest_size=6, key=copy).hexdigest()
    secret: bytes = states[-1]["secret"]
    assert tag == blake2b(text, digest_size=6, key=secret).hexdigest()
    async with following(empty_url) as found:
        assert repr(secret) not in repr(await found.catch_up())
    # The database was copied from another one, whose epoch ended there.
    epochs = [row["epoch"] for row in states]
    assert len(set(epochs)) == 2
    assert epochs.count(epochs[-1]) > 1
    assert len({row["secret"] for row in states}) == len(set(states)) == 2


def made_up(of_list: bytes, values: bytes) -> str:
    """Write a cursor with any bytes for its values, as anybody can."""
    body = of_list + values
    check = blake2b(body, digest_size=6, person=b"cursor").digest()
    return urlsafe_b64encode(check + body).decode().rstrip("=")


DEEP: Final = b"[" * 3_000


@pytest.mark.parametrize("values", [b'["\xff",1,"",1,1]', b'["\xff"]', b'["\\ud800"]', DEEP])
async def test_cursors_whose_values_are_no_text_are_refused(
    client: httpx.AsyncClient, values: bytes
) -> None:
    listed = (await client.get("/v1/claims?limit=1")).json()["next_cursor"]
    if listed is None:
        for _ in range(2):
            await create(client, EVERY[RecordType.CLAIM])
        listed = (await client.get("/v1/claims?limit=1")).json()["next_cursor"]
    of_list = urlsafe_b64decode(listed + "=" * (-len(listed) % 4))[6:12]
    since = made_up(fingerprint("changes"), values)
    asked: list[tuple[str, Record, dict[str, str]]] = [
        ("/v1/claims", {"limit": 1, "cursor": made_up(of_list, values)}, {}),
        ("/v1/changes/stream", {}, {"last-event-id": since}),
    ]
    if values != DEEP:
        asked.append(("/v1/changes", {"since": since}, {}))
    for path, query, headers in asked:
        answer = await client.get(path, params=query, headers=headers)
        assert (path, answer.status_code) == (path, 400)
        assert answer.json()["code"] == "invalid-cursor"


async def test_an_event_s_id_is_no_longer_than_a_cursor(client: httpx.AsyncClient) -> None:
    padded = b'["x",0,"",15,4095' + b" " * 1_000 + b"]"
    given = {"last-event-id": made_up(fingerprint("changes"), padded)}
    answer = await client.get("/v1/changes/stream", headers=given)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-cursor")
