"""Keys, what they did, and who an anonymous source turned out to be: what is sent and answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import Fault, Id, Instant, Line, Part, SourceId, Text, impossible, repeated
from schemas.pages import Page
from schemas.vocabularies import Audited, AuditOp, Scope

_Short = Annotated[str, Meta(max_length=500)]
KeyId = Annotated[
    str,
    Meta(
        min_length=12,
        max_length=12,
        pattern=r"^[a-z0-9]{12}\Z",
        extra={"form": "a key's id, 12 lower-case letters and digits"},
    ),
]
"""The public part of a key."""

OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 30 * 86_400


class KeyCreate(Part, kw_only=True):
    """A key to be made: for whom, and what it may do."""

    name: Annotated[Line, Meta(description="Whose it is, or what it is for.")]
    scopes: Annotated[
        list[Scope],
        Meta(min_length=1, max_length=20, description="What it may do; no more than one's own."),
    ]
    expires_at: Annotated[Instant | None, Meta(description="From when on it is refused.")] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse a scope twice, and an instant that is on no calendar."""
        yield from repeated("scopes", self.scopes)
        yield from impossible("expires_at", self.expires_at)


class KeyRotate(Part, kw_only=True):
    """How a key's secret is to be replaced."""

    overlap_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_OVERLAP_SECONDS,
            description="How long the old secret works beside the new one.",
        ),
    ] = OVERLAP_SECONDS


class Key(Struct, kw_only=True):
    """A key, without its secret."""

    id: Annotated[KeyId, Meta(description="Its public part: `clk_`, then this.")]
    name: Annotated[Line, Meta(description="Whose it is, or what it is for.")]
    scopes: Annotated[list[Scope], Meta(max_length=20, description="What it may do.")]
    created_at: Annotated[Instant, Meta(description="When it was made.")]
    created_by: Annotated[
        KeyId | None, Meta(description="The key that made it; null for the command line.")
    ]
    expires_at: Annotated[Instant | None, Meta(description="From when on it is refused.")]
    previous_until: Annotated[
        Instant | None, Meta(description="Until when the secret before the last rotation works.")
    ]
    revoked_at: Annotated[Instant | None, Meta(description="Since when it is refused.")]
    last_used_at: Annotated[Instant | None, Meta(description="When it was last used, to the hour.")]


class IssuedKey(Key, kw_only=True):
    """A key with its secret, which is shown this once."""

    key: Annotated[
        str, Meta(max_length=100, description="What `Authorization: Bearer …` takes; keep it now.")
    ]


class KeyPage(Page[Key], kw_only=True):
    """A page of keys."""


class Me(Struct, kw_only=True):
    """Who asks, and what they may do."""

    key_id: Annotated[KeyId | None, Meta(description="The key's id; null without a key.")]
    name: Annotated[Line | None, Meta(description="Its name; null without a key.")]
    scopes: Annotated[list[Scope], Meta(max_length=20, description="What it may do.")]
    expires_at: Annotated[Instant | None, Meta(description="From when on it is refused.")]


class AuditEvent(Struct, kw_only=True):
    """Something that was done, or refused."""

    id: Annotated[int, Meta(ge=1, le=2**53 - 1, description="Higher ones were written later.")]
    at: Annotated[Instant, Meta(description="When.")]
    key_id: Annotated[
        _Short | None, Meta(description="By whom; null for no key, or an unknown one.")
    ]
    scope: Annotated[_Short | None, Meta(description="What allowed it, or would have.")]
    route: Annotated[_Short | None, Meta(description="By which operation.")]
    record_type: Annotated[
        Audited | None,
        Meta(description="What sort of thing changed; null for a refusal."),
    ]
    record_id: Annotated[_Short | None, Meta(description="Which one; null for a refusal.")]
    version: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(description="The version that it made, of a record."),
    ]
    op: Annotated[AuditOp, Meta(description="What was done.")]
    request_id: Annotated[
        _Short | None, Meta(description="`X-Request-Id`: what the log has it under.")
    ]
    status: Annotated[
        Annotated[int, Meta(ge=400, le=599)] | None,
        Meta(description="Of a refusal: the status of the answer."),
    ]


class AuditPage(Page[AuditEvent], kw_only=True):
    """A page of what was done."""


class SourceIdentityCreate(Part, kw_only=True):
    """Who a source turned out to be."""

    identity_id: Annotated[SourceId, Meta(description="The source that it turned out to be.")]
    basis: Annotated[Text, Meta(description="How that is known.")]
    disclosed_at: Annotated[Instant | None, Meta(description="When it became known.")] = None
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse an instant that is on no calendar."""
        yield from impossible("disclosed_at", self.disclosed_at)


class SourceIdentity(Struct, kw_only=True):
    """Who a source turned out to be, and how that is known."""

    id: Annotated[Id, Meta(description="Of this entry.")]
    source_id: Annotated[Id, Meta(description="The source that hid who it was.")]
    identity_id: Annotated[Id, Meta(description="The source that it turned out to be.")]
    basis: Annotated[Text, Meta(description="How that is known.")]
    disclosed_at: Annotated[Instant | None, Meta(description="When it became known.")]
    note: Annotated[Text | None, Meta(description="An editor's note.")]
    created_at: Annotated[Instant, Meta(description="When this was written down.")]
    created_by: Annotated[
        KeyId | None, Meta(description="The key that wrote it down; null for the command line.")
    ]


class SourceIdentityPage(Page[SourceIdentity], kw_only=True):
    """A page of identities."""
