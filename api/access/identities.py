"""The identities of anonymous sources, which are stored apart because few may read them."""

from __future__ import annotations

import re
from typing import Final

import asyncpg
from litestar import delete, get, post

from api.core.bodies import read_keyed_part
from api.core.db import Connection
from api.core.errors import (
    NOT_FOUND,
    NOT_UNIQUE,
    SOURCE_MERGED,
    UNKNOWN_REFERENCE,
    Problem,
    contended,
    invalid_record,
)
from api.core.filters import Parameter, read_query
from api.core.idempotency import once, refuse_idempotency_key
from api.core.listing import list_rows
from api.core.operation import Link, Operation
from api.core.request import (
    Answer,
    NoContent,
    Request,
    author,
    caller,
    context,
    encoded,
    new_id,
    record_id,
)
from api.core.resource import CURSOR, LIMIT
from api.core.sql import ACTOR, compose, render
from schemas.base import Fault
from schemas.examples import KEY_ID, OFFICIAL_ID, PENTAGON_ID
from schemas.keys import SourceIdentity, SourceIdentityCreate, SourceIdentityPage
from schemas.pages import only_page
from schemas.scalars import UUID_PATTERN, Id, Instant
from schemas.vocabularies import Scope

_READ: Final = (Scope.CONFIDENTIAL_READ,)
_WRITE: Final = (Scope.CONFIDENTIAL_READ, Scope.SOURCES_WRITE)

_COLUMNS: Final = "id, source_id, identity_id, basis, disclosed_at, note, created_at, created_by"
# The last row only tells that another page follows, and is not shown.
_LIST: Final = compose(
    """
    WITH page AS (
        SELECT {columns}, row_number() OVER (ORDER BY created_at DESC, id DESC) AS place
        FROM source_identities
        WHERE source_id = :source_id AND (
            :after_created_at::text IS NULL
            OR (created_at, id) < (:after_created_at::text::timestamptz, :after_id::text::uuid)
        )
        ORDER BY created_at DESC, id DESC
        LIMIT :limit
    ), logged AS (
        INSERT INTO audit (key_id, scope, request_id, route, record_type, record_id, op)
        SELECT {actor}, 'identity', id::text, 'read' FROM page WHERE place < :limit
    )
    SELECT {columns} FROM page ORDER BY place""",
    columns=_COLUMNS,
    actor=ACTOR,
)
_GET: Final = compose(
    """
    SELECT {columns}, audited(:actor::text[], 'identity', id::text, 'read')
    FROM source_identities
    WHERE source_id = :source_id AND identity_id = survivor_of(:identity_id::uuid)""",
    columns=_COLUMNS,
)
_SOURCE: Final = """
    SELECT t.id FROM sources AS t
    WHERE t.id = :id::uuid AND t.deleted_at IS NULL AND t.merged_into_id IS NULL
        AND :sees(source, t)"""
_MEANT: Final = "SELECT survivor_of(:id::uuid)::text"
# The locks keep both sources from being merged before the identity is stored.
_LOCK: Final = """
    SELECT t.id::text, t.merged_into_id IS NOT NULL AS merged, t.deleted_at IS NOT NULL AS deleted
    FROM sources AS t
    WHERE t.id = ANY(:ids::uuid[]) AND :sees(source, t)
    ORDER BY t.id
    FOR SHARE OF t"""
# The audit log names the identity by its own id, which tells nothing about the source.
_CREATE: Final = compose(
    """
    INSERT INTO source_identities (
        id, source_id, identity_id, basis, disclosed_at, note, created_by
    )
    VALUES (
        :id, :source_id, :identity_id, :basis, :disclosed_at::text::timestamptz, :note,
        (:actor::text[])[1]
    )
    RETURNING {columns}, audited(:actor::text[], 'identity', id::text, 'created')""",
    columns=_COLUMNS,
)
_DELETE: Final = """
    DELETE FROM source_identities
    WHERE source_id = :source_id AND identity_id = survivor_of(:identity_id::uuid)
    RETURNING audited(:actor::text[], 'identity', id::text, 'deleted')"""

_ID: Final = Parameter("id", Id, "The source's id.", example=OFFICIAL_ID)
_IDENTITY_ID: Final = Parameter(
    "identity_id", Id, "The source that the anonymous source turned out to be.", example=PENTAGON_ID
)
_EXAMPLE: Final = SourceIdentity(
    id="01938f7a-4c00-7000-8000-00000000000b",
    source_id=OFFICIAL_ID,
    identity_id=PENTAGON_ID,
    basis="The Pentagon said later that the official had spoken for it.",
    disclosed_at="2024-12-19T10:00:00Z",
    note=None,
    created_at="2024-12-19T10:00:00.250000Z",
    created_by=KEY_ID,
)

LIST_IDENTITIES = Operation(
    tag="identities",
    description="Lists the identities of an anonymous source: the sources that it turned out to "
    "be, newest first. No other operation shows them. The audit log records each "
    "identity that is read.",
    path_parameters=(_ID,),
    parameters=(LIMIT, CURSOR),
    success="A page of the source's identities.",
    answer=(SourceIdentityPage,),
    headers=("Link",),
    example=only_page(SourceIdentityPage, _EXAMPLE),
)
CREATE_IDENTITY = Operation(
    tag="identities",
    description="Stores the identity of an anonymous source, which is another source.",
    path_parameters=(_ID,),
    header_parameters=("IdempotencyKey",),
    body=SourceIdentityCreate,
    body_example=SourceIdentityCreate(
        identity_id=_EXAMPLE.identity_id,
        basis=_EXAMPLE.basis,
        disclosed_at=_EXAMPLE.disclosed_at,
    ),
    success="The identity, as it was stored.",
    answer=(SourceIdentity,),
    example=_EXAMPLE,
    headers=("Location", "Idempotency-Replayed"),
    links=(
        Link(
            "getSourceIdentity",
            {"id": "$response.body#/source_id", "identity_id": "$response.body#/identity_id"},
            "The ids of both sources.",
        ),
    ),
    refusals=(NOT_UNIQUE, SOURCE_MERGED, UNKNOWN_REFERENCE),
)
GET_IDENTITY = Operation(
    tag="identities",
    description="Gets one identity of an anonymous source, and how it is known. The audit log "
    "records that it was read.",
    path_parameters=(_ID, _IDENTITY_ID),
    success="The identity of the source.",
    answer=(SourceIdentity,),
    example=_EXAMPLE,
)
DELETE_IDENTITY = Operation(
    tag="identities",
    description="Deletes an identity of an anonymous source.",
    path_parameters=(_ID, _IDENTITY_ID),
    success="The identity is deleted.",
)


@get(
    "/v1/sources/{id:str}/identities",
    operation_id="listSourceIdentities",
    opt={"operation": LIST_IDENTITIES, "scopes": _READ},
)
async def list_source_identities(request: Request) -> Answer:
    """List the identities of a source."""
    source = record_id(request)
    async with context(request).database.connection() as connection:
        await _require_source(connection, request, source)
    key = (("created_at", Instant), ("id", Id))
    actor = author(request).actor
    return await list_rows(
        request, f"identities {source}", _LIST, key, source_id=source, actor=actor
    )


@post(
    "/v1/sources/{id:str}/identities",
    operation_id="createSourceIdentity",
    opt={"operation": CREATE_IDENTITY, "scopes": _WRITE},
)
async def create_source_identity(request: Request) -> Answer:
    """Store an identity of a source."""
    source = record_id(request)
    sent, body = await read_keyed_part(request, SourceIdentityCreate)

    async def work(connection: Connection) -> Answer:
        async with connection.transaction():
            identity_id = await _lock_sources(connection, request, source, sent.identity_id)
            row = await _insert(connection, request, source, identity_id, sent)
        identity = {name: row[name] for name in SourceIdentity.__struct_fields__}
        path = f"/v1/sources/{source}/identities/{identity_id}"
        return Answer(encoded(identity), 201, headers={"location": path})

    return await once(request, body, work)


async def _lock_sources(
    connection: Connection, request: Request, source: str, identity_id: str
) -> str:
    """Lock a source and its identity (or that one's survivor); give the id of the identity."""
    meant = await connection.fetchval(*render(_MEANT, id=identity_id))
    query = render(_LOCK, caller(request), ids=[source, meant])
    rows = {row["id"]: row for row in await connection.fetch(*query)}
    own, other = rows.get(source), rows.get(meant)
    if own is not None and own["merged"]:
        raise Problem(SOURCE_MERGED)
    if own is None or own["deleted"]:
        raise Problem(NOT_FOUND, "No record has this id.")
    if meant == source:
        fault = Fault(
            ("identity_id",),
            "self-reference",
            "A source can't be its own identity; name another source.",
        )
        raise invalid_record([fault])
    if other is None or other["deleted"]:
        detail = f"There is no source {identity_id}."
        raise invalid_record([Fault(("identity_id",), "unknown-reference", detail)])
    if other["merged"]:  # just now
        raise contended()
    return str(meant)


async def _insert(
    connection: Connection,
    request: Request,
    source: str,
    identity_id: str,
    sent: SourceIdentityCreate,
) -> asyncpg.Record:
    try:
        row = await connection.fetchrow(
            *render(
                _CREATE,
                id=new_id(),
                source_id=source,
                identity_id=identity_id,
                basis=sent.basis,
                disclosed_at=sent.disclosed_at,
                note=sent.note,
                actor=author(request).actor,
            )
        )
    except asyncpg.UniqueViolationError:
        raise Problem(NOT_UNIQUE, "This identity of the source exists already.") from None
    assert row is not None  # noqa: S101 - for the type checker
    return row


@get(
    "/v1/sources/{id:str}/identities/{identity_id:str}",
    operation_id="getSourceIdentity",
    opt={"operation": GET_IDENTITY, "scopes": _READ},
)
async def get_source_identity(request: Request) -> Answer:
    """Get an identity of a source."""
    source = record_id(request)
    read_query(request.scope["query_string"], {})
    async with context(request).database.connection() as connection:
        await _require_source(connection, request, source)
        row = await _pick(connection, _GET, request, source, actor=author(request).actor)
    return Answer(encoded({name: row[name] for name in SourceIdentity.__struct_fields__}))


@delete(
    "/v1/sources/{id:str}/identities/{identity_id:str}",
    operation_id="deleteSourceIdentity",
    opt={"operation": DELETE_IDENTITY, "scopes": _WRITE},
)
async def delete_source_identity(request: Request) -> NoContent:
    """Delete an identity of a source."""
    source = record_id(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    async with context(request).database.connection() as connection:
        await _require_source(connection, request, source)
        await _pick(connection, _DELETE, request, source, actor=author(request).actor)
    return Answer(status=204)


async def _pick(
    connection: Connection, statement: str, request: Request, source: str, **more: object
) -> asyncpg.Record:
    """Run a statement on the identity that the path names; 404 if there is none."""
    identity: str = request.path_params["identity_id"]
    row = None
    if re.match(UUID_PATTERN, identity):
        query = render(statement, source_id=source, identity_id=identity, **more)
        row = await connection.fetchrow(*query)
    if row is None:
        raise Problem(NOT_FOUND, "The source does not have this identity.")
    return row


async def _require_source(connection: Connection, request: Request, identity: str) -> None:
    if not await _sees(connection, request, identity):
        raise Problem(NOT_FOUND, "No record has this id.")


async def _sees(connection: Connection, request: Request, identity: str) -> bool:
    """Tell whether a source exists for the caller."""
    query = render(_SOURCE, caller(request), id=identity)
    return await connection.fetchrow(*query) is not None


identity_handlers = [
    list_source_identities,
    create_source_identity,
    get_source_identity,
    delete_source_identity,
]
