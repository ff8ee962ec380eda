"""Lost appearances: read those of an article, and write each with its suggestions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from api.core.caller import PRINTED, Caller
from api.core.db import Connection, Row
from api.core.errors import NOT_FOUND, Problem
from api.core.request import encoded
from api.core.resource import MAX_PAGE_BYTES
from api.core.sql import compose, plural, render
from api.questions.suggestions import Lost, SearchedText, Work, context_of, lost_of, suggest
from schemas.anchors import LostAppearance, LostSpan
from schemas.parts import Appearance, Span
from schemas.references import RecordReference
from schemas.vocabularies import Anchor, RecordType

MAX_EARLIER_TEXTS: Final = 8
"""How many earlier texts are read for the words around lost ones."""
Position = tuple[str, str, int]
"""A place in the list: the type and the id of a record, and the place of its appearance there."""
BEFORE_ALL: Final[Position] = ("", "00000000-0000-0000-0000-000000000000", -1)

_ARTICLE: Final = """
    SELECT t.text FROM articles AS t
    WHERE t.id = :id::uuid AND t.deleted_at IS NULL AND :sees(article, t)"""
# The record of the cursor comes once more, for its further appearances; so there are two more
# records than the limit.
_OF_TYPE: Final = """
        SELECT '{type}' AS type, t.id, t.version, (a.number - 1)::integer AS place,
               a.appearance::text AS appearance
        FROM (
            SELECT t.id, t.version, t.appearances FROM {table} AS t
            WHERE t.id IN (
                SELECT l.owner_id FROM links AS l
                WHERE l.article_id = :id::uuid AND l.owner_type = '{type}'
                    AND l.link = 'appearance' AND l.label = ANY(:anchors::text[])
            )
                AND t.deleted_at IS NULL AND :sees({type}, t)
                AND ('{type}', t.id) >= (:after_type::text, :after_id::uuid)
            ORDER BY t.id
            LIMIT :limit::integer + 1
        ) AS t
        CROSS JOIN LATERAL json_array_elements(t.appearances)
            WITH ORDINALITY AS a(appearance, number)
        WHERE (a.appearance ->> 'article_id')::uuid = :id::uuid
            AND a.appearance ->> 'anchor' = ANY(:anchors)
            AND ('{type}', t.id, a.number - 1)
                > (:after_type, :after_id::uuid, :after_place::integer)"""
# The first appearance always comes, and the others as long as they have room on the page.
_PAGE: Final = compose(
    """
    SELECT p.type, p.id, p.version, p.place,
           CASE WHEN p.bytes <= {most_bytes} OR p.bytes = p.size THEN p.appearance END AS appearance
    FROM (
        SELECT r.*, octet_length(r.appearance) AS size, sum(octet_length(r.appearance)) OVER (
            ORDER BY r.type, r.id, r.place ROWS UNBOUNDED PRECEDING
        ) AS bytes
        FROM (
            SELECT * FROM ({of_types}) AS q
            ORDER BY q.type, q.id, q.place
            LIMIT :limit
        ) AS r
    ) AS p
    ORDER BY p.type, p.id, p.place""",
    most_bytes=f"{MAX_PAGE_BYTES // 4}",
    of_types="\n        UNION ALL".join(
        compose(_OF_TYPE, type=each, table=plural(each)) for each in PRINTED
    ),
)
_EARLIER_TEXT: Final = """
    SELECT convert_from(r.doc, 'UTF8')::json ->> 'text' AS text FROM revisions AS r
    WHERE r.record_type = 'article' AND r.record_id = :id::uuid AND r.version = :version
        AND r.doc IS NOT NULL AND :saw(article, r)"""


class LostRow(NamedTuple):
    """A lost appearance as the database has it, and the text around each of its spans."""

    record: RecordReference
    version: int
    place: int
    appearance: Appearance
    around: list[tuple[str, str]]


async def read_text(connection: Connection, asker: Caller, identity: str) -> str | None:
    """Read the text of an article; null if none is stored."""
    row = await connection.fetchrow(*render(_ARTICLE, asker, id=identity))
    if row is None:
        raise Problem(NOT_FOUND, "No record has this id.")
    text: str | None = row["text"]
    return text


async def read_rows(
    connection: Connection,
    asker: Caller,
    identity: str,
    anchors: Sequence[str],
    after: Position,
    limit: int,
) -> Sequence[Row]:
    """Read the appearances of a page, and one more if another page follows."""
    after_type, after_id, after_place = after
    query = render(
        _PAGE,
        asker,
        id=identity,
        anchors=anchors,
        after_type=after_type,
        after_id=after_id,
        after_place=after_place,
        limit=limit + 1,
    )
    return await connection.fetch(*query)


async def with_context(
    connection: Connection, asker: Caller, identity: str, rows: Sequence[Row]
) -> list[LostRow]:
    """Add the text that stood around each span, as far as earlier texts are read and seen."""
    lost = [
        LostRow(
            RecordReference(type=RecordType[row["type"].upper()], id=str(row["id"])),
            row["version"],
            row["place"],
            msgspec.json.decode(row["appearance"], type=Appearance),
            [],
        )
        for row in rows
        if row["appearance"] is not None
    ]
    by_version: dict[int, list[LostRow]] = defaultdict(list)
    for each in lost:
        by_version[each.appearance.article_version or 0].append(each)
    for number, version in enumerate(sorted(by_version, reverse=True)):
        earlier = None
        if number < MAX_EARLIER_TEXTS:
            query = render(_EARLIER_TEXT, asker, id=identity, version=version)
            earlier = await connection.fetchval(*query)
        for each in by_version[version]:
            each.around.extend(_around(span, earlier) for span in each.appearance.spans)
    return lost


def _around(span: Span, earlier: str | None) -> tuple[str, str]:
    if earlier is None or earlier[span.start : span.end] != span.exact:
        return span.prefix, span.suffix
    return context_of(earlier, span.start, span.end)


def write_items(rows: Sequence[LostRow], text: str | None) -> list[bytes]:
    """Write the items of a page; it ends where the search for it, or its size, passes its bound."""
    searched = SearchedText(text or "")
    work = Work()
    items: list[bytes] = []
    size = 0
    for row in rows:
        item = encoded(_lost(row, searched, work))
        size += len(item) + 1
        if items and (work.is_over or size > MAX_PAGE_BYTES):
            break
        items.append(item)
    return items


def _lost(row: LostRow, searched: SearchedText, work: Work) -> LostAppearance:
    spans = [
        _lost_span(span, lost_of(span.exact, span.start, around), searched, work)
        for span, around in zip(row.appearance.spans, row.around, strict=True)
    ]
    return LostAppearance(
        record=row.record,
        version=row.version,
        appearance=row.place,
        anchor=row.appearance.anchor or Anchor.UNVERIFIED,
        article_version=row.appearance.article_version,
        spans=spans,
        truncated=work.is_over,
    )


def _lost_span(span: Span, lost: Lost, searched: SearchedText, work: Work) -> LostSpan:
    text = searched.text
    suggestions = [] if work.is_over or not text else suggest(lost, searched, work)
    for each in suggestions:
        each.prefix = text[max(each.start - len(span.prefix), 0) : each.start]
        each.suffix = text[each.end : each.end + len(span.suffix)]
    return LostSpan(
        role=span.role,
        start=span.start,
        end=span.end,
        exact=span.exact,
        prefix=span.prefix,
        suffix=span.suffix,
        suggestions=suggestions,
    )
