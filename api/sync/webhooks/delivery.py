"""Delivery: sending the changes of the feed to webhooks, one change after another.

Any process delivers. Each webhook that has something to be sent is a task of its own, so that a
slow receiver does not delay the others. A receiver gets the next change when it has taken the one
before, so the changes of a record come in their order. All that matters is in the database: if a
process stops or is killed, another one goes on from the webhook's place in the feed. So a message
can be sent twice, under the same id, but none is left out.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import asyncpg

from api.core.background import FailureLog, again_and_again, end, meanwhile
from api.core.db import Database
from api.core.errors import RESYNC_REQUIRED, Problem
from api.sync.feed import positions
from api.sync.feed.following import Feed
from api.sync.feed.stretches import Place, Position, Wanted
from api.sync.retry_after import retry_after_seconds
from api.sync.webhooks.addresses import TargetRefused, reach
from api.sync.webhooks.leases import MAX_PRUNED, Delivery, Endpoint, LeaseLost, Leases
from api.sync.webhooks.messages import (
    Message,
    change_message,
    test_message,
)
from api.sync.webhooks.signatures import signature_headers
from api.sync.webhooks.targets import NETWORK_ERRORS, TargetAnswer, Targets
from schemas.vocabularies import PausedReason

DELAYS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds between attempts, as Standard Webhooks recommends: ten attempts in about 75 hours."""
MAX_RETRY_AFTER: Final = 86_400.0
ATTEMPT_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 60.0
MAX_AT_ONCE: Final = 100
POLL_SECONDS: Final = 1.0
"""How often to look for work that nothing announces: tests, new attempts, ended leases."""
_PACE_SECONDS: Final = 0.05
_TURN_SECONDS: Final = 30.0
"""How long one webhook may keep its place among those that are delivered to at once."""
_SLOW_SECONDS: Final = 1.0
"""An attempt that takes longer ends its webhook's turn while other webhooks may wait."""
_MAX_CHANGES: Final = 500
_PRUNE_SECONDS: Final = 60.0
_MAX_ERROR: Final = 500
_GONE: Final = 410
_AGENT: Final = (b"user-agent", b"claim-records")
_JSON: Final = (b"content-type", b"application/json")

log = logging.getLogger("claim_records")


class Outcome(NamedTuple):
    """The outcome of an attempt."""

    delivery: Delivery
    retry_after: float  # in seconds; 0 if the receiver did not say

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has taken the message."""
        return self.delivery.error is None


class Deliverer:
    """Delivers to webhooks, for as long as the process lives."""

    def __init__(
        self,
        database: Database,
        feed: Feed,
        *,
        delays: Sequence[float] = DELAYS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Start without work; :meth:`running` delivers. Only tests change the times."""
        self._database = database
        self._feed = feed
        self._delays = delays
        self._attempt_seconds = attempt_seconds
        self._poll_seconds = poll_seconds
        self._leases = Leases(database, lease_seconds, reserve=attempt_seconds)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver in the background; at the end, give all leases back."""
        self._targets = Targets(reach(self._database.settings), MAX_AT_ONCE)
        pruning = again_and_again(_PRUNE_SECONDS, self._prune, "old deliveries wait to be deleted")
        try:
            async with meanwhile(self._keep_delivering()), meanwhile(pruning):
                yield
        finally:
            await end(list(self._tasks))
            with suppress(Problem, asyncpg.PostgresError):  # the leases run out instead
                await self._leases.give_all_back()
            await self._targets.close()

    # --- which webhooks ----------------------------------------------------------------------

    async def _keep_delivering(self) -> None:
        failures = FailureLog("webhooks wait to be delivered")
        while True:
            try:
                await self._begin()
            except (Problem, asyncpg.PostgresError) as error:  # away or busy, or not migrated yet
                failures.record(error)
                await asyncio.sleep(self._poll_seconds)
            else:
                failures.clear()

    async def _begin(self) -> None:
        """Begin to deliver to webhooks that no process delivers to; then wait for more work."""
        head = self._feed.head or await self._feed.catch_up()
        await self._leases.pause_unfit()
        for endpoint in await self._leases.take(head, MAX_AT_ONCE - len(self._tasks)):
            task = asyncio.create_task(self._hold(endpoint))
            self._tasks.add(task)
            task.add_done_callback(self._end)
        await asyncio.sleep(_PACE_SECONDS)
        if self._full:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._feed.moved(head, self._poll_seconds, eager=False)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivering webhooks failed", exc_info=error)

    async def _hold(self, endpoint: Endpoint) -> None:
        """Deliver to a webhook, then give its lease back; after a bug of ours, let it run out."""
        try:
            await self._deliver(endpoint)
        except LeaseLost:
            pass
        except (Problem, asyncpg.PostgresError) as error:
            log.warning("a webhook waits to be delivered to", exc_info=error)
        with suppress(Problem, asyncpg.PostgresError):  # the lease runs out instead
            await self._leases.give_back(endpoint)

    async def _prune(self) -> None:
        await self._leases.forget_secrets()
        while await self._leases.prune() == MAX_PRUNED:
            pass

    # --- which messages ----------------------------------------------------------------------

    async def _deliver(self, endpoint: Endpoint) -> None:
        """Send what waits to be sent, for as long as a turn lasts."""
        clock = asyncio.get_running_loop().time
        until = clock() + _TURN_SECONDS
        ended = False
        while clock() < until:
            if endpoint.test_message_id is not None:
                endpoint = await self._test(endpoint, endpoint.test_message_id)
            if ended or not endpoint.due or _at_end(self._feed, endpoint.position):
                return
            endpoint, ended = await self._deliver_stretch(endpoint, until)

    async def _deliver_stretch(self, endpoint: Endpoint, until: float) -> tuple[Endpoint, bool]:
        """Send the next changes that the receiver may see; tell whether its turn has ended."""
        types = positions.filtered(endpoint.types)
        sight = endpoint.caller.sight
        wanted = Wanted(sight, _MAX_CHANGES, types, documents=False, places=True)
        try:
            stretch = await self._feed.behind(endpoint.position, wanted)
        except Problem as problem:
            if problem.kind is RESYNC_REQUIRED:
                await self._leases.pause_displaced(endpoint)
            raise
        for place in stretch.places:
            began = time.monotonic()
            endpoint = await self._attempt(endpoint, place)
            if self._full and time.monotonic() - began > _SLOW_SECONDS:
                return endpoint, True
            waits = endpoint.test_message_id is not None
            if waits or not endpoint.due or asyncio.get_running_loop().time() >= until:
                return endpoint, False
        if endpoint.position != stretch.to:
            endpoint = await self._leases.skip(endpoint, stretch.to)
        return endpoint, stretch.up_to_date

    @property
    def _full(self) -> bool:
        """Whether other webhooks may wait for a place among those delivered to at once."""
        return len(self._tasks) >= MAX_AT_ONCE

    async def _attempt(self, endpoint: Endpoint, place: Place) -> Endpoint:
        """Send a change, and store the outcome."""
        message = change_message(endpoint, place)
        outcome = await self._send(endpoint, message, endpoint.attempts + 1)
        delivery = outcome.delivery
        if outcome.succeeded:
            return await self._leases.record_success(endpoint, delivery, place.position)
        if delivery.status == _GONE:
            return await self._leases.give_up(endpoint, delivery, PausedReason.GONE)
        if endpoint.attempts >= len(self._delays):
            return await self._leases.give_up(endpoint, delivery, PausedReason.FAILING)
        delay = self._delays[endpoint.attempts] * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        delay = max(delay, outcome.retry_after)
        return await self._leases.record_failure(endpoint, delivery, delay)

    async def _test(self, endpoint: Endpoint, identity: str) -> Endpoint:
        """Send a test message once, whatever the outcome."""
        outcome = await self._send(endpoint, test_message(endpoint, identity), 1)
        return await self._leases.record_test(endpoint, outcome.delivery)

    async def _send(self, endpoint: Endpoint, message: Message, attempt: int) -> Outcome:
        """Make an attempt, unless the lease could run out before it ends."""
        if asyncio.get_running_loop().time() > endpoint.until:
            raise LeaseLost
        at, began = dt.datetime.now(dt.UTC), time.monotonic()
        status, retry_after = None, 0.0
        try:
            answer = await self._post(endpoint, message, int(at.timestamp()))
            status, error = answer.status, _error(answer.status)
            if error is not None:
                retry_after = min(retry_after_seconds(answer.retry_after), MAX_RETRY_AFTER)
        except TimeoutError:
            error = f"No answer came within {self._attempt_seconds:g} s."
        except TargetRefused as refused:
            error = f"Nothing was sent. {refused}"
        except NETWORK_ERRORS as failure:
            error = f"{type(failure).__name__}: {failure}"[:_MAX_ERROR]
        except Exception:  # a bug of ours: an attempt that is not counted would be made for ever
            log.exception("a message of webhook %s could not be sent", endpoint.id)
            error = "This service failed while sending; its log has the reason."
        milliseconds = round((time.monotonic() - began) * 1000)
        delivery = Delivery(
            message.id, message.event, *message.subject, attempt, at, milliseconds, status, error
        )
        return Outcome(delivery, retry_after)

    async def _post(self, endpoint: Endpoint, message: Message, timestamp: int) -> TargetAnswer:
        signed = signature_headers(endpoint.secrets, message.id, timestamp, message.body)
        headers = [_AGENT, _JSON, *signed]
        return await self._targets.post(endpoint.url, headers, message.body, self._attempt_seconds)


def _at_end(feed: Feed, position: Position) -> bool:
    """Tell whether a place is at or behind the end of the feed that this process knows."""
    head = feed.head
    return head is not None and head.epoch == position.epoch and head.seq <= position.seq


def _error(status: int) -> str | None:
    """Say why an answer is not a success; null if it is one."""
    match status // 100:
        case 2:
            return None
        case 3:
            return "The answer was a redirect, which is not followed."
    return "The answer's status was not 2xx."
