"""A record's history: its revisions, as a list and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api.core import cursor
from api.core.db import Row
from api.core.errors import NOT_FOUND, Problem
from api.core.filters import read_query
from api.core.listing import link_next, page_body
from api.core.reading import MAX_RECORD_BYTES
from api.core.request import (
    Answer,
    Request,
    caller,
    context,
    encoded,
    record_id,
    reserve_room,
)
from api.core.resource import CURSOR, DEFAULT_LIMIT, LIMIT, MAX_PAGE_BYTES, Resource
from api.core.sql import render
from schemas.scalars import Version

_PARAMETERS: Final = {"limit": LIMIT, "cursor": CURSOR}
_NEWEST: Final = 2**31 - 1

# Newest first. The first document always comes, and the others as long as they fit on the page;
# 2,000 bytes are what is said about a revision beside its document. A revision exists for a caller
# who sees the record now and could see it then. Its `changed` compares its document with the last
# earlier one that the caller could see.
_REVISIONS: Final = """
    SELECT r.version, r.op, r.at, r.actor, r.fits, r.doc, coalesce(
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
    FROM (
        SELECT s.version, s.op, s.at, s.actor, s.fits, CASE WHEN s.fits THEN s.doc END AS doc
        FROM (
            SELECT a.*, a.number = 1 OR :most_bytes::bigint >= sum(a.size) OVER (
                ORDER BY a.number ROWS UNBOUNDED PRECEDING
            ) AS fits
            FROM (
                SELECT r.version, r.op, r.at, r.actor, r.doc,
                       row_number() OVER (ORDER BY r.version DESC) AS number,
                       coalesce(octet_length(r.doc), 0) + 2000 AS size
                FROM {table} AS t
                JOIN revisions AS r ON r.record_type = '{type}' AND r.record_id = t.id
                WHERE t.id = :id AND :sees({type}, t) AND r.version < :below AND :saw({type}, r)
                ORDER BY r.version DESC
                LIMIT :limit
            ) AS a
        ) AS s
    ) AS r
    LEFT JOIN LATERAL (
        SELECT p.doc FROM revisions AS p
        WHERE p.record_type = '{type}' AND p.record_id = :id
            AND p.version < r.version AND p.doc IS NOT NULL AND :saw({type}, p)
        ORDER BY p.version DESC
        LIMIT 1
    ) AS was ON r.doc IS NOT NULL
    ORDER BY r.version DESC"""


async def list_revisions(resource: Resource, request: Request) -> Answer:
    """Answer with a page of a record's revisions, newest first."""
    identity = record_id(request)
    given = read_query(request.scope["query_string"], _PARAMETERS)
    limit = given.get("limit", DEFAULT_LIMIT)
    of_list = cursor.fingerprint(resource.plural, identity, "revisions")
    below = _NEWEST
    if "cursor" in given:
        (below,) = cursor.read(given["cursor"], of_list, tuple[Version])
    room = await reserve_room(request, MAX_PAGE_BYTES)
    rows = await _revisions(request, resource, identity, below, limit + 1)
    if not rows and "cursor" not in given:
        raise Problem(NOT_FOUND, "No record has this id.")
    items = [row for row in rows[:limit] if row["fits"]]
    next_cursor = None
    if len(rows) > len(items):
        next_cursor = cursor.write(of_list, [items[-1]["version"]])
    body = page_body([_revision(row) for row in items], next_cursor)
    room.keep(len(body))
    return Answer(body, headers=link_next(request, next_cursor))


async def get_revision(resource: Resource, request: Request) -> Answer:
    """Answer with one revision of a record."""
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    number: str = request.path_params["version"]
    if not (number.isascii() and number.isdigit() and 0 < len(number) < 10) or number[0] == "0":  # noqa: PLR2004
        raise Problem(NOT_FOUND, "A version is a whole number from 1.")
    version = int(number)
    room = await reserve_room(request, MAX_RECORD_BYTES) if resource.large else None
    rows = await _revisions(request, resource, identity, version + 1, 1)
    if not rows or rows[0]["version"] != version:
        raise Problem(NOT_FOUND, "The record has no such version.")
    body = _revision(rows[0])
    if room is not None:
        room.keep(len(body))
    return Answer(body)


async def _revisions(
    request: Request, resource: Resource, identity: str, below: int, limit: int
) -> Sequence[Row]:
    """Read the newest revisions below a version."""
    statement = resource.table.compose(_REVISIONS)
    query = render(
        statement,
        caller(request),
        id=identity,
        below=below,
        limit=limit,
        most_bytes=MAX_PAGE_BYTES,
    )
    return await context(request).database.fetch(*query)


def _revision(row: Row) -> bytes:
    """Write a revision as JSON; `record` is the record as it was then, or null if deleted."""
    properties = {name: row[name] for name in ("version", "op", "at", "actor", "changed")}
    return encoded(properties)[:-1] + b',"record":' + (row["doc"] or b"null") + b"}"
