"""Webhooks: what is sent to manage them, what is answered, and what their receivers get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.base import Count, Fault, Id, Instant, Line, Part, Text, Url, Version, repeated
from schemas.changes import Cursor
from schemas.keys import MAX_OVERLAP_SECONDS, OVERLAP_SECONDS, KeyId
from schemas.pages import Page
from schemas.vocabularies import ChangeOp, PausedReason, RecordType, WebhookStatus

MAX_WEBHOOKS = 50
MESSAGE_ID_PATTERN = r"^msg_[0-9a-f]{40}\Z"
MessageId = Annotated[str, Meta(min_length=44, max_length=44, pattern=MESSAGE_ID_PATTERN)]
EventName = Annotated[str, Meta(max_length=50, pattern=r"^[a-z_]+\.[a-z_]+\Z")]
_Types = Annotated[
    list[RecordType],
    Meta(max_length=len(RecordType), description="Only changes of these types; none is all."),
]
_SENT_TO = Meta(
    description="Where messages are sent by `POST`: `https`, on a public address, without user, "
    "password and fragment. Redirects are not followed."
)
_WHAT_FOR = Meta(description="Whose it is, or what it is for.")


class WebhookCreate(Part, kw_only=True):
    """A webhook to be made: where changes are sent, and which."""

    url: Annotated[Url, _SENT_TO]
    description: Annotated[Line | None, _WHAT_FOR] = None
    types: _Types = []

    def faults(self) -> Iterator[Fault]:
        """Refuse a type twice."""
        yield from repeated("types", self.types)


class WebhookUpdate(Part, kw_only=True):
    """A merge patch (RFC 7396) of a webhook: what is absent stays, null removes."""

    url: Annotated[Url | UnsetType, _SENT_TO] = UNSET
    description: Annotated[Line | UnsetType | None, _WHAT_FOR] = UNSET
    types: _Types | UnsetType | None = UNSET
    paused: Annotated[
        bool | UnsetType,
        Meta(
            description="True pauses it. False resumes it: what has changed meanwhile is sent, "
            "and at once."
        ),
    ] = UNSET

    def faults(self) -> Iterator[Fault]:
        """Refuse a type twice."""
        yield from repeated("types", self.types or [])


class WebhookRotate(Part, kw_only=True):
    """How a webhook's secret is to be replaced."""

    overlap_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_OVERLAP_SECONDS,
            description="How long messages are signed with the old secret beside the new one.",
        ),
    ] = OVERLAP_SECONDS


class WebhookReplay(Part, kw_only=True):
    """From where a webhook is to be sent changes."""

    since: Annotated[
        Cursor,
        Meta(
            description="A cursor of the change feed, such as a message's `cursor`, behind which "
            "to start; or `start` for all there is, or `now` for what is still to come."
        ),
    ]


class Webhook(Struct, kw_only=True):
    """A place that changes are sent to, without its secret."""

    id: Annotated[Id, Meta(description="UUIDv7.")]
    key_id: Annotated[
        KeyId, Meta(description="The key that made it; what that key may see, is sent.")
    ]
    url: Annotated[Url, _SENT_TO]
    description: Annotated[Line | None, _WHAT_FOR]
    types: _Types
    status: Annotated[WebhookStatus, Meta(description="Whether it is sent to.")]
    paused_reason: Annotated[
        PausedReason | None, Meta(description="Why it is paused; null while it is not.")
    ]
    seq: Annotated[
        int,
        Meta(
            ge=0,
            le=2**53 - 1,
            description="Up to which `seq` of the feed everything has been sent and taken.",
        ),
    ]
    attempts: Annotated[
        Count, Meta(description="How many attempts have failed since the last that was taken.")
    ]
    failing_since: Annotated[
        Instant | None, Meta(description="When the first of these was; null without any.")
    ]
    next_attempt_at: Annotated[
        Instant | None, Meta(description="Not before then is the next attempt; null: at once.")
    ]
    previous_until: Annotated[
        Instant | None,
        Meta(description="Until when messages are signed with the secret before the last, too."),
    ]
    created_at: Annotated[Instant, Meta(description="When it was made.")]
    updated_at: Annotated[Instant, Meta(description="When it was last changed, paused or resumed.")]


class IssuedWebhook(Webhook, kw_only=True):
    """A webhook with its secret, which is shown this once."""

    secret: Annotated[
        str,
        Meta(
            max_length=100,
            description="What messages are signed with: `whsec_`, then base64. Keep it now.",
        ),
    ]


class WebhookPage(Page[Webhook], kw_only=True):
    """A page of webhooks."""


class WebhookTest(Struct, kw_only=True):
    """A test that was asked for."""

    message_id: Annotated[
        MessageId, Meta(description="Under which the deliveries will list it, sent or failed.")
    ]


class WebhookDelivery(Struct, kw_only=True):
    """An attempt to deliver a message."""

    id: Annotated[int, Meta(ge=1, le=2**53 - 1, description="Higher ones were later.")]
    message_id: Annotated[
        MessageId, Meta(description="`webhook-id`: the same at each attempt of a message.")
    ]
    event: Annotated[EventName, Meta(description="The message's `type`.")]
    record_type: Annotated[
        RecordType | None, Meta(description="What sort of record; null for a test.")
    ]
    record_id: Annotated[Id | None, Meta(description="Which one; null for a test.")]
    version: Annotated[Version | None, Meta(description="At which version; null for a test.")]
    seq: Annotated[
        Annotated[int, Meta(ge=1, le=2**53 - 1)] | None,
        Meta(description="The change's place in the feed; null for a test."),
    ]
    attempt: Annotated[
        int, Meta(ge=1, le=2**31 - 1, description="1, and one more for each that failed before.")
    ]
    at: Annotated[Instant, Meta(description="When it began.")]
    milliseconds: Annotated[Count, Meta(description="How long it took.")]
    status: Annotated[
        Annotated[int, Meta(ge=100, le=999)] | None,
        Meta(description="The status of the answer, 2xx being success; null if none came."),
    ]
    error: Annotated[Text | None, Meta(description="Why it failed; null if it did not.")]


class WebhookDeliveryPage(Page[WebhookDelivery], kw_only=True):
    """A page of deliveries."""


# --- what receivers get ----------------------------------------------------------------------


class WebhookChange(Struct, kw_only=True):
    """What a message says of a change: where to look, not what is there."""

    type: Annotated[RecordType, Meta(description="What sort of record changed.")]
    id: Annotated[Id, Meta(description="The record's id.")]
    version: Annotated[Version, Meta(description="The version that the change made.")]
    op: Annotated[ChangeOp, Meta(description="What was done.")]
    cursor: Annotated[
        Cursor,
        Meta(description="The change's place in the feed: what `replay` and `since` take."),
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
    """A change of a record, told to the receiver of a webhook."""

    type: Annotated[
        EventName, Meta(description="The record's type and the op, such as `claim.updated`.")
    ]
    timestamp: Annotated[Instant, Meta(description="When the record was changed.")]
    data: Annotated[WebhookChange, Meta(description="Which change.")]


class WebhookTestSubject(Struct, kw_only=True):
    """What a test says."""

    webhook_id: Annotated[Id, Meta(description="Of the webhook that was tested.")]


class WebhookTestEvent(Struct, kw_only=True):
    """A test, told to the receiver of a webhook."""

    type: Annotated[EventName, Meta(description="`webhook.test`.")]
    timestamp: Annotated[Instant, Meta(description="When the test was asked for, or sent.")]
    data: Annotated[WebhookTestSubject, Meta(description="Which webhook.")]
