"""Operations: parameters, bodies, answers, and the keys that may call them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from api.core.caller import KEYLESS, Need
from api.core.deprecation import Deprecated
from api.core.errors import (
    CIRCULAR_REFERENCE,
    KINDS,
    NOT_UNIQUE,
    RELATION_EXISTS,
    SOURCE_MERGED,
    Kind,
)
from api.core.operation import Operation
from api.core.request import MERGE_PATCH, NDJSON
from api.core.resource import Resource
from api.document import formats, parameters, refusals
from api.document.faces import Components, Face, reference
from api.document.nouns import UNLESS, Noun, at_most, included
from api.document.refusals import Refusal
from api.document.route import Route
from api.document.templates import Json
from api.settings import Settings
from schemas.vocabularies import RecordType

OF_DEPRECATED: Final = ("Deprecation", "Sunset")
"""The headers of an operation that will be removed."""
_DEFAULTS: Final = Settings()


def describe(
    route: Route,
    nouns: Mapping[Resource, Noun],
    components: Components,
    examples: Mapping[str, Json],
) -> tuple[Json, list[Refusal]]:
    """Describe an operation, and list its refusals; one without a declaration is an error."""
    handler, need, resource = route.handler, route.need, route.resource
    if resource:
        noun, suffix = nouns[resource], route.path.removeprefix(resource.path)
        operation, kinds = _of_noun(noun, route.method, suffix)
    else:
        declared, status = handler.opt["operation"], handler.status_code
        resource = declared.writes
        operation, kinds = _declared(declared, status, components, examples)
    if str(handler.status_code) not in operation["responses"]:
        raise ValueError(f"{handler.operation_id} does not answer {handler.status_code}")
    operation["description"] += _scopes(need)
    deprecated: Deprecated | None = handler.opt.get("deprecated")
    if deprecated is not None:
        _deprecate(operation, deprecated)
    refused = refusals.of_operation(operation, route, kinds, resource)
    operation["responses"] |= {
        str(refusal.status): {"$ref": f"#/components/responses/{refusal.name}"}
        for refusal in refused
    }
    return {
        "operationId": handler.operation_id,
        "summary": _summary(route),
        "tags": [route.tag],
        **operation,
        "security": [] if route.path.startswith(KEYLESS) else _security(need),
    }, refused


def _scopes(need: Need | None) -> str:
    """Say which scopes a key needs for an operation."""
    if need is None or not need.scopes:
        return ""
    scopes = " and ".join(f"`{scope}`" for scope in need.scopes)
    return f" This operation requires a key with {scopes}."


def _security(need: Need | None) -> list[Json]:
    """List the scopes of which one is enough for an operation; `{}` means no key."""
    if need is None or need.scopes:
        return [{"key": [scope.value for scope in need.scopes] if need else []}]
    return [{}, {"key": []}]


def _deprecate(operation: Json, deprecated: Deprecated) -> None:
    operation["description"] = f"{deprecated.notice}\n\n{operation['description']}"
    operation["deprecated"] = True
    for answer in operation["responses"].values():
        answer["headers"] |= refusals.references(OF_DEPRECATED)


_Described = tuple[Json, Sequence[Kind]]
"""An operation without its refusals, and the types of problem that were declared for it."""


def links_from(record_type: RecordType, routes: Iterable[Route]) -> Json:
    """Give the links from a record of a type to the operations that ask about it."""
    found: Json = {}
    for route in routes:
        declared = route.handler.opt.get("operation")
        if declared and (parameter := declared.linked_from.get(record_type)):
            name = str(route.handler.operation_id)
            found[name] = {
                "operationId": name,
                "parameters": {parameter: "$response.body#/id"},
                "description": f"{_summary(route)}: `{parameter}` is the record's id.",
            }
    return found


def _summary(route: Route) -> str:
    """Give the first line of a handler's docstring."""
    summary, _, _ = inspect.cleandoc(route.handler.fn.__doc__ or "").partition("\n")
    return summary.rstrip(".")


# --- a noun's operations, by the template ------------------------------------------------------


def _of_noun(noun: Noun, method: str, suffix: str) -> _Described:
    """Describe an operation of a noun by the template."""
    operation = dict(noun.paths[suffix][method])
    kinds = [KINDS[name] for name in operation.pop("refusals", ())]
    if NOT_UNIQUE in kinds and noun.symmetric:
        kinds.append(RELATION_EXISTS)
    if NOT_UNIQUE in kinds and noun.resource.circular:
        kinds.append(CIRCULAR_REFERENCE)
    if noun.resource.merges:
        if method == "get" and suffix == "/{id}":
            operation["responses"] = {**operation["responses"], "308": _MERGED}
        elif (method, suffix) in _CHANGES:
            kinds.append(SOURCE_MERGED)
    if "requestBody" in operation:
        operation["requestBody"] = _media(operation["requestBody"])
    operation["responses"] = {
        status: _media(answer | {"headers": refusals.headers(answer["headers"])})
        for status, answer in operation["responses"].items()
    }
    if method == "get" and suffix in formats.OFFERED:
        formats.add(noun.resource, suffix, operation["responses"]["200"]["content"])
        kinds.append(formats.REFUSED)
    return operation, kinds


_MERGED: Final = {
    "description": "The record was merged into another one, whose path is in `Location`.",
    "headers": ["Location"],
}
_CHANGES: Final = {
    ("put", "/{id}"),
    ("patch", "/{id}"),
    ("delete", "/{id}"),
    ("post", "/{id}/restore"),
}
"""The operations that change a record which its id names."""


def _media(message: Json) -> Json:
    """Refer to the schema and the examples that the template names for each media type."""
    if "content" not in message:
        return message
    content = {
        media_type: {
            "schema": reference(schema),
            "examples": {name: {"$ref": f"#/components/examples/{name}"} for name in names},
        }
        for media_type, schemas in message["content"].items()
        for schema, names in schemas.items()
    }
    return message | {"content": content}


# --- the others, declared beside their handlers ------------------------------------------------


def _declared(
    declared: Operation, status: int, components: Components, examples: Mapping[str, Json]
) -> _Described:
    """Describe an operation that its handler declares."""
    operation: Json = {"description": declared.description}
    if given := [
        *(parameters.described(p, components, where="path") for p in declared.path_parameters),
        *(parameters.of_filters(declared.filters_of, components) if declared.filters_of else ()),
        *(parameters.described(p, components) for p in declared.parameters),
        *({"$ref": f"#/components/parameters/{name}"} for name in declared.header_parameters),
    ]:
        operation["parameters"] = given
    if declared.body is not None:
        media = {
            "schema": components.request(declared.body)
            if isinstance(declared.body, type)
            else components.value(declared.body),
            "example": msgspec.to_builtins(declared.body_example),
        }
        operation["requestBody"] = {
            "description": " ".join(
                [
                    _body(declared.body, declared.body_type),
                    *(each.description for each in declared.other_bodies),
                ]
            ),
            "required": True,
            "content": {
                declared.body_type: media,
                **{
                    each.media_type: {"schema": dict(each.schema), "example": each.example}
                    for each in declared.other_bodies
                },
            },
        }
    answer: Json = {"description": declared.success, "headers": refusals.headers(declared.headers)}
    if answers := [_schema(each, components) for each in declared.answer]:
        schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
        media = {"schema": schema, **_shown(declared.example, examples)}
        answer["content"] = {declared.media_type: media}
    if declared.expansions:
        _say_included(declared, components)
    if declared.links:
        answer["links"] = {
            link.operation: {
                "operationId": link.operation,
                "parameters": dict(link.parameters),
                "description": link.description,
            }
            for link in declared.links
        }
    operation["responses"] = {str(status): answer}
    if declared.callbacks:
        operation["callbacks"] = {
            name: {"{$request.body#/url}": {"$ref": f"#/webhooks/{name}"}}
            for name in declared.callbacks
        }
    return operation, declared.refusals


def _say_included(declared: Operation, components: Components) -> None:
    """Name what `included` of an answer can have, as the pages of records do."""
    struct = declared.answer[0].__name__
    name = f"{struct.removesuffix('Page')}Included"
    properties = components.schemas[struct]["properties"]
    if name not in components.schemas:  # several operations can give the same answer
        components.schemas[name] = {
            "description": properties["included"]["description"],
            "type": "object",
            "properties": included(declared.expansions),
        }
    properties["included"] = reference(name)


def _body(body: Any, media_type: str) -> str:  # noqa: ANN401 - a type form
    """Say what to send, and how large it may be."""
    if media_type != NDJSON:
        told = body.__doc__ if isinstance(body, type) else get_args(body)[1].description
        first_line, _, _ = inspect.cleandoc(told or "").partition("\n")
        sent_as = (
            f" Send it with `Content-Type: {media_type}`." if media_type == MERGE_PATCH else ""
        )
        return f"{first_line}{sent_as} {at_most(_DEFAULTS.body_bytes)}"
    return (
        f"One JSON object on each line, in UTF-8. A line has at most {_DEFAULTS.body_bytes:,} "
        f"bytes, a line with an article {_DEFAULTS.article_body_bytes:,}{UNLESS} "
        "The body as a whole has no limit."
    )


def _schema(body: Any, components: Components) -> Json:  # noqa: ANN401 - a type form
    """Describe the body of an answer: a Struct by its name, other types in full."""
    if isinstance(body, str):
        return reference(body)
    if isinstance(body, type):
        return components.response(body)
    return components.value(body, Face.RESPONSE)


def _shown(example: Any, examples: Mapping[str, Json]) -> Json:  # noqa: ANN401 - any body, or several by name
    """Show the body of an answer, or several bodies by name."""
    if not isinstance(example, Mapping):
        return {"example": _plain(msgspec.to_builtins(example), examples)}
    return {
        "examples": {
            name: {"summary": summary, "value": _plain(msgspec.to_builtins(value), examples)}
            for name, (summary, value) in example.items()
        }
    }


def _plain(value: Any, examples: Mapping[str, Json]) -> Any:  # noqa: ANN401 - JSON
    """Replace the names of examples of records (`example_of`) by the examples."""
    match value:
        case {"$example": str(name)}:
            return examples[name]["value"]
        case dict():
            return {name: _plain(item, examples) for name, item in value.items()}
        case list():
            return [_plain(item, examples) for item in value]
    return value
