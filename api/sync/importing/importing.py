"""Import: many records in one request, as lines of JSON.

The body is spooled to a file, then applied in batches, then answered from a file of results:
streaming both ways at once deadlocks ordinary clients. Nothing here grows with the number of lines.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple

import asyncpg
import msgspec
from litestar import post
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from api.core import sql
from api.core.caller import WRITE
from api.core.db import Connection, Database
from api.core.errors import (
    BODY_TOO_LARGE,
    FORBIDDEN,
    NOT_APPLIED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    Problem,
    contended,
    from_database,
    invalid_record,
    unavailable,
)
from api.core.filters import Parameter, read_query
from api.core.idempotency import derived_id
from api.core.operation import Operation
from api.core.request import (
    NDJSON,
    SERVICE,
    Answer,
    Author,
    Request,
    Stream,
    author,
    body_chunks,
    context,
    etag,
    idempotency_key,
    new_id,
    require_media_type,
    still_admitted,
)
from api.core.resource import Resource
from api.core.validation import check, read_object
from api.core.writing.writing import (
    Current,
    Draft,
    Found,
    draft,
    from_elsewhere,
    is_external_id,
    is_own_id,
    look_up,
    name_taken,
    reanchor,
    rows_of,
    settle,
    still_referenced,
    stored,
    text_changes,
    unknown,
    with_external_id,
)
from api.records.articles import ARTICLES
from api.records.claims import CLAIMS
from api.records.denials import DENIALS
from api.records.sources import SOURCES
from api.settings import Settings
from api.sync.importing.spool import JSON_SPACE, Spool, numbered_lines
from schemas.base import Create, ExternalId, Fault, Reference
from schemas.examples import HEADERS
from schemas.imports import ImportCounts, ImportLine, ImportResult, ImportTotals
from schemas.vocabularies import ImportOp, RecordType, Scope

# What others refer to comes first.
RESOURCES: Final = {of.type: of for of in (SOURCES, ARTICLES, CLAIMS, DENIALS)}

MAX_LINES: Final = 500
MAX_BYTES: Final = 8_388_608
_TRIES: Final = 5
_BREATHE_EVERY: Final = 25

ATOMIC = Parameter(
    "atomic", bool, "All lines or none; lines may refer to later ones.", default=False
)
DRY_RUN = Parameter("dry_run", bool, "Try everything and keep nothing.", default=False)
_PARAMETERS = {parameter.name: parameter for parameter in (ATOMIC, DRY_RUN)}

_REFUSED: Final = invalid_record([Fault(("data", "text"), "required", "`text` is needed.")])

IMPORT_RECORDS = Operation(
    tag="import",
    description="""\
Takes any number of lines, each a JSON object as the schema says, and writes their records: whole, \
as `PUT` does. Gives a line for each, in the same order, and a last one with the totals: an answer \
without it was cut off. A refused line has a problem and does not keep the others from being \
written, unless the import is `atomic`. Sending the same lines again changes nothing where each \
names its record by `id` or `external_id`. With an `Idempotency-Key` that goes for the others too: \
the record of such a line is told by the caller, the key and the line's number, and where it is \
there, the line leaves it as it is. So a key is for one file, sent again just as it was: under a \
key that another file had, lines would be taken for those of that file. The lines of an export are \
taken as they are; its first and its last one get no result.

Where the caller's key is withdrawn meanwhile, what was written stays, and each line behind it is \
refused with 401; an `atomic` import is then refused as a whole.""",
    parameters=(ATOMIC, DRY_RUN),
    header_parameters=("IdempotencyKeyOfLines",),
    body=ImportLine,
    body_type=NDJSON,
    body_example=ImportLine(
        type=RecordType.SOURCE,
        external_id=ExternalId(namespace="example", value="nis"),
        data={"kind": "government_body", "name": "National Intelligence Service"},
    ),
    success="A line of JSON each: a result for each line that was sent, then the totals.",
    answer=(ImportResult, ImportTotals),
    media_type=NDJSON,
    example={
        "result": (
            "A line for each line that was sent",
            ImportResult(
                line=1,
                status=201,
                type=RecordType.SOURCE,
                id="01938f7a-4c00-7000-8000-000000000001",
                version=1,
                changed=True,
            ),
        ),
        "refused": (
            "The same, of a line that was refused",
            ImportResult(
                line=2,
                status=422,
                type=RecordType.CLAIM,
                problem=_REFUSED.document("/v1/import", HEADERS["X-Request-Id"]),
            ),
        ),
        "totals": (
            "The last line",
            ImportTotals(
                totals=ImportCounts(lines=2, created=1, refused=1),
                atomic=False,
                dry_run=False,
                committed=True,
            ),
        ),
    },
)


@post(
    "/v1/import",
    operation_id="importRecords",
    opt={"operation": IMPORT_RECORDS, "scopes": (Scope.IMPORT,)},
    status_code=200,
)
async def import_records(request: Request) -> Answer:
    """Write many records, one a line."""
    key = idempotency_key(request)
    given = read_query(request.scope["query_string"], _PARAMETERS)
    require_media_type(request, [NDJSON])
    who = author(request)
    name = None if key is None else partial(derived_id, who.caller.key_id or "", key)
    body = Spool()
    try:
        async for chunk in body_chunks(request):
            body.file.write(chunk)
        still = partial(still_admitted, request)
        done = await run(context(request).database, who, body.file, name=name, still=still, **given)
    finally:
        body.close()
    return SpooledAnswer(done)


async def load(database: Database, lines: Iterable[bytes], *, atomic: bool = False) -> ImportTotals:
    """Write many records from within, and give the totals."""
    with closing(Spool()) as body:
        for line in lines:
            body.file.write(line.rstrip(b"\n") + b"\n")
        with closing(await run(database, SERVICE, body.file, atomic=atomic)) as answer:
            *_, totals = answer
    return msgspec.convert(totals, ImportTotals)


class SpooledAnswer(Stream):
    """An answer that is on disk, because it may be of any length."""

    __slots__ = ("_spool",)

    def __init__(self, spool: Spool) -> None:
        """Take a spool over, to be sent and then closed."""
        super().__init__(NDJSON)
        self._spool = spool

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer a piece at a time."""
        try:
            await send(
                {"type": "http.response.start", "status": self.status, "headers": self.headers}
            )
            for chunk in self._spool.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._spool.close()


# --- a run -----------------------------------------------------------------------------------


Name = Callable[[int], str]
"""Gives the id of the record of a line that names none, by the line's number."""
Still = Callable[[Connection], Awaitable[None]]
"""Refuses who may write no more, such as one whose key was withdrawn meanwhile."""


class Entry(NamedTuple):
    """A line as it was read: what is to be done, or why it can't be."""

    number: int
    size: int
    line: ImportLine | None
    wanted: Draft | None
    problem: Problem | None
    named: bool = False  # by us: to be created, if it is not there


class Done(NamedTuple):
    """What became of a line, and under which of the totals it counts."""

    counted: str
    result: ImportResult
    # To be checked at the end of an atomic run: what was not known yet when the line was applied,
    # and the record that it deleted, to which something may still refer.
    forward: Sequence[Reference] = ()
    deleted: str | None = None


@dataclass
class Run:
    """One import."""

    connection: Connection
    author: Author
    settings: Settings
    atomic: bool
    dry_run: bool
    name: Name | None = None
    still: Still | None = None
    withdrawn: Problem | None = None  # why the rest of the lines is refused
    refused: bool = False  # a line of an atomic run, and so all of them
    results: list[Spool] = field(default_factory=list)  # each in the order of the lines
    late: list[Spool] = field(default_factory=list)  # likewise; these replace those
    put_off: Spool = field(default_factory=Spool)  # what to check at the end of an atomic run

    def close(self) -> None:
        """Remove the run's files."""
        for spool in (*self.results, *self.late, self.put_off):
            spool.close()


async def run(
    database: Database,
    who: Author,
    body: BinaryIO,
    *,
    atomic: bool = False,
    dry_run: bool = False,
    name: Name | None = None,
    still: Still | None = None,
) -> Spool:
    """Apply a file of lines and give the file of results, totals last."""
    limit = database.settings.article_body_bytes
    async with database.connection() as connection:
        this = Run(connection, who, database.settings, atomic, dry_run, name, still)
        try:
            if not atomic and not dry_run:
                await _apply_all(this, numbered_lines(body, limit))
                return await _answer(this, kept=True)
            transaction = connection.transaction()
            await transaction.start()
            kept = False
            try:
                await _prepare(this)
                if atomic:
                    await _apply_by_type(this, numbered_lines(body, limit))
                    this.refused = await _refusals(this)
                    await _withdrawn(this)
                    kept = not this.refused and not dry_run
                else:
                    await _apply_all(this, numbered_lines(body, limit))
                if kept:
                    await transaction.commit()
            finally:
                if not kept:
                    with suppress(asyncpg.InterfaceError):  # the commit itself failed
                        await transaction.rollback()
            return await _answer(this, kept=kept)
        finally:
            this.close()


async def _prepare(this: Run) -> None:
    """Give the transaction more time than a request has, and defer its link keys."""
    milliseconds = int(this.settings.import_statement_seconds * 1000)
    await this.connection.execute(
        f"SET LOCAL statement_timeout = {milliseconds}; SET CONSTRAINTS ALL DEFERRED"
    )


async def _apply_by_type(this: Run, lines: Iterable[tuple[int, bytes | None]]) -> None:
    """Apply sources, then articles, claims and denials, as an atomic run does.

    A first look at each line tells its type, and puts it into that type's file.
    """
    spools = {of: Spool() for of in (None, *RESOURCES)}
    try:
        for count, (number, raw) in enumerate(lines):
            of = None if raw is None else _peek(raw)
            text = b"" if raw is None else raw.strip(JSON_SPACE)
            spools[of].file.write(b"%d %b\n" % (number, text))
            if count % 1_000 == 0:
                await asyncio.sleep(0)
        for spool in spools.values():
            await _apply_all(this, _numbered(spool))
    finally:
        for spool in spools.values():
            spool.close()


class _Peek(msgspec.Struct):
    type: RecordType


def _peek(raw: bytes) -> RecordType | None:
    try:
        return msgspec.json.decode(raw, type=_Peek).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # to be refused when it is read in full


def _numbered(spool: Spool) -> Iterator[tuple[int, bytes | None]]:
    spool.file.seek(0)
    for line in spool.file:
        number, _, raw = line.partition(b" ")
        yield int(number), raw if raw.strip(JSON_SPACE) else None


async def _apply_all(this: Run, lines: Iterable[tuple[int, bytes | None]]) -> None:
    """Read lines and apply them in batches."""
    this.results.append(results := Spool())
    async for batch in _batches(this, lines):
        for done in await _apply(this, batch):
            results.add((done.counted, done.result))
            if this.atomic and (done.forward or done.deleted):
                references = [(r.path, r.to, r.id) for r in done.forward]
                this.put_off.add((done.result, references, done.deleted))


async def _batches(
    this: Run, lines: Iterable[tuple[int, bytes | None]]
) -> AsyncIterator[list[Entry]]:
    """Gather lines that can be written together: one kind of op, and no record twice."""
    batch: list[Entry] = []
    names: set[tuple[str, ...]] = set()
    size = 0
    op = ImportOp.UPSERT
    for number, raw in lines:
        entry = _read(number, raw, this)
        if entry is None:
            continue
        own = _names(entry.line)
        other_op = entry.line is not None and entry.line.op is not op
        full = len(batch) >= MAX_LINES or size >= MAX_BYTES
        if batch and (full or other_op or not names.isdisjoint(own)):
            yield batch
            batch, names, size = [], set(), 0
        batch.append(entry)
        names.update(own)
        size += entry.size
        op = entry.line.op if entry.line is not None else op
        if number % _BREATHE_EVERY == 0:
            await asyncio.sleep(0)
    if batch:
        yield batch


def _read(number: int, raw: bytes | None, this: Run) -> Entry | None:
    """Read a line as strictly as a body; null for the first and the last one of an export."""
    settings = this.settings
    size = len(raw or b"")
    line = None
    named = False
    try:
        if raw is None:
            raise _too_long(settings.article_body_bytes)
        document = read_object(raw.strip(JSON_SPACE))
        if _frames(document):
            return None
        line, broken = check(document, ImportLine)
        if line is None or broken:
            raise invalid_record(broken)
        of = RESOURCES[line.type]
        _require_scope(this, line.type)
        if size > settings.body_bytes and not of.large:
            raise _too_long(settings.body_bytes)
        wanted = None
        if line.data is not None:
            wanted = _draft(of, line)
        if this.name is not None and line.id is None and line.external_id is None:
            line.id = this.name(number)
            named = True
    except Problem as problem:
        return Entry(number, size, line, None, problem)
    return Entry(number, size, line, wanted, None, named)


def _frames(document: dict[str, Any]) -> bool:
    """Tell whether a line is an export's first, with its cursor, or its last, with its count."""
    return ("cursor" in document and "type" not in document) or document.keys() == {"count"}


def _require_scope(this: Run, of: RecordType) -> None:
    if not this.author.caller.may(scope := WRITE[of]):
        raise Problem(FORBIDDEN, f"This takes a key with the scope `{scope}`.")


def _draft(of: Resource, line: ImportLine) -> Draft:
    try:
        wanted = draft(of, line.data or {})
        if line.version is not None:
            _require_id(wanted, line)
            wanted = from_elsewhere(wanted)
        if line.external_id is not None:
            with_external_id(wanted.record, (line.external_id.namespace, line.external_id.value))
    except Problem as problem:
        raise problem.under("/data") from None
    return wanted


def _require_id(wanted: Draft, line: ImportLine) -> None:
    """Refuse a line that names one record and holds another."""
    if line.id is not None and wanted.claimed.get("id", line.id) != line.id:
        detail = f"The line says that the record's id is {line.id}."
        raise invalid_record([Fault(("id",), "not-allowed", detail)])


def _too_long(limit: int) -> Problem:
    return Problem(BODY_TOO_LARGE, f"A line of this sort has at most {limit} bytes.")


def _names(line: ImportLine | None) -> list[tuple[str, ...]]:
    """Give the names by which a line's record could be named by another line."""
    if line is None:
        return []
    names: list[tuple[str, ...]] = [(line.type, line.id)] if line.id is not None else []
    if line.external_id is not None:
        names.append((line.type, line.external_id.namespace, line.external_id.value))
    return names


# --- a batch ---------------------------------------------------------------------------------


class _Moved(Exception):  # noqa: N818 - it is no error
    """A record changed between the look and the write."""


_RETRIED = (
    asyncpg.UniqueViolationError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.DeadlockDetectedError,
    _Moved,
)


async def _apply(this: Run, batch: Sequence[Entry]) -> list[Done]:
    """Write a batch in one transaction; line by line if that fails."""
    if (told := await _withdrawn(this)) is not None:
        return [_refuse(entry, told) for entry in batch]
    for _ in range(_TRIES):
        try:
            async with _transaction(this, deletes=_deletes(batch)):
                return await _write(this, batch)
        except _RETRIED as error:
            if len(batch) > 1:
                return [done for entry in batch for done in await _apply(this, [entry])]
            if isinstance(error, asyncpg.UniqueViolationError):
                if _another_was_first(error, batch[0]):
                    continue
                return [_refuse(batch[0], from_database(error) or unavailable(""))]
            deletes = isinstance(error, asyncpg.ForeignKeyViolationError) and _deletes(batch)
            if deletes and (told := await _still_referenced(this, batch[0])):
                return [_refuse(batch[0], told)]
    return [_refuse(batch[0], contended())]


async def _withdrawn(this: Run) -> Problem | None:
    """Give why nothing more is written; of an atomic run nothing at all is.

    Once known it stays: the database may be away when it is asked again.
    """
    if this.withdrawn is None and this.still is not None:
        try:
            await this.still(this.connection)
        except Problem as problem:
            if this.atomic:
                raise
            this.withdrawn = problem
    return this.withdrawn


def _another_was_first(error: asyncpg.UniqueViolationError, entry: Entry) -> bool:
    """Tell whether the line's own record was created meanwhile: the next look finds it."""
    line = entry.line
    if line is None:
        return False
    if line.id is not None:
        return is_own_id(error, RESOURCES[line.type])
    name = line.external_id
    return name is not None and is_external_id(error, (name.namespace, name.value))


def _deletes(batch: Sequence[Entry]) -> bool:
    return any(e.line is not None and e.line.op is ImportOp.DELETE for e in batch)


@asynccontextmanager
async def _transaction(this: Run, *, deletes: bool) -> AsyncIterator[None]:
    """Hold a batch together: a transaction, or a savepoint in the run's own.

    Link keys are deferred, since lines of a batch refer to each other, but for deletions, where the
    key says at once which line it refuses.
    """
    alone = not (this.atomic or this.dry_run)
    async with this.connection.transaction():
        if alone:
            await _prepare(this)
        if deletes and not this.atomic:
            await this.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        yield
        if this.dry_run and not this.atomic:
            await this.connection.execute(
                "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
            )


class Change(NamedTuple):
    """A record to be stored, for a line."""

    entry: Entry
    id: str
    current: Current | None
    record: Create
    forward: list[Reference]


class Deletion(NamedTuple):
    """A record to be deleted, for a line."""

    entry: Entry
    current: Current


async def _write(this: Run, batch: Sequence[Entry]) -> list[Done]:
    """Look up, settle and store a batch; give the results in the lines' order."""
    looks = await _look_up(this, batch)
    done: dict[int, Done] = {}
    changes: dict[RecordType, list[Change]] = {of: [] for of in RESOURCES}
    deletions: dict[RecordType, list[Deletion]] = {of: [] for of in RESOURCES}
    for entry in batch:
        if entry.line is None or entry.problem is not None:
            problem = entry.problem or unavailable("")
            done[entry.number] = _refuse(entry, problem)
            continue
        of, look = RESOURCES[entry.line.type], looks[entry.line.type]
        settled: Done | Change | Deletion
        if entry.named and (left := _leave_alone(entry, look)):
            done[entry.number] = left
            continue
        try:
            current = _current(of, entry.line, look)
            if entry.wanted is not None:
                settled = _settle(this, of, entry, current, look)
            else:
                settled = _leave(entry, current)
        except Problem as problem:
            settled = _refuse(entry, problem)
        if isinstance(settled, Done):
            done[entry.number] = settled
        elif isinstance(settled, Change):
            changes[of.type].append(settled)
        else:
            deletions[of.type].append(settled)
    for name, listed in changes.items():
        done |= await _store(this, RESOURCES[name], listed)
    for name, leaving in deletions.items():
        done |= await _delete(this, RESOURCES[name], leaving)
    return [done[entry.number] for entry in batch]


async def _look_up(this: Run, batch: Sequence[Entry]) -> dict[RecordType, Found]:
    """Look up what a batch names and refers to, one statement a type.

    What is known of others is shared: a line may refer to what an earlier one of the batch writes.
    """
    looks: dict[RecordType, Found] = {}
    shared = Found()
    for name, of in RESOURCES.items():
        entries = [e for e in batch if e.line is not None and e.line.type is name]
        found = Found()
        if entries:
            found = await look_up(
                this.connection,
                this.author,
                of,
                [e.wanted.record for e in entries if e.wanted is not None],
                ids=[e.line.id for e in entries if e.line is not None and e.line.id],
                external=[
                    (e.line.external_id.namespace, e.line.external_id.value)
                    for e in entries
                    if e.line is not None and e.line.external_id is not None
                ],
            )
        for to, versions in found.versions.items():
            shared.versions[to].update(versions)
        shared.texts.update(found.texts)
        looks[name] = Found(found.current, found.hidden, shared.versions, shared.texts)
    return looks


def _current(of: Resource, line: ImportLine, look: Found) -> Current | None:
    """Find the record that a line names, and hold it to the line's `if_match`."""
    current = look.current.get(line.id) if line.id is not None else None
    by_external_id = line.id is None and line.external_id is not None
    if by_external_id:
        current = _named(of, line, look.current.values())
    if line.if_match is not None:
        tag = etag(current.id, current.version) if current else None
        if tag is None or line.if_match not in ("*", tag):
            held = msgspec.Raw(current.doc) if current and not current.deleted else None
            detail = "The record is at another version." if current else "There is no such record."
            raise Problem(PRECONDITION_FAILED, detail, current=held)
    if current is None and line.op is ImportOp.UPSERT:
        if line.id is not None and line.id in look.hidden:
            raise name_taken("id")
        if by_external_id and _named(of, line, look.hidden.values()):
            raise name_taken("external id")
    return current


def _named(of: Resource, line: ImportLine, among: Iterable[Current]) -> Current | None:
    """Find the record that has the external id of a line."""
    assert line.external_id is not None  # noqa: S101 - for the type checker
    name = (line.external_id.namespace, line.external_id.value)
    return next((c for c in among if name in _external_ids(of, c)), None)


def _external_ids(of: Resource, current: Current) -> list[tuple[str, str]]:
    _, content = stored(of, current.doc)
    return [(e["namespace"], e["value"]) for e in content["external_ids"]]


def _settle(
    this: Run, of: Resource, entry: Entry, current: Current | None, look: Found
) -> Done | Change:
    """Hold a line's record to what is known, and let later lines know of it."""
    assert entry.line is not None  # noqa: S101 - for the type checker
    assert entry.wanted is not None  # noqa: S101
    identity = current.id if current is not None else entry.line.id or new_id()
    forward: list[Reference] = []
    try:
        record, unchanged = settle(
            of, identity, entry.wanted, current, look, forward=forward if this.atomic else None
        )
    except Problem as problem:
        raise problem.under("/data") from None
    if current is not None and unchanged:
        return _result(entry, "unchanged", 200, identity, current.version)
    version = current.version + 1 if current is not None else 1
    look.versions[of.type][identity] = version
    if of.type is RecordType.ARTICLE:
        look.texts[identity, version] = getattr(record, "text", None)
    return Change(entry, identity, current, record, forward)


def _leave_alone(entry: Entry, look: Found) -> Done | None:
    """Give the result of a line whose record, named by us, was created before."""
    assert entry.line is not None  # noqa: S101 - for the type checker
    identity = entry.line.id or ""
    if current := look.current.get(identity):
        return _result(entry, "unchanged", 200, identity, current.version)
    if identity in look.hidden:
        return _result(entry, "unchanged", 200, identity, None)
    return None


def _leave(entry: Entry, current: Current | None) -> Done | Deletion:
    """Find what a line is to delete; what is deleted already stays so."""
    if current is None:
        raise Problem(NOT_FOUND, "There is no such record.")
    if current.deleted:
        return _result(entry, "unchanged", 200, current.id, current.version)
    return Deletion(entry, current)


async def _store(this: Run, of: Resource, changes: Sequence[Change]) -> dict[int, Done]:
    """Write the records of one type: at most one INSERT and one UPDATE."""
    done: dict[int, Done] = {}
    for statement, listed in (
        (sql.insert(of.table), [c for c in changes if c.current is None]),
        (sql.update(of.table), [c for c in changes if c.current is not None]),
    ):
        if not listed:
            continue
        rows = rows_of((c.id, c.current.version if c.current else None, c.record) for c in listed)
        written = await this.connection.fetch(statement, rows, this.author.actor)
        versions = {str(row["id"]): row["version"] for row in written}
        for change in listed:
            if change.current is not None and text_changes(of, change.current, change.record):
                version = versions.get(change.id, change.current.version)
                await reanchor(this.connection, this.author, change.current, change.record, version)
        for change in listed:
            if change.id not in versions:
                raise _Moved
            created = change.current is None
            written_as = ("created", 201) if created else ("updated", 200)
            told = _result(change.entry, *written_as, change.id, versions[change.id])
            done[change.entry.number] = told._replace(forward=change.forward)
    return done


async def _delete(this: Run, of: Resource, leaving: Sequence[Deletion]) -> dict[int, Done]:
    """Delete the records of one type."""
    if not leaving:
        return {}
    ids = [current.id for _, current in leaving]
    was = [current.version for _, current in leaving]
    rows = await this.connection.fetch(sql.delete_many(of.table), ids, was, this.author.actor)
    versions = {str(row["id"]): row["version"] for row in rows}
    if len(versions) < len(leaving):
        raise _Moved
    return {
        entry.number: _result(entry, "deleted", 200, current.id, versions[current.id])._replace(
            deleted=current.id
        )
        for entry, current in leaving
    }


async def _still_referenced(this: Run, entry: Entry) -> Problem | None:
    """Name who refers to the record of a line that was to delete it."""
    assert entry.line is not None  # noqa: S101 - for the type checker
    of = RESOURCES[entry.line.type]
    looks = await _look_up(this, [entry])
    current = _current(of, entry.line, looks[of.type])
    if current is None:
        return None
    return await still_referenced(this.connection, this.author, of, current.id)


# --- results ---------------------------------------------------------------------------------


def _result(entry: Entry, count: str, status: int, identity: str, version: int | None) -> Done:
    result = ImportResult(
        line=entry.number,
        status=status,
        type=entry.line.type if entry.line else None,
        id=identity,
        version=version,
        changed=count != "unchanged",
    )
    return Done(count, result)


def _refuse(entry: Entry, problem: Problem) -> Done:
    line = entry.line
    identity = line.id if line and not entry.named else None
    return _refused(entry.number, line.type if line else None, identity, problem)


def _refused(number: int, kind: RecordType | None, identity: str | None, problem: Problem) -> Done:
    result = ImportResult(
        line=number,
        status=int(problem.kind.status),
        type=kind,
        id=identity,
        problem=problem.document("/v1/import"),
    )
    return Done("refused", result)


async def _refusals(this: Run) -> bool:
    """Tell whether an atomic run has refused a line, once all that was put off is checked."""
    last = 0
    for result, forward, deleted in this.put_off:
        number, name = result["line"], RecordType[result["type"].upper()]
        problem = None
        if forward:
            references = [Reference(tuple(p), RecordType[to.upper()], i) for p, to, i in forward]
            if missing := await _missing(this, references):
                problem = invalid_record(unknown(reference) for reference in missing).under("/data")
        elif deleted:
            problem = await still_referenced(this.connection, this.author, RESOURCES[name], deleted)
        if problem is not None:
            if number < last or not this.late:
                this.late.append(Spool())
            last = number
            done = _refused(number, name, result["id"], problem)
            this.late[-1].add((done.counted, done.result))
    return bool(this.late) or any(
        counted == "refused" for spool in this.results for counted, _ in spool
    )


async def _missing(this: Run, references: Sequence[Reference]) -> list[Reference]:
    """List the references that name no live record that the caller sees."""
    missing = []
    for of in RESOURCES.values():
        named = [r for r in references if r.to is of.type]
        if named:
            query = this.author.caller.query(sql.live(of.table))
            rows = await this.connection.fetch(query, [r.id for r in named])
            live = {str(row["id"]) for row in rows}
            missing += [r for r in named if r.id not in live]
    return missing


def _in_line_order(this: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Merge the results, of which an atomic run has a file a type; late ones replace others."""
    last = 0
    for count, result in heapq.merge(*this.late, *this.results, key=lambda each: each[1]["line"]):
        if result["line"] != last:
            last = result["line"]
            yield count, result


async def _answer(this: Run, *, kept: bool) -> Spool:
    """Write the answer: a line for each result, and the totals."""
    counts = ImportCounts()
    answer = Spool()
    for number, (count, result) in enumerate(_in_line_order(this)):
        counts.lines += 1
        if this.refused and count != "refused":
            answer.add(result | _not_applied())
        else:
            setattr(counts, count, getattr(counts, count) + 1)
            answer.add(result)
        if number % 1_000 == 0:
            await asyncio.sleep(0)
    answer.add(
        ImportTotals(totals=counts, atomic=this.atomic, dry_run=this.dry_run, committed=kept)
    )
    return answer


def _not_applied() -> dict[str, Any]:
    """Give what stands in the result of a good line of an atomic run that kept nothing."""
    problem = Problem(NOT_APPLIED)
    told = {"status": int(problem.kind.status), "version": None, "changed": False}
    return told | {"problem": problem.document("/v1/import")}
