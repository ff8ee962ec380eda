"""Structs as JSON Schema, each with two faces: the one that clients send, and the one they get.

msgspec describes the Structs. In a request unknown properties are not allowed, and terms are enums.
In a response all properties are present and terms are plain strings, so that a new property or a
new term does not break a client that was generated before.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from api.document.templates import Json
from schemas.base import Create, Part
from schemas.shapes import fields, is_vocabulary, shape
from schemas.vocabularies import VOCABULARIES, Vocabulary

MAX_TERM: Final = 100
_PATCH: Final = (
    "A merge patch (RFC 7396). A property that is absent stays as it is, null removes a property, "
    "an object is patched property by property, and a list replaces the whole list.\n\n"
)
_MERGE_PATCH: Final = "\n\nSend it with `Content-Type: application/merge-patch+json`."
_SET_BY_SERVER: Final = "The server sets this property: leave it out, or send it back unchanged."


class Face(Enum):
    """The side from which a Struct is seen; its value is the suffix of the names of its parts."""

    REQUEST = "Input"
    PATCH = "Update"
    RESPONSE = ""


class Components:
    """The named schemas of a document, collected while the document refers to them."""

    def __init__(self) -> None:
        """Start without schemas."""
        self.schemas: dict[str, Json] = {}

    def request(self, struct: type[Struct]) -> Json:
        """Refer to a Struct that clients send."""
        return self._named(struct.__name__, struct, Face.REQUEST)

    def response(self, struct: type[Struct]) -> Json:
        """Refer to a Struct that clients get."""
        return self._named(struct.__name__, struct, Face.RESPONSE)

    def add_record(self, create: type[Create], update: type[Part], record: type[Struct]) -> None:
        """Name the three faces of a record: written whole, patched, and read."""
        self.schemas[create.__name__] = self._writable(create, record, Face.REQUEST)
        self.schemas[update.__name__] = self._writable(create, record, Face.PATCH)
        self.response(record)

    def value(self, annotation: Any, face: Face = Face.REQUEST) -> Json:  # noqa: ANN401 - a type form
        """Describe a value of any type, such as the one of a parameter."""
        (raw,), _ = msgspec.json.schema_components([annotation])
        return self._schema(raw, shape(annotation).kind, face)

    def _named(self, name: str, struct: type[Struct], face: Face) -> Json:
        if name not in self.schemas:
            self.schemas[name] = {}  # a Struct can refer to itself
            self.schemas[name] = self._object(struct, face)
        return reference(name)

    def _object(self, struct: type[Struct], face: Face) -> Json:
        """Describe a Struct: a patch requires nothing, and a response has everything."""
        description = inspect.cleandoc(struct.__doc__ or "")
        schema: Json = {
            "description": (
                _PATCH + description + _MERGE_PATCH if face is Face.PATCH else description
            ),
            "type": "object",
            "properties": {
                field.encode_name: self._property(field, raw, face)
                for field, raw in _described(struct)
            },
        }
        required = [
            field.encode_name
            for field in fields(struct)
            if face is Face.RESPONSE or (face is Face.REQUEST and field.required)
        ]
        if required:
            schema["required"] = required
        return schema if face is Face.RESPONSE else schema | {"additionalProperties": False}

    def _writable(self, create: type[Create], record: type[Struct], face: Face) -> Json:
        """Describe a record that clients write, with its properties in the order of the record."""
        schema = self._object(create, face)
        own, ordered = schema["properties"], dict[str, Json]()
        for field, raw in _described(record):
            name = field.encode_name
            if name in own:
                ordered[name] = own.pop(name)
            else:
                read = self._property(field, raw, Face.REQUEST)
                description = f"{read['description']} {_SET_BY_SERVER}"
                own[name] = read | {"description": description, "readOnly": True}
        return schema | {"properties": ordered | own}

    def _property(self, field: FieldInfo, raw: Json, face: Face) -> Json:
        described = shape(field.type)
        inner = Face.REQUEST if face is Face.PATCH and described.many else face
        schema = self._schema(raw, described.kind, inner)
        default = schema.pop("default", None)
        if face is Face.REQUEST and default is not None:
            schema["description"] = f"{schema['description']} {_if_absent(default)}"
        if face is Face.RESPONSE:
            schema.pop("readOnly", None)
        if face is Face.PATCH:
            can_be_null = not field.required
        else:
            filled = face is Face.RESPONSE and described.filled
            can_be_null = described.optional and not filled
        return nullable(schema) if can_be_null else schema

    def _schema(self, raw: Json, kind: Any, face: Face) -> Json:  # noqa: ANN401 - a type form
        """Turn the schema that msgspec makes of a type into one face of it, without null."""
        about = {name: raw[name] for name in ("description", "default") if name in raw}
        raw = {"type": "string", **raw} if "enum" in raw else raw  # msgspec does not say it
        schema = {name: value for name, value in raw.items() if name not in (*about, "title")}
        if name := schema.pop("x-component", None):
            schema = reference(name)  # a component that msgspec sees as any object
        elif name := schema.pop("x-vocabulary", None):
            schema = open_terms(meanings(VOCABULARIES[name])) | schema
        elif "anyOf" in schema:
            # A number: msgspec lists an integer and a float with the same bounds.
            *_, main = (member for member in schema.pop("anyOf") if member.get("type") != "null")
            schema |= self._schema(main, kind, face)
        elif "$ref" in schema:
            schema = self._referred(kind, face)
        for inner in ("items", "additionalProperties"):
            if isinstance(schema.get(inner), dict) and schema[inner]:
                schema[inner] = self._schema(schema[inner], _value_of(kind), face)
        _refine(schema)
        if "description" in schema and "description" in about:
            about["description"] += "\n\n" + schema["description"]
        return schema | about

    def _referred(self, kind: Any, face: Face) -> Json:  # noqa: ANN401 - a Struct or a Vocabulary
        if not is_vocabulary(kind):
            return self._named(kind.__name__ + face.value, kind, face)
        if face is Face.RESPONSE:
            return open_terms(meanings(kind))
        if kind.__name__ not in self.schemas:
            self.schemas[kind.__name__] = _terms(kind)
        return reference(kind.__name__)


def _if_absent(default: Any) -> str:  # noqa: ANN401 - JSON
    """Say what an absent property counts as.

    Not by the keyword `default`: openapi-typescript takes a property with it for one that is always
    there, in requests too, and a client would have to send every property that has a default.
    """
    if default in ([], ""):
        return "If you leave it out, it is empty."
    value = default if isinstance(default, str) else json.dumps(default)
    return f"If you leave it out, it is `{value}`."


def _refine(schema: Json) -> None:
    """Say what msgspec leaves out of the schema of a plain value, or says in its own way."""
    if "enum" in schema:
        schema["type"] = "string"
    if schema.get("type") == "integer":
        schema |= whole(schema["minimum"], schema["maximum"])
    if "pattern" in schema:
        schema["pattern"] = schema["pattern"].replace(r"\Z", "$")


def _value_of(kind: Any) -> Any:  # noqa: ANN401 - type forms
    """Give the type of the values of an object; other types are their own."""
    return shape(get_args(kind)[1]).kind if get_origin(kind) is dict else kind


def reference(name: str) -> Json:
    """Refer to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Json) -> Json:
    """Allow null as well."""
    if "$ref" in schema:
        about = {name: value for name, value in schema.items() if name != "$ref"}
        return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}]} | about
    if "enum" in schema:
        schema = schema | {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]}


def whole(least: int, most: int) -> Json:
    """Describe a whole number."""
    width = "int32" if most < 2**31 else "int64"
    return {"type": "integer", "format": width, "minimum": least, "maximum": most}


def _described(struct: type[Struct]) -> list[tuple[FieldInfo, Json]]:
    """List the fields of a Struct, each with the schema that msgspec makes of it."""
    _, components = msgspec.json.schema_components([struct])
    properties = components[struct.__name__]["properties"]
    return [(field, dict(properties[field.encode_name])) for field in fields(struct)]


def _terms(vocabulary: type[Vocabulary]) -> Json:
    question = " ".join(inspect.cleandoc(vocabulary.__doc__ or "").split())
    return {
        "description": f"{question}\n\n{_listed(meanings(vocabulary))}",
        "type": "string",
        "enum": [term.value for term in vocabulary],
    }


def open_terms(terms: Mapping[str, str]) -> Json:
    """Describe a term of a vocabulary to which terms can be added."""
    return {
        "description": f"Later versions can add terms.\n\n{_listed(terms)}",
        "type": "string",
        "maxLength": MAX_TERM,
        "x-extensible-enum": list(terms),
    }


def meanings(vocabulary: type[Vocabulary]) -> dict[str, str]:
    """List the terms of a vocabulary, each with its meaning."""
    return {term.value: term.meaning for term in vocabulary}


def _listed(terms: Mapping[str, str]) -> str:
    return "\n".join(f"- `{term}`: {meaning}" for term, meaning in terms.items())
