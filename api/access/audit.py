"""The audit log. The database writes changes into it, and this module writes refusals."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Final

from litestar import get
from msgspec import Meta

from api.core import clocks
from api.core.background import again_and_again, meanwhile
from api.core.db import Database
from api.core.errors import Problem
from api.core.filters import Parameter
from api.core.listing import list_rows
from api.core.operation import Operation
from api.core.request import Answer, Request
from api.core.resource import CURSOR, LIMIT
from api.core.sql import Query, render
from schemas.examples import CLAIM_ID, HEADERS, KEY_ID
from schemas.keys import AuditEvent, AuditPage, KeyId
from schemas.pages import only_page
from schemas.scalars import Instant
from schemas.vocabularies import Audited, AuditOp, Scope

PAUSE_SECONDS: Final = 1.0
"""For this long after a refusal, no other refusal of the same key or address is logged."""
MAX_REMEMBERED: Final = 10_000
MAX_WAITING: Final = 100

log = logging.getLogger("claim_records")

# --- writing refusals --------------------------------------------------------------------------

_REFUSED: Final = """
    INSERT INTO audit (key_id, scope, route, op, request_id, status, address)
    VALUES (:key_id, :scope, :route, 'refused', :request_id, :status, :address)"""


class Refusals:
    """Logs refusals in the background, so that answers do not wait for the database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any refusal."""
        self._database = database
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()
        self._waiting: set[asyncio.Task[None]] = set()

    def note(self, scope: Any, problem: Problem, needed: str | None) -> None:  # noqa: ANN401 - ASGI
        """Log a refusal, unless a refusal of the same key or address was logged just now."""
        status = int(problem.kind.status)
        if status not in (401, 403) or len(self._waiting) >= MAX_WAITING:
            return
        caller = scope["state"].get("caller")
        key_id = caller.key_id if caller is not None else None
        client = scope.get("client")
        if not self._due(key_id or (client[0] if client else "")):
            return
        route = f"{scope['method']} {scope['path_template']}"
        query = render(
            _REFUSED,
            key_id=key_id,
            scope=needed,
            route=route,
            request_id=scope["state"]["request_id"],
            status=status,
            address=client[0] if client else None,
        )
        task = asyncio.create_task(self._write(query))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def _due(self, name: str) -> bool:
        """Tell whether the refusal of a key or an address is to be logged."""
        now = self._clock()
        if now - self._last.get(name, -PAUSE_SECONDS) < PAUSE_SECONDS:
            return False
        self._last[name] = now
        self._last.move_to_end(name)
        if len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
        return True

    async def _write(self, query: Query) -> None:
        try:
            await self._database.fetchrow(*query)
        except Problem as problem:
            log.warning("a refusal was not written to the audit log: %s", problem)

    async def close(self) -> None:
        """Wait until all refusals are written."""
        await asyncio.gather(*self._waiting)


# --- old events ---------------------------------------------------------------------------------

PRUNE_EVERY_SECONDS: Final = 60.0
MAX_PRUNED: Final = 500
MAX_STEPS: Final = 20
"""How many events are deleted in one statement, and how many statements there are in a row."""
_PRUNE: Final = "SELECT prune_audit(:days, :now::timestamptz, :limit) AS pruned"


async def prune(database: Database) -> None:
    """Delete the oldest events, if they are older than the settings say by both clocks."""
    if database.settings.audit_days is None:
        return
    query = render(
        _PRUNE, days=database.settings.audit_days, now=clocks.utc_now(), limit=MAX_PRUNED
    )
    for _ in range(MAX_STEPS):
        row = await database.fetchrow(*query)
        if row is None or row["pruned"] < MAX_PRUNED:
            return


def pruning(database: Database) -> AbstractAsyncContextManager[None]:
    """Delete old events in the background."""
    work = again_and_again(
        PRUNE_EVERY_SECONDS, lambda: prune(database), "old events of the audit log wait"
    )
    return meanwhile(work)


# --- reading the log ---------------------------------------------------------------------------

_LIST: Final = """
    SELECT id, at, key_id, scope, route, record_type, record_id, version, op, request_id, status,
           address
    FROM audit
    WHERE (:after_id::bigint IS NULL OR id < :after_id)
        AND (:key_id::text IS NULL OR key_id = :key_id)
        AND (:record_id::text IS NULL OR record_id = :record_id)
        AND (:since::text IS NULL OR at >= :since::text::timestamptz)
    ORDER BY id DESC
    LIMIT :limit"""
_FILTERS: Final = (
    Parameter("key_id", KeyId, "The key that did it."),
    Parameter(
        "record_id",
        Annotated[str, Meta(min_length=1, max_length=100)],
        "The record, key, identity or webhook that was changed.",
    ),
    Parameter("since", Instant, "Only events at this instant or later."),
)
_EXAMPLE = AuditEvent(
    id=1,
    at="2024-12-19T10:00:00.250000Z",
    key_id=KEY_ID,
    scope="claims:write",
    route="POST /v1/claims",
    record_type=Audited.CLAIM,
    record_id=CLAIM_ID,
    version=1,
    op=AuditOp.CREATED,
    request_id=HEADERS["X-Request-Id"],
    status=None,
    address=None,
)
LIST_AUDIT = Operation(
    tag="audit",
    description="Lists what was done with each key and which requests were refused, newest first. "
    "The log has every change that happened, and no other, and every reading of an identity. It "
    "has at most one refusal a second for each key, or for each address without a key. The "
    "operator can let the service delete old events.",
    parameters=(*_FILTERS, LIMIT, CURSOR),
    success="A page of the audit log.",
    answer=(AuditPage,),
    headers=("Link",),
    example=only_page(AuditPage, _EXAMPLE),
)


@get(
    "/v1/audit",
    operation_id="listAudit",
    opt={"operation": LIST_AUDIT, "scopes": (Scope.AUDIT_READ,)},
)
async def list_audit(request: Request) -> Answer:
    """List the audit log."""
    return await list_rows(request, "audit", _LIST, (("id", int),), _FILTERS)
