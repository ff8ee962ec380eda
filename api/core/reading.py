"""Reading one record: by its id, by an external id, or as it was at an instant.

A record is answered with the bytes of `doc` as Postgres holds them; they are never rebuilt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from api.core.db import Row
from api.core.errors import GONE, NOT_FOUND, Problem, invalid_parameter
from api.core.filters import read_query
from api.core.merged import is_merged, lead_to_survivor, lead_to_survivor_then
from api.core.request import Answer, Request, caller, context, record_id, reserve_room
from api.core.resource import NAMESPACE, VALUE, Resource
from api.core.sql import render, rendered
from api.core.versions import etag, not_modified, preconditions, record_answer

_VARY: Final = {"vary": "Accept"}
"""Records have several forms, and browsers are led to a page about them (`api/site/people.py`)."""
MAX_RECORD_BYTES: Final = 4 * 1024**2
"""About how many bytes the largest record has."""
GET: Final = """
    SELECT t.id::text AS name, t.doc, t.version, t.deleted_at IS NOT NULL AS deleted
    FROM {table} AS t
    WHERE t.id = ANY(:ids::uuid[]) AND :sees({type}, t)"""

_GET_BY_EXTERNAL_ID: Final = """
    SELECT t.id, t.doc, t.version, t.deleted_at IS NOT NULL AS deleted
    FROM external_ids AS e JOIN {table} AS t ON t.id = e.record_id
    WHERE e.record_type = '{type}' AND e.namespace = :namespace AND e.value = :value
        AND :sees({type}, t)"""

# The caller must see the record as it is now, and must have been able to see it then.
_GET_AS_OF: Final = """
    SELECT r.doc, r.version, r.doc IS NULL AS deleted
    FROM {table} AS t
    CROSS JOIN LATERAL (
        SELECT p.* FROM revisions AS p
        WHERE p.record_type = '{type}' AND p.record_id = t.id
            AND p.at <= :as_of::text::timestamptz
        ORDER BY p.version DESC
        LIMIT 1
    ) AS r
    WHERE t.id = :id AND :sees({type}, t) AND :saw({type}, r)"""


class Form(NamedTuple):
    """Another form of a record than its document: a media type, and what writes it.

    Only the document has an ETag: other forms name other records, which change by themselves.
    """

    media_type: str
    write: Callable[[Request, bytes], Awaitable[bytes]]


async def get(
    resource: Resource, request: Request, given: Mapping[str, Any], form: Form | None = None
) -> Answer:
    """Answer with a record, as it is or as it was `as_of` an instant; null means as JSON."""
    identity = record_id(request)
    asker, service = caller(request), context(request)
    room = await reserve_room(request, MAX_RECORD_BYTES) if resource.large else None
    if "as_of" in given:
        statement = resource.table.compose(_GET_AS_OF)
        query = render(statement, asker, id=identity, as_of=given["as_of"])
        row = await service.database.fetchrow(*query)
        if row is None:
            raise Problem(NOT_FOUND, "No record had this id at that time.")
        if resource.merges and (row["deleted"] or is_merged(resource, row["doc"])):
            then = await lead_to_survivor_then(
                service.database, asker, identity, row["version"], given["as_of"]
            )
            if then is not None:
                return then
    else:
        text = rendered(resource.table.compose(GET), asker).text
        row = await service.reads.read(text, identity)
        if row is not None and is_merged(resource, row["doc"]):
            return await lead_to_survivor(service.database, asker, identity)
    if form is not None:
        preconditions(request)  # what can't be read is refused; there is no ETag to compare
        _, document = _document(identity, row)
        written = await form.write(request, document)
        answer = Answer(written, media_type=form.media_type, headers=_VARY)
    else:
        answer = _answer(request, identity, row, _VARY)
    if room is not None:
        room.keep(len(answer.body))
    return answer


async def get_by_external_id(resource: Resource, request: Request) -> Answer:
    """Answer with the record that has an external id."""
    namespace, value = external_id(request)
    statement = resource.table.compose(_GET_BY_EXTERNAL_ID)
    query = render(statement, caller(request), namespace=namespace, value=value)
    room = await reserve_room(request, MAX_RECORD_BYTES) if resource.large else None
    row = await context(request).database.fetchrow(*query)
    headers = {"content-location": f"{resource.path}/{row['id']}"} if row else {}
    answer = _answer(request, str(row["id"]) if row else "", row, headers)
    if room is not None:
        room.keep(len(answer.body))
    return answer


def external_id(request: Request) -> tuple[str, str]:
    """Read the external id in the query string: its namespace and its value."""
    given = read_query(request.scope["query_string"], {"namespace": NAMESPACE, "value": VALUE})
    for name in ("namespace", "value"):
        if name not in given:
            raise invalid_parameter(name, "It is required.")
    return given["namespace"], given["value"]


def gone(identity: str, version: int) -> Problem:
    """Report a deleted record, with the version and the ETag of its tombstone."""
    return Problem(GONE, headers={"etag": etag(identity, version)}, version=version)


def _answer(request: Request, identity: str, row: Row | None, headers: Mapping[str, str]) -> Answer:
    """Answer with a row's record, with 304 if the client has it, or with a problem."""
    version, document = _document(identity, row)
    if not_modified(request, tag := etag(identity, version)):
        return Answer(status=304, headers={"etag": tag, **headers})
    return record_answer(identity, version, document, headers=headers)


def _document(identity: str, row: Row | None) -> tuple[int, bytes]:
    """Give the version and the document of a row; a problem if there is none, or none any more."""
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    if row["deleted"]:
        raise gone(identity, row["version"])
    return row["version"], row["doc"]
