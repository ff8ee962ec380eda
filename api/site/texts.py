"""Serve the tour of the README, pages of `docs/` and the changelog.

These files stand where people look for them in the repository. The links in `api/site/texts/` bring
them into the package.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from api.core.caller import PUBLIC
from api.site.markdown import to_html
from api.site.pages import PAGES, Asset, serve

_PAGE: Final = Template(PAGES["text.html"].content.decode())
_TEXTS: Final = files("api.site").joinpath("texts")
_TOUR: Final = "A five-minute tour"
_SERVED: Final = {
    "questions.md": "/docs/questions",
    "anchors.md": "/docs/anchors",
    "matching.md": "/docs/matching",
}
"""The addresses of the pages of `docs/` that are served, by their names."""
_LINK: Final = re.compile(r"\[([^]]+)\]\((?:docs/)?([\w/-]+\.md)([^)]*)\)")
_LOCAL: Final = "http://127.0.0.1:8000"
_MAX_ORIGINS: Final = 8
"""How many origins a page is kept for; a service that has many names writes it anew."""


@get("/docs/tour", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_tour(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show the tour, with commands for the address under which the reader came."""
    return await serve(_tour(str(request.base_url).rstrip("/")), request)


@get("/docs/questions", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_questions(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show the questions of a newsroom, asked at the address under which the reader came."""
    return await serve(_questions(str(request.base_url).rstrip("/")), request)


@get("/docs/anchors", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_anchors(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show how offsets are counted in JavaScript, and how lost words are mended."""
    return await serve(_anchors(), request)


@get("/docs/matching", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_matching(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show how claims and sources are matched, and where another method goes."""
    return await serve(_matching(), request)


@get("/docs/changelog", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_changelog(request: Request[Any, Any, Any]) -> Response[bytes | None]:
    """Show what has changed, by version."""
    return await serve(_changelog(), request)


@lru_cache(_MAX_ORIGINS)
def _tour(origin: str) -> Asset:
    readme = _TEXTS.joinpath("readme.md").read_text(encoding="utf-8")
    _, _, behind = readme.partition(f"\n## {_TOUR}\n")
    section, _, _ = behind.partition("\n## ")
    return _written(_TOUR, section.replace(_LOCAL, origin))


@lru_cache(_MAX_ORIGINS)
def _questions(origin: str) -> Asset:
    return _whole("questions.md", origin)


@lru_cache(1)
def _anchors() -> Asset:
    return _whole("anchors.md", _LOCAL)


@lru_cache(1)
def _matching() -> Asset:
    return _whole("matching.md", _LOCAL)


@lru_cache(1)
def _changelog() -> Asset:
    return _whole("changelog.md", _LOCAL)


def _whole(name: str, origin: str) -> Asset:
    """Write a whole text as a page, whose title is its first line."""
    text = _TEXTS.joinpath(name).read_text(encoding="utf-8")
    title, _, content = text.removeprefix("# ").partition("\n")
    return _written(title, content.replace(_LOCAL, origin))


def _written(title: str, text: str) -> Asset:
    """Write a page; its code can be scrolled by the keyboard where it is wider than the page."""
    html = re.sub("<pre>", '<pre tabindex="0">', to_html(_LINK.sub(_linked, text)))
    content = _PAGE.substitute(title=escape(title), content=html).encode()
    return Asset(content, "text/html", sha256(content).hexdigest()[:32])


def _linked(link: re.Match[str]) -> str:
    """Write a link to a file of the repository; only its words if the file is not served."""
    words, name, place = link.groups()
    return f"[{words}]({_SERVED[name]}{place})" if name in _SERVED else words


text_handlers: list[HTTPRouteHandler] = [
    show_tour,
    show_questions,
    show_anchors,
    show_matching,
    show_changelog,
]
