"""Dispatch: call the handler of a request directly, without Litestar's own way to it.

Litestar 2.25 finds the route, copies the handler for each guard, binds parameters, wraps each part
in handlers of exceptions and builds a response. A handler of ours takes nothing but the request and
gives bytes that are ready, so all it needs is the route, the guards and the handlers of exceptions.
Those are taken from Litestar's application, which answers everything else: paths and methods that
do not exist, and handlers that want more.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.types import Receive

from api.core.request import Answer, NoContent, Request

Guard = Callable[[Any, BaseRouteHandler], Awaitable[None]]
ExceptionHandler = Callable[[Request, Any], Answer]

_ANSWERS: Final = (Answer, NoContent)
"""What a handler says it returns, if it returns an answer of ours; with postponed annotations."""


class _Request(Request):
    """A request of Litestar that begins with the three things which every handler needs.

    What else Litestar 2.25 keeps for a request takes 4 µs to make. It is made when it is asked for.
    """

    __slots__ = ()

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - as Litestar has it
        """Keep what the server gave."""
        self.scope = scope
        self.receive = receive
        self.send = send

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        """Make the rest, and give an attribute of it."""
        super().__init__(self.scope, self.receive, self.send)
        return object.__getattribute__(self, name)


class Target(NamedTuple):
    """A handler that can be called directly, and what surrounds it."""

    handler: BaseRouteHandler
    template: str  # the path, as Litestar writes it in `path_template`
    names: tuple[str, ...]  # of the path's parameters
    guards: tuple[Guard, ...]
    on_error: Mapping[Any, ExceptionHandler]

    def answer_to(self, error: Exception, request: Request) -> Answer:
        """Answer an error as the handler for the nearest class of it does; there is one for all."""
        nearest = next(kind for kind in type(error).__mro__ if kind in self.on_error)
        return self.on_error[nearest](request, error)


Targets = dict[str, Target]
"""The targets of one path, by method."""


class Dispatcher:
    """An application that does what a Litestar application does, by a shorter way where it can."""

    def __init__(self, router: Litestar) -> None:
        """Read the routes; those of handlers that want more than the request stay with Litestar."""
        self._router = router
        self._plain: dict[str, Targets] = {}
        self._tree: dict[Any, Any] = {}
        for route in router.routes:
            if targets := _targets_of(route):
                self._add(route, targets)

    def _add(self, route: Any, targets: Targets) -> None:  # noqa: ANN401 - Litestar's kinds of routes
        """Put a path into the table, or into the tree if it has parameters."""
        if not route.path_parameters:
            self._plain[route.path] = targets
            return
        node = self._tree
        for part in ("", *route.path_components):  # a path begins with a slash
            node = node.setdefault(part if isinstance(part, str) else _ANY, {})
        node[_HERE] = targets

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Answer a request."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        target, values = self.find(scope["method"], scope["path"])
        if target is None:
            await self._router(scope, receive, send)
            return
        scope["app"] = scope["litestar_app"] = self._router
        scope["route_handler"] = target.handler
        scope["path_template"] = target.template
        scope["path_params"] = dict(zip(target.names, values, strict=True))
        request = _Request(scope, receive, send)
        try:
            for guard in target.guards:
                await guard(request, target.handler)
            answer = await target.handler.fn(request=request)
        except Exception as error:  # noqa: BLE001 - Litestar's application knows them all
            answer = target.answer_to(error, request)
        if type(answer) is Answer:
            await answer(scope, receive, send)
        else:
            await _send_stream(answer, target, request)

    def find(self, method: str, path: str) -> tuple[Target | None, Sequence[str]]:
        """Find a target and the values of the path's parameters, as Litestar does.

        A path without parameters comes before one with parameters, and a literal part of a path
        before a parameter. Nothing is tried twice.
        """
        if (targets := self._plain.get(path)) is not None:
            return targets.get(method), ()
        values: list[str] = []
        node = self._tree
        for part in path.split("/"):
            below = node.get(part)
            if below is None:
                below = node.get(_ANY)
                if below is None:
                    return None, ()
                values.append(part)
            node = below
        return node.get(_HERE, _NOTHING).get(method), values


_ANY: Final = 0
"""In a node of the tree, what is below any part of a path."""
_HERE: Final = 1
"""In a node of the tree, the targets of the path that ends here."""
_NOTHING: Final[Targets] = {}


def _targets_of(route: Any) -> Targets:  # noqa: ANN401 - Litestar's kinds of routes
    """Give the targets of a route's handlers that take nothing but the request."""
    names = tuple(parameter.name for parameter in route.path_parameters.values())
    targets: Targets = {}
    for handler in route.route_handlers:
        if not _is_direct(handler):
            continue
        target = Target(
            handler,
            route.path_format,
            names,
            tuple(handler.resolve_guards()),
            handler.resolve_exception_handlers(),
        )
        targets |= dict.fromkeys(handler.http_methods - {"OPTIONS"}, target)
    return targets


def _is_direct(handler: Any) -> bool:  # noqa: ANN401 - Litestar's kinds of handlers
    """Tell whether a handler takes the request, and nothing else, and returns an answer of ours."""
    signature = inspect.signature(handler.fn)
    return (
        tuple(signature.parameters) == ("request",)
        and handler.parsed_fn_signature.return_type.annotation in _ANSWERS
        and inspect.iscoroutinefunction(handler.fn)
    )


async def _send_stream(answer: Answer, target: Target, request: Request) -> None:
    """Send an answer that is made meanwhile; an error is answered if nothing was sent yet."""
    scope: Any = request.scope
    started = False

    async def send_on(message: Any) -> None:  # noqa: ANN401 - ASGI
        nonlocal started
        started = True
        await request.send(message)

    try:
        await answer(scope, request.receive, send_on)
    except Exception as error:
        if started:
            raise
        await target.answer_to(error, request)(scope, request.receive, request.send)
