"""The objects that the application makes once and its handlers use, each found by its class.

A handler asks for `service(request, Feed)` and gets a `Feed`: the type checker knows what it is,
and no layer has to know the names that another one uses.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from litestar.connection import ASGIConnection

Service = TypeVar("Service")

_KEY: Final = "services"


class Services:
    """The objects of one application, each under the class by which it is asked for."""

    def __init__(self) -> None:
        """Start without any."""
        self._by_class: dict[type, object] = {}

    def put(self, kind: type[Service], service: Service) -> None:
        """Add an object, in place of the one that was there under this class."""
        self._by_class[kind] = service

    def get(self, kind: type[Service]) -> Service:
        """Give the object of a class. Asking for a class that was not put in is a bug."""
        service = self._by_class[kind]
        assert isinstance(service, kind)  # noqa: S101 - `put` has seen to it; this tells mypy
        return service

    def attach(self, scope: Any) -> None:  # noqa: ANN401 - one of Litestar's unions
        """Let the handler of a request find these objects."""
        scope.setdefault("state", {})[_KEY] = self


def service(connection: ASGIConnection[Any, Any, Any, Any], kind: type[Service]) -> Service:
    """Give the object of a class to the handler of a request."""
    services: Services = connection.scope["state"][_KEY]
    return services.get(kind)
