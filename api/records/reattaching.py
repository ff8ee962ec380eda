"""Re-attaching: give appearances new places in an article's current text, many at once.

The article is locked first, so that its text stays as it is, and then the records in the order of
their ids, as re-anchoring does. From then on nobody can change what was looked up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from api.core import anchors
from api.core.db import Connection
from api.core.errors import NOT_FOUND, Problem
from api.core.large_input import work_on
from api.core.request import Author
from api.core.resource import Resource
from api.core.sql import render
from api.core.versions import etag, version_tag
from api.core.writing.look_up import Current, Found, appearances_of, look_up
from api.core.writing.settle import Draft, Settled, settle, stored
from api.core.writing.store import UPDATE, rows_of
from api.records.claims import CLAIMS
from api.records.denials import DENIALS
from api.records.reanchoring import WAIT_FOR_US, batches
from schemas.anchors import Reattachment
from schemas.base import Create, Fault
from schemas.parts import Appearance
from schemas.vocabularies import RecordType

MAX_RECORDS: Final = 100
MAX_BYTES: Final = 8_388_608
"""One statement writes at most this many records, and about this many bytes of them."""
_RESOURCES: Final = (CLAIMS, DENIALS)

_ARTICLE: Final = """
    SELECT t.version, t.text FROM articles AS t
    WHERE t.id = :id::uuid AND t.deleted_at IS NULL AND :sees(article, t)
    FOR SHARE OF t"""
_LOCK: Final = """
    SELECT t.id, octet_length(t.doc) AS size FROM {table} AS t
    WHERE t.id = ANY(:ids::uuid[]) AND t.deleted_at IS NULL AND :sees({type}, t)
    ORDER BY t.id
    FOR NO KEY UPDATE OF t"""


class Asked(NamedTuple):
    """An appearance to attach, and its place in the request."""

    number: int
    item: Reattachment

    def fault(self, path: tuple[str | int, ...], code: str, detail: str) -> Fault:
        """Say what is wrong with it, with the path in the whole request."""
        return Fault((self.number, *path), code, detail)


class Attached(NamedTuple):
    """The record of an appearance that was attached."""

    version: int
    changed: bool


@dataclass
class Outcome:
    """What came of each appearance of a request, by its place there."""

    attached: dict[int, Attached] = field(default_factory=dict)
    faults: dict[int, list[Fault]] = field(default_factory=dict)


class _Article(NamedTuple):
    id: str
    version: int
    text: str | None


class _Batch(NamedTuple):
    """What is known of some records of one type, of which none may become too large."""

    resource: Resource
    article: _Article
    found: Found
    max_bytes: int
    searches: Iterator[int]  # see `api.core.anchors.mismatch`


class _Write(NamedTuple):
    """A record with its new appearances."""

    current: Current
    record: Create
    unchanged: bool
    numbers: list[int]  # of the appearances that it is written for


async def attach(
    connection: Connection,
    author: Author,
    article_id: str,
    items: Sequence[Reattachment],
    *,
    atomic: bool,
    max_bytes: int,
) -> Outcome:
    """Attach appearances, in a transaction of the caller's.

    With `atomic`, nothing more is written once anything is refused, and the caller undoes the rest.
    No record may get larger than `max_bytes`.
    """
    article = await _lock_article(connection, author, article_id)
    searches = anchors.new_searches()  # for all records together
    by_type: dict[RecordType, dict[str, list[Asked]]] = {each.type: {} for each in _RESOURCES}
    outcome = Outcome()
    named = set()
    for number, item in enumerate(items):
        asked_for = Asked(number, item)
        if (key := (item.record.type, item.record.id, item.appearance)) in named:
            fault = asked_for.fault((), "duplicate-item", "The list already has this appearance.")
            outcome.faults[number] = [fault]
            continue
        named.add(key)
        by_type[item.record.type].setdefault(item.record.id, []).append(asked_for)
    for resource in _RESOURCES:
        asked = by_type[resource.type]
        sizes = await _lock(connection, author, resource, list(asked))
        for identity in asked.keys() - sizes.keys():
            outcome.faults |= {each.number: [_unknown(each)] for each in asked[identity]}
        for ids in batches(sizes, MAX_RECORDS, MAX_BYTES):
            found = await look_up(connection, author, resource, [], ids=ids)
            batch = _Batch(resource, article, found, max_bytes, searches)
            size = found.size + len(article.text or "")
            some = {identity: asked[identity] for identity in ids}
            writes, faults = await work_on(size, _settle_batch, batch, some)
            outcome.faults |= faults
            if not (atomic and outcome.faults):
                outcome.attached |= await _write(connection, author, resource, writes, size)
    return outcome


async def _lock_article(connection: Connection, author: Author, identity: str) -> _Article:
    """Lock the article, in whose text the searches may take a while."""
    row = await connection.fetchrow(*render(_ARTICLE, author.caller, id=identity))
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    await connection.execute(WAIT_FOR_US)
    return _Article(identity, row["version"], row["text"])


async def _lock(
    connection: Connection, author: Author, resource: Resource, ids: Sequence[str]
) -> dict[str, int]:
    """Lock the records that the caller sees; give their sizes."""
    if not ids:
        return {}
    query = render(resource.table.compose(_LOCK), author.caller, ids=ids)
    return {str(row["id"]): row["size"] for row in await connection.fetch(*query)}


def _unknown(asked: Asked) -> Fault:
    record = asked.item.record
    detail = f"There is no {record.type} {record.id}."
    return asked.fault(("record", "id"), "unknown-reference", detail)


async def _write(
    connection: Connection, author: Author, resource: Resource, writes: Sequence[_Write], size: int
) -> dict[int, Attached]:
    """Write records with one statement; give the result of each of their appearances."""
    changed = [
        (each.current.id, each.current.version, each.record)
        for each in writes
        if not each.unchanged
    ]
    versions: dict[str, int] = {}
    if changed:
        rows = await work_on(size, rows_of, changed)
        query = render(resource.table.compose(UPDATE), rows=rows, actor=author.actor)
        versions = {str(row["id"]): row["version"] for row in await connection.fetch(*query)}
    return {
        number: Attached(
            versions.get(each.current.id, each.current.version), each.current.id in versions
        )
        for each in writes
        for number in each.numbers
    }


# --- what is asked of each record ----------------------------------------------------------------


def _settle_batch(
    batch: _Batch, asked: Mapping[str, Sequence[Asked]]
) -> tuple[list[_Write], dict[int, list[Fault]]]:
    """Check what is asked of records; give what to write, and the faults of what is refused."""
    article, found = batch.article, batch.found
    found.versions[RecordType.ARTICLE][article.id] = article.version
    found.texts[article.id, article.version] = article.text
    writes: list[_Write] = []
    faults: dict[int, list[Fault]] = defaultdict(list)
    for identity, items in asked.items():
        current = batch.found.current[identity]
        record = msgspec.convert(stored(batch.resource, current.doc)[1], batch.resource.create)
        for fault in _first_faults(batch, items, current, appearances_of(record)):
            faults[_number(fault)].append(fault)
        # Settle again without the appearances that were refused.
        while good := [each for each in items if each.number not in faults]:
            settled, refused = _settle(batch, current, record, good)
            if settled is not None:
                numbers = [each.number for each in good]
                writes.append(_Write(current, settled.record, settled.unchanged, numbers))
                break
            for fault in refused:
                faults[_number(fault)].append(fault)
    return writes, dict(faults)


def _settle(
    batch: _Batch, current: Current, record: Create, items: Sequence[Asked]
) -> tuple[Settled | None, list[Fault]]:
    """Settle a record with new spans; give the faults of these if there are any."""
    wanted = Draft(_with_spans(record, items, batch.article), {})
    try:
        settled = settle(batch.resource, current.id, wanted, current, batch.found)
    except Problem as problem:
        return None, _faults_of(problem, items)
    if len(msgspec.json.encode(settled.record)) > batch.max_bytes:
        detail = f"With these spans the record would have more than {batch.max_bytes} bytes."
        return None, [each.fault(("spans",), "invalid-value", detail) for each in items]
    return settled, []


def _number(fault: Fault) -> int:
    return int(fault.path[0])


def _first_faults(
    batch: _Batch, items: Sequence[Asked], current: Current, appearances: Sequence[Appearance]
) -> Iterator[Fault]:
    """Refuse what names another version, or an appearance or words that are not there."""
    article = batch.article
    tags = (None, "*", etag(current.id, current.version), version_tag(current.version))
    for each in items:
        if each.item.if_match not in tags:
            detail = f"The record is at version {current.version}."
            yield each.fault(("if_match",), "other-version", detail)
        place = each.item.appearance
        if place >= len(appearances) or appearances[place].article_id != article.id:
            places = [n for n, one in enumerate(appearances) if one.article_id == article.id]
            having = ", ".join(map(str, places)) or "none"
            detail = f"The record's appearances in this article are: {having}."
            yield each.fault(("appearance",), "invalid-value", detail)
        for number, span in enumerate(each.item.spans if article.text is not None else ()):
            for fault in anchors.mismatch(span, article.text or "", batch.searches):
                yield each.fault(("spans", number, *fault.path), fault.code, fault.detail)


def _with_spans(record: Create, items: Sequence[Asked], article: _Article) -> Create:
    """Give a record with new spans.

    Naming the version has them checked anew where they are the old ones: an editor may confirm that
    ambiguous words are still the right ones.
    """
    appearances = list(appearances_of(record))
    for _, item in items:
        appearances[item.appearance] = msgspec.structs.replace(
            appearances[item.appearance],
            spans=item.spans,
            article_version=article.version,
            anchor=None,
        )
    return msgspec.structs.replace(record, appearances=appearances)


def _faults_of(problem: Problem, items: Sequence[Asked]) -> list[Fault]:
    """Turn the faults of a record into those of the appearances that were to be attached."""
    by_place = {each.item.appearance: each for each in items}
    faults = []
    for error in problem.errors:
        _, _, place, *steps = error["pointer"].split("/")
        path = tuple(int(step) if step.isdigit() else step for step in steps)
        faults.append(by_place[int(place)].fault(path, error["code"], error["detail"]))
    return faults
