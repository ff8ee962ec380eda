"""Webhooks, delivered: each goes through the feed behind its own place, one change after another.

Any process delivers. Each webhook that something is to be sent to is a task of its own, so a slow
receiver delays no other; a receiver gets the next change when it has taken the one before, so the
changes of a record come in their order. Nothing is kept in memory that matters: a process that
stops, or is killed, leaves a webhook's place, from which the next one goes on. So a message can
come twice, under the same id, and never not at all.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import asyncpg
import msgspec

from api.core import sql
from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from api.core.errors import RESYNC_REQUIRED, Problem
from api.settings import networks
from api.sync.feed import positions
from api.sync.feed.following import Feed
from api.sync.feed.stretches import Position
from api.sync.feed.visible import VisibleChange, in_utc, visible_change
from api.sync.webhooks.leases import MAX_PRUNED, Delivery, Endpoint, LeaseLost, Leases
from api.sync.webhooks.signatures import message_id, signed
from api.sync.webhooks.targets import NETWORK_ERRORS, Answered, TargetRefused, Targets
from schemas.vocabularies import PausedReason
from schemas.webhooks import WebhookChange, WebhookEvent, WebhookTestEvent, WebhookTestSubject

DELAYS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds between attempts, by the specification: ten attempts in about 75 hours."""
MAX_RETRY_AFTER: Final = 86_400.0
ATTEMPT_SECONDS: Final = 15.0
LEASE_SECONDS: Final = 60.0
MAX_AT_ONCE: Final = 100
POLL_SECONDS: Final = 1.0
"""How often to look for what nothing announces: tests, retries, leases that have run out."""
_PACE_SECONDS: Final = 0.05
_TURN_SECONDS: Final = 30.0
"""How long one webhook may have its place among those delivered to at once."""
_SLOW_SECONDS: Final = 1.0
"""An attempt that takes longer ends its webhook's turn while others may wait for a place."""
_MAX_CHANGES: Final = 500
_PRUNE_SECONDS: Final = 60.0
_MAX_ERROR: Final = 500
_GONE: Final = 410
_AGENT: Final = (b"user-agent", b"claim-records")
_JSON: Final = (b"content-type", b"application/json")

log = logging.getLogger("claim_records")


class Subject(NamedTuple):
    """The change that a message tells of; a test tells of none."""

    record_type: str | None = None
    record_id: str | None = None
    version: int | None = None
    seq: int | None = None


class Message(NamedTuple):
    """What is sent, and what of it is written down."""

    id: str
    event: str
    body: bytes
    subject: Subject


class Outcome(NamedTuple):
    """How an attempt went."""

    delivery: Delivery
    retry_after: float  # in seconds; 0 if nothing was said of it

    @property
    def taken(self) -> bool:
        """Whether the receiver has taken the message."""
        return self.delivery.error is None


class Deliverer:
    """What delivers in a process."""

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
        """Deliver by the settings; only tests are in more of a hurry."""
        self._database = database
        self._feed = feed
        self._delays = delays
        self._attempt_seconds = attempt_seconds
        self._poll_seconds = poll_seconds
        self._leases = Leases(database, lease_seconds, reserve=attempt_seconds)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver in the background; at the end, give back what is held."""
        self._targets = Targets(networks(self._database.settings.webhook_networks), MAX_AT_ONCE)
        pruning = again_and_again(_PRUNE_SECONDS, self._prune, "old deliveries wait to be deleted")
        try:
            async with meanwhile(self._keep_delivering()), meanwhile(pruning):
                yield
        finally:
            await _cancelled(self._tasks)
            await self._targets.close()

    # --- which webhooks ----------------------------------------------------------------------

    async def _keep_delivering(self) -> None:
        failing = False
        while True:
            try:
                await self._begin()
                failing = False
            except (Problem, asyncpg.PostgresError) as error:  # away or busy, or not migrated yet
                if not failing:
                    log.warning("webhooks wait to be delivered", exc_info=error)
                failing = True
                await asyncio.sleep(self._poll_seconds)

    async def _begin(self) -> None:
        """Begin to deliver to those webhooks that nobody delivers to; then wait for a reason."""
        head = self._feed.head or await self._feed.catch_up()
        await self._leases.pause_unfit()
        for endpoint in await self._leases.take(head, MAX_AT_ONCE - len(self._tasks)):
            task = asyncio.create_task(self._hold(endpoint))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        await asyncio.sleep(_PACE_SECONDS)
        if self._full:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._feed.moved(head, self._poll_seconds, eager=False)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivering webhooks failed", exc_info=error)

    async def _hold(self, endpoint: Endpoint) -> None:
        """Deliver to a webhook, and give it back. After a bug of ours it is left to its lease."""
        try:
            await self._deliver(endpoint)
        except LeaseLost:
            pass
        except (Problem, asyncpg.PostgresError) as error:
            log.warning("a webhook waits to be delivered to", exc_info=error)
        except asyncio.CancelledError:
            await self._give_back(endpoint)
            raise
        await self._give_back(endpoint)

    async def _give_back(self, endpoint: Endpoint) -> None:
        with suppress(Problem, asyncpg.PostgresError):  # else its lease runs out
            await self._leases.give_back(endpoint)

    async def _prune(self) -> None:
        await self._leases.forget_secrets()
        while await self._leases.prune() == MAX_PRUNED:
            pass

    # --- which messages ----------------------------------------------------------------------

    async def _deliver(self, endpoint: Endpoint) -> None:
        """Send what there is, for as long as a turn lasts."""
        clock = asyncio.get_running_loop().time
        until = clock() + _TURN_SECONDS
        ended = False
        while clock() < until:
            if endpoint.test_message_id is not None:
                endpoint = await self._test(endpoint, endpoint.test_message_id)
            if ended or not endpoint.due or _reached(self._feed, endpoint.position):
                return
            endpoint, ended = await self._deliver_stretch(endpoint, until)

    async def _deliver_stretch(self, endpoint: Endpoint, until: float) -> tuple[Endpoint, bool]:
        """Send the next changes that are for the receiver; tell whether its turn is at its end."""
        types = positions.filtered(endpoint.types)
        try:
            stretch = await self._feed.behind(endpoint.position, _MAX_CHANGES, types)
        except Problem as problem:
            if problem.kind is RESYNC_REQUIRED:
                await self._leases.lost_place(endpoint)
            raise
        pending = []
        for change in stretch.changes:
            if (visible := visible_change(change, endpoint.caller)) is not None:
                place = Position(endpoint.position.epoch, change.seq, change.tag)
                pending.append((visible._replace(record=None), place))
        up_to_date, to = stretch.up_to_date, stretch.to
        del stretch  # its documents
        for item, place in pending:
            began = time.monotonic()
            endpoint = await self._attempt(endpoint, item, place)
            if self._full and time.monotonic() - began > _SLOW_SECONDS:
                return endpoint, True
            waits = endpoint.test_message_id is not None
            if waits or not endpoint.due or asyncio.get_running_loop().time() >= until:
                return endpoint, False
        if endpoint.position != to:
            endpoint = await self._leases.passed(endpoint, to)
        return endpoint, up_to_date

    @property
    def _full(self) -> bool:
        """Whether others may wait for a place among those delivered to at once."""
        return len(self._tasks) >= MAX_AT_ONCE

    async def _attempt(
        self, endpoint: Endpoint, change: VisibleChange, place: Position
    ) -> Endpoint:
        """Send a change, and write down what came of it."""
        outcome = await self._send(endpoint, _event(endpoint, change, place), endpoint.attempts + 1)
        delivery = outcome.delivery
        if outcome.taken:
            return await self._leases.taken(endpoint, delivery, place)
        if delivery.status == _GONE:
            return await self._leases.given_up(endpoint, delivery, PausedReason.GONE)
        if endpoint.attempts >= len(self._delays):
            return await self._leases.given_up(endpoint, delivery, PausedReason.FAILING)
        delay = self._delays[endpoint.attempts] * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        return await self._leases.failed(endpoint, delivery, max(delay, outcome.retry_after))

    async def _test(self, endpoint: Endpoint, identity: str) -> Endpoint:
        """Send a test, once, whatever comes of it."""
        outcome = await self._send(endpoint, _test_event(endpoint, identity), 1)
        return await self._leases.tested(endpoint, outcome.delivery)

    async def _send(self, endpoint: Endpoint, message: Message, attempt: int) -> Outcome:
        """Make an attempt, if the lease is surely ours for as long as that takes."""
        if asyncio.get_running_loop().time() > endpoint.until:
            raise LeaseLost
        at, began = dt.datetime.now(dt.UTC), time.monotonic()
        status, retry_after = None, 0.0
        try:
            status, said = await self._post(endpoint, message, int(at.timestamp()))
            error = _refusal(status)
            if error is not None:
                retry_after = _seconds(said)
        except TimeoutError:
            error = f"No answer came within {self._attempt_seconds:g} s."
        except TargetRefused as refused:
            error = f"Nothing was sent. {refused}"
        except NETWORK_ERRORS as failure:
            error = f"{type(failure).__name__}: {failure}"[:_MAX_ERROR]
        except Exception:  # a bug of ours: what is not counted would be sent for ever
            log.exception("a message of webhook %s could not be sent", endpoint.id)
            error = "This service failed while sending; its own log says how."
        milliseconds = round((time.monotonic() - began) * 1000)
        delivery = Delivery(
            message.id, message.event, *message.subject, attempt, at, milliseconds, status, error
        )
        return Outcome(delivery, retry_after)

    async def _post(self, endpoint: Endpoint, message: Message, timestamp: int) -> Answered:
        headers = [_AGENT, _JSON, *signed(endpoint.secrets, message.id, timestamp, message.body)]
        return await self._targets.post(endpoint.url, headers, message.body, self._attempt_seconds)


def _reached(feed: Feed, position: Position) -> bool:
    """Tell whether a place is the feed's end, or one that this process has not heard of yet."""
    head = feed.head
    return head is not None and head.epoch == position.epoch and head.seq <= position.seq


def _refusal(status: int) -> str | None:
    """Say why an answer is no success; null if it is one."""
    match status // 100:
        case 2:
            return None
        case 3:
            return "The answer was a redirect, which is not followed."
    return "The answer's status was not 2xx."


def _seconds(retry_after: str | None) -> float:
    """Read a Retry-After header (RFC 9110, section 10.2.3); 0 where it says nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
        left = (at - dt.datetime.now(dt.UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):  # no date, or without a zone, or in no calendar
        return 0.0
    return min(max(left, 0.0), MAX_RETRY_AFTER)


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


# --- messages --------------------------------------------------------------------------------


def _event(endpoint: Endpoint, change: VisibleChange, place: Position) -> Message:
    """Write the message of a change: the same id whenever it is written."""
    name = f"{change.type}.{change.op}"
    data = WebhookChange(
        type=change.type,
        id=change.id,
        version=change.version,
        op=change.op,
        cursor=positions.written(place, endpoint.caller, endpoint.types),
        url=f"/v1/{sql.plural(change.type)}/{change.id}",
    )
    event = WebhookEvent(type=name, timestamp=in_utc(change.at), data=data)
    return Message(
        message_id(str(endpoint.id), place.epoch, place.seq),
        name,
        msgspec.json.encode(event),
        Subject(change.type.value, change.id, change.version, change.seq),
    )


def _test_event(endpoint: Endpoint, identity: str) -> Message:
    """Write the message of a test."""
    subject = WebhookTestSubject(webhook_id=str(endpoint.id))
    now = in_utc(dt.datetime.now(dt.UTC))
    event = WebhookTestEvent(type="webhook.test", timestamp=now, data=subject)
    return Message(identity, event.type, msgspec.json.encode(event), Subject())
