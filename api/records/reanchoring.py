"""Re-anchoring: when an article's text changes, the spans that are printed in it move along.

Claims and denials name the words of an article in which they are printed. When the text changes,
their spans are moved to the new place of these words, in the same transaction. If the words are not
found any more, or at several places, the anchor of the appearance says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from api.core.caller import PRINTED
from api.core.db import Connection, Row
from api.core.large_input import in_thread, work_on
from api.core.request import Author
from api.core.resource import Consequence
from api.core.sql import ACTOR, ACTOR_COLUMNS, compose, plural, render
from api.records.relocation import Texts, relocate
from schemas.base import Create
from schemas.parts import Appearance
from schemas.vocabularies import Anchor, RecordType

Identity = TypeVar("Identity", bound=Hashable)

MAX_EARLIER_TEXTS: Final = 8
"""How many earlier versions of a text are read for the words around spans that were lost since."""
# Postgres would end a transaction that does nothing for 10 s, which a busy machine may need.
WAIT_FOR_US: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
MAX_RECORDS: Final = 500
MAX_BYTES: Final = 2_097_152
"""One statement moves at most this many records, and about this many bytes of them."""
_BEFORE_ALL: Final = "00000000-0000-0000-0000-000000000000"

_PRINTED_THERE: Final = """
    SELECT t.id, octet_length(t.doc) AS size
    FROM {table} AS t
    WHERE t.id > :after_id AND t.deleted_at IS NULL AND t.id IN (
        SELECT l.owner_id FROM links AS l
        WHERE l.article_id = :article_id AND l.owner_type = '{type}' AND l.link = 'appearance'
    )
    ORDER BY t.id
    LIMIT :limit"""
# Rows are locked, so that nobody changes an appearance between reading and replacing it.
_APPEARANCES: Final = """
    SELECT t.id, t.appearances::text AS appearances
    FROM {table} AS t
    WHERE t.id = ANY(:ids::uuid[]) AND t.deleted_at IS NULL
    ORDER BY t.id
    FOR NO KEY UPDATE OF t"""
_EARLIER_TEXTS: Final = """
    SELECT r.version, convert_from(r.doc, 'UTF8')::json ->> 'text' AS text
    FROM revisions AS r
    WHERE r.record_type = 'article' AND r.record_id = :article_id AND r.doc IS NOT NULL
        AND r.version = ANY(:versions::integer[])"""
_MOVE: Final = """
    UPDATE {table} AS t SET (appearances, {actor_columns}) = ROW(r.appearances, {actor})
    FROM json_to_recordset(:rows::json) AS r(id uuid, appearances json)
    WHERE t.id = r.id"""


class _Text(msgspec.Struct):
    version: int
    text: str | None


class _Change(NamedTuple):
    """The text of an article, before and after it is replaced."""

    article_id: str
    before: _Text
    after: _Text


_Printed = dict[str, list[Appearance]]
"""The appearances of records, by the ids of these."""


def _text(doc: bytes) -> str | None:
    return msgspec.json.decode(doc, type=_Text).text


_ANCHORED: Final = (Anchor.EXACT, Anchor.RELOCATED)


def _changes_text(doc: bytes, article: Create) -> bool:
    """Tell whether a stored article's text differs from that of the new one."""
    return _text(doc) != getattr(article, "text", None)


async def _reanchor(
    connection: Connection,
    author: Author,
    article_id: str,
    doc: bytes,
    article: Create,
    version: int,
) -> None:
    """Move everything that is printed in an article to its new text.

    That includes records which the caller does not see: the answer says nothing about them.
    """
    change = _Change(
        article_id,
        msgspec.json.decode(doc, type=_Text),
        _Text(version, getattr(article, "text", None)),
    )
    await connection.execute(WAIT_FOR_US)
    for record_type in PRINTED:
        there = compose(_PRINTED_THERE, table=plural(record_type), type=record_type)
        after: Any = _BEFORE_ALL
        more = True
        while more:
            query = render(there, article_id=article_id, after_id=after, limit=MAX_RECORDS)
            sizes = {row["id"]: row["size"] for row in await connection.fetch(*query)}
            for ids in batches(sizes, MAX_RECORDS, MAX_BYTES):
                await _reanchor_some(connection, author, change, record_type, ids)
                after = ids[-1]
            more = len(sizes) == MAX_RECORDS


async def _reanchor_some(
    connection: Connection,
    author: Author,
    change: _Change,
    record_type: RecordType,
    ids: list[UUID],
) -> None:
    """Move what is printed in the article by some records of one type."""
    pieces = {"table": plural(record_type), "actor_columns": ACTOR_COLUMNS, "actor": ACTOR}
    read, write = (compose(statement, **pieces) for statement in (_APPEARANCES, _MOVE))
    rows = await connection.fetch(*render(read, ids=ids))
    size = sum(len(row["appearances"]) for row in rows)
    printed = await work_on(size, _decode, rows)
    texts: dict[int, str | None] = {}
    if change.after.text is not None:
        texts = await _texts_of(connection, change, printed)
    # Also a short text may take a second to search, during which the event loop must go on.
    moved = await in_thread(_moved, change, printed, texts)
    if moved is not None:
        await connection.execute(*render(write, rows=moved, actor=author.actor))


def _decode(rows: Iterable[Row]) -> _Printed:
    """Give the appearances of each record, by its id."""
    return {
        str(row["id"]): msgspec.json.decode(row["appearances"], type=list[Appearance])
        for row in rows
    }


def _moved(change: _Change, printed: _Printed, texts: Texts) -> str | None:
    """Give the rows of the records whose appearances change, as JSON; null if there are none."""
    here = _in_article(change.article_id, printed)
    following = iter(relocate(here, texts, change.after.text, change.after.version))
    changed = []
    for identity, some in printed.items():
        new = [next(following) if each.article_id == change.article_id else each for each in some]
        if new != some:
            changed.append({"id": identity, "appearances": new})
    return msgspec.json.encode(changed).decode() if changed else None


def _in_article(article_id: str, printed: _Printed) -> list[Appearance]:
    return [each for some in printed.values() for each in some if each.article_id == article_id]


def batches(
    sizes: Mapping[Identity, int], max_records: int, max_bytes: int
) -> Iterator[list[Identity]]:
    """Divide records into batches, by their number and their sizes in bytes."""
    ids: list[Identity] = []
    size = 0
    for identity, own_size in sizes.items():
        if ids and (len(ids) >= max_records or size + own_size > max_bytes):
            yield ids
            ids, size = [], 0
        ids.append(identity)
        size += own_size
    if ids:
        yield ids


async def _texts_of(
    connection: Connection, change: _Change, printed: _Printed
) -> dict[int, str | None]:
    """Give the text that each appearance was last anchored in, by its version.

    Everything that is anchored now stands in the text before this change. For what was lost, the
    earlier texts are read: those of the newest :data:`MAX_EARLIER_TEXTS` versions at most.
    """
    here = _in_article(change.article_id, printed)
    versions = {each.article_version or 0: change.before.text for each in here}
    lost = {each.article_version or 0 for each in here if each.anchor not in _ANCHORED} - {
        change.before.version
    }
    if lost:
        wanted = sorted(lost, reverse=True)[:MAX_EARLIER_TEXTS]
        query = render(_EARLIER_TEXTS, article_id=change.article_id, versions=wanted)
        versions |= {row["version"]: row["text"] for row in await connection.fetch(*query)}
    return versions


REANCHORING: Final = Consequence(_changes_text, _reanchor)
"""What else is written when an article is replaced."""
