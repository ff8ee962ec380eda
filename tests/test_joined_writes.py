"""Writes that are joined have the effects and the answers of writes that come one by one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.access import keyring
from api.core.db import Database
from api.core.errors import PRECONDITION_FAILED, Problem
from api.core.request import SERVICE
from api.core.writing import batch, joined
from api.core.writing.batch import MAX_BYTES, Joined, LeftOut, write_batch
from api.core.writing.look_up import Found
from api.core.writing.single import Decision, Write, decide_and_settle
from api.records.claims import CLAIMS
from schemas.vocabularies import Scope
from tests.conftest import KEY, PATIENCE, allow, as_service, bearer, patient, serving
from tests.test_concurrency import blocked
from tests.world import World

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PATCH = {"content-type": "application/merge-patch+json"}
ANY = {**PATCH, "if-match": "*"}
KEYS = [keyring.written(f"joinedwrite{letter}", "0" * 30) for letter in "abc"]
"""Keys that see the same records."""


@pytest.fixture
async def world(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Give a service of its own, which has not seen any batch fail.

    It knows the keys already: a write that waited for that would come too late for a batch.
    """
    monkeypatch.setattr("api.access.authentication.FRESH_SECONDS", 10 * PATIENCE)
    for key in KEYS:
        await allow(database_url, key)
    async with serving(database_url) as client:
        for key in (KEY, *KEYS):
            assert (await client.get("/v1/me", headers=bearer(key))).json()["key_id"]
        yield World(client)


def _key_id(request: httpx.Request) -> str | None:
    return keyring.identity_of(request.headers["authorization"].removeprefix("Bearer "))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many writes each batch has; none is slow, whatever the machine is."""
    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", PATIENCE)
    sizes: list[int] = []

    async def noted(connection: Any, some: Sequence[Joined]) -> None:
        sizes.append(len(some))
        await write_batch(connection, some)

    monkeypatch.setattr("api.core.writing.joined.write_batch", noted)
    return sizes


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> list[list[str | None]]:
    """Note whose writes each batch has, in their order; none is slow, whatever the machine is."""
    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", PATIENCE)
    noted: list[list[str | None]] = []

    async def note(connection: Any, some: Sequence[Joined]) -> None:
        noted.append([each.write.author.caller.key_id for each in some])
        await write_batch(connection, some)

    monkeypatch.setattr("api.core.writing.joined.write_batch", note)
    return noted


def _claim(world: World, **fields: Any) -> dict[str, Any]:
    return world.body("claims", {"tags": [world.tag], **fields})


class Script:
    """Requests of all kinds that stand in each other's way, in a random order."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.draw = random.Random(seed)  # noqa: S311 - nothing here is secret
        self.requests: list[tuple[str, httpx.Request]] = []

    def add(self, kind: str, method: str, path: str, **more: Any) -> None:
        """Add a request of a kind, under which its outcome is counted."""
        headers = {
            "x-request-id": f"{kind.replace(' ', '-')}.{uuid4().hex}",
            **bearer(self.draw.choice(KEYS)),
            **more.pop("headers", {}),
        }
        request = self.world.client.build_request(method, path, headers=headers, **more)
        self.requests.append((kind, request))

    async def send(self) -> list[tuple[str, httpx.Request, httpx.Response]]:
        """Send all of them at once."""
        self.draw.shuffle(self.requests)
        answers = await asyncio.gather(
            *(self.world.client.send(request) for _, request in self.requests)
        )
        return [
            (kind, request, answer)
            for (kind, request), answer in zip(self.requests, answers, strict=True)
        ]


async def _script(world: World, seed: int) -> Script:
    """Write a script over records of its own; each kind has the outcome that one by one has."""
    await world.add("sources", "office")
    await world.add("sources", "unused")
    for name in ("hot", "versioned", "doomed", "kept"):
        await world.add("claims", name)
    await world.add("claims", "child", parent_claim_id="@kept")
    script = Script(world, seed)
    new, pair = str(uuid4()), {"namespace": "joined", "value": uuid4().hex}
    named = {"namespace": "joined", "value": uuid4().hex}
    for number in range(8):
        unique = [{"namespace": "joined", "value": f"{world.tag}-{number}"}]
        cited = [{"source_id": world.id("office")}]
        body = _claim(world, text=f"{number}", external_ids=unique, attributions=cited)
        script.add("create", "POST", "/v1/claims", json=body)
        body = _claim(world, external_ids=[pair])
        script.add("same external id", "POST", "/v1/claims", json=body)
        body = _claim(world, attributions=[{"source_id": str(uuid4())}])
        script.add("bad reference", "POST", "/v1/claims", json=body)
        script.add("patch", "PATCH", world.at("hot"), json={"note": f"{number}"}, headers=ANY)
        first = {**PATCH, "if-match": '"v1"'}
        note = {"note": f"{number}"}
        script.add("patch one version", "PATCH", world.at("versioned"), json=note, headers=first)
        script.add("delete", "DELETE", world.at("doomed"), headers={"if-match": "*"})
        script.add("delete what is referred to", "DELETE", world.at("kept"), headers=ANY)
        absent = {"if-none-match": "*"}
        script.add("put", "PUT", f"/v1/claims/{new}", json=_claim(world), headers=absent)
        body = _claim(world, note=f"{number}")
        script.add("upsert", "PUT", "/v1/claims/by-external-id", params=named, json=body)
    return script


OUTCOMES = {
    "create": {201: 8},
    "same external id": {201: 1, 409: 7},
    "bad reference": {422: 8},
    "patch": {200: 8},
    "patch one version": {200: 1, 412: 7},
    "delete": {204: 1, 410: 7},
    "delete what is referred to": {409: 8},
    "put": {201: 1, 412: 7},
    "upsert": {201: 1, 200: 7},
}


@pytest.mark.parametrize("seed", range(3))
async def test_writes_of_all_kinds_at_once_have_the_outcomes_of_one_by_one(
    world: World, connection: Connection, callers: list[list[str | None]], seed: int
) -> None:
    script = await _script(world, seed)
    answered = await script.send()
    statuses = {kind: Counter[int]() for kind in OUTCOMES}
    for kind, _, answer in answered:
        statuses[kind][answer.status_code] += 1
    assert statuses == OUTCOMES
    assert max(len(set(of_batch)) for of_batch in callers) > 1
    await _check_history(world, connection, answered)
    await _check_problems(world, answered)


async def _check_history(
    world: World,
    connection: Connection,
    answered: Sequence[tuple[str, httpx.Request, httpx.Response]],
) -> None:
    """Each write that succeeded has one revision, one event and one line of the audit log."""
    written = await connection.fetch(
        "SELECT r.record_id, r.version, r.op, r.doc, r.actor_request_id AS request"
        " FROM revisions AS r JOIN claims AS c ON c.id = r.record_id WHERE $1 = ANY(c.tags)",
        world.tag,
    )
    by_request = {row["request"]: row for row in written}
    events = await connection.fetch(
        "SELECT record_id, version FROM outbox WHERE record_id = ANY($1) ORDER BY id",
        list({row["record_id"] for row in written}),
    )
    assert sorted((e["record_id"], e["version"]) for e in events) == sorted(
        (row["record_id"], row["version"]) for row in written
    )
    seen: Counter[Any] = Counter()
    for event in events:  # in the order of the feed, no version is missing or comes too early
        seen[event["record_id"]] += 1
        assert event["version"] == seen[event["record_id"]]
    audited = await connection.fetch(
        "SELECT request_id, version, key_id FROM audit WHERE record_id = ANY($1::text[])",
        [str(row["record_id"]) for row in written],
    )
    assert len(audited) == len(written)
    assert {a["request_id"]: a["version"] for a in audited} == {
        row["request"]: row["version"] for row in written
    }
    keys = {a["request_id"]: a["key_id"] for a in audited}
    for _, request, answer in answered:
        if answer.is_success:
            assert keys[request.headers["x-request-id"]] == _key_id(request)
        row = by_request.get(request.headers["x-request-id"])
        assert answer.is_success == (row is not None)
        if row is not None and answer.content:
            assert answer.content == row["doc"]


async def _check_problems(
    world: World, answered: Sequence[tuple[str, httpx.Request, httpx.Response]]
) -> None:
    """Compare the problem of each kind with that of the same request by itself."""
    told: dict[str, httpx.Response] = {}
    for kind, request, answer in answered:
        if answer.is_success or kind in told:
            continue
        told[kind] = answer
        alone = await world.client.send(
            world.client.build_request(
                request.method, request.url, headers=request.headers, content=request.content
            )
        )
        assert _problem(alone) == _problem(answer)


def _problem(answer: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    return {**document, "status": answer.status_code, "instance": None}


async def test_two_with_one_idempotency_key_make_one_record(world: World) -> None:
    key = {"idempotency-key": uuid4().hex}
    others = [world.client.post("/v1/claims", json=_claim(world)) for _ in range(8)]
    same = [
        world.client.post("/v1/claims", json=_claim(world, text="once"), headers=key)
        for _ in range(2)
    ]
    answers = await asyncio.gather(*others, *same)
    assert {answer.status_code for answer in answers[:8]} == {201}
    kept = [answer for answer in answers[8:] if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in kept}) == 1


async def test_a_write_that_comes_alone_is_carried_out_by_itself(
    world: World, batches: list[int]
) -> None:
    for _ in range(3):
        await world.client.post("/v1/claims", json=_claim(world))
    assert batches == []


async def test_no_batch_has_more_than_so_many_writes(world: World, batches: list[int]) -> None:
    number = 2 * joined.MAX_JOINED + 2
    answers = await asyncio.gather(
        *(world.client.post("/v1/claims", json=_claim(world)) for _ in range(number))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert batches == [joined.MAX_JOINED, joined.MAX_JOINED, 2]


async def test_a_large_write_is_not_joined(world: World, batches: list[int]) -> None:
    text = "x" * MAX_BYTES
    answers = await asyncio.gather(
        *(world.client.post("/v1/articles", json={"headline": "h", "text": text}) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert batches == []


async def test_changes_of_large_records_are_not_joined(world: World, batches: list[int]) -> None:
    await world.add("articles", "large", text="x" * MAX_BYTES)
    answers = await asyncio.gather(
        *(world.client.patch(world.at("large"), json={"note": f"{n}"}, headers=ANY) for n in (1, 2))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert batches == []
    names = [f"claim {number}" for number in range(4)]
    for name in names:
        await world.add("claims", name, text="x" * 9_000, note="x" * 9_000)
    patches = [{"note": "y" * 100} for _ in names]
    answers = await asyncio.gather(
        *(
            world.client.patch(world.at(name), json=patch, headers=ANY)
            for name, patch in zip(names, patches, strict=True)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["version"] for answer in answers} == {2}


async def test_writes_are_not_joined_for_a_while_after_a_batch_has_failed(
    world: World, batches: list[int]
) -> None:
    for name in ("first", "second"):
        await world.add("sources", name)
    await world.add("claims", "reference", attributions=[{"source_id": world.id("first")}])

    async def send() -> list[int]:
        delete = world.client.delete(world.at("first"), headers={"if-match": "*"})
        change = world.client.patch(world.at("second"), json={"note": uuid4().hex}, headers=ANY)
        return [answer.status_code for answer in await asyncio.gather(delete, change)]

    assert await send() == [409, 200]
    assert batches == [2]
    assert await send() == [409, 200]
    assert batches == [2]


async def test_a_batch_that_writes_nothing_does_not_end_the_doubling(
    world: World, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.core.writing.joined.FIRST_PAUSE", 1)
    for name in ("cited", "other"):
        await world.add("sources", name)
    await world.add("claims", "reference", attributions=[{"source_id": world.id("cited")}])

    def change(name: str, match: str = "*") -> Any:
        headers = {**ANY, "if-match": match}
        return world.client.patch(world.at(name), json={"note": uuid4().hex}, headers=headers)

    def refused(name: str) -> Any:
        return change(name, '"v999"')

    def delete() -> Any:
        return world.client.delete(world.at("cited"), headers={"if-match": "*"})

    await asyncio.gather(delete(), refused("other"))  # it fails, and one write is not joined
    await change("other")
    await asyncio.gather(refused("cited"), refused("other"))  # there is nothing to write
    await asyncio.gather(delete(), refused("other"))  # it fails, and two writes are not joined
    assert batches == [2, 2, 2]
    await asyncio.gather(change("cited"), change("other"))
    assert batches == [2, 2, 2]
    await asyncio.gather(change("cited"), change("other"))
    assert batches == [2, 2, 2, 2]


async def test_who_waits_for_a_lock_holds_up_nobody_else(world: World, database_url: str) -> None:
    for name in ("locked", "free"):
        await world.add("claims", name)
    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM claims WHERE id = $1 FOR UPDATE", world.id("locked"))

        async def patch(name: str) -> httpx.Response:
            return await world.client.patch(world.at(name), json={"note": uuid4().hex}, headers=ANY)

        waiting = [asyncio.create_task(patch("locked"))]
        await asyncio.sleep(0)
        answers = await asyncio.gather(*(patch("free") for _ in range(3)))
        assert {answer.status_code for answer in answers} == {200}
        assert not any(task.done() for task in waiting)
        await transaction.rollback()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    finally:
        await other.close()


async def test_who_waits_for_a_lock_after_a_batch_has_failed_makes_no_further_one_fail(
    world: World,
    database_url: str,
    callers: list[list[str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await world.add("articles", "held")
    held_up, free = KEYS[:2]
    note, after_the_batch = vars(joined)["write_batch"], asyncio.Event()

    async def with_short_patience(connection: Any, some: Sequence[Joined]) -> None:
        await note(connection, some)
        monkeypatch.setattr(joined, "SLOW_SECONDS", 0)
        after_the_batch.set()

    def post(key: str, **fields: Any) -> Any:
        return world.client.post("/v1/claims", json=_claim(world, **fields), headers=bearer(key))

    printed = {"appearances": [{"article_id": world.id("held")}]}
    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM articles WHERE id = $1 FOR UPDATE", world.id("held"))
        monkeypatch.setattr(joined, "write_batch", with_short_patience)
        first = asyncio.create_task(post(held_up))
        waiting = asyncio.create_task(post(held_up, **printed))
        await after_the_batch.wait()
        await blocked(waiting, other)
        monkeypatch.setattr(joined, "write_batch", note)
        monkeypatch.setattr(joined, "SLOW_SECONDS", PATIENCE)
        later = await asyncio.gather(*(post(key) for _ in range(4) for key in (free, held_up)))
        assert not waiting.done()
        await transaction.rollback()
        answers = [await first, await waiting, *later]
    finally:
        await other.close()
    assert {answer.status_code for answer in answers} == {201}
    failed, *written = callers
    assert failed == [keyring.identity_of(held_up)] * 2
    assert {key_id for batch in written for key_id in batch} == {keyring.identity_of(free)}


async def test_a_write_that_was_in_the_line_already_does_not_end_the_doubt(
    world: World, callers: list[list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add("claims", "cited")
    await world.add("claims", "reference", parent_claim_id="@cited")
    doubted, free = KEYS[:2]
    note = vars(joined)["write_batch"]
    in_line, failed_alone = asyncio.Event(), asyncio.Event()
    sent: list[asyncio.Task[httpx.Response]] = []

    def post(key: str) -> Any:
        return world.client.post("/v1/claims", json=_claim(world), headers=bearer(key))

    async def one_after_the_other(connection: Any, some: Sequence[Joined]) -> None:
        if sent:
            in_line.set()
            await failed_alone.wait()
        else:
            sent.extend(asyncio.create_task(post(doubted)) for _ in range(2))
            await in_line.wait()
        await note(connection, some)

    with monkeypatch.context() as patched:
        patched.setattr(joined, "write_batch", one_after_the_other)
        first = asyncio.create_task(post(free))
        deletion = asyncio.create_task(
            world.client.delete(world.at("cited"), headers=ANY | bearer(doubted))
        )
        assert (await deletion).status_code == 409
        failed_alone.set()
        answers = await asyncio.gather(first, *sent)
    answers += await asyncio.gather(*(post(key) for _ in range(4) for key in (free, doubted)))
    assert {answer.status_code for answer in answers} == {201}
    failed, was_in_line, *written = callers
    assert failed == [keyring.identity_of(free), keyring.identity_of(doubted)]
    assert was_in_line == [keyring.identity_of(doubted)] * 2
    assert {key_id for batch in written for key_id in batch} == {keyring.identity_of(free)}


async def test_a_client_that_leaves_takes_no_one_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def noted(over: Any, some: Sequence[Joined]) -> None:
        begun.set()
        await write_batch(over, some)

    monkeypatch.setattr("api.core.writing.joined.write_batch", noted)
    tasks = [
        asyncio.create_task(world.client.post("/v1/claims", json=_claim(world, text=f"{n}")))
        for n in range(12)
    ]
    await begun.wait()
    for task in tasks[1::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    stayed = [a for a in answers if isinstance(a, httpx.Response)]
    assert len(stayed) >= len(tasks) // 2
    assert {answer.status_code for answer in stayed} == {201}
    found = await world.client.get("/v1/claims", params={"tag": world.tag, "limit": 100})
    texts = {item["text"] for item in found.json()["items"]}
    assert {answer.json()["text"] for answer in stayed} <= texts


async def test_of_writes_whose_connection_is_cut_none_is_lost_after_its_answer(
    world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_at_a_time = asyncio.Lock()

    async def cut(over: Any, some: Sequence[Joined]) -> None:
        async with one_at_a_time:
            killing = asyncio.create_task(_end(connection, over))
            try:
                await write_batch(over, some)
            finally:
                await killing

    monkeypatch.setattr("api.core.writing.joined.write_batch", cut)
    answers = await asyncio.gather(
        *(world.client.post("/v1/claims", json=_claim(world, text=f"{n}")) for n in range(40))
    )
    monkeypatch.setattr("api.core.writing.joined.write_batch", write_batch)
    assert {answer.status_code for answer in answers} <= {201, 503}
    for answer in answers:
        if answer.status_code == 201:
            found = await world.client.get(answer.headers["location"])
            assert found.status_code == 200
    again = await world.client.post("/v1/claims", json=_claim(world))
    assert again.status_code == 201


async def _end(connection: Connection, over: Any) -> None:
    """End the process of Postgres that serves another connection.

    This waits for the end of that process, which would cut a later request otherwise.
    """
    pid = over.get_server_pid()
    await connection.execute(f"SELECT pg_terminate_backend({pid}, {PATIENCE * 1000})")


@pytest.mark.parametrize("started", [True, False])
async def test_writes_whose_batch_is_cancelled_are_answered(
    world: World, monkeypatch: pytest.MonkeyPatch, *, started: bool
) -> None:
    senders: list[asyncio.Task[None]] = []

    def make(loop: Any, work: Any, **more: Any) -> Any:
        task = asyncio.Task(work, loop=loop, **more)
        if getattr(work, "__qualname__", "").endswith("Lane._send"):
            senders.append(task)
            if not started:
                task.cancel()
        return task

    async def cancelled(over: Any, some: Sequence[Joined]) -> None:
        senders[-1].cancel()
        await write_batch(over, some)

    monkeypatch.setattr("api.core.writing.joined.write_batch", cancelled)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(make)
    try:
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(
                *(world.client.post("/v1/claims", json=_claim(world)) for _ in range(6))
            )
    finally:
        loop.set_task_factory(None)
    assert len(senders) == 1
    assert {answer.status_code for answer in answers} == {503}
    monkeypatch.undo()
    again = await world.client.post("/v1/claims", json=_claim(world))
    assert again.status_code == 201


async def test_what_nobody_expects_fails_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broke: list[Any] = []

    def broken(write: Any, found: Any) -> Any:
        if getattr(write.sent, "note", None) == "break":
            broke.append(write)
            raise ZeroDivisionError
        return decide_and_settle(write, found)

    monkeypatch.setattr("api.core.writing.batch.decide_and_settle", broken)
    notes = ["fine", "fine", "break", "fine"]
    answers = await asyncio.gather(
        *(world.client.post("/v1/claims", json=_claim(world, note=note)) for note in notes)
    )
    assert len(broke) == 1
    assert {answer.status_code for answer in answers} == {201}


ONE = '"v1"'


def _change(
    world: World, name: str, pair: dict[str, str] | None, match: str | None, key: str
) -> Any:
    """Change a record that is named by an external id, or by its id if there is no pair."""
    note = {"note": uuid4().hex}
    matching = bearer(key) | ({} if match is None else {"if-match": match})
    if pair is None:
        return world.client.patch(world.at(name), json=note, headers={**ANY, **matching})
    path = "/v1/claims/by-external-id"
    return world.client.put(path, params=pair, json=_claim(world, **note), headers=matching)


NAMED_TWICE = [("id", "a"), ("a", "id"), ("a", "b")]
BY = [KEYS[:1] * 2, KEYS[:2]]
"""By one caller, or by two."""


@pytest.mark.parametrize("keys", BY, ids=["one caller", "two callers"])
@pytest.mark.parametrize("names", NAMED_TWICE)
async def test_of_two_writes_to_one_version_under_two_names_one_succeeds(
    world: World,
    connection: Connection,
    batches: list[int],
    names: tuple[str, str],
    keys: list[str],
) -> None:
    answers = await _change_twice(world, names, ONE, keys)
    assert batches == [2]
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    assert await _kept(connection, [world.id("named")]) == Counter(revisions=2, outbox=2, audit=2)


@pytest.mark.parametrize("keys", BY, ids=["one caller", "two callers"])
@pytest.mark.parametrize("names", NAMED_TWICE)
async def test_two_writes_under_two_names_are_both_kept(
    world: World,
    connection: Connection,
    batches: list[int],
    names: tuple[str, str],
    keys: list[str],
) -> None:
    answers = await _change_twice(world, names, None, keys)
    assert batches == [2]
    written = sorted((answer.json()["id"], answer.json()["version"]) for answer in answers)
    if "id" in names:
        assert [answer.status_code for answer in answers] == [200, 200]
        assert written == [(world.id("named"), 2), (world.id("named"), 3)]
    else:
        # The first one takes the other external id away, and the second one creates a record of it.
        assert [answer.status_code for answer in answers] == [200, 201]
        assert sorted(version for _, version in written) == [1, 2]
    for answer in answers:
        doc = await connection.fetchval(
            "SELECT doc FROM revisions WHERE record_id = $1 AND version = $2",
            answer.json()["id"],
            answer.json()["version"],
        )
        assert answer.content == doc
    records = list({world.id("named"), *(identity for identity, _ in written)})
    assert await _kept(connection, records) == Counter(revisions=3, outbox=3, audit=3)


async def _change_twice(
    world: World, names: tuple[str, str], match: str | None, keys: Sequence[str]
) -> list[httpx.Response]:
    """Change one record at once under two of its names."""
    pairs = {name: {"namespace": name, "value": uuid4().hex} for name in ("a", "b")}
    await world.add("claims", "named", external_ids=list(pairs.values()))
    answers: list[httpx.Response] = await asyncio.gather(
        *(
            _change(world, "named", pairs.get(name), match, key)
            for name, key in zip(names, keys, strict=True)
        )
    )
    return answers


async def _kept(connection: Connection, records: Sequence[str]) -> Counter[str]:
    """Count what is kept of the writes to some records."""
    counts: Counter[str] = Counter()
    for table in ("revisions", "outbox", "audit"):
        counts[table] = await connection.fetchval(
            f"SELECT count(*) FROM {table} WHERE record_id::text = ANY($1::text[])",
            records,
        )
    return counts


def _create(world: World, key: str, **fields: Any) -> Any:
    return world.client.post("/v1/claims", json=_claim(world, **fields), headers=bearer(key))


async def test_callers_who_see_other_records_are_not_joined(
    world: World, database_url: str, callers: list[list[str | None]]
) -> None:
    writer = keyring.written("joinedwriter", "0" * 30)
    await allow(database_url, writer, (Scope.CLAIMS_WRITE,))
    assert (await world.client.get("/v1/me", headers=bearer(writer))).is_success
    answers = await asyncio.gather(
        *(_create(world, key) for _ in range(4) for key in (KEYS[0], writer, KEYS[1]))
    )
    assert {answer.status_code for answer in answers} == {201}
    identity = keyring.identity_of(writer)
    assert [of_batch for of_batch in callers if identity in of_batch] == [[identity] * 4]
    assert sorted(map(len, callers)) == [4, 8]


async def test_callers_take_turns_in_a_batch(world: World, callers: list[list[str | None]]) -> None:
    many = [_create(world, KEYS[0]) for _ in range(2 * joined.MAX_JOINED)]
    answers = await asyncio.gather(*many, _create(world, KEYS[1]), _create(world, KEYS[2]))
    assert {answer.status_code for answer in answers} == {201}
    first, second, third = map(keyring.identity_of, KEYS)
    assert callers[0] == [first, second, third, *[first] * (joined.MAX_JOINED - 3)]


async def test_no_caller_fills_the_line_for_others(
    world: World, callers: list[list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.core.writing.joined.MAX_WAITING", 2)
    greedy = [_create(world, KEYS[0]) for _ in range(9)]
    answers = await asyncio.gather(*greedy, _create(world, KEYS[1]))
    assert {answer.status_code for answer in answers} == {201}
    first, second, _ = map(keyring.identity_of, KEYS)
    assert sorted(callers[0], key=str) == sorted([first, second, first], key=str)


async def test_only_the_writes_of_who_makes_batches_fail_are_not_joined(
    world: World, callers: list[list[str | None]]
) -> None:
    await world.add("claims", "parent")
    await world.add("claims", "child", parent_claim_id="@parent")
    matching = {**bearer(KEYS[0]), "if-match": "*"}

    async def send() -> list[int]:
        answers = await asyncio.gather(
            _create(world, KEYS[1]),
            _create(world, KEYS[1]),
            world.client.delete(world.at("parent"), headers=matching),
            world.client.patch(
                world.at("child"), json={"note": uuid4().hex}, headers={**ANY, **bearer(KEYS[2])}
            ),
        )
        return [answer.status_code for answer in answers]

    first, second, third = map(keyring.identity_of, KEYS)
    assert await send() == [201, 201, 409, 200]
    assert callers == [[second, first, third, second]]
    assert await send() == [201, 201, 409, 200]
    assert callers[1:] == [[second, third, second]]


async def test_who_waits_for_a_lock_keeps_no_other_caller_waiting(
    world: World, database_url: str, callers: list[list[str | None]]
) -> None:
    """The settings of the tests let Postgres wait for a lock for as long as a test may take."""
    await world.add("sources", "locked")
    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", world.id("locked"))
        cited = [{"source_id": world.id("locked")}]
        first = asyncio.create_task(_create(world, KEYS[2]))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(_create(world, KEYS[0], attributions=cited))
        others = [asyncio.create_task(_create(world, KEYS[1])) for _ in range(3)]
        answers = await asyncio.gather(first, *others)
        assert {answer.status_code for answer in answers} == {201}
        assert not waiting.done()
        await transaction.rollback()
        assert (await waiting).status_code == 201
    finally:
        await other.close()
    assert max(len(set(of_batch)) for of_batch in callers) == 2


async def test_an_external_id_that_one_gives_up_goes_to_another_or_not(
    world: World, connection: Connection, batches: list[int]
) -> None:
    """Whoever comes first: the one keeps its name, or the other gets it."""
    pair = {"namespace": "joined", "value": uuid4().hex}
    await world.add("claims", "giver", external_ids=[pair])
    giving = {**ANY, **bearer(KEYS[0])}
    given, taken = await asyncio.gather(
        world.client.patch(world.at("giver"), json={"external_ids": []}, headers=giving),
        _create(world, KEYS[1], external_ids=[pair]),
    )
    assert batches == [2]
    assert given.status_code == 200
    assert taken.status_code in (201, 409)
    owner = await connection.fetchval(
        "SELECT record_id::text FROM external_ids WHERE value = $1", pair["value"]
    )
    assert owner == (taken.json()["id"] if taken.status_code == 201 else None)


async def test_a_batch_holds_up_the_next_ones_before_its_task_starts(
    database_url: str, batches: list[int]
) -> None:
    database = Database(as_service(database_url), patient())
    await database.open()
    try:
        lane = joined.Lane(database)
        with lane.joining(_refused()) as first, lane.joining(_refused()) as second:
            await asyncio.sleep(0)
            assert batches == []
            with lane.joining(_refused()) as lone:
                assert await lone is LeftOut.LONE  # there is room for one more
                with lane.joining(_refused()) as waiting:
                    await asyncio.sleep(0)
                    assert not waiting.done()
                    waiting.cancel()
            for each in (first, second):
                with pytest.raises(Problem):
                    await each
            assert batches == [2]
    finally:
        await database.close()


async def test_batches_that_wait_for_a_connection_hold_up_the_next_ones(
    database_url: str, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else so many of them would wait for one that those which come last are answered with 503."""
    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", 0)
    database = Database(as_service(database_url), patient())
    await database.open()
    lend, is_free, asked = database.connection, asyncio.Event(), 0

    @asynccontextmanager
    async def connection() -> AsyncIterator[Any]:
        nonlocal asked
        asked += 1
        await is_free.wait()
        async with lend() as lent:
            yield lent

    monkeypatch.setattr(database, "connection", connection)
    lane = joined.Lane(database)
    try:
        with ExitStack() as stack:
            answers = []
            for _ in range(4):
                answers += [stack.enter_context(lane.joining(_refused())) for _ in range(2)]
                for _ in range(5):
                    await asyncio.sleep(0)
            assert asked == joined.AT_ONCE
            is_free.set()
            for each in answers:
                with pytest.raises(Problem):
                    await each
    finally:
        await database.close()
    assert batches == [2, 2, 4]


async def test_a_write_behind_one_to_its_record_is_looked_at_when_that_ends(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each write to a hot record would look at all that wait, of which it can send none."""
    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", PATIENCE)
    looked: list[int] = []
    take = vars(joined.Lane)["_take"]

    def note(lane: joined.Lane, most: int) -> list[Joined]:
        looked.append(most)
        taken: list[Joined] = take(lane, most)
        return taken

    monkeypatch.setattr(joined.Lane, "_take", note)
    lane = joined.Lane(Database(as_service(database_url), patient()))
    hot = str(uuid4())
    with ExitStack() as stack:
        with lane.joining(_refused(hot)) as first:
            assert await first is LeftOut.LONE
            before = len(looked)
            behind = [stack.enter_context(lane.joining(_refused(hot))) for _ in range(2)]
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(looked) == before
        assert await behind[0] is LeftOut.LONE
        assert not behind[1].done()
        behind[1].cancel()


def _refused(identity: str | None = None) -> Write:
    """Give a write that is refused, to a record or to none that there is."""

    def decide(_: Found) -> Decision:
        raise Problem(PRECONDITION_FAILED)

    return Write(SERVICE, CLAIMS, decide, {"ids": [identity or str(uuid4())]})


# --- two batches at a time -----------------------------------------------------------------------


class Held:
    """The first batch is held until it is let go; the next ones go on, and are noted."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.batches: list[list[Write]] = []

    async def write_batch(self, connection: Any, some: Sequence[Joined]) -> None:
        """Stand for the function of this name."""
        self.batches.append([each.write for each in some])
        if len(self.batches) == 1:
            self.begun.set()
            await self.goes_on.wait()
        await write_batch(connection, some)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Hold the first batch; it is not slow, however long that takes."""
    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", PATIENCE)
    first = Held()
    monkeypatch.setattr("api.core.writing.joined.write_batch", first.write_batch)
    return first


def _patch(world: World, name: str, note: str, key: str = KEYS[0]) -> Any:
    headers = {**ANY, **bearer(key)}
    return world.client.patch(world.at(name), json={"note": note}, headers=headers)


async def test_writes_that_come_at_once_are_joined_the_first_one_too(
    world: World, batches: list[int]
) -> None:
    answers = await asyncio.gather(*(_create(world, KEYS[0]) for _ in range(2)))
    assert {answer.status_code for answer in answers} == {201}
    assert batches == [2]


async def test_many_writes_are_halved(world: World, batches: list[int]) -> None:
    answers = await asyncio.gather(*(_create(world, KEYS[0]) for _ in range(joined.MAX_JOINED - 1)))
    assert {answer.status_code for answer in answers} == {201}
    assert batches == [joined.MAX_JOINED // 2, joined.MAX_JOINED // 2 - 1]


async def test_a_lone_write_waits_for_no_batch(world: World, held: Held) -> None:
    first = asyncio.gather(*(_create(world, KEYS[0]) for _ in range(2)))
    await held.begun.wait()
    for _ in range(2):
        assert (await _create(world, KEYS[1])).status_code == 201
    assert not first.done()
    held.goes_on.set()
    assert {answer.status_code for answer in await first} == {201}
    assert len(held.batches) == 1


async def test_a_few_writes_wait_for_more_or_for_the_end_of_a_larger_batch(
    world: World, held: Held
) -> None:
    number = 2 * joined.MIN_HALF - 1
    first = [asyncio.create_task(_create(world, KEYS[0])) for _ in range(number)]
    await held.begun.wait()
    few = asyncio.create_task(_create(world, KEYS[1]))
    assert (await world.client.get("/v1/claims")).is_success
    assert not few.done()
    more = [asyncio.create_task(_create(world, KEYS[1])) for _ in range(joined.MIN_HALF - 1)]
    assert {answer.status_code for answer in await asyncio.gather(few, *more)} == {201}
    last = asyncio.create_task(_create(world, KEYS[1]))
    assert (await world.client.get("/v1/claims")).is_success
    assert not last.done()
    held.goes_on.set()
    assert {answer.status_code for answer in await asyncio.gather(last, *first)} == {201}
    assert [len(each) for each in held.batches] == [number, joined.MIN_HALF]


async def test_while_postgres_holds_one_batch_another_one_is_written(
    world: World, database_url: str, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No third one is under way: it is written when one of the two has ended."""
    patient_insert = vars(batch)["_INSERT"].replace("'100'", f"'{PATIENCE * 1000}'")
    monkeypatch.setattr(batch, "_INSERT", patient_insert)
    await world.add("sources", "locked")
    cited = {"attributions": [{"source_id": world.id("locked")}]}

    def two(**fields: Any) -> list[asyncio.Task[httpx.Response]]:
        return [asyncio.create_task(_create(world, key, **fields)) for key in KEYS[:2]]

    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", world.id("locked"))
        waiting = two(**cited)
        await blocked(waiting[0], other)
        assert {answer.status_code for answer in await asyncio.gather(*two())} == {201}
        waiting += two(**cited)
        await blocked(waiting[2], other, 2)
        waiting += two()
        await other.fetchval("SELECT 1")
        assert (await world.client.get("/v1/me", headers=bearer(KEYS[0]))).status_code == 200
        assert not any(task.done() for task in waiting)
        assert batches == [2, 2, 2]
        await transaction.rollback()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {201}
    finally:
        await other.close()
    assert batches == [2, 2, 2, 2]


@pytest.mark.parametrize("is_lone", [False, True])
async def test_two_writes_to_one_record_are_not_under_way_at_a_time(
    world: World, held: Held, *, is_lone: bool
) -> None:
    for name in ("hot", "cold"):
        await world.add("claims", name)
    first = asyncio.gather(_patch(world, "hot", "1"), _create(world, KEYS[1]))
    await held.begun.wait()
    behind = asyncio.create_task(_patch(world, "hot", "2", KEYS[1]))
    if not is_lone:
        answers = await asyncio.gather(_patch(world, "cold", "1"), _create(world, KEYS[1]))
        assert [answer.status_code for answer in answers] == [200, 201]
        assert len(held.batches) == 2
        assert world.id("hot") not in str([write.names for write in held.batches[1]])
    assert (await world.client.get(world.at("hot"))).json()["version"] == 1
    assert not behind.done()
    held.goes_on.set()
    (earlier, _), later = await first, await behind
    assert [earlier.json()["version"], later.json()["version"]] == [2, 3]
    assert later.json()["note"] == "2"


async def test_a_cut_connection_fails_one_batch_alone(
    world: World, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[Joined] = []

    async def write(over: Any, some: Sequence[Joined]) -> None:
        if not cut:
            cut.extend(some)
            await _end(connection, over)
        await write_batch(over, some)

    monkeypatch.setattr("api.core.writing.joined.SLOW_SECONDS", PATIENCE)
    monkeypatch.setattr("api.core.writing.joined.write_batch", write)
    texts = [f"{world.tag} {number}" for number in range(4 * joined.MIN_HALF)]
    answers = await asyncio.gather(*(_create(world, KEYS[0], text=text) for text in texts))
    lost = {getattr(each.write.sent, "text", None) for each in cut}
    assert len(lost) == len(texts) // 2
    for text, answer in zip(texts, answers, strict=True):
        assert answer.status_code == (503 if text in lost else 201)


async def test_two_batches_that_wait_for_each_other_lose_no_write(
    world: World, database_url: str, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each changes the parent that the other one is about to name; Postgres finds the deadlock."""
    patient_update = vars(batch)["_UPDATE"].replace("'100'", f"'{PATIENCE * 1000}'")
    monkeypatch.setattr(batch, "_UPDATE", patient_update)
    await world.add("sources", "locked")
    for name in ("child 1", "parent 1", "child 2", "parent 2"):
        await world.add("claims", name)
    cited = [{"source_id": world.id("locked")}]

    def pair(child: str, parent: str, own: str) -> list[asyncio.Task[httpx.Response]]:
        moved = {"parent_claim_id": world.id(parent), "attributions": cited}
        move = world.client.patch(world.at(child), json=moved, headers=ANY)
        return [asyncio.create_task(each) for each in (move, _patch(world, own, "changed"))]

    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT FROM sources WHERE id = $1 FOR UPDATE", world.id("locked"))
        first = pair("child 1", "parent 2", "parent 1")
        await blocked(first[0], other)  # it has locked its own rows by then, but no parent yet
        second = pair("child 2", "parent 1", "parent 2")
        await blocked(second[0], other, 2)
        await transaction.rollback()
        answers = await asyncio.gather(*first, *second)
    finally:
        await other.close()
    assert batches == [2, 2]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.json()["version"] for answer in answers} == {2}
