"""Claims: attributed assertions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from schemas.base import (
    Bound,
    ClaimId,
    Confidence,
    Country,
    Create,
    Fault,
    Instant,
    Language,
    Line,
    Number,
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
from schemas.parts import (
    Appearance,
    Attribution,
    Extraction,
    Quantity,
    Time,
    significant,
    whole,
)
from schemas.vocabularies import (
    Certainty,
    ClaimKind,
    Embedding,
    PartyRole,
    PlaceRole,
    Polarity,
    RelationBasis,
    RelationKind,
    RelationState,
    ReviewStatus,
    SpeechAct,
    Validity,
)


class Party(Part, kw_only=True):
    """Somebody whom the claim is about."""

    source_id: Annotated[SourceId, Meta(description="Who it is, as a source.")]
    role: Annotated[PartyRole, Meta(description="The part they play in what is claimed.")]
    printed: Annotated[Line | None, Meta(description="The words that name them.")] = None


class Place(Part, kw_only=True):
    """A place in the claim."""

    role: Annotated[PlaceRole, Meta(description="What the place is to it.")]
    name: Annotated[Line, Meta(description="Its name as printed.")]
    country_code: Annotated[Country | None, Meta(description="ISO 3166-1 alpha-2.")] = None
    qualifier: Annotated[Line | None, Meta(description="“largely”, “near”.")] = None


class Relation(Part, kw_only=True):
    """How this claim stands to another one."""

    claim_id: Annotated[ClaimId, Meta(description="The other claim.")]
    kind: Annotated[RelationKind, Meta(description="What this one is or does to it.")]
    basis: Annotated[RelationBasis, Meta(description="Who or what says so.")] = RelationBasis.EDITOR
    state: Annotated[RelationState, Meta(description="Whether that is settled.")] = (
        RelationState.CONFIRMED
    )
    confidence: Annotated[Confidence | None, Meta(description="How sure, from 0 to 1.")] = None
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.confidence = whole(self.confidence)

    def faults(self) -> Iterator[Fault]:
        """Refuse a number that others would round."""
        yield from significant(self, "confidence")


class Assessment(Part, kw_only=True):
    """A rating that somebody gave the claim."""

    assessor: Annotated[Line, Meta(description="Who rated it.")]
    scheme: Annotated[Line, Meta(description="By which scale.")]
    label: Annotated[Line, Meta(description="The rating in that scale's words.")]
    value: Annotated[Number | None, Meta(description="The rating as a number.")] = None
    best: Annotated[Number | None, Meta(description="The scale's best number.")] = None
    worst: Annotated[Number | None, Meta(description="The scale's worst number.")] = None
    url: Annotated[Url | None, Meta(description="Where it is published.")] = None
    published_at: Annotated[Bound | None, Meta(description="When it was published.")] = None
    explanation: Annotated[Text | None, Meta(description="Its grounds.")] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.value, self.best, self.worst = map(whole, (self.value, self.best, self.worst))

    def faults(self) -> Iterator[Fault]:
        """Refuse numbers that others would round, and a date that is on no calendar."""
        yield from significant(self, "value", "best", "worst")
        yield from impossible("published_at", self.published_at)


class ClaimCreate(Create, kw_only=True):
    """A claim: an attributed assertion. Who is credited, with what, said when."""

    text: Annotated[
        Text, Meta(description="Neutral wording; the printed words are in `appearances`.")
    ]
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    kind: Annotated[ClaimKind | None, Meta(description="What sort of thing is claimed.")] = None
    speech_act: Annotated[SpeechAct | None, Meta(description="The reporting verb's class.")] = None
    certainty: Annotated[
        Certainty, Meta(description="The claimant's own commitment, not the truth.")
    ] = Certainty.UNSPECIFIED
    polarity: Annotated[Polarity, Meta(description="Whether it asserts or negates.")] = (
        Polarity.POSITIVE
    )
    embedding: Annotated[Embedding, Meta(description="Said outright, or inside another claim.")] = (
        Embedding.ASSERTED
    )
    parent_claim_id: Annotated[
        ClaimId | None, Meta(description="The claim that holds it; needed unless asserted.")
    ] = None
    attributions: Annotated[
        list[Attribution], Meta(max_length=50, description="The chain from reader to origin.")
    ] = []
    appearances: Annotated[
        list[Appearance], Meta(max_length=200, description="Where it is printed.")
    ] = []
    quantities: Annotated[list[Quantity], Meta(max_length=50, description="Its figures.")] = []
    parties: Annotated[list[Party], Meta(max_length=200, description="Whom it is about.")] = []
    places: Annotated[list[Place], Meta(max_length=50, description="Its places.")] = []
    stated: Annotated[Time | None, Meta(description="When it was said.")] = None
    occurred: Annotated[Time | None, Meta(description="When it happened.")] = None
    relations: Annotated[list[Relation], Meta(max_length=500, description="To other claims.")] = []
    validity: Annotated[Validity, Meta(description="Whether it is still maintained.")] = (
        Validity.STANDING
    )
    review_status: Annotated[ReviewStatus, Meta(description="The desk's workflow.")] = (
        ReviewStatus.DRAFT
    )
    embargoed_until: Annotated[
        Instant | None, Meta(description="Not to be shown to the public before.")
    ] = None
    extraction: Annotated[Extraction | None, Meta(description="How the record came to be.")] = None
    assessments: Annotated[
        list[Assessment], Meta(max_length=50, description="The only place for ratings.")
    ] = []

    def __post_init__(self) -> None:
        """Write the embargo in UTC."""
        self.embargoed_until = in_utc(self.embargoed_until)

    def faults(self) -> Iterator[Fault]:
        """Ask for a parent where the claim lies inside another, and for one mention each."""
        yield from Create.faults(self)
        if self.embedding is not Embedding.ASSERTED and self.parent_claim_id is None:
            yield Fault(
                ("parent_claim_id",), "required", f"An {self.embedding} claim has a parent claim."
            )
        yield from impossible("embargoed_until", self.embargoed_until)
        yield from repeated("relations", [(r.claim_id, r.kind) for r in self.relations])
        yield from repeated("parties", [(p.source_id, p.role) for p in self.parties])


Claim = record("Claim", ClaimCreate)
ClaimUpdate = update("ClaimUpdate", ClaimCreate)
