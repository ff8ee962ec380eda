"""Bodies that are not records: read them into their Structs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from api.core.errors import invalid_record
from api.core.filters import Parameter, read_query
from api.core.idempotency import idempotency_key, refuse_idempotency_key
from api.core.json_text import read_json
from api.core.large_input import work_on
from api.core.request import JSON, Request, context, read_body, require_media_type
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
    body = await _keyed_body(request, media_type, parameters)
    return await work_on(len(body), _read, read_object, body, kind), body


async def read_keyed_list(
    request: Request,
    kind: Any,  # noqa: ANN401 - a type form
    parameters: Mapping[str, Parameter] = _NONE,
) -> tuple[list[Any], bytes]:
    """Do the same where the body is a list."""
    body = await _keyed_body(request, JSON, parameters)
    return await work_on(len(body), _read, read_json, body, kind), body


async def _keyed_body(
    request: Request, media_type: str, parameters: Mapping[str, Parameter]
) -> bytes:
    idempotency_key(request)  # refuse a bad key before the body is read
    read_query(request.scope["query_string"], parameters)
    require_media_type(request, [media_type])
    return await read_body(request, context(request).settings.body_bytes)


def _read(read: Callable[[bytes], Any], body: bytes, kind: Any) -> Any:  # noqa: ANN401 - a type form
    sent, faults = check(read(body), kind)
    if sent is None or faults:
        raise invalid_record(faults)
    return sent
