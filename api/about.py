"""What the service says of itself: health, vocabularies, problem types, its OpenAPI document."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Any, Final

from litestar import get
from msgspec import Meta, Struct

from api.access.callers import PUBLIC
from api.core import schema
from api.core.db import Database
from api.core.errors import FAULT_CODES, KINDS, NOT_FOUND, Kind, Problem, unavailable
from api.core.filters import Parameter, read_query
from api.core.openapi import Operation, refusals
from api.core.request import Answer, Request, context, encoded
from api.sync.numbering import Numbering
from schemas.base import Line
from schemas.vocabularies import FAMILY_OF, VOCABULARIES, DenialFamily, DenialKind, Vocabulary

OPENAPI_JSON: Final = "application/vnd.oai.openapi+json;version=3.1"

# --- health ----------------------------------------------------------------------------------


class Health(Struct):
    """How the service is."""

    status: Annotated[
        str, Meta(max_length=20, description="`alive`: it answers; `ready`: it can do its work.")
    ]


_ALIVE = Health("alive")
_READY = Health("ready")

LIVENESS = Operation(
    tag="service",
    description="For whatever restarts a process that hangs.",
    answer=(Health,),
    example=_ALIVE,
)
READINESS = Operation(
    tag="service",
    description="For whatever sends requests only where they can be answered.",
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
    numbering: Numbering = request.app.state["numbering"]
    await numbering.check()
    return Answer(encoded(_READY))


async def _check(database: Database) -> None:
    row = await database.fetchrow(_STATE)
    if row is None or row["standby"]:
        raise unavailable("The database takes no writes.")
    if row["revision"] != schema.latest():
        raise unavailable("The database's schema is not the one that this version needs.")


_STATE = f"SELECT pg_is_in_recovery() AS standby, ({schema.CURRENT}) AS revision"


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
    description="For generating clients, and for `/docs`, which shows it.",
    answer=(OpenapiDocument,),
    media_type=OPENAPI_JSON,
    example=OpenapiDocument("3.1.0", {"title": "claim-records", "version": "0.2.0"}, {}),
)


@get("/openapi.json", operation_id="getOpenapi", opt={"operation": GET_OPENAPI, "scopes": PUBLIC})
async def get_openapi(request: Request) -> Answer:
    """Give this API's OpenAPI document, byte for byte as it is published."""
    read_query(request.scope["query_string"], {})
    return Answer(_openapi(), media_type=OPENAPI_JSON)


@cache
def _openapi() -> bytes:
    return (resources.files("openapi") / "openapi.json").read_bytes()


about_handlers = [
    get_liveness,
    get_readiness,
    list_vocabularies,
    list_problems,
    get_problem,
    get_openapi,
]
