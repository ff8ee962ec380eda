"""Referrers: read and write the columns of records that can name sources, some at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from api.core.db import Connection
from api.core.resource import Resource
from api.core.sql import ACTOR_COLUMNS, compose, render
from api.merging.references import Columns, Content, columns_of

MAX_RECORDS: Final = 200
"""A step of a merge changes at most this many records."""
MAX_BYTES: Final = 4_194_304
"""It reads about this many bytes of their lists; one record may have more."""

# A merged source has no links but the one to its survivor. A record that can't name the survivor is
# tried again when it has changed.
_NEXT: Final = """
    WITH due AS (
        SELECT DISTINCT l.owner_id AS id FROM links AS l
        WHERE l.source_id = :source_id::uuid AND l.owner_type = '{type}' AND l.link <> 'merged_into'
            AND NOT EXISTS (
                SELECT FROM source_merge_refusals AS f
                JOIN {table} AS r ON r.id = f.record_id AND r.version = f.version
                WHERE f.merge_id = :merge_id AND f.record_type = '{type}'
                    AND f.record_id = l.owner_id
            )
        ORDER BY l.owner_id
        LIMIT :limit
    ), sized AS (
        SELECT t.id, s.size, sum(s.size) OVER (ORDER BY t.id) AS total
        FROM due JOIN {table} AS t ON t.id = due.id
        CROSS JOIN LATERAL (SELECT {size} AS size) AS s
    )
    SELECT id::text FROM sized WHERE total <= :most_bytes OR total = size ORDER BY id"""
_REFUSED: Final = """
    INSERT INTO source_merge_refusals (merge_id, record_type, record_id, version)
    SELECT :merge_id, '{type}', t.id, t.version FROM {table} AS t WHERE t.id = :id::uuid
    ON CONFLICT (merge_id, record_type, record_id) DO UPDATE SET version = excluded.version"""
_LOCK: Final = """
    SELECT t.id::text, t.deleted_at IS NOT NULL AS deleted,
           json_build_object({properties})::text AS content
    FROM {table} AS t
    WHERE t.id = ANY(:ids::uuid[])
    ORDER BY t.id
    FOR NO KEY UPDATE OF t SKIP LOCKED"""
_WRITE: Final = """
    UPDATE {table} AS t
    SET ({actor_columns}, {columns}) = ROW('system', NULL, NULL, NULL, {values})
    FROM json_to_recordset(:rows::json) AS r(id uuid, {definitions})
    WHERE t.id = r.id AND t.deleted_at IS NULL"""


class Referrer(NamedTuple):
    """A record that may name sources, as it is stored."""

    id: str
    deleted: bool
    content: Content


async def next_referrers(
    connection: Connection, resource: Resource, merge_id: int, source_id: str
) -> list[str]:
    """List the ids of some records that name a merged source, and can name its survivor."""
    query = render(
        _composed(resource, _NEXT),
        merge_id=merge_id,
        source_id=source_id,
        limit=MAX_RECORDS,
        most_bytes=MAX_BYTES,
    )
    return [row["id"] for row in await connection.fetch(*query)]


async def note_refusal(
    connection: Connection, resource: Resource, merge_id: int, identity: str
) -> None:
    """Note that a record, as it is, can't name the survivor of a merge."""
    query = render(_composed(resource, _REFUSED), merge_id=merge_id, id=identity)
    await connection.execute(*query)


async def lock_referrers(
    connection: Connection, resource: Resource, ids: Sequence[str]
) -> list[Referrer]:
    """Lock records, but for those that others have locked, and read what they name."""
    rows = await connection.fetch(*render(_composed(resource, _LOCK), ids=ids))
    return [
        Referrer(row["id"], row["deleted"], msgspec.json.decode(row["content"])) for row in rows
    ]


async def write_referrers(
    connection: Connection, resource: Resource, contents: Mapping[str, Content]
) -> None:
    """Write what records name, in the name of the service."""
    if contents:
        rows: list[dict[str, Any]] = [{"id": each, **new} for each, new in contents.items()]
        encoded = msgspec.json.encode(rows).decode()
        await connection.execute(*render(_composed(resource, _WRITE), rows=encoded))


@cache
def _composed(resource: Resource, statement: str) -> str:
    columns: Columns = columns_of(resource)
    kinds = dict(resource.table.columns)
    pieces = {
        "type": resource.type,
        "table": resource.table.name,
        "actor_columns": ACTOR_COLUMNS,
        "properties": ", ".join(f"'{name}', t.{name}" for name in columns),
        "size": " + ".join(
            f"octet_length(t.{name}::text)" for name, items in columns.items() if items
        )
        or "0",
        "columns": ", ".join(columns),
        "values": ", ".join(f"r.{name}" for name in columns),
        "definitions": ", ".join(f"{name} {kinds[name]}" for name in columns),
    }
    return compose(statement, **pieces)
