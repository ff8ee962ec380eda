"""Examples: what becomes of a noun's example record in each of its operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from api.core import anchors
from api.core.filters import Parameter
from api.core.resource import Resource
from api.core.validation import merge_patch
from api.document.faces import Json
from schemas.base import Bound, Id, fields, is_vocabulary, shape
from schemas.changes import Cursor
from schemas.examples import AT, CURSOR, EXAMPLES, KEY_ID, OF_PATHS, PARAMETERS
from schemas.vocabularies import RecordType

CREATED_AT: Final = AT
CHANGED_AT: Final = "2024-12-19T11:30:00.750000Z"


class Story(NamedTuple):
    """The life of one record, as requests and answers show it."""

    id: str
    minimal: Json
    create: Json
    new: Json  # the same without what only one record can have
    update: Json
    posted: Json  # version 1 of `new`
    created: Json  # version 1
    updated: Json  # version 2, had `update` come next
    restored: Json  # version 3, had a deletion come next, and a restoration
    revision: Json

    @property
    def external_id(self) -> Json:
        """The record's name in another system."""
        pair: Json = self.create["external_ids"][0]
        return pair


_UNIQUE: Final = ("external_ids", "url")


@cache
def story(of: Resource) -> Story:
    """Tell what becomes of a noun's example record."""
    identity, minimal, create, update, computed = EXAMPLES[of.type]
    create, update = dict(create), dict(update)
    new = {name: value for name, value in create.items() if name not in _UNIQUE}
    changed = merge_patch(create, update)
    created = _record(of, identity, create, 1, computed)
    told = {"version": 1, "op": "created", "at": CREATED_AT, "actor": KEY_ID, "changed": []}
    return Story(
        identity,
        dict(minimal),
        create,
        new,
        update,
        _record(of, identity, new, 1, computed),
        created,
        _record(of, identity, changed, 2, computed),
        _record(of, identity, create, 3, computed),
        {**told, "record": created},
    )


def _record(
    of: Resource, identity: str, content: Json, version: int, computed: Mapping[str, Any]
) -> Json:
    """Give a record as the service answers it."""
    record = msgspec.convert(content, of.create)
    text = EXAMPLES[RecordType.ARTICLE].create["text"]
    article = EXAMPLES[RecordType.ARTICLE].id
    appearances = getattr(record, "appearances", ())
    faults = list(anchors.settle(appearances, (), {article: 1}, {(article, 1): text}))
    if faults:
        raise ValueError(faults)
    known = {
        **msgspec.to_builtins(record),
        **computed,
        "id": identity,
        "version": version,
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT if version == 1 else CHANGED_AT,
    }
    return {field.encode_name: known[field.encode_name] for field in fields(of.record)}


def of_query(parameter: Parameter, of: RecordType | None = None) -> Any:  # noqa: ANN401 - JSON
    """Give a value of a parameter in the query, of a record type's list or of another operation.

    The table says it, or the type does; a parameter of which nothing is known is an error.
    """
    known = PARAMETERS.get(parameter.name)
    one = _of_type(parameter, of) if known is None else known
    return [one] if parameter.many else one


def _of_type(parameter: Parameter, of: RecordType | None) -> Any:  # noqa: ANN401 - JSON
    found = shape(parameter.type)
    if found.instant:
        return AT
    if parameter.type == Bound:
        return AT.partition("T")[0]
    if parameter.terms:
        return list(parameter.terms[:2])
    if is_vocabulary(found.kind):
        return next(iter(found.kind)).value
    if parameter.type == Cursor:
        return CURSOR
    refers_to = found.refers_to or (of if parameter.type == Id else None)
    if refers_to is None:
        raise KeyError(parameter.name)
    return EXAMPLES[refers_to].id


def of_path(tag: str, parameter: Parameter) -> str:
    """Give a value of a parameter in the path of an operation that is no noun's."""
    return OF_PATHS[tag, parameter.name]
