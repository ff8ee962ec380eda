"""Examples: what becomes of a noun's example record in each of its operations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from api.core import anchors
from api.core.openapi.faces import Json
from api.core.resource import Resource
from api.core.validation import merge_patch
from schemas.base import fields
from schemas.examples import EXAMPLES, KEY_ID
from schemas.vocabularies import RecordType

CREATED_AT: Final = "2024-12-19T10:00:00.250000Z"
CHANGED_AT: Final = "2024-12-19T11:30:00.750000Z"


class Story(NamedTuple):
    """The life of one record, as requests and answers show it."""

    id: str
    create: Json
    update: Json
    created: Json  # version 1
    updated: Json  # version 2, had `update` come next
    restored: Json  # version 3, had a deletion come next, and a restoration
    revision: Json

    @property
    def external_id(self) -> Json:
        """The record's name in another system."""
        pair: Json = self.create["external_ids"][0]
        return pair


@cache
def story(of: Resource) -> Story:
    """Tell what becomes of a noun's example record."""
    identity, create, update, computed = EXAMPLES[of.type]
    create, update = dict(create), dict(update)
    changed = merge_patch(create, update)
    created = _record(of, identity, create, 1, computed)
    told = {"version": 1, "op": "created", "at": CREATED_AT, "actor": KEY_ID, "changed": []}
    return Story(
        identity,
        create,
        update,
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
