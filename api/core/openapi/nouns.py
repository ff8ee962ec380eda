"""What is said of each noun: its schemas, its examples, and its links."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from api.core import sql
from api.core.openapi.examples import Story, story
from api.core.openapi.faces import Components, Face, Json, nullable, reference, whole
from api.core.resource import CURSOR, MOST_LIMIT, Resource
from schemas.base import Version
from schemas.changes import Change
from schemas.vocabularies import RevisionOp

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
            "maxItems": MOST_LIMIT,
        },
        "next_cursor": nullable(cursor)
        | {"description": "`cursor` of the next page; null on the last one."},
        "total": nullable(whole(0, sql.MOST_COUNTED))
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
            "maxProperties": sql.MOST_INCLUDED,
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
            "description": "Who did it; null if that is not known.",
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


def add_changes(nouns: Iterable[Noun], components: Components) -> None:
    """Name what the feed says of each noun's records, and the union of these."""
    components.response(Change)
    of_any = components.schemas[Change.__name__]
    mapping = {}
    for noun in nouns:
        name = f"{noun.name}Change"
        of_any_record = of_any["properties"]
        properties = of_any_record | {
            "type": {
                "description": of_any_record["type"]["description"].partition("\n")[0],
                "type": "string",
                "const": noun.one,
            },
            "record": nullable(reference(noun.name))
            | {"description": of_any_record["record"]["description"]},
        }
        components.schemas[name] = _all_there(f"One change of {noun.a_one}.", properties)
        mapping[noun.one] = reference(name)["$ref"]
    components.schemas[Change.__name__] = {
        "description": of_any["description"],
        "oneOf": [{"$ref": place} for place in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
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
