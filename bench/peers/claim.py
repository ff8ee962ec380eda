"""The records as the peers publish them: the columns that `peers.sql` shows, for Pydantic."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

Parts = list[dict[str, Any]]


class NewClaim(BaseModel):
    """What a client writes."""

    text: str
    language: str | None = None
    kind: str | None = None
    speech_act: str | None = None
    certainty: str
    polarity: str
    embedding: str
    parent_claim_id: UUID | None = None
    attributions: Parts
    appearances: Parts
    quantities: Parts
    parties: Parts
    places: Parts
    stated: dict[str, Any] | None = None
    occurred: dict[str, Any] | None = None
    relations: Parts
    validity: str
    review_status: str
    embargoed_until: datetime | None = None
    extraction: dict[str, Any] | None = None
    assessments: Parts
    external_ids: Parts
    tags: list[str]
    note: str | None = None


class ClaimPatch(BaseModel):
    """What a client changes: what is not set stays."""

    note: str | None = None
    tags: list[str] | None = None
    review_status: str | None = None
    validity: str | None = None


class Read(BaseModel):
    """What a client reads of every record."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    version: int
    created_at: datetime
    updated_at: datetime


class Claim(NewClaim, Read):
    """What a client reads of a claim."""


class Article(Read):
    """What a client reads of an article."""

    headline: str
    url: str | None
    publisher_id: UUID | None
    authors: Parts
    language: str | None
    published: dict[str, Any] | None
    dateline: str | None
    section: str | None
    text: str | None
    zones: Parts
    status: str
    corrections: Parts
    relations: Parts
    archived_url: str | None
    embargoed_until: datetime | None
    text_sha256: str | None
    text_length: int | None
    external_ids: Parts
    tags: list[str]
    note: str | None


class Source(Read):
    """What a client reads of a source."""

    kind: str
    identification: str
    name: str | None
    description: str | None
    names: Parts
    roles: Parts
    parent_id: UUID | None
    members: Parts
    group_size: dict[str, Any] | None
    country_code: str | None
    url: str | None
    confidentiality: str
    merged_into_id: UUID | None
    external_ids: Parts
    tags: list[str]
    note: str | None


class ExpandedClaim(Claim):
    """A claim with what it refers to."""

    articles: list[Article]
    sources: list[Source]


class Page(BaseModel):
    """Claims, and each article and source to which they refer once."""

    items: list[Claim]
    articles: list[Article]
    sources: list[Source]
