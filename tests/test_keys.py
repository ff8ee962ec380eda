"""Who may do what: keys, scopes, the audit log, and who anonymous sources turned out to be."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import pytest
from litestar import Litestar, get

from api.access import audit, keyring
from api.access.audit import Refusals
from api.access.authentication import FRESH_SECONDS, Gate, Verifier
from api.access.guards import Guards
from api.access.limits import Limits
from api.app import create_app, shared_router
from api.core.caller import WRITE, needed
from api.core.db import Database
from api.document import routes
from api.server.draining import Draining
from api.server.edge import Edge, Routes
from api.server.logs import JsonLines, TextLines
from api.server.metrics import Metrics
from api.settings import Settings, reads_are_open
from schemas.keys import SourceIdentity
from schemas.vocabularies import Scope
from tests.conftest import (
    KEY,
    PATIENCE,
    allow,
    as_service,
    bearer,
    cloned,
    patient,
    running,
    serving,
)
from tests.world import faults

WRITES = [Scope.ARTICLES_WRITE, Scope.CLAIMS_WRITE, Scope.SOURCES_WRITE, Scope.DENIALS_WRITE]
NDJSON = {"content-type": "application/x-ndjson"}
SOMEWHERE = "01938f7a-4c00-7000-8000-0000000000ff"


async def key_with(url: str, *scopes: Scope) -> dict[str, str]:
    """Make a key with these scopes, past the service; give the header that brings it."""
    return bearer(await allow(url, keyring.new_key(), scopes))


async def execute(url: str, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- the text of a key -----------------------------------------------------------------------


def test_a_key_is_its_id_a_secret_and_a_checksum() -> None:
    key = keyring.new_key()
    prefix, identity, rest = key.split("_")
    assert (prefix, len(identity), len(rest)) == ("clk", 12, 36)
    assert keyring.identity_of(key) == identity
    assert keyring.hashed(key) == sha256(key.encode()).digest()
    assert len({keyring.new_key() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("place", range(0, 53, 4))
def test_a_changed_character_is_noticed_without_a_database(place: int) -> None:
    key = keyring.new_key()
    other = "a" if key[place] != "a" else "b"
    assert keyring.identity_of(key[:place] + other + key[place + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "clk_", KEY + "0", KEY[:-1], KEY.upper(), f" {KEY}", f"{KEY}\n", KEY + "é"]
)
def test_what_has_another_form_is_no_key(text: str) -> None:
    assert keyring.identity_of(text) is None


# --- refusals --------------------------------------------------------------------------------

ROUTER = shared_router()


class Route(NamedTuple):
    """An operation, and what it takes."""

    method: str
    path: str
    scopes: tuple[Scope, ...]
    reads: bool

    @property
    def ending(self) -> str:
        """Give a method whose answer ends, as that of a stream does not."""
        return "HEAD" if self.path.endswith("/stream") else self.method

    @property
    def url(self) -> str:
        """Write a path that leads nowhere."""
        named = {"{version}": "1", "{name}": "none", "{identity_id}": SOMEWHERE}
        identity = "0a1b2c3d4eff" if self.path.startswith("/v1/keys") else SOMEWHERE
        path = self.path.replace("{id}", identity)
        for name, value in named.items():
            path = path.replace(name, value)
        return path


def every_route() -> list[Route]:
    found = []
    for route in routes(ROUTER):
        need = needed(route.handler.opt, route.method.upper())
        assert need is not None
        reads = bool(need.reads)
        found.append(Route(route.method.upper(), route.path, need.scopes, reads))
    return sorted(found)


ROUTES = every_route()


def test_every_handler_says_what_it_takes() -> None:
    for route in ROUTER.routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in handler.http_methods - {"OPTIONS"}:
                assert needed(handler.opt, method) is not None, (route.path, method)


def test_only_what_is_meant_to_be_is_public() -> None:
    assert {route.path for route in ROUTES if not route.scopes and not route.reads} == {
        "/health/live", "/health/ready", "/v1/vocabularies", "/v1/problems", "/v1/problems/{name}",
        "/openapi.json", "/v1/me",
    }  # fmt: skip


async def test_a_handler_that_says_nothing_is_closed(empty_url: str) -> None:
    @get("/v1/forgotten")
    async def forgotten() -> None:
        """Say nothing."""

    database = Database(empty_url, settings := patient())
    limits = Limits(settings)
    await allow(empty_url)
    await database.open()
    app = Litestar(
        [forgotten],
        guards=[Gate(settings, Verifier(database), Refusals(database), limits).admit],
        exception_handlers=ROUTER.exception_handlers,
        openapi_config=None,
        logging_config=None,
    )
    routes = Routes([("/v1/forgotten", {"GET"})])
    metrics = create_app(settings, database).services.get(Metrics)
    edge: Any = Edge(app, routes, Guards(settings), limits, metrics, Draining())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(edge), base_url="http://127.0.0.1"
    ) as client:
        for headers in ({}, bearer(KEY)):
            answer = await client.get("/v1/forgotten", headers=headers)
            assert code(answer) == (403, "forbidden")
    await database.close()


# Health is for what restarts and routes, which brings no key: nobody's key is looked at there.
GUARDED = [route for route in ROUTES if not route.path.startswith("/health/")]


@pytest.mark.parametrize("route", GUARDED, ids=lambda r: f"{r.method} {r.path}")
async def test_every_route_refuses_what_does_not_suffice(
    client: httpx.AsyncClient, database_url: str, route: Route
) -> None:
    revoked, expired, unknown = keyring.new_key(), keyring.new_key(), keyring.new_key()
    await allow(database_url, revoked)
    await allow(database_url, expired)
    where = "WHERE id = $1"
    await execute(
        database_url, f"UPDATE keys SET revoked_at = now() {where}", keyring.identity_of(revoked)
    )
    await execute(
        database_url, f"UPDATE keys SET expires_at = now() {where}", keyring.identity_of(expired)
    )
    identity = KEY.split("_")[1]
    wrong = keyring.written(identity, "1" * 30)
    for bad in (revoked, expired, unknown, wrong, "clk_x", KEY[:-1] + "x"):
        answer = await client.request(route.method, route.url, headers=bearer(bad))
        assert code(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert bad[-36:] not in answer.text
    basic = await client.request(route.method, route.url, headers={"authorization": "Basic eDp5"})
    assert code(basic) == (401, "unauthorized")
    client.headers.pop("authorization")
    try:
        without = await client.request(route.ending, route.url)
    finally:
        client.headers.update(bearer(KEY))
    assert (without.status_code == 401) == bool(route.scopes)
    for lacking in route.scopes:
        if lacking is Scope.READ:
            continue  # every key may read
        others = [scope for scope in Scope if scope is not lacking]
        headers = await key_with(database_url, *others)
        answer = await client.request(route.method, route.url, headers=headers)
        assert code(answer) == (403, "forbidden")
        assert f"`{lacking}`" in answer.json()["detail"]
    headers = await key_with(database_url, *(route.scopes or [Scope.READ]))
    answer = await client.request(route.ending, route.url, headers=headers)
    assert answer.status_code not in (401, 403)


async def test_a_refusal_names_every_scope_that_is_missing(
    client: httpx.AsyncClient, database_url: str
) -> None:
    narrow = await key_with(database_url, Scope.CLAIMS_WRITE)
    path = f"/v1/sources/{uuid4()}/merge"
    refused = await client.post(path, headers=narrow)
    assert code(refused) == (403, "forbidden")
    assert refused.json()["detail"] == (
        "This takes a key with the scopes `sources:write`, `articles:write` and `denials:write`."
    )
    client.headers.pop("authorization")
    try:
        without = await client.post(path)
    finally:
        client.headers.update(bearer(KEY))
    assert code(without) == (401, "unauthorized")
    assert all(f"`{each}`" in without.json()["detail"] for each in WRITE.values())


@pytest.mark.long
async def test_every_key_reads_what_is_public_and_refers_to_it(
    client: httpx.AsyncClient, database_url: str
) -> None:
    article = (await client.post("/v1/articles", json={"headline": "Here"})).json()
    draft = (await client.post("/v1/claims", json={"text": "It is"})).json()
    narrow = await key_with(database_url, Scope.CLAIMS_WRITE)
    printed = {"text": "So it is", "appearances": [{"article_id": article["id"]}]}
    assert (await client.post("/v1/claims", json=printed, headers=narrow)).status_code == 201
    for scope in Scope:
        headers = await key_with(database_url, scope)
        for path in ("/v1/articles", "/v1/claims", "/v1/sources", "/v1/denials", "/metrics"):
            assert (await client.get(path, headers=headers)).status_code == 200, (scope, path)
        found = await client.get(f"/v1/articles/{article['id']}", headers=headers)
        assert found.json() == article
        me = (await client.get("/v1/me", headers=headers)).json()
        assert set(me["scopes"]) == {"read", scope}
        hidden = await client.get(f"/v1/claims/{draft['id']}", headers=headers)
        reads_drafts = scope in (Scope.DRAFTS_READ, Scope.CLAIMS_WRITE)
        assert hidden.status_code == (200 if reads_drafts else 404)


async def test_elsewhere_than_on_loopback_reading_takes_a_key_too(empty_url: str) -> None:
    async with serving(empty_url, patient(host="192.0.2.1")) as client:
        assert (await client.get("/v1/claims")).status_code == 200
        del client.headers["authorization"]
        for route in ROUTES:
            answer = await client.request(route.method, route.url)
            assert (answer.status_code == 401) == bool(route.scopes or route.reads), route
        me = await client.get("/v1/me")
        assert (me.json()["key_id"], me.json()["scopes"]) == (None, [])


@pytest.mark.parametrize(
    ("settings", "are_open"),
    [
        (Settings(), True),
        (Settings(host="::1"), True),
        (Settings(host="localhost"), True),
        (Settings(host="192.0.2.1"), False),
        (Settings(host="desk.example"), False),
        (Settings(host="192.0.2.1", open_reads=True), True),
        (Settings(open_reads=False), False),
    ],
)
def test_reads_are_open_on_loopback_only(settings: Settings, are_open: bool) -> None:
    assert reads_are_open(settings) is are_open


async def test_an_import_takes_the_scope_of_each_line(
    client: httpx.AsyncClient, database_url: str
) -> None:
    lines = (
        b'{"type": "source", "data": {"kind": "state", "name": "Ruritania"}}\n'
        b'{"type": "claim", "data": {"text": "It is"}}\n'
    )
    headers = await key_with(database_url, Scope.IMPORT, Scope.CLAIMS_WRITE)
    answer = await client.post("/v1/import", content=lines, headers=headers | NDJSON)
    assert [json.loads(line).get("status") for line in answer.text.splitlines()] == [
        403, 201, None,
    ]  # fmt: skip


# --- keys over HTTP --------------------------------------------------------------------------


async def made(client: httpx.AsyncClient, *scopes: Scope, **fields: Any) -> dict[str, Any]:
    body = {"name": "Desk", "scopes": scopes, **fields}
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/keys/{found['id']}"
    return found


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    key = await made(empty, Scope.READ, Scope.KEYS)
    assert key["id"] == keyring.identity_of(key["key"])
    assert key["created_by"] == keyring.identity_of(KEY)
    told = (await empty.get(f"/v1/keys/{key['id']}")).json()
    assert told == {name: value for name, value in key.items() if name != "key"}
    listed = await empty.get("/v1/keys", params={"limit": 1})
    assert listed.json()["items"] == [told]
    rest = await empty.get(listed.links["next"]["url"])
    assert [item["name"] for item in rest.json()["items"]] == ["test"]
    me = (await empty.get("/v1/me", headers=bearer(key["key"]))).json()
    assert me == {
        "key_id": key["id"], "name": "Desk", "scopes": ["read", "keys"], "expires_at": None,
    }  # fmt: skip
    connection = await asyncpg.connect(empty_url)
    try:
        for table in ("keys", "audit"):
            text = await connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} AS t")
            assert key["key"][-36:] not in text
    finally:
        await connection.close()


async def test_nobody_hands_on_more_than_they_have(
    client: httpx.AsyncClient, database_url: str
) -> None:
    little = await key_with(database_url, Scope.KEYS, Scope.READ)
    body = {"name": "More", "scopes": ["read", "audit:read"]}
    answer = await client.post("/v1/keys", json=body, headers=little)
    assert code(answer) == (403, "forbidden")
    assert "`audit:read`" in answer.json()["detail"]
    strong = await made(client, Scope.AUDIT_READ)
    rotated = await client.post(f"/v1/keys/{strong['id']}/rotate", json={}, headers=little)
    assert code(rotated) == (403, "forbidden")
    revoked = await client.delete(f"/v1/keys/{strong['id']}", headers=little)
    assert code(revoked) == (403, "forbidden")
    assert "`audit:read`" in revoked.json()["detail"]
    assert (await client.get("/v1/me", headers=bearer(strong["key"]))).status_code == 200
    equal = await made(client, Scope.KEYS)
    for _ in range(2):
        answer = await client.delete(f"/v1/keys/{equal['id']}", headers=little)
        assert answer.status_code == 204


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"/name": "required", "/scopes": "required"}),
        ({"name": "x", "scopes": []}, {"/scopes": "invalid-value"}),
        ({"name": "x", "scopes": ["all"]}, {"/scopes/0": "unknown-term"}),
        ({"name": "x", "scopes": ["read", "read"]}, {"/scopes/1": "duplicate-item"}),
        ({"name": "x", "scopes": ["read"], "key": KEY}, {"/key": "unknown-field"}),
    ],
)
async def test_a_key_is_read_as_strictly_as_a_record(
    client: httpx.AsyncClient, body: Any, wrong: dict[str, str]
) -> None:
    assert faults(await client.post("/v1/keys", json=body)) == wrong


async def test_a_key_cannot_be_made_twice_by_one_request(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/keys", json={}, headers={"idempotency-key": "x"})
    assert code(answer) == (400, "invalid-header")


async def test_an_expired_key_is_refused(client: httpx.AsyncClient) -> None:
    soon = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    key = await made(client, Scope.READ, expires_at=soon.isoformat())
    assert code(await client.get("/v1/me", headers=bearer(key["key"]))) == (401, "unauthorized")


async def test_both_secrets_work_until_the_overlap_is_over(client: httpx.AsyncClient) -> None:
    old = await made(client, Scope.READ)
    path = f"/v1/keys/{old['id']}/rotate"
    new = (await client.post(path, json={})).json()
    assert (new["id"], new["key"] != old["key"]) == (old["id"], True)
    for key in (old, new):
        assert (await client.get("/v1/me", headers=bearer(key["key"]))).status_code == 200
    newest = (await client.post(path, json={"overlap_seconds": 0})).json()
    for key, status in ((old, 401), (new, 401), (newest, 200)):
        answer = await client.get("/v1/me", headers=bearer(key["key"]))
        assert answer.status_code == status


async def test_what_is_not_there_cannot_be_changed(client: httpx.AsyncClient) -> None:
    for identity in ("0a1b2c3d4eff", "x", SOMEWHERE):
        path = f"/v1/keys/{identity}"
        for answer in (
            await client.get(path),
            await client.delete(path),
            await client.post(f"{path}/rotate", json={}),
        ):
            assert code(answer) == (404, "not-found")


async def test_a_revoked_key_stays_so_and_is_not_rotated(client: httpx.AsyncClient) -> None:
    key = await made(client, Scope.READ)
    path = f"/v1/keys/{key['id']}"
    assert (await client.delete(path)).status_code == 204
    first = (await client.get(path)).json()["revoked_at"]
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).json()["revoked_at"] == first
    assert code(await client.get("/v1/me", headers=bearer(key["key"]))) == (401, "unauthorized")
    assert code(await client.post(f"{path}/rotate", json={})) == (404, "not-found")


# --- what a process remembers ----------------------------------------------------------------


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def other_process(database_url: str) -> AsyncIterator[tuple[Verifier, Clock, list[str]]]:
    """Verify keys as another process does, by a clock of ours; note what it asks."""
    database = Database(database_url, patient(pool_size=1))
    await database.open()
    asked: list[str] = []
    async with database.connection() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
    clock = Clock()
    yield Verifier(database, clock), clock, asked
    await database.close()


async def test_a_revocation_holds_in_every_process_within_a_second(
    client: httpx.AsyncClient, other_process: tuple[Verifier, Clock, list[str]]
) -> None:
    verifier, clock, _ = other_process
    key = await made(client, Scope.READ)
    assert await verifier.caller_of(key["key"], key["id"]) is not None
    assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert (await client.get("/v1/me", headers=bearer(key["key"]))).status_code == 401
    clock.now += FRESH_SECONDS
    assert await verifier.caller_of(key["key"], key["id"]) is None
    assert FRESH_SECONDS < 1


async def test_two_services_both_refuse_a_revoked_key(
    client: httpx.AsyncClient, database_url: str
) -> None:
    async with serving(database_url) as other:
        key = await made(client, Scope.READ)
        assert (await other.get("/v1/me", headers=bearer(key["key"]))).status_code == 200
        assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
        for _ in range(100_000):
            if (await other.get("/v1/me", headers=bearer(key["key"]))).status_code == 401:
                break
        else:
            raise AssertionError("it was never refused")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_body_does_not_outlive_its_key(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("api.core.request.ADMITTED_SECONDS", 0)  # every body was long in coming
    key = await made(client, Scope.READ, Scope.CLAIMS_WRITE)
    claim = (await client.post("/v1/claims", json={"text": "It is so"})).json()
    text = f"Written by nobody, {uuid4()}"

    async def body() -> AsyncIterator[bytes]:
        yield b'{"text": '
        assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
        yield json.dumps(text).encode() + b"}"

    patch = method == "PATCH"
    answer = await client.request(
        method,
        "/v1/claims" if method == "POST" else f"/v1/claims/{claim['id']}",
        content=body(),
        headers={
            **bearer(key["key"]),
            "content-type": f"application/{'merge-patch+' if patch else ''}json",
            **({} if method == "POST" else {"if-match": "*"}),
        },
    )
    assert code(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert text not in (await client.get("/v1/changes?since=start&limit=1000")).text
    assert (await client.get(f"/v1/claims/{claim['id']}")).json() == claim


async def test_a_key_in_use_costs_two_statements_a_second(
    client: httpx.AsyncClient, other_process: tuple[Verifier, Clock, list[str]]
) -> None:
    verifier, clock, asked = other_process
    key = await made(client, Scope.READ)
    unknown = keyring.new_key()
    for _ in range(20):
        assert await verifier.caller_of(key["key"], key["id"]) is not None
        assert await verifier.caller_of(unknown, unknown.split("_")[1]) is None
    told = [query.split()[0] for query in asked if " keys" in query]
    assert sorted(told) == ["SELECT", "SELECT", "UPDATE"]  # each key once, and that one was used
    clock.now += FRESH_SECONDS
    assert await verifier.caller_of(key["key"], key["id"]) is not None
    assert len([query for query in asked if " keys" in query]) == 4


async def test_the_last_use_is_kept_to_the_hour(client: httpx.AsyncClient) -> None:
    key = await made(client, Scope.READ)
    path = f"/v1/keys/{key['id']}"
    assert (await client.get(path)).json()["last_used_at"] is None
    await client.get("/v1/me", headers=bearer(key["key"]))
    assert (await client.get(path)).json()["last_used_at"].endswith(":00:00Z")


async def test_without_a_database_malformed_keys_are_401_and_the_rest_answers() -> None:
    settings = Settings(acquire_seconds=0.2)
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    app = create_app(settings, Database(nowhere, settings))
    async with running(app):
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.post("/v1/claims", json={})).status_code == 401
            assert (await client.get("/v1/claims", headers=bearer("clk_x"))).status_code == 401
            assert (await client.get("/v1/claims", headers=bearer(KEY))).status_code == 503
            assert (await client.get("/health/live", headers=bearer(KEY))).status_code == 200
            assert (await client.get("/v1/me", headers=bearer(KEY))).status_code == 503


# --- the audit log ---------------------------------------------------------------------------


async def test_every_change_stands_in_the_audit_log(empty: httpx.AsyncClient) -> None:
    created = await empty.post("/v1/claims", json={"text": "It is so"})
    path = f"/v1/claims/{created.json()['id']}"
    deleted = await empty.delete(path, headers={"if-match": "*"})
    await empty.post(f"{path}/restore", headers={"if-match": deleted.headers["etag"]})
    line = f'{{"type": "claim", "id": "{created.json()["id"]}", "data": {{"text": "No"}}}}'
    await empty.post("/v1/import", content=line, headers=NDJSON)
    events = (await empty.get("/v1/audit", params={"record_id": created.json()["id"]})).json()
    identity = keyring.identity_of(KEY)
    assert [(e["op"], e["version"], e["scope"], e["route"]) for e in events["items"]] == [
        ("updated", 4, "import", "POST /v1/import"),
        ("restored", 3, "claims:write", "POST /v1/claims/{id}/restore"),
        ("deleted", 2, "claims:write", "DELETE /v1/claims/{id}"),
        ("created", 1, "claims:write", "POST /v1/claims"),
    ]
    assert {e["key_id"] for e in events["items"]} == {identity}
    assert events["items"][-1]["request_id"] == created.headers["x-request-id"]
    revisions = (await empty.get(f"{path}/revisions")).json()["items"]
    assert {revision["actor"] for revision in revisions} == {identity}


async def test_what_fails_leaves_no_trace_but_refusals_do(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAUSE_SECONDS", PATIENCE)  # however long the machine takes
    async with serving(empty_url) as client:
        assert (await client.post("/v1/claims", json={})).status_code == 422
        headers = await key_with(empty_url, Scope.READ)
        refused = await client.post("/v1/claims", json={}, headers=headers)
        again = await client.post("/v1/claims", json={}, headers=headers)
        assert (refused.status_code, again.status_code) == (403, 403)
    async with serving(empty_url) as client:  # what waited was written at the end
        (event,) = (await client.get("/v1/audit")).json()["items"]
    assert (event["op"], event["status"], event["scope"]) == ("refused", 403, "claims:write")
    assert event["key_id"] == keyring.identity_of(headers["authorization"].split()[1])
    assert event["request_id"] == refused.headers["x-request-id"]
    assert event["address"] == "127.0.0.1"


async def test_a_request_is_logged_with_its_address_and_key(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await client.get("/v1/me")
    await client.get("/health/live")
    with_key, without = [r for r in caplog.records if r.name == "claim_records.access"]
    assert (vars(with_key)["address"], vars(without)["address"]) == ("127.0.0.1", "127.0.0.1")
    assert vars(with_key)["key_id"] == keyring.identity_of(KEY)
    assert "key_id" not in vars(without)


async def test_the_audit_log_is_filtered_and_read_by_cursor(empty: httpx.AsyncClient) -> None:
    key = await made(empty, Scope.READ)
    await empty.post(f"/v1/keys/{key['id']}/rotate", json={})
    await empty.delete(f"/v1/keys/{key['id']}")
    page = await empty.get("/v1/audit", params={"limit": 2, "record_id": key["id"]})
    assert [event["op"] for event in page.json()["items"]] == ["revoked", "rotated"]
    rest = await empty.get(page.links["next"]["url"])
    (first,) = rest.json()["items"]
    assert (first["op"], first["record_type"]) == ("created", "key")
    since = await empty.get("/v1/audit", params={"since": page.json()["items"][0]["at"]})
    assert [event["op"] for event in since.json()["items"]] == ["revoked"]
    none = await empty.get("/v1/audit", params={"key_id": key["id"]})
    assert none.json()["items"] == []


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET op = ''", "DELETE FROM audit", "TRUNCATE audit"]
)
async def test_the_audit_log_is_only_added_to(empty_url: str, statement: str) -> None:
    with pytest.raises(asyncpg.RaiseError, match="only added to"):
        await execute(empty_url, statement)


@pytest.fixture
async def long_log(empty_url: str) -> str:
    """Fill the audit log with events of the last hundred days, one a day."""
    await execute(
        empty_url,
        "INSERT INTO audit (op, at) SELECT 'created', clock_timestamp() - make_interval(days => d)"
        " FROM generate_series(100, 1, -1) AS d",
    )
    return empty_url


async def events_left(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        left: int = await connection.fetchval("SELECT count(*) FROM audit")
    finally:
        await connection.close()
    return left


@pytest.mark.parametrize(("days", "left"), [(None, 100), (40, 39), (30, 29)])
async def test_old_events_are_deleted_in_small_steps(
    long_log: str, monkeypatch: pytest.MonkeyPatch, days: int | None, left: int
) -> None:
    monkeypatch.setattr(audit, "MAX_PRUNED", 7)
    monkeypatch.setattr(audit, "MAX_STEPS", 2)
    database = Database(as_service(long_log), patient(audit_days=days))
    await database.open()
    try:
        before = 100
        for _ in range(20):
            await audit.prune(database)
            now = await events_left(long_log)
            assert before - now <= 14
            before = now
        assert before == left
    finally:
        await database.close()


async def test_no_event_of_the_last_thirty_days_can_be_deleted(long_log: str) -> None:
    service = await asyncpg.connect(as_service(long_log))
    try:
        pruned = await service.fetchval("SELECT prune_audit(0, 'infinity', 1000)")
        assert pruned == 71
        await service.execute("SET claim_records.pruning = 'on'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute("DELETE FROM audit")
    finally:
        await service.close()
    assert await events_left(long_log) == 29


# --- identities ------------------------------------------------------------------------------


async def test_an_identity_is_told_in_one_place_only(
    client: httpx.AsyncClient, database_url: str
) -> None:
    hidden = {
        "kind": "person",
        "description": f"an official {uuid4()}",
        "confidentiality": "public",
    }
    source = (await client.post("/v1/sources", json=hidden)).json()
    person = (await client.post("/v1/sources", json={"kind": "person", "name": "Felt"})).json()
    path = f"/v1/sources/{source['id']}/identities"
    body = {"identity_id": person["id"], "basis": "Said so himself"}
    created = await client.post(path, json=body)
    assert created.status_code == 201, created.text
    assert (await client.get(path)).json()["items"] == [created.json()]
    assert created.json()["created_by"] == keyring.identity_of(KEY)
    assert code(await client.post(path, json=body)) == (409, "not-unique")
    everything_else = [scope for scope in Scope if scope is not Scope.CONFIDENTIAL_READ]
    headers = await key_with(database_url, *everything_else)
    assert code(await client.get(path, headers=headers)) == (403, "forbidden")
    for elsewhere in (
        f"/v1/sources/{source['id']}",
        "/v1/audit?limit=1",
        f"{path[:-11]}/revisions",
    ):
        text = (await client.get(elsewhere)).text
        assert person["id"] not in text
    told = await client.get("/v1/audit", params={"record_id": created.json()["id"]})
    assert [(event["record_type"], event["op"]) for event in told.json()["items"]] == [
        ("identity", "read"),
        ("identity", "created"),
    ]
    there = created.headers["location"]
    assert (await client.get(there)).json() == created.json()
    assert code(await client.get(there, headers=headers)) == (403, "forbidden")
    headers = await key_with(database_url, Scope.CONFIDENTIAL_READ, Scope.READ)
    assert (await client.get(there, headers=headers)).json() == created.json()
    assert code(await client.delete(there, headers=headers)) == (403, "forbidden")
    assert (await client.delete(there)).status_code == 204
    assert code(await client.delete(there)) == (404, "not-found")
    assert code(await client.get(there)) == (404, "not-found")
    assert (await client.get(path)).json()["items"] == []


async def test_who_reads_an_identity_stands_in_the_audit_log(
    empty: httpx.AsyncClient, empty_url: str
) -> None:
    made_source = {"kind": "person", "name": "A"}
    source, *others = [
        (await empty.post("/v1/sources", json=made_source)).json()["id"] for _ in range(4)
    ]
    path = f"/v1/sources/{source}/identities"
    identities = [
        (await empty.post(path, json={"identity_id": other, "basis": "x"})).json()["id"]
        for other in others
    ]
    reader = await key_with(empty_url, Scope.CONFIDENTIAL_READ)
    key_id = keyring.identity_of(reader["authorization"].split()[1])

    async def told() -> list[str]:
        page = (await empty.get("/v1/audit", params={"key_id": key_id})).json()["items"]
        for event in page:
            assert (event["op"], event["record_type"]) == ("read", "identity")
            assert event["scope"] == "confidential:read"
            assert event["route"].startswith("GET /v1/sources/{id}/identities")
        return [event["record_id"] for event in page]

    page = await empty.get(path, params={"limit": 2}, headers=reader)
    assert set(page.json()["items"][0]) == set(SourceIdentity.__struct_fields__)
    assert sorted(await told()) == sorted(identities[1:])
    await empty.get(page.links["next"]["url"], headers=reader)
    assert sorted(await told()) == sorted(identities)
    one = await empty.get(f"{path}/{others[0]}", headers=reader)
    assert set(one.json()) == set(SourceIdentity.__struct_fields__)
    assert (await told())[0] == identities[0]
    assert len(await told()) == 4


async def test_an_identity_is_of_a_source_that_is_there(client: httpx.AsyncClient) -> None:
    source = (await client.post("/v1/sources", json={"kind": "person", "name": "A"})).json()
    path = f"/v1/sources/{source['id']}/identities"
    for identity, wrong in ((SOMEWHERE, "unknown-reference"), (source["id"], "self-reference")):
        answer = await client.post(path, json={"identity_id": identity, "basis": "x"})
        assert faults(answer) == {"/identity_id": wrong}
    nowhere = f"/v1/sources/{SOMEWHERE}/identities"
    for there in (nowhere, f"{nowhere}/{source['id']}", f"{path}/{SOMEWHERE}", f"{path}/nobody"):
        assert code(await client.get(there)) == (404, "not-found")
    body = {"identity_id": source["id"], "basis": "x"}
    assert (await client.post(nowhere, json=body)).status_code == 404


# --- secrets ---------------------------------------------------------------------------------


async def test_no_key_is_in_the_log(
    empty: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await made(empty, Scope.READ)
    new = (await empty.post(f"/v1/keys/{key['id']}/rotate", json={})).json()
    for text in (key["key"], new["key"], key["key"][:-1] + "!"):
        await empty.get("/v1/me", headers=bearer(text))
        assert text[-36:] not in caplog.text
    assert "/v1/me" in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/claims/{}",
        "/{}",
        "/v1/claims?{}=1",
        "/v1/claims?limit={}",
        "/v1/claims?stated__gte={}",
        "/v1/keys/{}",
        "/v1/sources/by-external-id?{}",
        "/v1/import?{}",
    ],
)
async def test_a_key_in_the_wrong_place_is_masked(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.DEBUG)
    key = keyring.new_key()
    for sent in (key, key.replace("_", "%5F"), f"x{key}y"):
        answer = await client.get(path.format(sent), headers={"x-request-id": key})
        assert answer.status_code in (400, 404, 405)
        assert key[-36:] not in answer.text
        assert key[-36:] not in answer.headers["x-request-id"]
    ours = [record for record in caplog.records if record.name.startswith("claim_records")]
    assert ours
    for line in ("{}".format, logging.LogRecord.getMessage, TextLines().format, JsonLines().format):
        assert key[-36:] not in "".join(line(record) for record in ours)


async def test_the_first_key_is_made_once(template: str) -> None:
    async with cloned(template) as url:
        database = Database(url, patient())
        await database.open()
        try:
            first = await keyring.create_first(database)
            assert first is not None
            assert await keyring.create_first(database) is None
            assert await keyring.revoke(database, first.split("_")[1])
            assert await keyring.create_first(database) is None
        finally:
            await database.close()
