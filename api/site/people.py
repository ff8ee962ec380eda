"""Lead browsers from a record's address in the API to the page that shows it.

Programs get JSON, whatever they accept, unless they say that they prefer HTML.
"""

from __future__ import annotations

import re
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.exchange.formats import AS_PAGE, of_record, preferred
from api.records.nouns import RESOURCES
from schemas.vocabularies import RecordType

_RECORD: Final = re.compile(
    f"/v1/({'|'.join(resource.plural for resource in RESOURCES.values())})/"
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\Z"
)
_TYPES: Final = {resource.plural: resource.type for resource in RESOURCES.values()}


class SeenOnPageError(Exception):
    """The caller wants to look at a record: it is shown on a page."""

    def __init__(self, location: str) -> None:
        """Keep the path of the page."""
        super().__init__(location)
        self.location = location


async def lead_to_page(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Lead a browser to the page; it has no key to read the record itself, so this comes first."""
    scope: Any = connection.scope
    # Each request passes here, and nearly all of them end with this line.
    accepted = [
        value for name, value in scope["headers"] if name == b"accept" and b"html" in value.lower()
    ]
    if not accepted or scope["method"] != "GET" or scope["query_string"]:
        return
    record = _RECORD.match(scope["path"])
    if record and prefers_html(b",".join(accepted).decode("latin-1"), _TYPES[record[1]]):
        raise SeenOnPageError(f"/explore/{record[1]}/{record[2]}")


def prefers_html(accept: str, record_type: RecordType) -> bool:
    """Tell whether an Accept header wants `text/html` more than every form of a record."""
    return preferred(accept, (*of_record(record_type), AS_PAGE)) is AS_PAGE
