"""Requests that bring out every status that every operation documents, over real HTTP.

What an operation takes is read from the document, so that a new one is reached unasked, or named:
`valid` makes a request that succeeds, and `_WAYS` says for each status what is done to it. All of
them go to one address, which may be a proxy's; records are made, and half bodies and a foreign
`Host`, which no proxy passes on, are sent, at the service's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import cycle
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import uuid4

import asyncpg
import httpx

from api.access import keyring
from api.access.authentication import FRESH_SECONDS
from api.core.caller import READER
from api.server import schema
from api.sync.feed import positions
from api.sync.feed.stretches import Position
from schemas.vocabularies import RecordType, Scope
from tests.conftest import allow, bearer
from tests.factories import (
    EVERY,
    MERGE_PATCH,
    Body,
    Connection,
    Noun,
    create,
    delete,
    referrer,
    unique,
)

Json: TypeAlias = dict[str, Any]

RATE: Final = 600
SETTINGS: Final = {
    "CLAIM_RECORDS_RATE_PER_MINUTE": str(RATE),
    "CLAIM_RECORDS_BODY_BYTES": "16384",
    "CLAIM_RECORDS_ARTICLE_BODY_BYTES": "32768",
    "CLAIM_RECORDS_BODY_IDLE_SECONDS": "2",
    "CLAIM_RECORDS_LOCK_SECONDS": "0.5",
    "CLAIM_RECORDS_WEBHOOK_NETWORKS": "127.0.0.0/8",
    "CLAIM_RECORDS_LOG_LEVEL": "warning",
}
"""What the service has to be started with: bounds that are soon reached."""
DIRECT: Final = frozenset({303, 308, 408, 421})
"""What the proxy can't pass on: redirects, which it follows itself, a body that stops, and a `Host`
that is not the proxy's own."""
BUSY: Final = frozenset({408, 503})
"""What a request may get by accident, where the machine is slow."""
TOGETHER: Final = 6
TRIES: Final = 4
PATIENCE: Final = 60.0
NAMESPACE: Final = "traffic"
NOWHERE: Final = "http://127.0.0.1:9/hook"
WORDS: Final = "Words."


# --- what is asked ---------------------------------------------------------------------------


class Operation(NamedTuple):
    """An operation, as the document has it."""

    name: str
    method: str
    path: str
    told: Json
    parameters: tuple[Json, ...]
    noun: Noun | None

    @property
    def statuses(self) -> tuple[int, ...]:
        """Give the statuses that it documents."""
        return tuple(map(int, self.told["responses"]))

    def takes(self, where: str, name: str) -> bool:
        """Tell whether it has a parameter."""
        return any((p["in"], p["name"]) == (where, name) for p in self.parameters)

    @property
    def suffix(self) -> str:
        """Give what stands behind the noun's own path."""
        return self.path.removeprefix(self.noun.path) if self.noun else ""


def resolved(document: Json, found: Json) -> Json:
    """Follow references within the document."""
    while "$ref" in found:
        target: Any = document
        for step in found["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        found = target
    return found


def operations(document: Json) -> Iterator[Operation]:
    """Yield the operations of a document."""
    tags = {noun.resource.plural: noun for noun in EVERY.values()}
    for path, item in document["paths"].items():
        for method, told in item.items():
            parameters = tuple(resolved(document, p) for p in told.get("parameters", ()))
            noun = tags.get(told["tags"][0])
            yield Operation(told["operationId"], method.upper(), path, told, parameters, noun)


Make: TypeAlias = "Callable[[], Awaitable[Sent]]"
Way: TypeAlias = "Callable[[Traffic, Operation, int], Awaitable[None]]"
Fault: TypeAlias = "Callable[[asyncpg.Pool, list[str]], AbstractAsyncContextManager[None]]"
_READER: Final = "reader"
_SPENT: Final = "spent"
_POOR: Final = {_READER: [Scope.READ]}
"""Keys of which some operation asks more."""
_MERGE: Final = MERGE_PATCH["content-type"]
_LINES: Final = "application/x-ndjson"


class Sent(NamedTuple):
    """A request."""

    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes | None

    def but(self, **headers: str | None) -> Sent:
        """Give the same with other headers, or without them; names are written with `_`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {**self.headers, **named}
        return self._replace(headers={k: v for k, v in merged.items() if v is not None})

    def asking(self, **query: str) -> Sent:
        """Give the same with other parameters."""
        return self._replace(query={**self.query, **query})


class Exchange(NamedTuple):
    """A request and its answer."""

    operation: Operation
    sent: Sent
    aimed: int
    answer: httpx.Response
    direct: bool

    @property
    def status(self) -> int:
        """Give the status that came."""
        return self.answer.status_code

    @property
    def headers(self) -> httpx.Headers:
        """Give the answer's headers."""
        return self.answer.headers

    @property
    def body(self) -> bytes:
        """Give the answer's body, unpacked."""
        return self.answer.content


# --- the traffic -----------------------------------------------------------------------------


class InTurn(httpx.Auth):
    """Keys in turn, for what brings none: each may ask so often only."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Begin with the first."""
        self._keys = cycle(keys)

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        """Bring the next."""
        if "authorization" not in request.headers:
            request.headers.update(bearer(next(self._keys)))
        yield request


@dataclass
class Traffic:
    """Everything that is sent to a service."""

    document: Json
    judged: httpx.AsyncClient
    own: (
        httpx.AsyncClient
    )  # at the service's own address, whatever `judged` passes through; with keys
    database: str  # its owner's URL
    exchanges: list[Exchange] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    async def run(self) -> list[Exchange]:
        """Send everything, and give what came of it."""
        every = list(operations(self.document))
        for number, name in enumerate([*(o.name for o in every), *_POOR, _SPENT]):
            scopes = _POOR.get(name, Scope)
            key = keyring.written(f"traffic{number:05d}", f"{number:03d}" * 10)
            self.keys[name] = await allow(self.database, key, scopes)
        self.own.auth = InTurn([self.keys[o.name] for o in every])
        await self._in_parallel(every, self._ordinary)
        async with asyncpg.create_pool(self.database, min_size=1, max_size=2) as owner:
            for status, fault in _FAULTS.items():
                await self._fail(owner, status, fault, [o for o in every if status in o.statuses])
        await self._flood([o for o in every if 429 in o.statuses])
        return self.exchanges

    async def _in_parallel(
        self, every: list[Operation], work: Callable[[Operation], Awaitable[object]]
    ) -> None:
        """Do something with each operation, some at a time."""
        places = asyncio.Semaphore(TOGETHER)

        async def one(operation: Operation) -> None:
            async with places:
                await work(operation)

        async with asyncio.TaskGroup() as group:
            for operation in every:
                group.create_task(one(operation))

    async def _ordinary(self, operation: Operation) -> None:
        for status in operation.statuses:
            if status in _WAYS:
                await _WAYS[status](self, operation, status)

    async def send(
        self, operation: Operation, aimed: int, sent: Sent, *, direct: bool = False
    ) -> Exchange:
        """Send a request, and keep it with its answer."""
        client = self.own if direct else self.judged
        answer = await client.request(
            operation.method,
            sent.path,
            params=dict(sent.query),
            headers=dict(sent.headers),
            content=sent.body,
        )
        return self.keep(operation, aimed, sent, answer, direct=direct)

    def keep(
        self, operation: Operation, aimed: int, sent: Sent, answer: httpx.Response, *, direct: bool
    ) -> Exchange:
        """Keep an answer."""
        exchange = Exchange(operation, sent, aimed, answer, direct)
        self.exchanges.append(exchange)
        return exchange

    async def aim(self, operation: Operation, aimed: int, make: Make, **more: Any) -> None:
        """Send a request that is to get a status; again where the machine was too slow for it."""
        for _ in range(TRIES):
            exchange = await self.send(operation, aimed, await make(), **more)
            if exchange.status == aimed or exchange.status not in BUSY:
                return

    # --- a request that succeeds -------------------------------------------------------------

    async def valid(
        self, operation: Operation, *, deleted: bool = False, fresh: bool = False
    ) -> Sent:
        """Make what a request needs, and the request; `fresh`: to write what is not there yet."""
        sent = Sent(operation.path, bearer(self.keys[operation.name]), {}, None)
        sent = sent.but(accept_encoding="identity")
        if operation.noun is not None and "{id}" not in operation.path.partition("/{id}")[0]:
            sent = await self._of_noun(operation, operation.noun, sent, deleted, fresh)
        else:
            sent = await self._of_others(operation, sent)
        if operation.takes("query", "by"):
            sent = sent.asking(by="created_at:year")
        if operation.path.endswith("/match") and operation.method == "GET":
            sent = sent.asking(**{"text" if operation.takes("query", "text") else "name": WORDS})
        if operation.name == "resumeWebhooks":
            await _paused_webhook(self, operation)
        return await self._with_body(operation, sent)

    async def _of_noun(
        self, operation: Operation, noun: Noun, sent: Sent, deleted: bool, fresh: bool
    ) -> Sent:
        """Make the record that an operation of a noun is about."""
        name = {"namespace": NAMESPACE, "value": unique()}
        if operation.suffix in {"", "/by-external-id"} and (fresh or not operation.suffix):
            identity = ""
        elif fresh:
            identity = str(uuid4())
        else:
            record = await create(self.own, noun, noun.minimal(external_ids=[name]))
            identity = record.id
            if deleted or operation.suffix == "/{id}/restore":
                await delete(self.own, record)
        if operation.takes("query", "namespace"):
            sent = sent.asking(**name)
        if 428 in operation.statuses:
            sent = sent.but(if_none_match="*") if fresh else sent.but(if_match="*")
        path = operation.path.replace("{id}", identity).replace("{version}", "1")
        return sent._replace(path=path)

    async def _of_others(self, operation: Operation, sent: Sent) -> Sent:
        """Make what the path names, from left to right."""
        path = template = ""
        for step in operation.path.split("/")[1:]:
            template += f"/{step}"
            if not step.startswith("{"):
                path += f"/{step}"
                continue
            if template not in _MAKERS:
                raise LookupError(f"{operation.name}: nothing is known of {template}")
            path += "/" + await _MAKERS[template](self, operation, path)
        sent = sent._replace(path=path)
        return sent.but(if_match="*") if operation.name == "mergeSource" else sent

    async def _with_body(self, operation: Operation, sent: Sent) -> Sent:
        if "requestBody" not in operation.told:
            return sent
        media_type, media = next(iter(operation.told["requestBody"]["content"].items()))
        sent = sent.but(content_type=media_type)
        body: Any
        if operation.name in _BODIES:
            body = await _BODIES[operation.name](self, operation)
        elif operation.name == "attachAppearances":
            body = await _body_of_appearances(self, sent.path)
        elif operation.suffix == "/query":
            body = {}
        elif operation.noun is None or "example" in media:
            body = media["example"]
        elif media_type == _MERGE:
            body = {"note": unique()}
        else:
            body = operation.noun.minimal(note=unique())
        line_end = b"\n" if media_type == _LINES else b""
        return sent._replace(body=json.dumps(body).encode() + line_end)

    # --- failures ----------------------------------------------------------------------------

    async def _fail(
        self, owner: asyncpg.Pool, status: int, fault: Fault, every: list[Operation]
    ) -> None:
        """Send requests while the database fails: all but the keys first, then these too."""
        ready: dict[str, Sent] = {}

        async def prepare(operation: Operation) -> None:
            ready[operation.name] = await self.valid(operation)

        await self._in_parallel(every, prepare)
        for spared in (("keys",), ()):
            async with fault(owner, await _tables(owner, *spared)):
                for _ in range(TRIES):
                    missing = [o for o in every if not self.seen(o, status)]
                    await self._in_parallel(
                        missing, lambda each: self.send(each, status, ready[each.name])
                    )
                    if spared or not missing:
                        break
                    await asyncio.sleep(FRESH_SECONDS / 2)  # a key is believed for so long

    def seen(self, operation: Operation, status: int) -> bool:
        """Tell whether an operation has answered with a status."""
        return any(e.operation is operation and e.status == status for e in self.exchanges)

    async def _flood(self, every: list[Operation]) -> None:
        """Use up what a key may ask, and go on asking with it."""
        spent = self.keys[_SPENT]
        ready = {o.name: (await self.valid(o)).but(**bearer(spent)) for o in every}
        for _ in range(5 * TRIES):
            missing = [o for o in every if not self.seen(o, 429)]
            if not missing:
                return
            asked = 0
            while asked < 2 * RATE:
                answers = await asyncio.gather(
                    *(self.own.get("/v1/problems", headers=bearer(spent)) for _ in range(20))
                )
                asked += len(answers)
                if all(answer.status_code == 429 for answer in answers):
                    break
            await self._in_parallel(missing, lambda o: self._one_too_many(o, ready[o.name]))

    async def _one_too_many(self, operation: Operation, sent: Sent) -> None:
        """Ask once more; a stream that was let in meanwhile has no end to wait for."""
        with suppress(httpx.ReadTimeout):
            await self.send(operation, 429, sent)


# --- what paths and bodies name --------------------------------------------------------------


async def _source(traffic: Traffic, *_: object) -> str:
    return (await create(traffic.own, EVERY[RecordType.SOURCE])).id


async def _source_in_path(traffic: Traffic, operation: Operation, _: str) -> str:
    identity = await _source(traffic)
    if operation.name == "unmergeSource":
        await _merge(traffic, identity, await _source(traffic))
    return identity


async def _merge(traffic: Traffic, other: str, into: str) -> None:
    """Merge a source into another one."""
    path, headers = f"/v1/sources/{into}/merge", {"if-match": "*"}
    answer = await traffic.own.post(path, json={"source_id": other}, headers=headers)
    assert answer.status_code == 200, answer.text


async def _merge_another(traffic: Traffic, _: Operation, path: str) -> str:
    other = await _source(traffic)
    await _merge(traffic, other, path.split("/")[3])
    return other


async def _pair_of_sources(traffic: Traffic, _: Operation, path: str) -> str:
    """Make two sources of one name, and wait until they are listed as a pair."""
    noun = EVERY[RecordType.SOURCE]
    body = noun.minimal(name=f"Invented {unique()}")
    ids = [(await create(traffic.own, noun, body)).id for _ in range(2)]
    asked = {"source_id": ids[0]}
    await eventually(partial(_is_long, traffic, Sent(path, {}, asked, None), 1))
    return ids[0]


async def _article(traffic: Traffic, *_: object) -> str:
    noun = EVERY[RecordType.ARTICLE]
    return (await create(traffic.own, noun, noun.minimal(text=WORDS))).id


async def _claim(traffic: Traffic, *_: object) -> str:
    return (await create(traffic.own, EVERY[RecordType.CLAIM])).id


async def _denial(traffic: Traffic, *_: object) -> str:
    return (await create(traffic.own, EVERY[RecordType.DENIAL])).id


async def _webhook(traffic: Traffic, operation: Operation, path: str = "/v1/webhooks") -> str:
    """Make a webhook, of the operation's own key."""
    return await _made(traffic, operation, path, {"url": NOWHERE})


async def _paused_webhook(traffic: Traffic, operation: Operation) -> str:
    """Make a webhook of the operation's own key that a new feed has paused."""
    identity = await _webhook(traffic, operation)
    owner = await asyncpg.connect(traffic.database)
    try:
        await owner.execute(
            "UPDATE webhooks SET status = 'paused', paused_reason = 'resync_required'"
            " WHERE id = $1",
            identity,
        )
    finally:
        await owner.close()
    return identity


async def _key(traffic: Traffic, operation: Operation, path: str) -> str:
    return await _made(traffic, operation, path, {"name": "traffic", "scopes": ["read"]})


async def _identity(traffic: Traffic, operation: Operation, path: str) -> str:
    identity = await _source(traffic)
    await _made(traffic, operation, path, {"identity_id": identity, "basis": "Said so."})
    return identity


async def _problem(*_: object) -> str:
    return "not-found"


async def _made(traffic: Traffic, operation: Operation, path: str, body: Body) -> str:
    """Make something by POST, and give its id."""
    answer = await traffic.own.post(path, json=body, headers=bearer(traffic.keys[operation.name]))
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["id"]
    return found


async def _annotation(traffic: Traffic, _: Operation, path: str) -> str:
    """Print a claim in the words of the article of a path; gives the claim's id."""
    span = {"start": 0, "end": len(WORDS), "exact": WORDS}
    found: str = (await _printed(traffic, path.split("/")[3], [span]))["id"]
    return found


_MAKERS: Final[Mapping[str, Callable[[Traffic, Operation, str], Awaitable[str]]]] = {
    "/v1/sources/{id}": _source_in_path,
    "/v1/articles/{id}": _article,
    "/v1/claims/{id}": _claim,
    "/v1/denials/{id}": _denial,
    "/v1/sources/{id}/identities/{identity_id}": _identity,
    "/v1/webhooks/{id}": _webhook,
    "/v1/keys/{id}": _key,
    "/v1/problems/{name}": _problem,
}
"""How to make what the last part of a path names."""


async def _body_of_webhook(*_: object) -> Body:
    return {"url": NOWHERE}


async def _body_of_identity(traffic: Traffic, _: Operation) -> Body:
    return {"identity_id": await _source(traffic), "basis": "Said so."}


async def _body_of_merge(traffic: Traffic, _: Operation) -> Body:
    return {"source_id": await _source(traffic)}


async def _body_of_lines(*_: object) -> Body:
    external = {"namespace": NAMESPACE, "value": unique()}
    return {"type": "source", "external_id": external, "data": {"kind": "person", "name": "Lee"}}


async def _body_of_key(*_: object) -> Body:
    return {"name": "traffic", "scopes": ["read"]}


async def _body_of_appearances(traffic: Traffic, path: str) -> list[Body]:
    """Print a claim in the article of a path, and name the words for it."""
    record = await _printed(traffic, path.split("/")[3], [])
    span = {"start": 0, "end": len(WORDS), "exact": WORDS}
    return [{"record": record, "appearance": 0, "spans": [span]}]


async def _printed(traffic: Traffic, article: str, spans: list[Body]) -> Body:
    """Make a claim that is printed in an article."""
    noun = EVERY[RecordType.CLAIM]
    appearances = [{"article_id": article, "spans": spans}]
    claim = await create(traffic.own, noun, noun.minimal(appearances=appearances))
    return {"type": RecordType.CLAIM, "id": claim.id}


_BODIES: Final[Mapping[str, Callable[[Traffic, Operation], Awaitable[Body]]]] = {
    "createWebhook": _body_of_webhook,
    "createSourceIdentity": _body_of_identity,
    "createKey": _body_of_key,
    "mergeSource": _body_of_merge,
    "importRecords": _body_of_lines,
}
"""What to send where the document's example would not do: it names what is not there, or is."""


# --- a way to each status --------------------------------------------------------------------


async def _succeed(traffic: Traffic, operation: Operation, status: int) -> None:
    """Send what is valid; then what makes headers come that are not always there."""
    if operation.name == "streamChanges":
        await _stream(traffic, operation, status)
        return
    answer = resolved(traffic.document, operation.told["responses"][str(status)])
    told = answer["headers"]
    fresh = status == 201 and 200 in operation.statuses
    await traffic.aim(operation, status, lambda: traffic.valid(operation, fresh=fresh))
    if "Idempotency-Replayed" in told:
        sent = (await traffic.valid(operation)).but(idempotency_key=unique())
        for _ in range(2):
            await traffic.send(operation, status, sent)
    formats = list(answer.get("content", ()))
    for form in formats[1:]:
        sent = (await traffic.valid(operation)).but(accept=form)
        # The proxy holds the schema of JSON against what comes in other formats.
        await traffic.send(operation, status, sent, direct=True)
    if "Content-Encoding" in told:
        sent = (await traffic.valid(operation)).but(accept=formats[-1], accept_encoding="gzip")
        await traffic.send(operation, status, sent, direct=True)
    if "Link" in told:
        sent = await traffic.valid(operation)
        await _lengthen(traffic, operation, sent)
        await traffic.send(operation, status, sent.asking(limit="1"))


async def _lengthen(traffic: Traffic, operation: Operation, sent: Sent) -> None:
    """Make a list have a second page, where there is one item to a page."""
    if operation.noun is not None and not operation.suffix:
        for _ in range(2):
            await create(traffic.own, operation.noun)
    elif operation.path.endswith("/revisions"):
        headers = {**MERGE_PATCH, "if-match": "*"}
        record = sent.path.removesuffix("/revisions")
        changed = await traffic.own.patch(record, json={"note": unique()}, headers=headers)
        assert changed.status_code == 200, changed.text
    elif operation.path.endswith("/anchors"):
        article = sent.path.removesuffix("/anchors")
        for _ in range(2):
            await _annotation(traffic, operation, article)
        headers = {**MERGE_PATCH, "if-match": "*"}
        changed = await traffic.own.patch(article, json={"text": "Others."}, headers=headers)
        assert changed.status_code == 200, changed.text
    elif operation.path.endswith("/deliveries"):
        for count in (1, 2):
            test = sent.path.replace("/deliveries", "/test")
            await traffic.own.post(test, headers=sent.headers)
            await eventually(partial(_is_long, traffic, sent, count))
    elif operation.path in _MAKERS_OF_TWO:
        for _ in range(2):
            await _MAKERS_OF_TWO[operation.path](traffic, operation, sent.path)
    assert await _length(traffic, sent) > 1, f"{operation.name}: its list is too short"


async def _is_long(traffic: Traffic, sent: Sent, count: int) -> bool:
    return await _length(traffic, sent) >= count


async def _streams(traffic: Traffic) -> bool:
    """Tell whether somebody reads a stream."""
    return b"claim_records_feed_streams 1.0" in (await traffic.own.get("/metrics")).content


async def eventually(holds: Callable[[], Awaitable[Any]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.02)


async def _length(traffic: Traffic, sent: Sent) -> int:
    answer = await traffic.own.get(sent.path, params=dict(sent.query), headers=sent.headers)
    return len(answer.json()["items"])


_MAKERS_OF_TWO: Final[Mapping[str, Callable[[Traffic, Operation, str], Awaitable[str]]]] = {
    "/v1/keys": _key,
    "/v1/webhooks": _webhook,
    "/v1/sources/{id}/identities": _identity,
    "/v1/sources/{id}/merges": _merge_another,
    "/v1/sources/duplicates": _pair_of_sources,
    "/v1/articles/{id}/annotations": _annotation,
}


async def _stream(traffic: Traffic, operation: Operation, status: int) -> None:
    """Read a stream to its end, which comes when the key is withdrawn: a proxy hands on no less."""
    key = await traffic.own.post("/v1/keys", json=await _body_of_key())
    sent = (await traffic.valid(operation)).but(**bearer(key.json()["key"]))
    reading = asyncio.create_task(traffic.send(operation, status, sent))
    await eventually(partial(_streams, traffic))
    gone = await traffic.own.delete(f"/v1/keys/{key.json()['id']}")
    assert gone.status_code == 204, gone.text
    await reading


async def _not_modified(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    read = await traffic.own.get(sent.path, params=dict(sent.query), headers=sent.headers)
    await traffic.send(operation, status, sent.but(if_none_match=read.headers["etag"]))


async def _moved(traffic: Traffic, operation: Operation, status: int) -> None:
    """Ask for a merged source."""
    sent = await traffic.valid(operation)
    await _merge(traffic, sent.path.split("/")[3], await _source(traffic))
    await traffic.send(operation, status, sent, direct=True)


async def _to_page(traffic: Traffic, operation: Operation, status: int) -> None:
    """Ask as a browser does."""
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(accept="text/html"), direct=True)


async def _other_format(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(accept="application/xml"))


async def _unknown_parameter(traffic: Traffic, operation: Operation, status: int) -> None:
    await traffic.send(operation, status, (await traffic.valid(operation)).asking(colour="red"))


async def _bad_key(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(authorization="Bearer clk_x"))


async def _poor_key(traffic: Traffic, operation: Operation, status: int) -> None:
    """Bring a key that may only read."""
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(**bearer(traffic.keys[_READER])))


async def _unknown(traffic: Traffic, operation: Operation, status: int) -> None:
    """Name what there is not: by no id at all, and by an id of nothing."""
    sent = await traffic.valid(operation)
    if "{" not in operation.path:
        await traffic.send(operation, status, sent.asking(value=unique()))
        return
    before, _, behind = operation.path.partition("{")
    _, _, rest = behind.partition("}")
    rest = rest.replace("{version}", "1").replace("{identity_id}", str(uuid4()))
    await traffic.send(operation, status, sent._replace(path=f"{before}nonsense{rest}"))
    if not sent.headers.keys() & {"if-match"} or not operation.takes("header", "If-None-Match"):
        await traffic.send(operation, status, sent._replace(path=f"{before}{uuid4()}{rest}"))


async def _stopping_body(traffic: Traffic, operation: Operation, status: int) -> None:
    """Begin a body, and stop."""
    sent = await traffic.valid(operation)
    request = traffic.own.build_request(
        operation.method, sent.path, params=dict(sent.query), headers=dict(sent.headers)
    )
    url = request.url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    headers = {**sent.headers, "host": url.netloc.decode(), "content-length": "1000"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    start = f"{operation.method} {url.raw_path.decode()} HTTP/1.1"
    writer.write("\r\n".join([start, *lines, "", "{"]).encode())
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answered = [line.partition(": ")[::2] for line in head[1:] if line]
        body = await reader.readexactly(int(dict(answered)["content-length"]))
    writer.close()
    answer = httpx.Response(
        int(head[0].split()[1]), headers=answered, content=body, request=request
    )
    answer.elapsed = timedelta()  # of which nothing is told here; schemathesis wants to know
    traffic.keep(operation, status, sent, answer, direct=True)


async def _conflict(traffic: Traffic, operation: Operation, status: int) -> None:
    """Ask for what the present state forbids."""
    noun, sent = operation.noun, await traffic.valid(operation)
    if operation.path.endswith("/restore"):
        await traffic.own.post(sent.path, headers=sent.headers)
    elif operation.name == "createSourceIdentity" or noun is None:
        await _conflict_of_others(traffic, operation, status, sent)
        return
    elif operation.method == "DELETE":
        other = referrer(noun.type)
        ids = {of: (await create(traffic.own, n, n.referred())).id for of, n in EVERY.items()}
        ids[noun.type] = sent.path.rpartition("/")[2]
        if noun.bodies.referred:
            patch = {**MERGE_PATCH, "if-match": "*"}
            await traffic.own.patch(sent.path, json=noun.bodies.referred, headers=patch)
        await create(traffic.own, other, other.full(ids))
    else:
        taken = {"namespace": NAMESPACE, "value": unique()}
        await create(traffic.own, noun, noun.minimal(external_ids=[taken]))
        body = {**json.loads(sent.body or b""), "external_ids": [taken]}
        sent = sent._replace(body=json.dumps(body).encode())
    await traffic.send(operation, status, sent)


async def _conflict_of_others(
    traffic: Traffic, operation: Operation, status: int, sent: Sent
) -> None:
    if operation.name in {"createSourceIdentity", "mergeSource", "unmergeSource"}:
        for _ in range(2):
            await traffic.send(operation, status, sent)
    elif operation.name == "createWebhook":
        answer = httpx.Response(201)
        while answer.status_code == 201:
            answer = await traffic.own.post(sent.path, content=sent.body, headers=sent.headers)
        await traffic.send(operation, status, sent)
    elif operation.path.startswith(
        ("/v1/webhooks/{id}/", "/v1/webhooks/resume", "/v1/articles/{id}/anchors")
    ):
        await _in_progress(traffic, operation, status, sent.but(idempotency_key=unique()))
    else:
        raise LookupError(f"{operation.name}: nothing is known of its conflicts")


async def _in_progress(traffic: Traffic, operation: Operation, status: int, sent: Sent) -> None:
    """Send a request while the same one waits for a row that somebody holds."""
    table = operation.path.split("/")[2]
    owner = await asyncpg.connect(traffic.database)
    try:
        if operation.name == "resumeWebhooks":
            identity = await _paused_webhook(traffic, operation)
        else:
            identity = sent.path.split("/")[3]
        for _ in range(TRIES):
            async with owner.transaction():
                await owner.execute(f"SELECT FROM {table} WHERE id = $1 FOR UPDATE", identity)
                first = asyncio.create_task(
                    traffic.own.post(sent.path, content=sent.body, headers=sent.headers)
                )
                await eventually(partial(_is_held, owner, first))
                exchange = await traffic.send(operation, status, sent)
            await first
            if exchange.status == status:
                return
    finally:
        await owner.close()


async def _is_held(owner: Connection, first: asyncio.Task[httpx.Response]) -> bool:
    """Tell whether a request holds its key's lock; or is answered, and another try is due."""
    return first.done() or bool(await owner.fetchval(_HELD))


_HELD: Final = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )"""


async def _gone(traffic: Traffic, operation: Operation, status: int) -> None:
    """Ask for what was deleted; of the feed, to go on from a place of another one."""
    if operation.noun is not None:
        await traffic.aim(operation, status, lambda: traffic.valid(operation, deleted=True))
        return
    if operation.name == "mergeSource":
        sent = await traffic.valid(operation)
        source = sent.path.removesuffix("/merge")
        await traffic.own.delete(source, headers={"if-match": "*"})
        await traffic.send(operation, status, sent)
        return
    since = positions.written(Position("another", 1, ""), READER, RecordType)
    sent = await traffic.valid(operation)
    if operation.takes("query", "since"):
        await traffic.send(operation, status, sent.asking(since=since))
    else:
        body = json.dumps({"since": since}).encode()
        await traffic.send(operation, status, sent._replace(body=body))


async def _other_version(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(if_match='"other"'))


async def _long_body(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = _as_a_whole(operation, await traffic.valid(operation))
    body = json.dumps({"colour": "r" * 40_000}).encode()
    await traffic.send(operation, status, sent._replace(body=body))


def _as_a_whole(operation: Operation, sent: Sent) -> Sent:
    """Send as a document what lines would be refused in, each for itself."""
    is_import = operation.name == "importRecords"
    return sent.but(content_type="application/ld+json") if is_import else sent


async def _long_url(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.asking(colour="r" * 8_200))


async def _other_media_type(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(content_type="text/plain"))


async def _other_host(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(host="elsewhere.example"), direct=True)


async def _wrong_content(traffic: Traffic, operation: Operation, status: int) -> None:
    """Send a body that means nothing; where there is none, a key that was used for another path."""
    sent = await traffic.valid(operation)
    if sent.body is not None:
        sent = _as_a_whole(operation, sent)
        await traffic.send(operation, status, sent._replace(body=b'{"colour": "red"}'))
        return
    sent = sent.but(idempotency_key=unique())
    if operation.name == "resumeWebhooks":
        other_path = f"/v1/webhooks/{await _webhook(traffic, operation)}/test"
        await traffic.own.post(other_path, headers=sent.headers)
        await traffic.send(operation, status, sent)
        return
    await traffic.own.post(sent.path, headers=sent.headers)
    other = await traffic.valid(operation)
    await traffic.send(operation, status, sent._replace(path=other.path))


async def _no_precondition(traffic: Traffic, operation: Operation, status: int) -> None:
    await traffic.send(operation, status, (await traffic.valid(operation)).but(if_match=None))


async def _many_headers(traffic: Traffic, operation: Operation, status: int) -> None:
    sent = await traffic.valid(operation)
    await traffic.send(operation, status, sent.but(**{f"x_{n}": "1" for n in range(110)}))


_WAYS: Final[Mapping[int, Way]] = {
    200: _succeed,
    201: _succeed,
    202: _succeed,
    204: _succeed,
    303: _to_page,
    304: _not_modified,
    308: _moved,
    400: _unknown_parameter,
    401: _bad_key,
    403: _poor_key,
    404: _unknown,
    406: _other_format,
    408: _stopping_body,
    409: _conflict,
    410: _gone,
    412: _other_version,
    413: _long_body,
    414: _long_url,
    415: _other_media_type,
    421: _other_host,
    422: _wrong_content,
    428: _no_precondition,
    431: _many_headers,
}
"""A way to each status; what fails, and what is too much, comes afterwards."""


# --- what fails ------------------------------------------------------------------------------


async def _tables(owner: asyncpg.Pool, *spared: str) -> list[str]:
    rows = await owner.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL ($1)"
        " ORDER BY tablename",
        spared,
    )
    return [row["tablename"] for row in rows]


@asynccontextmanager
async def _forbidden(owner: asyncpg.Pool, tables: list[str]) -> AsyncIterator[None]:
    """Take from the service what it was granted, which nobody foresees."""
    role = schema.SERVICE_ROLE
    listed = ", ".join(tables)
    await owner.execute(f"REVOKE ALL ON {listed} FROM {role}")
    try:
        yield
    finally:
        await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {listed} TO {role}")


@asynccontextmanager
async def _locked(owner: asyncpg.Pool, tables: list[str]) -> AsyncIterator[None]:
    """Hold every table, for longer than the service waits."""
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def _full(owner: asyncpg.Pool, tables: list[str]) -> AsyncIterator[None]:
    """Refuse whatever is written, as a full disk does."""
    await owner.execute(
        "CREATE OR REPLACE FUNCTION traffic_full() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"
    )
    written = [name for name in tables if not name.startswith("feed")]
    for name in written:
        await owner.execute(
            f"CREATE TRIGGER traffic_full BEFORE INSERT OR UPDATE OR DELETE ON {name}"
            " EXECUTE FUNCTION traffic_full()"
        )
    try:
        yield
    finally:
        for name in written:
            await owner.execute(f"DROP TRIGGER traffic_full ON {name}")


_FAULTS: Final[Mapping[int, Fault]] = {500: _forbidden, 503: _locked, 507: _full}
"""How to make each failure come, by the rights of the database's owner."""
