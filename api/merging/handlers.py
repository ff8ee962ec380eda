"""The operations that merge sources, undo that, and tell how far it is."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
from litestar import get, post

from api.core import cursor
from api.core.bodies import read_keyed_part
from api.core.caller import WRITE, Caller
from api.core.db import Connection, Row
from api.core.errors import (
    GONE,
    MERGE_REFUSED,
    NOT_FOUND,
    NOT_MERGED,
    NOT_UNIQUE,
    PRECONDITION_FAILED,
    SOURCE_MERGED,
    UNKNOWN_REFERENCE,
    Problem,
)
from api.core.filters import Parameter, read_query
from api.core.idempotency import idempotency_key, once
from api.core.listing import fitting_items, link_next, page_body
from api.core.operation import Operation
from api.core.request import Answer, Request, author, caller, context, encoded, record_id
from api.core.resource import CURSOR, DEFAULT_LIMIT, LIMIT
from api.core.sql import compose, plural, render
from api.core.versions import required_match
from api.merging.merge import outcome, write_merge
from api.merging.pair import lock_pair
from api.merging.unmerge import write_unmerge
from api.records.sources import SOURCES
from schemas.examples import PENTAGON_ID, SOURCE_ID
from schemas.merges import (
    MAX_LISTED,
    MAX_REFERRERS,
    FollowedReference,
    ReferrerCounts,
    SourceMerge,
    SourceMergeCreate,
    SourceMergeOutcome,
    SourceMergePage,
)
from schemas.pages import only_page
from schemas.scalars import Id
from schemas.sources import Name
from schemas.vocabularies import MergeState, NameKind, RecordType

_SCOPES: Final = tuple(WRITE.values())
_DRY_RUN: Final = Parameter(
    "dry_run",
    bool,
    "Check everything and say what the merge would do, but merge nothing.",
    default=False,
)
_ID: Final = Parameter("id", Id, "The source's id.", example=SOURCE_ID)
_MERGED: Final = SourceMerge(
    source_id=PENTAGON_ID,
    survivor_id=SOURCE_ID,
    state=MergeState.REPOINTING,
    merged_at="2024-12-19T10:00:00Z",
    unmerged_at=None,
    remaining=1_200,
    changed=[],
)

MERGE: Final = Operation(
    tag="merges",
    description="Merges the source in the body into the source in the path, which is the survivor. "
    "At once, the merged source's id means the survivor: `GET` leads to the survivor (308), and "
    "filters and references that name the merged source mean the survivor. The merged source can't "
    "be changed any more (409). Its names and external ids move to the survivor; its other "
    "properties stay behind, and so do its own relations and members. Afterwards, the service "
    "changes all records that name the merged source, a few at a time, each with a revision by "
    "`system` and a change in the feed; `listSourceMerges` says how far it is. Send the survivor's "
    "ETag in `If-Match`.\n\nA merge is refused if the two differ in `confidentiality`, if one is "
    "`anonymous` or `described` and the other is not (store an identity instead; the sources that "
    "were merged into one of the two earlier count too), if a confirmed relation says that one is "
    "`distinct_from` the other, if the survivor is a part or a member of the other source, and if "
    "the survivor would have too many names or external ids. A key needs the scopes to write all "
    "four record types.",
    path_parameters=(_ID,),
    writes=SOURCES,
    parameters=(_DRY_RUN,),
    header_parameters=("IfMatch", "IdempotencyKey"),
    body=SourceMergeCreate,
    body_example=SourceMergeCreate(source_id=PENTAGON_ID),
    success="What the merge does, or would do.",
    answer=(SourceMergeOutcome,),
    headers=("Idempotency-Replayed",),
    example=SourceMergeOutcome(
        source_id=PENTAGON_ID,
        survivor_id=SOURCE_ID,
        dry_run=False,
        version=2,
        names=[Name(name="the Pentagon", kind=NameKind.ALIAS)],
        external_ids=[],
        referrers=ReferrerCounts(articles=0, claims=1_200, denials=3, sources=1),
        dropped=[],
    ),
    refusals=(SOURCE_MERGED, MERGE_REFUSED, PRECONDITION_FAILED, GONE, UNKNOWN_REFERENCE),
)
UNMERGE: Final = Operation(
    tag="merges",
    description="Undoes the merge of the source in the path, which is the merged source. It "
    "becomes what it was before, and the survivor loses the names and external ids that it got. "
    "Afterwards, the service changes the records that named the merged source, so that they name "
    "it again. A reference that somebody has changed since the merge stays as it is. The merged "
    "source itself does not get back a reference to a record that is deleted, or that leads back "
    "to it by now. `listSourceMerges` names all references that did not go back. Merges can be "
    "undone in any order. A key needs the scopes to write all four record types.",
    path_parameters=(Parameter("id", Id, "The merged source's id.", example=PENTAGON_ID),),
    header_parameters=("IdempotencyKey",),
    success="The merge, which is being undone.",
    answer=(SourceMerge,),
    headers=("Idempotency-Replayed",),
    example=msgspec.structs.replace(
        _MERGED, state=MergeState.RESTORING, unmerged_at="2024-12-20T10:00:00Z"
    ),
    refusals=(NOT_MERGED, NOT_UNIQUE),
)
LIST_MERGES: Final = Operation(
    tag="merges",
    description="Lists the merges of a source into other sources, and of other sources into it, "
    "newest first, and says how far each merge is. Merges with sources that you don't see are left "
    "out.",
    path_parameters=(_ID,),
    parameters=(LIMIT, CURSOR),
    success="A page of the source's merges.",
    answer=(SourceMergePage,),
    headers=("Link",),
    example=only_page(SourceMergePage, _MERGED),
)

_SEEN: Final = "SELECT FROM sources AS t WHERE t.id = :id::uuid AND :sees(source, t)"
_MERGES: Final = """
    SELECT m.id, m.source_id::text, m.survivor_id::text, m.state, m.merged_at, m.unmerged_at,
           CASE m.state
               WHEN 'repointing' THEN (SELECT count(*) FROM ({named}
                   LIMIT {most}) AS counted)
               WHEN 'restoring' THEN (SELECT count(*) FROM ({standing}
                   LIMIT {most}) AS counted)
               ELSE 0
           END AS remaining,
           ARRAY(
               SELECT json_build_object('type', c.record_type, 'id', c.record_id,
                                        'pointer', c.at_path)::text
               FROM ({changed}
                   LIMIT {listed}) AS c
           ) AS changed
    FROM source_merges AS m
    JOIN sources AS s ON s.id = m.source_id AND :sees(source, s)
    JOIN sources AS v ON v.id = m.survivor_id AND :sees(source, v)
    WHERE {which}
    ORDER BY m.id DESC
    LIMIT :limit"""
_NAMED: Final = """
                   SELECT DISTINCT l.owner_id FROM links AS l
                   JOIN {table} AS t ON t.id = l.owner_id AND :sees({type}, t)
                   WHERE l.source_id = m.source_id AND l.owner_type = '{type}'
                       AND l.link <> 'merged_into'"""
_LOGGED: Final = """
                   SELECT {columns} FROM source_merge_references AS r
                   JOIN {table} AS t ON t.id = r.record_id AND :sees({type}, t)
                   WHERE r.merge_id = m.id AND r.record_type = '{type}' AND r.state = '{state}'"""

_REFUSED: Final = """
                   SELECT f.record_type, f.record_id, '' AS at_path
                   FROM source_merge_refusals AS f
                   JOIN {table} AS t
                       ON t.id = f.record_id AND t.version = f.version AND :sees({type}, t)
                   WHERE m.state = 'repointing' AND f.merge_id = m.id
                       AND f.record_type = '{type}'"""


@cache
def _statement(which: str) -> str:
    """Write the statement that reads merges, as far as a caller sees the records of each."""

    def of_all(text: str, **pieces: str) -> str:
        parts = (compose(text, table=plural(each), type=each, **pieces) for each in RecordType)
        return "\n                   UNION ALL".join(parts)

    return compose(
        _MERGES,
        named=of_all(_NAMED),
        standing=of_all(_LOGGED, columns="DISTINCT r.record_id", state="standing"),
        changed=of_all(_LOGGED, columns="r.record_type, r.record_id, r.at_path", state="changed")
        + "\n                   UNION ALL"
        + of_all(_REFUSED),
        which=which,
        most=f"{MAX_REFERRERS}",
        listed=f"{MAX_LISTED}",
    )


@post(
    "/v1/sources/{id:str}/merge",
    operation_id="mergeSource",
    opt={"operation": MERGE, "scopes": _SCOPES},
    status_code=200,
)
async def merge_source(request: Request) -> Answer:
    """Merge another source into this one."""
    survivor_id, expected = record_id(request), required_match(request)
    parameters = {_DRY_RUN.name: _DRY_RUN}
    sent, body = await read_keyed_part(request, SourceMergeCreate, parameters=parameters)
    dry_run = read_query(request.scope["query_string"], parameters).get("dry_run", False)
    writer = author(request)

    async def work(connection: Connection) -> Answer:
        async with connection.transaction():
            pair = await lock_pair(
                connection, writer.caller, survivor_id, expected, sent.source_id, sent.other_etag
            )
            version = pair.survivor.version
            if not dry_run:
                version = await write_merge(connection, writer, pair)
            told = await outcome(connection, writer.caller, pair, version, dry_run=dry_run)
        return Answer(encoded(told))

    return await once(request, body, work)


@post(
    "/v1/sources/{id:str}/unmerge",
    operation_id="unmergeSource",
    opt={"operation": UNMERGE, "scopes": _SCOPES},
    status_code=200,
)
async def unmerge_source(request: Request) -> Answer:
    """Undo the merge of a source."""
    idempotency_key(request)
    source_id = record_id(request)
    read_query(request.scope["query_string"], {})
    writer = author(request)

    async def work(connection: Connection) -> Answer:
        async with connection.transaction():
            merge_id = await write_unmerge(connection, writer, source_id)
            query = render(
                _statement("m.id = :merge_id"), writer.caller, merge_id=merge_id, limit=1
            )
            row = await connection.fetchrow(*query)
        assert row is not None  # noqa: S101 - the caller sees both sources
        return Answer(encoded(_merge(row)))

    return await once(request, b"", work)


@get(
    "/v1/sources/{id:str}/merges",
    operation_id="listSourceMerges",
    opt={"operation": LIST_MERGES, "reads": (RecordType.SOURCE,)},
)
async def list_source_merges(request: Request) -> Answer:
    """List the merges of a source."""
    identity = record_id(request)
    parameters = {each.name: each for each in (LIMIT, CURSOR)}
    given = read_query(request.scope["query_string"], parameters)
    limit, asker = given.get("limit", DEFAULT_LIMIT), caller(request)
    of_list = cursor.fingerprint("merges", identity)
    below = 2**53
    if "cursor" in given:
        (below,) = cursor.read(given["cursor"], of_list, tuple[int])
    async with context(request).database.connection() as connection:
        await _require_seen(connection, asker, identity)
        statement = _statement(":id::uuid IN (m.source_id, m.survivor_id) AND m.id < :below")
        query = render(statement, asker, id=identity, below=below, limit=limit + 1)
        rows = await connection.fetch(*query)
    items = fitting_items(encoded(_merge(row)) for row in rows[:limit])
    next_cursor = None
    if len(rows) > len(items):
        next_cursor = cursor.write(of_list, [rows[len(items) - 1]["id"]])
    return Answer(page_body(items, next_cursor), headers=link_next(request, next_cursor))


async def _require_seen(connection: Connection, asker: Caller, identity: str) -> None:
    if await connection.fetchrow(*render(_SEEN, asker, id=identity)) is None:
        raise Problem(NOT_FOUND, "No record has this id.")


def _merge(row: Row) -> dict[str, Any]:
    told = {name: row[name] for name in SourceMerge.__struct_fields__}
    told["changed"] = [msgspec.json.decode(each, type=FollowedReference) for each in row["changed"]]
    return told


merge_handlers: list[Any] = [merge_source, unmerge_source, list_source_merges]
