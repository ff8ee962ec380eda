"""The operations that return the published OpenAPI document, in JSON and in YAML."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Final

import msgspec
from litestar import get

from api.core import codings
from api.core.caller import PUBLIC
from api.core.filters import read_query
from api.core.operation import Operation
from api.core.request import Answer, Request
from api.document.document import VERSION
from schemas.service import OpenapiDocument

OPENAPI_JSON: Final = "application/vnd.oai.openapi+json;version=3.1"
OPENAPI_YAML: Final = "application/vnd.oai.openapi;version=3.1"

GET_OPENAPI = Operation(
    tag="service",
    description="Use it to generate clients; `/docs` shows it as a page. `/openapi.yaml` is the "
    "same document in YAML.",
    success="The OpenAPI document.",
    answer=(OpenapiDocument,),
    media_type=OPENAPI_JSON,
    headers=("Content-Encoding", "Vary"),
    example=OpenapiDocument("3.1.0", {"title": "claim-records", "version": VERSION}, {}),
)


@get("/openapi.json", operation_id="getOpenapi", opt={"operation": GET_OPENAPI, "scopes": PUBLIC})
async def get_openapi(request: Request) -> Answer:
    """Get the OpenAPI document of this API."""
    read_query(request.scope["query_string"], {})
    return await _compressed(request, _json, OPENAPI_JSON)


@get("/openapi.yaml", include_in_schema=False, opt={"scopes": PUBLIC})
async def get_openapi_yaml(request: Request) -> Answer:
    """Get the same document in YAML."""
    read_query(request.scope["query_string"], {})
    return await _compressed(request, _yaml, OPENAPI_YAML)


async def _compressed(
    request: Request, document: Callable[[str], bytes], media_type: str
) -> Answer:
    """Answer with a document of several hundred kilobytes, compressed once in each process."""
    coding = codings.preferred(request.headers.getall("accept-encoding", []))
    body = await asyncio.to_thread(document, coding)
    return Answer(body, headers=codings.headers(coding), media_type=media_type)


@cache
def _json(coding: str) -> bytes:
    return codings.compressed((resources.files("openapi") / "openapi.json").read_bytes(), coding)


@cache
def _yaml(coding: str) -> bytes:
    document = msgspec.json.decode(_json(codings.IDENTITY))
    return codings.compressed(msgspec.yaml.encode(document), coding)


openapi_handlers = [get_openapi, get_openapi_yaml]
