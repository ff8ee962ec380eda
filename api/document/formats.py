"""The formats of lists and records beside JSON, in the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from api.core.errors import NOT_ACCEPTABLE, Kind
from api.core.resource import Resource
from api.document.examples import story
from api.document.faces import reference
from api.document.templates import Json
from api.exchange import formats, linked_data
from api.exchange.columns import TableRow, asked_columns
from api.exchange.formats import AS_JSON, AS_LINES, AS_LINKED_DATA, AS_PLACES, AS_TABLE, Format
from api.exchange.places import collection
from api.exchange.tables import header, lines

OFFERED: Final[dict[str, Callable[[Any], tuple[Format, ...]]]] = {
    "": formats.of_list,
    "/{id}": formats.of_record,
}
"""The operations that answer in several formats, by what follows the path of their type."""
REFUSED: Final[Kind] = NOT_ACCEPTABLE
MAX_TABLE: Final = 2_147_483_647
"""How many characters a table may have, as far as the document can say it: it has no bound."""
_SHOWN: Final = "id,version,tags,note"


def add(resource: Resource, suffix: str, content: Json) -> None:
    """Add the formats of an operation to the content of its answer."""
    for form in OFFERED[suffix](resource.type):
        if form is not AS_JSON:
            content[form.media_type] = _CONTENT[form](resource)


def _lines(resource: Resource) -> Json:
    name = resource.record.__name__
    return {
        "schema": {"anyOf": [reference(name), reference("ListTotals")]},
        "examples": {
            "record": {"summary": "A line for each record", "value": story(resource).created},
            "totals": {"summary": "The last line", "value": {"count": 1}},
        },
    }


def _table(resource: Resource) -> Json:
    columns = asked_columns(resource, _SHOWN)
    row = TableRow(msgspec.json.encode(story(resource).created))
    table = b"".join([header(columns), *lines(columns, [row])]).decode()
    return {
        "schema": {
            "description": "Lines that end with CR and LF (RFC 4180). The first line has the names "
            "of the columns.",
            "type": "string",
            "maxLength": MAX_TABLE,
        },
        "examples": {"table": {"summary": f"With `columns={_SHOWN}`", "value": table}},
    }


def _places(resource: Resource) -> Json:
    document = msgspec.json.encode(story(resource).created)
    return {
        "schema": reference("ClaimPlaces"),
        "examples": {
            "places": {
                "summary": "A feature for each place with coordinates",
                "value": msgspec.json.decode(collection(document)),
            }
        },
    }


def _linked_data(resource: Resource) -> Json:
    told = msgspec.json.decode(linked_data.written(story(resource).created, {}))
    return {
        "schema": reference("LinkedData"),
        "examples": {"linked_data": {"summary": "In the terms of schema.org", "value": told}},
    }


_CONTENT: Final = {
    AS_LINES: _lines,
    AS_TABLE: _table,
    AS_LINKED_DATA: _linked_data,
    AS_PLACES: _places,
}
