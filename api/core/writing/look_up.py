"""Look up all that has to be known before a write, in one statement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

from api.core import anchors
from api.core.db import Connection, Row
from api.core.request import Author
from api.core.resource import Resource
from api.core.sql import Table, compose, plural, render
from schemas.base import Part, Reference, references
from schemas.parts import Appearance
from schemas.vocabularies import RecordType


class Current(NamedTuple):
    """A record as it is stored."""

    id: str
    version: int
    deleted: bool
    doc: bytes


@dataclass(slots=True)
class Found:
    """What is known of the database before a write."""

    current: dict[str, Current] = field(default_factory=dict)
    # Records that were looked for by id or external id, but do not exist for the caller.
    hidden: dict[str, Current] = field(default_factory=dict)
    # The ids of the records that were looked for by external id: by namespace and value.
    ids: dict[tuple[str, str], str] = field(default_factory=dict)
    # The versions of the live records that are referred to and that the caller sees.
    versions: dict[RecordType, dict[str, int]] = field(
        default_factory=lambda: {record_type: {} for record_type in RecordType}
    )
    texts: dict[tuple[str, int], str | None] = field(default_factory=dict)
    size: int = 0  # of the documents and texts


# --- the statement ---------------------------------------------------------------------------

# Each row has a role. A record that is looked for is `current`, or `hidden` if the caller does not
# see it: its names are taken all the same. A record to which others refer has its type as its role.
# The text of an earlier version of an article has the role `text`.
_CURRENT: Final = """
        SELECT CASE WHEN :sees({type}, t) THEN 'current' ELSE 'hidden' END AS role,
               t.id, t.version, t.deleted_at IS NOT NULL AS deleted, t.doc, NULL::text AS text,
               {name} AS name"""
_BY_ID: Final = f"""{_CURRENT.replace("{name}", "NULL::text[]")}
        FROM {{table}} AS t WHERE t.id = ANY(:ids::uuid[])"""
_BY_EXTERNAL_ID: Final = f"""{_CURRENT.replace("{name}", "ARRAY[w.namespace, w.value]")}
        FROM unnest(:namespaces::text[], :values::text[]) AS w(namespace, value)
        JOIN external_ids AS e
            ON e.record_type = '{{type}}' AND e.namespace = w.namespace AND e.value = w.value
        JOIN {{table}} AS t ON t.id = e.record_id"""
_REFERRED: Final = """
        SELECT '{target}' AS role, t.live_id, t.version, false, NULL::bytea, {text}, NULL
        FROM {targets} AS t
        WHERE t.live_id = ANY(:{target}_ids::uuid[]) AND :sees({target}, t)"""
_TEXT: Final = "CASE WHEN t.live_id = ANY(:text_ids::uuid[]) THEN t.text END"
_EARLIER_TEXT: Final = """
        SELECT 'text' AS role, r.record_id, r.version, false, NULL::bytea,
               convert_from(r.doc, 'UTF8')::json ->> 'text', NULL
        FROM unnest(:earlier_ids::uuid[], :earlier_versions::integer[]) AS w(id, version)
        JOIN revisions AS r
            ON r.record_type = 'article' AND r.record_id = w.id AND r.version = w.version
            AND r.doc IS NOT NULL AND :saw(article, r)
        JOIN articles AS t ON t.id = r.record_id AND :sees(article, t)"""


@cache
def _statement(table: Table, parts: tuple[str, ...]) -> str:
    """Write the statement that looks up only what there is to look up."""
    return "\n        UNION ALL".join(table.compose(_part(name)) for name in parts)


def _part(name: str) -> str:
    if name in _PARTS:
        return _PARTS[name]
    target = RecordType[name.upper()]
    text = _TEXT if target is RecordType.ARTICLE else "NULL"
    return compose(_REFERRED, target=target, targets=plural(target), text=text)


_PARTS: Final = {"ids": _BY_ID, "external_ids": _BY_EXTERNAL_ID, "earlier": _EARLIER_TEXT}


async def look_up(
    connection: Connection,
    author: Author,
    resource: Resource,
    records: Iterable[Part],
    *,
    ids: Collection[str] = (),
    external: Collection[tuple[str, str]] = (),
    more: Iterable[Reference] = (),
) -> Found:
    """Look up records by id and external id, and the records to which the given `records` refer.

    Of the latter, and of the targets of `more` references, those are found that the caller sees.
    """
    targets: dict[RecordType, set[str]] = {record_type: set() for record_type in RecordType}
    records = list(records)
    for reference in chain(more, *map(references, records)):
        targets[reference.to].add(reference.id)
    texts: set[str] = set()
    earlier: set[tuple[str, int]] = set()
    for record in records:
        current, versions = anchors.texts_needed(appearances_of(record), ())
        texts |= current
        earlier |= versions

    parts: dict[str, dict[str, list[Any]]] = {}
    if ids:
        parts["ids"] = {"ids": list(ids)}
    if external:
        namespaces, values = zip(*external, strict=True)
        parts["external_ids"] = {"namespaces": list(namespaces), "values": list(values)}
    for record_type, target_ids in targets.items():
        if target_ids:
            parts[record_type] = {f"{record_type}_ids": list(target_ids)}
            if record_type is RecordType.ARTICLE:
                parts[record_type]["text_ids"] = list(texts)
    if earlier:
        articles, numbers = zip(*earlier, strict=True)
        parts["earlier"] = {"earlier_ids": list(articles), "earlier_versions": list(numbers)}
    if not parts:
        return Found()

    arguments = {name: value for part in parts.values() for name, value in part.items()}
    statement = _statement(resource.table, tuple(parts))
    return _read(await connection.fetch(*render(statement, author.caller, **arguments)))


def _read(rows: Iterable[Row]) -> Found:
    """Sort the statement's rows by their roles."""
    found = Found()
    for role, uuid, version, deleted, doc, text, name in rows:
        identity = str(uuid)
        found.size += len(doc or text or ())
        if name is not None:
            namespace, value = name
            found.ids[namespace, value] = identity
        if role == "current":
            found.current[identity] = Current(identity, version, deleted, doc)
        elif role == "hidden":
            found.hidden[identity] = Current(identity, version, deleted, doc)
        elif role == "text":
            found.texts[identity, version] = text
        else:
            found.versions[RecordType[role.upper()]][identity] = version
            if role == RecordType.ARTICLE:
                found.texts[identity, version] = text
    return found


def appearances_of(record: Part) -> Sequence[Appearance]:
    """Give the places where a record is printed; a type without any has none."""
    return getattr(record, "appearances", None) or ()
