"""The short way to a handler and Litestar's own: each gives the same answers, byte for byte."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import RFC_4122, UUID

import httpx
import pytest
from litestar import Litestar, get

from api.access.limits import Limits
from api.app import Application, create_app, shared_router
from api.core.db import Database
from api.core.errors import NOT_FOUND, Problem
from api.core.request import Answer, Request, new_id
from api.server import dispatch
from api.server.dispatch import Dispatcher
from schemas.vocabularies import RecordType
from tests.conftest import KEY, allow, as_service, bearer, patient, running
from tests.factories import EVERY, create

_TESTS = str(Path(__file__).parent)
_NOBODY = "01938f7a-4c00-7000-8000-0000000000ff"
_PAGES = re.compile(r"/(docs(/.*)?|explore(/.*)?|assets/.*|favicon\.ico)?\Z")
"""The paths for browsers, whose handlers return a response of Litestar's."""
_NEVER_THE_SAME = {"/v1/audit", "/v1/changes/stream", "/v1/export", "/metrics"}
"""The time, or what was asked before, is in the answer, or the answer has no end."""
_LIKE_CLAIMS = ("/v1/articles", "/v1/denials", "/v1/sources")


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


def _paths(routes: Any) -> Iterator[tuple[str, list[str]]]:
    for route in routes:
        methods = {m for h in route.route_handlers for m in h.http_methods} - {"OPTIONS"}
        if route.path not in _NEVER_THE_SAME and not route.path.startswith(_LIKE_CLAIMS):
            yield route.path_format, sorted(methods)


def _read(path: str, key: dict[str, str]) -> Iterator[Asked]:
    yield Asked("GET", path, key)
    yield Asked("HEAD", path, key)
    yield Asked("GET", f"{path}?nothing=1&limit=x", key)
    yield Asked("GET", path, {})
    yield Asked("GET", path, bearer("clk_wrong"))
    yield Asked("GET", path, {**key, "if-none-match": "*"})
    yield Asked("GET", path, {**key, "host": "elsewhere.example"})


def _write(method: str, path: str, key: dict[str, str]) -> Iterator[Asked]:
    """Give requests that are refused, or change nothing."""
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    typed = {**key, "content-type": kind}
    yield Asked(method, path, {"content-type": kind}, b"{}")
    yield Asked(method, path, key, b"{}")
    yield Asked(method, path, {**typed, "idempotency-key": " "}, b"{}")
    if method != "DELETE":
        yield Asked(method, path, typed, b'{"nothing":1}')
        yield Asked(method, path, {**typed, "if-match": "odd"}, b"{")


def _requests(routes: Any, record: str) -> Iterator[Asked]:
    """Give requests to every path, with methods that it has and one that it does not have."""
    key = bearer(KEY)
    for path, methods in _paths(routes):
        for identity in (record, "%2F") if "{" in path else ("",):
            filled = path
            for name in ("id", "version", "identity_id", "name"):
                filled = filled.replace(f"{{{name}}}", identity)
            for method in methods:
                yield from _read(filled, key) if method == "GET" else _write(method, filled, key)
            yield Asked("DELETE" if "DELETE" not in methods else "PUT", filled, key)
            yield Asked("OPTIONS", filled, key)
            yield Asked("GET", f"{filled}/", key)
    for odd in ("/v1/nothing", "/v1/claims/by-external-id/revisions", "/v1", "//v1/claims"):
        yield Asked("GET", odd, key)


@asynccontextmanager
async def _both_ways(
    url: str, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Serve a database by the short way and by Litestar's own."""
    told = patient(pool_size=5, **settings)
    await allow(url)
    short = create_app(told, Database(as_service(url), told))
    with monkeypatch.context() as patch:
        patch.setattr("api.app._dispatcher_of", lambda router: router)
        long = create_app(told, Database(as_service(url), told))
    for app in (short, long):
        monkeypatch.setattr(app.services.get(Limits), "_clock", lambda: 0.0)
    async with running(short), running(long), _client(short) as first, _client(long) as second:
        yield first, second


def _client(app: Application) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def _answer(client: httpx.AsyncClient, asked: Asked) -> tuple[int, list[Any], bytes]:
    headers = {"x-request-id": "both-ways", **asked.headers}
    answer = await client.request(asked.method, asked.path, headers=headers, content=asked.body)
    return answer.status_code, answer.headers.raw, answer.content


@pytest.mark.long
@pytest.mark.newest
async def test_both_ways_give_the_same_bytes_and_log_lines(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "claim_records.access")
    seen = set()
    async with _both_ways(empty_url, monkeypatch, rate_per_minute=0) as (short, long):
        short.headers.update(bearer(KEY))
        record = await create(short, EVERY[RecordType.CLAIM])
        short.headers.pop("authorization")
        for asked in _requests(shared_router().routes, record.path.rpartition("/")[2]):
            caplog.clear()
            given = await _answer(short, asked)
            logged = _logged(caplog)
            caplog.clear()
            assert given == await _answer(long, asked), asked
            assert logged == _logged(caplog), asked
            seen.add(given[0])
    assert seen >= {200, 204, 304, 400, 401, 404, 405, 415, 421, 422, 428}


def _logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    """Give what the access log says of a request, but for its time."""
    lines = [r for r in caplog.records if r.name == "claim_records.access"]
    assert all(vars(line)["milliseconds"] >= 0 for line in lines)
    return [(line.getMessage(), vars(line).get("key_id")) for line in lines]


async def test_both_ways_count_the_same(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _both_ways(empty_url, monkeypatch, rate_per_minute=0) as (short, long):
        counted = []
        for client in (short, long):
            for path in ("/v1/claims", f"/v1/claims/{_NOBODY}", "/v1/claims/query", "/v1/odd"):
                await client.get(path, headers=bearer(KEY))
            metrics = (await client.get("/metrics", headers=bearer(KEY))).text
            counted.append([line for line in metrics.splitlines() if "requests_total{" in line])
    assert counted[0] == counted[1] != []


async def test_both_ways_refuse_above_the_limit(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _both_ways(empty_url, monkeypatch, rate_per_minute=3) as clients:
        statuses = [
            [(await client.get("/v1/claims", headers=bearer(KEY))).status_code for _ in range(5)]
            for client in clients
        ]
    assert statuses == [[200, 200, 200, 429, 429]] * 2


MAX_CALLS = 250
"""How many Python functions a read with a key may call, beside those of the tests."""


async def test_a_read_calls_few_functions(client: httpx.AsyncClient) -> None:
    """The count is the cost that no other work on the machine disturbs."""
    record = await create(client, EVERY[RecordType.CLAIM])
    app: Any = client._transport.app  # type: ignore[attr-defined]  # noqa: SLF001
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {KEY}".encode())]
    scope = {
        "type": "http", "method": "GET", "path": record.path, "raw_path": record.path.encode(),
        "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
    }  # fmt: skip
    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    counts = []
    logging.disable(logging.INFO)  # the suite also runs with debug logs, which cost calls
    try:
        for _ in range(20):  # what works in the background is counted too, in some of them
            with _counting_calls() as calls:
                await app({**scope, "state": {}}, _nothing, send)
            counts.append(len(calls))
    finally:
        logging.disable(logging.NOTSET)
    assert set(statuses) == {200}
    assert min(counts) <= MAX_CALLS


def test_what_litestar_keeps_for_a_request_is_made_when_it_is_asked_for() -> None:
    scope: Any = {"type": "http", "headers": [(b"a", b"b")], "state": {}}
    request = dispatch._Request(scope, _nothing, _nothing)  # noqa: SLF001
    assert scope["state"] == {}
    assert request.scope is scope
    assert request.headers["a"] == "b"
    with pytest.raises(AttributeError, match="nonsense"):
        _ = request.nonsense  # not of Litestar either


def test_request_ids_are_uuids_that_differ() -> None:
    ids = [UUID(new_id()) for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    assert len({each.int % 2**62 for each in ids}) == 1_000
    assert sorted(ids, key=lambda each: each.int >> 80) == ids
    digits = "".join(str(each)[19:] for each in ids).replace("-", "")
    assert set(digits) == set("0123456789abcdef")


@contextmanager
def _counting_calls() -> Iterator[list[str]]:
    calls: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and not frame.f_code.co_filename.startswith(_TESTS):
            calls.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def test_every_handler_but_those_of_pages_is_called_directly() -> None:
    router = shared_router()
    dispatcher = Dispatcher(router)
    for path, methods in _paths(router.routes):
        for method in methods:
            target, values = dispatcher.find(method, path)
            assert (target is None) == bool(_PAGES.match(path)), path
            assert target is None or len(values) == path.count("{")


class _Cut(Answer):
    """An answer that fails while it is sent."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__()
        self.begun = begun

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.begun:
            await super().__call__(scope, receive, send)
        raise Problem(NOT_FOUND)


@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_that_fails_is_a_problem_unless_it_has_begun(*, begun: bool) -> None:
    @get("/", opt={"scopes": ()})
    async def fail(request: Request) -> Answer:  # noqa: ARG001 - a handler takes it
        return _Cut(begun=begun)

    def answer(request: Request, problem: Problem) -> Answer:  # noqa: ARG001 - as above
        return Answer(status=int(problem.kind.status))

    handlers: Any = {Problem: answer}
    router = Litestar([fail], exception_handlers=handlers, openapi_config=None, logging_config=None)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}
    if begun:
        with pytest.raises(Problem):
            await Dispatcher(router)(scope, _nothing, send)
    else:
        await Dispatcher(router)(scope, _nothing, send)
    assert [m["status"] for m in sent if "status" in m] == [200 if begun else 404]


async def _nothing() -> Any:
    raise AssertionError("nobody reads the body")
