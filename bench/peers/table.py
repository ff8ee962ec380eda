"""The views of `peers.sql` for SQLAlchemy, as columns of declarative classes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    DateTime,
    FetchedValue,
    ForeignKey,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

_NULLABLE_JSON = JSON(none_as_null=True)
_INSTANT = DateTime(timezone=True)


class OwnColumns:
    """What every record has; the database sets it."""

    __table_args__ = {"schema": "rest"}  # noqa: RUF012 - as SQLAlchemy declares it

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=FetchedValue())
    version: Mapped[int] = mapped_column(server_default=FetchedValue())
    created_at: Mapped[datetime] = mapped_column(_INSTANT, server_default=FetchedValue())
    updated_at: Mapped[datetime] = mapped_column(_INSTANT, server_default=FetchedValue())


class ClaimColumns(OwnColumns):
    """The columns of a claim."""

    __tablename__ = "claims"

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


class ArticleColumns(OwnColumns):
    """The columns of an article."""

    __tablename__ = "articles"

    headline: Mapped[str]
    url: Mapped[str | None]
    publisher_id: Mapped[UUID | None]
    authors: Mapped[list[Any]] = mapped_column(JSON)
    language: Mapped[str | None]
    published: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)
    dateline: Mapped[str | None]
    section: Mapped[str | None]
    text: Mapped[str | None]
    zones: Mapped[list[Any]] = mapped_column(JSON)
    status: Mapped[str]
    corrections: Mapped[list[Any]] = mapped_column(JSON)
    relations: Mapped[list[Any]] = mapped_column(JSON)
    archived_url: Mapped[str | None]
    embargoed_until: Mapped[datetime | None] = mapped_column(_INSTANT)
    text_sha256: Mapped[str | None]
    text_length: Mapped[int | None]
    external_ids: Mapped[list[Any]] = mapped_column(JSON)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    note: Mapped[str | None]


class SourceColumns(OwnColumns):
    """The columns of a source."""

    __tablename__ = "sources"

    kind: Mapped[str]
    identification: Mapped[str]
    name: Mapped[str | None]
    description: Mapped[str | None]
    names: Mapped[list[Any]] = mapped_column(JSON)
    roles: Mapped[list[Any]] = mapped_column(JSON)
    parent_id: Mapped[UUID | None]
    members: Mapped[list[Any]] = mapped_column(JSON)
    group_size: Mapped[dict[str, Any] | None] = mapped_column(_NULLABLE_JSON)
    country_code: Mapped[str | None]
    url: Mapped[str | None]
    confidentiality: Mapped[str]
    merged_into_id: Mapped[UUID | None]
    external_ids: Mapped[list[Any]] = mapped_column(JSON)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    note: Mapped[str | None]


def links(metadata: MetaData, target: str) -> Table:
    """Give the links of claims to articles or to sources, for a relationship of many to many."""
    return Table(
        f"claim_{target}s",
        metadata,
        Column("claim_id", ForeignKey("rest.claims.id"), primary_key=True),
        Column(f"{target}_id", ForeignKey(f"rest.{target}s.id"), primary_key=True),
        schema="rest",
    )
