"""The operations that return the types of problem."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from msgspec import Meta

from api.core.caller import PUBLIC
from api.core.errors import FAULT_CODES, KINDS, NOT_FOUND, Kind, Problem
from api.core.filters import Parameter, read_query
from api.core.operation import Operation
from api.core.request import Answer, Request, encoded
from schemas.service import ProblemType, ProblemTypeList


def _type(kind: Kind) -> ProblemType:
    return ProblemType(
        f"/v1/problems/{kind.name}", kind.name, int(kind.status), kind.title, kind.remedy
    )


_NAME: Final = Parameter(
    "name",
    Annotated[str, Meta(pattern=r"^[a-z-]+\Z", max_length=100)],
    "The name of the type.",
    example=NOT_FOUND.name,
)

LIST_PROBLEMS = Operation(
    tag="problems",
    description="Returns every type of problem with its HTTP status, and says how to correct the "
    "request.",
    success="All types of problem.",
    answer=(ProblemTypeList,),
    example=ProblemTypeList([_type(NOT_FOUND)], {"required": FAULT_CODES["required"]}),
)
GET_PROBLEM = Operation(
    tag="problems",
    description="Describes one type of problem. The `type` of every problem is a path of this "
    "operation.",
    path_parameters=(_NAME,),
    success="The type of problem.",
    answer=(ProblemType,),
    example=_type(NOT_FOUND),
)


@get(
    "/v1/problems", operation_id="listProblems", opt={"operation": LIST_PROBLEMS, "scopes": PUBLIC}
)
async def list_problems(request: Request) -> Answer:
    """List all types of problem."""
    read_query(request.scope["query_string"], {})
    body = ProblemTypeList([_type(kind) for kind in KINDS.values()], dict(FAULT_CODES))
    return Answer(encoded(body))


@get(
    "/v1/problems/{name:str}",
    operation_id="getProblem",
    opt={"operation": GET_PROBLEM, "scopes": PUBLIC},
)
async def get_problem(request: Request) -> Answer:
    """Describe one type of problem."""
    read_query(request.scope["query_string"], {})
    name: str = request.path_params["name"]
    if name not in KINDS:
        raise Problem(
            NOT_FOUND,
            "No type of problem has this name; see `/v1/problems`.",
        )
    return Answer(encoded(_type(KINDS[name])))


problem_handlers = [list_problems, get_problem]
