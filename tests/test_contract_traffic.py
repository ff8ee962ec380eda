"""Every operation's every documented status is seen, and is what the document says of it.

Once straight from the service, held to the document here and by schemathesis; once through
Stoplight Prism, which holds requests and answers to it on its own terms.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from openapi_schema_validator import OAS31Validator

from tests.conformance import JUDGED, LEFT_OUT, UNREAD, Judge, is_read, media_type
from tests.conftest import as_service, cloned
from tests.network import free_port
from tests.npm import Packages, installed
from tests.test_cli import eventually, serving
from tests.traffic import (
    DIRECT,
    PATIENCE,
    SETTINGS,
    Exchange,
    Sent,
    Traffic,
    operations,
    resolved,
)

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "openapi" / "openapi.json"
DOCUMENT: Final[dict[str, Any]] = json.loads(PUBLISHED.read_text())
OPERATIONS: Final = tuple(operations(DOCUMENT))
Record = Callable[[str, object], None]

SOMETIMES: Final = frozenset(
    {
        "link",
        "retry-after",
        "idempotency-replayed",
        "access-control-allow-origin",
        "content-encoding",
        "content-disposition",
    }
)
"""What an answer has only where there is something to say."""
OF_HTTP: Final = frozenset(
    {"date", "connection", "content-type", "content-length", "transfer-encoding", "keep-alive"}
)
"""What is HTTP's own, and in no document."""
LINES: Final = frozenset({"application/x-ndjson", "text/event-stream"})


# --- our own terms ---------------------------------------------------------------------------


def faults(exchange: Exchange) -> list[str]:
    """List what an answer has or lacks otherwise than the document says."""
    told = exchange.operation.told["responses"].get(str(exchange.status))
    if told is None:
        return [f"{exchange.status} is not documented"]
    told = resolved(DOCUMENT, told)
    return [*_faults_of_headers(exchange, told["headers"]), *_faults_of_body(exchange, told)]


def _faults_of_headers(exchange: Exchange, told: dict[str, Any]) -> Iterator[str]:
    declared = {name.lower(): resolved(DOCUMENT, header) for name, header in told.items()}
    needed = declared.keys() - SOMETIMES
    if exchange.operation.path.startswith("/health/"):
        needed -= {"ratelimit", "ratelimit-policy"}  # nothing is counted there
    if exchange.headers.get("content-type") in {"application/ld+json", "application/geo+json"}:
        needed -= {"etag"}  # only a record as JSON has one
    yield from (f"no {name}" for name in sorted(needed - exchange.headers.keys()))
    for name, value in exchange.headers.items():
        if name in declared:
            yield from _faults_of(declared[name]["schema"], value, name)
        elif name not in OF_HTTP:
            yield f"an undocumented header {name}"


def _faults_of_body(exchange: Exchange, told: dict[str, Any]) -> Iterator[str]:
    if "content" not in told:
        if exchange.body:
            yield "a body"
        return
    media_type = exchange.headers.get("content-type", "")
    if media_type not in told["content"]:
        media_type, _, _ = media_type.partition(";")
    if media_type not in told["content"]:
        yield f"the media type {media_type}"
        return
    schema = told["content"][media_type]["schema"]
    for place, value in _values(media_type, exchange.body):
        yield from _faults_of(schema, value, place)


def _values(media_type: str, body: bytes) -> Iterator[tuple[str, Any]]:
    """Read what a schema is of: a body, each of its lines, or the data of each of its events."""
    text = body.decode()
    if media_type == "application/x-ndjson":
        for number, line in enumerate(text.splitlines(), 1):
            yield f"line {number}", json.loads(line)
    elif media_type == "text/event-stream":
        for number, data in enumerate(re.findall(r"^data: (.*)$", text, re.MULTILINE), 1):
            yield f"event {number}", json.loads(data)
    elif "json" in media_type:
        yield "body", json.loads(text)
    else:
        yield "body", text


def _faults_of(schema: dict[str, Any], value: Any, place: str) -> Iterator[str]:
    for error in _validator(json.dumps(schema)).iter_errors(value):
        yield f"{place} {error.json_path}: {error.message[:300]}"


@cache
def _validator(schema: str) -> OAS31Validator:
    return OAS31Validator(json.loads(schema) | {"components": DOCUMENT["components"]})


# --- what was seen ---------------------------------------------------------------------------


def missing(exchanges: list[Exchange], *, but: frozenset[int] = frozenset()) -> list[str]:
    """Name the documented statuses that were not seen, with what came instead."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    instead: dict[tuple[str, int], set[int]] = defaultdict(set)
    for exchange in exchanges:
        found[exchange.operation.name][exchange.status] += 1
        instead[exchange.operation.name, exchange.aimed].add(exchange.status)
    return [
        f"{o.name} {status} (instead: {sorted(instead[o.name, status])})"
        for o in OPERATIONS
        for status in o.statuses
        if status not in found[o.name] and status not in but
    ]


def unseen_headers(exchanges: list[Exchange]) -> list[str]:
    """Name the headers that come only sometimes, and did not."""
    documented = {
        (o.name, status, name.lower())
        for o in OPERATIONS
        for status in map(str, o.statuses)
        for name in resolved(DOCUMENT, o.told["responses"][status])["headers"]
        if name.lower() in SOMETIMES - {"access-control-allow-origin", "retry-after"}
    }
    seen = {(e.operation.name, str(e.status), name) for e in exchanges for name in e.headers}
    return sorted(" ".join(each) for each in documented - seen)


def table(exchanges: list[Exchange], *, but: frozenset[int] = frozenset()) -> str:
    """Count what was seen of what is documented."""
    documented = {
        (o.name, status) for o in OPERATIONS for status in o.statuses if status not in but
    }
    seen = {(e.operation.name, e.status) for e in exchanges}
    named = {name for name, _ in seen}
    by_status = "\n".join(
        f"  {status}: {sum(s == status for _, s in seen & documented)} of "
        f"{sum(s == status for _, s in documented)} operations"
        for status in sorted({s for _, s in documented})
    )
    return (
        f"{len(exchanges)} requests; operations {len(named)} of {len(OPERATIONS)}; "
        f"statuses {len(seen & documented)} of {len(documented)}\n{by_status}"
    )


# --- by schemathesis -------------------------------------------------------------------------


def judged(exchanges: list[Exchange]) -> str:
    """Count what schemathesis was shown, and say what it was not asked."""
    seen = {(e.operation.name, e.status) for e in exchanges}
    documented = {(o.name, status) for o in OPERATIONS for status in o.statuses}
    named = {name for name, _ in seen}
    unread = sorted(
        {(e.operation.name, e.status, media_type(e)) for e in exchanges if not is_read(e)}
    )
    counted = (
        f"schemathesis judged {len(exchanges)}: operations {len(named)} of {len(OPERATIONS)}; "
        f"statuses {len(seen & documented)} of {len(documented)}"
    )
    left_out = [f"  not {name}: {why}" for name, why in sorted(LEFT_OUT.items())]
    bodies = [f"  not the body of {name} {status}: {UNREAD[of]}" for name, status, of in unread]
    return "\n".join([counted, *(f"  {name}" for name in sorted(JUDGED)), *left_out, *bodies])


def spoilt(document: dict[str, Any]) -> dict[str, Any]:
    """Make a document that no answer is as documented in."""
    wrong = deepcopy(document)
    for operation in operations(wrong):
        answers = operation.told["responses"]
        for status, told in answers.items():
            content: dict[str, Any] = {}
            for name in resolved(wrong, told).get("content", {}):
                content[name] = {"schema": {"not": {}}}
            headers = {"X-Colour": {"required": True, "schema": {"type": "string"}}}
            answers[status] = {"description": "", "headers": headers, "content": content}
    return wrong


def passed_over(exchanges: list[Exchange]) -> list[str]:
    """Name what schemathesis finds no fault in where all is wrong: it did not look."""
    judge = Judge(spoilt(DOCUMENT))
    return [
        f"{exchange.operation.name} {exchange.status}: only {found}"
        for exchange in exchanges
        if len(found := judge.faults(exchange)) < 1 + bool(exchange.body and is_read(exchange))
    ]


@pytest.mark.outside
def test_schemathesis_checks_are_all_accounted_for() -> None:
    from schemathesis.checks import CHECKS, load_all_checks  # noqa: PLC0415 - it takes seconds

    load_all_checks()
    assert {*CHECKS.get_all_names()} == JUDGED | LEFT_OUT.keys()


# --- serving ---------------------------------------------------------------------------------


def client(address: str) -> httpx.AsyncClient:
    """Give a client that asks nobody else on the way.

    A connection that was idle for five seconds is closed at the other end, which may be just when
    it is used again: here it is given up long before.
    """
    limits = httpx.Limits(keepalive_expiry=1)
    return httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False, limits=limits)


@asynccontextmanager
async def service(template: str, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Serve a database of one's own; gives its address, and the database's owner's URL."""
    async with cloned(template) as url:
        with serving(
            tmp_path, DATABASE_URL=as_service(url), MIGRATE_URL=url, **SETTINGS
        ) as running:
            yield running.address, url
            assert running.stop() == 0


async def traffic(service: tuple[str, str], judged: str) -> list[Exchange]:
    """Send everything to a service, by way of an address."""
    address, url = service
    async with client(judged) as through, client(address) as own:
        return await Traffic(DOCUMENT, through, own, url).run()


@pytest.mark.outside
async def test_every_documented_status_comes_as_documented(
    template: str, tmp_path: Path, record_property: Record
) -> None:
    async with service(template, tmp_path) as found:
        exchanges = await traffic(found, found[0])
    judge = Judge(DOCUMENT)
    wrong = {
        f"{e.operation.name} {e.status}: {fault}"
        for e in exchanges
        for fault in (*faults(e), *judge.faults(e))
    }
    record_property("contract", f"straight from the service: {table(exchanges)}")
    record_property("contract", f"of these, {judged(exchanges)}")
    unseen = [*missing(exchanges), *unseen_headers(exchanges)]
    assert not wrong | set(unseen), "\n".join([*sorted(wrong), "not seen:", *unseen])
    assert passed_over(exchanges) == []


# --- through Prism ---------------------------------------------------------------------------

REFUSED: Final = frozenset({400, 401, 403, 404, 413, 414, 415, 422, 428, 431})
"""What a request gets that breaks the document's rules; any other has to keep them."""
IN_LINES: Final = "what OpenAPI 3.1 can't say (3.2 has `itemSchema`): a schema that is of each line"


@contextmanager
def prism(packages: Packages, document: Path, upstream: str, log: Path) -> Iterator[str]:
    """Run the proxy in front of a service; gives its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    arguments = ("proxy", document, upstream, "--port", str(port), "--verboseLevel", "error")
    with log.open("w") as written, packages.start("prism", *arguments, log=written) as process:
        try:
            eventually(lambda: process.poll() is not None or _answers(address))
            assert process.poll() is None, log.read_text()
            yield address
        finally:
            ended = process.poll()
            process.terminate()
            assert ended is None, log.read_text()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health/live", trust_env=False).is_success
    except httpx.TransportError:
        return False


def violations(exchange: Exchange, side: str) -> list[str]:
    """Give what Prism holds against a request or an answer."""
    found: list[dict[str, Any]] = json.loads(exchange.headers.get("sl-violations", "[]"))
    return [
        f"{'.'.join(each['location'])}: {each['message']}"
        for each in found
        if each["location"][0] == side and not _of_lines(exchange, each["location"])
    ]


def _of_lines(exchange: Exchange, location: list[str]) -> bool:
    """Tell whether a schema of lines was held against all of a body: see `IN_LINES`."""
    headers: Any = exchange.headers if location[0] == "response" else exchange.sent.headers
    return location[1:2] == ["body"] and headers.get("content-type") in LINES


@pytest.mark.outside
async def test_prism_finds_no_violation(
    template: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    record_property: Record,
) -> None:
    packages = installed(ROOT / "tests" / "prism", tmp_path_factory)
    async with service(template, tmp_path) as found:
        with prism(packages, PUBLISHED, found[0], tmp_path / "prism") as proxy:
            every = await traffic(found, proxy)
    exchanges = [exchange for exchange in every if not exchange.direct]
    record_property("contract", f"through Prism: {table(exchanges, but=DIRECT)}")
    wrong = {
        f"{e.operation.name} {e.status}: {found}"
        for e in exchanges
        for side in ("request", "response")
        if side == "response" or e.status not in REFUSED
        for found in violations(e, side)
    }
    unseen = missing(exchanges, but=DIRECT)
    assert not wrong | set(unseen), "\n".join([*sorted(wrong), "not seen:", *unseen])


@pytest.mark.outside
async def test_an_answer_that_is_not_as_documented_is_found(
    template: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packages = installed(ROOT / "tests" / "prism", tmp_path_factory)
    wrong = json.loads(PUBLISHED.read_text())
    told = wrong["paths"]["/v1/me"]["get"]
    answer = told["responses"]["200"]
    answer["content"]["application/json"]["schema"] = {"type": "object", "required": ["colour"]}
    answer["headers"] = {"ETag": {"required": True, "schema": {"type": "string"}}}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    async with service(template, tmp_path) as (address, _):
        with prism(packages, tmp_path / "wrong.json", address, tmp_path / "prism") as proxy:
            async with client(proxy) as through:
                received = await through.get("/v1/me")
    operation = next(o for o in OPERATIONS if o.name == "getMe")._replace(told=told)
    sent = Sent("/v1/me", {}, {}, None)
    exchange = Exchange(operation, sent, 200, received, direct=False)
    assert violations(exchange, "response") == [
        "response.body: Response body must have required property 'colour'",
        "response.header: Response header must have required property 'etag'",
    ]
    ours = faults(exchange)
    assert {"no etag", "an undocumented header x-request-id"} <= {*ours}
    assert "body $: 'colour' is a required property" in ours
    theirs = "\n".join(Judge(wrong).faults(exchange))
    assert '"colour" is a required property' in theirs
    assert "Missing required response headers" in theirs
