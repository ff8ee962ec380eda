"""Re-anchoring: when an article's text changes, the spans that are printed in it move along.

Claims and denials name the words of an article in which they are printed. When the text changes,
their spans are moved to the new place of these words, in the same transaction. If the words are not
found any more, or at several places, the anchor of the appearance says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from api.core.caller import PRINTED
from api.core.db import Connection
from api.core.request import Author
from api.core.resource import Consequence
from api.core.sql import ACTOR, ACTOR_COLUMNS, compose, plural, render
from api.records.relocation import relocate
from schemas.base import Create
from schemas.parts import Appearance
from schemas.vocabularies import Anchor

MAX_EARLIER_TEXTS: Final = 8
"""How many earlier versions of a text are read for the words around spans that were lost since."""
LONG_TEXT: Final = 100_000
"""Characters of a text that take longer to search than Postgres should have to expect."""
# Postgres would end a transaction that does nothing for 10 s, which a busy machine may need.
WAIT_FOR_US: Final = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
_BEFORE_ALL: Final = "00000000-0000-0000-0000-000000000000"

# Rows are locked, so that nobody changes an appearance between reading and replacing it.
_APPEARANCES: Final = """
    SELECT t.id, t.version, t.appearances::text AS appearances
    FROM {table} AS t
    WHERE t.id > :after_id AND t.deleted_at IS NULL AND t.id IN (
        SELECT l.owner_id FROM links AS l
        WHERE l.article_id = :article_id AND l.owner_type = '{type}' AND l.link = 'appearance'
    )
    ORDER BY t.id
    LIMIT 500
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
    before = msgspec.json.decode(doc, type=_Text)
    text = getattr(article, "text", None)
    for record_type in PRINTED:
        pieces = {
            "table": plural(record_type),
            "type": record_type,
            "actor_columns": ACTOR_COLUMNS,
            "actor": ACTOR,
        }
        read, write = (compose(statement, **pieces) for statement in (_APPEARANCES, _MOVE))
        after: Any = _BEFORE_ALL
        while rows := await connection.fetch(*render(read, article_id=article_id, after_id=after)):
            after = rows[-1]["id"]
            printed = {
                str(row["id"]): msgspec.json.decode(row["appearances"], type=list[Appearance])
                for row in rows
            }
            here = [each for some in printed.values() for each in some if _is_in(each, article_id)]
            texts: dict[int, str | None] = {}
            if text is not None:
                texts = await _texts_of(connection, article_id, before, here)
                if len(text) > LONG_TEXT:
                    await connection.execute(WAIT_FOR_US)
            # A long text takes seconds, during which the event loop must go on.
            moved = await asyncio.to_thread(relocate, here, texts, text, version)
            following = iter(moved)
            changed = []
            for identity, some in printed.items():
                new = [next(following) if _is_in(each, article_id) else each for each in some]
                if new != some:
                    changed.append({"id": identity, "appearances": new})
            if changed:
                moved_rows = msgspec.json.encode(changed).decode()
                await connection.execute(*render(write, rows=moved_rows, actor=author.actor))


def _is_in(appearance: Appearance, article_id: str) -> bool:
    same: bool = appearance.article_id == article_id
    return same


async def _texts_of(
    connection: Connection, article_id: str, before: _Text, appearances: Iterable[Appearance]
) -> dict[int, str | None]:
    """Give the text that each appearance was last anchored in, by its version.

    Everything that is anchored now stands in the text before this change. For what was lost, the
    earlier texts are read: those of the newest :data:`MAX_EARLIER_TEXTS` versions at most.
    """
    versions = {each.article_version or 0: before.text for each in appearances}
    lost = {each.article_version or 0 for each in appearances if each.anchor not in _ANCHORED} - {
        before.version
    }
    if lost:
        wanted = sorted(lost, reverse=True)[:MAX_EARLIER_TEXTS]
        query = render(_EARLIER_TEXTS, article_id=article_id, versions=wanted)
        versions |= {row["version"]: row["text"] for row in await connection.fetch(*query)}
    return versions


REANCHORING: Final = Consequence(_changes_text, _reanchor)
"""What else is written when an article is replaced."""
