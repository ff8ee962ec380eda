"""Answer `/docs`, `/favicon.ico` and the assets of all pages, from memory and from this host."""

import asyncio
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, NamedTuple

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response
from litestar.status_codes import HTTP_304_NOT_MODIFIED

from api.core import codings
from api.core.caller import PUBLIC

# What is served is chosen by its ending; a file with any other ending stays private.
# Litestar adds the charset to text/* by itself, and to nothing else.
MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain",
}

# Swagger UI draws its icons from data: URLs in its stylesheet; nothing else needs more than 'self'.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Final = {
    # Names are stable, so a reader asks each time and is answered 304 until a file changes.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Asset(NamedTuple):
    """A file as it is served; `tag` is its content's hash, without the quotes of an ETag."""

    content: bytes
    media_type: str
    tag: str


def _read(folder: str) -> dict[str, Asset]:
    """Read the servable files of a folder beside this module, by name."""
    return {
        file.name: Asset(content, MEDIA_TYPES[suffix], sha256(content).hexdigest()[:32])
        for file in files(__package__).joinpath(folder).iterdir()
        if (suffix := "." + file.name.rpartition(".")[2]) in MEDIA_TYPES
        for content in (file.read_bytes(),)
    }


ASSETS: Final = _read("assets")
PAGES: Final = _read("html")


@cache
def _compressed(content: bytes, coding: str) -> bytes:
    """Compress once per process; the documentation bundle shrinks from 1.7 MB to 0.5 MB."""
    return codings.compressed(content, coding)


def page_headers(asset: Asset, coding: str = codings.IDENTITY) -> dict[str, str]:
    """Give the headers of a file; each way of coding it has an ETag of its own."""
    return {**HEADERS, **codings.headers(coding), "etag": f'"{asset.tag}-{coding}"'}


def not_changed(
    request: Request[Any, Any, Any], headers: dict[str, str]
) -> Response[bytes | None] | None:
    """Answer 304 to a reader who has it already; null for any other."""
    # The quotes bound the tag, so containment covers lists and the W/ that proxies put before it.
    if headers["etag"] not in request.headers.get("if-none-match", ""):
        return None
    return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers=headers)


async def _serve(asset: Asset, request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Answer with the file, compressed as the client likes it, or 304 if it has it already."""
    coding = codings.preferred(request.headers.getall("accept-encoding", []))
    headers = page_headers(asset, coding)
    if answer := not_changed(request, headers):
        return answer
    content = await asyncio.to_thread(_compressed, asset.content, coding)
    return Response(content, media_type=asset.media_type, headers=headers)


@get("/docs", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_docs(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show `/openapi.json` as documentation that can be tried out."""
    return await _serve(PAGES["docs.html"], request)


@get("/favicon.ico", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_icon(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Answer browsers that ask for an icon while they show plain JSON."""
    return await _serve(ASSETS["icon.svg"], request)


@get("/assets/{name:str}", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_asset(
    name: FromPath[str], request: Request[Any, Any, Any]
) -> Response[bytes | None]:
    """Answer with one of the files known at import, never with another path."""
    asset = ASSETS.get(name)
    if asset is None:
        raise NotFoundException(detail="No such asset.")
    return await _serve(asset, request)


site_handlers: list[HTTPRouteHandler] = [show_docs, show_icon, show_asset]
