"""What the service says of itself: its health, its vocabularies, its problems, its document."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from schemas.base import Line
from schemas.vocabularies import DenialFamily


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


class OpenapiDocument(Struct):
    """An OpenAPI document; what all of them have, and this one has more."""

    openapi: Annotated[str, Meta(max_length=20, description="The version of OpenAPI.")]
    info: Annotated[dict[str, Any], Meta(description="What the API is.")]
    paths: Annotated[dict[str, Any], Meta(description="Its operations.")]
