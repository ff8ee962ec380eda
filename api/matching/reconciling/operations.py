"""The paths of the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from litestar import get, post
from msgspec import Meta

from api.core.caller import READER
from api.core.db import Connection
from api.core.errors import (
    INVALID_PARAMETER,
    NOT_FOUND,
    Problem,
    invalid_parameter,
    unavailable,
)
from api.core.filters import Parameter, conditions, read_query
from api.core.idempotency import refuse_idempotency_key
from api.core.request import (
    Answer,
    Request,
    context,
    encoded,
    read_body,
    require_media_type,
    reserve_room,
)
from api.core.resource import MAX_PAGE_BYTES
from api.core.sql import compose, render
from api.matching.names import SURE
from api.matching.reconciling import messages
from api.matching.reconciling.messages import Extension, Query
from api.matching.reconciling.reading import Source, read_sources
from api.matching.sources import Deadline, FoundSource, Search, find_sources
from api.records.sources import SOURCES
from schemas.scalars import Id
from schemas.vocabularies import RecordType

FORM: Final = "application/x-www-form-urlencoded"
_LIMIT: Final = 10
_MOST: Final = 50
_SPARE: Final = 10
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
    SELECT t.id::text AS id FROM sources AS t
    WHERE {conditions} AND t.merged_into_id IS NULL
        AND t.deleted_at IS NULL AND :sees(source, t)
    ORDER BY t.name, t.id
    LIMIT {limit}"""


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
    deadline = Deadline()
    found: dict[str, list[FoundSource] | None] = {}
    groups: dict[tuple[str, ...] | None, list[str]] = {}
    for key, query in queries.items():
        groups.setdefault(() if query.too_long else query.kinds, []).append(key)
    for kinds, keys in groups.items():
        if kinds == ():
            found |= {key: [] for key in keys}
            continue
        given = {} if kinds is None else {"kind__in": list(kinds)}
        search = Search(connection, READER, deadline, *conditions(SOURCES.all_filters, given))
        wanted = [(queries[key].name, _wanted(queries[key])) for key in keys]
        found |= zip(keys, await find_sources(search, wanted), strict=True)
    sources = await read_sources(
        connection,
        (one.id for key in queries for one in found[key] or ()),
        {each.pid for query in queries.values() for each in query.properties},
    )
    return {key: _result_of(query, found[key], sources) for key, query in queries.items()}


def _limit(query: Query) -> int:
    return int(max(1, min(query.limit or _LIMIT, _MOST)))


def _wanted(query: Query) -> int:
    """Tell how many sources are compared: some more, which properties can put before others."""
    return _limit(query) + (_SPARE if query.properties else 1)


def _result_of(
    query: Query,
    found: Iterable[FoundSource] | None,
    sources: Mapping[str, Source | None],
) -> dict[str, Any]:
    """Give the result of a query, or refuse the batch.

    The protocol has no answer for a part of a batch: each query has a `result`, and an empty one
    says that the name is not recorded.
    """
    if query.too_long:
        return {"result": [], "error": f"A name has at most {messages.MAX_NAME} characters."}
    if found is None:
        raise unavailable("There was no time for the whole batch. Send fewer queries at once.")
    pairs = [(each, sources[each.id]) for each in found if each.id in sources]
    fit = [(each, source) for each, source in pairs if source is not None]
    if len(fit) < len(pairs):
        detail = "The sources for the batch are too large together. Send fewer queries at once."
        raise invalid_parameter("queries", detail)
    return {"result": _candidates(query, fit)}


def _candidates(query: Query, found: Iterable[tuple[FoundSource, Source]]) -> list[dict[str, Any]]:
    scored = sorted(
        ((_score(query, each, source), each, source) for each, source in found),
        key=lambda one: -one[0],
    )
    second = scored[1][0] if len(scored) > 1 else 0
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
        for place, (score, each, source) in enumerate(scored[: _limit(query)])
    ]


def _score(query: Query, found: FoundSource, source: Source) -> float:
    """Lower a score for each property that the source has otherwise."""
    score = found.scored.score
    for asked in query.properties:
        if asked.pid in messages.PROPERTIES:
            wanted = asked.v if isinstance(asked.v, list) else [asked.v]
            names = {str(w.get("id") if isinstance(w, dict) else w).lower() for w in wanted}
            told = messages.values(source, asked.pid, {source.get("parent_id") or "": ""})
            if told and not names & {(v.get("id") or v["str"]).lower() for v in told}:
                score *= 0.8
    return score


# --- properties --------------------------------------------------------------------------------


async def _extended(connection: Connection, asked: Extension) -> dict[str, Any]:
    """Fetch properties of records."""
    every = dict.fromkeys(each.id for each in asked.properties)
    keys = [key for key in every if key in messages.PROPERTIES]
    sources = _all_of(await read_sources(connection, asked.ids, keys))
    above = [each["parent_id"] for each in sources.values() if each.get("parent_id")]
    parents = {
        key: messages.title_of(each)
        for key, each in _all_of(await read_sources(connection, above)).items()
    }
    return {
        "meta": [
            {"id": key, "name": messages.PROPERTIES[key]}
            | ({"type": messages.ANY} if key == "parent_id" else {})
            for key in keys
        ],
        "rows": {
            identity: {
                key: messages.values(sources[identity], key, parents) if identity in sources else []
                for key in keys
            }
            for identity in asked.ids
        },
    }


def _all_of(sources: Mapping[str, Source | None]) -> dict[str, Source]:
    """Refuse a request for which not all sources fit."""
    fit = {key: each for key, each in sources.items() if each is not None}
    if len(fit) < len(sources):
        detail = (
            "The records are too large for one answer. Ask for fewer ids or properties at once."
        )
        raise invalid_parameter("extend", detail)
    return fit


@get(
    "/v1/reconcile/properties",
    operation_id="proposeReconciliationProperties",
    include_in_schema=False,
    opt=_OPT,
)
async def propose_properties(request: Request) -> Answer:
    """List the properties that can be fetched."""
    given = _read_named(request, _PROPOSED)
    properties = messages.every_property()[: given.get("limit")]
    kind = given.get("type", messages.ANY["id"])
    return Answer(encoded({"type": kind, "properties": properties} | _limit_of(given)))


def _limit_of(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"limit": given["limit"]} if "limit" in given else {}


def _read_named(request: Request, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Read the parameters that the protocol names, and leave out all others.

    OpenRefine adds some of a service that is gone, such as `spell` and `scoring`, to each request.
    """
    pairs = request.scope["query_string"].split(b"&")
    named = [pair for pair in pairs if pair.partition(b"=")[0].decode("latin-1") in parameters]
    return read_query(b"&".join(named), parameters)


# --- suggestions and previews ------------------------------------------------------------------


@get(
    "/v1/reconcile/suggest/entity",
    operation_id="suggestReconciliationEntity",
    include_in_schema=False,
    opt=_OPT,
)
async def suggest_entity(request: Request) -> Answer:
    """Suggest sources while somebody types a name."""
    given = _read_named(request, _SUGGESTED)
    prefix, skipped = given.get("prefix", "")[:500], given.get("cursor", 0)
    suggested: list[Source | None] = []
    if prefix:
        where, values = conditions(SOURCES.all_filters, {"name__startswith": prefix})
        statement = compose(_STARTING, conditions=" AND ".join(where), limit=f"{skipped + _LIMIT}")
        async with context(request).database.connection(searches=True) as connection:
            rows = await connection.fetch(*render(statement, READER, **values))
            ids = dict.fromkeys(row["id"] for row in rows)
            if len(ids) < skipped + _LIMIT:
                search = Search(connection, READER, Deadline())
                (found,) = await find_sources(search, [(prefix, _LIMIT)])
                ids |= dict.fromkeys(each.id for each in found or ())
            page = list(ids)[skipped : skipped + _LIMIT]
            suggested = list((await read_sources(connection, page)).values())
    return _result(
        {
            "id": each["id"],
            "name": messages.title_of(each),
            "description": messages.about(each),
            "notable": [kind["id"] for kind in messages.types_of(each)],
        }
        for each in suggested
        if each is not None
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
    given = _read_named(request, _SUGGESTED)
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
    if "id" not in given:
        raise Problem(NOT_FOUND, "Send the id of a source as `id`.")
    async with context(request).database.connection() as connection:
        sources = await read_sources(connection, [given["id"]], messages.PROPERTIES)
    source = sources.get(given["id"])
    if source is None:
        raise Problem(NOT_FOUND, "No source that everybody may read has this id.")
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
