"""What the service says of itself: health, vocabularies, problem types, its OpenAPI document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from msgspec import Meta, Struct

from api.core import codings
from api.core.caller import PUBLIC
from api.core.db import Database
from api.core.errors import FAULT_CODES, KINDS, NOT_FOUND, Kind, Problem, unavailable
from api.core.filters import Parameter, read_query
from api.core.request import Answer, Request, context, encoded
from api.core.services import service
from api.document import Operation, refusals
from api.server import schema
from api.sync.feed.numbering import Numbering
from schemas.base import Line
from schemas.vocabularies import (
    FAMILY_OF,
    VOCABULARIES,
    DenialFamily,
    DenialKind,
    HealthStatus,
    Vocabulary,
)

OPENAPI_JSON: Final = "application/vnd.oai.openapi+json;version=3.1"
OPENAPI_YAML: Final = "application/vnd.oai.openapi;version=3.1"

# --- health ----------------------------------------------------------------------------------


class Health(Struct):
    """How the service is."""

    status: Annotated[
        str,
        Meta(
            max_length=20,
            description="What may be said of it.",
            extra_json_schema={"x-vocabulary": "health_status"},
        ),
    ]


_ALIVE = Health(HealthStatus.ALIVE)
_READY = Health(HealthStatus.READY)

LIVENESS = Operation(
    tag="service",
    description="For whatever restarts a process that hangs.",
    told="The process answers.",
    answer=(Health,),
    example=_ALIVE,
)
READINESS = Operation(
    tag="service",
    description="For whatever sends requests only where they can be answered.",
    told="The service can do its work.",
    answer=(Health,),
    example=_READY,
    refusals=(refusals.BAD_QUERY, refusals.UNAVAILABLE),
)


@get("/health/live", operation_id="getLiveness", opt={"operation": LIVENESS, "scopes": PUBLIC})
async def get_liveness(request: Request) -> Answer:
    """Say that the process answers; asks nothing of the database."""
    read_query(request.scope["query_string"], {})
    return Answer(encoded(_ALIVE))


@get("/health/ready", operation_id="getReadiness", opt={"operation": READINESS, "scopes": PUBLIC})
async def get_readiness(request: Request) -> Answer:
    """Say whether the service can do its work: database and change feed are well."""
    read_query(request.scope["query_string"], {})
    await _check(context(request).database)
    await service(request, Numbering).check()
    return Answer(encoded(_READY))


async def _check(database: Database) -> None:
    row = await database.fetchrow(_STATE)
    if row is None or row["reads_only"]:
        raise unavailable("The database takes no writes.")
    if row["revision"] != schema.latest():
        raise unavailable("The database's schema is not the one that this version needs.")


_STATE = f"""
    SELECT current_setting('transaction_read_only')::boolean AS reads_only,
        ({schema.CURRENT}) AS revision"""


# --- vocabularies ----------------------------------------------------------------------------


class Term(Struct):
    """A word that a property can hold, and what it means."""

    term: Annotated[Line, Meta(description="As it stands in records.")]
    meaning: Annotated[Line, Meta(description="In one line.")]
    family: Annotated[
        DenialFamily | None, Meta(description="What a kind of denial amounts to; else null.")
    ]


class VocabularyTerms(Struct):
    """A vocabulary: the terms that answer one question."""

    name: Annotated[Line, Meta(description="In snake_case.")]
    description: Annotated[Line, Meta(description="The question that its terms answer.")]
    open: Annotated[bool, Meta(description="Whether other words may be used as well.")]
    terms: Annotated[list[Term], Meta(max_length=200, description="In reading order.")]


class VocabularyList(Struct):
    """All vocabularies."""

    items: Annotated[list[VocabularyTerms], Meta(max_length=200, description="One for each.")]


def _terms(name: str, vocabulary: type[Vocabulary]) -> VocabularyTerms:
    terms = [
        Term(term.value, term.meaning, FAMILY_OF[term] if isinstance(term, DenialKind) else None)
        for term in vocabulary
    ]
    question = " ".join((vocabulary.__doc__ or "").split())
    return VocabularyTerms(name, question, name == "metric", terms)


LIST_VOCABULARIES = Operation(
    tag="vocabularies",
    description="The question that each vocabulary answers, and its terms, as the service itself "
    "checks them.",
    told="Every vocabulary.",
    answer=(VocabularyList,),
    example=VocabularyList([_terms("denial_family", DenialFamily)]),
)


@get(
    "/v1/vocabularies",
    operation_id="listVocabularies",
    opt={"operation": LIST_VOCABULARIES, "scopes": PUBLIC},
)
async def list_vocabularies(request: Request) -> Answer:
    """List every vocabulary with the meaning of each term."""
    read_query(request.scope["query_string"], {})
    return Answer(_vocabularies())


@cache
def _vocabularies() -> bytes:
    return encoded(VocabularyList([_terms(name, v) for name, v in VOCABULARIES.items()]))


# --- problems --------------------------------------------------------------------------------


class ProblemType(Struct):
    """A type of problem: what the `type` of an answer resolves to."""

    type: Annotated[
        str,
        Meta(
            max_length=200,
            description="Its URI.",
            extra_json_schema={"format": "uri-reference"},
        ),
    ]
    name: Annotated[Line, Meta(description="The last part of the URI.")]
    status: Annotated[int, Meta(ge=400, le=599, description="The HTTP status.")]
    title: Annotated[Line, Meta(description="What is wrong.")]
    remedy: Annotated[Line, Meta(description="The way out.")]


class ProblemTypeList(Struct):
    """All types of problem."""

    items: Annotated[list[ProblemType], Meta(max_length=200, description="One for each.")]
    fault_codes: Annotated[
        dict[str, Line],
        Meta(max_length=200, description="What the `code` of each of a problem's `errors` means."),
    ]


def _type(kind: Kind) -> ProblemType:
    return ProblemType(
        f"/v1/problems/{kind.name}", kind.name, int(kind.status), kind.title, kind.remedy
    )


LIST_PROBLEMS = Operation(
    tag="problems",
    description="Each with its HTTP status and the way out of it.",
    told="Every type of problem.",
    answer=(ProblemTypeList,),
    example=ProblemTypeList([_type(NOT_FOUND)], {"required": FAULT_CODES["required"]}),
)
GET_PROBLEM = Operation(
    tag="problems",
    description="The `type` of every problem is the path of this operation.",
    path_parameters=(
        Parameter(
            "name", Annotated[str, Meta(pattern=r"^[a-z-]+\Z", max_length=100)], "The type's name."
        ),
    ),
    told="The type of problem.",
    answer=(ProblemType,),
    example=_type(NOT_FOUND),
    refusals=(refusals.BAD_QUERY, refusals.NOT_FOUND),
)


@get(
    "/v1/problems", operation_id="listProblems", opt={"operation": LIST_PROBLEMS, "scopes": PUBLIC}
)
async def list_problems(request: Request) -> Answer:
    """List every type of problem that an answer can have."""
    read_query(request.scope["query_string"], {})
    body = ProblemTypeList([_type(kind) for kind in KINDS.values()], dict(FAULT_CODES))
    return Answer(encoded(body))


@get(
    "/v1/problems/{name:str}",
    operation_id="getProblem",
    opt={"operation": GET_PROBLEM, "scopes": PUBLIC},
)
async def get_problem(request: Request) -> Answer:
    """Describe one type of problem: what the `type` of an answer resolves to."""
    read_query(request.scope["query_string"], {})
    name: str = request.path_params["name"]
    if name not in KINDS:
        raise Problem(NOT_FOUND, "`/v1/problems` lists the types that there are.")
    return Answer(encoded(_type(KINDS[name])))


# --- this API's document ---------------------------------------------------------------------


class OpenapiDocument(Struct):
    """An OpenAPI document; what all of them have, and this one has more."""

    openapi: Annotated[str, Meta(max_length=20, description="The version of OpenAPI.")]
    info: Annotated[dict[str, Any], Meta(description="What the API is.")]
    paths: Annotated[dict[str, Any], Meta(description="Its operations.")]


GET_OPENAPI = Operation(
    tag="service",
    description="For generating clients, and for `/docs`, which shows it. `/openapi.yaml` is the "
    "same as YAML.",
    told="The OpenAPI document.",
    answer=(OpenapiDocument,),
    media_type=OPENAPI_JSON,
    headers=("Content-Encoding", "Vary"),
    example=OpenapiDocument("3.1.0", {"title": "claim-records", "version": "0.2.0"}, {}),
)


@get("/openapi.json", operation_id="getOpenapi", opt={"operation": GET_OPENAPI, "scopes": PUBLIC})
async def get_openapi(request: Request) -> Answer:
    """Give this API's OpenAPI document, byte for byte as it is published."""
    read_query(request.scope["query_string"], {})
    return await _compressed(request, _openapi, OPENAPI_JSON)


@get("/openapi.yaml", include_in_schema=False, opt={"scopes": PUBLIC})
async def get_openapi_yaml(request: Request) -> Answer:
    """Give the same document as YAML."""
    read_query(request.scope["query_string"], {})
    return await _compressed(request, _openapi_yaml, OPENAPI_YAML)


async def _compressed(
    request: Request, document: Callable[[str], bytes], media_type: str
) -> Answer:
    """Answer with a document that is some hundred kilobytes long, and made once a process."""
    coding = codings.preferred(request.headers.getall("accept-encoding", []))
    body = await asyncio.to_thread(document, coding)
    return Answer(body, headers=codings.headers(coding), media_type=media_type)


@cache
def _openapi(coding: str) -> bytes:
    return codings.compressed((resources.files("openapi") / "openapi.json").read_bytes(), coding)


@cache
def _openapi_yaml(coding: str) -> bytes:
    document = msgspec.json.decode(_openapi(codings.IDENTITY))
    return codings.compressed(msgspec.yaml.encode(document), coding)


about_handlers = [
    get_liveness,
    get_readiness,
    list_vocabularies,
    list_problems,
    get_problem,
    get_openapi,
    get_openapi_yaml,
]
