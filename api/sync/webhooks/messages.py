"""Messages: what the receiver of a webhook gets (schemas: `WebhookEvent`, `WebhookTestEvent`)."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec

from api.core.sql import plural
from api.sync.feed import positions
from api.sync.feed.stretches import Place
from api.sync.webhooks.leases import Endpoint
from api.sync.webhooks.signatures import message_id
from schemas.webhooks import WebhookChange, WebhookEvent, WebhookTestEvent, WebhookTestSubject


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


def change_message(endpoint: Endpoint, place: Place) -> Message:
    """Write the message about a change; it has the same id each time it is written."""
    change, position = place
    name = f"{change.type}.{change.op}"
    data = WebhookChange(
        type=change.type,
        id=change.id,
        version=change.version,
        op=change.op,
        cursor=positions.written(position, endpoint.caller, endpoint.types),
        url=f"/v1/{plural(change.type)}/{change.id}",
    )
    event = WebhookEvent(type=name, timestamp=change.at, data=data)
    return Message(
        message_id(str(endpoint.id), position.epoch, position.seq),
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
