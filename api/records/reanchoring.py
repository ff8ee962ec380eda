"""Re-anchoring: when an article's text changes, the spans that are printed in it move along.

Claims and denials name the words of an article in which they are printed. When the text changes,
their spans are moved to the new place of these words, in the same transaction. If the words are not
found any more, or at several places, the anchor of the appearance says so.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api.core.db import Connection
from api.core.request import Author
from api.core.resource import Consequence
from api.core.sql import ACTOR, ACTOR_COLUMNS, compose, plural, render
from schemas.base import Create
from schemas.parts import Appearance, Span
from schemas.vocabularies import Anchor, RecordType

PRINTED: Final = (RecordType.CLAIM, RecordType.DENIAL)
"""The types of records that have appearances in articles."""
CONTEXT: Final = 32
"""How many characters before and behind a span are compared to tell it from others like it."""
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
_MOVE: Final = """
    UPDATE {table} AS t SET (appearances, {actor_columns}) = ROW(r.appearances, {actor})
    FROM json_to_recordset(:rows::json) AS r(id uuid, appearances json)
    WHERE t.id = r.id"""


class _Text(msgspec.Struct):
    text: str | None = None


def _text(doc: bytes) -> str | None:
    return msgspec.json.decode(doc, type=_Text).text


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
    old, new = _text(doc), getattr(article, "text", None)
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
            moved = []
            for row in rows:
                appearances = msgspec.json.decode(row["appearances"], type=list[Appearance])
                followed = [
                    follow(each, old, new, version) if each.article_id == article_id else each
                    for each in appearances
                ]
                if followed != appearances:
                    moved.append({"id": str(row["id"]), "appearances": followed})
            if moved:
                moved_rows = msgspec.json.encode(moved).decode()
                await connection.execute(*render(write, rows=moved_rows, actor=author.actor))


REANCHORING: Final = Consequence(_changes_text, _reanchor)
"""The claims and denials that change when an article is replaced."""

# --- where a span stands in the new text -----------------------------------------------------


def follow(appearance: Appearance, old: str | None, new: str | None, version: int) -> Appearance:
    """Anchor an appearance anew in an article's new text, which is the text of this version.

    The appearance moves only if every span is found at exactly one place, with the words before or
    behind it. Otherwise it keeps its spans and its version, and its anchor says why.
    """
    if new is None:
        return msgspec.structs.replace(appearance, anchor=Anchor.UNVERIFIED)
    spans = []
    moved = False
    for span in appearance.spans:
        places = [span.start] if _in_place(span, old, new) else _places(span, old, new)
        if len(places) != 1:
            lost = Anchor.AMBIGUOUS if places else Anchor.ORPHANED
            return msgspec.structs.replace(appearance, anchor=lost)
        moved = moved or places[0] != span.start
        end = places[0] + len(span.exact)
        spans.append(msgspec.structs.replace(span, start=places[0], end=end))
    anchor = Anchor.RELOCATED if moved else Anchor.EXACT
    return msgspec.structs.replace(
        appearance,
        spans=[_in_context(s, new) for s in spans],
        article_version=version,
        anchor=anchor,
    )


def _in_place(span: Span, old: str | None, new: str) -> bool:
    """Tell whether the text up to a span's end is unchanged, so that the span is where it was."""
    same = old is not None and old[: span.end] == new[: span.end]
    return same and new[span.start : span.end] == span.exact


def _places(span: Span, old: str | None, new: str) -> list[int]:
    """Find the places of a span's words: those between the same words, else those beside either.

    The search ends at the second place between the same words: the span is ambiguous then.
    """
    before, behind = _context(span, old)
    with_both: list[int] = []
    with_either: list[int] = []
    start = new.find(span.exact)
    while start >= 0 and len(with_both) < 2:  # noqa: PLR2004
        matches = (
            bool(before) and new.endswith(before, 0, start),
            bool(behind) and new.startswith(behind, start + len(span.exact)),
        )
        if all(matches):
            with_both.append(start)
        elif any(matches):
            with_either.append(start)
        start = new.find(span.exact, start + 1)
    return with_both or with_either


def _context(span: Span, old: str | None) -> tuple[str, str]:
    """Give the words before and behind a span, from the old text if the span fits there."""
    if old is None or old[span.start : span.end] != span.exact:
        return span.prefix, span.suffix
    return old[max(span.start - CONTEXT, 0) : span.start], old[span.end : span.end + CONTEXT]


def _in_context(span: Span, text: str) -> Span:
    """Take a span's prefix and suffix from its new place; they stay as long as they were."""
    return msgspec.structs.replace(
        span,
        prefix=text[max(span.start - len(span.prefix), 0) : span.start],
        suffix=text[span.end : span.end + len(span.suffix)],
    )
