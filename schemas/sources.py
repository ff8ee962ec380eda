"""Sources: whoever or whatever is credited with a statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from msgspec import Meta, field

from schemas.base import (
    FILLED,
    Country,
    Create,
    Fault,
    Language,
    Line,
    Part,
    SourceId,
    Text,
    Url,
    impossible,
    record,
    repeated,
    update,
)
from schemas.parts import GroupSize
from schemas.vocabularies import (
    Confidentiality,
    Identification,
    MemberRole,
    NameKind,
    SourceKind,
)

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

    name: Annotated[Line, Meta(description="The name.")]
    language: Annotated[Language, Meta(description="BCP 47; `und` if undetermined.")] = "und"
    kind: Annotated[NameKind, Meta(description="What sort of name it is.")] = NameKind.ALIAS


class Role(Part, kw_only=True):
    """An office or function, and when it was held."""

    title: Annotated[Line, Meta(description="“president”, “MP”.")]
    organisation_id: Annotated[
        SourceId | None, Meta(description="The organisation that it is held in.")
    ] = None
    country_code: Annotated[Country | None, Meta(description="ISO 3166-1 alpha-2.")] = None
    from_: Annotated[PartialDate | None, Meta(description="Since when.")] = field(
        default=None, name="from"
    )
    until: Annotated[PartialDate | None, Meta(description="Until when.")] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse days that are on no calendar, and an end before the beginning."""
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
    role: Annotated[MemberRole, Meta(description="What it is to this source.")] = MemberRole.MEMBER


class SourceCreate(Create, kw_only=True):
    """A source: a person, body, group, document or platform that statements come from."""

    also_needed: ClassVar[str] = "a `name` or a `description`"

    kind: Annotated[SourceKind, Meta(description="What it is.")]
    identification: Annotated[
        Identification | None,
        Meta(
            description="How well it is identified; `named` if there is a name, else `described`.",
            extra=FILLED,
        ),
    ] = None
    name: Annotated[Line | None, Meta(description="The name to print; null if unnamed.")] = None
    description: Annotated[
        Text | None, Meta(description="“a US official”; a source has a name or a description.")
    ] = None
    names: Annotated[list[Name], Meta(max_length=100, description="Its other names.")] = []
    roles: Annotated[list[Role], Meta(max_length=50, description="Its offices, over time.")] = []
    parent_id: Annotated[
        SourceId | None, Meta(description="What it is part of: a ministry's state.")
    ] = None
    members: Annotated[list[Member], Meta(max_length=1_000, description="Who belongs to it.")] = []
    group_size: Annotated[
        GroupSize | None, Meta(description="How many belong to it, named or not.")
    ] = None
    country_code: Annotated[Country | None, Meta(description="ISO 3166-1 alpha-2.")] = None
    url: Annotated[Url | None, Meta(description="Its own page.")] = None
    confidentiality: Annotated[Confidentiality, Meta(description="Who may know of it.")] = (
        Confidentiality.PUBLIC
    )

    def __post_init__(self) -> None:
        """Fill in how well the source is identified."""
        if self.identification is None:
            self.identification = Identification.NAMED if self.name else Identification.DESCRIBED

    def faults(self) -> Iterator[Fault]:
        """Ask for a name or a description, and for a name where, and only where, one belongs."""
        yield from Create.faults(self)
        if self.name is None and self.description is None:
            yield Fault(("name",), "required", "A source has a `name` or a `description`.")
        if self.identification is Identification.NAMED and self.name is None:
            yield Fault(("name",), "required", "A source identified as `named` has a `name`.")
        if self.identification is Identification.ANONYMOUS:
            for given in ("name", "names"):
                if getattr(self, given):
                    yield Fault((given,), "not-allowed", "An `anonymous` source has no name.")
        yield from repeated("members", [(m.source_id, m.role) for m in self.members])


Source = record(
    "Source",
    SourceCreate,
    computed=[
        (
            "merged_into_id",
            Annotated[
                SourceId | None,
                Meta(
                    description="The record that took this one's place. Null so far: no operation "
                    "merges sources yet."
                ),
            ],
        )
    ],
)
SourceUpdate = update("SourceUpdate", SourceCreate)
