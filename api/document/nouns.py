"""What is said of each noun: its schemas, its examples, and its links."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec import Struct

from api.core.listing import MAX_INCLUDED
from api.core.resource import CURSOR, MAX_COUNTED, MAX_LIMIT, Resource
from api.document.examples import Story, story
from api.document.faces import Components, Face, Json, nullable, reference, whole
from schemas.base import Version, fields, shape
from schemas.changes import Change
from schemas.exports import ExportLine
from schemas.imports import ImportLine
from schemas.vocabularies import RelationKind, RevisionOp

LINKED: Final = ("get", "replace", "update", "delete")
"""What one can do with a record that an answer has brought."""


@dataclass(frozen=True)
class Noun:
    """A resource while its operations are written down."""

    of: Resource
    components: Components
    examples: dict[str, Json]

    @property
    def one(self) -> str:
        """What one of them is called."""
        return self.of.type.value

    @property
    def a_one(self) -> str:
        """That, with its article."""
        return f"{'an' if self.one[0] in 'aeiou' else 'a'} {self.one}"

    @property
    def name(self) -> str:
        """What one of them is called among the components."""
        return self.of.record.__name__

    @property
    def symmetric(self) -> bool:
        """Whether it has relations that are stored once, and found from both ends."""
        inside = (shape(field.type).kind for field in fields(self.of.create))
        return any(
            shape(field.type).kind is RelationKind
            for part in inside
            if isinstance(part, type) and issubclass(part, Struct)
            for field in fields(part)
        )

    @property
    def story(self) -> Story:
        """The example."""
        return story(self.of)


def add(noun: Noun) -> None:
    """Name a noun's schemas, examples and links."""
    of, components = noun.of, noun.components
    components.record_request(of.create.__name__, of.create, of.record)
    components.record_patch(of.update.__name__, of.create, of.record)
    record = components.response(of.record)
    _add_page(noun, f"{noun.name}Page", record, _included(noun))
    _add_revision(noun, record)
    nothing = {
        "description": "Nothing is brought along here.",
        "type": "object",
        "maxProperties": 0,
    }
    revision = reference(f"{noun.name}Revision")
    _add_page(noun, f"{noun.name}RevisionPage", revision, nothing)
    told = noun.story
    for name, summary, value in (
        (f"{noun.name}Minimal", "Only what is needed", told.minimal),
        (f"{noun.name}New", "With what is known", told.new),
        (f"{noun.name}Posted", "As it is answered", told.posted),
        (f"{noun.name}Create", "As a client writes it", told.create),
        (f"{noun.name}Update", "A change", told.update),
        (noun.name, "As it is read", told.created),
        (f"{noun.name}Updated", "After a change", told.updated),
        (f"{noun.name}Restored", "After deletion and restoration", told.restored),
        (f"{noun.name}Page", "The only page", _page_example(told.created)),
        (f"{noun.name}Revision", "Its creation", told.revision),
        (f"{noun.name}RevisionPage", "Its history", _page_example(told.revision)),
    ):
        noun.examples[name] = {"summary": summary, "value": value}


def _page_example(item: Json) -> Json:
    return {
        "items": [item],
        "next_cursor": None,
        "total": None,
        "total_is_lower_bound": False,
        "included": {},
    }


def _add_page(noun: Noun, name: str, item: Json, included: Json) -> None:
    cursor = noun.components.value(CURSOR.type)
    properties = {
        "items": {
            "description": "The page, in the order asked for.",
            "type": "array",
            "items": item,
            "maxItems": MAX_LIMIT,
        },
        "next_cursor": nullable(cursor)
        | {"description": "`cursor` of the next page; null on the last one."},
        "total": nullable(whole(0, MAX_COUNTED))
        | {"description": "How many there are on all pages; null unless counted."},
        "total_is_lower_bound": {
            "description": "Whether there are more than `total`, beyond which is not counted.",
            "type": "boolean",
        },
        "included": included,
    }
    what = f"revisions of {noun.a_one}" if "Revision" in name else noun.of.plural
    noun.components.schemas[name] = _all_there(f"A page of {what}.", properties)


def _included(noun: Noun) -> Json:
    """Describe the records that a page brings with it: only those asked for are there."""
    properties = {
        expansion.name: {
            "description": f"By id: {expansion.description}.",
            "type": "object",
            "additionalProperties": reference(expansion.target.title()),
            "maxProperties": MAX_INCLUDED,
        }
        for expansion in noun.of.expansions
    }
    name = f"{noun.name}Included"
    noun.components.schemas[name] = {
        "description": "The records that `expand` asked for, and no others.",
        "type": "object",
        "properties": properties,
    }
    return reference(name)


def _add_revision(noun: Noun, record: Json) -> None:
    components = noun.components
    properties = {
        "version": components.value(Version) | {"description": "The version that it made."},
        "op": _with(components.value(RevisionOp, Face.RESPONSE), "What was done."),
        "at": {
            "description": "When (RFC 3339, UTC).",
            "type": "string",
            "format": "date-time",
            "maxLength": 32,
        },
        "actor": {
            "description": "The id of the key with which it was done; null if there was none.",
            "type": ["string", "null"],
            "maxLength": 200,
        },
        "changed": {
            "description": "The properties that differ from the version before.",
            "type": "array",
            "items": {"type": "string", "maxLength": 100},
            "maxItems": 100,
        },
        "record": nullable(record)
        | {"description": f"The {noun.one} as it was then; null if that was a deletion."},
    }
    components.schemas[f"{noun.name}Revision"] = _all_there(
        f"What happened to {noun.a_one}, and how it was afterwards.", properties
    )


class _OfAnyType(NamedTuple):
    """What holds a record of any type: in the document it is one schema for each type."""

    struct: type[Struct]
    holder: str
    told: str
    sent: bool = False  # by a client


_OF_ANY_TYPE: Final = (
    _OfAnyType(Change, "record", "One change of {}."),
    _OfAnyType(ExportLine, "data", "A line that has {}."),
    _OfAnyType(ImportLine, "data", "A line that writes or deletes {}.", sent=True),
)


def add_unions(nouns: Iterable[Noun], components: Components) -> None:
    """Name what holds a record of any type: for each noun, and as the union of these."""
    for each in _OF_ANY_TYPE:
        (components.request if each.sent else components.response)(each.struct)
        name = each.struct.__name__
        of_any = components.schemas[name]
        mapping = {}
        for noun in nouns:
            components.schemas[f"{noun.name}{name}"] = _of_one_type(each, of_any, noun)
            mapping[noun.one] = reference(f"{noun.name}{name}")["$ref"]
        components.schemas[name] = {
            "description": of_any["description"],
            "oneOf": [{"$ref": place} for place in mapping.values()],
            "discriminator": {"propertyName": "type", "mapping": mapping},
        }


def _of_one_type(each: _OfAnyType, of_any: Json, noun: Noun) -> Json:
    """Write what is held of one noun's records."""
    properties = of_any["properties"]
    held = properties[each.holder]
    record = reference(noun.of.create.__name__ if each.sent else noun.name)
    kind = {
        "description": properties["type"]["description"].partition("\n")[0],
        "type": "string",
        "const": noun.one,
    }
    record = nullable(record) if "null" in held["type"] else record
    holder = {each.holder: record | {"description": held["description"]}}
    return of_any | {
        "description": each.told.format(noun.a_one),
        "properties": properties | {"type": kind} | holder,
    }


def _with(schema: Json, description: str) -> Json:
    return schema | {"description": f"{description} {schema['description']}"}


def _all_there(description: str, properties: Json) -> Json:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def links(noun: Noun) -> dict[str, Json]:
    """Describe how one gets from a record to the operations on it."""
    found = {}
    for verb in LINKED:
        given = {"id": "$response.body#/id"}
        if verb != "get":
            given["header.If-Match"] = "$response.header.ETag"
        found[f"{verb}{noun.name}"] = {
            "operationId": f"{verb}{noun.name}",
            "parameters": given,
            "description": f"The {noun.one}'s id{'' if verb == 'get' else ' and ETag'}.",
        }
    return found
