"""What each operation takes and answers: those of every noun here, others beside their handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from api.core.filters import Parameter
from api.core.openapi import parameters, refusals
from api.core.openapi.faces import Components, Face, Json, reference
from api.core.openapi.nouns import LINKED, Noun
from api.core.openapi.refusals import ANYWHERE, Refusal, headers
from api.core.request import JSON, MERGE_PATCH
from api.core.resource import AS_OF, CURSOR, LIMIT
from schemas.base import Version


class Operation(Struct, frozen=True, kw_only=True):
    """What the document says of an operation that is not a noun's, given as its handler's `opt`."""

    tag: str
    description: str
    answer: tuple[
        Any, ...
    ]  # Structs, or a type of string; of NDJSON, each a line; none without one
    example: Any  # a body; of NDJSON, a line
    status: int = 200
    headers: tuple[str, ...] = ()
    media_type: str = JSON
    path_parameters: tuple[Parameter, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    header_parameters: tuple[str, ...] = ()  # as the document's components are called
    body: type[Struct] | None = None
    body_type: str = JSON
    body_example: Any = None
    callbacks: tuple[str, ...] = ()  # of the document's webhooks, posted to the body's `url`
    refusals: tuple[Refusal, ...] = (refusals.BAD_QUERY,)


Written = tuple[Json, tuple[Refusal, ...]]
"""An operation as the document has it, but for its refusals, and these."""


def written(declared: Operation, components: Components) -> Written:
    """Write down an operation that was declared beside its handler."""
    operation: Json = {"description": declared.description}
    if given := [
        *(parameters.described(p, components, where="path") for p in declared.path_parameters),
        *(parameters.described(p, components) for p in declared.parameters),
        *(parameters.header(name) for name in declared.header_parameters),
    ]:
        operation["parameters"] = given
    if declared.body is not None:
        media = {
            "schema": components.request(declared.body),
            "example": msgspec.to_builtins(declared.body_example),
        }
        operation["requestBody"] = {"required": True, "content": {declared.body_type: media}}
    answer: Json = {"description": "Done.", "headers": headers(*declared.headers)}
    if answers := [_answered(each, components) for each in declared.answer]:
        schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
        media = {"schema": schema, "example": msgspec.to_builtins(declared.example)}
        answer["content"] = {declared.media_type: media}
    operation["responses"] = {str(declared.status): answer}
    if declared.callbacks:
        operation["callbacks"] = {
            name: {"{$request.body#/url}": {"$ref": f"#/webhooks/{name}"}}
            for name in declared.callbacks
        }
    return operation, (*declared.refusals, *ANYWHERE)


def _answered(body: Any, components: Components) -> Json:  # noqa: ANN401 - a type form
    """Describe what is answered: a Struct by its name, other types in full."""
    if isinstance(body, type):
        return components.response(body)
    return components.value(body, Face.RESPONSE)


# --- bodies ----------------------------------------------------------------------------------


def _media(media_type: str, schema: str, example: str) -> Json:
    shown = {example: {"$ref": f"#/components/examples/{example}"}}
    return {media_type: {"schema": reference(schema), "examples": shown}}


def _body(media_type: str, schema: str) -> Json:
    return {"required": True, "content": _media(media_type, schema, schema)}


def _record(noun: Noun, description: str, *more: str, example: str = "") -> Json:
    """Describe an answer that is a record, with its ETag."""
    return {
        "description": description,
        "headers": headers("ETag", *more),
        "content": _media(JSON, noun.name, example or noun.name),
    }


def _linked(noun: Noun, record: Json) -> Json:
    """Add to an answer that is a record how one goes on from it."""
    links = {
        name: {"$ref": f"#/components/links/{name}"}
        for name in (f"{verb}{noun.name}" for verb in LINKED)
    }
    return record | {"links": links}


def _created(noun: Noun, *more: str) -> Json:
    return _linked(noun, _record(noun, f"The {noun.one}, created.", "Location", *more))


# --- a noun's operations ---------------------------------------------------------------------

_READ: Final = (*ANYWHERE, refusals.UNAVAILABLE)
_WRITE: Final = (*_READ, refusals.STORAGE_FULL)
_READ_BODY: Final = (
    refusals.BAD_BODY,
    refusals.REQUEST_TIMEOUT,
    refusals.BODY_TOO_LARGE,
    *_WRITE,
)
_WRITE_BODY: Final = (*_READ_BODY, refusals.NOT_UNIQUE, refusals.INVALID_RECORD)


def _list(noun: Noun) -> Written:
    page = {
        "description": f"A page of {noun.of.plural}.",
        "headers": headers("Link"),
        "content": _media(JSON, f"{noun.name}Page", f"{noun.name}Page"),
    }
    return {
        "description": f"Gives a page of the {noun.of.plural} that fit all parameters, newest "
        "first unless `sort` says otherwise. Follow `next_cursor`, or the `Link` header, until it "
        "is null: what stays in place meanwhile is neither missed nor repeated.",
        "parameters": list(parameters.of_list(noun)),
        "responses": {"200": page},
    }, (refusals.BAD_PAGE, *_READ)


def _create(noun: Noun) -> Written:
    required = ", ".join(f"`{name}`" for name in _needed(noun))
    return {
        "description": f"Writes {noun.a_one} under a new id. Needed is only {required}. With an "
        "`Idempotency-Key` it is safe to repeat; so is `PUT`, which writes under an id of one's "
        "own.",
        "parameters": [parameters.header("IdempotencyKey")],
        "requestBody": _body(JSON, f"{noun.name}Create"),
        "responses": {"201": _created(noun, "Idempotency-Replayed")},
    }, (
        *_READ_BODY,
        refusals.NOT_CREATED,
        refusals.INVALID_NEW_RECORD,
        refusals.NOT_JSON,
    )


def _needed(noun: Noun) -> list[str]:
    found: list[str] = noun.components.schemas[noun.of.create.__name__]["required"]
    return found


def _get(noun: Noun) -> Written:
    return {
        "description": f"Gives the {noun.one} as it is, or as it was at the instant `as_of`. A "
        "deleted one is 410.",
        "parameters": [
            parameters.identity(noun),
            parameters.described(AS_OF, noun.components),
            parameters.header("IfNoneMatch"),
        ],
        "responses": {
            "200": _linked(noun, _record(noun, f"The {noun.one}.")),
            "304": _not_modified(),
        },
    }, (refusals.BAD_REQUEST, refusals.NOT_FOUND, refusals.GONE, *_READ)


def _not_modified(*more: str) -> Json:
    return {"description": "It is still at that version.", "headers": headers("ETag", *more)}


def _replace(noun: Noun) -> Written:
    return {
        "description": f"Writes the whole {noun.one}: what is left out becomes empty or its "
        "default. With `If-Match` it replaces the record, with `If-None-Match: *` it creates one "
        "under an id of one's own; one of the two is needed. Content that is there already makes "
        "no new version.",
        "parameters": [
            parameters.identity(noun),
            parameters.header("IfMatchOptional"),
            parameters.header("IfNoneMatchToCreate"),
        ],
        "requestBody": _body(JSON, f"{noun.name}Create"),
        "responses": {
            "200": _linked(noun, _record(noun, f"The {noun.one}, replaced.")),
            "201": _created(noun),
        },
    }, (
        *_WRITE_BODY,
        refusals.NOT_FOUND,
        refusals.GONE,
        refusals.PRECONDITION_FAILED,
        refusals.NOT_JSON,
        refusals.PRECONDITION_REQUIRED,
    )


def _update(noun: Noun) -> Written:
    changed = _record(noun, f"The {noun.one}, changed.", example=f"{noun.name}Updated")
    return {
        "description": "Applies a merge patch (RFC 7396): what is absent stays, null removes, a "
        "list replaces the whole list. A patch that changes nothing makes no new version.",
        "parameters": [parameters.identity(noun), parameters.header("IfMatch")],
        "requestBody": _body(MERGE_PATCH, f"{noun.name}Update"),
        "responses": {"200": _linked(noun, changed)},
    }, (
        *_WRITE_BODY,
        refusals.NOT_FOUND,
        refusals.GONE,
        refusals.PRECONDITION_FAILED,
        refusals.NOT_A_PATCH,
        refusals.PRECONDITION_REQUIRED,
    )


def _delete(noun: Noun) -> Written:
    gone = {
        "description": f"The {noun.one} is deleted; `ETag` is its tombstone's.",
        "headers": headers("ETag"),
    }
    return {
        "description": "Takes the record out of use; a tombstone and the history stay. Refused "
        "with 409 while others refer to it, naming them.",
        "parameters": [parameters.identity(noun), parameters.header("IfMatch")],
        "responses": {"204": gone},
    }, (
        refusals.BAD_REQUEST,
        refusals.NOT_FOUND,
        refusals.STILL_REFERENCED,
        refusals.GONE,
        refusals.PRECONDITION_FAILED,
        refusals.PRECONDITION_REQUIRED,
        *_WRITE,
    )


def _restore(noun: Noun) -> Written:
    back = _record(
        noun,
        f"The {noun.one}, back again.",
        "Idempotency-Replayed",
        example=f"{noun.name}Restored",
    )
    return {
        "description": f"Brings a deleted {noun.one} back as it was, as a new version. `If-Match` "
        "names the tombstone's `ETag`, which its deletion and every 410 give.",
        "parameters": [
            parameters.identity(noun),
            parameters.header("IfMatch"),
            parameters.header("IdempotencyKey"),
        ],
        "responses": {"200": back},
    }, (
        refusals.BAD_REQUEST,
        refusals.NOT_FOUND,
        refusals.NOT_RESTORABLE,
        refusals.PRECONDITION_FAILED,
        refusals.NOT_RESTORED,
        refusals.PRECONDITION_REQUIRED,
        *_WRITE,
    )


def _get_by_external_id(noun: Noun) -> Written:
    found = _record(noun, f"The {noun.one}.", "Content-Location")
    return {
        "description": f"Gives the {noun.one} that another system knows by this name.",
        "parameters": [*parameters.external_id(noun), parameters.header("IfNoneMatch")],
        "responses": {"200": found, "304": _not_modified("Content-Location")},
    }, (refusals.BAD_REQUEST, refusals.NOT_FOUND, refusals.GONE, *_READ)


def _upsert(noun: Noun) -> Written:
    return {
        "description": f"Writes the whole {noun.one} that another system knows by this name, and "
        "creates or restores it where there is none: what a program that copies records needs, "
        "and safe to repeat. The name is added to `external_ids`. Preconditions are optional.",
        "parameters": [
            *parameters.external_id(noun),
            parameters.header("IfMatchOptional"),
            parameters.header("IfNoneMatchToCreate"),
        ],
        "requestBody": _body(JSON, f"{noun.name}Create"),
        "responses": {
            "200": _linked(noun, _record(noun, f"The {noun.one}, replaced or restored.")),
            "201": _created(noun),
        },
    }, (*_WRITE_BODY, refusals.PRECONDITION_FAILED, refusals.NOT_JSON)


def _list_revisions(noun: Noun) -> Written:
    page = {
        "description": "A page of revisions, newest first.",
        "headers": headers("Link"),
        "content": _media(JSON, f"{noun.name}RevisionPage", f"{noun.name}RevisionPage"),
    }
    limits = [parameters.described(p, noun.components) for p in (LIMIT, CURSOR)]
    return {
        "description": f"Tells what was done to the {noun.one}, newest first: when, by whom, what "
        "changed, and how it was afterwards. A deleted one keeps its history.",
        "parameters": [parameters.identity(noun), *limits],
        "responses": {"200": page},
    }, (refusals.BAD_PAGE, refusals.NOT_FOUND, *_READ)


def _get_revision(noun: Noun) -> Written:
    revision = {
        "description": "The revision.",
        "headers": headers(),
        "content": _media(JSON, f"{noun.name}Revision", f"{noun.name}Revision"),
    }
    version = Parameter("version", Version, "The version that it made.")
    return {
        "description": f"Tells what made one version of the {noun.one}, and how it was then.",
        "parameters": [
            parameters.identity(noun),
            parameters.described(version, noun.components, where="path") | {"example": 1},
        ],
        "responses": {"200": revision},
    }, (refusals.BAD_QUERY, refusals.NOT_FOUND, *_READ)


OF_NOUNS: Final[Mapping[tuple[str, str], Callable[[Noun], Written]]] = {
    ("get", ""): _list,
    ("post", ""): _create,
    ("get", "/by-external-id"): _get_by_external_id,
    ("put", "/by-external-id"): _upsert,
    ("get", "/{id}"): _get,
    ("put", "/{id}"): _replace,
    ("patch", "/{id}"): _update,
    ("delete", "/{id}"): _delete,
    ("post", "/{id}/restore"): _restore,
    ("get", "/{id}/revisions"): _list_revisions,
    ("get", "/{id}/revisions/{version}"): _get_revision,
}
"""A noun's operations, by method and by path behind the noun's own."""
