"""Anchors: the queue of an article's lost appearances, and how they are attached again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, Literal, NoReturn

import asyncpg
from litestar import get, post

from api.core import cursor
from api.core.bodies import read_keyed_list
from api.core.caller import PRINTED, WRITE
from api.core.db import Connection
from api.core.errors import MAX_ERRORS, contended, invalid_record
from api.core.filters import Parameter, read_query
from api.core.idempotency import once
from api.core.large_input import in_thread
from api.core.listing import link_next, page_body
from api.core.operation import Link, Operation
from api.core.reading import MAX_RECORD_BYTES
from api.core.request import (
    Answer,
    Request,
    author,
    caller,
    context,
    encoded,
    record_id,
    reserve_room,
)
from api.core.resource import CURSOR, DEFAULT_LIMIT, LIMIT, MAX_PAGE_BYTES
from api.questions.lost import (
    BEFORE_ALL,
    Position,
    read_rows,
    read_text,
    with_context,
    write_items,
)
from api.records.reattaching import Outcome, attach
from schemas.anchors import (
    AppearanceIndex,
    LostAppearance,
    LostAppearancePage,
    LostSpan,
    Reattachment,
    ReattachmentResult,
    ReattachmentResults,
    Reattachments,
    Suggestion,
)
from schemas.examples import ARTICLE_ID, CLAIM_ID
from schemas.pages import only_page
from schemas.parts import Span
from schemas.references import RecordReference
from schemas.scalars import Id
from schemas.vocabularies import Anchor, RecordType, SpanRole, SuggestionReason

_TRIES: Final = 5
_BY_DEFAULT: Final = ["orphaned", "ambiguous"]
_ANCHOR: Final = Parameter(
    "anchor",
    Literal["orphaned", "ambiguous", "unverified"],
    "How the words were lost. Without it, appearances that are `orphaned` or `ambiguous` are "
    "listed.",
    many=True,
    example="orphaned",
)
ATOMIC: Final = Parameter("atomic", bool, "Attach all appearances or none.", default=True)
DRY_RUN: Final = Parameter("dry_run", bool, "Check everything, and keep nothing.", default=False)
_PARAMETERS: Final = {parameter.name: parameter for parameter in (ATOMIC, DRY_RUN)}
_ID: Final = Parameter("id", Id, "The article's id.", example=ARTICLE_ID)

_RECORD: Final = RecordReference(type=RecordType.CLAIM, id=CLAIM_ID)
_WORDS: Final = "At least 100"
_LOST_SPAN: Final = LostSpan(
    role=SpanRole.QUANTITY,
    start=226,
    end=226 + len(_WORDS),
    exact=_WORDS,
    prefix="",
    suffix=" soldiers",
    suggestions=[
        Suggestion(
            start=238,
            end=238 + len(_WORDS),
            exact="At least 200",
            prefix="",
            suffix=" soldiers",
            score=0.987,
            why=SuggestionReason.SIMILAR,
        )
    ],
)

LIST_LOST_APPEARANCES: Final = Operation(
    tag="questions",
    description="Lists the appearances of claims and denials in an article whose words are no "
    "longer found in its text, or are found at several places. Each of their spans has suggestions "
    "where its words may stand now: the same words; if there are none, words that differ in "
    "typography only; if there are none either, similar words. A suggestion changes nothing. Send "
    "the suggestions that you choose with `attachAppearances`.\n\nThe work for one page is "
    "limited, so a page can have fewer items than `limit`. If one appearance alone takes more work "
    "than that, it is `truncated`, and suggestions may be missing.",
    path_parameters=(_ID,),
    linked_from={RecordType.ARTICLE: "id"},
    parameters=(_ANCHOR, LIMIT, CURSOR),
    success="A page of lost appearances.",
    answer=(LostAppearancePage,),
    headers=("Link",),
    example=only_page(
        LostAppearancePage,
        LostAppearance(
            record=_RECORD,
            version=2,
            appearance=0,
            anchor=Anchor.ORPHANED,
            article_version=1,
            spans=[_LOST_SPAN],
            truncated=False,
        ),
    ),
    links=(
        Link("attachAppearances", {"id": "$request.path.id"}, "The article of the appearances."),
    ),
)
ATTACH_APPEARANCES: Final = Operation(
    tag="questions",
    description="Attaches appearances of claims and denials to words of the article's current "
    "text: the `spans` that you send replace the spans of the appearance. They are checked as in a "
    "`PATCH` of the record. A record with several of the appearances gets one new version. With "
    "`if_match`, an appearance is only attached if its record is still at that "
    "version.\n\nEverything is written in one transaction. If an appearance is refused, nothing is "
    "written, and the problem names everything that is wrong. With `atomic=false`, the other "
    "appearances are written all the same, and the result of a refused appearance has its "
    "problem.",
    path_parameters=(_ID,),
    parameters=(ATOMIC, DRY_RUN),
    header_parameters=("IdempotencyKey",),
    body=Reattachments,
    body_example=[
        Reattachment(
            record=_RECORD,
            appearance=0,
            spans=[Span(role=SpanRole.QUANTITY, start=238, end=238 + len(_WORDS), exact=_WORDS)],
        )
    ],
    success="The results, in the order in which the appearances were sent.",
    answer=(ReattachmentResults,),
    headers=("Idempotency-Replayed",),
    example=ReattachmentResults(
        items=[
            ReattachmentResult(record=_RECORD, appearance=0, status=200, version=2, changed=True)
        ],
        attached=1,
        refused=0,
        atomic=True,
        dry_run=False,
        committed=True,
    ),
)


@get(
    "/v1/articles/{id:str}/anchors",
    operation_id="listLostAppearances",
    opt={"operation": LIST_LOST_APPEARANCES, "reads": (RecordType.ARTICLE,)},
)
async def list_lost_appearances(request: Request) -> Answer:
    """List the lost appearances of an article, with suggestions."""
    identity = record_id(request)
    parameters = {each.name: each for each in (_ANCHOR, LIMIT, CURSOR)}
    given = read_query(request.scope["query_string"], parameters)
    anchors = sorted(set(given.get("anchor", _BY_DEFAULT)))
    limit = given.get("limit", DEFAULT_LIMIT)
    of_list = cursor.fingerprint("anchors", identity, anchors)
    after: Position = BEFORE_ALL
    if "cursor" in given:
        after = cursor.read(given["cursor"], of_list, tuple[RecordType, Id, AppearanceIndex])
    room = await reserve_room(request, MAX_PAGE_BYTES + 2 * MAX_RECORD_BYTES)
    async with context(request).database.connection() as connection:
        text = await read_text(connection, caller(request), identity)
        rows = await read_rows(connection, caller(request), identity, anchors, after, limit)
        lost = await with_context(connection, caller(request), identity, rows[:limit])
    items = await in_thread(write_items, lost, text)
    next_cursor = None
    if len(items) < len(rows):
        last = lost[len(items) - 1]
        next_cursor = cursor.write(of_list, [last.record.type, last.record.id, last.place])
    answer = Answer(page_body(items, next_cursor), headers=link_next(request, next_cursor))
    room.keep(len(answer.body))
    return answer


class _DryRun(Exception):  # noqa: N818 - it is no error
    """Nothing is to be kept."""


def _keep_nothing() -> NoReturn:
    """Have the transaction undone."""
    raise _DryRun


@post(
    "/v1/articles/{id:str}/anchors",
    operation_id="attachAppearances",
    opt={"operation": ATTACH_APPEARANCES, "scopes": tuple(WRITE[each] for each in PRINTED)},
    status_code=200,
)
async def attach_appearances(request: Request) -> Answer:
    """Attach appearances to the current text of an article."""
    identity = record_id(request)
    items: list[Reattachment]
    items, body = await read_keyed_list(request, Reattachments, _PARAMETERS)
    given = read_query(request.scope["query_string"], _PARAMETERS)
    atomic, dry_run = given.get("atomic", True), given.get("dry_run", False)

    async def work(connection: Connection) -> Answer:
        for _ in range(_TRIES):
            outcome = Outcome()
            try:
                async with connection.transaction():
                    outcome = await attach(
                        connection,
                        author(request),
                        identity,
                        items,
                        atomic=atomic,
                        max_bytes=context(request).settings.body_bytes,
                    )
                    if atomic and outcome.faults:
                        faults = (outcome.faults[number] for number in sorted(outcome.faults))
                        raise invalid_record(chain.from_iterable(faults))
                    if dry_run:
                        _keep_nothing()
            except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
                continue
            except _DryRun:
                pass
            results = _results(request, items, outcome)
            return Answer(encoded(_totals(results, atomic=atomic, dry_run=dry_run)))
        raise contended()

    return await once(request, body, work)


def _results(
    request: Request, items: Sequence[Reattachment], outcome: Outcome
) -> list[ReattachmentResult]:
    """Give the result of each appearance, in the order in which they were sent.

    All problems together list at most `MAX_ERRORS` faults, but each lists its first one.
    """
    results = []
    room = MAX_ERRORS
    for number, item in enumerate(items):
        result = ReattachmentResult(record=item.record, appearance=item.appearance, status=200)
        if number in outcome.attached:
            result.version, result.changed = outcome.attached[number]
        else:
            faults = outcome.faults[number][: max(room, 1)]
            room -= len(faults)
            problem = invalid_record(faults)
            result.status = int(problem.kind.status)
            request_id = request.scope["state"]["request_id"]
            result.problem = problem.document(request.scope["path"], request_id)
        results.append(result)
    return results


def _totals(
    results: list[ReattachmentResult], *, atomic: bool, dry_run: bool
) -> ReattachmentResults:
    attached = sum(each.problem is None for each in results)
    return ReattachmentResults(
        items=results,
        attached=attached,
        refused=len(results) - attached,
        atomic=atomic,
        dry_run=dry_run,
        committed=attached > 0 and not dry_run,
    )


anchor_handlers: list[Any] = [list_lost_appearances, attach_appearances]
