"""Responses: the whole exchange about a claim or a denial, in the order in which it was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final
from uuid import UUID

import msgspec
from litestar import get

from api.core.caller import Caller
from api.core.db import Connection, Row
from api.core.errors import NOT_FOUND, Problem
from api.core.expanding import Brought, Item, bring
from api.core.filters import Parameter, read_query, read_terms
from api.core.operation import Operation
from api.core.relations import forward
from api.core.request import Answer, Request, caller, context, encoded, record_id
from api.core.resource import Expansion
from api.core.sql import compose, plural, render
from api.questions.thread import Entry, depths_of, responses_of
from schemas.examples import CLAIM_ID, DENIAL_ID, MINISTRY_ID
from schemas.pages import Truncated
from schemas.questions import MAX_DEPTH, MAX_THREAD, Responder, ResponseThread, ThreadResponse
from schemas.scalars import Id, Line
from schemas.vocabularies import RecordType

MAX_THREAD_BYTES: Final = 4_194_304
"""The responses nearest to the record come first, as long as they have room in so many bytes."""
_OF_TARGET: Final = 40
_OF_RESPONDER: Final = 180
_OF_RESPONSE: Final = 140
"""How many bytes they take in an answer."""
_DENIAL: Final = RecordType.DENIAL
_EXISTS: Final = """
    SELECT t.id FROM {table} AS t
    WHERE t.id = :id::uuid AND t.deleted_at IS NULL AND :sees({type}, t)"""
# Oldest first. `place` counts from the root: what lies farther away is found later, and left out
# first. `targets` are the claims and denials that a response answers.
_THREAD: Final = """
    WITH RECURSIVE thread(id) AS (
        SELECT d.id FROM links AS l
        JOIN denials AS d ON d.id = l.owner_id AND :sees(denial, d)
        WHERE l.{type}_id = :id::uuid AND l.owner_type = 'denial' AND l.link = 'target'
        UNION
        SELECT d.id FROM thread
        JOIN links AS l ON l.denial_id = thread.id AND l.owner_type = 'denial' AND l.link = 'target'
        JOIN denials AS d ON d.id = l.owner_id AND :sees(denial, d)
    )
    SELECT found.place, d.id, d.family, d.validity,
           ARRAY(
               SELECT coalesce(l.denial_id, l.claim_id) FROM links AS l
               WHERE l.owner_id = d.id AND l.owner_type = 'denial' AND l.link = 'target'
                   AND num_nonnulls(l.denial_id, l.claim_id) = 1
           ) AS targets,
           ARRAY(
               SELECT DISTINCT survivor_of(l.source_id) FROM links AS l
               WHERE l.owner_id = d.id AND l.owner_type = 'denial' AND l.link = 'attribution'
                   AND l.hop = 0
           ) AS responders
    FROM (SELECT thread.id, row_number() OVER () AS place FROM thread LIMIT {limit}) AS found
    JOIN denials AS d ON d.id = found.id
    ORDER BY d.stated_from NULLS LAST, d.created_at, d.id"""

_EXPANSIONS: Final = (
    forward("sources", RecordType.SOURCE, "the sources in the chains, and the scopes"),
    forward("articles", RecordType.ARTICLE, "the articles in which they are printed"),
    forward("claims", RecordType.CLAIM, "the claims that they answer"),
    Expansion("denials", _DENIAL, "SELECT o.id, o.place FROM owners AS o", "the responses"),
)
_BY_NAME: Final = {each.name: each for each in _EXPANSIONS}
_EXPAND: Final = Parameter(
    "expand",
    Line,
    "Related records to include, separated by commas. "
    + "; ".join(f"`{each.name}`: {each.description}" for each in _EXPANSIONS)
    + ".",
    terms=tuple(_BY_NAME),
)
_EXAMPLE: Final = ResponseThread(
    responders=[Responder(source_id=MINISTRY_ID, latest=DENIAL_ID, history=[DENIAL_ID])],
    thread=[ThreadResponse(denial_id=DENIAL_ID, answers=[CLAIM_ID], depth=1, standing=True)],
    asked_without_answer=[],
    circular=[],
    included={},
    truncated=[],
)


def _operation(asked: RecordType, example: str, answer: ResponseThread) -> Operation:
    noun = asked.value
    return Operation(
        tag="questions",
        description=f"Gives all responses to a {noun}, the responses to these, and so on, oldest "
        f"first: at most {MAX_THREAD:,} responses, and no deeper than {MAX_DEPTH}. `responders` "
        "says who responded, and what their latest response is.",
        path_parameters=(Parameter("id", Id, f"The {noun}'s id.", example=example),),
        parameters=(_EXPAND,),
        success=f"The responses to the {noun}.",
        answer=(ResponseThread,),
        expansions=_EXPANSIONS,
        example=answer,
        linked_from={asked: "id"},
    )


CLAIM_RESPONSES: Final = _operation(RecordType.CLAIM, CLAIM_ID, _EXAMPLE)
DENIAL_RESPONSES: Final = _operation(
    _DENIAL, DENIAL_ID, msgspec.structs.replace(_EXAMPLE, responders=[], thread=[])
)


@get(
    "/v1/claims/{id:str}/responses",
    operation_id="getClaimResponses",
    opt={"operation": CLAIM_RESPONSES, "reads": (RecordType.CLAIM,)},
)
async def get_claim_responses(request: Request) -> Answer:
    """Get the responses to a claim."""
    return await _get_responses(request, RecordType.CLAIM)


@get(
    "/v1/denials/{id:str}/responses",
    operation_id="getDenialResponses",
    opt={"operation": DENIAL_RESPONSES, "reads": (_DENIAL,)},
)
async def get_denial_responses(request: Request) -> Answer:
    """Get the responses to a denial."""
    return await _get_responses(request, _DENIAL)


async def _get_responses(request: Request, record_type: RecordType) -> Answer:
    identity = record_id(request)
    given = read_query(request.scope["query_string"], {_EXPAND.name: _EXPAND})
    names = read_terms("expand", given["expand"], _BY_NAME) if "expand" in given else []
    pieces = {"table": plural(record_type), "type": record_type.value}
    asker = caller(request)
    async with context(request).database.connection() as connection:
        exists = render(compose(_EXISTS, **pieces), asker, id=identity)
        if await connection.fetchrow(*exists) is None:
            raise Problem(NOT_FOUND, "No record has this id.")
        statement = compose(_THREAD, limit=f"{MAX_THREAD + 1}", **pieces)
        rows = await connection.fetch(*render(statement, asker, id=identity))
        root = UUID(identity)
        most = _fitting(rows)
        near = [Entry(*tuple(row)[1:]) for row in rows if row["place"] <= most]
        depths = depths_of(root, near)
        thread = [entry for entry in near if entry.id in depths]
        brought = await _bring(connection, asker, thread, names)
    found = responses_of(root, thread, depths)
    found.included = {name: msgspec.Raw(b"{%b}" % docs) for name, docs in brought.included}
    found.truncated = [Truncated(id=str(at), relation=name) for at, name in brought.truncated]
    if brought.kept < len(thread):
        at = str(thread[brought.kept].id)
        found.truncated += [Truncated(id=at, relation=name) for name in names]
    if len(thread) < len(rows):
        found.truncated.append(Truncated(id=identity, relation="responses"))
    return Answer(encoded(found))


def _fitting(rows: Iterable[Row]) -> int:
    """Count the responses, from the nearest to the record on, that have room in an answer."""
    nearest = sorted(rows, key=lambda row: int(row["place"]))[:MAX_THREAD]
    sizes = accumulate(
        _OF_RESPONSE + _OF_TARGET * len(row["targets"]) + _OF_RESPONDER * len(row["responders"])
        for row in nearest
    )
    return sum(size <= MAX_THREAD_BYTES for size in sizes)


async def _bring(
    connection: Connection, asker: Caller, thread: Sequence[Entry], names: Iterable[str]
) -> Brought:
    """Read the related records of the first responses, as many as fit."""
    items = [Item(row.id, 0) for row in thread]
    return await bring(connection, asker, _DENIAL, items, [_BY_NAME[name] for name in names])


response_handlers = [get_claim_responses, get_denial_responses]
