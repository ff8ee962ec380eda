"""Filters and expansions on the link index that several record types share."""

from __future__ import annotations

from typing import Any, Final

from api.core.filters import Clause, Filter, Parameter, condition, on_one, times
from api.core.resource import FOLLOWED, Expansion, Grouping, grouped_by_items
from api.core.sql import compose, plural
from schemas.scalars import SourceId
from schemas.vocabularies import RecordType, Vocabulary

_HOPS = "('attribution', 'via', 'audience')"

# A source, every group that it belongs to, every group that these belong to, and so on.
WITH_GROUPS = """
    WITH RECURSIVE held(id) AS (
        SELECT unnest(same_sources(:source_id::uuid))
        UNION
        SELECT l.owner_id FROM links AS l
        JOIN held ON l.source_id = held.id
        JOIN sources AS g ON g.id = l.owner_id AND :sees(source, g)
        WHERE l.owner_type = 'source' AND l.link IN ('member', 'merged_into')
    )
    SELECT id FROM held"""


# Of each merged source that records may still name, the one that it means. A merged source is not
# deleted before those that lead to it, so each chain ends at a source that is not merged.
_SURVIVORS: Final = """
    WITH RECURSIVE led(id, survivor_id) AS (
        SELECT m.source_id, m.survivor_id FROM source_merges AS m
        JOIN sources AS s ON s.id = m.survivor_id AND s.merged_into_id IS NULL
        WHERE m.state = 'repointing'
        UNION ALL
        SELECT m.source_id, led.survivor_id FROM led
        JOIN source_merges AS m ON m.survivor_id = led.id AND m.state = 'repointing'
    )
    SELECT led.id, led.survivor_id FROM led"""
# It is mostly false, and then Postgres does not read the query that contains it.
IS_ANY_NAMED: Final = (
    "(SELECT EXISTS (SELECT FROM source_merges AS m WHERE m.state = 'repointing'))"
)
_MEANT: Final = """
        SELECT p.id, p.value FROM ({pairs}) AS p WHERE NOT {is_any_named}
        UNION ALL
        SELECT DISTINCT p.id, coalesce(v.survivor_id, p.value)
        FROM ({pairs}) AS p LEFT JOIN ({survivors}) AS v ON v.id = p.value
        WHERE {is_any_named}"""


def meant(pairs: str) -> str:
    """Replace merged sources by their survivors in unique pairs of a record and a source."""
    return compose(_MEANT, pairs=pairs, survivors=_SURVIVORS, is_any_named=IS_ANY_NAMED)


_STATED: Final = """
    WITH RECURSIVE merged(meant_id, id) AS (
        SELECT s.id, s.id FROM ({sources}) AS s(id, relations)
        UNION
        SELECT merged.meant_id, m.source_id FROM merged
        JOIN source_merges AS m ON m.survivor_id = merged.id AND m.state IN ('repointing', 'done')
    )
    SELECT s.id, s.relations FROM ({sources}) AS s(id, relations)
    UNION ALL
    SELECT w.meant_id, m.before -> 'relations'
    FROM (SELECT merged.meant_id, merged.id FROM merged LIMIT {most}) AS w
    JOIN source_merges AS m ON m.source_id = w.id AND m.state IN ('repointing', 'done')"""
_MAX_STATING: Final = 10_000
"""No more sources are looked at than this for what they state in the name of their survivors."""


def relations_stated(sources: str) -> str:
    """Select the relations that some sources state, with those of the sources merged into them.

    `sources` selects the ids and the relations of sources that are not merged. What is merged into
    one of them, directly or through others, states its relations in the name of that one.
    """
    return compose(_STATED, sources=sources, most=f"{_MAX_STATING}")


def linked(owner: RecordType, link: str, to: RecordType, parameter: str, more: str = "") -> str:
    """Write the condition that a record links to the record that a parameter names."""
    return (
        f"t.id IN (SELECT l.owner_id FROM links AS l WHERE l.{to}_id {means(to, parameter)}"
        f" AND l.owner_type = '{owner}' AND l.link = '{link}'{more})"
    )


def means(target: RecordType, parameter: str) -> str:
    """Write the comparison of a column of ids with the record that a parameter names.

    A merged source means its survivor, which other records may still name by the merged one's id.
    """
    if target is RecordType.SOURCE:
        return f"= ANY((SELECT same_sources(:{parameter}::uuid))::uuid[])"
    return f"= :{parameter}::uuid"


def survivor(target: RecordType, column: str) -> str:
    """Write the id that a reference in a column means: of a merged source, that of its survivor."""
    return f"survivor_of({column})" if target is RecordType.SOURCE else column


def attributed(owner: RecordType, first: str) -> list[Filter]:
    """Declare the filters of a chain of sources; `first` is the name for position 0."""
    return [
        condition(
            f"{first}_id",
            SourceId,
            linked(owner, "attribution", RecordType.SOURCE, f"{first}_id", " AND l.hop = 0"),
            f"The {first}: the source at position 0, which is nearest to the reader.",
        ),
        condition(
            "source_id",
            SourceId,
            "t.id IN (SELECT l.owner_id FROM links AS l"
            f" WHERE l.owner_type = '{owner}' AND l.link IN {_HOPS}"
            f" AND l.source_id IN ({WITH_GROUPS}))",
            "A source anywhere in the chain, also as a vehicle or as the audience, by itself or"
            " through a group that it belongs to.",
        ),
        condition(
            "credited",
            bool,
            "is_credited(t.attributions) = :credited::boolean",
            "`true`: the chain names somebody, with a source or with printed words. `false`: it "
            "names nobody.",
        ),
    ]


# A record's own row is read, not its links: the row is read anyway, and the links of 10,000 records
# lie in 20,000 other blocks.
_PUBLISHERS: Final = """
    SELECT DISTINCT m.id, p.publisher_id AS value
    FROM (SELECT r.id, unnest(r.article_ids) AS article_id FROM {matched} AS r) AS m
    JOIN articles AS p ON p.id = m.article_id AND :sees(article, p)
    WHERE p.publisher_id IS NOT NULL"""


def grouped_by_chain(first: str) -> list[Grouping]:
    """Declare the groupings by a chain of sources, and by where it is printed."""
    source = RecordType.SOURCE
    return [
        grouped_by_items(f"{first}_id", f"the {first}", "first_source_ids", source),
        grouped_by_items("origin_id", "the origin", "last_source_ids", source),
        grouped_by_items("source_id", "a source in the chain", "source_ids", source),
        grouped_by_items(
            "article_id",
            "an article in which it is printed",
            "article_ids",
            RecordType.ARTICLE,
        ),
        Grouping(
            "publisher_id",
            "the publisher of an article in which it is printed",
            _PUBLISHERS,
            columns=("article_ids",),
            names=source,
        ),
    ]


def linked_as(owner: RecordType, link: str, named: Parameter, role: Parameter) -> Filter:
    """Declare the filter of the records that link to a source, in a role that may be asked too."""
    return on_one(
        link,
        "t.id IN (SELECT l.owner_id FROM links AS l"
        f" WHERE l.owner_type = '{owner}' AND l.link = '{link}' AND {{clauses}})",
        (named, Clause(f"l.source_id {means(RecordType.SOURCE, named.name)}")),
        (role, Clause(f"l.label = :{role.name}::text")),
        needs=named.name,
    )


def related(record_type: RecordType, kind: Any, kinds: type[Vocabulary]) -> Filter:  # noqa: ANN401 - a type
    """Declare the filter of the records that are related to one, whichever of the two says so.

    A relation that the other record states counts only if the caller can see that record.
    """
    other = survivor(record_type, f"l.{record_type}_id")
    return on_one(
        "relation",
        f"""t.id IN (
    SELECT l.owner_id FROM links AS l
    WHERE l.{record_type}_id {means(record_type, "related_to")} AND l.owner_type = '{record_type}'
        AND {{clauses}}
    UNION ALL
    SELECT {other} FROM links AS l
    JOIN {plural(record_type)} AS o ON o.id = l.owner_id AND :sees({record_type}, o)
    WHERE l.owner_id {means(record_type, "related_to")} AND l.owner_type = '{record_type}'
        AND {{clauses}})""",
        (
            Parameter(
                "related_to",
                kind,
                f"The other {record_type} of a relation, which either of the two may state.",
            ),
            Clause("l.link = 'relation'"),
        ),
        (
            Parameter("relation_kind", kinds, "The kind of relation."),
            Clause("l.label = :relation_kind::text"),
        ),
        needs="related_to",
    )


def stated() -> list[Filter]:
    """Declare the filters on the time at which something was said."""
    return times("stated", "The time at which it was said", "t.stated_from", "t.stated_until")


def forward(name: str, target: RecordType, description: str) -> Expansion:
    """Declare the expansion to the records to which the records of a page refer.

    Of a merged source, it brings the survivor as well.
    """
    pairs = (
        f"SELECT l.{target}_id AS id, o.place FROM owners AS o"
        " JOIN links AS l ON l.owner_id = o.id AND l.owner_type = o.type"
        f" WHERE l.{target}_id IS NOT NULL"
    )
    if target is RecordType.SOURCE:
        pairs += (
            " UNION ALL SELECT v.survivor_id, o.place FROM owners AS o"
            " JOIN links AS l ON l.owner_id = o.id AND l.owner_type = o.type"
            f" JOIN ({_SURVIVORS}) AS v ON v.id = l.source_id WHERE {IS_ANY_NAMED}"
        )
    return Expansion(name, target, pairs, description)


def backward(
    name: str, owner: RecordType, link: str, target: RecordType, description: str
) -> Expansion:
    """Declare the expansion to the records of type `owner` that refer to the records of a page.

    Those that refer to a source which is being merged into one of the page are among them. What
    refers to other included records is not.
    """
    named = f"l.owner_type = '{owner}' AND l.link = '{link}'"
    pairs = (
        "SELECT l.owner_id AS id, o.place FROM owners AS o"
        f" JOIN links AS l ON l.{target}_id = o.id WHERE {named}"
    )
    if target is RecordType.SOURCE:
        pairs += (
            " UNION ALL SELECT l.owner_id, o.place FROM owners AS o"
            f" JOIN ({_SURVIVORS}) AS v ON v.survivor_id = o.id"
            f" JOIN links AS l ON l.source_id = v.id WHERE {IS_ANY_NAMED} AND {named}"
        )
    return Expansion(name, owner, pairs, description, is_direct=owner in FOLLOWED)
