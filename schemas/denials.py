"""Denials: responses to claims, denials or articles, silence among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from schemas.base import (
    FILLED,
    ArticleId,
    ClaimId,
    Create,
    DenialId,
    Fault,
    Instant,
    Language,
    Line,
    Part,
    SourceId,
    Text,
    impossible,
    in_utc,
    record,
    repeated,
    update,
)
from schemas.parts import Appearance, Attribution, Extraction, Time
from schemas.vocabularies import (
    FAMILY_OF,
    Coverage,
    DenialFamily,
    DenialKind,
    DenialValidity,
    ObservedBy,
    ReviewStatus,
)

_TARGETS = ("claim_id", "denial_id", "article_id", "text")


class Target(Part, kw_only=True):
    """What a denial answers: exactly one of a claim, a denial, an article, or words."""

    claim_id: Annotated[ClaimId | None, Meta(description="A claim.")] = None
    denial_id: Annotated[DenialId | None, Meta(description="Another denial.")] = None
    article_id: Annotated[ArticleId | None, Meta(description="An article as a whole.")] = None
    text: Annotated[Text | None, Meta(description="Something that has no record.")] = None
    coverage: Annotated[
        Coverage, Meta(description="How plainly the response reaches this target.")
    ] = Coverage.EXPLICIT
    aspect: Annotated[Line | None, Meta(description="Which side of it is answered.")] = None

    def faults(self) -> Iterator[Fault]:
        """Ask for exactly one target."""
        given = [name for name in _TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            yield Fault(
                (),
                "one-target",
                f"A target has exactly one of {', '.join(_TARGETS)}; this one has "
                f"{' and '.join(given) or 'none'}.",
            )


class DenialCreate(Create, kw_only=True):
    """A denial: a response to claims, from a full denial to silence."""

    text: Annotated[Text, Meta(description="What is reported of the response.")]
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    kind: Annotated[DenialKind, Meta(description="What sort of response; it sets `family`.")]
    observed_by: Annotated[
        ObservedBy | None,
        Meta(description="Who says so; for silence, the paper by default.", extra=FILLED),
    ] = None
    scope_source_id: Annotated[
        SourceId | None,
        Meta(description="The statement that was silent; needed for `omission`."),
    ] = None
    targets: Annotated[
        list[Target], Meta(min_length=1, max_length=1_000, description="What is answered.")
    ]
    attributions: Annotated[
        list[Attribution], Meta(max_length=50, description="Who responded, via whom.")
    ] = []
    appearances: Annotated[
        list[Appearance], Meta(max_length=200, description="Where it is printed.")
    ] = []
    stated: Annotated[Time | None, Meta(description="When it was said.")] = None
    review_status: Annotated[ReviewStatus, Meta(description="The desk's workflow.")] = (
        ReviewStatus.DRAFT
    )
    embargoed_until: Annotated[
        Instant | None, Meta(description="Not to be shown to the public before.")
    ] = None
    extraction: Annotated[Extraction | None, Meta(description="How the record came to be.")] = None
    validity: Annotated[DenialValidity, Meta(description="Whether it is still maintained.")] = (
        DenialValidity.STANDING
    )
    superseded_by_id: Annotated[
        DenialId | None, Meta(description="The response that took its place.")
    ] = None

    def __post_init__(self) -> None:
        """Write the embargo in UTC, and fill in who observed the response."""
        self.embargoed_until = in_utc(self.embargoed_until)
        if self.observed_by is None:
            silent = FAMILY_OF[self.kind] is DenialFamily.SILENT
            self.observed_by = (
                ObservedBy.ARTICLE_OBSERVATION if silent else ObservedBy.RESPONDER_STATEMENT
            )

    def faults(self) -> Iterator[Fault]:
        """Bound an omission by where one looked, and name each target once."""
        yield from Create.faults(self)
        if self.kind is DenialKind.OMISSION and self.scope_source_id is None:
            yield Fault(
                ("scope_source_id",),
                "required",
                "An omission names the statement that was silent: an absence is bounded by where "
                "one looked.",
            )
        yield from impossible("embargoed_until", self.embargoed_until)
        answered = [tuple(getattr(target, name) for name in _TARGETS) for target in self.targets]
        yield from (f for f in repeated("targets", answered) if any(answered[int(f.path[1])]))


Denial = record(
    "Denial",
    DenialCreate,
    computed=[("family", Annotated[DenialFamily, Meta(description="What `kind` amounts to.")])],
)
DenialUpdate = update("DenialUpdate", DenialCreate)
