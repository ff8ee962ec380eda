"""Annotations: the words of an article in which claims and denials are printed.

They are Web Annotations, as the W3C defines them (Web Annotation Data Model), one for each span.
Each selects its words by the words themselves and by their place in the text, which both count
Unicode code points. A record whose words are not given is an annotation of the whole article, so
that no page is empty (section 5.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from litestar import get

from api.core import cursor
from api.core.caller import PRINTED
from api.core.errors import NOT_FOUND, Problem
from api.core.filters import Parameter, read_query
from api.core.large_input import in_thread
from api.core.listing import Documents, link_next, read_documents
from api.core.operation import Operation
from api.core.request import Answer, Request, caller, context, encoded, record_id, reserve_room
from api.core.resource import CURSOR, DEFAULT_LIMIT, LIMIT, MAX_PAGE_BYTES, Resource
from api.core.sql import render
from api.records.claims import CLAIMS
from api.records.denials import DENIALS
from schemas.examples import ARTICLE_ID, CLAIM_ID
from schemas.parts import Span
from schemas.scalars import Id
from schemas.vocabularies import Anchor, RecordType, SpanRole

MEDIA_TYPE: Final = "application/ld+json"
CONTEXT: Final = "http://www.w3.org/ns/anno.jsonld"
PROFILE: Final = f'profile="{CONTEXT}"'
"""What the Web Annotation Protocol adds to the media type (section 3.4)."""
_RESOURCES: Final[Mapping[RecordType, Resource]] = {
    RecordType.CLAIM: CLAIMS,
    RecordType.DENIAL: DENIALS,
}
"""Whose words are annotated, in the order of the pages."""
_BODIES: Final[Mapping[RecordType, str]] = {
    RecordType.CLAIM: "https://schema.org/Claim",
    RecordType.DENIAL: "https://schema.org/Comment",
}
_PARAMETERS: Final = {each.name: each for each in (LIMIT, CURSOR)}
_IS_THERE: Final = """
    SELECT true FROM articles AS t
    WHERE t.id = :id AND t.deleted_at IS NULL AND :sees(article, t)"""
MAX_BYTES: Final = MAX_PAGE_BYTES
"""A page ends before the record whose annotations pass this; the first record always has room."""


_LOST: Final = {Anchor.AMBIGUOUS, Anchor.ORPHANED}
"""Anchors of words whose offsets are not those of the article's text, but of an earlier one."""


class _Appearance(msgspec.Struct):
    article_id: str
    spans: list[Span]
    anchor: Anchor | None = None


class _Printed(msgspec.Struct):
    """What annotations tell of a record."""

    id: str
    appearances: list[_Appearance]


def annotate(record: _Printed, record_type: RecordType, article: str) -> Iterator[dict[str, Any]]:
    """Make the annotations of a record in an article, one for each span."""
    node = f"urn:uuid:{record.id}"
    for place, appearance in enumerate(record.appearances):
        if appearance.article_id != article:
            continue
        pointer = f"{node}#/appearances/{place}"
        body = {"id": node, "type": _BODIES[record_type]}
        source = f"urn:uuid:{article}"
        for number, span in enumerate(appearance.spans):
            yield {
                "id": f"{pointer}/spans/{number}",
                "type": "Annotation",
                "motivation": "identifying" if span.role is SpanRole.CONTENT else "describing",
                "body": body,
                "target": {
                    "type": "SpecificResource",
                    "source": source,
                    "selector": list(_selectors(span, appearance.anchor)),
                },
            }
        if not appearance.spans:
            yield {
                "id": pointer,
                "type": "Annotation",
                "motivation": "linking",
                "body": body,
                "target": {"type": "SpecificResource", "source": source},
            }


def _selectors(span: Span, anchor: Anchor | None) -> Iterator[dict[str, Any]]:
    """Select the words of a span; lost words are not at their offsets any more."""
    yield {
        "type": "TextQuoteSelector",
        "exact": span.exact,
        "prefix": span.prefix,
        "suffix": span.suffix,
    }
    if anchor not in _LOST:
        yield {"type": "TextPositionSelector", "start": span.start, "end": span.end}


def write_page(documents: Sequence[bytes], record_type: RecordType, article: str) -> list[bytes]:
    """Write the annotations of some records: for each record its own, separated by commas.

    They end before the record whose annotations have no room on the page.
    """
    room = MAX_BYTES
    written: list[bytes] = []
    for document in documents:
        record = msgspec.json.decode(document, type=_Printed)
        items = b",".join(encoded(each) for each in annotate(record, record_type, article))
        room -= len(items) + 1
        if room < 0 and written:
            break
        written.append(items)
    return written


_EXAMPLE: Final = {
    "@context": CONTEXT,
    "id": f"https://claims.example/v1/articles/{ARTICLE_ID}/annotations",
    "type": "AnnotationPage",
    "items": list(
        annotate(
            _Printed(
                id=CLAIM_ID,
                appearances=[
                    _Appearance(ARTICLE_ID, [Span(start=238, end=250, exact="At least 100")])
                ],
            ),
            RecordType.CLAIM,
            ARTICLE_ID,
        )
    ),
}
LIST_ANNOTATIONS: Final = Operation(
    tag="questions",
    description="""\
Gives the words of an article in which claims and denials are printed, as a page of Web \
Annotations (W3C): first those of claims, then those of denials, both in the order in which the \
article prints them. Each annotation is about one span. It selects the words by the words \
themselves (`TextQuoteSelector`) and by their offsets in Unicode code points \
(`TextPositionSelector`); lost words have no offsets. Its body is the record, by its id. A \
`content` span has the motivation `identifying`, any other `describing`. A record that is printed \
in the article without spans has one annotation of the whole article, with the motivation \
`linking`.

`limit` is the highest number of records on a page, of which each has its annotations. The next \
page is in `next` and in the `Link` header. If the article prints no claim and no denial, the \
answer is an `AnnotationCollection` whose `total` is 0, since a page of the W3C is never empty.""",
    path_parameters=(Parameter("id", Id, "The article's id.", example=ARTICLE_ID),),
    linked_from={RecordType.ARTICLE: "id"},
    parameters=(LIMIT, CURSOR),
    success="A page of annotations.",
    answer=("AnnotationPage",),
    media_type=MEDIA_TYPE,
    headers=("Link",),
    example={"page": ("A page", _EXAMPLE)},
)


@get(
    "/v1/articles/{id:str}/annotations",
    operation_id="listAnnotations",
    opt={"operation": LIST_ANNOTATIONS, "reads": (RecordType.ARTICLE, *PRINTED)},
)
async def list_annotations(request: Request) -> Answer:
    """List the claims and denials in an article, as Web Annotations."""
    article = record_id(request)
    given = read_query(request.scope["query_string"], _PARAMETERS)
    of_list = cursor.fingerprint("annotations", article)
    place = _Place(RecordType.CLAIM)
    if "cursor" in given:
        place = _Place(*cursor.read(given["cursor"], of_list, tuple[RecordType, str | None]))
        if place.type not in _RESOURCES:
            raise cursor.not_ours("cursor")
    room = await reserve_room(request, 2 * MAX_PAGE_BYTES)
    database, asker = context(request).database, caller(request)
    if await database.fetchrow(*render(_IS_THERE, asker, id=article)) is None:
        raise Problem(NOT_FOUND, "No article has this id.")
    limit = given.get("limit", DEFAULT_LIMIT)
    page = await _read(request, article, place, limit)
    if not page.documents and place.type is RecordType.CLAIM:
        place = _DENIALS
        page = await _read(request, article, place, limit)
    written = await in_thread(write_page, page.documents, place.type, article)
    behind: _Place | None = None
    if written and (inner := page.cursor_behind(len(written))) is not None:
        behind = place._replace(cursor=inner)
    elif place.type is RecordType.CLAIM and (await _read(request, article, _DENIALS, 1)).documents:
        behind = _DENIALS
    headers = link_next(request, cursor.write(of_list, list(behind)) if behind else None)
    body = _body(request, written, headers)
    room.keep(len(body))
    return Answer(body, headers=headers, media_type=f"{MEDIA_TYPE}; {PROFILE}")


class _Place(NamedTuple):
    """Where a page begins: behind the cursor of the list of a type, or at its beginning."""

    type: RecordType
    cursor: str | None = None


_DENIALS: Final = _Place(RecordType.DENIAL)


async def _read(request: Request, article: str, place: _Place, limit: int) -> Documents:
    """Read records that an article prints, in the order in which it does."""
    asked = {"article_id": article, "sort": "position", "limit": limit}
    if place.cursor is not None:
        asked["cursor"] = place.cursor
    database, asker = context(request).database, caller(request)
    return await read_documents(_RESOURCES[place.type], database, asker, asked)


def _body(request: Request, written: Sequence[bytes], headers: Mapping[str, str]) -> bytes:
    """Write the page around its items; `next` is the address in the Link header.

    Both addresses are absolute, because the model wants IRIs (section 5.2).
    """
    origin = str(request.base_url).rstrip("/")
    query = request.scope["query_string"].decode("latin-1")
    address = origin + request.scope["path"] + (f"?{query}" if query else "")
    about: dict[str, Any] = {"@context": CONTEXT, "id": address}
    about |= {"type": "AnnotationPage"} if written else {"type": "AnnotationCollection", "total": 0}
    if headers:
        about["next"] = origin + headers["link"].removeprefix("<").partition(">")[0]
    return b'%b,"items":[%b]}' % (encoded(about)[:-1], b",".join(written))


annotation_handlers: Final = (list_annotations,)
