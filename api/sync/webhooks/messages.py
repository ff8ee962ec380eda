"""Messages: what the receiver of a webhook gets (schemas: `WebhookEvent`, `WebhookTestEvent`)."""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from api.core.sql import plural
from api.sync.feed import positions
from api.sync.feed.stretches import Position
from api.sync.webhooks.leases import Endpoint
from api.sync.webhooks.signatures import message_id
from schemas.vocabularies import ChangeOp, RecordType
from schemas.webhooks import WebhookChange, WebhookEvent, WebhookTestEvent, WebhookTestSubject


class NotedChange(Struct):
    """A change, as the feed tells its reader of it without the record."""

    seq: int
    op: ChangeOp
    type: RecordType
    id: str
    version: int
    at: str


class Subject(NamedTuple):
    """The change that a message is about; a test message is about none."""

    record_type: str | None = None
    record_id: str | None = None
    version: int | None = None
    seq: int | None = None


class Message(NamedTuple):
    """A message, and what the log of deliveries says about it."""

    id: str
    event: str
    body: bytes
    subject: Subject


_CHANGE: Final = msgspec.json.Decoder(NotedChange)


def read_change(text: bytes) -> NotedChange:
    """Read a change of the feed."""
    return _CHANGE.decode(text)


def change_message(endpoint: Endpoint, change: NotedChange, place: Position) -> Message:
    """Write the message about a change; it has the same id each time it is written."""
    name = f"{change.type}.{change.op}"
    data = WebhookChange(
        type=change.type,
        id=change.id,
        version=change.version,
        op=change.op,
        cursor=positions.written(place, endpoint.caller, endpoint.types),
        url=f"/v1/{plural(change.type)}/{change.id}",
    )
    event = WebhookEvent(type=name, timestamp=change.at, data=data)
    return Message(
        message_id(str(endpoint.id), place.epoch, place.seq),
        name,
        msgspec.json.encode(event),
        Subject(change.type.value, change.id, change.version, change.seq),
    )


def test_message(endpoint: Endpoint, identity: str) -> Message:
    """Write the message of a test."""
    subject = WebhookTestSubject(webhook_id=str(endpoint.id))
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    event = WebhookTestEvent(type="webhook.test", timestamp=now, data=subject)
    return Message(identity, event.type, msgspec.json.encode(event), Subject())
