# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "advanced-alchemy==1.12.0", "asyncpg==0.32.0", "httptools==0.9.0", "litestar==2.25.0",
#   "pydantic==2.14.3", "uvicorn==0.54.0", "uvloop==0.23.0",
# ]
# ///
"""Litestar with advanced-alchemy: its plugin, a repository service, and Pydantic schemas."""

import os
from uuid import UUID

import claim
import uvicorn
from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    base,
    filters,
    providers,
    repository,
    service,
)
from litestar import Litestar, get, post
from table import ClaimColumns


class Claim(ClaimColumns, base.DefaultBase):
    """A claim."""


class ClaimService(service.SQLAlchemyAsyncRepositoryService[Claim]):
    """What can be done to claims."""

    class Repo(repository.SQLAlchemyAsyncRepository[Claim]):
        """Where claims are kept."""

        model_type = Claim

    repository_type = Repo


@get("/claims/{identity:uuid}")
async def get_claim(claims: ClaimService, identity: UUID) -> claim.Claim:
    """Get a claim."""
    return claims.to_schema(await claims.get(identity), schema_type=claim.Claim)


@get("/claims")
async def list_claims(claims: ClaimService, limit: int = 50) -> list[claim.Claim]:
    """List the newest claims."""
    rows = await claims.list(
        filters.LimitOffset(limit, 0),
        filters.OrderBy("created_at", "desc"),
        filters.OrderBy("id", "desc"),
    )
    return claims.to_schema(rows, schema_type=claim.Claim).items


@post("/claims")
async def create_claim(claims: ClaimService, data: claim.NewClaim) -> claim.Claim:
    """Create a claim."""
    created = await claims.create(data.model_dump(), auto_commit=True)
    return claims.to_schema(created, schema_type=claim.Claim)


alchemy = SQLAlchemyAsyncConfig(
    connection_string=os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    session_config=AsyncSessionConfig(expire_on_commit=False),
    engine_config=EngineConfig(pool_size=int(os.environ["POOL"]), max_overflow=0),
)
app = Litestar(
    [get_claim, list_claims, create_claim],
    dependencies=providers.create_service_dependencies(ClaimService, "claims"),
    plugins=[SQLAlchemyPlugin(alchemy)],
)

uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
