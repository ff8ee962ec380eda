"""What a handler declares of its operation for the API's document: data alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from api.core.errors import Kind
from api.core.filters import Parameter
from api.core.request import JSON


class Link(NamedTuple):
    """How one goes on from an answer: to an operation, whose parameters the answer has."""

    operation: str
    parameters: Mapping[str, str]
    description: str


class Operation(Struct, frozen=True, kw_only=True):
    """What is special about an operation, given as its handler's `opt["operation"]`.

    The route says the rest: path, method, status, scopes, and in the first line of the handler's
    docstring the summary. A parameter in the path has its `example`.
    """

    tag: str
    description: str
    success: str  # the description of the successful answer
    # Structs, the names of schemas, or a type of string; of NDJSON, each a line.
    answer: tuple[Any, ...] = ()
    example: Any = None  # a body; of lines and events several by name, each with a summary
    headers: tuple[str, ...] = ()
    media_type: str = JSON
    path_parameters: tuple[Parameter, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    header_parameters: tuple[str, ...] = ()  # as the document's components are called
    body: type[Struct] | None = None
    body_type: str = JSON
    body_example: Any = None
    links: tuple[Link, ...] = ()
    callbacks: tuple[str, ...] = ()  # of the document's webhooks, posted to the body's `url`
    refusals: tuple[Kind, ...] = ()  # but those that follow from what the operation takes


def example_of(name: str) -> dict[str, str]:
    """Stand for an example of a record in an example: `Claim`, `ClaimUpdated` and the like."""
    return {"$example": name}
