"""Denials: responses to claims, denials or articles, including silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from schemas.base import FILLED, Create, Fault, Part, impossible, repeated
from schemas.forms import record, update
from schemas.parts import (
    PRINTED,
    Appearance,
    Attribution,
    Extraction,
    Quantity,
    Time,
    too_many_spans,
)
from schemas.scalars import (
    ArticleId,
    ClaimId,
    DenialId,
    Instant,
    Language,
    Line,
    SourceId,
    Text,
    in_utc,
)
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
    """What a denial answers: exactly one of a claim, another denial, an article, or a text."""

    claim_id: Annotated[ClaimId | None, Meta(description="The claim that is answered.")] = None
    denial_id: Annotated[DenialId | None, Meta(description="The denial that is answered.")] = None
    article_id: Annotated[
        ArticleId | None, Meta(description="The article that is answered as a whole.")
    ] = None
    text: Annotated[
        Text | None, Meta(description="The words that are answered, if no record holds them.")
    ] = None
    coverage: Annotated[
        Coverage, Meta(description="How clear it is that the response is aimed at this target.")
    ] = Coverage.EXPLICIT
    aspect: Annotated[
        Line | None, Meta(description="The aspect of the target that is answered.")
    ] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse anything but exactly one target."""
        given = [name for name in _TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            yield Fault(
                (),
                "one-target",
                f"A target takes exactly one of {', '.join(_TARGETS)}; this one has "
                f"{' and '.join(given) or 'none'}.",
            )


class DenialCreate(Create, kw_only=True):
    """A denial: a response to claims, from a full denial to silence."""

    text: Annotated[Text, Meta(description="The response as it is reported.")]
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    kind: Annotated[DenialKind, Meta(description="The kind of response. It decides `family`.")]
    observed_by: Annotated[
        ObservedBy | None,
        Meta(
            description="Who says that this was the response. If you leave it out, it is the "
            "article for silence, and the responder for every other kind.",
            extra=FILLED,
        ),
    ] = None
    scope_source_id: Annotated[
        SourceId | None,
        Meta(description="The statement that does not mention the claim. Required for `omission`."),
    ] = None
    targets: Annotated[
        list[Target],
        Meta(
            min_length=1,
            max_length=1_000,
            description="The claims, denials, articles or words that are answered.",
        ),
    ]
    attributions: Annotated[
        list[Attribution],
        Meta(max_length=500, description="The chain of sources, from the reader to the responder."),
    ] = []
    appearances: Annotated[list[Appearance], Meta(max_length=200, description=PRINTED)] = []
    stated: Annotated[Time | None, Meta(description="When the response was made.")] = None
    review_status: Annotated[
        ReviewStatus, Meta(description="The state of the record in the desk's workflow.")
    ] = ReviewStatus.DRAFT
    embargoed_until: Annotated[
        Instant | None, Meta(description="The public does not see the record before this instant.")
    ] = None
    extraction: Annotated[Extraction | None, Meta(description="How the record was made.")] = None
    validity: Annotated[
        DenialValidity, Meta(description="Whether the responder still maintains the response.")
    ] = DenialValidity.STANDING
    superseded_by_id: Annotated[
        DenialId | None, Meta(description="The later response that replaces this one.")
    ] = None
    quantities: Annotated[
        list[Quantity],
        Meta(
            max_length=50,
            description="The figures in the response.",
        ),
    ] = []

    def __post_init__(self) -> None:
        """Write the end of the embargo in UTC, and fill in who observed the response."""
        self.embargoed_until = in_utc(self.embargoed_until)
        if self.observed_by is None:
            silent = FAMILY_OF[self.kind] is DenialFamily.SILENT
            self.observed_by = (
                ObservedBy.ARTICLE_OBSERVATION if silent else ObservedBy.RESPONDER_STATEMENT
            )

    def faults(self) -> Iterator[Fault]:
        """Ask an omission for the silent statement; refuse a target that is given twice."""
        yield from Create.faults(self)
        if self.kind is DenialKind.OMISSION and self.scope_source_id is None:
            yield Fault(
                ("scope_source_id",),
                "required",
                "An `omission` needs `scope_source_id`, the statement that does not mention the "
                "claim.",
            )
        yield from impossible("embargoed_until", self.embargoed_until)
        yield from too_many_spans(self.appearances)
        answered = [tuple(getattr(target, name) for name in _TARGETS) for target in self.targets]
        yield from (f for f in repeated("targets", answered) if any(answered[int(f.path[1])]))


Denial = record(
    "Denial",
    DenialCreate,
    computed=[
        (
            "family",
            Annotated[DenialFamily, Meta(description="The short answer that `kind` stands for.")],
        )
    ],
)
DenialUpdate = update("DenialUpdate", DenialCreate)
