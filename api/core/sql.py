r"""SQL text: named parameters, pieces and visibility become a query that asyncpg can run.

A statement is text in which stand

- `:name`, a parameter: a value, which never becomes part of the text;
- `{name}`, a piece: SQL text that the code decides and never a client, such as a table's name;
- `:sees(claim, t)`, the condition that the row of alias `t`, which is a claim, exists for the
  caller, and `:saw(claim, r)`, the same for a revision `r` of a claim.

:func:`compose` fills in the pieces. :func:`render` fills in the rest for one caller::

    _HEADLINES = compose(
        "SELECT {columns} FROM articles AS t"
        " WHERE t.language = :language::text AND t.id = ANY(:ids::uuid[]) AND :sees(article, t)",
        columns="t.id, t.headline",
    )

    rows = await connection.fetch(*render(_HEADLINES, caller, ids=ids, language="de"))

Parameters are named, so their order does not matter, and one that is used twice is sent once.
Text in string literals, quoted names, comments and casts (`::uuid`, `E'\t'`, `':q'`) stays as it
is. An array slice between two names must be written with spaces around its colon.

A statement gives the same text for all callers who see the same records, so that asyncpg prepares
it once. The translation is cached: a repeated query costs one look into a dictionary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from api.core.caller import Caller
from schemas.base import Create
from schemas.shapes import fields, is_vocabulary, shape
from schemas.vocabularies import RecordType

Query: TypeAlias = tuple[str, *tuple[Any, ...]]
"""A text with `$1`, `$2`, … and the values of these: `connection.fetch(*query)`."""

_TOKEN: Final = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*'              # a string literal with escapes
    | '(?:[^']|'')*'                          # a string literal
    | "[^"]*"                                 # a quoted name
    | \$(?P<quote>[a-z_]*)\$.*?\$(?P=quote)\$  # a dollar-quoted string
    | --[^\n]*                                # a comment
    | /\*.*?\*/                               # a comment
    | ::                                      # a cast
    | (?P<number>\$[0-9]+)
    | :(?P<asks>sees|saw)\((?P<type>[a-z_]+),\ (?P<alias>[a-z_]+)\)
    | :(?P<name>[a-z_][a-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE: Final = re.compile(r"\{([a-z_]+)\}")


def compose(text: str, /, **pieces: str) -> str:
    """Put pieces of SQL text where a statement has `{name}`; every name has to be given.

    A piece may hold parameters and visibility itself, but no more pieces. `{}` stays as it is.
    """
    return _PIECE.sub(lambda place: pieces[place[1]], text)


class Rendered(NamedTuple):
    """A statement's text as Postgres takes it, and the names of the parameters `$1`, `$2`, …."""

    text: str
    names: tuple[str, ...]


@lru_cache(maxsize=4_096)
def rendered(text: str, caller: Caller | None = None) -> Rendered:
    """Translate a statement for a caller; parameters are numbered as they are first mentioned."""
    names: dict[str, str] = {}

    def translate(token: re.Match[str]) -> str:
        if token["number"] is not None:
            raise ValueError(f"a parameter has a name, not a number: {token['number']}")
        if token["type"] is not None:
            if caller is None:
                raise ValueError(f"a statement with :{token['asks']} needs to know its caller")
            condition = caller.sees if token["asks"] == "sees" else caller.saw
            return condition(RecordType[token["type"].upper()], token["alias"])
        if token["name"] is not None:
            return names.setdefault(token["name"], f"${len(names) + 1}")
        return token[0]

    translated = _TOKEN.sub(translate, text)
    return Rendered(translated, tuple(names))


def render(text: str, caller: Caller | None = None, /, **values: Any) -> Query:  # noqa: ANN401
    """Give the query of a statement with these values, for a caller.

    Raises TypeError unless exactly the statement's parameters are given.
    """
    statement = rendered(text, caller)
    if len(values) != len(statement.names) or not values.keys() >= set(statement.names):
        raise TypeError(f"the statement takes {statement.names}, not {tuple(values)}")
    return statement.text, *[values[name] for name in statement.names]


# --- tables ----------------------------------------------------------------------------------


ACTOR_COLUMNS: Final = "actor, actor_scope, actor_request_id, actor_route"
"""The columns that say who has written a record: see :class:`api.core.caller.Actor`."""
ACTOR: Final = ", ".join(f"(:actor::text[])[{place}]" for place in range(1, 5))
"""Their values, from a parameter that holds all four; null for the service itself."""

OWN_ACTOR: Final = "r.actor, r.actor_scope, r.actor_request_id, r.actor_route"
"""Their values where each row `r` of a statement has its own."""


_UNMERGED: Final = {RecordType.SOURCE: "t.merged_into_id IS NULL"}
"""The condition that a row is no merged record, for the types that can be merged."""


def plural(record_type: RecordType) -> str:
    """Give the name of a record type's table, which is also its name in paths."""
    return f"{record_type}s"


# Compared by identity, not by columns: tables are keys of caches.
@dataclass(frozen=True, eq=False)
class Table:
    """A record type's table, and the columns that a client's record fills."""

    type: RecordType
    name: str
    columns: tuple[tuple[str, str], ...]  # name and SQL type

    @cached_property
    def pieces(self) -> dict[str, str]:
        """Give the pieces that differ in a statement for any record type."""
        return {
            "table": self.name,
            "type": self.type,
            "columns": ", ".join(name for name, _ in self.columns),
            "values": ", ".join(f"r.{name}" for name, _ in self.columns),
            "actor_columns": ACTOR_COLUMNS,
            "actor": ACTOR,
            "own_actor": OWN_ACTOR,
            "actor_definitions": ACTOR_COLUMNS.replace(",", " text,") + " text",
            "definitions": ", ".join(f"{name} {kind}" for name, kind in self.columns),
            "unmerged": _UNMERGED.get(self.type, "true"),
        }

    def compose(self, text: str) -> str:
        """Fill in this table's pieces; the result is cached."""
        return _composed(self, text)


@cache
def _composed(table: Table, text: str) -> str:
    return compose(text, **table.pieces)


def table(record_type: RecordType, create: type[Create]) -> Table:
    """Read a table's columns off the Struct that a client writes."""
    columns = ((field.encode_name, _column_type(field.type)) for field in fields(create))
    return Table(record_type, plural(record_type), tuple(columns))


def _column_type(annotation: object) -> str:
    column = shape(annotation)
    if column.refers_to:
        return "uuid"
    if column.kind is str and not column.many:
        return "timestamptz" if column.instant else "text"
    if column.kind is str:
        return "text[]"
    return "text" if is_vocabulary(column.kind) else "json"
