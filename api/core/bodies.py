"""Bodies that are not records: read them into their Structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from api.core.errors import invalid_record
from api.core.filters import Parameter, read_query
from api.core.large_input import work_on
from api.core.request import (
    JSON,
    Request,
    context,
    idempotency_key,
    read_body,
    refuse_idempotency_key,
    require_media_type,
)
from api.core.validation import check, read_object
from schemas.base import Part

Sent = TypeVar("Sent", bound=Part)
_NONE: Final[Mapping[str, Parameter]] = {}


async def read_part(request: Request, kind: type[Sent], media_type: str = JSON) -> Sent:
    """Read the body of an operation that takes no Idempotency-Key."""
    refuse_idempotency_key(request)
    sent, _ = await read_keyed_part(request, kind, media_type)
    return sent


async def read_keyed_part(
    request: Request,
    kind: type[Sent],
    media_type: str = JSON,
    parameters: Mapping[str, Parameter] = _NONE,
) -> tuple[Sent, bytes]:
    """Read the body of an operation that takes Idempotency-Key, and maybe query parameters.

    Gives its bytes too, by which :func:`api.core.idempotency.once` tells one request from another.
    """
    idempotency_key(request)  # refuse a bad key before the body is read
    read_query(request.scope["query_string"], parameters)
    require_media_type(request, [media_type])
    body = await read_body(request, context(request).settings.body_bytes)
    return await work_on(len(body), _read, body, kind), body


def _read(body: bytes, kind: type[Sent]) -> Sent:
    sent, faults = check(read_object(body), kind)
    if sent is None or faults:
        raise invalid_record(faults)
    return sent
