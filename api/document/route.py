"""The operations that the document describes, read off the routes, in reading order."""

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
        """Under which heading the operation stands."""
        tag: str = self.resource.plural if self.resource else self.handler.opt["operation"].tag
        return tag

    @property
    def need(self) -> Need | None:
        """What it takes to call the operation; None if no key is enough."""
        return needed(self.handler.opt, self.method.upper())


def routes(router: Litestar) -> Iterator[Route]:
    """Give the operations that are to be documented: all but the pages for people."""
    for route in router.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if handler.include_in_schema is False:
                continue
            path = route.path.replace(":str}", "}")
            yield from (Route(path, method.lower(), handler) for method in handler.http_methods)


def in_reading_order(router: Litestar) -> list[Route]:
    """Sort the operations: by tag, as these were declared; then by path and method."""
    declared = list(routes(router))
    tags = list(dict.fromkeys(route.tag for route in declared))
    return sorted(
        declared,
        key=lambda route: (tags.index(route.tag), route.path, _METHODS.index(route.method)),
    )
