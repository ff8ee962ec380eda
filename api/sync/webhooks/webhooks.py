"""Webhooks over HTTP: made, changed, paused, tested, replayed; and what was delivered to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import delete, get, patch, post
from msgspec import UNSET

from api.access.authentication import forbidden
from api.access.keys import NO_IDEMPOTENCY_KEY, read_keyed_part, read_part
from api.access.listing import page
from api.core.db import Connection, Row
from api.core.errors import (
    CURSOR_MISMATCH,
    INVALID_CURSOR,
    NOT_FOUND,
    RESYNC_REQUIRED,
    TOO_MANY,
    Problem,
    invalid_record,
)
from api.core.filters import Parameter, read_query
from api.core.idempotency import once
from api.core.operation import Link, Operation
from api.core.request import (
    MERGE_PATCH,
    Answer,
    NoContent,
    Request,
    author,
    caller,
    context,
    encoded,
    new_id,
    record_id,
    refuse_idempotency_key,
)
from api.core.resource import CURSOR, LIMIT
from api.settings import networks
from api.sync.feed import positions
from api.sync.feed.feed import Position, feed_of
from api.sync.webhooks.leases import WORKS
from api.sync.webhooks.signatures import message_id, new_secret
from api.sync.webhooks.targets import TargetRefused, check_url
from schemas.base import Fault, Id, Instant
from schemas.examples import CLAIM_ID, KEY_ID, MESSAGE_ID, WEBHOOK_ID
from schemas.vocabularies import RecordType, Scope, WebhookStatus
from schemas.webhooks import (
    MAX_WEBHOOKS,
    IssuedWebhook,
    Webhook,
    WebhookCreate,
    WebhookDelivery,
    WebhookDeliveryPage,
    WebhookPage,
    WebhookReplay,
    WebhookRotate,
    WebhookTest,
    WebhookUpdate,
)

_SCOPES: Final = (Scope.WEBHOOKS,)
_NO_STORE: Final = {"cache-control": "no-store"}
_ID: Final = Parameter("id", Id, "The webhook's id.", example=WEBHOOK_ID)
_EXAMPLE: Final = Webhook(
    id=WEBHOOK_ID,
    key_id=KEY_ID,
    url="https://desk.example/hooks/claims",
    description="The desk's own copy",
    types=[RecordType.CLAIM, RecordType.DENIAL],
    status=WebhookStatus.ACTIVE,
    paused_reason=None,
    seq=41,
    attempts=0,
    failing_since=None,
    next_attempt_at=None,
    previous_until=None,
    created_at="2024-12-19T10:00:00.250000Z",
    updated_at="2024-12-19T10:00:00.250000Z",
)
_SHOWN_ONCE: Final = "whsec_ (44 more characters)"
_ISSUED: Final = IssuedWebhook(**msgspec.structs.asdict(_EXAMPLE), secret=_SHOWN_ONCE)
_DELIVERY: Final = WebhookDelivery(
    id=7,
    message_id=MESSAGE_ID,
    event="claim.updated",
    record_type=RecordType.CLAIM,
    record_id=CLAIM_ID,
    version=2,
    seq=41,
    attempt=1,
    at="2024-12-19T10:00:00.250000Z",
    milliseconds=38,
    status=204,
    error=None,
)
_ENDED: Final = (
    " A key that has the scope `keys` too can do this with the webhooks of keys that were revoked "
    "or have expired, which nobody else can any more."
)

LIST_WEBHOOKS = Operation(
    tag="webhooks",
    description="Gives the webhooks of one's own key, newest first, without their secrets."
    + _ENDED,
    parameters=(LIMIT, CURSOR),
    success="A page of webhooks.",
    answer=(WebhookPage,),
    headers=("Link",),
    example=WebhookPage(
        items=[_EXAMPLE], next_cursor=None, total=None, total_is_lower_bound=False, included={}
    ),
)
CREATE_WEBHOOK = Operation(
    tag="webhooks",
    description=f"""\
Makes a webhook, which is sent every change from now on that its key may see. Its secret is shown \
this once. A key has at most {MAX_WEBHOOKS} webhooks, and they are paused when it is revoked.

The messages are those of Standard Webhooks; `webhooks` in this document describes them. They come \
one after another, in the order of the feed; one may come twice. 2xx alone is success. What is not \
taken is sent again after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, or later if \
`Retry-After` says so, under the same id; then the webhook is paused. 410 pauses it at once.

{NO_IDEMPOTENCY_KEY}""",
    body=WebhookCreate,
    body_example=WebhookCreate(
        url=_EXAMPLE.url, description=_EXAMPLE.description, types=_EXAMPLE.types
    ),
    callbacks=("recordChanged", "webhookTested"),
    success="The webhook, with its secret: keep it now.",
    answer=(IssuedWebhook,),
    example=_ISSUED,
    headers=("Location",),
    links=(Link("getWebhook", {"id": "$response.body#/id"}, "The webhook's id."),),
    refusals=(TOO_MANY,),
)
GET_WEBHOOK = Operation(
    tag="webhooks",
    description=f"Gives a webhook of one's own key, without its secret.{_ENDED}",
    path_parameters=(_ID,),
    success="The webhook.",
    answer=(Webhook,),
    example=_EXAMPLE,
)
UPDATE_WEBHOOK = Operation(
    tag="webhooks",
    description="Changes where a webhook is sent to and what, pauses it, or resumes it. A paused "
    "one keeps its place in the feed. `types` hold from its place on.",
    path_parameters=(_ID,),
    body=WebhookUpdate,
    body_type=MERGE_PATCH,
    body_example=WebhookUpdate(paused=False),
    success="The webhook, changed.",
    answer=(Webhook,),
    example=_EXAMPLE,
)
DELETE_WEBHOOK = Operation(
    tag="webhooks",
    description=f"Deletes a webhook, and the list of what was delivered to it.{_ENDED}",
    path_parameters=(_ID,),
    success="The webhook is deleted.",
)
ROTATE_SECRET = Operation(
    tag="webhooks",
    description="Gives a webhook a new secret, which is shown this once. Messages are signed with "
    "the old one too for `overlap_seconds`, a day unless said otherwise; one older than that ends "
    f"at once. {NO_IDEMPOTENCY_KEY}",
    path_parameters=(_ID,),
    body=WebhookRotate,
    body_example=WebhookRotate(overlap_seconds=3_600),
    success="The webhook, with its new secret: keep it now.",
    answer=(IssuedWebhook,),
    example=_ISSUED,
)
REPLAY_WEBHOOK = Operation(
    tag="webhooks",
    description="Moves a webhook's place in the feed, back or forth: what lies behind it is sent "
    "(again), each change under the id that it had. A paused one stays paused.",
    path_parameters=(_ID,),
    body=WebhookReplay,
    body_example=WebhookReplay(since="start"),
    header_parameters=("IdempotencyKey",),
    success="The webhook, at its new place in the feed.",
    answer=(Webhook,),
    example=_EXAMPLE,
    headers=("Idempotency-Replayed",),
    refusals=(RESYNC_REQUIRED,),
)
TEST_WEBHOOK = Operation(
    tag="webhooks",
    description="Has a test sent, once, to a paused webhook too; nothing follows from how that "
    "goes. It is sent within about a second, or when the message that is just being sent has its "
    "answer: `listWebhookDeliveries` then has it. One that waits "
    "to be sent is not joined by another.",
    path_parameters=(_ID,),
    success="The test will be sent; `message_id` is the message's id.",
    answer=(WebhookTest,),
    header_parameters=("IdempotencyKey",),
    example=WebhookTest(message_id=MESSAGE_ID),
    headers=("Idempotency-Replayed",),
)
LIST_DELIVERIES = Operation(
    tag="webhooks",
    description="Gives the attempts to deliver to a webhook, newest first: the last thousand, of "
    f"the last 30 days.{_ENDED}",
    path_parameters=(_ID,),
    parameters=(LIMIT, CURSOR),
    success="A page of attempts to deliver.",
    answer=(WebhookDeliveryPage,),
    headers=("Link",),
    example=WebhookDeliveryPage(
        items=[_DELIVERY], next_cursor=None, total=None, total_is_lower_bound=False, included={}
    ),
)


# --- statements ------------------------------------------------------------------------------


_REACHED = re.compile(r":reached\((\$\d), (\$\d)\)")


def _query(text: str) -> str:
    """List, for `:shown`, what may be said of a webhook; say, for `:reached`, that it is one's own.

    Or, for who manages keys, that its key has ended: else nobody could see or delete it.
    """
    ended = f"EXISTS (SELECT FROM keys AS k WHERE k.id = key_id AND NOT ({WORKS}))"
    filled = _REACHED.sub(rf"(key_id = \1 OR \2::boolean AND {ended})", text)
    return filled.replace(":shown", ", ".join(Webhook.__struct_fields__))


_LIST = _query("""
    SELECT :shown FROM webhooks
    WHERE ($1::text IS NULL OR (created_at, id) < ($1::text::timestamptz, $2::text::uuid))
        AND :reached($4, $5)
    ORDER BY created_at DESC, id DESC
    LIMIT $3""")
_GET = _query("SELECT :shown FROM webhooks WHERE id = $1 AND :reached($2, $3)")
# Two at once would both count the webhooks that were there before.
_LOCK = "SELECT FROM keys WHERE id = $1 FOR NO KEY UPDATE"
_CREATE = _query("""
    INSERT INTO webhooks (id, key_id, url, description, types, secret, epoch, seq, tag)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
    WHERE (SELECT count(*) FROM webhooks WHERE key_id = $2) < $10
    RETURNING :shown, audited($11::text, 'webhook', id::text, 'created')""")
# Whoever mends the receiver, or moves it, does not wait for the next attempt.
_UPDATE = _query("""
    UPDATE webhooks
    SET url = coalesce($3, url),
        description = CASE WHEN $4 THEN $5 ELSE description END,
        types = coalesce($6, types),
        status = CASE $7::boolean WHEN true THEN 'paused' WHEN false THEN 'active' ELSE status END,
        paused_reason = CASE $7::boolean
            WHEN true THEN coalesce(paused_reason, 'requested')
            WHEN false THEN NULL
            ELSE paused_reason
        END,
        attempts = CASE WHEN $8 THEN 0 ELSE attempts END,
        failing_since = CASE WHEN $8 THEN NULL ELSE failing_since END,
        next_attempt_at = CASE WHEN $8 THEN NULL ELSE next_attempt_at END,
        updated_at = clock_timestamp()
    WHERE id = $1 AND key_id = $2
    RETURNING :shown, audited($9::text, 'webhook', id::text, 'updated')""")
_DELETE = _query("""
    DELETE FROM webhooks WHERE id = $1 AND :reached($2, $3)
    RETURNING audited($4::text, 'webhook', id::text, 'deleted')""")
_ROTATE = _query("""
    UPDATE webhooks
    SET secret = $3, previous_secret = secret,
        previous_until = clock_timestamp() + make_interval(secs => $4),
        updated_at = clock_timestamp()
    WHERE id = $1 AND key_id = $2
    RETURNING :shown, audited($5::text, 'webhook', id::text, 'rotated')""")
_REPLAY = _query("""
    UPDATE webhooks
    SET epoch = $3, seq = $4, tag = $5, attempts = 0, failing_since = NULL, next_attempt_at = NULL,
        updated_at = clock_timestamp()
    WHERE id = $1 AND key_id = $2
    RETURNING :shown, audited($6::text, 'webhook', id::text, 'replayed')""")
_TEST = """
    UPDATE webhooks SET test_message_id = coalesce(test_message_id, $3)
    WHERE id = $1 AND key_id = $2
    RETURNING test_message_id"""
_DELIVERIES = """
    SELECT id, message_id, event, record_type, record_id, version, seq, attempt, at, milliseconds,
           status, error
    FROM webhook_deliveries
    WHERE webhook_id = $3 AND ($1::bigint IS NULL OR id < $1)
    ORDER BY id DESC
    LIMIT $2"""


# --- handlers --------------------------------------------------------------------------------


def _own(request: Request) -> tuple[str, str | None]:
    """Name a webhook by its id and by whose it must be; others' are not there."""
    return record_id(request), caller(request).key_id


def _reached(request: Request) -> tuple[str, str | None, bool]:
    """Name a webhook that is one's own, or of a key that has ended if one manages keys."""
    return *_own(request), caller(request).may(Scope.KEYS)


def _told(row: Row | None) -> dict[str, Any]:
    """Give what may be said of a webhook, if there is one."""
    if row is None:
        raise _unknown()
    return {name: row[name] for name in Webhook.__struct_fields__}


def _unknown() -> Problem:
    return Problem(NOT_FOUND, "No webhook of this key has this id.")


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
    key = (("created_at", Instant), ("id", Id))
    reach = [who.key_id, who.may(Scope.KEYS)]
    return await page(request, f"webhooks {who.key_id}", _LIST, key, values=lambda _: reach)


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
    values = (new_id(), who.key_id, sent.url, sent.description, _terms(sent.types), secret, *place)
    async with context(request).database.connection() as connection, connection.transaction():
        await connection.execute(_LOCK, who.key_id)
        row = await connection.fetchrow(_CREATE, *values, MAX_WEBHOOKS, author(request).actor)
    if row is None:
        raise Problem(TOO_MANY, f"A key has at most {MAX_WEBHOOKS} webhooks.")
    headers = {"location": f"/v1/webhooks/{row['id']}", **_NO_STORE}
    return Answer(encoded({**_told(row), "secret": secret}), 201, headers=headers)


@get(
    "/v1/webhooks/{id:str}",
    operation_id="getWebhook",
    opt={"operation": GET_WEBHOOK, "scopes": _SCOPES},
)
async def get_webhook(request: Request) -> Answer:
    """Get a webhook."""
    reached = _reached(request)
    read_query(request.scope["query_string"], {})
    return Answer(encoded(_told(await context(request).database.fetchrow(_GET, *reached))))


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
    row = await context(request).database.fetchrow(
        _UPDATE,
        *own,
        url,
        sent.description is not UNSET,
        None if sent.description is UNSET else sent.description,
        None if sent.types is UNSET else _terms(sent.types or ()),
        None if sent.paused is UNSET else sent.paused,
        sent.paused is False or url is not None,
        author(request).actor,
    )
    return Answer(encoded(_told(row)))


def _terms(types: Sequence[RecordType]) -> list[str]:
    return [of.value for of in RecordType if of in types]


@delete(
    "/v1/webhooks/{id:str}",
    operation_id="deleteWebhook",
    opt={"operation": DELETE_WEBHOOK, "scopes": _SCOPES},
)
async def delete_webhook(request: Request) -> NoContent:
    """Delete a webhook."""
    reached = _reached(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    if not await context(request).database.fetchrow(_DELETE, *reached, author(request).actor):
        raise _unknown()
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
    secret, overlap = new_secret(), float(sent.overlap_seconds)
    row = await context(request).database.fetchrow(
        _ROTATE, *own, secret, overlap, author(request).actor
    )
    return Answer(encoded({**_told(row), "secret": secret}), headers=_NO_STORE)


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

    async def work(connection: Connection) -> Answer:
        row = await connection.fetchrow(_REPLAY, *own, *place, author(request).actor)
        return Answer(encoded(_told(row)))

    return await once(request, body, work)


async def _place(request: Request, since: str) -> Position:
    """Find a place in the feed; one of another feed is `resync-required`."""
    feed = feed_of(request)
    try:
        # Of what was hidden from the cursor's reader nothing is missed: it is all sent anew.
        place = await positions.since(feed, since, caller(request), ())
    except Problem as problem:
        if problem.kind not in (INVALID_CURSOR, CURSOR_MISMATCH):
            raise
        detail = "It is `start`, `now` or a cursor of the change feed."
        raise invalid_record([Fault(("since",), "invalid-value", detail)]) from None
    await feed.behind(place, 1)
    return place


@post(
    "/v1/webhooks/{id:str}/test",
    operation_id="testWebhook",
    opt={"operation": TEST_WEBHOOK, "scopes": _SCOPES},
    status_code=202,
)
async def test_webhook(request: Request) -> Answer:
    """Have a test sent."""
    own = _own(request)
    read_query(request.scope["query_string"], {})

    async def work(connection: Connection) -> Answer:
        row = await connection.fetchrow(_TEST, *own, message_id("test", new_id()))
        if row is None:
            raise _unknown()
        return Answer(encoded({"message_id": row["test_message_id"]}), 202)

    return await once(request, b"", work)


@get(
    "/v1/webhooks/{id:str}/deliveries",
    operation_id="listWebhookDeliveries",
    opt={"operation": LIST_DELIVERIES, "scopes": _SCOPES},
)
async def list_webhook_deliveries(request: Request) -> Answer:
    """List what was delivered."""
    reached = _reached(request)
    _told(await context(request).database.fetchrow(_GET, *reached))
    of = reached[0]
    return await page(
        request, f"deliveries {of}", _DELIVERIES, (("id", int),), values=lambda _: [of]
    )


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
