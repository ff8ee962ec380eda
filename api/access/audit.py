"""The audit log: who did what, which the database writes with each change, and what was refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Final

from litestar import get
from msgspec import Meta

from api.access.listing import page
from api.core.db import Database
from api.core.errors import Problem
from api.core.filters import Parameter
from api.core.operation import Operation
from api.core.request import Answer, Request
from api.core.resource import CURSOR, LIMIT, instant
from schemas.base import Instant
from schemas.examples import CLAIM_ID, HEADERS, KEY_ID
from schemas.keys import AuditEvent, AuditPage, KeyId
from schemas.vocabularies import Audited, AuditOp, Scope

PAUSE_SECONDS: Final = 1.0
"""How often refusals of one key, or of one address, are written down at most."""
MAX_REMEMBERED: Final = 10_000
MAX_WAITING: Final = 100

log = logging.getLogger("claim_records")

# --- what was refused --------------------------------------------------------------------------

_REFUSED = """
    INSERT INTO audit (key_id, scope, route, op, request_id, status)
    VALUES ($1, $2, $3, 'refused', $4, $5)"""


class Refusals:
    """Writes down refused access, beside the requests: a refusal itself waits for no database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember nobody yet."""
        self._database = database
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()
        self._waiting: set[asyncio.Task[None]] = set()

    def note(self, scope: Any, problem: Problem, needed: str | None) -> None:  # noqa: ANN401 - ASGI
        """Have a refusal written down, unless the same one was refused just now."""
        status = int(problem.kind.status)
        if status not in (401, 403) or len(self._waiting) >= MAX_WAITING:
            return
        caller = scope["state"].get("caller")
        key_id = caller.key_id if caller is not None else None
        client = scope.get("client")
        if not self._due(key_id or (client[0] if client else "")):
            return
        route = f"{scope['method']} {scope['path_template']}"
        values = (key_id, needed, route, scope["state"]["request_id"], status)
        task = asyncio.create_task(self._write(values))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def _due(self, who: str) -> bool:
        now = self._clock()
        if now - self._last.get(who, -PAUSE_SECONDS) < PAUSE_SECONDS:
            return False
        self._last[who] = now
        self._last.move_to_end(who)
        if len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
        return True

    async def _write(self, values: tuple[Any, ...]) -> None:
        try:
            await self._database.fetchrow(_REFUSED, *values)
        except Problem as problem:
            log.warning("a refusal was not written to the audit log: %s", problem)

    async def close(self) -> None:
        """Wait until what was refused is written."""
        await asyncio.gather(*self._waiting)


# --- reading it --------------------------------------------------------------------------------

_LIST = """
    SELECT id, at, key_id, scope, route, record_type, record_id, version, op, request_id, status
    FROM audit
    WHERE ($1::bigint IS NULL OR id < $1) AND ($3::text IS NULL OR key_id = $3)
        AND ($4::text IS NULL OR record_id = $4)
        AND ($5::text IS NULL OR at >= $5::text::timestamptz)
    ORDER BY id DESC
    LIMIT $2"""
_FILTERS: Final = (
    Parameter("key_id", KeyId, "By this key."),
    Parameter(
        "record_id",
        Annotated[str, Meta(min_length=1, max_length=100)],
        "Of this record, key or identity.",
    ),
    Parameter("since", Instant, "At this instant or later."),
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
)
LIST_AUDIT = Operation(
    tag="audit",
    description="Gives what was done with every key, and what was refused, newest first. Each "
    "change stands here if and only if it happened; of refusals at most one a second for each key, "
    "or each address without one.",
    parameters=(*_FILTERS, LIMIT, CURSOR),
    success="A page of what was done and what was refused.",
    answer=(AuditPage,),
    headers=("Link",),
    example=AuditPage(
        items=[_EXAMPLE], next_cursor=None, total=None, total_is_lower_bound=False, included={}
    ),
)


@get(
    "/v1/audit",
    operation_id="listAudit",
    opt={"operation": LIST_AUDIT, "scopes": (Scope.AUDIT_READ,)},
)
async def list_audit(request: Request) -> Answer:
    """List what was done."""

    def values(given: dict[str, Any]) -> list[Any]:
        since = given.get("since")
        return [
            given.get("key_id"),
            given.get("record_id"),
            instant("since", since) if since else None,
        ]

    return await page(request, "audit", _LIST, (("id", int),), _FILTERS, values)
