"""Operations on webhooks, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Final

import msgspec

from api.access.keys import NO_IDEMPOTENCY_KEY
from api.core.errors import RESYNC_REQUIRED, TOO_MANY
from api.core.filters import Parameter
from api.core.operation import Link, Operation
from api.core.request import MERGE_PATCH
from api.core.resource import CURSOR, LIMIT
from schemas.examples import CLAIM_ID, KEY_ID, MESSAGE_ID, WEBHOOK_ID
from schemas.pages import only_page
from schemas.scalars import Id
from schemas.vocabularies import RecordType, WebhookStatus
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
    WebhooksResumed,
    WebhookTest,
    WebhookUpdate,
)

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
_OF_ENDED_KEYS: Final = (
    " If your key also has the scope `keys`, this includes the webhooks of keys that were revoked "
    "or have expired: their own keys can't reach them any more."
)

LIST_WEBHOOKS = Operation(
    tag="webhooks",
    description="Lists the webhooks of your key, newest first, without their secrets."
    + _OF_ENDED_KEYS,
    parameters=(LIMIT, CURSOR),
    success="A page of webhooks.",
    answer=(WebhookPage,),
    headers=("Link",),
    example=only_page(WebhookPage, _EXAMPLE),
)
CREATE_WEBHOOK = Operation(
    tag="webhooks",
    description=f"""\
Creates a webhook. From now on, every change that your key may see is sent to its URL. The answer \
shows the webhook's secret, which is not shown again. A key has at most {MAX_WEBHOOKS} webhooks. \
They are paused when the key is revoked or expires.

The messages follow Standard Webhooks; `webhooks` in this document describes them. They are sent \
one after another, in the order of the feed, and a message may be sent twice. Only a 2xx answer \
counts as success. Otherwise the message is sent again, under the same id, after 5 s, 5 min, \
30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, or later if the answer's `Retry-After` says so. If \
the last attempt fails too, the webhook is paused. An answer of 410 pauses it at once.

{NO_IDEMPOTENCY_KEY}""",
    body=WebhookCreate,
    body_example=WebhookCreate(
        url=_EXAMPLE.url, description=_EXAMPLE.description, types=_EXAMPLE.types
    ),
    callbacks=("recordChanged", "webhookTested"),
    success="The webhook with its secret. Store it now.",
    answer=(IssuedWebhook,),
    example=_ISSUED,
    headers=("Location",),
    links=(Link("getWebhook", {"id": "$response.body#/id"}, "The webhook's id."),),
    refusals=(TOO_MANY,),
)
GET_WEBHOOK = Operation(
    tag="webhooks",
    description=f"Gets a webhook of your key, without its secret.{_OF_ENDED_KEYS}",
    path_parameters=(_ID,),
    success="The webhook.",
    answer=(Webhook,),
    example=_EXAMPLE,
)
UPDATE_WEBHOOK = Operation(
    tag="webhooks",
    description="Changes a webhook's URL, description or types, pauses it, or resumes it. A paused "
    "webhook keeps its place in the feed. New `types` apply to all changes after that place.",
    path_parameters=(_ID,),
    body=WebhookUpdate,
    body_type=MERGE_PATCH,
    body_example=WebhookUpdate(paused=False),
    success="The changed webhook.",
    answer=(Webhook,),
    example=_EXAMPLE,
)
DELETE_WEBHOOK = Operation(
    tag="webhooks",
    description=f"Deletes a webhook and the list of its deliveries.{_OF_ENDED_KEYS}",
    path_parameters=(_ID,),
    success="The webhook is deleted.",
)
ROTATE_SECRET = Operation(
    tag="webhooks",
    description="Gives a webhook a new secret, which is shown only in this answer. For "
    "`overlap_seconds`, a day by default, messages are signed with the old secret too. A secret "
    f"from before the old one is no longer used. {NO_IDEMPOTENCY_KEY}",
    path_parameters=(_ID,),
    body=WebhookRotate,
    body_example=WebhookRotate(overlap_seconds=3_600),
    success="The webhook with its new secret. Store it now.",
    answer=(IssuedWebhook,),
    example=_ISSUED,
)
REPLAY_WEBHOOK = Operation(
    tag="webhooks",
    description="Moves a webhook's place in the feed, backward or forward. All changes after the "
    "new place are sent; a change that was sent before is sent again under the same message id. A "
    "paused webhook stays paused.",
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
RESUME_WEBHOOKS = Operation(
    tag="webhooks",
    description="Resumes the webhooks that were paused because the service's database was restored "
    "or another server has taken over (`paused_reason` is `resync_required`): those of your key, "
    "and those of all keys if your key also has the scope `keys`. Each webhook goes on after the "
    "last change that its receiver is known to have accepted, so no change is left out. A receiver "
    "may know versions that the restored database does not have: let it compare its records with "
    "`exportRecords`. One request resumes 500 webhooks at most.",
    success="How many webhooks were resumed, and how many stay paused for that reason.",
    answer=(WebhooksResumed,),
    header_parameters=("IdempotencyKey",),
    example=WebhooksResumed(resumed=12, left=0),
    headers=("Idempotency-Replayed",),
)
TEST_WEBHOOK = Operation(
    tag="webhooks",
    description="Sends one test message, also to a paused webhook. The result has no effect: a "
    "failed test does not pause the webhook. The message is sent within about a second, or as soon "
    "as the receiver has answered the message that is being sent now; `listWebhookDeliveries` then "
    "lists it. While a test waits to be sent, another request returns the same test.",
    path_parameters=(_ID,),
    success="The test will be sent; `message_id` is the message's id.",
    answer=(WebhookTest,),
    header_parameters=("IdempotencyKey",),
    example=WebhookTest(message_id=MESSAGE_ID),
    headers=("Idempotency-Replayed",),
)
LIST_DELIVERIES = Operation(
    tag="webhooks",
    description="Lists the attempts to deliver messages to a webhook, newest first: at most the "
    f"last thousand, and none older than 30 days.{_OF_ENDED_KEYS}",
    path_parameters=(_ID,),
    parameters=(LIMIT, CURSOR),
    success="A page of delivery attempts.",
    answer=(WebhookDeliveryPage,),
    headers=("Link",),
    example=only_page(WebhookDeliveryPage, _DELIVERY),
)
