"""Articles: the texts in which claims and denials are printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from schemas.base import (
    ArticleId,
    Bound,
    ClaimId,
    Count,
    Create,
    Fault,
    Instant,
    Language,
    Line,
    Offset,
    Part,
    SourceId,
    Text,
    Url,
    impossible,
    in_utc,
    record,
    repeated,
    update,
)
from schemas.parts import Time
from schemas.vocabularies import (
    ArticleRelationKind,
    ArticleStatus,
    CorrectionEffect,
    CorrectionKind,
    ZoneKind,
)


class Author(Part, kw_only=True):
    """A byline, as printed."""

    name: Annotated[Line, Meta(description="The name as printed.")]
    source_id: Annotated[SourceId | None, Meta(description="Who that is, if known.")] = None
    role: Annotated[Line | None, Meta(description="“photographs by”, “in Seoul”.")] = None


class Zone(Part, kw_only=True):
    """A part of the text: the headline, the body, a caption."""

    zone: Annotated[ZoneKind, Meta(description="What this part is.")]
    start: Annotated[Offset, Meta(description="In Unicode code points from the text's start.")]
    end: Annotated[Offset, Meta(description="Where the text behind it begins, likewise.")]

    def faults(self) -> Iterator[Fault]:
        """Refuse an empty or reversed zone."""
        if self.end <= self.start:
            yield Fault(("end",), "out-of-order", "`end` lies behind `start`.")


class Correction(Part, kw_only=True):
    """A notice with which the publisher changed or explained the article."""

    kind: Annotated[CorrectionKind, Meta(description="What sort of notice.")]
    notice: Annotated[Text, Meta(description="Its words.")]
    published_at: Annotated[Bound | None, Meta(description="When it was published.")] = None
    claim_ids: Annotated[
        list[ClaimId], Meta(max_length=200, description="The claims that it touches.")
    ] = []
    effect: Annotated[CorrectionEffect | None, Meta(description="What it did to them.")] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse a date that is on no calendar, and a claim named twice."""
        yield from impossible("published_at", self.published_at)
        yield from repeated("claim_ids", self.claim_ids)


class ArticleRelation(Part, kw_only=True):
    """How this article comes from another one."""

    article_id: Annotated[ArticleId, Meta(description="The other article.")]
    kind: Annotated[ArticleRelationKind, Meta(description="What this one is to it.")]


class ArticleCreate(Create, kw_only=True):
    """An article: a text in which claims and denials are printed."""

    headline: Annotated[
        str, Meta(min_length=1, max_length=2_000, description="The headline as printed.")
    ]
    url: Annotated[Url | None, Meta(description="Its identity on the web; unique.")] = None
    publisher_id: Annotated[
        SourceId | None, Meta(description="Who published it; a publisher is a source.")
    ] = None
    authors: Annotated[
        list[Author], Meta(max_length=200, description="The bylines as printed.")
    ] = []
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    published: Annotated[Time | None, Meta(description="When it was published.")] = None
    dateline: Annotated[Line | None, Meta(description="The printed place and day.")] = None
    section: Annotated[Line | None, Meta(description="The section it ran in.")] = None
    text: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4_194_304)] | None,
        Meta(
            description="Exactly as captured, never normalised; null if it may not be stored. The "
            "whole body has a limit in bytes as well, and a character can take up to 4 of them."
        ),
    ] = None
    zones: Annotated[
        list[Zone], Meta(max_length=2_000, description="What the parts of the text are.")
    ] = []
    status: Annotated[ArticleStatus, Meta(description="Whether it may be used.")] = (
        ArticleStatus.USABLE
    )
    corrections: Annotated[
        list[Correction], Meta(max_length=200, description="The publisher's notices.")
    ] = []
    relations: Annotated[
        list[ArticleRelation], Meta(max_length=200, description="Where its text comes from.")
    ] = []
    archived_url: Annotated[Url | None, Meta(description="A copy in a web archive.")] = None
    embargoed_until: Annotated[
        Instant | None, Meta(description="Not to be shown to the public before.")
    ] = None

    def __post_init__(self) -> None:
        """Write the embargo in UTC."""
        self.embargoed_until = in_utc(self.embargoed_until)

    def faults(self) -> Iterator[Fault]:
        """Hold zones to the text, and lists to one mention each."""
        yield from Create.faults(self)
        yield from impossible("embargoed_until", self.embargoed_until)
        yield from repeated("relations", [(r.article_id, r.kind) for r in self.relations])
        for index, zone in enumerate(self.zones if self.text is not None else ()):
            if zone.end > len(self.text or ""):
                yield Fault(
                    ("zones", index, "end"),
                    "outside-text",
                    f"The text has {len(self.text or '')} code points.",
                )


Article = record(
    "Article",
    ArticleCreate,
    computed=[
        (
            "text_sha256",
            Annotated[
                Annotated[str, Meta(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}\Z")]
                | None,
                Meta(description="SHA-256 of the text in UTF-8."),
            ],
        ),
        (
            "text_length",
            Annotated[Count | None, Meta(description="The text's length in Unicode code points.")],
        ),
    ],
)
ArticleUpdate = update("ArticleUpdate", ArticleCreate)
