"""Serve `/explore`: one page whose scripts ask the public API, and show its records to people."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from api.core.caller import PUBLIC
from api.records.nouns import RESOURCES
from api.site.pages import CONTENT_SECURITY_POLICY, PAGES, serve

PLACES: Final = frozenset(
    {"", "match", "figures", "groups", *(each.plural for each in RESOURCES.values())}
)
"""The first part of an address below `/explore`, as `assets/explore/main.js` has it."""

# No script of these pages may turn text into HTML. Swagger UI does, so only these pages say so.
_POLICY: Final = (
    f"{CONTENT_SECURITY_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
)


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
    if request.path_params.get("place", "") not in PLACES:
        raise NotFoundException(detail="No such page.")
    return await serve(PAGES["explore.html"], request, _POLICY)


explore_handlers: list[HTTPRouteHandler] = [show_explore]
