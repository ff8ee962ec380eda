"""The Structs in which the service describes itself: health, vocabularies, problems, document."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.scalars import Line
from schemas.vocabularies import DenialFamily


class Health(Struct):
    """The health of the service."""

    status: Annotated[
        str,
        Meta(
            max_length=20,
            description="The state of the service.",
            extra_json_schema={"x-vocabulary": "health_status"},
        ),
    ]


class Term(Struct):
    """A word that a property can hold, with its meaning."""

    term: Annotated[Line, Meta(description="The word as records use it.")]
    meaning: Annotated[Line, Meta(description="The meaning of the term, in one line.")]
    family: Annotated[
        DenialFamily | None,
        Meta(description="The family of a kind of denial. It is null for all other terms."),
    ]


class VocabularyTerms(Struct):
    """A vocabulary, which is a list of terms that answer one question."""

    name: Annotated[Line, Meta(description="The name of the vocabulary, in snake_case.")]
    description: Annotated[Line, Meta(description="The question that the terms answer.")]
    open: Annotated[bool, Meta(description="True if records can also use other words.")]
    terms: Annotated[
        list[Term],
        Meta(max_length=200, description="The terms, in reading order."),
    ]


class VocabularyList(Struct):
    """The list of all vocabularies."""

    items: Annotated[list[VocabularyTerms], Meta(max_length=200, description="All vocabularies.")]


class ProblemType(Struct):
    """A type of problem. The `type` of an error is its address."""

    type: Annotated[
        str,
        Meta(
            max_length=200,
            description="The URI of the type.",
            extra_json_schema={"format": "uri-reference"},
        ),
    ]
    name: Annotated[Line, Meta(description="The last part of the URI.")]
    status: Annotated[int, Meta(ge=400, le=599, description="The HTTP status.")]
    title: Annotated[Line, Meta(description="What is wrong, in words.")]
    remedy: Annotated[Line, Meta(description="How to correct the request.")]


class ProblemTypeList(Struct):
    """The list of all types of problem."""

    items: Annotated[list[ProblemType], Meta(max_length=200, description="All types of problem.")]
    fault_codes: Annotated[
        dict[str, Line],
        Meta(max_length=200, description="The meaning of each `code` in `errors` of a problem."),
    ]


class OpenapiDocument(Struct):
    """An OpenAPI document. It has more properties than these."""

    openapi: Annotated[str, Meta(max_length=20, description="The version of OpenAPI.")]
    info: Annotated[dict[str, Any], Meta(description="The title, version and description.")]
    paths: Annotated[dict[str, Any], Meta(description="The operations of the API, by path.")]
