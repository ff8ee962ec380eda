"""Webhooks over HTTP: create, list, change, pause, test, replay and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from litestar import delete, get, patch, post
from msgspec import UNSET

from api.access.authentication import forbidden
from api.access.keys import read_keyed_part, read_part
from api.access.listing import page
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
from api.core.idempotency import once
from api.core.request import (
    MERGE_PATCH,
    Answer,
    Request,
    author,
    caller,
    context,
    encoded,
    new_id,
    record_id,
    refuse_idempotency_key,
)
from api.core.sql import compose, render
from api.settings import networks
from api.sync.feed import positions
from api.sync.feed.following import feed_of
from api.sync.feed.stretches import Position
from api.sync.webhooks.addresses import TargetRefused, check_url
from api.sync.webhooks.leases import KEY_WORKS
from api.sync.webhooks.operations import (
    CREATE_WEBHOOK,
    DELETE_WEBHOOK,
    GET_WEBHOOK,
    LIST_DELIVERIES,
    LIST_WEBHOOKS,
    REPLAY_WEBHOOK,
    ROTATE_SECRET,
    TEST_WEBHOOK,
    UPDATE_WEBHOOK,
)
from api.sync.webhooks.signatures import message_id, new_secret
from schemas.base import Fault, Id, Instant
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
_NO_STORE: Final = {"cache-control": "no-store"}


# --- statements ------------------------------------------------------------------------------

_COLUMNS: Final = ", ".join(Webhook.__struct_fields__)
"""What may be shown of a webhook."""


def _reachable(key_id: str, manages_keys: str) -> str:
    """Write the condition that a webhook belongs to a key, or that the key may manage it.

    A key that manages keys reaches the webhooks of keys that have ended. Otherwise nobody could see
    or delete those.
    """
    ended = f"EXISTS (SELECT FROM keys AS k WHERE k.id = key_id AND NOT ({KEY_WORKS}))"
    return f"(key_id = {key_id} OR {manages_keys}::boolean AND {ended})"


def _statement(text: str) -> str:
    return compose(text, columns=_COLUMNS, reachable=_reachable(":key_id", ":manages_keys"))


# `page` numbers its parameters: the cursor's two values, the limit, then these two.
_LIST: Final = compose(
    """
    SELECT {columns} FROM webhooks
    WHERE ($1::text IS NULL OR (created_at, id) < ($1::text::timestamptz, $2::text::uuid))
        AND {reachable}
    ORDER BY created_at DESC, id DESC
    LIMIT $3""",
    columns=_COLUMNS,
    reachable=_reachable("$4", "$5"),
)
_LIST_DELIVERIES: Final = """
    SELECT id, message_id, event, record_type, record_id, version, seq, attempt, at, milliseconds,
           status, error
    FROM webhook_deliveries
    WHERE webhook_id = $3 AND ($1::bigint IS NULL OR id < $1)
    ORDER BY id DESC
    LIMIT $2"""
_GET: Final = _statement("SELECT {columns} FROM webhooks WHERE id = :id AND {reachable}")
# Without the lock, two requests at once would both count the webhooks that were there before.
_LOCK_KEY: Final = "SELECT FROM keys WHERE id = :key_id FOR NO KEY UPDATE"
_CREATE: Final = _statement("""
    INSERT INTO webhooks (id, key_id, url, description, types, secret, epoch, seq, tag)
    SELECT :id, :key_id, :url, :description, :types, :secret, :epoch, :seq, :tag
    WHERE (SELECT count(*) FROM webhooks WHERE key_id = :key_id) < :limit
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'created')""")
# With `anew`, the next attempt is made at once: the receiver was repaired or has moved.
_UPDATE: Final = _statement("""
    UPDATE webhooks
    SET url = coalesce(:url, url),
        description = CASE WHEN :describes THEN :description ELSE description END,
        types = coalesce(:types, types),
        status = CASE :paused::boolean
            WHEN true THEN 'paused'
            WHEN false THEN 'active'
            ELSE status
        END,
        paused_reason = CASE :paused::boolean
            WHEN true THEN coalesce(paused_reason, 'requested')
            WHEN false THEN NULL
            ELSE paused_reason
        END,
        attempts = CASE WHEN :anew THEN 0 ELSE attempts END,
        failing_since = CASE WHEN :anew THEN NULL ELSE failing_since END,
        next_attempt_at = CASE WHEN :anew THEN NULL ELSE next_attempt_at END,
        updated_at = clock_timestamp()
    WHERE id = :id AND key_id = :key_id
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'updated')""")
_DELETE: Final = _statement("""
    DELETE FROM webhooks WHERE id = :id AND {reachable}
    RETURNING audited(:actor::text[], 'webhook', id::text, 'deleted')""")
_ROTATE: Final = _statement("""
    UPDATE webhooks
    SET secret = :secret, previous_secret = secret,
        previous_until = clock_timestamp() + make_interval(secs => :overlap_seconds),
        updated_at = clock_timestamp()
    WHERE id = :id AND key_id = :key_id
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'rotated')""")
_REPLAY: Final = _statement("""
    UPDATE webhooks
    SET epoch = :epoch, seq = :seq, tag = :tag, attempts = 0, failing_since = NULL,
        next_attempt_at = NULL, updated_at = clock_timestamp()
    WHERE id = :id AND key_id = :key_id
    RETURNING {columns}, audited(:actor::text[], 'webhook', id::text, 'replayed')""")
_TEST: Final = """
    UPDATE webhooks SET test_message_id = coalesce(test_message_id, :message_id)
    WHERE id = :id AND key_id = :key_id
    RETURNING test_message_id"""


# --- handlers --------------------------------------------------------------------------------


class _Own(NamedTuple):
    """A webhook by its id, and the key that it must belong to: another key's does not exist."""

    id: str
    key_id: str | None


class _Reachable(NamedTuple):
    """A webhook by its id, and the key by which it must be reachable."""

    id: str
    key_id: str | None
    manages_keys: bool


def _own(request: Request) -> _Own:
    return _Own(record_id(request), caller(request).key_id)


def _reached_by(request: Request) -> _Reachable:
    return _Reachable(*_own(request), caller(request).may(Scope.KEYS))


def _shown(row: Row | None) -> dict[str, Any]:
    """Give what may be shown of a webhook; raise `not-found` if there is none."""
    if row is None:
        raise _not_found()
    return {name: row[name] for name in Webhook.__struct_fields__}


def _not_found() -> Problem:
    return Problem(NOT_FOUND, "This key has no webhook with this id.")


def _check_target(request: Request, url: str) -> None:
    try:
        check_url(url, networks(context(request).settings.webhook_networks))
    except TargetRefused as refused:
        raise invalid_record([Fault(("url",), "invalid-value", str(refused))]) from None


@get(
    "/v1/webhooks", operation_id="listWebhooks", opt={"operation": LIST_WEBHOOKS, "scopes": _SCOPES}
)
async def list_webhooks(request: Request) -> Answer:
    """List webhooks."""
    who = caller(request)
    sort_key = (("created_at", Instant), ("id", Id))
    reach = [who.key_id, who.may(Scope.KEYS)]
    return await page(request, f"webhooks {who.key_id}", _LIST, sort_key, values=lambda _: reach)


@post(
    "/v1/webhooks",
    operation_id="createWebhook",
    opt={"operation": CREATE_WEBHOOK, "scopes": _SCOPES},
)
async def create_webhook(request: Request) -> Answer:
    """Make a webhook."""
    sent = await read_part(request, WebhookCreate)
    _check_target(request, sent.url)
    who, secret = caller(request), new_secret()
    if not any(who.classes.values()):
        raise forbidden(Scope.READ)
    place = await positions.since(feed_of(request), positions.NOW, who, ())
    query = render(
        _CREATE,
        id=new_id(),
        key_id=who.key_id,
        url=sent.url,
        description=sent.description,
        types=_names(sent.types),
        secret=secret,
        limit=MAX_WEBHOOKS,
        actor=author(request).actor,
        **place._asdict(),
    )
    async with context(request).database.connection() as connection, connection.transaction():
        await connection.execute(*render(_LOCK_KEY, key_id=who.key_id))
        row = await connection.fetchrow(*query)
    if row is None:
        raise Problem(TOO_MANY, f"A key has at most {MAX_WEBHOOKS} webhooks.")
    headers = {"location": f"/v1/webhooks/{row['id']}", **_NO_STORE}
    return Answer(encoded({**_shown(row), "secret": secret}), 201, headers=headers)


@get(
    "/v1/webhooks/{id:str}",
    operation_id="getWebhook",
    opt={"operation": GET_WEBHOOK, "scopes": _SCOPES},
)
async def get_webhook(request: Request) -> Answer:
    """Get a webhook."""
    query = render(_GET, **_reached_by(request)._asdict())
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
        _UPDATE,
        **own._asdict(),
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
    return [type_.value for type_ in RecordType if type_ in types]


@delete(
    "/v1/webhooks/{id:str}",
    operation_id="deleteWebhook",
    opt={"operation": DELETE_WEBHOOK, "scopes": _SCOPES},
    status_code=200,
)
async def delete_webhook(request: Request) -> Answer:
    """Delete a webhook."""
    query = render(_DELETE, **_reached_by(request)._asdict(), actor=author(request).actor)
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
        _ROTATE,
        **own._asdict(),
        secret=secret,
        overlap_seconds=float(sent.overlap_seconds),
        actor=author(request).actor,
    )
    row = await context(request).database.fetchrow(*query)
    return Answer(encoded({**_shown(row), "secret": secret}), headers=_NO_STORE)


@post(
    "/v1/webhooks/{id:str}/replay",
    operation_id="replayWebhook",
    opt={"operation": REPLAY_WEBHOOK, "scopes": _SCOPES},
    status_code=200,
)
async def replay_webhook(request: Request) -> Answer:
    """Send changes again from a place in the feed."""
    own = _own(request)
    sent, body = await read_keyed_part(request, WebhookReplay)
    place = await _place(request, sent.since)
    query = render(_REPLAY, **own._asdict(), **place._asdict(), actor=author(request).actor)

    async def work(connection: Connection) -> Answer:
        return Answer(encoded(_shown(await connection.fetchrow(*query))))

    return await once(request, body, work)


async def _place(request: Request, since: str) -> Position:
    """Find a place in the feed; raise `resync-required` for a place in another feed."""
    feed = feed_of(request)
    try:
        # No types are checked: if the cursor's reader saw less, nothing is missed, because all
        # changes behind it are sent anew.
        place = await positions.since(feed, since, caller(request), ())
    except Problem as problem:
        if problem.kind not in (INVALID_CURSOR, CURSOR_MISMATCH):
            raise
        detail = "It must be `start`, `now` or a cursor of the change feed."
        raise invalid_record([Fault(("since",), "invalid-value", detail)]) from None
    await feed.behind(place, 1)
    return place


@post(
    "/v1/webhooks/{id:str}/test",
    operation_id="testWebhook",
    opt={"operation": TEST_WEBHOOK, "scopes": _SCOPES},
    status_code=200,
)
async def test_webhook(request: Request) -> Answer:
    """Have a test sent."""
    own = _own(request)
    read_query(request.scope["query_string"], {})
    query = render(_TEST, **own._asdict(), message_id=message_id("test", new_id()))

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
    """List what was delivered."""
    webhook = _reached_by(request)
    _shown(await context(request).database.fetchrow(*render(_GET, **webhook._asdict())))
    name, sort_key = f"deliveries {webhook.id}", (("id", int),)
    return await page(request, name, _LIST_DELIVERIES, sort_key, values=lambda _: [webhook.id])


webhook_handlers = [
    list_webhooks,
    create_webhook,
    get_webhook,
    update_webhook,
    delete_webhook,
    rotate_webhook_secret,
    replay_webhook,
    test_webhook,
    list_webhook_deliveries,
]
