"""Read what claims, ratings, sources and articles of a review have in common: names, times, ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from api.sync.importing.reviews.nodes import Node, Reader, Value
from api.sync.importing.reviews.values import MAX_EXPRESSION, as_time

Json = dict[str, Any]

NAMESPACE: Final = "schema.org"
"""The namespace of the external ids by which a later import finds the records again."""
MAX_NAMES: Final = 20
MAX_LINE: Final = 500
MAX_TEXT: Final = 10_000
_DIGEST: Final = 32
_MAX_EXTERNAL_ID: Final = 400


def digest(words: str) -> str:
    """Name words, whatever their case and the spaces between them."""
    folded = " ".join(words.casefold().split())
    return hashlib.sha256(folded.encode()).hexdigest()[:_DIGEST]


def external_id(name: str) -> str:
    """Give the external id for a name; a name that is too long for one gets a digest at its end."""
    if len(name) <= _MAX_EXTERNAL_ID:
        return name
    end = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[: _MAX_EXTERNAL_ID - len(end) - 1]}~{end}"


def as_named(given: Node | Value) -> Node:
    """Take a text in the place of an object for the name of the object."""
    return given if isinstance(given, Node) else Node({"name": given.value}, given.path)


def read_names(reader: Reader, node: Node, name: str) -> Iterator[str]:
    """Read the names of the persons or bodies in a property."""
    for each in reader.nodes(node, name, MAX_NAMES):
        if text := reader.line(as_named(each), "name", MAX_LINE):
            yield text


def read_time(reader: Reader, node: Node, name: str) -> Json | None:
    """Read when something was said or published; words that are no date stay words."""
    text = reader.line(node, name, MAX_EXPRESSION)
    return as_time(text) if text is not None else None
