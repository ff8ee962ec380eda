"""The operations that the document describes, in reading order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.core.caller import Need, needed
from api.core.resource import Resource

_METHODS: Final = ("get", "post", "put", "patch", "delete")


class Route(NamedTuple):
    """An operation of the service."""

    path: str
    method: str
    handler: HTTPRouteHandler

    @property
    def resource(self) -> Resource | None:
        """The noun whose template describes the operation; None if its handler declares it."""
        if "operation" in self.handler.opt:
            return None
        resource: Resource | None = self.handler.opt.get("resource")
        return resource

    @property
    def tag(self) -> str:
        """The tag under which the document lists the operation."""
        tag: str = self.resource.plural if self.resource else self.handler.opt["operation"].tag
        return tag

    @property
    def need(self) -> Need | None:
        """The scopes that a key needs for the operation; None if no key is enough."""
        return needed(self.handler.opt, self.method.upper())


def routes(router: Litestar) -> Iterator[Route]:
    """List the operations that the document describes: all except the pages for people."""
    for route in router.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if handler.include_in_schema is False:
                continue
            path = route.path.replace(":str}", "}")
            yield from (Route(path, method.lower(), handler) for method in handler.http_methods)


def in_reading_order(router: Litestar) -> list[Route]:
    """Sort the operations: by tag in the order of the routes, then by path and method."""
    declared = list(routes(router))
    tags = list(dict.fromkeys(route.tag for route in declared))
    return sorted(
        declared,
        key=lambda route: (tags.index(route.tag), route.path, _METHODS.index(route.method)),
    )
