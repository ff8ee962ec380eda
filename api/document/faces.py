"""Structs as JSON Schema, seen from both sides: what a client sends, and what it gets.

msgspec describes the Structs; this makes two faces of each. A request is closed and its terms are
enums. A response is open, all of it is always there, and its terms are plain strings, so that a
new property or a new term breaks no client that was generated before.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import FieldInfo

from api.document.templates import Json
from schemas.base import Create, Shape, fields, is_vocabulary, shape
from schemas.vocabularies import VOCABULARIES, Vocabulary

MAX_TERM: Final = 100
_SET_BY_SERVER = "The server sets this property: leave it out, or send it back unchanged."


class Face(Enum):
    """The side from which a Struct is seen; the value ends the names of its parts."""

    REQUEST = "Input"
    PATCH = "Update"
    RESPONSE = ""


class Components:
    """The named schemas of a document, collected while they are referred to."""

    def __init__(self) -> None:
        """Start with none."""
        self.schemas: dict[str, Json] = {}

    def add(self, name: str, schema: Json) -> Json:
        """Name a schema, and refer to it."""
        self.schemas[name] = schema
        return reference(name)

    def request(self, struct: type[Struct]) -> Json:
        """Refer to what a client sends."""
        return self._named(struct.__name__, struct, Face.REQUEST)

    def response(self, struct: type[Struct]) -> Json:
        """Refer to what a client gets."""
        return self._named(struct.__name__, struct, Face.RESPONSE)

    def record_request(self, name: str, create: type[Create], record: type[Struct]) -> Json:
        """Refer to a record as a client writes it, whole."""
        return self.add(name, self._writable(create, record, Face.REQUEST))

    def record_patch(self, name: str, create: type[Create], record: type[Struct]) -> Json:
        """Refer to a merge patch of a record."""
        return self.add(name, self._writable(create, record, Face.PATCH))

    def value(self, annotation: Any, face: Face = Face.REQUEST) -> Json:  # noqa: ANN401 - a type form
        """Describe a value of any type, such as a parameter's."""
        (raw,), _ = msgspec.json.schema_components([annotation])
        return self._schema(raw, shape(annotation).kind, face)

    def _named(self, name: str, struct: type[Struct], face: Face) -> Json:
        if name not in self.schemas:
            self.schemas[name] = {}  # so that names come in the order of their first mention
            self.schemas[name] = self._object(struct, face)
        return reference(name)

    def _object(self, struct: type[Struct], face: Face) -> Json:
        properties = {
            field.encode_name: self._property(field, raw, face) for field, raw in _described(struct)
        }
        return _closed(
            {
                "description": _introduction(struct, face),
                "type": "object",
                "properties": properties,
                "required": _required(struct, face),
            },
            face,
        )

    def _writable(self, create: type[Create], record: type[Struct], face: Face) -> Json:
        """Describe a record to be written, in the order in which it is read."""
        schema = self._object(create, face)
        own, written = schema["properties"], dict[str, Json]()
        for field, raw in _described(record):
            name = field.encode_name
            if name in own:
                written[name] = own.pop(name)
            else:
                own[name] = _read_only(self._property(field, raw, Face.REQUEST))
        return schema | {"properties": written | own}

    def _property(self, field: FieldInfo, raw: Json, face: Face) -> Json:
        found = shape(field.type)
        inner = Face.REQUEST if face is Face.PATCH and found.many else face
        schema = self._schema(raw, found.kind, inner)
        if face is not Face.REQUEST or schema.get("default", UNSET) is None:
            schema.pop("default", None)
        if face is Face.RESPONSE:
            schema.pop("readOnly", None)
        if _can_be_null(field, found, face):
            return nullable(schema)
        return schema

    def _schema(self, raw: Json, kind: Any, face: Face) -> Json:  # noqa: ANN401 - a type form
        """Turn what msgspec says of a type, `or null` left out, into one face of it."""
        about = {name: raw[name] for name in ("description", "default") if name in raw}
        schema = {name: value for name, value in raw.items() if name not in (*about, "title")}
        if name := schema.pop("x-component", None):
            schema = reference(name)  # what msgspec knows as any object
        elif name := schema.pop("x-vocabulary", None):
            schema = open_terms(meanings(VOCABULARIES[name])) | schema
        elif "anyOf" in schema:
            # An integer or a float, both with the same bounds, is a number.
            *_, main = (member for member in schema.pop("anyOf") if member.get("type") != "null")
            schema |= self._schema(main, kind, face)
        elif "$ref" in schema:
            schema = self._referred(kind, face)
        for inner in ("items", "additionalProperties"):
            if isinstance(schema.get(inner), dict) and schema[inner]:
                schema[inner] = self._schema(schema[inner], kind, face)
        if schema.get("type") == "integer":
            schema |= whole(schema["minimum"], schema["maximum"])
        if "pattern" in schema:
            schema["pattern"] = schema["pattern"].replace(r"\Z", "$")
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


def reference(name: str) -> Json:
    """Refer to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Json) -> Json:
    """Allow null as well."""
    if "$ref" in schema:
        about = {name: value for name, value in schema.items() if name != "$ref"}
        return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}]} | about
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def whole(least: int, most: int) -> Json:
    """Describe a whole number."""
    width = "int32" if most < 2**31 else "int64"
    return {"type": "integer", "format": width, "minimum": least, "maximum": most}


def _described(struct: type[Struct]) -> list[tuple[FieldInfo, Json]]:
    """Give a Struct's fields, each with what msgspec says of it."""
    _, components = msgspec.json.schema_components([struct])
    properties = components[struct.__name__]["properties"]
    return [(field, dict(properties[field.encode_name])) for field in fields(struct)]


def _introduction(struct: type[Struct], face: Face) -> str:
    text = inspect.cleandoc(struct.__doc__ or "")
    if face is Face.PATCH:
        text = (
            "A merge patch (RFC 7396). A property that is absent stays as it is, null removes a "
            "property, an object is patched property by property, and a list replaces the whole "
            f"list.\n\n{text}"
        )
    return text


def _required(struct: type[Struct], face: Face) -> list[str]:
    if face is Face.PATCH:
        return []
    everything = face is Face.RESPONSE
    return [field.encode_name for field in fields(struct) if everything or field.required]


def _closed(schema: Json, face: Face) -> Json:
    if not schema["required"]:
        del schema["required"]
    return schema if face is Face.RESPONSE else schema | {"additionalProperties": False}


def _can_be_null(field: FieldInfo, found: Shape, face: Face) -> bool:
    if face is Face.PATCH:
        return not field.required
    return found.optional and not (face is Face.RESPONSE and found.filled)


def _read_only(schema: Json) -> Json:
    return schema | {"description": f"{schema['description']} {_SET_BY_SERVER}", "readOnly": True}


def _terms(vocabulary: type[Vocabulary]) -> Json:
    question = " ".join(inspect.cleandoc(vocabulary.__doc__ or "").split())
    return {
        "description": f"{question}\n\n{_told(meanings(vocabulary))}",
        "type": "string",
        "enum": [term.value for term in vocabulary],
    }


def open_terms(terms: Mapping[str, str]) -> Json:
    """Describe a term, by the meanings of those that there are: others may come."""
    return {
        "description": f"Later versions can add terms.\n\n{_told(terms)}",
        "type": "string",
        "maxLength": MAX_TERM,
        "x-extensible-enum": list(terms),
    }


def meanings(vocabulary: type[Vocabulary]) -> dict[str, str]:
    """Give the terms of a vocabulary, each with its meaning."""
    return {term.value: term.meaning for term in vocabulary}


def _told(terms: Mapping[str, str]) -> str:
    return "\n".join(f"- `{term}`: {meaning}" for term, meaning in terms.items())
