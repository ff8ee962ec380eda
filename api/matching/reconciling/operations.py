"""The paths of the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import get, post
from msgspec import Meta

from api.core.caller import READER
from api.core.db import Connection
from api.core.errors import INVALID_PARAMETER, NOT_FOUND, Problem
from api.core.filters import Parameter, conditions, read_query
from api.core.request import (
    Answer,
    Request,
    context,
    encoded,
    read_body,
    refuse_idempotency_key,
    require_media_type,
    reserve_room,
)
from api.core.resource import MAX_PAGE_BYTES
from api.core.sql import compose, render
from api.matching.names import SURE
from api.matching.reconciling import messages
from api.matching.reconciling.messages import Extension, Query
from api.matching.sources import FoundSource, find_sources, read_documents
from api.records.sources import SOURCES
from schemas.base import Id
from schemas.vocabularies import RecordType

FORM: Final = "application/x-www-form-urlencoded"
_LIMIT: Final = 10
_MOST: Final = 50
_AHEAD: Final = 0.1
"""A source is meant for sure if it is ahead of all others by this much."""
_Text = Annotated[str, Meta(max_length=8_192)]
_IN_QUERY: Final = {
    each.name: each
    for each in (
        Parameter("queries", _Text, "A batch of queries."),
        Parameter("extend", _Text, "Records and properties."),
    )
}
_SUGGESTED: Final = {
    each.name: each
    for each in (
        Parameter("prefix", _Text, "The start of a name."),
        Parameter("cursor", Annotated[int, Meta(ge=0, le=1_000)], "How many to leave out."),
    )
}
_PROPOSED: Final = {
    each.name: each
    for each in (
        Parameter("type", _Text, "A type."),
        Parameter("limit", Annotated[int, Meta(ge=1, le=1_000)], "How many."),
    )
}
_PREVIEWED: Final = {"id": Parameter("id", Id, "The source's id.", required=True)}
_OPT: Final = {"reads": (RecordType.SOURCE,)}
_STARTING: Final = """
    SELECT t.id::text AS id, t.doc FROM sources AS t
    WHERE {conditions} AND t.merged_into_id IS NULL
        AND t.deleted_at IS NULL AND :sees(source, t)
    ORDER BY t.name, t.id
    LIMIT {limit}"""
_Source = dict[str, Any]


@get("/v1/reconcile", operation_id="describeReconciliation", include_in_schema=False, opt=_OPT)
async def describe_reconciliation(request: Request) -> Answer:
    """Describe the service, or answer queries that are in the URL."""
    given = read_query(request.scope["query_string"], _IN_QUERY)
    if given:
        return await _answer(request, given)
    return Answer(encoded(messages.manifest(str(request.base_url).rstrip("/"))))


@post(
    "/v1/reconcile",
    operation_id="reconcile",
    include_in_schema=False,
    opt=_OPT,
    status_code=200,
)
async def reconcile(request: Request) -> Answer:
    """Answer a batch of queries, or fetch properties."""
    refuse_idempotency_key(request)
    read_query(request.scope["query_string"], {})
    require_media_type(request, [FORM])
    body = await read_body(request, context(request).settings.body_bytes)
    return await _answer(request, messages.read_form(body))


async def _answer(request: Request, given: Mapping[str, str]) -> Answer:
    room = await reserve_room(request, MAX_PAGE_BYTES)
    async with context(request).database.connection(searches=True) as connection:
        if "queries" in given:
            answer = await _matched(connection, messages.read_queries(given["queries"]))
        elif "extend" in given:
            answer = await _extended(connection, messages.read_extension(given["extend"]))
        else:
            raise Problem(INVALID_PARAMETER, "Send `queries` or `extend`.")
    body = encoded(answer)
    room.keep(len(body))
    return Answer(body)


# --- queries -----------------------------------------------------------------------------------


async def _matched(connection: Connection, queries: Mapping[str, Query]) -> dict[str, Any]:
    """Answer a batch; queries for the same types are looked up together."""
    answers: dict[str, Any] = {}
    groups: dict[tuple[str, ...] | None, list[str]] = {}
    for key, query in queries.items():
        groups.setdefault(query.kinds, []).append(key)
    for kinds, keys in groups.items():
        if kinds == ():
            answers |= {key: {"result": []} for key in keys}
            continue
        where, values = conditions(
            SOURCES.all_filters, {} if kinds is None else {"kind__in": list(kinds)}
        )
        names = [queries[key].name for key in keys]
        found = await find_sources(connection, READER, names, _MOST, where, values)
        wanted = (one.id for each in found for one in each)
        docs = await _read(connection, wanted)
        for key, each in zip(keys, found, strict=True):
            answers[key] = {"result": _candidates(queries[key], each, docs)}
    return {key: answers[key] for key in queries}


def _candidates(
    query: Query, found: Iterable[FoundSource], docs: Mapping[str, _Source]
) -> list[dict[str, Any]]:
    scored = sorted(
        (
            (_score(query, each, docs[each.id]), each, docs[each.id])
            for each in found
            if each.id in docs
        ),
        key=lambda one: -one[0],
    )
    second = scored[1][0] if len(scored) > 1 else 0
    limit = max(1, min(int(query.limit or _LIMIT), _MOST))
    return [
        {
            "id": each.id,
            "name": messages.title_of(source),
            "description": messages.about(source),
            "type": messages.types_of(source),
            "score": round(100 * score, 2),
            "match": place == 0 and score >= SURE and score - second >= _AHEAD,
            "features": [{"id": "name", "value": each.scored.score}],
        }
        for place, (score, each, source) in enumerate(scored[:limit])
    ]


def _score(query: Query, found: FoundSource, source: _Source) -> float:
    """Lower a score for each property that the source has otherwise."""
    score = found.scored.score
    for asked in query.properties:
        if asked.pid in messages.PROPERTIES:
            wanted = asked.v if isinstance(asked.v, list) else [asked.v]
            names = {str(w.get("id") if isinstance(w, dict) else w).lower() for w in wanted}
            told = messages.values(source, asked.pid, {source["parent_id"] or "": ""})
            if told and not names & {(v.get("id") or v["str"]).lower() for v in told}:
                score *= 0.8
    return score


# --- properties --------------------------------------------------------------------------------


async def _extended(connection: Connection, asked: Extension) -> dict[str, Any]:
    """Fetch properties of records."""
    keys = [each.id for each in asked.properties if each.id in messages.PROPERTIES]
    docs = await _read(connection, asked.ids)
    above = [each["parent_id"] for each in docs.values() if each["parent_id"]]
    parents = {
        key: messages.title_of(each) for key, each in (await _read(connection, above)).items()
    }
    return {
        "meta": [
            {"id": key, "name": messages.PROPERTIES[key]}
            | ({"type": messages.ANY} if key == "parent_id" else {})
            for key in keys
        ],
        "rows": {
            identity: {
                key: messages.values(docs[identity], key, parents) if identity in docs else []
                for key in keys
            }
            for identity in asked.ids
        },
    }


async def _read(connection: Connection, ids: Iterable[str]) -> dict[str, _Source]:
    """Read the sources of these ids that everybody may read; what is no id is left out."""
    known = [each for each in dict.fromkeys(ids) if _is_id(each)]
    docs = await read_documents(connection, READER, known)
    return {key: msgspec.json.decode(doc) for key, doc in docs.items()}


def _is_id(text: str) -> bool:
    try:
        msgspec.convert(text, Id)
    except msgspec.ValidationError:
        return False
    return True


@get(
    "/v1/reconcile/properties",
    operation_id="proposeReconciliationProperties",
    include_in_schema=False,
    opt=_OPT,
)
async def propose_properties(request: Request) -> Answer:
    """List the properties that can be fetched."""
    given = read_query(request.scope["query_string"], _PROPOSED)
    properties = messages.every_property()[: given.get("limit")]
    kind = given.get("type", messages.ANY["id"])
    return Answer(encoded({"type": kind, "properties": properties} | _limit_of(given)))


def _limit_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"limit": given["limit"]} if "limit" in given else {}


# --- suggestions and previews ------------------------------------------------------------------


@get(
    "/v1/reconcile/suggest/entity",
    operation_id="suggestReconciliationEntity",
    include_in_schema=False,
    opt=_OPT,
)
async def suggest_entity(request: Request) -> Answer:
    """Suggest sources while somebody types a name."""
    given = read_query(request.scope["query_string"], _SUGGESTED)
    prefix, skipped = given.get("prefix", "")[:500], given.get("cursor", 0)
    sources: dict[str, _Source] = {}
    if prefix:
        where, values = conditions(SOURCES.all_filters, {"name__startswith": prefix})
        statement = compose(_STARTING, conditions=" AND ".join(where), limit=f"{skipped + _LIMIT}")
        async with context(request).database.connection(searches=True) as connection:
            rows = await connection.fetch(*render(statement, READER, **values))
            sources = {row["id"]: msgspec.json.decode(row["doc"]) for row in rows}
            if len(sources) < skipped + _LIMIT:
                (found,) = await find_sources(connection, READER, [prefix], _LIMIT)
                sources |= await _read(connection, (f.id for f in found if f.id not in sources))
    suggested = list(sources.values())[skipped : skipped + _LIMIT]
    return _result(
        {
            "id": each["id"],
            "name": messages.title_of(each),
            "description": messages.about(each),
            "notable": messages.types_of(each),
        }
        for each in suggested
    )


@get(
    "/v1/reconcile/suggest/property",
    operation_id="suggestReconciliationProperty",
    include_in_schema=False,
    opt=_OPT,
)
async def suggest_property(request: Request) -> Answer:
    """Suggest properties while somebody types."""
    return _suggested(request, messages.every_property())


@get(
    "/v1/reconcile/suggest/type",
    operation_id="suggestReconciliationType",
    include_in_schema=False,
    opt=_OPT,
)
async def suggest_type(request: Request) -> Answer:
    """Suggest types while somebody types."""
    return _suggested(request, messages.every_type())


def _suggested(request: Request, every: Iterable[dict[str, str]]) -> Answer:
    given = read_query(request.scope["query_string"], _SUGGESTED)
    prefix = given.get("prefix", "").lower()
    found = [each for each in every if prefix in f"{each['id']} {each['name']}".lower()]
    return _result(found[given.get("cursor", 0) :])


def _result(items: Iterable[dict[str, Any]]) -> Answer:
    return Answer(encoded({"result": list(items)}))


@get(
    "/v1/reconcile/preview",
    operation_id="previewReconciliation",
    include_in_schema=False,
    opt=_OPT,
)
async def preview(request: Request) -> Answer:
    """Show a source on a page that other pages can frame."""
    given = read_query(request.scope["query_string"], _PREVIEWED)
    async with context(request).database.connection() as connection:
        sources = await _read(connection, [given["id"]] if "id" in given else [])
    if not sources:
        raise Problem(NOT_FOUND, "No source that everybody may read has this id.")
    (source,) = sources.values()
    return Answer(messages.page(source), headers=_FRAMED, media_type="text/html; charset=utf-8")


_FRAMED: Final = {"content-security-policy": "default-src 'none'; frame-ancestors *"}

reconciling_handlers: list[Any] = [
    describe_reconciliation,
    reconcile,
    propose_properties,
    suggest_entity,
    suggest_property,
    suggest_type,
    preview,
]
