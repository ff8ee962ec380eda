"""The operation that lists pairs of sources that may be the same, as far as a caller sees both.

The pairs are found in the background (`pairing`). What has been decided or changed since they were
scored is left out here, so that the list is never behind what its reader has just written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import get
from msgspec import structs

from api.core import cursor
from api.core.caller import Caller
from api.core.db import Row
from api.core.expanding import Item, bring
from api.core.filters import Parameter, read_query, read_terms
from api.core.listing import fitting_items, link_next, page_body
from api.core.operation import Link, Operation
from api.core.request import Answer, Request, caller, context, encoded, reserve_room
from api.core.resource import CURSOR, DEFAULT_LIMIT, LIMIT, MAX_PAGE_BYTES, Expansion
from api.core.sql import compose, render
from api.matching.pairs import DECIDED, NAMELESS
from api.records.sources import SOURCES
from schemas.duplicates import (
    MIN_SCORE,
    DuplicateReasons,
    DuplicateWords,
    SourceDuplicate,
    SourceDuplicatePage,
)
from schemas.examples import PENTAGON_ID, SOURCE_ID
from schemas.scalars import Id, Line, Number, SourceId
from schemas.vocabularies import RecordType

MAX_LOOKED_AT: Final = 5_000
"""A page ends behind so many pairs of a class, also if most of them are not for its reader."""
# A page is read class by class: of each kind of pairs that the caller may see, by the index. If it
# is not full, the last row has the place up to which all classes were looked at, if there is more.
_PAGE: Final = """
    WITH found AS MATERIALIZED (
        SELECT p.source_id, p.other_id, p.score, p.source_name, p.other_name,
               p.words::text AS words
        FROM unnest(:classes::smallint[]) AS c(classes)
        CROSS JOIN LATERAL (
            SELECT p.*
            FROM (
                SELECT p.* FROM duplicate_pairs AS p
                WHERE {first}
                ORDER BY p.score DESC, p.source_id DESC, p.other_id DESC
                LIMIT {most}
            ) AS p
            JOIN sources AS a ON a.id = p.source_id
            JOIN sources AS b ON b.id = p.other_id
            WHERE {then}
                AND a.deleted_at IS NULL AND a.merged_into_id IS NULL AND :sees(source, a)
                AND b.deleted_at IS NULL AND b.merged_into_id IS NULL AND :sees(source, b)
                AND EXISTS (
                    SELECT FROM source_names AS n
                    WHERE n.source_id = a.id AND n.name = p.source_name
                )
                AND EXISTS (
                    SELECT FROM source_names AS n
                    WHERE n.source_id = b.id AND n.name = p.other_name
                )
                AND (a.identification = ANY(:nameless::text[]))
                    = (b.identification = ANY(:nameless::text[]))
                AND NOT ({decided})
            ORDER BY p.score DESC, p.source_id DESC, p.other_id DESC
            LIMIT :limit
        ) AS p
        ORDER BY p.score DESC, p.source_id DESC, p.other_id DESC
        LIMIT :limit
    )
    SELECT f.*, false AS is_end FROM found AS f
    UNION ALL
    SELECT e.source_id, e.other_id, e.score, '', '', '', true
    FROM (
        SELECT p.source_id, p.other_id, p.score
        FROM unnest(:classes::smallint[]) AS c(classes)
        CROSS JOIN LATERAL (
            SELECT p.source_id, p.other_id, p.score FROM duplicate_pairs AS p
            WHERE {first}
            ORDER BY p.score DESC, p.source_id DESC, p.other_id DESC
            OFFSET {most} - 1
            LIMIT 1
        ) AS p
        ORDER BY p.score DESC, p.source_id DESC, p.other_id DESC
        LIMIT 1
    ) AS e
    WHERE (SELECT count(*) FROM found) < :limit
    ORDER BY is_end, score DESC, source_id DESC, other_id DESC"""
# Conditions on a pair alone.
_OF_PAIR: Final = {
    # The id is looked for once, and by the two indexes.
    "source_id": "(p.source_id = (SELECT survivor_of(:source_id::uuid))"
    " OR p.other_id = (SELECT survivor_of(:source_id::uuid)))",
    "score__gte": "p.score >= :score__gte::float8",
}
_OF_SOURCES: Final = {"kind": ":kind::text IN (a.kind, b.kind)"}
_BEHIND: Final = (
    "(p.score, p.source_id, p.other_id)"
    " < (:after_score::float8, :after_source_id::uuid, :after_other_id::uuid)"
)
_SOURCE: Final = Parameter("source_id", SourceId, "Only pairs with this source.", example=SOURCE_ID)
_KIND: Final = structs.replace(
    SOURCES.filter_parameters["kind"],
    description="Only pairs in which one of the sources has this kind.",
)
_SCORE: Final = Parameter("score__gte", Number, "Only pairs with at least this score.", example=0.9)
_EXPANSION: Final = Expansion(
    "sources",
    RecordType.SOURCE,
    "SELECT o.id, o.place FROM owners AS o",
    "the two sources of each pair",
)
_EXPAND: Final = Parameter(
    "expand",
    Line,
    f"Related records to include. `{_EXPANSION.name}`: {_EXPANSION.description}.",
    terms=(_EXPANSION.name,),
)
_PARAMETERS: Final = {each.name: each for each in (_SOURCE, _KIND, _SCORE, _EXPAND, LIMIT, CURSOR)}
DUPLICATES: Final = Operation(
    tag="matching",
    description="Lists pairs of sources whose names are alike, the highest score first, as long "
    "as nobody has decided about them. A pair is a suggestion: nothing is linked.\n\nTo confirm a "
    "pair, merge the two with `mergeSource`, or keep both and state a confirmed relation "
    "`possibly_same_as` in one of them. To reject it, state a confirmed relation `distinct_from`, "
    "or set a `possibly_same_as` to `rejected`. Any other confirmed relation between the two also "
    "decides, and so does one source that is the parent or a member of the other: then they are "
    "two sources. The pair leaves the list at once. It comes back if the decision is taken "
    "back.\n\nAll names of the two sources are compared as `matchSource` does it, once in each "
    "direction; the lower score counts. A source with a name never makes a pair with a source "
    "that is `anonymous` or `described`: if you know who that source is, store an identity. You "
    "see a pair if you see both sources, and no source that you don't see changes a score. Pairs "
    "are found in the background, some time after a source was written; pairs with a score below "
    f"{MIN_SCORE} are not kept, and only the best pairs of each source are kept.\n\nA page looks "
    "at a bounded number of pairs. So it may have fewer pairs than `limit`, or none, although "
    "there are more. Go on as long as there is a `next_cursor`.",
    parameters=(_SOURCE, _KIND, _SCORE, _EXPAND, LIMIT, CURSOR),
    success="A page of pairs.",
    answer=(SourceDuplicatePage,),
    headers=("Link",),
    expansions=(_EXPANSION,),
    links=(
        Link(
            "getSource",
            {"id": "$response.body#/items/0/source_id"},
            "A source of the pair, with the ETag that `mergeSource` and `updateSource` need.",
        ),
    ),
    linked_from={RecordType.SOURCE: "source_id"},
    example=SourceDuplicatePage(
        items=[
            SourceDuplicate(
                source_id=SOURCE_ID,
                other_id=PENTAGON_ID,
                score=0.9375,
                why=DuplicateReasons(
                    source_name="national intelligence service",
                    other_name="national inteligence service",
                    words=[
                        DuplicateWords(word="national", other="national", alike=1),
                        DuplicateWords(word="intelligence", other="inteligence", alike=0.917),
                        DuplicateWords(word="service", other="service", alike=1),
                    ],
                ),
            )
        ],
        next_cursor=None,
        total=None,
        total_is_lower_bound=False,
        included={},
        truncated=[],
    ),
)


@get(
    "/v1/sources/duplicates",
    operation_id="listSourceDuplicates",
    opt={"operation": DUPLICATES, "reads": (RecordType.SOURCE,)},
)
async def list_source_duplicates(request: Request) -> Answer:
    """List pairs of sources that may be the same."""
    given = read_query(request.scope["query_string"], _PARAMETERS)
    limit = given.pop(LIMIT.name, DEFAULT_LIMIT)
    at = given.pop(CURSOR.name, None)
    names = given.pop(_EXPAND.name, None)
    expansions = [_EXPANSION] if names and read_terms("expand", names, [_EXPANSION.name]) else []
    of_list = cursor.fingerprint("duplicates", given)
    asked, values = tuple(sorted(given)), dict(given)
    if at is not None:
        score, source_id, other_id = cursor.read(at, of_list, tuple[float, Id, Id])
        values |= {
            "after_score": score,
            "after_source_id": source_id,
            "after_other_id": other_id,
        }
    asker = caller(request)
    query = render(
        _statement(asked, behind=at is not None),
        asker,
        classes=_classes(asker),
        nameless=list(NAMELESS),
        limit=limit + 1,
        **values,
    )
    room = await reserve_room(request, MAX_PAGE_BYTES)
    async with context(request).database.connection() as connection:
        rows, end = _up_to_end(await connection.fetch(*query))
        items = fitting_items(map(_written, rows[:limit]))
        listed = [_item(row, len(item) + 1) for row, item in zip(rows, items, strict=False)]
        brought = await bring(connection, asker, RecordType.SOURCE, listed, expansions)
    next_cursor = None
    if len(rows) > brought.kept:
        end = _place_of(rows[brought.kept - 1])
    if end is not None:
        next_cursor = cursor.write(of_list, list(end))
    body = page_body(items[: brought.kept], next_cursor, None, brought.included, brought.truncated)
    room.keep(len(body))
    return Answer(body, headers=link_next(request, next_cursor))


@cache
def _statement(filters: tuple[str, ...], *, behind: bool) -> str:
    of_pair = [_OF_PAIR[name] for name in filters if name in _OF_PAIR] + [_BEHIND] * behind
    of_sources = [_OF_SOURCES[name] for name in filters if name in _OF_SOURCES]
    return compose(
        _PAGE,
        first=" AND ".join(["p.classes = c.classes", *of_pair]),
        then=" AND ".join(of_sources) or "true",
        decided=DECIDED,
        most=f"{MAX_LOOKED_AT}",
    )


_Place = tuple[float, str, str]


def _place_of(row: Row) -> _Place:
    """Give the place of a pair in the order of the list."""
    return row["score"], str(row["source_id"]), str(row["other_id"])


def _up_to_end(rows: Sequence[Row]) -> tuple[Sequence[Row], _Place | None]:
    """Split off the place up to which was looked; null if the page is full or the list ends.

    Pairs behind it are left to the next page, because others may come between.
    """
    if not rows or not rows[-1]["is_end"]:
        return rows, None
    end = _place_of(rows[-1])
    return [row for row in rows[:-1] if _place_of(row) >= end], end


def _classes(asker: Caller) -> list[int]:
    """Give the bits of the classes of pairs of which a caller sees both sources."""
    classes = asker.classes[RecordType.SOURCE]
    return sorted({1 << one | 1 << other for one in classes for other in classes})


def _written(row: Row) -> bytes:
    return encoded(
        {
            "source_id": row["source_id"],
            "other_id": row["other_id"],
            "score": row["score"],
            "why": {
                "source_name": row["source_name"],
                "other_name": row["other_name"],
                "words": msgspec.Raw(row["words"].encode()),
            },
        }
    )


def _item(row: Row, size: int) -> Item:
    ids: tuple[UUID, UUID] = (row["source_id"], row["other_id"])
    return Item(ids[0], size, tuple((RecordType.SOURCE, each) for each in ids))


duplicate_handlers: list[Any] = [list_source_duplicates]
