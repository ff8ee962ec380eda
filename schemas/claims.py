"""Claims: attributed assertions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from schemas.base import Create, Fault, Part, impossible, repeated
from schemas.forms import record, update
from schemas.parts import (
    PRINTED,
    Appearance,
    Attribution,
    Extraction,
    Quantity,
    Time,
    significant,
    too_many_spans,
    whole,
)
from schemas.scalars import (
    Bound,
    ClaimId,
    Confidence,
    Country,
    Instant,
    Language,
    Latitude,
    Line,
    Longitude,
    Metres,
    Number,
    SourceId,
    Text,
    Url,
    in_utc,
)
from schemas.vocabularies import (
    Certainty,
    ClaimKind,
    Embedding,
    PartyRole,
    PlacePrecision,
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
    """A person, body or thing that the claim is about."""

    source_id: Annotated[SourceId, Meta(description="The party, which is a source.")]
    role: Annotated[
        PartyRole, Meta(description="The part that the party plays in what is claimed.")
    ]
    printed: Annotated[Line | None, Meta(description="The printed words that name the party.")] = (
        None
    )


class Place(Part, kw_only=True):
    """A place that the claim mentions."""

    role: Annotated[PlaceRole, Meta(description="What the place has to do with the claim.")]
    name: Annotated[Line, Meta(description="The name of the place, as printed.")]
    country_code: Annotated[Country | None, Meta(description="ISO 3166-1 alpha-2.")] = None
    qualifier: Annotated[
        Line | None,
        Meta(description="A printed word that limits the place, such as “largely” or “near”."),
    ] = None
    latitude: Annotated[
        Latitude | None, Meta(description="WGS 84, in degrees; north is positive.")
    ] = None
    longitude: Annotated[
        Longitude | None, Meta(description="WGS 84, in degrees; east is positive.")
    ] = None
    precision: Annotated[
        PlacePrecision | None, Meta(description="How exactly the coordinates say where it is.")
    ] = None
    uncertainty_m: Annotated[
        Metres | None,
        Meta(
            description="The radius around the coordinates within which the place lies, in metres."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.latitude, self.longitude = whole(self.latitude), whole(self.longitude)
        self.uncertainty_m = whole(self.uncertainty_m)

    def faults(self) -> Iterator[Fault]:
        """Ask for both coordinates or none; refuse what describes coordinates that are missing."""
        yield from significant(self, "latitude", "longitude", "uncertainty_m")
        for field, other in (("latitude", "longitude"), ("longitude", "latitude")):
            if getattr(self, field) is None and getattr(self, other) is not None:
                yield Fault((field,), "required", f"`{other}` needs `{field}`.")
        if self.uncertainty_m is not None and self.latitude is None and self.longitude is None:
            yield Fault(
                ("uncertainty_m",),
                "not-allowed",
                "`uncertainty_m` needs `latitude`.",
            )


class Relation(Part, kw_only=True):
    """How this claim is related to another one."""

    claim_id: Annotated[ClaimId, Meta(description="The other claim.")]
    kind: Annotated[RelationKind, Meta(description="What this claim is or does to the other one.")]
    basis: Annotated[RelationBasis, Meta(description="Who or what says that they are related.")] = (
        RelationBasis.EDITOR
    )
    state: Annotated[RelationState, Meta(description="Whether the relation has been accepted.")] = (
        RelationState.CONFIRMED
    )
    confidence: Annotated[
        Confidence | None, Meta(description="How sure the relation is, from 0 to 1.")
    ] = None
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.confidence = whole(self.confidence)

    def faults(self) -> Iterator[Fault]:
        """Refuse a number that others would round."""
        yield from significant(self, "confidence")


class Assessment(Part, kw_only=True):
    """A rating that somebody gave the claim."""

    assessor: Annotated[Line, Meta(description="The person or body that gave the rating.")]
    scheme: Annotated[Line, Meta(description="The name of the scale.")]
    label: Annotated[Line, Meta(description="The rating in that scale's words.")]
    value: Annotated[Number | None, Meta(description="The rating as a number.")] = None
    best: Annotated[Number | None, Meta(description="The scale's best number.")] = None
    worst: Annotated[Number | None, Meta(description="The scale's worst number.")] = None
    url: Annotated[
        Url | None, Meta(description="The address at which the assessment is published.")
    ] = None
    published_at: Annotated[Bound | None, Meta(description="When it was published.")] = None
    explanation: Annotated[Text | None, Meta(description="The grounds of the rating.")] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.value, self.best, self.worst = map(whole, (self.value, self.best, self.worst))

    def faults(self) -> Iterator[Fault]:
        """Refuse numbers that other readers would round, and an invalid date."""
        yield from significant(self, "value", "best", "worst")
        yield from impossible("published_at", self.published_at)


class ClaimCreate(Create, kw_only=True):
    """A claim: an attributed assertion. Who is credited, with what, said when."""

    text: Annotated[
        Text,
        Meta(description="The claim in neutral words. The printed words are in `appearances`."),
    ]
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    kind: Annotated[ClaimKind | None, Meta(description="The kind of thing that is claimed.")] = None
    speech_act: Annotated[
        SpeechAct | None, Meta(description="The class of the reporting verb.")
    ] = None
    certainty: Annotated[
        Certainty,
        Meta(description="How sure the claimant claims to be. It says nothing about the truth."),
    ] = Certainty.UNSPECIFIED
    polarity: Annotated[
        Polarity,
        Meta(description="Whether the claim says that something is so, or that it is not so."),
    ] = Polarity.POSITIVE
    embedding: Annotated[
        Embedding, Meta(description="Whether the claim was made outright, or inside another claim.")
    ] = Embedding.ASSERTED
    parent_claim_id: Annotated[
        ClaimId | None,
        Meta(
            description="The claim that this one is part of. Required unless `embedding` is "
            "`asserted`."
        ),
    ] = None
    attributions: Annotated[
        list[Attribution],
        Meta(max_length=500, description="The chain of sources, from the reader to the origin."),
    ] = []
    appearances: Annotated[list[Appearance], Meta(max_length=200, description=PRINTED)] = []
    quantities: Annotated[
        list[Quantity], Meta(max_length=50, description="The figures in the claim.")
    ] = []
    parties: Annotated[
        list[Party],
        Meta(max_length=200, description="The persons, bodies or things that the claim is about."),
    ] = []
    places: Annotated[
        list[Place], Meta(max_length=50, description="The places that the claim mentions.")
    ] = []
    stated: Annotated[Time | None, Meta(description="When the claim was made.")] = None
    occurred: Annotated[Time | None, Meta(description="When the events of the claim happened.")] = (
        None
    )
    relations: Annotated[
        list[Relation], Meta(max_length=500, description="Relations to other claims.")
    ] = []
    validity: Annotated[
        Validity, Meta(description="Whether the claimant still maintains the claim.")
    ] = Validity.STANDING
    review_status: Annotated[
        ReviewStatus, Meta(description="The state of the record in the desk's workflow.")
    ] = ReviewStatus.DRAFT
    embargoed_until: Annotated[
        Instant | None, Meta(description="The public does not see the record before this instant.")
    ] = None
    extraction: Annotated[Extraction | None, Meta(description="How the record was made.")] = None
    assessments: Annotated[
        list[Assessment],
        Meta(
            max_length=50,
            description="Ratings by fact-checkers and others. Ratings belong nowhere else.",
        ),
    ] = []

    def __post_init__(self) -> None:
        """Write the end of the embargo in UTC."""
        self.embargoed_until = in_utc(self.embargoed_until)

    def faults(self) -> Iterator[Fault]:
        """Ask for a parent if the claim is inside another; refuse items that are given twice."""
        yield from Create.faults(self)
        if self.embedding is not Embedding.ASSERTED and self.parent_claim_id is None:
            yield Fault(
                ("parent_claim_id",), "required", f"An {self.embedding} claim needs a parent claim."
            )
        yield from impossible("embargoed_until", self.embargoed_until)
        yield from too_many_spans(self.appearances)
        yield from repeated("relations", [(r.claim_id, r.kind) for r in self.relations])
        yield from repeated("parties", [(p.source_id, p.role) for p in self.parties])


Claim = record("Claim", ClaimCreate)
ClaimUpdate = update("ClaimUpdate", ClaimCreate)
