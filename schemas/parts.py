"""The value lists inside records: times, attributions, appearances, figures and the like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta

from schemas.base import (
    FILLED,
    ArticleId,
    Bound,
    Confidence,
    Count,
    Fault,
    Language,
    Line,
    Number,
    Offset,
    Part,
    SourceId,
    Text,
    Version,
    impossible,
    moment,
    out_of_order,
)
from schemas.vocabularies import (
    Anchor,
    AttributionRole,
    ExtractionMethod,
    GroundRules,
    Precision,
    Qualifier,
    QuoteType,
    Resolution,
    SpanRole,
    Stance,
)


class Time(Part, kw_only=True):
    """When something happened: the printed words, and the bounds they resolve to if known."""

    expression: Annotated[Line | None, Meta(description="The printed words, “on Monday”.")] = None
    earliest: Annotated[Bound | None, Meta(description="Not before: a date or an instant.")] = None
    latest: Annotated[Bound | None, Meta(description="Not after: a date or an instant.")] = None
    precision: Annotated[Precision, Meta(description="How exactly the bounds are known.")] = (
        Precision.UNKNOWN
    )

    def faults(self) -> Iterator[Fault]:
        """Refuse bounds that are on no calendar or in the wrong order."""
        yield from impossible("earliest", self.earliest)
        yield from impossible("latest", self.latest)
        earliest = moment(self.earliest) if self.earliest else None
        latest = moment(self.latest, end=True) if self.latest else None
        if earliest and latest and earliest >= latest:
            yield Fault(("latest",), "out-of-order", "`latest` is before `earliest`.")


class Attribution(Part, kw_only=True):
    """One hop of the chain from the reader to the origin of a statement.

    Position 0 is nearest the reader; equal positions are joint claimants.
    """

    position: Annotated[
        int, Meta(ge=0, le=100, description="0 nearest the reader; higher is nearer the origin.")
    ] = 0
    source_id: Annotated[SourceId | None, Meta(description="Who is credited; null if nobody.")] = (
        None
    )
    via_id: Annotated[
        SourceId | None,
        Meta(description="The vehicle (briefing, statement, platform); it is not a hop."),
    ] = None
    audience_id: Annotated[
        SourceId | None, Meta(description="To whom it was said, where that is reported.")
    ] = None
    role: Annotated[AttributionRole, Meta(description="The part that the source plays.")] = (
        AttributionRole.CLAIMANT
    )
    printed: Annotated[Line | None, Meta(description="The words that name the source.")] = None
    cue: Annotated[Line | None, Meta(description="The reporting words, “claimed”.")] = None
    ground_rules: Annotated[
        GroundRules | None, Meta(description="The terms on which it was said.")
    ] = None
    resolution: Annotated[
        Resolution | None,
        Meta(
            description="How sure the attribution is; unresolved if no source is given.",
            extra=FILLED,
        ),
    ] = None
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None

    def __post_init__(self) -> None:
        """Fill in the resolution, which depends on whether there is a source."""
        if self.resolution is None:
            self.resolution = Resolution.CERTAIN if self.source_id else Resolution.UNRESOLVED

    def faults(self) -> Iterator[Fault]:
        """Refuse a hop that credits nobody and does not say why."""
        if (
            self.source_id is None
            and self.resolution is not Resolution.UNRESOLVED
            and self.role is not AttributionRole.AUTHOR_VOICE
        ):
            yield Fault(
                ("source_id",),
                "source-needed",
                "A hop without a source has resolution `unresolved` or role `author_voice`.",
            )


class Span(Part, kw_only=True):
    """A stretch of an article's text: offsets, and the words that stand there."""

    role: Annotated[SpanRole, Meta(description="What the words are.")] = SpanRole.CONTENT
    start: Annotated[Offset, Meta(description="In Unicode code points from the text's start.")]
    end: Annotated[Offset, Meta(description="Where the text behind them begins, likewise.")]
    exact: Annotated[str, Meta(min_length=1, max_length=20_000, description="The words.")]
    prefix: Annotated[str, Meta(max_length=200, description="The words right before.")] = ""
    suffix: Annotated[str, Meta(max_length=200, description="The words right after.")] = ""

    def faults(self) -> Iterator[Fault]:
        """Refuse offsets that can't hold the words."""
        if self.end - self.start != len(self.exact):
            yield Fault(
                ("end",),
                "span-length",
                f"`exact` has {len(self.exact)} code points, `end` - `start` is "
                f"{self.end - self.start}.",
            )


class Appearance(Part, kw_only=True):
    """Where a statement is printed, and how."""

    article_id: Annotated[ArticleId, Meta(description="The article.")]
    article_version: Annotated[
        Version | None,
        Meta(
            description="The version of its text that the spans stand in; else the current one.",
            extra=FILLED,
        ),
    ] = None
    quote_type: Annotated[QuoteType, Meta(description="In whose words it is printed.")] = (
        QuoteType.INDIRECT
    )
    stance: Annotated[Stance, Meta(description="The paper's own distance to it.")] = Stance.NEUTRAL
    quote_language: Annotated[
        Language | None, Meta(description="The language in which it was said.")
    ] = None
    translated: Annotated[
        bool | None, Meta(description="Whether the quotation is translated; null if unknown.")
    ] = None
    spans: Annotated[
        list[Span],
        Meta(
            max_length=100,
            description="The words in the article's text. A statement printed in several pieces "
            "has several `content` spans.",
        ),
    ] = []
    anchor: Annotated[
        Anchor | None,
        Meta(
            description="Set by the server: how the spans hold to the text.",
            extra=FILLED,
            extra_json_schema={"readOnly": True},
        ),
    ] = None


class Reading(Part, kw_only=True):
    """An editor's reading of vague words, kept apart from the printed figure."""

    lower: Annotated[Number | None, Meta(description="At least, as the editor reads it.")] = None
    upper: Annotated[Number | None, Meta(description="At most, as the editor reads it.")] = None
    rule: Annotated[Text, Meta(description="The rule that was followed, so others can.")]

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.lower, self.upper = whole(self.lower), whole(self.upper)

    def faults(self) -> Iterator[Fault]:
        """Refuse an empty reading and bounds in the wrong order."""
        if self.lower is None and self.upper is None:
            yield Fault(("lower",), "required", "A reading has `lower`, `upper` or both.")
        yield from significant(self, "lower", "upper")
        yield from out_of_order("upper", self.lower, self.upper)


NUMBERS_OF: Final = {
    Qualifier.EXACT: {"value"},
    Qualifier.APPROXIMATELY: {"value"},
    Qualifier.AT_LEAST: {"lower"},
    Qualifier.MORE_THAN: {"lower"},
    Qualifier.AT_MOST: {"upper"},
    Qualifier.FEWER_THAN: {"upper"},
    Qualifier.APPROACHING: {"upper"},
    Qualifier.BETWEEN: {"lower", "upper"},
    Qualifier.VAGUE: {"term"},
}
"""What each qualifier needs; the other three of value, lower, upper and term stay empty."""


class Quantity(Part, kw_only=True):
    """A figure as it was printed: “at least 100”, “several hundreds”."""

    metric: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            pattern=r"^[a-z][a-z0-9_]*\Z",
            description="What is counted: a starter metric, or another in snake_case.",
            extra={"form": "lower-case letters, digits and `_`, such as `killed`"},
            extra_json_schema={"x-vocabulary": "metric"},
        ),
    ]
    unit: Annotated[
        str, Meta(min_length=1, max_length=100, description="Of what: `person`, `percent`, `USD`.")
    ]
    qualifier: Annotated[Qualifier, Meta(description="How the number is hedged.")]
    value: Annotated[Number | None, Meta(description="For exact and approximately.")] = None
    lower: Annotated[Number | None, Meta(description="For at_least, more_than and between.")] = None
    upper: Annotated[
        Number | None, Meta(description="For at_most, fewer_than, approaching and between.")
    ] = None
    term: Annotated[Line | None, Meta(description="For vague: “heavy”, “several”.")] = None
    printed: Annotated[Line, Meta(description="The printed words.")]
    population: Annotated[Line | None, Meta(description="Of whom: “North Korean soldiers”.")] = None
    cumulative: Annotated[
        bool | None, Meta(description="Whether it counts from a beginning; null if unknown.")
    ] = None
    as_of: Annotated[Bound | None, Meta(description="When the figure was true.")] = None
    reading: Annotated[Reading | None, Meta(description="How an editor reads the words.")] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.value, self.lower, self.upper = map(whole, (self.value, self.lower, self.upper))

    def faults(self) -> Iterator[Fault]:
        """Hold the figure to what its qualifier needs."""
        needed = NUMBERS_OF[self.qualifier]
        for field in ("value", "lower", "upper", "term"):
            given = getattr(self, field) is not None
            if field in needed and not given:
                yield Fault((field,), "required", f"`{self.qualifier}` needs `{field}`.")
            if given and field not in needed:
                yield Fault((field,), "not-allowed", f"`{self.qualifier}` has no `{field}`.")
        yield from significant(self, "value", "lower", "upper")
        yield from out_of_order("upper", self.lower, self.upper)
        yield from impossible("as_of", self.as_of)


class Extraction(Part, kw_only=True):
    """How a record came to be."""

    method: Annotated[ExtractionMethod, Meta(description="By hand or by machine.")]
    agent: Annotated[Line, Meta(description="Who or what did it.")]
    agent_version: Annotated[Line | None, Meta(description="Which version of it.")] = None
    confidence: Annotated[Confidence | None, Meta(description="How sure it was, from 0 to 1.")] = (
        None
    )

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.confidence = whole(self.confidence)

    def faults(self) -> Iterator[Fault]:
        """Refuse a number that others would round."""
        yield from significant(self, "confidence")


class GroupSize(Part, kw_only=True):
    """How many belong to a group, named or not: “nine other countries”."""

    lower: Annotated[Count | None, Meta(description="At least so many.")] = None
    upper: Annotated[Count | None, Meta(description="At most so many.")] = None

    def faults(self) -> Iterator[Fault]:
        """Refuse an empty size and bounds in the wrong order."""
        if self.lower is None and self.upper is None:
            yield Fault(("lower",), "required", "A group size has `lower`, `upper` or both.")
        yield from out_of_order("upper", self.lower, self.upper)


def whole(number: float | None) -> float | None:
    """Give 1e4 and 10000.0 as 10000."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


_SIGNIFICANT = 15


def significant(part: Part, *names: str) -> Iterator[Fault]:
    """Refuse numbers of more than 15 significant digits, which other readers would round."""
    for name in names:
        number = getattr(part, name)
        if isinstance(number, float):
            digits = repr(number).partition("e")[0].replace(".", "").strip("-0")
            if len(digits) > _SIGNIFICANT:
                yield Fault((name,), "too-precise", "At most 15 significant digits.")
