"""Look up everything that a write needs to know, in one statement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

from api.core import anchors
from api.core.db import Connection, Row
from api.core.large_input import in_thread
from api.core.request import Author
from api.core.resource import Resource
from api.core.sql import Table, compose, plural, render
from schemas.base import Part
from schemas.parts import Appearance
from schemas.vocabularies import RecordType
from schemas.walking import Reference, references


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
    # The results of checking spans, for texts that would be too large to hold together.
    texts: MutableMapping[tuple[str, int], anchors.Text | None] = field(default_factory=dict)
    # The survivors of the merged sources that are referred to and that the caller sees.
    survivors: dict[str, str] = field(default_factory=dict)
    # Which record has an external id that is to be given to a record: by namespace and value.
    taken: dict[tuple[str, str], str] = field(default_factory=dict)
    size: int = 0  # of the documents and texts
    largest: int = 0  # of the documents and texts, the largest one

    def named(self, ids: Collection[str] = (), external: Collection[tuple[str, str]] = ()) -> Found:
        """Give what was found for some of the ids and external ids that were looked for."""
        named = {pair: self.ids[pair] for pair in external if pair in self.ids}
        wanted = [*ids, *named.values()]
        return Found(
            {each: self.current[each] for each in wanted if each in self.current},
            {each: self.hidden[each] for each in wanted if each in self.hidden},
            named,
            self.versions,
            self.texts,
            self.survivors,
        )


# --- the statement ---------------------------------------------------------------------------

# Each row has a role. A record that is looked for is `current`, or `hidden` if the caller does not
# see it: its names are taken all the same. A record to which others refer has its type as its role.
# The text of an earlier version of an article has the role `text`; that of the current version,
# which clients name more often, comes with the article.
#
# Planning takes Postgres longer than the look-up itself, so the plan must be one that is kept.
# Postgres keeps it if it would not be cheaper with the values known: `(SELECT :ids)` hides how many
# there are. Each is found by itself, with LIMIT 1, since a plan that was made while a table was
# small would otherwise read the whole table when it has grown.
_CURRENT: Final = """
        SELECT CASE WHEN :sees({type}, t) THEN 'current' ELSE 'hidden' END AS role,
               t.id, t.version, t.deleted_at IS NOT NULL AS deleted, t.doc, NULL::text AS text,
               {name} AS name, NULL::bigint AS left_out"""
_THE_ROW: Final = "(SELECT t.* FROM {table} AS t WHERE t.id = w.id LIMIT 1) AS t"
_ITS_ID: Final = """(
            SELECT e.record_id AS id FROM external_ids AS e
            WHERE e.record_type = '{type}' AND e.namespace = n.namespace AND e.value = n.value
            LIMIT 1
        ) AS w"""
_BY_ID: Final = f"""{_CURRENT.replace("{name}", "NULL::text[]")}
        FROM unnest((SELECT :ids::uuid[])::uuid[]) AS w(id)
        CROSS JOIN LATERAL {_THE_ROW}"""
_BY_EXTERNAL_ID: Final = f"""{_CURRENT.replace("{name}", "ARRAY[n.namespace, n.value]")}
        FROM unnest((SELECT :namespaces::text[])::text[], (SELECT :values::text[])::text[])
            AS n(namespace, value)
        CROSS JOIN LATERAL {_ITS_ID}
        CROSS JOIN LATERAL {_THE_ROW}"""
_TAKEN: Final = """
        SELECT 'taken' AS role, w.id, 0 AS version, false, NULL::bytea, NULL::text,
               ARRAY[n.namespace, n.value], NULL::bigint
        FROM unnest((SELECT :new_namespaces::text[])::text[], (SELECT :new_values::text[])::text[])
            AS n(namespace, value)
        CROSS JOIN LATERAL {its_id}""".replace("{its_id}", _ITS_ID)
_REFERRED: Final = """
        SELECT '{target}' AS role, t.live_id, t.version, false, NULL::bytea,
               NULL::text, NULL::text[], NULL::bigint
        FROM unnest((SELECT :{target}_ids::uuid[])::uuid[]) AS w(id)
        CROSS JOIN LATERAL (SELECT t.* FROM {targets} AS t WHERE t.live_id = w.id LIMIT 1) AS t
        WHERE :sees({target}, t)"""
# Of a merged source, the survivor is found. Merged ones have an index of their own, a small one.
_MERGED: Final = """
        UNION ALL
        SELECT 'merged' AS role, t.live_id, t.version, false, NULL::bytea, w.id::text,
               NULL::text[], NULL::bigint
        FROM unnest((SELECT :source_ids::uuid[])::uuid[]) AS w(id)
        CROSS JOIN LATERAL (
            SELECT t.id FROM sources AS t WHERE t.id = w.id AND t.merged_into_id IS NOT NULL LIMIT 1
        ) AS m
        CROSS JOIN LATERAL (
            SELECT t.* FROM sources AS t WHERE t.live_id = survivor_of(m.id) LIMIT 1
        ) AS t
        WHERE :sees(source, t)"""
# A text that was left out because it, and those before it, have too many bytes comes with its size.
_ARTICLES: Final = """
        SELECT 'article' AS role, s.live_id, s.version, false, NULL::bytea,
               CASE WHEN s.total <= :text_bytes THEN s.text END, NULL,
               CASE WHEN s.total > :text_bytes THEN s.size END
        FROM (
            SELECT t.live_id, t.version, t.size, sum(t.size) OVER (ORDER BY t.live_id) AS total,
                   CASE WHEN t.size IS NOT NULL THEN t.text END AS text
            FROM (
                SELECT t.live_id, t.version, t.text,
                       CASE WHEN w.id = ANY((SELECT :text_ids::uuid[])::uuid[])
                           THEN octet_length(t.text) END AS size
                FROM unnest((SELECT :article_ids::uuid[])::uuid[]) AS w(id)
                CROSS JOIN LATERAL (
                    SELECT t.* FROM articles AS t WHERE t.live_id = w.id LIMIT 1
                ) AS t
                WHERE :sees(article, t)
            ) AS t
        ) AS s"""
_EARLIER_TEXT: Final = """
        SELECT 'text' AS role, s.record_id, s.version, false, NULL::bytea,
               CASE WHEN s.total <= :text_bytes
                   THEN convert_from(s.doc, 'UTF8')::json ->> 'text' END, NULL,
               CASE WHEN s.total > :text_bytes THEN octet_length(s.doc) END
        FROM (
            SELECT r.record_id, r.version, r.doc,
                   sum(octet_length(r.doc)) OVER (ORDER BY r.record_id, r.version) AS total
            FROM unnest(
                (SELECT :earlier_ids::uuid[])::uuid[],
                (SELECT :earlier_versions::integer[])::integer[]
            ) AS w(id, version)
            CROSS JOIN LATERAL (
                SELECT t.version, t.visibility FROM articles AS t WHERE t.id = w.id LIMIT 1
            ) AS t
            CROSS JOIN LATERAL (
                SELECT r.* FROM revisions AS r
                WHERE r.record_type = 'article' AND r.record_id = w.id AND r.version = w.version
                    AND r.version <> t.version
                LIMIT 1
            ) AS r
            WHERE r.doc IS NOT NULL AND :sees(article, t) AND :saw(article, r)
        ) AS s"""
_LEFT_OUT: Final = """
    SELECT w.id, w.version,
           CASE WHEN t.version = w.version THEN t.text ELSE (
               SELECT convert_from(r.doc, 'UTF8')::json ->> 'text' FROM revisions AS r
               WHERE r.record_type = 'article' AND r.record_id = w.id AND r.version = w.version
                   AND r.doc IS NOT NULL AND :saw(article, r)
           ) END AS text
    FROM unnest(:ids::uuid[], :versions::integer[]) AS w(id, version)
    JOIN articles AS t ON t.live_id = w.id AND :sees(article, t)"""
MAX_TEXT_BYTES: Final = 8_388_608
"""How large the texts are together that are read at once, unless a single one is larger.

That is: the current texts, and as much of earlier ones.
"""


@cache
def _statement(table: Table, parts: tuple[str, ...]) -> str:
    """Write the statement that looks up only what there is to look up."""
    return "\n        UNION ALL".join(table.compose(_part(name)) for name in parts)


def _part(name: str) -> str:
    if name in _PARTS:
        return _PARTS[name]
    target = RecordType[name.upper()]
    referred = compose(_REFERRED, target=target, targets=plural(target))
    return referred + _MERGED if target is RecordType.SOURCE else referred


_PARTS: Final = {
    "ids": _BY_ID,
    "external_ids": _BY_EXTERNAL_ID,
    "taken": _TAKEN,
    RecordType.ARTICLE: _ARTICLES,
    "earlier": _EARLIER_TEXT,
}


async def look_up(  # noqa: PLR0913 - each of the last is another way to name a record
    connection: Connection,
    author: Author,
    resource: Resource,
    records: Iterable[Part],
    *,
    ids: Collection[str] = (),
    external: Collection[tuple[str, str]] = (),
    more: Iterable[Reference] = (),
    also: Iterable[Appearance] = (),
    given: Collection[tuple[str, str]] = (),
) -> Found:
    """Look up records by id and external id, and the records to which the given `records` refer.

    Of the latter, and of the targets of `more` references, those are found that the caller sees,
    with the texts for their appearances and those that are `also` given.
    `given` are external ids that may be taken already, whoever sees the record that has them.
    """
    targets: dict[RecordType, set[str]] = {record_type: set() for record_type in RecordType}
    records = list(records)
    for reference in chain(more, *map(references, records)):
        targets[reference.to].add(reference.id)
    appearances = [*also, *(each for record in records for each in appearances_of(record))]
    parts = _parts(ids, external, given, targets, appearances)
    if not parts:
        return Found()
    arguments = {name: value for part in parts.values() for name, value in part.items()}
    statement = _statement(resource.table, tuple(parts))
    found, left_out = _read(await connection.fetch(*render(statement, author.caller, **arguments)))
    if left_out:
        await _check_left_out(connection, author, appearances, found, left_out)
    return found


def _parts(
    ids: Collection[str],
    external: Collection[tuple[str, str]],
    given: Collection[tuple[str, str]],
    targets: Mapping[RecordType, Collection[str]],
    appearances: Sequence[Appearance],
) -> dict[str, dict[str, Any]]:
    """Give the parts of the statement that are needed, each with its parameters."""
    texts, earlier = anchors.texts_needed(appearances, ())
    parts: dict[str, dict[str, Any]] = {}
    if ids:
        parts["ids"] = {"ids": list(ids)}
    if external:
        namespaces, values = zip(*external, strict=True)
        parts["external_ids"] = {"namespaces": list(namespaces), "values": list(values)}
    if given:
        namespaces, values = zip(*given, strict=True)
        parts["taken"] = {"new_namespaces": list(namespaces), "new_values": list(values)}
    for record_type, target_ids in targets.items():
        if target_ids:
            parts[record_type] = {f"{record_type}_ids": list(target_ids)}
            if record_type is RecordType.ARTICLE:
                parts[record_type] |= {"text_ids": list(texts), "text_bytes": MAX_TEXT_BYTES}
    if earlier:
        articles, numbers = zip(*earlier, strict=True)
        parts["earlier"] = {
            "earlier_ids": list(articles),
            "earlier_versions": list(numbers),
            "text_bytes": MAX_TEXT_BYTES,
        }
    return parts


class _LeftOut(NamedTuple):
    """A text that is too large to be read together with the others."""

    article_id: str
    version: int
    size: int


async def _check_left_out(
    connection: Connection,
    author: Author,
    appearances: Sequence[Appearance],
    found: Found,
    left_out: Iterable[_LeftOut],
) -> None:
    """Read the texts that were left out, some at a time, and keep only how the spans fit them."""
    searches = anchors.new_searches()
    versions = found.versions[RecordType.ARTICLE]
    for group in _groups(left_out):
        ids, numbers, _ = zip(*group, strict=True)
        query = render(_LEFT_OUT, author.caller, ids=list(ids), versions=list(numbers))
        texts = [(str(uuid), number, text) for uuid, number, text in await connection.fetch(*query)]
        checked = await in_thread(anchors.check_texts, texts, appearances, versions, searches)
        found.texts.update(checked)


def _groups(left_out: Iterable[_LeftOut]) -> Iterator[list[_LeftOut]]:
    """Group texts that may be read together."""
    group: list[_LeftOut] = []
    size = 0
    for each in left_out:
        if group and size + each.size > MAX_TEXT_BYTES:
            yield group
            group, size = [], 0
        group.append(each)
        size += each.size
    if group:
        yield group


def _read(rows: Iterable[Row]) -> tuple[Found, list[_LeftOut]]:
    """Sort the statement's rows by their roles; give the texts that were left out, too."""
    found = Found()
    left_out: list[_LeftOut] = []
    for role, uuid, version, deleted, doc, text, name, size in rows:
        identity = str(uuid)
        if size is not None:
            left_out.append(_LeftOut(identity, version, size))
        found.size += (length := len(doc or text or ()))
        found.largest = max(found.largest, length)
        if role == "taken":
            namespace, value = name
            found.taken[namespace, value] = identity
            continue
        if name is not None:
            namespace, value = name
            found.ids[namespace, value] = identity
        if role == "current":
            found.current[identity] = Current(identity, version, deleted, doc)
        elif role == "hidden":
            found.hidden[identity] = Current(identity, version, deleted, doc)
        elif role == "text":
            found.texts[identity, version] = text
        elif role == "merged":
            found.survivors[text] = identity
            found.versions[RecordType.SOURCE] |= {identity: version, text: version}
        else:
            found.versions[RecordType[role.upper()]][identity] = version
            if role == RecordType.ARTICLE:
                found.texts[identity, version] = text
    return found, left_out


def appearances_of(record: Part) -> Sequence[Appearance]:
    """Give the places where a record is printed; a type without any has none."""
    return getattr(record, "appearances", None) or ()
