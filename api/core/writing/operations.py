"""Write records: create, replace, update, upsert, delete and restore one at a request.

Each operation reads its request and says what is to be written. A write that comes alone is carried
out by itself (`single.py`). Writes to the same type that come together, or while others are under
way, are carried out together (`joined.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import asyncpg
import msgspec

from api.core.db import Connection, Row
from api.core.errors import (
    NOT_DELETED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    PRECONDITION_REQUIRED,
    Problem,
    contended,
    invalid_record,
)
from api.core.filters import read_query
from api.core.idempotency import idempotency_key, once, refuse_idempotency_key
from api.core.large_input import work_on
from api.core.merged import refuse_merged
from api.core.reading import GET, external_id, gone
from api.core.request import (
    JSON,
    MERGE_PATCH,
    Answer,
    Author,
    Request,
    author,
    context,
    new_id,
    read_body,
    record_id,
    require_media_type,
)
from api.core.resource import Resource
from api.core.services import service
from api.core.sql import Query, render
from api.core.versions import Preconditions, etag, preconditions, record_answer, required_match
from api.core.writing.joined import Alone, JoinedWrites
from api.core.writing.look_up import Current, Found, look_up
from api.core.writing.patching import patched, read_patch
from api.core.writing.settle import (
    Draft,
    InvalidRecord,
    name_taken,
    read_draft,
    stored,
    unknown,
    with_external_id,
)
from api.core.writing.single import TRIES, Decision, Outcome, Write, write_record
from api.core.writing.store import (
    DELETE,
    RESTORE,
    is_external_id,
    still_referenced,
    store,
)
from schemas.base import Create
from schemas.vocabularies import RecordType
from schemas.walking import faults, references, with_references


async def _read_only_body(request: Request, resource: Resource, media_type: str) -> bytes:
    """Read the body of a request without parameters and Idempotency-Key."""
    refuse_idempotency_key(request)
    read_query(request.scope["query_string"], {})
    return await _read_record_body(request, resource, media_type)


async def _read_record_body(request: Request, resource: Resource, media_type: str) -> bytes:
    """Read a body that is a record, or a patch of one."""
    require_media_type(request, [media_type])
    settings = context(request).settings
    limit = settings.article_body_bytes if resource.large else settings.body_bytes
    return await read_body(request, limit)


async def _read_draft(
    request: Request, resource: Resource, body: bytes, names: Mapping[str, Any]
) -> Draft:
    """Read a record; refuse it with all its faults, unknown references among them."""
    try:
        return await work_on(len(body), read_draft, resource, body)
    except InvalidRecord as invalid:
        if not invalid.references:
            raise
        async with context(request).database.connection() as connection:
            more = invalid.references
            found = await look_up(connection, author(request), resource, [], more=more, **names)
        current = next(iter(found.current.values()), None)
        total = len(body) + found.size
        raise await work_on(total, invalid.completed, resource, current, found) from None


async def create(resource: Resource, request: Request) -> Answer:
    """Create a record, under an id that the server chooses."""
    keyed = idempotency_key(request) is not None  # a bad key is refused before the body is read
    read_query(request.scope["query_string"], {})
    body = await _read_record_body(request, resource, JSON)
    wanted = await _read_draft(request, resource, body, {})
    identity = new_id()

    def decide(_: Found) -> Decision:
        return identity, None, wanted

    write = Write(author(request), resource, decide, {}, wanted.record, len(body))
    if not keyed:
        return _answer(resource, await _joined(request, write))

    async def work(connection: Connection) -> Answer:
        return _answer(resource, await write_record(connection, write))

    return await once(request, body, work)


async def _joined(request: Request, write: Write, alone: Alone | None = None) -> Outcome:
    """Carry out a write, together with others if there are some, or else `alone`."""

    async def by_itself(connection: Connection) -> Outcome:
        return await write_record(connection, write)

    return await service(request, JoinedWrites).write(write, alone or by_itself)


def _answer(resource: Resource, outcome: Outcome) -> Answer:
    """Answer with the record that was written."""
    if not outcome.created:
        return record_answer(outcome.id, outcome.version, outcome.doc)
    location = {"location": f"{resource.path}/{outcome.id}"}
    return record_answer(outcome.id, outcome.version, outcome.doc, 201, location)


async def replace(resource: Resource, request: Request) -> Answer:
    """Replace the record whose id is in the path, or create it under that id."""
    identity = record_id(request)
    expected = preconditions(request)
    if expected.if_match is None and not expected.to_create:
        raise Problem(PRECONDITION_REQUIRED)
    body = await _read_only_body(request, resource, JSON)
    names = {"ids": [identity]}
    wanted = await _read_draft(request, resource, body, names)

    def decide(found: Found) -> Decision:
        current = found.current.get(identity)
        if current is None and expected.if_match is not None:
            raise Problem(PRECONDITION_FAILED, "No record has this id.", current=None)
        if current is not None:
            _expect(resource, expected, current)
        elif found.hidden:
            raise name_taken("id")
        return identity, current, wanted

    write = Write(author(request), resource, decide, names, wanted.record, len(body))
    return _answer(resource, await _joined(request, write))


async def update(resource: Resource, request: Request) -> Answer:
    """Apply a merge patch (RFC 7396) to a record."""
    identity = record_id(request)
    expected = required_match(request)
    body = await _read_only_body(request, resource, MERGE_PATCH)
    patch = await work_on(len(body), read_patch, resource, body)

    def decide(found: Found) -> Decision:
        current = found.current.get(identity)
        if current is None:
            raise Problem(NOT_FOUND, "No record has this id.")
        if not patch.faults or current.deleted:
            _expect(resource, expected, current)
        return identity, current, patched(resource, current, patch)

    names = {"ids": [identity], "more": patch.references}
    write = Write(author(request), resource, decide, names, patch.sent, len(body))
    return _answer(resource, await _joined(request, write))


def _expect(resource: Resource, expected: Preconditions, current: Current) -> None:
    """Refuse a write to a deleted or merged record, or to a version that was not expected."""
    refuse_merged(resource, current.doc)
    if current.deleted:
        raise gone(current.id, current.version)
    if expected.to_create:
        raise _failed(current, "A record with this id exists already.")
    if expected.if_match is not None and not expected.match(current.id, current.version):
        raise _failed(current, f"The record is at version {current.version}.")


def _failed(current: Current, detail: str) -> Problem:
    """Report a failed precondition, with the record as it is stored."""
    return Problem(
        PRECONDITION_FAILED,
        detail,
        headers={"etag": etag(current.id, current.version)},
        current=msgspec.Raw(current.doc),
    )


async def upsert(resource: Resource, request: Request) -> Answer:
    """Create or replace the record that has an external id.

    A deleted record keeps its external ids, so it comes back.
    """
    pair = external_id(request)
    expected = preconditions(request)
    refuse_idempotency_key(request)
    body = await _read_record_body(request, resource, JSON)
    names = {"external": [pair]}
    wanted = await _read_draft(request, resource, body, names)
    with_external_id(wanted.record, pair)
    fresh = new_id()

    def decide(found: Found) -> Decision:
        current = next(iter(found.current.values()), None)
        if current is None and expected.if_match is not None:
            raise Problem(PRECONDITION_FAILED, "No record has this external id.", current=None)
        if current is None and found.hidden:
            raise name_taken("external id")
        if current is not None and not current.deleted:
            _expect(resource, expected, current)
        return current.id if current else fresh, current, wanted

    write = Write(author(request), resource, decide, names, wanted.record, len(body))

    async def alone(connection: Connection) -> Outcome:
        for _ in range(TRIES):
            try:
                return await write_record(connection, write)
            except asyncpg.UniqueViolationError as error:
                # Another request has created a record of this external id: this one replaces it.
                if not is_external_id(error, pair):
                    raise
        raise contended()

    return _answer(resource, await _joined(request, write, alone))


async def delete(resource: Resource, request: Request) -> Answer:
    """Delete a record that no other record refers to; a tombstone stays."""
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    expected = required_match(request)
    writer = author(request)

    def decide(found: Found) -> Decision:
        current = found.current.get(identity)
        if current is None:
            raise Problem(NOT_FOUND, "No record has this id.")
        _expect(resource, expected, current)
        return identity, current, None

    async def alone(connection: Connection) -> Outcome:
        for _ in range(TRIES):
            try:
                version = await connection.fetchval(
                    *_conditional(DELETE, resource, identity, expected, writer)
                )
            except asyncpg.ForeignKeyViolationError:
                if problem := await still_referenced(connection, writer, resource, identity):
                    raise problem from None
                continue  # what referred to it does no longer
            except asyncpg.DeadlockDetectedError:
                continue
            if version is not None:
                return Outcome(identity, version)
            _expect(resource, expected, await _current(connection, writer, resource, identity))
        raise contended()

    write = Write(writer, resource, decide, {"ids": [identity]})
    outcome = await _joined(request, write, alone)
    return Answer(status=204, headers={"etag": etag(identity, outcome.version)})


def _conditional(
    statement: str, resource: Resource, identity: str, expected: Preconditions, author: Author
) -> Query:
    """Give the query of a statement that writes a record if it is at an expected version."""
    return render(
        resource.table.compose(statement),
        author.caller,
        id=identity,
        versions=expected.versions(identity),
        actor=author.actor,
    )


async def _current(
    connection: Connection, author: Author, resource: Resource, identity: str
) -> Current:
    """Read a record as it is stored, if the caller sees it."""
    query = render(resource.table.compose(GET), author.caller, ids=[identity])
    row = await connection.fetchrow(*query)
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    return Current(identity, row["version"], row["deleted"], row["doc"])


class _Hidden(Exception):  # noqa: N818 - it is no error
    """The caller would not see a record, because of one to which it refers."""


def _seen(row: Row | None) -> Row | None:
    """Give the row of a record that the caller sees; undo what was written otherwise."""
    if row is not None and not row["seen"]:
        raise _Hidden
    return row


async def restore(resource: Resource, request: Request) -> Answer:
    """Bring a deleted record back, as it was before."""
    idempotency_key(request)
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    expected = required_match(request)
    writer = author(request)

    async def work(connection: Connection) -> Answer:
        query = _conditional(RESTORE, resource, identity, expected, writer)
        try:
            async with connection.transaction():
                row = _seen(await connection.fetchrow(*query))
        except (asyncpg.ForeignKeyViolationError, _Hidden):
            row = await _restore_for_survivors(connection, writer, resource, identity)
        if row is None:
            current = await _current(connection, writer, resource, identity)
            refuse_merged(resource, current.doc)
            raise _not_restored(current)
        return record_answer(identity, row["version"], row["doc"])

    return await once(request, b"", work)


def _not_restored(current: Current) -> Problem:
    """Say why a record was not restored: it is not deleted, or is at another version."""
    if not current.deleted:
        return Problem(NOT_DELETED)
    return Problem(
        PRECONDITION_FAILED,
        f"The record's tombstone is version {current.version}.",
        headers={"etag": etag(current.id, current.version)},
        current=None,
        version=current.version,
    )


async def _restore_for_survivors(
    connection: Connection, author: Author, resource: Resource, identity: str
) -> Row | None:
    """Bring a record back that names merged sources: it names their survivors then.

    Raises a problem that names the targets that are deleted too, or that the caller can't see.
    """
    current = await _current(connection, author, resource, identity)
    _, content = stored(resource, current.doc)
    record: Create = msgspec.convert(content, resource.create)
    found = await look_up(connection, author, resource, [record])
    missing = [each for each in references(record) if each.id not in found.versions[each.to]]
    if missing:
        raise invalid_record(map(unknown, missing))
    if not found.survivors:
        raise contended()
    new = cast("Create", with_references(record, RecordType.SOURCE, found.survivors))
    if broken := list(faults(new)):
        raise invalid_record(broken)
    return await store(connection, author, resource, identity, current, new, found.size)
