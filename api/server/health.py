"""Health: whether the process answers, and whether the service can do its work."""

from __future__ import annotations

from typing import Final

from litestar import get

from api.core.caller import PUBLIC
from api.core.db import Database
from api.core.errors import UNAVAILABLE, unavailable
from api.core.filters import read_query
from api.core.operation import Operation
from api.core.request import Answer, Request, context, encoded
from api.core.services import service
from api.server import schema
from api.server.draining import Draining
from api.sync.feed.stalls import StallWatch
from schemas.service import Health
from schemas.vocabularies import HealthStatus

_ALIVE: Final = Health(HealthStatus.ALIVE)
_READY: Final = Health(HealthStatus.READY)

LIVENESS = Operation(
    tag="service",
    description="Use this to restart a process that hangs. It does not use the database.",
    success="The process answers.",
    answer=(Health,),
    example=_ALIVE,
)
READINESS = Operation(
    tag="service",
    description="Use this to send requests only to a service that can answer them. It checks the "
    "database and the change feed. A service that is about to stop is not ready, and still answers "
    "requests for some seconds.",
    success="The service is ready.",
    answer=(Health,),
    example=_READY,
    refusals=(UNAVAILABLE,),
)


@get("/health/live", operation_id="getLiveness", opt={"operation": LIVENESS, "scopes": PUBLIC})
async def get_liveness(request: Request) -> Answer:
    """Check that the process answers, without the database."""
    read_query(request.scope["query_string"], {})
    return Answer(encoded(_ALIVE))


@get("/health/ready", operation_id="getReadiness", opt={"operation": READINESS, "scopes": PUBLIC})
async def get_readiness(request: Request) -> Answer:
    """Check that the service can do its work, with the database and the change feed."""
    read_query(request.scope["query_string"], {})
    if service(request, Draining).begun:
        raise unavailable("The service is about to stop.")
    await _check(context(request).database)
    await service(request, StallWatch).check()
    return Answer(encoded(_READY))


async def _check(database: Database) -> None:
    """Refuse a database that is read-only, or whose schema does not fit this version."""
    row = await database.fetchrow(_STATE)
    if row is None or row["reads_only"]:
        raise unavailable("The database takes no writes.")
    if row["revision"] != schema.latest():
        raise unavailable("The database's schema is not the one that this version needs.")


_STATE = f"""
    SELECT current_setting('transaction_read_only')::boolean AS reads_only,
        ({schema.CURRENT}) AS revision"""


health_handlers = [get_liveness, get_readiness]
