"""Serve the assets of all pages and `/favicon.ico`: from memory, from this host alone."""

import asyncio
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, NamedTuple

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response
from litestar.status_codes import HTTP_304_NOT_MODIFIED

from api.core import codings
from api.core.caller import PUBLIC

# Only files with one of these endings are served.
# Litestar adds the charset to text/* by itself, but not to other types.
MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain",
}

# The icons in Swagger UI's stylesheet are data: URLs; everything else comes from this host.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Final = {
    # A file keeps its name when it changes, so a browser asks each time; 304 says it is the same.
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Asset(NamedTuple):
    """A file as it is served; `tag` is the hash of its content, without an ETag's quotes."""

    content: bytes
    media_type: str
    tag: str


def _read(folder: str) -> dict[str, Asset]:
    """Read the files of a folder beside this module that may be served, by name."""
    return {
        file.name: Asset(content, MEDIA_TYPES[suffix], sha256(content).hexdigest()[:32])
        for file in files(__package__).joinpath(folder).iterdir()
        if (suffix := "." + file.name.rpartition(".")[2]) in MEDIA_TYPES
        for content in (file.read_bytes(),)
    }


ASSETS: Final = _read("assets") | {
    f"explore/{name}": asset for name, asset in _read("assets/explore").items()
}
PAGES: Final = _read("html")


@cache
def _compressed(content: bytes, coding: str) -> bytes:
    """Compress a file, once per process; Swagger UI shrinks from 1.7 MB to 0.5 MB."""
    return codings.compressed(content, coding)


def page_headers(
    asset: Asset, coding: str = codings.IDENTITY, policy: str = CONTENT_SECURITY_POLICY
) -> dict[str, str]:
    """Give the headers of a file; each content coding has an ETag of its own."""
    return {
        **HEADERS,
        **codings.headers(coding),
        "Content-Security-Policy": policy,
        "etag": f'"{asset.tag}-{coding}"',
    }


def not_changed(
    request: Request[Any, Any, Any], headers: dict[str, str]
) -> Response[bytes | None] | None:
    """Answer 304 if the client has this content already; return None if it has not."""
    # The quotes delimit the tag, so `in` also finds it in a list and after the W/ of a proxy.
    if headers["etag"] not in request.headers.get("if-none-match", ""):
        return None
    return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers=headers)


async def serve(
    asset: Asset, request: Request[Any, Any, Any], policy: str = CONTENT_SECURITY_POLICY
) -> Response[bytes | None]:
    """Answer with a file in the coding that the client prefers, or with 304."""
    coding = codings.preferred(request.headers.getall("accept-encoding", []))
    headers = page_headers(asset, coding, policy)
    if answer := not_changed(request, headers):
        return answer
    content = await asyncio.to_thread(_compressed, asset.content, coding)
    return Response(content, media_type=asset.media_type, headers=headers)


@get("/favicon.ico", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_icon(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Serve the icon that browsers ask for by themselves, even when they show plain JSON."""
    return await serve(ASSETS["icon.svg"], request)


@get(
    ["/assets/{name:str}", "/assets/explore/{name:str}"],
    include_in_schema=False,
    opt={"scopes": PUBLIC},
)
async def show_asset(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Serve one of the files that were read at import, and no other path."""
    asset = ASSETS.get(request.scope["path"].removeprefix("/assets/"))
    if asset is None:
        raise NotFoundException(detail="No such asset.")
    return await serve(asset, request)


site_handlers: list[HTTPRouteHandler] = [show_icon, show_asset]
