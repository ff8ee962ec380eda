"""The parts of the document that each noun has: schemas, examples, links and operations."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final, NamedTuple

from msgspec import Struct

from api.core.expanding import MAX_INCLUDED
from api.core.querying import body_of
from api.core.resource import CURSOR, MAX_COUNTED, MAX_LIMIT, Expansion, Resource
from api.document import parameters, refusals
from api.document.examples import story
from api.document.faces import Components, meanings, nullable, open_terms, reference
from api.document.templates import Json, fill, read
from api.settings import Settings
from schemas.changes import Change
from schemas.exports import ExportLine
from schemas.imports import ImportLine
from schemas.scalars import Version
from schemas.shapes import fields, shape
from schemas.vocabularies import RelationKind, RevisionOp, SourceRelationKind

_DEFAULTS: Final = Settings()


class Noun:
    """A resource with the parts of the document that the template for nouns makes of it.

    Its `paths` are its operations, by the path below the noun's own path, and by method.
    """

    def __init__(self, resource: Resource, components: Components, links: Json) -> None:
        """Name the noun's schemas among a document's components; `links` are those to questions."""
        self.resource = resource
        self._links = links
        self._components = components
        components.add_record(resource.create, resource.update, resource.record)
        components.request(body_of(resource))
        filled: Json = fill(read("noun"), self._values())
        components.schemas |= filled["schemas"]
        self.examples: Json = filled["examples"]
        self.links: Json = filled["links"] | links
        self.paths: Json = filled["paths"]

    @property
    def name(self) -> str:
        """The name of one record in names of schemas and operations, such as `Claim`."""
        return self.resource.record.__name__

    @property
    def a_one(self) -> str:
        """The name of one record with its article, such as `a claim`."""
        one = self.resource.type.value
        return f"{'an' if one[0] in 'aeiou' else 'a'} {one}"

    @cached_property
    def symmetric(self) -> bool:
        """Whether its records have relations that are stored once and found from both ends."""
        inside = (shape(field.type).kind for field in fields(self.resource.create))
        return any(
            shape(field.type).kind in (RelationKind, SourceRelationKind)
            for part in inside
            if isinstance(part, type) and issubclass(part, Struct)
            for field in fields(part)
        )

    def _values(self) -> dict[str, Any]:
        """Give the values that go into the template."""
        resource, components = self.resource, self._components
        links = [name.replace("<Name>", self.name) for name in read("noun")["links"]]
        links += self._links
        return {
            **story(resource)._asdict(),
            "precondition_failed": refusals.precondition_failed(resource),
            **parameters.of_noun(resource, components),
            **{
                name: {"$ref": f"#/components/parameters/{name}"}
                for name in read("document")["components"]["parameters"]
            },
            "Name": self.name,
            "one": resource.type.value,
            "a_one": self.a_one,
            "plural": resource.plural,
            "needed": self._needed(),
            "body_limit": at_most(
                _DEFAULTS.article_body_bytes if resource.large else _DEFAULTS.body_bytes
            ),
            "query_limit": at_most(_DEFAULTS.body_bytes),
            "record_id": story(resource).id,
            "included": included(resource.expansions),
            "links": {name: {"$ref": f"#/components/links/{name}"} for name in links},
            "Version": components.value(Version),
            "RevisionOp": open_terms(meanings(RevisionOp)),
            "cursor_or_null": nullable(components.value(CURSOR.type)),
            "max_limit": MAX_LIMIT,
            "max_counted": MAX_COUNTED,
            "max_included": f"{MAX_INCLUDED:,}",
        }

    def _needed(self) -> str:
        """Name the properties that a new record must have, in a sentence without its end."""
        create = self.resource.create
        names = [
            f"`{name}`" for name in self._components.schemas[create.__name__].get("required", ())
        ]
        *most, last = [*names, *filter(None, [create.also_needed])]
        if not most:
            return f"Only {last} is required"
        return f"Only {', '.join(most)} and {last} are required"


def included(expansions: Iterable[Expansion]) -> Json:
    """Describe the related records that a page can bring."""
    return {
        expansion.name: {
            "description": f"Records by their id: {expansion.description}.",
            "type": "object",
            "additionalProperties": reference(expansion.target.title()),
            "maxProperties": MAX_INCLUDED,
        }
        for expansion in expansions
    }


def at_most(size: int) -> str:
    """Say how large a body may be."""
    return f"The body has at most {size:,} bytes{UNLESS}"


UNLESS: Final = ", unless the operator of the service has set another limit."


class _OfAnyType(NamedTuple):
    """A Struct that holds a record of any type; the document has a schema for each type."""

    struct: type[Struct]
    property: str  # the one that holds the record
    description: str
    sent: bool = False  # by a client


_OF_ANY_TYPE: Final = (
    _OfAnyType(Change, "record", "A change of {}."),
    _OfAnyType(ExportLine, "data", "A line with {}."),
    _OfAnyType(ImportLine, "data", "A line that writes or deletes {}.", sent=True),
)


def add_unions(nouns: Iterable[Noun], components: Components) -> None:
    """Name the Structs that hold a record of any type: one for each noun, and their union."""
    for each in _OF_ANY_TYPE:
        (components.request if each.sent else components.response)(each.struct)
        name = each.struct.__name__
        of_any = components.schemas[name]
        mapping = {}
        for noun in nouns:
            components.schemas[f"{noun.name}{name}"] = _of_one_type(each, of_any, noun)
            mapping[noun.resource.type.value] = reference(f"{noun.name}{name}")["$ref"]
        components.schemas[name] = {
            "description": of_any["description"],
            "oneOf": [{"$ref": place} for place in mapping.values()],
            "discriminator": {"propertyName": "type", "mapping": mapping},
        }


def _of_one_type(each: _OfAnyType, of_any: Json, noun: Noun) -> Json:
    """Describe such a Struct with a record of one noun."""
    properties = of_any["properties"]
    held = properties[each.property]
    record = reference(noun.resource.create.__name__ if each.sent else noun.name)
    kind = {
        "description": properties["type"]["description"].partition("\n")[0],
        "type": "string",
        "const": noun.resource.type.value,
    }
    record = nullable(record) if "null" in held["type"] else record
    own = {"type": kind, each.property: record | {"description": held["description"]}}
    return of_any | {
        "description": each.description.format(noun.a_one),
        "properties": properties | own,
    }
