"""One record in every format."""

from __future__ import annotations

from functools import cache
from typing import Final

from api.core import reading
from api.core.filters import Parameter, read_query
from api.core.reading import Form
from api.core.request import Answer, Request
from api.core.resource import AS_OF, Resource
from api.exchange import formats, linked_data, places
from api.exchange.formats import AS_LINKED_DATA, AS_PLACES, Format

_FORMS: Final[dict[Format, Form]] = {
    AS_LINKED_DATA: Form(AS_LINKED_DATA.media_type, linked_data.write_record),
    AS_PLACES: Form(AS_PLACES.media_type, places.write_claim),
}
"""How a record is written in each format but JSON."""


@cache
def parameters(resource: Resource) -> dict[str, Parameter]:
    """Give the query parameters of a record, by name."""
    own = (AS_OF, formats.parameter(formats.of_record(resource.type)))
    return {each.name: each for each in own}


async def get_record(resource: Resource, request: Request) -> Answer:
    """Answer with a record, as it is or as it was, in the format that the request asks for."""
    given = read_query(request.scope["query_string"], parameters(resource))
    form = formats.chosen(request, given.pop("format", None), formats.of_record(resource.type))
    return await reading.get(resource, request, given, _FORMS.get(form))
