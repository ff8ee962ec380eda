"""Lists whose parameters come as a JSON object in the body, because they may not fit into a URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from api.core.bodies import read_part
from api.core.filters import MAX_VALUES, Parameter
from api.core.listing import read_page
from api.core.request import Answer, Request, caller, context, reserve_room
from api.core.resource import MAX_PAGE_BYTES, Resource
from schemas.base import Fault, Part, impossible
from schemas.scalars import Bound, Number


async def query(resource: Resource, request: Request) -> Answer:
    """Answer with a page of the records that the body asks for."""
    asked = await read_part(request, body_of(resource))
    given = given_in(asked, resource.list_parameters)
    room = await reserve_room(request, MAX_PAGE_BYTES)
    page = await read_page(resource, context(request), caller(request), given)
    room.keep(len(page.body))
    return Answer(page.body)


@cache
def body_of(resource: Resource) -> type[Part]:
    """Make the Struct of a body: a property for each parameter of the resource's list."""
    return body_with(
        f"{resource.record.__name__}Query",
        resource,
        resource.list_parameters,
        f"The parameters of a list of {resource.plural}. A parameter that is null or "
        "absent is not used.",
    )


def body_with(
    name: str, resource: Resource, parameters: Mapping[str, Parameter], about: str
) -> type[Part]:
    """Make a Struct with a property for each of some parameters of the resource's list."""
    bounds = [each for each, parameter in parameters.items() if parameter.type is Bound]

    def faults(asked: Part) -> Iterator[Fault]:
        """Refuse dates that are not valid."""
        for bound in bounds:
            yield from impossible(bound, getattr(asked, bound))

    body = msgspec.defstruct(
        name,
        [(each, _property(resource, parameter), None) for each, parameter in parameters.items()],
        bases=(Part,),
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={
            "__doc__": about,
            "faults": faults,
        },
    )
    return cast("type[Part]", body)


def _property(resource: Resource, parameter: Parameter) -> Any:  # noqa: ANN401 - a type form
    """Give the type of a property: a list for a parameter that can be repeated or takes commas."""
    kind: Any = parameter.type
    if parameter.name == "sort":
        kind = Literal[tuple(resource.all_sorts)]
    elif parameter.many:
        kind = Annotated[list[kind], Meta(min_length=1, max_length=MAX_VALUES)]
    elif parameter.terms:
        term: Any = Literal[tuple(parameter.terms)]
        kind = Annotated[list[term], Meta(min_length=1, max_length=len(parameter.terms))]
    return Annotated[kind | None, Meta(description=parameter.description)]


def given_in(asked: Part, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Give the values as `read_query` gives those of a query string."""
    given: dict[str, Any] = {}
    for name, parameter in parameters.items():
        value = getattr(asked, name)
        if value is None:
            continue
        if parameter.terms:
            value = ",".join(value)
        given[name] = float(value) if parameter.type is Number else value
    return given
