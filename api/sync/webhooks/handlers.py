"""Webhooks over HTTP: create, list, change, pause, test, replay and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from litestar import delete, get, patch, post
from msgspec import UNSET

from api.core.bodies import read_keyed_part, read_part
from api.core.db import Connection, Row
from api.core.errors import (
    CURSOR_MISMATCH,
    INVALID_CURSOR,
    NOT_FOUND,
    TOO_MANY,
    Problem,
    invalid_record,
)
from api.core.filters import read_query
from api.core.idempotency import once, refuse_idempotency_key
from api.core.listing import list_rows
from api.core.request import (
    MERGE_PATCH,
    NO_STORE,
    Answer,
    NoContent,
    Request,
    author,
    caller,
    context,
    encoded,
    new_id,
    record_id,
)
from api.core.sql import render
from api.sync.feed import positions
from api.sync.feed.following import feed_of
from api.sync.feed.stretches import Position, Wanted
from api.sync.webhooks import statements
from api.sync.webhooks.addresses import TargetRefused, check_url, reach
from api.sync.webhooks.operations import (
    CREATE_WEBHOOK,
    DELETE_WEBHOOK,
    GET_WEBHOOK,
    LIST_DELIVERIES,
    LIST_WEBHOOKS,
    REPLAY_WEBHOOK,
    RESUME_WEBHOOKS,
    ROTATE_SECRET,
    TEST_WEBHOOK,
    UPDATE_WEBHOOK,
)
from api.sync.webhooks.resuming import resume
from api.sync.webhooks.signatures import message_id, new_secret
from schemas.base import Fault
from schemas.scalars import Id, Instant
from schemas.vocabularies import RecordType, Scope
from schemas.webhooks import (
    MAX_WEBHOOKS,
    Webhook,
    WebhookCreate,
    WebhookReplay,
    WebhookRotate,
    WebhookUpdate,
)

_SCOPES: Final = (Scope.WEBHOOKS,)


def _own(request: Request) -> dict[str, str | None]:
    """Give the parameters that name a webhook of the caller's key; it has no access to others."""
    return {"id": record_id(request), "key_id": caller(request).key_id}


def _reach(request: Request) -> dict[str, Any]:
    """Give the parameters that tell which webhooks the caller may see and delete."""
    asker = caller(request)
    return {"key_id": asker.key_id, "manages_keys": asker.may(Scope.KEYS)}


def _shown(row: Row | None) -> dict[str, Any]:
    """Give what may be shown of a webhook; raise `not-found` if there is none."""
    if row is None:
        raise _not_found()
    return {name: row[name] for name in Webhook.__struct_fields__}


def _not_found() -> Problem:
    return Problem(NOT_FOUND, "This key has no webhook with this id.")


def _check_target(request: Request, url: str) -> None:
    try:
        check_url(url, reach(context(request).settings))
    except TargetRefused as refused:
        raise invalid_record([Fault(("url",), "invalid-value", str(refused))]) from None


@get(
    "/v1/webhooks", operation_id="listWebhooks", opt={"operation": LIST_WEBHOOKS, "scopes": _SCOPES}
)
async def list_webhooks(request: Request) -> Answer:
    """List webhooks."""
    reach = _reach(request)
    name, sort_key = f"webhooks {reach['key_id']}", (("created_at", Instant), ("id", Id))
    return await list_rows(request, name, statements.LIST, sort_key, **reach)


@post(
    "/v1/webhooks",
    operation_id="createWebhook",
    opt={"operation": CREATE_WEBHOOK, "scopes": _SCOPES},
)
async def create_webhook(request: Request) -> Answer:
    """Create a webhook."""
    sent = await read_part(request, WebhookCreate)
    _check_target(request, sent.url)
    asker, secret = caller(request), new_secret()
    place = await positions.since(feed_of(request), positions.NOW, asker, ())
    query = render(
        statements.CREATE,
        id=new_id(),
        key_id=asker.key_id,
        url=sent.url,
        description=sent.description,
        types=_names(sent.types),
        secret=secret,
        limit=MAX_WEBHOOKS,
        actor=author(request).actor,
        **place._asdict(),
    )
    async with context(request).database.connection() as connection, connection.transaction():
        await connection.execute(*render(statements.LOCK_KEY, key_id=asker.key_id))
        row = await connection.fetchrow(*query)
    if row is None:
        raise Problem(TOO_MANY, f"A key has at most {MAX_WEBHOOKS} webhooks.")
    headers = {"location": f"/v1/webhooks/{row['id']}", **NO_STORE}
    return Answer(encoded({**_shown(row), "secret": secret}), 201, headers=headers)


@get(
    "/v1/webhooks/{id:str}",
    operation_id="getWebhook",
    opt={"operation": GET_WEBHOOK, "scopes": _SCOPES},
)
async def get_webhook(request: Request) -> Answer:
    """Get a webhook."""
    query = render(statements.GET, id=record_id(request), **_reach(request))
    read_query(request.scope["query_string"], {})
    return Answer(encoded(_shown(await context(request).database.fetchrow(*query))))


@patch(
    "/v1/webhooks/{id:str}",
    operation_id="updateWebhook",
    opt={"operation": UPDATE_WEBHOOK, "scopes": _SCOPES},
)
async def update_webhook(request: Request) -> Answer:
    """Change, pause or resume a webhook."""
    own = _own(request)
    sent = await read_part(request, WebhookUpdate, MERGE_PATCH)
    url = None if sent.url is UNSET else sent.url
    if url is not None:
        _check_target(request, url)
    query = render(
        statements.UPDATE,
        **own,
        url=url,
        describes=sent.description is not UNSET,
        description=None if sent.description is UNSET else sent.description,
        types=None if sent.types is UNSET else _names(sent.types or ()),
        paused=None if sent.paused is UNSET else sent.paused,
        anew=sent.paused is False or url is not None,
        actor=author(request).actor,
    )
    return Answer(encoded(_shown(await context(request).database.fetchrow(*query))))


def _names(types: Sequence[RecordType]) -> list[str]:
    """Name types, each once, in the order of the vocabulary."""
    return [each.value for each in RecordType if each in types]


@delete(
    "/v1/webhooks/{id:str}",
    operation_id="deleteWebhook",
    opt={"operation": DELETE_WEBHOOK, "scopes": _SCOPES},
)
async def delete_webhook(request: Request) -> NoContent:
    """Delete a webhook."""
    identity, actor = record_id(request), author(request).actor
    query = render(statements.DELETE, id=identity, actor=actor, **_reach(request))
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    if not await context(request).database.fetchrow(*query):
        raise _not_found()
    return Answer(status=204)


@post(
    "/v1/webhooks/{id:str}/rotate",
    operation_id="rotateWebhookSecret",
    opt={"operation": ROTATE_SECRET, "scopes": _SCOPES},
    status_code=200,
)
async def rotate_webhook_secret(request: Request) -> Answer:
    """Give a webhook a new secret."""
    own = _own(request)
    sent = await read_part(request, WebhookRotate)
    secret = new_secret()
    query = render(
        statements.ROTATE,
        **own,
        secret=secret,
        overlap_seconds=float(sent.overlap_seconds),
        actor=author(request).actor,
    )
    row = await context(request).database.fetchrow(*query)
    return Answer(encoded({**_shown(row), "secret": secret}), headers=NO_STORE)


@post(
    "/v1/webhooks/{id:str}/replay",
    operation_id="replayWebhook",
    opt={"operation": REPLAY_WEBHOOK, "scopes": _SCOPES},
    status_code=200,
)
async def replay_webhook(request: Request) -> Answer:
    """Move a webhook to another place in the feed."""
    own = _own(request)
    sent, body = await read_keyed_part(request, WebhookReplay)
    place = await _place(request, sent.since)
    query = render(statements.REPLAY, **own, **place._asdict(), actor=author(request).actor)

    async def work(connection: Connection) -> Answer:
        return Answer(encoded(_shown(await connection.fetchrow(*query))))

    return await once(request, body, work)


async def _place(request: Request, since: str) -> Position:
    """Find a place in the feed; raise `resync-required` for a place in another feed."""
    feed = feed_of(request)
    try:
        # No types are named, so that any cursor is taken. All changes behind it are sent anew, and
        # the receiver misses nothing.
        place = await positions.since(feed, since, caller(request), ())
    except Problem as problem:
        if problem.kind not in (INVALID_CURSOR, CURSOR_MISMATCH):
            raise
        detail = "It must be `start`, `now` or a cursor of the change feed."
        raise invalid_record([Fault(("since",), "invalid-value", detail)]) from None
    await feed.behind(place, Wanted(caller(request).sight, 1, documents=False))
    return place


@post(
    "/v1/webhooks/resume",
    operation_id="resumeWebhooks",
    opt={"operation": RESUME_WEBHOOKS, "scopes": _SCOPES},
    status_code=200,
)
async def resume_webhooks(request: Request) -> Answer:
    """Resume the webhooks that a new feed has paused."""
    read_query(request.scope["query_string"], {})
    reach, feed, actor = _reach(request), feed_of(request), author(request).actor

    async def work(connection: Connection) -> Answer:
        async with connection.transaction():
            resumed, left = await resume(connection, feed, reach, actor)
        return Answer(encoded({"resumed": resumed, "left": left}))

    return await once(request, b"", work)


@post(
    "/v1/webhooks/{id:str}/test",
    operation_id="testWebhook",
    opt={"operation": TEST_WEBHOOK, "scopes": _SCOPES},
    status_code=202,
)
async def test_webhook(request: Request) -> Answer:
    """Send a test message to a webhook."""
    own = _own(request)
    read_query(request.scope["query_string"], {})
    query = render(statements.TEST, **own, message_id=message_id("test", new_id()))

    async def work(connection: Connection) -> Answer:
        row = await connection.fetchrow(*query)
        if row is None:
            raise _not_found()
        return Answer(encoded({"message_id": row["test_message_id"]}), 202)

    return await once(request, b"", work)


@get(
    "/v1/webhooks/{id:str}/deliveries",
    operation_id="listWebhookDeliveries",
    opt={"operation": LIST_DELIVERIES, "scopes": _SCOPES},
)
async def list_webhook_deliveries(request: Request) -> Answer:
    """List the deliveries to a webhook."""
    identity = record_id(request)
    query = render(statements.GET, id=identity, **_reach(request))
    _shown(await context(request).database.fetchrow(*query))
    name, sort_key = f"deliveries {identity}", (("id", int),)
    statement = statements.LIST_DELIVERIES
    return await list_rows(request, name, statement, sort_key, webhook_id=identity)


webhook_handlers = [
    list_webhooks,
    create_webhook,
    get_webhook,
    update_webhook,
    delete_webhook,
    rotate_webhook_secret,
    replay_webhook,
    resume_webhooks,
    test_webhook,
    list_webhook_deliveries,
]
