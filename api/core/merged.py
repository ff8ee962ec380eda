"""Merged sources: find the survivor to which a merged source leads, and refuse writes to it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from api.core.caller import Caller
from api.core.db import Database
from api.core.errors import NOT_FOUND, SOURCE_MERGED, Problem
from api.core.request import NO_STORE, Answer
from api.core.resource import Resource
from api.core.sql import render

# The quotes of a text are escaped, so these bytes can't be a part of one.
_NOT_MERGED: Final = b'"merged_into_id":null'
_SURVIVOR: Final = """
    SELECT s.id::text AS id FROM sources AS s
    WHERE s.id = survivor_of(:id::uuid) AND :sees(source, s)"""
# Behind the revision of the merge come those of the deletion, which have no document.
_SURVIVOR_THEN: Final = """
    SELECT past.survivor_id::text, s.id::text AS id
    FROM (
        SELECT (convert_from(r.doc, 'UTF8')::json ->> 'merged_into_id')::uuid AS survivor_id
        FROM revisions AS r
        WHERE r.record_type = 'source' AND r.record_id = :id::uuid AND r.doc IS NOT NULL
            AND r.version <= :version::integer
        ORDER BY r.version DESC
        LIMIT 1
    ) AS past
    LEFT JOIN sources AS s ON s.id = past.survivor_id AND :sees(source, s)"""


def is_merged(resource: Resource, doc: bytes | None) -> bool:
    """Tell whether a stored record is merged into another one."""
    return resource.merges and doc is not None and _NOT_MERGED not in doc


def refuse_merged(resource: Resource, doc: bytes) -> None:
    """Refuse a write to a merged record."""
    if is_merged(resource, doc):
        raise Problem(SOURCE_MERGED)


async def lead_to_survivor(database: Database, asker: Caller, identity: str) -> Answer:
    """Answer for a merged source: with its survivor's path, if the caller sees that one."""
    row = await database.fetchrow(*render(_SURVIVOR, asker, id=identity))
    return _lead_to(None if row is None else row["id"])


async def lead_to_survivor_then(
    database: Database, asker: Caller, identity: str, version: int, as_of: str
) -> Answer | None:
    """Do the same for the time of a version; null if the source was not merged then."""
    row = await database.fetchrow(*render(_SURVIVOR_THEN, asker, id=identity, version=version))
    if row is None or row["survivor_id"] is None:
        return None
    return _lead_to(row["id"], f"?as_of={quote(as_of)}")


def _lead_to(survivor: str | None, query: str = "") -> Answer:
    if survivor is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    return Answer(status=308, headers={**NO_STORE, "location": f"/v1/sources/{survivor}{query}"})
