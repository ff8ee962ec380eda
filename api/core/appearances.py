"""Filters and a sort by the appearances of claims and denials: where and how they are printed."""

from __future__ import annotations

from typing import Final

from api.core.filters import Clause, Filter, Parameter, bounds, on_one
from api.core.relations import means
from api.core.resource import Sort
from schemas.scalars import ArticleId, SourceId
from schemas.vocabularies import Anchor, QuoteType, RecordType, Stance, Vocabulary

# Only with `deleted_at` can the indexes of articles be used.
_ARTICLE: Final = """
    JOIN articles AS a ON a.id = l.article_id AND a.deleted_at IS NULL AND :sees(article, a)"""


def printed(owner: RecordType) -> Filter:
    """Declare the filter by appearances; all its parameters must hold for the same appearance."""
    noun = "The publication of an article that prints it"
    published = bounds("published", noun, "a.published_from", "a.published_until")
    return on_one(
        "appearance",
        f"""t.id IN (
    SELECT l.owner_id FROM links AS l{{joins}}
    WHERE l.owner_type = '{owner}' AND l.link = 'appearance' AND {{clauses}})""",
        (
            Parameter("article_id", ArticleId, "The article in which it is printed."),
            Clause("l.article_id = :article_id::uuid"),
        ),
        (
            Parameter("publisher_id", SourceId, "The publisher of an article that prints it."),
            Clause(f"a.publisher_id {means(RecordType.SOURCE, 'publisher_id')}", _ARTICLE),
        ),
        *((bound, Clause(clause.sql, _ARTICLE)) for bound, clause in published),
        _labelled("quote_type", QuoteType, "l.quote_type", "It is printed in this way."),
        _labelled("stance", Stance, "l.stance", "The article takes this stance on it."),
        _labelled("anchor", Anchor, "l.label", "It has an appearance with this anchor."),
    )


def _labelled(
    name: str, vocabulary: type[Vocabulary], column: str, description: str
) -> tuple[Parameter, Clause]:
    return Parameter(name, vocabulary, description), Clause(f"{column} = :{name}::text")


def reading_order(owner: RecordType) -> Sort:
    """Declare the sort by the order in which an article prints its records; lost ones come last."""
    return Sort(
        "position",
        "(SELECT min(l.reading_order) FROM links AS l"
        f" WHERE l.owner_id = t.id AND l.owner_type = '{owner}' AND l.link = 'appearance'"
        " AND l.article_id = :article_id::uuid)",
        nullable=True,
        key=int,
        description="`position` needs `article_id`, and is the order in which the article prints"
        " them: by the first `content` span; then those with other spans only; those whose words"
        " are lost come last.",
        needs="article_id",
    )
