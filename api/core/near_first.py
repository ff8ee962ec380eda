"""The rows of a list that has filters of which nobody knows how many records they find.

Such a filter is a set: the ids that a statement on other tables selects. If it has few, a page is
read best by looking all of them up. If it has many, by going through the records in the order of
the list, until the page is full. Postgres chooses by how many it expects, and is often wrong by
ten times or more: it does not know how common one source or one family of responses is, and in a
plan that it keeps not even which one is asked for.

So the statement finds out. Only if every set has more than `MANY`, it goes through the records that
come next in the list, at most `NEAR` of them, and asks of each whether it is in the sets. Only if
that does not fill the page, all is looked up. So a page never costs much more than the better way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from api.core.filters import Among
from api.core.sql import compose

MANY: Final = 2_000
"""A set of at most so many records is looked up as a whole."""
NEAR: Final = 5_000
"""So many records are gone through at most. One in a hundred of them has to be in the sets."""

_ROWS: Final = """(
    WITH sizes AS MATERIALIZED (SELECT {sizes}), near AS MATERIALIZED (
        SELECT t.* FROM (
            SELECT t.* FROM {table} AS t WHERE {there} ORDER BY {order} LIMIT {near}
        ) AS t
        WHERE {are_large} AND {asked} ORDER BY {order} LIMIT {limit}
    )
    SELECT near.* FROM near WHERE (SELECT count(*) FROM near) = {limit}{others}
)"""
# `OFFSET 0` keeps Postgres from another way than the one that is meant here.
_OTHER: Final = """
    UNION ALL (SELECT t.* FROM {table} AS t WHERE {when} AND {conditions} OFFSET 0)"""
_SIZE: Final = """
        (SELECT count(*) FROM (SELECT FROM ({counted}) AS each LIMIT {most} + 1) AS some_of_them)
            > {most} AS is_large_{number}"""
_IS_LARGE: Final = "(SELECT s.is_large_{number} FROM sizes AS s)"
_IS_IN: Final = "EXISTS (SELECT FROM ({ids}) AS member(id) WHERE member.id = t.id OFFSET 0)"
_NOT_NEAR: Final = "(SELECT count(*) FROM near) < {limit}"
# An index on such a column has the order of creation as well.
_ONE_VALUE: Final = re.compile(r"t\.\w+ = :\w+::text\Z")


class Ordered(NamedTuple):
    """Where a page of a list lies: the rows that there are, their order, and how many it takes."""

    table: str
    there: tuple[str, ...]  # the conditions on every row of the page, whatever the filters
    order: str
    limit: int


def rows_near_first(page: Ordered, where: Iterable[str | Among]) -> str | None:
    """Write the statement for the rows of a page; null if no filter is a set."""
    sets = [each for each in where if isinstance(each, Among)]
    if not sets:
        return None
    columns = [each for each in where if isinstance(each, str)]
    in_order = [each for each in columns if _ONE_VALUE.match(each)]
    others = [each for each in columns if each not in in_order]
    sizes = [
        compose(_SIZE, counted=each.first or each.ids, most=f"{MANY}", number=f"{number}")
        for number, each in enumerate(sets)
    ]
    large = [compose(_IS_LARGE, number=f"{number}") for number in range(len(sets))]
    members = [compose(_IS_IN, ids=each.ids) for each in sets]
    looked_up = [each.condition for each in sets]
    # What is asked of the records beside their order: when, and how.
    ways = [(compose(_NOT_NEAR, limit=f"{page.limit}"), looked_up)]
    if len(sets) > 1:
        ways = [(f"{when} AND {_all(large)}", how) for when, how in ways]
        for number, each in enumerate(looked_up):  # the first set that is small, then the others
            when = _all([*large[:number], f"NOT {large[number]}"])
            ways.append((when, [each, *members[:number], *members[number + 1 :]]))
    return compose(
        _ROWS,
        table=page.table,
        sizes=",".join(sizes),
        there=_all([*page.there, *in_order]),
        are_large=_all(large),
        asked=_all([*others, *members]),
        others="".join(
            compose(
                _OTHER,
                table=page.table,
                when=when,
                conditions=_all([*page.there, *columns, *how]),
            )
            for when, how in ways
        ),
        order=page.order,
        near=f"{NEAR}",
        limit=f"{page.limit}",
    )


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(conditions)
