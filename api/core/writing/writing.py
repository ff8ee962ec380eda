"""Writing a record: what is sent is checked, compared with what is there, and stored.

Every write is at most two statements: one looks up all that has to be known (the record as it
is, what it refers to, the texts that its spans stand in), one stores. Between the two the world
may move; the version in the second statement and the keys of the link index notice. Only where an
article's text changes do more follow: what is printed in it moves along.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from api.core import anchors, sql
from api.core.db import Connection
from api.core.errors import (
    NOT_DELETED,
    NOT_FOUND,
    NOT_UNIQUE,
    PRECONDITION_FAILED,
    PRECONDITION_REQUIRED,
    STILL_REFERENCED,
    Problem,
    contended,
    invalid_record,
    unavailable,
)
from api.core.filters import read_query
from api.core.idempotency import once
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
from api.core.resource import Resource, external_id, gone
from api.core.validation import check, merge_patch, read_object
from schemas.base import (
    MAX_EXTERNAL_IDS,
    Create,
    ExternalId,
    Fault,
    Part,
    Reference,
    fields,
    moment,
    references,
)
from schemas.parts import Appearance
from schemas.vocabularies import RecordType

_TRIES: Final = 5
"""How often a write starts over when the record moves under it, before it asks to come back."""


# --- what is known before a write ------------------------------------------------------------


class Current(NamedTuple):
    """A record as it is stored."""

    id: str
    version: int
    deleted: bool
    doc: bytes


@dataclass(slots=True)
class Found:
    """What one look at the database told."""

    current: dict[str, Current] = field(default_factory=dict)
    # What stands under a name that was looked for, but does not exist for the caller.
    hidden: dict[str, Current] = field(default_factory=dict)
    versions: dict[RecordType, dict[str, int]] = field(
        default_factory=lambda: {of: {} for of in RecordType}
    )
    texts: dict[tuple[str, int], str | None] = field(default_factory=dict)


async def look_up(
    connection: Connection,
    who: Author,
    of: Resource,
    records: Iterable[Part],
    *,
    ids: Collection[str] = (),
    external: Collection[tuple[str, str]] = (),
) -> Found:
    """Read the records named, and what the caller sees of what others refer to."""
    referred: dict[RecordType, set[str]] = {to: set() for to in RecordType}
    texts: set[str] = set()
    earlier: set[tuple[str, int]] = set()
    for record in records:
        for reference in references(record):
            referred[reference.to].add(reference.id)
        current, versions = anchors.texts_needed(_appearances(record), ())
        texts |= current
        earlier |= versions
    looks = sql.Looks(
        list(ids),
        [namespace for namespace, _ in external],
        [value for _, value in external],
        {to: list(named) for to, named in referred.items()},
        list(texts),
        [article for article, _ in earlier],
        [version for _, version in earlier],
    )
    query, arguments = looks.query(of.table)
    found = Found()
    if not query:
        return found
    rows = await connection.fetch(who.caller.query(query), *arguments)
    for role, identity, version, deleted, doc, text in rows:
        name = str(identity)
        if role == "current":
            found.current[name] = Current(name, version, deleted, doc)
        elif role == "hidden":
            found.hidden[name] = Current(name, version, deleted, doc)
        elif role == "text":
            found.texts[name, version] = text
        else:
            found.versions[RecordType[role.upper()]][name] = version
            if role == RecordType.ARTICLE:
                found.texts[name, version] = text
    return found


def _appearances(record: Part) -> Sequence[Appearance]:
    return getattr(record, "appearances", None) or ()


# --- what is sent ----------------------------------------------------------------------------


@cache
def read_only(of: Resource) -> frozenset[str]:
    """Name the properties of a record that the server sets."""
    return frozenset(of.record.__struct_fields__) - {f.encode_name for f in fields(of.create)}


def stored(of: Resource, doc: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a stored document: what the server set, and what a client may write."""
    return _split(of, msgspec.json.decode(doc))


def _split(of: Resource, document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = read_only(of)
    claimed = {key: value for key, value in document.items() if key in names}
    content = {key: value for key, value in document.items() if key not in names}
    return claimed, content


class Draft(NamedTuple):
    """A record as it is to be, before anything is known of the database."""

    record: Create
    claimed: Mapping[str, Any]  # what was sent of the server's own properties
    from_elsewhere: bool = False  # as another server has it


def from_elsewhere(wanted: Draft) -> Draft:
    """Pass over what another server has set in a record."""
    record = wanted.record
    if appearances := [
        msgspec.structs.replace(each, article_version=None) for each in _appearances(record)
    ]:
        record = msgspec.structs.replace(record, appearances=appearances)
    return Draft(record, {}, from_elsewhere=True)


def draft(of: Resource, document: dict[str, Any]) -> Draft:
    """Make a record of what was sent."""
    claimed, content = _split(of, document)
    record, broken = check(content, of.create)
    if record is None or broken:
        raise invalid_record(broken)
    return Draft(record, claimed)


class Settled(NamedTuple):
    """A record as it is to be stored, and whether that is what is stored already."""

    record: Create
    unchanged: bool


def settle(
    of: Resource,
    identity: str,
    wanted: Draft,
    current: Current | None,
    found: Found,
    *,
    forward: list[Reference] | None = None,
) -> Settled:
    """Hold a draft to what is known, and fill in what the server sets inside it.

    Raises one problem with every fault. Given `forward`, references to what is not known are
    appended there, to be looked up later, instead of being refused.
    """
    before: Create | None = None
    server: dict[str, Any] = {}
    if current is not None:
        server, content = stored(of, current.doc)
        before = msgspec.convert(content, of.create)
    broken = [
        Fault((name,), "read-only", f"The server sets `{name}`; leave it out or as it is.")
        for name, value in wanted.claimed.items()
        if name not in server or not _same(server[name], value)
    ]
    kept = () if current is None or current.deleted else _targets(before)
    for reference in references(wanted.record):
        if reference.to == of.type and reference.id == identity:
            broken.append(Fault(reference.path, "self-reference", "A record can't name itself."))
        elif (
            reference.id not in found.versions[reference.to]
            and (reference.to, reference.id) not in kept
        ):
            if forward is None:
                broken.append(unknown(reference))
            else:
                forward.append(reference)
    record = wanted.record
    if appearances := [msgspec.structs.replace(each) for each in _appearances(record)]:
        earlier = _appearances(before) if before else ()
        versions = found.versions[RecordType.ARTICLE]
        broken += anchors.settle(
            appearances,
            earlier,
            versions,
            found.texts,
            from_elsewhere=wanted.from_elsewhere,
        )
        record = msgspec.structs.replace(record, appearances=appearances)
    if broken:
        raise invalid_record(broken)
    return Settled(record, current is not None and not current.deleted and record == before)


def _same(stands: Any, sent: Any) -> bool:  # noqa: ANN401 - JSON
    """Compare a value of the server's with what was sent: an instant has several spellings."""
    if stands == sent:
        return True
    both = isinstance(stands, str) and isinstance(sent, str) and "T" in stands
    return both and moment(stands) is not None and moment(stands) == moment(sent)


def _targets(record: Create | None) -> Collection[tuple[RecordType, str]]:
    return {(r.to, r.id) for r in references(record)} if record is not None else ()


def unknown(reference: Reference) -> Fault:
    """Report a reference that names no live record."""
    return Fault(reference.path, "unknown-reference", f"There is no {reference.to} {reference.id}.")


# --- what is stored --------------------------------------------------------------------------


def rows_of(records: Iterable[tuple[str, int | None, Create]]) -> str:
    """Write records, each with its id and the version that it replaces, as a JSON array."""
    return (
        "["
        + ",".join(
            f'{{"id":"{identity}",'
            + (f'"version":{version},' if version is not None else "")
            + msgspec.json.encode(record)[1:].decode()
            for identity, version, record in records
        )
        + "]"
    )


async def store(
    connection: Connection,
    who: Author,
    of: Resource,
    identity: str,
    current: Current | None,
    record: Create,
) -> asyncpg.Record | None:
    """Insert a record, or replace the current one; null if that has moved meanwhile."""
    if current is None:
        return await connection.fetchrow(
            sql.insert(of.table), rows_of([(identity, None, record)]), who.actor
        )
    rows = rows_of([(identity, current.version, record)])
    if not text_changes(of, current, record):
        return await connection.fetchrow(sql.update(of.table), rows, who.actor)
    async with connection.transaction():
        row = await connection.fetchrow(sql.update(of.table), rows, who.actor)
        if row is not None:
            await reanchor(connection, who, current, record, row["version"])
        return row


def text_changes(of: Resource, current: Current, record: Create) -> bool:
    """Tell whether a write changes the text that others are anchored in."""
    if of.type is not RecordType.ARTICLE:
        return False
    return _text_of(current) != getattr(record, "text", None)


class _Text(msgspec.Struct):
    text: str | None = None


def _text_of(current: Current) -> str | None:
    return msgspec.json.decode(current.doc, type=_Text).text


_FIRST: Final = "00000000-0000-0000-0000-000000000000"


async def reanchor(
    connection: Connection, who: Author, article: Current, record: Create, version: int
) -> None:
    """Let what is printed in an article follow its new text, in the change's own transaction.

    All of it, whatever the caller sees: nothing of that is told.
    """
    old, new = _text_of(article), getattr(record, "text", None)
    for of in sql.APPEARING:
        behind: Any = _FIRST
        while rows := await connection.fetch(sql.appearing(of), article.id, behind):
            behind = rows[-1]["id"]
            moved = []
            for row in rows:
                appearances = msgspec.json.decode(row["appearances"], type=list[Appearance])
                followed = [
                    anchors.follow(each, old, new, version)
                    if each.article_id == article.id
                    else each
                    for each in appearances
                ]
                if followed != appearances:
                    moved.append({"id": str(row["id"]), "appearances": followed})
            if moved:
                rows_moved = msgspec.json.encode(moved).decode()
                await connection.execute(sql.move_appearances(of), rows_moved, who.actor)


class Outcome(NamedTuple):
    """What became of a record."""

    id: str
    version: int
    doc: bytes
    created: bool


async def _write(
    connection: Connection,
    who: Author,
    of: Resource,
    sent: Part | None,
    names: Mapping[str, Any],
    decide: Callable[[Found], tuple[str, Current | None, Draft]],
) -> Outcome:
    """Look up, decide, store; start over when the record moves between the two.

    `names` say which records to look for, `sent` what else; `decide` gives the id, the record as it
    is and as it is to be, or raises.
    """
    for _ in range(_TRIES):
        found = await look_up(connection, who, of, [sent] if sent else [], **names)
        identity, current, wanted = decide(found)
        record, unchanged = settle(of, identity, wanted, current, found)
        if current is not None and unchanged:
            return Outcome(identity, current.version, current.doc, created=False)
        try:
            async with _savepoint(connection):
                row = await store(connection, who, of, identity, current, record)
        except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
            continue  # what it refers to was deleted meanwhile: the next look says which
        except asyncpg.UniqueViolationError as error:
            if current is not None or not is_own_id(error, of):
                raise
            continue
        if row is not None:
            return Outcome(identity, row["version"], row["doc"], created=current is None)
    raise contended()


def _savepoint(connection: Connection) -> AbstractAsyncContextManager[object]:
    """Let a transaction go on after an error of the database; without one, every statement does."""
    return connection.transaction() if connection.is_in_transaction() else nullcontext()


def is_own_id(error: asyncpg.UniqueViolationError, of: Resource) -> bool:
    """Tell whether an insert failed because its id is there, be it since a moment ago."""
    return error.constraint_name in {f"{of.plural}_pkey", f"{of.plural}_live_id_key"}


# --- operations ------------------------------------------------------------------------------


async def _read_document(request: Request, of: Resource, media_type: str) -> dict[str, Any]:
    refuse_idempotency_key(request)
    read_query(request.scope["query_string"], {})
    return read_object(await _read_record_body(request, of, media_type))


async def _read_record_body(request: Request, of: Resource, media_type: str) -> bytes:
    """Read a body that is a record, or a patch of one."""
    require_media_type(request, [media_type])
    settings = context(request).settings
    limit = settings.article_body_bytes if of.large else settings.body_bytes
    return await read_body(request, limit)


async def create(of: Resource, request: Request) -> Answer:
    """Create a record under an id of ours."""
    idempotency_key(request)  # refuse a bad one unread
    read_query(request.scope["query_string"], {})
    body = await _read_record_body(request, of, JSON)
    wanted = draft(of, read_object(body))
    identity = new_id()

    async def work(connection: Connection) -> Answer:
        done = await _write(
            connection,
            author(request),
            of,
            wanted.record,
            {},
            lambda _: (identity, None, wanted),
        )
        return _written(of, done)

    return await once(request, body, work)


def _written(of: Resource, done: Outcome) -> Answer:
    if not done.created:
        return record_answer(done.id, done.version, done.doc)
    location = {"location": f"{of.path}/{done.id}"}
    return record_answer(done.id, done.version, done.doc, 201, location)


async def replace(of: Resource, request: Request) -> Answer:
    """Replace the record of the id in the path, or create it there."""
    identity = record_id(request)
    expected = preconditions(request)
    if expected.if_match is None and not expected.to_create:
        raise Problem(PRECONDITION_REQUIRED)
    wanted = draft(of, await _read_document(request, of, JSON))

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
        names = {"ids": [identity]}
        done = await _write(connection, author(request), of, wanted.record, names, decide)
    return _written(of, done)


def name_taken(what: str) -> Problem:
    """Refuse to create what is there already, without a word about it: the caller can't see it."""
    return Problem(NOT_UNIQUE, f"Another record has this {what}.")


async def update(of: Resource, request: Request) -> Answer:
    """Apply a merge patch (RFC 7396) to a record."""
    identity = record_id(request)
    expected = required_match(request)
    claimed, patch = _split(of, await _read_document(request, of, MERGE_PATCH))
    sent, broken = check(patch, of.update)
    if broken:
        raise invalid_record(broken)

    def decide(found: Found) -> tuple[str, Current | None, Draft]:
        current = found.current.get(identity)
        if current is None:
            raise Problem(NOT_FOUND, "No record has this id.")
        _expect(expected, current)
        _, content = stored(of, current.doc)
        merged = draft(of, merge_patch(content, patch))
        return identity, current, Draft(merged.record, claimed)

    async with context(request).database.connection() as connection:
        done = await _write(connection, author(request), of, sent, {"ids": [identity]}, decide)
    return _written(of, done)


def _expect(expected: Preconditions, current: Current) -> None:
    """Refuse a write to a deleted record, or to a version that was not expected."""
    if current.deleted:
        raise gone(current.id, current.version)
    if expected.to_create:
        raise _failed(current, "There is a record of this id already.")
    if expected.if_match is not None and not expected.match(current.id, current.version):
        raise _failed(current, f"The record is at version {current.version}.")


def _failed(current: Current, detail: str) -> Problem:
    return Problem(
        PRECONDITION_FAILED,
        detail,
        headers={"etag": etag(current.id, current.version)},
        current=msgspec.Raw(current.doc),
    )


async def upsert(of: Resource, request: Request) -> Answer:
    """Create or replace the record that another system knows by an external id.

    A deleted one comes back: it kept its external ids.
    """
    pair = external_id(request)
    expected = preconditions(request)
    refuse_idempotency_key(request)
    wanted = draft(of, read_object(await _read_record_body(request, of, JSON)))
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

    who, names = author(request), {"external": [pair]}
    async with context(request).database.connection() as connection:
        for _ in range(_TRIES):
            try:
                done = await _write(connection, who, of, wanted.record, names, decide)
            except asyncpg.UniqueViolationError as error:
                # Another first upsert of the same external id won: ours is then a replacement.
                if is_external_id(error, pair):
                    continue
                raise
            return _written(of, done)
    raise contended()


def is_external_id(error: asyncpg.UniqueViolationError, pair: tuple[str, str]) -> bool:
    """Tell whether it was this external id that another record took."""
    namespace, value = pair
    return error.constraint_name == "external_ids_pkey" and f", {namespace}, {value})" in str(
        error.detail
    )


def with_external_id(record: Create, pair: tuple[str, str]) -> None:
    """Add an external id to a record that does not have it."""
    namespace, value = pair
    if all((e.namespace, e.value) != pair for e in record.external_ids):
        added = ExternalId(namespace=namespace, value=value)
        record.external_ids = [*record.external_ids, added]
    if len(record.external_ids) > MAX_EXTERNAL_IDS:
        detail = f"With the one it is written by, the record has more than {MAX_EXTERNAL_IDS}."
        raise invalid_record([Fault(("external_ids",), "invalid-value", detail)])


async def delete(of: Resource, request: Request) -> Answer:
    """Delete a record that nothing refers to; a tombstone stays."""
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    expected = required_match(request)
    who = author(request)
    async with context(request).database.connection() as connection:
        try:
            version = await connection.fetchval(
                who.caller.query(sql.delete(of.table)),
                identity,
                expected.versions(identity),
                who.actor,
            )
        except asyncpg.ForeignKeyViolationError:
            told = await still_referenced(connection, who, of, identity)
            raise told or unavailable("The record is being changed by others.") from None
        if version is None:
            _expect(expected, await _current(connection, who, of, identity))
            raise contended()
    return Answer(status=204, headers={"etag": etag(identity, version)})


async def still_referenced(
    connection: Connection, who: Author, of: Resource, identity: str
) -> Problem | None:
    """Name who refers to a record, of those that the caller sees; null if nothing does."""
    rows = await connection.fetch(who.caller.query(sql.referrers(of.type)), identity)
    if not rows:
        return None
    referrers = [
        {"type": row["owner_type"], "id": str(row["owner_id"]), "link": row["link"]}
        for row in rows
        if row["visible"]
    ]
    named = [f"{r['type']} {r['id']} ({r['link']})" for r in referrers]
    listed = ", ".join(named[:3]) or "others"
    more = " and others" if len(named) > 3 else ""  # noqa: PLR2004
    return Problem(STILL_REFERENCED, f"Still referred to by {listed}{more}.", referrers=referrers)


async def _current(connection: Connection, who: Author, of: Resource, identity: str) -> Current:
    row = await connection.fetchrow(who.caller.query(sql.get(of.table)), [identity])
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    return Current(identity, row["version"], row["deleted"], row["doc"])


async def restore(of: Resource, request: Request) -> Answer:
    """Bring a deleted record back, as it was before."""
    idempotency_key(request)
    identity = record_id(request)
    read_query(request.scope["query_string"], {})
    expected = required_match(request)
    who = author(request)

    async def work(connection: Connection) -> Answer:
        try:
            async with _savepoint(connection):
                row = await connection.fetchrow(
                    who.caller.query(sql.restore(of.table)),
                    identity,
                    expected.versions(identity),
                    who.actor,
                )
        except asyncpg.ForeignKeyViolationError:
            raise await _targets_gone(connection, who, of, identity) from None
        if row is None:
            current = await _current(connection, who, of, identity)
            if not current.deleted:
                raise Problem(NOT_DELETED)
            raise Problem(
                PRECONDITION_FAILED,
                f"The record's tombstone is version {current.version}.",
                headers={"etag": etag(identity, current.version)},
                current=None,
                version=current.version,
            )
        return record_answer(identity, row["version"], row["doc"])

    return await once(request, b"", work)


async def _targets_gone(
    connection: Connection, who: Author, of: Resource, identity: str
) -> Problem:
    """Name what a deleted record refers to that is no longer there, or not for the caller."""
    current = await _current(connection, who, of, identity)
    _, content = stored(of, current.doc)
    record: Create = msgspec.convert(content, of.create)
    found = await look_up(connection, who, of, [record])
    return invalid_record(
        unknown(reference)
        for reference in references(record)
        if reference.id not in found.versions[reference.to]
    )
