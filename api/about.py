"""What the service says of itself: health, vocabularies, problem types, its OpenAPI document."""

from __future__ import annotations

from functools import cache
from importlib import resources

from litestar import get

from api.core.db import Database
from api.core.errors import FAULT_CODES, KINDS, NOT_FOUND, Problem, unavailable
from api.core.filters import read_query
from api.core.request import Answer, Request, context, encoded
from schemas.vocabularies import FAMILY_OF, VOCABULARIES, DenialKind, Vocabulary


@get("/health/live", operation_id="getLiveness")
async def get_liveness(request: Request) -> Answer:
    """Say that the process answers; asks nothing of the database."""
    read_query(request.scope["query_string"], {})
    return Answer(_ALIVE)


@get("/health/ready", operation_id="getReadiness")
async def get_readiness(request: Request) -> Answer:
    """Say whether the service can do its work: the database answers and is up to date."""
    read_query(request.scope["query_string"], {})
    await _check(context(request).database)
    return Answer(_READY)


async def _check(database: Database) -> None:
    row = await database.fetchrow("SELECT pg_is_in_recovery() AS standby")
    if row is None or row["standby"]:
        raise unavailable("The database takes no writes.")


_ALIVE = encoded({"status": "alive"})
_READY = encoded({"status": "ready"})


@get("/v1/vocabularies", operation_id="listVocabularies")
async def list_vocabularies(request: Request) -> Answer:
    """List every vocabulary with the meaning of each term."""
    read_query(request.scope["query_string"], {})
    return Answer(_vocabularies())


@cache
def _vocabularies() -> bytes:
    return encoded({"items": [_vocabulary(name, v) for name, v in VOCABULARIES.items()]})


def _vocabulary(name: str, vocabulary: type[Vocabulary]) -> dict[str, object]:
    terms = [
        {
            "term": term.value,
            "meaning": term.meaning,
            "family": FAMILY_OF[term] if isinstance(term, DenialKind) else None,
        }
        for term in vocabulary
    ]
    question = " ".join((vocabulary.__doc__ or "").split())
    return {"name": name, "description": question, "open": name == "metric", "terms": terms}


@get("/v1/problems", operation_id="listProblems")
async def list_problems(request: Request) -> Answer:
    """List every type of problem that an answer can have."""
    read_query(request.scope["query_string"], {})
    body = {"items": [_problem(name) for name in KINDS], "fault_codes": FAULT_CODES}
    return Answer(encoded(body))


@get("/v1/problems/{name:str}", operation_id="getProblem")
async def get_problem(request: Request) -> Answer:
    """Describe one type of problem: what the `type` of an answer resolves to."""
    read_query(request.scope["query_string"], {})
    name: str = request.path_params["name"]
    if name not in KINDS:
        raise Problem(NOT_FOUND, "`/v1/problems` lists the types that there are.")
    return Answer(encoded(_problem(name)))


def _problem(name: str) -> dict[str, object]:
    kind = KINDS[name]
    return {
        "type": f"/v1/problems/{name}",
        "name": name,
        "status": int(kind.status),
        "title": kind.title,
        "remedy": kind.remedy,
    }


@get("/openapi.json", operation_id="getOpenapi")
async def get_openapi(request: Request) -> Answer:
    """Give this API's OpenAPI document, byte for byte as it is published."""
    read_query(request.scope["query_string"], {})
    return Answer(_openapi(), media_type="application/vnd.oai.openapi+json;version=3.1")


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
