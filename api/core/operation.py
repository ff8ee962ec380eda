"""The declaration of an operation, which its handler holds for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from api.core.errors import Kind
from api.core.filters import Parameter
from api.core.request import JSON
from api.core.resource import Expansion, Resource
from schemas.vocabularies import RecordType


class Link(NamedTuple):
    """A link from an answer to an operation, with parameters from the answer."""

    operation: str
    parameters: Mapping[str, str]
    description: str


class OtherBody(NamedTuple):
    """A body of another media type that an operation takes beside its usual one."""

    media_type: str
    schema: Mapping[str, Any]  # JSON Schema
    description: str
    example: Any


class Operation(Struct, frozen=True, kw_only=True):
    """A handler's `opt["operation"]`: what the document can't read off the route.

    The route has the path, the method, the status and the scopes; the first line of the handler's
    docstring is the summary. Each parameter of the path needs an `example`.
    """

    tag: str
    description: str
    success: str  # the description of the successful answer
    # Structs, names of schemas, or a type of string. NDJSON has one for each kind of line.
    answer: tuple[Any, ...] = ()
    example: Any = None  # a body; for lines and events, several by name with a summary
    headers: tuple[str, ...] = ()
    expansions: tuple[Expansion, ...] = ()  # what `included` of the answer can have
    media_type: str = JSON
    path_parameters: tuple[Parameter, ...] = ()
    writes: Resource | None = None  # the resource whose record `If-Match` is about
    filters_of: Resource | None = None  # the resource whose filters it takes
    parameters: tuple[Parameter, ...] = ()
    header_parameters: tuple[str, ...] = ()  # by the names of the document's components
    body: Any = None  # a Struct, or a list of such
    body_type: str = JSON
    body_example: Any = None
    other_bodies: tuple[OtherBody, ...] = ()
    links: tuple[Link, ...] = ()
    # The record types whose records link to it, each with the parameter that takes a record's id.
    linked_from: Mapping[RecordType, str] = {}
    callbacks: tuple[str, ...] = ()  # webhooks of the document, sent to the `url` of the body
    refusals: tuple[Kind, ...] = ()  # except those that follow from parameters, body and scopes


def example_of(name: str) -> dict[str, str]:
    """Name an example of a record, such as `Claim`; the document puts it in this place."""
    return {"$example": name}
