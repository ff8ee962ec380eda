"""Webhooks: signed as Standard Webhooks has it, in order, and at least once."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from api.access import keyring
from api.core.db import Database
from api.merging import repointing
from api.sync.feed.numbering import Head
from api.sync.webhooks.delivery import DELAYS
from api.sync.webhooks.leases import MAX_KEPT, Endpoint, Leases
from schemas.examples import MESSAGE_ID
from schemas.vocabularies import Scope
from schemas.webhooks import MAX_WEBHOOKS
from tests.conftest import (
    KEY,
    PATIENCE,
    allow,
    as_service,
    bearer,
    patient,
    serving,
)
from tests.merging import merged, settled
from tests.receiving import (
    PATCH,
    PUBLIC_URL,
    Answering,
    Received,
    Receiver,
    a_receiver,  # noqa: F401 - a fixture
    always,
    changed,
    claimed,
    delivering,
    eventually,
    execute,
    logged,
    made,
    patched,
    receiving,
    take,
)
from tests.test_openapi import check
from tests.world import World, faults


@pytest.fixture
async def service(empty_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a database of this test's own, delivering."""
    async with delivering(empty_url) as found:
        yield found


# --- managing them ---------------------------------------------------------------------------


async def test_a_webhook_is_made_read_changed_and_deleted(empty: httpx.AsyncClient) -> None:
    answer = await empty.post(
        "/v1/webhooks",
        json={"url": PUBLIC_URL, "description": "Copy", "types": ["denial", "claim"]},
    )
    created = check(answer, "createWebhook")
    assert answer.headers["cache-control"] == "no-store"
    secret = created.pop("secret")
    assert secret.startswith("whsec_")
    path = answer.headers["location"]
    got = await empty.get(path)
    assert check(got, "getWebhook") == created
    assert secret not in got.text
    assert (created["types"], created["status"], created["seq"]) == (
        ["claim", "denial"],
        "active",
        0,
    )
    (listed,) = check(await empty.get("/v1/webhooks"), "listWebhooks")["items"]
    assert listed == created
    other = await patched(empty, created, types=None, description=None, url=f"{PUBLIC_URL}/2")
    assert (other["types"], other["description"], other["url"]) == ([], None, f"{PUBLIC_URL}/2")
    assert (await patched(empty, created))["url"] == other["url"]
    check(await empty.delete(path), "deleteWebhook")
    for gone in (await empty.get(path), await empty.delete(path)):
        assert gone.status_code == 404
    events = (await empty.get("/v1/audit", params={"record_id": created["id"]})).json()["items"]
    assert [e["op"] for e in events] == ["deleted", "updated", "updated", "created"]
    assert {e["record_type"] for e in events} == {"webhook"}


async def test_one_manages_the_webhooks_of_ones_own_key_only(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    mine = await made(empty, PUBLIC_URL)
    others = bearer(await allow(empty_url, keyring.new_key()))
    assert (await empty.get("/v1/webhooks", headers=others)).json()["items"] == []
    path = f"/v1/webhooks/{mine['id']}"
    for method, tail, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/deliveries", None),
        ("POST", "/rotate", {}),
        ("POST", "/replay", {"since": "now"}),
        ("POST", "/test", None),
    ):
        answer = await empty.request(method, path + tail, json=body, headers=others)
        assert answer.status_code == 404, (method, tail)
    patch = await empty.patch(path, json={"paused": True}, headers=others | PATCH)
    assert patch.status_code == 404
    assert check(await empty.get(path), "getWebhook")["status"] == "active"


async def test_a_key_that_reads_what_is_public_makes_a_webhook(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    headers = bearer(await allow(empty_url, keyring.new_key(), [Scope.WEBHOOKS]))
    answer = await empty.post("/v1/webhooks", json={"url": PUBLIC_URL}, headers=headers)
    assert answer.status_code == 201
    check(answer, "createWebhook")


async def test_a_key_has_fifty_webhooks_at_most(empty: httpx.AsyncClient, empty_url: str) -> None:
    first = await made(empty, PUBLIC_URL)
    await execute(
        empty_url,
        "INSERT INTO webhooks (id, key_id, url, types, secret, epoch, seq, tag)"
        " SELECT gen_random_uuid(), key_id, url, types, secret, epoch, seq, tag"
        " FROM webhooks, generate_series(3, $1)",
        MAX_WEBHOOKS,
    )
    answers = await asyncio.gather(
        *(empty.post("/v1/webhooks", json={"url": PUBLIC_URL}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert check(refused, "createWebhook")["code"] == "too-many"
    await empty.delete(f"/v1/webhooks/{first['id']}")
    await made(empty, PUBLIC_URL)


@pytest.mark.parametrize(
    ("body", "pointer", "wrong"),
    [
        ({}, "/url", "required"),
        ({"url": "/hook"}, "/url", "invalid-value"),
        ({"url": PUBLIC_URL, "types": ["claim", "claim"]}, "/types/1", "duplicate-item"),
        ({"url": PUBLIC_URL, "types": ["key"]}, "/types/0", "unknown-term"),
        ({"url": PUBLIC_URL, "secret": "mine"}, "/secret", "unknown-field"),
    ],
)
async def test_a_faulty_webhook_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str, wrong: str
) -> None:
    assert faults(await client.post("/v1/webhooks", json=body)) == {pointer: wrong}


async def test_a_faulty_patch_is_refused(client: httpx.AsyncClient) -> None:
    webhook = await made(client, PUBLIC_URL)
    path = f"/v1/webhooks/{webhook['id']}"
    for body, pointer, wrong in (
        ({"url": None}, "/url", "required"),
        ({"url": "https://10.0.0.1/"}, "/url", "invalid-value"),
        ({"paused": "yes"}, "/paused", "wrong-type"),
        ({"status": "paused"}, "/status", "unknown-field"),
    ):
        assert faults(await client.patch(path, json=body, headers=PATCH)) == {pointer: wrong}
    assert (await client.patch(path, json={})).status_code == 415


async def test_what_returns_a_secret_takes_no_idempotency_key(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "1"}
    refused = await client.post("/v1/webhooks", json={"url": PUBLIC_URL}, headers=key)
    assert refused.json()["code"] == "invalid-header"
    webhook = await made(client, PUBLIC_URL)
    path = f"/v1/webhooks/{webhook['id']}"
    assert (await client.post(f"{path}/rotate", json={}, headers=key)).status_code == 400


# --- what is delivered -----------------------------------------------------------------------


async def test_a_change_arrives_thin_and_signed(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    await claimed(service)  # before the webhook: not for it
    webhook = await made(service, receiver.url)
    claim = await claimed(service, "At least 100 soldiers were killed")
    (got,) = await receiver.until(1)
    event = Verifier(webhook["secret"]).verify(got.body, got.headers)
    data = event["data"]
    assert event["type"] == "claim.created"
    assert event["timestamp"] == claim["created_at"]
    assert data | {"cursor": ""} == {
        "type": "claim", "id": claim["id"], "version": 1, "op": "created", "cursor": "",
        "url": f"/v1/claims/{claim['id']}",
    }  # fmt: skip
    assert len(got.body) < 20_000
    assert got.headers["content-type"] == "application/json"
    assert "." not in got.id
    assert (await service.get(data["url"])).json() == claim
    (delivery,) = await logged(service, webhook, 1)
    assert delivery | {"id": 0, "milliseconds": 0, "at": ""} == {
        "id": 0, "message_id": got.id, "event": "claim.created", "record_type": "claim",
        "record_id": claim["id"], "version": 1, "seq": 2, "attempt": 1, "at": "",
        "milliseconds": 0, "status": 204, "error": None,
    }  # fmt: skip
    with pytest.raises(WebhookVerificationError):
        Verifier(webhook["secret"]).verify(got.body + b" ", got.headers)


async def test_the_code_in_the_readme_verifies_a_message(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (code,) = re.findall(r"```python\n([^`]*webhook-signature[^`]*)```", readme)
    made_of: dict[str, Any] = {}
    exec(code, made_of)  # noqa: S102 - ours
    verified = made_of["verified"]
    webhook = await made(service, receiver.url)
    rotated = (await service.post(f"/v1/webhooks/{webhook['id']}/rotate", json={})).json()
    await claimed(service)
    (got,) = await receiver.until(1)
    for secret in (webhook["secret"], rotated["secret"]):
        assert verified(secret, got.headers, got.body)
        assert not verified(secret, got.headers, got.body + b" ")
        assert not verified(secret, got.headers | {"webhook-timestamp": "1"}, got.body)
    assert not verified("whsec_AAAA", got.headers, got.body)


async def test_a_message_is_as_the_document_says(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    from tests.test_openapi import DOCUMENT  # noqa: PLC0415
    from tests.test_openapi import faults as faults_of  # noqa: PLC0415

    webhook = await made(service, receiver.url)
    await claimed(service)
    await receiver.until(1)
    await service.post(f"/v1/webhooks/{webhook['id']}/test")
    await receiver.until(2)
    for got, name in zip(receiver.got, ("recordChanged", "webhookTested"), strict=True):
        told = DOCUMENT["webhooks"][name]["post"]
        media = told["requestBody"]["content"]["application/json"]
        assert faults_of(media["schema"], got.event) == []
        assert faults_of(media["schema"], media["example"]) == []
        for header in told["parameters"]:
            assert faults_of(header["schema"], got.headers[header["name"]]) == []


async def test_changes_of_other_types_are_left_out(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    webhook = await made(service, receiver.url, types=["source"])
    await claimed(service)
    source = (await service.post("/v1/sources", json={"kind": "person", "name": "A"})).json()
    assert [got.told for got in await receiver.until(1)] == [("source.created", source["id"], 1)]
    found = await eventually(service, webhook, lambda w: w["seq"] == 2)
    assert found["types"] == ["source"]


async def test_what_the_key_may_not_see_is_never_delivered_and_what_it_loses_is(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver
) -> None:
    reader = bearer(await allow(empty_url, keyring.new_key(), [Scope.WEBHOOKS, Scope.READ]))
    answer = await service.post("/v1/webhooks", json={"url": receiver.url}, headers=reader)
    assert answer.status_code == 201
    hidden = await claimed(service, "hidden")
    await changed(service, hidden, text="still hidden")
    shown = await claimed(service, "shown")
    await changed(service, shown, review_status="published")
    await changed(service, shown, review_status="draft")
    last = await claimed(service, "last", review_status="published")
    assert [got.told for got in await receiver.until(3)] == [
        ("claim.created", shown["id"], 2),
        ("claim.removed", shown["id"], 3),
        ("claim.created", last["id"], 1),
    ]
    assert hidden["id"] not in b"".join(got.body for got in receiver.got).decode()


async def test_the_changes_of_a_record_come_in_order(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    await made(service, receiver.url)
    claims = [await claimed(service, f"claim {n}") for n in range(3)]
    for number in range(5):
        await asyncio.gather(*(changed(service, claim, text=f"text {number}") for claim in claims))
    got = await receiver.until(18)
    for claim in claims:
        versions = [g.told[2] for g in got if g.told[1] == claim["id"]]
        assert versions == [1, 2, 3, 4, 5, 6]
    assert len({g.id for g in got}) == 18


async def test_a_merge_and_what_follows_from_it_come_in_the_order_of_the_feed(
    empty_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repointing, "EVERY_SECONDS", 0.05)
    async with delivering(empty_url) as service:
        world = World(service)
        for name in ("s", "m"):
            await world.add("sources", name, name=name.upper())
        hop = [{"position": 0, "source_id": "@m"}]
        for name in ("c", "d"):
            await world.add("claims", name, attributions=hop)
        await made(service, receiver.url)
        since = (await service.get("/v1/changes", params={"since": "now"})).json()["next_cursor"]
        await merged(world, "m", "s")
        await settled(world, "m")
        got = await receiver.until(5)
        answer = await service.get("/v1/changes", params={"since": since})
        changes = answer.json()["items"]
        feed = [(f"{each['type']}.{each['op']}", each["id"], each["version"]) for each in changes]
        assert [each.told for each in got] == feed
        told = [(event, world.named(identity)) for event, identity, _ in feed]
        assert sorted(told) == [
            ("claim.updated", "c"),
            ("claim.updated", "d"),
            ("source.deleted", "m"),
            ("source.merged", "m"),
            ("source.updated", "s"),
        ]
        assert told.index(("source.merged", "m")) < told.index(("claim.updated", "c"))
        assert told[-1] == ("source.deleted", "m")


# --- what goes wrong -------------------------------------------------------------------------


def test_the_schedule_is_that_of_the_specification() -> None:
    assert len(DELAYS) == 9
    assert sum(DELAYS) == 75 * 3600 + 35 * 60 + 5


async def test_a_retry_has_the_same_id_and_nothing_overtakes_it(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    left = [500, 302, 404]

    async def answer(_: Received) -> tuple[int, dict[str, str]]:
        return (left.pop(0), {"location": receiver.url}) if left else (200, {})

    receiver.answering = answer
    webhook = await made(service, receiver.url)
    claim = await claimed(service)
    await changed(service, claim, text="Changed")
    got = await receiver.until(5)
    assert [g.told[2] for g in got] == [1, 1, 1, 1, 2]
    assert len({g.id for g in got[:4]}) == 1
    assert len({g.id for g in got}) == 2
    for each in got:
        Verifier(webhook["secret"]).verify(each.body, each.headers)
    log = await logged(service, webhook, 5)
    assert [(d["attempt"], d["status"]) for d in reversed(log)] == [
        (1, 500), (2, 302), (3, 404), (4, 200), (1, 200),
    ]  # fmt: skip
    assert "redirect" in log[3]["error"]
    found = await eventually(service, webhook, lambda w: w["seq"] == 2)
    assert (found["attempts"], found["failing_since"], found["next_attempt_at"]) == (0, None, None)


async def test_after_the_last_attempt_a_webhook_is_paused_and_says_so(
    empty_url: str, receiver: Receiver
) -> None:
    receiver.answering = always(500)
    async with delivering(empty_url, delays=(0.01, 0.01)) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        found = await eventually(client, webhook, lambda w: w["status"] == "paused")
        assert (found["paused_reason"], found["attempts"]) == ("failing", 3)
        assert len(receiver.got) == 3
        receiver.answering = take
        resumed = await patched(client, webhook, paused=False)
        assert (resumed["status"], resumed["paused_reason"], resumed["attempts"]) == (
            "active", None, 0,
        )  # fmt: skip
        await receiver.until(4)
        assert len({g.id for g in receiver.got}) == 1
        events = (await client.get("/v1/audit", params={"record_id": webhook["id"]})).json()
        assert [e["op"] for e in events["items"]] == ["updated", "paused", "created"]


async def test_410_pauses_at_once(service: httpx.AsyncClient, receiver: Receiver) -> None:
    receiver.answering = always(410)
    webhook = await made(service, receiver.url)
    await claimed(service)
    found = await eventually(service, webhook, lambda w: w["status"] == "paused")
    assert found["paused_reason"] == "gone"
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("3600", 3_590, 3_600),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 86_390, 86_400),
        ("99999999999", 86_390, 86_400),
        ("soon", 450, 550),
        ("-5", 450, 550),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 450, 550),
    ],
)
async def test_retry_after_is_heeded_within_a_day(
    empty_url: str, receiver: Receiver, said: str, least: float, most: float
) -> None:
    receiver.answering = always(503, retry_after=said)
    longer = [100 * each for each in DELAYS]  # so that no second attempt comes meanwhile
    async with delivering(empty_url, delays=longer) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        found = await eventually(client, webhook, lambda w: w["attempts"] == 1)
        at = dt.datetime.fromisoformat(found["next_attempt_at"])
        assert least - 1 <= (at - receiver.got[0].at).total_seconds() <= most + PATIENCE
        (delivery,) = await logged(client, webhook, 1)
        assert (delivery["status"], delivery["error"]) == (503, "The answer's status was not 2xx.")


async def test_a_hanging_receiver_delays_no_other(empty_url: str, receiver: Receiver) -> None:
    hanging = asyncio.Event()

    async def hang(_: Received) -> tuple[int, dict[str, str]]:
        await hanging.wait()
        return 204, {}

    async with receiving() as slow, delivering(empty_url) as client:
        slow.answering = hang
        blocked = await made(client, slow.url)
        await made(client, receiver.url)
        await claimed(client)
        await slow.until(1)
        for _ in range(3):
            await claimed(client)
        await receiver.until(4)
        assert len(slow.got) == 1
        # Nothing waits for a receiver within a transaction; other work may just be in one.
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%'"
        )
        async with asyncio.timeout(PATIENCE):
            while await execute(empty_url, waiting):
                pass
        hanging.set()
        await slow.until(4)
        await eventually(client, blocked, lambda w: w["seq"] == 4)


async def test_no_answer_in_time_is_a_failure(empty_url: str, receiver: Receiver) -> None:
    hanging = asyncio.Event()

    async def hang(_: Received) -> tuple[int, dict[str, str]]:
        await hanging.wait()
        return 204, {}

    receiver.answering = hang
    async with delivering(empty_url, attempt_seconds=0.2) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        await receiver.until(2)
        log = await logged(client, webhook, 1)
        assert (log[-1]["status"], log[-1]["error"]) == (None, "No answer came within 0.2 s.")
        receiver.answering = take
        await eventually(client, webhook, lambda w: w["seq"] == 1)
        hanging.set()


async def test_a_receiver_that_is_not_there_is_tried_again(service: httpx.AsyncClient) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # which nobody listens on, and nobody else can take
        webhook = await made(service, f"http://127.0.0.1:{port}/")
        await claimed(service)
        log = await logged(service, webhook, 2)
    assert log[0]["status"] is None
    assert "ConnectError" in log[0]["error"]


async def test_an_answer_without_an_end_is_not_waited_for(empty_url: str) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            poured.set()
        finally:
            writer.close()

    poured = asyncio.Event()
    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, delivering(empty_url) as client:
        webhook = await made(client, url)
        await claimed(client)
        await eventually(client, webhook, lambda w: w["seq"] == 1)
        (delivery,) = await logged(client, webhook, 1)
        assert (delivery["status"], delivery["error"]) == (200, None)
        async with asyncio.timeout(PATIENCE):
            await poured.wait()


# --- several processes -----------------------------------------------------------------------


async def test_two_deliverers_deliver_each_message_once(empty_url: str, receiver: Receiver) -> None:
    async with delivering(empty_url) as one, delivering(empty_url) as two, receiving() as other:
        first = await made(one, receiver.url)
        second = await made(two, other.url)
        for number in range(20):
            await claimed((one, two)[number % 2])
        for webhook in (first, second):
            await eventually(one, webhook, lambda w: w["seq"] == 20)
        for each in (receiver, other):
            assert len(each.got) == 20
            assert len({got.id for got in each.got}) == 20


async def test_what_a_killed_deliverer_held_is_taken_over(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver
) -> None:
    webhook = await made(service, receiver.url)
    until = await execute(
        empty_url,
        "UPDATE webhooks SET lease = gen_random_uuid(),"
        " lease_until = clock_timestamp() + interval '1 s' RETURNING lease_until",
    )
    await claimed(service)
    (got,) = await receiver.until(1)
    assert got.at >= until
    await eventually(service, webhook, lambda w: w["seq"] == 1)


async def test_who_has_lost_a_lease_changes_nothing(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver
) -> None:
    go_on = asyncio.Event()

    async def answer(_: Received) -> tuple[int, dict[str, str]]:
        await go_on.wait()
        return 204, {}

    receiver.answering = answer
    webhook = await made(service, receiver.url)
    await claimed(service)
    await receiver.until(1)
    await execute(
        empty_url,
        "UPDATE webhooks SET lease = gen_random_uuid(),"
        " lease_until = clock_timestamp() + interval '1 h'",
    )
    go_on.set()
    await logged(service, webhook, 1)
    assert (await service.get(f"/v1/webhooks/{webhook['id']}")).json()["seq"] == 0
    await execute(empty_url, "UPDATE webhooks SET lease_until = clock_timestamp()")
    first, again = await receiver.until(2)
    assert first.id == again.id
    await eventually(service, webhook, lambda w: w["seq"] == 1)


async def test_a_deliverer_that_stops_gives_back_what_it_holds(
    empty_url: str, receiver: Receiver
) -> None:
    hanging = asyncio.Event()

    async def hang(_: Received) -> tuple[int, dict[str, str]]:
        await hanging.wait()
        return 204, {}

    receiver.answering = hang
    async with delivering(empty_url) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        await receiver.until(1)
        held = await execute(empty_url, "SELECT lease FROM webhooks")
        assert held is not None
    assert await execute(empty_url, "SELECT lease FROM webhooks") is None
    receiver.answering = take
    async with delivering(empty_url) as client:
        first, again = await receiver.until(2)
        assert first.id == again.id
        await eventually(client, webhook, lambda w: w["seq"] == 1)
    hanging.set()


# --- pauses ----------------------------------------------------------------------------------


async def test_what_changes_during_a_pause_comes_after_it(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    webhook = await made(service, receiver.url)
    paused = await patched(service, webhook, paused=True)
    assert (paused["status"], paused["paused_reason"]) == ("paused", "requested")
    claims = [await claimed(service) for _ in range(3)]
    test = (await service.post(f"/v1/webhooks/{webhook['id']}/test")).json()
    (tested,) = await receiver.until(1)  # tests are sent all the same
    assert tested.id == test["message_id"]
    await patched(service, webhook, paused=False)
    assert [got.told[1] for got in (await receiver.until(4))[1:]] == [c["id"] for c in claims]


@pytest.mark.parametrize("ended", ["revoked", "expired"])
async def test_the_end_of_its_key_pauses_a_webhook(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver, ended: str
) -> None:
    key = await allow(empty_url, keyring.new_key(), [Scope.WEBHOOKS, Scope.READ])
    created = await service.post("/v1/webhooks", json={"url": receiver.url}, headers=bearer(key))
    await execute(
        empty_url,
        f"UPDATE keys SET {ended}_at = clock_timestamp() WHERE id = $1"
        if ended == "revoked"
        else "UPDATE keys SET expires_at = clock_timestamp() WHERE id = $1",
        keyring.identity_of(key),
    )
    await claimed(service, review_status="published")
    query = "SELECT paused_reason FROM webhooks WHERE id = $1::text::uuid"
    async with asyncio.timeout(PATIENCE):
        while (reason := await execute(empty_url, query, created.json()["id"])) is None:
            await claimed(service, review_status="published")
    assert reason == f"key_{ended}"
    assert receiver.got == []


@pytest.mark.parametrize("lost", ["epoch = 'another'", "seq = 1, tag = 'another'"])
async def test_a_webhook_whose_place_is_in_another_feed_is_paused(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver, lost: str
) -> None:
    await claimed(service)
    webhook = await made(service, receiver.url)
    await patched(service, webhook, paused=True)
    await execute(empty_url, f"UPDATE webhooks SET {lost}")
    await claimed(service)
    await patched(service, webhook, paused=False)
    found = await eventually(service, webhook, lambda w: w["status"] == "paused")
    assert found["paused_reason"] == "resync_required"
    await service.post(f"/v1/webhooks/{webhook['id']}/replay", json={"since": "now"})
    await patched(service, webhook, paused=False)
    claim = await claimed(service)
    assert [got.told[1] for got in await receiver.until(1)] == [claim["id"]]


async def test_after_a_failover_all_webhooks_are_resumed_where_their_receivers_were(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver
) -> None:
    sent = [await claimed(service) for _ in range(2)]
    webhooks = [await made(service, receiver.url) for _ in range(2)]
    requested = await patched(service, await made(service, PUBLIC_URL), paused=True)
    sent.append(await claimed(service))
    await receiver.until(2)
    for webhook in webhooks:
        await eventually(service, webhook, lambda w: w["seq"] == 3)
    # One has accepted the change 3. The log of the other says that it was another change.
    await execute(empty_url, "UPDATE webhooks SET epoch = 'another', tag = 'another'")
    await execute(
        empty_url,
        "UPDATE webhook_deliveries SET version = 9 WHERE webhook_id = $1::text::uuid",
        webhooks[1]["id"],
    )
    for webhook in webhooks:
        await eventually(service, webhook, lambda w: w["paused_reason"] == "resync_required")
    sent.append(await claimed(service))
    answer = await service.post("/v1/webhooks/resume")
    assert check(answer, "resumeWebhooks") == {"resumed": 1, "left": 1}
    assert [got.told[1] for got in (await receiver.until(3))[2:]] == [sent[3]["id"]]
    await eventually(service, webhooks[0], lambda w: (w["status"], w["seq"]) == ("active", 4))
    statuses = [
        (await service.get(f"/v1/webhooks/{each['id']}")).json()["paused_reason"]
        for each in (webhooks[1], requested)
    ]
    assert statuses == ["resync_required", "requested"]
    again = check(await service.post("/v1/webhooks/resume"), "resumeWebhooks")
    assert again == {"resumed": 0, "left": 1}


async def test_a_feed_that_was_set_back_is_gone_on_with_behind_what_is_still_there(
    service: httpx.AsyncClient, empty_url: str, receiver: Receiver
) -> None:
    webhook = await made(service, receiver.url)
    for _ in range(3):
        await claimed(service)
    await eventually(service, webhook, lambda w: w["seq"] == 3)
    # Since the restore, another change has the number 3.
    await execute(empty_url, "UPDATE webhook_deliveries SET version = 9 WHERE seq = 3")
    await execute(empty_url, "UPDATE webhooks SET epoch = 'another'")
    await eventually(service, webhook, lambda w: w["paused_reason"] == "resync_required")
    answer = await service.post("/v1/webhooks/resume")
    assert check(answer, "resumeWebhooks") == {"resumed": 1, "left": 0}
    await eventually(service, webhook, lambda w: (w["status"], w["seq"]) == ("active", 3))
    assert [got.event["data"]["version"] for got in (await receiver.until(4))[3:]] == [1]


async def test_who_manages_keys_resumes_the_webhooks_of_all_keys(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    narrow = await allow(empty_url, keyring.new_key(), [Scope.WEBHOOKS, Scope.READ])
    for headers in ({}, bearer(narrow)):
        answer = await empty.post("/v1/webhooks", json={"url": PUBLIC_URL}, headers=headers)
        assert answer.status_code == 201
    paused = "UPDATE webhooks SET status = 'paused', paused_reason = 'resync_required'"
    for headers, resumed in ((bearer(narrow), 1), ({}, 2)):
        await execute(empty_url, paused)
        answer = await empty.post("/v1/webhooks/resume", headers=headers)
        assert check(answer, "resumeWebhooks") == {"resumed": resumed, "left": 0}


# --- replay, tests, secrets ------------------------------------------------------------------


async def test_a_replay_sends_again_under_the_same_ids(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    before = await claimed(service)
    webhook = await made(service, receiver.url)
    for _ in range(3):
        await claimed(service)
    first = list(await receiver.until(3))
    await eventually(service, webhook, lambda w: w["seq"] == 4)
    path = f"/v1/webhooks/{webhook['id']}/replay"
    answer = await service.post(path, json={"since": first[0].event["data"]["cursor"]})
    assert check(answer, "replayWebhook")["seq"] == 2
    again = (await receiver.until(5))[3:]
    assert [g.id for g in again] == [g.id for g in first[1:]]
    assert [g.body for g in again] == [g.body for g in first[1:]]
    await eventually(service, webhook, lambda w: w["seq"] == 4)
    await service.post(path, json={"since": "start"})
    everything = (await receiver.until(9))[5:]
    assert everything[0].told[1] == before["id"]
    assert [g.id for g in everything[1:]] == [g.id for g in first]


async def test_a_replay_during_a_delivery_is_not_undone_by_it(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    go_on = asyncio.Event()

    async def answer(got: Received) -> tuple[int, dict[str, str]]:
        if got.told[2] == 2:
            await go_on.wait()
        return 204, {}

    receiver.answering = answer
    webhook = await made(service, receiver.url)
    claim = await claimed(service)
    await changed(service, claim, text="2")
    await receiver.until(2)
    await service.post(f"/v1/webhooks/{webhook['id']}/replay", json={"since": "start"})
    go_on.set()
    assert [got.told[2] for got in await receiver.until(4)] == [1, 2, 1, 2]


@pytest.mark.parametrize("since", ["", "x", "Now", "0"])
async def test_a_replay_from_no_cursor_is_refused(client: httpx.AsyncClient, since: str) -> None:
    webhook = await made(client, PUBLIC_URL)
    answer = await client.post(f"/v1/webhooks/{webhook['id']}/replay", json={"since": since})
    assert faults(answer) == {"/since": "invalid-value"}


async def test_a_replay_from_another_feed_asks_for_a_new_start(
    empty: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await claimed(empty)
    foreign = (await empty.get("/v1/changes", params={"since": "now"})).json()["next_cursor"]
    webhook = await made(client, PUBLIC_URL)
    answer = await client.post(f"/v1/webhooks/{webhook['id']}/replay", json={"since": foreign})
    assert check(answer, "replayWebhook")["code"] == "resync-required"


async def test_a_test_is_sent_once_and_shows_in_the_log(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    receiver.answering = always(500)
    webhook = await made(service, receiver.url)
    path = f"/v1/webhooks/{webhook['id']}/test"
    key = {"idempotency-key": str(uuid4())}
    answer = await service.post(path, headers=key)
    test = check(answer, "testWebhook")
    assert (await service.post(path, headers=key)).json() == test
    (delivery,) = await logged(service, webhook, 1)
    assert (delivery["message_id"], delivery["event"]) == (test["message_id"], "webhook.test")
    assert (delivery["status"], delivery["attempt"], delivery["seq"]) == (500, 1, None)
    (got,) = receiver.got
    event = Verifier(webhook["secret"]).verify(got.body, got.headers)
    assert event["data"] == {"webhook_id": webhook["id"]}
    receiver.answering = take
    claim = await claimed(service)
    assert [got.told[1] for got in (await receiver.until(2))[1:]] == [claim["id"]]
    found = await eventually(service, webhook, lambda w: w["seq"] == 1)
    assert found["attempts"] == 0


async def test_while_a_secret_is_replaced_both_sign(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    webhook = await made(service, receiver.url)
    path = f"/v1/webhooks/{webhook['id']}/rotate"
    answer = await service.post(path, json={"overlap_seconds": 3_600})
    rotated = check(answer, "rotateWebhookSecret")
    assert rotated["secret"] != webhook["secret"]
    assert rotated["previous_until"] is not None
    await claimed(service)
    (both,) = await receiver.until(1)
    for secret in (webhook["secret"], rotated["secret"]):
        Verifier(secret).verify(both.body, both.headers)
    last = (await service.post(path, json={"overlap_seconds": 0})).json()
    await claimed(service)
    one = (await receiver.until(2))[1]
    Verifier(last["secret"]).verify(one.body, one.headers)
    for secret in (webhook["secret"], rotated["secret"]):
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(one.body, one.headers)


async def test_secrets_are_in_no_answer_but_their_own(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    webhook = await made(client, PUBLIC_URL)
    secret = webhook["secret"].removeprefix("whsec_")
    for path in ("", f"/{webhook['id']}", f"/{webhook['id']}/deliveries"):
        assert secret not in (await client.get(f"/v1/webhooks{path}")).text
    audit = await client.get("/v1/audit", params={"record_id": webhook["id"]})
    assert secret not in audit.text
    assert secret not in caplog.text


# --- the log ---------------------------------------------------------------------------------


async def test_the_log_is_read_by_cursor_newest_first(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    webhook = await made(service, receiver.url)
    for _ in range(3):
        await claimed(service)
    await logged(service, webhook, 3)
    path = f"/v1/webhooks/{webhook['id']}/deliveries"
    page = await service.get(path, params={"limit": 2})
    rest = await service.get(page.links["next"]["url"])
    seqs = [d["seq"] for answer in (page, rest) for d in answer.json()["items"]]
    assert seqs == [3, 2, 1]


async def test_the_log_is_pruned(empty: httpx.AsyncClient, empty_url: str) -> None:
    ids = [(await made(empty, PUBLIC_URL))["id"] for _ in range(2)]
    fill = """
        INSERT INTO webhook_deliveries (webhook_id, message_id, event, attempt, at, milliseconds)
        SELECT $1::text::uuid, '', 'a.b', 1, clock_timestamp() - make_interval(days => $3), n
        FROM generate_series(1, $2) AS n"""
    await execute(empty_url, fill, ids[0], MAX_KEPT + 5, 0)
    await execute(empty_url, fill, ids[1], 3, 31)
    await execute(empty_url, fill, ids[1], 2, 29)
    database = Database(as_service(empty_url), patient())
    await database.open()
    try:
        leases = Leases(database, 60, 15)
        assert await leases.prune() == 8
        assert await leases.prune() == 0
    finally:
        await database.close()
    count = "SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $1::text::uuid"
    assert [await execute(empty_url, count, each) for each in ids] == [MAX_KEPT, 2]
    least = "SELECT min(milliseconds) FROM webhook_deliveries WHERE webhook_id = $1::text::uuid"
    assert await execute(empty_url, least, ids[0]) == 6


# --- what must not last, or get lost ---------------------------------------------------------


async def test_a_date_in_no_calendar_is_no_retry_after(empty_url: str, receiver: Receiver) -> None:
    receiver.answering = always(503, retry_after="Mon, 01 Jan 99999999999 00:00:00 GMT")
    async with delivering(empty_url, delays=(3_600,)) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        found = await eventually(client, webhook, lambda w: w["attempts"] == 1)
        at = dt.datetime.fromisoformat(found["next_attempt_at"])
        assert at - receiver.got[0].at < dt.timedelta(seconds=4_000 + PATIENCE)
        (delivery,) = await logged(client, webhook, 1)
        assert (delivery["status"], delivery["error"]) == (503, "The answer's status was not 2xx.")


async def test_a_bug_while_sending_is_logged_and_counted_as_a_failure(
    empty_url: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(empty_url, delays=(0.01,)) as client:
        webhook = await made(client, receiver.url)
        # Nobody can have made it: nothing foresees that it can't be read.
        await execute(empty_url, "UPDATE webhooks SET secret = 'whsec_=a'")
        await claimed(client)
        found = await eventually(client, webhook, lambda w: w["status"] == "paused")
        assert (found["paused_reason"], found["attempts"]) == ("failing", 2)
        await client.post(f"/v1/webhooks/{webhook['id']}/test")
        log = await logged(client, webhook, 3)
        assert {delivery["status"] for delivery in log} == {None}
        assert all("This service failed" in delivery["error"] for delivery in log)
    assert receiver.got == []
    assert "Traceback" in caplog.text
    assert "whsec_" not in caplog.text


async def test_a_tls_handshake_that_hangs_is_called_by_its_name(
    service: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    monkeypatch.setattr("api.sync.webhooks.targets._CONNECT_SECONDS", 0.2)
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        webhook = await made(service, f"https://127.0.0.1:{port}/")
        await claimed(service)
        log = await logged(service, webhook, 1)
        assert (
            "ConnectTimeout: The connection or its TLS handshake was not complete"
            in log[-1]["error"]
        )
        ended.set()


@pytest.mark.parametrize("left", [(0.01, 3_600), (0.01,)])
async def test_a_resumption_is_not_undone_by_an_attempt_under_way(
    empty_url: str, receiver: Receiver, left: tuple[float, ...]
) -> None:
    go_on = asyncio.Event()

    async def answer(_: Received) -> tuple[int, dict[str, str]]:
        if len(receiver.got) == 2:
            await go_on.wait()
        return 500 if len(receiver.got) <= 2 else 204, {}

    receiver.answering = answer
    async with delivering(empty_url, delays=left) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        await receiver.until(2)
        await patched(client, webhook, paused=False)
        go_on.set()
        await receiver.until(3)  # at once, not an hour later, nor never
        found = await eventually(client, webhook, lambda w: w["seq"] == 1)
        assert (found["status"], found["attempts"]) == ("active", 0)


@pytest.mark.parametrize("status", [500, 410])
async def test_what_another_address_answers_counts_no_more(
    empty_url: str, receiver: Receiver, status: int
) -> None:
    go_on = asyncio.Event()

    async def answer(_: Received) -> tuple[int, dict[str, str]]:
        await go_on.wait()
        return status, {}

    receiver.answering = answer
    async with receiving() as other, delivering(empty_url, delays=(3_600,)) as client:
        webhook = await made(client, receiver.url)
        await claimed(client)
        await receiver.until(1)
        await patched(client, webhook, url=other.url)
        go_on.set()
        await other.until(1)
        found = await eventually(client, webhook, lambda w: w["seq"] == 1)
        assert (found["status"], found["failing_since"]) == ("active", None)
        assert len(receiver.got) == 1


@asynccontextmanager
async def leasing(url: str) -> AsyncIterator[Leases]:
    """Share the webhooks of a database, as a process does that delivers."""
    database = Database(as_service(url), patient())
    await database.open()
    try:
        yield Leases(database, 60, 15)
    finally:
        await database.close()


async def test_the_feed_of_now_tells_which_webhooks_have_lost_their_place(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    old = await made(empty, PUBLIC_URL)
    await execute(empty_url, "UPDATE feed_states SET place = 'elsewhere'")
    new = await made(empty, PUBLIC_URL)
    assert await execute(empty_url, "SELECT count(DISTINCT epoch) FROM webhooks") == 2
    # What another process last heard of the feed, before it was another, says nothing here.
    async with leasing(empty_url) as leases:
        await leases.pause_unfit()
    told = [(await empty.get(f"/v1/webhooks/{w['id']}")).json() for w in (old, new)]
    assert [w["paused_reason"] for w in told] == ["resync_required", None]


@pytest.mark.parametrize("ended", ["revoked_at", "expires_at"])
async def test_who_manages_keys_finishes_the_webhooks_of_keys_that_have_ended(
    empty: httpx.AsyncClient, empty_url: str, ended: str
) -> None:
    key = await allow(empty_url, keyring.new_key(), [Scope.WEBHOOKS, Scope.READ])
    webhook = (
        await empty.post("/v1/webhooks", json={"url": PUBLIC_URL}, headers=bearer(key))
    ).json()
    own = await made(empty, PUBLIC_URL)
    path = f"/v1/webhooks/{webhook['id']}"
    for tail in ("", "/deliveries"):
        assert (await empty.get(path + tail)).status_code == 404  # while its key works
    assert (await empty.delete(path)).status_code == 404
    await execute(
        empty_url,
        f"UPDATE keys SET {ended} = clock_timestamp() WHERE id = $1",
        keyring.identity_of(key),
    )
    listed = check(await empty.get("/v1/webhooks"), "listWebhooks")["items"]
    assert [(w["id"], w["key_id"]) for w in listed] == [
        (own["id"], keyring.identity_of(KEY)),
        (webhook["id"], keyring.identity_of(key)),
    ]
    assert check(await empty.get(path), "getWebhook")["id"] == webhook["id"]
    assert check(await empty.get(f"{path}/deliveries"), "listWebhookDeliveries")["items"] == []
    another = bearer(await allow(empty_url, keyring.new_key(), [Scope.WEBHOOKS, Scope.READ]))
    assert (await empty.get("/v1/webhooks", headers=another)).json()["items"] == []
    for method in ("GET", "DELETE"):
        assert (await empty.request(method, path, headers=another)).status_code == 404
    for tail, body in (("/rotate", {}), ("/replay", {"since": "now"}), ("/test", None)):
        assert (await empty.post(path + tail, json=body)).status_code == 404
    patch = await empty.patch(path, json={"paused": False}, headers=PATCH)
    assert patch.status_code == 404
    assert (await empty.delete(path)).status_code == 204
    assert (await empty.get(path)).status_code == 404
    events = (await empty.get("/v1/audit", params={"record_id": webhook["id"]})).json()["items"]
    by_keys = [e for e in events if e["op"] != "paused"]  # by the service, if it was in time
    assert [e["op"] for e in by_keys] == ["deleted", "created"]
    assert by_keys[0]["key_id"] == keyring.identity_of(KEY) != by_keys[1]["key_id"]


@pytest.mark.process
def test_a_name_server_that_hangs_does_not_hold_up_the_end_of_a_process() -> None:
    script = """
import asyncio, socket, threading
from api.sync.webhooks.addresses import Reach
from api.sync.webhooks.targets import Targets

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    targets = Targets(Reach(), 1)
    try:
        await targets.post("https://receiver.example/", [], b"", 0.1)
    except TimeoutError:
        print("ended")
    await targets.close()

asyncio.run(main())
"""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "ended\n"


async def test_a_test_waits_for_no_more_than_the_message_under_way(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    go_on = asyncio.Event()

    async def answer(_: Received) -> tuple[int, dict[str, str]]:
        await go_on.wait()
        return 204, {}

    receiver.answering = answer
    webhook = await made(service, receiver.url)
    await patched(service, webhook, paused=True)
    for _ in range(3):
        await claimed(service)
    await patched(service, webhook, paused=False)
    await receiver.until(1)
    await service.post(f"/v1/webhooks/{webhook['id']}/test")
    go_on.set()
    names = [got.event["type"] for got in await receiver.until(4)]
    assert names == ["claim.created", "webhook.test", "claim.created", "claim.created"]


async def test_a_slow_receiver_makes_room_after_each_message_when_there_is_none(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sync.webhooks.delivery.MAX_AT_ONCE", 1)
    monkeypatch.setattr("api.sync.webhooks.delivery._SLOW_SECONDS", 0.0)
    order: list[str] = []
    go_on = asyncio.Event()

    def noting(name: str) -> Answering:
        async def answer(_: Received) -> tuple[int, dict[str, str]]:
            order.append(name)
            await go_on.wait()
            return 204, {}

        return answer

    async with receiving() as one, receiving() as two, delivering(empty_url) as client:
        one.answering, two.answering = noting("one"), noting("two")
        webhooks = [await made(client, receiver.url) for receiver in (one, two)]
        for webhook in webhooks:
            await patched(client, webhook, paused=True)
        for _ in range(2):
            await claimed(client)
        await patched(client, webhooks[0], paused=False)
        await one.until(1)
        await patched(client, webhooks[1], paused=False)
        go_on.set()
        await asyncio.gather(one.until(2), two.until(2))
    assert order[:2] == ["one", "two"]


async def test_the_service_shows_no_secrets_of_the_webhooks_it_holds(empty_url: str) -> None:
    async with serving(empty_url) as client:
        webhook = await made(client, PUBLIC_URL)
    await execute(empty_url, "UPDATE webhooks SET test_message_id = $1", MESSAGE_ID)
    async with leasing(empty_url) as leases:
        (endpoint,) = await leases.take(Head("", 0, b""), 1)
    assert endpoint.secrets == (webhook["secret"],)
    assert webhook["secret"] not in repr(endpoint)
    assert webhook["secret"] not in f"{endpoint}"
    assert webhook["id"] in repr(endpoint)


async def test_an_old_secret_is_forgotten_after_its_overlap(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sync.webhooks.delivery._PRUNE_SECONDS", 0.05)
    kept = "SELECT count(previous_secret) FROM webhooks"
    async with delivering(empty_url) as client:
        for seconds in (0, 86_400):
            webhook = await made(client, PUBLIC_URL)
            body = {"overlap_seconds": seconds}
            await client.post(f"/v1/webhooks/{webhook['id']}/rotate", json=body)
        async with asyncio.timeout(PATIENCE):
            while await execute(empty_url, kept) == 2:
                pass
        still = "SELECT id::text FROM webhooks WHERE previous_secret IS NOT NULL"
        assert await execute(empty_url, still) == webhook["id"]


# --- with tools from outside -----------------------------------------------------------------

_VERIFY = """
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";
const { secret, body, headers } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""


@pytest.mark.outside
async def test_the_reference_library_for_node_verifies_a_message(
    service: httpx.AsyncClient, receiver: Receiver, tmp_path: Path
) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    assert npm is not None
    assert node is not None
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "standardwebhooks@1"]
    await asyncio.to_thread(subprocess.run, install, cwd=tmp_path, check=True)
    (tmp_path / "verify.mjs").write_text(_VERIFY)
    webhook = await made(service, receiver.url)
    rotated = (await service.post(f"/v1/webhooks/{webhook['id']}/rotate", json={})).json()
    await claimed(service, "“Ünïcode” stays as it is")
    (got,) = await receiver.until(1)
    for secret in (webhook["secret"], rotated["secret"]):
        told = {"secret": secret, "body": got.body.decode(), "headers": got.headers}
        done = await asyncio.to_thread(
            subprocess.run,
            [node, "verify.mjs"],
            cwd=tmp_path,
            input=json.dumps(told),
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == got.event


CERTIFICATE = "certificate.pem"


async def test_a_service_that_stops_while_it_takes_a_webhook_keeps_no_lease(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next one delivers nothing until the lease has run out."""
    take, taken = Leases.take, asyncio.Event()

    async def take_and_wait(self: Leases, head: Head, limit: int) -> list[Endpoint]:
        if await take(self, head, limit):
            taken.set()
            await asyncio.Event().wait()
        return []

    monkeypatch.setattr(Leases, "take", take_and_wait)
    async with receiving() as receiver, delivering(empty_url) as client:
        await made(client, receiver.url)
        await claimed(client)
        async with asyncio.timeout(PATIENCE):
            await taken.wait()
    assert await execute(empty_url, "SELECT count(lease) FROM webhooks") == 0


async def certified(directory: Path) -> ssl.SSLContext:
    """Make a certificate for `localhost`, and be ready to serve with it."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    certificate, key = directory / CERTIFICATE, directory / "key.pem"
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make += ["-out", str(certificate), "-keyout", str(key)]
    await asyncio.to_thread(subprocess.run, make, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.outside
async def test_a_receiver_behind_tls_is_known_by_its_certificate(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = await certified(tmp_path)
    async with receiving(context) as receiver:
        async with delivering(empty_url) as client:
            webhook = await made(client, receiver.url)
            await claimed(client)
            log = await logged(client, webhook, 1)
            assert "CERTIFICATE_VERIFY_FAILED" in log[-1]["error"]
            assert receiver.got == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / CERTIFICATE))
        async with delivering(empty_url) as client:
            await receiver.until(1)
            await eventually(client, webhook, lambda w: w["seq"] == 1)


@pytest.mark.outside
async def test_an_error_of_tls_after_the_handshake_is_a_failure(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = await certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / CERTIFICATE))

    def answer_twice(listener: socket.socket) -> None:
        for _ in range(2):
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.recv(65_536)
                with socket.socket(fileno=os.dup(connection.fileno())) as bare:
                    bare.sendall(b"HTTP/1.1 204 X\r\n\r\n")  # which no TLS is around
                with suppress(OSError):
                    connection.recv(1)  # until the other side disconnects

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        answering = asyncio.create_task(asyncio.to_thread(answer_twice, listener))
        async with delivering(empty_url, delays=(0.01,)) as client:
            webhook = await made(client, f"https://localhost:{listener.getsockname()[1]}/")
            await claimed(client)
            found = await eventually(client, webhook, lambda w: w["status"] == "paused")
            assert (found["paused_reason"], found["attempts"]) == ("failing", 2)
            for delivery in await logged(client, webhook, 2):
                assert delivery["status"] is None
                assert delivery["error"].startswith("SSLError: ")
        await answering
