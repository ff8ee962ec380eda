"""The definition of a record type's table, as a migration makes it.

`migrations/record_types.py` has the definitions. `migrations/derive.py` writes the SQL for them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

EMBARGO: Final = "embargoed_until"
"""A record type with this column among `decides` is hidden until then."""
TARGETS: Final = ("source", "article", "claim", "denial")
"""The types that a link can lead to: a column of `links` each, as 0001 made them."""
PATH_7: Final = " SET search_path = public, pg_temp"
"""Where a trigger function looks for names since 0007, whatever the path of the session."""
JOINED: Final = "new_rows AS n JOIN old_rows AS o USING (id)"
"""The rows of an update, as they are and as they were, as 0001 joined them."""
JOINED_9: Final = "new_rows AS n FULL JOIN old_rows AS o USING (id)"
"""The same since 0009: unlike any other join, a full one is never a nested loop.

Postgres plans it for one row, and keeps the plan for a statement that changes thousands.
"""
HIDDEN: Final = 4
"""The bit of a visibility class that says that an article in which the record appears is hidden."""
SETTINGS_9: Final = f"{PATH_7} SET enable_seqscan = off"
"""As `PATH_7`, and links are looked up by their index, even while there are few of them."""
LAST: Final = """
        external_ids json NOT NULL DEFAULT '[]',
        tags text[] NOT NULL DEFAULT '{}',
        note text"""
"""The columns that every record type has after its own."""


class Follower(NamedTuple):
    """A table whose rows follow from a record, beside the link index."""

    table: str
    owner: str  # the column with the record's id
    columns: tuple[str, ...]  # the columns of the record that its rows follow from
    fill: str  # a statement that inserts the rows of the records in `new_rows AS n`
    by_array: bool = False  # whether its rows are found by an array of ids, since 0016


class RecordType(NamedTuple):
    """A record type's table: what it has beside the columns of every table."""

    type: str
    table: str
    columns: str  # of the table and of the document alike, in the document's order, one a line
    computed: str  # columns that the trigger derives, published after the others
    kept: str  # columns that serve filters and are not published
    derive: str  # PL/pgSQL that sets the computed columns
    links: tuple[str, ...]  # queries over the row's columns, written as :name, for the link index
    decides: tuple[str, ...]  # the columns that decide who may see a record
    visibility: str  # its class by those columns, embargo aside
    indexes: tuple[str, ...] = ()
    follower: Follower | None = None
    targets: tuple[str, ...] = TARGETS  # the types that its links can lead to
    settings: str = (
        ""  # those of its trigger functions, `PATH_7` since 0007, `SETTINGS_9` since 0009
    )
    joined: str = JOINED  # `JOINED_9` since 0009
    printed: bool = False  # whether it has appearances, and is hidden with their articles
    prints: tuple[str, ...] = ()  # the tables of types that are hidden with records of this one
    circles: str = ""  # which rows `n` have a link that must not lead back to them, since 0010
    by_both_clocks: bool = False  # whether its embargoes end by the service's clock too, since 0017
    link_columns: tuple[str, ...] = ()  # of links, that only its `detailed_links` fill, since 0018
    detailed_links: tuple[str, ...] = ()  # queries for links with these columns
    more_followers: tuple[Follower, ...] = ()  # since 0018
    chained: bool = False  # whether its row names the sources of its attributions, since 0019
    merges: bool = False  # whether a record can be merged into another one, since 0025


# --- pieces for the definition of a record type ------------------------------------------------

REVIEWED: Final = "CASE WHEN review_status = 'published' THEN 0 ELSE 1 END"
"""The visibility of a type that has `review_status`."""
LANGUAGE: Final = "language text NOT NULL DEFAULT 'und'"


def link_to(link: str, target: str, column: str, targets: tuple[str, ...] = TARGETS) -> str:
    """Select the link that one column of the row makes, if it is not null."""
    ids = ", ".join(f":{column}" if each == target else "NULL::uuid" for each in targets)
    return f"""
        SELECT '{link}', NULL::integer, false, NULL::text, {ids}
        WHERE :{column} IS NOT NULL"""


def links_to(link: str, target: str, column: str, targets: tuple[str, ...] = TARGETS) -> str:
    """Select the links that a list of objects makes, each by its property `{target}_id`."""
    ids = ", ".join(f"each.{target}_id" if to == target else "NULL::uuid" for to in targets)
    return f"""
        SELECT '{link}', NULL::integer, false, NULL::text, {ids}
        FROM json_to_recordset(:{column}) AS each({target}_id uuid)
        WHERE each.{target}_id IS NOT NULL"""


def with_columns(record_type: RecordType, *definitions: str) -> RecordType:
    """Define a record type with more columns, published after its own."""
    columns = ",\n        ".join([record_type.columns, *definitions])
    return record_type._replace(columns=columns)


# --- the columns of a definition ---------------------------------------------------------------


def typed(columns: str) -> dict[str, str]:
    """Give the names in a list of column definitions, and their types."""
    lines = (line.strip(" ,") for line in columns.splitlines())
    return {words[0]: words[1] for line in lines if (words := line.split())}


def names_of(definitions: tuple[str, ...]) -> list[str]:
    """List the names in some column definitions."""
    return [definition.split()[0] for definition in definitions]


def published(record_type: RecordType) -> dict[str, str]:
    """Give the published columns of a type, in the order of the document, and their types."""
    return typed(record_type.columns) | typed(record_type.computed) | typed(LAST)


def followers_of(record_type: RecordType) -> list[Follower]:
    """List the tables whose rows follow from a record of a type."""
    first = [record_type.follower] if record_type.follower else []
    return [*first, *record_type.more_followers]
