"""Sources: the people, bodies and things that statements come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final

from msgspec import Meta, field

from schemas.base import FILLED, Create, Fault, Part, impossible, repeated
from schemas.forms import record, update
from schemas.parts import GroupSize
from schemas.scalars import Country, Language, Line, SourceId, Text, Url
from schemas.vocabularies import (
    Confidentiality,
    Identification,
    MemberRole,
    NameKind,
    RelationBasis,
    RelationState,
    SourceKind,
    SourceRelationKind,
)

MAX_NAMES: Final = 100
PartialDate = Annotated[
    str,
    Meta(
        max_length=10,
        pattern=r"^[12][0-9]{3}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?\Z",
        extra={"form": "a year, a month or a day, such as `2024`, `2024-12` or `2024-12-19`"},
    ),
]
"""A year, a month or a day (ISO 8601)."""


class Name(Part, kw_only=True):
    """Another name by which a source is known or printed."""

    name: Annotated[Line, Meta(description="The other name.")]
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    kind: Annotated[NameKind, Meta(description="The kind of name.")] = NameKind.ALIAS


class Role(Part, kw_only=True):
    """An office or function, and when it was held."""

    title: Annotated[Line, Meta(description="The title, such as “president” or “MP”.")]
    organisation_id: Annotated[
        SourceId | None, Meta(description="The organisation in which it is held.")
    ] = None
    country_code: Annotated[Country | None, Meta(description="ISO 3166-1 alpha-2.")] = None
    from_: Annotated[
        PartialDate | None, Meta(description="The year, month or day from which it was held.")
    ] = field(default=None, name="from")
    until: Annotated[
        PartialDate | None, Meta(description="The year, month or day until which it was held.")
    ] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse invalid dates, and an end before the beginning."""
        for name, date in (("from", self.from_), ("until", self.until)):
            if date is not None and len(date) == len("2024-12-19"):
                yield from impossible(name, date)
        if self.from_ and self.until:
            known = min(len(self.from_), len(self.until))
            if self.until[:known] < self.from_[:known]:
                yield Fault(("until",), "out-of-order", "`until` is before `from`.")


class Member(Part, kw_only=True):
    """A source that belongs to this one."""

    source_id: Annotated[SourceId, Meta(description="The source that belongs to it.")]
    role: Annotated[MemberRole, Meta(description="What the member is to this source.")] = (
        MemberRole.MEMBER
    )


class SourceRelation(Part, kw_only=True):
    """How this source is related to another one."""

    source_id: Annotated[SourceId, Meta(description="The other source.")]
    kind: Annotated[SourceRelationKind, Meta(description="What this source is to the other one.")]
    basis: Annotated[RelationBasis, Meta(description="Who or what says that they are related.")] = (
        RelationBasis.EDITOR
    )
    state: Annotated[RelationState, Meta(description="Whether the relation has been accepted.")] = (
        RelationState.CONFIRMED
    )
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None


class SourceCreate(Create, kw_only=True):
    """A source: a person, body, group, document or platform that statements come from."""

    also_needed: ClassVar[str] = "a `name` or a `description`"

    kind: Annotated[SourceKind, Meta(description="The kind of source.")]
    identification: Annotated[
        Identification | None,
        Meta(
            description="How well the article identifies it. If left out: `named` with a name, "
            "`described` without.",
            extra=FILLED,
        ),
    ] = None
    name: Annotated[Line | None, Meta(description="The name to print; null if it has none.")] = None
    description: Annotated[
        Text | None,
        Meta(
            description="A description, such as “a US official”. A source needs a name or a "
            "description."
        ),
    ] = None
    names: Annotated[
        list[Name], Meta(max_length=MAX_NAMES, description="The other names of the source.")
    ] = []
    roles: Annotated[
        list[Role], Meta(max_length=50, description="The offices that it has held.")
    ] = []
    parent_id: Annotated[
        SourceId | None,
        Meta(description="The source that it is part of: a ministry is part of a state."),
    ] = None
    members: Annotated[
        list[Member], Meta(max_length=1_000, description="The sources that belong to it.")
    ] = []
    group_size: Annotated[
        GroupSize | None, Meta(description="How many members it has, named or not.")
    ] = None
    country_code: Annotated[Country | None, Meta(description="ISO 3166-1 alpha-2.")] = None
    url: Annotated[Url | None, Meta(description="The address of its own web page.")] = None
    confidentiality: Annotated[Confidentiality, Meta(description="Who may see the source.")] = (
        Confidentiality.PUBLIC
    )
    relations: Annotated[
        list[SourceRelation], Meta(max_length=500, description="Relations to other sources.")
    ] = []

    def __post_init__(self) -> None:
        """Fill in how well the source is identified."""
        if self.identification is None:
            self.identification = Identification.NAMED if self.name else Identification.DESCRIBED

    def faults(self) -> Iterator[Fault]:
        """Ask for a name or a description; refuse a name that `identification` does not allow."""
        yield from Create.faults(self)
        if self.name is None and self.description is None:
            yield Fault(("name",), "required", "A source needs a `name` or a `description`.")
        if self.identification is Identification.NAMED and self.name is None:
            yield Fault(("name",), "required", "A source that is `named` needs a `name`.")
        if self.identification is Identification.ANONYMOUS:
            for given in ("name", "names"):
                if getattr(self, given):
                    yield Fault((given,), "not-allowed", "An `anonymous` source can't have a name.")
        yield from repeated("members", [(m.source_id, m.role) for m in self.members])
        yield from repeated("relations", [(r.source_id, r.kind) for r in self.relations])


Source = record(
    "Source",
    SourceCreate,
    computed=[
        (
            "merged_into_id",
            Annotated[
                SourceId | None,
                Meta(
                    description="The source that this one was merged into; null if it was not. The "
                    "id of a merged source leads to that source. Set by `mergeSource` only."
                ),
            ],
        )
    ],
)
SourceUpdate = update("SourceUpdate", SourceCreate)
