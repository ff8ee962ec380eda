"""Metrics for Prometheus: requests, the pool of connections, the change feed, webhooks.

A scrape reaches one of several processes. Each process therefore writes its counts to files in a
shared directory, and the process that is scraped adds them up (the multiprocess mode of the
prometheus-client library). Numbers that are in the database are read at each scrape.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, NamedTuple

from litestar import get
from msgspec import Meta
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.core.background import meanwhile
from api.core.caller import ANYTHING
from api.core.clocks import difference
from api.core.db import Database
from api.core.errors import UNAVAILABLE, Problem
from api.core.filters import read_query
from api.core.kept_pages import KeptPages
from api.core.operation import Operation
from api.core.request import Answer, Request
from api.core.services import service
from api.matching import pairing
from api.matching.vocabulary import ages
from api.server.shares import Share
from api.sync.feed.following import Feed
from api.sync.feed.stalls import MAX_COUNTED, StallWatch, Unnumbered

SAMPLE_SECONDS: Final = 1.0
"""How old the gauges of another process are at most."""
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

disable_created_metrics()  # they would add a gauge for each counter, which nobody needs


# --- what is counted ---------------------------------------------------------------------------


class Metrics:
    """The numbers that one process counts, and how a scrape writes them."""

    def __init__(
        self,
        database: Database,
        feed: Feed,
        pages: KeptPages,
        stalls: StallWatch,
        share: Share | None = None,
    ) -> None:
        """Begin at zero, or where the last process in the same place stopped counting."""
        self._database, self._feed, self._pages, self._stalls = database, feed, pages, stalls
        self._share = share
        if share is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = share.directory
            values.ValueClass = values.MultiProcessValue(lambda: share.place)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "claim_records_requests",
            "Requests that have ended, by operation id; status 499 means that the client left.",
            ("method", "operation", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "claim_records_request_duration_seconds",
            "Seconds from a request's head to the last byte of its answer.",
            ("operation",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        connections = self._gauge("pool_connections", "Open connections to the database.", "state")
        self._in_use, self._idle = connections.labels("in_use"), connections.labels("idle")
        self._size = self._gauge("pool_size", "Connections that may be open at most.")
        self._waiting = self._gauge("pool_waiting", "Requests that wait for a connection.")
        self._streams = self._gauge("feed_streams", "Open streams of changes.")
        self._kept = self._gauge("feed_kept_bytes", "Bytes of the feed's newest blocks in memory.")
        self._kept_pages = self._gauge("pages_kept_bytes", "Bytes of pages in memory.")
        self._counts: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        """Make a gauge whose value is the sum over the processes that live."""
        return Gauge(
            f"claim_records_{name}",
            about,
            labels,
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def count(self, method: str, scope: Any, status: int, seconds: float) -> None:  # noqa: ANN401 - ASGI
        """Count a request that has ended.

        The labels are its operation, not its path, and a known method: there must be few of them.
        """
        handler = scope.get("route_handler")
        operation = "none" if handler is None else handler.operation_id or "none"
        if method not in _METHODS:
            method = "other"
        counters = self._counts.get((method, operation, status))
        if counters is None:
            counters = self._counters_of(method, operation, status)
        increment, observe = counters
        increment()
        observe(seconds)

    def _counters_of(self, method: str, operation: str, status: int) -> tuple[Any, Any]:
        """Find the counters of such requests, and keep them: finding costs as much as counting."""
        increment = self._requests.labels(method, operation, status).inc
        counters = increment, self._durations.labels(operation).observe
        self._counts[method, operation, status] = counters
        return counters

    # --- the state of the process ------------------------------------------------------------

    def sample(self) -> None:
        """Set the gauges to the state of this process."""
        use = self._database.use()
        self._in_use.set(use.in_use)
        self._idle.set(use.idle)
        self._size.set(use.size)
        self._waiting.set(use.waiting)
        self._streams.set(self._feed.streams)
        self._kept.set(self._feed.kept.size)
        self._kept_pages.set(self._pages.size)

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Set the gauges regularly, for scrapes of other processes; alone, a scrape sets them."""
        if self._share is None:
            yield
            return
        async with meanwhile(self._keep_sampling()):
            yield

    async def _keep_sampling(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    # --- a scrape ----------------------------------------------------------------------------

    async def exposition(self) -> bytes:
        """Write the metrics of all processes in the text format of Prometheus."""
        self.sample()
        try:
            unnumbered, webhooks = await self._stalls.unnumbered(), await self._webhooks()
            families = _of_database(unnumbered, webhooks, await difference(self._database))
            families.append(_counts(await ages(self._database)))
            families.append(_pairs(await pairing.age(self._database)))
        except Problem as problem:
            if problem.kind is not UNAVAILABLE:
                raise
            families = [_database_up(0)]
        registry = self._registry
        if self._share is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._share.directory)
        # The files of many processes take a while to read.
        counted = await asyncio.to_thread(generate_latest, registry)
        return counted + generate_latest(_registry_of(families))

    async def _webhooks(self) -> dict[str, Endpoints]:
        """Count the webhooks of each status."""
        rows = await self._database.fetch(_WEBHOOKS)
        return {
            status: Endpoints(number, failing, slowest) for status, number, failing, slowest in rows
        }


class Endpoints(NamedTuple):
    """The numbers of the webhooks with one status."""

    number: int = 0
    failing: int = 0
    slowest: int | None = None  # the position of the slowest one that does not fail


# A webhook whose receiver is down falls behind. With it, one could not see whether others do too.
_WEBHOOKS: Final = """
    SELECT status, count(*), count(failing_since), min(seq) FILTER (WHERE failing_since IS NULL)
    FROM webhooks
    GROUP BY status"""
_WEBHOOK_STATUSES: Final = ("active", "paused")


def _database_up(value: int) -> Metric:
    return GaugeMetricFamily(
        "claim_records_database_up", "Whether the database answered this scrape.", value
    )


def _of_database(
    feed: Unnumbered, webhooks: dict[str, Endpoints], clock_ahead: float
) -> list[Metric]:
    """Make metrics of the numbers that were read from the database."""
    by_status = GaugeMetricFamily(
        "claim_records_webhooks", "Webhooks, by status.", labels=["status"]
    )
    for status in _WEBHOOK_STATUSES:
        by_status.add_metric([status], webhooks.get(status, Endpoints()).number)
    active = webhooks.get("active", Endpoints())
    slowest = feed.seq if active.slowest is None else active.slowest
    return [
        _database_up(1),
        CounterMetricFamily(
            "claim_records_feed_changes", "Changes that have a number in the feed.", feed.seq
        ),
        GaugeMetricFamily(
            "claim_records_feed_unnumbered_changes",
            f"Committed changes that have no number yet; about {MAX_COUNTED} are counted at most.",
            feed.changes,
        ),
        GaugeMetricFamily(
            "claim_records_feed_lag_seconds",
            "Age of the oldest committed change without a number, in seconds; 0 if there is none.",
            feed.seconds,
        ),
        GaugeMetricFamily(
            "claim_records_database_clock_ahead_seconds",
            "How many seconds Postgres' clock is ahead of this machine's; below 0, it is behind.",
            clock_ahead,
        ),
        by_status,
        GaugeMetricFamily(
            "claim_records_webhooks_failing",
            "Active webhooks whose last attempt failed.",
            active.failing,
        ),
        GaugeMetricFamily(
            "claim_records_webhook_backlog_changes",
            "Changes that the slowest active webhook still has to send; failing webhooks "
            "do not count.",
            max(0, feed.seq - slowest),
        ),
    ]


def _counts(ages: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(
        "claim_records_word_counts_age_seconds",
        "Age of the word counts that matching uses, in seconds, if records have changed "
        "since; else 0.",
        labels=["record_type"],
    )
    for record_type, seconds in ages.items():
        family.add_metric([record_type], seconds)
    return family


def _pairs(age: float) -> Metric:
    return GaugeMetricFamily(
        "claim_records_duplicates_age_seconds",
        "Age of the oldest change of a source that was not compared with others yet, in "
        "seconds; else 0.",
        age,
    )


def _registry_of(families: list[Metric]) -> CollectorRegistry:
    """Make a registry of metrics whose values are known."""

    class Known(Collector):
        def collect(self) -> list[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Known())
    return registry


# --- the operation -----------------------------------------------------------------------------

Exposition = Annotated[
    str, Meta(max_length=16_777_216, description="Prometheus' text format, version 0.0.4.")
]

GET_METRICS = Operation(
    tag="service",
    description="For Prometheus: requests by operation and status with their durations, the pool "
    "of connections, the change feed and the lag of its numbering, the difference between the "
    "clocks of Postgres and the service, webhooks and their backlog. The "
    "counts are those of all processes together. While the database is away, the numbers that are "
    "read from it are left out, and `claim_records_database_up` is 0. A request with a key is then "
    "answered with 503, because keys are in the database too.",
    success="The metrics, as Prometheus reads them.",
    answer=(Exposition,),
    media_type=CONTENT_TYPE_PLAIN_0_0_4,
    example='claim_records_requests_total{method="GET",operation="listClaims",status="200"} 42.0\n',
)


@get("/metrics", operation_id="getMetrics", opt={"operation": GET_METRICS, "reads": ANYTHING})
async def get_metrics(request: Request) -> Answer:
    """Get the metrics of the service."""
    read_query(request.scope["query_string"], {})
    exposition = await service(request, Metrics).exposition()
    return Answer(exposition, media_type=CONTENT_TYPE_PLAIN_0_0_4)
