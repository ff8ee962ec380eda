"""Merge patches (RFC 7396) of records: read one, and apply it with all the faults that it makes."""

from __future__ import annotations

from typing import Any, NamedTuple

from api.core.resource import Resource
from api.core.validation import check, merge_patch, read_object
from api.core.writing.look_up import Current
from api.core.writing.settle import Draft, InvalidRecord, draft, split, stored
from schemas.base import Fault, Part, Reference, references_in


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
    _, content = stored(resource, current.doc)
    try:
        merged = draft(resource, merge_patch(content, patch.content))
    except InvalidRecord as invalid:
        told = {(fault.path, fault.code) for fault in invalid.faults}
        others = [each for each in patch.faults if (each.path, each.code) not in told]
        raise InvalidRecord([*invalid.faults, *others], invalid.references) from None
    if patch.faults:
        raise InvalidRecord(patch.faults, patch.references)
    return Draft(merged.record, patch.claimed)
