r"""SQL text: named parameters, pieces and visibility become a query that asyncpg can run.

A statement is text in which stand

- `:name`, a parameter: a value, which never becomes part of the text;
- `{name}`, a piece: SQL text that is decided by us and never by a client, such as a table's name;
- `:sees(claim, t)`, the condition that the row of alias `t`, which is a claim or a revision of a
  claim, exists for the caller.

:func:`compose` fills in the pieces. :func:`render` fills in the rest for one caller::

    _HEADLINES = compose(
        "SELECT {columns} FROM articles AS t"
        " WHERE t.language = :language::text AND t.id = ANY(:ids::uuid[]) AND :sees(article, t)",
        columns="t.id, t.headline",
    )

    rows = await connection.fetch(*render(_HEADLINES, caller, ids=ids, language="de"))

Parameters are named, so their order means nothing, and one that is mentioned twice is sent once.
Text in string literals, quoted names, comments and casts (`::uuid`, `E'\t'`, `':q'`) stays as it
is. An array slice between two names must be written with spaces around its colon.

The same statement gives the same text for all callers who see the same, so that asyncpg prepares
it once, and the translation is remembered: a repeated query costs a look into a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from api.core.caller import Caller
from schemas.base import Create, fields, is_vocabulary, shape
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
    | :sees\((?P<type>[a-z_]+),\ (?P<alias>[a-z_]+)\)
    | :(?P<name>[a-z_][a-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE: Final = re.compile(r"\{([a-z_]+)\}")


def compose(text: str, **pieces: str) -> str:
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
                raise ValueError("a statement with :sees needs to know its caller")
            return caller.sees(RecordType[token["type"].upper()], token["alias"])
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


class Table(NamedTuple):
    """A noun's table, and the columns that a client's record fills."""

    type: RecordType
    name: str
    columns: tuple[tuple[str, str], ...]  # name and SQL type


def table(type_: RecordType, name: str, create: type[Create]) -> Table:
    """Read a table's columns off the Struct that a client writes."""
    columns = ((field.encode_name, _column_type(field.type)) for field in fields(create))
    return Table(type_, name, tuple(columns))


def _column_type(annotation: object) -> str:
    found = shape(annotation)
    if found.refers_to:
        return "uuid"
    if found.kind is str and not found.many:
        return "timestamptz" if found.instant else "text"
    if found.kind is str:
        return "text[]"
    return "text" if is_vocabulary(found.kind) else "json"


# --- one record ------------------------------------------------------------------------------


@cache
def get(of: Table) -> str:
    """Read records by their ids ($1)."""
    return f"""
        SELECT t.id::text AS name, t.doc, t.version, t.deleted_at IS NOT NULL AS deleted
        FROM {of.name} AS t
        WHERE t.id = ANY($1::uuid[]) AND :sees({of.type}, t)"""


@cache
def get_by_external_id(of: Table) -> str:
    """Read a record by its namespace ($1) and value ($2)."""
    return f"""
        SELECT t.id, t.doc, t.version, t.deleted_at IS NOT NULL AS deleted
        FROM external_ids AS e JOIN {of.name} AS t ON t.id = e.record_id
        WHERE e.record_type = '{of.type}' AND e.namespace = $1 AND e.value = $2
            AND :sees({of.type}, t)"""


@cache
def get_as_of(of: Table) -> str:
    """Read a record ($1) as it was at an instant ($2).

    What it was then is there for those who could see it then and can see the record now.
    """
    return f"""
        SELECT r.doc, r.version, r.doc IS NULL AS deleted
        FROM {of.name} AS t
        CROSS JOIN LATERAL (
            SELECT p.doc, p.version, p.visibility FROM revisions AS p
            WHERE p.record_type = '{of.type}' AND p.record_id = t.id
                AND p.at <= $2::text::timestamptz
            ORDER BY p.version DESC
            LIMIT 1
        ) AS r
        WHERE t.id = $1 AND :sees({of.type}, t) AND :sees({of.type}, r)"""


def _recordset(of: Table, *more: str) -> str:
    columns = ", ".join([*more, *(f"{name} {kind}" for name, kind in of.columns)])
    return f"json_to_recordset($1::json) AS r({columns})"


@cache
def insert(of: Table) -> str:
    """Create records from a JSON array ($1) for an actor ($2)."""
    names = ", ".join(name for name, _ in of.columns)
    values = ", ".join(f"r.{name}" for name, _ in of.columns)
    return f"""
        INSERT INTO {of.name} (id, actor, {names})
        SELECT r.id, $2, {values} FROM {_recordset(of, "id uuid")}
        RETURNING id, version, doc"""


@cache
def update(of: Table) -> str:
    """Replace records that are still at the version given, from a JSON array ($1), for $2.

    A deleted record comes back.
    """
    names = ", ".join(name for name, _ in of.columns)
    values = ", ".join(f"r.{name}" for name, _ in of.columns)
    return f"""
        UPDATE {of.name} AS t
        SET (actor, deleted_at, {names}) = ROW($2, NULL, {values})
        FROM {_recordset(of, "id uuid", "version integer")}
        WHERE t.id = r.id AND t.version = r.version
        RETURNING t.id, t.version, t.doc"""


@cache
def delete(of: Table) -> str:
    """Delete a record ($1) that is at one of these versions ($2; null: at any), for $3."""
    return f"""
        UPDATE {of.name} AS t SET deleted_at = clock_timestamp(), actor = $3
        WHERE t.id = $1 AND t.deleted_at IS NULL AND :sees({of.type}, t)
            AND ($2::integer[] IS NULL OR t.version = ANY($2))
        RETURNING t.version"""


@cache
def delete_many(of: Table) -> str:
    """Delete those records ($1) that are still at these versions ($2), for $3."""
    return f"""
        UPDATE {of.name} AS t SET deleted_at = clock_timestamp(), actor = $3
        FROM unnest($1::uuid[], $2::integer[]) AS r(id, version)
        WHERE t.id = r.id AND t.version = r.version AND t.deleted_at IS NULL
        RETURNING t.id, t.version"""


@cache
def restore(of: Table) -> str:
    """Bring back a deleted record ($1) that is at one of these versions ($2), for $3."""
    return f"""
        UPDATE {of.name} AS t SET deleted_at = NULL, actor = $3
        WHERE t.id = $1 AND t.deleted_at IS NOT NULL AND :sees({of.type}, t)
            AND ($2::integer[] IS NULL OR t.version = ANY($2))
        RETURNING t.version, t.doc"""


@cache
def referrers(to: RecordType) -> str:
    """Read who refers to a record ($1) of a type: those that the caller sees first."""
    visible = "\n".join(
        f"""
            WHEN '{of}' THEN EXISTS (
                SELECT FROM {plural(of)} AS t WHERE t.id = l.owner_id AND :sees({of}, t)
            )"""
        for of in RecordType
    )
    return f"""
        SELECT DISTINCT CASE l.owner_type {visible} END AS visible, owner_type, owner_id, link
        FROM links AS l
        WHERE l.{to}_id = $1
        ORDER BY visible DESC, owner_type, owner_id, link
        LIMIT 100"""


@cache
def live(of: Table) -> str:
    """List which of these ids ($1) are of records that are not deleted."""
    return f"""
        SELECT t.live_id AS id FROM {of.name} AS t
        WHERE t.live_id = ANY($1::uuid[]) AND :sees({of.type}, t)"""


# --- before a write --------------------------------------------------------------------------


class Looks(NamedTuple):
    """What is to be looked up before a write; what is empty takes no part in the statement.

    Rows come with a role: `current` for the records themselves (or `hidden`, without content, where
    the caller does not see them, since their names are taken), a type for what they refer to, and
    `text` for an earlier version's text.
    """

    ids: list[str]
    namespaces: list[str]
    values: list[str]
    referred: dict[RecordType, list[str]]
    texts: list[str]  # the articles whose text is needed
    earlier: list[str]  # the articles of whose earlier versions the text is needed
    versions: list[int]

    def query(self, of: Table) -> tuple[str, list[list[str] | list[int]]]:
        """Write the statement, and its arguments."""
        wanted: dict[str, list[list[str] | list[int]]] = {
            "ids": [self.ids],
            "external": [self.namespaces, self.values],
        }
        wanted |= {str(to): [ids] for to, ids in self.referred.items()}
        wanted[RecordType.ARTICLE].append(self.texts)
        wanted["earlier"] = [self.earlier, self.versions]
        asked = {name: lists for name, lists in wanted.items() if lists[0]}
        return _look_up(of, tuple(asked)), [each for lists in asked.values() for each in lists]


@cache
def _look_up(of: Table, asked: tuple[str, ...]) -> str:
    places = iter(range(1, 2 * len(asked) + 1))
    return "\n        UNION ALL".join(_LOOKS[name](of, name, places) for name in asked)


def _current(of: Table) -> str:
    return f"""
        SELECT CASE WHEN :sees({of.type}, t) THEN 'current' ELSE 'hidden' END AS role,
               t.id, t.version, t.deleted_at IS NOT NULL AS deleted, t.doc, NULL::text AS text"""


def _look_ids(of: Table, _: str, places: Iterator[int]) -> str:
    return f"""{_current(of)}
        FROM {of.name} AS t WHERE t.id = ANY(${next(places)}::uuid[])"""


def _look_external(of: Table, _: str, places: Iterator[int]) -> str:
    return f"""{_current(of)}
        FROM unnest(${next(places)}::text[], ${next(places)}::text[]) AS w(namespace, value)
        JOIN external_ids AS e
            ON e.record_type = '{of.type}' AND e.namespace = w.namespace AND e.value = w.value
        JOIN {of.name} AS t ON t.id = e.record_id"""


def _look_referred(_: Table, to: str, places: Iterator[int]) -> str:
    ids = next(places)
    text = "NULL"
    if to == RecordType.ARTICLE:
        text = f"CASE WHEN t.live_id = ANY(${next(places)}::uuid[]) THEN t.text END"
    return f"""
        SELECT '{to}' AS role, t.live_id, t.version, false, NULL::bytea, {text}
        FROM {to}s AS t
        WHERE t.live_id = ANY(${ids}::uuid[]) AND :sees({to}, t)"""


def _look_earlier(_: Table, __: str, places: Iterator[int]) -> str:
    return f"""
        SELECT 'text' AS role, r.record_id, r.version, false, NULL::bytea,
               convert_from(r.doc, 'UTF8')::json ->> 'text'
        FROM unnest(${next(places)}::uuid[], ${next(places)}::integer[]) AS w(id, version)
        JOIN revisions AS r
            ON r.record_type = 'article' AND r.record_id = w.id AND r.version = w.version
            AND r.doc IS NOT NULL AND :sees(article, r)
        JOIN articles AS t ON t.id = r.record_id AND :sees(article, t)"""


_LOOKS: Final = {
    "ids": _look_ids,
    "external": _look_external,
    **{str(to): _look_referred for to in RecordType},
    "earlier": _look_earlier,
}


def plural(of: RecordType) -> str:
    """Name the table of a record type."""
    return f"{of}s"


# --- when an article's text changes ----------------------------------------------------------

APPEARING: Final = (RecordType.CLAIM, RecordType.DENIAL)
"""The types of records that are printed in articles."""


@cache
def appearing(of: RecordType) -> str:
    """Read the appearances of the records that are printed in an article ($1), behind an id ($2).

    The rows are locked, so that what is read is what is replaced.
    """
    return f"""
        SELECT t.id, t.version, t.appearances::text AS appearances
        FROM {plural(of)} AS t
        WHERE t.id > $2 AND t.deleted_at IS NULL AND t.id IN (
            SELECT l.owner_id FROM links AS l
            WHERE l.article_id = $1 AND l.owner_type = '{of}' AND l.link = 'appearance'
        )
        ORDER BY t.id
        LIMIT 500
        FOR NO KEY UPDATE OF t"""


@cache
def move_appearances(of: RecordType) -> str:
    """Replace the appearances of records from a JSON array ($1), for an actor ($2)."""
    return f"""
        UPDATE {plural(of)} AS t SET appearances = r.appearances, actor = $2
        FROM json_to_recordset($1::json) AS r(id uuid, appearances json)
        WHERE t.id = r.id"""


# --- lists -----------------------------------------------------------------------------------

MAX_COUNTED: Final = 10_000
MAX_RANKED: Final = 10_000
MAX_INCLUDED: Final = 2_000


class Order(NamedTuple):
    """How a list is sorted: an expression on `t`, then the id; nulls last either way."""

    expression: str
    descending: bool
    nullable: bool


def behind(order: Order, values: list[object], arguments: list[object]) -> str:
    """Write the condition of the rows behind a cursor's values: the sort key's and the id.

    A comparison with null is null, so the nulls at the end are a case of their own.
    """
    key, identity = values
    than = "<" if order.descending else ">"
    arguments.append(identity)
    last = f"${len(arguments)}::uuid"
    if key is None:
        return f"({order.expression} IS NULL AND t.id {than} {last})"
    arguments.append(key)
    row = f"({order.expression}, t.id) {than} (${len(arguments)}, {last})"
    return f"({row} OR {order.expression} IS NULL)" if order.nullable else row


def _there(of: Table) -> str:
    """Write the condition that a record is in the caller's lists."""
    return f"t.deleted_at IS NULL AND :sees({of.type}, t)"


def page(
    of: Table,
    where: Sequence[str],
    from_there: str | None,
    order: Order,
    limit: int,
    *,
    counted: bool = False,
) -> str:
    """Read a page of a list, and one row more to see whether there is another page."""
    conditions = [_there(of), *where]
    matching = " AND ".join(conditions)
    here = " AND ".join([*conditions, from_there] if from_there else conditions)
    direction = "DESC" if order.descending else "ASC"
    nulls = " NULLS LAST" if order.nullable else ""
    total = f", ({count(of, where)}) AS total" if counted else ""
    rows = f"{of.name} AS t"
    if order.expression.startswith("ts_rank"):
        # Ranking reads every match, so only so many are ranked.
        rows = f"(SELECT * FROM {of.name} AS t WHERE {matching} LIMIT {MAX_RANKED}) AS t"
    return f"""
        SELECT t.id, t.doc, {order.expression} AS key{total}
        FROM {rows}
        WHERE {here}
        ORDER BY {order.expression} {direction}{nulls}, t.id {direction}
        LIMIT {limit + 1}"""


def count(of: Table, where: Sequence[str]) -> str:
    """Count a list's records, up to one more than the cap."""
    conditions = " AND ".join([_there(of), *where])
    return (
        f"SELECT count(*) FROM (SELECT FROM {of.name} AS t WHERE {conditions}"
        f" LIMIT {MAX_COUNTED + 1}) AS counted"
    )


def included(target: RecordType, ids: str) -> str:
    """Read the records that a page ($1: its ids) brings with it, as the members of an object.

    `ids` selects theirs. Postgres joins them: a row each costs the service more than all else.
    """
    return f"""
        SELECT string_agg(convert_to('"' || i.id || '":', 'UTF8') || i.doc, ',')
        FROM (
            SELECT t.id, t.doc FROM {plural(target)} AS t
            WHERE t.deleted_at IS NULL AND :sees({target}, t) AND t.id IN ({ids})
            ORDER BY t.created_at DESC, t.id DESC
            LIMIT {MAX_INCLUDED}
        ) AS i"""


# --- history ---------------------------------------------------------------------------------


@cache
def revisions(of: Table) -> str:
    """Read a record's ($1) revisions below a version ($2), newest first, $3 at most.

    Those that the caller could have seen then, of a record that it sees now. What changed is read
    off the documents: against the last one of those before that was not a deletion. An actor's
    first word is who it was; the rest is for the audit log.
    """
    return f"""
        SELECT r.version, r.op, r.at, split_part(r.actor, E'\\t', 1) AS actor, r.doc, coalesce(
            (
                SELECT array_agg(now.key ORDER BY now.position)
                FROM json_each_text(convert_from(r.doc, 'UTF8')::json)
                    WITH ORDINALITY AS now(key, value, position)
                JOIN json_each_text(convert_from(was.doc, 'UTF8')::json) AS old(key, value)
                    ON old.key = now.key
                WHERE now.value IS DISTINCT FROM old.value
                    AND now.key NOT IN ('version', 'updated_at')
            ),
            ARRAY[]::text[]
        ) AS changed
        FROM {of.name} AS t
        JOIN revisions AS r ON r.record_type = '{of.type}' AND r.record_id = t.id
        LEFT JOIN LATERAL (
            SELECT p.doc FROM revisions AS p
            WHERE p.record_type = r.record_type AND p.record_id = r.record_id
                AND p.version < r.version AND p.doc IS NOT NULL AND :sees({of.type}, p)
            ORDER BY p.version DESC
            LIMIT 1
        ) AS was ON true
        WHERE t.id = $1 AND :sees({of.type}, t) AND r.version < $2 AND :sees({of.type}, r)
        ORDER BY r.version DESC
        LIMIT $3"""


# --- export ----------------------------------------------------------------------------------


@cache
def exported(of: Table) -> str:
    """Read records behind a time of creation ($1) and an id ($2): $3 at most, of $4 bytes or so.

    The first one always. Bytes are summed up without reading the documents.
    """
    return f"""
        SELECT q.id::text AS id, q.version, q.created_at, q.doc
        FROM (
            SELECT p.*, sum(octet_length(p.doc)) OVER (ORDER BY p.created_at, p.id)
                        - octet_length(p.doc) AS bytes
            FROM (
                SELECT t.id, t.version, t.created_at, t.doc FROM {of.name} AS t
                WHERE {_there(of)} AND (t.created_at, t.id) > ($1, $2)
                ORDER BY t.created_at, t.id
                LIMIT $3
            ) AS p
        ) AS q
        WHERE q.bytes < $4
        ORDER BY q.created_at, q.id"""
