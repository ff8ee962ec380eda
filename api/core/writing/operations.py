"""Write one record: create, replace, update, upsert, delete and restore it.

A write is at most two statements: one looks up all that has to be known (the record as it is, the
records that it refers to, the texts that its spans stand in), and one stores. The database may
change between the two; the version in the second statement and the keys of the link index notice
that, and the write starts over. Only a :class:`~api.core.resource.Consequence` takes more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple

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
    unavailable,
)
from api.core.filters import read_query
from api.core.idempotency import once
from api.core.large_input import work_on
from api.core.reading import GET, external_id, gone
from api.core.request import (
    JSON,
    MERGE_PATCH,
    Answer,
    Author,
    Preconditions,
    Request,
    author,
    context,
    etag,
    idempotency_key,
    new_id,
    preconditions,
    read_body,
    record_answer,
    record_id,
    refuse_idempotency_key,
    require_media_type,
    required_match,
)
from api.core.resource import Resource
from api.core.sql import Query, render
from api.core.writing.look_up import Current, Found, look_up
from api.core.writing.patching import patched, read_patch
from api.core.writing.settle import (
    Draft,
    InvalidRecord,
    Settled,
    name_taken,
    read_draft,
    settle,
    stored,
    unknown,
    with_external_id,
)
from api.core.writing.store import (
    DELETE,
    RESTORE,
    is_external_id,
    is_own_id,
    still_referenced,
    store,
)
from schemas.base import Create, Part, references

_TRIES: Final = 5
"""How often a write starts over when the record changes under it, before it gives up."""


class Outcome(NamedTuple):
    """A record after a write."""

    id: str
    version: int
    doc: bytes
    created: bool


async def _write(
    connection: Connection,
    author: Author,
    resource: Resource,
    sent: Part | None,
    names: Mapping[str, Any],
    size: int,
    decide: Callable[[Found], tuple[str, Current | None, Draft]],
) -> Outcome:
    """Look up, decide and store; start over when the record changes meanwhile.

    `names` are the ids or external ids to look for, and `sent`, whose body had `size` bytes, refers
    to other records to look up. `decide` gives the record's id, how it is stored and how it is
    wanted, or raises a problem.
    """

    def decide_and_settle(found: Found) -> tuple[str, Current | None, Settled]:
        try:
            identity, current, wanted = decide(found)
        except InvalidRecord as invalid:
            stands = next(iter(found.current.values()), None)
            raise invalid.completed(resource, stands, found) from None
        return identity, current, settle(resource, identity, wanted, current, found)

    for _ in range(_TRIES):
        found = await look_up(connection, author, resource, [sent] if sent else [], **names)
        total = size + found.size
        identity, current, (record, unchanged) = await work_on(total, decide_and_settle, found)
        if current is not None and unchanged:
            return Outcome(identity, current.version, current.doc, created=False)
        try:
            async with _savepoint(connection):
                row = await store(connection, author, resource, identity, current, record, total)
        except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
            continue  # one of its targets was deleted meanwhile; the next look-up tells which
        except asyncpg.UniqueViolationError as error:
            if current is not None or not is_own_id(error, resource):
                raise
            continue
        if row is not None:
            return Outcome(identity, row["version"], row["doc"], created=current is None)
    raise contended()


def _savepoint(connection: Connection) -> AbstractAsyncContextManager[object]:
    """Let a transaction go on after a database error; outside of one there is nothing to do."""
    return connection.transaction() if connection.is_in_transaction() else nullcontext()


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
    idempotency_key(request)  # refuse a bad key before the body is read
    read_query(request.scope["query_string"], {})
    body = await _read_record_body(request, resource, JSON)
    wanted = await _read_draft(request, resource, body, {})
    identity = new_id()

    async def work(connection: Connection) -> Answer:
        outcome = await _write(
            connection,
            author(request),
            resource,
            wanted.record,
            {},
            len(body),
            lambda _: (identity, None, wanted),
        )
        return _answer(resource, outcome)

    return await once(request, body, work)


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

    def decide(found: Found) -> tuple[str, Current | None, Draft]:
        current = found.current.get(identity)
        if current is None and expected.if_match is not None:
            raise Problem(PRECONDITION_FAILED, "There is no record of this id.", current=None)
        if current is not None:
            _expect(expected, current)
        elif found.hidden:
            raise name_taken("id")
        return identity, current, wanted

    async with context(request).database.connection() as connection:
        outcome = await _write(
            connection, author(request), resource, wanted.record, names, len(body), decide
        )
    return _answer(resource, outcome)


async def update(resource: Resource, request: Request) -> Answer:
    """Apply a merge patch (RFC 7396) to a record."""
    identity = record_id(request)
    expected = required_match(request)
    body = await _read_only_body(request, resource, MERGE_PATCH)
    patch = await work_on(len(body), read_patch, resource, body)

    def decide(found: Found) -> tuple[str, Current | None, Draft]:
        current = found.current.get(identity)
        if current is None:
            raise Problem(NOT_FOUND, "No record has this id.")
        if not patch.faults or current.deleted:
            _expect(expected, current)
        return identity, current, patched(resource, current, patch)

    names = {"ids": [identity], "more": patch.references}
    async with context(request).database.connection() as connection:
        outcome = await _write(
            connection, author(request), resource, patch.sent, names, len(body), decide
        )
    return _answer(resource, outcome)


def _expect(expected: Preconditions, current: Current) -> None:
    """Refuse a write to a deleted record, or to a version that the client did not expect."""
    if current.deleted:
        raise gone(current.id, current.version)
    if expected.to_create:
        raise _failed(current, "There is a record of this id already.")
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

    def decide(found: Found) -> tuple[str, Current | None, Draft]:
        current = next(iter(found.current.values()), None)
        if current is None and expected.if_match is not None:
            raise Problem(PRECONDITION_FAILED, "No record has this external id.", current=None)
        if current is None and found.hidden:
            raise name_taken("external id")
        if current is not None and not current.deleted:
            _expect(expected, current)
        return current.id if current else fresh, current, wanted

    writer = author(request)
    async with context(request).database.connection() as connection:
        for _ in range(_TRIES):
            try:
                outcome = await _write(
                    connection, writer, resource, wanted.record, names, len(body), decide
                )
            except asyncpg.UniqueViolationError as error:
                # Another request has created a record of this external id: this one replaces it.
                if is_external_id(error, pair):
                    continue
                raise
            return _answer(resource, outcome)
    raise contended()


async def delete(resource: Resource, request: Request) -> Answer:
    """Delete a record that no other record refers to; a tombstone stays."""
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    expected = required_match(request)
    writer = author(request)
    async with context(request).database.connection() as connection:
        try:
            version = await connection.fetchval(
                *_conditional(DELETE, resource, identity, expected, writer)
            )
        except asyncpg.ForeignKeyViolationError:
            problem = await still_referenced(connection, writer, resource, identity)
            raise problem or unavailable("The record is being changed by others.") from None
        if version is None:
            _expect(expected, await _current(connection, writer, resource, identity))
            raise contended()
    return Answer(status=204, headers={"etag": etag(identity, version)})


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
            raise await _targets_gone(connection, writer, resource, identity) from None
        if row is None:
            raise _not_restored(await _current(connection, writer, resource, identity))
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


async def _targets_gone(
    connection: Connection, author: Author, resource: Resource, identity: str
) -> Problem:
    """Name the targets of a deleted record that are deleted too, or that the caller can't see."""
    current = await _current(connection, author, resource, identity)
    _, content = stored(resource, current.doc)
    record: Create = msgspec.convert(content, resource.create)
    found = await look_up(connection, author, resource, [record])
    return invalid_record(
        unknown(reference)
        for reference in references(record)
        if reference.id not in found.versions[reference.to]
    )
