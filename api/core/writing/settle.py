"""Settle a draft: check it against the stored records, and fill in what the server sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, NamedTuple, cast

import msgspec

from api.core import anchors
from api.core.errors import NOT_UNIQUE, Problem, invalid_record
from api.core.merged import refuse_merged
from api.core.resource import Resource
from api.core.validation import check, read_object
from api.core.writing.look_up import Current, Found, appearances_of
from schemas.base import MAX_EXTERNAL_IDS, Create, ExternalId, Fault
from schemas.scalars import moment
from schemas.shapes import fields
from schemas.vocabularies import RecordType
from schemas.walking import Reference, references, references_in, with_references
from schemas.walking import faults as all_faults


class Stored(NamedTuple):
    """A record as it is stored, taken apart."""

    server: dict[str, Any]  # the properties that the server sets
    content: dict[str, Any]  # those of the client
    record: Create  # the same as a Struct


class Draft(NamedTuple):
    """A record as a client wants it, before it is compared with the database."""

    record: Create
    claimed: Mapping[str, Any]  # the properties sent that the server sets
    from_elsewhere: bool = False  # whether it was exported by another server
    before: Stored | None = None  # the record that it was made from, by a patch
    referred: Sequence[Reference] | None = None  # its references, if they were listed already


class Settled(NamedTuple):
    """A record as it is to be stored, and whether it is stored like that already."""

    record: Create
    unchanged: bool


class InvalidRecord(Problem):
    """The problem of a document that is no valid record.

    It may also refer to records that do not exist, which only the database can tell.
    """

    def __init__(self, faults: Sequence[Fault], references: Sequence[Reference]) -> None:
        """Keep the faults, and the references that could be read all the same."""
        found = invalid_record(faults)
        super().__init__(found.kind, found.detail, errors=found.errors)
        self.faults = faults
        self.references = references

    def completed(self, resource: Resource, current: Current | None, found: Found) -> Problem:
        """Add the references that name no record that was found."""
        missing = self.missing(resource, current, found)
        return invalid_record([*self.faults, *map(unknown, missing)], ill_formed=True)

    def missing(self, resource: Resource, current: Current | None, found: Found) -> list[Reference]:
        """List the references that name no record that was found."""
        before = None if current is None else read_stored(resource, current).record
        return _missing(self.references, before, current, found)


def draft(resource: Resource, document: dict[str, Any]) -> Draft:
    """Make a record of a document that a client sent."""
    claimed, content = split(resource, document)
    record, faults = check(content, resource.create)
    if record is None or faults:
        raise InvalidRecord(faults, list(references_in(content, resource.create)))
    return Draft(record, claimed)


def read_draft(resource: Resource, body: bytes) -> Draft:
    """Make a record of the body that a client sent."""
    return draft(resource, read_object(body))


def from_elsewhere(wanted: Draft) -> Draft:
    """Drop what another server has set in a record."""
    record = wanted.record
    if appearances := [
        msgspec.structs.replace(each, article_version=None) for each in appearances_of(record)
    ]:
        record = msgspec.structs.replace(record, appearances=appearances)
    record.forget(wanted.claimed)
    return Draft(record, {}, from_elsewhere=True)


def with_external_id(record: Create, pair: tuple[str, str]) -> None:
    """Add an external id, a namespace and a value, to a record that does not have it."""
    namespace, value = pair
    if all((e.namespace, e.value) != pair for e in record.external_ids):
        added = ExternalId(namespace=namespace, value=value)
        record.external_ids = [*record.external_ids, added]
    if len(record.external_ids) > MAX_EXTERNAL_IDS:
        detail = (
            "With the external id by which you name it, the record would have more than "
            f"{MAX_EXTERNAL_IDS}; leave one out."
        )
        raise invalid_record([Fault(("external_ids",), "invalid-value", detail)])


def stored(resource: Resource, doc: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a stored document: the properties that the server sets, and those of the client."""
    return split(resource, msgspec.json.decode(doc))


def split(resource: Resource, document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a document into the properties that the server sets, and those of the client."""
    names = read_only(resource)
    if names.isdisjoint(document):
        return {}, document
    claimed = {key: value for key, value in document.items() if key in names}
    content = {key: value for key, value in document.items() if key not in names}
    return claimed, content


@cache
def read_only(resource: Resource) -> frozenset[str]:
    """Name the properties of a record that the server sets."""
    written = {field.encode_name for field in fields(resource.create)}
    return frozenset(resource.record.__struct_fields__) - written


def settle(
    resource: Resource,
    identity: str,
    wanted: Draft,
    current: Current | None,
    found: Found,
    *,
    forward: list[Reference] | None = None,
) -> Settled:
    """Check a draft against what is known, and fill in what the server sets inside it.

    Raises one problem that lists every fault. If `forward` is given, references to unknown records
    are appended to it, for the caller to check later, and are no faults.
    """
    before: Create | None = None
    server: dict[str, Any] = {}
    # The draft stays as it was sent: a write that starts over settles it again.
    record = copy(wanted.record)
    if current is not None:
        refuse_merged(resource, current.doc)
        server, _, before = wanted.before or read_stored(resource, current)
        record.keep(before, server)
    elif wanted.claimed:
        record.forget(wanted.claimed)
        server = {"id": identity, "version": 1, **resource.derive(record)}
    faults = [
        Fault(
            (name,),
            "read-only",
            f"The server sets `{name}`. Leave it out, or send it back unchanged.",
        )
        for name, value in wanted.claimed.items()
        if name not in server or not _same(server[name], value)
    ]
    others = []
    only = _changed(record, before, current)
    listed = wanted.referred if only is None else None
    for reference in references(record, only) if listed is None else listed:
        if reference.to == resource.type and meant(reference, found) == identity:
            faults.append(Fault(reference.path, "self-reference", "A record can't name itself."))
        else:
            others.append(reference)
    missing = _missing(others, before, current, found)
    if forward is None:
        faults += map(unknown, missing)
    else:
        forward += missing
    if new := _merged(others, before, current, found):
        record = cast("Create", with_references(record, RecordType.SOURCE, new))
        faults += all_faults(record)
    printed_before = appearances_of(before) if before else ()
    if appearances_of(record) != printed_before:
        appearances = [msgspec.structs.replace(each) for each in appearances_of(record)]
        faults += anchors.settle(
            appearances,
            printed_before,
            found.versions[RecordType.ARTICLE],
            found.texts,
            from_elsewhere=wanted.from_elsewhere,
        )
        record = msgspec.structs.replace(record, appearances=appearances)
    if faults:
        raise invalid_record(faults)
    return Settled(record, current is not None and not current.deleted and record == before)


def meant(reference: Reference, found: Found) -> str:
    """Give the id that a reference means: for a merged source, that of its survivor."""
    if reference.to is not RecordType.SOURCE:
        return reference.id
    return found.survivors.get(reference.id, reference.id)


def _merged(
    references: Iterable[Reference], before: Create | None, current: Current | None, found: Found
) -> dict[str, str]:
    """Give the survivors of the merged sources that a record names and did not name before.

    Those that it names already are replaced by the merge itself, which can be undone.
    """
    if not found.survivors:
        return {}
    kept = () if current is None or current.deleted else _targets(before)
    return {
        each.id: found.survivors[each.id]
        for each in references
        if each.to is RecordType.SOURCE
        and each.id in found.survivors
        and (each.to, each.id) not in kept
    }


def _same(stored_value: Any, sent: Any) -> bool:  # noqa: ANN401 - JSON
    """Compare a property that the server sets with what was sent; instants have many spellings."""
    if stored_value == sent:
        return True
    both = isinstance(stored_value, str) and isinstance(sent, str) and "T" in stored_value
    return both and moment(stored_value) is not None and moment(stored_value) == moment(sent)


def read_stored(resource: Resource, current: Current) -> Stored:
    """Take a stored record apart."""
    server, content = stored(resource, current.doc)
    return Stored(server, content, msgspec.convert(content, resource.create))


def _changed(
    record: Create, before: Create | None, current: Current | None
) -> frozenset[str] | None:
    """Name the properties that differ from those before; null if the record is new or comes back.

    In the others stand references that were there before, which are kept whatever became of them.
    """
    if before is None or current is None or current.deleted:
        return None
    return frozenset(
        field.encode_name
        for field in fields(type(record))
        if getattr(record, field.name) != getattr(before, field.name)
    )


def _missing(
    references: Iterable[Reference], before: Create | None, current: Current | None, found: Found
) -> list[Reference]:
    """List the references that name no record that was found, nor one that is named already."""
    missing = [each for each in references if each.id not in found.versions[each.to]]
    if not missing or current is None or current.deleted:
        return missing
    kept = _targets(before)
    return [each for each in missing if (each.to, each.id) not in kept]


def _targets(record: Create | None) -> Collection[tuple[RecordType, str]]:
    return {(r.to, r.id) for r in references(record)} if record is not None else ()


def unknown(reference: Reference) -> Fault:
    """Report a reference that names no live record."""
    return Fault(reference.path, "unknown-reference", f"There is no {reference.to} {reference.id}.")


def name_taken(name: str) -> Problem:
    """Refuse to create a record whose name a record has that the caller can't see."""
    return Problem(NOT_UNIQUE, f"Another record has this {name}.")
