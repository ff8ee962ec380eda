"""A resource: the description of a record type, with its names, its Structs and its list."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, Struct

from api.core import sql
from api.core.db import Connection
from api.core.filters import Filter, Parameter, everywhere
from api.core.request import Author
from schemas.base import Create, Part
from schemas.scalars import Instant, Line
from schemas.vocabularies import RecordType, Vocabulary

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_COUNTED: Final = 10_000
"""A list counts no more records than this for `total`."""
MAX_RANKED: Final = 2_000
"""Ranking reads every record that matches, so no more than this are ranked."""
FOLLOWED: Final = {RecordType.ARTICLE: 1, RecordType.SOURCE: 2}
"""Most expansions to these types also bring what other included records refer to.

They are read in this order, behind all others.
"""
MAX_PAGE_BYTES: Final = 8 * 1024**2 - 64 * 1024
"""A page ends where its records pass this: with the rest of its body that makes 8 MiB at most."""


INSTANT_KEY: Final = Annotated[dt.datetime, Meta(tz=True)]
"""The type of a sort key that is an instant."""


class Sort(Struct, frozen=True):
    """A key that a list can be sorted by: a name, and an SQL expression on the list's table `t`."""

    name: str
    expression: str
    nullable: bool = False
    key: Any = INSTANT_KEY  # the type of its values
    description: str = ""  # if its name does not say what it is
    needs: str | None = None  # a parameter that it can only be used together with
    ranks: bool = False  # whether it ranks by how well a record matches `q`: always best first


class Counting(Vocabulary):
    """How are the records on all pages counted? Without the parameter they are not counted."""

    EXACT = "exact", "Records are counted one by one: the more there are, the longer it takes."


class Expansion(Struct, frozen=True):
    """A relation of a page's records: SQL that selects the related ids of the `owners AS o`.

    Owners have `type`, `id` and `place`; the SQL selects `id`, the related record's, and `place`.
    """

    name: str
    target: RecordType
    pairs: str
    description: str
    is_direct: bool = False  # whether only the page's own records bring it, whatever its target is

    @property
    def follows(self) -> bool:
        """Tell whether it also brings what other included records refer to."""
        return self.target in FOLLOWED and not self.is_direct

    @property
    def turn(self) -> int:
        """Give its place in the order of reading: after the expansions whose records it follows."""
        return len(FOLLOWED) + 1 if self.is_direct else FOLLOWED.get(self.target, 0)


class Grouping(Struct, frozen=True):
    """Values by which records can be grouped and counted, and the SQL that gives them.

    `pairs` selects `id` and `value` of the records `{matched} AS m`, each pair once, and no null;
    of a `single` property, only `value`. If `names` is given, the values that the caller can't see
    are left out afterwards.
    """

    name: str
    description: str  # if its name does not say what it is
    pairs: str
    columns: tuple[str, ...] = ()  # of the list's table, that `pairs` reads of `m` beside the id
    single: bool = False  # whether a record has at most one value
    items: bool = False  # whether the values are all items of its column, an array
    names: RecordType | None = None  # the type of the records whose ids the values are


def grouped_by_items(
    name: str, description: str, column: str, names: RecordType | None = None
) -> Grouping:
    """Declare the grouping by the items of an array, which holds each of them once."""
    pairs = f"SELECT m.id, unnest(m.{column}) AS value FROM {{matched}} AS m"  # noqa: S608
    return Grouping(name, description, pairs, (column,), items=True, names=names)


class Consequence(NamedTuple):
    """What else is written, in the same transaction, when a record is replaced."""

    follows: Callable[[bytes, Create], bool]
    """Tell by the stored document and the new record whether there is anything else to write."""
    write: Callable[[Connection, Author, str, bytes, Create, int], Awaitable[None]]
    """Write it; takes the record's id, its stored document, the new record and its version."""
    hides: Callable[[bytes, Create], bool] = lambda *_: False
    """Tell by the same whether the database may hide or show other records with this one."""


# A resource has a field named `type`, which hides the builtin in its body.
_Creates = type[Create]
_Structs = type[Struct]
_Patches = type[Part]


@dataclass(frozen=True, eq=False)
class Resource:
    """A record type: its Structs, and what its list can be asked."""

    type: RecordType
    create: _Creates
    record: _Structs
    update: _Patches
    filters: tuple[Filter, ...]
    sorts: tuple[Sort, ...]
    expansions: tuple[Expansion, ...]
    searched: str  # the fields that `q` searches, in words
    groupings: tuple[Grouping, ...] = ()  # beside those of its columns
    large: bool = False  # whether its bodies may be as large as an article
    circular: bool = False  # whether a circle of references between its records is refused
    consequence: Consequence | None = None
    merges: bool = False  # whether a record can be merged into another one
    derive: Callable[[Any], dict[str, Any]] = lambda _: {}
    """Give the properties that the database derives from the content of a new record."""

    @cached_property
    def path(self) -> str:
        """Give the path of the resource's list."""
        return f"/v1/{self.plural}"

    @cached_property
    def plural(self) -> str:
        """Give the plural of the type, as paths and table names have it."""
        return sql.plural(self.type)

    @cached_property
    def table(self) -> sql.Table:
        """Give the resource's table."""
        return sql.table(self.type, self.create)

    @cached_property
    def all_filters(self) -> tuple[Filter, ...]:
        """Give the resource's filters, and those that every list has."""
        return (*self.filters, *everywhere(self.type))

    @cached_property
    def filter_parameters(self) -> dict[str, Parameter]:
        """Give the query parameters of all filters, by name."""
        return {p.name: p for each in self.all_filters for p in each.parameters}

    @cached_property
    def all_sorts(self) -> dict[str, Sort]:
        """Give the keys that the list can be sorted by, as written in the query."""
        own = (*_SORTS, *self.sorts, _RELEVANCE)
        return {sign + sort.name: sort for sort in own for sign in _signs(sort)}

    @cached_property
    def list_parameters(self) -> dict[str, Parameter]:
        """Give every query parameter of the list, by name."""
        return {**self.filter_parameters, **{p.name: p for p in self._page_parameters()}}

    def _page_parameters(self) -> list[Parameter]:
        sorts = ", ".join(f"`{name}`" for name in self.all_sorts)
        expansions = "; ".join(f"`{e.name}`: {e.description}" for e in self.expansions)
        return [
            Parameter(
                "sort",
                Line,
                f"One of {sorts}. Equal records are sorted by id. `relevance` "
                f"needs `q`, and ranks at most {MAX_RANKED} of the records that match."
                + "".join(f" {sort.description}" for sort in self.sorts if sort.description),
                default="-created_at",
            ),
            Parameter(
                "expand",
                Line,
                f"Related records to include; in a URL, separated by commas. {expansions}."
                + _also_of_included(self.expansions),
                terms=tuple(e.name for e in self.expansions),
            ),
            LIMIT,
            CURSOR,
            Parameter(
                "count", Counting, f"`exact` counts the records into `total`, up to {MAX_COUNTED}."
            ),
        ]


def _also_of_included(expansions: tuple[Expansion, ...]) -> str:
    """Say which relations also bring what other included records refer to."""
    names = [f"`{e.name}`" for e in expansions if e.follows]
    if len(expansions) < 2 or not names:  # noqa: PLR2004
        return ""
    return f" {' and '.join(names)} also include those that the other included records name."


_SORTS = (Sort("created_at", "t.created_at"), Sort("updated_at", "t.updated_at"))
_RELEVANCE = Sort(
    "relevance",
    "ts_rank_cd(t.search, (SELECT search_query(:q::text)))::float8",
    key=float,
    needs="q",
    ranks=True,
)

LIMIT = Parameter(
    "limit",
    Annotated[int, Meta(ge=1, le=MAX_LIMIT)],
    "The highest number of records on a page.",
    default=DEFAULT_LIMIT,
)
CURSOR = Parameter(
    "cursor",
    Annotated[str, Meta(max_length=5_000, min_length=1)],
    "The `next_cursor` of the page before.",
)
AS_OF = Parameter("as_of", Instant, "Reads the record as it was at this instant.")
NAMESPACE = Parameter(
    "namespace",
    Annotated[str, Meta(min_length=1, max_length=100)],
    "The other system of the external id.",
)
VALUE = Parameter(
    "value", Annotated[str, Meta(min_length=1, max_length=400)], "The id used in that system."
)


def _signs(sort: Sort) -> tuple[str, ...]:
    """Give the signs that a key can have in `sort`: `-` means descending."""
    return ("",) if sort.ranks else ("", "-")
