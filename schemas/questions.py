"""The answers to an editor's questions: groups, origins, and the responses to a statement."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.pages import Included, Truncated
from schemas.scalars import Count, Id, Text
from schemas.vocabularies import Doubt

MAX_CLAIMS: Final = 1_000
"""Origins are counted for no more claims than this."""
MAX_THREAD: Final = 1_000
"""A thread has no more responses than this."""
MAX_DEPTH: Final = 50
"""A thread follows responses to responses no further than this."""

_Ids = Annotated[list[Id], Meta(max_length=MAX_CLAIMS)]


class Group(Struct, kw_only=True):
    """A value, and how many records have it."""

    value: Annotated[
        str,
        Meta(
            max_length=500,
            description="The value. If it is a source or an article, this is its id.",
        ),
    ]
    name: Annotated[
        Text | None,
        Meta(
            description="The name of the source (or, without a name, its description), or the "
            "headline of the article; null if the value is not an id.",
        ),
    ]
    count: Annotated[Count, Meta(description="The number of records that have the value.")]


class GroupCounts(Struct, kw_only=True):
    """How many records have each value of some properties, which are the keys of each object."""

    total: Annotated[Count, Meta(description="The number of records that the filters find.")]
    groups: Annotated[
        dict[str, Annotated[list[Group], Meta(max_length=200)]],
        Meta(max_length=5, description="The most frequent values, in this order."),
    ]
    others: Annotated[
        dict[str, Count],
        Meta(
            max_length=5,
            description="The number of records that only have values which are not listed.",
        ),
    ]
    none: Annotated[
        dict[str, Count],
        Meta(max_length=5, description="The number of records that have no value."),
    ]
    exact: Annotated[
        dict[str, bool],
        Meta(
            max_length=5,
            description="Whether every record was counted. If not, the counts are too low, and "
            "their order means nothing.",
        ),
    ]


class Origin(Struct, kw_only=True):
    """A source from which claims come: the one at the highest position of their chains."""

    source_id: Annotated[Id, Meta(description="The source.")]
    claim_ids: Annotated[_Ids, Meta(description="The claims that come from this source.")]
    via_ids: Annotated[
        list[Id],
        Meta(
            max_length=10_000,
            description="The vehicles through which the claims came from it, such as a briefing.",
        ),
    ]
    via_articles: Annotated[
        list[Id],
        Meta(
            max_length=10_000,
            description="The articles that print these claims. A copy of another article is not "
            "listed; the article that it was copied from is.",
        ),
    ]


class DoubtfulOrigins(Struct, kw_only=True):
    """Origins that may not be independent of each other."""

    source_ids: Annotated[
        list[Id], Meta(min_length=2, max_length=MAX_CLAIMS, description="The origins.")
    ]
    why: Annotated[Doubt, Meta(description="Why these origins may not be independent.")]


class OriginCounts(Struct, kw_only=True):
    """How many independent origins stand behind claims."""

    claims: Annotated[_Ids, Meta(description="The claims whose origins were counted.")]
    origins: Annotated[
        list[Origin],
        Meta(max_length=10_000, description="The origins. Those with the most claims come first."),
    ]
    count: Annotated[Count, Meta(description="The number of origins.")]
    at_least: Annotated[
        Count,
        Meta(
            description="The number of origins that remain if all those that `uncertain` lists "
            "together are one and the same."
        ),
    ]
    uncertain: Annotated[
        list[DoubtfulOrigins],
        Meta(
            max_length=10_000,
            description="Origins that may not be independent. This does not change `count`.",
        ),
    ]
    unresolved: Annotated[
        _Ids, Meta(description="Claims whose origin is not known. They add no origin.")
    ]
    author_voice: Annotated[
        _Ids, Meta(description="Claims that the article makes itself. They add no origin.")
    ]
    truncated: Annotated[
        bool,
        Meta(
            description=f"Whether something is left out: there are more than {MAX_CLAIMS:,} "
            "claims, or more than 10,000 attributions, articles, facts about sources, or doubts."
        ),
    ]


class Responder(Struct, kw_only=True):
    """A source that responded, with all that it responded."""

    source_id: Annotated[Id, Meta(description="The responder: the source at position 0.")]
    latest: Annotated[
        Id,
        Meta(
            description="The denial that records the latest response of this source. A response "
            "without a date counts as later than the responses with a date."
        ),
    ]
    history: Annotated[
        list[Id],
        Meta(
            min_length=1,
            max_length=MAX_THREAD,
            description="All responses of this source, oldest first.",
        ),
    ]


class ThreadResponse(Struct, kw_only=True):
    """One response in a thread."""

    denial_id: Annotated[Id, Meta(description="The denial that records the response.")]
    answers: Annotated[
        list[Id],
        Meta(
            min_length=1,
            max_length=MAX_THREAD,
            description="What the denial answers: the record that you asked about, or other "
            "responses.",
        ),
    ]
    depth: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_DEPTH,
            description="1 if the denial answers the record that you asked about, 2 if it answers "
            "such a response, and so on.",
        ),
    ]
    standing: Annotated[
        bool, Meta(description="Whether the responder still maintains the response.")
    ]


class ResponseThread(Struct, kw_only=True):
    """The whole exchange about a claim or a denial."""

    responders: Annotated[
        list[Responder],
        Meta(max_length=10_000, description="Who responded, in the order of their first response."),
    ]
    thread: Annotated[
        list[ThreadResponse],
        Meta(max_length=MAX_THREAD, description="The responses, oldest first."),
    ]
    asked_without_answer: Annotated[
        list[Id],
        Meta(
            max_length=MAX_THREAD,
            description="Silence: the denials of the family `silent`, such as an omission.",
        ),
    ]
    circular: Annotated[
        list[Id],
        Meta(
            max_length=MAX_THREAD,
            description="Responses that answer each other in a circle. New ones are refused.",
        ),
    ]
    included: Included
    truncated: Annotated[
        list[Truncated],
        Meta(
            max_length=10,
            description="Names what is left out. If `included` lacks records of a relation, the "
            "id is that of the first response whose related records are missing. If responses are "
            "left out, the name is `responses` and the id is that of the record that you asked "
            f"about: the thread has more than {MAX_THREAD:,} responses, or goes deeper than "
            f"{MAX_DEPTH}.",
        ),
    ]
