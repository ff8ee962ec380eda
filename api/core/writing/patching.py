"""Merge patches (RFC 7396) of records: read one, and apply it with all the faults that it makes."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo

from api.core.resource import Resource
from api.core.validation import check, keeps_rules, merge_patch, read_object
from api.core.writing.look_up import Current
from api.core.writing.settle import Draft, InvalidRecord, Stored, draft, split, stored
from schemas.base import Create, Fault, Part
from schemas.shapes import fields, shape
from schemas.walking import Reference, references_in


class Patch(NamedTuple):
    """A merge patch that a client sent."""

    content: dict[str, Any]
    claimed: dict[str, Any]  # the properties sent that the server sets
    sent: Part | None  # the content as a Struct; null if it has the wrong form
    faults: list[Fault]
    references: list[Reference]  # if the content has the wrong form: those that can be read


def read_patch(resource: Resource, body: bytes) -> Patch:
    """Read the body of a patch."""
    claimed, content = split(resource, read_object(body))
    sent, faults = check(content, resource.update)
    readable = list(references_in(content, resource.update)) if sent is None else []
    return Patch(content, claimed, sent, faults, readable)


def patched(resource: Resource, current: Current, patch: Patch) -> Draft:
    """Apply a patch to a record; refuse it with the faults of the patch and of the whole record.

    Only the whole record shows that a property which the patch removes is required.
    """
    server, content = stored(resource, current.doc)
    try:
        before = Stored(server, content, msgspec.convert(content, resource.create))
        record = _merged(before, patch)
    except msgspec.ValidationError:
        record = None
    if record is not None and keeps_rules(record, patch.content.keys()):
        return Draft(record, patch.claimed, before=before)
    try:
        merged = draft(resource, merge_patch(content, patch.content))
    except InvalidRecord as invalid:
        told = {(fault.path, fault.code) for fault in invalid.faults}
        others = [each for each in patch.faults if (each.path, each.code) not in told]
        raise InvalidRecord([*invalid.faults, *others], invalid.references) from None
    if patch.faults:
        raise InvalidRecord(patch.faults, patch.references)
    return Draft(merged.record, patch.claimed)


def _merged(before: Stored, patch: Patch) -> Create | None:
    """Apply a patch to a record, property by property; null if that leaves no whole record.

    What the patch leaves alone is taken over as it is. Raises `ValidationError` likewise.
    """
    if patch.sent is None or patch.faults:
        return None
    known = _by_name(type(before.record))
    changes: dict[str, Any] = {}
    for name, value in patch.content.items():
        field = known[name]
        sent = getattr(patch.sent, field.name)
        if value is None:
            if field.required:
                return None
            changes[field.name] = _default(field)
        elif isinstance(sent, Part):
            merged = merge_patch(before.content.get(name), value)
            changes[field.name] = msgspec.convert(merged, shape(field.type).kind)
        else:
            changes[field.name] = sent
    return msgspec.structs.replace(before.record, **changes)


def _default(field: FieldInfo) -> Any:  # noqa: ANN401 - of the field's type
    return field.default_factory() if field.default is NODEFAULT else field.default


@cache
def _by_name(kind: type[Create]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in fields(kind)}
