"""The document breaks no client of the last released one; and what would is found."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.vocabularies import RecordType
from tests.breaking import breaks
from tests.conftest import swept

HERE = Path(__file__).parent.parent / "openapi"
RELEASED: dict[str, Any] = json.loads((HERE / "released.json").read_text())
CURRENT: dict[str, Any] = json.loads((HERE / "openapi.json").read_text())
Json = dict[str, Any]
PLACE = {"$ref": "#/components/schemas/Place"}
EVENT = {"$ref": "#/components/schemas/Event"}


def text(**more: Any) -> Json:
    return {"type": "string", "minLength": 1, "maxLength": 100, **more}


def small() -> Json:
    """Give a document that has one of each thing that can break."""
    problem = {"content": {"application/problem+json": {"schema": text()}}}
    return {
        "paths": {
            "/notes": {
                "post": {
                    "operationId": "createNote",
                    "parameters": [
                        {"$ref": "#/components/parameters/Kind"},
                        {
                            "name": "tag__in",
                            "in": "query",
                            "schema": {"type": "array", "items": text(), "maxItems": 9},
                        },
                    ],
                    "requestBody": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/New"}}
                        }
                    },
                    "responses": {
                        "201": {
                            "headers": {"ETag": {"schema": text()}},
                            "content": {
                                "application/json": {
                                    "schema": {"$ref": "#/components/schemas/Note"}
                                }
                            },
                        },
                        "404": problem,
                    },
                    "security": [{}, {"key": ["notes:write"]}],
                },
                "get": {"operationId": "listNotes", "responses": {"200": problem}},
            }
        },
        "webhooks": {
            "noted": {
                "post": {
                    "operationId": "receiveNote",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Event"}}
                        },
                    },
                    "responses": {"2XX": {}},
                }
            }
        },
        "components": {
            "parameters": {"Kind": {"name": "kind", "in": "query", "schema": {"enum": ["a", "b"]}}},
            "schemas": {
                "New": {
                    "type": "object",
                    "properties": {
                        "text": text(pattern="^[a-z]+$"),
                        "kind": {"type": "string", "enum": ["a", "b"]},
                        "size": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
                        "tags": {"type": "array", "items": text(), "maxItems": 9},
                        "place": {
                            "anyOf": [{"$ref": "#/components/schemas/Place"}, {"type": "null"}]
                        },
                        "more": {},
                        "either": {"anyOf": [PLACE, EVENT, {"type": "null"}]},
                        "line": {"$ref": "#/components/schemas/Line"},
                    },
                    "required": ["text"],
                },
                "Place": {"type": "object", "properties": {"name": text()}},
                "Note": {
                    "type": "object",
                    "properties": {
                        "id": text(format="uuid"),
                        "kind": text(**{"x-extensible-enum": ["a", "b"]}),
                        "size": {"type": "integer", "minimum": 0, "maximum": 9},
                        "note": {"type": ["string", "null"], "maxLength": 9},
                        "place": {"$ref": "#/components/schemas/Place"},
                        "parent": {
                            "anyOf": [{"$ref": "#/components/schemas/Note"}, {"type": "null"}]
                        },
                        "of": {
                            "oneOf": [
                                {"$ref": "#/components/schemas/Place"},
                                {"$ref": "#/components/schemas/Event"},
                            ],
                            "discriminator": {"propertyName": "type"},
                        },
                    },
                    "required": ["id", "kind", "size", "note", "place"],
                },
                "Line": {
                    "type": "object",
                    "properties": {"type": {"enum": ["place", "event"]}, "name": text()},
                },
                "Event": {
                    "type": "object",
                    "properties": {"type": {"type": "string", "const": "event"}},
                    "required": ["type"],
                },
            },
        },
    }


def place(document: Json, path: str) -> tuple[Any, Any]:
    """Find the thing that holds what a path names, and the last step to it."""
    short = {
        "op": "paths|/notes|post",
        "new": "components|schemas|New|properties",
        "got": "components|schemas|Note|properties",
    }
    first, _, rest = path.partition("|")
    *steps, last = f"{short.get(first, first)}|{rest}".split("|")
    holder: Any = document
    for step in steps:
        holder = holder[_key(holder, step)]
    return holder, _key(holder, last)


def _key(holder: Any, step: str) -> Any:
    return int(step) if isinstance(holder, list) else step


def put(path: str, value: Any) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        holder, last = place(document, path)
        holder[last] = value

    return change


def cut(path: str) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        holder, last = place(document, path)
        del holder[last]

    return change


def split(*terms: str, **more: Any) -> Callable[[Json], None]:
    """Make a line one of several, told apart by their type."""

    def change(document: Json) -> None:
        schemas = document["components"]["schemas"]
        mapping = {term: f"#/components/schemas/{term}Line" for term in terms}
        for term in terms:
            told = {"type": {"const": term}, "name": text(), **more}
            schemas[f"{term}Line"] = {"type": "object", "properties": told}
        schemas["Line"] = {
            "oneOf": [{"$ref": place} for place in mapping.values()],
            "discriminator": {"propertyName": "type", "mapping": mapping},
        }

    return change


OF_NEW = "components|schemas|New"
OF_NOTE = "components|schemas|Note"
OF_EVENT = "components|schemas|Event"
CODE = {"name": "code", "in": "query", "schema": text()}

BREAKING: dict[str, tuple[Callable[[Json], None], str]] = {
    "a path": (cut("paths|/notes"), "/notes: is gone"),
    "an operation": (cut("paths|/notes|get"), "GET /notes: is gone"),
    "a webhook": (cut("webhooks|noted"), "noted: is gone"),
    "an operation's name": (put("op|operationId", "addNote"), "operationId is addNote"),
    "a parameter": (cut("op|parameters|0"), "query kind: is gone"),
    "a new parameter that is required": (
        put("op|parameters|1", CODE | {"required": True}),
        "query code: is new and required",
    ),
    "a parameter that becomes required": (
        put("components|parameters|Kind|required", True),
        "query kind: is required",
    ),
    "a parameter's terms": (put("components|parameters|Kind|schema|enum", ["a"]), "takes no 'b'"),
    "a parameter's style": (put("op|parameters|1|explode", False), "explode is False"),
    "a parameter's items": (put("op|parameters|1|schema|items|maxLength", 9), "maxLength is 9"),
    "a parameter's type": (
        put("op|parameters|1|schema", {"type": "integer"}),
        "can't be array any more",
    ),
    "security": (put("op|security", [{"key": ["notes:write"]}]), "security none no longer does"),
    "a body": (cut("op|requestBody"), "body: is gone"),
    "a body that becomes required": (put("op|requestBody|required", True), "body: is required"),
    "a body's media type": (
        put("op|requestBody|content", {"text/plain": {"schema": text()}}),
        "body: application/json is gone",
    ),
    "a property that is sent": (cut("new|size"), "New.size: is gone"),
    "a new property that is required": (
        put(f"{OF_NEW}|required", ["text", "code"]),
        "New.code: is new and required",
    ),
    "a property that becomes required": (
        put(f"{OF_NEW}|required", ["text", "kind"]),
        "New.kind: is required",
    ),
    "other properties": (
        put(f"{OF_NEW}|additionalProperties", False),
        "New: takes no other properties",
    ),
    "a type that is sent": (put("new|size|type", "integer"), "New.size: can't be null any more"),
    "an object that is sent, or null": (put("new|place", PLACE), "can't be null any more"),
    "any type that is sent": (put("new|more", text()), "New.more: can't be array"),
    "terms that are sent": (put("new|kind|enum", ["a"]), "New.kind: takes no 'b' any more"),
    "terms where all were taken": (put("new|text|enum", ["a"]), "New.text: is an enum"),
    "a length": (put("new|text|maxLength", 99), "New.text: maxLength is 99, was 100"),
    "a least length": (put("new|text|minLength", 2), "New.text: minLength is 2, was 1"),
    "a range": (put("new|size|minimum", 1), "New.size: minimum is 1, was 0"),
    "a limit where there was none": (put("new|kind|maxLength", 9), "New.kind: maxLength is 9"),
    "how many": (put("new|tags|maxItems", 8), "New.tags: maxItems is 8"),
    "items that have to differ": (put("new|tags|uniqueItems", True), "takes no item twice"),
    "a pattern": (put("new|text|pattern", "^[a-y]+$"), "New.text: pattern is"),
    "a new pattern": (put("new|tags|items|pattern", "^a$"), "New.tags[]: pattern is"),
    "a property that the server sets": (put("new|kind|readOnly", True), "New.kind: is read-only"),
    "a kind that is sent": (
        put("new|either", {"anyOf": [PLACE, {"type": "null"}]}),
        "New.either: takes no Event",
    ),
    "null beside kinds that are sent": (
        put("new|either", PLACE),
        "New.either: can't be null any more",
    ),
    "a term of what is told apart": (split("place"), "Line.type: takes no 'event' any more"),
    "a part of what is told apart": (
        split("place", "event", name=text(maxLength=9)),
        "Line[event].name: maxLength is 9",
    ),
    "one term only": (put("new|text|pattern", "^only$"), "New.text: is an enum"),
    "an answer": (cut("op|responses|404"), "POST /notes 404: is gone"),
    "a new success": (put("op|responses|202", {}), "POST /notes 202: is a new success"),
    "a header": (cut("op|responses|201|headers|ETag"), "201: header ETag is gone"),
    "an answer's media type": (
        put("op|responses|201|content", {"text/plain": {"schema": text()}}),
        "201: application/json is gone",
    ),
    "a property that is got": (cut("got|size"), "Note.size: is gone"),
    "a property that is not always got": (
        put(f"{OF_NOTE}|required", ["id", "kind", "size", "note"]),
        "Note.place: is no longer always there",
    ),
    "a type that is got": (put("got|size|type", "number"), "Note.size: can be number"),
    "null that is got": (put("got|size|type", ["integer", "null"]), "Note.size: can be null"),
    "an object that is got, or null": (
        put("got|place", {"anyOf": [PLACE, {"type": "null"}]}),
        "Note.place: can be null",
    ),
    "a term that is got": (put("got|kind|x-extensible-enum", ["a"]), "the term b is gone"),
    "a closed term that is got": (
        put(f"{OF_EVENT}|properties|type", text()),
        "Event.type: is no enum any more",
    ),
    "a longer text that is got": (put("got|note|maxLength", 10), "Note.note: maxLength is 10"),
    "a wider range that is got": (put("got|size|maximum", 10), "Note.size: maximum is 10"),
    "a format that is got": (put("got|id|format", "ulid"), "Note.id: format is ulid"),
    "a new kind in a union that is got": (
        put("got|of|oneOf", [PLACE, EVENT, {"$ref": "#/components/schemas/New"}]),
        "Note.of: can be New",
    ),
    "a discriminator": (
        put("got|of|discriminator|propertyName", "kind"),
        "the discriminator is kind, was type",
    ),
    "what a webhook brings": (
        put(f"{OF_EVENT}|required", []),
        "Event.type: is no longer always there",
    ),
}  # fmt: skip

ADDING: dict[str, Callable[[Json], None]] = {
    "a path": put("paths|/others", {"get": {"operationId": "x", "responses": {}}}),
    "an operation": put("paths|/notes|put", {"operationId": "x", "responses": {}}),
    "a webhook": put("webhooks|other", {"post": {"operationId": "x", "responses": {}}}),
    "a parameter": put(
        "op|parameters", [*small()["paths"]["/notes"]["post"]["parameters"], CODE]
    ),
    "another refusal": put("op|responses|409", {}),
    "a header": put("op|responses|201|headers|Link", {"schema": text()}),
    "a media type": put("op|responses|201|content|text/csv", {"schema": text()}),
    "less security": put("op|security", [{}, {"key": []}]),
    "a property to send": put("new|code", text()),
    "a property to get": put("got|code", text()),
    "what need not be sent any more": put(f"{OF_NEW}|required", []),
    "what is always got now": put(
        f"{OF_NOTE}|required", ["id", "kind", "size", "note", "place", "of"]
    ),
    "a type to send": put("new|text|type", ["string", "null"]),
    "an object to send, or null": put("new|place", {"anyOf": [{"type": "null"}, PLACE]}),
    "a term to send": put("new|kind|enum", ["a", "b", "c"]),
    "any term to send": cut("new|kind|enum"),
    "a term to get": put("got|kind|x-extensible-enum", ["a", "b", "c"]),
    "a longer text to send": put("new|text|maxLength", 101),
    "a wider range to send": put("new|size|maximum", 10),
    "no pattern any more": cut("new|text|pattern"),
    "a shorter text to get": put("got|note|maxLength", 8),
    "no null to get": put("got|note|type", "string"),
    "no null to get, of objects": put("got|parent", {"$ref": "#/components/schemas/Note"}),
    "kinds that are told apart": split("place", "event"),
    "one kind less to get": put("got|of", PLACE),
    "words": put(f"{OF_NOTE}|description", "A note."),
}  # fmt: skip


def changed(change: Callable[[Json], None]) -> list[str]:
    document = small()
    change(document)
    return breaks(small(), document)


# The released document promised them, the service has never sent them.
NEVER_SENT = {
    *(
        f"GET /health/{name} {status}: is gone"
        for name in ("live", "ready")
        for status in (401, 429)
    ),
    "GET /health/live 500: is gone",
    # Only a failed precondition has it, whose schema is its own now and is compared as well.
    "Problem.current: is gone",
}


# It promised to take a record of any type in a line of each; the service has always refused that.
NEVER_TAKEN = {
    f"ImportLine[{of}].data: takes no {other.title()}Create"
    for of, other in itertools.permutations(RecordType, 2)
}


# A chain of sources may be longer than it promised: joint statements have hundreds of signatories.
LONGER = {
    "Attribution.position: maximum is 499, was 100",
    *(f"{name}.attributions: maxItems is 500, was 50" for name in ("Claim", "Denial")),
}


# Only who sends a table gets these lines, and the released document had no tables.
ONLY_IF_ASKED = {"POST /v1/import 200: can be ImportCell"}


def test_no_client_of_the_released_document_breaks() -> None:
    assert {*breaks(RELEASED, CURRENT)} <= NEVER_SENT | NEVER_TAKEN | LONGER | ONLY_IF_ASKED


@pytest.mark.parametrize("what", BREAKING)
def test_what_breaks_is_found(what: str) -> None:
    change, told = BREAKING[what]
    found = changed(change)
    assert [each for each in found if told in each], found


def test_a_key_needs_no_further_scope() -> None:
    document = small()
    document["paths"]["/notes"]["post"]["security"] = [{"key": ["notes:write"]}]
    harder = copy.deepcopy(document)
    harder["paths"]["/notes"]["post"]["security"] = [{"key": ["notes:write", "read"]}]
    assert breaks(document, harder) == [
        "POST /notes: security {'key': ['notes:write']} no longer does"
    ]
    assert breaks(harder, document) == []


@pytest.mark.parametrize("what", ADDING)
def test_what_is_added_breaks_nothing(what: str) -> None:
    assert changed(ADDING[what]) == []


def test_schemas_that_hold_together_are_compared_as_one() -> None:
    document = small()
    schemas = document["components"]["schemas"]
    schemas["Base"] = schemas["Note"]
    own = {"properties": {"of_note": text()}, "required": ["of_note"]}
    schemas["Note"] = {"allOf": [{"$ref": "#/components/schemas/Base"}, own]}
    assert breaks(small(), document) == []
    del schemas["Base"]["properties"]["id"]
    assert breaks(small(), document) == ["Note.id: is gone"]
    assert breaks(document, small()) == ["Note.of_note: is gone"]


def test_a_document_breaks_nothing_of_its_own() -> None:
    assert breaks(small(), small()) == []
    assert breaks(CURRENT, CURRENT) == []


@pytest.mark.parametrize(
    "path", swept(CURRENT["paths"], ["/v1/claims", "/v1/claims/{id}"], pytest.mark.newest)
)
def test_no_path_of_the_real_document_can_go(path: str) -> None:
    less = CURRENT | {"paths": {k: v for k, v in CURRENT["paths"].items() if k != path}}
    assert breaks(CURRENT, less) == [f"{path}: is gone"]
