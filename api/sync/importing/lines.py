"""Read the lines of an import, and check each as strictly as the body of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from api.core.caller import WRITE
from api.core.errors import BODY_TOO_LARGE, FORBIDDEN, Problem, invalid_record
from api.core.large_input import without_frames
from api.core.resource import Resource
from api.core.validation import check, read_object
from api.core.writing.look_up import Found
from api.core.writing.settle import Draft, InvalidRecord, draft, from_elsewhere, with_external_id
from api.exchange.rows import RowState
from api.records.nouns import RESOURCES
from api.sync.importing.named import Named, NamedReference, put_stand_ins
from api.sync.importing.spool import JSON_SPACE
from api.sync.importing.state import ImportRun
from schemas.base import Fault
from schemas.imports import ImportLine
from schemas.vocabularies import RecordType
from schemas.walking import references


class Entry(NamedTuple):
    """A line as it was read: what it asks for, or the problem that it has."""

    number: int
    size: int
    line: ImportLine | None
    draft: Draft | None
    problem: Problem | None
    id_is_ours: bool = False  # the line names no record; its id comes from the idempotency key
    invalid: InvalidRecord | None = None  # if that is what the problem is about
    named: Sequence[NamedReference] = ()  # the references by external id, which have stand-ins
    row: RowState | None = None  # of a table

    @property
    def known_line(self) -> ImportLine:
        """The line of an entry without a problem."""
        assert self.line is not None  # noqa: S101 - for the type checker
        return self.line

    @property
    def known_row(self) -> RowState:
        """The row of an entry of a table."""
        assert self.row is not None  # noqa: S101 - for the type checker
        return self.row


def read_line(run: ImportRun, number: int, raw: bytes | None) -> Entry | None:
    """Read a line; null for the first and the last line of an export, which ask for nothing.

    `raw` is null if the line is too long to be read.
    """
    settings = run.settings
    size = len(raw or b"")
    line = None
    named: Sequence[NamedReference] = ()
    id_is_ours = False
    try:
        if raw is None:
            raise _too_long(settings.article_body_bytes)
        document = read_object(raw.strip(JSON_SPACE))
        if _is_frame(document):
            return None
        line, faults = check(document, ImportLine)
        if line is None or faults:
            raise invalid_record(faults)
        resource = RESOURCES[line.type]
        require_scope(run, line.type)
        if size > settings.body_bytes and not resource.large:
            raise _too_long(settings.body_bytes)
        wanted = None
        if line.data is not None:
            found = put_stand_ins(run.stand_ins, line.data, resource.create)
            named = found.references
            wanted = _read_draft(resource, line, found)
            line.data = None  # the record stands for it, and takes less memory
        if run.sender.line_ids is not None and line.id is None and line.external_id is None:
            line.id = run.sender.line_ids(number)
            id_is_ours = True
    except InvalidRecord as invalid:
        under = invalid.under("/data")
        return Entry(number, size, line, None, under, False, without_frames(invalid), named)
    except Problem as problem:
        return Entry(number, size, line, None, without_frames(problem))
    return Entry(number, size, line, wanted, None, id_is_ours, named=named)


def identity_of(line: ImportLine, found: Found) -> str:
    """Give the id of the record that a line names; "" if it names none, or none that is known."""
    if line.id is not None or line.external_id is None:
        return line.id or ""
    return found.ids.get((line.external_id.namespace, line.external_id.value), "")


def record_names(line: ImportLine | None) -> list[tuple[str, ...]]:
    """List the names by which another line could name the same record."""
    if line is None:
        return []
    names: list[tuple[str, ...]] = [(line.type, line.id)] if line.id is not None else []
    if line.external_id is not None:
        names.append((line.type, line.external_id.namespace, line.external_id.value))
    return names


def _is_frame(document: dict[str, Any]) -> bool:
    """Tell whether a line is an export's first, with its cursor, or its last, with its count."""
    return ("cursor" in document and "type" not in document) or document.keys() == {"count"}


def require_scope(run: ImportRun, record_type: RecordType) -> None:
    """Refuse to write a record whose type the key may not write."""
    if not run.author.caller.may(scope := WRITE[record_type]):
        raise Problem(FORBIDDEN, f"This line needs a key with the scope `{scope}`.")


def _read_draft(resource: Resource, line: ImportLine, named: Named) -> Draft:
    wanted = well_formed(resource, line.data or {}, named)
    try:
        if line.version is not None:
            _require_same_id(wanted, line)
            wanted = from_elsewhere(wanted)
        if line.external_id is not None:
            with_external_id(wanted.record, (line.external_id.namespace, line.external_id.value))
    except Problem as problem:
        raise problem.under("/data") from None
    return wanted._replace(referred=references(wanted.record))


def well_formed(resource: Resource, document: dict[str, Any], named: Named) -> Draft:
    """Make a record of a document; refuse it with all of its faults and those of external ids."""
    try:
        wanted = draft(resource, document)
    except InvalidRecord as invalid:
        if not named.faults:
            raise
        broken, referred = invalid.faults, invalid.references
    else:
        if not named.faults:
            return wanted
        broken, referred = (), references(wanted.record)
    known = [each for each in referred if each.id not in named.ill_formed]
    raise InvalidRecord([*named.faults, *broken], known)


def _require_same_id(wanted: Draft, line: ImportLine) -> None:
    """Refuse a line whose `id` differs from the id in its `data`."""
    if line.id is not None and wanted.claimed.get("id", line.id) != line.id:
        detail = f"The line's `id` is {line.id}; the id in `data` must be the same."
        raise invalid_record([Fault(("id",), "not-allowed", detail)])


def _too_long(limit: int) -> Problem:
    return Problem(BODY_TOO_LARGE, f"A line with a record of this type has at most {limit} bytes.")
