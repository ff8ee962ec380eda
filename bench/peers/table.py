"""The view `rest.claims` for SQLAlchemy, as columns of a declarative class."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, JSON, DateTime, FetchedValue, Text
from sqlalchemy.orm import Mapped, mapped_column

_NULLABLE_JSON = JSON(none_as_null=True)
_INSTANT = DateTime(timezone=True)


class ClaimColumns:
    """The columns of a claim; the database sets those with a default."""

    __tablename__ = "claims"
    __table_args__ = {"schema": "rest"}  # noqa: RUF012 - as SQLAlchemy declares it

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=FetchedValue())
    version: Mapped[int] = mapped_column(server_default=FetchedValue())
    created_at: Mapped[datetime] = mapped_column(_INSTANT, server_default=FetchedValue())
    updated_at: Mapped[datetime] = mapped_column(_INSTANT, server_default=FetchedValue())
    text: Mapped[str]
    language: Mapped[str | None]
    kind: Mapped[str | None]
    speech_act: Mapped[str | None]
    certainty: Mapped[str]
    polarity: Mapped[str]
    embedding: Mapped[str]
    parent_claim_id: Mapped[UUID | None]
    attributions: Mapped[list[Any]] = mapped_column(JSON)
    appearances: Mapped[list[Any]] = mapped_column(JSON)
    quantities: Mapped[list[Any]] = mapped_column(JSON)
    parties: Mapped[list[Any]] = mapped_column(JSON)
    places: Mapped[list[Any]] = mapped_column(JSON)
    stated: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)
    occurred: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)
    relations: Mapped[list[Any]] = mapped_column(JSON)
    validity: Mapped[str]
    review_status: Mapped[str]
    embargoed_until: Mapped[datetime | None] = mapped_column(_INSTANT)
    extraction: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)
    assessments: Mapped[list[Any]] = mapped_column(JSON)
    external_ids: Mapped[list[Any]] = mapped_column(JSON)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    note: Mapped[str | None]
