"""Serve `/explore`: one page whose scripts ask the public API, and show its records to people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from string import Template
from typing import Any, Final

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from api.core.caller import PUBLIC
from api.site.pages import ASSETS, CONTENT_SECURITY_POLICY, PAGES, Asset, serve

# No script of these pages may turn text into HTML. Swagger UI does, so only these pages say so.
_POLICY: Final = (
    f"{CONTENT_SECURITY_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE: Final = Template(PAGES["explore.html"].content.decode())
_START: Final = "main.js"
_PARTS: Final = ("all", "all", "one", "history")
"""What an address shows, by how many names it has below `/explore`."""


def _script(name: str) -> str:
    return ASSETS[f"explore/{name}"].content.decode()


def _views() -> dict[tuple[str, str], str]:
    """Read the table of views in `main.js`: the script by the first name and the part."""
    rows = re.findall(r'^  "?(\w*)"?: \{ (.+) \},$', _script(_START), re.MULTILINE)
    return {
        (place, part): script
        for place, parts in rows
        for part, script in re.findall(r'(\w+): "\./([\w.]+)"', parts)
    }


VIEWS: Final = _views()


def scripts_of(view: str) -> list[str]:
    """List the scripts of a view's page: those of the start, of the view, and all they import."""
    needed = [_START, view]
    for name in needed:  # it grows meanwhile
        imported = re.findall(r'^import .+ from "\./([\w.]+)";$', _script(name), re.MULTILINE)
        needed += [each for each in imported if each not in needed]
    return needed


@cache
def _page(view: str) -> Asset:
    """Write the page of a view; its head names all scripts, so that none waits for another."""
    content = _PAGE.substitute(scripts="\n".join(_links(scripts_of(view)))).encode()
    return Asset(content, "text/html", sha256(content).hexdigest()[:32])


def _links(scripts: Iterable[str]) -> Iterable[str]:
    return (f'  <link rel="modulepreload" href="/assets/explore/{name}">' for name in scripts)


@get(
    [
        "/explore",
        "/explore/{place:str}",
        "/explore/{place:str}/{identity:str}",
        "/explore/{place:str}/{identity:str}/history",
    ],
    include_in_schema=False,
    opt={"scopes": PUBLIC},
)
async def show_explore(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Serve the page, which is the same for all records: its scripts read the address."""
    names = request.scope["path"].strip("/").split("/")[1:]
    view = VIEWS.get((names[0] if names else "", _PARTS[len(names)]))
    if view is None:
        raise NotFoundException(detail="No such page.")
    return await serve(_page(view), request, _POLICY)


explore_handlers: list[HTTPRouteHandler] = [show_explore]
