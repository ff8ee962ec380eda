"""The parts of records: times, attributions, appearances, figures and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from msgspec import Meta

from schemas.base import FILLED, Fault, Part, impossible, out_of_order
from schemas.scalars import (
    MAX_DIGITS,
    ArticleId,
    Bound,
    Confidence,
    Count,
    Language,
    Line,
    Number,
    Offset,
    SourceId,
    Text,
    Version,
    moment,
    significant_digits,
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
    """When something happened: the printed words, and the dates that they mean, if known."""

    expression: Annotated[
        Line | None, Meta(description="The printed words, such as “on Monday”.")
    ] = None
    earliest: Annotated[
        Bound | None, Meta(description="The earliest possible date or instant.")
    ] = None
    latest: Annotated[Bound | None, Meta(description="The latest possible date or instant.")] = None
    precision: Annotated[Precision, Meta(description="How exactly the bounds are known.")] = (
        Precision.UNKNOWN
    )

    def faults(self) -> Iterator[Fault]:
        """Refuse invalid dates, and bounds in the wrong order."""
        yield from impossible("earliest", self.earliest)
        yield from impossible("latest", self.latest)
        earliest = moment(self.earliest) if self.earliest else None
        latest = moment(self.latest, end=True) if self.latest else None
        if earliest and latest and earliest >= latest:
            yield Fault(("latest",), "out-of-order", "`latest` is before `earliest`.")


class Attribution(Part, kw_only=True):
    """One hop of the chain from the reader to the origin of a statement.

    Position 0 is nearest to the reader. Sources at the same position speak jointly.
    """

    position: Annotated[
        int,
        Meta(
            ge=0,
            le=499,
            description="0 is nearest to the reader; higher numbers are nearer to the origin.",
        ),
    ] = 0
    source_id: Annotated[
        SourceId | None, Meta(description="The source that is credited; null if none is.")
    ] = None
    via_id: Annotated[
        SourceId | None,
        Meta(
            description="The vehicle of the words, such as a briefing, a statement or a platform. "
            "A vehicle is not a hop."
        ),
    ] = None
    audience_id: Annotated[
        SourceId | None,
        Meta(description="The audience to which the statement was made, if that is reported."),
    ] = None
    role: Annotated[AttributionRole, Meta(description="The part that the source plays.")] = (
        AttributionRole.CLAIMANT
    )
    printed: Annotated[Line | None, Meta(description="The words that name the source.")] = None
    cue: Annotated[Line | None, Meta(description="The reporting words, such as “claimed”.")] = None
    ground_rules: Annotated[
        GroundRules | None, Meta(description="The terms on which the source spoke.")
    ] = None
    resolution: Annotated[
        Resolution | None,
        Meta(
            description="How sure the attribution is. If you leave it out, it is `certain` with a "
            "source and `unresolved` without one.",
            extra=FILLED,
        ),
    ] = None
    note: Annotated[Text | None, Meta(description="An editor's note.")] = None

    def __post_init__(self) -> None:
        """Fill in the resolution, by whether there is a source."""
        if self.resolution is None:
            self.resolution = Resolution.CERTAIN if self.source_id else Resolution.UNRESOLVED

    def faults(self) -> Iterator[Fault]:
        """Refuse a hop without a source that does not say why there is none."""
        if (
            self.source_id is None
            and self.resolution is not Resolution.UNRESOLVED
            and self.role is not AttributionRole.AUTHOR_VOICE
        ):
            yield Fault(
                ("source_id",),
                "source-needed",
                "A hop without a source needs the resolution `unresolved` or the role "
                "`author_voice`.",
            )


class Span(Part, kw_only=True):
    """A part of an article's text: its offsets, and the words between them."""

    role: Annotated[SpanRole, Meta(description="What these words do in the report.")] = (
        SpanRole.CONTENT
    )
    start: Annotated[
        Offset, Meta(description="Start offset, in Unicode code points from the start of the text.")
    ]
    end: Annotated[Offset, Meta(description="Exclusive end offset, in Unicode code points.")]
    exact: Annotated[str, Meta(min_length=1, max_length=20_000, description="The words.")]
    prefix: Annotated[
        str, Meta(max_length=200, description="The characters right before the words.")
    ] = ""
    suffix: Annotated[
        str, Meta(max_length=200, description="The characters right after the words.")
    ] = ""

    def faults(self) -> Iterator[Fault]:
        """Refuse offsets whose distance is not the length of the words."""
        if self.end - self.start != len(self.exact):
            yield Fault(
                ("end",),
                "span-length",
                f"`exact` has {len(self.exact)} code points, but `end` - `start` is "
                f"{self.end - self.start}.",
            )


class Appearance(Part, kw_only=True):
    """An article in which a statement is printed, and how it is printed there."""

    article_id: Annotated[ArticleId, Meta(description="The article.")]
    article_version: Annotated[
        Version | None,
        Meta(
            description="The version of the article to whose text the offsets belong. If you leave "
            "it out, it is the current version.",
            extra=FILLED,
        ),
    ] = None
    quote_type: Annotated[
        QuoteType,
        Meta(description="Whether the article prints the words of the source, or its own words."),
    ] = QuoteType.INDIRECT
    stance: Annotated[
        Stance, Meta(description="How far the article itself stands behind the statement.")
    ] = Stance.NEUTRAL
    quote_language: Annotated[
        Language | None, Meta(description="The language in which the statement was made.")
    ] = None
    translated: Annotated[
        bool | None, Meta(description="Whether the quotation is translated; null if unknown.")
    ] = None
    spans: Annotated[
        list[Span],
        Meta(
            max_length=100,
            description="The words in the article's text. A statement that is printed in several "
            "pieces has several `content` spans.",
        ),
    ] = []
    anchor: Annotated[
        Anchor | None,
        Meta(
            description="Whether the words are still in the text at these offsets. The server sets "
            "it.",
            extra=FILLED,
            extra_json_schema={"readOnly": True},
        ),
    ] = None


MAX_SPANS: Final = 4_000
"""How many spans all appearances of a record have together."""
PRINTED: Final = (
    f"The articles that print the claim or denial, with at most {MAX_SPANS:,} spans in all."
)


def too_many_spans(appearances: Iterable[Appearance]) -> Iterator[Fault]:
    """Yield a fault if the appearances of a record have too many spans together."""
    count = sum(len(each.spans) for each in appearances)
    if count > MAX_SPANS:
        yield Fault(
            ("appearances",),
            "invalid-value",
            f"At most {MAX_SPANS:,} spans in all appearances together; here are {count:,}. Leave "
            "some out, or put some appearances into another record.",
        )


class Reading(Part, kw_only=True):
    """An editor's interpretation of vague words, kept apart from the printed figure."""

    lower: Annotated[
        Number | None,
        Meta(description="The lowest number that the editor takes the words to mean."),
    ] = None
    upper: Annotated[
        Number | None,
        Meta(description="The highest number that the editor takes the words to mean."),
    ] = None
    rule: Annotated[
        Text, Meta(description="The rule behind the numbers, so that others can apply it too.")
    ]

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.lower, self.upper = whole(self.lower), whole(self.upper)

    def faults(self) -> Iterator[Fault]:
        """Refuse an empty reading and bounds in the wrong order."""
        if self.lower is None and self.upper is None:
            yield Fault(("lower",), "required", "A reading needs `lower`, `upper` or both.")
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
"""What each qualifier needs; the others of `value`, `lower`, `upper` and `term` must be null.

`between` may have a `value` as well.
"""


_BEST_ESTIMATE: Final = (Qualifier.BETWEEN, "value")


class Quantity(Part, kw_only=True):
    """A figure as it was printed: “at least 100”, “several hundreds”."""

    metric: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            pattern=r"^[a-z][a-z0-9_]*\Z",
            description="What is counted: one of the vocabulary's metrics, or another in "
            "snake_case.",
            extra={"form": "lower-case letters, digits and `_`, such as `killed`"},
            extra_json_schema={"x-vocabulary": "metric"},
        ),
    ]
    unit: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            description="The unit, such as `person`, `percent` or `USD`.",
        ),
    ]
    qualifier: Annotated[Qualifier, Meta(description="How the printed words limit the number.")]
    value: Annotated[
        Number | None,
        Meta(
            description="The number, for `exact` and `approximately`; for `between`, the best "
            "estimate, if there is one."
        ),
    ] = None
    lower: Annotated[
        Number | None,
        Meta(description="The lower number, for `at_least`, `more_than` and `between`."),
    ] = None
    upper: Annotated[
        Number | None,
        Meta(
            description="The upper number, for `at_most`, `fewer_than`, `approaching` and "
            "`between`."
        ),
    ] = None
    term: Annotated[
        Line | None, Meta(description="The word, for `vague`, such as “heavy” or “several”.")
    ] = None
    printed: Annotated[Line, Meta(description="The printed words.")]
    population: Annotated[
        Line | None,
        Meta(description="The people or things counted, such as “North Korean soldiers”."),
    ] = None
    cumulative: Annotated[
        bool | None,
        Meta(
            description="Whether the figure is a running total since some beginning; null if "
            "unknown."
        ),
    ] = None
    as_of: Annotated[
        Bound | None, Meta(description="The date or instant that the figure is about.")
    ] = None
    reading: Annotated[Reading | None, Meta(description="How an editor interprets the words.")] = (
        None
    )

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.value, self.lower, self.upper = map(whole, (self.value, self.lower, self.upper))

    def faults(self) -> Iterator[Fault]:
        """Refuse numbers that the qualifier does not go with, and ask for those that it needs."""
        needed = NUMBERS_OF[self.qualifier]
        for field in ("value", "lower", "upper", "term"):
            given = getattr(self, field) is not None
            if field in needed and not given:
                yield Fault((field,), "required", f"`{self.qualifier}` needs `{field}`.")
            if given and field not in needed and (self.qualifier, field) != _BEST_ESTIMATE:
                yield Fault((field,), "not-allowed", f"`{self.qualifier}` does not take `{field}`.")
        yield from significant(self, "value", "lower", "upper")
        yield from out_of_order("upper", self.lower, self.upper)
        if self._estimates_outside():
            yield Fault(("value",), "out-of-order", "`value` must lie between `lower` and `upper`.")
        yield from impossible("as_of", self.as_of)

    def _estimates_outside(self) -> bool:
        if self.value is None or self.lower is None or self.upper is None:
            return False
        return self.lower <= self.upper and not self.lower <= self.value <= self.upper


class Extraction(Part, kw_only=True):
    """How a record was made."""

    method: Annotated[ExtractionMethod, Meta(description="The method, by hand or by machine.")]
    agent: Annotated[Line, Meta(description="The person or the program that made the record.")]
    agent_version: Annotated[Line | None, Meta(description="The version of the program.")] = None
    confidence: Annotated[
        Confidence | None, Meta(description="How sure the person or program was, from 0 to 1.")
    ] = None

    def __post_init__(self) -> None:
        """Write whole numbers without a fraction."""
        self.confidence = whole(self.confidence)

    def faults(self) -> Iterator[Fault]:
        """Refuse a number that other readers would round."""
        yield from significant(self, "confidence")


class GroupSize(Part, kw_only=True):
    """How many members a group has, named or not, such as “nine other countries”."""

    lower: Annotated[Count | None, Meta(description="The lowest possible number of members.")] = (
        None
    )
    upper: Annotated[Count | None, Meta(description="The highest possible number of members.")] = (
        None
    )

    def faults(self) -> Iterator[Fault]:
        """Refuse an empty size and bounds in the wrong order."""
        if self.lower is None and self.upper is None:
            yield Fault(("lower",), "required", "A group size needs `lower`, `upper` or both.")
        yield from out_of_order("upper", self.lower, self.upper)


def whole(number: float | None) -> float | None:
    """Give 1e4 and 10000.0 as 10000."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def significant(part: Part, *names: str) -> Iterator[Fault]:
    """Refuse numbers of more than 15 significant digits, which other readers would round."""
    for name in names:
        number = getattr(part, name)
        if isinstance(number, float) and len(significant_digits(repr(number))) > MAX_DIGITS:
            yield Fault(
                (name,), "too-precise", f"It takes at most {MAX_DIGITS} significant digits."
            )
