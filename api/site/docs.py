"""Serve `/docs`: the guide and the list of all operations as HTML, and scripts that do the rest.

Swagger UI needs seconds until it shows anything. So the text and the list stand in the page itself,
and Swagger UI takes the place of the list when it is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from api.core.caller import PUBLIC
from api.site.markdown import chapters, slug, to_html
from api.site.pages import PAGES, Asset, serve

_PAGE: Final = Template(PAGES["docs.html"].content.decode())
_INTRODUCTION: Final = "/introduction"
_OTHERS: Final = {"webhook messages": "#/webhook-messages", "schemas": "#/schemas"}
"""The last sections, which Swagger UI adds."""

Json = Mapping[str, Any]


@get("/docs", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_docs(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show the OpenAPI document as a page on which every operation can be tried out."""
    return await serve(await asyncio.to_thread(_page), request)


@cache
def _page() -> Asset:
    """Write the page, once in each process."""
    document = msgspec.json.decode((resources.files("openapi") / "openapi.json").read_bytes())
    introduction, tags = document["info"]["description"], document["tags"]
    content = _PAGE.substitute(
        version=escape(document["info"]["version"]),
        introduction=to_html(introduction, _INTRODUCTION),
        sections="\n".join(_links(introduction, tags)),
        operations="\n".join(_section(tag, document["paths"]) for tag in tags),
    ).encode()
    return Asset(content, "text/html", sha256(content).hexdigest()[:32])


def _links(introduction: str, tags: Iterable[Json]) -> Iterable[str]:
    """Write the links of the side column."""
    places = {
        "chapter": {title: f"#{_INTRODUCTION}/{slug(title)}" for title in chapters(introduction)},
        "section": {tag["name"]: _address(tag["name"]) for tag in tags} | _OTHERS,
    }
    return (
        f'<a class="{kind}" href="{address}">{escape(title)}</a>'
        for kind, addresses in places.items()
        for title, address in addresses.items()
    )


def _section(tag: Json, paths: Json) -> str:
    """Write a tag with its guide and its operations, as Swagger UI does."""
    name = escape(tag["name"])
    operations = "".join(
        _operation(path, method, operation)
        for path, item in paths.items()
        for method, operation in item.items()
        if tag["name"] in operation["tags"]
    )
    return (
        f'<section class="opblock-tag-section is-open"><h3 class="opblock-tag" '
        f'data-place="operations-tag-{name}"><span>{name}</span><small><div '
        f'class="renderedMarkdown">{to_html(tag["description"])}</div></small></h3>'
        f"{operations}</section>"
    )


def _operation(path: str, method: str, operation: Json) -> str:
    tag, name = operation["tags"][0], operation["operationId"]
    return (
        f'<div class="opblock opblock-{method}" data-place="operations-{tag}-{name}">'
        f'<div class="opblock-summary"><a class="opblock-summary-control" '
        f'href="{_address(tag, name)}"><span class="opblock-summary-method">{method.upper()}</span>'
        f'<span class="opblock-summary-path-description-wrapper">'
        f'<span class="opblock-summary-path">{escape(path)}</span>'
        f'<span class="opblock-summary-description">{escape(operation["summary"])}</span></span>'
        "</a></div></div>"
    )


def _address(*names: str) -> str:
    """Give the address of a section or an operation on the page, as the scripts understand it."""
    return "#/" + "/".join(quote(name, safe="") for name in names)


docs_handlers: list[HTTPRouteHandler] = [show_docs]
