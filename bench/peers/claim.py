"""A claim as the peers publish it: the columns that `peers.sql` shows, for Pydantic."""

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


class Claim(NewClaim):
    """What a client reads."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    version: int
    created_at: datetime
    updated_at: datetime
