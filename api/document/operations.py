"""What each operation takes and answers: those of every noun here, others beside their handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from api.core.filters import Parameter
from api.core.request import JSON, MERGE_PATCH, NDJSON
from api.core.resource import AS_OF, CURSOR, LIMIT
from api.document import examples, parameters, refusals
from api.document.faces import Components, Face, Json, reference
from api.document.nouns import LINKED, Noun
from api.document.refusals import ANYWHERE, Refusal, headers
from api.settings import Settings
from schemas.base import Version

_DEFAULTS: Final = Settings()
_UNLESS: Final = ", unless whoever runs the service has set another limit."


class Link(NamedTuple):
    """How one goes on from an answer: to an operation, whose parameters the answer has."""

    operation: str
    parameters: Mapping[str, str]
    told: str


class Operation(Struct, frozen=True, kw_only=True):
    """What the document says of an operation that is not a noun's, given as its handler's `opt`."""

    tag: str
    description: str
    told: str  # of the success
    answer: tuple[
        Any, ...
    ]  # Structs, the names of schemas, or a type of string; of NDJSON, each a line
    example: Any  # a body; of lines and events several by name, each with a summary
    status: int = 200
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
    refusals: tuple[Refusal, ...] = (refusals.BAD_QUERY,)


Written = tuple[Json, tuple[Refusal, ...]]
"""An operation as the document has it, but for its refusals, and these."""


def written(declared: Operation, components: Components) -> Written:
    """Write down an operation that was declared beside its handler."""
    operation: Json = {"description": declared.description}
    if given := [
        *(_in_path(p, declared.tag, components) for p in declared.path_parameters),
        *(parameters.described(p, components) for p in declared.parameters),
        *(parameters.header(name) for name in declared.header_parameters),
    ]:
        operation["parameters"] = given
    if declared.body is not None:
        media = {
            "schema": components.request(declared.body),
            "example": msgspec.to_builtins(declared.body_example),
        }
        operation["requestBody"] = {
            "description": _told_of_body(declared.body, declared.body_type),
            "required": True,
            "content": {declared.body_type: media},
        }
    answer: Json = {"description": declared.told, "headers": headers(*declared.headers)}
    if answers := [_answered(each, components) for each in declared.answer]:
        schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
        media = {"schema": schema, **_shown(declared.example)}
        answer["content"] = {declared.media_type: media}
    if declared.links:
        answer["links"] = {each.operation: _link(each) for each in declared.links}
    operation["responses"] = {str(declared.status): answer}
    if declared.callbacks:
        operation["callbacks"] = {
            name: {"{$request.body#/url}": {"$ref": f"#/webhooks/{name}"}}
            for name in declared.callbacks
        }
    return operation, (*declared.refusals, *ANYWHERE)


def _shown(example: Any) -> Json:  # noqa: ANN401 - any body, or several by name
    if not isinstance(example, Mapping):
        return {"example": msgspec.to_builtins(example)}
    return {
        "examples": {
            name: {"summary": summary, "value": msgspec.to_builtins(value)}
            for name, (summary, value) in example.items()
        }
    }


def _told_of_body(body: type[Struct], media_type: str) -> str:
    """Say what is sent, and how long it may be."""
    what = inspect.cleandoc(body.__doc__ or "").partition("\n")[0]
    if media_type != NDJSON:
        return f"{what} {_at_most(_DEFAULTS.body_bytes)}"
    return (
        "A line of JSON each, in UTF-8. A line has at most "
        f"{_DEFAULTS.body_bytes:,} bytes, an article's {_DEFAULTS.article_body_bytes:,}"
        f"{_UNLESS} The body as a whole has no limit."
    )


def _at_most(most: int) -> str:
    return f"At most {most:,} bytes{_UNLESS}"


def _in_path(parameter: Parameter, tag: str, components: Components) -> Json:
    example = examples.of_path(tag, parameter)
    return parameters.described(parameter, components, where="path", example=example)


def _link(link: Link) -> Json:
    return {
        "operationId": link.operation,
        "parameters": dict(link.parameters),
        "description": link.told,
    }


def _answered(body: Any, components: Components) -> Json:  # noqa: ANN401 - a type form
    """Describe what is answered: a Struct by its name, other types in full."""
    if isinstance(body, str):
        return reference(body)
    if isinstance(body, type):
        return components.response(body)
    return components.value(body, Face.RESPONSE)


# --- bodies ----------------------------------------------------------------------------------


def _media(media_type: str, schema: str, *shown: str) -> Json:
    references = {name: {"$ref": f"#/components/examples/{name}"} for name in shown}
    return {media_type: {"schema": reference(schema), "examples": references}}


def _body(noun: Noun, media_type: str, schema: str, *shown: str) -> Json:
    what = "A merge patch of" if media_type == MERGE_PATCH else "The whole of"
    most = _DEFAULTS.article_body_bytes if noun.of.large else _DEFAULTS.body_bytes
    return {
        "description": f"{what} {noun.a_one}. {_at_most(most)}",
        "required": True,
        "content": _media(media_type, schema, *(shown or (schema,))),
    }


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


def _created(noun: Noun, *more: str, example: str = "") -> Json:
    told = f"The {noun.one}, created."
    return _linked(noun, _record(noun, told, "Location", *more, example=example))


# --- a noun's operations ---------------------------------------------------------------------

_READ: Final = (*ANYWHERE, refusals.UNAVAILABLE)
_WRITE: Final = (*_READ, refusals.STORAGE_FULL)
_READ_BODY: Final = (refusals.BAD_BODY, refusals.REQUEST_TIMEOUT, *_WRITE)
_WRITE_BODY: Final = (*_READ_BODY, refusals.NOT_UNIQUE, refusals.INVALID_RECORD)


def _too_large(noun: Noun) -> Refusal:
    return refusals.ARTICLE_TOO_LARGE if noun.of.large else refusals.BODY_TOO_LARGE


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
    return {
        "description": f"Writes {noun.a_one} under a new id. It needs {_needed(noun)}. With an "
        "`Idempotency-Key` it is safe to repeat; so is `PUT`, which writes under an id of one's "
        "own.",
        "parameters": [parameters.header("IdempotencyKey")],
        "requestBody": _body(
            noun, JSON, f"{noun.name}Create", f"{noun.name}Minimal", f"{noun.name}New"
        ),
        "responses": {"201": _created(noun, "Idempotency-Replayed", example=f"{noun.name}Posted")},
    }, (
        *_READ_BODY,
        _too_large(noun),
        refusals.NOT_CREATED,
        refusals.INVALID_NEW_RECORD,
        refusals.NOT_JSON,
    )


def _needed(noun: Noun) -> str:
    """Name what a new record has to have: required properties, and what a rule asks for."""
    names = noun.components.schemas[noun.of.create.__name__]["required"]
    needed = [f"`{name}`" for name in names] + [*filter(None, [noun.of.create.also_needed])]
    *most, last = needed
    return f"only {', '.join(most)} and {last}" if most else f"only {last}"


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
        "requestBody": _body(noun, JSON, f"{noun.name}Create"),
        "responses": {
            "200": _linked(noun, _record(noun, f"The {noun.one}, replaced.")),
            "201": _created(noun),
        },
    }, (
        *_WRITE_BODY,
        _too_large(noun),
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
        "requestBody": _body(noun, MERGE_PATCH, f"{noun.name}Update"),
        "responses": {"200": _linked(noun, changed)},
    }, (
        *_WRITE_BODY,
        _too_large(noun),
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
        "responses": {"200": _linked(noun, back)},
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
        "responses": {"200": _linked(noun, found), "304": _not_modified("Content-Location")},
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
        "requestBody": _body(noun, JSON, f"{noun.name}Create"),
        "responses": {
            "200": _linked(noun, _record(noun, f"The {noun.one}, replaced or restored.")),
            "201": _created(noun),
        },
    }, (*_WRITE_BODY, _too_large(noun), refusals.PRECONDITION_FAILED, refusals.NOT_JSON)


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
            parameters.described(version, noun.components, where="path", example=1),
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
