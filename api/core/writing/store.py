"""Store records: the statements that write, and the problems that the database finds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

import asyncpg
import msgspec

from api.core.db import Connection, allow_long_statements
from api.core.errors import STILL_REFERENCED, Problem
from api.core.large_input import work_on
from api.core.request import Author
from api.core.resource import Resource
from api.core.sql import compose, plural, render
from api.core.writing.look_up import Current
from schemas.base import Create
from schemas.vocabularies import RecordType

INSERT: Final = """
    INSERT INTO {table} (id, {actor_columns}, {columns})
    SELECT r.id, {actor}, {values}
    FROM json_to_recordset(:rows::json) AS r(id uuid, {definitions})
    RETURNING id, version, doc"""

# Only records that are still at the version given. A deleted record comes back.
UPDATE: Final = """
    UPDATE {table} AS t
    SET ({actor_columns}, deleted_at, {columns}) = ROW({actor}, NULL, {values})
    FROM json_to_recordset(:rows::json) AS r(id uuid, version integer, {definitions})
    WHERE t.id = r.id AND t.version = r.version
    RETURNING t.id, t.version, t.doc"""

# The same without the documents, for those who do not answer with them.
INSERT_MANY: Final = INSERT.removesuffix(", doc")
UPDATE_MANY: Final = UPDATE.removesuffix(", t.doc")

# `:versions` are those that the record may be at; null means any.
DELETE: Final = """
    UPDATE {table} AS t SET (deleted_at, {actor_columns}) = ROW(clock_timestamp(), {actor})
    WHERE t.id = :id AND t.deleted_at IS NULL AND {unmerged} AND :sees({type}, t)
        AND (:versions::integer[] IS NULL OR t.version = ANY(:versions))
    RETURNING t.version"""

DELETE_MANY: Final = """
    UPDATE {table} AS t SET (deleted_at, {actor_columns}) = ROW(clock_timestamp(), {actor})
    FROM unnest(:ids::uuid[], :versions::integer[]) AS r(id, version)
    WHERE t.id = r.id AND t.version = r.version AND t.deleted_at IS NULL
    RETURNING t.id, t.version"""

RESTORE: Final = """
    UPDATE {table} AS t SET (deleted_at, {actor_columns}) = ROW(NULL::timestamptz, {actor})
    WHERE t.id = :id AND t.deleted_at IS NOT NULL AND {unmerged} AND :sees({type}, t)
        AND (:versions::integer[] IS NULL OR t.version = ANY(:versions))
    RETURNING t.version, t.doc, :sees({type}, t) AS seen"""

LIVE: Final = """
    SELECT t.live_id AS id FROM {table} AS t
    WHERE t.live_id = ANY(:ids::uuid[]) AND :sees({type}, t)"""

# The referrers that the caller sees come first.
_VISIBLE: Final = """
            WHEN '{type}' THEN EXISTS (
                SELECT FROM {table} AS t WHERE t.id = l.owner_id AND :sees({type}, t)
            )"""
_REFERRERS: Final = """
        SELECT DISTINCT CASE l.owner_type {visible} END AS visible, owner_type, owner_id, link
        FROM links AS l
        WHERE l.{column} = :id
        ORDER BY visible DESC, owner_type, owner_id, link
        LIMIT 100"""
_NAMED: Final = 3
"""How many referrers the `detail` of a problem names."""


def rows_of(records: Iterable[tuple[str, int | None, Create]]) -> str:
    """Write records, each with its id and the version that it replaces, as a JSON array."""
    return array_of(row_of(*each) for each in records)


def row_of(identity: str, version: int | None, record: Create | None, **more: str | None) -> str:
    """Write a record, or nothing of it, with its id, the version that it replaces, and more."""
    head: dict[str, object] = {"id": identity, **more}
    if version is not None:
        head["version"] = version
    text = msgspec.json.encode(head).decode()
    return text if record is None else f"{text[:-1]},{msgspec.json.encode(record)[1:].decode()}"


def array_of(rows: Iterable[str]) -> str:
    """Write rows that are JSON already as an array."""
    return f"[{','.join(rows)}]"


async def store(
    connection: Connection,
    author: Author,
    resource: Resource,
    identity: str,
    current: Current | None,
    record: Create,
    size: int,
) -> asyncpg.Record | None:
    """Insert a record, or replace the current one; null if that has moved meanwhile.

    `size` is about that of the record and the current one, in bytes.
    """
    version = current.version if current is not None else None
    statement = resource.table.compose(INSERT if current is None else UPDATE)
    rows = await work_on(size, rows_of, [(identity, version, record)])
    query = render(statement, rows=rows, actor=author.actor)
    if current is None:
        return await connection.fetchrow(*query)
    follows = await work_on(size, has_consequence, resource, current, record)
    hides = await work_on(size, hides_others, resource, current, record)
    if not follows and not hides:
        return await connection.fetchrow(*query)
    async with connection.transaction():
        if hides:
            await allow_long_statements(connection)
        row = await connection.fetchrow(*query)
        if row is not None and follows:
            await write_consequence(connection, author, resource, current, record, row["version"])
        return row


def has_consequence(resource: Resource, current: Current, record: Create) -> bool:
    """Tell whether other records change when this one is replaced."""
    consequence = resource.consequence
    return consequence is not None and consequence.follows(current.doc, record)


def hides_others(resource: Resource, current: Current, record: Create) -> bool:
    """Tell whether the statement that replaces a record may write any number of others."""
    consequence = resource.consequence
    return consequence is not None and consequence.hides(current.doc, record)


async def write_consequence(
    connection: Connection,
    author: Author,
    resource: Resource,
    current: Current,
    record: Create,
    version: int,
) -> None:
    """Change the records that follow from this one, of which `version` was just written."""
    if resource.consequence is not None:
        await resource.consequence.write(
            connection, author, current.id, current.doc, record, version
        )


def is_own_id(error: asyncpg.UniqueViolationError, resource: Resource) -> bool:
    """Tell whether an insert failed because a record of this id exists by now."""
    table = resource.plural
    return error.constraint_name in {f"{table}_pkey", f"{table}_live_id_key"}


def is_external_id(error: asyncpg.UniqueViolationError, pair: tuple[str, str]) -> bool:
    """Tell whether a write failed because another record has this external id by now."""
    namespace, value = pair
    return error.constraint_name == "external_ids_pkey" and f", {namespace}, {value})" in str(
        error.detail
    )


@cache
def _referrers(target: RecordType) -> str:
    """Write the statement that reads the links to a record of a type."""
    visible = "".join(
        compose(_VISIBLE, type=record_type, table=plural(record_type)) for record_type in RecordType
    )
    return compose(_REFERRERS, visible=visible, column=f"{target}_id")


async def still_referenced(
    connection: Connection, author: Author, resource: Resource, identity: str
) -> Problem | None:
    """Name the referrers of a record that the caller sees; null if no record refers to it."""
    query = render(_referrers(resource.type), author.caller, id=identity)
    rows = await connection.fetch(*query)
    if not rows:
        return None
    referrers = [
        {"type": row["owner_type"], "id": str(row["owner_id"]), "link": row["link"]}
        for row in rows
        if row["visible"]
    ]
    named = [f"{r['type']} {r['id']} ({r['link']})" for r in referrers]
    listed = ", ".join(named[:_NAMED]) or "others"
    more = " and others" if len(named) > _NAMED else ""
    return Problem(
        STILL_REFERENCED,
        f"Other records still refer to this one: {listed}{more}.",
        referrers=referrers,
    )
