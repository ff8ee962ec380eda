"""The Structs of webhooks: how they are managed, and the messages that receivers get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.base import Fault, Part, repeated
from schemas.changes import Cursor
from schemas.keys import MAX_OVERLAP_SECONDS, OVERLAP_SECONDS, KeyId
from schemas.pages import Page
from schemas.scalars import Count, Id, Instant, Line, Text, Url, Version
from schemas.vocabularies import ChangeOp, PausedReason, RecordType, WebhookStatus

MAX_WEBHOOKS = 50
MESSAGE_ID_PATTERN = r"^msg_[0-9a-f]{40}\Z"
MessageId = Annotated[str, Meta(min_length=44, max_length=44, pattern=MESSAGE_ID_PATTERN)]
EventName = Annotated[str, Meta(max_length=50, pattern=r"^[a-z_]+\.[a-z_]+\Z")]
_Types = Annotated[
    list[RecordType],
    Meta(
        max_length=len(RecordType),
        description="Only changes of these types are sent. An empty list means all types.",
    ),
]
_SENT_TO = Meta(
    description="The URL that messages are sent to by `POST`: `https`, at a public address, "
    "without user, password or fragment. Redirects are not followed. If the service listens on a "
    "loopback address only, `http` to a receiver on the same machine is possible too."
)
_WHAT_FOR = Meta(description="The owner or the purpose of the webhook.")


class WebhookCreate(Part, kw_only=True):
    """A webhook to create: the URL, and the types of records whose changes are sent to it."""

    url: Annotated[Url, _SENT_TO]
    description: Annotated[Line | None, _WHAT_FOR] = None
    types: _Types = []

    def faults(self) -> Iterator[Fault]:
        """Refuse a type that is given twice."""
        yield from repeated("types", self.types)


class WebhookUpdate(Part, kw_only=True):
    """A merge patch (RFC 7396) of a webhook: absent properties stay, null removes a value."""

    url: Annotated[Url | UnsetType, _SENT_TO] = UNSET
    description: Annotated[Line | UnsetType | None, _WHAT_FOR] = UNSET
    types: _Types | UnsetType | None = UNSET
    paused: Annotated[
        bool | UnsetType,
        Meta(
            description="True pauses the webhook. False resumes it, and the changes since then are "
            "sent at once."
        ),
    ] = UNSET

    def faults(self) -> Iterator[Fault]:
        """Refuse a type that is given twice."""
        yield from repeated("types", self.types or [])


class WebhookRotate(Part, kw_only=True):
    """How to replace the secret of a webhook."""

    overlap_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_OVERLAP_SECONDS,
            description="How many seconds messages are signed with the old secret too.",
        ),
    ] = OVERLAP_SECONDS


class WebhookReplay(Part, kw_only=True):
    """The position in the feed from which a webhook is sent changes again."""

    since: Annotated[
        Cursor,
        Meta(
            description="A cursor of the change feed, such as the `cursor` of a message: the "
            "changes after it are sent. `start` sends all changes, `now` only future ones."
        ),
    ]


class Webhook(Struct, kw_only=True):
    """A URL that changes are sent to, without its secret."""

    id: Annotated[Id, Meta(description="The webhook's id, a UUIDv7.")]
    key_id: Annotated[
        KeyId,
        Meta(description="The key that created it. Only changes that this key may see are sent."),
    ]
    url: Annotated[Url, _SENT_TO]
    description: Annotated[Line | None, _WHAT_FOR]
    types: _Types
    status: Annotated[WebhookStatus, Meta(description="Whether messages are sent.")]
    paused_reason: Annotated[
        PausedReason | None, Meta(description="Why it is paused; null if it is active.")
    ]
    seq: Annotated[
        int,
        Meta(
            ge=0,
            le=2**53 - 1,
            description="All changes up to this `seq` of the feed have been sent and accepted.",
        ),
    ]
    attempts: Annotated[
        Count, Meta(description="The number of failed attempts since the last one that succeeded.")
    ]
    failing_since: Annotated[
        Instant | None,
        Meta(description="When the first of these attempts failed; null if none did."),
    ]
    next_attempt_at: Annotated[
        Instant | None,
        Meta(
            description="The next attempt is not made before this instant; null if it is made at "
            "once."
        ),
    ]
    previous_until: Annotated[
        Instant | None,
        Meta(description="Messages are signed with the previous secret too until this instant."),
    ]
    created_at: Annotated[Instant, Meta(description="When the webhook was created.")]
    updated_at: Annotated[Instant, Meta(description="When it was last changed, paused or resumed.")]


class IssuedWebhook(Webhook, kw_only=True):
    """A webhook with its secret, which is shown only once."""

    secret: Annotated[
        str,
        Meta(
            max_length=100,
            description="The secret that signs messages: `whsec_` and base64. Store it now: it is "
            "not shown again.",
        ),
    ]


class WebhookPage(Page[Webhook], kw_only=True):
    """A page of webhooks."""


class WebhookTest(Struct, kw_only=True):
    """A test message that will be sent."""

    message_id: Annotated[
        MessageId, Meta(description="The message's id, under which the deliveries list it.")
    ]


class WebhooksResumed(Struct, kw_only=True):
    """The outcome of resuming the webhooks that a new feed has paused."""

    resumed: Annotated[Count, Meta(description="How many webhooks were resumed.")]
    left: Annotated[
        Count,
        Meta(
            description="How many webhooks stay paused for that reason. If `resumed` is 500, send "
            "the request again. Otherwise it is not known where their receivers have been, or "
            "their keys have ended: use `replayWebhook` or `deleteWebhook`."
        ),
    ]


class WebhookDelivery(Struct, kw_only=True):
    """An attempt to deliver a message."""

    id: Annotated[
        int,
        Meta(
            ge=1,
            le=2**53 - 1,
            description="The number of the attempt. Later attempts have higher numbers.",
        ),
    ]
    message_id: Annotated[
        MessageId,
        Meta(description="The header `webhook-id`. All attempts of a message have the same."),
    ]
    event: Annotated[EventName, Meta(description="The message's `type`.")]
    record_type: Annotated[
        RecordType | None, Meta(description="The type of the record; null for a test.")
    ]
    record_id: Annotated[Id | None, Meta(description="The record's id; null for a test.")]
    version: Annotated[Version | None, Meta(description="The record's version; null for a test.")]
    seq: Annotated[
        Annotated[int, Meta(ge=1, le=2**53 - 1)] | None,
        Meta(description="The change's place in the feed; null for a test."),
    ]
    attempt: Annotated[
        int,
        Meta(
            ge=1,
            le=2**31 - 1,
            description="1 for the first attempt of a message, and 1 more for each further one.",
        ),
    ]
    at: Annotated[Instant, Meta(description="When the attempt began.")]
    milliseconds: Annotated[Count, Meta(description="How many milliseconds the attempt took.")]
    status: Annotated[
        Annotated[int, Meta(ge=100, le=999)] | None,
        Meta(
            description="The status of the receiver's answer, where 2xx is success; null without "
            "one."
        ),
    ]
    error: Annotated[Text | None, Meta(description="Why the attempt failed; null if it succeeded.")]


class WebhookDeliveryPage(Page[WebhookDelivery], kw_only=True):
    """A page of deliveries."""


# --- messages to receivers ----------------------------------------------------------------------


class WebhookChange(Struct, kw_only=True):
    """The change that a message is about. The message does not hold the record itself."""

    type: Annotated[RecordType, Meta(description="The type of the record.")]
    id: Annotated[Id, Meta(description="The record's id.")]
    version: Annotated[Version, Meta(description="The version that the change made.")]
    op: Annotated[ChangeOp, Meta(description="What was done.")]
    cursor: Annotated[
        Cursor,
        Meta(description="The position of the change in the feed, for `replay` and for `since`."),
    ]
    url: Annotated[
        str,
        Meta(
            max_length=200,
            description="The record's path on the service that sent this.",
            extra_json_schema={"format": "uri-reference"},
        ),
    ]


class WebhookEvent(Struct, kw_only=True):
    """The message to a receiver about a change of a record."""

    type: Annotated[
        EventName, Meta(description="The record's type and the op, such as `claim.updated`.")
    ]
    timestamp: Annotated[Instant, Meta(description="When the record was changed.")]
    data: Annotated[WebhookChange, Meta(description="The change.")]


class WebhookTestSubject(Struct, kw_only=True):
    """The webhook that a test message is about."""

    webhook_id: Annotated[Id, Meta(description="The id of the webhook.")]


class WebhookTestEvent(Struct, kw_only=True):
    """The message to a receiver that tests its webhook."""

    type: Annotated[EventName, Meta(description="Always `webhook.test`.")]
    timestamp: Annotated[Instant, Meta(description="When the test was requested or sent.")]
    data: Annotated[WebhookTestSubject, Meta(description="The webhook.")]
