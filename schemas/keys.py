"""The Structs of keys, of the audit log, and of the identities of anonymous sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import Fault, Part, impossible, repeated
from schemas.pages import Page
from schemas.scalars import Id, Instant, Line, SourceId, Text
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
    """A key to create: its name and its scopes."""

    name: Annotated[Line, Meta(description="The owner or the purpose of the key.")]
    scopes: Annotated[
        list[Scope],
        Meta(
            min_length=1,
            max_length=20,
            description="The scopes of the key. It can have only scopes that your own key has.",
        ),
    ]
    expires_at: Annotated[
        Instant | None,
        Meta(
            description="The service refuses the key from this instant on; null if the key "
            "does not "
            "expire."
        ),
    ] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse a scope that is given twice, and an invalid date."""
        yield from repeated("scopes", self.scopes)
        yield from impossible("expires_at", self.expires_at)


class KeyRotate(Part, kw_only=True):
    """How to replace the secret of a key."""

    overlap_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_OVERLAP_SECONDS,
            description="How many seconds the old secret works beside the new one.",
        ),
    ] = OVERLAP_SECONDS


class Key(Struct, kw_only=True):
    """A key, without its secret."""

    id: Annotated[
        KeyId, Meta(description="The public part of the key, which begins with `clk_` and this id.")
    ]
    name: Annotated[Line, Meta(description="The owner or the purpose of the key.")]
    scopes: Annotated[list[Scope], Meta(max_length=20, description="The scopes of the key.")]
    created_at: Annotated[Instant, Meta(description="When the key was created.")]
    created_by: Annotated[
        KeyId | None, Meta(description="The key that created it; null for the command line.")
    ]
    expires_at: Annotated[
        Instant | None,
        Meta(
            description="The service refuses the key from this instant on; null if the key "
            "does not "
            "expire."
        ),
    ]
    previous_until: Annotated[
        Instant | None,
        Meta(description="The secret from before the last rotation works until this instant."),
    ]
    revoked_at: Annotated[
        Instant | None, Meta(description="When the key was revoked; null if it was not.")
    ]
    last_used_at: Annotated[
        Instant | None, Meta(description="The hour in which the key was last used.")
    ]


class IssuedKey(Key, kw_only=True):
    """A key with its secret, which is shown only once."""

    key: Annotated[
        str,
        Meta(
            max_length=100,
            description="The whole key, for `Authorization: Bearer …`. Store it now: it is not "
            "shown again.",
        ),
    ]


class KeyPage(Page[Key], kw_only=True):
    """A page of keys."""


class Me(Struct, kw_only=True):
    """The caller and its scopes."""

    key_id: Annotated[KeyId | None, Meta(description="The key's id; null without a key.")]
    name: Annotated[Line | None, Meta(description="The key's name; null without a key.")]
    scopes: Annotated[list[Scope], Meta(max_length=20, description="The scopes of the key.")]
    expires_at: Annotated[
        Instant | None,
        Meta(
            description="The service refuses the key from this instant on; null if the key "
            "does not "
            "expire."
        ),
    ]


class AuditEvent(Struct, kw_only=True):
    """Something that was done or refused."""

    id: Annotated[
        int,
        Meta(
            ge=1,
            le=2**53 - 1,
            description="The number of the event. Later events have higher numbers.",
        ),
    ]
    at: Annotated[Instant, Meta(description="When the request was carried out or refused.")]
    key_id: Annotated[
        _Short | None,
        Meta(
            description="The id of the key; null without a key, or if the key is not known. "
            "`system` is the service itself, if it hid or revealed a record with an article, or "
            "changed it after a merge of sources."
        ),
    ]
    scope: Annotated[
        _Short | None, Meta(description="The scope that allowed the request, or that was missing.")
    ]
    route: Annotated[_Short | None, Meta(description="The method and the path of the operation.")]
    record_type: Annotated[
        Audited | None,
        Meta(description="The type of the thing that was changed or read; null for a refusal."),
    ]
    record_id: Annotated[
        _Short | None,
        Meta(description="The id of the thing that was changed or read; null for a refusal."),
    ]
    version: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(
            description="The version of the record that the change made; null if it is not a "
            "record."
        ),
    ]
    op: Annotated[AuditOp, Meta(description="What was done.")]
    request_id: Annotated[
        _Short | None,
        Meta(description="`X-Request-Id` of the request. The service's log names it too."),
    ]
    status: Annotated[
        Annotated[int, Meta(ge=400, le=599)] | None,
        Meta(description="The status of the answer to a refused request; null for what was done."),
    ]
    address: Annotated[
        _Short | None,
        Meta(description="The address from which a refused request came; null for what was done."),
    ]


class AuditPage(Page[AuditEvent], kw_only=True):
    """A page of the audit log."""


class SourceIdentityCreate(Part, kw_only=True):
    """The identity of an anonymous source."""

    identity_id: Annotated[
        SourceId, Meta(description="The source that the anonymous source turned out to be.")
    ]
    basis: Annotated[Text, Meta(description="How the identity is known.")]
    disclosed_at: Annotated[Instant | None, Meta(description="When the identity became known.")] = (
        None
    )
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse an invalid date."""
        yield from impossible("disclosed_at", self.disclosed_at)


class SourceIdentity(Struct, kw_only=True):
    """The identity of an anonymous source, and how it is known."""

    id: Annotated[Id, Meta(description="The id of this entry.")]
    source_id: Annotated[Id, Meta(description="The anonymous source.")]
    identity_id: Annotated[
        Id, Meta(description="The source that the anonymous source turned out to be.")
    ]
    basis: Annotated[Text, Meta(description="How the identity is known.")]
    disclosed_at: Annotated[Instant | None, Meta(description="When the identity became known.")]
    note: Annotated[Text | None, Meta(description="An editor's note.")]
    created_at: Annotated[Instant, Meta(description="When the entry was created.")]
    created_by: Annotated[
        KeyId | None, Meta(description="The key that created the entry; null for the command line.")
    ]


class SourceIdentityPage(Page[SourceIdentity], kw_only=True):
    """A page of identities."""
