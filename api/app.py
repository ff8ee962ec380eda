"""The application: the only place where the parts of the service are put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from traceback import format_exc
from typing import Any

from litestar import Litestar
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import Receive

from api.access.audit import Refusals, list_audit, pruning
from api.access.authentication import Gate, Verifier, admit
from api.access.embargoes import lifting
from api.access.guards import Guards
from api.access.identities import identity_handlers
from api.access.keys import key_handlers
from api.access.limits import Limits
from api.access.proxies import Proxies
from api.core import deprecation
from api.core.admission import Admission
from api.core.clocks import ClockWatch
from api.core.db import Database
from api.core.errors import INTERNAL, Problem
from api.core.flight import InFlight, hold_room
from api.core.heartbeat import Heartbeat
from api.core.idempotency import sweeping
from api.core.joined import JoinedReads
from api.core.kept_pages import KeptPages
from api.core.request import CLIENT_LEFT, Answer, ClientLeftError, Context, Request
from api.core.services import Services, service
from api.core.streaming import Stopping
from api.core.writing.joined import JoinedWrites
from api.document.problems import problem_handlers
from api.document.published import openapi_handlers
from api.document.vocabularies import list_vocabularies
from api.matching.duplicates import duplicate_handlers
from api.matching.operations import matching_handlers
from api.matching.pairing import Pairing
from api.matching.reconciling.operations import reconciling_handlers
from api.matching.scoring import Scorer, WordScorer
from api.matching.vocabulary import Vocabulary
from api.merging.handlers import merge_handlers
from api.merging.repointing import repointing
from api.questions.anchors import anchor_handlers
from api.questions.annotations import annotation_handlers
from api.questions.figures import figure_handlers
from api.questions.groups import group_handlers
from api.questions.origins import origin_handlers
from api.questions.responses import response_handlers
from api.records.nouns import CONTROLLERS, RESOURCES
from api.server.dispatch import Dispatcher
from api.server.draining import Draining
from api.server.edge import Edge, Routes, no_such_path, not_allowed, problem_answer
from api.server.health import health_handlers
from api.server.metrics import Metrics, get_metrics
from api.server.shares import Share
from api.settings import Settings
from api.site.docs import docs_handlers
from api.site.explore import explore_handlers
from api.site.home import home_handlers
from api.site.pages import site_handlers
from api.site.people import SeenOnPageError, lead_to_page
from api.site.texts import text_handlers
from api.sync.export import export_records
from api.sync.feed.changes import list_changes
from api.sync.feed.following import Feed
from api.sync.feed.stalls import StallWatch
from api.sync.feed.stream import stream_changes
from api.sync.importing.operation import import_records
from api.sync.webhooks.delivery import Deliverer
from api.sync.webhooks.handlers import webhook_handlers

log = logging.getLogger("claim_records")


class Application(Edge):
    """The service as a server runs it: an ASGI application that can be told to stop."""

    def __init__(
        self, settings: Settings, database: Database, share: Share | None, router: Litestar
    ) -> None:
        """Put the rules for every request in front of a router."""
        self.services = services = _create_services(settings, database, share)
        services.put(Routes, routes := _routes_of(router))
        super().__init__(
            _dispatcher_of(router),
            routes,
            Guards(settings),
            services.get(Limits),
            services.get(Metrics),
            services.get(Draining),
        )
        self._database = database
        self._feed = services.get(Feed)
        self._proxies = Proxies(settings)
        self._in_flight = InFlight()

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Answer a request; its client is the one that the trusted proxies name."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        self.services.attach(scope)
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        self._proxies.find_client(scope)
        room = hold_room(scope, self._in_flight)
        try:
            await super().__call__(scope, receive, send)
        finally:
            room.keep(0)

    async def _run_lifespan(self, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Start when the server says so, and end when it says so."""
        await receive()
        stage = "startup"
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                stage = "shutdown"
                await receive()
        except BaseException:
            await send({"type": f"lifespan.{stage}.failed", "message": format_exc()})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Connect to the database, and work in the background until the end of the block."""
        services, database = self.services, self._database
        await database.open()
        try:
            async with (
                self._feed.following(),
                services.get(StallWatch).watching(),
                services.get(Metrics).sampling(),
                lifting(database, RESOURCES.values()),
                repointing(database),
                sweeping(database),
                pruning(database),
                ClockWatch(database).watching(),
                Heartbeat(database).beating(),
                services.get(Deliverer).running(),
                services.get(Vocabulary).counting(),
                services.get(Pairing).searching(),
            ):
                yield
        finally:
            await services.get(Refusals).close()
            await database.close()

    def drain(self) -> None:
        """Go on answering, but ask balancers and clients for no more requests."""
        self._draining.begin()

    def stop(self) -> None:
        """End the streams and the readers that wait for changes: they do not end by themselves."""
        self._feed.stop()


def create_app_on_url(settings: Settings, url: str, share: Share | None = None) -> Application:
    """Put the application together for the database at a URL; a process calls this for itself."""
    return create_app(settings, Database(url, settings), share)


def create_app(
    settings: Settings,
    database: Database,
    share: Share | None = None,
    router: Litestar | None = None,
) -> Application:
    """Put the application together; its lifespan opens and closes the database."""
    return Application(settings, database, share, router or shared_router())


def _create_services(settings: Settings, database: Database, share: Share | None) -> Services:
    """Make the objects that the handlers use."""
    refusals, verifier, limits = Refusals(database), Verifier(database), Limits(settings)
    gate = Gate(settings, verifier, refusals, limits)
    feed, pages = Feed(database), KeptPages()
    stalls = StallWatch(database, feed)

    services = Services()
    services.put(Context, Context(database, settings, JoinedReads(database), pages))
    services.put(JoinedWrites, JoinedWrites(database))
    services.put(Admission, gate)
    services.put(Gate, gate)
    services.put(Refusals, refusals)
    services.put(Verifier, verifier)
    services.put(Limits, limits)
    services.put(Feed, feed)
    services.put(StallWatch, stalls)
    services.put(Metrics, Metrics(database, feed, pages, stalls, share))
    services.put(Draining, Draining())
    services.put(Stopping, feed.stopping)
    services.put(Deliverer, Deliverer(database, feed))
    services.put(Vocabulary, Vocabulary(database))
    services.put(Pairing, Pairing(database))
    services.put(Scorer, WordScorer())  # type: ignore[type-abstract]  # asked for by its interface
    return services


def create_router() -> Litestar:
    """Register the routes. Nothing here depends on the settings or on a database."""
    return Litestar(
        route_handlers=[  # in the order of the OpenAPI document
            *CONTROLLERS,
            *group_handlers,
            *figure_handlers,
            *origin_handlers,
            *response_handlers,
            *anchor_handlers,
            *annotation_handlers,
            *matching_handlers,
            *duplicate_handlers,
            *reconciling_handlers,
            list_changes,
            stream_changes,
            export_records,
            import_records,
            *webhook_handlers,
            *key_handlers,
            *identity_handlers,
            *merge_handlers,
            list_audit,
            list_vocabularies,
            *problem_handlers,
            *health_handlers,
            get_metrics,
            *openapi_handlers,
            *home_handlers,
            *site_handlers,
            *docs_handlers,
            *text_handlers,
            *explore_handlers,
        ],
        guards=[deprecation.mark, lead_to_page, admit],
        exception_handlers={
            Problem: _answer_problem,
            HTTPException: _answer_http,
            ClientLeftError: _answer_nobody,
            SeenOnPageError: _answer_with_page,
            Exception: _answer_failure,
        },
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )


shared_router = cache(create_router)
"""Gives the router of all applications of this process: to register the routes takes 60 ms."""


@cache
def _dispatcher_of(router: Litestar) -> Dispatcher:
    return Dispatcher(router)


@cache
def _routes_of(router: Litestar) -> Routes:
    return Routes((route.path, _methods(route)) for route in router.routes)


def _methods(route: Any) -> set[str]:  # noqa: ANN401 - Litestar's kinds of routes
    """Give a route's own methods, without Litestar's OPTIONS, which is wrong (litestar#4169)."""
    return {m for handler in route.route_handlers for m in handler.http_methods} - {"OPTIONS"}


def _answer_problem(request: Request, problem: Problem) -> Any:  # noqa: ANN401
    return problem_answer(problem, request.scope)


def _answer_nobody(_request: Request, _error: ClientLeftError) -> Any:  # noqa: ANN401
    """End a request whose client has left, with a status for the metrics and the log."""
    return Answer(status=CLIENT_LEFT)


def _answer_with_page(_request: Request, seen: SeenOnPageError) -> Any:  # noqa: ANN401
    """Lead a browser to the page that shows a record, and tell caches that programs get JSON."""
    return Answer(status=303, headers={"location": seen.location, "vary": "Accept"})


def _answer_http(request: Request, error: HTTPException) -> Any:  # noqa: ANN401
    """Answer an error of Litestar's router with one of our problems."""
    if isinstance(error, MethodNotAllowedException):
        allowed = service(request, Routes).allowed(request.scope["path"]) or ""
        return problem_answer(not_allowed(allowed), request.scope)
    if isinstance(error, NotFoundException):
        return problem_answer(no_such_path(), request.scope)
    return _answer_failure(request, error)


def _answer_failure(request: Request, error: Exception) -> Any:  # noqa: ANN401
    """Log a bug of ours; the answer only names the request id under which it is logged."""
    state = request.scope["state"]
    log.error("a request failed", exc_info=error, extra={"request_id": state["request_id"]})
    return problem_answer(Problem(INTERNAL), request.scope)
