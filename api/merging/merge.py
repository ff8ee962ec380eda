"""Merge: mark a source as merged into another one, and move its names, external ids, identities.

It is one small transaction, and takes effect at once: from then on the merged source's id means its
survivor, in requests and in what is stored. That records name the survivor follows afterwards.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api.core.caller import Caller
from api.core.db import Connection
from api.core.request import Author
from api.core.sql import ACTOR, ACTOR_COLUMNS, compose, plural, render
from api.merging.carried import MOST, Lists, with_added
from api.merging.pair import Pair
from api.merging.references import SYMMETRIC, columns_of, follow
from api.records.nouns import RESOURCES
from api.records.sources import SOURCES
from schemas.base import ExternalId
from schemas.merges import (
    MAX_LISTED,
    MAX_REFERRERS,
    FollowedReference,
    ReferrerCounts,
    SourceMergeOutcome,
)
from schemas.sources import Name
from schemas.vocabularies import RecordType

# The external ids of the merged source go first, so that the survivor can have them.
_MARK: Final = compose(
    """
    UPDATE sources SET (merged_into_id, external_ids, {columns})
        = ROW(:survivor_id::uuid, '[]'::json, {actor})
    WHERE id = :source_id::uuid""",
    columns=ACTOR_COLUMNS,
    actor=ACTOR,
)
_ENRICH: Final = compose(
    """
    UPDATE sources SET (names, external_ids, {columns})
        = ROW(:names::text::json, :external_ids::text::json, {actor})
    WHERE id = :id::uuid
    RETURNING version""",
    columns=ACTOR_COLUMNS,
    actor=ACTOR,
)
_NOTE: Final = """
    INSERT INTO source_merges (source_id, survivor_id, state, before, added)
    VALUES (
        :source_id::uuid, :survivor_id::uuid, 'repointing', :before::text::json,
        :added::text::json
    )
    RETURNING id"""
# An identity that the survivor has already, or that is the survivor, stays with the merged source,
# where nobody finds it until an unmerge.
_MOVE_IDENTITIES: Final = """
    WITH moved AS (
        UPDATE source_identities AS i SET {column} = :survivor_id::uuid
        WHERE i.{column} = :source_id::uuid AND i.{other} <> :survivor_id::uuid
            AND NOT EXISTS (
                SELECT FROM source_identities AS o
                WHERE o.{column} = :survivor_id::uuid AND o.{other} = i.{other}
            )
        RETURNING i.id
    ), noted AS (
        INSERT INTO source_merge_identities (merge_id, identity_id, moved)
        SELECT :merge_id::bigint, m.id, '{column}' FROM moved AS m
    )
    SELECT audited(:actor::text[], 'identity', m.id::text, 'updated') FROM moved AS m"""
_COUNT: Final = """
    SELECT count(*) FROM (
        SELECT DISTINCT l.owner_id FROM links AS l
        JOIN {table} AS t ON t.id = l.owner_id AND :sees({type}, t)
        WHERE l.source_id = :source_id::uuid AND l.owner_type = '{type}'
            AND l.link <> 'merged_into'
        LIMIT {most}
    ) AS counted"""
# Items of lists in which a source stands once; those of chains may stand there twice.
_COINCIDING: Final = """
    SELECT t.id::text, json_build_object({properties})::text AS content,
           ARRAY(
               SELECT k.label FROM links AS k
               WHERE k.owner_id = :survivor_id::uuid AND k.owner_type = 'source'
                   AND k.link = 'relation' AND k.source_id = t.id
                   AND k.label = ANY(:labels::text[])
           ) AS stated
    FROM {table} AS t
    WHERE t.deleted_at IS NULL AND :sees({type}, t) AND t.id IN (
        SELECT l.owner_id FROM links AS l
        WHERE l.source_id = :source_id::uuid AND l.owner_type = '{type}'
            AND (
                l.owner_id = :survivor_id::uuid
                OR l.link IN ('party', 'credit', 'member', 'relation') AND EXISTS (
                    SELECT FROM links AS k
                    WHERE k.owner_id = l.owner_id AND k.owner_type = l.owner_type
                        AND k.link = l.link AND k.label = l.label
                        AND k.source_id = :survivor_id::uuid
                )
                OR l.owner_type = 'source' AND l.link = 'relation' AND EXISTS (
                    SELECT FROM links AS k
                    WHERE k.owner_id = :survivor_id::uuid AND k.owner_type = 'source'
                        AND k.link = 'relation' AND k.label = l.label AND k.source_id = l.owner_id
                )
            )
    )
    ORDER BY t.id
    LIMIT {most}"""
KEPT: Final = ("name", *MOST, *columns_of(SOURCES))
"""The columns of a merged source that are kept with the merge, to undo it."""


async def write_merge(connection: Connection, author: Author, pair: Pair) -> int:
    """Merge two sources, in a transaction of the caller's; give the survivor's version."""
    survivor, other = pair.survivor, pair.other
    ids = {"source_id": other.id, "survivor_id": survivor.id}
    before = {name: other.record[name] for name in KEPT}
    merge_id = await connection.fetchval(
        *render(_NOTE, **ids, before=_encoded(before), added=_encoded(pair.added))
    )
    await connection.execute(*render(_MARK, **ids, actor=author.actor))
    for column, opposite in (("source_id", "identity_id"), ("identity_id", "source_id")):
        move = compose(_MOVE_IDENTITIES, column=column, other=opposite)
        await connection.execute(*render(move, **ids, merge_id=merge_id, actor=author.actor))
    version = await write_lists(
        connection, author, survivor.id, with_added(survivor.lists, pair.added)
    )
    return survivor.version if version is None else version


async def write_lists(
    connection: Connection, author: Author, identity: str, lists: Lists
) -> int | None:
    """Write the names and external ids of a source; give its version, null if nothing changed."""
    values = {name: _encoded(lists[name]) for name in MOST}
    version: int | None = await connection.fetchval(
        *render(_ENRICH, id=identity, actor=author.actor, **values)
    )
    return version


def _encoded(value: Any) -> str:  # noqa: ANN401 - JSON
    return msgspec.json.encode(value).decode()


async def outcome(
    connection: Connection, asker: Caller, pair: Pair, version: int, *, dry_run: bool
) -> SourceMergeOutcome:
    """Tell what a merge does, as far as the caller sees the records that it changes."""
    counts = {}
    for record_type in RecordType:
        table = plural(record_type)
        statement = compose(_COUNT, table=table, type=record_type, most=f"{MAX_REFERRERS}")
        counts[table] = await connection.fetchval(
            *render(statement, asker, source_id=pair.other.id)
        )
    return SourceMergeOutcome(
        source_id=pair.other.id,
        survivor_id=pair.survivor.id,
        dry_run=dry_run,
        version=version,
        names=msgspec.convert(pair.added["names"], list[Name]),
        external_ids=msgspec.convert(pair.added["external_ids"], list[ExternalId]),
        referrers=ReferrerCounts(**counts),
        dropped=await _dropped(connection, asker, pair),
    )


async def _dropped(connection: Connection, asker: Caller, pair: Pair) -> list[FollowedReference]:
    """List references that will be dropped, of records that the caller sees."""
    dropped: list[FollowedReference] = []
    labels = [each.value for each in SYMMETRIC]
    ids = {"source_id": pair.other.id, "survivor_id": pair.survivor.id}
    for resource in RESOURCES.values():
        columns = columns_of(resource)
        statement = compose(
            _COINCIDING,
            properties=", ".join(f"'{name}', t.{name}" for name in columns),
            table=resource.table.name,
            type=resource.type,
            most=f"{MAX_LISTED}",
        )
        for row in await connection.fetch(*render(statement, asker, labels=labels, **ids)):
            own = row["id"] if resource.type is RecordType.SOURCE else ""
            _, followed = follow(
                msgspec.json.decode(row["content"]),
                columns,
                own,
                pair.other.id,
                pair.survivor.id,
                {(own, label) for label in row["stated"]},
            )
            dropped += [
                FollowedReference(type=resource.type, id=row["id"], pointer=each.path)
                for each in followed
                if each.dropped
            ]
    return dropped[:MAX_LISTED]
