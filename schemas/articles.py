"""Articles: the texts in which claims and denials are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from schemas.base import FILLED, Create, Fault, Part, impossible, repeated
from schemas.forms import record, update
from schemas.parts import Time
from schemas.scalars import (
    ArticleId,
    Bound,
    ClaimId,
    Count,
    Instant,
    Language,
    Line,
    Offset,
    SourceId,
    Text,
    Url,
    in_utc,
)
from schemas.vocabularies import (
    ArticleKind,
    ArticleRelationKind,
    ArticleStatus,
    CorrectionEffect,
    CorrectionKind,
    CreditRole,
    ZoneKind,
)


class Author(Part, kw_only=True):
    """One author in the byline, as printed."""

    name: Annotated[Line, Meta(description="The name as printed.")]
    source_id: Annotated[SourceId | None, Meta(description="The author as a source, if known.")] = (
        None
    )
    role: Annotated[
        Line | None, Meta(description="The printed role, such as “photographs by” or “in Seoul”.")
    ] = None


class Credit(Part, kw_only=True):
    """A source that the article credits for the whole piece. It is no attribution of a claim."""

    source_id: Annotated[SourceId, Meta(description="The source that is credited.")]
    role: Annotated[CreditRole, Meta(description="The role for which the source is credited.")]
    printed: Annotated[Line | None, Meta(description="The words of the credit, as printed.")] = None


class Zone(Part, kw_only=True):
    """A part of the text, such as the headline, the body or a caption."""

    zone: Annotated[ZoneKind, Meta(description="The kind of the part.")]
    start: Annotated[
        Offset, Meta(description="Start offset, in Unicode code points from the start of the text.")
    ]
    end: Annotated[Offset, Meta(description="Exclusive end offset, in Unicode code points.")]

    def faults(self) -> Iterator[Fault]:
        """Refuse an empty or reversed zone."""
        if self.end <= self.start:
            yield Fault(("end",), "out-of-order", "`end` must be greater than `start`.")


class Correction(Part, kw_only=True):
    """A notice by which the publisher corrected or explained the article."""

    kind: Annotated[CorrectionKind, Meta(description="The kind of notice.")]
    notice: Annotated[Text, Meta(description="The words of the notice.")]
    published_at: Annotated[Bound | None, Meta(description="When it was published.")] = None
    claim_ids: Annotated[
        list[ClaimId], Meta(max_length=200, description="The claims that the notice is about.")
    ] = []
    effect: Annotated[
        CorrectionEffect | None, Meta(description="What the notice did to these claims.")
    ] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse an invalid date, and a claim that is named twice."""
        yield from impossible("published_at", self.published_at)
        yield from repeated("claim_ids", self.claim_ids)


class ArticleRelation(Part, kw_only=True):
    """How this article is related to another one."""

    article_id: Annotated[ArticleId, Meta(description="The other article.")]
    kind: Annotated[ArticleRelationKind, Meta(description="What this article is to the other one.")]


class ArticleCreate(Create, kw_only=True):
    """An article: a text in which claims and denials are printed."""

    also_needed: ClassVar[str] = "a `headline`, a `text` or a `url`"

    headline: Annotated[
        Annotated[str, Meta(min_length=1, max_length=2_000)] | None,
        Meta(
            description="The headline as printed. If you leave it out, it is the first words of "
            "the text, at most 100 characters, or the URL; then `headline_derived` is true.",
            extra=FILLED,
        ),
    ] = None
    url: Annotated[
        Url | None,
        Meta(
            description="The address of the article on the web. No other article can have the same "
            "address."
        ),
    ] = None
    publisher_id: Annotated[
        SourceId | None, Meta(description="The publisher, which is a source.")
    ] = None
    authors: Annotated[
        list[Author], Meta(max_length=200, description="The authors in the byline, as printed.")
    ] = []
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    published: Annotated[Time | None, Meta(description="When it was published.")] = None
    dateline: Annotated[
        Line | None, Meta(description="The dateline: place and day, as printed.")
    ] = None
    section: Annotated[
        Line | None, Meta(description="The section of the publication, such as “World”.")
    ] = None
    text: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4_194_304)] | None,
        Meta(
            description="The text exactly as it was captured, never normalised; null if it may not "
            "be stored. The request body as a whole is also limited in bytes, and a character "
            "takes up to 4 bytes."
        ),
    ] = None
    zones: Annotated[
        list[Zone],
        Meta(max_length=2_000, description="The parts of the text, such as headline and body."),
    ] = []
    status: Annotated[ArticleStatus, Meta(description="Whether the article may be used.")] = (
        ArticleStatus.USABLE
    )
    corrections: Annotated[
        list[Correction],
        Meta(max_length=200, description="The publisher's notices about the article."),
    ] = []
    relations: Annotated[
        list[ArticleRelation],
        Meta(max_length=200, description="The other articles that this one comes from or follows."),
    ] = []
    archived_url: Annotated[
        Url | None, Meta(description="The address of a copy in a web archive.")
    ] = None
    embargoed_until: Annotated[
        Instant | None, Meta(description="The public does not see the record before this instant.")
    ] = None
    kind: Annotated[ArticleKind, Meta(description="What sort of text it is.")] = (
        ArticleKind.UNSPECIFIED
    )
    credits: Annotated[
        list[Credit],
        Meta(
            max_length=100, description="The sources that the article credits for the whole piece."
        ),
    ] = []

    def __post_init__(self) -> None:
        """Write the end of the embargo in UTC."""
        self.embargoed_until = in_utc(self.embargoed_until)

    def keep(self, stored: Self, server: Mapping[str, Any]) -> None:
        """Take over the headline that the database derived; it derives it anew with the text."""
        if self.headline is None and server["headline_derived"]:
            self.headline = stored.headline

    def forget(self, claimed: Mapping[str, Any]) -> None:
        """Drop a headline that another server derived; this one derives its own."""
        if claimed.get("headline_derived") is True:
            self.headline = None

    def faults(self) -> Iterator[Fault]:
        """Ask for something to name it by; refuse zones outside of the text, and repeated items."""
        yield from Create.faults(self)
        if self.headline is None and self.url is None and not (self.text or "").strip():
            yield Fault(
                ("headline",),
                "required",
                "An article needs a `headline`, a `text` with at least one word, or a `url`.",
            )
        yield from impossible("embargoed_until", self.embargoed_until)
        yield from repeated("relations", [(r.article_id, r.kind) for r in self.relations])
        yield from repeated("credits", [(c.source_id, c.role) for c in self.credits])
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
        (
            "headline_derived",
            Annotated[
                bool,
                Meta(
                    description="Whether the server made the headline, from the text or the URL, "
                    "because none was given."
                ),
            ],
        ),
    ],
)
ArticleUpdate = update("ArticleUpdate", ArticleCreate)
