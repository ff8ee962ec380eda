"""What the receiver of a webhook gets: the document's `webhooks`."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from api.core.request import JSON
from api.document.faces import Components, Json
from schemas.examples import AT, CLAIM_ID, CURSOR, HEADERS, WEBHOOK_ID
from schemas.vocabularies import ChangeOp, RecordType
from schemas.webhooks import (
    MESSAGE_ID_PATTERN,
    WebhookChange,
    WebhookEvent,
    WebhookTestEvent,
    WebhookTestSubject,
)


class _Message(NamedTuple):
    name: str
    operation_id: str
    summary: str
    description: str
    body: type[Struct]
    example: Struct


_MESSAGES: Final = (
    _Message(
        name="recordChanged",
        operation_id="receiveChange",
        summary="Learn of a change",
        description="A record was changed, as far as the key may know. The message says where to "
        "look; what is there now, `getClaim` and its like say. Messages come one after another, in "
        "the order of the feed. One can come twice: `webhook-id` tells.",
        body=WebhookEvent,
        example=WebhookEvent(
            type="claim.updated",
            timestamp=AT,
            data=WebhookChange(
                type=RecordType.CLAIM,
                id=CLAIM_ID,
                version=2,
                op=ChangeOp.UPDATED,
                cursor=CURSOR,
                url=f"/v1/claims/{CLAIM_ID}",
            ),
        ),
    ),
    _Message(
        name="webhookTested",
        operation_id="receiveTest",
        summary="Learn that messages arrive",
        description="Somebody asked for a test (`testWebhook`). It is sent once, and says nothing "
        "else.",
        body=WebhookTestEvent,
        example=WebhookTestEvent(
            type="webhook.test",
            timestamp=AT,
            data=WebhookTestSubject(webhook_id=WEBHOOK_ID),
        ),
    ),
)


def described(components: Components) -> Json:
    """Describe the requests that a receiver gets."""
    return {message.name: {"post": _received(message, components)} for message in _MESSAGES}


def _received(message: _Message, components: Components) -> Json:
    media = {
        "schema": components.response(message.body),
        "example": msgspec.to_builtins(message.example),
    }
    return {
        "operationId": message.operation_id,
        "summary": message.summary,
        "tags": ["webhooks"],
        "description": message.description,
        "parameters": _SIGNED,
        "requestBody": {
            "description": "Less than 20 kB. What is signed are these very bytes.",
            "required": True,
            "content": {JSON: media},
        },
        "responses": _ANSWERS,
        "security": [],
    }


_ANSWERS: Final = {
    "2XX": {"description": "The message was taken. A receiver answers within 15 s."},
    "410": {"description": "The receiver wants no more: the webhook is paused."},
    "4XX": {"description": "The message was not taken, and is sent again later."},
    "5XX": {"description": "The message was not taken, and is sent again later."},
}


def _header(name: str, description: str, schema: Json) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": schema,
        "example": HEADERS[name],
    }


_SIGNED: Final = [
    _header(
        "webhook-id",
        "The message's name, the same each time that it is sent: what has been seen, can be passed "
        "over.",
        {
            "type": "string",
            "minLength": 44,
            "maxLength": 44,
            "pattern": MESSAGE_ID_PATTERN.replace("\\Z", "$"),
        },
    ),
    _header(
        "webhook-timestamp",
        "When this attempt was made, in seconds since 1970: refuse what is minutes old.",
        {"type": "string", "minLength": 1, "maxLength": 20, "pattern": "^[0-9]+$"},
    ),
    _header(
        "webhook-signature",
        "`v1,` and the base64 of the HMAC-SHA256 of `webhook-id`, a full stop, "
        "`webhook-timestamp`, a full stop and the body, by the bytes that the secret has behind "
        "`whsec_` in base64. "
        "While a secret is being replaced, two of them, with a space: one has to match.",
        {"type": "string", "minLength": 47, "maxLength": 200},
    ),
]
