"""Examples of records: each noun's example record in each of its operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from api.core import anchors
from api.core.filters import Parameter
from api.core.resource import Resource
from api.core.validation import merge_patch
from api.document.templates import Json
from schemas.changes import Cursor
from schemas.examples import AT, CHANGED_AT, CURSOR, EXAMPLES, KEY_ID, PARAMETERS
from schemas.scalars import Bound, Id
from schemas.shapes import fields, is_vocabulary, shape
from schemas.vocabularies import RecordType


class Story(NamedTuple):
    """One record in its requests and answers, from its creation to its restoration."""

    id: str
    minimal: Json
    create: Json
    new: Json  # the same without what only one record can have
    update: Json
    posted: Json  # version 1 of `new`
    created: Json  # version 1
    updated: Json  # version 2, if `update` comes next
    restored: Json  # version 3, if a deletion and a restoration come next
    revision: Json

    @property
    def external_id(self) -> Json:
        """The record's name in another system."""
        pair: Json = self.create["external_ids"][0]
        return pair


_UNIQUE: Final = ("external_ids", "url")


@cache
def story(resource: Resource) -> Story:
    """Take the example record of a noun through its operations."""
    identity, minimal, create, update, computed = EXAMPLES[resource.type]
    create, update = dict(create), dict(update)
    new = {name: value for name, value in create.items() if name not in _UNIQUE}
    changed = merge_patch(create, update)
    created = _record(resource, identity, create, 1, computed)
    revision = {"version": 1, "op": "created", "at": AT, "actor": KEY_ID, "changed": []}
    return Story(
        identity,
        dict(minimal),
        create,
        new,
        update,
        _record(resource, identity, new, 1, computed),
        created,
        _record(resource, identity, changed, 2, computed),
        _record(resource, identity, create, 3, computed),
        {**revision, "record": created},
    )


def _record(
    resource: Resource, identity: str, content: Json, version: int, computed: Mapping[str, Any]
) -> Json:
    """Write a record as the service answers it."""
    record = msgspec.convert(content, resource.create)
    text = EXAMPLES[RecordType.ARTICLE].create["text"]
    article = EXAMPLES[RecordType.ARTICLE].id
    appearances = getattr(record, "appearances", ())
    faults = list(anchors.settle(appearances, (), {article: 1}, {(article, 1): text}))
    if faults:
        raise ValueError(faults)
    values = {
        **msgspec.to_builtins(record),
        **computed,
        "id": identity,
        "version": version,
        "created_at": AT,
        "updated_at": AT if version == 1 else CHANGED_AT,
    }
    return {field.encode_name: values[field.encode_name] for field in fields(resource.record)}


def of_parameter(parameter: Parameter, record_type: RecordType | None = None) -> Any:  # noqa: ANN401 - JSON
    """Give an example of a parameter; `record_type` is the type whose list has the parameter.

    The example comes from the parameter, from the table of examples, or from the type. If none of
    them has one, that is an error.
    """
    value = parameter.example or PARAMETERS.get(parameter.name)
    if value is None:
        value = _of_type(parameter, record_type)
    return [value] if parameter.many else value


def _of_type(parameter: Parameter, record_type: RecordType | None) -> Any:  # noqa: ANN401 - JSON
    expected = shape(parameter.type)
    if expected.instant:
        return AT
    if parameter.type == Bound:
        return AT.partition("T")[0]
    if parameter.terms:
        return list(parameter.terms[:2])
    if is_vocabulary(expected.kind):
        return next(iter(expected.kind)).value
    if parameter.type == Cursor:
        return CURSOR
    refers_to = expected.refers_to or (record_type if parameter.type == Id else None)
    if refers_to is None:
        raise KeyError(parameter.name)
    return EXAMPLES[refers_to].id
