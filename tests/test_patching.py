"""A patch is settled by what it changes: as the whole record would be, and with less work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from api.core.resource import Resource
from api.core.validation import merge_patch
from api.core.writing.look_up import Current, Found
from api.core.writing.patching import patched, read_patch
from api.core.writing.settle import InvalidRecord, draft, settle
from api.records.claims import CLAIMS
from schemas.shapes import fields
from schemas.vocabularies import RecordType
from tests.conftest import counted_calls
from tests.factories import EVERY, Body, Noun, complete

IDS = {record_type: str(uuid4()) for record_type in RecordType}


def _stored(resource: Resource, body: Body) -> Current:
    """Give a record as the database would have it; a client's properties come last."""
    identity = str(uuid4())
    server: dict[str, Any] = dict.fromkeys(resource.record.__struct_fields__)
    server |= {"id": identity, "version": 1, "headline_derived": False}
    record = {**{k: v for k, v in server.items() if k in _set_by_server(resource)}, **body}
    return Current(identity, 1, False, json.dumps(record).encode())


def _set_by_server(resource: Resource) -> set[str]:
    written = {field.encode_name for field in fields(resource.create)}
    return set(resource.record.__struct_fields__) - written


def _patches(noun: Noun) -> Iterator[Body]:
    """Give patches of each property: to nothing, to what it is, to a part of it."""
    full = complete(noun, noun.full(IDS))
    least = complete(noun, noun.minimal())
    for name, value in full.items():
        yield {name: None}
        yield {name: value}
        yield {name: least[name]}
        if isinstance(value, dict):
            for inner in value:
                yield {name: {inner: None}}
                yield {name: {inner: value[inner]}, "note": "n"}
        if isinstance(value, list) and value:
            yield {name: [*value, *value], "tags": ["t"]}
    yield full
    yield dict.fromkeys(full)
    yield {}


@pytest.mark.parametrize("noun", EVERY.values(), ids=[str(each) for each in EVERY])
@pytest.mark.parametrize("of", ["full", "least"])
def test_a_patch_makes_the_record_that_the_merged_document_is(noun: Noun, of: str) -> None:
    body = complete(noun, noun.full(IDS) if of == "full" else noun.minimal())
    current = _stored(noun.resource, body)
    for patch in _patches(noun):
        expected = _outcome_of_whole(noun.resource, body, patch)
        assert _outcome(noun.resource, current, patch) == expected, patch


def _outcome(resource: Resource, current: Current, patch: Body) -> Any:
    try:
        return patched(resource, current, read_patch(resource, json.dumps(patch).encode())).record
    except InvalidRecord as invalid:
        return sorted(invalid.faults)


def _outcome_of_whole(resource: Resource, body: Body, patch: Body) -> Any:
    try:
        return draft(resource, merge_patch(body, patch)).record
    except InvalidRecord as invalid:
        told = {(each.path, each.code) for each in invalid.faults}
        own = read_patch(resource, json.dumps(patch).encode()).faults
        return sorted([*invalid.faults, *(f for f in own if (f.path, f.code) not in told)])


def _calls_for_a_note(attributions: int) -> int:
    hops = [{"source_id": str(uuid4()), "position": n} for n in range(attributions)]
    body = msgspec.to_builtins(msgspec.convert({"text": "t", "attributions": hops}, CLAIMS.create))
    current = _stored(CLAIMS, body)
    patch = read_patch(CLAIMS, b'{"note": "seen"}')
    found = Found({current.id: current})
    with counted_calls() as calls:
        settled = settle(CLAIMS, current.id, patched(CLAIMS, current, patch), current, found)
    assert settled.record.note == "seen"
    return calls[0]


def test_what_a_patch_leaves_alone_is_read_once_and_not_checked_again() -> None:
    """Each hop of the chain is one call when the stored record is read, and no more."""
    _calls_for_a_note(1)  # fills the caches
    assert _calls_for_a_note(101) - _calls_for_a_note(1) == 100


def test_references_that_a_patch_leaves_alone_are_not_looked_for() -> None:
    body = complete(EVERY[RecordType.CLAIM], EVERY[RecordType.CLAIM].full(IDS))
    current = _stored(CLAIMS, body)
    found = Found({current.id: current})  # nothing else is known any more
    patch = read_patch(CLAIMS, b'{"note": "seen"}')
    settled = settle(CLAIMS, current.id, patched(CLAIMS, current, patch), current, found)
    assert not settled.unchanged
